"""Real processes for the tests: each in a folder of its own, on loopback or Unix sockets, ended by its own id."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, ClassVar, Protocol, TypeVar

ROOT = Path(__file__).resolve().parents[3]
TESTS = Path(__file__).resolve().parent
PROGRAM = os.environ.get("LLM_RATE_LIMIT_TEST_PROGRAM") or str(ROOT / ".build/debug/llm-rate-limit")
SANITIZERS = ("ASAN_OPTIONS", "TSAN_OPTIONS", "SWIFT_BACKTRACE")
#: Far above what anything takes; it ends a test that hangs.
PATIENCE_SECONDS = 120.0


def eventually(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Ask until the answer is true, and give it."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"did not come about: {what}")
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """Have the kernel end this process with the one that started it, in whichever way that ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A program with its output in a file; it ends with this process, or before."""

    def __init__(self, command: list[str], environment: Mapping[str, str], output: Path) -> None:
        self._command, self._environment, self._output = command, dict(environment), output
        self._child: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self._output.open("ab") as file:
            self._child = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - it calls the kernel and nothing else
            )

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def cpu_seconds(self) -> float:
        """What it has taken of the processors so far."""
        if self._child is None:
            return 0.0
        fields = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number: int) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)

    def stop(self) -> None:
        """Hold it as it is: connections stay, nothing is answered. A moment after the signal it still may be."""
        self.signal(signal.SIGSTOP)
        child = self._child
        if child is None:
            return

        def is_held() -> bool:
            threads = Path(f"/proc/{child.pid}/task").glob("*/stat")
            return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in threads)

        eventually(is_held, "the process is held")

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def end(self) -> None:
        if self._child is None:
            return
        self.signal(signal.SIGKILL)
        self._child.wait()
        self._child = None

    def require_alive(self) -> None:
        if self._child is None or self._child.poll() is not None:
            raise AssertionError(f"{self._command[0]} ended: {self.output[-4000:]}")


class Redis(Process):
    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis"
        command = ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(folder)]
        super().__init__(command, {"PATH": os.environ["PATH"]}, folder / "redis.log")
        self.wait()

    def wait(self) -> None:
        def answers() -> bool:
            self.require_alive()
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(self.socket))
                    connection.sendall(b"PING\r\n")
                    return connection.recv(16) == b"+PONG\r\n"
            except OSError:
                return False

        eventually(answers, "redis-server answers")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Daemon(Process):
    def __init__(self, folder: Path, redis: Redis, name: str = "daemon", **settings: str) -> None:
        self.socket = str(folder / name)
        self.port = free_port()
        variables = {
            "REDIS_URL": f"unix://{redis.socket}",
            "SOCKET": self.socket,
            "ADMIN_SOCKET": "",
            "LISTEN": f"127.0.0.1:{self.port}",
            # A busy machine makes no decision degraded in a test that is about something else.
            "REDIS_TIMEOUT_MS": "5000",
            **settings,
        }
        environment = {f"LLM_RATE_LIMIT_{key}": value for key, value in variables.items()}
        # Where a sanitized daemon writes its reports.
        environment.update({name: os.environ[name] for name in SANITIZERS if name in os.environ})
        super().__init__([PROGRAM, "serve"], environment, folder / f"{name}.log")
        self.wait()

    def wait(self) -> None:
        def answers() -> bool:
            self.require_alive()
            try:
                return self.ask("GET", "/readyz?require=redis")[0] == 200
            except OSError:
                return False

        eventually(answers, "the daemon decides")

    def restart(self) -> None:
        self.end()
        self.start()
        self.wait()

    def ask(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        connection = UnixConnection(self.socket)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, target, payload, {"Content-Type": "application/json"} if payload else {})
            response = connection.getresponse()
            answer = response.read()
            return response.status, json.loads(answer) if answer[:1] == b"{" else {}
        finally:
            connection.close()

    def metric(self, series: str) -> float:
        connection = UnixConnection(self.socket)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        finally:
            connection.close()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(series))

    def used(self, user: str, limit: str, query: str = "") -> int:
        """What is used and held of one limit."""
        limits = self.ask("GET", f"/v1/users/{user}/usage{query}")[1]["limits"]
        return int(next(found["used"] for found in limits if found["name"] == limit))


class Ending(Protocol):
    def end(self) -> None: ...


_Process = TypeVar("_Process", bound=Ending)


class ProcessTestCase(unittest.TestCase):
    """A folder for each class, and processes that end with it."""

    folder: ClassVar[Path]
    redis: ClassVar[Redis]
    daemon: ClassVar[Daemon]

    @classmethod
    def setUpClass(cls) -> None:
        # Short, since a Unix socket's path has at most 107 bytes.
        cls.folder = Path(tempfile.mkdtemp(prefix="lrl-", dir="/tmp"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)

    @classmethod
    def ending(cls, process: _Process) -> _Process:
        """End a process with the class."""
        cls.addClassCleanup(process.end)
        return process

    @classmethod
    def limits_file(cls, text: str) -> str:
        path = cls.folder / "limits.yaml"
        path.write_text(text)
        return str(path)


def python() -> str:
    return sys.executable
