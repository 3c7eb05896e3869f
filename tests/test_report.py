"""A report's figures are those of dense torch; page and reading say them; errors are clear."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from dense import Dense
from slack_ties.cli.main import cli
from slack_ties.errors import CheckpointError, OutputError, RecipeError, SlackTiesError
from slack_ties.explore.report import make_report
from slack_ties.merge.merge import merge_models
from slack_ties.report.anatomy import layer_of, module_kind
from slack_ties.report.figures import Figures, cosine
from slack_ties.report.file import read_report, write_report
from slack_ties.report.page import make_page
from slack_ties.report.report import Report, ReportedModel
from slack_ties.report.rows import NO_SHARE, ROWS
from slack_ties.report.sentences import read_figures
from slack_ties.report.terminal import summarise
from slack_ties.rule.tally import CONFIG, FIRST_OF_GRID, GRID, NONZERO, RESCUED, TIES, TOPS, Tally
from slack_ties.run import run_all
from triple import Folders, changed, extend, llama, make_triple, save_sharded

WEIGHT, DENSITY, SLACK = [1.0, 0.75], [0.5, 0.6], [0.0, 0.2]


def make_config(folders: Folders, path: Path, **more: object) -> Path:
    """Write the config of a triple."""
    models = [
        {"model": str(model), "parameters": {"weight": w, "density": d, "slack": s}}
        for model, w, d, s in zip((folders.ct, folders.sft), WEIGHT, DENSITY, SLACK, strict=True)
    ]
    data: dict[str, object] = {
        "merge_method": "slack_ties",
        "base_model": str(folders.base),
        "models": models,
        "parameters": {"normalize": False},
        "out_dtype": "bfloat16",
        **more,
    }
    path.write_text(yaml.safe_dump({k: v for k, v in data.items() if v is not None}))
    return path


@pytest.fixture(scope="module")
def large_ct(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A triple whose CT delta is twenty times the SFT delta."""
    folder = tmp_path_factory.mktemp("large")
    base = llama(layers=3)
    save_sharded(base.bfloat16(), folder / "base")
    for role, amount, seed in (("ct", 0.1, 1), ("sft", 0.005, 2)):
        changed(base, amount, seed).bfloat16().save_pretrained(folder / role)
    return Folders(folder / "base", folder / "ct", folder / "sft")


@pytest.fixture(params=["triple", "large_ct"])
def folders(request: pytest.FixtureRequest) -> Folders:
    """The triple of the tests, and one with a large CT delta."""
    return request.getfixturevalue(request.param)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a model in any format, as they are stored."""
    return {
        name: tensor
        for name, tensor in LlamaForCausalLM.from_pretrained(folder, dtype="auto")
        .state_dict()
        .items()
        if "rotary" not in name
    }


def test_figures_are_those_of_dense_torch(folders: Folders, tmp_path: Path) -> None:
    """Counted over all tensors here: losses, rescues, norms, cosine, effective weight, the grid."""
    report, _ = make_report(make_config(folders, tmp_path / "a.yml"), tmp_path / "out", quiet=True)

    base, ct, sft = map(weights, (folders.base, folders.ct, folders.sft))
    tensors = {name: Dense.of(base[name], [ct[name], sft[name]], WEIGHT, DENSITY) for name in base}
    assert set(tensors) == set(report.tensors)
    for model in range(2):
        figures = Figures(report.total, model)
        kept = sum(int(one.kept[model].sum()) for one in tensors.values())
        for level, slack in ((TIES, [0, 0]), (CONFIG, SLACK)):
            lost = {name: one.lost(model, slack) for name, one in tensors.items()}
            assert sum(int(x.sum()) for x in lost.values()) == figures.losses(level)
            assert figures.lost(level) == figures.losses(level) / kept
            energy = sum(
                float((tensors[n].deltas[model][x]).double().square().sum())
                for n, x in lost.items()
            )
            norm = sum(float(one.deltas[model].double().square().sum()) for one in tensors.values())
            assert energy / norm == pytest.approx(figures.energy_lost(level))
            assert math.sqrt(norm) == pytest.approx(figures.norm)
            for top, share in enumerate(TOPS):
                tops = {name: one.top(model, share) for name, one in tensors.items()}
                number = sum(int(x.sum()) for x in tops.values())
                gone = sum(int((lost[name] & x).sum()) for name, x in tops.items())
                assert gone / number == figures.top_lost(top, level)
        rescued = sum(
            int((one.lost(model, [0, 0]) & ~one.lost(model, SLACK)).sum())
            for one in tensors.values()
        )
        assert rescued == figures.losses(RESCUED)
        for i, slack in enumerate(GRID):
            lost_now = sum(int(one.lost(model, [0, slack]).sum()) for one in tensors.values())
            assert lost_now / kept == figures.lost(FIRST_OF_GRID + i)
    assert Figures(report.total, 1).losses(RESCUED) > 0
    dots = sum(float(one.deltas[0].double() @ one.deltas[1].double()) for one in tensors.values())
    norms = Figures(report.total, 0).norm * Figures(report.total, 1).norm
    assert dots / norms == pytest.approx(cosine(report.total, 0, 1), abs=1e-9)


def test_the_effective_weight_is_of_the_merged_delta(large_ct: Folders, tmp_path: Path) -> None:
    """The merged tensors, of float32, tell it: <merged - base, delta> / <delta, delta>."""
    config = make_config(large_ct, tmp_path / "a.yml", out_dtype="float32", dtype="float32")

    merge_models(config, tmp_path / "out", quiet=True, report=True)

    report = read_report(tmp_path / "out")
    base, ct, merged = map(weights, (large_ct.base, large_ct.ct, tmp_path / "out"))
    above = below = 0.0
    for name, origin in base.items():
        delta = (ct[name].float() - origin.float()).double()
        above += float(((merged[name].double() - origin.double()) * delta).sum())
        below += float(delta.square().sum())
    assert above / below == pytest.approx(Figures(report.total, 0).weight, rel=1e-5)


def test_merge_and_report_count_the_same(triple: Folders, tmp_path: Path) -> None:
    """In a merge's pass or in one of its own: the same file, and the same bytes of the model."""
    config = make_config(triple, tmp_path / "a.yml")
    merge_models(config, tmp_path / "plain", quiet=True)

    merge_models(config, tmp_path / "out", quiet=True, report=True)

    first = (tmp_path / "out" / "report.json").read_bytes()
    report, folder = make_report(tmp_path / "out", quiet=True)
    assert folder == tmp_path / "out"
    again = json.loads((folder / "report.json").read_text())
    assert {**json.loads(first), "config": ""} == {**again, "config": ""}
    merged, plain = (next((tmp_path / n).glob("*.safetensors")) for n in ("out", "plain"))
    assert merged.read_bytes() == plain.read_bytes()
    assert report.total.entries.tolist() == [sum(t.numel() for t in load_file(merged).values())] * 2


def test_a_report_of_a_config_writes_no_model(
    triple: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes into a folder named after the config, and holds two files."""
    monkeypatch.chdir(tmp_path)
    make_config(triple, Path("bo.yml"))

    _, folder = make_report("bo.yml", quiet=True)

    assert folder == Path("bo-report")
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bo-report", "bo.yml"]


def test_what_is_read_back_is_what_was_written(triple: Folders, tmp_path: Path) -> None:
    """Counts and sums, to the last digit: written again it has the same bytes."""
    report, folder = make_report(
        make_config(triple, tmp_path / "a.yml"), tmp_path / "o", quiet=True
    )

    again = read_report(folder)

    assert again.models == report.models
    assert again.total.lost.tolist() == report.total.lost.tolist()
    before = (folder / "report.json").read_bytes()
    write_report(again, folder)
    assert (folder / "report.json").read_bytes() == before


def test_a_ties_recipe_is_described_at_slack_0(triple: Folders, tmp_path: Path) -> None:
    """The same figures as those of slack_ties without slack; the SFT model is the one so called."""
    models = [
        {"model": str(model), "parameters": {"weight": 1.0, "density": 0.5}}
        for model in (triple.ct, triple.sft)
    ]
    roles = {"roles": {"ct": [str(triple.ct)], "sft": [str(triple.sft)]}}
    facts = {"recipe": 1, **roles}
    reports = [
        make_report(
            make_config(
                triple,
                tmp_path / f"{method}.yml",
                merge_method=method,
                models=models,
                slack_ties=facts,
            ),
            tmp_path / method,
            quiet=True,
        )[0]
        for method in ("ties", "slack_ties")
    ]

    ties, ours = reports
    assert ties.method == "ties"
    assert ties.total.lost.tolist() == ours.total.lost.tolist()
    assert ties.models[1].varied


def test_extended_vocabularies_are_aligned_as_in_a_merge(triple: Folders, tmp_path: Path) -> None:
    """New rows have no delta; entries are those of the merged matrix."""
    ct = extend(tmp_path / "ct", triple.ct)
    config = make_config(
        Folders(triple.base, ct, triple.sft),
        tmp_path / "a.yml",
        tokenizer={"source": str(ct)},
    )

    report, _ = make_report(config, tmp_path / "o", quiet=True)

    embedding = report.tensors["model.embed_tokens.weight"]
    assert embedding.positions[0] == (512 + 64) * 64


def test_an_adapter_is_merged_into_its_model_first(triple: Folders, tmp_path: Path) -> None:
    """The delta is zero but where the adapter is; nothing is left of what was made on the way."""
    model = LlamaForCausalLM.from_pretrained(triple.base)
    adapter = get_peft_model(
        model, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    )
    adapter.save_pretrained(tmp_path / "lora")
    pair = f"{triple.base}+{tmp_path / 'lora'}"
    models = [
        {"model": str(triple.ct), "parameters": {"weight": 1.0}},
        {"model": pair, "parameters": {"weight": 1.0, "slack": 0.2}},
    ]
    (tmp_path / "work").mkdir()

    report, folder = make_report(
        make_config(triple, tmp_path / "a.yml", models=models), tmp_path / "work" / "o", quiet=True
    )

    assert report.models[1].model == pair
    nonzero = {name for name, tally in report.tensors.items() if tally.counts[1, NONZERO]}
    assert nonzero == {name for name in report.tensors if "q_proj" in name}
    assert [path.name for path in folder.parent.iterdir()] == ["o"]


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "dare_ties"])
def test_other_methods_are_refused(method: str, triple: Folders, tmp_path: Path) -> None:
    """Before a model is read, naming the methods that work."""
    models = [{"model": str(triple.sft), "parameters": {"weight": 1.0}}]
    config = make_config(triple, tmp_path / "a.yml", merge_method=method, models=models)

    with pytest.raises(RecipeError, match="only for slack_ties and ties"):
        make_report(config, tmp_path / "o")

    assert not (tmp_path / "o").exists()


def test_merge_with_report_refuses_ties(triple: Folders, tmp_path: Path) -> None:
    """Mergekit's own method does not count for a report; the hint says what does."""
    models = [{"model": str(triple.sft), "parameters": {"weight": 1.0}}]
    config = make_config(triple, tmp_path / "a.yml", merge_method="ties", models=models)

    with pytest.raises(RecipeError, match="does not count for a report") as caught:
        merge_models(config, tmp_path / "o", report=True)

    assert "slack-ties report" in caught.value.hint


def test_a_stream_cannot_be_reported_on(triple: Folders, tmp_path: Path) -> None:
    """Taken up again it merges only what was not sent; that is said before anything is asked."""
    config = make_config(triple, tmp_path / "a.yml")

    with pytest.raises(SlackTiesError, match="--report and --stream") as caught:
        run_all(config, tmp_path / "o", publish="me/it", stream=True, report=True)

    assert caught.value.hint.endswith(f"slack-ties report {config}")


def test_nan_is_an_error_that_names_model_and_tensor(triple: Folders, tmp_path: Path) -> None:
    """As in a merge; nothing is left behind."""
    bad = tmp_path / "bad"
    model = LlamaForCausalLM.from_pretrained(triple.sft)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = math.nan
    model.save_pretrained(bad)
    config = make_config(Folders(triple.base, triple.ct, bad), tmp_path / "a.yml")

    with pytest.raises(CheckpointError, match=r"layers.1.mlp.up_proj.*bad.*NaN"):
        make_report(config, tmp_path / "o", quiet=True)

    assert not (tmp_path / "o").exists()


def test_a_model_that_is_the_base_has_no_shares(triple: Folders, tmp_path: Path) -> None:
    """They are null in the file, and the reading says that there is nothing to merge."""
    config = make_config(Folders(triple.base, triple.ct, tmp_path / "same"), tmp_path / "a.yml")
    (tmp_path / "same").mkdir()
    for path in triple.base.iterdir():
        (tmp_path / "same" / path.name).write_bytes(path.read_bytes())

    report, folder = make_report(config, tmp_path / "o", quiet=True)

    data = json.loads((folder / "report.json").read_text())
    shares = data["total"]["models"][1]["shares"]
    assert (shares["norm"], shares["effective_weight"]) == (0, None)
    assert shares["top_lost"]["ties"] == [None] * 4
    assert "SFT (same) does not differ from the base" in data["reading"][0]
    assert data["suggested_slack"] is None
    assert "does not differ" in summarise(report)
    assert "</html>" in (folder / "report.html").read_text("utf-8")


def test_a_ct_model_that_is_the_base_is_described_in_words(triple: Folders, tmp_path: Path) -> None:
    """No sentence has a dash for a number; the table says what its dashes mean."""
    shutil.copytree(triple.base, tmp_path / "same")
    config = make_config(Folders(triple.base, tmp_path / "same", triple.sft), tmp_path / "a.yml")

    report, folder = make_report(config, tmp_path / "o", quiet=True)

    reading = json.loads((folder / "report.json").read_text())["reading"]
    assert reading == [
        "CT (same) does not differ from the base: there is nothing of it to merge.",
        "At slack 0 (plain TIES) no model loses an entry of its top 10 %.",
        "No slack is suggested.",
    ]
    assert NO_SHARE in summarise(report)
    assert NO_SHARE in (folder / "report.html").read_text("utf-8")


@pytest.mark.parametrize("role", ["ct", "sft"])
def test_a_model_of_density_0_is_described_in_words(
    role: str, triple: Folders, tmp_path: Path
) -> None:
    """Nothing of it is kept, so no share of it is said."""
    models = [
        {"model": str(model), "parameters": {"weight": 1.0, "density": density, "slack": slack}}
        for model, density, slack in (
            (triple.ct, 0.0 if role == "ct" else 0.5, 0.0),
            (triple.sft, 0.0 if role == "sft" else 0.5, 0.2),
        )
    ]

    report, folder = make_report(
        make_config(triple, tmp_path / "a.yml", models=models), tmp_path / "o", quiet=True
    )

    data = json.loads((folder / "report.json").read_text())
    reading = data["reading"]
    assert reading[0] == f"{role.upper()} ({role}) has density 0: nothing of it is merged."
    assert reading[-1] == "No slack is suggested."
    assert data["suggested_slack"] is None
    assert " - " not in " ".join(reading)
    assert NO_SHARE in summarise(report)


def test_every_figure_has_a_legend(triple: Folders, tmp_path: Path) -> None:
    """Beside it in the terminal and on the page, and in docs/report.md under the same name."""
    report, folder = make_report(
        make_config(triple, tmp_path / "a.yml"), tmp_path / "o", quiet=True
    )

    page = (folder / "report.html").read_text("utf-8")
    manual = (Path(__file__).parent.parent / "docs" / "report.md").read_text("utf-8")
    lines = summarise(report).splitlines()
    for row in ROWS:
        assert f"<td>{escape(row.name)}</td>" in page
        assert f"<td>{escape(row.meaning)}</td>" in page
        assert f"| {row.name} |" in manual
        found = [one for one in lines if one.startswith(f"{row.name} ")]
        assert bool(found) == row.in_terminal
        assert all(one.endswith(row.meaning) for one in found[:1])  # before the other slacks
    assert "| cost |" in manual


def test_models_without_room_for_legends_have_them_below(triple: Folders, tmp_path: Path) -> None:
    """With three models a line would be too long, and every meaning gets a line of its own."""
    other = shutil.copytree(triple.ct, tmp_path / "other")
    models = [
        {"model": str(one), "parameters": {"weight": 1.0, "density": 0.5, "slack": slack}}
        for one, slack in ((triple.ct, 0.0), (triple.sft, 0.2), (other, 0.0))
    ]
    names = {"ct": [str(triple.ct), str(other)], "sft": [str(triple.sft)]}
    config = make_config(
        triple, tmp_path / "a.yml", models=models, slack_ties={"recipe": 1, "roles": names}
    )

    report, _ = make_report(config, tmp_path / "o", quiet=True)

    lines = summarise(report).splitlines()
    assert report.headings == ["CT 1", "SFT", "CT 2"]
    assert "delta norm: size of what the model changed" in lines
    assert max(map(len, lines)) < 80


def test_a_single_model_loses_nothing(triple: Folders, tmp_path: Path) -> None:
    """The reading says that slack changes nothing."""
    models = [{"model": str(triple.sft), "parameters": {"weight": 1.0, "slack": 0.2}}]
    config = make_config(triple, tmp_path / "a.yml", models=models)

    report, folder = make_report(config, tmp_path / "o", quiet=True)

    assert Figures(report.total, 0).losses(TIES) == 0
    reading = json.loads((folder / "report.json").read_text())["reading"]
    assert "only model" in reading[0]
    assert "Its delta has norm" in reading[1]
    assert 3 <= len(reading) <= 6


def test_a_single_model_that_is_the_base_has_no_share(triple: Folders, tmp_path: Path) -> None:
    """The reading says so, without a dash for a number."""
    same = shutil.copytree(triple.base, tmp_path / "same")
    models = [{"model": str(same), "parameters": {"weight": 1.0, "slack": 0.2}}]

    report, _ = make_report(
        make_config(triple, tmp_path / "a.yml", models=models), tmp_path / "o", quiet=True
    )

    reading = read_figures(report).sentences
    assert "does not differ from the base" in reading[1]
    assert " - " not in " ".join(reading)


def test_without_an_sft_model_no_slack_is_suggested(triple: Folders, tmp_path: Path) -> None:
    """Nothing is guessed: no grid, no curve, and the reading says why."""
    models = [
        {"model": str(model), "parameters": {"weight": 1.0}} for model in (triple.ct, triple.sft)
    ]
    config = make_config(triple, tmp_path / "a.yml", models=models)

    report, folder = make_report(config, tmp_path / "o", quiet=True)

    data = json.loads((folder / "report.json").read_text())
    assert "does not say which model is the SFT model" in " ".join(data["reading"])
    assert data["suggested_slack"] is None
    assert not any(model.varied for model in report.models)
    assert "What each slack keeps" not in (folder / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "damaged"), ('{"report": 99}', "expected report version 1, got 99"), ("[]", "damaged")],
)
def test_a_damaged_report_is_an_error(content: str, said: str, tmp_path: Path) -> None:
    """With the command that makes it again."""
    (tmp_path / "report.json").write_text(content)

    with pytest.raises(OutputError, match=said) as caught:
        read_report(tmp_path)

    assert f"slack-ties report CONFIG -o {tmp_path} --overwrite" in caught.value.hint


@pytest.mark.parametrize("name", ["report.json", "report.html"])
def test_a_file_of_somebody_else_stays(name: str, triple: Folders, tmp_path: Path) -> None:
    """It is refused before a model is read; with --overwrite, and over our own, it is written."""
    folder = tmp_path / "o"
    folder.mkdir()
    theirs = folder / name
    theirs.write_text('{"report": "<h1>Sales</h1>"}')
    nowhere = Folders(Path("no/base"), Path("no/ct"), Path("no/sft"))
    with pytest.raises(OutputError, match=f"{re.escape(name)}' exists, and is not") as caught:
        make_report(make_config(nowhere, tmp_path / "n.yml"), folder, quiet=True)
    assert "--overwrite" in caught.value.hint
    assert [path.name for path in folder.iterdir()] == [name]
    assert theirs.read_text() == '{"report": "<h1>Sales</h1>"}'

    config = make_config(triple, tmp_path / "a.yml")
    make_report(config, folder, quiet=True, overwrite=True)
    wrote = theirs.read_bytes()
    make_report(config, folder, quiet=True)
    assert theirs.read_bytes() == wrote


def test_the_hint_of_a_damaged_report_makes_it_again(triple: Folders, tmp_path: Path) -> None:
    """The words of the hint, as the shell splits them, also for a folder with a space."""
    out = tmp_path / "my model"
    merge_models(make_config(triple, tmp_path / "a.yml"), out, quiet=True, report=True)
    (out / "report.json").write_text("{")

    with pytest.raises(OutputError, match="damaged") as caught:
        read_report(out)
    _, _, command = caught.value.hint.partition("slack-ties ")
    done = CliRunner().invoke(cli, shlex.split(command))

    assert done.exit_code == 0, done.output
    assert read_report(out).models


@pytest.mark.parametrize("name", ["-o", "--out", "--output"])
def test_the_folder_has_the_name_that_other_commands_use(
    name: str, triple: Folders, tmp_path: Path
) -> None:
    """`run`, `merge` and `verify` call a folder --out, so `report` takes it too."""
    config, folder = make_config(triple, tmp_path / "a.yml"), tmp_path / "o"

    done = CliRunner().invoke(cli, ["report", str(config), name, str(folder), "--quiet"])

    assert done.exit_code == 0, done.output
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize("name", ["page.html", "report.json"])
def test_a_file_where_a_folder_is_meant(name: str, triple: Folders, tmp_path: Path) -> None:
    """A report is a folder of two files, and is not written into a folder with a file's name."""
    config = make_config(triple, tmp_path / "a.yml")

    with pytest.raises(OutputError, match=f"{name}' is the name of a file") as caught:
        make_report(config, tmp_path / name, quiet=True)

    folder = tmp_path / Path(name).stem
    assert caught.value.hint == f"choose a folder: -o {shlex.quote(str(folder))}"
    assert not (tmp_path / name).exists()


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    """A folder that was not merged has nothing to report."""
    with pytest.raises(OutputError, match=r"has no mergekit_config.yml"):
        make_report(tmp_path)


class _Page(HTMLParser):
    """Collects what a page would load or run, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note tags and what they point to."""
        self.tags.append(tag)
        self.links += [str(value) for key, value in attrs if key in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text.append(data)


def test_the_page_needs_nothing_and_escapes_everything() -> None:
    """No script, no link, no image from elsewhere; names are text, whatever they hold."""
    name = '"><script>alert(1)</script>&\u202e'
    models = (ReportedModel(name, "ct"), ReportedModel("x/y", "sft", varied=True))
    tally = Tally.empty([False, True])
    tally.entries[:] = 4
    report = Report(f"<b>{name}", "slack_ties", models, {"model.layers.0.mlp.x": tally})

    page = _Page()
    page.feed(make_page(report))

    assert not {"script", "link", "img", "iframe", "object", "b"} & set(page.tags)
    assert page.links == []
    assert "url(" not in make_page(report)
    assert "alert(1)" in "".join(page.text)


def test_the_page_shows_the_figures_of_the_report(large_ct: Folders, tmp_path: Path) -> None:
    """All sentences, commands as code, five charts, and a title with the value at each point."""
    report, folder = make_report(
        make_config(large_ct, tmp_path / "a.yml"), tmp_path / "o", quiet=True
    )

    text = (folder / "report.html").read_text("utf-8")
    assert text.count("<figure>") == 5
    page = _Page()
    page.feed(text)
    for sentence in json.loads((folder / "report.json").read_text())["reading"]:
        assert sentence.replace("`", "") in "".join(page.text)
    assert "<code>tune</code>" in text
    assert "`" not in "".join(page.text)
    lost = Figures(report.layers[2], 1).top_lost(TOPS.index(0.1), TIES)
    assert f"TIES (slack 0), layer 2: {100 * lost:.3g} %" in text
    assert "config: 0.2" in text
    assert "prefers-color-scheme:dark" in text


def test_the_summary_is_short(folders: Folders, tmp_path: Path) -> None:
    """It fits 80 columns and 34 lines."""
    report, _ = make_report(make_config(folders, tmp_path / "a.yml"), tmp_path / "o", quiet=True)

    lines = summarise(report).splitlines()

    assert len(lines) <= 34
    assert max(map(len, lines)) < 80


def test_every_tensor_of_a_llama_has_its_place() -> None:
    """Layers and kinds of module, by name."""
    places = {name: (layer_of(name), module_kind(name)) for name in llama().state_dict()}

    assert places["model.embed_tokens.weight"] == (None, "embedding")
    assert places["model.layers.1.self_attn.q_proj.weight"] == (1, "q")
    assert places["model.layers.0.mlp.down_proj.weight"] == (0, "MLP")
    assert places["model.layers.0.input_layernorm.weight"] == (0, "norm")
    assert places["model.norm.weight"] == (None, "norm")
    assert places["lm_head.weight"] == (None, "head")
    assert "other" not in {kind for _, kind in places.values()}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("transformer.h.0.attn.c_attn.weight", "qkv"),
        ("transformer.h.0.attn.c_proj.weight", "o"),
        ("transformer.h.3.mlp.c_fc.weight", "MLP"),
        ("transformer.wte.weight", "embedding"),
        ("transformer.ln_f.weight", "norm"),
        ("transformer.h.0.ln_1.weight", "norm"),
        ("gpt_neox.layers.0.attention.query_key_value.weight", "qkv"),
        ("gpt_neox.layers.0.attention.dense.weight", "o"),
        ("model.layers.0.self_attn.q_norm.weight", "norm"),
        ("model.layers.0.block_sparse_moe.experts.1.w1.weight", "MLP"),
        ("embed_out.weight", "head"),
        ("something.else", "other"),
    ],
)
def test_other_architectures_have_theirs(name: str, kind: str) -> None:
    """As transformers names their tensors."""
    assert module_kind(name) == kind


def test_a_report_is_made_of_a_damaged_triple_never(tmp_path: Path) -> None:
    """A model without a tensor is refused as in a merge, before anything is written."""
    folders = make_triple(tmp_path)
    state = load_file(folders.sft / "model.safetensors")
    state.pop("model.layers.0.mlp.up_proj.weight")
    save_file(state, folders.sft / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(CheckpointError, match=re.escape("up_proj")):
        make_report(make_config(folders, tmp_path / "a.yml"), tmp_path / "o", quiet=True)
