"""A real LiteLLM proxy, started with the configuration of deploy/litellm."""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .support import PATIENCE_SECONDS, ROOT, TESTS, Process, eventually, free_port

MASTER_KEY = "sk-master-0123456789abcdef0123456789abcdef0123456789"
CONFIGURATION = ROOT / "deploy/litellm/config.yaml"


class Proxy(Process):
    def __init__(self, folder: Path, name: str, configuration: Path, variables: Mapping[str, str]) -> None:
        self.port = free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(TESTS),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_TELEMETRY": "False",
            "LITELLM_MASTER_KEY": MASTER_KEY,
            "NO_PROXY": "127.0.0.1",
            **variables,
        }
        # By the interpreter, since the script names it by the path at which the environment was made.
        litellm = str(Path(sys.executable).parent / "litellm")
        command = [
            sys.executable,
            litellm,
            "--config",
            str(configuration),
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        super().__init__([*command, "--telemetry", "False"], environment, folder / f"{name}.log")

    def wait(self) -> None:
        def answers() -> bool:
            self.require_alive()
            try:
                return self.ask("GET", "/health/liveliness")[0] == 200
            except OSError:
                return False

        eventually(answers, "the proxy answers")

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)

    def ask(
        self,
        method: str,
        target: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        connection = self.connect()
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, target, payload, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            answer = response.read()
            told = {name.lower(): value for name, value in response.getheaders()}
            return response.status, told, json.loads(answer) if answer[:1] == b"{" else {"text": answer.decode()}
        finally:
            connection.close()

    def chat(
        self,
        user: str,
        model: str = "gpt-4o",
        text: str = "hello",
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        messages = [{"role": "user", "content": text}]
        return self.ask(
            "POST",
            "/v1/chat/completions",
            {"model": model, "messages": messages, **body},
            {"Authorization": f"Bearer sk-{user}", **(headers or {})},
        )
