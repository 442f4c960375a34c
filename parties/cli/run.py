"""comity run"""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import grpc

from mpc.errors import ComityError
from parties.cli.options import NODE
from parties.cli.plot import plot as draw
from parties.cli.table import as_csv, console, print_result
from parties.node.config import read_config
from parties.wire import identity
from parties.wire.endpoint import LOOKING, Node, dial, ready
from parties.wire.v1 import party_pb2 as pb
from parties.wire.v1 import party_pb2_grpc as rpc

LARGEST_RESULT = 64 << 20
SAYING = {
    "triples": "preparing",
    "local": "computing at home",
    "share": "sharing",
    "compute": "computing on shares",
    "open": "opening the answer",
}


@click.command()
@click.argument("query")
@NODE
@click.option("--format", "format_", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option("--plot", metavar="FILE.png", type=click.Path(path_type=Path, dir_okay=False), help="Also draw the answer.")
def run(query: str, node: Path, format_: str, plot: Path | None) -> None:
    """Run QUERY of the approved spec, through this company's own node."""
    if plot is not None and not plot.parent.is_dir():
        raise click.BadParameter(f"there is no folder {plot.parent}", param_hint="--plot")
    progress = console(stderr=True)
    with progress.status("asking the node") if progress.is_terminal else nullcontext() as status:
        result = run_on_node(query, node, lambda phase: status.update(SAYING.get(phase, phase)) if status else None)
    if format_ == "json":
        click.echo(json.dumps(result))
    elif format_ == "csv":
        click.echo(as_csv(result), nl=False)
    else:
        print_result(result, console())
    if plot is not None:
        draw(result, plot)


def run_on_node(query: str, directory: Path, tell: Callable[[str], object] = lambda phase: None) -> dict[str, Any]:
    """The result object of `query`, from the node in `directory`."""
    return ask_node(pb.RunRequest(query=query), directory, tell)


def ask_node(request: pb.RunRequest, directory: Path, tell: Callable[[str], object]) -> dict[str, Any]:
    """The result of `request`, from the node in `directory`, called on its own port with its own certificate."""
    config, own = read_config(directory), identity.load(directory)
    host, _, port = config.listen.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    node = Node(f"the node of {config.name}", f"{host}:{port}", own.der)
    with dial(own, node, LARGEST_RESULT) as channel:
        result = _ask(channel, request, directory, tell)
        if result is None:
            try:
                ready(channel, node, f"start it with `comity node {directory}`")  # it may not be up yet
                result = _ask(channel, request, directory, tell)
            finally:
                time.sleep(LOOKING)  # before the channel is closed
    if result is None:
        raise ComityError(f"the node in {directory} gave no answer: its log says why")
    return result


def _ask(channel: grpc.Channel, request: pb.RunRequest, directory: Path, tell: Callable[[str], object]) -> dict[str, Any] | None:
    """The result; None where no node is there."""
    call, has_begun = rpc.PartyStub(channel).Run(request), False
    try:
        for reply in call:
            has_begun = True
            kind = reply.WhichOneof("kind")
            if kind == "error":
                raise ComityError(reply.error)
            if kind == "result":
                result: dict[str, Any] = json.loads(reply.result)
                return result
            tell(reply.progress)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise ComityError(f"the node in {directory} has too many calls at once: try again") from None
        if error.code() != grpc.StatusCode.UNAVAILABLE or has_begun:
            raise ComityError(f"the node in {directory} stopped while the query ran: its log says why") from None
    finally:
        call.cancel()
    return None
