"""A data set of one's own, of four classes, from a folder: prepared, checked, trained on, scored on what was sealed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

from PIL import Image

from orchestrator.data.holdout import Seal

from .conftest import Evening

COLOURS = {"amber": (220, 150, 20), "blue": (20, 60, 220), "green": (30, 190, 60), "rose and white": (240, 120, 170)}


def own_folder(folder: Path, count: int) -> Path:
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            noise = Image.frombytes("L", (64, 64), Random(f"{name} {number}").randbytes(64 * 64)).convert("RGB")
            Image.blend(noise, Image.new("RGB", (64, 64), colour), 0.55).save(folder / name / f"IMG {number}.jpg")
    return folder


def test_four_classes_from_a_folder(evening: Evening) -> None:
    source = own_folder(evening.folder / "pictures", 25)
    made = evening.json("data", "prepare", "colours", str(source), "--valid", "20%", "--holdout", "5")
    assert made["train"] == dict.fromkeys(COLOURS, 16) and made["valid"] == dict.fromkeys(COLOURS, 4)
    assert made["test"] == 20
    assert evening.json("data", "check", "colours")["images"] == 100
    evening.gpu("data", "show", "colours", "--no-open")
    trained = evening.json("train", "--data", "colours")
    assert trained["accuracy"] > 0.9
    run = Path(trained["submission"]).parent.name

    # What was sealed has never left: neither the labels nor the pages are on the machine.
    (sealed,) = (evening.folder / "data" / ".sealed").glob("*.json")
    evening.gpu("data", "check", "colours", "--fix")
    there = evening.gpu("ssh", "--", "find ~/gpu -print; grep -rlF '\"labels\"' ~/gpu/data || true").stdout
    assert "colours/test/20.jpg" in there and sealed.stem not in there
    assert not any(word in there for word in (".sealed", ".sheets", '"labels"'))

    said = evening.gpu("score", run).stdout
    assert "20 sealed images; as the run promised" in said and "this was the first look at them" in said
    labels = json.loads(sealed.read_text())["labels"]
    lines = [line.split(",") for line in Path(trained["submission"]).read_text().splitlines()]
    header, rows = lines[0][1:], {line[0]: [float(v) for v in line[1:]] for line in lines[1:]}
    right = sum(header[row.index(max(row))] == labels[id_] for id_, row in rows.items())
    scored = evening.json("score", "last")
    assert scored["accuracy"]["value"] == right / 20 and scored["verdict"] == "kept"
    assert [look["run"] for look in scored["looks"]] == [run, run]
    for look in range(7):
        Seal(sealed, labels).remember({"run": f"another {look}"})
    worn = evening.gpu("score", "last").stdout
    assert "looked at 10 times, for 8 runs" in worn and "it is a validation set" in worn

    # Other images are another test, which this run has not answered; and a missing one is nobody's.
    shutil.move(evening.folder / "data" / "colours", evening.folder / "data" / "old")
    evening.gpu("data", "prepare", "colours", str(source), "--holdout", "5", "--seed", "1")
    assert evening.json("score", run)["looks"][-1]["run"] == run
    sealed.unlink()
    assert "gpu train --data colours" in evening.gpu("score", run, code=1).stderr
    assert "there is no run" in evening.gpu("score", "nothing", code=2).stderr
