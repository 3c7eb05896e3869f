"""Build the kernel, rule/native/merge.c, for the wheel.

Without a compiler, the wheel is built without the kernel, for any platform. The library needs no
Python headers and works with every Python version of its platform. Without it, merging takes
longer and gives the same bytes.
"""

from __future__ import annotations

import sysconfig
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import setuptools  # noqa: F401 - provides distutils, which Python 3.12 and later lack

from distutils.ccompiler import new_compiler  # isort: skip
from distutils.errors import CCompilerError, DistutilsError  # isort: skip
from distutils.sysconfig import customize_compiler  # isort: skip

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# The bytes of a merge must not depend on the compiler: no fused multiply-add.
EXACT = {
    "msvc": ["/O2", "/std:c11", "/experimental:c11atomics", "/fp:precise"],
    "others": [
        "-O3",
        "-g0",
        "-std=c11",
        "-fvisibility=hidden",
        "-fno-fast-math",
        "-fno-unsafe-math-optimizations",
        "-ffp-contract=off",
    ],
}


class KernelHook(BuildHookInterface):
    """Hatchling calls this for every build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the library into the wheel, or into src/ for an editable install."""
        package = Path(self.root, "src", "slack_ties", "rule")
        if version == "editable":
            folder = package
        else:
            self.folder = tempfile.TemporaryDirectory()
            folder = Path(self.folder.name)
        library = folder / "_kernel.so"
        try:
            _build(package / "native", library)
        except (CCompilerError, DistutilsError, OSError) as error:
            self.app.display_warning(
                f"slack-ties: built without its kernel, merging takes longer: {error}"
            )
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        build_data["pure_python"] = False
        if version != "editable":
            build_data["force_include"][str(library)] = "slack_ties/rule/_kernel.so"


def _build(source: Path, library: Path) -> None:
    # kernel.py computes the same checksum, to check that the library was built from these files.
    files = sorted(source.glob("*.[ch]"))
    checksum = sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    compiler = new_compiler()
    customize_compiler(compiler)
    exact = EXACT.get(compiler.compiler_type, EXACT["others"])
    with tempfile.TemporaryDirectory() as work:
        objects = compiler.compile(
            [str(source / "merge.c")],
            output_dir=work,
            macros=[("SOURCE", checksum)],
            extra_postargs=exact,
        )
        # Give the linker our flags too: with -ffast-math in CFLAGS it would add code that turns
        # denormals off in every program that loads the library.
        linked = [] if compiler.compiler_type == "msvc" else [*exact, "-pthread", "-lm"]
        compiler.link_shared_object(objects, str(library), extra_postargs=linked)
