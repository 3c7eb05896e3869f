"""Check an installed wheel: does its kernel make the known bytes, and does it merge?

    python tools/check_wheel.py                  # the kernel, torch, and a merge of small models
    python tools/check_wheel.py --without-torch  # the kernel alone: needs numpy and nothing else

CI runs this with every wheel, where src/ is not. torch has no wheels for musl, nor for macOS on
Intel: there a stand-in holds the memory that the kernel reads and writes. The known bytes are those
of the torch engine on Linux x86_64; `tests/test_release.py` computes them again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

SIZE = 300_001  # entries: enough for two threads, and the last block is not full

# The integer that holds the bits of a number, and its bits without the upper one of the exponent:
# all magnitudes below 2, with denormals and both zeros.
KINDS = {
    "float16": (np.uint16, 0xBFFF),
    "bfloat16": (np.uint16, 0xBFFF),
    "float32": (np.uint32, 0xBFFFFFFF),
}

# weight, entries kept, entries protected
SHARES = [(0.6, SIZE // 2, SIZE // 10), (-0.3, SIZE, SIZE // 100), (1.0, SIZE // 7, 0)]

# SHA-256 of what the rule makes of `numbers` with SHARES, and of the tensors of the small merge.
KNOWN = {
    "float16": "6beb2afc61f4eea8c6b09d6c30a3578152b1d21020c1962f92215ae5c83fc3d8",
    "bfloat16": "cf34e68612f06f67c89a517845977ff12ad5b6b5d7b33650658a57e62dbcc0dc",
    "float32": "6bf48be37524e39d151c0c0fd96f292bac6b567fc635054a22589429701dbc5f",
    "merge": "eaff02a09aa601aa0909730ac54cc49b0653c220afc8bc03ec58e9a9ad7919b6",
}

CONFIG = """\
merge_method: slack_ties
base_model: {folder}/base
models:
  - model: {folder}/ct
    parameters: {{weight: 0.6, density: 0.5, slack: 0.1}}
  - model: {folder}/sft
    parameters: {{weight: 0.4, density: 0.5}}
parameters: {{normalize: true, lambda: 1.0}}
dtype: bfloat16
tokenizer_source: base
"""


def numbers(kind: str) -> list[Any]:
    """Return the bits of a base and three models; RandomState makes the same in every numpy."""
    integer, mask = KINDS[kind]
    random = np.random.RandomState(21)
    most = np.iinfo(integer).max
    return [
        random.randint(0, most, SIZE, dtype=integer) & integer(mask) for _ in range(len(SHARES) + 1)
    ]


class Memory:
    """What kernel.py asks of a tensor."""

    device = SimpleNamespace(type="cpu")
    layout = "strided"

    def __init__(self, bits: Any, dtype: str) -> None:
        """Take the bits, as integers, and the name of their type."""
        self.bits, self.dtype = bits, dtype

    def numel(self) -> int:
        """Return the number of entries."""
        return int(self.bits.size)

    def data_ptr(self) -> int:
        """Return the address of the first entry."""
        return int(self.bits.ctypes.data)

    def is_neg(self) -> bool:
        """Say that no sign waits to be turned."""
        return False


def stand_in() -> ModuleType:
    """Return the names of torch that kernel.py uses."""
    torch = ModuleType("torch")
    names = {
        **{kind: kind for kind in KINDS},
        "Tensor": Memory,
        "strided": Memory.layout,
        "nn": SimpleNamespace(Parameter=Memory),
        "empty_like": lambda one: Memory(np.empty_like(one.bits), one.dtype),
        "get_num_threads": lambda: 2,
    }
    vars(torch).update(names)
    return torch


def check_kernel(kind: str, *, torch: Any) -> None:
    """Compare the kernel's bytes with the known ones, and with torch's if it is there."""
    from slack_ties.rule.kernel import can_merge, merge_on_cpu  # noqa: PLC0415 - after `stand_in`
    from slack_ties.rule.shares import Share  # noqa: PLC0415

    bits = numbers(kind)
    if torch is None:
        tensors = [Memory(one, kind) for one in bits]
    else:
        tensors = [torch.from_numpy(one).view(getattr(torch, kind)) for one in bits]
    shares = [Share(*share, ()) for share in SHARES]
    expect(kernel_is_used=can_merge(*tensors))
    engines = [merge_on_cpu]
    if torch is not None:
        from slack_ties.rule.blockwise import merge_blocks  # noqa: PLC0415

        engines.append(merge_blocks)
    for engine in engines:
        out, finite = engine(tensors[0], tensors[1:], shares, normalize=True, lambda_=0.9)
        integer = KINDS[kind][0]
        merged = out.bits if torch is None else out.view(getattr(torch, integer.__name__)).numpy()
        found = sha256(merged.tobytes()).hexdigest()
        said = f"{kind} by {engine.__name__}"
        expect(**{said: finite, f"{said} {found}": found == KNOWN[kind]})


def make_models(folder: Path) -> None:
    """Write a base and two models made from it: small Llamas with weights from RandomState."""
    import torch  # noqa: PLC0415 - may not be there
    from tokenizers import Tokenizer, models  # noqa: PLC0415
    from transformers import (  # noqa: PLC0415
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    words = {"<s>": 0, "</s>": 1, **{f"word{i}": i for i in range(2, 64)}}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="</s>")),  # noqa: S106
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
    )
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=1,
    )
    random = np.random.RandomState(21)
    model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        for name, amount in (("base", 1.0), ("ct", 0.02), ("sft", 0.01)):
            for weight in model.state_dict().values():
                step = random.standard_normal(tuple(weight.shape)).astype(np.float32)
                weight.mul_(name != "base").add_(amount * torch.from_numpy(step))
            model.to(torch.bfloat16).save_pretrained(folder / name)
            model.float()
            tokenizer.save_pretrained(folder / name)


def check_merge(folder: Path) -> None:
    """Merge with the kernel and without it, as a user would: the known tensors both times."""
    from safetensors.torch import load_file  # noqa: PLC0415 - may not be there
    from torch import uint8  # noqa: PLC0415

    make_models(folder)
    config = folder / "check.yml"
    config.write_text(CONFIG.format(folder=folder.as_posix()), "utf-8")
    hide = (
        "from pathlib import Path; from slack_ties.rule import kernel; kernel.LIBRARY = Path('-')"
    )
    main = "from slack_ties.cli.main import main; main()"
    for name, code in (("kernel", main), ("torch", f"{hide}; {main}")):
        out = folder / name
        done = subprocess.run(
            [sys.executable, "-c", code, "merge", str(config), str(out)],
            check=False,
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"},
        )
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n")
        used = "and the compiled kernel" in done.stdout + done.stderr
        expect(
            **{
                f"merge with {name}": done.returncode == 0,
                f"only {name}": used != (name == "torch"),
            }
        )
        digest = sha256()
        for file in sorted(out.glob("*.safetensors")):
            for tensor, value in sorted(load_file(file).items()):
                digest.update(tensor.encode() + value.contiguous().view(uint8).numpy().tobytes())
        found = digest.hexdigest()
        expect(**{f"merge with {name} {found}": found == KNOWN["merge"]})


def expect(**facts: bool) -> None:
    """Print what was found; stop at the first thing that is not as expected."""
    for fact, holds in facts.items():
        print("ok" if holds else "WRONG", fact, flush=True)
        if not holds:
            sys.exit(1)


def main() -> None:
    """Check the slack-ties of this Python."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--without-torch", action="store_true", help="check the kernel alone")
    parser.add_argument("--editable", action="store_true", help="accept src/ of a checkout")
    arguments = parser.parse_args()
    if arguments.without_torch:
        sys.modules["torch"], torch = stand_in(), None
    else:
        import torch  # noqa: PLC0415 - may not be there

    import slack_ties  # noqa: PLC0415

    where = Path(slack_ties.__file__).parent
    expect(
        **{
            f"slack-ties {version('slack-ties')} in {where}": arguments.editable
            or where.parent.name != "src",
            "the hook": (where.parent / "slack_ties.pth").is_file() or arguments.editable,
        }
    )
    for kind in KINDS:
        check_kernel(kind, torch=torch)
    if torch is not None:
        with tempfile.TemporaryDirectory() as folder:
            check_merge(Path(folder))


if __name__ == "__main__":
    main()
