"""How large an experiment is: the full one, a quick one that shows the signs, a smoke test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["MODES", "WORDS_PER_STEP", "Mode"]

TEXTS, WORDS = 32, 64  # of a step of continual pre-training
WORDS_PER_STEP = TEXTS * WORDS


@dataclass(frozen=True)
class Mode:
    """The budgets of an experiment."""

    name: str
    seeds: int
    hidden: int  # size of the models: width and layers
    layers: int
    base_steps: int  # of 4096 words
    cts: tuple[int, ...]  # continual pre-training: steps at which a CT model is taken
    sft: Mapping[str, int] = field(default_factory=lambda: {"plenty": 9600, "scarce": 320})
    sft_steps: tuple[int, ...] = (50, 100, 150, 200, 250, 300)  # of 32 tasks; one trial each
    sft_rates: tuple[float, ...] = (5e-4, 1e-3)
    trials: int = 12  # per method and cell
    validation: int = 250  # tasks
    test: int = 500
    slacks: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
    densities: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    grid_cts: tuple[int, ...] = ()  # cells of the grid of slack and density
    three_ct: int = 0  # the budget of both CT models in the merge of three

    @property
    def cells(self) -> list[tuple[str, int]]:
        """Every pair of an SFT model and a CT model."""
        return [(sft, ct) for sft in self.sft for ct in self.cts]


MODES = {
    mode.name: mode
    for mode in (
        Mode(
            "full",
            seeds=6,
            hidden=64,
            layers=3,
            base_steps=4000,
            cts=(75, 150, 300, 600, 1200),
            grid_cts=(300, 1200),
            three_ct=600,
        ),
        Mode(
            "quick",
            seeds=2,
            hidden=64,
            layers=3,
            base_steps=800,
            cts=(75, 600),
            sft={"plenty": 9600},
            sft_steps=(100, 200),
            sft_rates=(1e-3,),
            trials=2,
            slacks=(0.0, 0.2),
            densities=(0.5,),
            grid_cts=(600,),
            three_ct=75,
        ),
        Mode(
            "smoke",
            seeds=2,
            hidden=16,
            layers=1,
            base_steps=2,
            cts=(1, 2),
            sft={"plenty": 64, "scarce": 32},
            sft_steps=(1, 2),
            sft_rates=(1e-3,),
            trials=2,
            validation=10,
            test=20,
            slacks=(0.0, 0.2),
            densities=(0.5,),
            grid_cts=(2,),
            three_ct=1,
        ),
    )
}
