"""What tables say of a run folder: its values, what is missing, and which measurements count."""

from __future__ import annotations

import contextlib
import json

import pytest
import synthetic

from edgeprune import files, records, report
from edgeprune.errors import EdgepruneError
from edgeprune.report import results


def by_quantity(table):
    return {r["quantity"]: r for r in table.records()}


def test_comparison_holds_promised_and_measured(tmp_path):
    run = synthetic.whole(tmp_path / "a")
    table = report.comparison(run)
    rows = by_quantity(table)
    assert rows["Parameters"]["dense"] == 14_982_474
    assert rows["Parameters"]["pruned"] == 3_429_642
    assert rows["Parameters"]["change"] == pytest.approx(-0.771, abs=5e-4)  # the paper's 77.1 %
    assert rows["FLOPs, one image"]["change"] == pytest.approx(-0.329, abs=5e-4)
    assert rows["Test accuracy"]["change"] == pytest.approx(-0.0081)
    assert rows["Latency, median"]["dense"] == pytest.approx(5.21e-3)
    assert rows["Latency, median"]["unit"] == "s"
    assert rows["Peak memory"]["pruned"] == 87 << 20
    assert rows["Realised speed-up"]["pruned"] == pytest.approx(0.8344)
    assert rows[".onnx file"]["dense"] == run.onnx_path("dense").stat().st_size
    json.dumps(table.records(), allow_nan=False)


def test_comparison_reads_whole_at_80_columns(tmp_path):
    text = report.comparison(synthetic.whole(tmp_path / "vgg16-cifar10-imagenet")).text()
    assert max(map(len, text.splitlines())) <= 80
    for words in ("14.98 M", "57.15 MiB", "−0.81 points", "5.21 ms", "0.83× (0.81–0.85)", "1.24×"):
        assert words in text
    assert "…" not in text


def test_steps_read_whole_at_80_columns(tmp_path):
    found = report.read(synthetic.whole(tmp_path / "a"))
    table = results.history_table(found)
    text = table.text()
    assert max(map(len, text.splitlines())) <= 80
    assert "512 → 448" in text
    assert "undone" in text
    assert len(table.rows) == 34
    last = table.records()[-1]
    assert (last["layer"], last["width"], last["removed"], last["kept"]) == (
        "features.7",
        112,
        16,
        False,
    )


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((), ["not trained to the end yet: edgeprune prune --model vgg16 --init imagenet"]),
        (("spec", "dense"), ["not pruned to the end yet: edgeprune prune --model vgg16"]),
        (
            ("spec", "dense", "sensitivity", "pruned"),
            ["edgeprune export RUN", "edgeprune bench RUN"],
        ),
        (("spec", "dense", "sensitivity", "pruned", "onnx"), ["edgeprune bench RUN"]),
    ],
)
def test_absent_parts_are_said_with_their_command(tmp_path, parts, said):
    run = synthetic.run(tmp_path / "a", *parts)
    table = report.comparison(run)
    notes = "\n".join(table.notes)
    for words in said:
        assert words.replace("RUN", run.word) in notes
    assert "Latency, median" not in by_quantity(table)


def test_the_verdict_is_the_bench_s_own(tmp_path):
    run = synthetic.run(tmp_path / "a", "spec", "dense", "pruned", "onnx", "bench")
    path = run.bench_folder / "cpu.json"
    document = files.read_json(path)
    document["summary"]["networks"][1] |= {
        "verdict": "no measurable difference", "speedup": 1.01, "speedup_interval": [0.98, 1.04],
    }  # fmt: skip
    files.write_json(path, document)
    assert "no measurable difference" in "\n".join(report.comparison(run).notes)


def test_the_latest_measurement_of_a_device_counts(tmp_path):
    run = synthetic.whole(tmp_path / "a")
    synthetic.bench(run, "later.json", created="2026-11-21T09:00:00+0000")
    synthetic.bench(run, "board.json", device="ssh://pi@board", created="2026-11-19T09:00:00+0000")
    found = report.read(run)
    assert [m.path.name for m in found.measurements] == ["later.json", "board.json"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": "incomplete"}, "broken off"),
        ({"format": "other"}, "not a result"),
        ({"version": 99}, "version 99"),
        ({"summary": {}}, "not the form"),
        ({"summary": {"networks": []}}, "neither dense nor pruned"),
    ],
)
def test_measurements_that_do_not_count_are_said(tmp_path, change, why):
    run = synthetic.run(tmp_path / "a", "spec", "dense", "pruned", "onnx")
    synthetic.bench(run, **change)
    table = report.comparison(run)
    assert why in "\n".join(table.notes)
    assert "Latency, median" not in by_quantity(table)


def test_a_measurement_of_another_state_of_the_run_does_not_count(tmp_path):
    run = synthetic.whole(tmp_path / "a")
    other = synthetic.COUNTS["pruned"] | {"flops": 1}
    run.append(records.Result(network="pruned", test_accuracy=0.9, **other))
    assert "it measured another pruned network" in "\n".join(report.read(run).left_out)


def test_widths_follow_what_is_kept(tmp_path):
    found = report.read(synthetic.whole(tmp_path / "a"))
    table = results.widths_table(found)
    widths = {r["layer"]: (r["dense"], r["pruned"]) for r in table.records()}
    assert widths["conv8 (features.17)"] == (512, 192)
    assert widths["conv1 (features.0)"] == (64, 64)
    assert widths["dense1 (classifier.0)"] == (512, 512)


def test_summary_prints_the_paper_s_cells(tmp_path):
    found = {"VGG16-A": report.read(synthetic.whole(tmp_path / "a"))}
    dense, pruned = report.summary(found).cells()
    assert dense[1:4] == ["14.98", "627.48", "57.15"]
    assert pruned[1:6] == ["3.43", "421.20", "13.08", "77.1 %", "32.9 %"]


def test_states(tmp_path):
    parts = ("spec", "dense", "sensitivity", "pruned", "onnx", "bench")
    states = [
        report.read(synthetic.run(tmp_path / str(n), *parts[:n])).state
        for n in range(len(parts) + 1)
    ]
    assert states == ["begun", "begun", "trained", "pruning", "pruned", "exported", "measured"]


@pytest.mark.parametrize(
    ("share", "text"), [(-0.7711, "−77.1"), (0.0, "0.0"), (-0.00001, "0.0"), (0.05, "+5.0")]
)
def test_signed(share, text):
    assert results.signed(share) == text


def test_ratio_with_an_open_interval():
    assert results.ratio(1.2, [None, None]) == "1.20× (0.00–∞)"
    assert results.ratio(1.2, None) == "1.20×"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("recipe.json", '"step": 0.125', '"step": "a"'),
        ("recipe.json", '"pruning": {', '"pruning": "x", "was": {'),
        ("recipe.json", '"limit": ', '"limit": "many", "was": '),
        ("spec.json", '"classes": [', '"classes": 3, "was": ['),
        ("spec.json", '"dense": {', '"dense": [1, 2], "was": {'),
        ("spec.json", '"kept": {', '"kept": [1], "was": {'),
        ("history.jsonl", '"params": ', '"params": null, "was": '),
        ("history.jsonl", '"flops": ', '"flops": 0, "was": '),
        ("history.jsonl", '"test_accuracy": ', '"test_accuracy": NaN, "was": '),
        ("history.jsonl", '"accuracy": ', '"accuracy": "x", "was": '),
        ("history.jsonl", '"epoch": ', '"epoch": {}, "was": '),
        ("history.jsonl", '"kind": "', '"kind": "x'),
        ("history.jsonl", '"layer": ', '"layer": ["x"], "was": '),
    ],
)
def test_files_edited_by_hand_are_left_out_and_said(tmp_path, file, old, new):
    from edgeprune.report import arrays, page

    run = synthetic.whole(tmp_path / "a")
    path = run.path / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    found = report.read(run)
    if '"x' not in new or "kind" not in new:
        assert any(file in note for note in results.missing(found)), found.left_out
    page.html(found)
    results.comparison(run, found)
    results.history_table(found)
    results.widths_table(found)
    for read in (arrays.history, arrays.sensitivity):
        with contextlib.suppress(EdgepruneError):  # nothing left to draw
            read(found)
