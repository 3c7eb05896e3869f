"""Stock mergekit knows the method after `pip install slack-ties`, and nothing else changes.

The wheel is installed into a virtual environment of its own, which borrows the other
packages from the present one; `mergekit-yaml` runs as a process there. Where it does not matter
what has been imported, processes are forked from one that has imported it: see processes.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import mergekit
import pytest
import yaml
from safetensors.torch import load_file, save_file

import processes
from slack_ties.config.choices import Choices
from slack_ties.config.make import make_config
from triple import Folders

ROOT = Path(__file__).parent.parent
# Start-up code of other packages in the environment may import what it likes: only what
# `import slack_ties._mergekit_hook` adds counts.
LISTING = "import sys; print(sorted(set(sys.modules)))"


MERGEKIT = ("mergekit.merge", "mergekit.scripts.run_yaml", "mergekit.scripts.multimerge")
WITHOUT_MERGEKIT = ("torch", "torch.utils.data", "pydantic.main")  # the others that it imports


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    python: Path
    site: Path  # its site-packages

    def run(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run its Python with these arguments."""
        done = subprocess.run(
            [str(word) for word in (self.python, *words)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.site,  # not the checkout
            env=self.variables,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of its processes."""
        return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run_forked(
        self, code: str, *words: object, imported: tuple[str, ...], check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run code in a process that has imported these modules."""
        if not processes.CAN_FORK:
            return self.run("-c", code, *words, check=check)
        server = processes.fork_server(self.python, imported)
        done = server.run(code, [str(word) for word in words], self.variables, self.site)
        assert done.returncode == 0 or not check, done.stderr
        return done

    def mergekit(self, script: str, *words: object, check: bool = True) -> str:
        """Run one of mergekit's console scripts; return what it said to stderr."""
        code = f"from mergekit.scripts.{script} import main; main()"
        return self.run("-c", code, *words, check=check).stderr

    def mergekit_forked(self, script: str, *words: object, check: bool = True) -> str:
        """Run one of mergekit's console scripts where mergekit is imported already."""
        code = f"from mergekit.scripts.{script} import main; main()"
        return self.run_forked(code, *words, imported=MERGEKIT, check=check).stderr

    def pip(self, *words: object) -> None:
        """Run the present environment's pip on this one."""
        command = [sys.executable, "-m", "pip", "--python", self.python, "--quiet", *words]
        subprocess.run([str(word) for word in command], check=True)

    def files(self) -> set[str]:
        """Return everything in site-packages, but for what running Python leaves."""
        found = (path.relative_to(self.site).as_posix() for path in self.site.rglob("*"))
        return {name for name in found if "__pycache__" not in name}


def make_environment(folder: Path) -> Environment:
    """Make a virtual environment that sees the present one's packages, but not slack-ties."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    scripts = "Scripts" if os.name == "nt" else "bin"
    environment = Environment(folder / scripts / "python", Path(paths["purelib"]))
    # A line of a .pth file adds a folder; the .pth files in that folder are not read, so
    # the present environment's own slack-ties stays out.
    (environment.site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel installed; not to be changed."""
    environment = make_environment(tmp_path_factory.mktemp("installed") / "venv")
    environment.pip("install", "--no-deps", "--ignore-installed", wheel)
    return environment


@pytest.fixture
def broken(installed: Environment, tmp_path: Path) -> Environment:
    """The same, to be damaged."""
    environment = make_environment(tmp_path / "venv")
    shutil.copytree(installed.site, environment.site, dirs_exist_ok=True)
    return environment


@pytest.fixture
def config(triple: Folders, tmp_path: Path) -> Path:
    """A slack_ties config as `slack-ties config` writes it."""
    choices = Choices(base=str(triple.base), ct=str(triple.ct), sft=str(triple.sft))
    path = tmp_path / "bo.yml"
    path.write_bytes(make_config("bo", choices).text.encode())
    return path


@pytest.fixture
def ties(config: Path) -> Path:
    """The same merge by stock `ties`."""
    data = yaml.safe_load(config.read_text("utf-8"))
    del data["models"][1]["parameters"]["slack"]
    path = config.with_name("ties.yml")
    path.write_text(yaml.safe_dump({**data, "merge_method": "ties"}))
    return path


def test_mergekit_yaml_runs_our_configs(
    installed: Environment, config: Path, tmp_path: Path
) -> None:
    """From the wheel: byte for byte what `slack-ties merge` makes, and loaded from there."""
    where = installed.run("-c", "import slack_ties; print(slack_ties.__file__)").stdout
    installed.mergekit("run_yaml", config, tmp_path / "stock", "--no-write-model-card")
    words = ["merge", config, tmp_path / "ours", "--quiet"]
    installed.run_forked(processes.OURS, *words, imported=MERGEKIT)

    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("stock", "ours")]
    assert Path(where.strip()).is_relative_to(installed.site)
    assert files[0] == files[1]


def test_mergekit_yaml_from_an_editable_install(config: Path, tmp_path: Path) -> None:
    """The command of the present environment, where developers have `pip install -e`."""
    command = [Path(sys.executable).with_name("mergekit-yaml"), config, tmp_path / "out"]

    done = subprocess.run(
        [*command, "--no-write-model-card"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_mergekit_multi(installed: Environment, config: Path, tmp_path: Path) -> None:
    """A chain of merges in one file."""
    chain = tmp_path / "chain.yml"
    chain.write_text(f"name: first\n{config.read_text('utf-8')}", "utf-8")

    installed.mergekit_forked(
        "multimerge", chain, "-I", tmp_path / "parts", "--no-write-model-card"
    )

    assert (tmp_path / "parts" / "first" / "model.safetensors").is_file()


def test_mergekit_pytorch(installed: Environment, triple: Folders, tmp_path: Path) -> None:
    """Files of tensors instead of models."""
    sft = load_file(triple.sft / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in sft.items()}, tmp_path / "other.safetensors")
    config = {
        "merge_method": "slack_ties",
        "base_model": str(triple.sft / "model.safetensors"),
        "models": [
            {"model": str(tmp_path / "other.safetensors"), "parameters": {"weight": 1, "slack": 1}}
        ],
    }
    path = tmp_path / "raw.yml"
    path.write_text(yaml.safe_dump(config))

    installed.mergekit_forked("merge_raw_pytorch", path, tmp_path / "out")

    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert all((merged[name] == tensor + 1).all() for name, tensor in sft.items())


def test_child_processes_know_it(installed: Environment) -> None:
    """Processes that are spawned start Python anew, and with it the hook."""
    code = (
        "import multiprocessing, sys\n"
        "def name(_):\n"
        "    import mergekit.merge_methods as m\n"
        "    return m.get('slack_ties').spec.name\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(name, [0]))\n"
    )
    script = installed.site.parent / "child.py"
    script.write_text(code)

    assert installed.run(script).stdout == "['slack_ties']\n"


@pytest.mark.parametrize(
    "code",
    [
        "import slack_ties.method, mergekit.merge_methods",
        "import mergekit.merge_methods, slack_ties.method",
        "import mergekit.merge_methods.registry",
        "import mergekit.merge_methods.ram",
        "from mergekit.merge_methods import api",
        "import importlib.util as u; u.find_spec('mergekit.merge_methods')",
        "import slack_ties._mergekit_hook as h; h.install(); h.install()",
        "import importlib, mergekit.merge_methods as m; importlib.reload(m)",
        "from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "list(Pool(4).map(__import__, ['mergekit.merge_methods'] * 4))",
    ],
)
def test_it_is_registered_once_in_any_order(installed: Environment, code: str) -> None:
    """Whatever is imported first; afterwards no trace of the hook is left."""
    code = f"import sys; assert 'mergekit' not in sys.modules, 'too early'\n{code}"
    check = (
        "from mergekit.merge_methods import registered_methods\n"
        "print([m.spec.name for m in registered_methods()].count('slack_ties'),"
        " [f for f in sys.meta_path if type(f).__module__.startswith('slack_ties')])"
    )

    done = installed.run_forked(f"{code}\n{check}", imported=WITHOUT_MERGEKIT)

    assert (done.stdout, done.stderr) == ("1 []\n", "")


def test_start_up_imports_nothing_but_itself(installed: Environment) -> None:
    """Every Python of the environment starts with our hook: it may cost next to nothing."""
    with_hook = installed.run("-c", LISTING).stdout
    without = installed.run("-S", "-c", f"import site, importlib.util; {LISTING}").stdout

    ours = {name for name in eval(with_hook) if name.startswith("slack_ties")}  # noqa: S307
    heavy = {"torch", "mergekit", "transformers", "logging", "typing", "importlib.metadata"}
    assert ours == {"slack_ties", "slack_ties._mergekit_hook"}
    assert heavy.intersection(eval(with_hook)) <= heavy.intersection(eval(without))  # noqa: S307


def test_the_start_file_of_python_3_15_resolves(installed: Environment) -> None:
    """Its line names the same function in the form that PEP 829 asks for."""
    line = (installed.site / "slack_ties.start").read_text("utf-8").strip()

    code = f"import pkgutil; print(pkgutil.resolve_name({line!r})())"

    assert installed.run("-c", code).stdout == "None\n"


def said_of_ours(errors: str) -> str:
    """Return the one line that names our method."""
    (line,) = [line for line in errors.splitlines() if "slack_ties" in line]
    return line


def test_a_broken_method_breaks_no_merge(broken: Environment, ties: Path, tmp_path: Path) -> None:
    """Stock methods merge as before; one logged line says what is missing and why."""
    (broken.site / "slack_ties" / "method.py").write_text("raise RuntimeError('broken\\nkernel')")

    errors = broken.mergekit("run_yaml", ties, tmp_path / "out", "--no-write-model-card", "--quiet")

    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert "merge method slack_ties is not available: " in said_of_ours(errors)


@pytest.mark.parametrize(
    "damage",
    ["from mergekit.merge_methods import gone", "def ("],
    ids=["changed mergekit", "syntax error"],
)
def test_a_broken_method_breaks_no_import(broken: Environment, damage: str) -> None:
    """Stock methods are there as before; one logged line says what is missing and why."""
    (broken.site / "slack_ties" / "method.py").write_text(damage)

    done = broken.run("-c", "import mergekit.merge_methods as m; print(m.get('ties').spec.name)")

    assert done.stdout == "ties\n"
    assert "merge method slack_ties is not available: " in said_of_ours(done.stderr)


def test_mergekits_own_method_of_the_name_wins(broken: Environment) -> None:
    """Should mergekit ever ship a slack_ties, ours steps back with one logged line."""
    theirs = Path(shutil.copytree(Path(mergekit.__file__).parent, broken.site / "mergekit"))
    module = theirs / "merge_methods" / "nearswap.py"
    text = module.read_text("utf-8")
    assert text.count('name="nearswap"') == 1
    module.write_text(text.replace('name="nearswap"', 'name="slack_ties"'), "utf-8")
    code = "import mergekit.merge_methods as m; print(type(m.get('slack_ties')).__module__)"

    done = broken.run("-c", code)

    assert done.stdout.startswith("mergekit.")
    assert done.stderr.count("mergekit has its own slack_ties") == 1


def test_without_the_package_python_starts(broken: Environment) -> None:
    """A package that was deleted by hand costs a message, not the interpreter."""
    shutil.rmtree(broken.site / "slack_ties")

    done = broken.run("-c", "print('alive')")

    assert done.stdout == "alive\n"


def test_uninstalling_removes_every_trace(wheel: Path, tmp_path: Path) -> None:
    """The files are gone, and mergekit does not know the method any more."""
    environment = make_environment(tmp_path / "venv")
    before = environment.files()
    environment.pip("install", "--no-deps", "--ignore-installed", wheel)
    during = environment.files()

    environment.pip("uninstall", "--yes", "slack-ties")

    assert {"slack_ties.pth", "slack_ties.start", "slack_ties/catalogue/languages.toml"} <= during
    assert environment.files() == before
    code = "import mergekit.merge_methods as m; print(m.get('ties').spec.name); m.get('slack_ties')"
    done = environment.run("-c", code, check=False)
    assert done.stdout == "ties\n"
    assert "Unimplemented merge method slack_ties" in done.stderr


def test_out_of_range_is_refused_by_name_before_any_tensor(
    installed: Environment, config: Path, tmp_path: Path
) -> None:
    """Also by stock mergekit, which resolves every parameter before it merges."""
    config.write_text(config.read_text("utf-8").replace("slack: 0.2", "slack: 1.2"), "utf-8")

    errors = installed.mergekit_forked("run_yaml", config, tmp_path / "out", check=False)

    assert "slack must be a number in [0, 1], got 1.2" in errors
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_gradients_and_filters_are_resolved_by_mergekit(
    installed: Environment, triple: Folders, config: Path, tmp_path: Path
) -> None:
    """Slack 0 in the first layer and 1 in the last; weight 0 on the norms of one model."""
    data = yaml.safe_load(config.read_text("utf-8"))
    ct, sft = data["models"]
    ct["parameters"] = {"weight": 1}
    sft["parameters"] = {"weight": [{"filter": "norm", "value": 0}, {"value": 1}], "slack": [0, 1]}
    config.write_text(yaml.safe_dump({**data, "out_dtype": "float32"}))

    installed.mergekit_forked("run_yaml", config, tmp_path / "out", "--no-write-model-card")

    merged = load_file(tmp_path / "out" / "model.safetensors")
    base: dict[str, object] = {}
    for path in triple.base.glob("*.safetensors"):
        base |= load_file(path)
    delta = {
        name: load_file(triple.sft / "model.safetensors")[name].float() - base[name].float()
        for name in merged
    }
    name = "model.layers.{}.mlp.up_proj.weight"
    lost = [
        int(((merged[n] - base[n].float()).sign() * delta[n].sign() < 0).sum())
        for n in (name.format(0), name.format(1))
    ]
    assert lost[0] > 0
    assert lost[1] == 0
    norm = "model.layers.0.input_layernorm.weight"
    assert not ((merged[norm] - base[norm].float()).sign() == delta[norm].sign()).all()
