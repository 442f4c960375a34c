"""comity node"""

import os
import sys
from pathlib import Path

import click

from parties.node import logs
from parties.node.serve import serve


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def node(directory: Path, log_format: str) -> None:
    """Serve the node in DIRECTORY until SIGTERM or Ctrl-C. Logs to stderr."""
    logs.start(log_format)
    serve(directory)
    sys.stderr.flush()
    os._exit(0)  # a thread may be in the engine still: Python, ending it there, would abort the process
