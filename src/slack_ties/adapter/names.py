"""Check that every tensor of an adapter fits a module of the model."""

from __future__ import annotations

import re

from slack_ties.adapter.modules import EXPERT, INCOMPLETE, PREFIX, Modules, Pair
from slack_ties.errors import CheckpointError

__all__ = ["Names"]

PAIR = re.compile(
    r"(?P<module>.+?)(?P<depth>(\.base_layer)*)\."
    r"lora_(?:(?P<linear>[AB])(?:\.default)?\.(?P<kind>weight|bias)"
    r"|embedding_(?P<embedding>[AB])(?:\.default)?"
    r"|magnitude_vector(?:\.default\.weight)?)"
)
TOKENS = re.compile(r"(.+)\.token_adapter\.trainable_tokens_delta")
# Extra tensors of some LoRA variants, and the original module that a wrapper keeps.
UNUSED = re.compile(r"\.lora_(diag|monteclora_sampler|velora_embed)\b|\.original_module\.")
WRAPPERS = {  # parts of names that PEFT does not know
    "module": "DistributedDataParallel and DeepSpeed put",
    "_orig_mod": "torch.compile puts",
    "_fsdp_wrapped_module": "FSDP puts",
}
# PEFT 0.21 cannot merge these: we tried. The matrices of the last two have other shapes.
UNMERGEABLE = (
    *("alora_invocation_tokens", "arrow_config", "layer_replication", "megatron_config"),
    *("use_bdlora", "use_qalora"),
)
OPTIONS = {"bias": "lora_bias", "magnitude": "use_dora"}  # PEFT has these tensors only with them


class Names(Modules):
    """Sorts the tensors of an adapter, and refuses tensors that PEFT would ignore."""

    def check_config(self) -> None:
        """Refuse a kind of adapter that PEFT cannot merge."""
        get, kind = self.config.get, self.config.get("peft_type")
        if kind != "LORA":
            adapter = self.name.rpartition("+")[2].partition("@")[0]
            msg = f"model {self.name!r}: {adapter!r} is an adapter of type {kind!r}, expected LORA"
            raise CheckpointError(msg)
        used = next((option for option in UNMERGEABLE if get(option)), "")
        if get("init_lora_weights") == "loftq":  # PEFT would quantize the model
            used = "init_lora_weights: loftq"
        if used:
            text = f"the adapter uses {used}, expected one that PEFT can merge"
            self.fail(text, "name a whole model, or an adapter that was trained without it")
        if get("lora_alpha", 8) == 0:
            text = "lora_alpha is 0 in its adapter_config.json, so the adapter changes nothing"
            self.fail(text, "write the lora_alpha of its training into that file")

    def sort(self) -> None:
        """Find the kind of each tensor of the adapter."""
        pairs: dict[tuple[str, int], Pair] = {}
        for tensor in self.headers:
            name = tensor.removeprefix(PREFIX)
            if name != tensor and (match := PAIR.fullmatch(name)):
                key = match["module"], match["depth"].count(".")
                pair = pairs.setdefault(key, Pair(*key))
                side = match["linear"] or match["embedding"] or "magnitude"
                pair.sides["bias" if match["kind"] == "bias" else side] = tensor
                pair.is_embedding |= bool(match["embedding"])
            elif name != tensor and (match := TOKENS.fullmatch(name)):
                self.tokens[match[1]] = tensor
            elif not UNUSED.search(name) and not self.is_copy(name):
                self.replaced[name] = tensor
        self.pairs = list(pairs.values())
        self.wrapped = {pair.module for pair in self.pairs}
        if not self.pairs and not self.replaced and not self.tokens:
            text = "the adapter's file contains no LoRA matrices, expected lora_A and lora_B"
            self.fail(text, INCOMPLETE)

    def is_copy(self, name: str) -> bool:
        """Say whether a tensor is PEFT's second copy of a matrix that got more rows."""
        plain = name.replace(".modules_to_save.", ".")
        return plain != name and f"{PREFIX}{plain}" in self.headers

    def is_stray(self, name: str, tensor: str) -> bool:
        """Say whether a whole tensor of the adapter fits no module."""
        parameter = name.replace(".base_layer.", ".")
        is_below = parameter.rpartition(".")[0] in self.wrapped
        fits = is_below == (name != parameter) and self.find(parameter, whole=True)
        return name == tensor or not (fits or self.is_original(name))

    def check_fused(self) -> None:
        """Refuse an adapter for one half of a fused tensor: PEFT cannot merge it."""
        if not any(name.endswith(".experts.gate_up_proj") for name in self.modules or ()):
            return
        targets = {
            pair.module.rpartition(".")[2]
            for pair in self.pairs
            if EXPERT.search(f"{pair.module}.")
        }
        for one, other in (("w1", "w3"), ("gate_proj", "up_proj")):
            if len(targets & {one, other}) == 1:
                (changed,) = targets & {one, other}
                (unchanged,) = {one, other} - targets
                text = f"its adapter changes {changed} of experts but not {unchanged}: "
                text += "transformers has both in one tensor"
                self.fail(text, "merge it with the PEFT version that trained it")

    def check_names(self) -> None:
        """Refuse an adapter if PEFT would ignore a part of it."""
        strays, get = [], self.config.get
        unset = [side for side, option in OPTIONS.items() if not get(option)]
        for pair in self.pairs:
            pair.parameter = self.parameter_of(pair)
            pair.tensors = self.find(pair.parameter) if pair.parameter else []
            strays += [t for side, t in pair.sides.items() if not pair.tensors or side in unset]
        strays += [t for name, t in self.replaced.items() if self.is_stray(name, t)]
        indices = get("trainable_token_indices")
        strays += [t for m, t in self.tokens.items() if not indices or not self.find(f"{m}.weight")]
        if strays:
            cause, hint = self.why(strays[0])
            text = f"{len(strays)} of the adapter's {len(self.headers)} tensors fit no module, and "
            text += f"PEFT would ignore them. One is {strays[0]}: {cause}"
            self.fail(text, hint)
        left = [
            pair
            for pair in self.pairs
            if not any(self.is_target(name, pair.parameter) for name in self.names_of(pair))
        ]
        if left:
            text = (
                f"{len(left)} of the adapter's {len(self.pairs)} LoRA pairs are for modules that "
            )
            text += "its adapter_config.json does not name, and PEFT would ignore them. "
            text += f"One is {left[0].module}"
            hint = "in that file correct target_modules, exclude_modules or layers_to_transform"
            self.fail(text, hint)

    def why(self, tensor: str) -> tuple[str, str]:
        """Return why PEFT finds no module for a tensor of the adapter, and what to do."""
        name, again = tensor.removeprefix(PREFIX), "save the adapter again with save_pretrained"
        for word, who in WRAPPERS.items():
            if word in tensor.split("."):
                return (
                    f"it contains {word!r}, which {who} into names",
                    f"{again} of the model inside the wrapper",
                )
        if name == tensor or name.startswith(PREFIX):
            return (
                f"expected one {PREFIX!r} at its beginning",
                f"{again} of PEFT, or rename all tensors",
            )
        module, *rest = re.split(r"\.(?:lora_|base_layer|modules_to_save|token_adapter)", name)
        module = module if rest else name.rpartition(".")[0]
        known = {one.rpartition(".")[0] for one in self.modules or self.parts}
        last = module.rpartition(".")[2]
        alike = sorted(one for one in known if one.rpartition(".")[2] == last)
        if module in alike:
            options = "use_dora, lora_bias and trainable_token_indices"
            hint = (
                f"does adapter_config.json have the options of its training ({options})? If not, "
            )
            return (
                "the model has the module, but PEFT expects no such tensor for it",
                f"{hint}add them; otherwise {again} of PEFT",
            )
        if not alike:
            return f"the model has no {last}", ""
        nearest = max(alike, key=lambda one: len({*one.split(".")} & {*module.split(".")}))
        return f"the model has {nearest}", ""
