"""Log in to the Hub from a notebook, with the token that the notebook keeps as a secret.

Colab and Kaggle keep secrets outside of the notebook's file. The token is put into the variable
HF_TOKEN of this process, where the Hub client and the processes that it starts look for it. It is
never shown and never written to a file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from huggingface_hub import HfApi, get_token

from slack_ties.errors import HubError
from slack_ties.hub.errors import hub_errors
from slack_ties.hub.retries import READING
from slack_ties.hub.timeouts import in_force, timeouts
from slack_ties.hub.token import is_of_notebook, token_name
from slack_ties.notebook import Shown, notebook_shell

__all__ = ["SECRET", "Account", "log_in"]

SECRET = "HF_TOKEN"  # noqa: S105 - the name of the variable, and of the secret in a notebook

SETTINGS = "https://huggingface.co/settings/tokens"


@dataclass(frozen=True, repr=False)
class Account(Shown):
    """The account on the Hub that this process is logged in to, and what its token may do."""

    name: str
    may_write: bool  # a fine-grained token: perhaps only to some repositories
    token: str  # where it comes from; never the token itself

    def summary(self) -> str:
        """Return the name, and what the token may do."""
        may = "can write" if self.may_write else "can only read: it cannot publish"
        return f"logged in as {self.name}; {self.token} {may}"


def log_in(*, api: HfApi | None = None) -> Account:
    """Log in to the Hub, and say as whom.

    The token comes from `api`, from the variable HF_TOKEN, from an earlier login, or from the
    secret HF_TOKEN of Kaggle or Colab. If there is none, a notebook shows the Hub's own form.

    Args:
        api: The Hub client; the default one if not given.

    Raises:
        HubError: There is no token, or the Hub refuses it or cannot be reached.

    """
    if api is None or api.token is None:
        _use_secret()
    api = api or HfApi()
    retries = in_force(READING)
    with timeouts(retries), hub_errors("logging in", api):
        user = retries.ask(api.whoami)
    if not isinstance(user, dict) or "name" not in user:
        msg = f"logging in: the answer of {api.endpoint} is not the answer of a Hub"
        raise HubError(msg, hint="check HF_ENDPOINT, and whether a proxy or a login page answers")
    return Account(str(user["name"]), _role(user) != "read", token_name(api))


def _use_secret() -> None:
    """Put the notebook's secret into HF_TOKEN, if it has none; ask for a login if there is none.

    Other processes, such as those that download, cannot ask the notebook for its secrets.
    """
    if os.environ.get(SECRET, "").strip():
        return
    if secret := _of_kaggle():
        os.environ[SECRET] = secret
        return
    if not get_token() and notebook_shell():
        from huggingface_hub import notebook_login  # noqa: PLC0415 - only a notebook needs it

        notebook_login()
    token = get_token()
    if not token:
        msg = "there is no token for the Hub"
        hint = f"create one that may write at {SETTINGS}, save it as the secret {SECRET} of this "
        raise HubError(msg, hint=f"{hint}notebook, and run the cell again")
    if is_of_notebook(HfApi()):
        os.environ[SECRET] = token


def _of_kaggle() -> str:
    """Return Kaggle's secret HF_TOKEN; "" elsewhere.

    Raises:
        HubError: The secret does not exist, or is not attached to this notebook.

    """
    if "KAGGLE_KERNEL_RUN_TYPE" not in os.environ or get_token():
        return ""
    try:
        from kaggle_secrets import UserSecretsClient  # noqa: PLC0415 - only Kaggle has it

        return str(UserSecretsClient().get_secret(SECRET) or "").strip()
    except Exception as error:  # noqa: BLE001 - its errors are not documented
        msg = f"Kaggle gives this notebook no secret {SECRET}: {type(error).__name__}"
        hint = f"in the menu Add-ons > Secrets, add {SECRET} and attach it to this notebook"
        raise HubError(msg, hint=hint) from None


def _role(user: Any) -> str:
    access = (user.get("auth") or {}).get("accessToken")
    return str(access.get("role")) if isinstance(access, dict) else ""
