"""comity bench"""

import importlib.util
import subprocess
import sys

import click

from mpc.errors import ComityError


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure what Comity costs on this machine (comity bench --help)."""
    # a process of its own: nothing here depends on benchmarks
    if importlib.util.find_spec("benchmarks") is None:
        raise ComityError("the benchmarks are not part of this installation: run them in a checkout")
    sys.exit(subprocess.run([sys.executable, "-m", "benchmarks", *arguments], check=False).returncode)
