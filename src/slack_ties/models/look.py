"""Look at a model without its weights: config, tokenizer, card, and the list of weight files."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import OfflineModeIsEnabled

from slack_ties.errors import CheckpointError, HubError
from slack_ties.files import any_matches
from slack_ties.hub.client import CLIENT_ERRORS
from slack_ties.hub.ranges import HubFile, Ranges
from slack_ties.hub.retries import READING, Retries
from slack_ties.models.cached import find_in_cache, local_folder
from slack_ties.models.download import fetch_files, files_of
from slack_ties.models.hub_info import AWAY, ask_hub, is_away, model_errors, named
from slack_ties.models.names import COMMIT, HUB_ID
from slack_ties.models.parent_card import ParentCard, read_parent_card
from slack_ties.models.text_files import VOCABULARY_FILES
from slack_ties.models.weight_index import Weights, choose_weights, find_weights
from slack_ties.private.hub_cache import blobs_folder
from slack_ties.private.huggingface_hub import no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

__all__ = ["Look", "descends", "look_at_model", "needs_code", "open_weights", "weights_on_hub"]

LOG = logging.getLogger("slack_ties")

# The text files of a model or a LoRA adapter that describe it, in the root of the repository.
LOOKED_AT = (  # each up to LARGEST_TEXT
    *("config.json", "generation_config.json", "adapter_config.json", "*.index.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.json", "*.jinja", "merges.txt", "README.md"),
    *VOCABULARY_FILES,
)

LARGEST_TEXT = 64_000_000  # bytes of a text file that is downloaded to look at a model

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")

MOST_GENERATIONS, MOST_PARENTS = 3, 4  # to follow from card to card


@dataclass(frozen=True)
class Look:
    """All that is known about a model without its weights."""

    folder: Path  # holds config, tokenizer and card, and the weights that are on this disk
    path: str = ""  # as the caller gave it: a folder or a Hub id
    repo_id: str = ""  # on the Hub; differs from `path` if the repository was renamed
    commit: str = ""  # of the Hub repository; empty for a local folder
    head: str = ""  # main's commit, if the caller asked for another commit
    card: ParentCard = field(default_factory=ParentCard)
    gated: bool = False
    weights: Mapping[str, int] = field(default_factory=dict)  # file -> bytes
    missing: tuple[str, ...] = ()  # the weight files that are not on this disk
    note: str = ""  # for people: weight files that are there but not read
    chosen: Weights | None = None  # the weight files, chosen from the Hub's list
    checksums: Mapping[str, str] = field(default_factory=dict)  # weight file on the Hub -> SHA-256

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
    retries: Retries = READING,
) -> Look:
    """Return all that is known about a model without its weights, but with their names and sizes.

    The small text files of a Hub model are downloaded. This also shows whether the user may read
    a gated model. Arguments and errors as for `find_model`.
    """
    folder = local_folder(path, revision)
    if folder:
        found = find_weights(folder, path)
        weights_here = [folder / file for file in (found.files if found else ())]
        return Look(
            folder,
            path,
            card=read_parent_card(folder),
            weights={file.name: file.stat().st_size for file in weights_here if file.is_file()},
            note=found.note if found else "",
        )
    api = api or HfApi()
    with model_errors(path, revision, api):
        try:
            info = ask_hub(path, revision, retries, api)
            main = info.sha
            if COMMIT.fullmatch(revision or ""):
                main = retries.ask(lambda: api.model_info(path)).sha
        except AWAY as error:
            if not is_away(error):
                raise
            return _look_in_cache(path, revision, api, cache, error)
        texts = [
            file.rfilename
            for file in info.siblings or ()
            if any_matches([file.rfilename], LOOKED_AT)
            and "/" not in file.rfilename
            and (file.size or 0) <= LARGEST_TEXT
        ]
        files = files_of(info)
        fetch_files(
            path,
            {name: files[name] for name in texts},
            commit=info.sha or "",
            what=named(path, revision),
            cache=cache,
            retries=retries,
            api=api,
        )
        snapshot = retries.ask(
            lambda: api.snapshot_download(
                path,
                revision=revision,
                cache_dir=cache,
                tqdm_class=no_progress(),
                allow_patterns=texts or ["config.json"],
            )
        )
    commit = info.sha or ""
    folder = Path(str(snapshot))
    sizes = {name: length for name, (length, _) in files.items()}
    chosen = choose_weights(sizes, _reader_of(folder), path)
    _check_there(chosen, sizes, path, api)
    weights = {name: sizes[name] for name in (chosen.files if chosen else ())}
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
        checksums={name: checksum for name, (_, checksum) in files.items() if name in weights},
    )


def _check_there(chosen: Weights | None, names: Collection[str], path: str, api: HfApi) -> None:
    """Refuse a model whose index names a file that its repository lacks."""
    gone = next((name for name in (chosen.files if chosen else ()) if name not in names), "")
    if chosen and gone:
        msg = f"model {path!r}: {gone} is not on {api.endpoint}, but {chosen.index} names it"
        raise CheckpointError(msg, hint="ask the authors for the missing file")


def _reader_of(folder: Path) -> Callable[[str], str]:
    """Return a function that reads the text of a file in a folder."""
    return lambda name: (folder / name).read_text(encoding="utf-8")


def weights_on_hub(
    path: str, revision: str | None, names: list[str], api: HfApi, cache: str | None
) -> tuple[str, ...]:
    """Return the names of a model's weight files on the Hub, from its index if it has one.

    Raises:
        CheckpointError: The index is damaged, or names a file that is not on the Hub.

    """
    # Download all indexes first: an error of the Hub must not look like a damaged index.
    indexes = {
        name: Path(api.hf_hub_download(path, name, revision=revision, cache_dir=cache))
        for name in names
        if any_matches([name], INDEXES)
    }
    chosen = choose_weights(names, lambda name: indexes[name].read_text(encoding="utf-8"), path)
    _check_there(chosen, names, path, api)
    return chosen.files if chosen else ()


def needs_code(
    path: str, revision: str | None, names: list[str], api: HfApi, cache: str | None
) -> bool:
    """Say whether a model's config names Python files of its own. No code is run."""
    for name in ("config.json", "tokenizer_config.json"):
        if name in names:
            found = api.hf_hub_download(path, name, revision=revision, cache_dir=cache)
            if '"auto_map"' in Path(found).read_text(encoding="utf-8", errors="replace"):
                return True
    return False


def _look_in_cache(
    path: str, revision: str | None, api: HfApi, cache: str | None, error: Exception
) -> Look:
    """Look at the model in the Hub cache; raise `error` if the model is not complete there."""
    cached = find_in_cache(path, revision, api, cache_dir=cache)
    if cached is None:
        if isinstance(error, OfflineModeIsEnabled):
            kept = blobs_folder(cache or constants.HF_HUB_CACHE, path).parent.is_dir()
            what = "the model in the cache is not complete" if kept else "it is not in the cache"
            msg = f"model {path!r}: HF_HUB_OFFLINE is set, and {what}"
            raise HubError(msg, hint="unset HF_HUB_OFFLINE") from None
        raise error
    if isinstance(error, OfflineModeIsEnabled):
        LOG.info("  %s is read from the cache, because HF_HUB_OFFLINE is set", path)
    else:
        LOG.warning("  %s cannot be reached: %s is read from the cache", api.endpoint, path)
    look = look_at_model(str(cached.path))
    return replace(look, path=path, commit=cached.commit)


def descends(look: Look, base: Look, api: HfApi | None = None) -> bool:
    """Say whether a model's card names the base, directly or through the cards of its parents.

    Reads metadata only. A renamed repository matches by both names. A card that cannot be read is
    skipped without an error: the weights can still show a common base.
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
                info = READING.ask(partial(api.model_info, name))
            except CLIENT_ERRORS:
                continue
            named.add(info.id)
            stated = getattr(info.card_data, "base_model", None) or []
            several = stated if isinstance(stated, list) else [stated]
            named.update(one for one in several if isinstance(one, str) and HUB_ID.fullmatch(one))
    return bool(wanted & named)


def open_weights(look: Look, name: str, api: HfApi | None = None) -> IO[bytes]:
    """Open a weight file, on this disk or on the Hub, to read parts of it.

    On the Hub each read downloads its bytes and some after them, never the whole file.

    Raises:
        HubError: The Hub cannot be reached, refuses, or cannot send a part of a file; also when
            the file is read.

    """
    if name not in look.missing:
        return (look.folder / name).open("rb")
    checksum = look.checksums.get(name, "")
    file = HubFile(look.path, look.commit, name, look.weights[name], checksum)
    return Ranges(api=api or HfApi(), retries=READING).open(file)
