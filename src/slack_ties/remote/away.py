"""All weight files of one merge that are not on this disk, read as the merge wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import torch
    from huggingface_hub import HfApi

    from slack_ties.models.cached import AwayFile

__all__ = ["Away"]


class Away:
    """Reads tensors of models on the Hub.

    The order of all reads is told beforehand with `expect`. Each of them is then made once.
    """

    def __init__(
        self,
        models: Mapping[str, Mapping[str, AwayFile]],
        *,
        api: HfApi | None = None,
        window: int,
        quiet: bool = False,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            models: By name: the weight files that are not here. Two models may share a file.
            api: The Hub client; the default one if not given.
            window: Bytes of memory for what is read ahead and waits.
            quiet: Show no progress.

        """
        raise NotImplementedError

    def expect(
        self, reads: Sequence[tuple[str, str]], *, finished: Collection[tuple[str, str]] = ()
    ) -> None:
        """Begin to read ahead.

        Args:
            reads: (model, tensor) in the order in which `read` will be called; others than those
                in files that are away are left out.
            finished: (model, tensor) that an earlier run has read: files with such tensors are not
                read from front to back, so their checksums are not compared.

        """
        raise NotImplementedError

    def read(self, model: str, tensor: str) -> torch.Tensor:
        """Return a tensor; errors as of `Window.take`."""
        raise NotImplementedError

    def begin(self, model: str, tensor: str, count: int) -> torch.Tensor:
        """Return the first entries of a tensor, flat; this may be called before `expect`."""
        raise NotImplementedError

    def finish(self) -> dict[str, tuple[str, ...]]:
        """Compare the checksums that are left; return by model the files that were not compared."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop reading."""
        raise NotImplementedError
