"""Write a plan as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.config.methods import METHODS
from slack_ties.errors import visible
from slack_ties.plan.parameters import settings_text
from slack_ties.wording import join_names, parameter_count, size

if TYPE_CHECKING:
    from slack_ties.plan.plan import Plan, PlannedModel

__all__ = ["plan_as_text", "plan_in_short"]

MB = 1_000_000

TITLES = {"ct": "CT", "sft": "SFT", "": "model"}


def plan_as_text(plan: Plan) -> str:
    """Return the plan as text for people."""
    return "\n".join(map(visible, _lines(plan)))


def plan_in_short(plan: Plan) -> str:
    """Return what a plan without errors comes to, in one line."""
    rows = {name: text for name, text in _rows(plan) if text}
    facts = [f"result {rows['Result']}"] if "Result" in rows else []
    facts.append(f"licence {plan.license or 'not known'}")
    count = len(plan.warnings)
    facts.append(f"{count or 'no'} warning{'s' * (count != 1)}")
    return visible(f"{plan.config}: no errors; {'; '.join(facts)}")


def _lines(plan: Plan) -> list[str]:
    """Return the lines of the text."""
    languages = " and ".join(plan.languages)
    lines = [f"{plan.config}: {plan.method}{f' for {languages}' if languages else ''}", ""]
    for model in plan.models:
        lines += _model_text(model)
    if plan.models:
        lines.append("")
    lines += [f"{name + ':':12}{text}" for name, text in _rows(plan) if text]
    for title, found in (("Warnings", plan.warnings), ("Errors", [str(e) for e in plan.errors])):
        if found:
            lines += ["", f"{title}:", *(f"  - {line}" for line in found)]
    return lines


def _rows(plan: Plan) -> list[tuple[str, str]]:
    """Return the names of the rows, and what is known; an empty text leaves a row out."""
    files = f", about {plan.parameters:,} parameters" if plan.parameters else ""
    result = f"{plan.dtype}{files}, {size(plan.disk)}" if plan.dtype else ""
    if plan.dtype and "disk" in plan.unknown:
        result = f"{plan.dtype}; the size is not known: {plan.unknown['disk']}"
    memory = f"about {size(plan.memory)} of {size(plan.memory_free)} free here"
    stock = METHODS.get(plan.method) if plan.method != "slack_ties" else None
    if plan.no_download and plan.window:
        memory += f", {size(plan.window)} of it to read ahead (--window)"
    rows = [
        ("Method", "method", stock.formula if stock else ""),
        ("Parameters", "settings", settings_text(plan.settings)),
        ("Result", "dtype", result),
        ("Vocabulary", "vocabulary", plan.vocabulary),
        ("Chat", "chat", plan.chat),
        ("Licence", "license", _license_text(plan) if plan.models else ""),
        ("Download", "download", _download_text(plan)),
        ("Disk", "disk", _disk_text(plan) if plan.models else ""),
        ("Memory", "memory", memory if plan.models else ""),
        ("Checksums", "download", _checksums_text(plan) if plan.no_download else ""),
        ("Or", "memory", _other_way_text(plan)),
    ]
    if plan.device != "cpu":
        rows.append((plan.device, "device_memory", f"at least {size(plan.device_memory)}"))
    return [
        (name, f"not known: {plan.unknown[key]}" if key in plan.unknown else text)
        for name, key, text in rows
    ]


def _model_text(model: PlannedModel) -> list[str]:
    commit = " + ".join(c[:7] for c in model.commits if c)
    facts = [
        model.dtype,
        f"{parameter_count(model.parameters)} parameters" if model.parameters else "",
        f"{parameter_count(model.copied)} of them a copy of the embedding" if model.copied else "",
        f"{model.format}, {size(model.bytes)}" if model.format else "",
        model.license or "licence not stated",
    ]
    facts += ["gated, and you have access"] if model.gated else []
    if model.likeness and (model.likeness.change or "+" not in model.model):
        facts.append(f"similarity to the base {model.likeness.cosine:.2f} (1: equal, 0: unrelated)")
    elif model.role not in ("", "base") and model.parents:
        facts.append(f"made from {', '.join(model.parents)}, as its card says")
    name = f"{model.model.partition('@')[0]} at {commit}" if commit else model.model
    first, *others = [TITLES.get(role, role) for role in model.roles or (model.role,)]
    lines = [f"{first:6}{name}", f"      {', '.join(filter(None, facts))}"]
    lines += [f"      adapter: {model.adapter}"] if model.adapter else []
    for other in others:
        lines += [f"{other:6}{name}", "      the same model"]
    lines += [f"      {settings_text(one)}" for one in model.settings]
    return lines


def _license_text(plan: Plan) -> str:
    if plan.license:
        return plan.license_reason
    return f"not known, so `publish` will need --license. {plan.license_reason}"


def _disk_text(plan: Plan) -> str:
    without = plan.without_download if plan.no_download else {}
    cached = without.get("cache", 0) if plan.no_download else plan.download
    both = plan.one_disk and cached and "download" not in plan.unknown
    more = f", and {size(cached)} for the download," if both else ""
    streamed = without.get("streamed_disk", plan.disk)
    less = f" ({size(streamed)} with run --stream)" if streamed < plan.disk else ""
    return f"{size(plan.disk)}{less}{more} of {size(plan.disk_free)} free here"


def _download_text(plan: Plan) -> str:
    if not plan.models:
        return ""
    if not any(any(model.commits) for model in plan.models):
        return "nothing: all models are folders here"
    here = sum(model.bytes - model.download for model in plan.models)
    if not plan.download and here:
        return f"nothing: {size(here)} are already here"
    if plan.no_download:
        return _read_text(plan)
    text = f"{size(plan.download)}{f', {size(here)} are already here' if here else ''}"
    free = f" (the disk of the Hub cache has {size(plan.download_free)} free)"
    return text if plan.one_disk or not plan.download else text + free


def _read_text(plan: Plan) -> str:
    """Return what is read from the Hub without a download."""
    cached = plan.without_download.get("cache", 0)
    text = f"{size(cached)} for adapters, and models that these need whole" if cached else "none"
    read = size(plan.read)
    return f"{text}: {read} are read from the Hub as the merge needs them, and not kept here"


def _checksums_text(plan: Plan) -> str:
    """Return which files are compared with the Hub's checksums, without a download."""
    if not plan.not_compared:
        return "all files that are read from the Hub are compared with its checksums"
    larger = f"{-(-plan.window_for_all // MB)}M"
    by_model: dict[str, list[str]] = {}
    for one in sorted(plan.not_compared):
        model, _, file = one.rpartition(": ")
        by_model.setdefault(model, []).append(file)
    named = "; ".join(f"{join_names(files)} of {model}" for model, files in by_model.items())
    return f"not compared with the Hub's (they are with --window {larger}): {named}"


def _other_way_text(plan: Plan) -> str:
    """Return what the way of the merge that was not chosen needs."""
    if plan.no_download and plan.with_download:
        cost = plan.with_download
        result = cost["disk"] if plan.one_disk else 0
        if cost["cache"] + result > plan.download_free:
            return f"nothing else: there is no room here for the download of {size(cost['cache'])}"
        what = f"download {size(cost['cache'])} first (--download); besides that, "
    elif plan.without_download:
        cost = plan.without_download
        cached = cost["cache"] if plan.one_disk else 0
        if cost["disk"] + cached > plan.disk_free:
            return ""  # that does not fit either
        what = "read the models from the Hub without keeping them (--no-download): "
    else:
        return ""
    streamed = cost["streamed_disk"]
    less = f" ({size(streamed)} with run --stream)" if streamed < cost["disk"] else ""
    return f"{what}{size(cost['disk'])} of disk{less}, about {size(cost['memory'])} of memory"
