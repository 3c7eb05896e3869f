"""Ask a merged model and the models that it was made from the same prompts.

`slack-ties try` calls this. One model is in memory at a time, and each is loaded once. All checks
come first: tokenizers, chat templates, lengths, disk and memory.
"""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError, SlackTiesError
from slack_ties.evaluation.answers import (
    Answer,
    Answers,
    Tried,
    check_answers_file,
    digest_of_weights,
    write_answers,
)
from slack_ties.files import expanded, sha256
from slack_ties.progress import Progress
from slack_ties.recipe.check import DTYPES
from slack_ties.record import RECORD_FILE, read_record
from slack_ties.running.models_of import MERGED, merge_of
from slack_ties.running.run_models import folders_of, usable_device
from slack_ties.settings import Settings
from slack_ties.trying.prompts import check_prompts
from slack_ties.trying.room import check_disk, check_memory
from slack_ties.trying.tried import find_members, look_at_candidates
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Unpack

    from slack_ties.settings import SettingsByName
    from slack_ties.trying.asked import Asked
    from slack_ties.trying.tried import Candidate

__all__ = ["try_prompts"]

LOG = logging.getLogger("slack_ties")

MAX_TOKENS = 100


@dataclass(frozen=True)
class _How:
    """How all models run."""

    what: str  # as the user named the merge
    most: int  # new tokens of an answer
    chat: bool
    seed: int | None
    dtype: str
    device: str

    def again(self, *more: str) -> str:
        """Return the same command with more options."""
        return shlex.join(["slack-ties", "try", self.what, "PROMPT", *more])


def try_prompts(  # noqa: PLR0913 - all but two by name
    what: str | Path,
    prompts: str | Sequence[str],
    *,
    alone: bool = False,
    max_tokens: int = MAX_TOKENS,
    chat_template: bool = True,
    seed: int | None = None,
    dtype: str = "auto",
    device: str = "",
    output: str | Path | None = None,
    **settings: Unpack[SettingsByName],
) -> Answers:
    """Ask a merged model and the models that it was made from the same prompts.

    A model that cannot be used, such as one whose folder is gone, is left out with a warning.

    Args:
        what: A folder that slack-ties or mergekit merged, or the Hub id of a published merge:
            OWNER/NAME or OWNER/NAME@REVISION.
        prompts: A text, or several.
        alone: Ask only the merged model; then `what` may be any model.
        max_tokens: The most new tokens of one answer.
        chat_template: Put the prompt into the model's chat template, if it has one.
        seed: Sample with this seed, by the model's own settings. If not given, each model writes
            its likeliest token each time.
        dtype: The type in which the models run: auto (as stored), bfloat16, float16, float32
            or float64.
        device: A device as torch names it, or auto. If not given: that of `options`; without
            `options`, a GPU if there is one.
        output: Write the answers to this file too, as JSON.
        settings: `options`, `quiet` and `api`, as in `Settings`. No code of a model is run,
            whatever the options say.

    Raises:
        SlackTiesError: There is no prompt, or `what` is no merged model.
        CheckpointError: The merged model cannot be used, or does not fit in memory.
        OutputError: `output` cannot be written, or is a file that is none of ours.

    """
    shared = Settings(**settings).with_download("try")
    if max_tokens < 1 or dtype not in ("auto", *DTYPES):
        msg = f"max_tokens is {max_tokens} and dtype {dtype!r}: expected 1 or more, and one of "
        raise SlackTiesError(msg + ", ".join(("auto", *DTYPES)))
    out = expanded(output) if output else None
    if out:
        check_answers_file(out)
    given = check_prompts(
        [prompts] if isinstance(prompts, str) else [*prompts], example=_example(what)
    )
    members = find_members(what, alone=alone, api=shared.api)
    found, left_out = look_at_candidates(members, api=shared.api, cache=shared.cache)
    how = _How(str(what), max_tokens, chat_template, seed, dtype, usable_device(device, shared))
    from slack_ties.tensors.loading import quiet_transformers  # noqa: PLC0415 - heavy

    with quiet_transformers():
        asked = _ask_all(found, given, how, left_out)
        _check_room(asked, how, shared.cache, left_out)
        answers = Answers(
            prompts=given,
            models=tuple(_run_all(asked, given, how, shared, left_out)),
            max_tokens=max_tokens,
            seed=seed,
            device=how.device,
            left_out=left_out,
            versions={name: version(name) for name in ("slack-ties", "transformers", "torch")},
            date=datetime.now(timezone.utc).date().isoformat(),
            weights=_digest(found[0], shared),
        )
    if out:
        write_answers(answers, out)
    return answers


def _example(what: str | Path) -> str:
    """Return a command with a prompt, in the language of the merge if its config says it."""
    prompt = "PROMPT"
    try:
        if expanded(what).is_dir():
            language = merge_of(what, alone=True, adopt=False).recipe.facts.language
            prompt = str(language.get("endonym") or prompt)
    except (SlackTiesError, OSError):  # this is only an example
        pass
    command = f"slack-ties try {shlex.quote(str(what))} {shlex.quote(prompt)}"
    return f"{command}  # or --prompts FILE, with one prompt in each line"


def _ask_all(
    found: Sequence[Candidate], prompts: Sequence[str], how: _How, left_out: dict[str, str]
) -> dict[Candidate, Asked]:
    """Return the prompts in the tokens of each model; leave out a model without a tokenizer."""
    from slack_ties.trying.asked import ask_in_tokens  # noqa: PLC0415 - heavy

    asked = {}
    for one in found:
        try:
            asked[one] = ask_in_tokens(one, prompts, chat=how.chat)
        except CheckpointError as error:
            if one.role == MERGED:
                raise
            left_out[one.name] = str(error)
            continue
        if one.role == MERGED:
            for number in range(len(prompts)):
                if problem := _too_long(asked[one], number, how):
                    msg = f"prompt {number + 1} is too long: {problem}"
                    raise SlackTiesError(msg, hint="shorten the prompt, or lower --max-tokens")
    return asked


def _too_long(asked: Asked, number: int, how: _How) -> str:
    """Return why a model cannot take a prompt and an answer; "" if it can."""
    tokens = len(asked.ids[number])
    if asked.longest is None or tokens + how.most <= asked.longest:
        return "" if tokens else "it has no tokens"
    most = counted(asked.longest, "token")
    return f"it has {counted(tokens, 'token')} with {how.most:,} for the answer, at most {most}"


def _check_room(
    asked: dict[Candidate, Asked], how: _How, cache: str | None, left_out: dict[str, str]
) -> None:
    """Refuse models that do not fit in memory or on the disk, before they are downloaded."""
    for one in list(asked):
        try:
            check_memory(one, how.dtype, how.device, how.again)
        except CheckpointError as error:
            if one.role == MERGED:
                raise
            left_out[one.name] = str(error)
            del asked[one]
    for name, why in left_out.items():
        _warn(name, why)
    check_disk(list(asked), cache, hint=how.again("--alone") if len(asked) > 1 else "")


def _warn(name: str, why: str) -> None:
    """Say why a model is left out; a reason that names the model needs no name before it."""
    LOG.warning("  left out: %s", why if name in why else f"{name}: {why}")


def _run_all(
    asked: dict[Candidate, Asked],
    prompts: Sequence[str],
    how: _How,
    settings: Settings,
    left_out: dict[str, str],
) -> Iterator[Tried]:
    """Download all models, then yield the answers of each, one after the other."""
    folders = {one: _folders(one, settings) for one in asked}
    total = len(asked) * len(prompts) * how.most
    quiet = settings.options.quiet if settings.options else settings.quiet
    with Progress("written", total, quiet=quiet, unit="tokens at most") as progress:
        for one, tokens in asked.items():
            before = progress.done
            try:
                yield _run(one, folders[one], tokens, how, progress)
            except CheckpointError as error:
                if one.role == MERGED:
                    raise
                _warn(one.name, str(error))
                left_out[one.name] = str(error)
                progress.at(before, progress.total - len(prompts) * how.most)


def _run(
    one: Candidate, folders: Sequence[Path], asked: Asked, how: _How, progress: Progress
) -> Tried:
    """Load a model, and return its answers to all prompts."""
    from slack_ties.trying.writing import loaded  # noqa: PLC0415 - heavy

    LOG.info("  %-6s %s", one.member.label, one.name)
    answers, seconds = [], 0.0
    with loaded(folders, one.name, dtype=how.dtype, device=how.device) as writer:
        for number in range(len(asked.ids)):
            done = progress.done
            if problem := _too_long(asked, number, how):
                answers.append(Answer("", problem=f"no answer: the prompt is too long: {problem}"))
            else:
                answer, took = writer.write(
                    asked,
                    number,
                    most=how.most,
                    seed=how.seed,
                    step=lambda: progress.at(progress.done + 1),
                )
                answers.append(answer)
                seconds += took
            written = answers[-1].tokens
            progress.at(done + written, progress.total - how.most + written)
        dtype = writer.dtype
    return Tried(one.role, one.name, tuple(answers), one.commit, dtype, asked.chat, seconds)


def _folders(one: Candidate, settings: Settings) -> tuple[Path, ...]:
    """Return the folders of a model and its adapter, downloaded if they are on the Hub."""
    return folders_of(one.pinned, api=settings.api, cache=settings.cache)


def _digest(merged: Candidate, settings: Settings) -> str:
    """Return the digest of the merged model's weights; those of a record are not read again."""
    folder = _folders(merged, settings)[0]
    if (folder / RECORD_FILE).is_file() and (files := read_record(folder).files):
        return digest_of_weights(files)
    return digest_of_weights({name: sha256(folder / name) for name in merged.looks[0].weights})
