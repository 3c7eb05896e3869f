"""Which build of torch this is, and what it costs: CUDA's packages are of no use without a GPU."""

from __future__ import annotations

import re
import shutil
import warnings
from importlib import import_module
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from typing import TYPE_CHECKING, Any

from slack_ties.doctor.finding import BROKEN, NOTE, OK, Finding
from slack_ties.wording import counted, join_names, size

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CPU_BUILD", "broken_torch", "import_torch", "look_at_torch", "unused_packages"]

CPU_BUILD = "pip install torch --index-url https://download.pytorch.org/whl/cpu"

# What the CUDA builds of torch for Linux require beside Python packages.
OF_CUDA = re.compile(r"(nvidia|cuda)-|triton$")
WITH_TORCH = ("torchvision", "torchaudio")  # each build fits only the same build of torch


def import_torch() -> tuple[Any, str]:
    """Return torch, or None and why it cannot be imported."""
    try:
        return import_module("torch"), ""
    except Exception as error:  # noqa: BLE001 - a library that cannot be loaded is an OSError
        return None, f"{type(error).__name__}: {error}"


def broken_torch(reason: str) -> Finding:
    """Return the finding that torch cannot be imported."""
    return Finding(
        "torch", BROKEN, f"cannot be imported: {reason}", f"{CPU_BUILD} --force-reinstall"
    )


def look_at_torch(torch: Any) -> Iterator[Finding]:
    """Yield torch's build and the devices that it finds."""
    kind = _build(torch)
    gpus, reason = _gpus(torch)
    text = f"{torch.__version__}, build for {kind}"
    facts = {"version": torch.__version__, "build": kind}
    if torch.version.cuda and not gpus:
        yield _without_gpu(text, facts)
    else:
        yield Finding("torch", OK, text, facts=facts)
    threads = torch.get_num_threads()
    cpu = f"CPU with {counted(threads, 'thread')}"
    shown = join_names([cpu, *(f"{one['device']} ({_describe(one)})" for one in gpus)])
    found = {"threads": threads, "gpus": gpus}
    if gpus:
        yield Finding("devices", OK, shown, facts=found)
        return
    if kind == "CPU" and shutil.which("nvidia-smi"):
        text = f"{shown}; NVIDIA's driver is here, but this build of torch uses no GPU"
        hint = "https://pytorch.org/get-started/locally says how to get the build for CUDA"
        yield Finding("devices", NOTE, text, hint, found)
        return
    text = f"{shown}; no GPU, and a merge needs none"
    yield Finding("devices", OK, f"{text} ({reason})" if reason else text, facts=found)


def _build(torch: Any) -> str:
    """Return what a build of torch is for."""
    if torch.version.cuda:
        return f"CUDA {torch.version.cuda}"
    if getattr(torch.version, "hip", None):
        return f"ROCm {torch.version.hip}"
    if getattr(torch.version, "xpu", None):
        return f"XPU {torch.version.xpu}"
    return "CPU and MPS" if torch.backends.mps.is_built() else "CPU"


def _gpus(torch: Any) -> tuple[list[dict[str, Any]], str]:
    """Return the GPUs with their memory; and what torch says if it finds none."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = [_gpu(torch, f"cuda:{number}") for number in range(count)]
    if torch.backends.mps.is_available():
        from slack_ties.models.memory import free_memory  # noqa: PLC0415 - only for MPS

        gpus.append({"device": "mps", "name": "Apple", "free": free_memory("mps")})
    return gpus, str(said[0].message).partition("\n")[0][:200] if said else ""


def _gpu(torch: Any, device: str) -> dict[str, Any]:
    """Return a GPU of CUDA or ROCm."""
    name = torch.cuda.get_device_name(device)
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError as error:  # another program has it for itself
        return {"device": device, "name": name, "error": str(error).partition("\n")[0]}
    return {"device": device, "name": name, "free": free, "total": total}


def _describe(gpu: dict[str, Any]) -> str:
    if "error" in gpu:
        return f"{gpu['name']}, which cannot be used: {gpu['error']}"
    of = f" of {size(gpu['total'])}" if "total" in gpu else ""
    return f"{gpu['name']}, {size(gpu['free'])}{of} free"


# CUDA without a GPU


def _without_gpu(text: str, facts: dict[str, Any]) -> Finding:
    """Return the finding that CUDA came along, and how to get the build for the CPU."""
    packages = unused_packages()
    useless, own = sum(packages.values()), _size_of("torch")
    text += f", but it finds no GPU: CUDA's packages take {size(useless)} here, torch {size(own)}"
    also = [name for name in WITH_TORCH if _find(name)]
    remove = " ".join(["torch", *also, *packages])
    install = CPU_BUILD.replace("install torch", " ".join(["install torch", *also]))
    hint = f"pip uninstall -y {remove} && {install}"
    if shutil.which("nvidia-smi"):
        hint += "  # or, if there is a GPU, renew its driver"
    return Finding("torch", NOTE, text, hint, {**facts, "cuda_packages": packages, "size": own})


def unused_packages() -> dict[str, int]:
    """Return the packages of CUDA that only torch needs, with their sizes in bytes."""
    found: set[str] = set()
    waiting = ["torch"]
    while waiting:
        one = _find(waiting.pop())
        names = _needs(one, extras=True) if one else set()  # cuda-toolkit has all in extras
        new = {name for name in names - found if OF_CUDA.match(name) and _find(name)}
        found |= new
        waiting += new
    while kept := found & _needed_by_others(found):
        found -= kept
    return {name: _size_of(name) for name in sorted(found)}


def _needed_by_others(packages: set[str]) -> set[str]:
    """Return what packages need that are neither torch nor among these."""
    others = [
        one
        for one in distributions()
        if one.metadata["Name"] and _plain(one.metadata["Name"]) not in {"torch", *packages}
    ]
    return set().union(*(_needs(one) for one in others))


def _needs(package: Distribution, *, extras: bool = False) -> set[str]:
    """Return the names of the packages that a package requires, with or without its extras."""
    needed = [one for one in package.requires or () if extras or "extra ==" not in one]
    return {_plain(match[0]) for one in needed if (match := re.match(r"[A-Za-z0-9._-]+", one))}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _find(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _size_of(name: str) -> int:
    """Return the bytes of a package's files, as its own list states them."""
    package = _find(name)
    return sum(file.size or 0 for file in package.files or ()) if package else 0
