"""The messages of a conversation, and how a model gets them: in its chat template, or as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.errors import CheckpointError, SlackTiesError
from slack_ties.trying.asked import chat_in_tokens, text_in_tokens

if TYPE_CHECKING:
    from slack_ties.trying.asked import Asked

__all__ = ["Messages"]


class Messages:
    """What a user and a model have said to each other.

    A model with a chat template gets the messages in it. Another one gets the text so far, and
    continues it: each text of the user begins a new line.
    """

    def __init__(self, asked: Asked, name: str) -> None:
        """Take the model's tokenizer and limits, and its name in errors."""
        self.asked, self.name = asked, name
        self.system = ""
        self.said: list[dict[str, str]] = []  # role user or assistant, and content

    def all(self) -> list[dict[str, str]]:
        """Return all messages: the system text first, if there is one."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        return [*first, *self.said]

    def add(self, text: str, answer: str) -> None:
        """Add what the user said, and what the model answered."""
        self.said += [
            {"role": "user", "content": text},
            {"role": "assistant", "content": answer},
        ]

    def forget(self) -> None:
        """Begin anew; the system text stays."""
        self.said.clear()

    def given(self, text: str) -> tuple[int, ...]:
        """Return the tokens to continue when the user says this.

        Args:
            text: What the user says.

        Raises:
            CheckpointError: The chat template or the tokenizer of the model cannot be used.

        """
        messages = [*self.all(), {"role": "user", "content": text}]
        if self.asked.chat:
            return chat_in_tokens(self.asked.tokenizer, messages, self.name)
        plain = ""
        for one in messages:
            new_line = "\n" if plain and one["role"] == "user" else ""
            plain += f"{new_line}{one['content']}"
        return text_in_tokens(self.asked.tokenizer, plain, self.name)

    def set_system(self, text: str) -> None:
        """Set the text that comes before all messages; an empty one takes it away.

        Args:
            text: What the model is to be and to do.

        Raises:
            SlackTiesError: The model has no chat template, or its template takes no such text.

        """
        if text and not self.asked.chat:
            msg = "without a chat template, a model gets no system text"
            raise SlackTiesError(msg)
        before, said = self.system, self.said
        self.system, self.said = "", []
        try:
            without = self.given("x")
            self.system = text
            ignored = bool(text) and self.given("x") == without
        except CheckpointError as error:
            self.system = before
            raise SlackTiesError(str(error)) from None
        finally:
            self.said = said
        if ignored:
            self.system = before
            msg = f"model {self.name!r}: its chat template leaves the system text out"
            raise SlackTiesError(msg)
