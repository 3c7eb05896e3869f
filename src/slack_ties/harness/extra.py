"""Is lm-eval installed, in a version that we know?"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from slack_ties.errors import SlackTiesError

__all__ = ["ANOTHER_TASK", "check_lm_eval", "import_lm_eval"]

# The next step if a task cannot be used. Who knows the merge can say a better one.
ANOTHER_TASK = "lm-eval ls tasks # choose another task"

INSTALL = 'pip install "slack-ties[eval]"'

# lm-eval sets these when it is imported: then downloads of ours would take all of the network and
# many gigabytes of memory. Whether they do is the user's choice.
OF_THE_USER = ("HF_XET_HIGH_PERFORMANCE", "HF_HUB_ENABLE_HF_TRANSFER")

# The bounds of the extra `eval` in pyproject.toml: the first version, and the first that is not.
LEAST, BELOW = (0, 4, 13), (0, 5)


def check_lm_eval() -> str:
    """Return the version of lm-eval.

    Raises:
        SlackTiesError: It is not installed, or in a version that slack-ties does not know.

    """
    try:
        found = version("lm_eval")
    except PackageNotFoundError:
        msg = "this needs lm-eval (lm-evaluation-harness), which is not installed"
        raise SlackTiesError(msg, hint=INSTALL) from None
    numbers = tuple(int(part) for part in found.split(".")[:3] if part.isdigit())
    if not LEAST <= numbers < BELOW:
        bounds = f"{'.'.join(map(str, LEAST))} or later, below {'.'.join(map(str, BELOW))}"
        msg = f"lm-eval {found} is installed, expected {bounds}"
        raise SlackTiesError(msg, hint=INSTALL)
    return found


def import_lm_eval() -> None:
    """Import lm-eval, which takes seconds.

    Raises:
        SlackTiesError: As of `check_lm_eval`; or lm-eval lacks something, as without its [hf].

    """
    found = check_lm_eval()
    before = {name: os.environ.get(name) for name in OF_THE_USER}
    try:
        import_module("slack_ties.private.lm_eval")
    except ImportError as error:
        msg = f"lm-eval {found} cannot be imported: {error}"
        raise SlackTiesError(msg, hint=INSTALL) from error
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
