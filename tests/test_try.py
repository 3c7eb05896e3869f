"""A merged model and its parents answer the same prompts, as transformers lets them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import processes
from command import Invoke, assert_refused
from hub_server import Server
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import CheckpointError, OutputError
from slack_ties.evaluation.answers import (
    Answer,
    Answers,
    Tried,
    answers_as_json,
    digest_of_weights,
    read_answers,
    write_answers,
)
from slack_ties.merge.merge import merge_models
from slack_ties.models.memory import check_fits
from slack_ties.record import read_record
from slack_ties.run import run_all
from slack_ties.running.run_models import failed
from slack_ties.trying.prompts import read_prompts
from slack_ties.trying.try_prompts import try_prompts
from triple import Folders

PROMPTS = ["བོད་སྐད", "What comes after two?"]
NO = "{{ raise_exception('no') }}"
ROLES = ["merged", "base", "ct", "sft"]


@pytest.fixture(scope="module")
def merged(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged model; not to be changed."""
    out = tmp_path_factory.mktemp("try") / "out"
    choices = Choices(str(triple.base), str(triple.ct), str(triple.sft))
    merge_models(make_config("bo", choices), out, quiet=True)
    return out


@pytest.fixture
def own(merged: Path, tmp_path: Path) -> Path:
    """A copy of the merged model, which a test may change."""
    return Path(shutil.copytree(merged, tmp_path / "own"))


def by_transformers(folder: Path, prompt: str, *, chat: bool, most: int) -> str:
    """Return what a model answers if nothing of ours is used."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    if chat:
        said = [{"role": "user", "content": prompt}]
        given: Any = tokenizer.apply_chat_template(
            said, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
    else:
        given = tokenizer(prompt, return_tensors="pt")
    out = model.generate(**given, max_new_tokens=most, do_sample=False)
    new = out[0][given["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True))


def test_answers_are_those_of_transformers(merged: Path, triple: Folders) -> None:
    """The same text from each of the four; the chat template where a model has one."""
    found = try_prompts(merged, PROMPTS, max_tokens=7)

    assert [one.role for one in found.models] == ROLES
    assert [one.chat for one in found.models] == [True, False, False, True]
    assert [one.dtype for one in found.models] == ["bfloat16", "bfloat16", "float16", "bfloat16"]
    for folder, one in zip((merged, triple.base, triple.ct, triple.sft), found.models, strict=True):
        expected = [by_transformers(folder, text, chat=one.chat, most=7) for text in PROMPTS]
        assert [answer.text for answer in one.answers] == expected
        assert all(answer.tokens == 7 or answer.ended for answer in one.answers)
        assert one.seconds > 0
    texts = {one.answers[0].text for one in found.models}
    assert len(texts) == 4, "the models differ, or this shows nothing"


def test_a_model_that_ends_its_answer_has_ended_it(own: Path) -> None:
    """An answer that stops at the end token is not called cut; another one is."""
    ask = {"alone": True, "max_tokens": 5}
    (cut,) = try_prompts(own, "x", **ask).models[0].answers
    model = AutoModelForCausalLM.from_pretrained(own)
    given = AutoTokenizer.from_pretrained(own).apply_chat_template(
        [{"role": "user", "content": "x"}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    first, second = model.generate(torch.tensor([given]), max_new_tokens=2, do_sample=False)[0][-2:]
    path = own / "generation_config.json"
    settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    path.write_text(json.dumps({**settings, "eos_token_id": [1, int(second)]}), "utf-8")

    (ended,) = try_prompts(own, "x", **ask).models[0].answers

    assert (cut.ended, cut.tokens, cut.end()) == (False, 5, "cut after 5 tokens")
    assert first != second
    assert (ended.ended, ended.tokens) == (True, 2)


def test_sampling_is_repeatable(merged: Path) -> None:
    """A seed gives the same answers each time, and another seed others."""
    first, again, other = (
        [one.text for one in try_prompts(merged, PROMPTS, alone=True, seed=seed).models[0].answers]
        for seed in (3, 3, 4)
    )

    assert first == again != other
    before = torch.get_rng_state()
    try_prompts(merged, "x", alone=True, max_tokens=2, seed=1)
    assert torch.equal(before, torch.get_rng_state()), "the caller's random numbers stay"


def test_the_chat_template_can_be_left_out(merged: Path) -> None:
    """Then every model gets the prompt as it is."""
    found = try_prompts(merged, "x", chat_template=False, max_tokens=3)

    assert not any(one.chat for one in found.models)
    text = found.models[0].answers[0].text
    assert text == by_transformers(merged, "x", chat=False, most=3)


def test_the_command_shows_all_answers_and_writes_the_file(
    invoke: Invoke, merged: Path, tmp_path: Path
) -> None:
    """Text for people, the same as JSON, and a file that can be read back and is replaced."""
    words = ["try", merged, PROMPTS[0], "--max-tokens", 4, "-o", "answers.json"]
    shown = invoke(*words)

    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert [line[0] for line in lines if line and line[-1] == "tokens/s"] == [
        "merged", "base", "CT", "SFT",
    ]  # fmt: skip
    assert f"Next: slack-ties card {merged} --examples answers.json" in shown.stderr
    found = read_answers(tmp_path / "answers.json")
    assert found.prompts == (PROMPTS[0],)
    assert answers_as_json(found) == (tmp_path / "answers.json").read_text("utf-8")
    data = json.loads(invoke(*words, "--json", "-q").stdout)
    assert [one["answers"][0]["text"] for one in data["models"]] == [
        one.answers[0].text for one in found.models
    ]
    assert set(data["versions"]) == {"slack-ties", "transformers", "torch"}
    assert (data["seed"], data["max_tokens"], data["device"]) == (None, 4, "cpu")


@pytest.mark.parametrize(
    ("words", "device"),
    [((), "cuda"), (("--num-threads", "1"), "cuda"), (("--device", "cpu"), "cpu")],
)
def test_a_gpu_is_used_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch, merged: Path, invoke: Invoke, words: Sequence[str], device: str
) -> None:
    """Unless the command names another device; other options of mergekit name none."""
    asked: list[str] = []

    def stop(_: object, __: object, name: str, **___: object) -> None:
        asked.append(name)
        raise CheckpointError("stop here")  # noqa: EM101, TRY003 - there is no GPU to go on with

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("slack_ties.trying.room.check_fits", stop)

    assert "stop here" in invoke("try", merged, "x", "--alone", *words).output
    assert asked == [device]


def test_a_file_of_somebody_else_stays(merged: Path, tmp_path: Path) -> None:
    """It is refused before a model runs."""
    (tmp_path / "mine.json").write_text('{"mine": 1}')

    with pytest.raises(OutputError, match="has no answers of slack-ties try"):
        try_prompts(merged, "x", output=tmp_path / "mine.json")
    with pytest.raises(OutputError, match="there is no folder"):
        try_prompts(merged, "x", output=tmp_path / "none" / "x.json")

    assert (tmp_path / "mine.json").read_text() == '{"mine": 1}'


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["OUT"], "there is no prompt"),
        (["OUT", ""], "prompt 1 is empty"),
        (["OUT", "x", "--max-tokens", "0"], "0 is not in the range"),
        (["OUT", "x", "--prompts", "many.txt"], "not both"),
        (["OUT", "--prompts", "none.txt"], "cannot read the prompts in 'none.txt'"),
        (["OUT", "--prompts", "empty.txt"], "'empty.txt' holds no prompts"),
        (["OUT", "--prompts", "utf-16.txt"], "'utf-16.txt' is not UTF-8: byte 0"),
        (["OUT", "--prompts", "no-list.json"], "'no-list.json' holds no list of texts"),
        (["OUT", "a" * 500], "prompt 1 is too long"),
        (["nowhere", "x"], "there is no folder 'nowhere'"),
        (["bo.yml", "x"], "'bo.yml' is a config"),
        (["no-merge", "x"], "'no-merge' has no mergekit_config.yml"),
        (["OUT", "x", "--device", "cuda:99"], "device 'cuda:99' cannot be used here"),
        (["OUT", "x", "--trust-remote-code"], "try runs no code of a model"),
    ],
)
def test_wrong_use_is_one_line(
    invoke: Invoke, merged: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    """What is wrong, and the next step; nothing is loaded for it."""
    (tmp_path / "empty.txt").write_bytes(b"\xef\xbb\xbf\r\n \r\n")
    (tmp_path / "utf-16.txt").write_bytes("བོད".encode("utf-16"))
    (tmp_path / "no-list.json").write_text('{"prompt": "x"}')
    (tmp_path / "many.txt").write_text("x\n")
    (tmp_path / "bo.yml").write_text("merge_method: slack_ties\n")
    (tmp_path / "no-merge").mkdir()

    result = invoke("try", *(merged if word == "OUT" else word for word in words))

    assert_refused(result, message)


def test_the_example_is_in_the_language(invoke: Invoke, merged: Path) -> None:
    """Without a prompt the next step has one, in the language of the merge."""
    step = invoke("try", merged).stderr.splitlines()[-1]

    assert re.fullmatch(rf"Next: slack-ties try {merged} 'བོད་སྐད་' # or --prompts FILE.*", step)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "\ufeffone\r\n\r\n  two \n".encode(), ["one", "two"]),
        ("b.txt", "ᠮᠣᠩᠭᠣᠯ\u2028ᠬᠡᠯᠡ\u0085\n".encode(), ["ᠮᠣᠩᠭᠣᠯ\u2028ᠬᠡᠯᠡ"]),
        ("c.json", b'["one\\ntwo", "three"]', ["one\ntwo", "three"]),
    ],
    ids=["lines", "one line", "JSON"],
)
def test_prompts_from_a_file(
    tmp_path: Path, name: str, content: bytes, expected: list[str]
) -> None:
    """One in each line of a text, whatever the system; a list in a .json file."""
    (tmp_path / name).write_bytes(content)

    assert read_prompts(tmp_path / name) == expected


def test_prompts_from_the_standard_input(merged: Path, tmp_path: Path) -> None:
    """`-` reads them there; lm-eval is not needed for it."""
    code = "import io, sys; sys.modules['lm_eval'] = None; from slack_ties.cli.main import main; "
    code += "sys.stdin = io.TextIOWrapper(io.BytesIO('ཀ\\nཁ\\n'.encode())); main()"
    words = ["try", merged, "--prompts", "-", "--alone", "--max-tokens", "2", "--json"]

    done = processes.run(words, env=os.environ, cwd=tmp_path, code=code)

    assert json.loads(done.stdout)["prompts"] == ["ཀ", "ཁ"], done.stderr


def test_parents_that_are_gone_are_left_out(
    triple: Folders, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others answer; the result and a warning say which are missing, and why."""
    for name in ("slack_ties.json", "mergekit_config.yml"):
        text = (own / name).read_text("utf-8")
        (own / name).write_text(text.replace(str(triple.ct), str(tmp_path / "gone")), "utf-8")
    (tmp_path / "words").mkdir()

    found = try_prompts(own, "x", max_tokens=2)

    assert [one.role for one in found.models] == ["merged", "base", "sft"]
    assert list(found.left_out) == [str(tmp_path / "gone")]
    assert "does not exist" in found.left_out[str(tmp_path / "gone")]
    (said,) = (one.message for one in caplog.records if "left out" in one.message)
    assert said == f"  left out: {found.left_out[str(tmp_path / 'gone')]}"
    assert said.count(str(tmp_path / "gone")) == 1
    assert f"left out: {tmp_path / 'gone'}" in found.as_text().splitlines()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: [one.unlink() for one in folder.glob("token*")], "has no tokenizer"),
        (
            lambda folder: (folder / "chat_template.jinja").write_text(NO),
            "cannot use its chat template: no",
        ),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "cannot use its tokenizer"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights"),
    ],
    ids=["tokenizer", "template", "damaged", "weights"],
)
def test_a_merged_model_that_cannot_answer_is_one_error(
    own: Path, change: Any, message: str
) -> None:
    """It says which part of the model is wrong, and no other model is run."""
    change(own)

    with pytest.raises(CheckpointError, match=message) as raised:
        try_prompts(own, "x")

    assert "\n" not in str(raised.value)


def test_incomplete_weights_are_not_filled_with_chance(own: Path) -> None:
    """Transformers would make up the missing tensor; we refuse the model."""
    from safetensors.torch import load_file  # noqa: PLC0415

    tensors = load_file(own / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, own / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(CheckpointError, match=r"its weights lack 'model.layers.1.mlp.up_proj"):
        try_prompts(own, "x", alone=True)


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(own: Path) -> None:
    """A file with a header of many terabytes, all of them a hole."""
    path = own / "model.safetensors"
    size = 1 << 42
    header = {"x": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)

    with pytest.raises(CheckpointError, match=r"its weights take 4398.0 GB, and .* are free") as no:
        try_prompts(own, "x", dtype="float32")
    # By its config, which transformers goes by, its type is bfloat16.
    with pytest.raises(CheckpointError, match=r"its weights take 2199.0 GB") as auto:
        try_prompts(own, "x")

    assert no.value.hint == f"slack-ties try {own} PROMPT --dtype bfloat16"
    assert "--dtype" not in str(auto.value.hint)
    check_fits("small", 1, "cpu", hint="")


def test_a_prompt_that_only_one_model_cannot_take(triple: Folders, own: Path) -> None:
    """That model says so in place of an answer; the others answer."""
    short = own.parent / "short"
    shutil.copytree(triple.base, short)
    config = json.loads((short / "config.json").read_text("utf-8"))
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 16}))
    for name in ("slack_ties.json", "mergekit_config.yml"):
        text = (own / name).read_text("utf-8")
        (own / name).write_text(text.replace(str(triple.base), str(short)), "utf-8")

    found = try_prompts(own, ["a", "a " * 12], max_tokens=4)

    base = found.models[1]
    assert base.role == "base"
    assert base.answers[0].tokens
    assert base.answers[1].end().startswith("no answer: the prompt is too long: it has ")
    assert all(one.answers[1].tokens for one in found.models if one is not base)


def test_a_parent_with_an_adapter_runs_with_it(
    triple: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MODEL+ADAPTER answers as peft lets it answer."""
    torch.manual_seed(5)
    plain = AutoModelForCausalLM.from_pretrained(triple.base, dtype=torch.float32)
    with_adapter = get_peft_model(
        plain, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    with_adapter.save_pretrained(tmp_path / "adapter")
    choices = Choices(str(triple.base), str(triple.ct), f"{triple.base}+{tmp_path / 'adapter'}")
    merge_models(make_config("bo", choices), tmp_path / "out", quiet=True)

    found = try_prompts(tmp_path / "out", "x", max_tokens=6, chat_template=False)

    tokenizer = AutoTokenizer.from_pretrained(triple.base)
    base = AutoModelForCausalLM.from_pretrained(triple.base)
    given = torch.tensor([tokenizer("x")["input_ids"]])
    out = PeftModel.from_pretrained(base, tmp_path / "adapter").generate(
        input_ids=given, max_new_tokens=6, do_sample=False
    )
    expected = tokenizer.decode(out[0, given.shape[1] :], skip_special_tokens=True)
    sft = next(one for one in found.models if one.role == "sft")
    assert sft.answers[0].text == expected
    assert sft.answers[0].text != found.models[1].answers[0].text

    monkeypatch.setitem(sys.modules, "peft", None)
    without = try_prompts(tmp_path / "out", "x", max_tokens=2)
    assert [one.role for one in without.models] == ["merged", "base", "ct"]
    (why,) = without.left_out.values()
    assert why.endswith("peft is not installed: pip install peft")


def test_a_published_merge(triple: Folders, hub: Server, api: HfApi, tmp_path: Path) -> None:
    """All four come from the Hub, at the commits that its recipe names."""
    for role in ("base", "ct", "sft"):
        api.create_repo(f"me/{role}", private=False)
        api.upload_folder(repo_id=f"me/{role}", folder_path=getattr(triple, role))
    choices = Choices(base="me/base", ct="me/ct", sft="me/sft")
    run_all(
        "bo", tmp_path / "out", choices=choices, publish="me/tibetan", license="mit", api=api,
        quiet=True,
    )  # fmt: skip
    here = try_prompts(tmp_path / "out", "x", max_tokens=3, api=api)

    there = try_prompts("me/tibetan", "x", max_tokens=3, api=api)

    assert [one.name for one in there.models] == ["me/tibetan", "me/base", "me/ct", "me/sft"]
    assert [one.commit for one in there.models] == [
        api.model_info(one.name).sha for one in there.models
    ]
    assert [one.answers[0].text for one in there.models] == [
        one.answers[0].text for one in here.models
    ]
    assert there.weights == here.weights
    hub.hub.requests.clear()
    alone = try_prompts("me/tibetan", "x", max_tokens=3, alone=True, api=api)
    assert [one.name for one in alone.models] == ["me/tibetan"]
    assert not [one for one in hub.hub.requests if "me/base" in one]

    hub.hub.requests.clear()
    words = ["try", "me/tibetan", "x", "--max-tokens", 3, "--json", "-q"]
    offline = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "1"}
    done = processes.run(words, env=offline, cwd=tmp_path)
    cached = json.loads(done.stdout)["models"]
    assert [one["answers"][0]["text"] for one in cached] == [
        one.answers[0].text for one in here.models
    ]
    assert hub.hub.requests == []


def test_a_merge_of_mergekit(own: Path, merged: Path) -> None:
    """Its config names the models; nothing is written into its folder."""
    (own / "slack_ties.json").unlink()
    before = sorted(one.name for one in own.iterdir())

    found = try_prompts(own, "x", max_tokens=2)

    assert [one.role for one in found.models] == ROLES
    assert found.weights == digest_of_weights(read_record(merged).files)
    assert sorted(one.name for one in own.iterdir()) == before


def test_a_published_merge_of_folders(
    merged: Path, api: HfApi, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody else has its parents: they are left out, and a line says so."""
    api.create_repo("me/local", private=False)
    api.upload_folder(repo_id="me/local", folder_path=merged)

    found = try_prompts("me/local", "x", max_tokens=2, api=api)

    assert [one.role for one in found.models] == ["merged"]
    assert "the CT model is left out: it was a folder, and is not on the Hub" in caplog.text


def test_without_network(merged: Path, own: Path, triple: Folders, tmp_path: Path) -> None:
    """A folder whose parents are here needs no Hub; a Hub id is one line; parents are left out."""
    code = f"import os; os.environ['HF_HUB_OFFLINE'] = '1'; {processes.OURS}"
    words = ["try", "x", "--max-tokens", "2", "-q"]

    done = processes.run([words[0], merged, *words[1:]], env=os.environ, cwd=tmp_path, code=code)
    away = processes.run([words[0], "me/none", *words[1:]], env=os.environ, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    for name in ("slack_ties.json", "mergekit_config.yml"):
        text = (own / name).read_text("utf-8")
        (own / name).write_text(text.replace(str(triple.ct), "me/in-no-cache"), "utf-8")
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    part = processes.run([words[0], own, *words[1:-1]], env=offline, cwd=tmp_path)
    said = [one for one in part.stderr.splitlines() if "left out" in one]
    assert said == [
        "  left out: model 'me/in-no-cache': HF_HUB_OFFLINE is set, and it is not in the cache"
    ]
    assert "left out: me/in-no-cache" in part.stdout.splitlines()
    assert re.search(r"^  SFT    /", part.stderr, re.MULTILINE)
    assert away.returncode == 1
    assert re.match(r"Error: .*me/none.*\n(Next: .*\n)?$", away.stderr)


def test_texts_of_models_are_safe_to_print() -> None:
    """Escape sequences and overrides of direction become visible; scripts stay as they are."""
    evil = "\x1b[31mred\x9b2J\u202e\u2066 end"
    mongolian = "ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ\u180e می\u200cخواهم"  # noqa: RUF001 - Persian
    found = Answers(
        prompts=(evil,),
        models=(
            Tried("merged", f"out{evil}", (Answer(f"{mongolian}\r\n{evil}", 3),), chat=True),
            Tried("ct", "me/ct", (Answer("", 1),), "a" * 40, "float16"),
        ),
        max_tokens=5,
        left_out={f"gone{evil}": evil},
    )

    text = found.as_text()

    assert not set(text) & set("\x1b\x9b\u202e\u2066\r")
    assert mongolian in text
    assert r"\x1b[31mred\x9b2J\u202e\u2066 end" in text
    assert "CT      [an empty answer]" in text
    assert "me/ct at aaaaaaa, float16, plain text" in text
    assert "2 models" in repr(found)
    html = replace(found, prompts=("<b>",))._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(prompts=[]),
        lambda data: data.update(prompts=[1]),
        lambda data: data.update(models={"a": 1}),
        lambda data: data["models"][0].update(answers=[]),
        lambda data: data["models"][0]["answers"][0].update(text=None),
        lambda data: data["models"][0]["answers"][0].update(tokens="many"),
        lambda data: data["models"][0]["answers"][0].update(tokens=1.5),
        lambda data: data["models"][0]["answers"][0].update(tokens=10**400),
        lambda data: data["models"][0].update(seconds=float("inf")),
        lambda data: data["models"][0].update(chat=1),
        lambda data: data.update(versions=["torch"]),
        lambda data: data.update(more=1),
        lambda data: data.update(answers=2),
        lambda data: data.update(**{"x" * 9999: 1}),
    ],
)
def test_a_damaged_file_is_one_error(tmp_path: Path, change: Any) -> None:
    """Whatever a person changed in it."""
    right = Answers(("x",), (Tried("merged", "out", (Answer("y", 1),)),), 5)
    data = json.loads(answers_as_json(right))
    (tmp_path / "right.json").write_text(json.dumps(data))
    change(data)
    (tmp_path / "wrong.json").write_text(json.dumps(data))

    assert read_answers(tmp_path / "right.json") == right
    with pytest.raises(OutputError, match=r"wrong\.json"):
        read_answers(tmp_path / "wrong.json")


def test_invalid_text_is_kept(tmp_path: Path) -> None:
    """A file name as prompt, or a file of somebody else, can have half of a character."""
    odd = Answers(("\udcff",), (Tried("merged", "out", (Answer("\ud800", 1),)),), 5)

    write_answers(odd, tmp_path / "odd.json")

    assert read_answers(tmp_path / "odd.json") == odd


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_leaves_no_file(merged: Path, tmp_path: Path) -> None:
    """Stopped while models write: nothing is printed or written but that it was stopped."""
    (tmp_path / "prompts.txt").write_text("".join(f"prompt {i}\n" for i in range(5000)))
    words = ["try", str(merged), "--prompts", "prompts.txt", "-o", "answers.json"]
    with subprocess.Popen(
        [sys.executable, "-m", "slack_ties", *words],
        cwd=tmp_path,
        # Whoever runs the tests in the background ignores Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stderr
        assert any("merged" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)

    assert (process.returncode, output) == (130, "")
    assert errors == "Stopped: the same command begins again; what was downloaded is kept\n"
    assert [one.name for one in tmp_path.iterdir()] == ["prompts.txt"]


def test_an_error_of_many_lines_is_one() -> None:
    """The first line of what transformers says is enough."""
    assert str(failed("x", "cannot be loaded", ValueError("a\nb"))).endswith("loaded: a")
