"""`comity`: finds the command, and turns errors into one message and an exit status."""

import importlib
import sys

import click

from mpc.errors import ComityError

COMMANDS = {
    "init": "parties.cli.init",
    "check": "parties.cli.spec",
    "explain": "parties.cli.spec",
    "approve": "parties.cli.spec",
    "node": "parties.cli.node",
    "run": "parties.cli.run",
    "demo": "parties.cli.demo",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[name]), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="comity")
def cli() -> None:
    """Statistics over the data of several companies, which show each other nothing but the answers they agreed on."""


def main() -> None:
    """Exit status: 0 done, 1 failed or refused, 2 wrong usage, 130 interrupted."""
    try:
        status = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except ComityError as error:
        click.echo(f"error: {error}", err=True)
        status = 1
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        status = 130
    except BrokenPipeError:
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
