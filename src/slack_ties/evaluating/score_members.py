"""Score the models of a merge, one after the other: only one of them is in memory at a time."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from slack_ties.config.methods import RANDOM
from slack_ties.errors import CheckpointError, OutputError
from slack_ties.evaluating.pace import Pace
from slack_ties.evaluation.scores import Evaluated
from slack_ties.harness.how import Loaded
from slack_ties.models.header import main_type
from slack_ties.models.headers import read_headers
from slack_ties.models.memory import bytes_in_memory, check_fits
from slack_ties.models.model_config import stored_dtype
from slack_ties.plan.room import cache_folder
from slack_ties.progress import Progress
from slack_ties.recipe.recipe import FACTS_KEY, RECIPE_VERSION
from slack_ties.running.models_of import MERGED, look_at_members
from slack_ties.running.run_models import folders_of, load_model, load_tokenizer, needs_code
from slack_ties.tokenizer.templates import read_template
from slack_ties.wording import counted, join_names, size

if TYPE_CHECKING:
    from pathlib import Path

    from slack_ties.harness.how import How
    from slack_ties.harness.tasks import LoadedTasks
    from slack_ties.merge.inputs import Found
    from slack_ties.models.look import Look
    from slack_ties.running.models_of import Member, Merge
    from slack_ties.settings import Settings

__all__ = ["Runner"]

LOG = logging.getLogger("slack_ties")

ALONE = "--alone  # without base, CT and SFT model"


class Runner:
    """Scores the models of a merge on tasks."""

    def __init__(
        self, what: str, merge: Merge, tasks: LoadedTasks, how: How, settings: Settings
    ) -> None:
        """Look at the models, and refuse those that are not there or do not fit in memory.

        Args:
            what: The merge, as the user named it.
            merge: What `merge_of` returned for it.
            tasks: The tasks, with their data.
            how: How to run the models.
            settings: The Hub client, the cache, and how a config is merged.

        Raises:
            SlackTiesError: A model is not there, or the Hub refuses it.
            CheckpointError: The weights of a model are larger than the free memory.

        """
        self.merge, self.tasks = merge, tasks
        self.how, self.settings = how, settings
        self.members = [one for one in merge.members if one.role]
        if unknown := [one.reference for one in merge.members if not one.role]:
            roles = f"{FACTS_KEY}: {{recipe: {RECIPE_VERSION}, roles: {{ct: [ID], sft: [ID]}}}}"
            left_out = "  %s left out: the config does not say which model is CT and which is SFT. "
            left_out += "To score them: add %s to %s"
            LOG.warning(left_out, join_names(unknown), roles, merge.recipe.where)
        self.again = shlex.join(["slack-ties", "evaluate", what])
        there = [one for one in self.members if one.reference]
        self.looks = self._look_at(there)
        for one, looks in self.looks.items():
            self._check(one, looks)
        self._check_room()
        self.found: Found | None = None  # the models of a config that is merged in memory
        self.plain = [one.role for one in there if how.chat_template and not self._template(one)]
        self.each = tasks.count_requests()  # requests of one model

    @property
    def names(self) -> list[str]:
        """The names of the models, as the scores have them."""
        return [self._name(one) for one in self.members]

    def announce(self) -> None:
        """Say what will be run, and what will be downloaded."""
        tasks = [f"{one.name} ({counted(one.items, 'item')})" for one in self.tasks.tasks]
        LOG.info("  %s: %s", counted(len(tasks), "task"), ", ".join(tasks))
        for one in self.members:
            missing = sum(look.download for look in self.looks.get(one, ()))
            download = f", {size(missing)} to download" if missing else ""
            template = ", without a chat template" if one.role in self.plain else ""
            LOG.info("  %-6s %s%s%s", one.label, self._name(one), download, template)
        requests = counted(self.each, "request")
        models = counted(len(self.members), "model")
        LOG.info("  %s on %s, %s to each", models, self.how.device, requests)

    def run(self) -> list[Evaluated]:
        """Return the scores of each model."""
        self._find_inputs()
        found = []
        for number, one in enumerate(self.members):
            LOG.info("[%d/%d] %s", number + 1, len(self.members), one.label)
            pace = Pace(self.each)
            found.append(self._score(one, number, pace))
            if said := pace.said(len(self.members) - number - 1):
                LOG.info("  %s", said)
        return found

    def _look_at(self, members: list[Member]) -> dict[Member, list[Look]]:
        """Return what is known of each model; of a folder that is gone say how to go on."""
        try:
            found = look_at_members(members, api=self.settings.api, cache=self.settings.cache)
        except CheckpointError as error:
            raise CheckpointError(str(error), hint=f"{self.again} {ALONE}") from None
        return dict(zip(members, found, strict=True))

    def _check(self, one: Member, looks: list[Look]) -> None:
        """Refuse a model without weights, with code, or one that does not fit in memory."""
        for look in looks:
            if not look.weights:
                msg = f"model {one.reference!r} has no weights"
                raise CheckpointError(msg, hint=f"{self.again} {ALONE}")
        if needs_code(looks[0].folder):
            msg = f"model {one.reference!r} runs only with code of its own, which is never run"
            raise CheckpointError(msg, hint=f"{self.again} {ALONE}" if one.role != MERGED else "")
        need = bytes_in_memory(looks, self.how.dtype)
        smaller = bytes_in_memory(looks, "bfloat16") < need
        hint = f"{self.again} --dtype bfloat16" if smaller else f"{self.again} --alone"
        check_fits(one.reference, need, self.how.device, hint=f"{hint}  # or a larger machine")

    def _check_room(self) -> None:
        """Refuse models that the disk has no room for."""
        missing = {look.path: look.download for looks in self.looks.values() for look in looks}
        needs, folder = sum(missing.values()), cache_folder(self.settings.cache)
        free = shutil.disk_usage(folder).free
        if needs > free:
            msg = f"the models that are not here take {size(needs)}, and {str(folder)!r} has "
            msg += f"{size(free)} free"
            raise OutputError(msg, hint="set HF_HUB_CACHE to a folder on a disk with more room")

    def _find_inputs(self) -> None:
        """Find the models of a config, and refuse a merge that is not possible or too large."""
        if not self.merge.is_config:
            return
        from slack_ties.merge.inputs import find_all  # noqa: PLC0415 - heavy
        from slack_ties.running.in_memory_model import check_memory  # noqa: PLC0415 - heavy

        self.found = find_all(self.merge.recipe, None, self.settings)
        check_memory(self.found)

    def _score(self, one: Member, number: int, pace: Pace) -> Evaluated:
        from slack_ties.harness.score import score_model  # noqa: PLC0415 - imports lm-eval

        model, content = self._load(one)
        how = replace(self.how, chat_template=False) if one.role in self.plain else self.how
        before, total = number * self.each, len(self.members) * self.each
        quiet = self.settings.quiet
        with Progress("answered", total, done=before, quiet=quiet, unit="requests") as progress:

            def keep(answers: int) -> None:
                pace.keep(answers)
                progress.skip(answers)

            scores = score_model(
                model,
                self.tasks,
                how=how,
                cache=_answers(content, how) if self._is_repeatable(one) else None,
                done=lambda answered: progress.at(before + answered),
                kept=keep,
            )
        looks = self.looks.get(one)
        commit = looks[0].commit if looks else ""
        return Evaluated(self._name(one), one.role, scores, commit, _type_of(model, how.dtype))

    def _load(self, one: Member) -> tuple[Path | Loaded, list[Path | str]]:
        """Return a model on this disk or in memory, and what its weights depend on."""
        how, settings = self.how, self.settings
        if not one.reference:
            from slack_ties.running.in_memory_model import load_merged  # noqa: PLC0415 - heavy

            assert self.found  # noqa: S101 - for mypy
            made = load_merged(
                self.merge.recipe,
                device=how.device,
                dtype=how.dtype,
                settings=settings,
                found=self.found,
            )
            places = [part.path for parts in self.found.snapshots.values() for part in parts]
            return made, [self.found.recipe.text, self._options(), *places]
        folders = folders_of(one.name(self.looks[one]), api=settings.api, cache=settings.cache)
        if len(folders) == 1:
            return folders[0], [*folders]
        tokenizer = load_tokenizer(folders[0], one.reference)
        model = load_model(folders, one.reference, device=how.device, dtype=how.dtype)
        return Loaded(model, tokenizer), [*folders]

    def _options(self) -> str:
        """Return the options that change what a config makes, such as the seed."""
        from slack_ties.merge.options import traced_options  # noqa: PLC0415 - heavy

        options = self.settings.options
        return json.dumps(traced_options(options), sort_keys=True) if options else "{}"

    def _is_repeatable(self, one: Member) -> bool:
        """Say whether the next run has the same model: not if a config draws without a seed."""
        options = self.settings.options
        seeded = options is not None and options.random_seed is not None
        return bool(one.reference) or seeded or self.merge.recipe.method not in RANDOM

    def _template(self, one: Member) -> bool:
        """Say whether a model has a chat template."""
        return bool(read_template(self.looks[one][0].folder))

    def _name(self, one: Member) -> str:
        if one.role == MERGED and not self.merge.commit:
            return self.merge.name
        return one.name(self.looks[one])


def _answers(content: list[Path | str], how: How) -> Path:
    """Return the file with the answers of a model, by what its weights depend on."""
    from slack_ties.harness.answers import answers_file, content_of  # noqa: PLC0415 - heavy

    if len(content) == 1:
        return answers_file(content[0], how)
    parts = [one if isinstance(one, str) else content_of(one) for one in content]
    return answers_file(json.dumps(parts), how)


def _type_of(model: Path | Loaded, dtype: str) -> str:
    """Return the type in which a model runs."""
    if isinstance(model, Loaded):
        return str(model.model.dtype).removeprefix("torch.")
    if dtype != "auto":
        return dtype
    return stored_dtype(model) or main_type(read_headers(model))
