"""`slack-ties doctor`: every check can say that something is not in place, and what to do then."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import HfApi

from command import Invoke, is_typable
from hub_server import Fault, Server, Token
from slack_ties.doctor import packages, room, torch_build
from slack_ties.doctor.check import look_at_all
from slack_ties.doctor.extras import EXTRAS, look_at_extras
from slack_ties.doctor.finding import BROKEN, NOTE, OK, UNKNOWN, Diagnosis, Finding
from slack_ties.doctor.hub_access import look_at_hub
from slack_ties.doctor.kernel import look_at_kernel
from slack_ties.doctor.method_hook import look_at_imports, look_at_mergekit, started
from slack_ties.doctor.packages import look_at_packages, look_at_python
from slack_ties.doctor.room import look_at_cache, look_at_folder, look_at_memory
from slack_ties.doctor.torch_build import CPU_BUILD, import_torch, look_at_torch, unused_packages
from slack_ties.errors import SlackTiesError
from slack_ties.rule import kernel
from slack_ties.rule.kernel import load_kernel

ROOT = Path(__file__).parent.parent
SCREEN = 40  # lines
NAMES = [
    *("slack-ties", "Python", "mergekit", "torch", "devices", "transformers", "safetensors"),
    *("huggingface_hub", "kernel", "memory", "folder", "cache", "Hub", "token", "imports"),
    *("mergekit-yaml", "eval", "plot", "slurm", "tune"),
]

Install = Callable[..., None]  # of the fixture `install`


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Let Python find the metadata of a package before what is really installed."""
    site = tmp_path / "site"
    site.mkdir()

    def add(name: str, version: str, needs: tuple[str, ...] = (), size: int = 0) -> None:
        folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        needed = "".join(f"Requires-Dist: {one}\n" for one in needs)
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n{needed}")
        (folder / "RECORD").write_text(f"{name}/lib.so,,{size}\n{name}/none.py,,\n")
        monkeypatch.syspath_prepend(site)  # and forget which packages there are

    return add


def only(finding: Finding, state: str) -> Finding:
    """Check the state of a finding, and that its next step can be typed."""
    assert finding.state == state, finding
    assert is_typable(finding.hint), finding
    assert finding.hint or state in {OK, UNKNOWN}, finding
    return finding


# The command


def test_all_is_in_place(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """One screen and exit code 0, offline too; every next step can be typed."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "secret" * 6)

    result = invoke("doctor")

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-2] if not line.startswith(" ")] == NAMES
    assert lines[-1] == "all that a merge needs is in place"
    assert result.stderr.endswith(
        "Next: slack-ties languages  # or see all stages on small models: slack-ties demo\n"
    )
    assert len(lines) <= SCREEN
    assert "secret" not in result.output
    hints = [line.split("Next: ")[1] for line in lines if "Next: " in line]
    assert hints
    assert all(map(is_typable, hints))
    states = dict(line.split()[:2] for line in lines[:-2] if not line.startswith(" "))
    assert (states["Hub"], states["token"]) == (NOTE, UNKNOWN)
    assert {states[name] for name in ("imports", "mergekit", "Python")} == {OK}
    assert states["kernel"] == (OK if load_kernel() else NOTE)


def test_what_is_broken_is_the_exit_code(invoke: Invoke) -> None:
    """With --json, all findings are on stdout, and the one error names what a merge lacks."""
    result = invoke("doctor", "--json", "--timeout", "5")

    found = json.loads(result.stdout)
    assert (result.exit_code, found["ok"], found["broken"]) == (1, False, ["Hub"])
    assert [one["name"] for one in found["checks"]] == NAMES
    by_name = {one["name"]: one for one in found["checks"]}
    assert by_name["torch"]["version"] == torch.__version__
    assert by_name["Hub"]["endpoint"] == "http://127.0.0.1:9"
    assert by_name["folder"]["free"] > 0
    assert result.stderr.startswith("Error: a merge needs what is not in place: Hub\nNext: check t")


def test_without_torch_and_the_hub_client(tmp_path: Path) -> None:
    """It says that they are broken and goes on: that is what it is for."""
    for name, code in (
        ("torch", "raise OSError('libcudart.so.12: cannot open shared object file')"),
        ("huggingface_hub", "raise ImportError('no such thing')"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)

    done = subprocess.run(
        [sys.executable, "-m", "slack_ties", "doctor", "--json"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    found = json.loads(done.stdout)
    states = {one["name"]: one["state"] for one in found["checks"]}
    assert (done.returncode, found["broken"]) == (1, ["torch", "imports"])
    unknown = {name for name, state in states.items() if state == UNKNOWN}
    assert {"kernel", "cache", "Hub", "mergekit-yaml"} <= unknown
    assert {"memory", "folder"}.isdisjoint(unknown)
    texts = {one["name"]: one["text"] for one in found["checks"]}
    assert texts["torch"].startswith("cannot be imported: OSError: libcudart.so.12")
    assert done.stderr.startswith("Error: a merge needs what is not in place: torch and imports\n")
    assert f"Next: {CPU_BUILD} --force-reinstall\n" in done.stderr


def test_in_a_notebook() -> None:
    """The result is a table whose texts are escaped and without tokens; `check` raises."""
    token = "hf_" + "a" * 30
    found = Diagnosis((Finding("Hub", BROKEN, f"<b>\x1b[31m {token}", "unset X"),))

    assert "&lt;b&gt;\\x1b[31m [token]" in found._repr_html_()
    assert "Next: unset X" in str(found)
    with pytest.raises(SlackTiesError, match="not in place: Hub") as caught:
        found.check()
    assert caught.value.hint == "unset X"


def test_looking_stops_when_nobody_asks_on() -> None:
    """The other process ends with the search, and no stream stays open."""
    findings = look_at_all()

    assert next(findings).name == "slack-ties"
    findings.close()


# Packages


def test_packages_that_do_not_fit(install: Install) -> None:
    """Not installed, too old, too new: each is broken, with the command that installs it."""
    needs = ("nowhere-at-all>=1.0,<2", "mergekit>=0.1.5,<0.2", "click>=8.2.1,<9", "psutil>=6.0")
    install("slack-ties", "9.9", (*needs, "optuna>=99; extra == 'tune'"))
    install("mergekit", "0.1.4")
    install("click", "9.0.0rc1")
    install("psutil", "6")

    found = {one.name: one for one in look_at_packages()}

    assert only(found["mergekit"], BROKEN).text == "0.1.4, expected >=0.1.5,<0.2"
    assert found["mergekit"].hint == 'pip install "mergekit>=0.1.5,<0.2"'
    missing = only(found["nowhere_at_all"], BROKEN)
    assert missing.text == "not installed, expected >=1.0,<2"
    assert only(found["click"], BROKEN).text == "9.0.0rc1, expected >=8.2.1,<9"
    assert {"psutil", "optuna"}.isdisjoint(found)
    assert only(found["safetensors"], OK).facts["version"]


def test_a_package_without_its_metadata(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installation that was interrupted is broken, and nothing stops."""
    install("psutil", "9")
    (tmp_path / "site" / "mergekit-0.1.5.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")

    found = {one.name: one for one in look_at_packages()}

    assert "no version" in only(found["mergekit"], BROKEN).text
    assert found["mergekit"].hint.startswith('pip install --ignore-installed --no-deps "mergekit>')


def test_slack_ties_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout on PYTHONPATH cannot merge: the record of a merge has its version."""
    monkeypatch.setattr(packages, "OURS", "slack-ties-nowhere")

    ours, python = look_at_python()

    assert "not installed" in only(ours, BROKEN).text
    assert only(python, OK).text.startswith(sys.version.split()[0])


# torch


def test_cuda_without_a_gpu(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what CUDA's packages take on the disk, and how to get the build for the CPU."""
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    linux = "platform_system == 'Linux'"  # as torch 2.13.0 on PyPI
    toolkit, nccl = f"cuda-toolkit[cublas,nvrtc]==13.0.3; {linux}", f"nvidia-nccl-cu13==2; {linux}"
    install("torch", "2.13.0", (toolkit, nccl, "triton>=3", "filelock"), 1_700_000_000)
    cublas = "nvidia-cublas==13.1.*; (sys_platform == 'linux') and extra == 'cublas'"
    install("cuda-toolkit", "13.0.3", (cublas, "nvidia-npp==13.*; extra == 'npp'"))
    install("nvidia-cublas", "13.1", ("nvidia-cuda-nvrtc",), 600_000_000)
    install("nvidia-cuda-nvrtc", "13.0", (), 200_000_000)
    install("nvidia-nccl-cu13", "2", (), 400_000_000)
    install("triton", "3.5", (), 500_000_000)
    install("nvidia-ml-py", "12", (), 1_000_000)
    install("xgboost", "3.0", ("nvidia-nccl-cu13",))
    install("torchvision", "0.24", ("torch",))

    build, devices = look_at_torch(torch)

    assert only(build, NOTE).text.endswith(
        "build for CUDA 12.8, but it finds no GPU: CUDA's packages take 1.3 GB here, torch 1.7 GB"
    )
    assert build.hint == (
        "pip uninstall -y torch torchvision cuda-toolkit nvidia-cublas nvidia-cuda-nvrtc triton && "
        "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu"
    )
    assert unused_packages() == build.facts["cuda_packages"]
    assert only(devices, OK).text.endswith("no GPU, and a merge needs none")


def test_a_gpu_that_torch_does_not_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA's driver is here, and torch is the build for the CPU: `evaluate` could be faster."""
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: str(tmp_path / name))
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    build, devices = look_at_torch(torch)

    assert only(build, OK).facts["build"] == "CPU"
    assert "NVIDIA's driver is here" in only(devices, NOTE).text


def test_gpus() -> None:
    """Each with its free memory; one that another program has for itself is named too."""

    def memory(device: str) -> tuple[int, int]:
        if device == "cuda:1":
            msg = "CUDA-capable device(s) is/are busy or unavailable\nmore"
            raise RuntimeError(msg)
        return 130_000_000_000, 150_000_000_000

    stand_in = SimpleNamespace(
        __version__="2.9.0+cu128",
        version=SimpleNamespace(cuda="12.8"),
        cuda=SimpleNamespace(
            is_available=lambda: True,
            device_count=lambda: 2,
            get_device_name=lambda _: "NVIDIA H200",
            mem_get_info=memory,
        ),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: True)),
        get_num_threads=lambda: 2,
    )

    build, devices = look_at_torch(stand_in)

    assert only(build, OK).text == "2.9.0+cu128, build for CUDA 12.8"
    assert only(devices, OK).text.startswith(
        "CPU with 2 threads, cuda:0 (NVIDIA H200, 130.0 GB of 150.0 GB free), cuda:1 (NVIDIA H200, "
        "which cannot be used: CUDA-capable device(s) is/are busy or unavailable) and mps (Apple, "
    )


def test_torch_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next step installs another build."""
    monkeypatch.setitem(sys.modules, "torch", None)

    found, reason = import_torch()

    assert found is None
    assert "ModuleNotFoundError" in only(torch_build.broken_torch(reason), BROKEN).text


# The kernel


def test_without_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge works, and takes longer: it says why."""
    monkeypatch.setattr(kernel, "LIBRARY", tmp_path / "none")

    found = only(look_at_kernel(), NOTE)

    assert found.text.startswith("slack-ties was built without its compiled kernel: torch makes")
    assert found.hint.startswith("install a C compiler")
    assert found.facts == {"compiled": False}


@pytest.mark.skipif(not load_kernel(), reason="no compiled kernel")
def test_a_kernel_that_computes_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its models would be wrong: that is broken."""
    assert only(look_at_kernel(), OK).facts == {"compiled": True}
    right = kernel.merge_on_cpu

    def wrong(base: torch.Tensor, *given: object, **named: object) -> tuple[torch.Tensor, bool]:
        merged, finite = right(base, *given, **named)  # type: ignore[arg-type]
        return merged * 2, finite

    monkeypatch.setattr(kernel, "merge_on_cpu", wrong)

    assert "differs" in only(look_at_kernel(), BROKEN).text


# Memory and disk


def test_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how much merges need."""
    assert look_at_memory().facts["total"] > 0
    monkeypatch.setattr(room, "LEAST_MEMORY", 1 << 60)

    assert "free; merges in docs/requirements.md need" in only(look_at_memory(), NOTE).text


@pytest.mark.usefixtures("own_cache")
def test_little_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the smallest merge of the catalogue, and how to keep nothing here."""
    monkeypatch.chdir(tmp_path)
    assert look_at_folder().facts["free"] > 0
    assert look_at_cache(offline=True).facts["free"] > 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000_000))

    folder, cache = only(look_at_folder(), NOTE), only(look_at_cache(offline=False), NOTE)

    assert folder.text.startswith("1.0 GB free in ")
    assert "the smallest result of the catalogue (" in folder.text
    assert "the smallest download of the catalogue (" in cache.text
    assert all("--stream --no-download" in one.hint for one in (folder, cache))
    assert only(look_at_cache(offline=True), OK).text.endswith(", the same disk")


def test_a_cache_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken, because nothing can be downloaded; not if nothing will be."""
    (tmp_path / "file").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file" / "hub"))

    assert "cannot be written to" in only(look_at_cache(offline=False), BROKEN).text
    assert look_at_cache(offline=True).state != BROKEN


@pytest.mark.skipif(sys.platform == "win32", reason="Windows deletes no current folder")
def test_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result can go elsewhere, so that is a note; the cache is looked at all the same."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    assert "cannot be written to" in only(look_at_folder(), NOTE).text
    assert "same disk" not in look_at_cache(offline=True).text


# The Hub and the token


@pytest.mark.parametrize(
    ("token", "state", "said"),
    [
        (Token("me"), OK, ", of the user me: it may write to me"),
        (Token("me", orgs=(("acme", "write"), ("uni", "read"))), OK, "may write to me and acme"),
        (Token("me", "read"), NOTE, "it can only read; `publish` needs write access"),
        (Token("me", "fineGrained", scoped=(("me/x", "repo.write"),)), OK, "may write to me/x"),
        (Token("me", "fineGrained", scoped=(("me", "repo.read"),)), NOTE, "to no repository"),
        (Token("me", "oauth"), OK, "the Hub does not say what it may do"),
        (Token("me", orgs=tuple((f"o{i}", "write") for i in range(9))), OK, "o3 and 5 more"),
    ],
)
def test_rights_of_a_token(token: Token, state: str, said: str, hub: Server) -> None:
    """It says who the token belongs to and what it may do, and never the token."""
    hub.hub.tokens["hf_secret"] = token

    reached, rights = look_at_hub(10, api=HfApi(endpoint=hub.url, token="hf_secret"))

    assert only(reached, OK).text.startswith(f"{hub.url} answered after ")
    assert said in only(rights, state).text
    assert rights.facts["may_write"] == (None if token.role == "oauth" else state == OK)
    assert "secret" not in str((reached, rights))


def test_no_token(hub: Server) -> None:
    """The Hub is asked something public, and the next step is a login."""
    reached, token = look_at_hub(10, api=HfApi(endpoint=hub.url, token=False))

    assert only(reached, OK).facts["endpoint"] == hub.url
    assert only(token, NOTE).hint.startswith("hf auth login")
    assert token.facts == {"present": False}
    assert hub.hub.requests == ["GET /api/models"]


@pytest.mark.parametrize("token", ["hf_wrong", "hf_wröng"])
def test_a_token_that_the_hub_refuses(
    token: str, hub: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub then refuses public models too, so that is broken; the Hub itself is not."""
    monkeypatch.setenv("HF_TOKEN", token)

    reached, found = look_at_hub(10, api=HfApi(endpoint=hub.url))

    assert only(reached, OK)
    assert "HF_TOKEN" in only(found, BROKEN).text
    assert token not in str(found)


@pytest.mark.parametrize("how", ["stalled", "500"])
def test_a_hub_that_does_not_answer(how: str, hub: Server, api: HfApi) -> None:
    """It is given up after the time limit, and the next step names the way without the Hub."""
    hub.hub.faults.append(Fault("whoami", how, math.inf))

    reached, token = look_at_hub(0.5, api=api)

    assert "HF_HUB_OFFLINE=1" in only(reached, BROKEN).hint
    assert only(token, UNKNOWN).text.endswith("its rights are not known: the Hub did not answer")


def test_a_wrong_endpoint() -> None:
    """The next step is the command that corrects it, as it is."""
    reached, token = look_at_hub(5, api=HfApi(endpoint="hub.example", token=False))

    assert only(reached, BROKEN).text.startswith("the endpoint is 'hub.example', expected http://")
    assert only(token, NOTE)


def test_offline(api: HfApi, hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With HF_HUB_OFFLINE nothing is asked, and nothing is broken."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    reached, token = look_at_hub(10, api=api)

    assert only(reached, NOTE).hint == "unset HF_HUB_OFFLINE"
    assert only(token, UNKNOWN).text.endswith("HF_HUB_OFFLINE is set")
    assert hub.hub.requests == []


# The method in mergekit


def look(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Finding, Finding]:
    """Return the findings with a package of this code in the place of mergekit."""
    (tmp_path / "mergekit").mkdir()
    (tmp_path / "mergekit" / "__init__.py").touch()
    (tmp_path / "mergekit" / "merge_methods.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with started() as process:
        imports, method, log = look_at_imports(process)
    return imports, look_at_mergekit(method=method, log=log)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('half installed')", "ImportError: half installed"),
        (
            "import os, sys; sys.stderr.write('Illegal instruction'); os._exit(3)",
            "ended with 3 whi",
        ),
    ],
)
def test_mergekit_that_cannot_be_imported(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error or a crash of a library is broken, and it is not known what mergekit finds."""
    imports, mergekit = look(tmp_path, code, monkeypatch)

    assert said in only(imports, BROKEN).text
    assert only(mergekit, UNKNOWN)


def test_a_method_that_cannot_be_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows what the start-up file logged: here, a mergekit that lacks what the method needs."""
    code = "def registered_methods(): return ()"

    imports, mergekit = look(tmp_path, code, monkeypatch)

    only(imports, BROKEN)
    assert "merge method slack_ties is not available: ImportError" in only(mergekit, NOTE).text


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for Python is a shell script")
def test_python_that_does_not_read_the_start_up_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with PYTHONPATH and `pip install --target`: our own merges work all the same."""
    python = tmp_path / "python"
    site = Path(torch.__file__).parent.parent
    code = f'#!/bin/sh\nPYTHONPATH={site}:{ROOT / "src"} exec {sys.executable} -S "$@"\n'
    python.write_text(code)
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    with started() as process:
        imports, method, log = look_at_imports(process)
    found = look_at_mergekit(method=method, log=log)

    only(imports, OK)
    assert "the start-up file slack_ties.pth is missing, or Python does" in only(found, NOTE).text
    assert found.facts == {"finds_slack_ties": False}


def test_mergekit_yaml_of_another_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is typed is not the one that finds the method; a missing one is no fault."""
    own = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", own)
    assert only(look_at_mergekit(method=True, log=""), OK).text == "finds slack_ties"
    name = "mergekit-yaml.exe" if sys.platform == "win32" else "mergekit-yaml"
    (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    found = only(look_at_mergekit(method=True, log=""), NOTE)

    assert "belongs to another Python" in found.text
    assert found.hint.endswith("mergekit-yaml CONFIG OUT  # of this Python".replace("  #", " #"))
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert "not on PATH, but in" in only(look_at_mergekit(method=True, log=""), OK).text


def test_a_second_python_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, as for every error."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))

    with pytest.raises(SlackTiesError, match="cannot start a second Python"), started():
        pytest.fail("it started")


# The extras


def test_extras_are_those_of_the_package() -> None:
    """What pyproject.toml declares is looked at."""
    assert {*metadata("slack-ties").get_all("Provides-Extra")} == {*EXTRAS}


def test_extras_that_are_missing(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each names the commands that need it, and the command that installs it."""
    for name in ("matplotlib", "optuna"):
        monkeypatch.setitem(sys.modules, name, None)
    install("lm_eval", "0.3.0")
    install("submitit", "1.5.2")

    found = {one.name: only(one, NOTE) for one in look_at_extras()}

    assert {*found} == {*EXTRAS}
    for name, one in found.items():
        assert EXTRAS[name][1] in one.text
        assert one.hint.startswith("pip install ")
        assert f'"slack-ties[{name}]"' in one.hint


def test_an_extra_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that raises another error when it is imported is named, and nothing stops."""

    def refuse() -> None:
        msg = "module 'numpy' has no attribute 'long'"
        raise AttributeError(msg)

    monkeypatch.setitem(EXTRAS, "plot", (refuse, "`report --pictures`"))

    found = {one.name: one for one in look_at_extras()}

    assert "AttributeError: module 'numpy'" in only(found["plot"], NOTE).text
    assert found["plot"].hint == 'pip install --force-reinstall "slack-ties[plot]"'
