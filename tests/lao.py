"""The Hub repositories of README's first merge: the ids of Lao's smallest models, small models."""

from __future__ import annotations

import shutil
from pathlib import Path

from huggingface_hub import HfApi
from transformers import LlamaForCausalLM

from hub_server import Server, Token
from triple import Folders

__all__ = ["upload", "upload_lao"]

RESEARCH = """\
license: other
license_name: tongyi-qianwen-research
license_link: LICENSE
"""


def upload_lao(triple: Folders, folder: Path, hub: Server) -> None:
    """Put models on the Hub under the ids of the catalogue; `folder` is for their files."""
    hub.hub.tokens.update({"d": Token("Qwen"), "e": Token("sail")})
    lao = _make_lao(triple, folder)
    upload(hub, "d", "Qwen/Qwen1.5-0.5B", lao.base)
    upload(hub, "d", "Qwen/Qwen1.5-0.5B-Chat", lao.sft)
    upload(hub, "e", "sail/Sailor-0.5B", lao.ct)


def upload(hub: Server, token: str, repo_id: str, model: Path) -> None:
    """Put a model on the Hub, for all to see."""
    api = HfApi(endpoint=hub.url, token=token)
    api.create_repo(repo_id, private=False)
    api.upload_folder(repo_id=repo_id, folder_path=model)


def _make_lao(triple: Folders, folder: Path) -> Folders:
    """Make stand-ins for the models of the README's first merge: one type, and other licences."""
    lao = Folders(folder / "base", folder / "ct", folder / "sft")
    for name in ("base", "ct", "sft"):
        shutil.copytree(getattr(triple, name), folder / name)
    (lao.ct / "pytorch_model.bin").unlink()
    LlamaForCausalLM.from_pretrained(triple.ct).bfloat16().save_pretrained(lao.ct)
    made_from = "base_model: Qwen/Qwen1.5-0.5B\n"
    for model, metadata in (
        (lao.base, RESEARCH),
        (lao.ct, f"license: apache-2.0\n{made_from}"),
        (lao.sft, RESEARCH + made_from),
    ):
        (model / "README.md").write_text(f"---\n{metadata}---\n", "utf-8")
    return lao
