"""A small stand-in for Kaggle's service, to which its real client talks.

The client is pointed at `http://localhost/api` by its own variable KAGGLE_API_ENVIRONMENT=LOCALHOST, and reaches this
server as its proxy, so that no port is fixed.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

COMPETITION = "dogs-vs-cats-redux-kernels-edition"
TOKEN = "KGAT_5ecret-0f-the-tests"
BASIC = "Basic " + base64.b64encode(b"me:" + TOKEN.encode()).decode()


class Kaggle(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[str] = []
        self.uploads: list[bytes] = []
        self.submissions: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        """What a competition offers: file name to content."""
        self.board: list[float] | None = None
        """Scores of the teams, the best first; None: the board cannot be had."""
        self.verdict: dict[str, Any] = {"status": "COMPLETE", "publicScore": "0.05122"}
        self.looks = 0
        """How often a submission is pending before its verdict."""
        self.refusal: tuple[int, str] | None = None
        self.cut: int | None = None
        """After so many bytes the first download is cut."""
        self.on_call: Callable[[str], None] = lambda _: None

    def handle_error(self, *_: object) -> None:
        """Whoever asked may go away."""

    def environment(self, patch: pytest.MonkeyPatch) -> None:
        patch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        for name in ("http_proxy", "HTTP_PROXY"):
            patch.setenv(name, f"http://127.0.0.1:{self.server_port}")
        for name in ("no_proxy", "NO_PROXY"):
            patch.delenv(name, raising=False)

    def answer(self, call: str, asked: dict[str, Any]) -> dict[str, Any]:
        if call == "IntrospectToken":
            return {"active": asked["token"] == TOKEN, "username": "me"}
        if call == "StartSubmissionUpload":
            return {"token": "blob", "createUrl": "http://localhost/upload"}
        if call == "CreateSubmission":
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z"
            known = {"ref": 7000 + len(self.submissions), "date": now, "fileName": "submission.csv"}
            self.submissions.insert(0, {**known, "description": asked["submissionDescription"], "status": "PENDING"})
            return {"message": "Successfully submitted", "ref": known["ref"]}
        if call == "ListSubmissions":
            self.looks -= 1
            if self.looks < 0 and self.submissions:
                self.submissions[0].update(self.verdict)
            return {"submissions": self.submissions, "nextPageToken": ""}
        if call == "ListDataFiles":
            listed = [{"name": name, "totalBytes": len(data), "creationDate": "2016-09-02T00:00:00Z"}
                      for name, data in self.files.items()]  # fmt: skip
            return {"files": listed}
        return {"code": 404, "message": f"404 nobody knows {call}"}


class _Handler(BaseHTTPRequestHandler):
    server: Kaggle

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = self.path.rpartition("/")[2]
        self.server.calls.append(call)
        self.server.on_call(call)
        allowed = self.headers.get("Authorization") in (f"Bearer {TOKEN}", BASIC)
        refusal = self.server.refusal if call != "IntrospectToken" else None
        if not allowed or refusal:
            code, words = refusal or (401, "Unauthenticated")
            self._send(json.dumps({"code": code, "message": words}).encode(), status=code)
        elif call == "DownloadLeaderboard" and self.server.board is not None:
            rows = "".join(f"{n},{n},team {n},2017-03-02,{s}\n" for n, s in enumerate(self.server.board, 1))
            text = "Rank,TeamId,TeamName,LastSubmissionDate,Score\n" + rows
            self._send(zipped({"board-publicleaderboard.csv": text.encode()}), kind="application/zip")
        elif call.startswith("DownloadDataFile"):
            name = asked.get("fileName") or f"{asked['competitionName']}.zip"
            self._redirect(f"http://localhost/files/{name}")
        else:
            self._send(json.dumps(self.server.answer(call, asked)).encode())

    def do_PUT(self) -> None:
        self.server.uploads.append(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(b"{}")

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        data = self.server.files[name] if name in self.server.files else zipped(self.server.files)
        asked = self.headers.get("Range")
        start = int(asked[6:-1]) if asked else 0
        cut, self.server.cut = self.server.cut, None
        self._send(data, start=start if asked else None, cut=cut, kind="application/octet-stream")

    do_HEAD = do_GET

    def _redirect(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(
        self, data: bytes, *, status: int = 200, kind: str = "application/json", start: int | None = None,
        cut: int | None = None,
    ) -> None:  # fmt: skip
        body = data[start or 0 :]
        self.send_response(status if start is None else 206)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"one"')
        self.send_header("Last-Modified", "Fri, 02 Sep 2016 10:00:00 GMT")
        self.end_headers()
        self.wfile.write(body[:cut])

    def log_message(self, *_: object) -> None:
        pass


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


@contextmanager
def serving() -> Iterator[Kaggle]:
    with Kaggle() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()
