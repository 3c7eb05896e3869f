"""Build a merged model in memory: the same that transformers loads from the folder of the merge.

`Builder` makes config, tokenizer, chat template and generation settings with the code that writes
them beside merged weights. transformers then loads merged tensors as it loads a checkpoint.
"""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slack_ties.errors import CheckpointError, SlackTiesError
from slack_ties.files import expanded
from slack_ties.harness.how import Loaded
from slack_ties.merge.in_memory import Unwritten, merge_unwritten
from slack_ties.merge.inputs import Found, find_all
from slack_ties.models.header import ENTRY_BYTES, main_type
from slack_ties.models.memory import free_memory
from slack_ties.recipe.read import read_recipe
from slack_ties.recipe.recipe import Recipe
from slack_ties.settings import Settings
from slack_ties.tensors.loading import quiet_transformers
from slack_ties.tokenizer.files import has_tokenizer
from slack_ties.wording import size

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

__all__ = ["Builder", "bytes_in_memory", "check_memory", "load_merged"]

DISK = "slack-ties merge {config} OUT  # then use OUT: transformers loads it as any other model"

MOST = 0.9  # the share of the free memory that a model may take


class Builder:
    """Makes models in memory of merges that differ only in their values."""

    def __init__(self, unwritten: Unwritten) -> None:
        """Make config and tokenizer.

        Args:
            unwritten: What `merge_unwritten` returned for one of the merges.

        Raises:
            CheckpointError: transformers has no class for the model, or cannot read its tokenizer.

        """
        from transformers import AutoConfig, AutoTokenizer, GenerationConfig  # noqa: PLC0415 - heavy

        recipe = unwritten.recipe
        self.hint = DISK.format(config=shlex.quote(recipe.where))
        with tempfile.TemporaryDirectory(prefix="slack-ties-") as name:
            folder = Path(name)
            unwritten.write_beside(folder)
            if not has_tokenizer(folder):
                msg = f"{recipe.where}: the merged model would have no tokenizer, so it cannot run"
                raise CheckpointError(msg, hint="copy the base's tokenizer into its folder")
            try:
                self.config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
                load: Any = AutoTokenizer.from_pretrained
                self.tokenizer: Any = load(folder, trust_remote_code=False)
            except (OSError, ValueError, KeyError) as error:
                msg = f"{recipe.where}: transformers cannot load the merged model: {error}"
                raise CheckpointError(msg, hint=self.hint) from None
            self.generation: Any = None
            if (folder / "generation_config.json").is_file():
                with contextlib.suppress(OSError, ValueError):  # transformers too goes on without
                    self.generation = GenerationConfig.from_pretrained(folder)

    def build(
        self, tensors: Mapping[str, torch.Tensor], *, device: str = "cpu", dtype: str = "auto"
    ) -> Loaded:
        """Return the model with these tensors.

        Args:
            tensors: All merged tensors, by their names in the folder of the merge.
            device: The device to run on.
            dtype: The type to run in, as torch names it; auto: that of the written model.

        Raises:
            CheckpointError: transformers has no class for the model, or the tensors do not fit.

        """
        import torch  # noqa: PLC0415 - heavy
        from transformers import AutoModelForCausalLM  # noqa: PLC0415 - heavy

        try:
            find: Any = AutoModelForCausalLM.from_config
            with quiet_transformers():
                with torch.device("meta"):  # without memory: only its class is of use
                    empty = find(deepcopy(self.config), trust_remote_code=False)
                model, info = type(empty).from_pretrained(
                    None,
                    config=deepcopy(empty.config),
                    state_dict=dict(tensors),
                    output_loading_info=True,
                    dtype=dtype,
                    generation_config=deepcopy(self.generation),
                )
                model.to(device)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            msg = f"transformers cannot load the merged model: {reason}"
            raise CheckpointError(msg, hint=self.hint) from None
        for name in sorted(info["missing_keys"]):
            msg = f"the merged model lacks {name!r}, which transformers would initialize"
            raise CheckpointError(msg, hint=self.hint)
        return Loaded(model.eval(), self.tokenizer)


def load_merged(  # noqa: PLR0913 - all by name
    config: str | Path | Recipe,
    *,
    device: str = "cpu",
    dtype: str = "auto",
    settings: Settings | None = None,
    found: Found | None = None,
    near: Path | None = None,
) -> Loaded:
    """Merge a config in memory and return the model: no file is written.

    Args:
        config: A merge config of any method, or the path of one.
        device: The device to run on.
        dtype: The type to run in, as torch names it; auto: that of the written model.
        settings: How to merge; the defaults if not given.
        found: What `find_all` returned for this config and these settings, if it was called.
        near: A folder on a disk with free space: models with adapters are merged there. The folder
            for temporary files if not given.

    Raises:
        SlackTiesError: As for `merge_models`; or the model does not fit in memory.

    """
    recipe = config if isinstance(config, Recipe) else read_recipe(expanded(config))
    settings = settings or Settings()
    found = found or find_all(recipe, None, settings)
    check_memory(found)
    tensors: dict[str, torch.Tensor] = {}
    unwritten = merge_unwritten(
        recipe,
        near or Path(tempfile.gettempdir()),
        take=lambda name, tensor: tensors.update({name: tensor.cpu()}),
        settings=settings,
        found=found,
    )
    return Builder(unwritten).build(tensors, device=device, dtype=dtype)


def check_memory(found: Found, *, models: int = 1) -> None:
    """Refuse merged models that do not fit in the free memory, before a weight is read.

    Args:
        found: What `find_all` returned.
        models: How many models are in memory at once.

    Raises:
        SlackTiesError: The message says how much is needed and how much is free.

    """
    needed, free = bytes_in_memory(found) * models, free_memory("cpu")
    if free is not None and needed > MOST * free:
        where = found.recipe.where
        what = "the merged model takes" if models == 1 else f"{models} merged models take"
        msg = f"{where}: {what} about {size(needed)} in memory, and {size(free)} is free"
        raise SlackTiesError(msg, hint=DISK.format(config=shlex.quote(where)))


def bytes_in_memory(found: Found) -> int:
    """Return about how many bytes the merged model takes, in the type that it is written in.

    Args:
        found: What `find_all` returned.

    """
    data, headers = found.recipe.data, found.headers
    named = str(data.get("out_dtype") or data.get("dtype") or "")
    types = {main_type(one) for one in headers.values()}
    width = ENTRY_BYTES.get(named.removeprefix("torch.")) or max(
        map(ENTRY_BYTES.__getitem__, types)
    )
    # The model with the largest vocabulary: the merged model may have it.
    return width * max(sum(one.size for one in tensors.values()) for tensors in headers.values())
