"""The command line of run.py: what is wrong is refused before the work."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from real.sizes import SIZES, Size

__all__ = ["HERE", "folder_of", "options"]

HERE = Path(__file__).resolve().parent


def options(text: str) -> argparse.Namespace:
    """Read the command line; `text` is what --help says first."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("size", nargs="?", default="quick", choices=SIZES)
    parser.add_argument("--processes", type=_many, help="jobs at once [cores; 1 on a GPU]")
    parser.add_argument("--device", type=_device, default="cpu", help="cpu or cuda")
    parser.add_argument("--base", default="", help="another base: a folder or a Hub id")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="folder for models")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for rows")
    chosen = parser.parse_args()
    if chosen.device != "cpu" and not _has_gpu():
        parser.error("PyTorch sees no GPU here: --device cpu")
    return chosen


def folder_of(size: Size, base: str) -> str:
    """Return the name of the folder of a size's work and rows; another base has its own."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", base).strip("-")
    return f"{size.name}-{name}" if name else size.name


def _many(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        msg = f"expected 1 or more, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        msg = f"expected cpu or cuda, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return text


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
