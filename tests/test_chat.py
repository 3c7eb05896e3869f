"""A conversation with one model: in a terminal and from a pipe, as transformers lets it answer."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from transformers import AutoModelForCausalLM, AutoTokenizer, TextStreamer

from command import assert_refused
from slack_ties.cli.chat_session import Session
from slack_ties.cli.main import cli
from slack_ties.errors import CheckpointError, SlackTiesError
from slack_ties.trying.chat import open_chat
from slack_ties.trying.streamed import StreamedText
from triple import Folders

TIBETAN = "བོད་སྐད་ནི་བོད་པའི་སྐད་ཡིག་ཡིན།"


def talk(folder: Path, lines: str | bytes, *words: object) -> Result:
    """Run the command with these lines in a pipe."""
    typed = ["chat", str(folder), *map(str, words)]
    return CliRunner().invoke(cli, typed, input=lines)


def by_transformers(folder: Path, given: Any, most: int) -> str:
    """Return what a model answers if nothing of ours is used; to messages, or to a text."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    if isinstance(given, str):
        tokens: Any = tokenizer(given, return_tensors="pt")
    else:
        tokens = tokenizer.apply_chat_template(
            given, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
    out = model.generate(**tokens, max_new_tokens=most, do_sample=False)
    new = out[0][tokens["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True))


def said(*texts: str) -> list[dict[str, str]]:
    """Return messages, of the user and of the model in turn."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def with_template(model: Path, folder: Path, template: str) -> Path:
    """Return a copy of a model with another chat template."""
    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    return folder


def test_answers_follow_from_all_that_was_said(triple: Folders) -> None:
    """Each answer is that of transformers to the whole conversation in the chat template."""
    shown: list[str] = []

    with open_chat(triple.sft, system="Be kind.", max_tokens=6) as chat:
        first, second = (chat.ask(text, shown.append) for text in ("one", "two"))

    system = [{"role": "system", "content": "Be kind."}]
    assert first.text == by_transformers(triple.sft, [*system, *said("one")], 6)
    every = [*system, *said("one", first.text, "two")]
    assert second.text == by_transformers(triple.sft, every, 6)
    assert second.text != by_transformers(triple.sft, [*system, *said("two")], 6)
    assert "".join(shown) == first.text + second.text


def test_a_model_without_a_chat_template_continues_the_text(triple: Folders) -> None:
    """It gets all texts, each of the user on a new line, and the first line says so."""
    result = talk(triple.base, "one\n\ntwo\n", "--max-tokens", 6, "--json")

    assert result.exit_code == 0, result.output
    assert "as plain text: it continues what you write, because it has no" in result.stderr
    texts = [one["content"] for one in json.loads(result.stdout)["messages"]]
    assert texts[0] == "one"
    assert texts[1] == by_transformers(triple.base, "one", 6)
    assert texts[3] == by_transformers(triple.base, f"one{texts[1]}\ntwo", 6)


def test_the_text_is_shown_while_it_is_written(triple: Folders) -> None:
    """Also in a script without spaces, where transformers' own streamer waits for a line's end."""
    tokenizer = AutoTokenizer.from_pretrained(triple.sft)
    tokens = tokenizer(f"{TIBETAN}é")["input_ids"]
    parts: list[str] = []
    stream = StreamedText(tokenizer, parts.append)
    theirs: list[str] = []

    class Theirs(TextStreamer):
        """Keeps what it would print."""

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:  # noqa: FBT001, FBT002
            """Keep a part of the text."""
            theirs.extend([text] * (not stream_end))

    other = Theirs(tokenizer)
    import torch  # noqa: PLC0415

    for number in range(1, len(tokens) + 1):
        stream.put(tokens[:number])
        other.put(torch.tensor(tokens[number - 1 : number]))
    whole = stream.end(tokens)

    assert whole == "".join(parts) == f"{TIBETAN}é"
    assert len(parts) > len(TIBETAN) / 3
    assert not any("\ufffd" in part for part in parts)
    assert set(theirs) <= {""}, "ours is not needed any more"


def test_bytes_that_are_no_letter_are_shown_at_the_end(triple: Folders) -> None:
    """They wait for the rest of the letter, and are not lost if it never comes."""
    tokenizer = AutoTokenizer.from_pretrained(triple.sft)
    tokens = tokenizer("aé")["input_ids"]
    parts: list[str] = []
    stream = StreamedText(tokenizer, parts.append)
    for number in range(1, len(tokens)):
        stream.put(tokens[:number])

    assert parts == ["a"]
    assert stream.end(tokens[:-1]) == "a\ufffd"
    assert parts == ["a", "\ufffd"]


def test_commands_from_a_pipe(triple: Folders, tmp_path: Path) -> None:
    """The answers are on stdout, the rest on stderr; the file has messages, model and settings."""
    file = tmp_path / "a chat.json"
    lines = (
        f"one\n/reset\n/system Be kind.\n two\n /no command\n/help\n/save {file}\n/exit\nthree\n"
    )

    result = talk(triple.sft, lines, "--max-tokens", 5, "--seed", 7)
    again = talk(triple.sft, lines, "--max-tokens", 5, "--seed", 7, "-q")

    assert result.exit_code == 0, result.output
    assert again.stdout == result.stdout
    data = json.loads(file.read_text("utf-8"))
    roles = [(one["role"], one["content"]) for one in data["messages"]]
    assert roles[0] == ("system", "Be kind.")
    assert roles[1::2] == [("user", "two"), ("user", "/no command")]
    assert data["model"] == str(triple.sft)
    assert data["settings"] == {
        "chat_template": True,
        "max_tokens": 5,
        "seed": 7,
        "dtype": "bfloat16",
        "device": "cpu",
    }
    assert set(data["versions"]) == {"slack-ties", "transformers", "torch"}
    noted = result.stderr.splitlines()
    assert "the conversation is forgotten" in noted
    assert "the system text is set" in noted
    assert "/exit         end the session, as Ctrl-D does" in noted
    assert f"saved: {file}" in noted
    assert "> " not in result.output


def test_sampling_is_repeatable(triple: Folders) -> None:
    """The same conversation gets the same answers, also anew; another seed gives others."""

    def answers(seed: int) -> list[str]:
        with open_chat(triple.base, max_tokens=8, seed=seed) as chat:
            found = [chat.ask("x", str).text, chat.ask("x", str).text]
            chat.messages.forget()
            return [*found, chat.ask("x", str).text]

    first = answers(3)

    assert first == answers(3) != answers(4)
    assert first[0] == first[2] != first[1]


@pytest.mark.parametrize(
    ("model", "lines", "message"),
    [
        ("sft", "/nothing x\n", "there is no command '/nothing'"),
        ("sft", "/\n", "there is no command '/'"),
        ("sft", "/save\n", "/save needs the name of a file"),
        ("sft", "/save mine.json\n", "'mine.json' exists, and has no conversation of slack-ties"),
        ("sft", "/save folder\n", "'folder' is a folder"),
        ("sft", "/save none/x.json\n", "/none' for x.json"),
        ("sft", f"/save {'x' * 300}\n", "xxx': File name too long"),
        ("sft", "/save a\0b\n", "cannot write 'a\\x00b': embedded null"),
        ("sft", "བོད".encode("utf-16"), "line 1 of the input is not UTF-8: byte 0"),
        ("sft", f"{'a ' * 200}\n", "the conversation has 4"),
        ("base", "/system Be kind.\n", "without a chat template, a model gets no system text"),
    ],
)
def test_a_wrong_line_of_a_pipe_ends_the_session(
    triple: Folders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    model: str,
    lines: str | bytes,
    message: str,
) -> None:
    """In one line with exit code 1; lines after it are not taken, and files of others stay."""
    monkeypatch.chdir(tmp_path)
    Path("mine.json").write_text('{"mine": 1}')
    Path("folder").mkdir()
    after = "/system after\n"

    more = lines + (after.encode() if isinstance(lines, bytes) else after)  # type: ignore[operator]
    result = talk(getattr(triple, model), more, "--max-tokens", 2)

    assert result.exit_code == 1, result.output
    problem = next(one for one in result.stderr.splitlines() if one.startswith("Error: "))
    assert message in problem
    assert "the system text is set" not in result.stderr
    assert result.stdout == ""
    assert Path("mine.json").read_text() == '{"mine": 1}'


def endless(model: Path, folder: Path, **more: object) -> Path:
    """Return a copy of a model that ends no answer, with more settings."""
    shutil.copytree(model, folder)
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        before = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        path.write_text(json.dumps({**before, "eos_token_id": None}), "utf-8")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **more}), "utf-8")
    return folder


def test_an_answer_has_the_room_that_is_left(triple: Folders, tmp_path: Path) -> None:
    """It is cut where the model can take no more; then only a new conversation has room."""
    with open_chat(endless(triple.base, tmp_path / "model"), max_tokens=1000) as chat:
        reply = chat.ask("x", str)
        with pytest.raises(SlackTiesError, match="takes less than 128") as full:
            chat.ask("y", str)
        chat.messages.forget()
        again = chat.ask("x", str)

    assert reply.end() == f"cut after {reply.tokens} tokens"
    assert reply.tokens + 1 == 128
    assert full.value.hint == "/reset # forgets the conversation"
    assert again.text == reply.text


NO_SYSTEM = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not"
NO_SYSTEM += " supported') }}{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}"
LEFT_OUT = "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (NO_SYSTEM, "cannot use its chat template: System role not supported"),
        (LEFT_OUT, "its chat template leaves the system text out"),
    ],
    ids=["refused", "left out"],
)
def test_a_template_that_takes_no_system_text(
    triple: Folders, tmp_path: Path, template: str, message: str
) -> None:
    """The user is told, before the model is loaded or in the session, which goes on without it."""
    model = with_template(triple.sft, tmp_path / "model", template)

    with open_chat(model, max_tokens=2) as chat:
        with pytest.raises(SlackTiesError, match=message):
            chat.messages.set_system("Be kind.")
        assert not chat.messages.system
        assert chat.ask("x", str).tokens
    (model / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(SlackTiesError, match=message), open_chat(model, system="Be kind."):
        pass


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(
    triple: Folders, tmp_path: Path
) -> None:
    """A file with a header of many terabytes, all of them a hole; the next step is this command."""
    model = Path(shutil.copytree(triple.sft, tmp_path / "model"))
    size = 1 << 42
    header = {"x": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    with (model / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)

    with (
        pytest.raises(CheckpointError, match=r"its weights take 4398.0 GB") as no,
        open_chat(model, dtype="float32"),
    ):
        pass

    assert no.value.hint == f"slack-ties chat {model} --dtype bfloat16"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "there is no folder 'nowhere'"),
        (["bo.yml"], "'bo.yml' is a config, expected a merged model"),
        (["OUT", "--device", "cuda:99"], "device 'cuda:99' cannot be used here"),
        (["OUT", "--trust-remote-code"], "chat runs no code of a model"),
        (["OUT", "--max-tokens", "0"], "0 is not in the range"),
    ],
)
def test_wrong_use_is_one_line(triple: Folders, words: list[str], message: str) -> None:
    """What is wrong, and the next step; no line is read for it."""
    result = talk(triple.sft if words[0] == "OUT" else Path(words[0]), "x\n", *words[1:])

    assert_refused(result, message)


def test_what_a_model_writes_cannot_steer_the_terminal(
    triple: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences and overrides of direction become visible; scripts stay as they are."""
    mongolian = "ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ\u180e می\u200cخواهم"  # noqa: RUF001 - Persian
    with open_chat(triple.sft, max_tokens=1) as chat:
        show = Session(chat, quiet=True, answers_to_stdout=True)._show  # noqa: SLF001

        show(f"\x1b[31mred\x9b2J\u202e\n\tend\r\n{mongolian}")

    expected = f"\\x1b[31mred\\x9b2J\\u202e\n\tend\n{mongolian}"
    assert capsys.readouterr().out == expected


class Terminal:
    """A command in a terminal, and what is on its screen."""

    def __init__(self, words: list[str], folder: Path) -> None:
        """Start it."""
        import pty  # noqa: PLC0415 - not on Windows

        self.screen, (self.master, slave) = "", pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "slack_ties", *words],
            cwd=folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "dumb"},
            preexec_fn=as_its_terminal,  # noqa: PLW1509 - one thread
        )
        os.close(slave)

    def type(self, text: str) -> None:
        """Type this."""
        os.write(self.master, text.encode())

    def wait_for(self, pattern: str, *, press: str = "") -> str:
        """Wait until the screen has something new like this; return what came until then.

        Args:
            pattern: What to wait for.
            press: A key to press again when nothing has come for 3 seconds. A Ctrl-C that comes
                just before Python reads a line is seen by Python with the next key only.

        """
        end = time.monotonic() + 120
        while not (match := re.search(pattern, self.screen)):
            assert time.monotonic() < end, self.screen
            if not select.select([self.master], [], [], 3)[0]:
                self.type(press)
                continue
            try:
                self.screen += os.read(self.master, 1000).decode(errors="replace")
            except OSError:  # it has ended
                assert re.search(pattern, self.screen), self.screen
        before, self.screen = self.screen[: match.end()], self.screen[match.end() :]
        return before


def as_its_terminal() -> None:
    """Make the standard input the terminal of this process: Ctrl-C there is a signal for it."""
    import fcntl  # noqa: PLC0415 - not on Windows
    import termios  # noqa: PLC0415 - not on Windows

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who runs the tests may ignore it


@contextmanager
def in_terminal(words: list[str], folder: Path) -> Iterator[Terminal]:
    """Run a command in a terminal; end it afterwards."""
    terminal = Terminal(words, folder)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.master)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_a_session_in_a_terminal(triple: Folders, tmp_path: Path) -> None:
    """Ctrl-C stops an answer that never ends and keeps its text; Ctrl-D ends the session."""
    endless(triple.sft, tmp_path / "model", max_position_embeddings=10**6)

    with in_terminal(["chat", "model", "--max-tokens", "100000"], tmp_path) as terminal:
        terminal.wait_for("/help lists the commands.*\n.*> ")
        terminal.type("\x03")
        terminal.wait_for("To end the session: /exit or Ctrl-D\r\n> ", press="\x03")
        terminal.type("go on\n")
        terminal.wait_for("go on\r\n(?s:.){20}")
        terminal.type("\x03")
        terminal.wait_for(r"\[stopped\]\r\n> ")
        terminal.type("/nothing\n")
        terminal.wait_for("Error: there is no command '/nothing'\r\nNext: /help .*\r\n> ")
        terminal.type("/save chat.json\n")
        terminal.wait_for("saved: chat.json\r\n> ")
        terminal.type("\x04")
        assert terminal.process.wait(timeout=120) == 0

    user, assistant = json.loads((tmp_path / "chat.json").read_text("utf-8"))["messages"]
    assert user == {"role": "user", "content": "go on"}
    assert assistant["role"] == "assistant"
    assert assistant["content"]
