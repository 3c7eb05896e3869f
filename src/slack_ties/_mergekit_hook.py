"""Let stock mergekit find `slack_ties`: import our method right after mergekit's own methods.

mergekit 0.1.5 cannot discover plugins. `slack_ties.pth` (Python 3.10 to 3.14) and
`slack_ties.start` (3.15 and later, PEP 829) call `install` when Python starts. It adds
a finder to sys.meta_path that handles only one module and then removes itself.

This module imports only sys, and must never raise: it runs in every program of the
environment, even in pip.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TARGET = "mergekit.merge_methods"


class _Finder:
    """Wrap the loader of mergekit.merge_methods, once."""

    def find_spec(self, name: str, path: "Any" = None, target: object = None) -> "Any":  # noqa: ARG002 - the import system's signature
        if name != TARGET:
            return None
        from importlib.machinery import PathFinder  # noqa: PLC0415 - only when mergekit is imported

        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        load = loader.exec_module

        def load_then_register(module: "Any") -> None:
            del loader.exec_module  # the instance's attribute: then the class's method is used
            load(module)
            uninstall()
            _register()

        loader.exec_module = load_then_register
        return spec


def _register() -> None:
    """Import the method, which registers itself; log one line if that fails."""
    try:
        import slack_ties.method  # noqa: F401, PLC0415 - the point of the hook
    except Exception as error:  # noqa: BLE001 - mergekit's methods must work even if ours does not
        import logging  # noqa: PLC0415

        reason = " ".join(f"{type(error).__name__}: {error}".split())
        logging.getLogger("slack_ties").warning(
            "merge method slack_ties is not available: %s", reason
        )


def install() -> None:
    """Add the finder; a second call does nothing.

    Python 3.10 to 3.13 read every .pth file of a virtual environment twice.
    """
    if TARGET in sys.modules or any(type(f) is _Finder for f in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())


def uninstall() -> None:
    """Remove the finder from the list itself: other code may hold a reference to the list."""
    sys.meta_path[:] = [f for f in sys.meta_path if type(f) is not _Finder]
