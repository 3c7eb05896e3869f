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
    from collections.abc import Mapping, Sequence

    from slack_ties.trying.tried import Candidate

__all__ = ["Asked", "ask_in_tokens", "chat_in_tokens", "text_in_tokens"]


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


def chat_in_tokens(
    tokenizer: Any, messages: Sequence[Mapping[str, str]], name: str
) -> tuple[int, ...]:
    """Return messages in the chat template of a model, up to where its answer begins.

    Args:
        tokenizer: The tokenizer of the model; it has a chat template.
        messages: With `role` and `content`.
        name: The model's name in errors.

    Raises:
        CheckpointError: The template cannot be applied to them.

    """
    try:
        found = tokenizer.apply_chat_template(
            [dict(one) for one in messages], add_generation_prompt=True, return_dict=True
        )
        return tuple(found["input_ids"])
    except Exception as error:  # noqa: BLE001 - a template is a program of others
        raise _unloadable(name, "its chat template", error, chat=True) from None


def text_in_tokens(tokenizer: Any, text: str, name: str) -> tuple[int, ...]:
    """Return a plain text in the tokens of a model.

    Args:
        tokenizer: The tokenizer of the model.
        text: The text.
        name: The model's name in errors.

    Raises:
        CheckpointError: The tokenizer cannot be used.

    """
    try:
        return tuple(tokenizer(text, verbose=False)["input_ids"])
    except Exception as error:  # noqa: BLE001 - the files are not ours: errors of any type
        raise _unloadable(name, "its tokenizer", error) from None


def _ids(tokenizer: Any, prompt: str, name: str, *, chat: bool) -> tuple[int, ...]:
    if chat:
        return chat_in_tokens(tokenizer, [{"role": "user", "content": prompt}], name)
    return text_in_tokens(tokenizer, prompt, name)


def _unloadable(name: str, what: str, error: Exception, *, chat: bool = False) -> CheckpointError:
    msg = f"model {name!r}: transformers cannot use {what}: {first_line(error)}"
    hint = "add --no-chat-template: then the prompt is given as plain text" if chat else ""
    return CheckpointError(msg, hint=hint)
