"""What is private or secret is found however it is written, and nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from slack_ties.publish.scan import Found, find_private, find_secret, private_texts

HOME = "/home/zebediah"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user's home; its folder need not exist."""
    monkeypatch.setenv("HOME", HOME)
    monkeypatch.setenv("USERPROFILE", HOME)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "zebediah")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"a\nb {HOME}", "your home folder"),
        (f"a\n_name_or_path: {HOME}/ct", "your home folder"),
        (f"a\nfile://{HOME}/ct", "your home folder"),
        (f"a\nPATH=/bin:{HOME}/bin", "your home folder"),
        ("a\n/scratch/zebediah/ct", "your user name, in a path"),
        ("a\nC:\\Users\\zebediah\\ct", "your user name, in a path"),
        ('a\n"C:\\\\Users\\\\zebediah"', "your user name, in a path"),
        ("a\nfile:///mnt/zebediah/ct", "your user name, in a path"),
        ("a\n/data/customer/ct.", "the path of a merged model"),
        ("a\n/data/customer/other", "the path of a merged model"),
        ("a\n(customer/ct)", "the path of a merged model"),
    ],
)
def test_private_text(text: str, what: str, tmp_path: Path) -> None:
    """The home, the user's name in a path, and the folders of models, each with its line."""
    (tmp_path / "README.md").write_text(text, "utf-8")
    private = private_texts(["/data/customer/ct", "customer/ct", "sft"])

    assert find_private(tmp_path / "README.md", private) == Found(what, 2)


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/zebediah/ct",
        "base_model: zebediah/ct",
        "zebediah",
        f"{HOME}s/x",
        f"https://example.org{HOME}",
        "a sft model",
        "/data/x",
        "mycustomer/ct",
    ],
)
def test_text_that_is_not_private(text: str, tmp_path: Path) -> None:
    """Addresses, Hub ids, and names that are not in a path."""
    (tmp_path / "README.md").write_text(text, "utf-8")

    assert find_private(tmp_path / "README.md", private_texts(["/data/customer/ct", "sft"])) is None


def test_the_current_folder(tmp_path: Path) -> None:
    """Also as JSON writes it."""
    folder = tmp_path / "ö b"
    folder.mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": str(folder / "x")}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = find_private(tmp_path / "config.json", private_texts())

    assert found == Found("the path of the current folder", 1)


def test_what_describes_weights(tmp_path: Path) -> None:
    """The metadata of a safetensors file are searched, and a vocabulary is not."""
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"from": f"{HOME}/ct"})
    (tmp_path / "tokenizer.json").write_text(json.dumps({"vocab": [HOME]}))

    assert find_private(path, private_texts()) == Found("your home folder", 1)
    assert find_private(tmp_path / "tokenizer.json", private_texts()) is None


@pytest.mark.skipif(os.name == "nt", reason="of users by number, in Linux containers")
def test_a_user_without_a_home_and_a_name(tmp_path: Path) -> None:
    """A container may run as any number: nothing fails, and paths of models are still found."""
    (tmp_path / "README.md").write_text("from /data/customer/ct", "utf-8")
    code = (
        "import os, pwd; from slack_ties.publish.scan import private_texts\n"
        "os.setuid(54321)\n"
        "print([what for what, _ in private_texts(['/data/customer/ct'])])"
    )
    told = {name: value for name, value in os.environ.items() if name != "HOME"}
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        told.pop(variable)
    if os.geteuid():
        pytest.skip("only root can become another user")

    done = subprocess.run(
        [sys.executable, "-c", code], env=told, cwd="/", capture_output=True, text=True, check=True
    )

    assert done.stdout == f"{['the path of a merged model'] * 3}\n"


@pytest.mark.parametrize("name", ["root", "ubuntu"])
def test_a_name_that_many_share(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing about a person, but the home is still one."""
    monkeypatch.setenv("HOME", f"/{name}")
    monkeypatch.setenv("USERPROFILE", f"/{name}")
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, name)
    file = tmp_path / "README.md"

    file.write_text(f"in /opt/{name}/x")
    assert find_private(file, private_texts()) is None
    file.write_text(f"in /{name}/x")
    assert find_private(file, private_texts()) == Found("your home folder", 1)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a\n\napi_org_" + "aB3" * 12, "a Hugging Face token"),
        ("a\n\nhttps://me:s3cret@proxy.example.org:8080", "an address with a password"),
    ],
)
def test_a_secret_has_a_line(text: str, what: str, tmp_path: Path) -> None:
    """Tokens of an organization and passwords in addresses too."""
    (tmp_path / "README.md").write_text(text, "utf-8")

    assert find_secret(tmp_path / "README.md") == Found(what, 3)


def test_addresses_without_a_password(tmp_path: Path) -> None:
    """A port, a user's name or an e-mail address is no secret."""
    file = tmp_path / "README.md"
    file.write_text("http://localhost:8080/a@b ssh://git@hf.co:a/b https://x.org:443 me@x.org")

    assert find_secret(file) is None
