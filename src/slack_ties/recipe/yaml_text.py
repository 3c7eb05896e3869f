"""Read YAML from a file that may be anything: a folder, a pipe, other bytes, a very large text.

A small text with aliases can stand for billions of values, and a key that occurs twice loses its
first value without a word. Both are found before a value is made.
"""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from slack_ties.errors import RecipeError
from slack_ties.record import CONFIG_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["keys_given_twice", "read_text", "values_of"]

MOST_BYTES = 4 << 20  # the longest config in mergekit's documentation has 5 KB

MOST_VALUES = 1_000_000  # with every alias written in full; 4 MB of text without aliases have fewer

PATIENCE = 10  # seconds until the program at the other end of a pipe has written something

UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path) -> str:
    """Return the text of a config, with its line ends.

    Raises:
        FileNotFoundError: There is no such file.
        RecipeError: It is no text in UTF-8, or longer than a config can be.

    """
    if path.is_dir():
        inside = path / CONFIG_FILE
        hint = f"use {str(inside)!r}, which is in it" if inside.is_file() else ""
        msg = f"{path}: expected a YAML text file, got a folder"
        raise RecipeError(msg, hint=hint or "give the path of a config: a file that ends in .yml")
    try:
        content = _read(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        msg = f"{path}: expected a YAML text file, which cannot be read: {error}"
        raise RecipeError(msg, hint="check its permissions, or give another file") from None
    if len(content) > MOST_BYTES:
        msg = f"{path}: expected a YAML text file of at most {MOST_BYTES >> 20} MB, got more"
        raise RecipeError(msg, hint="give the path of a merge config, not of a model's file")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        got = "UTF-16" if content.startswith(UTF_16) else f"other bytes (at byte {error.start})"
        msg = f"{path}: expected a YAML text file in UTF-8, got {got}"
        hint = "save it as UTF-8" if got == "UTF-16" else "give the path of a merge config"
        raise RecipeError(msg, hint=hint) from None


def _read(path: Path) -> bytes:
    """Read at most one byte more than a config may have; do not wait for ever for a pipe."""
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(number, "rb", buffering=0) as file:
        blocks: list[bytes] = []
        left = MOST_BYTES + 1
        while left > 0:
            if stat.S_ISFIFO(os.fstat(number).st_mode) and not blocks:
                select.select([file], [], [], PATIENCE)
            block = file.read(left)
            if block is None:  # a pipe whose writer is slow
                ready, _, _ = select.select([file], [], [], PATIENCE)
                if not ready:
                    msg = f"the program that writes to this pipe is silent for {PATIENCE} s"
                    raise OSError(msg)
                continue
            if not block:
                break
            blocks.append(block)
            left -= len(block)
        return b"".join(blocks)


def values_of(text: str) -> Any:
    """Return the values of one YAML document.

    Raises:
        yaml.YAMLError: The text is no YAML, or has too many values.

    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST_VALUES:
            msg = f"aliases make more than {MOST_VALUES:,} values of it"
            raise yaml.YAMLError(msg)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def keys_given_twice(text: str) -> list[tuple[int, str]]:
    """Return each key with two values in one mapping, with the line of the second one."""
    node = yaml.compose(text, yaml.SafeLoader)
    return sorted(set(_twice(node, set()))) if node else []


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        yield from child if isinstance(child, tuple) else (child,)


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return how many values a node stands for; a node that contains itself counts as none."""
    if id(node) not in sizes:
        sizes[id(node)] = 0
        sizes[id(node)] = 1 + sum(_size(child, sizes) for child in _children(node))
    return sizes[id(node)]


def _twice(node: yaml.Node, seen: set[int]) -> Iterator[tuple[int, str]]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        known: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            # The same text twice does no harm.
            meaning = (value.tag, value.value) if isinstance(value, yaml.ScalarNode) else value
            if known.setdefault(key.value, meaning) != meaning:
                yield key.start_mark.line + 1, key.value
    for child in _children(node):
        yield from _twice(child, seen)
