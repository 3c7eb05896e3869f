"""What `publish` says to do next: after it published, or instead of an id that is refused."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING

from slack_ties.errors import HubError, OtherIdError
from slack_ties.recipe.public import local_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from slack_ties.publish.destination import Destination
    from slack_ties.publish.publish import Published
    from slack_ties.record import Parent

__all__ = ["other_id_in_full", "what_now"]


@contextmanager
def other_id_in_full(
    out: Path, to: Callable[[str], Destination], more: Sequence[str]
) -> Iterator[None]:
    """Give the command in full as the next step, if the id is refused and another one is known.

    Args:
        out: The merged model.
        to: Makes the destination with another id.
        more: The other options that the user typed.

    Raises:
        HubError: The id is refused.

    """
    try:
        yield
    except OtherIdError as error:
        words = ["slack-ties", "publish", str(out), error.other_id]
        hint = shlex.join([*words, *to(error.other_id).flags(), *more])
        hint += f"  # {error.comment}" if error.comment else ""
        raise HubError(str(error), hint=hint) from None


def what_now(published: Published, parents: Iterable[Parent]) -> str:
    """Return how to load a published model, and if it can be repeated, how to verify and reuse."""
    name, revision = shlex.quote(published.repo_id), published.branch
    at = "" if revision == "main" else f", revision={revision!r}"
    load = f"AutoModelForCausalLM.from_pretrained({published.repo_id!r}{at})"
    parents = [*parents]
    why = ""
    if any(not one.commits for one in parents):
        why = "the commits of its models are not known"
    if any(local_parts(parents)):
        why = "its models are folders on this disk"
    if why:
        return f"\nLoad it:   {load}\nNobody else can repeat this merge: {why}"
    here = name if revision == "main" else shlex.quote(f"{published.repo_id}@{published.commit}")
    return (
        f"\nLoad it:   {load}\n"
        f"Check it:  slack-ties verify {here}\n"
        f"Reuse it:  slack-ties recipes pull {here}"
    )
