"""Run one model on this machine: load it, and let it write answers.

No code of a model is run, and nothing is downloaded.
"""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError
from slack_ties.evaluation.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from slack_ties.trying.asked import Asked

__all__ = ["Writer", "failed", "loaded", "quiet_transformers"]

HERE = {"trust_remote_code": False, "local_files_only": True}


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Let transformers print only errors, and no bars, for a while."""
    from transformers.utils import logging  # noqa: PLC0415 - heavy

    tools: Any = logging
    level, bars = tools.get_verbosity(), tools.is_progress_bar_enabled()
    tools.set_verbosity_error()
    tools.disable_progress_bar()
    try:
        yield
    finally:
        tools.set_verbosity(level)
        if bars:
            tools.enable_progress_bar()


@contextmanager
def loaded(folders: list[Path], name: str, *, dtype: str, device: str) -> Iterator[Writer]:
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

    model = _load(folders, name, dtype, device)
    writer = Writer(model, name)
    del model
    try:
        yield writer
    finally:
        writer.model = None
        gc.collect()
        if device.startswith("cuda"):
            torch.cuda.empty_cache()


def _load(folders: list[Path], name: str, dtype: str, device: str) -> Any:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - heavy

    options: dict[str, Any] = {**HERE, "dtype": dtype, "output_loading_info": True}
    if device != "cpu":
        options["device_map"] = {"": device}  # no copy in the memory of the CPU
    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        model, info = load(folders[0], **options)
        if missing := sorted(info["missing_keys"]):
            # transformers would fill them with random numbers.
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            msg = f"its weights lack {missing[0]}{more}"
            raise ValueError(msg)  # noqa: TRY301 - as an error of transformers
        for adapter in folders[1:]:
            from peft import PeftModel  # noqa: PLC0415 - seldom needed

            model = PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
    except Exception as error:  # noqa: BLE001 - the files are not ours: errors of any type
        raise failed(name, "cannot be loaded", error) from None
    return model.eval()


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
        import torch  # noqa: PLC0415 - heavy
        from transformers import StoppingCriteriaList  # noqa: PLC0415

        def each_token(ids: Any, _scores: Any, **_: Any) -> Any:
            step()
            return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)

        given = torch.tensor([asked.ids[number]], device=self.model.device)
        settings = self.model.generation_config
        ends = _as_list(settings.eos_token_id)
        more: dict[str, Any] = {} if seed is None else {"do_sample": True}
        if settings.pad_token_id is None:  # of no effect for one text; transformers would warn
            more["pad_token_id"] = ends[0] if ends else 0
        began = time.monotonic()
        try:
            with _seeded(seed):
                out = self.model.generate(
                    input_ids=given,
                    attention_mask=torch.ones_like(given),
                    max_new_tokens=most,
                    stopping_criteria=StoppingCriteriaList([each_token]),
                    **{"do_sample": False, "num_beams": 1, **more},
                )
        except Exception as error:  # noqa: BLE001 - the files are not ours: errors of any type
            raise failed(self.name, "cannot write", error) from None
        seconds = time.monotonic() - began
        new = out[0, given.shape[1] :].tolist()
        ended = len(new) < most or new[-1] in ends
        text = asked.tokenizer.decode(new, skip_special_tokens=True)
        return Answer(text, len(new), ended), seconds


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


def _as_list(value: Any) -> list[int]:
    return value if isinstance(value, list) else [] if value is None else [value]


def failed(name: str, what: str, error: Exception) -> CheckpointError:
    """Return the error for a model that cannot be used, in one line."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return CheckpointError(f"model {name!r} {what}: {reason}")
