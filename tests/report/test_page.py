"""The page: its values are there, it needs nothing else, and words from outside stay words."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import synthetic

from edgeprune import files, records, report
from edgeprune.bench.devices import browser
from edgeprune.report import charts, page

EVIL = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """Elements, attributes and text of a page; unclosed elements are an error."""

    VOID = frozenset({"meta", "line", "polyline", "br", "img", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(run) -> Reader:
    return Reader(page.html(report.read(run)))


def test_a_whole_run_is_told(tmp_path):
    text = read(synthetic.whole(tmp_path / "vgg16-cifar10-imagenet")).text
    for words in (
        "VGG16 on cifar10 keeps 23 % of its parameters and 67 % of its FLOPs, and shows no measurable "
        "change of test accuracy on 10,000 images (−0.81 points)",
        "14.98 M → 3.43 M", "−77 %", "−33 %", "89.92 %", "1.24×", "5.21 ms → 4.19 ms",
        "imagenet; fresh: classifier.0.weight, classifier.3.weight",
        "cifar10, 32 × 32 pixels, only 5,000 of the training images",
        "one layer at a time loses 12.5 % of its filters", "widths are multiples of 16",
        "edgeprune prune --model vgg16 --init imagenet",
        "0.83× (0.81–0.85)", "promised by FLOPs", "512 → 192", "undone",
        "Pruning ended: more than 1.0 points below the baseline",
        "dense.onnx", "57.17 MiB", "bench/cpu.json", "torch 2.15.0", "cat",
    ):  # fmt: skip
        assert words in text, words


@pytest.mark.parametrize(
    ("accuracy", "images", "said"),
    [
        (0.8942, 10_000, "loses 1.31 points of test accuracy, judged on 10,000 images"),
        (0.9198, 10_000, "gains 1.25 points of test accuracy, judged on 10,000 images"),
        (0.9198, 80, "shows no measurable change of test accuracy on 80 images (+1.25 points)"),
        (
            0.8942,
            None,
            "has 90.73 % and 89.42 % of test accuracy before and after",
        ),  # of how many is not known
    ],
)
def test_a_change_is_claimed_beyond_its_interval_only(tmp_path, accuracy, images, said):
    run = synthetic.whole(tmp_path / "a")
    dense, pruned = run.history(records.Result)
    run.append(replace(dense, test_images=images))
    run.append(replace(pruned, test_accuracy=accuracy, test_images=images))
    found = report.read(run)
    assert said in page.headline(found)
    notes = "\n".join(report.comparison(run, found).notes)
    assert ("not told apart" in notes) == ("no measurable" in said)


@pytest.mark.parametrize(
    "parts", [(), ("spec", "dense"), ("spec", "dense", "sensitivity", "pruned")]
)
def test_what_is_not_there_is_said(tmp_path, parts):
    run = synthetic.run(tmp_path / "a", *parts)
    reader = read(run)
    advice = f"not measured yet: then edgeprune bench {run.word}"
    assert (advice in reader.text) == ("pruned" in parts)
    assert ("nothing is pruned yet" in reader.text) == ("pruned" not in parts and parts != ())
    assert "Speed-up on" not in reader.text
    assert ("No pruning step yet" in reader.text) == ("pruned" not in parts)
    if not parts:
        assert "training has not ended yet" in reader.text


def test_a_run_without_labels_or_steps_is_told_as_pruned(tmp_path):
    """Post-training: no step, no accuracy; the bars, the words and the interval are there."""
    run = synthetic.run(
        tmp_path / "a", "spec", data=None, recipe=None, images="photos", limit=64, head="paper",
        model="torchvision/resnet18", pruning={"way": "post-training", "settings": {"keep_flops": 0.7}},
    )  # fmt: skip
    spec = files.read_json(run.spec_path)
    spec["model"] |= {"model": "torchvision/resnet18"}
    kept = {"features.0": list(range(48))}
    files.write_json(run.spec_path, spec | {"kept": kept, "classes": [str(i) for i in range(1000)]})
    counts = synthetic.COUNTS["dense"]
    run.append(records.Result(network="dense", **counts))
    run.append(records.Result(network="pruned", **counts, stopped="target reached: keeps 70.0 %",
                              agreement=0.78125, images=32))  # fmt: skip
    text = read(run).text
    assert "Pruning ended: target reached: keeps 70.0 %." in text
    assert "64 → 48" in text
    assert "gives the dense network's answer to 78.12 % (61–89) of the 32" in text
    assert "of 32 held-out images, 61.2–89.0 %" in text
    assert "photos, 32 × 32 pixels; looked at without labels, at most 64" in text
    for untrue in (
        "yet: edgeprune prune",
        "No pruning step",
        "nothing is pruned",
        "head",
        "Classes:",
    ):
        assert untrue not in text, untrue


def test_all_devices_speed_ups_are_drawn_on_one_scale(tmp_path):
    run = synthetic.whole(tmp_path / "a")
    document = files.read_json(run.bench_folder / "cpu.json")
    document["device"] = "board"
    document["summary"]["networks"][1] |= {"speedup": 2.486, "speedup_interval": [2.4, 2.6]}
    files.write_json(run.bench_folder / "board.json", document)
    found = page.speedups(report.read(run).measurements)
    ends = {s.where.split(",")[0]: s.rows[-1][2] for s in found}
    assert ends["board"] == pytest.approx(2 * ends["cpu"])
    assert len({s.one for s in found}) == 1
    assert ends["board"] < 100


@pytest.mark.skipif(browser.chromium() is None, reason="needs Chromium: apt-get install chromium")
@pytest.mark.parametrize("long", [False, True])
def test_on_a_phone_nothing_is_cut_off(tmp_path, long):
    """At 390 pixels the page does not scroll sideways; the steps do, in their own box."""
    run = synthetic.whole(tmp_path / "a")
    text = page.html(report.read(run))
    if long:  # names as deep networks have them
        text = text.replace("features.28", "stages.3.blocks.17.token_mixer.depthwise.conv")
    script = """<script>
        const wide = [...document.querySelectorAll("body *")].filter(
            e => !e.closest(".scroll table") && e.getBoundingClientRect().right > innerWidth + 1);
        const box = [...document.querySelectorAll(".scroll")].pop();
        parent.document.title = JSON.stringify([innerWidth, document.documentElement.scrollWidth,
            wide.map(e => e.className || e.tagName), box.scrollWidth > box.clientWidth]);
        </script></body>"""
    frame = re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", script)
    # headless Chromium's own window is 500 pixels wide at the least
    frame = f'<title></title><iframe srcdoc="{escape(frame)}" style="width:390px; border:0">'
    (tmp_path / "phone.html").write_text(f"<!doctype html><meta charset=utf-8>{frame}")
    command = [
        browser.chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=390,800",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{tmp_path}/phone.html",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    told = re.search(r"<title>(.*?)</title>", done.stdout)
    assert told, done.stderr[-500:]
    inner, scrolled, wide, steps_scroll = json.loads(told[1])
    assert inner == 390
    assert wide == []
    assert scrolled <= inner
    assert steps_scroll


def test_the_page_needs_nothing_but_itself(tmp_path):
    text = page.html(report.read(synthetic.whole(tmp_path / "a")))
    reader = Reader(text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert {tag for tag, _ in reader.tags} & {"script", "link", "img", "iframe", "object"} == set()
    for _, attributes in reader.tags:
        assert not {"src", "href", "xlink:href"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    policy = next(a["content"] for t, a in reader.tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")


def test_words_from_outside_are_escaped(tmp_path):
    run = synthetic.whole(
        tmp_path / "<b>x", classes=(EVIL, '" onload="x'), data=EVIL, init=EVIL, model=EVIL,
        argv=["prune", EVIL], versions={EVIL: EVIL}, created=EVIL, head=EVIL,
        recipe={"optimizer": EVIL, "schedule": EVIL},
    )  # fmt: skip
    run.append(records.Step(step=40, layer=EVIL, removed=[1], widths={EVIL: 3}, params=1, flops=1,
                            before=0.5, accuracy=0.9, kept=True))  # fmt: skip
    run.append(records.Sensitivity(layer=EVIL, shares=[0.5], accuracy=[0.5], baseline=0.9))
    run.append(records.Result(network="pruned", **synthetic.COUNTS["pruned"], stopped=EVIL,
               validation_accuracy=0.9, test_accuracy=0.9, widths={EVIL: 2}))  # fmt: skip
    document = files.read_json(run.bench_folder / "cpu.json")
    document["device"] = EVIL
    document["summary"]["warnings"] = [{"seen": EVIL, "cause": EVIL, "next": EVIL}]
    files.write_json(run.bench_folder / "cpu.json", document)
    reader = read(run)
    assert {tag for tag, _ in reader.tags} & {"script", "b>x"} == set()
    assert not any(name.startswith("on") for _, a in reader.tags for name in a)
    assert reader.text.count(EVIL) >= 8


def test_charts_hold_every_step_and_layer(tmp_path):
    found = report.read(synthetic.whole(tmp_path / "a"))
    accuracy = page.accuracy_chart(found)
    assert sum(d.style == "dot" for d in accuracy.dots) == 33
    assert sum(d.style == "undone" for d in accuracy.dots) == 1
    assert sum(d.style in ("ring", "below") for d in accuracy.dots) == 34
    sensitivity = page.sensitivity_chart(found)
    assert len(sensitivity.lines) == 13
    assert {w.text for w in sensitivity.words} == set(found.dense_widths) - {"classifier.0"}
    size = page.size_chart(found)
    assert {w.text for w in size.words} == {"FLOPs 67 %", "params 23 %"}
    for chart in (accuracy, sensitivity, size):
        for mark in (*chart.dots, *chart.words, *chart.x_ticks, *chart.y_ticks):
            assert 0 <= mark.x <= 100
            assert 0 <= mark.y <= 100


def test_positions_are_those_of_the_values():
    axes = charts.Axes((0, 10), (0.8, 0.9))
    assert axes.at(5, 0.85) == pytest.approx((50, 50))
    assert axes.at(0, 0.9) == pytest.approx((0, 0))
    assert axes.at(20, 0.1) == pytest.approx((100, 100))  # at the edge, never beyond


@pytest.mark.parametrize(
    "heights", [[50] * 6, [0, 1, 2], [98, 99, 100, 3], [10, 50, 90], [49, 50, 20, 21]]
)
def test_words_do_not_overlap_and_keep_their_order(heights):
    words = charts.apart([charts.Mark(0, y, str(i)) for i, y in enumerate(heights)], 6)
    placed = [w.y for w in words]
    assert all(b - a >= 6 - 1e-9 for a, b in pairwise(placed))
    assert min(placed) >= 0
    assert max(placed) <= 100
    assert [heights[int(w.text)] for w in words] == sorted(heights)


@pytest.mark.parametrize(("low", "high"), [(0, 33), (0.889, 0.913), (0, 1), (3, 3), (0, 0.07)])
def test_ticks_are_round_and_within(low, high):
    found = charts.ticks(low, high, 5)
    assert found
    assert len(found) <= 11
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in found)


def test_report_html_is_written_whole(tmp_path):
    run = synthetic.whole(tmp_path / "a")
    path = page.write(report.read(run))
    assert path == run.report_path
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
