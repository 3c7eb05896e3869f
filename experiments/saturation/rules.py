"""Try another rule: `python experiments/saturation/rules.py [quick|full]`.

It adds both deltas, as task arithmetic does, but where the SFT delta has the opposite sign, the CT
delta counts only a share. Beside it stand task arithmetic and slack_ties; each of the three also
with lighter CT models. All are scored on the validation split: the rule was found on the validation
split of the real model, and is tried here before it is tested anywhere.

The models are those of `run.py`, in the same folder, and only those that are needed. What is done
is not done again: stop it when you like, and start it again. Rows are in results/MODE/rules.csv.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor

import models
from bench import Bench
from common import stamp
from common.jobs import Job, do_all
from methods import BY_NAME
from modes import MODES, Mode
from real.candidates import Rule, scaled, top, vote
from rows import Row, bits, read_rows, text_of, write_table
from run import CODE, about, be_quiet
from score import score

__all__ = ["OF_RULE", "SHARES", "WEIGHTS", "merged", "rules", "try_rules", "values_of"]

HERE = Path(__file__).resolve().parent
WEIGHTS = (1.0, 0.85, 0.7, 0.55, 0.4)  # of the CT model
OF_RULE = WEIGHTS[:3]  # its weights with the rule
SHARES = (0.75, 0.5, 0.25)  # of the CT delta, at conflicts


def rules() -> Iterator[tuple[str, dict[str, float], Rule]]:
    """Yield every merge: its method, its values, and a function of one tensor's deltas."""
    for weight in WEIGHTS:
        yield "task_arithmetic", values_of(weight), _of_conflicts(weight, 1.0)
    default = BY_NAME["slack_ties"].default
    slack, density = default["slack"], default["density"]
    for weight in WEIGHTS:
        values = values_of(weight, density=density, slack=slack)
        yield "slack_ties", values, _of_slack(weight, slack, density)
    for weight in OF_RULE:
        for share in SHARES:
            yield "conflicts", values_of(weight, share=share), _of_conflicts(weight, share)


def values_of(weight: float, **others: float) -> dict[str, float]:
    """Return a merge's values as the rows have them; the SFT model's weight is 1 in all."""
    return {"ct_weight": weight, **others}


def _of_conflicts(weight: float, share: float) -> Rule:
    return lambda ct, sft, _: scaled(weight * ct, sft, ct * sft < 0, share)


def _of_slack(weight: float, slack: float, density: float) -> Rule:
    return lambda ct, sft, _: vote(weight * ct, sft, top(sft, slack), density)


def merged(
    base: Mapping[str, Tensor], ct: Mapping[str, Tensor], sft: Mapping[str, Tensor], rule: Rule
) -> dict[str, Tensor]:
    """Return the weights that a rule makes, tensor by tensor."""
    made = {}
    for name, start in base.items():
        flat = start.flatten()
        deltas = (each[name].flatten() - flat for each in (ct, sft))
        made[name] = (flat + rule(*deltas, flat)).view_as(start)
    return made


def try_rules(bench: Bench, sft: str, ct: int) -> None:
    """Merge by every rule, and score each merge in X on the validation split."""
    model, rows, items = bench.load("base"), list[Row](), bench.mode.validation
    names = ("base", f"ct-x-{ct}", f"sft-{sft}")
    base, of_ct, of_sft = (bench.weights(name) for name in names)
    for method, values, rule in rules():
        model.load_state_dict(merged(base, of_ct, of_sft, rule))
        found = score(model, "x", "validation", items)
        row = Row(
            *(bench.seed, sft, ct, method, "rule", text_of(values), "x", items),
            accuracy=found.right.float().mean().item(),
            strict=found.strict.float().mean().item(),
            perplexity=found.perplexity,
            right=bits(found.right.tolist()),
        )
        rows.append(row)
    write_table(bench.table(f"rules-{sft}-{ct}"), rows)


def jobs(mode: Mode, work: Path, seeds: int) -> Iterator[Job]:
    """Yield what each seed needs: models, as `run.py` makes them, and then the merges."""
    for bench in (Bench(mode, work, seed) for seed in range(seeds)):
        at, base = f"seed {bench.seed}", bench.model("base")
        yield Job(f"{at}: make base", models.make_base, (bench,), (base,))
        cts = {ct: bench.model(f"ct-x-{ct}") for ct in mode.grid_cts}
        arguments = (bench, "x", mode.grid_cts)
        yield Job(f"{at}: make ct x", models.make_ct, arguments, (*cts.values(),), (base,))
        for sft in mode.sft:
            tuned = bench.model(f"sft-{sft}")
            yield Job(f"{at}: make sft {sft}", models.make_sft, (bench, sft), (tuned,), (base,))
            for ct, folder in cts.items():
                made, needs = (bench.table(f"rules-{sft}-{ct}"),), (base, tuned, folder)
                yield Job(f"{at}: try rules {sft} {ct}", try_rules, (bench, sft, ct), made, needs)


def collect(mode: Mode, work: Path, results: Path) -> None:
    """Write the rows of all merges that have been scored so far, and of which code they are."""
    parts = sorted(work.glob("seed-*/rules-*.csv"))
    if parts:
        write_table(results / "rules.csv", [row for part in parts for row in read_rows(part)])
        code = [HERE / f"{name}.py" for name in (*CODE, "rules")]
        code.append(HERE.parent / "real" / "candidates.py")
        stamp.write_versions(results, stamp.about(asdict(mode), code), "rules_versions.json")


def main() -> None:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("mode", nargs="?", default="quick", choices=MODES)
    parser.add_argument("--seeds", type=int, help="the first so many [all of the mode]")
    parser.add_argument("--processes", type=int, default=2, help="jobs at once [2]")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="folder for models")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for rows")
    chosen = parser.parse_args()
    mode = MODES[chosen.mode]
    work, results = chosen.work / mode.name, chosen.results / mode.name
    stamp.check_same(work, about(mode))
    every = list(jobs(mode, work, chosen.seeds or mode.seeds))
    try:
        left = do_all(every, processes=chosen.processes, set_up=be_quiet)
    except KeyboardInterrupt:
        print("stopped: the same command goes on where it was", file=sys.stderr)
        sys.exit(130)
    finally:
        collect(mode, work, results)
    if left:
        sys.exit(1)


if __name__ == "__main__":
    main()
