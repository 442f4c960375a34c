"""`comity`: finds the command, and turns errors into one message and an exit status."""

import importlib
import sys

import click

from mpc.errors import ComityError

COMMANDS = {
    "init": ("parties.cli.init", "Make a node's folder: key, certificate, node.toml."),
    "check": ("parties.cli.spec", "Is SPEC valid? If not, lists every problem with its place."),
    "explain": ("parties.cli.spec", "What QUERY would do: at home, on shares, what it opens to whom."),
    "schema": ("parties.cli.spec", "A JSON Schema of the spec, for editors."),
    "approve": ("parties.cli.spec", "This company agrees to exactly this SPEC."),
    "node": ("parties.cli.node", "Serve the node in DIRECTORY until SIGTERM or Ctrl-C."),
    "rehearse": ("parties.cli.rehearse", "Utility before spending: how far QUERY's answers would be off, at several epsilons."),
    "run": ("parties.cli.run", "Run QUERY of the approved spec, through this company's own node."),
    "prepare": ("parties.cli.prepare", "Make triples ahead of queries, with all other nodes, at a quiet hour."),
    "status": ("parties.cli.status", "What this company's node has in stock, with whom."),
    "budget": ("parties.cli.budget", "What this company's node has spent of its privacy budget, and what is left."),
    "demo": ("parties.cli.demo", "Run the flights example: four nodes, five queries."),
    "audit-privacy": ("parties.cli.audit", "Measure how much answers with noise give away, on this installation, beside what is claimed."),
    "bench": ("parties.cli.bench", "Measure what Comity costs on this machine."),
}
"""Each command's module, and what `comity --help` says of it without importing that."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[name][0]), name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="comity")
def cli() -> None:
    """Statistics over the data of several companies, which show each other nothing but the answers they agreed on."""


def main() -> None:
    """Exit status: 0 done, 1 failed or refused, 2 wrong usage, 130 interrupted."""
    try:
        status = cli.main(prog_name="comity", standalone_mode=False)
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
    except OSError as error:
        click.echo(f"error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", err=True)
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
