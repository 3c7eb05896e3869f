"""Let stock mergekit find `slack_ties`: import our method right after mergekit's own methods.

mergekit 0.1.5 has no plugin discovery. `slack_ties.pth` (Python 3.10 to 3.14) and
`slack_ties.start` (3.15 on, PEP 829) call `install` at the start of Python. It puts
a finder on sys.meta_path that answers for one module only and then removes itself.

Nothing but sys is imported here, and nothing here may raise: this code runs in
every program of the environment, pip included.
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
            del loader.exec_module  # the instance's: the class's own shows again
            load(module)
            uninstall()
            _register()

        loader.exec_module = load_then_register
        return spec


def _register() -> None:
    """Import the method, whose last line registers it; a failure costs one log line."""
    try:
        import slack_ties.method  # noqa: F401, PLC0415 - the point of the hook
    except Exception as error:  # noqa: BLE001 - stock methods must work whatever is wrong with ours
        import logging  # noqa: PLC0415

        reason = " ".join(f"{type(error).__name__}: {error}".split())
        logging.getLogger("slack_ties").warning(
            "merge method slack_ties is not available: %s", reason
        )


def install() -> None:
    """Put the finder in place; doing so twice changes nothing.

    Python 3.10 to 3.13 read every .pth of a virtual environment twice.
    """
    if TARGET in sys.modules or any(type(f) is _Finder for f in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())


def uninstall() -> None:
    """Take the finder away, in place, so that whoever holds sys.meta_path sees it."""
    sys.meta_path[:] = [f for f in sys.meta_path if type(f) is not _Finder]
