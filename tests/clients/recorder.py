# SPDX-License-Identifier: Apache-2.0
"""A proxy that writes down what a client sends and what it gets."""
import http.client
import http.server
import json
import threading

KEPT = ("content-type", "accept", "authorization", "user-agent", "x-client-name")


class Recorder:
    def __init__(self, port):
        self.exchanges = []
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "accept-encoding", "transfer-encoding")}
                c.request(self.command, self.path, body or None, headers)
                r = c.getresponse()
                data = r.read()
                recorder.note(self, body, r, data)
                self.send_response(r.status)
                for k, v in r.getheaders():
                    if k.lower() not in ("connection", "content-length", "date"):
                        self.send_header(k, v)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                c.close()

            do_GET = do_POST = do_DELETE = do_HEAD = handle_any

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def note(self, request, body, response, data):
        self.exchanges.append({
            "method": request.command,
            "path": request.path,
            "headers": {k.lower(): v for k, v in request.headers.items() if k.lower() in KEPT},
            "body": body.decode(),
            "status": response.status,
            "shape": shape(data),
        })

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def shape(data):
    """What an answer looks like, without its numbers: what the client could read."""
    try:
        return outline(json.loads(data))
    except ValueError:
        return "text"


def outline(value):
    if isinstance(value, dict):
        return {k: outline(v) for k, v in sorted(value.items())}
    if isinstance(value, list):
        return [outline(value[0])] if value else []
    return {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}[type(value)]
