"""How much each size trains, merges and scores."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["BLOCK", "RATE_CT", "RATE_SFT", "SIZES", "Size"]

BLOCK = 256  # tokens of a text that is trained on
RATE_CT, RATE_SFT = 3e-4, 1e-4


@dataclass(frozen=True)
class Size:
    """Budgets. Steps of CT are cumulative: each goes on from the one before."""

    name: str
    languages: tuple[str, ...]
    seeds: int
    ct_steps: tuple[int, ...]
    ct_main: int  # the one at which all methods are compared
    ct_batch: int  # blocks in a step
    sft_items: tuple[int, ...]
    sft_main: int
    sft_batch: int  # items in a step
    test: dict[str, int] = field(default_factory=dict)  # items of each skill
    validation: dict[str, int] = field(default_factory=dict)
    english: int = 0  # every n-th of them is asked in English, too
    texts: int = 40
    dials: bool = True  # all trials of each method, or its defaults alone

    def sft_steps(self, items: int) -> int:
        """Return the steps on so many items: the fewer, the more epochs."""
        epochs = 1 if items > self.sft_main else 2 if items == self.sft_main else 10
        return max(1, items * epochs // self.sft_batch)


TEST = {"words": 75, "longest": 65, "menu": 50, "program": 55, "cloze": 55}
SHORT = dict.fromkeys(TEST, 20)
SIZES = {
    "quick": Size(
        name="quick",
        languages=("eu",),
        seeds=1,
        ct_steps=(132,),
        ct_main=132,
        ct_batch=4,
        sft_items=(1000,),
        sft_main=1000,
        sft_batch=16,
        test=dict.fromkeys(TEST, 30),
        validation=SHORT,
        english=2,
        texts=20,
        dials=False,
    ),
    "full": Size(
        name="full",
        languages=("eu", "sl"),
        seeds=3,
        ct_steps=(66, 264, 1056),
        ct_main=264,
        ct_batch=4,
        sft_items=(100, 1000, 10_000),
        sft_main=1000,
        sft_batch=16,
        test=TEST,
        validation=SHORT,
        english=2,
    ),
    "gpu": Size(
        name="gpu",
        languages=("eu", "sl", "et", "gl", "vi", "km"),
        seeds=3,
        ct_steps=(66, 264, 1056, 4768),
        ct_main=1056,
        ct_batch=16,
        sft_items=(100, 1000, 10_000),
        sft_main=1000,
        sft_batch=16,
        test=TEST,
        validation=SHORT,
        english=2,
    ),
}
