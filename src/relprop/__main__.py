"""`python -m relprop`: the command line."""

from .app.cli import main

main()
