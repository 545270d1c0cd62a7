"""The command `relprop`: one file a subcommand."""

from relprop.app.cli.program import main

__all__ = ["main"]
