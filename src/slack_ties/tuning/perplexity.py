"""Compute the perplexity of a merged model in memory on the user's texts."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slack_ties.errors import SlackTiesError
from slack_ties.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slack_ties.harness.how import Loaded

__all__ = ["Text", "perplexities", "read_text"]

LONGEST_PIECE = 1024  # tokens in one pass: more need more memory, and change little


@dataclass(frozen=True)
class Text:
    """A text to compute the perplexity of."""

    path: Path
    content: str

    @property
    def digest(self) -> str:
        """The SHA-256 of its content."""
        return sha256_of(self.content)


def read_text(path: Path) -> Text:
    """Read a text in UTF-8.

    Raises:
        SlackTiesError: It does not exist, is not UTF-8, or is empty.

    """
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{str(path)!r} is not UTF-8: byte {error.start} is invalid"
        hint = f"iconv -t utf-8 {shlex.quote(str(path))} > text.txt"
        raise SlackTiesError(msg, hint=hint) from None
    except OSError as error:
        msg = f"cannot read the text {str(path)!r}: {error.strerror or error}"
        hint = "give the path of a text file that exists: --text FILE"
        raise SlackTiesError(msg, hint=hint) from None
    if not content.strip():
        msg = f"{str(path)!r} is empty, expected a text to compute the perplexity of"
        raise SlackTiesError(msg, hint="some KB of text in the language are enough")
    return Text(path, content)


def perplexities(loaded: Loaded, texts: Sequence[Text]) -> list[float]:
    """Return the perplexity of a model on each text.

    Args:
        loaded: The model in memory, on the device that computes it.
        texts: The texts. They are read in pieces, as long as the model takes, or LONGEST_PIECE.

    Raises:
        SlackTiesError: A text has fewer than two tokens.

    """
    import torch  # noqa: PLC0415 - heavy

    model = loaded.model
    longest = getattr(model.config, "max_position_embeddings", None) or LONGEST_PIECE
    longest = min(LONGEST_PIECE, longest)
    every = [_tokens(loaded, text) for text in texts]
    found = []
    with torch.inference_mode():
        for tokens in every:
            loss, count = 0.0, 0
            # Pieces overlap by one token: we predict each token once, except the first.
            for start in range(0, len(tokens) - 1, longest - 1):
                piece = tokens[start : start + longest]
                ids = torch.tensor([piece], device=model.device)
                logits = model(ids).logits[0, :-1].float()
                losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
                loss, count = loss + float(losses), count + len(piece) - 1
            found.append(math.exp(min(loss / count, 700.0)))  # else exp overflows
    return found


def _tokens(loaded: Loaded, text: Text) -> list[int]:
    found: list[int] = loaded.tokenizer(text.content, verbose=False)["input_ids"]
    if len(found) < 2:  # noqa: PLR2004 - one predicts the other
        msg = f"{str(text.path)!r} has {len(found)} token, expected 2 or more"
        raise SlackTiesError(msg)
    return found
