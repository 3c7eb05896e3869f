"""Find a model: a local folder as it is, a Hub id as a snapshot at one commit.

Only the files that a merge needs are downloaded: weights in one format, config and
tokenizer, and the card for its licence.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any

from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

from slack_ties.errors import CheckpointError, HubError, NotOnHubError
from slack_ties.intact import check_download, stated_sums
from slack_ties.parent_card import LICENSE_FILES, MOST_CARD, ParentCard, read_parent_card
from slack_ties.tokenizer_files import CODE_FILES, VOCABULARY_FILES
from slack_ties.weight_index import Weights, choose_weights, find_weights

__all__ = [
    "BusyError",
    "Look",
    "Snapshot",
    "any_matches",
    "descends",
    "find_model",
    "first_line",
    "hub_error",
    "hub_errors",
    "is_server_fault",
    "look_at_model",
    "open_weights",
    "split_reference",
]

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
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
TEXT_FILES = ("*.json", "*.jinja", "merges.txt", "README.md", *VOCABULARY_FILES, *LICENSE_FILES)
MOST_GENERATIONS, MOST_PARENTS = 3, 4  # of models that a card says its own was made from
READ_AHEAD = 32 * 1024  # bytes fetched after what is read of a weight file on the Hub
API_TIMEOUT = 30.0  # seconds; the client has none of its own for API calls

# As hf_xet says it, in errors of Python's own types.
XET_STATUS = re.compile(r"HTTP status (?:client|server) error \((\d{3}) ([\w -]+)\)")

LOGIN = "hf auth login  (or set HF_TOKEN to a token with write access)"

LOG = logging.getLogger("slack_ties")

# httpx.HTTPError in huggingface_hub 1, httpx2.HTTPError in 2: what the client raises when
# a connection is refused or breaks.
TransportError: type[Exception] = HfHubHTTPError.__mro__[1]


class BusyError(TransportError):  # type: ignore[misc, valid-type]
    """The Hub is doing something else with a repository; the client would ask without end."""


CLIENT_ERRORS = (TransportError, OSError, RuntimeError, ValueError)


class _Silent(tqdm):
    """No progress of small files."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **{**named, "disable": True})  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Snapshot:
    """A model on this disk."""

    path: Path
    commit: str = ""  # of the Hub repository, 40 hex digits; empty for a local folder
    card: ParentCard = field(default_factory=ParentCard)


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


def split_reference(reference: str) -> list[tuple[str, str | None]]:
    """Split mergekit's path[@revision][+lora[@revision]] into (path, revision) pairs."""
    try:
        if Path(reference).is_dir():  # also a folder with @ or + in its path
            return [(reference, None)]
    except (OSError, ValueError):  # too long, or a NUL: find_model says so
        pass
    return [(p, r or None) for p, _, r in (x.partition("@") for x in reference.split("+"))]


def find_model(
    path: str,
    revision: str | None = None,
    *,
    api: HfApi | None = None,
    cache: str | None = None,
    code: bool = False,
) -> Snapshot:
    """Return the folder `path`, or a snapshot of the Hub model of that id.

    A Hub id that is a folder here is that folder, as for mergekit and transformers, unless
    a revision is asked for.
    Without network a snapshot in the Hub cache is used if there is one.

    Args:
        path: A folder, or an id on the Hub.
        revision: A branch, tag or commit of the Hub's; main if not given.
        api: The Hub client; the default one if not given.
        cache: Where to keep what is downloaded; the Hub's own cache if not given.
        code: Fetch Python files as well, for models that cannot do without.

    Raises:
        CheckpointError: `path` can only be a local folder, and it is not there.
        HubError: The model cannot be had from the Hub.

    """
    folder = _local_folder(path, revision)
    if folder:
        return Snapshot(folder, card=read_parent_card(folder))
    api = api or HfApi()
    what = f"model {path!r} (no folder of that name here)"
    with hub_errors(f"{what}, revision {revision!r}" if revision else what, api):
        try:
            info = api.model_info(path, revision=revision, files_metadata=True, timeout=API_TIMEOUT)
        except (OfflineModeIsEnabled, TransportError, OSError) as error:
            if isinstance(error, HfHubHTTPError) and not is_server_fault(error):
                raise
            cached = _cached(path, revision, api, cache_dir=cache)
            if cached is None:
                raise
            check_download(path, cached.path, cache=cache)
            return cached  # `look_at_model` has said so
        names = [one.rfilename for one in info.siblings or () if "/" not in one.rfilename]
        weights = _weights_on_hub(path, revision, names, api, cache)
        # By the name of the revision, not by info.sha: so the cache learns what it is at,
        # and serves it when there is no network.
        code = code or _needs_code(path, revision, names, api, cache)
        wanted = _only(weights, CODE_FILES if code else ())
        wanted["ignore_patterns"] += [
            file.rfilename
            for file in info.siblings or ()
            if file.rfilename in LICENSE_FILES and (file.size or 0) > MOST_CARD
        ]
        found = Path(str(api.snapshot_download(path, revision=revision, cache_dir=cache, **wanted)))
        # What main is at may have changed since.
        sums = stated_sums(info) if found.name == info.sha else None
        check_download(path, found, _wanted(sums, wanted), cache=cache, api=api)
    return _snapshot(found)


def _local_folder(path: str, revision: str | None = None) -> Path | None:
    """Return the folder that `path` names; None if it can only be a Hub id."""
    if revision and HUB_ID.fullmatch(path) and not path.startswith("."):
        return None  # a folder has no revisions
    try:
        folder = Path(path).expanduser()
        there = folder.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no such user, too long, a NUL
        msg = f"model folder {path[:100]!r}: {error}"
        raise CheckpointError(msg) from None
    if folder.is_dir():
        return folder
    if there or not HUB_ID.fullmatch(path) or path.startswith("."):
        what = "is a file" if there else "is not there"
        msg = f"model folder {path!r} {what}, expected a folder with config.json and weights"
        raise CheckpointError(msg)
    return None


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
    folder = _local_folder(path, revision)
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
            tqdm_class=_Silent,
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


def _weights_on_hub(
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


def _needs_code(
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
    cached = _cached(path, revision, api, cache_dir=cache)
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


def _only(weights: tuple[str, ...], more: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the arguments that choose these weights and the texts, in the root alone."""
    literal = [re.sub(r"([*?[])", r"[\1]", name) for name in weights]
    return {"allow_patterns": [*TEXT_FILES, *more, *literal], "ignore_patterns": ["*/*"]}


def _wanted(sums: Mapping[str, str] | None, wanted: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the checksums of the files that are downloaded; others may be in the cache."""
    if sums is None:
        return None
    return {
        name: one
        for name, one in sums.items()
        if "/" not in name and any_matches([name], tuple(wanted["allow_patterns"]))
    }


def any_matches(names: list[str], patterns: tuple[str, ...]) -> bool:
    """Say whether one of the file names fits one of the patterns."""
    return any(fnmatch(name, pattern) for name in names for pattern in patterns)


def _snapshot(folder: Path) -> Snapshot:
    """Return a folder of the Hub cache, which is named after its commit."""
    return Snapshot(folder, commit=folder.name, card=read_parent_card(folder))


@contextmanager
def hub_errors(what: str, api: HfApi) -> Iterator[None]:
    """Turn whatever the Hub client raises into one HubError about `what`."""
    try:
        yield
    except CLIENT_ERRORS as error:
        raise hub_error(what, api, error) from None


def hub_error(what: str, api: HfApi, error: Exception) -> HubError:  # noqa: C901, PLR0911 - one per kind
    """Return what the Hub client raised as an error about `what`, with what to do next."""
    login = "hf auth login  (or set HF_TOKEN)"
    if isinstance(error, GatedRepoError):
        msg = f"{what}: access is gated, and the present token has none"
        return HubError(msg, hint="ask for access on the model's Hub page, then: hf auth login")
    if isinstance(error, RepositoryNotFoundError):
        msg = f"{what}: not found on {api.endpoint}, or private and the present token cannot see it"
        return NotOnHubError(msg, hint=f"check the spelling; if it is private: {login}")
    if isinstance(error, LocalEntryNotFoundError):
        return _unreachable(what, api, error)
    if isinstance(error, (RevisionNotFoundError, EntryNotFoundError)):
        missing = "revision" if isinstance(error, RevisionNotFoundError) else "file"
        msg = f"{what}: {api.endpoint} has no such {missing}"
        return NotOnHubError(msg, hint="look at the model's files and commits on the Hub")
    if isinstance(error, HfHubHTTPError):
        return _refused(what, api, error)
    if isinstance(error, HFValidationError):
        msg = f"{what}: {first_line(error)}"
        return HubError(msg, hint="a Hub id looks like NAME or OWNER/NAME")
    if isinstance(error, OfflineModeIsEnabled):
        msg = f"{what}: HF_HUB_OFFLINE is set, and this needs the Hub"
        return HubError(msg, hint="unset HF_HUB_OFFLINE, or work on local folders")
    if status := XET_STATUS.search(str(error)):
        return _refused_with(what, api, int(status[1]), status[2])
    if isinstance(error, BusyError):
        msg = f"{what}: {api.endpoint} is busy with another operation on it"
        return HubError(msg, hint="try again in a minute")
    if isinstance(error, (TransportError, ConnectionError)):
        return _unreachable(what, api, error)
    if isinstance(error, json.JSONDecodeError):
        msg = f"{what}: {api.endpoint} answers with something else than a Hub does"
        return HubError(msg, hint="is HF_ENDPOINT right, or does a proxy or login page answer?")
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, CLIENT_ERRORS):
        return hub_error(what, api, error.__cause__)  # of an upload, which names the file before
    # the cache's disk, or a transfer given up
    msg = f"{what}: {first_line(error)}"
    return HubError(msg, hint="run the same command again: what is complete is kept")


def _refused(what: str, api: HfApi, error: HfHubHTTPError) -> HubError:
    said = error.server_message or first_line(error)
    return _refused_with(what, api, error.response.status_code, said)


def _refused_with(what: str, api: HfApi, status: int, said: str) -> HubError:
    if status == 401:  # noqa: PLR2004 - HTTP
        return HubError(f"{what}: {api.endpoint} does not accept the present token", hint=LOGIN)
    if status == 403:  # noqa: PLR2004 - HTTP
        return HubError(f"{what}: the present token is not allowed to do this", hint=LOGIN)
    hint = "try again later; if it stays, ask those who run that Hub"
    return HubError(f"{what}: {api.endpoint} answered {status}: {said}", hint=hint)


def _unreachable(what: str, api: HfApi, error: Exception) -> HubError:
    if "Timeout" in type(error).__name__:
        msg = f"{what}: {api.endpoint} did not answer in time"
        return HubError(msg, hint="try again later, or wait longer with --timeout SECONDS")
    msg = f"{what}: cannot reach {api.endpoint}: {first_line(error)}"
    return HubError(msg, hint="check the network (merging local folders needs none)")


def is_server_fault(error: HfHubHTTPError) -> bool:
    """Say whether the Hub is to blame or busy, so that asking again may help."""
    return error.response.status_code >= 500 or error.response.status_code == 429  # noqa: PLR2004 - HTTP


def first_line(error: Exception) -> str:
    """Return the first line of a message: the client's go on with request ids and links."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _cached(
    path: str, revision: str | None, api: HfApi, *, cache_dir: str | None
) -> Snapshot | None:
    """Return what the Hub cache holds, if it is complete."""
    try:
        found = api.snapshot_download(
            path, revision=revision, cache_dir=cache_dir, local_files_only=True, **_only(())
        )
    except (LocalEntryNotFoundError, OSError):
        return None
    folder = Path(str(found))
    weights = find_weights(folder, path)
    if weights and all((folder / name).is_file() for name in weights.files):
        return _snapshot(folder)
    return None
