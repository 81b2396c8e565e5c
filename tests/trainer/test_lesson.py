"""The lesson's notebook, read from the package and run from top to bottom by a real kernel."""

from __future__ import annotations

import csv
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

import trainer
from trainer.errors import TrainerError
from trainer.nearby import data_set

from .conftest import COLOURS, paint

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[2]
LESSON = Path(trainer.__file__).with_name("lesson1.ipynb")
PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "dogscats-kaggle"
TRAIN, VALID, TEST, SAMPLE = 60, 20, 30, 8


def dogscats(root: Path) -> Path:
    """Some of the real photographs where they are at hand, painted ones otherwise."""
    for name, colour in COLOURS.items():
        for number in range(TRAIN + VALID):
            folder = root / ("train" if number < TRAIN else "valid") / name
            photograph(folder / f"{name}.{number}.jpg", "train", f"train/{name}.{number}.jpg", colour)
        for part in ("train", "valid"):
            chosen = sorted((root / part / name).iterdir())[:SAMPLE]
            shutil.copytree(root / part / name, root / "sample" / part / name, ignore=lambda _, all_: all_)
            for file in chosen:
                shutil.copy(file, root / "sample" / part / name)
    for number in range(1, TEST + 1):
        photograph(root / "test" / f"{number}.jpg", "test", f"test/{number}.jpg", COLOURS["cat"])
    return root


def photograph(file: Path, archive: str, member: str, colour: tuple[int, int, int]) -> None:
    if not PHOTOGRAPHS.is_dir():
        paint(file, colour, hash(member) % 2**32)
        return
    with zipfile.ZipFile(PHOTOGRAPHS / f"{archive}.zip") as packed:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(packed.read(member))


def execute(folder: Path, then: str = "", **changed: str) -> Any:
    """The notebook as it is after a run in `folder`, some variables of its top having other values; `then` is one more
    cell, which fails."""
    folder.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(LESSON, 4)
    top = next(cell for cell in notebook.cells if "\nSAMPLE = " in cell.source)
    for name, value in changed.items():
        top.source, times = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", top.source)
        assert times == 1, name
    if then:
        notebook.cells.append(nbformat.v4.new_code_cell(then, metadata={"tags": ["raises-exception"]}))
    client = nbclient.NotebookClient(
        notebook, timeout=280, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()


def said(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def pictures(notebook: Any) -> int:
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.fixture(autouse=True)
def machine(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`~/gpu`, its code on the path, from where no weights can be had."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("GPU_WEIGHTS_MIRROR", "http://127.0.0.1:1")
    monkeypatch.delenv("GPU_HOME")
    (own_home / "gpu" / "cache").mkdir(parents=True)
    return own_home / "gpu"


def test_nothing_is_stored_but_the_text() -> None:
    notebook = nbformat.read(LESSON, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 20
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.timeout(900)
def test_the_lesson_from_top_to_bottom(machine: Path) -> None:
    dogscats(machine / "data" / "dogscats")
    (machine / "data" / "another" / "train" / "cat").mkdir(parents=True)
    # On the sample first, without VGG16's weights: it says so, and goes on.
    sample = execute(machine / "nbs", 'vgg.get_batches(path + "nowhere")')
    # What was expected, in one line instead of a traceback.
    (failed,) = sample.cells.pop().outputs
    assert failed.traceback == [f"TrainerError: {failed.evalue}"]
    assert "there is no folder" in failed.evalue and "Expected are train/cat/*.jpg" in failed.evalue
    told = said(sample)
    assert "the weights of vgg16 cannot be had" in told and "Going on with efficientnet_lite0 instead." in told
    assert "../data/dogscats/sample/\n" in told and "16/16 [====" in told
    assert "has no test/: its validation photographs are predicted instead" in told
    assert pictures(sample) >= 10
    assert len(submitted(machine / "nbs" / "submission-sample.csv", "cat/cat.60")) == 2 * SAMPLE
    # Features are kept where the runs' are.
    assert list((machine / "cache" / "features").iterdir())
    told = said(execute(machine / "nbs", SAMPLE="False", MODEL='"efficientnet_lite0"'))
    assert "cannot be had" not in told and "120/120 [====" in told
    right = re.search(r"([\d.]+) of 40 are right", told)
    assert right is not None and float(right[1]) >= 0.9
    rows = submitted(machine / "nbs" / "submission.csv", "1")
    assert sorted(map(int, rows)) == list(range(1, TEST + 1))
    assert all(0 < float(label) < 1 for (label,) in rows.values())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_lesson_with_three_classes_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From `./nbs`, by the name in the environment."""
    colours = {**COLOURS, "bird": (60, 180, 60)}
    root = tmp_path / "work" / "data" / "mine"
    for label, (name, colour) in enumerate(colours.items()):
        for part, count in (("train", 8), ("valid", 4), ("test/unknown", 2)):
            for number in range(count):
                folder = root / part / (name if "test" not in part else "")
                paint(folder / f"{label}{number}.jpg", colour, 100 * label + 10 * len(part) + number)
    monkeypatch.setenv("GPU_DATA", "mine")
    told = said(execute(tmp_path / "work" / "nbs", SAMPLE="False"))
    assert "1.0000 of 12 are right" in told
    rows = submitted(tmp_path / "work" / "nbs" / "submission.csv", "00", "id,bird,cat,dog")
    assert sorted(rows) == ["00", "01", "10", "11", "20", "21"]
    for name, row in rows.items():
        assert sum(map(float, row)) == pytest.approx(1, abs=1e-5)
        assert max(range(3), key=[float(cell) for cell in row].__getitem__) == {"0": 1, "1": 2, "2": 0}[name[0]]


def submitted(file: Path, known: str, header: str = "id,label") -> dict[str, list[str]]:
    with file.open() as lines:
        first, *rows = csv.reader(lines)
    assert ",".join(first) == header
    found = {name: row for name, *row in rows}
    assert known in found and len(found) == len(rows)
    return found


def test_the_data_set_is_found_where_a_notebook_is(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    (work / "nbs").mkdir(parents=True)
    monkeypatch.chdir(work / "nbs")
    with pytest.raises(TrainerError, match=r"there is no data set in .*gpu data prepare dogscats"):
        data_set()
    for folder in (machine / "data" / "dogscats", work / "data" / "birds", work / "data" / "apes"):
        (folder / "train").mkdir(parents=True)
    (work / "data" / ".hidden" / "train").mkdir(parents=True)
    (work / "data" / "aardvark").mkdir()
    assert data_set() == machine / "data" / "dogscats"
    assert data_set("birds") == Path("../data/birds")
    with pytest.raises(
        TrainerError, match=r"no data set cars in .*there are apes, birds, dogscats.*gpu data prepare cars"
    ):
        data_set("cars")
    (machine / "data" / "dogscats" / "train").rmdir()
    assert data_set() == Path("../data/apes")
    monkeypatch.chdir(work)
    assert data_set("apes") == Path("data/apes")
