"""Write a chat template for Ollama, which is a Go template, from the model's own in Jinja.

Ollama compares the template in a GGUF file with those that it knows, and takes one that differs in
fewer than 100 letters (template/template.go there). A short template is then taken for another one.
A TEMPLATE in the Modelfile prevents that.

The template is applied to conversations of made-up words; the text around the words is what the Go
template writes. It is used only if it writes further conversations as the model's own does. Where
that fails, Ollama from 0.30 on applies the model's own, which is in the GGUF file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.tokenizer.templates import read_template

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["GoTemplate", "chat_of", "derive_template"]

# Words that no template contains.
SYSTEM, USER, ANSWER, LAST = "qsystemq", "quserq", "qanswerq", "qlastq"

# Texts of the conversations for the comparison: with lines, marks and another script.
TEXTS = ("Hello, who\nare you?", "I am: {{ 'a' }} <b>.", "བོད་སྐད", "3 % 2 = 1", "Why?")

# Where Go would see the begin of an action; after a brace at the end, an action may follow.
BRACES = re.compile(r"\{\{|\{$")

Message = dict[str, str]


@dataclass(frozen=True)
class GoTemplate:
    """The text around the messages of a conversation that ends with a message of the user."""

    first: str  # before the first message of the user
    before_system: str  # before the text of the system, if there is one
    after_system: str  # after it, up to the first message of the user
    answer: str  # after a message of the user: the answer begins here
    lead: str  # before an answer of an earlier turn, such as a space
    turn: str  # after an answer, up to the next message of the user

    def render(self, messages: Sequence[Message]) -> str:
        """Return what Ollama makes of a conversation with `as_text`."""
        system = "\n\n".join(one["content"] for one in messages if one["role"] == "system")
        parts = [self.before_system, system, self.after_system] if system else [self.first]
        around = {"user": ("", self.answer), "assistant": (self.lead, self.turn)}
        for one in messages:
            if one["role"] in around:
                before, after = around[one["role"]]
                parts += [before, one["content"], after]
        return "".join(parts)

    def as_text(self) -> str:
        """Return the template in Go's language."""
        system = f"{_go(self.before_system)}{{{{ .System }}}}{_go(self.after_system)}"
        return (
            f"{{{{ if .System }}}}{system}{{{{ else }}}}{_go(self.first)}{{{{ end }}}}"
            '{{ range .Messages }}{{ if eq .Role "user" }}{{ .Content }}'
            f"{_go(self.answer)}"
            '{{ else if eq .Role "assistant" }}'
            f"{_go(self.lead)}{{{{ .Content }}}}{_go(self.turn)}"
            "{{ end }}{{ end }}"
        )


def _go(text: str) -> str:
    """Return a text in which Go's templates see nothing of theirs."""
    return BRACES.sub(lambda found: f'{{{{ "{found[0]}" }}}}', text)


def derive_template(render: Callable[[Sequence[Message]], str]) -> GoTemplate | None:
    """Return the Go template that writes conversations as `render` does; None if there is none.

    Args:
        render: Applies the model's chat template to messages, up to where the answer begins. It
            may raise any error.

    """
    try:
        found = _around(render)
        if found is None:
            return None
        for messages in _conversations():
            if found.render(messages) != render(messages):
                return None
    except Exception:  # noqa: BLE001 - a template is a program of others
        return None
    return found if '"""' not in found.as_text() else None  # the mark of Modelfiles


def _around(render: Callable[[Sequence[Message]], str]) -> GoTemplate | None:
    """Return the text around the messages."""
    user, answer, last = _user(USER), {"role": "assistant", "content": ANSWER}, _user(LAST)
    one, three = render([user]), render([user, answer, last])
    system = render([{"role": "system", "content": SYSTEM}, user])
    if one.count(USER) != 1 or any(three.count(w) != 1 for w in (USER, ANSWER, LAST)):
        return None
    if system.count(SYSTEM) != 1 or system.count(USER) != 1:
        return None
    first, _, end = one.partition(USER)
    between, _, turn = three.partition(USER)[2].partition(ANSWER)
    before, _, rest = system.partition(SYSTEM)
    after = rest.partition(USER)[0]
    turn = turn.partition(LAST)[0]
    if not between.startswith(end):
        return None
    return GoTemplate(first, before, after, end, between[len(end) :], turn)


def _conversations() -> list[list[Message]]:
    a, b, c, d, e = TEXTS
    turns = [_user(a), {"role": "assistant", "content": b}, _user(c)]
    longer = [*turns, {"role": "assistant", "content": d}, _user(e)]
    system = {"role": "system", "content": d}
    return [[_user(a)], turns, longer, [system, _user(c)], [system, *turns], [system, *longer]]


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def chat_of(folder: Path) -> tuple[GoTemplate | None, tuple[str, ...]]:
    """Return the Go template of a model, and the texts at which an answer ends.

    The first token of a text is left out of the template if llama.cpp adds it anyway.

    Args:
        folder: A model that transformers can load the tokenizer of; no code of it is run.

    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - heavy

    load: Any = AutoTokenizer.from_pretrained
    try:
        tokenizer = load(folder, trust_remote_code=False, local_files_only=True)
    except Exception:  # noqa: BLE001 - the files are not ours: llama.cpp may know more
        return None, ()
    stops = _stops(folder, tokenizer)
    source = read_template(folder)
    if not source or "strftime_now" in source:  # it writes today's date
        return None, stops
    begin = str(tokenizer.bos_token or "")
    added = bool(begin) and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]

    def render(messages: Sequence[Message]) -> str:
        text = str(
            tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        )
        return text.removeprefix(begin) if added else text

    return derive_template(render), stops


def _stops(folder: Path, tokenizer: Any) -> tuple[str, ...]:
    """Return the tokens that end an answer, as texts."""
    from slack_ties.files import read_json  # noqa: PLC0415

    stated = read_json(folder / "generation_config.json").get("eos_token_id")
    ids = [*(stated if isinstance(stated, list) else [stated]), tokenizer.eos_token_id]
    known = [one for one in ids if type(one) is int and 0 <= one < len(tokenizer)]
    texts = dict.fromkeys(str(tokenizer.convert_ids_to_tokens(one)) for one in known)
    return tuple(text for text in texts if text.isprintable() and '"' not in text and text.strip())
