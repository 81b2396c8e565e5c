"""The report of a run: one HTML file that needs nothing beside it, and its two plots as files."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:3rem auto;padding:0 1rem;color:#1c2330}
h1{font-weight:600}.big{font-size:1.5rem}td,th{padding:.3rem 1rem .3rem 0;text-align:left;border-bottom:1px solid #dde}
table{border-collapse:collapse}img{max-width:100%;height:auto}.note{background:#fff6dd;padding:.6rem 1rem}"""


@dataclass(frozen=True)
class Facts:
    """What the report tells: `confusion[true][predicted]` counts validation photographs."""

    classes: Sequence[str]
    confusion: Sequence[Sequence[int]]
    history: Sequence[dict[str, Any]]
    result: dict[str, Any]


def plots(facts: Facts) -> tuple[bytes, bytes]:
    """The loss curve and the confusion matrix as PNG."""
    return _png(_loss(facts)), _png(_confusion(facts))


def page(facts: Facts, images: tuple[bytes, bytes]) -> bytes:
    """The HTML with both images inside."""
    result = facts.result
    sample = '<p class="note">A run on the sample alone: these figures are a rehearsal.</p>' if result["sample"] else ""
    loss, confusion = (base64.b64encode(image).decode() for image in images)
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(result["model"])}</title>
<style>{_STYLE}</style><h1>{_text(result["model"])} on {_text(result["data"])}</h1>{sample}
<p class="big">accuracy {result["accuracy"]:.2%}, log loss {result["log_loss"]:.4f}</p>
<p>{result["valid"]} validation photographs; log loss before calibration {result["log_loss_raw"]:.4f};
{result["train"]} trained on, {result["test"]} predicted, {result["seconds"]:.0f} s on {_text(result["device"])}.</p>
<h2>Classes</h2><table><tr><th>class</th><th>photographs</th><th>right</th><th>accuracy</th></tr>{_rows(facts)}</table>
<h2>Confusion</h2><img alt="confusion matrix" src="data:image/png;base64,{confusion}">
<h2>Loss</h2><img alt="loss curve" src="data:image/png;base64,{loss}">{_left_out(result)}</html>
""".encode("utf-8", "backslashreplace")


def _rows(facts: Facts) -> str:
    rows = []
    for index, name in enumerate(facts.classes):
        total, right = sum(facts.confusion[index]), facts.confusion[index][index]
        share = f"{right / total:.2%}" if total else "none"
        rows.append(f"<tr><td>{_text(name)}</td><td>{total}</td><td>{right}</td><td>{share}</td></tr>")
    return "".join(rows)


def _left_out(result: dict[str, Any]) -> str:
    items = "".join(f"<li>{_text(item['file'])}: {_text(item['why'])}</li>" for item in result["quarantined"])
    return f"<h2>Could not be read</h2><ul>{items}</ul>" if items else ""


def _text(value: object) -> str:
    return html.escape(str(value))


def _loss(facts: Facts) -> Figure:
    figure = _figure()
    axes = figure.add_subplot()
    decays = [entry["weight_decay"] for entry in facts.history if "weight_decay" in entry]
    steps = decays or [entry["epoch"] for entry in facts.history]
    axes.plot(steps, [entry["loss"] for entry in facts.history], "o-", label="train")
    axes.plot(steps, [entry["val_loss"] for entry in facts.history], "o-", label="valid")
    if decays:
        axes.set_xscale("log")
    axes.set(xlabel="weight decay" if decays else "epoch", ylabel="log loss")
    axes.legend(frameon=False)
    return figure


def _confusion(facts: Facts) -> Figure:
    figure = _figure()
    axes = figure.add_subplot()
    axes.imshow(facts.confusion, cmap="Blues")
    ticks = range(len(facts.classes))
    names = [name.encode("utf-8", "backslashreplace").decode().replace("$", r"\$") for name in facts.classes]
    axes.set_xticks(ticks, names, rotation=45, ha="right")
    axes.set_yticks(ticks, names)
    axes.set(xlabel="predicted", ylabel="true")
    if len(facts.classes) <= 20:
        middle = max(max(row) for row in facts.confusion) / 2
        for y, row in enumerate(facts.confusion):
            for x, count in enumerate(row):
                axes.text(x, y, str(count), ha="center", va="center", color="white" if count > middle else "black")
    return figure


def _figure() -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(6, 4.2), layout="constrained")


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()
