"""Write and read the record of a merge, OUT/slack_ties.json: for the card and to repeat a merge."""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from slack_ties.errors import OutputError, visible
from slack_ties.files import write_whole
from slack_ties.notebook import Shown, html_table
from slack_ties.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "CONFIG_FILE",
    "PINNED_ID",
    "RECORD_FILE",
    "MergeRecord",
    "Parent",
    "read_record",
    "record_from",
    "write_record",
]

WORD = re.compile(r"[\w.+-]*")

LICENSE_WORDS = re.compile(r"[^\x00-\x1f\x7f]{0,200}")

OPTION = re.compile(r"[\w.:/+-]*")

RECORDED_ID = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?", re.ASCII)

COMMIT = re.compile(r"[0-9a-f]{40}")

PINNED_ID = re.compile(RECORDED_ID.pattern + "@" + COMMIT.pattern, re.ASCII)

RECORD_FILE = "slack_ties.json"

CONFIG_FILE = "mergekit_config.yml"  # mergekit's name for it

RECORD_VERSION = 1  # raised when the meaning of a field changes


@dataclass(frozen=True)
class Parent:
    """One merged model."""

    model: str  # as the config names it
    role: str = ""  # base, ct or sft; empty if not known
    # The commit of the model on the Hub, and of its LoRA adapter; empty for local folders.
    commits: tuple[str, ...] = ()
    # From the model's card or the config: the Hub's id of a licence, another licence's name, or
    # the card's own words; empty if neither states it.
    license: str = ""
    adapter_license: str = ""
    made_from: tuple[str, ...] = ()  # Hub ids from its card
    datasets: tuple[str, ...] = ()  # Hub ids from its card
    texts: tuple[str, ...] = ()  # its files with licences and notices
    adapter_texts: tuple[str, ...] = ()  # its adapter's files with licences and notices
    # ID@COMMIT on the Hub of a folder, and of its adapter's folder, if the user said that
    hub: tuple[str, ...] = ()
    # Its weight files that were read from the Hub in pieces, so that their checksums could not be
    # compared with the Hub's.
    not_compared: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The model and its adapter: Hub ids without a revision, or folders."""
        if len(self.commits) == 1 and not self.commits[0]:
            return [self.model]  # a folder: its path may contain + and @
        return [part.partition("@")[0] for part in self.model.split("+")]

    def is_local(self, number: int) -> bool:
        """Say whether a part of `names` is a folder on this disk."""
        if self.commits:
            return not self.commits[number : number + 1] or not self.commits[number]
        # Of a model that mergekit merged, the commits are not known.
        path = self.names[number]
        return not RECORDED_ID.fullmatch(path) or os.path.exists(path)  # noqa: PTH110 - never raises

    @property
    def hub_ids(self) -> list[str]:
        """The Hub ids of the model and of its adapter; local folders are left out."""
        return [path for path, commit in zip(self.names, self.commits, strict=False) if commit]


@dataclass(frozen=True, repr=False)
class MergeRecord(Shown):
    """The record of one merge."""

    method: str
    dtype: str  # of the merged weights
    parameters: int  # the number of entries of all merged tensors
    parents: tuple[Parent, ...]
    versions: Mapping[str, str]  # of the packages that determine the bytes
    options: Mapping[str, Any] = field(default_factory=dict)  # mergekit's that are not defaults
    files: Mapping[str, str] = field(default_factory=dict)  # weight file -> SHA-256
    beside: Mapping[str, str] = field(default_factory=dict)  # config, tokenizer, ... -> SHA-256
    adopted: bool = False  # mergekit merged it without slack-ties: versions, options not known
    record: int = RECORD_VERSION

    def summary(self) -> str:
        """Return the method, the number of models, and the size."""
        models = counted(len(self.parents), "model")
        return f"{self.method} of {models}, {self.dtype}, {self.parameters:,} parameters"

    def rows(self) -> list[tuple[str, str]]:
        """Return what people want to know, each with a name."""
        models = [
            (one.role.upper() if one.role != "base" else one.role, _model_text(one))
            for one in self.parents
        ]
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        files = ", ".join(self.files)
        return [
            ("method", self.method),
            *((role or "model", text) for role, text in models),
            ("result", f"{self.dtype}, {self.parameters:,} parameters"),
            ("weights", files),
            ("options", " ".join(self.flags())),
            ("made by", versions),
        ]

    def as_text(self) -> str:
        """Return the rows as text."""
        return "\n".join(visible(f"{name + ':':9}{text}") for name, text in self.rows() if text)

    def as_html(self) -> str:
        """Return the rows as HTML."""
        return html_table((), [row for row in self.rows() if row[1]])

    def has_weights(self, folder: Path) -> bool:
        """Say whether weight files of the merge are in its folder: `run --stream` leaves none."""
        return any((folder / name).is_file() for name in self.files)

    def flags(self) -> list[str]:
        """Return the options as command-line options of `slack-ties merge` or `run`."""
        words: list[str] = []
        for name, value in sorted(self.options.items()):
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                words += [f"--{flag}", str(value)]
        return words


def _model_text(parent: Parent) -> str:
    """Return a model with its commits and its licence."""
    commits = [commit[:7] for commit in parent.commits if commit]
    name = f"{parent.model.partition('@')[0]} at {' + '.join(commits)}" if commits else parent.model
    return f"{name}, {parent.license}" if parent.license else name


def write_record(record: MergeRecord, folder: Path) -> None:
    """Write `record` into the model's folder."""
    text = json.dumps(asdict(record), indent=2, ensure_ascii=False)
    write_whole(folder / RECORD_FILE, f"{text}\n")


def read_record(folder: Path) -> MergeRecord:
    """Read the record of the model in `folder`.

    Raises:
        OutputError: There is no record, or slack-ties did not write it.

    """
    path = folder / RECORD_FILE
    if not folder.is_dir():
        msg = f"there is no folder {str(folder)!r}"
        raise OutputError(msg, hint="slack-ties merge CONFIG OUT  # makes a model's folder")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["record"] != RECORD_VERSION:
            msg = f"{path}: expected record version {RECORD_VERSION}, got {data['record']!r}"
            raise OutputError(msg, hint="pip install --upgrade slack-ties")
        return record_from(data)
    except FileNotFoundError:
        msg = f"{str(folder)!r} contains no {RECORD_FILE}: slack-ties did not merge this model"
        if (folder / CONFIG_FILE).is_file():
            hint = f"slack-ties card {shlex.quote(str(folder))}  # adopts a merge of mergekit"
            raise OutputError(msg, hint=hint) from None
        msg += f", and mergekit wrote no {CONFIG_FILE}, which says what was merged"
        raise OutputError(msg, hint="slack-ties merge CONFIG OUT") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{path}: damaged: {error!r}"
        raise OutputError(msg, hint="slack-ties merge CONFIG OUT  # merges again") from None


def record_from(data: Mapping[str, Any]) -> MergeRecord:
    """Return the record in what JSON holds of it.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is none.

    """
    parents = (Parent(**_with_tuples(parent)) for parent in data["parents"])
    return _checked(MergeRecord(**{**data, "parents": tuple(parents)}))


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with tuples instead of JSON's lists."""
    return {key: tuple(one) if isinstance(one, list) else one for key, one in fields.items()}


def _checked(record: MergeRecord) -> MergeRecord:
    """Refuse values that are unsafe in a card or a shell: the file is not trusted."""
    texts = [record.method, record.dtype]
    texts += [text for p in record.parents for text in (p.model, p.role, p.license, *p.commits)]
    words = [word for pair in record.versions.items() for word in pair]
    words += [*record.options, *record.files, *record.files.values()]
    words += [*record.beside, *record.beside.values()]
    words += [record.method, record.dtype, *(p.role for p in record.parents)]
    words += [name for p in record.parents for name in (*p.texts, *p.adapter_texts)]
    words += [name for p in record.parents for name in p.not_compared]
    licenses = [text for p in record.parents for text in (p.license, p.adapter_license)]
    values = [value for value in record.options.values() if isinstance(value, str)]
    ids = [name for p in record.parents for name in (*p.made_from, *p.datasets)]
    ids += [name for p in record.parents for name in p.hub_ids if isinstance(p.model, str)]
    wrong = type(record.parameters) is not int or type(record.adopted) is not bool
    if wrong or not all(isinstance(text, str) for text in texts):
        msg = "a field has the wrong type"
        raise TypeError(msg)
    if not all(isinstance(text, str) and LICENSE_WORDS.fullmatch(text) for text in licenses):
        msg = "a licence is not one line of text"
        raise ValueError(msg)
    if not all(isinstance(word, str) and WORD.fullmatch(word) for word in words):
        msg = "a name or version contains an invalid character"
        raise ValueError(msg)
    if not all(OPTION.fullmatch(value) for value in values) or any(
        isinstance(value, (list, dict)) for value in record.options.values()
    ):
        msg = "an option contains an invalid character"
        raise ValueError(msg)
    if not all(isinstance(name, str) and RECORDED_ID.fullmatch(name) for name in ids):
        msg = "a Hub id is not valid"
        raise ValueError(msg)
    if not all(not name or PINNED_ID.fullmatch(name) for p in record.parents for name in p.hub):
        msg = "a Hub id with a commit is not valid"
        raise ValueError(msg)
    if any(commit and not COMMIT.fullmatch(commit) for p in record.parents for commit in p.commits):
        msg = "a commit is not a 40-digit hash"
        raise ValueError(msg)
    return record
