"""Check the shape of every tensor of an adapter, and count the changes in the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from slack_ties.adapter.modules import HEAD, INCOMPLETE, PREFIX, Pair
from slack_ties.adapter.names import Names
from slack_ties.models.header import PER_TOKEN

__all__ = ["Shapes"]

TRANSPOSED = ("c_attn", "c_proj", "c_fc", "q_attn")  # Conv1D of the GPT-2 family: [in, out]


class Shapes(Names):
    """Compares shapes and ranks with the model, and counts what changes."""

    def check_rows(self, what: str, theirs: tuple[int, ...], ours: tuple[int, ...]) -> None:
        """Refuse a matrix with a row per token if only its number of rows differs."""
        if not what.endswith(PER_TOKEN) or theirs[1:] != ours[1:] or not theirs or not ours:
            return
        text = f"the adapter's {what} has {theirs[0]} rows, expected {ours[0]} as in the model: "
        text += "it was trained with another vocabulary"
        base, _, adapter = self.name.rpartition("+")
        hint = "merge it in transformers, and write that FOLDER into the config: "
        hint += f"model = AutoModelForCausalLM.from_pretrained({base!r}); "
        hint += f"model.resize_token_embeddings({theirs[0]}); model = PeftModel.from_pretrained("
        hint += f"model, {adapter!r}).merge_and_unload(); model.save_pretrained(FOLDER); "
        hint += f"AutoTokenizer.from_pretrained({adapter!r}).save_pretrained(FOLDER)"
        self.fail(text, hint)

    def check_whole(self) -> None:
        """Check the tensors that replace tensors of the model."""
        for name, tensor in self.replaced.items():
            parameter, is_original = name.replace(".base_layer.", "."), self.is_original(name)
            tensors = self.find(parameter, whole=not is_original)
            theirs, ours = self.headers[tensor].shape, self.shape(tensors)
            if ours and theirs != ours:
                self.check_rows(parameter, theirs, ours)
                self.fail(f"the adapter's {parameter} is {_by(theirs)}, expected {_by(ours)}")
            if not is_original and not self.is_tied_again(parameter):
                self.whole += tensors
                self.change(tensors, theirs)
        if self.config.get("trainable_token_indices") and not self.tokens:
            text = "its adapter_config.json sets trainable_token_indices, but the adapter's file "
            self.fail(f"{text}contains no trainable_tokens_delta", INCOMPLETE)
        for module, tensor in self.tokens.items():
            self.check_tokens(module, tensor)
        for tensor in self.model:
            self.check_saved(tensor)

    def check_tokens(self, module: str, tensor: str) -> None:
        """Check the rows that the adapter has for single tokens."""
        indices = self.config["trainable_token_indices"]
        if isinstance(indices, Mapping):
            indices = next((found for key, found in indices.items() if module.endswith(key)), [])
        tensors, (count, *_) = self.find(f"{module}.weight"), self.headers[tensor].shape
        if count != len(indices):
            text = f"the adapter has {count} rows for tokens of {module}, expected {len(indices)} "
            self.fail(text + "as trainable_token_indices in its adapter_config.json")
        ours = self.shape(tensors)
        if ours and max(indices) >= ours[0]:
            self.check_rows(f"{module}.weight", (max(indices) + 1, *ours[1:]), ours)
            self.fail(f"the adapter has a row for token {max(indices)}, expected {_by(ours)}")
        self.whole += tensors
        self.changes[tensors[0]] = self.headers[tensor].size

    def check_saved(self, tensor: str) -> None:
        """Refuse a file that lacks a part of `modules_to_save`: PEFT would raise a KeyError."""
        parameter = self.known_as(tensor)
        for name in self.config.get("modules_to_save") or ():
            # As `_set_trainable` in peft/utils/other.py, which compares the end of a module's name.
            if (
                f"{name}." in parameter
                and parameter.endswith((".weight", ".bias"))
                and not any(tensor in self.find(one, whole=True) for one in self.replaced)
            ):
                text = f"modules_to_save in its adapter_config.json contains {name!r}, but the "
                text += f"adapter's file does not contain {PREFIX}{parameter}"
                hint = "take a complete file. If this part was never trained, remove "
                hint += f"{name!r} from modules_to_save"
                self.fail(text, hint)

    def check_pair(self, pair: Pair) -> None:
        """Check the shapes and the rank of two LoRA matrices."""
        needed = {"A": "lora_A", "B": "lora_B"}
        if self.config.get("use_dora"):
            needed["magnitude"] = "lora_magnitude_vector"
        for side, word in needed.items():
            if side not in pair.sides:
                text = f"the adapter has no {word} for {pair.module}, expected {word} beside the "
                self.fail(f"{text}others", INCOMPLETE)
        a, b = (self.headers[pair.sides[side]].shape for side in "AB")
        text = f"lora_A and lora_B of {pair.module} are {_by(a)} and {_by(b)}, expected "
        if min(len(a), len(b)) < 2 or 0 in {*a, *b}:  # noqa: PLR2004 - matrices
            hint = "DeepSpeed ZeRO-3 can cause this: save the adapter again, with "
            hint += "stage3_gather_16bit_weights_on_model_save"
            self.fail(f"{text}matrices", hint)
        ours = self.shape(pair.tensors)
        experts = ours[0] if len(ours) > len(a) else 1
        if a[0] != b[1] or a[0] % experts:
            self.fail(f"{text}the same rank in both", INCOMPLETE)
        rank, said = a[0] // experts, {self.rank_of(name) for name in self.names_of(pair)}
        if rank not in said:
            text = f"lora_A and lora_B of {pair.module} have rank {rank}, expected {min(said)} as "
            hint = "correct r or rank_pattern in that file"
            self.fail(f"{text}its adapter_config.json says", hint)
        self.rank = max(self.rank, rank)
        if ours:
            self.check_shape(pair, (a[1], b[0]) if pair.is_embedding else (b[0], *a[1:]), ours)

    def rank_of(self, name: str) -> int:
        """Do the same as `get_pattern_key` in peft/utils/other.py."""
        for pattern, rank in (self.config.get("rank_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", name):
                return int(rank)
        return int(self.config.get("r", 8))

    def check_shape(self, pair: Pair, theirs: tuple[int, ...], ours: tuple[int, ...]) -> None:
        """Compare the product of two LoRA matrices with the parameter of the model."""
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
        """Count the entries that change. Before training lora_B is zero; in MiCA, lora_A is."""
        side = "A" if self.config.get("init_lora_weights") == "mica" else "B"
        # In DoRA the magnitude changes weights even if the pair is zero.
        plain = [pair for pair in self.pairs if "magnitude" not in pair.sides]
        asked = [pair.sides[s] for pair in plain for s in (side, "bias") if s in pair.sides]
        zero = {*zeros(asked)} if asked else set()
        idle = [pair for pair in plain if pair.sides[side] in zero]
        for pair in self.pairs:
            a, b = (self.headers[pair.sides[s]].shape for s in "AB")
            if pair.sides[side] not in zero:
                self.change(pair.tensors, (b[0], *a[1:]))
            if "bias" in pair.sides and pair.sides["bias"] not in zero:
                self.change(self.find(f"{pair.module}.bias"), b[:1])
        if not self.changes:
            text = f"the adapter changes nothing: all its {len(idle)} lora_{side} are zero"
            self.fail(text, "was it trained? If so, use a later checkpoint of the training")
        if idle:
            text = f"{len(idle)} of the adapter's {len(self.pairs)} LoRA pairs are zero"
            self.warnings.append(f"{text} and change nothing, such as that of {idle[0].module}")

    def warn(self) -> None:
        """Warn if the file lacks tensors that the config names, or if tied tensors were trained."""
        held = {*self.whole, *(tensor for pair in self.pairs for tensor in pair.tensors)}
        held |= {HEAD} if self.tied_to else set()
        lacking = [
            tensor
            for tensor, header in self.model.items()
            if len(header.shape) > 1 and tensor not in held and self.is_named(tensor)
        ]
        if lacking:
            text = f"the adapter contains nothing for {len(lacking)} matrices that its "
            text += f"adapter_config.json names, such as {lacking[0]}: they do not change"
            self.warnings.append(text)
        # https://github.com/huggingface/peft/issues/2777; we also tried it.
        ends, of = {HEAD, self.tied_to} if self.tied_to else set(), "its head or its embedding"
        if any(pair.tensors[0] in ends for pair in self.pairs):
            text = f"the adapter has LoRA matrices for {of}, which the model ties: merging them "
            self.warnings.append(f"{text}changes both, unlike the training")
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


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"
