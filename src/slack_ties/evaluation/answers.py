"""What models answered to the same prompts: the data, their text, and their file.

A few answers are no evaluation. `slack-ties try` writes them, and a card can show some of them.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError, visible
from slack_ties.files import check_writable, json_text, sha256_of, write_whole
from slack_ties.notebook import Html, Shown, html_lines, html_table
from slack_ties.wording import counted, readable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "Answer",
    "Answers",
    "Tried",
    "answers_as_json",
    "check_answers_file",
    "digest_of_weights",
    "read_answers",
    "write_answers",
]

ANSWERS_VERSION = 1  # raised when the meaning of a field changes

MOST_BYTES = 10_000_000  # of a file

LARGEST = 2**64  # of a number: seeds are not larger

LABELS = {"merged": "merged", "base": "base", "ct": "CT", "sft": "SFT"}


@dataclass(frozen=True)
class Answer:
    """What one model answered to one prompt."""

    text: str
    tokens: int = 0  # that the model wrote
    ended: bool = True  # whether the model ended the answer itself; if not, it was cut
    problem: str = ""  # why there is no answer; empty if there is one

    def end(self) -> str:
        """Return in a few words how the answer ended."""
        if self.problem:
            return self.problem
        if not self.ended:
            return f"cut after {counted(self.tokens, 'token')}"
        return "" if self.text.strip() else "an empty answer"


@dataclass(frozen=True)
class Tried:
    """One model and its answers."""

    role: str  # merged, base, ct or sft; empty if it is not known
    name: str  # a Hub id or a folder; with its adapter after a +
    answers: tuple[Answer, ...]  # in the order of the prompts
    commit: str = ""  # of the model on the Hub, and of its adapter; empty for a folder
    dtype: str = ""  # in which it ran
    chat: bool = False  # whether its chat template was applied
    seconds: float = 0.0  # that it took to write, without the time to load it

    @property
    def tokens(self) -> int:
        """The number of tokens of all answers."""
        return sum(one.tokens for one in self.answers)

    def how(self) -> str:
        """Return which model it is and how it ran, in one line."""
        commits = [one[:7] for one in self.commit.split("+") if one]
        at = f" at {' + '.join(commits)}" if commits else ""
        speed = f", {self.tokens / self.seconds:.1f} tokens/s" if self.seconds else ""
        prompt = "chat template" if self.chat else "plain text"
        return f"{self.name}{at}, {self.dtype}, {prompt}{speed}"


@dataclass(frozen=True, repr=False)
class Answers(Shown):
    """The answers of several models to the same prompts, the merged model first."""

    prompts: tuple[str, ...]
    models: tuple[Tried, ...]
    max_tokens: int  # of one answer
    seed: int | None = None  # of sampling; None: the likeliest token each time
    device: str = "cpu"
    left_out: Mapping[str, str] = field(default_factory=dict)  # model -> why it was not run
    versions: Mapping[str, str] = field(default_factory=dict)
    date: str = ""  # ISO 8601
    weights: str = ""  # of the merged model; see `digest_of_weights`
    answers: int = ANSWERS_VERSION

    def labels(self) -> list[str]:
        """Return a short name for each model, by its role; numbered if several have that role."""
        roles = [LABELS.get(one.role, "model") for one in self.models]
        seen: Counter[str] = Counter()
        labels = []
        for role in roles:
            seen[role] += 1
            labels.append(f"{role} {seen[role]}" if roles.count(role) > 1 else role)
        return labels

    def summary(self) -> str:
        """Return how many prompts and models there are."""
        models = counted(len(self.models), "model")
        return f"{counted(len(self.prompts), 'prompt')}, answered by {models}"

    def how(self) -> str:
        """Return in one sentence how the answers were made."""
        how = "its likeliest token each time"
        if self.seed is not None:
            how = f"tokens sampled with seed {self.seed}"
        return f"Each model wrote {how}, at most {counted(self.max_tokens, 'token')}."

    def as_text(self) -> str:
        """Return a block for each prompt, with a line for each model; and how they were made."""
        labels = self.labels()
        width = max(map(len, labels))
        lines = []
        for number, prompt in enumerate(self.prompts):
            lines += [*_lines(f"Prompt {number + 1}  ", prompt), ""]
            for label, model in zip(labels, self.models, strict=True):
                answer = model.answers[number]
                end = f"[{answer.end()}]" if answer.end() else ""
                text = " ".join(filter(None, (answer.text.strip(), end)))
                lines += _lines(f"  {label.ljust(width)}  ", text)
            lines.append("")
        for label, model in zip(labels, self.models, strict=True):
            lines.append(f"{label.ljust(width)}  {readable(model.how())}")
        if self.left_out:  # why was said before the models ran, and is in the file
            lines.append(visible(f"left out: {', '.join(self.left_out)}"))
        return "\n".join([*lines, "", self.how()])

    def as_html(self) -> str:
        """Return a table for each prompt, with a row for each model; and how they were made."""
        labels = self.labels()
        parts = []
        for number, prompt in enumerate(self.prompts):
            answers = [model.answers[number] for model in self.models]
            rows = [
                (label, _html(one.text.strip(), end=one.end()))
                for label, one in zip(labels, answers, strict=True)
            ]
            parts.append(html_table([f"Prompt {number + 1}", _html(prompt)], rows))
        rows = [(label, _html(one.how())) for label, one in zip(labels, self.models, strict=True)]
        if self.left_out:
            rows += [("left out", Html(escape(visible(", ".join(self.left_out)))))]
        return "".join([*parts, html_table((), rows), html_lines([self.how()])])


def _html(text: str, *, end: str = "") -> Html:
    """Return a text as HTML, in the direction of its own script and with its own lines."""
    inner = "<br>".join(escape(readable(line)) for line in text.splitlines())
    said = f" [{escape(visible(end))}]" if end else ""
    return Html(f'<bdi dir="auto">{inner}</bdi>{said}')


def _lines(before: str, text: str) -> list[str]:
    """Return the lines of a text, the first after `before` and the others below it."""
    first, *more = [readable(line).rstrip() for line in text.splitlines()] or [""]
    return [f"{before}{first}".rstrip(), *(f"{' ' * len(before)}{one}".rstrip() for one in more)]


def digest_of_weights(files: Mapping[str, str]) -> str:
    """Return one SHA-256 for all weight files.

    Args:
        files: Their SHA-256 by their names; "" is returned if there are none.

    """
    return sha256_of("".join(f"{name} {files[name]}\n" for name in sorted(files))) if files else ""


def answers_as_json(answers: Answers) -> str:
    """Return the text of the file."""
    # A text of somebody else may be invalid: JSON writes that as an escape.
    return json_text(asdict(answers)).encode(errors="backslashreplace").decode()


def check_answers_file(path: Path) -> None:
    """Refuse a path that cannot be written to, or a file that is none of ours.

    Raises:
        OutputError: It is one of these.

    """
    if path.is_dir():
        msg = f"{str(path)!r} is a folder, expected a file for the answers"
        raise OutputError(msg, hint="choose a file with -o")
    if path.exists():
        try:
            read_answers(path)
        except OutputError:
            msg = f"{str(path)!r} exists, and has no answers of slack-ties try"
            raise OutputError(msg, hint="choose another file with -o") from None
    check_writable(path)


def write_answers(answers: Answers, path: Path) -> None:
    """Write the file.

    Raises:
        OutputError: It cannot be written, or the file there is none of ours.

    """
    check_answers_file(path)
    try:
        write_whole(path, answers_as_json(answers))
    except OSError as error:
        msg = f"cannot write {str(path)!r}: {error.strerror or error}"
        raise OutputError(msg, hint="choose another file with -o") from None


def read_answers(path: Path) -> Answers:
    """Read the file that `slack-ties try -o` writes.

    Raises:
        OutputError: It cannot be read, or is none.

    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _wrong(path, f"it has more than {MOST_BYTES:,} bytes")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(path, error.strerror or str(error)) from None
    except (ValueError, RecursionError):
        raise _wrong(path, "it is not JSON") from None
    if not isinstance(data, dict) or "answers" not in data or "prompts" not in data:
        raise _wrong(path, "it has other content")
    if data["answers"] != ANSWERS_VERSION:
        msg = f"{str(path)!r}: expected answers of version {ANSWERS_VERSION}, got "
        msg += f"{str(data['answers'])[:40]!r}"
        raise OutputError(msg, hint="pip install --upgrade slack-ties")
    try:
        models = tuple(
            Tried(**{**one, "answers": tuple(Answer(**answer) for answer in one["answers"])})
            for one in data["models"]
        )
        found = Answers(**{**data, "prompts": tuple(data["prompts"]), "models": models})
        _check(found)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise _wrong(path, f"it is damaged: {str(error)[:200]}") from None
    return found


def _check(found: Answers) -> None:
    """Refuse values of other types: a person may have edited the file."""
    texts = [*found.prompts, found.device, found.date, found.weights]
    for pairs in (found.left_out, found.versions):
        texts += [*pairs.keys(), *pairs.values()]
    whole: list[Any] = [found.max_tokens, *([] if found.seed is None else [found.seed])]
    seconds, switches = [], []
    for model in found.models:
        if len(model.answers) != len(found.prompts):
            msg = f"{len(model.answers)} answers to {len(found.prompts)} prompts"
            raise ValueError(msg)
        texts += [model.role, model.name, model.commit, model.dtype]
        texts += [text for one in model.answers for text in (one.text, one.problem)]
        seconds.append(model.seconds)
        whole += [one.tokens for one in model.answers]
        switches += [model.chat, *(one.ended for one in model.answers)]
    if not (found.prompts and found.models):
        msg = "it has no answers"
        raise ValueError(msg)
    if (
        not all(isinstance(one, str) for one in texts)
        or not all(type(one) is int and 0 <= one <= LARGEST for one in whole)
        or not all(type(one) in {int, float} and 0 <= one <= LARGEST for one in seconds)
        or not all(isinstance(one, bool) for one in switches)
    ):
        msg = "a value has the wrong type"
        raise TypeError(msg)


def _wrong(path: Path, what: str) -> OutputError:
    msg = f"{str(path)!r}, answers of models: {what}"
    return OutputError(msg, hint="slack-ties try OUT PROMPT -o FILE  # writes such a file")
