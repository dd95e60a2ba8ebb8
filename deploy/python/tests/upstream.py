"""A server that speaks OpenAI's protocol as far as the tests need it, on loopback.

What it does stands in the text of the last message: ``stream`` parts come with pauses where it says ``slow``.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROMPT_TOKENS = 900
COMPLETION_TOKENS = 80
PARTS = 40


class Upstream:
    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        #: How many answers that are no stream are about to be sent, or have been.
        self.answered = 0
        #: Models that answer with status 500, and how often they still do.
        self.broken: dict[str, int] = {}
        self.part_seconds = 0.05
        #: How many tokens the answer of a model has, where it is not the usual number.
        self.completion_tokens: dict[str, int] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def count(self, model: str) -> int:
        return sum(1 for request in self.requests if request.get("model") == model)

    def _handler(self) -> type:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                part_seconds = upstream.part_seconds
                upstream.requests.append(body)
                model = body["model"]
                if upstream.broken.get(model, 0) > 0:
                    upstream.broken[model] -= 1
                    self._send(500, {"error": {"message": "broken", "type": "server_error"}})
                elif self.path.endswith("/embeddings"):
                    usage = {"prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS}
                    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
                    self._send(200, {"object": "list", "model": model, "data": data, "usage": usage})
                elif body.get("stream"):
                    self._stream(body)
                else:
                    if "slow" in json.dumps(body.get("messages")):
                        time.sleep(part_seconds * PARTS)
                    upstream.answered += 1
                    self._send(200, self._completion(model))

            @staticmethod
            def _usage(model: str) -> dict[str, Any]:
                completion_tokens = upstream.completion_tokens.get(model, COMPLETION_TOKENS)
                return {
                    "prompt_tokens": PROMPT_TOKENS,
                    "completion_tokens": completion_tokens,
                    "total_tokens": PROMPT_TOKENS + completion_tokens,
                    "prompt_tokens_details": {"cached_tokens": 0},
                }

            def _completion(self, model: str) -> dict[str, Any]:
                message = {"role": "assistant", "content": "hello"}
                choice = {"index": 0, "finish_reason": "stop", "message": message}
                head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model}
                return {**head, "choices": [choice], "usage": self._usage(model)}

            def _send(self, status: int, answer: dict[str, Any]) -> None:
                payload = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def _stream(self, body: dict[str, Any]) -> None:
                text = json.dumps(body.get("messages"))
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                if "late" in text:
                    time.sleep(upstream.part_seconds * PARTS)
                head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
                try:
                    for number in range(PARTS):
                        delta = {"role": "assistant", "content": "word "}
                        choice = {"index": 0, "delta": delta, "finish_reason": None}
                        self._event({**head, "choices": [choice]})
                        if "slow" in text:
                            time.sleep(upstream.part_seconds)
                        if "breaks" in text and number == PARTS // 2:
                            return
                    self._event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                    if (body.get("stream_options") or {}).get("include_usage"):
                        self._event({**head, "choices": [], "usage": self._usage(body["model"])})
                    self.wfile.write(b"data: [DONE]\n\n")
                except OSError:
                    pass  # The proxy went away, which is what some tests are about.

            def _event(self, part: dict[str, Any]) -> None:
                self.wfile.write(b"data: " + json.dumps(part).encode() + b"\n\n")
                self.wfile.flush()

        return Handler
