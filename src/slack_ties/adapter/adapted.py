"""Apply a LoRA adapter to one tensor of a model at a time, with PEFT's own code.

mergekit loads the whole model, lets PEFT merge the adapter, and writes a model of the same size.
Here transformers makes the model without weights, and PEFT prepares it for the adapter. A tensor is
then put into its one module, PEFT merges that module, and the module is emptied again. The bytes
are those that mergekit's way gives, for the adapters in which `unproven` finds nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from peft import PeftConfig, PeftModel, get_peft_model_state_dict

from slack_ties.errors import CheckpointError
from slack_ties.models.header import Header
from slack_ties.private.peft import LoraLayer, ModulesToSaveWrapper

__all__ = ["Adapted", "Readable"]

TYPES = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64")}

# PEFT's names in the modules that it changes.
BASE, BASE_WEIGHT, SAVED = "base_layer.", "base_layer.weight", "modules_to_save.default."


class Readable(Protocol):
    """Weight files that can be read tensor by tensor."""

    @property
    def headers(self) -> Mapping[str, Header]:
        """The header of each tensor."""

    def read(self, tensor: str) -> torch.Tensor:
        """Return a tensor."""


@dataclass(frozen=True)
class _Module:
    """A module of the model that the adapter changes, without weights."""

    module: Any
    parts: Mapping[str, str]  # the module's parameter -> the adapter's tensor


class Adapted:
    """A model with its adapter, merged into each tensor that is read."""

    def __init__(  # noqa: PLR0913 - all but three by name
        self,
        name: str,
        model: Readable,
        adapter: Readable,
        *,
        config: Mapping[str, Any],
        adapter_folder: Path,
        merge_dtype: torch.dtype | None = None,
    ) -> None:
        """Make the model without weights, and let PEFT prepare it.

        Args:
            name: The name of model and adapter in errors.
            model: The model's weight files.
            adapter: The adapter's weight file.
            config: The model's config.json; settings of quantization have no effect.
            adapter_folder: The folder with adapter_config.json.
            merge_dtype: The type to merge in (`--lora-merge-dtype`); the model's if not given.

        Raises:
            CheckpointError: The adapter's tensors are not those that PEFT expects.

        """
        self.name, self._model, self._adapter = name, model, adapter
        empty = _without_weights(config, model.headers, merge_dtype)
        self._types = {key: tensor.dtype for key, tensor in empty.state_dict().items()}
        self._lora: dict[str, _Module] = {}  # the model's tensor -> its module
        self._whole: dict[str, str] = {}  # the model's tensor -> the adapter's that replaces it
        self._prepare(empty, adapter_folder)
        self.config = _saved_config(empty)
        self.headers = {
            key: Header(model.headers[key].shape, _name_of(dtype), model.headers[key].file)
            for key, dtype in sorted(self._types.items())
            if key in model.headers  # the others are tied
        }

    def read(self, tensor: str) -> torch.Tensor:
        """Return a tensor of the merged model; errors as of the files."""
        own = self._model.read(tensor)
        if tensor in self._whole:
            own = self._adapter.read(self._whole[tensor])
        if tensor not in self._lora:
            return own.to(self._types[tensor])
        own = own.to(self._types[tensor], copy=True)  # PEFT changes it in place
        return self._merged(self._lora[tensor], own).contiguous()

    def _merged(self, found: _Module, own: torch.Tensor) -> torch.Tensor:
        """Let PEFT merge one module."""
        layer = deepcopy(found.module)
        for parameter, name in found.parts.items():
            dtype = layer.get_parameter(parameter).dtype
            _put(layer, parameter, self._adapter.read(name).to(dtype))
        _put(layer, BASE_WEIGHT, own)
        layer.merge()
        merged: torch.Tensor = layer.get_parameter(BASE_WEIGHT).data
        return merged

    def _prepare(self, empty: Any, adapter_folder: Path) -> None:
        """Find the modules that the adapter changes, and the tensors that it has for each."""
        told = PeftConfig.from_pretrained(str(adapter_folder))
        told.inference_mode = True
        wrapped: Any = PeftModel(empty, told)
        state = wrapped.state_dict(keep_vars=True)
        known = get_peft_model_state_dict(wrapped, state, save_embedding_layers=True)
        in_file = {id(one): key for key, one in known.items() if key in self._adapter.headers}
        without, used = [], set()
        for name, module in wrapped.base_model.model.named_modules():
            parts = {key: in_file.get(id(one), "") for key, one in module.named_parameters()}
            if isinstance(module, LoraLayer):
                base = parts[BASE_WEIGHT]  # PEFT saves an embedding below its LoRA matrices
                parts = {key: one for key, one in parts.items() if not key.startswith(BASE)}
                self._lora[f"{name}.weight"] = _Module(module, parts)
                self._whole |= {f"{name}.weight": base} if base else {}
            elif isinstance(module, ModulesToSaveWrapper):
                base = ""
                parts = {key: one for key, one in parts.items() if key.startswith(SAVED)}
                self._whole |= {f"{name}.{key.removeprefix(SAVED)}": parts[key] for key in parts}
            else:
                continue
            without += [f"{name}.{key}" for key, one in parts.items() if not one]
            used |= {base, *parts.values()}
        if odd := [*without, *({*self._adapter.headers} - used)]:
            msg = f"model {self.name!r}: the adapter's file and PEFT differ about {odd[0]}"
            raise CheckpointError(msg, hint="take a complete file")


def _without_weights(
    config: Mapping[str, Any], headers: Mapping[str, Header], dtype: torch.dtype | None
) -> Any:
    """Return transformers' model as `from_pretrained` makes it, with all tensors on "meta"."""
    # Training in 4 bits leaves these settings behind: transformers would quantize the weights.
    config = {key: value for key, value in config.items() if key != "quantization_config"}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config), encoding="utf-8")
        made = transformers.AutoConfig.from_pretrained(folder)
    kind: Any = getattr(transformers, made.architectures[0])
    state = {
        name: torch.empty(header.shape, dtype=TYPES[header.dtype], device="meta")
        for name, header in headers.items()
    }
    return kind.from_pretrained(
        None, config=made, state_dict=state, device_map={"": "meta"}, torch_dtype=dtype
    )


def _saved_config(model: Any) -> dict[str, Any]:
    """Return config.json as transformers' `save_pretrained` writes it."""
    model.config.dtype = _name_of(model.dtype)
    model.config.architectures = [type(model).__name__]
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        found: dict[str, Any] = json.loads(Path(folder, "config.json").read_text("utf-8"))
    return found


def _put(module: Any, name: str, tensor: torch.Tensor) -> None:
    """Put a tensor in the place of a parameter."""
    path, _, last = name.rpartition(".")
    setattr(module.get_submodule(path), last, torch.nn.Parameter(tensor, requires_grad=False))


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
