"""Write src/slack_ties/catalogue/tags.tsv: codes of languages, scripts and regions with names.

Usage: python tools/language_names.py FOLDER

FOLDER is data/json of the npm package language-subtag-registry (CC0-1.0), a copy
of the registry of IANA: https://www.iana.org/assignments/language-subtag-registry. Names come from
Unicode CLDR, as babel has it, where CLDR has one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import babel
from babel.core import Locale, get_global
from babel.localedata import locale_identifiers

TABLE = Path(__file__).parents[1] / "src" / "slack_ties" / "catalogue" / "tags.tsv"

HEADER = """\
# Codes of languages (l), scripts (s) and regions (r) with their names in English, the names of
# languages in themselves, and other codes for the same language (its ISO 639-3 code first).
# Made by tools/language_names.py. Sources:
# - the codes: IANA Language Subtag Registry of {date}, npm language-subtag-registry, CC0-1.0
# - names, and which codes are the same: Unicode CLDR in babel {babel}, else the registry.
#   Unicode License V3, see LICENSE.unicode.
"""

# ISO 639-2 has two codes for 20 languages; these, and some that were withdrawn, are not the ones of
# ISO 639-3.
NOT_IN_639_3 = (
    *("alb", "arm", "baq", "bur", "chi", "cze", "dut", "fre", "geo", "ger", "gre", "ice", "mac"),
    *("mao", "may", "per", "rum", "slo", "tib", "wel", "adp", "mol", "prp", "scc", "scr"),
)

# CLDR prefers another language to these; the codes of ISO 639-1 and 639-3 are the same language.
THE_SAME = {"hbs": "sh", "tgl": "tl", "twi": "tw"}


def main() -> None:
    """Write the table."""
    folder = Path(sys.argv[1])
    registry = json.loads((folder / "registry.json").read_text(encoding="utf-8"))
    date = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["File-Date"]
    rows = [row for row in registry if "Subtag" in row and ".." not in row["Subtag"]]
    english = Locale("en")
    own = {one for one in locale_identifiers() if "_" not in one}
    languages = {row["Subtag"]: row for row in rows if row["Type"] == "language"}
    same: dict[str, list[str]] = {}
    for code, target in {**get_global("language_aliases"), **THE_SAME}.items():
        if code not in languages and target in languages:  # not Mandarin as Chinese
            same.setdefault(target, []).append(code)
    for code, row in languages.items():
        if row.get("Preferred-Value") in languages:
            same.setdefault(row["Preferred-Value"], []).append(code)
    lines = []
    for code, row in languages.items():
        if "Deprecated" not in row:
            name = english.languages.get(code) or row["Description"][0]
            endonym = Locale(code).languages.get(code, "") if code in own else ""
            own_name = "" if endonym == name else endonym
            lines.append(("l", code, _plain(name), own_name, " ".join(_others(same.get(code, ())))))
    for kind, known in (("script", english.scripts), ("region", english.territories)):
        lines += [
            (kind[0], row["Subtag"], known.get(row["Subtag"]) or row["Description"][0], "", "")
            for row in rows
            if row["Type"] == kind and "Deprecated" not in row
        ]
    text = "".join("\t".join(line).rstrip("\t") + "\n" for line in lines)
    TABLE.write_text(HEADER.format(date=date, babel=babel.__version__) + text, encoding="utf-8")
    notice = Path(babel.__file__).parent / "locale-data" / "LICENSE.unicode"
    TABLE.with_name("LICENSE.unicode").write_bytes(notice.read_bytes())
    print(f"{TABLE}: {len(lines):,} lines")


def _others(codes: Iterable[str]) -> list[str]:
    """Return other codes of a language, of two or three letters; ISO 639-3 first."""
    known = [one for one in codes if len(one) in {2, 3}]
    return sorted(known, key=lambda one: (len(one) == 2, one in NOT_IN_639_3, one))  # noqa: PLR2004


def _plain(name: str) -> str:
    return name.removesuffix(" (macrolanguage)")


if __name__ == "__main__":
    main()
