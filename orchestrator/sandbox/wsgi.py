"""What passes between an AWS client and the region: one request as it was meant, one answer as a whole."""

from __future__ import annotations

import datetime
import io
import json
import re
import socket
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]

XML = ("Content-Type", "text/xml")
STATUS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    412: "Precondition Failed",
} | {
    200: "OK",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
SKEW = "gpu.skew"
"""Of an environ: by how many seconds the answer's date is wrong."""
_SCOPE = re.compile(r"Credential=[^/]*/(?P<day>\d+)/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")


class Refusal(Exception):
    """An answer in EC2's own words: `code` and a sentence, with the HTTP status that EC2 gives it."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        self.code = code
        self.status = status
        super().__init__(message)


class Reply:
    """A whole answer, so that it can be given again."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def good(self) -> bool:
        return self.status.startswith("200")

    @property
    def named(self) -> str:
        """AWS's word for what was wrong; empty where there is none."""
        found = re.search(rb"<Code>([^<]+)</Code>|\"__type\": *\"(?:[^\"#]*#)?(\w+)", self.body)
        return (found[1] or found[2]).decode() if found else ""

    @property
    def error(self) -> str:
        """AWS's word or the bare HTTP status; empty when nothing was wrong."""
        return "" if self.good else self.named or self.status.partition(" ")[0]

    def replaced(self, body: bytes) -> Reply:
        return Reply(self.status, [one for one in self.headers if one[0].lower() != "content-length"], body)

    def give(self, start_response: StartResponse) -> Iterable[bytes]:
        start_response(self.status, self.headers)
        return [self.body]


Forward = Callable[[], Reply]
"""What moto makes of a call."""


@dataclass(frozen=True)
class Call:
    """One request of an AWS client. `params` is the form of a query API, empty for the others."""

    service: str
    action: str
    region: str
    params: dict[str, str]
    signed: datetime.datetime | None = None
    """What the caller's clock said."""

    @property
    def changes(self) -> bool:
        """Whether the call would change something, as far as its name and its form tell."""
        return not self.action.startswith(("Describe", "Get", "List")) and self.params.get("DryRun") != "true"

    def named(self, name: str) -> list[str]:
        """The values of a list in the form: `InstanceId.1`, `InstanceId.2`, ..., or of the one `InstanceId`."""
        return [value for key, value in self.params.items() if re.fullmatch(rf"{name}(\.\d+)?", key)]

    def listed(self, name: str) -> list[dict[str, str]]:
        """The members of a list of structures: `Filter.1.Name`, `Filter.1.Value.1`, ... as a form each."""
        return _members(self.params, name)

    def tags(self, resource: str) -> dict[str, str]:
        """Those that the call gives to what it makes of that kind: `volume`, `snapshot`, ..."""
        asked = [one for one in self.listed("TagSpecification") if one.get("ResourceType") == resource]
        return {tag["Key"]: tag.get("Value", "") for one in asked for tag in _members(one, "Tag")}


Handler = Callable[[Call, Forward], Reply]
"""What EC2 makes of it; raises Refusal."""


def _members(form: Mapping[str, str], name: str) -> list[dict[str, str]]:
    members: dict[str, dict[str, str]] = {}
    for key, value in form.items():
        if found := re.fullmatch(rf"{name}\.(\d+)\.(.+)", key):
            members.setdefault(found[1], {})[found[2]] = value
    return list(members.values())


def read(environ: Environ) -> Call | None:
    """The AWS call in a request; None for one that is none. The body can be read again afterwards."""
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    if scope is None:
        return None
    params = _form(environ)
    target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    action = params.get("Action") or target or f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '')}"
    return Call(scope["service"], action, scope["region"], params, _time(environ.get("HTTP_X_AMZ_DATE", "")))


def body(environ: Environ) -> bytes:
    """The request's body, put back for whoever comes next."""
    whole: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(whole)
    return whole


def ask(application: Wsgi, environ: Environ) -> Reply:
    """What `application` answers, as a whole."""
    answer: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        answer.update(status=status, headers=headers)
        return lambda _: None

    pieces = application(environ, start_response)
    whole = b"".join(pieces)
    if close := getattr(pieces, "close", None):
        close()
    return Reply(answer["status"], list(answer["headers"]), whole)


def hung_up(environ: Environ) -> bool:
    """Whether the caller has closed the connection: killed, or tired of waiting."""
    connection: socket.socket = environ["werkzeug.socket"]
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def ec2_answer(action: str, inner: str) -> Reply:
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><{action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>{uuid.uuid4()}</requestId>{inner}</{action}Response>"
    )
    return Reply("200 OK", [XML], text.encode())


def refused(refusal: Refusal, service: str = "ec2") -> Reply:
    """The error as `service` writes it down: EC2 and STS in XML, each its own, the others in JSON."""
    status = f"{refusal.status} {STATUS[refusal.status]}"
    code, message = escape(refusal.code), escape(str(refusal))
    inner = f"<Code>{code}</Code><Message>{message}</Message>"
    if service == "ec2":
        text = f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>{uuid.uuid4()}</RequestID></Response>"
    elif service == "sts":
        text = f"<ErrorResponse><Error><Type>Sender</Type>{inner}</Error></ErrorResponse>"
    else:
        told = json.dumps({"__type": refusal.code, "message": str(refusal), "Message": str(refusal)})
        return Reply(status, [("Content-Type", "application/x-amz-json-1.1")], told.encode())
    return Reply(status, [XML], f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode())


def plain(text: str, status: int = 200) -> Reply:
    return Reply(f"{status} {STATUS[status]}", [("Content-Type", "text/plain")], text.encode())


def document(content: Any, status: int = 200) -> Reply:
    return Reply(f"{status} {STATUS[status]}", [("Content-Type", "application/json")], json.dumps(content).encode())


def _form(environ: Environ) -> dict[str, str]:
    if not environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return {}
    return dict(urllib.parse.parse_qsl(body(environ).decode("utf-8", "replace"), keep_blank_values=True))


def _time(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        return None
