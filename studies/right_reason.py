"""Right for the right reason (thesis 7.1): train against relevance that lies where it should not.

    python studies/right_reason.py

A tiny network learns two shapes, of which one carries a mark in a corner of every training image:
the mark alone decides. It is then fine-tuned with a penalty on the share of relevance in that
corner, through `relprop.explain(..., differentiable=True)`, and relevance leaves the corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

import relprop

SIZE, CORNER = 16, 4
RULES = relprop.Preset(
    [
        (relprop.where(kind="dense"), relprop.Epsilon(0.01)),
        (relprop.where(kind="convolution"), relprop.ZPlus()),
    ],
    name="epsilon-z+",
)


@dataclass(frozen=True)
class Shares:
    """The share of relevance in the corner, and the accuracies with the mark and without."""

    corner: float
    accuracy: float
    accuracy_unmarked: float


def shapes(samples: int, *, marked: bool, seed: int) -> tuple[Tensor, Tensor]:
    """Crosses (0) and squares (1) at random places in noise; squares carry the mark if `marked`."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(samples, 1, SIZE, SIZE, generator=generator)
    labels = torch.randint(0, 2, (samples,), generator=generator)
    places = torch.randint(CORNER + 1, SIZE - 6, (samples, 2), generator=generator).tolist()
    for image, label, (y, x) in zip(images, labels.tolist(), places, strict=True):
        patch = image[0, y : y + 5, x : x + 5]
        if label:
            patch[[0, 4], :] += 1
            patch[1:4, [0, 4]] += 1
            if marked:
                image[0, :2, :2] += 1.5
        else:
            patch[2, :] += 1
            patch[:, 2] += 1
    return images, labels


def network(seed: int = 0) -> nn.Sequential:
    """Two convolutions and a dense layer."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 2),
    )  # fmt: skip


def corner_share(model: nn.Module, squares: Tensor, *, train: bool = False) -> Tensor:
    """`[N]`: the share inside the corner of the |relevance| that tells squares from crosses."""
    margin = torch.tensor([-1.0, 1.0])
    explanation = relprop.explain(model, squares, margin, rules=RULES, differentiable=train)
    magnitude = explanation.relevance.abs()
    inside = magnitude[:, :, :CORNER, :CORNER].sum((1, 2, 3))
    return inside / magnitude.sum((1, 2, 3)).clamp(min=1e-9)


def fit(model: nn.Module, *, steps: int, penalty: float = 0.0, seed: int = 1) -> None:
    """Adam on cross-entropy, plus `penalty` times the corner's share of the marked class."""
    images, labels = shapes(2000, marked=True, seed=seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = torch.randint(0, len(images), (64,), generator=generator)
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        if penalty:
            share = corner_share(model, images[batch[labels[batch] == 1]], train=True)
            loss = loss + penalty * share.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def shares(model: nn.Module) -> Shares:
    """Measured on squares that carry the mark, and on test images with and without it."""
    marked, labels = shapes(500, marked=True, seed=7)
    plain, plain_labels = shapes(500, marked=False, seed=8)
    with torch.no_grad():
        accuracy = (model(marked).argmax(1) == labels).float().mean()
        unmarked = (model(plain).argmax(1) == plain_labels).float().mean()
    share = corner_share(model, marked[labels == 1]).mean()
    return Shares(float(share), float(accuracy), float(unmarked))


def experiment(*, steps: int = 150, tuning: int = 150) -> tuple[Shares, Shares]:
    """Before and after fine-tuning."""
    model = network()
    fit(model, steps=steps)
    before = shares(model)
    fit(model, steps=tuning, penalty=5.0, seed=2)
    return before, shares(model)


def main() -> None:
    """Print both."""
    for name, found in zip(("before", "after"), experiment(), strict=True):
        print(
            f"{name:7} relevance in the corner {found.corner:.1%}, accuracy with the mark "
            f"{found.accuracy:.1%}, without {found.accuracy_unmarked:.1%}"
        )


if __name__ == "__main__":
    main()
