"""A hook of mkdocs: brings pages from outside docs/ into the site, and mends relative links.

A link is written as it works in the repository. On the site it leads to the page that is made of
that file. Where the site has no such page, the link becomes the file's path.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from gallery import pages as gallery_pages  # beside this file
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parent.parent
# Pages outside docs/, and their names on the site.
PAGES = {
    "README.md": "start.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "experiments/real/README.md": "experiment-real.md",
    "experiments/saturation/README.md": "experiment.md",
    "merge_configs/README.md": "merge_configs.md",
}
# Files outside docs/ that pages lead to, under the same names: configs as they are, cards as pages.
BESIDE = ("merge_configs/*.yml", "model_cards/*.md")
LANGUAGES = "languages/README.md"  # in the menu, the pages of all languages are under it
# A link or a picture with a relative target, outside of code.
CODE_OR_LINK = re.compile(
    r"^```.*?^```|<!--.*?-->|`[^`\n]+`(?!\])|(?P<link>\[(?P<text>[^\]]+)\]\((?![a-z]+:|#)(?P<target>[^)\s]+)\))",
    re.MULTILINE | re.DOTALL,
)


def on_config(config: Any) -> Any:
    """Put the pages of the languages into the menu, in the order of their table."""
    table = (Path(config.docs_dir) / LANGUAGES).read_text("utf-8")
    names = re.findall(r"^\| \[[^\]]+\]\(([^)/]+\.md)\)", table, re.MULTILINE)
    below = [LANGUAGES, *(f"languages/{name}" for name in names)]
    for section in config.nav:
        for items in section.values():
            if isinstance(items, list):
                items[:] = [{"Languages": below} if item == LANGUAGES else item for item in items]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside docs/, and those that are drawn from data."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text("utf-8")))
    for path in sorted(path for pattern in BESIDE for path in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        if name not in PAGES:
            text, not_in_menu = path.read_text("utf-8"), InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, name, content=text, inclusion=not_in_menu))
    for name, text in gallery_pages().items():
        files.append(File.generated(config, _drawn(f"gallery/{name}"), content=text))
    return files


def _drawn(path: str) -> str:
    """Return the page that is drawn from the data at a path; the path if it is no data."""
    return re.sub(r"^(gallery/.+)\.json\.gz$", r"\1.html", path)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Mend the relative links of a page."""
    del config
    name = page.file.src_uri
    if name.startswith("model_cards/"):
        page.meta["search"] = {"exclude": True}  # 62 that say nearly the same
    source = {of_site: path for path, of_site in PAGES.items()}.get(name, f"docs/{name}")

    def mended(found: re.Match[str]) -> str:
        if not found["link"]:
            return found[0]
        text, (path, _, anchor) = found["text"], found["target"].partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        where = PAGES.get(path) or PAGES.get(f"{path}/README.md") or path.removeprefix("docs/")
        where = _drawn(where)
        if files.get_file_from_path(where):
            link = posixpath.relpath(where, posixpath.dirname(name) or ".")
            return f"[{text}]({link}{'#' * bool(anchor)}{anchor})"
        if not os.path.exists(ROOT / path):  # noqa: PTH110 - mkdocs warns of it
            return found[0]
        bare = text.strip("`").removesuffix("/")
        return f"`{path}`" if path.endswith(bare) else f"{text} (`{path}`)"

    return CODE_OR_LINK.sub(mended, markdown)
