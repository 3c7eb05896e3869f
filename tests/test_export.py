"""GGUF files of a merged model, by the real llama.cpp where it is on this machine.

Programs that stand in for llama.cpp are used only for what goes wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils.chat_template_utils import render_jinja_template

import processes
from command import Invoke
from slack_ties.card.write import write_card
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from slack_ties.errors import CheckpointError, OutputError, SlackTiesError
from slack_ties.exporting.export import export_model
from slack_ties.exporting.template import GoTemplate, chat_of, derive_template
from slack_ties.exporting.texts import File, gguf_card, modelfile
from slack_ties.exporting.tools import find_tools
from slack_ties.exporting.whole_model import check_model
from slack_ties.merge.merge import merge_models
from slack_ties.tokenizer.templates import named_template, template_names
from triple import CHAT, MIT, Folders, names

QUANTIZER = """\
import sys, pathlib
if "--help" in sys.argv:
    print("  15  or  Q4_K_M  :  4.58G\\n   7  or  Q8_0    :  7.96G")
    raise SystemExit(1)
pathlib.Path(sys.argv[2]).write_bytes(b"GGUF")
"""

CONVERTER = """\
import pathlib, sys
target = pathlib.Path(sys.argv[sys.argv.index("--outfile") + 1])
"""


@pytest.fixture(scope="module")
def merged(triple: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged model with its card; not to be changed."""
    out = tmp_path_factory.mktemp("export") / "out"
    choices = Choices(str(triple.base), str(triple.ct), str(triple.sft))
    merge_models(make_config("bo", choices), out, quiet=True)
    write_card(out)
    return out


@pytest.fixture
def own(merged: Path, tmp_path: Path) -> Path:
    """A copy of the merged model, which a test may change."""
    return Path(shutil.copytree(merged, tmp_path / "own"))


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("sysconfig.get_path", lambda *_: str(folder))
    return folder


def quantizer(folder: Path, code: str = QUANTIZER) -> None:
    """Put a program in the place of llama-quantize."""
    script = folder / "llama-quantize.py"
    script.write_text(code, "utf-8")
    if sys.platform == "win32":
        (folder / "llama-quantize.cmd").write_text(f'@"{sys.executable}" "{script}" %*\n')
        return
    program = folder / "llama-quantize"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    program.chmod(0o755)


def converter(folder: Path, code: str) -> None:
    """Put a script in the place of llama.cpp's converter."""
    (folder / "convert_hf_to_gguf.py").write_text(f"{CONVERTER}{code}\n", "utf-8")


def left(folder: Path) -> list[str]:
    """Return what an export has left beside the model."""
    return [path.name for path in folder.iterdir() if "gguf" in path.name]


@pytest.mark.parametrize(
    ("has", "said", "step"),
    [
        ((), "llama.cpp makes GGUF files, and its quantizer (llama-quantize) and its", "git clone"),
        ((), "its converter (convert_hf_to_gguf.py) are not on PATH", "git clone"),
        (("converter",), "and its quantizer (llama-quantize) is not on PATH", ""),
        (("quantizer",), "and its converter (convert_hf_to_gguf.py) is not on PATH", "git clone"),
    ],
)
def test_a_llama_cpp_that_is_not_there(
    has: Sequence[str], said: str, step: str, own: Path, empty_path: Path
) -> None:
    """The error names what is missing, and the next step what to type on this system."""
    if "converter" in has:
        converter(empty_path, "")
    if "quantizer" in has:
        quantizer(empty_path)

    with pytest.raises(SlackTiesError) as caught:
        export_model(own)

    assert said in str(caught.value)
    assert caught.value.hint.startswith(step)
    assert ("install" in caught.value.hint) == ("quantizer" not in has)
    assert left(own.parent) == []


def test_a_type_that_llama_cpp_does_not_know(own: Path, empty_path: Path) -> None:
    """The types come from the user's own llama-quantize."""
    quantizer(empty_path)
    converter(empty_path, "")

    with pytest.raises(SlackTiesError, match=r"does not know that type. Did you mean 'Q4_K_M'"):
        export_model(own, ["q4_k_l"])
    with pytest.raises(SlackTiesError, match="expected a type of GGUF files"):
        export_model(own, ["../x"])


def test_a_quantizer_that_is_something_else(own: Path, empty_path: Path) -> None:
    """A program that lists no types is refused before the model is converted."""
    quantizer(empty_path, "print('usage: something else')")
    converter(empty_path, "target.with_name('ran').touch()")

    with pytest.raises(SlackTiesError, match="lists no types of GGUF files: usage: something else"):
        export_model(own)

    assert left(own.parent) == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "print('one'); sys.exit('Model XForCausalLM is not supported')",
            "of the kind XForCausalL",
        ),
        (
            "raise NotImplementedError('BPE pre-tokenizer was not recognized - update it')",
            "does not know this tokenizer",
        ),
        ("import sentencepiece_is_not_here", "needs the Python package sentencepiece_is_not_here"),
        ("print('one\\ntwo'); sys.exit(3)", "ended with exit code 3: two"),
        ("print('nothing')", "wrote no file: nothing"),
    ],
)
def test_a_converter_that_fails(
    code: str, said: str, own: Path, empty_path: Path, invoke: Invoke
) -> None:
    """The reason is one line, what the converter said comes before it, and no file is left."""
    quantizer(empty_path)
    converter(empty_path, code)

    result = invoke("export", own, "-q")

    assert result.exit_code == 1
    *before, problem, hint = result.stderr.splitlines()
    assert said in problem
    assert hint.startswith("Next: ")
    assert before == (["  one", "  two"] if "two" in code else ["  nothing"] * ("noth" in code))
    assert left(own.parent) == []


def test_a_quantizer_that_fails(own: Path, empty_path: Path) -> None:
    """The converted file is not left either."""
    quantizer(empty_path, QUANTIZER.replace("pathlib.Path(sys.argv[2])", "sys.exit('no'), (0)"))
    converter(empty_path, "target.write_bytes(b'GGUF')")

    with pytest.raises(SlackTiesError, match=r"quantizer .* ended with exit code 1: no"):
        export_model(own)

    assert left(own.parent) == []


def test_programs_get_no_token(
    own: Path, empty_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may not ask the Hub, and cannot as anybody."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    converter(
        empty_path,
        "import os\n"
        "names = ('HF_TOKEN', 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE')\n"
        "target.write_text(str([os.environ.get(name) for name in names]))",
    )

    done = export_model(own, ["BF16"], quiet=True)

    assert Path(done.folder, "own-BF16.gguf").read_text() == "[None, '1', '1']"


def test_the_next_steps_publish_nothing(own: Path, empty_path: Path, invoke: Invoke) -> None:
    """The hf command would make a new repository public at once; we say what makes it private."""
    converter(empty_path, "target.write_bytes(b'GGUF')")

    done = invoke("export", own, "--gguf", "BF16")

    assert done.exit_code == 0, done.output
    assert "\nNext: ollama create own -f " in done.stderr
    assert done.stderr.endswith("own-gguf . --private\n")


def test_a_model_with_code_of_its_own(own: Path, empty_path: Path) -> None:
    """It is refused: llama.cpp's converter asks transformers to run that code."""
    path = own / "tokenizer_config.json"
    settings = yaml.safe_load(path.read_text("utf-8"))
    path.write_text(
        str({**settings, "auto_map": {"AutoTokenizer": ["own.T", None]}})
        .replace("'", '"')
        # JSON's words for Python's
        .replace("None", "null")
        .replace("True", "true")
        .replace("False", "false"),
        "utf-8",
    )
    converter(empty_path, "target.write_bytes(b'GGUF')")

    with pytest.raises(CheckpointError, match="converter would run it"):
        export_model(own, ["BF16"])

    assert left(own.parent) == []


def test_a_model_that_is_not_whole(own: Path, empty_path: Path, invoke: Invoke) -> None:
    """Each part that is missing is named, with the next step, before llama.cpp is looked for."""
    assert "has no tokenizer" in _without(own, "tokenizer.json", invoke)
    assert "Next: slack-ties card" in _without(own, "README.md", invoke)
    (weights,) = own.glob("*.safetensors")
    assert "weights" in _without(own, weights.name, invoke)
    assert "there is no folder 'nowhere'" in invoke("export", "nowhere").stderr
    assert list(empty_path.iterdir()) == []


def _without(folder: Path, name: str, invoke: Invoke) -> str:
    """Return what the command says without a file."""
    path = folder / name
    path.rename(folder.parent / "away")
    result = invoke("export", folder)
    (folder.parent / "away").rename(path)
    assert result.exit_code == 1
    return str(result.stderr)


def test_a_folder_that_is_not_empty(own: Path, empty_path: Path) -> None:
    """What we did not write stays."""
    converter(empty_path, "target.write_bytes(b'GGUF')")
    there = own.with_name("own-gguf")
    there.mkdir()
    (there / "mine").touch()

    with pytest.raises(OutputError, match="is not empty"):
        export_model(own, ["BF16"])

    assert [path.name for path in there.iterdir()] == ["mine"]


def test_a_disk_without_room(own: Path, monkeypatch: pytest.MonkeyPatch, empty_path: Path) -> None:
    """The converted file counts too, which is deleted at the end."""
    quantizer(empty_path)
    converter(empty_path, "target.write_bytes(b'GGUF')")
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    with pytest.raises(
        OutputError, match=r"need 0\.\d MB while they are made, .* has 1\.0 kB free"
    ):
        export_model(own)

    assert left(own.parent) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_a_stop_leaves_nothing(own: Path, empty_path: Path) -> None:
    """Ctrl-C ends the converter too, and leaves no file."""
    converter(
        empty_path,
        "import os, time\n"
        f"pathlib.Path({str(own.parent / 'pid')!r}).write_text(str(os.getpid()))\n"
        "target.write_bytes(b'half')\ntime.sleep(300)",
    )
    process = processes.start(["export", own, "--gguf", "BF16"], env=dict(os.environ))
    pid = own.parent / "pid"
    while not (pid.is_file() and pid.read_text()):
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Stopped: the same command begins again" in errors
    assert left(own.parent) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


# The real llama.cpp


@pytest.fixture(scope="module")
def real_tools() -> Path | None:
    """A folder of llama.cpp, or None for PATH; the tests are skipped if it is not there."""
    named = os.environ.get("SLACK_TIES_TEST_LLAMA_CPP")
    folder = Path(named) if named else None
    try:
        find_tools(["Q4_K_M"], folder)
    except SlackTiesError as error:
        pytest.skip(f"{error}; SLACK_TIES_TEST_LLAMA_CPP may name its folder")
    return folder


def small_llama(folder: Path, seed: int = 0) -> Path:
    """Make a Llama with a tokenizer that llama.cpp knows: SentencePiece, as Llama 2 has."""
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    folder.mkdir()
    trainer.train(
        sentence_iterator=iter([text for pair in names("bo") for text in pair]),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=512,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
    )
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=256,  # blocks of the k-quants have 256 entries
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    settings |= {"unk_token": "<unk>", "chat_template": CHAT, "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage: [bo]\n---\n", "utf-8")
    (folder / "LICENSE").write_text(MIT, "utf-8")
    return folder


@pytest.mark.slow
def test_llama_cpp_computes_what_transformers_does(real_tools: Path | None, tmp_path: Path) -> None:
    """The next token's probabilities differ by the error of the type, and not by more.

    Another model's differ by more than that.
    """
    runtime = pytest.importorskip("xllamacpp", reason="xllamacpp, a runtime, is not installed")
    folder = small_llama(tmp_path / "small")
    types = {"BF16": 0.02, "Q8_0": 0.06, "Q4_K_M": 0.4}  # measured: 0.004, 0.018, 0.18

    done = export_model(folder, [*types], llama_cpp=real_tools, quiet=True)

    assert [one.type for one in done.files] == [*types]
    sizes = [one.size for one in done.files]
    assert sizes == sorted(sizes, reverse=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("France")["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    expected = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    for one, most in zip(done.files, types.values(), strict=True):
        counted, found = next_token(runtime, Path(done.folder, one.name), tokenizer)
        assert counted == len(ids)
        assert (found - expected).abs().max() < most
        assert (found - expected.roll(1)).abs().max() > 0.5


def next_token(runtime: Any, file: Path, tokenizer: Any) -> tuple[int, torch.Tensor]:
    """Return the tokens of a prompt, and the logarithms of what may follow, by llama.cpp."""
    how = runtime.CommonParams()
    how.model.path, how.n_ctx, how.n_parallel, how.warmup = str(file), 128, 1, False
    # The bias chooses a whole letter: half a letter is answered without probabilities.
    letter = tokenizer.convert_tokens_to_ids("a")
    asked = {"prompt": "France", "max_tokens": 1, "logprobs": 512, "n_probs": 512}
    answer = runtime.Server(how).handle_completions({**asked, "logit_bias": [[letter, 100]]})
    (first,) = answer["choices"][0]["logprobs"]["content"]
    known = {one["id"]: one["logprob"] for one in first["top_logprobs"]}
    found = torch.tensor([known[token] for token in range(512)])
    return answer["usage"]["prompt_tokens"], found


# Chat templates


def rendered(template: str) -> Any:
    """Return what applies a template, as transformers does."""

    def render(messages: Sequence[dict[str, str]]) -> str:
        (text,), _ = render_jinja_template(
            [list(messages)],
            chat_template=template,
            add_generation_prompt=True,
            bos_token="<s>",
            eos_token="</s>",
        )
        return str(text)

    return render


LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}{% else %}"
    "{% set loop_messages = messages %}{% set system = '' %}{% endif %}{% for m in loop_messages %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + (system if loop.index0 == 0 else '') "
    "+ m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)


def test_the_template_for_ollama() -> None:
    """It is the text around the messages, in the language of Go's templates."""
    found = derive_template(rendered(LLAMA_2))

    assert found == GoTemplate(
        first="<s>[INST] ",
        before_system="<s>[INST] <<SYS>>\n",
        after_system="\n<</SYS>>\n\n",
        answer=" [/INST]",
        lead=" ",
        turn=" </s><s>[INST] ",
    )


@pytest.mark.parametrize("name", [*template_names(), "of the tests"])
def test_templates_that_people_use(name: str) -> None:
    """A template for Ollama writes a longer conversation as the model's own does."""
    render = rendered(CHAT if name == "of the tests" else str(named_template(name)))
    found = derive_template(render)

    talk = [{"role": "user", "content": "a\nb"}, {"role": "assistant", "content": "c"}] * 4
    talk = [{"role": "system", "content": "s"}, *talk, {"role": "user", "content": "d"}]
    if name in {"chatml", "llama3", "of the tests"}:
        assert found
    if found:
        assert found.render(talk) == render(talk)
        assert found.render(talk[1:]) == render(talk[1:])


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[-1].content | upper }}",
        "{% for m in messages %}<{{ m.role }}>{{ m.content[:9] }}{% endfor %}",
        "{{ raise_exception('no') }}",
        "{% for m in messages %}{{ loop.index }}{{ m.content }}{% endfor %}",
        '{% for m in messages %}"""{{ m.role }}{{ m.content }}{% endfor %}',
    ],
)
def test_a_template_that_go_cannot_write(template: str) -> None:
    """There is none, rather than a wrong one."""
    assert derive_template(rendered(template)) is None


def test_go_sees_nothing_of_its_own_in_a_template() -> None:
    """Two braces are Go's text of two braces; so is one, if an action of ours follows it."""
    found = GoTemplate("{{x", "{{{", "}", "", "", "")

    assert found.as_text().count('{{ "{{" }}x') == 1
    assert found.as_text().count('{{ "{{" }}{{ "{" }}{{ .System }}}') == 1


GO = """\
package main
import ("os"; "io"; "text/template")
func main() {
  text, _ := io.ReadAll(os.Stdin)
  type M struct{ Role, Content string }
  t := template.Must(template.New("").Parse(string(text)))
  t.Execute(os.Stdout, map[string]any{"System": "s", "Messages": []M{
    {"system", "s"}, {"user", "a"}, {"assistant", "b"}, {"user", "c"}}})
}
"""


@pytest.mark.skipif(not shutil.which("go"), reason="no Go here")
def test_what_go_writes(tmp_path: Path) -> None:
    """Go itself writes what we expect of the template."""
    (tmp_path / "main.go").write_text(GO, "utf-8")
    found = GoTemplate("no", "{{<{", "}>\n", "</u>", " ", "</a><u>")
    words = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c")]

    done = subprocess.run(
        [str(shutil.which("go")), "run", "main.go"],
        cwd=tmp_path,
        input=found.as_text(),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )

    assert done.stdout == found.render([{"role": r, "content": c} for r, c in words])


# Modelfile and card


def test_the_modelfile(merged: Path) -> None:
    """It has the model's template, the token that ends an answer, and the text of the licence."""
    model = check_model(merged)
    template, stops = chat_of(merged)

    lines = modelfile(model, "out-Q4_K_M.gguf", template, stops).splitlines()

    assert lines[0] == "# out, languages: bo"
    assert lines[1] == "FROM ./out-Q4_K_M.gguf"
    assert template
    assert lines[2] == f'TEMPLATE """{template.as_text()}"""'
    assert lines[3] == 'PARAMETER stop "</s>"'
    assert "\n".join(lines[4:]).startswith(
        f'LICENSE """\n{MIT.strip()}\n"""\nLICENSE """\nThis model'
    )
    unknown = modelfile(model, "out-Q4_K_M.gguf", None, ())
    assert "\nREQUIRES 0.30.0\n" in unknown
    assert "TEMPLATE" not in unknown


def test_the_card_of_gguf_files(merged: Path) -> None:
    """It says of what the files are quantized, and passes licence and language on."""
    model = check_model(merged, "ME/Small")
    files = [File("Small-Q4_K_M.gguf", "Q4_K_M", 1_000_000, "0" * 64)]

    card = gguf_card(model, files, made_by="b10605 (1234567)", reads=False)

    data = yaml.safe_load(card.split("---")[1])
    assert data["base_model"] == ["ME/Small"]
    assert data["base_model_relation"] == "quantized"
    assert (data["license"], data["language"]) == ("mit", ["bo"])
    assert "**Nobody has evaluated these files**" in card
    assert "llama.cpp b10605 (1234567)" in card
    assert "`LICENSE`" in card
    with pytest.raises(SlackTiesError, match="is no id of a model on the Hub"):
        check_model(merged, "https://x")
