"""Reading a merge config: what is accepted, and what is refused with which words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from command import Invoke
from slack_ties.errors import AS_UTF_8, RecipeError
from slack_ties.recipe.check import DTYPES
from slack_ties.recipe.keys import KEYS
from slack_ties.recipe.read import parse_recipe, read_recipe
from slack_ties.recipe.recipe import FACTS_KEY
from triple import Folders

GOOD = """
merge_method: slack_ties
base_model: base
models:
  - model: ct
    parameters: {weight: 1, density: 0.5}
  - model: sft
    parameters: {weight: 1, density: 0.5, slack: 0.2}
parameters: {normalize: false, lambda: 1}
"""


def changed(**changes: object) -> str:
    """Return GOOD with some keys changed; None removes one."""
    data = {**yaml.safe_load(GOOD), **changes}
    return yaml.safe_dump({key: value for key, value in data.items() if value is not None})


def one_model(**parameters: object) -> str:
    """Return GOOD with one model that has these parameters."""
    return changed(models=[{"model": "ct", "parameters": parameters}])


def test_keeps_the_text_and_knows_the_models() -> None:
    """The text stays as written; models come once, the base first; slack tells the SFT model."""
    recipe = parse_recipe(GOOD, where="x.yml")

    assert recipe.text == GOOD
    assert (recipe.method, recipe.base, recipe.models) == (
        "slack_ties",
        "base",
        ("base", "ct", "sft"),
    )
    assert [recipe.role(model) for model in recipe.models] == ["base", "ct", "sft"]


def test_reads_our_facts() -> None:
    """What stands under our key becomes roles, language and licences."""
    facts = {
        "recipe": 1,
        "language": {"tag": "bo", "name": "Tibetan"},
        "roles": {"ct": "ct", "sft": "sft"},
        "licenses": {"ct": "mit"},
        "sft_languages": ["en"],
    }

    recipe = parse_recipe(changed(**{FACTS_KEY: facts}), where="x.yml")

    assert recipe.facts.language == {"tag": "bo", "name": "Tibetan"}
    assert [recipe.role(model) for model in recipe.models] == ["base", "ct", "sft"]
    assert recipe.facts.sft_languages == ("en",)


@pytest.mark.parametrize(
    "text",
    [
        one_model(weight=[0, 0.5, 1]),  # a gradient
        one_model(weight=[{"filter": "mlp", "value": 0.5}, {"value": 1}]),  # by tensor name
        one_model(weight=1, density="5e-1"),
        changed(
            parameters={"weight": 1, "density": 0.5, "normalize": True}, models=[{"model": "a"}]
        ),
        changed(parameters={"int8_mask": True}),  # of stock ties: no effect on the result
        changed(parameters={"rescale": False}),
        changed(name="for mergekit-multi", tokenizer={"source": "base"}, dtype="float32"),
        changed(
            models=[
                {"model": {"model": {"path": "a", "revision": "b"}}, "parameters": {"weight": 1}}
            ]
        ),
        changed(
            models=None,
            slices=[
                {
                    "sources": [
                        {"model": "base", "layer_range": [0, 2]},
                        {"model": "ct", "layer_range": [0, 2], "parameters": {"weight": 1}},
                    ]
                }
            ],
        ),
    ],
)
def test_accepts_what_mergekit_does(text: str) -> None:
    """Gradients, filters, slices, long references, and what a `ties` config brings along."""
    parse_recipe(text, where="x.yml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [", "x.yml: line 1, column 10: not valid YAML: "),
        ("just text", r"x.yml: expected a mergekit config \(keys and values\), got a text"),
        ("", "got nothing"),
        (changed(merge_method=None), "merge_method is missing"),
        (changed(models=None), "exactly one of models, slices and modules"),
        (changed(merge_methods="x"), "unknown key 'merge_methods'. Did you mean 'merge_method'?"),
        (changed(base_model=None), "slack_ties needs a base_model"),
        (changed(out_dtype="bf16"), "out_dtype: unknown type 'bf16'. Did you mean 'bfloat16'?"),
        (changed(models="ct"), "models: expected a list, got 'ct'"),
        (changed(models=["ct"]), r"models\[0\]: expected keys and values, got 'ct'"),
        (changed(models=[{"parameters": {}}]), r"models\[0\]: model is missing"),
        (changed(models=[{"modle": "ct"}]), "unknown key 'modle'. Did you mean 'model'?"),
        (one_model(density=0.5), r"models\[0\] \(ct\): weight is missing"),
        (one_model(weight=1, slak=0.2), "unknown parameter 'slak'. Did you mean 'slack'?"),
        (one_model(weight=1, normalize=True), "normalize is for the whole merge"),
        (one_model(weight=1, slack=1.5), r"slack must be a number in \[0, 1\], got 1.5"),
        (one_model(weight=[0, float("nan")]), "weight must be a finite number, got nan"),
        (one_model(weight={"filter": "mlp"}), "value is missing"),
        (one_model(weight={"filer": "mlp", "value": 1}), "Did you mean 'filter'?"),
        (one_model(weight=[]), "got an empty list"),
        (changed(parameters={"rescale": True}), "unknown parameter 'rescale'"),
        (changed(parameters=[1]), r"parameters: expected parameters and values, got \[1\]"),
        (changed(slack_ties=[1]), r"slack_ties: expected keys and values, got \[1\]"),
        ("a: 2024-13-45", "not valid YAML"),
        (
            "merge_method: ties\n---\nmerge_method: ties\n",
            "several configs in one file, as mergekit-multi takes them",
        ),
        ("base_model: a/b\nexperts: []\n", "a config of mergekit-moe, which makes a mixture"),
        ("[" * 3000, "not valid YAML"),
        ("a: &a [*a]\nmodels: *a\nmerge_method: slack_ties", "unknown key 'a'"),
        (changed(models=None, slices=[{}]), "at least one model to merge"),
        (
            changed(slack_ties={"recipe": 1, "sft_languages": "en"}),
            "sft_languages: expected a list",
        ),
        (changed(slack_ties={"recipe": 2}), "slack_ties.recipe: expected 1, got 2"),
        (changed(slack_ties={"recipe": 1, "roles": 3}), "slack_ties.roles: expected keys"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    """One line each: where, what was expected, what was found, and the nearest known name."""
    with pytest.raises(RecipeError, match=message) as caught:
        parse_recipe(text, where="x.yml")

    assert "\n" not in f"{caught.value}{caught.value.hint}"
    assert str(caught.value).startswith("x.yml: ")


def test_a_value_that_contains_itself() -> None:
    """An anchor within itself has no end."""
    text = GOOD.replace(
        "weight: 1, density: 0.5}\n  - model: sft", "weight: &w [*w]}\n  - model: sft"
    )

    with pytest.raises(RecipeError, match="YAML that contains itself"):
        parse_recipe(text, where="x.yml")


def test_a_missing_file(tmp_path: Path) -> None:
    """The error names the file, and says how to make one."""
    with pytest.raises(RecipeError, match=r"no config file '.*none\.yml'") as caught:
        read_recipe(tmp_path / "none.yml")

    assert caught.value.hint.startswith("slack-ties config")


LAUGHS = "\n".join(
    ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
)

ODD_FILES = {
    "empty": (b"", "expected a mergekit config (keys and values), got nothing"),
    "binary": (
        b"\x7fELF\xff\x00",
        "expected a YAML text file in UTF-8, got other bytes (at byte 4)",
    ),
    "UTF-16": (GOOD.encode("utf-16"), "expected a YAML text file in UTF-8, got UTF-16"),
    "NUL": (b"a: \x00", "not valid YAML: unacceptable character #x0000"),
    "a tab": (b"models:\n\t- a", "line 2, column 1: not valid YAML: found character"),
    "100 MB": (None, "expected a YAML text file of at most 4 MB, got more"),
    "laughs": (
        f"{LAUGHS}\nmerge_method: linear\nmodels: *a9".encode(),
        "not valid YAML: aliases make more than 1,000,000 values of it",
    ),
    "a key twice": (
        GOOD.replace("merge_method", "dtype: float16\ndtype: float32\nmerge_method", 1).encode(),
        "'dtype' is given twice in the same place",
    ),
}


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("command", ["plan", "merge"])
def test_what_is_no_config(command: str, kind: str, invoke: Invoke) -> None:
    """One line that names the file, what was expected and what was found."""
    content, said = ODD_FILES[kind]
    with Path("x.yml").open("wb") as file:
        file.write(content) if content is not None else file.truncate(100_000_000)

    result = invoke(command, "x.yml", *(["out"] if command == "merge" else []))

    assert result.exit_code == 1
    problem = result.stderr.splitlines()[0]
    assert problem.startswith("Error: x.yml:")
    assert said in problem
    assert len(problem) < 200


def test_a_folder_is_no_config(invoke: Invoke) -> None:
    """The next step names a config that is in it, and is a path that exists."""
    Path("my model").mkdir()
    assert invoke("plan", "my model").stderr.splitlines() == [
        "Error: my model: expected a YAML text file, got a folder",
        "Next: give the path of a config: a file that ends in .yml",
    ]
    Path("my model", "mergekit_config.yml").write_text(GOOD)
    assert "Next: use 'my model/mergekit_config.yml', which is in it" in (
        invoke("plan", "my model").stderr
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read if somebody writes to it; if nobody does, it is called empty."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr("slack_ties.recipe.yaml_text.PATIENCE", 0.1)
    with pytest.raises(RecipeError, match="got nothing"):
        read_recipe(pipe)

    monkeypatch.setattr("slack_ties.recipe.yaml_text.PATIENCE", 20)
    long = GOOD + "#" * 200_000  # more than a pipe holds
    writer = threading.Thread(target=pipe.write_text, args=(long,))
    writer.start()
    assert read_recipe(pipe).text == long
    writer.join()


@pytest.mark.parametrize("text", ["\ufeff" + GOOD, GOOD.replace("\n", "\r\n")])
def test_a_text_of_windows(text: str, tmp_path: Path) -> None:
    """A byte-order mark and CRLF are read."""
    (tmp_path / "x.yml").write_bytes(text.encode())

    assert read_recipe(tmp_path / "x.yml").data == yaml.safe_load(GOOD)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locale")
def test_letters_that_this_python_cannot_use(triple: Folders, tmp_path: Path) -> None:
    """A folder named in a config, or a word of the command: one line; the next step works."""
    folder = Path(shutil.copytree(triple.base, tmp_path / "བོད"))
    config = {"merge_method": "linear", "models": [{"model": str(folder)}]}
    config["parameters"] = {"weight": 1}
    (tmp_path / "x.yml").write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}

    for words in (["plan", str(tmp_path / "x.yml")], ["merge", "x.yml", str(folder / "out")]):
        done = subprocess.run(
            [sys.executable, "-m", "slack_ties", *words],
            env=plain,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 1
        assert "here Python takes file names for ascii, which lacks" in done.stdout + done.stderr
        assert done.stderr.splitlines()[-1] == f"Next: {AS_UTF_8}"

    words = ["plan", str(tmp_path / "x.yml")]
    subprocess.run(
        [sys.executable, "-m", "slack_ties", *words], env={**plain, "PYTHONUTF8": "1"}, check=True
    )


def test_known_keys_are_mergekits() -> None:
    """Our lists of keys and types are those of the installed mergekit, and ours it ignores."""
    from mergekit import config  # noqa: PLC0415 - heavy
    from mergekit.common import dtype_from_name  # noqa: PLC0415
    from mergekit.tokenizer.config import TokenEmbeddingConfig  # noqa: PLC0415

    merge = config.MergeConfiguration
    parts = {
        "": merge,
        "models": config.InputModelDefinition,
        "sources": config.InputSliceDefinition,
        "slices": config.OutputSliceDefinition,
        "modules": config.OutputModuleDefinition,
        "tokenizer": config.TokenizerConfig,
        "token": TokenEmbeddingConfig,
        "reference": config.ModelReference,
    }
    assert {kind: set(part.model_fields) for kind, part in parts.items()} == KEYS
    assert all(dtype_from_name(name).is_floating_point for name in DTYPES)
    data = yaml.safe_load(GOOD)
    with_facts = merge.model_validate({**data, FACTS_KEY: {"recipe": 1}})
    assert merge.model_validate(data) == with_facts
