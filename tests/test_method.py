"""The merge method against its definition, its laws and mergekit's own `ties`."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from mergekit.merge_methods import get, merge_tensors

from slack_ties.errors import CheckpointError
from slack_ties.method import SLACK_TIES
from slack_ties.rule.blockwise import merge_blocks
from slack_ties.rule.definition import Engine, slack_ties_merge
from strategies import DTYPES as ANY_DTYPE
from strategies import Inputs, inputs

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
# The laws run on the engine that is chosen: the kernel, and torch for float64.
ENGINES = pytest.mark.parametrize("engine", [None, merge_blocks], ids=["chosen", "torch"])


def merge(given_: Inputs, **changed: object) -> torch.Tensor:
    """Run the method on drawn inputs, with some parameters changed."""
    return slack_ties_merge(given_.base, given_.models, **given_.parameters(**changed))


# Literal matrices, worked by hand. The base is zero, so that models are their own deltas.

CT = torch.tensor([[8.0, -6.0], [4.0, 1.0]])
SFT = torch.tensor([[-2.0, 5.0], [-3.0, 1.0]])
ZERO = torch.zeros(2, 2)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        # The bigger entry wins every conflict: 8 against -2, -6 against 5, 4 against -3.
        ({"slack": [0, 0]}, [[8.0, -6.0], [4.0, 2.0]]),
        # The SFT model's largest entry (a quarter of four: 5) votes first and wins.
        ({"slack": [0, 0.25]}, [[8.0, 5.0], [4.0, 2.0]]),
        # Its two largest, 5 and -3, do.
        ({"slack": [0, 0.5]}, [[8.0, 5.0], [-3.0, 2.0]]),
        # Where both are protected they settle it as in TIES: 8 and -6 of the CT model.
        ({"slack": [0.5, 0.5]}, [[8.0, -6.0], [-3.0, 2.0]]),
        # Half are kept: 8 and -6; 5 and -3. There is no conflict at 8 and at -3.
        ({"density": [0.5, 0.5]}, [[8.0, -6.0], [-3.0, 0.0]]),
        ({"density": [0.5, 0.5], "slack": [0, 0.25]}, [[8.0, 5.0], [-3.0, 0.0]]),
        # What trimming dropped is not protected, however large the slack.
        ({"density": [1, 0.25], "slack": [0, 1]}, [[8.0, 5.0], [4.0, 1.0]]),
        ({"density": [0, 0]}, [[0.0, 0.0], [0.0, 0.0]]),
        ({"lambda_": 0.5}, [[4.0, -3.0], [2.0, 1.0]]),
        # Weights count in the election: -2 x 5 beats 8, 5 x 5 beats -6, -3 x 5 beats 4.
        ({"weight": [1, 5]}, [[-10.0, 25.0], [-15.0, 6.0]]),
        ({"weight": [1, 5], "normalize": True}, [[-2.0, 5.0], [-3.0, 1.0]]),
        # Weights of 1 and -1 at a position where both agree add up to 0, which counts as 1.
        ({"weight": [1, -1], "normalize": True}, [[10.0, -11.0], [7.0, 1.0]]),
    ],
)
@ENGINES
def test_literal(
    parameters: dict[str, object], expected: list[list[float]], engine: Engine | None
) -> None:
    """Two 2x2 matrices, every step visible."""
    arguments = {"weight": [1, 1], "normalize": False, "engine": engine, **parameters}

    merged = slack_ties_merge(ZERO, [CT, SFT], **arguments)

    assert merged.tolist() == expected


def test_ties_at_the_threshold_are_all_kept() -> None:
    """Asked for one of three entries of the same magnitude, trimming keeps all three."""
    model = torch.tensor([2.0, -2.0, 2.0, 1.0])

    merged = slack_ties_merge(torch.zeros(4), [model], weight=[1], density=[0.25])

    assert merged.tolist() == [2.0, -2.0, 2.0, 0.0]


def test_a_sum_of_zero_counts_as_positive() -> None:
    """At 3 against -3 the positive entry wins, mergekit's convention."""
    models = [torch.tensor([-3.0]), torch.tensor([3.0])]

    merged = slack_ties_merge(torch.zeros(1), models, weight=[1, 1])

    assert merged.tolist() == [3.0]


def by_definition(given_: Inputs) -> list[Fraction]:
    """Follow the definition entry by entry in exact fractions, without division and lambda."""
    base = [Fraction(x) for x in given_.base.tolist()]
    deltas = [
        [Fraction(x) - b for x, b in zip(m.tolist(), base, strict=True)] for m in given_.models
    ]
    size = len(base)

    def at_least(delta: list[Fraction], rank: int) -> list[bool]:
        if rank == 0:
            return [False] * size
        bound = sorted(map(abs, delta), reverse=True)[rank - 1]
        return [abs(x) >= bound and x != 0 for x in delta]

    kept, protected = [], []
    parameters = zip(deltas, given_.weight, given_.density, given_.slack, strict=True)
    for delta, weight, density, slack in parameters:
        kept.append(at_least(delta, max(1, int(density * size)) if density > 0 else 0))
        first = at_least(delta, int(slack * size) if weight else 0)
        protected.append([a and b for a, b in zip(first, kept[-1], strict=True)])
    result = []
    for i in range(size):
        votes = [Fraction(w) * d[i] for w, d in zip(given_.weight, deltas, strict=True)]
        voters = protected if any(p[i] for p in protected) else kept
        sign = 1 if sum(v for v, may in zip(votes, voters, strict=True) if may[i]) >= 0 else -1
        added = [t for t, v in enumerate(votes) if kept[t][i] and v * sign > 0]
        total = sum((votes[t] for t in added), Fraction(0))
        if given_.normalize:
            total /= sum(Fraction(given_.weight[t]) for t in added) or 1
        result.append(base[i] + total)
    return result


@ENGINES
@given(inputs(dtypes=ANY_DTYPE))
def test_follows_its_definition(engine: Engine | None, given_: Inputs) -> None:
    """Any number of models, types, parameters and ties: the definition, rounded once."""
    merged = merge(given_, engine=engine)

    exact = torch.tensor([float(x) for x in by_definition(given_)], dtype=torch.float64)
    if given_.normalize:  # a quotient is rounded before the sum is
        eps = torch.finfo(merged.dtype).eps
        torch.testing.assert_close(merged.double(), exact, rtol=2 * eps, atol=2 * eps)
    else:
        assert torch.equal(exact.to(merged.dtype), merged)


# The laws


@given(inputs(dtypes=ANY_DTYPE))
def test_slack_of_all_is_slack_of_none(given_: Inputs) -> None:
    """If everybody votes first, nobody does."""
    everybody = merge(given_, slack=[1.0] * len(given_.models))

    assert torch.equal(everybody, merge(given_, slack=[0.0] * len(given_.models)))


@given(
    st.lists(st.permutations(range(1, 21)), min_size=1, max_size=4),
    st.data(),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_without_slack_it_is_stock_ties(
    magnitudes: list[list[int]], data: st.DataObject, dtype: torch.dtype
) -> None:
    """Slack 0 equals mergekit's `ties` where no magnitudes tie: exactly, in both precisions."""
    models = [
        torch.tensor([data.draw(st.sampled_from([-m, m])) for m in row], dtype=dtype) / 64
        for row in magnitudes
    ]
    parameters = {
        "weight": [data.draw(st.floats(0.1, 3)) for _ in models],
        "density": [data.draw(st.floats(0, 1)) for _ in models],
        "normalize": data.draw(st.booleans()),
        "lambda": data.draw(st.floats(-2, 2)),
    }
    tensors = [torch.zeros(20, dtype=dtype), *models]

    ours = merge_tensors(tensors, "slack_ties", base_index=0, parameters=parameters)

    stock = merge_tensors(tensors, "ties", base_index=0, parameters=parameters)
    tolerance = 0 if dtype == torch.float64 else torch.finfo(dtype).eps
    torch.testing.assert_close(ours, stock, rtol=tolerance, atol=0)


def test_without_slack_it_is_stock_ties_on_a_real_size() -> None:
    """Half a million random entries in float64, three models, a base that is not zero."""
    random = torch.Generator().manual_seed(0)
    tensors = [torch.randn(512, 1024, generator=random, dtype=torch.float64) for _ in range(4)]
    parameters = {"weight": [1.0, 0.5, 0.7], "density": [0.5, 0.31, 1.0]}

    ours = merge_tensors(tensors, "slack_ties", base_index=0, parameters=parameters)

    stock = merge_tensors(tensors, "ties", base_index=0, parameters=parameters)
    assert torch.equal(ours, stock)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounds_less_than_stock_ties(dtype: torch.dtype) -> None:
    """In half precision our mean error against float64 is the smaller one: we round once."""
    random = torch.Generator().manual_seed(0)
    base = torch.randn(200, 200, generator=random).to(dtype)
    models = [(base + 0.1 * torch.randn(200, 200, generator=random)).to(dtype) for _ in range(2)]
    tensors, parameters = [base, *models], {"weight": [1.0, 0.75]}  # all kept: no ties to break

    exact = merge_tensors(tensors, "ties", base_index=0, parameters=parameters, dtype=torch.float64)
    errors = {
        name: (merge_tensors(tensors, name, base_index=0, parameters=parameters).double() - exact)
        .abs()
        .mean()
        for name in ("slack_ties", "ties")
    }

    assert errors["slack_ties"] < errors["ties"]
    # Correct to half a unit in the last place; 1e-6 for float32 sums that cancel out.
    unit = torch.finfo(dtype).eps * exact.abs().clamp(min=torch.finfo(dtype).smallest_normal)
    ours = merge_tensors(tensors, "slack_ties", base_index=0, parameters=parameters)
    assert ((ours.double() - exact).abs() <= 0.51 * unit + 1e-6).all()


def lost(given_: Inputs, slack: float, top: int) -> int:
    """Count the second model's `top` largest entries that the merge gives the other sign."""
    merged = merge(given_, slack=[0.0, slack], density=[1.0, 1.0], weight=[1.0, 1.0])
    delta = given_.models[1] - given_.base
    largest = delta.abs() >= delta.abs().sort(descending=True).values[top - 1]
    signs = (merged - given_.base).sign()
    return int((largest & (delta != 0) & (signs != delta.sign())).sum())


@given(inputs(models=st.just(2)), SLACKS := st.floats(0, 1), SLACKS, st.data())
def test_more_slack_never_loses_more(
    given_: Inputs, some: float, other: float, data: st.DataObject
) -> None:
    """The number of a model's largest entries that are lost never grows with its slack."""
    top = data.draw(st.integers(1, given_.base.numel()))
    less, more = sorted([some, other])

    assert lost(given_, more, top) <= lost(given_, less, top)


@given(inputs(models=st.just(2), weights=st.sampled_from([0.25, 1.0, 2.0])), SLACKS)
def test_protected_entries_are_never_lost(given_: Inputs, slack: float) -> None:
    """Two models, slack on one: where it protects an entry the result has that entry's sign."""
    merged = merge(given_, slack=[0.0, slack])

    size = given_.base.numel()
    delta = given_.models[1] - given_.base
    ordered = delta.abs().sort(descending=True).values
    protected, kept = int(slack * size), max(1, int(given_.density[1] * size))
    assume(protected and given_.density[1] > 0)
    first = (delta.abs() >= ordered[min(protected, kept) - 1]) & (delta != 0)
    signs = (merged - given_.base).sign()
    assert torch.equal(signs[first], delta.sign()[first])


@given(inputs())
def test_no_position_mixes_signs(given_: Inputs) -> None:
    """What is added at a position lies between zero and the sum of the votes of one sign."""
    tau = merge(given_, normalize=False) - given_.base

    votes = torch.stack(
        [w * (model - given_.base) for w, model in zip(given_.weight, given_.models, strict=True)]
    )
    assert (tau <= votes.clamp(min=0).sum(0)).all()
    assert (tau >= votes.clamp(max=0).sum(0)).all()
    of_one_sign = torch.where(tau > 0, votes.clamp(min=0), votes.clamp(max=0))
    assert (tau.abs() <= of_one_sign.abs().sum(0)).all()


@given(inputs(dtypes=ANY_DTYPE), st.randoms())
def test_models_may_be_listed_in_any_order(given_: Inputs, random: object) -> None:
    """Another order gives the same tensor."""
    order = list(range(len(given_.models)))
    random.shuffle(order)

    def shuffled(values: list[object]) -> list[object]:
        return [values[i] for i in order]

    other = slack_ties_merge(
        given_.base,
        shuffled(given_.models),
        **{name: shuffled(getattr(given_, name)) for name in ("weight", "density", "slack")},
        normalize=given_.normalize,
    )

    assert torch.equal(merge(given_), other)


@given(inputs(), st.integers(-3, 3))
def test_scaling_all_deltas_scales_the_result(given_: Inputs, power: int) -> None:
    """Deltas times a power of two: the merged delta times the same power of two."""
    zero, factor = torch.zeros_like(given_.base), 2.0**power
    deltas = [model - given_.base for model in given_.models]

    scaled = slack_ties_merge(zero, [factor * d for d in deltas], **given_.parameters())

    assert torch.equal(factor * slack_ties_merge(zero, deltas, **given_.parameters()), scaled)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lambda_", [1.0, -1.0])
def test_models_equal_to_the_base_give_the_base(dtype: torch.dtype, lambda_: float) -> None:
    """Bit for bit, negative zero included."""
    base = torch.tensor([1.5, -0.0, 0.0, -3.25]).to(dtype)

    merged = slack_ties_merge(
        base, [base.clone(), base.clone()], weight=[1, 2], slack=[0, 0.5], lambda_=lambda_
    )

    assert merged.dtype == dtype
    assert torch.equal(base.view(torch.uint8), merged.view(torch.uint8))


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_model_gives_that_model(dtype: torch.dtype) -> None:
    """Weight 1, density 1: the model itself, to one rounding."""
    random = torch.Generator().manual_seed(0)
    base, model = (torch.randn(64, 33, generator=random).to(dtype) for _ in range(2))

    merged = slack_ties_merge(base, [model], weight=[1.0], slack=[0.3])

    torch.testing.assert_close(merged, model, rtol=0, atol=4 * torch.finfo(dtype).eps)


@given(inputs(entries=st.integers(0, 64), weights=st.sampled_from([0.25, 0.5, 2.0])))
def test_without_conflicts_it_is_task_arithmetic(given_: Inputs) -> None:
    """Density 1, slack 0, no division, all deltas of one sign: the weighted sum of deltas."""
    ones = [1.0] * len(given_.models)

    merged = merge(given_, density=ones, slack=[0.0] * len(ones), normalize=False)

    tensors = [given_.base, *given_.models]
    parameters = {"weight": given_.weight, "normalize": False}
    stock = merge_tensors(tensors, "task_arithmetic", base_index=0, parameters=parameters)
    assert torch.equal(merged, stock)


@given(inputs(dtypes=ANY_DTYPE), st.integers(1, 30))
def test_the_block_size_changes_nothing(given_: Inputs, block: int) -> None:
    """The same bytes, however the tensor is cut."""
    in_blocks = partial(merge_blocks, block=block)

    assert torch.equal(merge(given_), merge(given_, engine=in_blocks))


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_and_blocks_change_nothing(dtype: torch.dtype) -> None:
    """Real numbers, real sizes: the same bytes for 1 to 3 threads and for odd blocks."""
    random = torch.Generator().manual_seed(0)
    base, *models = (torch.randn(800_001, generator=random).to(dtype) for _ in range(4))
    parameters = {"weight": [1.0, 0.3, 0.7], "density": [0.5] * 3, "slack": [0.0, 0.2, 0.1]}
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results += [
                slack_ties_merge(base, models, engine=engine, **parameters)
                for engine in (None, merge_blocks, partial(merge_blocks, block=65_537))
            ]
    finally:
        torch.set_num_threads(threads)

    assert all(torch.equal(results[0], result) for result in results[1:])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gpu_gives_the_same_bytes(dtype: torch.dtype) -> None:
    """CPU and CUDA agree bit for bit: every step is one IEEE operation on each entry."""
    random = torch.Generator().manual_seed(0)
    base, *models = (torch.randn(300_001, generator=random).to(dtype) for _ in range(4))
    parameters = {"weight": [1.0, 0.3, 0.7], "density": [0.5] * 3, "slack": [0.0, 0.2, 0.1]}

    on_gpu = slack_ties_merge(base.cuda(), [m.cuda() for m in models], **parameters)

    assert torch.equal(slack_ties_merge(base, models, **parameters), on_gpu.cpu())


# Shapes and types


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4), (2, 3, 4)])
def test_keeps_shape_and_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Scalars, empty tensors, norms, matrices, and stacked experts."""
    base = torch.ones(shape).to(dtype)

    merged = slack_ties_merge(base, [base * 2, base * 3], weight=[1, 1], slack=[0.5, 0])

    assert (merged.shape, merged.dtype) == (base.shape, dtype)


def test_reads_transposed_tensors() -> None:
    """The layout in memory does not matter."""
    random = torch.Generator().manual_seed(0)
    base, *models = (torch.randn(6, 4, generator=random) for _ in range(3))

    merged = slack_ties_merge(base.t(), [m.t() for m in models], weight=[1, 1], density=[0.5, 0.5])

    straight = slack_ties_merge(base, models, weight=[1, 1], density=[0.5, 0.5])
    assert torch.equal(straight.t(), merged)


def test_a_model_without_weight_takes_no_part() -> None:
    """Its most important entries do not vote first with zeros, which would count as positive."""
    models = [torch.tensor([-5.0, -4.0, 3.0]), torch.tensor([1.0, 2.0, 3.0])]

    merged = slack_ties_merge(torch.zeros(3), models, weight=[1, 0], slack=[0, 1])

    assert merged.tolist() == [-5.0, -4.0, 3.0]


def test_zeros_are_not_protected() -> None:
    """However much slack: an entry that did not change has nothing to say."""
    models = [torch.tensor([-5.0, -4.0]), torch.tensor([0.0, 1.0])]

    merged = slack_ties_merge(torch.zeros(2), models, weight=[1, 1], slack=[0, 1])

    assert merged.tolist() == [-5.0, 1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"density": [float("nan")]}, r"density must be a number in \[0, 1\], got nan"),
        ({"slack": [-1]}, "slack must be a number"),
        ({"weight": [1e39]}, r"weight must be a number that float32 can hold, got 1e\+39"),
        ({"lambda_": float("inf")}, "lambda must be a finite number, got inf"),
        ({"weight": [1, 2]}, "weight: expected one value for each of 1 models, got 2"),
        ({"models": [torch.ones(1)]}, r"expected tensors of shape \(2,\) on cpu as the base"),
        ({"models": [torch.ones(2).int()]}, "expected tensors of a floating-point type"),
    ],
)
def test_refuses_what_has_no_meaning(arguments: dict[str, object], message: str) -> None:
    """Called with tensors, without mergekit's checks before it."""
    arguments = {"models": [torch.ones(2)], "weight": [1], **arguments}

    with pytest.raises(ValueError, match=message):
        slack_ties_merge(torch.zeros(2), **arguments)


def test_one_wide_input_makes_the_work_wide() -> None:
    """A float64 model of a float32 base: deltas keep what float32 would lose."""
    base, tiny = torch.ones(1), 2.0**-40
    model = torch.ones(1, dtype=torch.float64) + tiny

    merged = slack_ties_merge(base, [model], weight=[2.0**20], normalize=False)

    assert merged.tolist() == [1 + 2.0**-20]


def test_leaves_its_inputs_alone() -> None:
    """Mergekit lends tensors; they are not changed."""
    base, model = torch.zeros(4), torch.tensor([1.0, -2.0, 3.0, -4.0])

    slack_ties_merge(base, [model], weight=[2.0], density=[0.5], slack=[0.5])

    assert (base.tolist(), model.tolist()) == ([0.0] * 4, [1.0, -2.0, 3.0, -4.0])


# As a mergekit method


def test_mergekit_knows_it() -> None:
    """It is registered under its name, needs a base and can use an accelerator."""
    assert get("slack_ties") is SLACK_TIES
    assert SLACK_TIES.spec.uses_accelerator
    with pytest.raises(ValueError, match="requires a base"):
        merge_tensors([CT, SFT], "slack_ties", parameters={"weight": 1.0})


def test_the_base_alone_is_returned() -> None:
    """As with stock `ties`."""
    merged = merge_tensors([CT], "slack_ties", base_index=0, parameters={"weight": 1.0})

    assert torch.equal(CT, merged)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"density": 1.5}, r"density must be a number in \[0, 1\], got 1.5"),
        ({"density": -0.1}, r"density must be a number in \[0, 1\], got -0.1"),
        ({"slack": float("nan")}, r"slack must be a number in \[0, 1\], got nan"),
        ({"slack": 2}, r"slack must be a number in \[0, 1\], got 2"),
        ({"weight": float("inf")}, "weight must be a finite number, got inf"),
        ({"weight": "much"}, "weight must be a finite number, got 'much'"),
        ({"lambda": float("nan")}, "lambda must be a finite number, got nan"),
        ({"normalize": "perhaps"}, "normalize must be true or false, got 'perhaps'"),
    ],
)
def test_refuses_parameters_out_of_range(parameters: dict[str, object], message: str) -> None:
    """Each is named, with what was expected and what was found."""
    with pytest.raises(ValueError, match=message):
        merge_tensors(
            [ZERO, CT, SFT], "slack_ties", base_index=0, parameters={"weight": 1.0, **parameters}
        )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_refuses_weights_that_are_not_finite(bad: float, where: int, density: float) -> None:
    """The error names tensor and model, also where trimming would have dropped the entry."""
    tensors = [torch.ones(4, 4) * i for i in range(3)]
    tensors[where][1, 2] = bad

    with pytest.raises(CheckpointError) as caught:
        merge_tensors(
            tensors,
            "slack_ties",
            ids=["base-model", "ct-model", "sft-model"],
            base_index=0,
            name="model.norm.weight",
            parameters={"weight": 1.0, "density": density},
        )

    name = ["base-model", "ct-model", "sft-model"][where]
    expected = f"model.norm.weight of {name}: 1 of 16 entries are NaN or infinite, expected none"
    assert str(caught.value) == expected


def test_refuses_a_result_that_overflows() -> None:
    """A float16 result beyond 65504 is an error, not an infinity."""
    with pytest.raises(CheckpointError, match="overflows float16"):
        slack_ties_merge(
            torch.zeros(2).half(), [torch.ones(2).half()], weight=[1e5], normalize=False
        )
