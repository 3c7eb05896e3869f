"""Talk with one model: each answer follows from all that was said before.

`slack-ties chat` calls this. transformers has a chat command too, but only as a client of an HTTP
server that must run beside it.
"""

from __future__ import annotations

import shlex
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from slack_ties.errors import SlackTiesError
from slack_ties.running.run_models import folders_of, usable_device
from slack_ties.settings import Settings
from slack_ties.trying.room import check_disk, check_memory
from slack_ties.trying.saved import CHAT_VERSION
from slack_ties.trying.tried import find_members, look_at_candidates
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typing_extensions import Unpack

    from slack_ties.settings import SettingsByName
    from slack_ties.trying.messages import Messages
    from slack_ties.trying.tried import Candidate
    from slack_ties.trying.writing import Writer

__all__ = ["Chat", "Reply", "open_chat"]

MAX_TOKENS = 512


@dataclass(frozen=True)
class Reply:
    """One answer of the model."""

    text: str
    tokens: int  # that the model wrote
    ended: bool  # whether the model ended the answer itself; if not, it was cut
    stopped: bool  # whether the user stopped it
    seconds: float

    def end(self) -> str:
        """Return in a few words how the answer ended; "" if the model ended it."""
        if self.stopped:
            return "stopped" if self.text else "stopped: your text is not kept"
        if not self.ended:
            return f"cut after {counted(self.tokens, 'token')}"
        return "" if self.text.strip() else "an empty answer"


@dataclass(frozen=True)
class _How:
    """How the model runs."""

    max_tokens: int
    seed: int | None
    device: str


class Chat:
    """A conversation with a model in memory."""

    def __init__(self, one: Candidate, writer: Writer, messages: Messages, how: _How) -> None:
        """Take the model, what is known of it, and how it runs."""
        self.one, self.writer, self.messages, self.how = one, writer, messages, how

    def about(self) -> str:
        """Return in one line which model this is, and how it runs."""
        commit = f" at {self.one.commit[:7]}" if self.one.commit else ""
        how = "in its chat template"
        if not self.messages.asked.chat:
            how = "as plain text: it continues what you write"
            if not self.messages.asked.tokenizer.chat_template:
                how += ", because it has no chat template"
        return f"{self.one.name}{commit}, {self.writer.dtype} on {self.how.device}, {how}"

    def ask(self, text: str, show: Callable[[str], None]) -> Reply:
        """Let the model answer, and keep both texts; Ctrl-C (KeyboardInterrupt) stops the answer.

        Args:
            text: What the user says.
            show: Called with each new part of the answer.

        Raises:
            SlackTiesError: The conversation is too long for the model.
            CheckpointError: The model cannot run.

        """
        from slack_ties.trying.streamed import StreamedText  # noqa: PLC0415 - with the model

        given = self.messages.given(text)
        most = self._most(len(given))
        answer = StreamedText(self.messages.asked.tokenizer, show)
        seed = self.how.seed
        if seed is not None:  # another one for each answer: the same question may come twice
            seed += len(self.messages.said)
        began, stopped = time.monotonic(), False
        try:
            new = self.writer.go_on(given, most=most, seed=seed, step=answer.put)
        except KeyboardInterrupt:
            new, stopped = answer.tokens, True
        seconds = time.monotonic() - began
        written = answer.end(new)
        if written or not stopped:
            self.messages.add(text, written)
        ended = not stopped and self.writer.has_ended(new, most)
        return Reply(written, len(new), ended, stopped, seconds)

    def _most(self, given: int) -> int:
        """Return how many tokens the answer may have; refuse if there is no room for one."""
        longest = self.messages.asked.longest
        if not given:
            msg = "the text has no tokens"
            raise SlackTiesError(msg)
        if longest is None or given + self.how.max_tokens <= longest:
            return self.how.max_tokens
        if given >= longest:
            msg = f"the conversation has {counted(given, 'token')} with this text, and the model "
            msg += f"takes less than {longest:,}"
            hint = "/reset  # forgets the conversation" if self.messages.said else ""
            raise SlackTiesError(msg, hint=hint or "give a shorter text")
        return longest - given

    def data(self) -> dict[str, Any]:
        """Return the conversation, the model and how it ran, as the saved file has them."""
        return {
            "chat": CHAT_VERSION,
            "model": self.one.name,
            "commit": self.one.commit,
            "messages": self.messages.all(),
            "settings": {
                "chat_template": self.messages.asked.chat,
                "max_tokens": self.how.max_tokens,
                "seed": self.how.seed,
                "dtype": self.writer.dtype,
                "device": self.how.device,
            },
            "versions": {name: version(name) for name in ("slack-ties", "transformers", "torch")},
            "date": datetime.now(timezone.utc).date().isoformat(),
        }


@contextmanager
def open_chat(  # noqa: PLR0913 - all but one by name
    what: str | Path,
    *,
    system: str = "",
    max_tokens: int = MAX_TOKENS,
    chat_template: bool = True,
    seed: int | None = None,
    dtype: str = "auto",
    device: str = "",
    **settings: Unpack[SettingsByName],
) -> Iterator[Chat]:
    """Load a model to talk with; give its memory back afterwards.

    All that can be wrong is found before the weights are downloaded or loaded: the tokenizer, the
    chat template, the system text, disk and memory. No code of a model is run.

    Args:
        what: A model's folder, or a Hub id: OWNER/NAME or OWNER/NAME@REVISION.
        system: What the model is to be and to do: the system text of its chat template.
        max_tokens: The most new tokens of one answer.
        chat_template: Put the messages into the model's chat template, if it has one.
        seed: Sample with this seed, by the model's own settings. If not given, the model writes
            its likeliest token each time.
        dtype: The type in which the model runs; auto: as stored.
        device: As for `try_prompts`.
        settings: `options`, `quiet` and `api`, as in `Settings`.

    Raises:
        SlackTiesError: There is no such model, or it takes no system text.
        CheckpointError: The model cannot be used, or does not fit in memory.
        OutputError: Its download has no room on the disk.

    """
    shared = Settings(**settings).with_download("chat")
    members = find_members(what, alone=True, api=shared.api)
    (one,), _ = look_at_candidates(members, api=shared.api, cache=shared.cache, command="chat")
    how = _How(max_tokens, seed, usable_device(device, shared))
    from slack_ties.tensors.loading import quiet_transformers  # noqa: PLC0415 - heavy
    from slack_ties.trying.asked import ask_in_tokens  # noqa: PLC0415 - heavy
    from slack_ties.trying.messages import Messages  # noqa: PLC0415 - heavy
    from slack_ties.trying.writing import loaded  # noqa: PLC0415 - heavy

    def again(*more: str) -> str:
        return shlex.join(["slack-ties", "chat", str(what), *more])

    with quiet_transformers():
        messages = Messages(ask_in_tokens(one, ["x"], chat=chat_template), one.name)
        messages.set_system(system)
        check_memory(one, dtype, how.device, again)
        check_disk([one], shared.cache)
        folders = folders_of(one.pinned, api=shared.api, cache=shared.cache)
        with loaded(folders, one.name, dtype=dtype, device=how.device) as writer:
            yield Chat(one, writer, messages, how)
