"""Run one model on this machine: load it, and let it write answers.

No code of a model is run, and nothing is downloaded.
"""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slack_ties.evaluation.answers import Answer
from slack_ties.running.run_models import failed, load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from slack_ties.trying.asked import Asked

__all__ = ["Writer", "loaded"]


@contextmanager
def loaded(folders: Sequence[Path], name: str, *, dtype: str, device: str) -> Iterator[Writer]:
    """Load a model; give its memory back afterwards.

    Args:
        folders: Of the model, and of its adapter if it has one.
        name: The model's name in errors.
        dtype: The type in which it runs; auto: as stored.
        device: Where it runs, as torch names it.

    Raises:
        CheckpointError: transformers cannot load it, or the weights are not complete.

    """
    import torch  # noqa: PLC0415 - heavy

    model = load_model(folders, name, device=device, dtype=dtype)
    writer = Writer(model, name)
    del model
    try:
        yield writer
    finally:
        writer.model = None
        gc.collect()
        if device.startswith("cuda"):
            torch.cuda.empty_cache()


class Writer:
    """A model in memory."""

    def __init__(self, model: Any, name: str) -> None:
        """Take a model of transformers, and its name in errors."""
        self.model, self.name = model, name

    @property
    def dtype(self) -> str:
        """The type of the weights in memory."""
        return str(self.model.dtype).removeprefix("torch.")

    def write(
        self,
        asked: Asked,
        number: int,
        *,
        most: int,
        seed: int | None,
        step: Callable[[], None],
    ) -> tuple[Answer, float]:
        """Let the model answer a prompt; return the answer, and the seconds that it took.

        Args:
            asked: The prompts in tokens.
            number: The prompt, from 0.
            most: New tokens.
            seed: Sample with it; None: the likeliest token each time.
            step: Called after each token.

        Raises:
            CheckpointError: The model cannot run.

        """
        began = time.monotonic()
        new = self.go_on(asked.ids[number], most=most, seed=seed, step=lambda _: step())
        seconds = time.monotonic() - began
        text = asked.tokenizer.decode(new, skip_special_tokens=True)
        return Answer(text, len(new), self.has_ended(new, most)), seconds

    def go_on(
        self,
        given: Sequence[int],
        *,
        most: int,
        seed: int | None,
        step: Callable[[list[int]], None],
    ) -> list[int]:
        """Let the model continue some tokens; return the new ones.

        Args:
            given: Tokens, at least one.
            most: New tokens.
            seed: Sample with it; None: the likeliest token each time.
            step: Called after each token with all new tokens. An OSError of it is raised here.

        Raises:
            CheckpointError: The model cannot run.

        """
        import torch  # noqa: PLC0415 - heavy
        from transformers import StoppingCriteriaList  # noqa: PLC0415

        closed: list[OSError] = []  # what `step` writes to

        def each_token(ids: Any, _scores: Any, **_: Any) -> Any:
            try:
                step(ids[0, len(given) :].tolist())
            except OSError as error:
                closed.append(error)
                raise
            return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)

        tokens = torch.tensor([list(given)], device=self.model.device)
        more: dict[str, Any] = {} if seed is None else {"do_sample": True}
        if self.model.generation_config.pad_token_id is None:
            more["pad_token_id"] = [*self._ends(), 0][0]  # of no effect for one text, but a warning
        try:
            with _seeded(seed):
                out = self.model.generate(
                    input_ids=tokens,
                    attention_mask=torch.ones_like(tokens),
                    max_new_tokens=most,
                    stopping_criteria=StoppingCriteriaList([each_token]),
                    **{"do_sample": False, "num_beams": 1, **more},
                )
        except Exception as error:  # the files are not ours: errors of any type
            if error in closed:
                raise
            raise failed(self.name, "cannot write", error) from None
        new: list[int] = out[0, len(given) :].tolist()
        return new

    def has_ended(self, new: Sequence[int], most: int) -> bool:
        """Say whether the model ended its answer itself, and was not cut.

        Args:
            new: The tokens of the answer.
            most: The tokens that it was allowed.

        """
        return len(new) < most or new[-1] in self._ends()

    def _ends(self) -> list[int]:
        """Return the tokens that end an answer."""
        ends = self.model.generation_config.eos_token_id
        return ends if isinstance(ends, list) else [] if ends is None else [ends]


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Seed torch's random numbers for a while; None: leave them alone."""
    import torch  # noqa: PLC0415 - heavy

    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
