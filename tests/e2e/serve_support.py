# SPDX-License-Identifier: Apache-2.0
"""A running `rkformer serve` for the tests, and a client of Python's own library."""
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

from support import RKFORMER, SLOW, TRAINED, Case

JSON = {"Content-Type": "application/json"}


class Reply:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = {k.lower(): v for k, v in response.getheaders()}
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.unix = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.unix)


class Server:
    """Runs until stop(); `lines` is what it logged."""

    def __init__(self, env, *args, listen=("--listen", "127.0.0.1:0"), **more):
        self.lines = []
        self.port = None
        self.ready = threading.Event()
        self.process = subprocess.Popen([RKFORMER, "serve", *listen, *map(str, args)], env=env, stderr=subprocess.PIPE, text=True, **more)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        if not self.ready.wait(60 * SLOW):
            self.process.kill()
            raise RuntimeError("the server did not start: " + "\n".join(self.lines))
        if self.process.poll() is not None:
            raise RuntimeError("the server ended: " + "\n".join(self.lines))

    def read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            found = re.search(r"listening on [^ ]*:(\d+)", line)
            if found and not self.port:
                self.port = int(found.group(1))
            if re.search(r"ready(\"}|$)", line.rstrip("\n")):
                self.ready.set()
        self.ready.set()

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, connection=None):
        c = connection or self.connect()
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        c.request(method, path, body, headers if headers is not None else (JSON if body is not None else {}))
        r = c.getresponse()
        reply = Reply(r, r.read())
        if not connection:
            c.close()
        return reply

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body, **more):
        return self.request("POST", path, body, **more)

    def metric(self, name):
        total = 0.0
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(name) and line[len(name)] in " {":
                total += float(line.rsplit(" ", 1)[1])
        return total

    def memory(self):
        """Resident bytes."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) * 1024

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def stop(self, timeout=40):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self.reader.join(5)
        self.process.stderr.close()
        return status


class ServeCase(Case):
    """One server per class, with the models of `MODELS` and the options of `OPTIONS`."""

    MODELS = ("bert-embed",)
    OPTIONS = ()

    @classmethod
    def setUpClass(cls):
        env = {k: v for k, v in os.environ.items() if k != "RKFORMER" and not k.startswith(("RKFORMER_", "HF_"))}
        env["RKFORMER_LOCK_DIR"] = "/nonexistent"
        args = []
        for name in cls.MODELS:
            args += ["-m", TRAINED / name]
        cls.server = Server(env, *args, *cls.OPTIONS)

    @classmethod
    def tearDownClass(cls):
        status = cls.server.stop()
        if status != 0:
            lines = cls.server.lines
            report = next((i for i, line in enumerate(lines) if "Sanitizer" in line or "runtime error" in line), len(lines) - 20)
            raise AssertionError(f"the server ended with status {status}: " + "\n".join(lines[max(report, 0) :][:80]))

    def post(self, path, body, status=200, **more):
        reply = self.server.post(path, body, **more)
        self.assertEqual(reply.status, status, reply.body[:500])
        return reply

    def answer(self, path, body, **more):
        return self.post(path, body, **more).json

    def own_server(self, *args, **more):
        s = Server(self.env, *args, **more)
        self.addCleanup(s.stop)
        return s

    def until(self, condition, seconds=20):
        end = time.monotonic() + seconds * SLOW
        while not condition():
            self.assertLess(time.monotonic(), end, "waited in vain")
            time.sleep(0.02)
