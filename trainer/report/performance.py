"""The sections with figures: the head line, the curves, confusion, classes and reliability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from . import charts, scores
from .charts import Axis, Series
from .facts import Facts
from .markup import cell, count, folded, section, share, table, text

MATRIX = 20
"""With more classes the matrix gives way to the pairs that are confused most."""
_PAIRS = 25
_CLASSES = 12


def headline(facts: Facts) -> str:
    """The figures that are looked for first."""
    result, right = facts.result, scores.accuracy(facts.valid.confusion)
    low, high = right.interval
    tiles = [
        (share(right.value), "accuracy", f"{share(low)} to {share(high)} (95 %)"),
        (f"{result['log_loss']:.4f}", "expected log loss", _loss_words(result)),
        (
            f"{result['train']:,}",
            "photographs trained on",
            f"{result['valid']:,} to validate, {result['test']:,} predicted",
        ),
        (duration(result["seconds"]), "from start to report", text(result["device"])),
    ]
    shown = "".join(
        f'<div class="tile"><b>{b}</b><span class="name">{n}</span><span>{w}</span></div>' for b, n, w in tiles
    )
    return f'<div class="tiles">{shown}</div>'


def _loss_words(result: Mapping[str, Any]) -> str:
    before = f"{result['log_loss_raw']:.4f} before calibration"
    if "expected" not in result:
        return before
    loss = result["expected"]["log_loss"]["clipped"]
    return f"{loss['low']:.4f} to {loss['high']:.4f} (95 %); {before}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def points(facts: Facts) -> str:
    """What a reader should take away, in sentences."""
    confusion, result = facts.valid.confusion, facts.result
    right, items = scores.accuracy(confusion), facts.examination.items
    found = [f"{count(right.whole - right.part, 'mistake')} on {count(right.whole, 'validation photograph')}."]
    if wrong := scores.mistakes(confusion):
        number, true, taken = wrong[0]
        pair = f"<b>{text(facts.classes[true])}</b> taken for <b>{text(facts.classes[taken])}</b>"
        found.append(f'The <a href="#confusion">commonest</a>: {pair}, {count(-number, "time")}.')
    low, high = right.interval
    if high - low > 0.02:
        found.append(
            f"So few photographs leave {(high - low) * 100:.0f} points of doubt: models that differ by less "
            "cannot be told apart."
        )
    leaks = sum(group.leaks(items) for group in facts.examination.groups)
    if leaks:
        found.append(f'<a href="#duplicates">{count(leaks, "picture")}</a> in more than one split.')
    if number := len(facts.examination.suspects):
        found.append(f'<a href="#labels">{count(number, "label")}</a> to be doubted.')
    if number := len(result["quarantined"]):
        found.append(f'<a href="#unread">{count(number, "photograph")}</a> could not be read.')
    return f'<ul class="points">{"".join(f"<li>{sentence}</li>" for sentence in found)}</ul>'


def curves(facts: Facts) -> str:
    """Loss and accuracy: over the weight decays that were tried, over epochs, or both."""
    decays = [entry for entry in facts.history if "weight_decay" in entry]
    epochs = [entry for entry in facts.history if "weight_decay" not in entry]
    parts = []
    if decays:
        chosen = [entry["weight_decay"] for entry in decays if entry["weight_decay"] == facts.result["weight_decay"]]
        mark = (chosen[0], "chosen") if chosen else None
        parts.append(
            "<p>The head was fitted to convergence for each weight decay, and the validation photographs chose among "
            "them. Left of the best it learns by heart, right of it it learns too little.</p>"
        )
        parts.append(_pair(decays, "weight_decay", Axis("weight decay", log=True), mark))
    if epochs:
        parts.append(_pair(epochs, "epoch", Axis("epoch", words=_whole), None))
    return section("curves", "How it learned", *parts) if parts else ""


def _pair(entries: Sequence[Mapping[str, Any]], key: str, x: Axis, mark: tuple[float, str] | None) -> str:
    loss = _learned("Log loss", entries, (key, "loss"), x, Axis("", low=0), mark)
    accuracy = _learned("Accuracy", entries, (key, "acc"), x, Axis("", high=1, words=_percent), mark)
    return f'<div class="pair">{loss}{accuracy}</div>'


def _learned(
    title: str, entries: Sequence[Mapping[str, Any]], keys: tuple[str, str], x: Axis, y: Axis,
    mark: tuple[float, str] | None,
) -> str:  # fmt: skip
    key, figure = keys
    series = []
    for name, kind, column in (("training", "a", figure), ("validation", "b", f"val_{figure}")):
        known = [(float(e[key]), float(e[column])) for e in entries if math.isfinite(e.get(column, math.nan))]
        if known:
            series.append(Series(name, kind, known))
    return charts.lines(title, series, x, y, mark) if series else ""


def _percent(value: float) -> str:
    return f"{value * 100:g} %"


def _whole(value: float) -> str:
    return f"{value:g}" if value == int(value) else ""


def confusion(facts: Facts) -> str:
    """The matrix, or of many classes the pairs that are confused most."""
    counts = facts.valid.confusion
    if len(facts.classes) > MATRIX:
        return section("confusion", "Confusion", _pairs(facts))
    names = [text(name) for name in facts.classes]
    rows = []
    for label, row in enumerate(counts.tolist()):
        total = max(sum(row), 1)
        cells = [_count(n, n / total, taken == label) for taken, n in enumerate(row)]
        rows.append([names[label], *cells])
    kind = "confusion few" if len(names) <= 4 else "confusion many" if len(names) > 8 else "confusion"
    about = "<p>Each row is a true class; the columns say what its photographs were taken for.</p>"
    shown = table("confusion matrix", ["true \\ taken for", *names], rows, kind)
    return section("confusion", "Confusion", about, shown)


def _count(number: int, part: float, right: bool) -> str:
    if not number:
        return cell("0", "zero")
    # Mistakes are few: the root makes them seen.
    level = math.ceil(9 * (part if right else math.sqrt(part)))
    return cell(f"{number:,}", f"{'h' if right else 'e'}{level}")


def _pairs(facts: Facts) -> str:
    wrong = scores.mistakes(facts.valid.confusion)
    totals = facts.valid.confusion.sum(axis=1)
    if not wrong:
        return "<p>No class was taken for another.</p>"
    most = -wrong[0][0]
    rows = [
        [
            text(facts.classes[true]), cell(text(facts.classes[taken])), cell(f"{-n:,} of {totals[true]:,}"),
            cell(charts.bar(-n / most, "bar b")),
        ]
        for n, true, taken in wrong[:_PAIRS]
    ]  # fmt: skip
    among = f"{count(len(wrong), 'pair')} with a mistake among {len(facts.classes)} classes"
    about = f"<p>The pairs confused most, of {among}.</p>"
    return about + table("confused pairs", ["true class", "taken for", "times", ""], rows, "wide")


def classes(facts: Facts) -> str:
    """Precision, recall and F1 with their intervals, the weakest class first."""
    every = scores.by_class(facts.valid.confusion)
    every.sort(key=lambda one: (one.f1 if one.f1 == one.f1 else -1, one.label))
    lows = [low for one in every for low in (one.precision.interval[0], one.recall.interval[0]) if one.recall.whole]
    floor = math.floor(min([*lows, 0.9]) * 10) / 10
    heads = ["class", "photographs", "precision", "recall", "F1"]
    rows = [_class(facts, one, floor) for one in every]
    about = (
        "<p>Precision: of what was taken for the class, how much is of it. Recall: of what is of the class, how much "
        f"was found. With 95 % intervals, drawn from {floor * 100:.0f} % to 100 %; the weakest class is the first.</p>"
    )
    shown = table("scores by class", heads, rows[:_CLASSES], "wide")
    if len(rows) > _CLASSES:
        rest = table("the other classes", heads, rows[_CLASSES:], "wide")
        shown += folded(f"The other {count(len(rows) - _CLASSES, 'class')}".replace("classs", "classes"), rest)
    return section("classes", "Class by class", about, shown)


def _class(facts: Facts, one: scores.ClassScores, floor: float) -> list[str]:
    figures = [
        (one.precision.value, one.precision.interval),
        (one.recall.value, one.recall.interval),
        (one.f1, one.f1_interval),
    ]
    cells = [cell(_interval(value, interval, floor)) for value, interval in figures]
    return [text(facts.classes[one.label]), cell(f"{one.recall.whole:,}"), *cells]


def _interval(value: float, interval: tuple[float, float], floor: float) -> str:
    if value != value:
        return '<span class="zero">none</span>'
    drawn = charts.whisker(value, interval, floor)
    return f"{share(value)}{drawn} <small>{interval[0] * 100:.1f}&ndash;{interval[1] * 100:.1f}</small>"


def reliability(facts: Facts) -> str:
    """Whether a probability of 80 % comes true 80 times of 100."""
    two = len(facts.classes) == 2
    of = f"probability of {facts.classes[1]}" if two else "probability of the class it was taken for"
    bins = list(scores.reliability(facts.valid))
    off = sum(abs(b.expected - b.true.value) * b.true.whole for b in bins) / sum(b.true.whole for b in bins)
    shown = [(b.expected, b.true.value, b.true.interval, b.true.whole) for b in bins]
    ends = Axis(of, 0, 1, words=_percent), Axis("", 0, 1, words=_percent)
    chart = charts.reliable("How often it came true", shown, *ends)
    words = (
        "<p>On the dashed line, what was said to be 80 % sure comes true 80 times of 100. Above it the answers are too "
        "careful, below it too bold. The upright lines are 95 % intervals: a point far off with a long line has few "
        f"photographs behind it, and a small dot.</p><p>Mean distance from the line: {off * 100:.1f} points. The "
        f"temperature ({facts.result['temperature']:.3g}) was chosen on these same photographs: others may do a little "
        "worse.</p>"
    )
    return section(
        "reliability", "Can its probabilities be believed?", f'<div class="pair">{chart}<div>{words}</div></div>'
    )
