"""Compare the config.json files of the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["compare_configs"]

SAME_BASE = "choose models that were made from the same base"

# Keys of config.json that give tensors their meaning. If they differ, the base is not the same.
SAME = (
    *("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "intermediate_size"),
)

# Keys that training can change. The merged model gets the base's values.
ALIKE = (
    *("rope_theta", "rope_scaling", "rope_parameters", "rms_norm_eps", "layer_norm_eps"),
    *("hidden_act", "sliding_window", "max_position_embeddings"),
)


def compare_configs(
    configs: Mapping[str, Mapping[str, Any]], *, allow_crimes: bool
) -> tuple[list[CheckpointError], list[str]]:
    """Return errors if models cannot have a common base, and warnings on other differences.

    Args:
        configs: The config.json of each model, the base first.
        allow_crimes: Do not refuse anything.

    """
    (base, ours), *others = configs.items()
    warnings: list[str] = []
    for name, config in others:
        kinds = [" and ".join(map(str, one.get("architectures") or "?")) for one in (config, ours)]
        if kinds[0] != kinds[1] and not allow_crimes:
            msg = (
                f"{name!r}: config.json names the architecture {kinds[0]}, expected {kinds[1]} as "
            )
            msg += f"the base {base!r}"
            return [CheckpointError(msg, hint=SAME_BASE)], warnings
        # Ignore null values: they mean the default, and the shapes of the tensors show that. But
        # rope_scaling changes the meaning of positions, so null differs from a value there.
        stated = [key for key in (*SAME, *ALIKE) if None not in (config.get(key), ours.get(key))]
        different = [key for key in stated if config[key] != ours[key]]
        scaling = [one.get("rope_scaling") for one in (config, ours)]
        if scaling[0] != scaling[1] and None in scaling and "rope_scaling" in {**config, **ours}:
            different += ["rope_scaling"] if "rope_parameters" not in {**config, **ours} else []
        for key in different:
            if key in SAME and not allow_crimes:
                msg = f"{name!r}: {key} is {config[key]!r}, expected {ours[key]!r} as in {base!r}"
                return [CheckpointError(msg, hint=SAME_BASE)], warnings
        warnings += [
            f"{name}: {key} is {config.get(key)!r}, but the merged model will have the base's "
            f"value, {ours.get(key)!r}"
            for key in different
            if key in ALIKE
        ]
    return [], warnings
