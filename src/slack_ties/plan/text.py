"""Write a plan as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slack_ties.errors import visible
from slack_ties.wording import parameter_count, size

if TYPE_CHECKING:
    from slack_ties.plan.plan import Plan, PlannedModel

__all__ = ["plan_as_text"]


def plan_as_text(plan: Plan) -> str:
    """Return the plan as text for people."""
    return "\n".join(map(visible, _lines(plan)))


def _lines(plan: Plan) -> list[str]:
    """Return the lines of the text."""
    languages = " and ".join(plan.languages)
    lines = [f"{plan.config}: {plan.method}{f' for {languages}' if languages else ''}", ""]
    for model in plan.models:
        lines += _model_text(model)
    if plan.models:
        lines.append("")
    files = f" of about {plan.parameters:,} parameters" if plan.parameters else ""
    rows = [
        ("Result", f"{plan.dtype}{files}, {size(plan.disk)}" if plan.dtype else ""),
        ("Vocabulary", plan.vocabulary),
        ("Chat", plan.chat),
        ("Licence", _license_text(plan) if plan.models else ""),
        ("Download", _download_text(plan)),
        ("Disk", f"{size(plan.disk)} of {size(plan.disk_free)} free here" if plan.models else ""),
        (
            "Memory",
            f"about {size(plan.memory)} of {size(plan.memory_free)} free here"
            if plan.models
            else "",
        ),
        (plan.device, f"at least {size(plan.device_memory)}" if plan.device_memory else ""),
    ]
    lines += [f"{name + ':':12}{text}" for name, text in rows if text]
    for title, found in (("Warnings", plan.warnings), ("Errors", [str(e) for e in plan.errors])):
        if found:
            lines += ["", f"{title}:", *(f"  - {line}" for line in found)]
    return lines


def _model_text(model: PlannedModel) -> list[str]:
    commit = " + ".join(c[:7] for c in model.commits if c)
    facts = [
        model.dtype,
        f"{parameter_count(model.parameters)} parameters",
        f"{model.format}, {size(model.bytes)}",
        model.license or "licence not stated",
    ]
    facts += ["gated, and you have access"] if model.gated else []
    if model.likeness and (model.likeness.change or "+" not in model.model):
        facts.append(f"similarity to the base {model.likeness.cosine:.2f} of 1")
    elif model.role not in ("", "base") and model.parents:
        facts.append(f"made from {', '.join(model.parents)}, by its card")
    name = f"{model.model.partition('@')[0]} at {commit}" if commit else model.model
    role = {"ct": "CT", "sft": "SFT"}.get(model.role, model.role or "model")
    lines = [f"{role:6}{name}", f"      {', '.join(filter(None, facts))}"]
    return [*lines, f"      adapter: {model.adapter}"] if model.adapter else lines


def _license_text(plan: Plan) -> str:
    if plan.license:
        return plan.license_reason
    return f"not known, so `publish` will need --license. {plan.license_reason}"


def _download_text(plan: Plan) -> str:
    if not plan.models:
        return ""
    if not any(any(model.commits) for model in plan.models):
        return "nothing: all models are folders here"
    here = sum(model.bytes - model.download for model in plan.models)
    if not plan.download and here:
        return f"nothing: {size(here)} are already here"
    return f"{size(plan.download)}{f', {size(here)} are already here' if here else ''}"
