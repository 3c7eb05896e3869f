"""The default values of a config: weight, density, slack, normalize and lambda.

`slack-ties config` and `slack-ties run` write them into a config, where a user can see and change
them. The merge method itself has other defaults (rule/parameters.py): those of plain TIES, without
slack.
"""

from __future__ import annotations

__all__ = ["RECOMMENDED"]

# The values that did best in the project's experiments (docs/method.md). Division by the
# weights, and slack for models other than the SFT model, made results worse.
RECOMMENDED = {"weight": 1.0, "density": 0.5, "slack": 0.2, "normalize": False, "lambda": 1.0}
