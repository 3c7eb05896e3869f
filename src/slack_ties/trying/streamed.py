"""Show the text of an answer while a model writes it, in every script.

The streamers of transformers keep a word back until a space or a line end follows it. Tibetan,
Khmer, Lao, Burmese and Thai put no spaces between words: their text would come in whole sentences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["StreamedText"]

# What a tokenizer writes in place of a letter of which some bytes are still missing.
INCOMPLETE = "\ufffd"


class StreamedText:
    """The text of one answer, which grows token by token."""

    def __init__(self, tokenizer: Any, show: Callable[[str], None]) -> None:
        """Take the model's tokenizer, and what shows each new part of the text."""
        self.tokenizer, self.show = tokenizer, show
        self.tokens: list[int] = []
        self.shown = ""

    def put(self, tokens: Sequence[int]) -> None:
        """Show what is new; keep back a letter that is not complete.

        Args:
            tokens: All tokens of the answer so far.

        """
        self.tokens = list(tokens)
        text = self.text()
        if text.startswith(self.shown) and not text.endswith(INCOMPLETE):
            self._show_to(text)

    def end(self, tokens: Sequence[int]) -> str:
        """Show the rest, and return the whole text.

        Args:
            tokens: All tokens of the answer.

        """
        self.tokens = list(tokens)
        text = self.text()
        if not text.startswith(self.shown):  # a tokenizer that changed what it had written
            self.show("\n")
            self.shown = ""
        self._show_to(text)
        return text

    def text(self) -> str:
        """Return the text of the tokens so far."""
        return str(self.tokenizer.decode(self.tokens, skip_special_tokens=True))

    def _show_to(self, text: str) -> None:
        if new := text[len(self.shown) :]:
            self.shown = text
            self.show(new)
