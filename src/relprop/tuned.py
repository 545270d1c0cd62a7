"""Tuned: what a search for rules found, and whether it holds on images that it did not see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .evaluation.estimate import Estimate
from .propagation.presets import Preset
from .rule_search import Trial


@dataclass(frozen=True, eq=False)
class Tuned:
    """The result of `relprop.tune`.

    Areas and gains are of images held back from the search, in the units of the model's output.

    Attributes:
        found: the best preset of the search; one that ships where nothing was better.
        default: what the model gets without a preset.
        gain: the area of `found` less that of the default, image by image, mean over fills.
        gains: the same for each fill.
        areas: fill -> (the area of `found`, that of the default).
        shipped: the best of the presets that ship, by the search's images.
        over_shipped: the area of `found` less that of `shipped`, mean over fills.
        trials: all that was tried, in order.
        searched, held_back: how many images each part had.
    """

    found: Preset
    default: Preset
    gain: Estimate
    gains: Mapping[str, Estimate]
    areas: Mapping[str, tuple[Estimate, Estimate]] = field(repr=False)
    shipped: Preset
    over_shipped: Estimate
    trials: tuple[Trial, ...] = field(repr=False)
    searched: int
    held_back: int

    @property
    def beaten(self) -> bool:
        """Whether the whole 95 % interval of the gain is above zero."""
        return self.gain.low > 0

    @property
    def preset(self) -> Preset:
        """What to use: `found` where it beats the default, else the default."""
        return self.found if self.beaten else self.default

    @property
    def verdict(self) -> str:
        """In words: whether the default is beaten, by how much and under which fills."""
        found, default = self.found.name, self.default.name
        on = f"on {self.held_back} images held back"
        if self.found == self.default:
            return f"the default, {default}, is not beaten: the search found nothing better"
        if not self.beaten:
            return (
                f"the default, {default}, is not beaten {on}: {found} gains {_shown(self.gain)}, "
                "and the interval does not stay above zero; the default is kept"
            )
        said = f"{found} beats the default, {default}, {on}: it gains {_shown(self.gain)}"
        for fill, gain in self.gains.items():
            if gain.low <= 0:
                how = "it is worse" if gain.high < 0 else "that is not sure"
                said += f"; under {fill} alone {how}: {_shown(gain)}"
        if self.found == self.shipped:
            said += "; it ships, and no rules by group were found to be better"
        return said

    def save(self, path: str | Path) -> Path:
        """Write `preset` to a .json file. Raises what `Preset.save` does."""
        return self.preset.save(path)

    def to_frame(self) -> Any:
        """The trials as a pandas table."""
        try:
            import pandas
        except ImportError:
            raise ImportError("Tuned.to_frame needs pandas: pip install pandas") from None
        return pandas.DataFrame([vars(trial) for trial in self.trials])

    def __str__(self) -> str:
        lines = [f"tried on up to {self.searched} images: images, area between, * kept"]
        stage = ""
        for trial in self.trials:
            if trial.stage != stage:
                stage = trial.stage
                lines.append(stage)
            figure = f"left out: {trial.reason}" if trial.reason else f"{trial.abpc:10.4g}"
            mark = "*" if trial.kept else " "
            lines.append(f"{mark} {trial.tried:36} {trial.images:6} {figure}")
        lines.append(f"area between on {self.held_back} images held back (95 % intervals)")
        lines.append(f"  {'fill':14}{'found':28}{'default':28}found less default, in pairs")
        for fill, (found, default) in self.areas.items():
            gain = _shown(self.gains[fill])
            lines.append(f"  {fill:14}{_shown(found):28}{_shown(default):28}{gain}")
        lines += [
            f"  {'mean':70}{_shown(self.gain)}",
            f"the best preset that ships is {self.shipped.name}; found less that, mean: "
            f"{_shown(self.over_shipped)}",
            f"found: {self.found}",
            self.verdict,
        ]
        return "\n".join(lines)


def _shown(figure: Estimate) -> str:
    return f"{figure.value:.4g} ({figure.low:.4g} to {figure.high:.4g})"
