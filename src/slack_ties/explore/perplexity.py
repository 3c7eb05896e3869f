"""Compute the perplexity of a merged model on the user's texts, without a model on disk.

transformers builds the model once; we load the merged tensors of each candidate into it.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError, SlackTiesError
from slack_ties.files import sha256_of
from slack_ties.private.transformers import tied_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

__all__ = ["Scorer", "Text", "read_text"]

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


class Scorer:
    """Computes the perplexity of merged tensors on a few texts."""

    def __init__(
        self, folder: Path, tokenizer_folder: Path, texts: Sequence[Text], device: str
    ) -> None:
        """Cut the texts into tokens.

        Args:
            folder: The folder of the base: the merged model has its config.
            tokenizer_folder: The folder of the model whose tokenizer the merged model has.
            texts: The texts to compute the perplexity of.
            device: The device that computes it.

        Raises:
            CheckpointError: There is no tokenizer, or no causal language model.
            SlackTiesError: A text has fewer than two tokens.

        """
        from transformers import AutoConfig, AutoTokenizer  # noqa: PLC0415 - heavy

        try:
            tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
            self.config = AutoConfig.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            msg = f"{tokenizer_folder}: no tokenizer or config that transformers can load: {error}"
            raise CheckpointError(msg, hint="use --metric kept, which needs no tokenizer") from None
        self.tokens: list[list[int]] = []
        for text in texts:
            found: list[int] = tokenizer(text.content, verbose=False)["input_ids"]
            if len(found) < 2:  # noqa: PLR2004 - one predicts the other
                msg = f"{str(text.path)!r} has {len(found)} token, expected 2 or more"
                raise SlackTiesError(msg)
            self.tokens.append(found)
        longest = getattr(self.config, "max_position_embeddings", None) or LONGEST_PIECE
        self.longest = min(LONGEST_PIECE, longest)
        self.device = device
        self.model: Any = None

    def score(self, tensors: Mapping[str, torch.Tensor]) -> list[float]:
        """Return the perplexity of the model with these tensors on each text."""
        import torch  # noqa: PLC0415 - heavy

        model = self._load(tensors)
        found = []
        with torch.inference_mode():
            for tokens in self.tokens:
                loss, count = 0.0, 0
                # Pieces overlap by one token: we predict each token once, except the first.
                for start in range(0, len(tokens) - 1, self.longest - 1):
                    piece = tokens[start : start + self.longest]
                    ids = torch.tensor([piece], device=self.device)
                    logits = model(ids).logits[0, :-1].float()
                    losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
                    loss, count = loss + float(losses), count + len(piece) - 1
                found.append(math.exp(min(loss / count, 700.0)))  # else exp overflows
        return found

    def _load(self, tensors: Mapping[str, torch.Tensor]) -> Any:
        """Load tensors into the model; in float32 on a CPU, where half precision is slow."""
        import torch  # noqa: PLC0415 - heavy
        from transformers import AutoModelForCausalLM  # noqa: PLC0415

        if self.model is None:
            rows = next(
                (t.shape[0] for name, t in tensors.items() if name.endswith("embed_tokens.weight")),
                None,
            )
            if rows:
                self.config.vocab_size = rows
            dtype = torch.float32 if self.device == "cpu" else torch.float16
            build: Any = AutoModelForCausalLM.from_config
            self.model = build(self.config, dtype=dtype)
            self.model.to(self.device).eval()
        missing, unexpected = self.model.load_state_dict(dict(tensors), strict=False)
        tied = tied_weights(self.model)
        wrong = [*unexpected, *(name for name in missing if name not in tied)]
        if wrong:
            msg = f"the merged model does not fit what transformers builds: {wrong[0]!r}"
            raise CheckpointError(msg, hint="use --metric kept, which builds no model")
        self.model.tie_weights()
        return self.model
