"""Find what an interrupted run with --stream has left on the disk: files that wait for upload."""

from __future__ import annotations

from pathlib import Path

__all__ = ["MODEL_FOLDER", "stream_folder", "waiting_bytes"]

MODEL_FOLDER = "model"  # the merge writes into it


def stream_folder(out: Path) -> Path:
    """Return the folder of a merge that is streamed; `out` is its output folder."""
    return out.absolute().parent / f".{out.name}.stream"


def waiting_bytes(out: str | Path) -> int:
    """Return the bytes of the weight files that wait: they need no more room on the disk."""
    waiting = (stream_folder(Path(out)) / MODEL_FOLDER).glob("model-*.safetensors")
    return sum(path.stat().st_size for path in waiting)
