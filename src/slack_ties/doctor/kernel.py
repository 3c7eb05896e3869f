"""Is the compiled kernel used, and does it give the bytes that torch gives?"""

from __future__ import annotations

from slack_ties.doctor.finding import BROKEN, NOTE, OK, Finding

__all__ = ["look_at_kernel"]

ENTRIES = 10_007  # over many blocks and not a multiple of any
SLOWER = "15 to 20 times longer for large tensors"  # docs/requirements.md

DAMAGED = "pip install --force-reinstall --no-deps --no-cache-dir slack-ties  # and report this"


def look_at_kernel() -> Finding:
    """Return whether the kernel is used; if it is, whether it computes what torch computes.

    Raises:
        ImportError: torch cannot be imported.

    """
    from slack_ties.rule.kernel import REINSTALL, kernel_problem  # noqa: PLC0415 - torch

    if problem := kernel_problem():
        text = f"{problem}: torch makes the same bytes, and takes {SLOWER}"
        return Finding("kernel", NOTE, text, REINSTALL, {"compiled": False})
    facts = {"compiled": True}
    if not _same_bytes():
        text = "compiled, but its result differs from torch's"
        return Finding("kernel", BROKEN, text, DAMAGED, facts)
    return Finding("kernel", OK, "compiled; a small merge has the bytes of torch", facts=facts)


def _same_bytes() -> bool:
    """Merge random tensors with both engines, and compare the bytes."""
    import torch  # noqa: PLC0415 - heavy

    from slack_ties.rule.blockwise import merge_blocks  # noqa: PLC0415 - torch
    from slack_ties.rule.definition import slack_ties_merge  # noqa: PLC0415 - torch
    from slack_ties.rule.kernel import merge_on_cpu  # noqa: PLC0415 - torch

    random = torch.Generator().manual_seed(0)
    base, *models = (torch.randn(ENTRIES, generator=random).bfloat16() for _ in range(3))
    one, other = (
        slack_ties_merge(
            base, models, weight=[1, 0.5], density=[0.5, 0.5], slack=[0, 0.2], engine=engine
        )
        for engine in (merge_on_cpu, merge_blocks)
    )
    return torch.equal(one.view(torch.int16), other.view(torch.int16))
