"""mergekit's classes and functions that its documentation does not describe.

mergekit promises a YAML format and commands. The classes that plan, run and write a merge may
change in any version, so pyproject.toml has an upper bound. If a name is missing, one line tells
the versions that have it: the start-up hook logs it, our commands raise it as an error.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.private.lazy import import_lazily

if TYPE_CHECKING:
    from mergekit.architecture import (
        ModelArchitecture,
        ModuleArchitecture,
        ModuleDefinition,
        WeightInfo,
    )
    from mergekit.common import ModelPath, ModelReference, dtype_from_name, parse_kmb
    from mergekit.graph import Executor, Task
    from mergekit.io.tasks import (
        FinalizeModel,
        LoaderCache,
        LoadTensor,
        SaveTensor,
        TensorWriterTask,
    )
    from mergekit.io.tensor_writer import TensorWriter
    from mergekit.merge_methods.base import MISSING, ParameterSpec
    from mergekit.multigpu_executor import MultiGPUExecutor
    from mergekit.options import add_merge_options
    from mergekit.parameter_resolver import resolve_parameters
    from mergekit.plan import MergePlanner
    from mergekit.tokenizer import TokenizerInfo

__all__ = [
    "MISSING",
    "NAMES",
    "Executor",
    "FinalizeModel",
    "LoadTensor",
    "LoaderCache",
    "MergePlanner",
    "ModelArchitecture",
    "ModelPath",
    "ModelReference",
    "ModuleArchitecture",
    "ModuleDefinition",
    "MultiGPUExecutor",
    "ParameterSpec",
    "SaveTensor",
    "Task",
    "TensorWriter",
    "TensorWriterTask",
    "TokenizerInfo",
    "WeightInfo",
    "add_merge_options",
    "data_folder",
    "dtype_from_name",
    "parse_kmb",
    "resolve_parameters",
]

BOUNDS = ">=0.1.5,<0.2"
NAMES = {
    # How a merge method declares its parameters.
    "MISSING": "mergekit.merge_methods.base",
    "ParameterSpec": "mergekit.merge_methods.base",
    # Which value of a config a parameter gets for a tensor.
    "resolve_parameters": "mergekit.parameter_resolver",
    # What a merge is planned along: the tensors, and the layers that they are in.
    "ModelArchitecture": "mergekit.architecture",
    "ModuleArchitecture": "mergekit.architecture",
    "ModuleDefinition": "mergekit.architecture",
    "WeightInfo": "mergekit.architecture",
    # The planner, the tasks that it makes, and what executes them.
    "MergePlanner": "mergekit.plan",
    "Task": "mergekit.graph",
    "Executor": "mergekit.graph",
    "MultiGPUExecutor": "mergekit.multigpu_executor",
    "LoadTensor": "mergekit.io.tasks",
    "SaveTensor": "mergekit.io.tasks",
    "FinalizeModel": "mergekit.io.tasks",
    "LoaderCache": "mergekit.io.tasks",
    # The writer of weight files: its shards_written, total_size and weight_map are used too.
    "TensorWriterTask": "mergekit.io.tasks",
    "TensorWriter": "mergekit.io.tensor_writer",
    # Models by their folders, types and sizes by their names, the result's tokenizer.
    "ModelPath": "mergekit.common",
    "ModelReference": "mergekit.common",
    "dtype_from_name": "mergekit.common",
    "parse_kmb": "mergekit.common",
    "TokenizerInfo": "mergekit.tokenizer",
    # mergekit-yaml's options, as click options.
    "add_merge_options": "mergekit.options",
}

__getattr__ = import_lazily("mergekit", BOUNDS, NAMES)


def data_folder(name: str) -> Path:
    """Return a folder of mergekit's data: `architectures` or `chat_templates`.

    This does not import mergekit. If the folder is missing, the checks that read it are skipped:
    then only mergekit finds an unknown chat template or module, during the merge.
    """
    package = find_spec("mergekit")
    folders = package.submodule_search_locations if package else None
    return Path(folders[0] if folders else "", "_data", name)
