"""Show in a model card what models answered: examples that a person chose.

They are in OUT/examples.json, a copy of a file of `slack-ties try` that names no folder of this
disk. The texts are not trusted: models wrote them.
"""

from __future__ import annotations

import logging
import re
import shlex
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING

from slack_ties.card.markdown import plain_text
from slack_ties.errors import OutputError
from slack_ties.evaluation.answers import answers_as_json, digest_of_weights, read_answers
from slack_ties.files import write_whole
from slack_ties.recipe.public import published_names
from slack_ties.wording import readable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slack_ties.evaluation.answers import Answer, Answers, Tried
    from slack_ties.record import MergeRecord

__all__ = ["EXAMPLES_FILE", "add_examples", "examples_not_sent", "examples_of", "warn_of_examples"]

LOG = logging.getLogger("slack_ties")

EXAMPLES_FILE = "examples.json"

MOST_EXAMPLES = 10  # prompts in a card

MOST_CHARACTERS = 1000  # of a prompt or an answer

ROLES = {"merged": "This model", "base": "Base model", "ct": "CT model", "sft": "SFT model"}

LAST_NAME = re.compile(r"\./[^/\\]+")  # of a folder

RIGHT_TO_LEFT = {"R", "AL"}  # Unicode's bidirectional classes


def add_examples(file: Path, folder: Path, record: MergeRecord) -> Path:
    """Check a file of `slack-ties try`, copy it into a model's folder, and return the copy's path.

    Raises:
        OutputError: It is no such file, has too many prompts, or is of another merge.

    """
    answers = read_answers(file)
    try_again = ["slack-ties", "try", str(folder), "PROMPT", "-o", str(file)]
    if len(answers.prompts) > MOST_EXAMPLES:
        msg = (
            f"{str(file)!r} has {len(answers.prompts)} prompts, a card shows up to {MOST_EXAMPLES}"
        )
        hint = f"{shlex.join(try_again)}  # with the prompts that you choose"
        raise OutputError(msg, hint=hint)
    if not _is_of(answers, record):
        msg = f"{str(file)!r} has answers of another merge: its weights are not those of "
        msg += f"{str(folder)!r}"
        raise OutputError(msg, hint=f"{shlex.join(try_again)}  # asks this model")
    path = folder / EXAMPLES_FILE
    try:
        write_whole(path, answers_as_json(_published(answers, record)))
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}"
        raise OutputError(msg) from None
    return path


def examples_of(folder: Path, record: MergeRecord) -> str:
    """Return the section of a card with the examples in a model's folder; "" if there are none.

    A damaged file, or one of another merge, is left out with a warning.
    """
    path = folder / EXAMPLES_FILE
    if not path.is_file():
        return ""
    try:
        answers = read_answers(path)
    except OutputError as error:
        LOG.warning("  the card shows no examples: %s", error)
        return ""
    if not _is_of(answers, record):
        LOG.warning(
            "  the card shows no examples: those in %s are of another merge. Next: %s",
            path,
            _try_again(folder),
        )
        return ""
    public = _published(answers, record)
    return "\n\n".join([_introduction(public), *_blocks(public)])


def examples_not_sent(folder: Path, record: MergeRecord) -> frozenset[str]:
    """Return EXAMPLES_FILE if it must not be published as it is; else nothing."""
    return frozenset({EXAMPLES_FILE} if _why_not(folder, record) else ())


def warn_of_examples(folder: Path, record: MergeRecord) -> None:
    """Warn if the examples in a model's folder are not published, and say what to do."""
    if why := _why_not(folder, record):
        LOG.warning("  %s is not published: %s. Next: %s", folder / EXAMPLES_FILE, *why)


def _why_not(folder: Path, record: MergeRecord) -> tuple[str, str] | None:
    """Return why the examples are not published, and the next step; None if they are, or none."""
    path = folder / EXAMPLES_FILE
    if not path.is_file():
        return None
    try:
        answers = read_answers(path)
    except OutputError as error:
        return str(error), shlex.join(["rm", str(path)])
    if not _is_of(answers, record):
        return "it has answers of another merge", _try_again(folder)
    if answers != _published(answers, record):
        card = shlex.join(["slack-ties", "card", str(folder), "--examples", str(path)])
        return "it names folders of this disk", card
    return None


def _try_again(folder: Path) -> str:
    """Return the command that makes new examples in place of those of another merge."""
    path = str(folder / EXAMPLES_FILE)
    again = shlex.join(["slack-ties", "try", str(folder), "PROMPT", "-o", path])
    return f"{again}  # asks this model; or delete the file"


def _published(answers: Answers, record: MergeRecord) -> Answers:
    """Return answers without the names of folders of this disk."""
    names = published_names(record.parents)
    public = {
        "+".join(one.names): re.sub(r"@[^+]*", "", names[one.model]) for one in record.parents
    }
    public |= {name: name for name in public.values()}
    models = tuple(replace(one, name=_without_folders(one, public)) for one in answers.models)
    # Why a model was left out can name a folder.
    return replace(answers, models=models, left_out={})


def _is_of(answers: Answers, record: MergeRecord) -> bool:
    """Say whether the merged model with this record gave these answers."""
    expected = digest_of_weights(record.files)
    roles = [one.role for one in answers.models]
    return roles[0] == "merged" and (not expected or answers.weights == expected)


def _without_folders(one: Tried, public: Mapping[str, str]) -> str:
    """Return a model's name as it is published; "" for the merged model."""
    if one.role == "merged":
        return ""
    # A last name, from before the folder was known to be a model of the Hub.
    return one.name if LAST_NAME.fullmatch(one.name) else public.get(one.name, "./model")


def _introduction(answers: Answers) -> str:
    versions = " and ".join(
        plain_text(f"{name} {answers.versions[name]}", 60)
        for name in ("transformers", "torch")
        if name in answers.versions
    )
    made = " ".join(
        filter(None, [plain_text(answers.date, 20), f"with {versions}" * bool(versions)])
    )
    made = f" Made {made}." if made else ""
    return (
        "Examples, chosen by the person who made this model. They show how the models write; they "
        f"do not measure how good they are. {plain_text(answers.how())}{made}"
    )


def _blocks(answers: Answers) -> list[str]:
    blocks = []
    for number, prompt in enumerate(answers.prompts[:MOST_EXAMPLES]):
        blocks += [f"**Prompt {number + 1}**", _fenced(prompt)]
        for one in answers.models:
            answer = one.answers[number]
            blocks.append(_heading(one, answer))
            if answer.text.strip():
                blocks.append(_fenced(answer.text))
    return blocks


def _heading(one: Tried, answer: Answer) -> str:
    """Return which model answers, how it was asked, and how the answer ended."""
    name = f" {plain_text(one.name)}" if one.name else ""
    asked = "with its chat template" if one.chat else "as plain text"
    notes = [asked, plain_text(answer.end())]
    about = ", ".join(filter(None, notes))
    return f"{ROLES.get(one.role, 'Model')}{name} ({about}):"


def _fenced(text: str) -> str:
    """Return a text as a block that shows it as it is, whatever it contains."""
    text = text.strip()
    cut = text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} [...]"
    # Not the comment of a place for a person's own text.
    shown = "\n".join(map(readable, cut.splitlines())).replace("<!--", "<! --")
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", f"{shown}``")))
    block = f"{fence}text\n{shown}\n{fence}"
    if any(unicodedata.bidirectional(c) in RIGHT_TO_LEFT for c in shown):
        return f'<div dir="auto">\n\n{block}\n\n</div>'
    return block
