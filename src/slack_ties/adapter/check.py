"""Whether PEFT applies a LoRA adapter as it was trained, and how much of the model it changes.

PEFT leaves out what fits no module, with a warning at most. Here that is found in the headers
of the weight files, before anything is merged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NoReturn

from slack_ties.adapter.adapter import Adapter
from slack_ties.errors import CheckpointError
from slack_ties.models.header import PER_TOKEN, Header

__all__ = ["read_adapter"]

AGAIN = "is the file complete? If it came from the Hub: hf download ID --force-download"

# The names that PEFT saves and looks for: peft/utils/save_and_load.py, peft/tuners/lora/layer.py.
PREFIX = "base_model.model."

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

# What transformers calls otherwise than checkpoints do: transformers/conversion_mapping.py.
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

# Old names that PEFT translates: peft/utils/transformers_weight_conversion.py. Tried: no others.
TRANSLATED = re.compile(
    r"^language_model\.model\.|\bvision_tower\.vision_model\.|\.block_sparse_moe\.|\.experts\.\d+\."
)

EXPERT = re.compile(r"\.experts\.(\d+)\.")

# What a checkpoint may leave out before its names: `base_model_prefix` in transformers.
ROOTS = ("model", "transformer", "gpt_neox", "backbone")

TRANSPOSED = ("c_attn", "c_proj", "c_fc", "q_attn")  # Conv1D of the GPT-2 family: [in, out]

HEAD = "lm_head.weight"

WRONG = (re.error, TypeError, AttributeError, ValueError, LookupError, ArithmeticError)

OPTIONS = {"bias": "lora_bias", "magnitude": "use_dora"}  # without which PEFT has no such tensor


@dataclass
class _Pair:
    """The two matrices whose product PEFT adds to one parameter."""

    module: str
    depth: int  # PEFT wraps a module once for each of its parameters
    sides: dict[str, str] = field(default_factory=dict)  # A, B, bias, magnitude -> tensor
    is_embedding: bool = False
    parameter: str = ""
    places: list[str] = field(default_factory=list)  # the model's tensors that make it


def read_adapter(  # noqa: PLR0913 - all by name
    name: str,
    *,
    config: Mapping[str, Any],
    headers: Mapping[str, Header],
    model: Mapping[str, Header],
    zeros: Callable[[Sequence[str]], Collection[str]] = lambda _: (),
    modules: Collection[str] | None = None,
    tied: bool = False,
) -> Adapter:
    """Return what PEFT makes of an adapter, and refuse one that it would not apply in full.

    Args:
        name: What to call model and adapter in errors: BASE+ADAPTER.
        config: The adapter's adapter_config.json.
        headers: Of the adapter's weight file.
        model: The headers of the model that it goes onto.
        zeros: Returns those of some tensors of the adapter that hold nothing but zeros.
        modules: The names in the model's state dict in transformers, where they are known.
            Without them they are derived from those of the checkpoint.
        tied: Whether the model's head is its embedding.

    Raises:
        CheckpointError: PEFT cannot merge the adapter, or would leave a part of it out, or
            the adapter changes nothing.

    """
    reading = _Reading(name, config, headers, model, modules, tied=tied)
    try:
        reading.check_config()
        reading.sort()
        reading.check_names()
        reading.check_fused()
        reading.check_whole()
        for pair in reading.pairs:
            reading.check_pair(pair)
        reading.add_up(zeros)
        reading.warn()
    except WRONG as error:
        # The files come from anywhere: with a wrong pattern, or a number for a list.
        reading.fail(f"its adapter cannot be understood: {error}", AGAIN)
    own = {tensor: count for tensor, count in reading.changes.items() if tensor not in model}
    return Adapter(
        rank=reading.rank,
        changes=reading.changes,
        whole=tuple(reading.whole),
        tensors=len(model) + len(own),
        parameters=sum(header.size for header in model.values()) + sum(own.values()),
        warnings=tuple(reading.warnings),
    )


class _Reading:
    """One adapter against one model, step by step."""

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
        self.pairs: list[_Pair] = []
        self.wrapped: set[str] = set()  # modules with such pairs
        self.replaced: dict[str, str] = {}  # name without the prefix -> the adapter's tensor
        self.tokens: dict[str, str] = {}  # module -> the adapter's tensor with some of its rows
        self.changes: dict[str, int] = {}
        self.whole: list[str] = []
        self.warnings: list[str] = []
        self.rank = 0

    def fail(self, text: str, hint: str = "") -> NoReturn:
        made_for = self.config.get("base_model_name_or_path") or "no model"
        hint = hint or f"is it an adapter of this model? It says that it was made for {made_for}"
        msg = f"model {self.name!r}: {text}"
        raise CheckpointError(msg, hint=hint)

    # What PEFT calls the parts of the model

    def known_as(self, tensor: str) -> str:
        for old, new in self.renamed:
            tensor = re.sub(old, new, tensor)
        return tensor

    def find(self, parameter: str, *, whole: bool = False) -> list[str]:
        """Return the model's tensors that PEFT changes under a name; none if it knows none."""
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
        # The checkpoint may store what transformers has in a way that is unknown here.
        return self.parts.get(parameter, [] if self.modules is None else [parameter])

    def shape(self, places: list[str]) -> tuple[int, ...]:
        """Return the shape of the parameter that tensors make; nothing if it is unknown."""
        if places[0] not in self.model:
            return ()
        shape = self.model[places[0]].shape
        if len(places) == 1:
            return shape
        experts = len({match[1] for match in map(EXPERT.search, places) if match}) or 1
        return (experts, sum(self.model[t].shape[0] for t in places) // experts, *shape[1:])

    def change(self, places: Iterable[str], shape: tuple[int, ...]) -> None:
        for tensor in places:
            known = self.model.get(tensor)
            self.changes[tensor] = known.size if known else prod(shape)

    def parameter_of(self, pair: _Pair) -> str:
        weight = f"{pair.module}.weight"
        if not pair.depth and self.find(weight):
            return weight
        # Wrappers lie in each other in the order in which the model defines the parameters:
        # `_inject_parameters` in peft/tuners/tuners_utils.py.
        targets = self.config.get("target_parameters") or ()
        names = {f"{pair.module}.{target.rpartition('.')[2]}" for target in targets}
        found = [name for name in names if _ends(name, targets) and self.find(name)]
        found.sort(key=lambda name: ("gate_up" not in name, name), reverse=True)
        return found[pair.depth] if pair.depth < len(found) else ""

    def names_of(self, pair: _Pair) -> tuple[str, ...]:
        """Return the names by which the config may mean a pair."""
        if _ends(pair.parameter, self.config.get("target_parameters") or ()):
            return (pair.parameter,)
        return pair.module, self.known_as(f"{pair.module}.weight").removesuffix(".weight")

    def is_target(self, module: str, parameter: str) -> bool:
        """As `check_target_module_exists` in peft/tuners/tuners_utils.py."""
        get = self.config.get
        if _ends(parameter, get("target_parameters") or ()) or self.is_tied_again(parameter):
            return True
        targets, out = get("target_modules"), get("exclude_modules") or ()
        excluded = re.fullmatch(out, module) if isinstance(out, str) else _ends(module, out)
        saved = get("modules_to_save") or ()
        if excluded or any(re.match(rf"(^|.*\.){name}($|\..*)", module) for name in saved):
            return False
        if targets is None:  # PEFT knows those of the usual architectures
            return not get("target_parameters")
        if isinstance(targets, str):
            return targets.lower() == "all-linear" or bool(re.fullmatch(targets, module))
        return module in targets or (_ends(module, targets) and self.is_in_layers(module))

    def is_in_layers(self, module: str) -> bool:
        layers = self.config.get("layers_to_transform")
        if layers is None or layers == []:
            return True
        patterns = self.config.get("layers_pattern") or r"[^.]*"
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            if match := re.match(rf"(?:^|.*?\.){pattern}\.(\d+)\.", module):
                return int(match[1]) in ([layers] if isinstance(layers, int) else layers)
        return False

    # What is in the file

    def check_config(self) -> None:
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
        pairs: dict[tuple[str, int], _Pair] = {}
        for tensor in self.headers:
            name = tensor.removeprefix(PREFIX)
            if name != tensor and (match := PAIR.fullmatch(name)):
                key = match["module"], match["depth"].count(".")
                pair = pairs.setdefault(key, _Pair(*key))
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

    def is_original(self, name: str) -> bool:
        """Say whether a whole tensor is the frozen one below LoRA matrices, as PEFT saves it."""
        module = name.removesuffix(".weight").removesuffix(".base_layer")
        return name.endswith(".weight") and module in self.wrapped

    def is_stray(self, name: str, tensor: str) -> bool:
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

    # What is replaced as a whole

    def check_rows(self, what: str, theirs: tuple[int, ...], ours: tuple[int, ...]) -> None:
        """Refuse a matrix with a row for each token that differs in the number of rows alone."""
        if not what.endswith(PER_TOKEN) or theirs[1:] != ours[1:] or not theirs or not ours:
            return
        text = f"the adapter's {what} has {theirs[0]} rows, expected {ours[0]} as in the model: "
        text += "it was trained with another vocabulary"
        base, _, adapter = self.name.rpartition("+")
        hint = "merge it once in transformers, and name that FOLDER in the config: "
        hint += f"model = AutoModelForCausalLM.from_pretrained({base!r}); "
        hint += f"model.resize_token_embeddings({theirs[0]}); model = PeftModel.from_pretrained("
        hint += f"model, {adapter!r}).merge_and_unload(); model.save_pretrained(FOLDER); "
        hint += f"AutoTokenizer.from_pretrained({adapter!r}).save_pretrained(FOLDER)"
        self.fail(text, hint)

    def check_whole(self) -> None:
        for name, tensor in self.replaced.items():
            parameter, is_original = name.replace(".base_layer.", "."), self.is_original(name)
            places = self.find(parameter, whole=not is_original)
            theirs, ours = self.headers[tensor].shape, self.shape(places)
            if ours and theirs != ours:
                self.check_rows(parameter, theirs, ours)
                self.fail(f"the adapter's {parameter} is {_by(theirs)}, expected {_by(ours)}")
            if not is_original and not self.is_tied_again(parameter):
                self.whole += places
                self.change(places, theirs)
        if self.config.get("trainable_token_indices") and not self.tokens:
            text = "its adapter_config.json sets trainable_token_indices, but the adapter's file "
            self.fail(f"{text}holds no trainable_tokens_delta", AGAIN)
        for module, tensor in self.tokens.items():
            self.check_tokens(module, tensor)
        for tensor in self.model:
            self.check_saved(tensor)

    def is_tied_again(self, parameter: str) -> bool:
        return bool(self.tied_to and parameter == HEAD and self.config.get("ensure_weight_tying"))

    def check_tokens(self, module: str, tensor: str) -> None:
        indices = self.config["trainable_token_indices"]
        if isinstance(indices, Mapping):
            indices = next((found for key, found in indices.items() if module.endswith(key)), [])
        places, (count, *_) = self.find(f"{module}.weight"), self.headers[tensor].shape
        if count != len(indices):
            text = f"the adapter has {count} rows for tokens of {module}, expected {len(indices)} "
            self.fail(text + "as trainable_token_indices in its adapter_config.json")
        ours = self.shape(places)
        if ours and max(indices) >= ours[0]:
            self.check_rows(f"{module}.weight", (max(indices) + 1, *ours[1:]), ours)
            self.fail(f"the adapter has a row for token {max(indices)}, expected {_by(ours)}")
        self.whole += places
        self.changes[places[0]] = self.headers[tensor].size

    def check_saved(self, tensor: str) -> None:
        """Refuse `modules_to_save` of which the file lacks a part: PEFT ends in a KeyError."""
        parameter = self.known_as(tensor)
        for name in self.config.get("modules_to_save") or ():
            # As `_set_trainable` in peft/utils/other.py, where the end of a module's name counts.
            if (
                f"{name}." in parameter
                and parameter.endswith((".weight", ".bias"))
                and not any(tensor in self.find(one, whole=True) for one in self.replaced)
            ):
                text = f"modules_to_save in its adapter_config.json holds {name!r}, but the "
                text += f"adapter's file no {PREFIX}{parameter}"
                hint = f"is the file complete? If that was never trained, take {name!r} out there"
                self.fail(text, hint)

    # What is added to

    def check_pair(self, pair: _Pair) -> None:
        needed = {"A": "lora_A", "B": "lora_B"}
        if self.config.get("use_dora"):
            needed["magnitude"] = "lora_magnitude_vector"
        for side, word in needed.items():
            if side not in pair.sides:
                text = f"the adapter has no {word} for {pair.module}, expected one beside the rest"
                self.fail(text, AGAIN)
        a, b = (self.headers[pair.sides[side]].shape for side in "AB")
        text = f"lora_A and lora_B of {pair.module} are {_by(a)} and {_by(b)}, expected "
        if min(len(a), len(b)) < 2 or 0 in {*a, *b}:  # noqa: PLR2004 - matrices
            hint = "DeepSpeed ZeRO-3 saves it so: save the adapter again, with "
            hint += "stage3_gather_16bit_weights_on_model_save"
            self.fail(f"{text}matrices", hint)
        ours = self.shape(pair.places)
        experts = ours[0] if len(ours) > len(a) else 1
        if a[0] != b[1] or a[0] % experts:
            self.fail(f"{text}the same rank in both", AGAIN)
        rank, said = a[0] // experts, {self.rank_of(name) for name in self.names_of(pair)}
        if rank not in said:
            text = f"lora_A and lora_B of {pair.module} have rank {rank}, expected {min(said)} as "
            self.fail(f"{text}its adapter_config.json says", "correct r or rank_pattern there")
        self.rank = max(self.rank, rank)
        if ours:
            self.check_shape(pair, (a[1], b[0]) if pair.is_embedding else (b[0], *a[1:]), ours)

    def rank_of(self, name: str) -> int:
        """As `get_pattern_key` in peft/utils/other.py."""
        for pattern, rank in (self.config.get("rank_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", name):
                return int(rank)
        return int(self.config.get("r", 8))

    def check_shape(self, pair: _Pair, theirs: tuple[int, ...], ours: tuple[int, ...]) -> None:
        fits = theirs == ours or (pair.module.endswith(TRANSPOSED) and theirs == ours[::-1])
        if len(ours) > len(theirs):  # experts, stored as [in, out] or as [out, in]
            fits = sorted(theirs) == sorted(ours[1:])
        if not fits:
            self.check_rows(pair.parameter, theirs, ours)
            text = f"lora_B x lora_A of {pair.module} is {_by(theirs)}, expected {_by(ours)}"
            self.fail(f"{text} as in the model")
        if "bias" in pair.sides and not self.find(f"{pair.module}.bias"):
            self.fail(f"the adapter has a bias for {pair.module}, expected a model that has one")

    def add_up(self, zeros: Callable[[Sequence[str]], Collection[str]]) -> None:
        """Find out what changes. Before training lora_B is zero, and lora_A in MiCA."""
        side = "A" if self.config.get("init_lora_weights") == "mica" else "B"
        # In DoRA the magnitude changes something all the same.
        plain = [pair for pair in self.pairs if "magnitude" not in pair.sides]
        asked = [pair.sides[s] for pair in plain for s in (side, "bias") if s in pair.sides]
        zero = {*zeros(asked)} if asked else set()
        idle = [pair for pair in plain if pair.sides[side] in zero]
        for pair in self.pairs:
            a, b = (self.headers[pair.sides[s]].shape for s in "AB")
            if pair.sides[side] not in zero:
                self.change(pair.places, (b[0], *a[1:]))
            if "bias" in pair.sides and pair.sides["bias"] not in zero:
                self.change(self.find(f"{pair.module}.bias"), b[:1])
        if not self.changes:
            text = f"the adapter changes nothing: all its {len(idle)} lora_{side} are zero"
            self.fail(text, "was it trained? If so, take a later checkpoint of the training")
        if idle:
            text = f"{len(idle)} of the adapter's {len(self.pairs)} LoRA pairs are zero"
            self.warnings.append(f"{text} and change nothing, such as that of {idle[0].module}")

    def warn(self) -> None:
        """Warn of what the config names and the file lacks, and of what PEFT does otherwise."""
        held = {*self.whole, *(place for pair in self.pairs for place in pair.places)}
        held |= {HEAD} if self.tied_to else set()
        lacking = [
            tensor
            for tensor, header in self.model.items()
            if len(header.shape) > 1 and tensor not in held and self.is_named(tensor)
        ]
        if lacking:
            text = f"the adapter holds nothing for {len(lacking)} matrices that its "
            text += f"adapter_config.json names, such as {lacking[0]}: they stay as they are"
            self.warnings.append(text)
        # https://github.com/huggingface/peft/issues/2777, and tried.
        ends, of = {HEAD, self.tied_to} if self.tied_to else set(), "its head or its embedding"
        if any(pair.places[0] in ends for pair in self.pairs):
            text = f"the adapter has LoRA matrices for {of}, which the model ties: merging them "
            self.warnings.append(f"{text}changes both, which is not what was trained")
        apart = any(t in self.whole and self.changes[t] == self.model[t].size for t in ends)
        if apart and not self.config.get("ensure_weight_tying"):
            text = f"the adapter replaces {of}, which the model ties: merged, they differ, and "
            self.warnings.append(f"{text}config.json needs tie_word_embeddings: false")

    def is_named(self, tensor: str) -> bool:
        """Say whether the config names a tensor of the model as a target."""
        targets, later = self.config.get("target_modules"), self.known_as(tensor)
        names = [name.removesuffix(".weight") for name in (tensor, later)]
        if targets is None or str(targets).lower() == "all-linear":  # PEFT chooses them
            names = []
        return any(self.is_target(name, later) for name in names)


def _ends(name: str, ends: Iterable[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"
