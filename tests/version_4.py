"""Run under transformers 4: load a base and a merged model, and print what is missing of each.

    python version_4.py NAME=FOLDER ...
    python version_4.py tokenizer FOLDER TEXT

FOLDER holds `base` and `out`. Prints one line of JSON; a base that cannot be loaded has no entry.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

LEFT_OUT = ("dtype", "torch_dtype", "_name_or_path", "transformers_version")


def look(folder: Path) -> dict[str, Any]:
    """Return what is missing of a model, its config, and the sum of all that it computes with."""
    config = transformers.AutoConfig.from_pretrained(folder)
    kind = getattr(transformers, config.architectures[0])
    model, info = kind.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    facts = {key: str(value) for key, value in config.to_dict().items() if key not in LEFT_OUT}
    names = ("missing_keys", "unexpected_keys", "mismatched_keys")
    return {
        "missed": sorted(str(one) for name in names for one in info[name]),
        "config": facts,
        "weights": {n: float(t.double().sum()) for n, t in model.state_dict().items()},
    }


def main() -> None:
    """Look at every pair of folders, or at a tokenizer."""
    transformers.logging.set_verbosity(50)
    if sys.argv[1] == "tokenizer":
        words = transformers.AutoTokenizer.from_pretrained(sys.argv[2])
        user = [{"role": "user", "content": "x"}]
        chat = words.apply_chat_template(user, tokenize=False) if words.chat_template else ""
        special = {key: str(value) for key, value in words.special_tokens_map.items()}
        tokens = words(sys.argv[3])["input_ids"]
        print(json.dumps({"tokens": tokens, "special": special, "chat": chat}))  # noqa: T201
        return
    found = {}
    for argument in sys.argv[1:]:
        name, _, folder = argument.partition("=")
        try:
            base = look(Path(folder, "base"))
        except Exception:  # noqa: BLE001, S112 - of an architecture that version 4 does not have
            continue
        try:
            out = look(Path(folder, "out"))
        except Exception as error:  # noqa: BLE001 - this is the finding
            out = {"missed": [f"cannot be loaded: {error}"], "config": {}, "weights": {}}
        found[name] = {"base": base, "out": out}
    print(json.dumps({"version": transformers.__version__, "found": found}))  # noqa: T201


if __name__ == "__main__":
    main()
