"""Read and write chat templates: those of model folders, and those that mergekit contains."""

from __future__ import annotations

from pathlib import Path

from slack_ties.files import json_text, read_json, write_all
from slack_ties.private.mergekit import data_folder

__all__ = ["named_template", "read_template", "set_template", "template_names"]


def set_template(out: Path, template: str) -> None:
    """Set the chat template of the merged model's tokenizer; replace the old one if any."""
    files = {out / "chat_template.jinja": template}
    settings = read_json(out / "tokenizer_config.json")
    if settings.pop("chat_template", None) is not None:
        files[out / "tokenizer_config.json"] = json_text(settings)
    write_all(files, removed=[out / "chat_template.json"])


def named_template(name: str) -> str | None:
    """Return mergekit's chat template of that name; None if there is none."""
    if name not in template_names():
        return None
    return (data_folder("chat_templates") / f"{name}.jinja").read_text(encoding="utf-8")


def template_names() -> list[str]:
    """Return the names of mergekit's chat templates."""
    return sorted(path.stem for path in data_folder("chat_templates").glob("*.jinja"))


def read_template(folder: Path) -> str:
    """Return the chat template in a folder, from any of its possible files; "" if none."""
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        pass
    stated = read_json(folder / "tokenizer_config.json").get("chat_template") or read_json(
        folder / "chat_template.json"
    ).get("chat_template")
    if isinstance(stated, list):  # several, by name
        named = {t.get("name"): t.get("template") for t in stated if isinstance(t, dict)}
        stated = named.get("default")
    return stated if isinstance(stated, str) else ""
