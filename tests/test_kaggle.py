"""`gpu submit`, and a competition's data, through Kaggle's real client and a stand-in for its service."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orchestrator.kaggletoken import is_there
from orchestrator.standing import Standing, standing

from .kagglestandin import COMPETITION, TOKEN, Kaggle, serving, zipped

pytest.importorskip("kaggle", reason="the client is an extra")

GPU = [sys.executable, "-m", "orchestrator"]
RUN, AGAIN = "20260101-120000-dogscats-00aa", "20260102-120000-dogscats-00ab"
ROWS = "id,label\n" + "".join(f"{n},0.{n}00000\n" for n in range(1, 6))
SAMPLE = "id,label\n" + "".join(f"{n},0.5\n" for n in range(1, 6))


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
    with serving() as found:
        found.environment(monkeypatch)
        yield found


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the data set's own sample submission and two runs that are home."""
    folder = tmp_path / "work"
    (folder / "data" / "dogscats").mkdir(parents=True)
    (folder / "data" / "dogscats" / "sample_submission.csv").write_text(SAMPLE)
    for name in (RUN, AGAIN):
        make_run(folder / "runs" / name)
    monkeypatch.chdir(folder)
    return folder


def make_run(run: Path, rows: str = ROWS, *, sample: bool = False) -> None:
    run.mkdir(parents=True, exist_ok=True)
    expected = {"log_loss": {"clipped": {"value": 0.05, "low": 0.03, "high": 0.08}}}
    files = {
        "job.json": json.dumps({"data": "dogscats", "sample": sample, "command": []}),
        "result.json": json.dumps({"metric": "log_loss", "sample": sample, "expected": expected}),
        "submission.csv": rows,
        "model.json": "{}",
        "exit_code": "0\n",
    }
    for name, text in files.items():
        (run / name).write_text(text)
    digest = hashlib.sha256(rows.encode()).hexdigest()
    (run / "SHA256SUMS").write_text(f"{digest}  submission.csv\n")
    (run / "verified.json").write_text("{}")


def gpu(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*GPU, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr and "Traceback" not in done.stderr
    return done


def noted(work: Path, run: str = RUN) -> list[dict[str, Any]]:
    return json.loads((work / "runs" / run / "submissions.json").read_text())


def processes_with(secret: str) -> list[str]:
    """Every process but this one that shows it in its command line; and, but the client and gpu, in its environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line, environ = ((folder / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            continue
        mine = int(folder.name) == os.getpid() or b"kaggle" in line or b"orchestrator" in line
        if secret.encode() in line or (secret.encode() in environ and not mine):
            found.append(line.decode())
    return found


def test_the_round_trip(kaggle: Kaggle, work: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Handed in as it is, scored, placed, noted and shown; the token is seen by nobody else."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    monkeypatch.setenv("VERBOSE", "1")
    kaggle.looks = 1
    kaggle.board = [0.03 + n / 1000 for n in range(1314)]
    shown: list[str] = []
    kaggle.on_call = lambda _: shown.extend(processes_with(TOKEN))
    done = gpu("submit", RUN, "--competition", COMPETITION, "-m", "first try", "-y", "--json")
    handed = json.loads(done.stdout)
    assert not shown
    assert kaggle.uploads == [ROWS.encode()]
    assert (handed["status"], handed["score"], handed["place"], handed["teams"]) == ("complete", 0.05122, 23, 1314)
    assert handed["reading"] == "in the top 10 %: at the level of an expert"
    assert handed["expected"] == {"metric": "log_loss", "value": 0.05, "low": 0.03, "high": 0.08}
    assert "expected log loss 0.05000, between 0.03000 and 0.08000" in done.stderr
    assert kaggle.submissions[0]["description"] == f"{RUN}: first try"
    [note] = noted(work)
    assert (note["competition"], note["score"], note["ref"]) == (COMPETITION, 0.05122, "7000")
    assert "0.0512" in gpu("runs").stdout
    # Without a terminal and without -y nobody is asked, and the same file by another run is told of.
    kaggle.calls.clear()
    refused = gpu("submit", AGAIN, "--competition", COMPETITION, code=1)
    assert "this very file was handed in before" in refused.stderr and "scored 0.05122" in refused.stderr
    assert "CreateSubmission" not in kaggle.calls
    # No log, no note and no file of ours has the token.
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file


def test_every_way_in_that_the_client_knows(
    kaggle: Kaggle, work: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ("submit", RUN, "--competition", COMPETITION, "-y", "--no-wait")
    said = gpu(*words, code=1).stderr
    assert "no token for Kaggle" in said and "kaggle.com/settings/api" in said and f"{COMPETITION}/rules" in said
    assert said.count("\n") == 1 and not kaggle.calls
    token = own_home / ".kaggle" / "access_token"
    token.parent.mkdir()
    token.write_text(TOKEN)
    kaggle.looks = 100
    assert "is handed in to" in gpu(*words).stdout
    token.unlink()
    with monkeypatch.context() as patch:
        patch.setenv("KAGGLE_USERNAME", "me")
        patch.setenv("KAGGLE_KEY", TOKEN)
        assert "it was handed in at" in gpu(*words).stderr
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "kaggle.json").write_text(json.dumps({"username": "me", "key": TOKEN}))
    (tmp_path / "own" / "kaggle.json").chmod(0o600)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "own"))
    kaggle.looks = 0
    gpu("submit", RUN, "--competition", COMPETITION)
    assert len(kaggle.uploads) == 1, "what was handed in and not scored is looked at again, and not handed in twice"
    [note] = noted(work)
    assert (note["status"], note["score"]) == ("complete", 0.05122)


def test_what_never_arrived_is_handed_in(kaggle: Kaggle, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off while it was handed in: whether it arrived is asked, not guessed."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    kaggle.on_call = lambda call: setattr(kaggle, "refusal", (400, "no") if call == "CreateSubmission" else None)
    gpu("submit", RUN, "--competition", COMPETITION, "-y", code=1)
    assert [note["status"] for note in noted(work)] == ["begun"]
    kaggle.on_call, kaggle.refusal = lambda _: None, None
    gpu("submit", RUN, "--competition", COMPETITION, "-y", "--no-wait")
    assert [note["status"] for note in noted(work)] == ["begun", "pending"]


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((401, "Unauthenticated"), "does not accept the token"),
        ((403, "You must accept this competition's rules before you'll be able to download"), "Accept the rules at"),
        ((404, "404 Not Found"), "knows no competition"),
        ((400, f"the limit of 5 submissions a day is reached ({TOKEN})"), "limit of 5 submissions a day"),
    ],
)
@pytest.mark.usefixtures("work")
def test_what_kaggle_refuses_is_one_sentence(
    kaggle: Kaggle, own_home: Path, refusal: tuple[int, str], said: str
) -> None:
    (own_home / ".kaggle").mkdir()
    (own_home / ".kaggle" / "access_token").write_text(TOKEN + "\n")
    kaggle.refusal = refusal
    done = gpu("submit", RUN, "--competition", COMPETITION, "-y", code=1)
    assert said in done.stderr.splitlines()[-1], done.stderr


def test_what_must_not_be_handed_in(kaggle: Kaggle, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    run = work / "runs" / RUN
    words = ("submit", RUN, "--competition", COMPETITION, "-y")

    make_run(run, sample=True)
    assert "on the sample alone" in gpu(*words, code=1).stderr
    make_run(run, ROWS.replace("5,0.5", "6,0.5"))
    assert "no photograph for 5; 6 asked for by nobody" in gpu(*words, code=1).stderr
    make_run(run, ROWS.replace("label", "dog"))
    assert "its header is id,dog and not id,label" in gpu(*words, code=1).stderr
    make_run(run)
    (run / "submission.csv").write_text(ROWS.replace("0.5", "0.9"))
    assert "is not what the machine made" in gpu(*words, code=1).stderr
    make_run(run)
    (run / "SHA256SUMS").write_text(f"{hashlib.sha256(b'{}').hexdigest()}  model.json\n")
    assert "is not what the machine made" in gpu(*words, code=1).stderr
    make_run(run)
    (run / "verified.json").unlink()
    assert "is not verified" in gpu(*words, code=1).stderr
    make_run(run)
    (run / "submission.csv").unlink()
    assert "has no submission.csv" in gpu(*words, code=1).stderr
    assert not kaggle.uploads and not (run / "submissions.json").exists()


def test_which_competition(kaggle: Kaggle, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, or the data set's own record; its sample submission is fetched where the data set has none."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    said = gpu("submit", RUN, "-y", code=2).stderr
    assert "--competition NAME" in said
    (work / "data" / "dogscats" / ".gpu-fetched.json").write_text(json.dumps({"competition": "my-own-pets"}))
    (work / "data" / "dogscats" / "sample_submission.csv").unlink()
    kaggle.files = {"sample_submission.csv": SAMPLE.replace("5,0.5", "7,0.5").encode(), "train.zip": b""}
    assert "no photograph for 7" in gpu("submit", RUN, "-y", code=1).stderr
    kaggle.files = {"sample_submission.csv": SAMPLE.encode()}
    done = gpu("submit", RUN, "-y")
    assert "public score  0.05122 (expected 0.05000)" in done.stdout
    assert "place" not in done.stdout and "the leaderboard could not be had" in done.stderr
    assert noted(work)[0]["competition"] == "my-own-pets"


def test_a_submission_that_cannot_be_scored(kaggle: Kaggle, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    kaggle.verdict = {"status": "ERROR"}
    said = gpu("submit", RUN, "--competition", COMPETITION, "-y", code=1).stderr
    assert "could not score it" in said
    assert noted(work)[0]["status"] == "error"


def photographs(folder: str, count: int) -> dict[str, bytes]:
    found = {}
    for number in range(count):
        out = io.BytesIO()
        Image.new("RGB", (16, 16), (number * 7 % 256, 90, number)).save(out, "JPEG")
        label = "test" if folder == "test" else ("cat", "dog")[number % 2]
        found[f"{folder}/{number + 1 if label == 'test' else f'{label}.{number // 2}'}.jpg"] = out.getvalue()
    return found


def test_a_competitions_data(kaggle: Kaggle, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives in an archive, cut in the middle; the sample submission lands where the trainer looks for it."""
    said = gpu("data", "fetch", f"kaggle:{COMPETITION}", code=1).stderr
    assert "no token for Kaggle" in said
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    kaggle.files = {
        "train.zip": zipped(photographs("train", 40)),
        "test.zip": zipped(photographs("test", 5)),
        "sample_submission.csv": SAMPLE.encode(),
    }
    kaggle.cut = 5000
    done = gpu("data", "fetch", f"kaggle:{COMPETITION}", "--as", "pets", "--json")
    counts = json.loads(done.stdout)
    assert {label: n + counts["valid"][label] for label, n in counts["train"].items()} == {"cat": 20, "dog": 20}
    assert counts["test"] == 5 and f"{COMPETITION}/rules" in done.stderr
    assert (work / "data" / "pets" / "sample_submission.csv").read_text() == SAMPLE
    assert json.loads((work / "data/pets/.gpu-fetched.json").read_text())["competition"] == COMPETITION
    calls = len(kaggle.calls)
    assert "fetched before" in gpu("data", "fetch", COMPETITION, "--as", "pets").stderr
    assert len(kaggle.calls) == calls


def test_without_the_client_it_says_how_to_get_it(work: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An interpreter that has no `kaggle` beside it, and an empty PATH."""
    bare = tmp_path / "bin" / "python3"
    bare.parent.mkdir()
    bare.symlink_to(Path(sys.executable).resolve())
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), *sys.path]))
    monkeypatch.setenv("PYTHONPATH", paths)
    monkeypatch.setenv("PATH", str(bare.parent))
    words = [str(bare), "-m", "orchestrator", "submit", RUN, "--competition", COMPETITION]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=work)
    assert done.returncode == 1
    assert "official client is not installed here" in done.stderr and "-m pip install kaggle" in done.stderr


@pytest.mark.parametrize(
    ("place", "teams", "words"),
    [
        (1, 1314, "first ten"),
        (10, 1314, "first ten"),
        (10, 20, "top half"),
        (11, 1314, "top 10 %"),
        (132, 1314, "top 20 %"),
        (263, 1314, "top half"),
        (657, 1314, "top half"),
        (658, 1314, "lower half"),
        (1, 1, "lower half"),
    ],
)
def test_the_lectures_reading(place: int, teams: int, words: str) -> None:
    assert words in Standing(place, teams).reading


def test_a_place_is_counted_on_either_kind_of_board() -> None:
    losses, rates = [0.03, 0.04, 0.04, 0.5], [0.99, 0.97, 0.97, 0.5]
    assert [standing(losses, score) for score in (0.01, 0.04, 0.05, 9)] == [Standing(n, 4) for n in (1, 2, 4, 4)]
    assert [standing(rates, score) for score in (1, 0.97, 0.96, 0)] == [Standing(n, 4) for n in (1, 2, 4, 4)]
    assert standing([], 0.3) is None and standing([0.5, 0.5], 0.3) is None
    assert standing([0.5, 0.5], 0.5) == Standing(1, 2)


def test_a_token_is_found_where_the_client_looks(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert not is_there(home) and not is_there({**home, "KAGGLE_USERNAME": "me"})
    assert is_there({**home, "KAGGLE_USERNAME": "me", "KAGGLE_KEY": "k"})
    (tmp_path / ".config" / "kaggle").mkdir(parents=True)
    (tmp_path / ".config" / "kaggle" / "kaggle.json").touch()
    assert is_there(home) and not is_there({**home, "KAGGLE_CONFIG_DIR": str(tmp_path / "other")})
