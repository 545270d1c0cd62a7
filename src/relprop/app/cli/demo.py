"""`relprop demo`: real digits and real photographs, explained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relprop.app.demo import run_demo


def demo(
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("relprop-demo"),
) -> None:
    """Explain ten handwritten digits and six photographs, and write a report on them."""
    run_demo(out)
