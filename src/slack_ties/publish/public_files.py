"""Make the published form of the files that name the merged models: no folder of this disk."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from slack_ties.evaluation.file import EVALUATION_FILE, write_evaluation
from slack_ties.files import sha256
from slack_ties.publish.evaluated import public_evaluation
from slack_ties.recipe.pin import rename_models
from slack_ties.recipe.public import as_published, published_names
from slack_ties.recipe.read import read_recipe
from slack_ties.record import CONFIG_FILE, MergeRecord, write_record
from slack_ties.report.file import REPORT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["public_files"]


@contextmanager
def public_files(folder: Path, record: MergeRecord) -> Iterator[dict[str, Path]]:
    """Yield the files to publish in place of those in `folder`, by name; none if all is public.

    They are in a temporary folder: the files of `folder` keep the paths, to repeat the merge here.

    Args:
        folder: The merged model.
        record: Its record.

    Raises:
        SlackTiesError: The config in `folder` cannot be read.

    """
    names = {old: new for old, new in published_names(record.parents).items() if old != new}
    evaluation = public_evaluation(folder, record)
    if not (names or evaluation):
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="slack-ties-") as name:
        made = Path(name)
        if names:
            _write_public(folder, record, names, made)
        if evaluation:
            write_evaluation(evaluation, made / EVALUATION_FILE)
        yield {path.name: path for path in made.iterdir()}


def _write_public(folder: Path, record: MergeRecord, names: Mapping[str, str], made: Path) -> None:
    """Write config, record and report with the models' published names into the folder `made`."""
    recipe = rename_models(read_recipe(folder / CONFIG_FILE), names)
    (made / CONFIG_FILE).write_bytes(recipe.text.encode())
    public = as_published(record)
    if CONFIG_FILE in public.beside:
        sums = {**public.beside, CONFIG_FILE: sha256(made / CONFIG_FILE)}
        public = replace(public, beside=sums)
    write_record(public, made)
    if (folder / REPORT_FILE).is_file():
        text = (folder / REPORT_FILE).read_text(encoding="utf-8")
        for old, new in names.items():
            for written in (json.dumps(old), json.dumps(old, ensure_ascii=False)):
                text = text.replace(written, json.dumps(new))
        (made / REPORT_FILE).write_bytes(text.encode())
