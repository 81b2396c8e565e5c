"""The layer around the gateway where faults strike: each call as EC2 would treat it on a bad day."""

from __future__ import annotations

import datetime
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from . import quotas, wsgi
from .calls import CallLog, Entry
from .faults import Fault, Faults, Place
from .newborn import Newborn
from .wsgi import Call, Environ, Refusal, Reply, StartResponse, Wsgi

SIGNATURE_SECONDS = 300
"""How far a signature's time may be from EC2's clock."""
GLANCE = 0.02
"""Seconds between two looks at whether a held call may go on."""
CAPACITY_ACTIONS = ("RunInstances", "StartInstances")

Strike = Callable[[Fault], int]


class Lost(ConnectionAbortedError):
    """The answer does not arrive."""


class Gone(ConnectionAbortedError):
    """The caller hung up before its call was carried out."""


class Striker:
    """Records every AWS call and lets the active faults strike it. `from_outside` carries out those that come by
    themselves (terminate, spot-notice); `places` says where the machines of a call are."""

    def __init__(
        self,
        inner: Wsgi,
        log: CallLog,
        faults: Faults,
        places: Callable[[Call], Sequence[Place]],
        from_outside: Strike,
    ) -> None:
        self.inner = inner
        self.log = log
        self.faults = faults
        self._places = places
        self._from_outside = from_outside
        self._newborn = Newborn()
        self._held: dict[int, Entry] = {}
        self._came = threading.Condition()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        call = wsgi.read(environ)
        if call is None:
            return self.inner(environ, start_response)
        entry = self.log.arrived(call)
        outcome = "InternalError"
        try:
            reply = self._answer(environ, call, entry)
            outcome = reply.error or "ok"
        except (Lost, Gone) as error:
            outcome = type(error).__name__.lower()
            raise
        finally:
            self.log.answered(entry, outcome)
        return reply.give(start_response)

    def held(self, seconds: float) -> Entry | None:
        """The entry of a call that is held, waited for that long."""
        with self._came:
            self._came.wait_for(lambda: bool(self._held), seconds)
            return dict(min(self._held.items())[1]) if self._held else None

    def release(self) -> int:
        """Let all go on that are held now; returns when they have."""
        with self._came:
            count = len(self._held)
            self.faults.round += 1
            self._came.wait_for(lambda: not self._held, 10)
        return count

    def _answer(self, environ: Environ, call: Call, entry: Entry) -> Reply:
        self._hold(environ, call, entry, "before")
        if skew := self.faults.strike("clock-skew", call):
            environ[wsgi.SKEW] = skew.duration
        try:
            self._refuse(call, skew)
            reply = wsgi.ask(self.inner, environ)
        except Refusal as refusal:
            reply = wsgi.refused(refusal, call.service)
        if reply.good:
            reply = self._afterwards(call, reply)
        self._hold(environ, call, entry, "after")
        if self.faults.strike("reply-lost", call):
            _hang_up(environ)
            raise Lost
        if slow := self.faults.strike("latency", call):
            time.sleep(slow.duration)
        return reply

    def _refuse(self, call: Call, skew: Fault | None) -> None:
        """In EC2's order: who are you, are you not too fast, may you, does it exist, is there room."""
        if skew:
            _check_signature(call, skew.duration)
        if self.faults.strike("throttle", call):
            raise _throttled(call)
        # STS tells whoever asks who he is; no policy can forbid it.
        if call.action != "GetCallerIdentity" and self.faults.strike("denied", call):
            raise _denied(call)
        self._newborn.refuse_unknown(call)
        if call.action in CAPACITY_ACTIONS and call.params.get("DryRun") != "true" and (places := self._places(call)):
            if self.faults.strike("vcpu-limit", call, places):
                spot = call.params.get("InstanceMarketOptions.MarketType") == "spot"
                raise quotas.exceeded(places[0][1], spot=spot, limit=0)
            if self.faults.strike("no-capacity", call, places):
                raise _no_capacity(*places[0])

    def _afterwards(self, call: Call, reply: Reply) -> Reply:
        if self._newborn.is_birth(call) and (fault := self.faults.strike("not-found", call)):
            self._newborn.remember(call, reply, fault.duration)
        for name in ("terminate", "spot-notice"):
            if fault := self.faults.strike(name, call):
                self._from_outside(fault)
        return self._newborn.without(call, reply)

    def _hold(self, environ: Environ, call: Call, entry: Entry, when: str) -> None:
        if not self.faults.strike("hold", call, when=when):
            return
        began = self.faults.round
        with self._came:
            self._held[entry["n"]] = entry
            self._came.notify_all()
        gone = False
        while self.faults.round == began and not gone:
            time.sleep(GLANCE)
            gone = wsgi.hung_up(environ)
        with self._came:
            del self._held[entry["n"]]
            self._came.notify_all()
        if gone:
            raise Gone if when == "before" else Lost


def _no_capacity(zone: str, instance_type: str) -> Refusal:
    # One of EC2's server errors: clients try it again by themselves, as they do here.
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    return Refusal(
        "InsufficientInstanceCapacity",
        f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested "
        f"({zone}). Our system will be working on provisioning additional capacity.",
        500,
    )


def _throttled(call: Call) -> Refusal:
    if call.service == "ec2":
        return Refusal("RequestLimitExceeded", "Request limit exceeded.", 503)
    return Refusal("Throttling" if call.service == "sts" else "ThrottlingException", "Rate exceeded")


def _denied(call: Call) -> Refusal:
    who = "User: arn:aws:iam::123456789012:user/sandbox"
    why = f"{who} is not authorized to perform: {call.service}:{call.action}"
    if call.service == "ec2":
        begin = "You are not authorized to perform this operation."
        return Refusal("UnauthorizedOperation", f"{begin} {why} because no identity-based policy allows it", 403)
    return Refusal("AccessDenied", why, 403) if call.service == "sts" else Refusal("AccessDeniedException", why)


def _check_signature(call: Call, seconds: float) -> None:
    """As EC2 does to a caller whose clock is so far behind (ahead, when negative); it tells neither from bad keys
    (seen: github.com/hashicorp/packer/issues/3140) but for a request that it takes for an old one."""
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    age = (now - (call.signed or now)).total_seconds()
    if abs(age) <= SIGNATURE_SECONDS:
        return
    if call.service != "ec2":
        word = "Signature expired" if age > 0 else "Signature not yet current"
        code = "SignatureDoesNotMatch" if call.service == "sts" else "InvalidSignatureException"
        raise Refusal(code, f"{word}: compare {now:%Y%m%dT%H%M%SZ} (5 min.)", 403 if call.service == "sts" else 400)
    if age > 0:
        raise Refusal("RequestExpired", "Request has expired.")
    raise Refusal("AuthFailure", "AWS was not able to validate the provided access credentials", 401)


def _hang_up(environ: Environ) -> None:
    connection: socket.socket = environ["werkzeug.socket"]
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The caller was faster.
        return
