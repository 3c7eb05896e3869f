"""The perplexity of a merged model on somebody's own texts, without a model on disk.

transformers builds the model once; the merged tensors of each candidate are put into it.
"""

from __future__ import annotations

import math
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

LONGEST = 1024  # tokens that are looked at together: more take memory, and change little


@dataclass(frozen=True)
class Text:
    """A text that perplexity is of."""

    path: Path
    content: str

    @property
    def digest(self) -> str:
        """The SHA-256 of what it says."""
        return sha256_of(self.content)


def read_text(path: Path) -> Text:
    """Read a text in UTF-8.

    Raises:
        SlackTiesError: It is not there, not UTF-8, or empty.

    """
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{str(path)!r} is not UTF-8: byte {error.start} is not"
        raise SlackTiesError(msg, hint=f"iconv -t utf-8 {path} > text.txt") from None
    except OSError as error:
        msg = f"cannot read the text {str(path)!r}: {error.strerror or error}"
        raise SlackTiesError(msg) from None
    if not content.strip():
        msg = f"{str(path)!r} is empty, expected a text to take the perplexity of"
        raise SlackTiesError(msg, hint="some KB of the language are enough to compare by")
    return Text(path, content)


class Scorer:
    """Takes the perplexity of merged tensors on a few texts."""

    def __init__(self, folder: Path, words: Path, texts: Sequence[Text], device: str) -> None:
        """Cut the texts into tokens.

        Args:
            folder: Of the base, whose config the merged model has.
            words: Of the model whose tokenizer it has.
            texts: What to take the perplexity of.
            device: Where to.

        Raises:
            CheckpointError: There is no tokenizer, or no causal language model.
            SlackTiesError: A text is a single token or none.

        """
        from transformers import AutoConfig, AutoTokenizer  # noqa: PLC0415 - heavy

        try:
            tokenizer = AutoTokenizer.from_pretrained(words)
            self.config = AutoConfig.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            msg = f"{words}: no tokenizer or config that transformers can load: {error}"
            raise CheckpointError(msg, hint="use --metric kept, which needs none") from None
        self.tokens: list[list[int]] = []
        for text in texts:
            found: list[int] = tokenizer(text.content, verbose=False)["input_ids"]
            if len(found) < 2:  # noqa: PLR2004 - one to predict another from
                msg = f"{str(text.path)!r} has {len(found)} token, expected 2 or more"
                raise SlackTiesError(msg)
            self.tokens.append(found)
        longest = getattr(self.config, "max_position_embeddings", None) or LONGEST
        self.longest = min(LONGEST, longest)
        self.device = device
        self.model: Any = None

    def score(self, tensors: Mapping[str, torch.Tensor]) -> list[float]:
        """Return the perplexity of each text, by the model that has these tensors."""
        import torch  # noqa: PLC0415 - heavy

        model = self._load(tensors)
        found = []
        with torch.inference_mode():
            for tokens in self.tokens:
                loss, count = 0.0, 0
                # Pieces overlap by a token, so that each but the first is predicted once.
                for start in range(0, len(tokens) - 1, self.longest - 1):
                    piece = tokens[start : start + self.longest]
                    ids = torch.tensor([piece], device=self.device)
                    logits = model(ids).logits[0, :-1].float()
                    losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
                    loss, count = loss + float(losses), count + len(piece) - 1
                found.append(math.exp(min(loss / count, 700.0)))  # above it a float ends
        return found

    def _load(self, tensors: Mapping[str, torch.Tensor]) -> Any:
        """Put tensors into the model, in float32 on a CPU, where half precision is slow."""
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
