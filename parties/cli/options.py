"""Arguments that several commands take."""

from pathlib import Path

import click

SPEC = click.argument("spec", type=click.Path(path_type=Path))
NODE = click.option(
    "--node", required=True, metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="The node's folder."
)
