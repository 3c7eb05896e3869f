"""Whether every tensor of an adapter fits a module of the model."""

from __future__ import annotations

import re

from slack_ties.adapter.modules import AGAIN, EXPERT, PREFIX, Modules, Pair
from slack_ties.errors import CheckpointError

__all__ = ["Names"]

PAIR = re.compile(
    r"(?P<module>.+?)(?P<depth>(\.base_layer)*)\."
    r"lora_(?:(?P<linear>[AB])(?:\.default)?\.(?P<kind>weight|bias)"
    r"|embedding_(?P<embedding>[AB])(?:\.default)?"
    r"|magnitude_vector(?:\.default\.weight)?)"
)
TOKENS = re.compile(r"(.+)\.token_adapter\.trainable_tokens_delta")
# What variants of LoRA need beside, and what a wrapper keeps of the module that it replaces.
UNUSED = re.compile(r"\.lora_(diag|monteclora_sampler|velora_embed)\b|\.original_module\.")
WRAPPERS = {  # parts of names that PEFT does not know
    "module": "DistributedDataParallel and DeepSpeed put",
    "_orig_mod": "torch.compile puts",
    "_fsdp_wrapped_module": "FSDP puts",
}
# PEFT 0.21 cannot merge these: tried. The matrices of the last two have other shapes.
UNMERGEABLE = (
    *("alora_invocation_tokens", "arrow_config", "layer_replication", "megatron_config"),
    *("use_bdlora", "use_qalora"),
)
OPTIONS = {"bias": "lora_bias", "magnitude": "use_dora"}  # without which PEFT has no such tensor


class Names(Modules):
    """Sorts the tensors of an adapter, and refuses those that PEFT would leave out."""

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
            self.fail(text, "write there the lora_alpha that it was trained with")

    def sort(self) -> None:
        """Find out what each tensor of the adapter is."""
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
            self.fail("the adapter's file holds no lora_A and lora_B, expected some", AGAIN)

    def is_copy(self, name: str) -> bool:
        """Say whether it is what PEFT saves once more of a matrix that was given more rows."""
        plain = name.replace(".modules_to_save.", ".")
        return plain != name and f"{PREFIX}{plain}" in self.headers

    def is_stray(self, name: str, tensor: str) -> bool:
        """Say whether a whole tensor of the adapter fits no module."""
        parameter = name.replace(".base_layer.", ".")
        is_below = parameter.rpartition(".")[0] in self.wrapped
        fits = is_below == (name != parameter) and self.find(parameter, whole=True)
        return name == tensor or not (fits or self.is_original(name))

    def check_fused(self) -> None:
        """Refuse one half of what transformers holds in one tensor: PEFT cannot merge it."""
        if not any(name.endswith(".experts.gate_up_proj") for name in self.modules or ()):
            return
        targets = {
            pair.module.rpartition(".")[2]
            for pair in self.pairs
            if EXPERT.search(f"{pair.module}.")
        }
        for one, other in (("w1", "w3"), ("gate_proj", "up_proj")):
            if len(targets & {one, other}) == 1:
                (there,) = targets & {one, other}
                (gone,) = {one, other} - targets
                text = f"its adapter changes {there} of experts and not {gone}, which transformers "
                self.fail(f"{text}holds in one tensor", "merge it with the PEFT that trained it")

    def check_names(self) -> None:
        """Refuse an adapter of which PEFT would leave out a part."""
        strays, get = [], self.config.get
        unset = [side for side, option in OPTIONS.items() if not get(option)]
        for pair in self.pairs:
            pair.parameter = self.parameter_of(pair)
            pair.places = self.find(pair.parameter) if pair.parameter else []
            strays += [t for side, t in pair.sides.items() if not pair.places or side in unset]
        strays += [t for name, t in self.replaced.items() if self.is_stray(name, t)]
        indices = get("trainable_token_indices")
        strays += [t for m, t in self.tokens.items() if not indices or not self.find(f"{m}.weight")]
        if strays:
            cause, hint = self.why(strays[0])
            text = f"{len(strays)} of the adapter's {len(self.headers)} tensors fit no module, and "
            text += f"PEFT would leave them out. One is {strays[0]}: {cause}"
            self.fail(text, hint)
        left = [
            pair
            for pair in self.pairs
            if not any(self.is_target(name, pair.parameter) for name in self.names_of(pair))
        ]
        if left:
            text = f"{len(left)} of the adapter's {len(self.pairs)} LoRA pairs are of modules that "
            text += "its adapter_config.json does not name, and PEFT would leave them out. "
            text += f"One is {left[0].module}"
            self.fail(text, "correct target_modules, exclude_modules or layers_to_transform there")

    def why(self, tensor: str) -> tuple[str, str]:
        """Return why PEFT finds no place for a tensor of the adapter, and what to do."""
        name, again = tensor.removeprefix(PREFIX), "save the adapter again with save_pretrained"
        for word, who in WRAPPERS.items():
            if word in tensor.split("."):
                return f"it holds {word!r}, which {who} there", f"{again} of the model inside"
        if name == tensor or name.startswith(PREFIX):
            return f"expected {PREFIX!r} at its beginning, once", f"{again} of PEFT, or rename all"
        module, *rest = re.split(r"\.(?:lora_|base_layer|modules_to_save|token_adapter)", name)
        module = module if rest else name.rpartition(".")[0]
        known = {one.rpartition(".")[0] for one in self.modules or self.parts}
        last = module.rpartition(".")[2]
        alike = sorted(one for one in known if one.rpartition(".")[2] == last)
        if module in alike:
            options = "use_dora, lora_bias and trainable_token_indices"
            hint = f"does adapter_config.json say how it was trained ({options})? Otherwise {again}"
            return "the module is there, but PEFT looks for no such tensor of it", f"{hint} of PEFT"
        if not alike:
            return f"the model has no {last}", ""
        nearest = max(alike, key=lambda one: len({*one.split(".")} & {*module.split(".")}))
        return f"the model has {nearest}", ""
