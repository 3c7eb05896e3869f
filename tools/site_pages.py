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

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
# Pages outside docs/, and their names on the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "experiments/real/README.md": "experiment-real.md",
    "experiments/saturation/README.md": "experiment.md",
    "merge_configs/README.md": "merge_configs.md",
}
# A link or a picture with a relative target, outside of code.
CODE_OR_LINK = re.compile(
    r"^```.*?^```|<!--.*?-->|`[^`\n]+`(?!\])|(?P<link>\[(?P<text>[^\]]+)\]\((?![a-z]+:|#)(?P<target>[^)\s]+)\))",
    re.MULTILINE | re.DOTALL,
)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside docs/."""
    for path, page in PAGES.items():
        text = (ROOT / path).read_text("utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Mend the relative links of a page."""
    del config
    name = page.file.src_uri
    source = {of_site: path for path, of_site in PAGES.items()}.get(name, f"docs/{name}")

    def mended(found: re.Match[str]) -> str:
        if not found["link"]:
            return found[0]
        text, (path, _, anchor) = found["text"], found["target"].partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        where = PAGES.get(path) or PAGES.get(f"{path}/README.md") or path.removeprefix("docs/")
        if files.get_file_from_path(where):
            link = posixpath.relpath(where, posixpath.dirname(name) or ".")
            return f"[{text}]({link}{'#' * bool(anchor)}{anchor})"
        if not os.path.exists(ROOT / path):  # noqa: PTH110 - mkdocs warns of it
            return found[0]
        bare = text.strip("`").removesuffix("/")
        return f"`{path}`" if path.endswith(bare) else f"{text} (`{path}`)"

    return CODE_OR_LINK.sub(mended, markdown)
