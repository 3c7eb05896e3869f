"""Errors: what a person sees of them, in a terminal and in a notebook."""

from __future__ import annotations

import copy
import importlib
import multiprocessing
import pickle
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

import slack_ties
from slack_ties.errors import RecipeError, SlackTiesError


def every_class(of: type[SlackTiesError] = SlackTiesError) -> Iterator[type[SlackTiesError]]:
    """Yield the error and all that inherit from it, in every module of the package."""
    if of is SlackTiesError:
        for _, name, _ in pkgutil.walk_packages(slack_ties.__path__, "slack_ties."):
            if "._" not in name:  # neither __main__ nor the kernel
                importlib.import_module(name)
    yield of
    for sub in of.__subclasses__():
        yield from every_class(sub)


def fail(kind: type[SlackTiesError]) -> None:
    """Raise an error of a class, as a function in another process does."""
    msg = "bo.yml: not valid"
    raise kind(msg, hint="correct line 3")


def check(error: BaseException, kind: type[SlackTiesError]) -> None:
    """Check what a person reads of an error."""
    assert type(error) is kind
    assert isinstance(error, SlackTiesError)
    assert (str(error), error.hint) == ("bo.yml: not valid", "correct line 3")
    assert error._render_traceback_() == [
        f"{kind.__name__}: bo.yml: not valid",
        "Next: correct line 3",
    ]
    if sys.version_info >= (3, 11):
        assert traceback.format_exception_only(error)[-1] == "Next: correct line 3\n"
        assert error.__notes__ == ["Next: correct line 3"]


def test_every_error_shows_its_hint() -> None:
    """Also after a copy or a pickle: message, hint and note are there, each once."""
    kinds = set(every_class())
    assert len(kinds) >= 9
    for kind in kinds:
        with pytest.raises(kind) as caught:
            fail(kind)

        check(caught.value, kind)
        check(pickle.loads(pickle.dumps(caught.value)), kind)  # noqa: S301 - our own
        check(copy.deepcopy(caught.value), kind)


def test_an_error_of_another_process_shows_its_hint() -> None:
    """A pool of processes hands the error over."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        error = pool.submit(fail, RecipeError).exception()

    assert error is not None
    check(error, RecipeError)


def test_a_notebook_shows_no_traceback() -> None:
    """IPython prints what `_render_traceback_` returns; without a hint that is one line."""
    assert SlackTiesError("no", hint="")._render_traceback_() == ["SlackTiesError: no"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no notes")
def test_a_traceback_ends_with_the_next_step() -> None:
    """A notebook shows tracebacks, and nobody reads an attribute there."""
    error = RecipeError("bo.yml: not valid YAML", hint="correct line 3")

    name, last = traceback.format_exception_only(error)[-2:]

    assert name == "slack_ties.errors.RecipeError: bo.yml: not valid YAML\n"
    assert last == "Next: correct line 3\n"


def test_an_error_is_one_line_without_a_token() -> None:
    """Line breaks and tokens in what others say do not reach the terminal."""
    error = SlackTiesError("the Hub\nsaid: hf_abcdefghijklmnopqrstuvwx", hint="try\nagain")

    assert (str(error), error.hint) == ("the Hub said: [token]", "try again")
