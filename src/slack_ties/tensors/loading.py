"""Let transformers load a checkpoint without weights, to see what it would do.

transformers' own loading runs on the "meta" device, where tensors have a shape but no content. So
we do not guess which tensors a model lacks, the names that they are read under, and which tensors
are tied. Importing this module imports torch and transformers: some seconds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from slack_ties.errors import CheckpointError
from slack_ties.private.transformers import (
    CONFIG_MAPPING,
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    get_model_conversion_mapping,
    rename_source_key,
    revert_weight_conversion,
)
from slack_ties.tensors.origin import Origin, Proof

if TYPE_CHECKING:
    from slack_ties.models.header import Header

__all__ = ["Skeleton", "quiet_transformers", "skeleton_of"]

# Keys of a config.json that say how weights are stored or computed, not which weights exist.
NOT_OF_STRUCTURE = (
    *("quantization_config", "torch_dtype", "dtype", "auto_map", "_attn_implementation"),
    *("attn_implementation", "_name_or_path", "transformers_weights", "use_cache"),
)

VOCABULARY_NAMES = re.compile(r"(^|\.)(embed_tokens(_\w+)?\.weight|final_logits_bias)$")

TYPES = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64")}

CONFIG_AGAIN = "take the config.json of this model: download it again"


class Skeleton:
    """transformers' model for a config, without weights."""

    def __init__(self, kind: type[Any], config: Any) -> None:
        """Store the class and the config; the model is made on first use."""
        self.kind, self.config = kind, config

    @cached_property
    def model(self) -> Any:
        """The model, with every tensor on the meta device."""
        with quiet_transformers(), torch.device("meta"):
            return self.kind(deepcopy(self.config))

    @cached_property
    def state(self) -> dict[str, torch.Tensor]:
        """Every weight and stored buffer, by transformers' name."""
        found: dict[str, torch.Tensor] = self.model.state_dict()
        return found

    @cached_property
    def parameters(self) -> frozenset[str]:
        """The names of the trained weights, without buffers."""
        return frozenset(name for name, _ in self.model.named_parameters(remove_duplicate=False))

    @cached_property
    def tied(self) -> tuple[frozenset[str], ...]:
        """Groups of names that the config ties to one tensor, such as head and embedding."""
        groups: dict[int, set[str]] = defaultdict(set)
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            groups[id(parameter)].add(name)
        found = [set(group) for group in groups.values() if len(group) > 1]
        for target, source in (getattr(self.model, "all_tied_weights_keys", None) or {}).items():
            pair = {target, source}
            for group in [group for group in found if group & pair]:
                pair |= group
                found.remove(group)
            found.append(pair)
        return tuple(frozenset(group) for group in found)

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """The names of tensors whose rows are tokens: embeddings, head, and the head's bias."""
        modules = []
        for method in ("get_input_embeddings", "get_output_embeddings"):
            with contextlib.suppress(Exception):  # not every model has one
                modules.append(getattr(self.model, method)())
        tensors = {
            id(tensor)
            for module in modules
            for name in ("weight", "bias")
            if isinstance(tensor := getattr(module, name, None), torch.Tensor)
        }
        named = self.model.named_parameters(remove_duplicate=False)
        names = {name for name, tensor in named if id(tensor) in tensors}
        # Gemma 3n and 4 have a second embedding; BART has a bias of 1 x tokens, a buffer.
        names |= {name for name in self.state if VOCABULARY_NAMES.search(name)}
        return frozenset(names.union(*(group for group in self.tied if group & names)))

    @cached_property
    def heads(self) -> frozenset[str]:
        """The matrices of `vocabulary` that predict the next token."""
        with contextlib.suppress(Exception):  # not every model has one
            head, first = self.model.get_output_embeddings(), self.model.get_input_embeddings()
            if head is not None and head is not first:
                named = self.model.named_modules(remove_duplicate=False)
                return frozenset(f"{name}.weight" for name, one in named if one is head)
        return frozenset()

    @cached_property
    def _transforms(self) -> list[Any]:
        found: list[Any] = get_model_conversion_mapping(self.model)
        return found

    def prove(self, headers: Mapping[str, Header]) -> Proof:
        """Load a checkpoint with these headers, and return what transformers reports."""
        try:
            _, info = self._load(
                {
                    name: torch.empty(header.shape, dtype=TYPES.get(header.dtype), device="meta")
                    for name, header in headers.items()
                }
            )
        except Exception as error:  # noqa: BLE001 - every error means that it cannot be loaded
            return Proof(wrong=self._gap(headers) or _reason(error))
        wrong = [
            f"{name} is {_shape(got)}, expected {_shape(expected)}"
            for name, got, expected in sorted(info.get("mismatched_keys") or ())
        ]
        wrong += [str(text) for text in (info.get("conversion_errors") or {}).values()]
        wrong += map(str, info.get("error_msgs") or ())
        return Proof(
            tuple(sorted(info["missing_keys"])),
            tuple(sorted(info["unexpected_keys"])),
            " ".join(wrong[0].split())[:300] if wrong else "",
        )

    def origins(self, names: Collection[str]) -> dict[str, Origin]:
        """Return what each tensor of a checkpoint becomes; unread tensors are left out."""
        # The same steps as transformers' convert_and_load_state_dict_in_model, in its order.
        transforms = [deepcopy(one) for one in self._transforms]
        renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
        converters = [one for one in transforms if isinstance(one, WeightConverter)]
        prefix = self.model.base_model_prefix
        counts: dict[tuple[str, str], int] = defaultdict(int)
        found = {}
        for name in sorted(names, key=dot_natural_key):
            target, pattern = rename_source_key(name, renamings, converters, prefix, self.state)
            if target not in self.state and name in self.state:
                target, pattern = rename_source_key(name, [], [], prefix, self.state)
            if target in self.state:
                number = counts[target, pattern or ""] if pattern else 0
                counts[target, pattern or ""] += 1
                found[name] = Origin(target, pattern or "", number)
        return found

    def _gap(self, names: Collection[str]) -> str:
        """Name a joined tensor that lacks some of its parts; "" if there is none."""
        counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for origin in self.origins(names).values():
            if origin.pattern:
                counts[origin.target][origin.pattern] += 1
        for target, patterns in counts.items():
            most = max(patterns.values())
            for pattern, count in patterns.items():
                if count < most:
                    return f"{target} needs {most} tensors {pattern}, found {count}"
        return ""

    def join(self, target: str, parts: Mapping[Origin, torch.Tensor]) -> torch.Tensor | None:
        """Make transformers' tensor from those of a checkpoint; return None if that fails."""
        for transform in self._transforms:
            if not isinstance(transform, WeightConverter):
                continue
            patterns = {origin.pattern for origin in parts}
            if not patterns <= set(transform.source_patterns):
                continue
            converter = deepcopy(transform)
            for origin in sorted(parts, key=lambda one: (one.pattern, one.number)):
                add: Any = converter.add_tensor
                add(target, str(origin), origin.pattern, parts[origin])
            made = converter.convert(target, model=self.model, config=self.model.config)
            tensor = made.get(target)
            tensor = tensor[0] if isinstance(tensor, list) else tensor
            return tensor if isinstance(tensor, torch.Tensor) else None
        return None

    def split(self, target: str, tensor: torch.Tensor) -> dict[Origin, torch.Tensor]:
        """Split transformers' tensor into the tensors of a checkpoint."""
        saved = revert_weight_conversion(self.model, {target: tensor})
        origins = self.origins(saved)
        return {origins[name]: part for name, part in saved.items() if name in origins}

    def _load(self, state: Mapping[str, torch.Tensor]) -> tuple[Any, dict[str, Any]]:
        with quiet_transformers():
            model, info = self.kind.from_pretrained(
                None,
                config=deepcopy(self.config),
                state_dict=dict(state),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                device_map={"": "meta"},
                dtype=torch.float32,
                attn_implementation="eager",
            )
        return model, info


def skeleton_of(config: Mapping[str, Any]) -> Skeleton | None:
    """Return transformers' model for a config.json; None if transformers has no class for it.

    A model that needs its own Python code gives None too: that code is not run.

    Raises:
        CheckpointError: transformers has a class, but refuses this config.

    """
    stated = [config[key] for key in ("dtype", "torch_dtype") if config.get(key) is not None]
    if odd := [one for one in stated if not isinstance(one, (str, dict))]:
        msg = f"config.json says dtype {odd[0]!r}, expected the name of a type"
        raise CheckpointError(msg, hint=CONFIG_AGAIN)
    kind = getattr(transformers, str((config.get("architectures") or [""])[0]), None)
    model_type = str(config.get("model_type") or "")
    if kind is None or not hasattr(kind, "from_pretrained") or model_type not in CONFIG_MAPPING:
        return None
    plain = _of_structure(config)
    try:
        with quiet_transformers():
            # From a file, because transformers reads infinity from a file only.
            with tempfile.TemporaryDirectory() as folder:
                text = json.dumps(plain)
                Path(folder, "config.json").write_text(text, encoding="utf-8")
                made = CONFIG_MAPPING[model_type].from_pretrained(folder)
            expected = getattr(kind, "config_class", None)
            if expected is not None and not isinstance(made, expected):
                return None
            skeleton = Skeleton(kind, made)
            _ = skeleton.state
    except Exception as error:  # noqa: BLE001 - configs check themselves, each in its own way
        if "auto_map" in config:  # the model's own code uses a class name of transformers
            return None
        msg = f"transformers refuses config.json: {_reason(error)}"
        raise CheckpointError(msg, hint=CONFIG_AGAIN) from None
    return skeleton


def _of_structure(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _of_structure(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in NOT_OF_STRUCTURE
    }


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide transformers' own reports of loading and its progress bars."""
    from transformers.utils import logging as theirs  # noqa: PLC0415

    show: Any = theirs
    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity(logging.CRITICAL)
    show.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            show.enable_progress_bar()


def _reason(error: Exception) -> str:
    text = " ".join((str(error) or type(error).__name__).split())
    return re.sub(r"You may consider adding `ignore_mismatched_sizes.*", "", text)[:300]


def _shape(shape: Any) -> str:
    return "x".join(map(str, tuple(shape))) or "a scalar"
