"""What explaining photographs through dense SIFT and Fisher vectors costs, on one core.

    OMP_NUM_THREADS=1 python -m bench.classical [--only fisher-64] [--rounds 5]

Each pipeline is a Fisher vector of descriptors on 480 x 360 (67,574 of them), then a linear SVM.
Printed for each: CPU seconds of a photograph's score and of score and explanation together down to
the pixels, the ratio of the two within each round, wall seconds, peak memory of both (tracemalloc,
numpy's arrays included), and the largest conservation gap. The models are learned in a moment from
few descriptors: how good they are is not the question here.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

import relprop
from relprop.classical import DenseSift, FisherVector, SpatialPyramid
from relprop.data import photograph

from .measure import Spread, progress, spread

SHAPE = (360, 480)
THINGS = ("chelsea", "coffee", "rocket", "astronaut")
TEXTURES = ("brick", "grass", "gravel", "moon")


def cropped(name: str) -> NDArray[np.uint8]:
    """The middle of a photograph, 360 x 480, mirrored where it is smaller."""
    image = photograph(name)
    missing = [max(0, want - have) for want, have in zip(SHAPE, image.shape[:2], strict=True)]
    pads = [(gap // 2, gap - gap // 2) for gap in missing]
    padded = np.pad(image, [*pads, (0, 0)], mode="symmetric")
    top, left = ((have - want) // 2 for have, want in zip(padded.shape, SHAPE, strict=False))
    return padded[top : top + SHAPE[0], left : left + SHAPE[1]]


def pipelines() -> dict[str, Any]:
    """Encoders by name."""
    features, learning = DenseSift(), {"samples": 20_000, "max_iter": 10, "random_state": 0}
    return {
        "fisher-64": FisherVector(features, n_components=64, **learning),
        "fisher-64-bins": FisherVector(features, n_components=64, pixels="bins", **learning),
        "fisher-256-pyramid": SpatialPyramid(FisherVector(features, n_components=256, **learning)),
    }


def measured(
    steps: dict[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """CPU and wall seconds of each step, once a round in turning order, after one untimed call."""
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    wall: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for turn in range(rounds + 1):
        for name in names[turn % 2 :] + names[: turn % 2]:
            start, begin = time.perf_counter(), time.process_time()
            steps[name]()
            if turn:
                cpu[name].append(time.process_time() - begin)
                wall[name].append(time.perf_counter() - start)
    return cpu, wall


def peak(step: Callable[[], Any]) -> float:
    """MiB that a step takes at most above what is there before."""
    tracemalloc.start()
    step()
    found = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return found


def report(name: str, model: Pipeline, photo: Any, rounds: int) -> None:
    """Measure one pipeline on one photograph and print."""
    steps = {
        "score": lambda: model.decision_function([photo]),
        "explained": lambda: relprop.explain(model, [photo]),
    }
    cpu, wall = measured(steps, rounds)
    ratios = [b / a for a, b in zip(cpu["score"], cpu["explained"], strict=True)]
    seconds = {key: spread(own) for key, own in cpu.items()}
    gap = float(relprop.explain(model, [photo]).conservation_gap.max())
    memory = ", ".join(f"{key} {peak(step):.0f}" for key, step in steps.items())
    print(
        f"{name}: CPU seconds score {shown(seconds['score'])}, score and explanation "
        f"{shown(seconds['explained'])}, ratio {shown(spread(ratios))}; wall seconds "
        f"{shown(spread(wall['explained']))}; peak MiB {memory}; conservation gap {gap:.0e}"
    )


def shown(figures: Spread) -> str:
    """Median and quartiles."""
    return f"{figures.middle:.2f} ({figures.low:.2f} to {figures.high:.2f})"


def main() -> None:
    """Learn, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=sorted(pipelines()))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    photos = [cropped(name) for name in (*THINGS, *TEXTURES)]
    labels = [0] * len(THINGS) + [1] * len(TEXTURES)
    for name, encoder in pipelines().items():
        if options.only not in (None, name):
            continue
        progress(f"{name}: learning")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = make_pipeline(encoder, LinearSVC()).fit(photos, labels)
        report(name, model, photos[0], options.rounds)


if __name__ == "__main__":
    main()
