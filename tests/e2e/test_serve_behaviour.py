# SPDX-License-Identifier: Apache-2.0
"""rkformer serve: keys, several models, limits, clients that leave, stopping, sockets, logs, the configuration file."""
import json
import os
import signal
import socket
import ssl
import subprocess
import http.client
import threading
import time

from serve_support import JSON, Reply, ServeCase, Server, UnixConnection
from support import DATA, EMBED, RKFORMER, SLOW, TRAINED, Case, main

MANY = [f"rain number {i} falls on the old town" for i in range(int(20000 / SLOW))]  # seconds of work for a test model


def bearer(key, **more):
    return {**JSON, "Authorization": "Bearer " + key, **more}


class OwnServer(ServeCase):
    """A server per test."""

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def serve(self, *args, **more):
        if "-m" not in args and "--config" not in args and "--admin-key-file" not in args:
            args = ("-m", EMBED, *args)
        self.server = self.own_server(*args, **more)
        return self.server


class Keys(OwnServer):
    def test_keys(self):
        keys = self.file("keys", "# comment\nfirst-key\n\n  second-key \n")
        self.serve("--api-key-file", keys, "--json-log")
        body = {"inputs": "a"}
        self.assertEqual(self.post("/embed", body, status=401).body, b"")
        self.assertEqual(self.post("/v1/embeddings", {"input": "a"}, status=401).json["error"]["code"], "invalid_api_key")
        for wrong in ("first-ke", "first-keyx", "First-key", "", "# comment"):
            self.post("/embed", body, status=401, headers=bearer(wrong))
        self.post("/embed", body, status=401, headers={**JSON, "Authorization": "first-key"})
        for right in ("first-key", "second-key"):
            self.post("/embed", body, headers=bearer(right))
        for path in ("/health", "/ping", "/", "/metrics", "/openapi.json"):
            self.assertEqual(self.server.get(path).status, 200, path)
        for path in ("/info", "/v1/models", "/v1/cores", "/v1/devices"):
            self.assertEqual(self.server.get(path).status, 401, path)
        self.assertEqual(self.post("/models/load", {"model": EMBED}, status=403, headers=bearer("first-key")).status, 403)
        self.server.stop()
        log = "\n".join(self.server.lines)
        for secret in ("first-key", "second-key", "first-ke"):
            self.assertNotIn(secret, log)

    def test_no_keys_in_file(self):
        self.fails(2, "holds no API key", "serve", "-m", EMBED, "--api-key-file", self.file("keys", "# nothing\n"), "--listen", "127.0.0.1:0")

    def test_load_and_unload(self):
        self.serve("--admin-key-file", self.file("admin", "admin-key\n"), "-m", EMBED)
        admin = bearer("admin-key")
        self.post("/models/load", {"model": EMBED}, status=401, headers=JSON)
        self.post("/models/load", {"model": EMBED}, status=403, headers=bearer("wrong"))
        self.post("/models/load", {"model": EMBED}, status=409, headers=admin)  # the name is taken
        self.post("/models/load", {"model": str(self.dir / "nope"), "name": "x"}, status=404, headers=admin)
        self.post("/models/load", {"model": EMBED, "name": "x", "core_mask": "7"}, status=400, headers=admin)
        self.post("/models/load", {"model": EMBED, "name": "x", "mask": "0"}, status=400, headers=admin)
        reply = self.post("/models/load", {"model": str(TRAINED / "bert-rerank"), "name": "ranks"}, headers=admin)
        self.assertEqual(reply.json, {"success": True, "model": "ranks"})
        self.assertEqual(len(self.answer("/models/ranks/rerank", {"query": "q", "texts": ["a", "b"]})), 2)
        self.assertEqual([m["id"] for m in self.server.get("/v1/models").json["data"]], ["bert-embed", "ranks"])
        self.post("/models/unload", {"model": "ranks"}, headers=admin)
        self.post("/models/unload", {"model": "ranks"}, status=404, headers=admin)
        self.post("/models/ranks/rerank", {"query": "q", "texts": ["a"]}, status=404)
        self.assertEqual(self.server.request("DELETE", "/v1/models/bert-embed", headers=admin).status, 200)
        self.post("/embed", {"inputs": "a"}, status=404)

    def test_unload_waits_for_requests(self):
        self.serve("--admin-key-file", self.file("admin", "admin-key\n"), "-m", EMBED)
        result = []
        t = threading.Thread(target=lambda: result.append(self.server.post("/embed", {"inputs": MANY[:4000]})))
        t.start()
        self.until(lambda: self.server.metric("te_queue_size") > 0)
        self.post("/models/unload", {"model": "bert-embed"}, headers=bearer("admin-key"))
        t.join(30 * SLOW)
        self.assertEqual(result[0].status, 200)
        self.assertEqual(len(result[0].json), 4000)


class Models(OwnServer):
    def test_names_and_masks(self):
        self.serve("--platform", "rk3588", "-m", f"one={EMBED},mask=0,exclusive", "-m", f"two={TRAINED / 'bert-rerank'},core-mask=1",
                   "-m", f"three={EMBED},mask=2,priority=5,max-length=16,limit=100")
        cores = {m["name"]: m["cores"] for m in self.server.get("/v1/cores").json["models"]}
        self.assertEqual(cores, {"one": "0", "two": "1", "three": "2"})
        self.assertEqual(self.server.get("/models/three/info").json["max_input_length"], 16)
        a = self.answer("/v1/embeddings", {"input": "rain", "model": "one"})
        b = self.answer("/v1/embeddings", {"input": "rain", "model": "three"})
        self.assertEqual((a["model"], b["model"]), ("one", "three"))
        self.assertEqual(a["data"], b["data"])

    def test_conflicts(self):
        for args, words in (
            (("-m", f"a={EMBED},mask=0,exclusive", "-m", f"b={EMBED},mask=0"), "a"),
            (("-m", EMBED, "-m", EMBED), "already loaded"),
        ):
            answer = self.run_command("serve", "--platform", "rk3588", *args, "--listen", "127.0.0.1:0", "--log-level", "error")
            self.assertEqual(answer.status, 1, answer.err)
            self.assertIn(words, answer.err)
        for args, words in (
            (("-m", f"{EMBED},mask=9"), "mask"),
            (("-m", f"{EMBED},colour=red"), "unknown setting 'colour'"),
            (("-m", f"{EMBED},priority=high"), "priority is 'high'"),
            (("-m", f"{EMBED},priority"), "needs a value"),
            (("-m", "=x"), "empty"),
            ((), "no model to serve"),
            (("-m", EMBED, "--listen", "nonsense"), "cannot listen on 'nonsense'"),
            (("-m", EMBED, "--cache", "lots"), "cache is 'lots'"),
            (("-m", EMBED, "--tls-cert", "x"), "both a certificate and a key"),
            (("-m", EMBED, "extra"), "options only"),
        ):
            listen = () if "--listen" in args else ("--listen", "127.0.0.1:0")
            answer = self.run_command("serve", *args, *listen, "--log-level", "error")
            self.assertEqual(answer.status, 2, (args, answer.err))
            self.assertIn(words, answer.err)

    def test_configuration_file(self):
        config = self.file("serve.yaml", f"""
# a comment
listen: ["127.0.0.1:0"]
platform: rk3588
cache: 8MiB
max-client-batch-size: 10
json-log: true
models:
  - path: {EMBED}
    name: first
    core-mask: 0_1
    max_length: 32
  - second={EMBED},mask=2
""")
        self.serve("--config", config, listen=())
        self.assertEqual([m["id"] for m in self.server.get("/v1/models").json["data"]], ["first", "second"])
        self.assertEqual(self.server.get("/models/first/info").json["max_input_length"], 32)
        self.post("/embed", {"inputs": ["a"] * 11}, status=422)
        self.assertTrue(all(json.loads(line) for line in self.server.lines))
        for text, words in (
            ("listen: {a: b}", "line 1: expected one value"),
            ("colour: red", "unknown setting 'colour'"),
            ("models:\n  - name: x\n", "line 2: expected a path"),
            ("a: [", "is not YAML"),
            ("- a", "expected names and values"),
            ("cache: many", "cache is 'many'"),
        ):
            answer = self.run_command("serve", "--config", self.file("bad.yaml", text))
            self.assertNotEqual(answer.status, 0)
            self.assertIn(words, answer.err)

    def test_cache(self):
        self.serve("--cache", "1MiB")
        first = self.answer("/embed", {"inputs": ["rain", "snow"]})
        second = self.post("/embed", {"inputs": ["snow", "rain", "sun"]})
        self.assertEqual(second.json[:2], first[::-1])
        self.assertEqual(self.server.metric("rkformer_cache_hits_total"), 2)
        self.assertEqual(second.headers["x-compute-tokens"], "9")
        self.assertEqual(self.post("/embed", {"inputs": "rain"}).headers["x-compute-type"], "cache+optimized")
        raw = self.answer("/embed", {"inputs": "rain", "normalize": False})
        self.assertEqual(len(self.answer("/embed", {"inputs": "rain", "dimensions": 8})[0]), 8)
        self.assertEqual(self.answer("/embed", {"inputs": "rain", "normalize": False}), raw)
        self.answer("/embed", {"inputs": MANY[:5000]})
        self.assertLessEqual(self.server.get("/v1/cores").json["server"]["cache_bytes"], 1 << 20)
        self.assertEqual(self.server.metric("rkformer_cache_bytes"), self.server.get("/v1/cores").json["server"]["cache_bytes"])
        self.assertGreater(self.server.metric("rkformer_cache_bytes"), 1 << 16)
        self.assertEqual(self.answer("/embed", {"inputs": ["rain"]}), first[:1])


    def test_ollama_questions(self):
        """What Ollama's clients ask before they send texts."""
        self.serve()
        show = self.answer("/api/show", {"model": "bert-embed:latest"})
        self.assertEqual(show["capabilities"], ["embedding"])
        self.assertEqual(show["model_info"], {"general.architecture": "bert", "bert.context_length": 64, "bert.embedding_length": 64})
        self.assertEqual((show["details"]["format"], show["details"]["families"]), ("safetensors", ["bert"]))
        self.assertEqual(self.post("/api/show", {"model": "nope"}, status=404).json, {"error": "model 'nope' not found"})
        self.post("/api/show", {}, status=400)
        (listed,), (running,) = (self.server.get(path).json["models"] for path in ("/api/tags", "/api/ps"))
        self.assertEqual({k: running[k] for k in listed}, listed)
        self.assertEqual(set(running) - set(listed), {"expires_at", "size_vram"})
        self.assertEqual(self.server.get("/models").json, self.server.get("/v1/models").json)

    def test_description(self):
        """/openapi.json is about this server: who needs a key, which models a path is for, which devices there are."""
        keys = self.file("keys", "a-key\n")
        self.serve("-m", EMBED, "-m", TRAINED / "bert-rerank", "--api-key-file", keys)
        d = self.server.get("/openapi.json").json
        paths = d["paths"]
        self.assertEqual(paths["/embed"]["post"]["security"], [{"key": []}])
        self.assertEqual(paths["/health"]["get"]["security"], [])
        for path, names in (("/embed", ["bert-embed"]), ("/rerank", ["bert-rerank"]), ("/tokenize", ["bert-embed"])):
            self.assertEqual(paths["/models/{model}" + path]["post"]["parameters"][0]["schema"]["enum"], names)
        self.assertEqual(paths["/models/{model}/info"]["get"]["parameters"][0]["schema"]["enum"], ["bert-embed", "bert-rerank"])
        self.assertNotIn("/models/{model}/embed_sparse", paths)  # no model for it
        self.assertEqual(d["components"]["schemas"]["LoadRequest"]["properties"]["device"]["anyOf"][0]["enum"], ["auto", "cpu"])
        ids = [o["operationId"] for p in paths.values() for o in p.values()]
        self.assertEqual(len(ids), len(set(ids)))
        self.serve()
        self.assertEqual(self.server.get("/openapi.json").json["paths"]["/embed"]["post"]["security"], [])

    def test_peers_metrics(self):
        """What TEI's names count there: batches that are computed, inputs of embeddings, requests for its backend."""
        self.serve()
        value = self.server.metric
        for _ in range(3):
            self.post("/embed", {"inputs": "rain"})
        self.post("/tokenize", {"inputs": ["rain", "snow"]})
        self.assertEqual([value("te_batch_next_size_" + k) for k in ("count", "sum")], [3, 3])
        self.assertEqual([value("te_batch_next_tokens_" + k) for k in ("count", "sum")], [3, 9])
        self.assertEqual([value(f'te_batch_next_size_bucket{{le="{le}"}}') for le in ("1", "2", "4096", "+Inf")], [3, 3, 3, 3])
        self.assertEqual([value(f'te_batch_next_tokens_bucket{{le="{le}"}}') for le in ("1", "2", "4", "1.04858e+06", "+Inf")], [0, 0, 3, 3, 3])
        self.assertEqual([value(f'te_request_count{{method="{k}"}}') for k in ("single", "batch")], [3, 0])
        tokens = int(self.post("/embed", {"inputs": MANY[:3000]}).headers["x-compute-tokens"])
        self.assertEqual(value("te_batch_next_size_sum"), 3003)  # one request, many batches
        self.assertEqual(value("te_batch_next_tokens_sum"), tokens + 9)
        self.assertEqual(value("te_batch_next_size_count"), value("rkformer_model_batches_total"))
        self.assertGreater(value("te_batch_next_size_count"), 5)
        self.assertEqual(value("te_batch_next_size_count"), value("te_batch_next_tokens_count"))
        for name in ("count", "success", "duration_count", "tokenization_duration_count", "queue_duration_count", "inference_duration_count"):
            self.assertEqual(value("te_embed_" + name), 3003, name)
        self.assertEqual([value("te_request_" + k) for k in ("count", "success", "duration_count", "inference_duration_count")], [4] * 4)
        self.assertEqual(value("te_request_input_length_count"), 3003)
        self.assertEqual([value("te_queue_size"), value("rkformer_inputs_in_flight")], [0, 0])


class Limits(OwnServer):
    def test_overload(self):
        self.serve("--max-concurrent-requests", "8")
        result = []
        t = threading.Thread(target=lambda: result.append(self.server.post("/embed", {"inputs": MANY[:6000]})))
        t.start()
        self.until(lambda: self.server.metric("te_queue_size") > 0)
        reply = self.post("/embed", {"inputs": "a"}, status=429)
        self.assertEqual(reply.json, {"error": "Model is overloaded", "error_type": "Overloaded"})
        self.assertEqual(reply.headers["retry-after"], "1")
        reply = self.post("/v1/embeddings", {"input": "a"}, status=429)
        self.assertEqual(reply.json["error"]["code"], "rate_limit_exceeded")
        t.join(30 * SLOW)
        self.assertEqual(result[0].status, 200)
        self.post("/embed", {"inputs": "a"})
        self.assertGreaterEqual(self.server.metric('te_request_failure{err="overloaded"}'), 2)

    def test_model_limit(self):
        self.serve("-m", f"small={EMBED},limit=4", "-m", f"big={EMBED}")
        t = threading.Thread(target=lambda: self.server.post("/models/small/embed", {"inputs": MANY[:6000]}))
        t.start()
        self.until(lambda: self.server.metric("te_queue_size") > 0)
        self.post("/models/small/embed", {"inputs": "a"}, status=429)
        self.post("/models/big/embed", {"inputs": "a"})
        t.join(30 * SLOW)

    def test_payload(self):
        self.serve("--payload-limit", "10000")
        big = json.dumps({"inputs": "a" * 20000})
        self.assertEqual(self.post("/embed", big, status=413).body, b"Failed to buffer the request body: length limit exceeded")
        c = self.server.connect()
        self.addCleanup(c.close)
        c.request("POST", "/embed", (b"x" * 1000 for _ in range(50)), {**JSON, "Transfer-Encoding": "chunked"}, encode_chunked=True)
        self.assertEqual(c.getresponse().status, 413)
        self.post("/embed", {"inputs": "a"})

    def test_small_requests_pass_a_large_one(self):
        self.serve("--split", "64")
        done = []
        t = threading.Thread(target=lambda: done.append(self.server.post("/embed", {"inputs": MANY})))
        t.start()
        self.until(lambda: self.server.metric("te_queue_size") > 0)
        for _ in range(5):
            self.post("/embed", {"inputs": "a"})
        self.assertEqual(done, [])  # they did not wait for all of it
        t.join(60 * SLOW)
        self.assertEqual(len(done[0].json), len(MANY))

    def test_deadline(self):
        self.serve()
        reply = self.post("/embed", {"inputs": MANY, "timeout_ms": 100}, status=504)
        self.assertEqual(reply.json["error_type"], "Backend")
        self.post("/v1/embeddings", {"input": MANY, "timeout_ms": 100}, status=504)
        self.post("/embed", {"inputs": "a", "timeout_ms": 20000})
        self.until(lambda: self.server.metric("te_queue_size") == 0)

    def test_client_gone(self):
        self.serve()
        body = json.dumps({"inputs": MANY}).encode()
        s = socket.create_connection(("127.0.0.1", self.server.port))
        s.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self.until(lambda: self.server.metric("te_queue_size") > 0)
        s.close()
        self.until(lambda: self.server.metric("te_queue_size") == 0)
        self.assertLess(self.server.metric("rkformer_model_inputs_total"), len(MANY))
        self.until(lambda: self.server.metric("rkformer_clients_gone_total") == 1)
        self.assertIn(" 499 ", "\n".join(self.server.lines))
        self.post("/embed", {"inputs": "a"})


class Sockets(OwnServer):
    def test_unix(self):
        path = self.dir / "socket"
        self.serve(listen=("--listen", f"unix:{path}", "--listen", "127.0.0.1:0"))
        c = UnixConnection(path)
        self.addCleanup(c.close)
        self.assertEqual(self.server.request("POST", "/embed", {"inputs": "a"}, connection=c).status, 200)
        self.assertEqual(self.post("/embed", {"inputs": "a"}).status, 200)
        other = self.run_command("serve", "-m", EMBED, "--listen", f"unix:{path}")
        self.assertEqual(other.status, 2)
        self.assertIn("already listens", other.err)
        self.server.stop()
        self.assertFalse(path.exists())

    def test_leftover_unix_socket(self):
        path = self.dir / "socket"
        s = socket.socket(socket.AF_UNIX)
        s.bind(str(path))
        s.close()
        self.serve(listen=("--listen", f"unix:{path}", "--listen", "127.0.0.1:0"))
        c = UnixConnection(path)
        self.addCleanup(c.close)
        self.assertEqual(self.server.request("GET", "/health", connection=c).status, 200)
        self.fails(2, "is no socket", "serve", "-m", EMBED, "--log-level", "error", "--listen", f"unix:{self.file('plain', '')}")

    def test_taken_port(self):
        self.serve()
        answer = self.run_command("serve", "-m", EMBED, "--listen", f"127.0.0.1:{self.server.port}")
        self.assertEqual(answer.status, 2)
        self.assertIn("is another server running there?", answer.err)

    def test_tls(self):
        self.serve("--tls-cert", DATA / "tls" / "cert.pem", "--tls-key", DATA / "tls" / "key.pem")
        context = ssl.create_default_context(cafile=DATA / "tls" / "cert.pem")
        c = http.client.HTTPSConnection("localhost", self.server.port, context=context, timeout=30)
        self.addCleanup(c.close)
        for _ in range(3):
            self.assertEqual(self.server.request("POST", "/embed", {"inputs": "a"}, connection=c).status, 200)
        big = self.server.request("POST", "/embed", {"inputs": MANY[:2000]}, connection=c)
        self.assertEqual(len(big.json), 2000)
        with self.assertRaises(Exception):
            self.server.get("/health")
        for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl._create_unverified_context()
            context.set_ciphers("ALL:@SECLEVEL=0")  # this side would take the old one
            context.minimum_version = context.maximum_version = version
            s = socket.create_connection(("127.0.0.1", self.server.port), timeout=20)
            self.addCleanup(s.close)
            if version < ssl.TLSVersion.TLSv1_2:
                with self.assertRaises(OSError):
                    context.wrap_socket(s)
            else:
                context.wrap_socket(s).close()
        for junk in (os.urandom(300), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"):
            s = socket.create_connection(("127.0.0.1", self.server.port))
            s.sendall(junk)
            s.close()
        silent = [socket.create_connection(("127.0.0.1", self.server.port)) for _ in range(300)]
        self.assertEqual(self.server.request("POST", "/embed", {"inputs": "a"}, connection=c).status, 200)
        for s in silent:
            s.close()

    def test_cors(self):
        self.serve()
        preflight = self.server.request("OPTIONS", "/v1/embeddings", headers={
            "Origin": "https://example.org", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"})
        self.assertEqual(preflight.status, 204)
        self.assertEqual(preflight.headers["access-control-allow-origin"], "*")
        self.assertIn("authorization", preflight.headers["access-control-allow-headers"])
        self.assertIn("POST", preflight.headers["access-control-allow-methods"])
        self.assertEqual(self.post("/embed", {"inputs": "a"}).headers["access-control-allow-origin"], "*")
        self.serve("--cors-allow-origin", "https://a.example", "--cors-allow-origin", "https://b.example")
        for origin, allowed in (("https://b.example", "https://b.example"), ("https://c.example", None)):
            reply = self.server.request("OPTIONS", "/embed", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
            self.assertEqual(reply.headers.get("access-control-allow-origin"), allowed)

    def test_systemd(self):
        notify = self.dir / "notify"
        n = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        n.bind(str(notify))
        n.settimeout(20)
        self.addCleanup(n.close)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        script = f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ exec "$@"'
        env = {**self.env, "NOTIFY_SOCKET": str(notify), "LISTEN_FDS": "1", "WATCHDOG_USEC": "400000"}
        p = subprocess.Popen(["bash", "-c", script, "x", RKFORMER, "serve", "-m", EMBED, "--systemd"], env=env, stderr=subprocess.PIPE, pass_fds=(listener.fileno(),))
        try:
            self.assertEqual(n.recv(100), b"READY=1")
            listener.close()
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            self.addCleanup(c.close)
            c.request("GET", "/health")
            self.assertEqual(c.getresponse().status, 200)
            self.assertEqual(n.recv(100), b"WATCHDOG=1")
            self.assertEqual(n.recv(100), b"WATCHDOG=1")
            p.send_signal(signal.SIGTERM)
            words = n.recv(100)
            while words == b"WATCHDOG=1":
                words = n.recv(100)
            self.assertEqual(words, b"STOPPING=1")
            self.assertEqual(p.wait(20), 0)
        finally:
            p.kill()
            p.stderr.close()


class Stopping(OwnServer):
    def test_drains(self):
        self.serve()
        idle = self.server.connect()
        self.addCleanup(idle.close)
        idle.request("GET", "/health")
        idle.getresponse().read()
        result = []
        t = threading.Thread(target=lambda: result.append(self.server.post("/embed", {"inputs": MANY[:6000]})))
        t.start()
        self.until(lambda: self.server.metric("te_queue_size") > 0)
        self.server.process.send_signal(signal.SIGTERM)
        self.until(lambda: any("stopping" in line for line in self.server.lines))
        time.sleep(0.05)
        with self.assertRaises(OSError):
            self.server.get("/health")  # nobody listens any more
        idle.request("GET", "/health")
        reply = Reply(r := idle.getresponse(), r.read())
        self.assertEqual((reply.status, reply.headers.get("connection")), (503, "close"))
        t.join(30 * SLOW)
        self.assertEqual((result[0].status, len(result[0].json)), (200, len(MANY[:6000])))
        self.assertEqual(self.server.stop(), 0)

    def test_gives_up_in_time(self):
        self.serve("--drain-timeout", "0.3")
        result = []

        def ask():
            try:
                result.append(self.server.post("/embed", {"inputs": MANY}).status)
            except (OSError, http.client.HTTPException) as e:
                result.append(type(e).__name__)

        t = threading.Thread(target=ask)
        t.start()
        self.until(lambda: self.server.metric("te_queue_size") > 0)
        begin = time.monotonic()
        self.assertEqual(self.server.stop(), 0)
        self.assertLess(time.monotonic() - begin, 5 * SLOW)
        t.join(10 * SLOW)
        self.assertNotEqual(result, [200])

    def test_sigint(self):
        self.serve()
        self.server.process.send_signal(signal.SIGINT)
        self.assertEqual(self.server.process.wait(20), 0)


class Logs(OwnServer):
    def test_json(self):
        self.serve("--json-log")
        self.post("/embed?secret=query", {"inputs": ["some text", "b"]}, headers={**JSON, "X-Request-Id": "req-1"})
        self.server.get("/no%C3%A9pe%FF%0A")
        self.server.stop()
        lines = [json.loads(line) for line in self.server.lines]
        mine = next(line for line in lines if line.get("request_id") == "req-1")
        self.assertEqual((mine["method"], mine["path"], mine["status"], mine["model"], mine["inputs"]), ("POST", "/embed", 200, "bert-embed", 2))
        self.assertEqual(mine["client"], "127.0.0.1")
        self.assertGreater(mine["tokens"], 4)
        text = "\n".join(self.server.lines)
        self.assertNotIn("some text", text)
        self.assertNotIn("secret", text)

    def test_levels(self):
        self.serve("--log-level", "info")
        self.post("/embed", {"inputs": "a"})
        self.server.stop()
        self.assertTrue(any(line.startswith("rkformer: POST /embed 200 1 inputs 3 tokens") for line in self.server.lines), self.server.lines)


if __name__ == "__main__":
    main()
