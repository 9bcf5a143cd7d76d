"""A collector of traces: takes OTLP over HTTP, reads it by the classes of OpenTelemetry's own definition, and writes each span as a
line of JSON, with its attributes as plain values and those of its resource below `resource`."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


def attributes(fields):
    return {field.key: getattr(field.value, field.value.WhichOneof("value")) for field in fields}


def spans(request):
    for of_resource in request.resource_spans:
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                yield {
                    "name": span.name,
                    "kind": Span.SpanKind.Name(span.kind),
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    "status": Status.StatusCode.Name(span.status.code),
                    "attributes": attributes(span.attributes),
                    "events": len(span.events),
                    "resource": attributes(of_resource.resource.attributes),
                }


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_right = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
        answer = b""
        if is_right:
            for span in spans(ExportTraceServiceRequest.FromString(body)):
                print(json.dumps(span), flush=True)
            answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200 if is_right else 400)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
