"""The benchmark of enrolment: what was measured is not measured again, and docs/enrolment.md shows the committed rows."""

import sys
from pathlib import Path

import pytest

from benchmarks.enrolment import __main__ as benchmark
from benchmarks.enrolment.measure import MODELS, RECORDINGS, SCORES, SECONDS
from benchmarks.enrolment.report import enrolment_table, threshold_table
from speaker_lib.experiments.published import read_rows

from .test_enrolment import record

PAGE = Path(__file__).parents[1] / "docs" / "enrolment.md"


def test_the_tables_in_docs_are_those_of_the_committed_rows():
    rows, page = read_rows(benchmark.ROWS), PAGE.read_text(encoding="utf-8")
    assert len(rows) == 3 * len(MODELS) * len(SCORES) * len(SECONDS) * len(RECORDINGS)
    assert enrolment_table(rows) in page and threshold_table(rows) in page
    assert rows[0]["device"] in page and rows[0]["date"] in page


def test_a_small_benchmark_is_measured_once(tmp_path, monkeypatch, capsys):
    for part, speakers, takes in (("train", range(14), 4), ("people", range(20, 28), 7)):
        for speaker in speakers:
            for take in range(takes):
                record(tmp_path / part / f"s{speaker}" / f"{take}.wav", speaker, take, 1.0)
    options = [f"--{name}={tmp_path / name}" for name in ("train", "people", "work")] + [f"--out={tmp_path / 'rows'}"]
    monkeypatch.setattr(sys, "argv", ["benchmarks.enrolment", *options, "--seeds=1", "--steps=2", "--workers=1"])
    monkeypatch.setattr("benchmarks.enrolment.measure.DRAWS", 5)
    monkeypatch.setattr(benchmark, "CHUNK", None)
    benchmark.main()
    once = (tmp_path / "rows").read_text()
    rows = read_rows(tmp_path / "rows")
    assert [row["model"] for row in rows[:: len(rows) // 3]] == list(MODELS) and capsys.readouterr().out.count("| LDA") == 8
    for row in rows:
        assert all(0 <= row[name] <= 1 for name in ("closed", "eer", "accepted", "false_accepts", "false_rejects"))
    closed = {(row["model"], row["recordings"]): row["closed"] for row in rows if row["seconds"] is None}
    assert closed[MODELS[2], 5] > 0.9  # these voices differ in their mean spectrum
    benchmark.main()
    assert (tmp_path / "rows").read_text() == once


def test_wrong_usage(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks.enrolment", "--train", "x"])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "--people" in capsys.readouterr().err
