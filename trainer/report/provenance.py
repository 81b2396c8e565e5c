"""The sections about the run itself: where the time went, where the weights are from, what it ran on, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import charts, origins
from .facts import Facts
from .markup import cell, listed, section, table, text
from .performance import duration


def ledger(facts: Facts) -> str:
    """Seconds by stage, and which of them limited the run."""
    stages: Mapping[str, float] = facts.result.get("stages") or {}
    if not stages:
        return ""
    most = max(*stages.values(), 1e-9)
    limiting = facts.result.get("limiting")
    rows = [
        [
            text(name) + (" (limiting)" if name == limiting else ""), cell(duration(seconds)),
            cell(charts.bar(seconds / most, "bar b" if name == limiting else "bar")),
        ]
        for name, seconds in stages.items()
    ]  # fmt: skip
    words = "Of threads side by side each counts for its share; idle is what no stage accounts for."
    if limiting:
        words = (
            f"The limiting stage was <b>{text(limiting)}</b>: only a faster one would have shortened the run. {words}"
        )
    words = f"<p>{words}</p>"
    return section("time", "Where the time went", words, table("seconds by stage", ["stage", "time", ""], rows, "wide"))


def weights(facts: Facts) -> str:
    shown = listed(
        [("source", text(facts.weights["source"])), ("SHA-256", f"<code>{text(facts.weights['sha256'])}</code>")]
    )
    return section("weights", "Where the weights come from", origins.words(facts.weights), shown)


def machine(facts: Facts) -> str:
    """Versions and hardware, in words; manifest.json has all of it."""
    about = facts.manifest
    hardware, splits = about["hardware"], {k: v for k, v in about["data"].items() if isinstance(v, Mapping)}
    rows = [
        ("processor", text(f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['memory_gib']} GiB of memory")),
        ("GPU", text(f"{hardware['gpu']}, {hardware['gpu_memory_gib']} GiB" if "gpu" in hardware else "none was used")),
        ("versions", text(", ".join(f"{name} {version}" for name, version in about["versions"].items() if version))),
        (
            "asked for",
            text(", ".join(f"{name} {value}" for name, value in about["options"].items() if value is not None)),
        ),
        ("time", duration(about["seconds"]) + _cost(about)),
        *((f"{name} photographs", _sum(split["photographs"], split["sha256"])) for name, split in splits.items()),
        ("trainer's code", _sum("", about["code"]["trainer"])),
    ]
    more = "<p>The whole sums and figures are in <code>manifest.json</code>.</p>"
    return section("run", "What it ran on", listed(rows), more)


def _cost(about: Mapping[str, Any]) -> str:
    if about.get("dollars") is None:
        return ""
    return f", {about['dollars']:.4f} US dollars at {about['price_per_hour']:g} an hour"


def _sum(number: object, digest: str) -> str:
    return f"{text(number)} <code>{text(digest[:16])}&hellip;</code>"


def use() -> str:
    words = (
        "<p>Two files of the run's folder are all that is needed: <code>model.safetensors</code> (weights) and "
        "<code>model.json</code> (classes in order, preprocessing, temperature).</p>"
        "<pre>gpu predict RUN photo.jpg folder/\npython -m trainer.predict RUN photo.jpg folder/</pre>"
    )
    return section("use", "Use it", words)
