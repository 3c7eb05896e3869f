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
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.card.markdown import plain_text
from slack_ties.errors import OutputError
from slack_ties.evaluation.answers import answers_as_json, digest_of_weights, read_answers
from slack_ties.files import write_whole
from slack_ties.recipe.public import published_names
from slack_ties.wording import readable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slack_ties.evaluation.answers import Answer, Answers, Tried
    from slack_ties.record import MergeRecord, Parent

__all__ = ["EXAMPLES_FILE", "add_examples", "examples_of"]

LOG = logging.getLogger("slack_ties")

EXAMPLES_FILE = "examples.json"

MOST_EXAMPLES = 10  # prompts in a card

MOST_CHARACTERS = 1000  # of a prompt or an answer

ROLES = {"merged": "This model", "base": "Base model", "ct": "CT model", "sft": "SFT model"}

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
    names = {"+".join(one.names): one for one in record.parents}
    public = published_names(record.parents)
    models = tuple(replace(one, name=_public(one, names, public)) for one in answers.models)
    path = folder / EXAMPLES_FILE
    try:
        # Why a model was left out can name a folder of this disk.
        write_whole(path, answers_as_json(replace(answers, models=models, left_out={})))
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
        LOG.warning("  the card shows no examples: those in %s are of another merge", path)
        return ""
    return "\n\n".join([_introduction(answers), *_blocks(answers)])


def _is_of(answers: Answers, record: MergeRecord) -> bool:
    """Say whether the merged model with this record gave these answers."""
    expected = digest_of_weights(record.files)
    roles = [one.role for one in answers.models]
    return roles[0] == "merged" and (not expected or answers.weights == expected)


def _public(one: Tried, parents: Mapping[str, Parent], public: Mapping[str, str]) -> str:
    """Return a model's name without a folder of this disk; "" for the merged model."""
    if one.role == "merged":
        return ""
    if one.name in parents:
        name = public[parents[one.name].model]
        return re.sub(r"@[^+]*", "", name)
    return f"./{Path(one.name).name}"


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
