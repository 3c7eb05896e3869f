"""List the files of a model folder to upload, and refuse files that must not be uploaded.

This is fast: checksums of the weights are computed only when they are needed.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from typing import TYPE_CHECKING

from slack_ties.card.evaluation import RESULTS_FOLDER
from slack_ties.card.examples import EXAMPLES_FILE, examples_not_sent
from slack_ties.card.own_text import read_own_text
from slack_ties.card.repo_id import repo_id_of
from slack_ties.card.write import CARD_FILE
from slack_ties.errors import CheckpointError, OutputError
from slack_ties.evaluation.file import EVALUATION_FILE
from slack_ties.files import any_matches, as_pattern, git_hash, read_json, sha256, write_whole
from slack_ties.models.headers import read_headers
from slack_ties.models.text_files import ALWAYS, BESIDE, is_vocabulary
from slack_ties.publish.evaluated import not_sent
from slack_ties.publish.loads import check_config, check_loads
from slack_ties.publish.scan import find_private, find_secret, private_texts
from slack_ties.recipe.public import local_parts
from slack_ties.record import CONFIG_FILE, MergeRecord
from slack_ties.report.file import REPORT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from huggingface_hub import RepoFile

    from slack_ties.publish.scan import Private

__all__ = [
    "WEIGHT_FILES",
    "SentFile",
    "check_weights",
    "holds_tokens",
    "read_manifest",
    "with_planned",
]

WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin", "*.index.json")

# The files of a model: from transformers, mergekit and slack-ties, and pictures for the card.
PARTS = (
    *WEIGHT_FILES,
    *("config.json", *ALWAYS, *BESIDE, "tokenizer*", "vocab*", "chat_template*", "*.jinja"),
    *("README.md", "LICENSE*", "NOTICE*", "Notice*", "USE_POLICY*", CONFIG_FILE, "slack_ties.json"),
    *(
        EVALUATION_FILE,
        EXAMPLES_FILE,
        "report.json",
        "report.html",
        "*.png",
        "*.jpg",
        "*.jpeg",
        "*.svg",
        "*.webp",
        "*.gif",
    ),
)

CODE = "*.py"  # only for a model whose config says that it needs code

MORE_TOKENS = ("added_tokens.json", "merges.txt")  # files of a vocabulary, beside the main one


@dataclass(frozen=True)
class SentFile:
    """One file to upload, or that was uploaded."""

    name: str  # on the Hub
    size: int  # bytes
    path: Path | None = None  # on this disk; None if only the Hub has its content
    known: str = ""  # its SHA-256, if it is known already

    @cached_property
    def sha256(self) -> str:
        """The file's SHA-256, 64 hex digits."""
        return self.known or (sha256(self.path) if self.path else "")

    def is_same(self, there: RepoFile) -> bool:
        """Say whether the Hub's file has the same checksum."""
        if there.size != self.size:
            return False
        if there.lfs:
            return bool(there.lfs.sha256 == self.sha256)
        return self.path is not None and git_hash(self.path.read_bytes()) == there.blob_id


def read_manifest(
    folder: Path,
    record: MergeRecord,
    *,
    include: Iterable[str] = (),
    sent: Mapping[str, SentFile] | None = None,
    instead: Mapping[str, Path] | None = None,
) -> dict[str, SentFile]:
    """Return the files of `folder` to upload, by name.

    Hidden files are not uploaded, except results of evaluations. An evaluation of other weights is
    not uploaded.

    Args:
        folder: The folder that `merge_models` made.
        record: The record of that merge.
        include: Patterns of further files to upload that do not belong to a model.
        sent: Weight files that are on the Hub; `folder` has only their headers.
        instead: Files to send in place of those in `folder`, by name; see `public_files`.

    Raises:
        OutputError: A weight, config or tokenizer file is missing or damaged; or a file does not
            belong to a model, or contains a secret or something private.

    """
    again = f"merge again: slack-ties merge {shlex.quote(str(folder / CONFIG_FILE))} OUT"
    sent = sent or {}
    if record.files and not record.has_weights(folder):
        msg = f"{str(folder)!r} has no weights; if they were streamed, only the Hub has them"
        name = repo_id_of(folder)
        card = shlex.join(["hf", "upload", name, str(folder / CARD_FILE), CARD_FILE])
        get = shlex.join(["hf", "download", name, "--include", "*.safetensors"])
        get += shlex.join(["", "--local-dir", str(folder)]).removeprefix("''")
        hint = f"{card}  # uploads only the card; or download the weights: {get}"
        raise OutputError(msg, hint=hint)
    try:
        headers = read_headers(folder, str(folder), without_data=sent.keys())
    except CheckpointError as error:
        raise OutputError(str(error), hint=again) from None
    parameters = sum(header.size for header in headers.values())
    if parameters != record.parameters:
        msg = f"{str(folder)!r} contains {parameters:,} parameters, expected the "
        msg += f"{record.parameters:,} that were merged"
        raise OutputError(msg, hint=again)
    check_loads(folder, again)
    if sha256(folder / "config.json") != record.beside.get("config.json"):  # a person changed it
        check_config(folder, headers, again)
    _check_beside(folder, record, again)
    left_out = not_sent(folder, record) | examples_not_sent(folder, record)
    names = sorted(set(_names(folder)) - left_out)
    if record.files:
        _check_foreign(folder, names, {*record.files, *record.beside, *sent}, include)
    strays = [
        name
        for name in names
        if not _is_part(folder, name) and not any(fnmatch(name, pattern) for pattern in include)
    ]
    if strays:
        more = f" and {len(strays) - 1} more" if len(strays) > 1 else ""
        msg = f"{str(folder)!r} contains files that do not belong to a model: {strays[0]!r}{more}"
        pattern = shlex.quote(as_pattern(strays[0]))
        hint = f"move it elsewhere, or upload it too: --include {pattern}"
        raise OutputError(msg, hint=hint)
    paths = {name: (instead or {}).get(name, folder / name) for name in names}
    files = {name: SentFile(name, path.stat().st_size, path) for name, path in paths.items()}
    _check_texts(folder, files, private_texts(local_parts(record.parents)), include)
    return files | dict(sent)


def with_planned(
    files: Mapping[str, SentFile], planned: Mapping[str, str | None], folder: Path
) -> dict[str, SentFile]:
    """Return the files with those that publishing would write here first, or delete.

    Their texts are written into `folder`, to compare them with the Hub's.
    """
    found = {name: file for name, file in files.items() if planned.get(name, "") is not None}
    for name, text in planned.items():
        if text is not None:
            path = folder / name
            write_whole(path, text)
            found[name] = SentFile(name, path.stat().st_size, path)
    return dict(sorted(found.items()))


def check_weights(files: Mapping[str, SentFile], record: MergeRecord) -> None:
    """Refuse weights that changed after the merge; reads all weights.

    Raises:
        OutputError: A weight file changed; the text names it.

    """
    for name, merged in record.files.items():
        if name in files and files[name].sha256 != merged:
            path = files[name].path
            msg = f"{path} changed after the merge: its checksum differs from slack_ties.json"
            raise OutputError(msg, hint="merge again into another folder, and publish that")


def holds_tokens(name: str) -> bool:
    """Say whether a tokenizer reads its tokens from a file of this name."""
    return is_vocabulary(name) or name in MORE_TOKENS


def _check_foreign(
    folder: Path, names: Iterable[str], merged: set[str], include: Iterable[str]
) -> None:
    """Refuse weights and vocabularies that this merge did not make: a loader might take those."""
    has_tokenizer = any(map(is_vocabulary, merged))
    for name in names:
        what = "weights" if any_matches([name], WEIGHT_FILES) else ""
        if has_tokenizer and holds_tokens(name):
            what = "tokens"
        if what and name not in merged and not any_matches([name], tuple(include)):
            msg = f"{folder / name} holds {what} that this merge did not make: a loader could "
            msg += "take them for the model's"
            pattern = shlex.quote(as_pattern(name))
            hint = f"move it elsewhere, or upload it too: --include {pattern}"
            raise OutputError(msg, hint=hint)


def _names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        result = inside.parent.as_posix() == RESULTS_FOLDER and inside.suffix == ".yaml"
        if path.is_file() and (not hidden or result):
            yield inside.as_posix()


def _is_part(folder: Path, name: str) -> bool:
    if name.startswith(f"{RESULTS_FOLDER}/"):
        return True
    if fnmatch(name, CODE) and "/" not in name:
        return "auto_map" in read_json(folder / "config.json")
    return "/" not in name.removeprefix("images/") and any_matches(
        [name.removeprefix("images/")], PARTS
    )


def _check_beside(folder: Path, record: MergeRecord, again: str) -> None:
    """Refuse a model if a file of the merge is missing, or if its config of the merge changed.

    A user may change the other files, such as generation settings.
    """
    for name, merged in record.beside.items():
        path = folder / name
        if not path.is_file():
            msg = f"{path} is missing: the merge made it"
            raise OutputError(msg, hint=again)
        if name == CONFIG_FILE and sha256(path) != merged:
            msg = f"{path} changed after the merge: these weights were made with another config"
            raise OutputError(msg, hint=f"restore it, or {again}")


def _check_texts(
    folder: Path, files: Mapping[str, SentFile], private: Private, include: Iterable[str]
) -> None:
    """Refuse a file with a secret, or with private text unless the user asks to send the file."""
    for name, file in files.items():
        if file.path is None:
            continue
        if secret := find_secret(file.path):
            msg = f"{secret.where(folder / name)} seems to contain {secret.what}"
            raise OutputError(msg, hint="remove it; if it was ever published, revoke it first")
        if any_matches([name], tuple(include)):
            continue
        if found := find_private(file.path, private):
            msg = f"{found.where(folder / name)} contains {found.what}, and would be published"
            pattern = shlex.quote(as_pattern(name))
            hint = f"{_way_out(file, private)}, or send it as it is: --include {pattern}"
            raise OutputError(msg, hint=hint)


def _way_out(file: SentFile, private: Private) -> str:
    """Return how to get private text out of a file: by the command that made it, or by hand."""
    if file.path is None or file.path.name not in {CARD_FILE, REPORT_FILE}:
        return "delete it there"
    folder = shlex.quote(str(file.path.parent))
    if file.path.name == REPORT_FILE:
        return f"slack-ties report {folder}  # makes it again"
    own = read_own_text(file.path.read_text(encoding="utf-8", errors="replace"))
    typed = "\n".join([*own.places.values(), json.dumps(own.metadata, default=str)]).encode()
    if own.edited or any(pattern.search(typed) for _, pattern in private):
        return "delete it there"
    return f"slack-ties card {folder}  # writes it again"
