"""Plan, merge and check one animal of the zoo; `tests/test_zoo.py` and the table use it.

`python tests/zoo_merge.py` writes docs/architectures.md from what it finds.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import transformers
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from safetensors.torch import load_file
from transformers import PreTrainedModel

from dense import merged_densely
from slack_ties.merge.merge import merge_models
from slack_ties.plan.make import plan_merge
from slack_ties.recipe.read import parse_recipe
from zoo import NOT_HERE, ZOO, Animal, logits, make, moved

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
QUIET = MergeOptions(quiet=True)
ROLES = ("base", "ct", "sft")
CONFIG = """\
merge_method: {method}
base_model: {folder}/base
models:
- model: {folder}/ct
  parameters: {{weight: 1, density: 0.5}}
- model: {folder}/sft
  parameters: {{weight: 1, density: 0.5{slack}}}
parameters: {{normalize: false}}
"""


@dataclass(frozen=True)
class Outcome:
    """How the merge of an animal ended."""

    refused: str = ""  # why, if it was
    lost: tuple[str, ...] = ()  # tensors of the base that the result lacks
    wrong: tuple[str, ...] = ()  # tensors that are not the definition's
    not_loaded: tuple[str, ...] = ()  # what transformers misses, or does not expect
    same_logits: bool = False  # as the dense merge, loaded in the same way


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return all weights of a model."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def make_models(animal: Animal, folder: Path) -> None:
    """Save a base, and two models that were trained from it."""
    base = make(animal)
    for number, role in enumerate(ROLES):
        model = moved(base, 0.02, number) if number else base
        model.save_pretrained(folder / role)


def try_merge(animal: Animal, folder: Path) -> Outcome:
    """Merge the models that `make_models` has saved, and compare everything."""
    recipe = parse_recipe(
        CONFIG.format(method="slack_ties", folder=folder, slack=", slack: 0.2"), where="zoo.yml"
    )
    plan = plan_merge(recipe)
    if plan.errors:
        return Outcome(refused=str(plan.errors[0]))
    merge_models(recipe, folder / "out", options=QUIET)
    base, ct, sft, out = (tensors(folder / name) for name in (*ROLES, "out"))
    dense = {
        name: merged_densely(base[name], ct[name], sft[name]).to(base[name].dtype)
        if base[name].is_floating_point()
        else base[name]
        for name in base
    }
    wrong = [n for n in base if n not in out or not torch.equal(dense[n], out[n])]
    model, info = load(animal, folder / "out")
    missed = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
    expected = load_dense(animal, folder / "base", dense)
    return Outcome(
        lost=tuple(sorted(base.keys() - out.keys())),
        wrong=tuple(wrong),
        not_loaded=tuple(map(str, missed)),
        same_logits=torch.equal(logits(animal, model), logits(animal, expected)),
    )


def load(animal: Animal, folder: Path) -> tuple[PreTrainedModel, dict[str, list[str]]]:
    """Return a model as transformers loads it, and what it misses."""
    kind = getattr(transformers, animal.kind)
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    return model, info


def load_dense(animal: Animal, base: Path, dense: dict[str, torch.Tensor]) -> PreTrainedModel:
    """Return the base with the dense merge's weights, by transformers alone."""
    kind = getattr(transformers, animal.kind)
    config = transformers.AutoConfig.from_pretrained(base)
    return kind.from_pretrained(None, config=config, state_dict=dict(dense))


def stock(folder: Path) -> str:
    """Return what mergekit makes of the same models with its own `ties`, for the table."""
    text = CONFIG.format(method="ties", folder=folder, slack="")
    config = MergeConfiguration.model_validate(yaml.safe_load(text))
    try:
        run_merge(
            config, str(folder / "stock"), QUIET.model_copy(update={"write_model_card": False})
        )
    except Exception as error:  # noqa: BLE001 - whatever it raises is the finding
        wanted = re.match(r"Tensor (\S+) required", str(error))
        return f"fails: it asks for `{wanted[1]}`" if wanted else "fails"
    base, out = tensors(folder / "base"), tensors(folder / "stock")
    lost, new = base.keys() - out.keys(), out.keys() - base.keys()
    if lost and new:
        return f"{len(lost)} names become {len(new)} others"
    return f"loses {len(lost)} of {len(base)}" if lost else "all"


def row(animal: Animal, outcome: Outcome, stock_says: str) -> str:
    """Return an animal's line of the table."""
    result = outcome.refused or "merged, every tensor right"
    if outcome != Outcome(same_logits=True) and not outcome.refused:
        result = str(asdict(outcome))
    return f"| {animal.name} | `{animal.kind}` | {result} | {stock_says} |"


def main() -> None:
    """Write the table into the page."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.disable(logging.ERROR)
    lines = []
    for animal in ZOO:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_models(animal, folder)
            outcome = try_merge(animal, folder)
            lines.append(row(animal, outcome, stock(folder)))
            print(lines[-1], flush=True)  # noqa: T201 - a script
            shutil.rmtree(folder / "stock", ignore_errors=True)
    lines += ["", f"Not tried: {len(NOT_HERE)}.", ""]
    lines += [f"- `{kind}`: {why}" for kind, why in sorted(NOT_HERE.items())]
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    head = "| Model | Class | slack-ties | Stock `mergekit-yaml` 0.1.5 |\n| --- | --- | --- | --- |"
    PAGE.write_text("\n".join([before + BEGIN + head, *lines, END + after]), "utf-8")


if __name__ == "__main__":
    main()
