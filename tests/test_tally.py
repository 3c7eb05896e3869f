"""What is counted for a report is what a few lines of dense torch count, whoever merges."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given

from dense import Dense, largest
from slack_ties.rule.blockwise import merge_blocks
from slack_ties.rule.definition import Engine, slack_ties_merge
from slack_ties.rule.kernel import load_kernel, merge_on_cpu
from slack_ties.rule.tally import (
    BINS,
    CONFIG,
    CONFLICT,
    ENERGY,
    ENERGY_KEPT,
    FIRST_OF_GRID,
    GRID,
    IN_GRID,
    IN_TOP,
    KEPT,
    NONZERO,
    PROTECTED,
    RESCUED,
    TIES,
    TOPS,
    WITH_MERGED,
    Tally,
)
from strategies import DTYPES, Inputs, inputs

ENGINES = [merge_blocks, *([merge_on_cpu] if load_kernel() else [])]


@pytest.fixture
def threads() -> Iterator[None]:
    """Let a test set the number of torch's threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def count(drawn: Inputs, engine: Engine | None = None) -> tuple[torch.Tensor, Tally]:
    """Merge, and return the result and the tally; the slack of every second model is varied."""
    tally = Tally.empty([i % 2 == 1 for i in range(len(drawn.models))])
    merged = slack_ties_merge(
        drawn.base, drawn.models, **drawn.parameters(), engine=engine, tally=tally
    )
    return merged, tally


def assert_same(one: Tally, other: Tally) -> None:
    """Numbers of entries are equal, sums are but for their last digits."""
    for name in Tally.arrays():
        a, b = getattr(one, name), getattr(other, name)
        if a.dtype == np.int64:
            np.testing.assert_array_equal(a, b, name)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-300, err_msg=name)


@pytest.mark.parametrize("engine", ENGINES)
@given(drawn=inputs())
def test_counts_what_dense_torch_counts(engine: Engine, drawn: Inputs) -> None:
    """Every count, on small tensors full of ties, zeros, zero weights and both signs of weights."""
    merged, tally = count(drawn, engine)

    dense = Dense.of(drawn.base, drawn.models, drawn.weight, drawn.density)
    none = [0.0] * len(drawn.models)
    conflict = dense.conflict()
    changed = conflict & (dense.negative(none) != dense.negative(drawn.slack))
    size = drawn.base.numel()
    assert [size, int(conflict.sum()), int(changed.sum())] == tally.positions.tolist()
    for t, delta in enumerate(dense.deltas):
        kept, energy = dense.kept[t], delta.double().square()
        protected = [
            int((kept & largest(delta, int(slack * size))).sum()) if drawn.weight[t] else 0
            for slack in (drawn.slack[t], *GRID)
        ]
        counts = [int((delta != 0).sum()), int(kept.sum()), protected[0]]
        counts += [int(dense.top(t, share).sum()) for share in TOPS]
        columns = [NONZERO, KEPT, PROTECTED, *range(IN_TOP, IN_TOP + len(TOPS))]
        assert counts == tally.counts[t, columns].tolist()
        assert protected[1:] == tally.counts[t, IN_GRID : IN_GRID + len(GRID)].tolist()
        levels = {CONFLICT: conflict & kept & (drawn.weight[t] * delta != 0)}
        levels |= {TIES: dense.lost(t, none), CONFIG: dense.lost(t, drawn.slack)}
        levels[RESCUED] = levels[TIES] & ~levels[CONFIG]
        for i, slack in enumerate(GRID):
            varied = [slack if k % 2 else s for k, s in enumerate(drawn.slack)]
            levels[FIRST_OF_GRID + i] = dense.lost(t, varied)
        for level, lost in levels.items():
            for top, share in enumerate(TOPS):
                within = int((lost & dense.top(t, share)).sum())
                assert within == tally.lost[t, : top + 1, level].sum()
            assert int(lost.sum()) == tally.lost[t, :, level].sum()
            assert float(energy[lost].sum()) == tally.lost_energy[t, level]
        total = (merged.double() - drawn.base.double()) @ delta.double()
        assert tally.sums[t, [ENERGY, ENERGY_KEPT]].tolist() == [
            float(energy.sum()),
            float(energy[kept].sum()),
        ]
        assert float(total) == pytest.approx(tally.sums[t, WITH_MERGED], abs=1e-5)
        for other in range(t):
            both = kept & dense.kept[other]
            same = both & ((delta > 0) == (dense.deltas[other] > 0))
            assert [int(both.sum()), int(same.sum())] == tally.joint[other, t].tolist()
            dot = delta.double() @ dense.deltas[other].double()
            assert float(dot) == tally.dots[other, t]


@given(drawn=inputs(dtypes=DTYPES))
def test_counting_changes_no_byte(drawn: Inputs) -> None:
    """The merged tensor is the same whether something is counted or not, in every type."""
    merged, _ = count(drawn)

    assert torch.equal(slack_ties_merge(drawn.base, drawn.models, **drawn.parameters()), merged)


@pytest.mark.skipif(not load_kernel(), reason="no compiled kernel")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.usefixtures("threads")
def test_engines_blocks_and_threads_count_the_same(dtype: torch.dtype) -> None:
    """Over many slices: all entries exactly, and with the kernel all sums to the bit."""
    random = torch.Generator().manual_seed(0)
    base = torch.randn(1_000_001, generator=random).mul_(0.02).to(dtype)
    models = [
        (base + torch.randn(base.shape, generator=random) * spread).to(dtype)
        for spread in (0.003, 0.001, 0.002)
    ]
    drawn = Inputs(base, models, [1.0, 0.5, -0.3], [0.5, 0.7, 1.0], [0.0, 0.2, 0.1], True)
    tallies = []
    for number in (1, 2, 5):
        torch.set_num_threads(number)
        tallies.append(count(drawn, merge_on_cpu)[1])

    for other in tallies[1:]:
        for name in Tally.arrays():
            np.testing.assert_array_equal(getattr(tallies[0], name), getattr(other, name), name)
    for block in (99_999, 1 << 18):

        def by_blocks(*tensors: object, block: int = block, **how: object) -> object:
            return merge_blocks(*tensors, block=block, **how)

        assert_same(tallies[0], count(drawn, by_blocks)[1])
    assert tallies[0].lost[1, :, TIES].sum() > tallies[0].lost[1, :, CONFIG].sum() > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_bins_are_powers_of_two(engine: Engine) -> None:
    """A magnitude from 2^e up to 2^(e + 1) is in bin e + 127; zeros are in bin 0."""
    delta = torch.tensor([0.0, 1.0, -1.5, 2.0, 0.25, -(2.0**-126), 2.0**127])
    tally = Tally.empty([False])

    slack_ties_merge(torch.zeros(7), [delta], weight=[1.0], engine=engine, tally=tally)

    expected = np.zeros(BINS, np.int64)
    for exponent, number in {0: 2, 1: 1, -2: 1, -126: 1, 127: 1}.items():
        expected[exponent + 127] = number
    expected[0] = 1
    np.testing.assert_array_equal(expected, tally.histogram[0])


def test_float64_is_counted_too() -> None:
    """By torch, with the same bins, as the type that the kernel does not take."""
    base, model = torch.zeros(9).double(), torch.arange(-4.0, 5.0).double()
    wide, narrow = Tally.empty([True]), Tally.empty([True])

    slack_ties_merge(base, [model], weight=[1.0], density=[0.5], slack=[0.2], tally=wide)
    slack_ties_merge(
        base.float(), [model.float()], weight=[1.0], density=[0.5], slack=[0.2], tally=narrow
    )

    assert_same(narrow, wide)


@given(drawn=inputs())
def test_tallies_of_tensors_add_up(drawn: Inputs) -> None:
    """The sum of two tallies has the counts of both."""
    _, tally = count(drawn)

    total = tally + tally

    for name in Tally.arrays():
        np.testing.assert_array_equal(2 * getattr(tally, name), getattr(total, name))


def test_a_tally_takes_its_place_among_more_models() -> None:
    """A tensor that one model lacks counts for the others, pairs in the order of all."""
    drawn = Inputs(
        torch.zeros(4),
        [torch.tensor([1.0, -2.0, 3.0, 0.0]), torch.tensor([1.0, 2.0, 0.5, 0.0])],
        [1.0, 1.0],
        [1.0, 1.0],
        [0.0, 0.0],
        False,
    )
    _, tally = count(drawn)

    wide = tally.of_models([2, 0], [False, True, True])

    assert wide.entries.tolist() == [4, 0, 4]
    assert wide.counts[:, KEPT].tolist() == [3, 0, 3]
    assert wide.dots[0, 2] == 1 - 4 + 1.5
    assert wide.joint[0, 2].tolist() == [3, 2]
    assert wide.positions.tolist() == [4, 1, 0]
