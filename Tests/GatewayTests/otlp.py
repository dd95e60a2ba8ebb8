"""A collector that reads what it is sent with OpenTelemetry's own classes, and prints each request as a line of JSON.

    otlp.py <file> [<certificate> <key>]

The file says what it answers, and is read for each request: a status, with `Retry-After` behind a blank; `reject N` to take
all but N spans; `hang` to say nothing for ten minutes. The first line that is printed is the port.
"""

import http.server
import json
import ssl
import sys
import threading
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

output = threading.Lock()


def value(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


def described(body):
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    # What is written in another way than these classes would, or unknown to them, is a mistake.
    spans = []
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                spans.append(
                    {
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "name": span.name,
                        "kind": span.kind,
                        "start": span.start_time_unix_nano,
                        "end": span.end_time_unix_nano,
                        "attributes": {key: str(said) for key, said in attributes(span.attributes).items()},
                        "status": span.status.code,
                        "message": span.status.message,
                        "scope": f"{scope_spans.scope.name} {scope_spans.scope.version}",
                        "resource": attributes(resource_spans.resource.attributes),
                    }
                )
    return spans, request.SerializeToString(deterministic=True) == body


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        spans, is_canonical = described(body)
        line = {
            "path": self.path,
            "headers": {name.lower(): said for name, said in self.headers.items()},
            "spans": spans,
            "isCanonical": is_canonical,
        }
        with output:
            print(json.dumps(line), flush=True)
        with open(sys.argv[1]) as file:
            order = file.read().split()
        if order[0] == "hang":
            time.sleep(600)
        answer = ExportTraceServiceResponse()
        if order[0] == "reject":
            answer.partial_success.rejected_spans = int(order[1])
            answer.partial_success.error_message = "there is no room"
            order = ["200"]
        text = answer.SerializeToString()
        self.send_response(int(order[0]))
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(text)))
        if len(order) > 1:
            self.send_header("Retry-After", order[1])
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
