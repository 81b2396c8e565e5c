"""One checked SSH connection to a machine: commands with their output, and every failure by its own name."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType

import paramiko

from ..errors import GpuError, UsageError
from ..providers.base import Address
from ..sshconfig import effective, jump_argv, known_keys
from .command import CommandFailed, Completed
from .failures import (
    AuthRefused,
    ConnectionLost,
    HostKeyChanged,
    HostKeyUnknown,
    NotSsh,
    Unreachable,
    WayRefused,
)
from .login import OwnKeys
from .openssh import CONNECT_SECONDS, config_file, place
from .way import Way

# Without a handler of its own paramiko prints tracebacks to stderr for what is raised here anyway.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

HEARTBEAT_SECONDS = 4.0
PATIENCE_SECONDS = 10.0
# On a first boot sshd answers before the key of the new machine is in place, but not for long.
NEW_KEY_SECONDS = 30.0
RETRY_SECONDS = 0.3
# Linux takes 128 KiB in one argument of a program, and the login shell gets the whole line as one.
LONGEST_COMMAND = 100_000


class _Strict(paramiko.MissingHostKeyPolicy):
    """Refuses every key that is not known, and tells a new host from one that shows a key of another type."""

    def __init__(self, address: Address, known: paramiko.HostKeys) -> None:
        self.address, self.known = address, known

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        del client, key
        error = HostKeyChanged if self.known.lookup(hostname) else HostKeyUnknown
        raise error(self.address.host, self.address.port, _where(self.address))


def _where(address: Address) -> str:
    return str(address.known_hosts) if address.known_hosts else "your known_hosts"


class Connection:
    """A context manager; `connect` makes one. Several commands may run on it, one after the other or at once."""

    def __init__(self, address: Address, *, seconds: float = CONNECT_SECONDS) -> None:
        """`seconds`: how long each part of connecting may take."""
        self.address = address
        self._seconds = seconds
        self._client = paramiko.SSHClient()
        self._closed = threading.Event()
        self._way: Way | None = None
        # Without a key of its own the access is as the user's own SSH configuration says.
        self._own = None if address.key_file else effective(address.host, user=address.user, port=address.port)
        self._known = self._known_keys()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.close()

    def close(self) -> None:
        self._closed.set()
        self._client.close()
        if self._way:
            self._way.close()

    @property
    def _known_as(self) -> str:
        return self._own.known_as[0] if self._own else place(self.address.host, self.address.port)

    def _known_keys(self) -> list[paramiko.hostkeys.HostKeyEntry]:
        """The machine's host keys, all under the one name that paramiko will ask for."""
        keys = known_keys(self._own.known_as, self._own.known_hosts) if self._own else _kept_keys(self.address)
        entries = [entry for key in keys if (entry := _entry(f"{self._known_as} {key}"))]
        known = self._client.get_host_keys()
        for entry in entries:
            known.add(self._known_as, entry.key.get_name(), entry.key)
        self._client.set_missing_host_key_policy(_Strict(self.address, known))
        return entries

    def open(self) -> None:
        """Dial, check the host key, log in. Each failure is a class of `failures`."""
        host, port = self.address.host, self.address.port
        try:
            self._log_in_with_either_key()
        except paramiko.BadHostKeyException as error:
            raise HostKeyChanged(host, port, _where(self.address)) from error
        except paramiko.AuthenticationException as error:
            raise AuthRefused(self.address, str(error).rstrip(".") or "no reason given") from error
        except (socket.gaierror, TimeoutError, ConnectionRefusedError) as error:
            raise Unreachable(host, port, _reason(error)) from error
        except (paramiko.SSHException, EOFError, ConnectionResetError) as error:
            if self._way and (words := self._way.words()):
                raise _blocked(self.address, words) from error
            if "No authentication methods" in str(error) or "key" in str(error).lower():
                raise AuthRefused(self.address, str(error)) from error
            raise NotSsh(host, port) from error
        except OSError as error:
            raise Unreachable(host, port, _reason(error)) from error
        threading.Thread(target=self._watch, daemon=True, name=f"heartbeat {host}").start()

    def _log_in_with_either_key(self) -> None:
        """paramiko holds one key a host and type; a machine whose key is just being replaced has two of a type."""
        try:
            self._log_in()
        except paramiko.BadHostKeyException as error:
            if not any(entry.key == error.key for entry in self._known):
                raise
            self._client.close()
            self._client.get_host_keys().add(self._known_as, error.key.get_name(), error.key)
            self._log_in()

    @property
    def host_key(self) -> str:
        """`TYPE BASE64` of the key that the machine has shown."""
        key = self._transport().get_remote_server_key()
        return f"{key.get_name()} {key.get_base64()}"

    def _log_in(self) -> None:
        address = self.address
        if address.key_file and not address.key_file.is_file():
            raise GpuError(f"the private key {address.key_file} is missing", "Restore it, or name another")
        strategy = OwnKeys(self._own) if self._own else None
        try:
            self._client.connect(
                # With a socket given, the host and the port are only the name under which known keys are looked up.
                self._known_as if self._own else address.host,
                port=22 if self._own else address.port,
                username=address.user,
                key_filename=str(address.key_file) if address.key_file else None,
                allow_agent=False,
                look_for_keys=False,
                auth_strategy=strategy,
                sock=self._dial(),
                timeout=self._seconds,
                banner_timeout=self._seconds,
                auth_timeout=self._seconds,
            )
        except paramiko.AuthenticationException as error:
            if strategy is None:
                raise
            raise AuthRefused(address, "; ".join(strategy.passed_over) or "none of them is known there") from error

    def _dial(self) -> socket.socket:
        """A socket to the machine, through a program where the configuration says so."""
        address, argv = self.address, list(self._own.way) if self._own else []
        target = f"[{address.host}]:{address.port}"
        if address.proxy:
            argv = jump_argv(address.proxy, target) if self._own else _through(address, target)
        if self._way:
            self._way.close()
        if argv:
            self._way = Way(argv)
            return self._way.near
        where = (self._own.host, self._own.port) if self._own else (address.host, address.port)
        return socket.create_connection(where, timeout=self._seconds)

    def _transport(self) -> paramiko.Transport:
        transport = self._client.get_transport()
        if transport is None or not transport.is_active():
            raise ConnectionLost(self.address.host)
        return transport

    def _watch(self) -> None:
        """Ask for a sign of life now and then: TCP alone takes a quarter of an hour to notice a black hole."""
        transport = self._client.get_transport()
        while transport and transport.is_active() and not self._closed.wait(HEARTBEAT_SECONDS):
            give_up = threading.Timer(PATIENCE_SECONDS, transport.close)
            give_up.daemon = True
            give_up.start()
            with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
                transport.global_request("keepalive@openssh.com", wait=True)
            give_up.cancel()

    def run(self, command: str, *, input: bytes | None = None, timeout: float | None = None) -> Completed:  # noqa: A002
        """One shell line, to its end; `timeout` in seconds. Raises `ConnectionLost`, never for an exit code."""
        stdout: list[bytes] = []
        with self._session(command) as session:
            return session.exchange(stdout.append, input or b"", timeout, stdout)

    def check(self, command: str, *, input: bytes | None = None, timeout: float | None = None) -> Completed:  # noqa: A002
        """`run` that raises `CommandFailed` for every exit code but 0."""
        completed = self.run(command, input=input, timeout=timeout)
        if completed.exit_code:
            raise CommandFailed(self.address.host, completed)
        return completed

    def stream(self, command: str, on_bytes: Callable[[bytes], None], data: bytes = b"") -> Completed:
        """Give each piece of stdout to `on_bytes` as it arrives; `stdout` of the answer is empty."""
        with self._session(command) as session:
            return session.exchange(on_bytes, data, None, [])

    @contextlib.contextmanager
    def _session(self, command: str) -> Iterator[_Session]:
        if len(command.encode()) > LONGEST_COMMAND:
            raise UsageError(f"a command of {len(command)} characters is too long for one line", "Send it as input")
        host = self.address.host
        try:
            channel = self._transport().open_session(timeout=CONNECT_SECONDS)
            try:
                channel.exec_command(command.encode())
                yield _Session(channel, host)
            finally:
                channel.close()
        except (paramiko.SSHException, EOFError, ConnectionError) as error:
            raise ConnectionLost(host) from error


class _Session:
    """One running command: three streams, each moved by its own thread so that none waits for another."""

    def __init__(self, channel: paramiko.Channel, host: str) -> None:
        self._channel, self._host = channel, host
        self._stderr: list[bytes] = []

    def exchange(
        self, on_stdout: Callable[[bytes], None], data: bytes, timeout: float | None, kept: list[bytes]
    ) -> Completed:
        deadline = None if timeout is None else time.monotonic() + timeout
        helpers = [threading.Thread(target=self._drain_stderr, daemon=True)]
        helpers.append(threading.Thread(target=self._feed, args=(data,), daemon=True))
        for helper in helpers:
            helper.start()
        try:
            self._read(on_stdout, deadline)
        except TimeoutError as error:
            raise GpuError(f"a command on {self._host} did not end within {timeout:g} s", "See: gpu status") from error
        helpers[0].join()
        return Completed(self._exit_code(), b"".join(kept), b"".join(self._stderr))

    def _read(self, on_stdout: Callable[[bytes], None], deadline: float | None) -> None:
        while True:
            self._channel.settimeout(None if deadline is None else max(0.01, deadline - time.monotonic()))
            piece = self._channel.recv(1 << 16)
            if not piece:
                return
            on_stdout(piece)

    def _drain_stderr(self) -> None:
        with contextlib.suppress(TimeoutError, OSError):
            while piece := self._channel.recv_stderr(1 << 16):
                self._stderr.append(piece)

    def _feed(self, data: bytes) -> None:
        # A command that ends without reading all of its input is not our failure; its exit code tells.
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.sendall(data)
            self._channel.shutdown_write()

    def _exit_code(self) -> int:
        """255 for a command that a signal ended while the connection lived."""
        code = self._channel.recv_exit_status()
        if code != -1:
            return code
        transport = self._channel.get_transport()
        # The channel closes a moment before the transport says that it is gone.
        for _ in range(20):
            if not transport.is_active():
                raise ConnectionLost(self._host)
            time.sleep(0.05)
        return 255


def connect(
    address: Address,
    *,
    wait: float = 0,
    say: Callable[[str], None] = lambda _text: None,
    seconds: float = CONNECT_SECONDS,
) -> Connection:
    """A connection, trying again for at most `wait` seconds while a machine boots; `seconds` for each attempt.

    An unknown or changed host key is never tried again.
    """
    began = time.monotonic()
    refused_since: float | None = None
    told = False
    while True:
        try:
            with contextlib.ExitStack() as closing:
                connection = closing.enter_context(Connection(address, seconds=seconds))
                connection.open()
                closing.pop_all()
                return connection
        except (Unreachable, NotSsh, AuthRefused) as error:
            now = time.monotonic()
            if isinstance(error, AuthRefused):
                if address.key_file is None:
                    # A server of one's own does not change its mind, and may lock out who asks too often.
                    raise
                refused_since = refused_since or now
            if now - began + RETRY_SECONDS > wait or (refused_since and now - refused_since > NEW_KEY_SECONDS):
                raise
            if not told and now - began > CONNECT_SECONDS:
                told = True
                say(f"still waiting: {error.what}")
        time.sleep(RETRY_SECONDS)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (getattr(error, "strerror", None) or str(error) or "no reason given").rstrip(".")


def _through(address: Address, target: str) -> list[str]:
    assert address.proxy is not None
    return [*config_file(address), "-W", target, "--", address.proxy]


def _blocked(address: Address, words: str) -> GpuError:
    """What stood in the way; what no waiting mends is not tried again."""
    if any(sign in words for sign in ("Host key verification failed", "Permission denied", "REMOTE HOST")):
        return WayRefused(address.host, words)
    return Unreachable(address.host, address.port, words)


def _kept_keys(address: Address) -> list[str]:
    """`TYPE BASE64` from the known_hosts file that the provider wrote: plain names, no patterns."""
    file = address.known_hosts
    if file is None or not file.is_file():
        raise GpuError(f"{file}, which holds the machine's host key, is missing", "Run `gpu start` again")
    name = place(address.host, address.port)
    lines = [line.split() for line in file.read_text(errors="replace").splitlines()]
    return [" ".join(words[1:3]) for words in lines if len(words) > 2 and name in words[0].split(",")]


def _entry(line: str) -> paramiko.hostkeys.HostKeyEntry | None:
    """None for a line that is damaged, or holds a key of a type that paramiko does not know."""
    try:
        return paramiko.hostkeys.HostKeyEntry.from_line(line)
    except (paramiko.SSHException, paramiko.hostkeys.InvalidHostKey):
        return None
