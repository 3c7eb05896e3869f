"""Parts of lm-eval that its documentation does not describe.

lm-eval documents `TaskManager`, `evaluate`, and how to write a task or a model. Its cache of
answers, how its model class loads weights, and what it does with a text that is too long are not
described.
pyproject.toml therefore has an upper bound.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import CacheHook, CachingLM
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml
from sqlitedict import SqliteDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = [
    "REQUEST_KINDS",
    "CodeError",
    "CountingCache",
    "CountingModel",
    "Counts",
    "TooLongError",
    "first_filter",
    "is_file_format",
    "metric_functions",
    "no_code_from_hub",
    "read_task_file",
    "request_key",
]

# Methods of a model that answer requests. lm-eval's cache knows them by these names.
REQUEST_KINDS = ("loglikelihood", "loglikelihood_rolling", "generate_until")

# How the key of a request begins, in the file with the answers, that was too long for the model.
CUT = "truncated "

SAVE = 2.0  # seconds between two times that answers are written to the disk


class CodeError(RuntimeError):
    """A task needs a metric of the library `evaluate`: a program that it downloads and runs."""


class TooLongError(RuntimeError):
    """An answer has more tokens than the model reads: lm-eval stops there without a message."""

    def __init__(self, request: Sequence[str], tokens: int, most: int) -> None:
        """Take the request, the tokens of its answer, and how many the model reads."""
        super().__init__(f"{tokens} tokens, at most {most}")
        self.request, self.tokens, self.most = request, tokens, most


def request_key(arguments: Sequence[Any]) -> str:
    """Return a key for a request: its text, and the text that follows it if there is one."""
    texts = [one for one in arguments[:2] if isinstance(one, str)]
    return sha256(json.dumps(texts).encode()).hexdigest()


class Counts:
    """How many requests are answered, and which of them were too long for the model."""

    def __init__(
        self,
        done: Callable[[int], None] | None = None,
        kept: Callable[[int], None] | None = None,
    ) -> None:
        """Start at zero; `done` is called with each new number, `kept` with those of the cache."""
        self.done, self.kept, self.answered = done, kept, 0
        self.truncated: set[str] = set()  # keys of requests
        self.keep: Callable[[str], None] | None = None  # called with each new one

    def cut(self, request: Sequence[Any]) -> None:
        """Note a request of which the model reads only the end."""
        key = request_key(request)
        if key not in self.truncated:
            self.truncated.add(key)
            if self.keep:
                self.keep(key)

    def take(self, number: int) -> None:
        """Note that the cache has the answers to this number of requests."""
        if self.kept:
            self.kept(number)
        self.at(self.answered + number)

    def at(self, answered: int) -> None:
        """Note how many requests are answered; less than before changes nothing."""
        if answered > self.answered:
            self.answered = answered
            if self.done:
                self.done(answered)


class _CountingHook:
    """Counts answers, and passes them on to lm-eval's cache."""

    def __init__(self, inner: CacheHook, counts: Counts) -> None:
        """Take the cache's own hook, which may do nothing."""
        self.inner, self.counts = inner, counts

    def add_partial(self, kind: str, request: Any, answer: Any) -> None:
        """Take one answer, as lm-eval's model gives it."""
        self.inner.add_partial(kind, request, answer)
        self.counts.at(self.counts.answered + 1)


class _SavingHook(CacheHook):
    """lm-eval's hook; every few seconds it also lets the answers be written to the disk."""

    def __init__(self, cache: CachingLM) -> None:
        """Take the cache."""
        super().__init__(cache)
        self.saved = time.monotonic()

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        """Take one answer."""
        super().add_partial(attr, req, res)
        if time.monotonic() - self.saved > SAVE and self.dbdict is not None:
            self.dbdict.commit(blocking=False)
            self.saved = time.monotonic()


class CountingModel(HFLM):
    """lm-eval's model, which counts its answers and the texts that are too long.

    If a future version calls none of the methods below, requests are only counted at the end, no
    item is called truncated, and incomplete weights are not seen.
    """

    tokenizer: Any
    _model: Any

    def __init__(self, counts: Counts, **given: Any) -> None:
        """Load the model as lm-eval does."""
        self.missing: list[str] = []  # weights that are not in the model's files
        super().__init__(**given)
        self.counts = counts
        self.set_cache_hook(CacheHook(None))

    def _create_model(self, *given: Any, **named: Any) -> None:
        # transformers fills weights that are missing with random numbers, and lm-eval scores that.
        super()._create_model(*given, output_loading_info=True, **named)
        self._model, info = self._model
        self.missing = sorted(info["missing_keys"])

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Count what goes to the cache."""
        super().set_cache_hook(_CountingHook(cache_hook, self.counts))

    def forget(self) -> None:
        """Let go of the model, so that its memory is free."""
        self._model = self.tokenizer = None

    def _loglikelihood_tokens(
        self, requests: Sequence[Any], **how: Any
    ) -> list[tuple[float, bool]]:
        # lm-eval has cut the texts into tokens here, and drops the first ones of long texts next.
        longest, causal = self.max_length, self.backend == "causal"
        for texts, before, after in requests:
            if len(after) > longest:
                raise TooLongError(texts or ("", ""), len(after), longest)
            # A decoder reads all but the last token; an encoder reads what is before the answer.
            read = len(before) + (len(after) - 1 if causal else 0)
            if texts is not None and read > longest:
                self.counts.cut(texts)
        found: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, **how)
        return found

    def tok_batch_encode(
        self, strings: list[str], *, left_truncate_len: int | None = None, **how: Any
    ) -> Any:
        """Cut texts into tokens; note the texts of which the model reads only the end."""
        ids, mask = super().tok_batch_encode(strings, **how)
        if left_truncate_len:
            lengths = mask.sum(dim=1).tolist()
            for text, length in zip(strings, lengths, strict=True):
                if length > left_truncate_len:
                    self.counts.cut((text,))
            ids, mask = ids[:, -left_truncate_len:], mask[:, -left_truncate_len:]
        return ids, mask


class CountingCache(CachingLM):
    """lm-eval's cache of answers, which counts the answers that it has."""

    dbdict: Any

    def __init__(self, model: CountingModel, path: Path) -> None:
        """Open the file, or make it."""
        super().__init__(model, str(path))
        # lm-eval writes each answer in a transaction of its own, with a trace of the stack: about
        # a millisecond, which is as long as a GPU needs for an answer of a small model.
        self.dbdict.close()
        self.dbdict = SqliteDict(str(path), autocommit=False, outer_stack=False)
        model.set_cache_hook(self.get_cache_hook())
        known = [key for key in self.dbdict if key.startswith(CUT)]
        model.counts.truncated |= {key.removeprefix(CUT) for key in known}
        model.counts.keep = lambda key: self.dbdict.update({CUT + key: True})

    def __getattr__(self, name: str) -> Any:
        """Return what lm-eval returns; count around the calls that answer requests."""
        found = super().__getattr__(name)
        if name not in REQUEST_KINDS:
            return found

        def answer(requests: Sequence[Any]) -> Any:
            counts = self.lm.counts
            before = counts.answered
            inner = getattr(self.lm, name)
            asked = False

            def rest(remaining: Sequence[Any]) -> Any:
                nonlocal asked
                asked = True
                counts.take(len(requests) - len(remaining))
                return inner(remaining)

            # lm-eval's cache asks the model for what it lacks by the attribute of this name.
            setattr(self.lm, name, rest)
            try:
                answers = found(requests)
            finally:
                delattr(self.lm, name)
            if not asked:
                counts.take(len(requests))
            counts.at(before + len(requests))
            return answers

        return answer

    def get_cache_hook(self) -> CacheHook:
        """Return what keeps each answer as soon as the model gives it."""
        return _SavingHook(self)

    def close(self) -> None:
        """Write what is not written yet."""
        self.dbdict.commit()
        self.dbdict.close()


@contextmanager
def no_code_from_hub() -> Iterator[None]:
    """Let `evaluate.load` raise CodeError: it would download a program from the Hub and run it."""
    import evaluate  # noqa: PLC0415 - lm-eval needs it

    load = evaluate.load

    def refuse(name: str, *_: Any, **__: Any) -> Any:
        raise CodeError(name)

    evaluate.load = refuse
    try:
        yield
    finally:
        evaluate.load = load


def metric_functions(task: Any) -> dict[str, Any]:
    """Return a task's metrics by name; None is one that lm-eval could not find.

    Empty for a task that computes its metrics itself.
    """
    if getattr(task.config, "process_results", None) is not None:
        return {}
    return dict(getattr(task, "_metric_fn_list", {}))


def first_filter(task: Any) -> str:
    """Return the name of the first filter of a task's answers; none if it has no filter."""
    filters = getattr(task, "_filters", None) or ()
    return str(getattr(filters[0], "name", "none")) if filters else "none"


def is_file_format(name: str) -> bool:
    """Say whether `datasets` takes a name for a format of files, such as json, not for a dataset.

    False if a future version of `datasets` does not tell.
    """
    import datasets  # noqa: PLC0415 - heavy

    return name in getattr(datasets.packaged_modules, "_PACKAGED_DATASETS_MODULES", ())


def read_task_file(path: Path) -> dict[str, Any]:
    """Return what a task file and those that it includes say; import none of their functions."""
    return dict(load_yaml(path, resolve_func=False))
