# SPDX-License-Identifier: Apache-2.0
"""rkformer serve under abuse: it stays up, answers others, and gives the memory back."""
import gzip
import json
import os
import random
import resource
import select
import selectors
import socket
import threading
import time
import unittest

from serve_support import JSON, ServeCase, Server
from support import SLOW, main

HEAD = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


class Abuse(ServeCase):
    OPTIONS = ("--header-timeout", "1", "--idle-timeout", "4", "--max-connections", "16000", "--payload-limit", "4MiB", "--body-memory", "32MiB")

    def raw(self, data=b"", timeout=20):
        s = socket.create_connection(("127.0.0.1", self.server.port), timeout=timeout)
        self.addCleanup(s.close)
        if data:
            s.sendall(data)
        return s

    def receive(self, s):
        data = b""
        try:
            while True:
                part = s.recv(1 << 16)
                if not part:
                    return data
                data += part
        except (ConnectionResetError, BrokenPipeError):
            return data

    def alive(self):
        begin = time.monotonic()
        self.answer("/embed", {"inputs": "rain"})
        return (time.monotonic() - begin) / SLOW

    def test_slowloris(self):
        """Headers, bodies and request lines that never end: cut after their time, and nobody else waits."""
        slow = [self.raw(HEAD) for _ in range(100)]
        slow += [self.raw(HEAD + b"Content-Length: 1000\r\n\r\n") for _ in range(100)]
        slow += [self.raw(b"POST /emb") for _ in range(100)]
        end = time.monotonic() + 30 * SLOW
        while slow and time.monotonic() < end:
            self.assertLess(self.alive(), 2)
            for s in slow[:]:
                try:
                    s.send(b"x")
                    if not s.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK):
                        slow.remove(s)
                except BlockingIOError:
                    pass
                except OSError:
                    slow.remove(s)
            time.sleep(0.2)
        self.assertEqual(len(slow), 0)
        self.until(lambda: self.server.metric("rkformer_connections") < 20)

    def test_slow_reader(self):
        """A client that does not read its answer holds up nobody."""
        body = json.dumps({"inputs": [f"text {i}" for i in range(3000)]}).encode()
        s = self.raw()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.5)
        for _ in range(20):
            self.assertLess(self.alive(), 2)

    def test_idle_connections(self):
        """Ten thousand, if the machine lets us have that many."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        wanted = min(10000, hard - 500)
        before = self.server.memory()
        idle = []
        for i in range(wanted):
            s = socket.socket()
            s.settimeout(20)
            s.connect(("127.0.0.1", self.server.port))
            idle.append(s)
        self.until(lambda: self.server.metric("rkformer_connections") > wanted * 0.9, 30)
        self.assertLess(self.alive(), 3)
        if SLOW == 1:  # a sanitizer keeps books on every byte
            self.assertLess((self.server.memory() - before) / wanted, 8 << 10)  # bytes per connection
        for s in idle:
            s.close()
        self.until(lambda: self.server.metric("rkformer_connections") < 20, 30)
        self.assertLess(self.alive(), 2)

    def test_huge_bodies(self):
        before = self.server.memory()
        s = self.raw(HEAD + b"Content-Length: 1073741824\r\n\r\n")
        self.assertTrue(self.receive(s).startswith(b"HTTP/1.1 413 "))
        s = self.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        sent = 0
        try:
            while sent < 1 << 30:
                s.sendall(chunk)
                sent += 65536
        except OSError:
            pass
        self.assertLess(sent, 64 << 20)
        # many at once: the memory for bodies is bounded, whoever comes too late hears 429
        body = b'{"inputs":"' + b"a" * (3 << 20) + b'"}'
        slow, late = [], set()
        for _ in range(30):
            slow.append(self.raw(HEAD + b"Content-Length: %d\r\n\r\n" % len(body)))
            try:
                slow[-1].sendall(body[:-1000])
            except OSError:
                late.add(slow[-1])  # the answer came, and the end, before all was sent
        self.until(lambda: self.server.metric("rkformer_body_bytes") > 20 << 20)
        self.assertLess(self.server.metric("rkformer_body_bytes"), 33 << 20)

        def refusals():  # an answer before the body's end can only be the refusal, a reset its loss
            for s in set(select.select(slow, [], [], 0)[0]) - late:
                try:
                    self.assertIn(s.recv(13), (b"HTTP/1.1 429 ", b""))
                except ConnectionError:
                    pass
                late.add(s)
            return len(late)

        self.until(lambda: refusals() > 10)
        self.alive()
        for s in slow:
            s.close()
        self.until(lambda: self.server.metric("rkformer_body_bytes") == 0)
        self.assertLess(self.server.memory() - before, (100 << 20) * SLOW)

    def test_broken_requests(self):
        for data in (b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00\xff\xfe\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200000 + b"\r\n\r\n",
                     HEAD + b"Content-Length: -5\r\n\r\n", HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                     HEAD + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nabcdefg", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)):
            s = self.raw(timeout=10)
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            reply = self.receive(s)
            if reply:
                self.assertRegex(reply[:20], rb"\AHTTP/1\.[01] [245]\d\d ")
            self.alive()

    def test_smuggling(self):
        """What a proxy may read as one request and we as two is refused, and ends the connection: nothing behind it is read."""
        second = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        chunked = b"0\r\n\r\n" + second
        for head, body in (
            (HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(chunked), chunked),
            (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", chunked),
            (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", b"[1]" + second),
            (HEAD + b"Content-Length: 3, 3\r\n\r\n", b"[1]" + second),
            (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", chunked),
            (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n", chunked),
            (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", chunked),
            (HEAD + b"Transfer-Encoding : chunked\r\n\r\n", chunked),
            (HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n", chunked),
            (HEAD + b"X: a\rTransfer-Encoding: chunked\r\n\r\n", chunked),
            (HEAD + b"Host: y\r\n\r\n", second),
            (HEAD.replace(b"Host: x\r\n", b"") + b"\r\n", second),
            (HEAD.replace(b"/embed", b"/embed%00") + b"\r\n", second),
        ):
            reply = self.receive(self.raw(head + body))
            self.assertRegex(reply, rb"\AHTTP/1\.[01] 400 ", head)
            self.assertNotIn(b" 200 ", reply, head)
        length = b"Content-Length: 17\r\nConnection: close\r\n"
        for extra in (b"Content-Length: 17\r\n", b"X: a\r\n b\r\n", b"Expect: 100-continue\r\n"):  # these are fine
            self.assertIn(b" 200 OK", self.receive(self.raw(HEAD + length + extra + b'\r\n{"inputs":"rain"}')), extra)
        for target in (b"http://example.org/embed", b"HTTP://example.org:80/embed?a=b", b"/%65mbed"):
            self.assertIn(b" 200 OK", self.receive(self.raw(HEAD.replace(b"/embed", target) + length + b'\r\n{"inputs":"rain"}')), target)

    def test_compressed_bodies(self):
        for encoding in ("gzip", "deflate", "br"):
            self.assertIn(b"compressed", self.post("/embed", gzip.compress(b'{"inputs":"a"}'), status=415, headers={**JSON, "Content-Encoding": encoding}).body)
        self.post("/embed", {"inputs": "a"}, headers={**JSON, "Content-Encoding": "identity"})

    def test_every_method_on_every_path(self):
        """HEAD where there is GET, OPTIONS everywhere; the others are 405 and say what there is."""
        c = self.server.connect()
        self.addCleanup(c.close)
        for path, methods in self.server.get("/openapi.json").json["paths"].items():
            path = path.replace("{model}", "bert-embed").replace("{name}", "bert-embed")
            self.assertEqual(self.server.request("OPTIONS", path, connection=c).status, 204, path)
            head = self.server.request("HEAD", path, connection=c)
            self.assertEqual((head.status, head.body), (200 if "get" in methods else 405, b""), path)
            for method in ("PUT", "PATCH", "TRACE", "BREW"):
                reply = self.server.request(method, path, connection=c)
                self.assertEqual(reply.status, 405, (method, path))
                self.assertEqual({m.strip() for m in reply.headers["allow"].split(",")} - {"OPTIONS", "HEAD"}, {m.upper() for m in methods}, path)

    def test_pipelining(self):
        n = 50
        bodies = [json.dumps({"inputs": f"text {i}"}).encode() for i in range(n)]
        s = self.raw(b"".join(HEAD + b"Content-Length: %d\r\n\r\n" % len(b) + b for b in bodies))
        reader = s.makefile("rb")
        for i in range(n):
            self.assertEqual(reader.readline().split()[1], b"200")
            length = 0
            while (line := reader.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            vector = json.loads(reader.read(length))[0]
            if i % 10 == 0:
                self.assertClose(vector, self.answer("/embed", {"inputs": f"text {i}"})[0], 2e-6)

    def test_cut_connections(self):
        """Mid-headers, mid-body, while waiting, mid-answer."""
        rng = random.Random(7)
        body = json.dumps({"inputs": [f"text number {i}" for i in range(200)]}).encode()
        request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
        for i in range(300):
            s = socket.create_connection(("127.0.0.1", self.server.port), timeout=20)
            cut = rng.randrange(len(request) + 1) if i % 2 else len(request)
            s.sendall(request[:cut])
            if i % 3 == 0:
                s.settimeout(0.05)
                try:
                    s.recv(rng.choice((1, 100, 5000)))
                except OSError:
                    pass
            if i % 5 == 0:  # a reset instead of an end
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            s.close()
        self.until(lambda: self.server.metric("te_queue_size") == 0 and self.server.metric("rkformer_requests_in_flight") <= 1)
        self.alive()

    def test_random_bodies(self):
        rng = random.Random(11)
        good = [json.dumps(b) for b in ({"inputs": ["a", [1, 2]], "truncate": True}, {"query": "q", "texts": ["a", "b"], "return_text": True},
                                        {"input": "x", "encoding_format": "base64", "dimensions": 8}, {"texts": ["a"], "embedding_types": ["int8"]})]
        paths = ("/embed", "/rerank", "/v1/embeddings", "/v2/embed", "/predict", "/tokenize", "/decode", "/v1/ner", "/api/embed", "/")
        c = self.server.connect()
        self.addCleanup(c.close)
        for _ in range(int(2000 / SLOW)):
            data = bytearray(rng.choice(good).encode())
            for _ in range(rng.randrange(4)):
                at = rng.randrange(len(data))
                data[at : at + rng.randrange(3)] = bytes(rng.choice((0x22, 0x5B, 0x5D, 0x7B, 0x7D, 0x2C, 0x30, 0x2D, 0xFF, 0x5C)) for _ in range(rng.randrange(3)))
            reply = self.server.request("POST", rng.choice(paths), bytes(data), headers=JSON, connection=c)
            self.assertIn(reply.status, (200, 400, 404, 415, 422, 424), (bytes(data), reply.body))


class Correctness(ServeCase):
    OPTIONS = ("--header-timeout", "60")

    def test_a_thousand_clients(self):
        """At once, with distinct texts: every answer belongs to its text."""
        n = 1000
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        texts = [f"client {i} saw {i * 7919 % 1000} trains and {'rain ' * (i % 9)}in town {i % 13}" for i in range(n)]
        wanted = []
        for k in range(0, n, 100):  # one text at a time would be the same: that is what this test is about
            wanted += self.answer("/embed", {"inputs": texts[k : k + 100]})
        selector = selectors.DefaultSelector()
        for i, text in enumerate(texts):
            s = socket.create_connection(("127.0.0.1", self.server.port), timeout=60)
            body = json.dumps({"inputs": text}).encode()
            selector.register(s, selectors.EVENT_READ, [i, b"", HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body])
        for key in list(selector.get_map().values()):
            key.fileobj.sendall(key.data[2])
        got = {}
        end = time.monotonic() + 60 * SLOW
        while len(got) < n:
            self.assertLess(time.monotonic(), end)
            for key, _ in selector.select(1):
                part = key.fileobj.recv(1 << 16)
                key.data[1] += part
                if not part:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    head, body = key.data[1].split(b"\r\n\r\n", 1)
                    self.assertTrue(head.startswith(b"HTTP/1.1 200 "), head)
                    got[key.data[0]] = json.loads(body)[0]
        for i in range(n):
            self.assertClose(got[i], wanted[i], 2e-6)

    def test_memory_comes_back(self):
        def load(n):
            def ask(k):
                c = self.server.connect()
                for i in range(n):
                    reply = self.server.request("POST", "/embed", {"inputs": [f"thread {k} text {i} {j}" for j in range(8)]}, connection=c)
                    self.assertEqual(reply.status, 200)
                c.close()

            threads = [threading.Thread(target=ask, args=(k,)) for k in range(16)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()

        load(int(30 / SLOW))
        before = self.server.memory()
        for _ in range(3):
            load(int(60 / SLOW))
        self.assertLess(self.server.memory() - before, (16 << 20) * SLOW)

    @unittest.skipIf(SLOW > 1, "a sanitizer keeps what was freed")
    def test_memory_when_quiet(self):
        """What the largest answers and batches took goes back to the system after a pause, down to what small ones leave."""
        paths = ("/embed", "/embed_all", "/tokenize")
        many = [f"word {i} of {'rain and snow ' * (i % 20)}" for i in range(4000)]

        def load(n):
            for path in paths:
                self.answer(path, {"inputs": many[:n]})
            clients = [threading.Thread(target=lambda k=k: self.answer("/embed", {"inputs": many[k:n:20]})) for k in range(20)]
            for t in clients:
                t.start()
            for t in clients:
                t.join()

        load(40)
        time.sleep(3.5)  # the server gives back when it has been quiet for two seconds
        before = self.server.memory()
        load(4000)
        self.until(lambda: self.server.memory() - before < 3 << 20)


if __name__ == "__main__":
    main()
