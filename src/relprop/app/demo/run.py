"""The demo from start to end: digits, photographs, the report, what to try next."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import torch

import relprop
from relprop.app.demo.digits import explain_digits
from relprop.app.demo.photographs import NETWORKS, explain_photographs, load
from relprop.app.report import Html, code, items, paragraph, section, write_page
from relprop.errors import RelpropError

_INTRODUCTION = (
    "relprop explains predictions: it says how much each pixel contributed to what a network "
    "said, as a signed sum that, together with what biases and stabilisers absorbed and what was "
    "lost where a rule found no inputs on one side, adds up to the network's output. Tables below "
    "show that sum; the gap is what is unaccounted for, rounding error, over the largest of the "
    "figures."
)


def run_demo(out: Path) -> Path:
    """Explains digits and photographs, writes PNGs and report.html into `out`, returns its path.

    Where ImageNet weights can't be had, it says so and goes on without that network.
    """
    start = time.perf_counter()
    parts = [explain_digits(out)]
    missing = []
    for network, title in NETWORKS.items():
        print(f"\n{title}")
        try:
            model, images = load(network)
        except RelpropError as error:
            print(f"left out: {error}")
            missing.append(f"{title}: {error}")
        else:
            parts.append(explain_photographs(network, model, images, out))
    if missing:
        parts.append(
            section("Left out", paragraph("These need files that are not here:"), items(missing))
        )
    minutes = (time.perf_counter() - start) / 60
    made = (
        f"relprop {relprop.__version__}, torch {torch.__version__}, {platform.machine()}, "
        f"{torch.get_num_threads()} threads, {minutes:.1f} minutes."
    )
    report = write_page(
        out / "report.html",
        "What the networks saw",
        paragraph(_INTRODUCTION),
        paragraph(made),
        *parts,
        _next_steps(),
    )
    print(f"\nwrote {report}")
    print("\nNext:")
    for line in _commands():
        print(f"  {line}")
    return report


def _next_steps() -> Html:
    return section("What to try next", paragraph("In a terminal:"), code("\n".join(_commands())))


def _commands() -> list[str]:
    return [
        "relprop explain --model squeezenet YOUR-PHOTO.jpg --rules epsilon-gamma-box --gamma 0.5",
        "relprop explain --model squeezenet YOUR-PHOTO.jpg --target espresso,cup --overlay",
        "relprop coverage --model squeezenet      # which rule each operation gets",
        "relprop rules                            # all presets, for --rules",
    ]
