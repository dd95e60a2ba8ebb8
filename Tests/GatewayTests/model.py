"""A model's API for the gateways' tests, on a port of 127.0.0.1 that is printed.

It speaks OpenAI's chat completions and responses and Anthropic's messages as far as a gateway reads them. In a request's
body ``stream`` is theirs; ``slow`` has a stream take its time, ``breaks`` ends one in its middle, ``wait`` is the seconds
before an answer, and ``status`` is its status. Every GET is answered with the headers that came.
"""

from __future__ import annotations

import itertools
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Iterator

PARTS = 40
PAUSE_SECONDS = 0.05
# Text of a model's that looks like usage must not be taken for it.
TEXT = 'word "usage":{"prompt_tokens":1,"completion_tokens":1} '

CHAT_USAGE = {
    "prompt_tokens": 900,
    "completion_tokens": 80,
    "total_tokens": 980,
    "prompt_tokens_details": {"cached_tokens": 0},
}
RESPONSES_USAGE = {"input_tokens": 900, "output_tokens": 80, "input_tokens_details": {"cached_tokens": 0}}
MESSAGES_USAGE = {"input_tokens": 900, "output_tokens": 80}


def chat_answer() -> dict[str, Any]:
    message = {"role": "assistant", "content": TEXT}
    return {"model": "gpt-4o-2024-08-06", "choices": [{"index": 0, "message": message}], "usage": CHAT_USAGE}


def chat_events(request: dict[str, Any]) -> Iterator[str]:
    for _ in range(PARTS):
        yield data({"choices": [{"index": 0, "delta": {"content": TEXT}}], "usage": None})
    if (request.get("stream_options") or {}).get("include_usage"):
        yield data({"choices": [], "usage": CHAT_USAGE})
    yield "data: [DONE]\n\n"


def responses_events() -> Iterator[str]:
    yield "event: response.created\n" + data({"type": "response.created", "response": {"usage": None}})
    for _ in range(PARTS):
        yield data({"type": "response.output_text.delta", "delta": TEXT})
    yield data({"type": "response.completed", "response": {"output": [], "usage": RESPONSES_USAGE}})


def messages_events() -> Iterator[str]:
    start = {"usage": {"input_tokens": 900, "output_tokens": 1}}
    yield "event: message_start\n" + data({"type": "message_start", "message": start})
    for _ in range(PARTS):
        yield data({"type": "content_block_delta", "delta": {"text": TEXT}})
    yield "event: message_delta\n" + data({"type": "message_delta", "usage": {"output_tokens": 80}})
    yield "event: message_stop\n" + data({"type": "message_stop"})


def data(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event)}\n\n"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send(200, {name.lower(): value for name, value in self.headers.items()})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(request.get("wait", 0))
        if request.get("status"):
            self.send(request["status"], {"error": {"message": "refused"}})
        elif request.get("stream"):
            events = self.events(request)
            if request.get("breaks"):
                self.stream(itertools.islice(events, PARTS // 2), is_slow=False, is_whole=False)
            else:
                self.stream(events, request.get("slow", False))
        elif self.path.endswith("/messages"):
            self.send(200, {"content": [{"text": TEXT}], "usage": MESSAGES_USAGE})
        elif self.path.endswith("/responses"):
            self.send(200, {"output": [{"text": TEXT}], "usage": RESPONSES_USAGE})
        else:
            self.send(200, chat_answer())

    def events(self, request: dict[str, Any]) -> Iterator[str]:
        if self.path.endswith("/messages"):
            return messages_events()
        return responses_events() if self.path.endswith("/responses") else chat_events(request)

    def send(self, status: int, answer: dict[str, Any]) -> None:
        payload = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def stream(self, events: Iterator[str], is_slow: bool, is_whole: bool = True) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for event in events:
                # In two pieces: a line need not come whole.
                middle = len(event) // 2
                for piece in (event[:middle], event[middle:]):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece.encode()))
                if is_slow:
                    time.sleep(PAUSE_SECONDS)
            if is_whole:
                self.wfile.write(b"0\r\n\r\n")
            else:
                self.close_connection = True
        except OSError:
            self.close_connection = True  # The gateway went away, which is what some tests are about.


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever(0.05)
