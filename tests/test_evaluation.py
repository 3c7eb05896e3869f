"""Results in the Hub's format: read, checked, and written as its client reads them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResultEntry, parse_eval_result_entries

from slack_ties.card.evaluation import add_results, read_results, results_of
from slack_ties.errors import OutputError

FULL = """
- dataset:
    id: facebook/belebele
    task_id: bod_Tibt
    revision: 5503434ddd753f426f4b38109466949a1217c2bb
  value: 31.5
  date: 2026-11-23
  source:
    url: https://huggingface.co/spaces/me/logs
    name: logs
    user: me
  notes: "5-shot"
- dataset: {id: facebook/belebele, task_id: uig_Arab}
  value: 0
"""
BELEBELE = "{dataset: {id: facebook/belebele, task_id: x}, value: 1"


def test_the_hubs_format(tmp_path: Path) -> None:
    """Every field; a date that YAML takes for one comes back as the text that it was."""
    (tmp_path / "belebele, 5 shot.yml").write_text(FULL)

    path = add_results(tmp_path / "belebele, 5 shot.yml", tmp_path)

    assert path == tmp_path / ".eval_results" / "belebele-5-shot.yaml"
    entries = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    assert entries == results_of(tmp_path)
    assert entries == [
        EvalResultEntry(
            dataset_id="facebook/belebele",
            task_id="bod_Tibt",
            value=31.5,
            dataset_revision="5503434ddd753f426f4b38109466949a1217c2bb",
            date="2026-11-23",
            source_url="https://huggingface.co/spaces/me/logs",
            source_name="logs",
            source_user="me",
            notes="5-shot",
        ),
        EvalResultEntry(dataset_id="facebook/belebele", task_id="uig_Arab", value=0),
    ]


def test_files_are_taken_in_the_order_of_their_names(tmp_path: Path) -> None:
    """And one that is given again replaces itself."""
    for name, value in (("b", 1), ("a", 2), ("b", 3)):
        (tmp_path / f"{name}.yaml").write_text(
            f"- {{dataset: {{id: a/b, task_id: t}}, value: {value}}}"
        )
        add_results(tmp_path / f"{name}.yaml", tmp_path)

    assert [entry.value for entry in results_of(tmp_path)] == [2, 3]
    assert results_of(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a list of"),
        ("{}", "expected a list of"),
        ("- 3", "[0]: expected a list of"),
        ("- {value: 3}", "[0]: expected a list of"),
        ("- {dataset: facebook/belebele, value: 3}", "[0]: expected a list of"),
        ("- {", "not valid YAML"),
        (f"- {BELEBELE}, score: 3}}", "[0]: unknown key 'score', known: dataset, value"),
        ("- {dataset: {id: a/b, task_id: t, split: x}, value: 3}", "[0].dataset: unknown key"),
        ("- {dataset: {id: belebele, task_id: t}, value: 3}", "[0].dataset.id: expected a"),
        ("- {dataset: {id: a/b}, value: 3}", "[0].dataset.task_id: expected"),
        ("- {dataset: {id: a/b, task_id: 3}, value: 3}", "[0].dataset.task_id: expected"),
        ("- {dataset: {id: a/b, task_id: t}, value: high}", "[0].value: expected a number"),
        ("- {dataset: {id: a/b, task_id: t}, value: .nan}", "[0].value: expected a number"),
        ("- !!int ''", "not valid YAML"),
        ("- {dataset: {id: a/b, task_id: t}, value: true}", "[0].value: expected a number"),
        ("- {dataset: {id: a/b, task_id: t}}", "[0].value: expected a number, got None"),
        (f"- {BELEBELE}, source: {{name: x}}}}", "[0].source.url: expected a URL"),
        (f"- {BELEBELE}, source: {{url: 'javascript:x'}}}}", "[0].source.url: expected a URL"),
        (f"- {BELEBELE}, source: x}}", "[0].source: expected keys and values"),
        (f"- {BELEBELE}, notes: 5}}", "expected texts; quote texts that look like numbers"),
    ],
)
def test_what_is_not_in_the_format(tmp_path: Path, text: str, message: str) -> None:
    """The place, what was expected, and where the format is described."""
    (tmp_path / "x.yaml").write_text(text)

    with pytest.raises(OutputError, match=re.escape(message)) as caught:
        add_results(tmp_path / "x.yaml", tmp_path)

    assert "https://huggingface.co/docs/hub/eval-results" in caught.value.hint
    assert not (tmp_path / ".eval_results").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Or is too long, or no text."""
    (tmp_path / "long.yaml").write_bytes(b"#" * 1_000_001)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")

    for name in ("none.yaml", "long.yaml", "binary.yaml"):
        with pytest.raises(OutputError, match=re.escape(name)):
            read_results(tmp_path / name)
