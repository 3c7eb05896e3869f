"""Turn prompts into the tokens of a model: in its chat template, if it has one.

This needs the small files of a model only. So it comes before any weights are downloaded or loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError
from slack_ties.hub.errors import first_line
from slack_ties.tokenizer.files import has_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.trying.tried import Candidate

__all__ = ["Asked", "ask_in_tokens"]


@dataclass(frozen=True)
class Asked:
    """The prompts in the tokens of one model."""

    tokenizer: Any
    chat: bool  # whether the chat template was applied
    ids: tuple[tuple[int, ...], ...]  # of each prompt
    longest: int | None  # tokens that the model can take, prompt and answer; None: not known


def ask_in_tokens(candidate: Candidate, prompts: Sequence[str], *, chat: bool) -> Asked:
    """Return the prompts in the tokens of a model.

    Args:
        candidate: The model; its small files are on this disk.
        prompts: Texts of a user.
        chat: Apply the chat template, if the model has one.

    Raises:
        CheckpointError: The model has no tokenizer or config that transformers can load; or its
            chat template cannot be applied.

    """
    from transformers import AutoConfig, AutoTokenizer  # noqa: PLC0415 - heavy

    model = candidate.looks[0].folder
    folders = [look.folder for look in reversed(candidate.looks)]
    folder = next(filter(has_tokenizer, folders), None)
    if folder is None:
        msg = f"model {candidate.name!r} has no tokenizer"
        hint = "copy the files of its tokenizer into its folder: tokenizer.json and "
        raise CheckpointError(msg, hint=f"{hint}tokenizer_config.json")
    try:
        load: Any = AutoTokenizer.from_pretrained
        tokenizer = load(folder, trust_remote_code=False, local_files_only=True)
        config = AutoConfig.from_pretrained(model, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # noqa: BLE001 - the files are not ours: errors of any type
        raise _unloadable(candidate.name, "its tokenizer or config", error) from None
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    applied = chat and bool(tokenizer.chat_template)
    ids = tuple(_ids(tokenizer, prompt, candidate.name, chat=applied) for prompt in prompts)
    return Asked(tokenizer, applied, ids, longest if isinstance(longest, int) else None)


def _ids(tokenizer: Any, prompt: str, name: str, *, chat: bool) -> tuple[int, ...]:
    try:
        if not chat:
            return tuple(tokenizer(prompt, verbose=False)["input_ids"])
        said = [{"role": "user", "content": prompt}]
        found = tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=True)
        return tuple(found["input_ids"])
    except Exception as error:  # noqa: BLE001 - a template is a program of others
        what = "its chat template" if chat else "its tokenizer"
        raise _unloadable(name, what, error, chat=chat) from None


def _unloadable(name: str, what: str, error: Exception, *, chat: bool = False) -> CheckpointError:
    msg = f"model {name!r}: transformers cannot use {what}: {first_line(error)}"
    hint = "add --no-chat-template: every model gets the prompt as plain text" if chat else ""
    return CheckpointError(msg, hint=hint)
