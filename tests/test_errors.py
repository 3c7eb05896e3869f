"""Errors: what a person sees of them, in a terminal and in a notebook."""

from __future__ import annotations

import sys
import traceback

import pytest

from slack_ties.errors import RecipeError, SlackTiesError


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
