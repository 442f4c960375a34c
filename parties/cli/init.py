"""comity init"""

import re
from pathlib import Path

import click

from mpc.errors import ComityError
from parties.node.config import FILE, starting_config
from parties.wire.identity import create, one_line

LONGEST_NAME = 64
LOCAL = {"localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1", "[::1]": "[::1]"}


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", required=True, help="This company's name in the spec: [a-z][a-z0-9-]*")
@click.option("--address", required=True, metavar="HOST:PORT", help="Where the other companies reach this node.")
@click.option("--role", type=click.Choice(["party", "dealer"]), default="party", show_default=True)
def init(directory: Path, name: str, address: str, role: str) -> None:
    """Make a node's folder: key, certificate, node.toml. Prints the stanza for the shared spec."""
    if not re.fullmatch(f"[a-z][a-z0-9-]{{0,{LONGEST_NAME - 1}}}", name):
        raise click.BadParameter(
            f"{name!r} is not of the form [a-z][a-z0-9-]*, of at most {LONGEST_NAME} characters", param_hint="--name"
        )
    if role == "party" and name == "dealer":
        raise click.BadParameter("no party may be named dealer", param_hint="--name")
    host, port = _split(address)
    config = directory / FILE
    if config.exists():
        raise ComityError(f"{config} exists already: a node's folder is never replaced; choose another")
    identity = create(directory, name)
    listen = f"{LOCAL.get(host, '0.0.0.0')}:{port}"
    config.write_text(starting_config(name, listen))
    click.echo(f"[dealer]\naddress = \"{address}\"" if role == "dealer" else f"[parties.{name}]\naddress = \"{address}\"")
    click.echo(f'certificate = "{one_line(identity.der)}"')
    click.echo(
        f"Wrote {directory}/key.pem (keep it secret), certificate.pem and node.toml. "
        "The lines above are for the shared spec.",
        err=True,
    )


def _split(address: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", address)
    if match is None or not 0 < int(match[2]) < 65536:
        raise click.BadParameter(f"{address!r} is not HOST:PORT, such as localhost:7101", param_hint="--address")
    return match[1], int(match[2])
