"""Look at a model without its weights: config, tokenizer, card, and the list of weight files."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from slack_ties.errors import CheckpointError, HubError
from slack_ties.files import any_matches
from slack_ties.hub.client import API_TIMEOUT, TransportError, is_server_fault
from slack_ties.hub.errors import hub_errors
from slack_ties.models.cached import find_in_cache, local_folder
from slack_ties.models.names import COMMIT, HUB_ID
from slack_ties.models.parent_card import ParentCard, read_parent_card
from slack_ties.models.text_files import VOCABULARY_FILES
from slack_ties.models.weight_index import Weights, choose_weights, find_weights
from slack_ties.private.huggingface_hub import no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Look", "descends", "look_at_model", "needs_code", "open_weights", "weights_on_hub"]

LOG = logging.getLogger("slack_ties")

# Text files of a checkpoint and of a LoRA adapter, in the root of the repository.
MOST_TEXT = 64_000_000  # bytes of a text file that is fetched to look at a model

# Those of them that say what a model is.
LOOKED_AT = (
    *("config.json", "generation_config.json", "adapter_config.json", "*.index.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.json", "*.jinja", "merges.txt", "README.md"),
    *VOCABULARY_FILES,
)

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")

MOST_GENERATIONS, MOST_PARENTS = 3, 4  # of models that a card says its own was made from

READ_AHEAD = 32 * 1024  # bytes fetched after what is read of a weight file on the Hub


@dataclass(frozen=True)
class Look:
    """What can be known of a model without its weights."""

    folder: Path  # holds its config, tokenizer and card, and the weights that are here
    path: str = ""  # as asked: a folder or a Hub id
    repo_id: str = ""  # on the Hub; another than `path` if the repository was renamed
    commit: str = ""  # of the Hub repository; empty for a local folder
    head: str = ""  # the commit that main is at, where `commit` is another and was asked for
    card: ParentCard = field(default_factory=ParentCard)
    gated: bool = False
    weights: Mapping[str, int] = field(default_factory=dict)  # file -> bytes
    missing: tuple[str, ...] = ()  # of these, what has to be downloaded
    note: str = ""  # what else lies there and is not read, for people
    chosen: Weights | None = None  # which of the Hub's files they are

    @property
    def download(self) -> int:
        """The bytes of weights that are not on this disk yet."""
        return sum(self.weights[name] for name in self.missing)


def look_at_model(
    path: str,
    revision: str | None = None,
    *,
    api: HfApi | None = None,
    cache: str | None = None,
) -> Look:
    """Return what is known of a model without its weights; of those only names and sizes.

    For a Hub id the small text files are downloaded, which also tells whether a gated model
    can be read. Arguments and errors as for `find_model`.
    """
    folder = local_folder(path, revision)
    if folder:
        found = find_weights(folder, path)
        there = [folder / file for file in (found.files if found else ())]
        return Look(
            folder,
            path,
            card=read_parent_card(folder),
            weights={file.name: file.stat().st_size for file in there if file.is_file()},
            note=found.note if found else "",
        )
    api = api or HfApi()
    what = f"model {path!r} (no folder of that name here)"
    with hub_errors(f"{what}, revision {revision!r}" if revision else what, api):
        try:
            info = api.model_info(path, revision=revision, files_metadata=True, timeout=API_TIMEOUT)
            main = info.sha
            if COMMIT.fullmatch(revision or ""):
                main = api.model_info(path, timeout=API_TIMEOUT).sha
        except (OfflineModeIsEnabled, TransportError, OSError) as error:
            if isinstance(error, HfHubHTTPError) and not is_server_fault(error):
                raise
            return _look_in_cache(path, revision, api, cache, error)
        texts = [
            file.rfilename
            for file in info.siblings or ()
            if any_matches([file.rfilename], LOOKED_AT)
            and "/" not in file.rfilename
            and (file.size or 0) <= MOST_TEXT
        ]
        snapshot = api.snapshot_download(
            path,
            revision=revision,
            cache_dir=cache,
            tqdm_class=no_progress(),
            allow_patterns=texts or ["config.json"],
        )
    commit = info.sha or ""
    folder = Path(str(snapshot))
    sizes = {
        file.rfilename: file.size or 0 for file in info.siblings or () if "/" not in file.rfilename
    }
    chosen = choose_weights(sizes, _reader_of(folder), path)
    weights = {name: sizes[name] for name in (chosen.files if chosen else ()) if name in sizes}
    if chosen and len(weights) < len(chosen.files):
        gone = next(name for name in chosen.files if name not in sizes)
        msg = f"model {path!r}: {gone} is not on {api.endpoint}, and {chosen.index} names it"
        raise CheckpointError(msg, hint="ask its authors for the whole model")
    return Look(
        folder,
        path,
        repo_id=info.id,
        commit=commit,
        head="" if main == commit else main or "",
        card=read_parent_card(folder),
        gated=bool(info.gated),
        weights=weights,
        missing=tuple(name for name in weights if not (folder / name).is_file()),
        note=chosen.note if chosen else "",
        chosen=chosen,
    )


def _reader_of(folder: Path) -> Callable[[str], str]:
    """Return what reads the text of a file in a folder."""
    return lambda name: (folder / name).read_text(encoding="utf-8")


def weights_on_hub(
    path: str, revision: str | None, names: list[str], api: HfApi, cache: str | None
) -> tuple[str, ...]:
    """Return the names of a model's weight files, of which an index on the Hub tells."""
    # Fetched first: what goes wrong with the Hub is no fault of the index.
    indexes = {
        name: Path(api.hf_hub_download(path, name, revision=revision, cache_dir=cache))
        for name in names
        if any_matches([name], INDEXES)
    }
    chosen = choose_weights(names, lambda name: indexes[name].read_text(encoding="utf-8"), path)
    return chosen.files if chosen else ()


def needs_code(
    path: str, revision: str | None, names: list[str], api: HfApi, cache: str | None
) -> bool:
    """Say whether a model names code of its own: its files belong to it. None of them is run."""
    for name in ("config.json", "tokenizer_config.json"):
        if name in names:
            found = api.hf_hub_download(path, name, revision=revision, cache_dir=cache)
            if '"auto_map"' in Path(found).read_text(encoding="utf-8", errors="replace"):
                return True
    return False


def _look_in_cache(
    path: str, revision: str | None, api: HfApi, cache: str | None, error: Exception
) -> Look:
    """Return the look at what the Hub cache holds; raise `error` if that is not enough."""
    cached = find_in_cache(path, revision, api, cache_dir=cache)
    if cached is None:
        if isinstance(error, OfflineModeIsEnabled):
            msg = f"model {path!r}: HF_HUB_OFFLINE is set, and the cache does not hold all of it"
            raise HubError(msg, hint=f"unset HF_HUB_OFFLINE once, or: hf download {path}") from None
        raise error
    if isinstance(error, OfflineModeIsEnabled):
        LOG.info("  %s is taken from the cache, as HF_HUB_OFFLINE says", path)
    else:
        LOG.warning("  %s cannot be reached: %s is taken from the cache", api.endpoint, path)
    look = look_at_model(str(cached.path))
    return replace(look, path=path, commit=cached.commit)


def descends(look: Look, base: Look, api: HfApi | None = None) -> bool:
    """Say whether a model's card names the base, or the card of a model that it names does.

    Reads metadata alone. A repository that was renamed counts by both names. What the Hub
    does not say is no error: then the weights have to tell.
    """
    api = api or HfApi()
    asked: set[str] = set()
    named, wanted = set(look.card.made_from), {base.path, base.repo_id}
    for _ in range(MOST_GENERATIONS):
        if wanted & named:
            return True
        new = sorted(named - asked)[:MOST_PARENTS]
        asked |= named
        for name in new:
            try:
                info = api.model_info(name, timeout=API_TIMEOUT)
            except (TransportError, OSError, ValueError, RuntimeError):
                continue
            named.add(info.id)
            stated = getattr(info.card_data, "base_model", None) or []
            several = stated if isinstance(stated, list) else [stated]
            named.update(one for one in several if isinstance(one, str) and HUB_ID.fullmatch(one))
    return bool(wanted & named)


def open_weights(look: Look, name: str, api: HfApi | None = None) -> IO[bytes]:
    """Open a weight file for reading here and there in it, on this disk or on the Hub.

    On the Hub each read fetches its bytes and some after them, never the whole file.
    """
    if name not in look.missing:
        return (look.folder / name).open("rb")
    api = api or HfApi()
    files = HfFileSystem(endpoint=api.endpoint, token=api.token)
    opened: IO[bytes] = files.open(
        f"{look.path}@{look.commit}/{name}", "rb", block_size=READ_AHEAD, cache_type="readahead"
    )
    return opened
