"""Match the names in an adapter to the modules of a model, as PEFT does."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, NoReturn

from slack_ties.errors import CheckpointError
from slack_ties.models.header import PER_TOKEN, Header

__all__ = ["EXPERT", "HEAD", "INCOMPLETE", "PREFIX", "Modules", "Pair", "ends_with"]

INCOMPLETE = "take a complete file. If it came from the Hub: hf download ID --force-download"
# Names that PEFT writes and reads: peft/utils/save_and_load.py, peft/tuners/lora/layer.py.
PREFIX = "base_model.model."
# Names in checkpoints -> other names in transformers: transformers/conversion_mapping.py.
RENAMED = (
    (r"^language_model\.model\.", "model.language_model."),
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^(vision_tower|multi_modal_projector|visual)\.", r"model.\1."),
    (r"\bvision_tower\.vision_model\.", "vision_tower."),
    (r"\.block_sparse_moe\.", ".mlp."),
    (r"\.experts\.\d+\.(?:w1|w3|gate_proj|up_proj)\.weight$", ".experts.gate_up_proj"),
    (r"\.experts\.\d+\.(?:w2|down_proj)\.weight$", ".experts.down_proj"),
)
BESIDE_VISUAL = (r"^model\.(?=(?:embed_tokens|layers|norm)\.)", "model.language_model.")
# The old names that PEFT translates: peft/utils/transformers_weight_conversion.py. We tried: it
# translates no others.
TRANSLATED = re.compile(
    r"^language_model\.model\.|\bvision_tower\.vision_model\.|\.block_sparse_moe\.|\.experts\.\d+\."
)
EXPERT = re.compile(r"\.experts\.(\d+)\.")
# Prefixes that the names in a checkpoint may lack: `base_model_prefix` in transformers.
ROOTS = ("model", "transformer", "gpt_neox", "backbone")
HEAD = "lm_head.weight"


@dataclass
class Pair:
    """The two matrices whose product PEFT adds to one parameter."""

    module: str
    depth: int  # PEFT wraps a module once for each of its parameters
    sides: dict[str, str] = field(default_factory=dict)  # A, B, bias, magnitude -> tensor
    is_embedding: bool = False
    parameter: str = ""
    tensors: list[str] = field(default_factory=list)  # the model's tensors that form it


class Modules:
    """An adapter and its model: finds the module that each name means."""

    def __init__(  # noqa: PLR0913 - as `read_adapter`
        self,
        name: str,
        config: Mapping[str, Any],
        headers: Mapping[str, Header],
        model: Mapping[str, Header],
        modules: Collection[str] | None,
        *,
        tied: bool,
    ) -> None:
        """Sort the tensors of the model by the parameters that PEFT knows."""
        self.name, self.config, self.headers, self.model = name, config, headers, dict(model)
        self.modules = None if modules is None else frozenset(modules)
        embeddings = (t for t in model if t.endswith(PER_TOKEN) and not t.endswith(HEAD))
        self.tied_to = next(embeddings, "") if tied else ""
        if self.tied_to:
            self.model[HEAD] = model[self.tied_to]
        beside_visual = any(tensor.startswith("visual.") for tensor in model)
        self.renamed = (*([BESIDE_VISUAL] if beside_visual else []), *RENAMED)
        self.parts: dict[str, list[str]] = {}  # parameter in transformers -> the model's tensors
        for tensor in self.model:
            self.parts.setdefault(self.known_as(tensor), []).append(tensor)
        self.roots = {tensor.partition(".")[0] for tensor in model}
        self.pairs: list[Pair] = []
        self.wrapped: set[str] = set()  # modules with LoRA pairs
        self.replaced: dict[str, str] = {}  # name without the prefix -> the adapter's tensor
        self.tokens: dict[str, str] = {}  # module -> the adapter's tensor with some of its rows
        self.changes: dict[str, int] = {}
        self.whole: list[str] = []
        self.warnings: list[str] = []
        self.rank = 0

    def fail(self, text: str, hint: str = "") -> NoReturn:
        """Raise an error about the adapter."""
        made_for = self.config.get("base_model_name_or_path") or "no model"
        hint = hint or f"use it with the model that it was made for; it says: {made_for}"
        msg = f"model {self.name!r}: {text}"
        raise CheckpointError(msg, hint=hint)

    def known_as(self, tensor: str) -> str:
        """Return transformers' name for a tensor of the checkpoint."""
        for old, new in self.renamed:
            tensor = re.sub(old, new, tensor)
        return tensor

    def find(self, parameter: str, *, whole: bool = False) -> list[str]:
        """Return the model's tensors that PEFT changes for a parameter; [] if it knows none."""
        if self.tied_to and parameter == HEAD:
            return [HEAD if whole else self.tied_to]
        if not whole and TRANSLATED.search(parameter):
            later = self.parts.get(self.known_as(parameter), [])
            return [parameter] if parameter in self.model else later
        if self.modules is not None and parameter not in self.modules:
            return []
        root, _, rest = parameter.partition(".")
        if root in ROOTS and root not in self.roots and rest in self.parts:
            return self.parts[rest]
        # The checkpoint may store this parameter in a form that this module does not know.
        return self.parts.get(parameter, [] if self.modules is None else [parameter])

    def shape(self, tensors: list[str]) -> tuple[int, ...]:
        """Return the shape of the parameter that tensors form; () if it is unknown."""
        if tensors[0] not in self.model:
            return ()
        shape = self.model[tensors[0]].shape
        if len(tensors) == 1:
            return shape
        experts = len({match[1] for match in map(EXPERT.search, tensors) if match}) or 1
        return (experts, sum(self.model[t].shape[0] for t in tensors) // experts, *shape[1:])

    def change(self, tensors: Iterable[str], shape: tuple[int, ...]) -> None:
        """Record that all entries of these tensors change."""
        for tensor in tensors:
            known = self.model.get(tensor)
            self.changes[tensor] = known.size if known else prod(shape)

    def parameter_of(self, pair: Pair) -> str:
        """Return the parameter that a pair of LoRA matrices is added to; "" if unknown."""
        weight = f"{pair.module}.weight"
        if not pair.depth and self.find(weight):
            return weight
        # PEFT nests wrappers in the order in which the model defines the parameters:
        # `_inject_parameters` in peft/tuners/tuners_utils.py.
        targets = self.config.get("target_parameters") or ()
        names = {f"{pair.module}.{target.rpartition('.')[2]}" for target in targets}
        found = [name for name in names if ends_with(name, targets) and self.find(name)]
        found.sort(key=lambda name: ("gate_up" not in name, name), reverse=True)
        return found[pair.depth] if pair.depth < len(found) else ""

    def names_of(self, pair: Pair) -> tuple[str, ...]:
        """Return the names that the config may use for a pair."""
        if ends_with(pair.parameter, self.config.get("target_parameters") or ()):
            return (pair.parameter,)
        return pair.module, self.known_as(f"{pair.module}.weight").removesuffix(".weight")

    def is_target(self, module: str, parameter: str) -> bool:
        """Do the same as `check_target_module_exists` in peft/tuners/tuners_utils.py."""
        get = self.config.get
        if ends_with(parameter, get("target_parameters") or ()) or self.is_tied_again(parameter):
            return True
        targets, out = get("target_modules"), get("exclude_modules") or ()
        excluded = re.fullmatch(out, module) if isinstance(out, str) else ends_with(module, out)
        saved = get("modules_to_save") or ()
        if excluded or any(re.match(rf"(^|.*\.){name}($|\..*)", module) for name in saved):
            return False
        if targets is None:  # PEFT knows the targets of common architectures
            return not get("target_parameters")
        if isinstance(targets, str):
            return targets.lower() == "all-linear" or bool(re.fullmatch(targets, module))
        return module in targets or (ends_with(module, targets) and self.is_in_layers(module))

    def is_in_layers(self, module: str) -> bool:
        """Say whether the config names the layer of a module."""
        layers = self.config.get("layers_to_transform")
        if layers is None or layers == []:
            return True
        patterns = self.config.get("layers_pattern") or r"[^.]*"
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            if match := re.match(rf"(?:^|.*?\.){pattern}\.(\d+)\.", module):
                return int(match[1]) in ([layers] if isinstance(layers, int) else layers)
        return False

    def is_tied_again(self, parameter: str) -> bool:
        """Say whether PEFT ties a saved head to the embedding again."""
        return bool(self.tied_to and parameter == HEAD and self.config.get("ensure_weight_tying"))

    def is_original(self, name: str) -> bool:
        """Say whether a whole tensor is the frozen weight that PEFT saved under LoRA matrices."""
        module = name.removesuffix(".weight").removesuffix(".base_layer")
        return name.endswith(".weight") and module in self.wrapped


def ends_with(name: str, ends: Iterable[str]) -> bool:
    """Say whether a name equals one of these parts, or ends with it."""
    return any(name == end or name.endswith(f".{end}") for end in ends)
