#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rkformer serve under load, beside a FastAPI + sentence-transformers server and infinity-emb, in one run.

usage: server_load.py MODEL_DIR PROGRAM HTTP_LOAD [--peers fastapi,infinity] [--python PYTHON] [--seconds 4] [--rounds 3]
                      [--docs FILE]

bench/server_load.sh builds what is needed and calls this. All servers run on the same two CPUs with two threads, loaded from
the start and idle while another is measured; every round measures the library (`rkformer bench` on the same texts), then
each server at 1, 8 and 64 connections. Ratios are made within a round. A round takes about 100 s with both peers.
"""
import argparse
import json
import os
import pathlib
import platform
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
CONNECTIONS = (1, 8, 64)
WORDS = ("time year people way day man thing woman life child world school state family student group country problem hand part place case week company "
         "system program question work government number night point home water room mother area money story fact month lot right study book eye job word "
         "business issue side kind head house service friend father power hour game line end member law car city name team minute idea body back parent face").split()


def make_texts(count=512):
    """{"16 tokens": texts, "mixed": texts}: words that are one token each, and Debian's fortunes."""
    sys.path.insert(0, str(HERE))
    from texts import fortunes

    rng = random.Random(5)
    return {"16 tokens": [" ".join(rng.choice(WORDS) for _ in range(14)) for _ in range(count)], "mixed": [" ".join(t.split()) for t in fortunes(count=count)]}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_seconds(pid):
    """{thread name: seconds} of a process: user and system time."""
    seconds = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        head, fields = (task / "stat").read_text().rsplit(")", 1)
        name = head.split("(", 1)[1].rstrip("0123456789").rstrip("-/ ")
        fields = fields.split()
        seconds[name] = seconds.get(name, 0) + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


class Server:
    def __init__(self, name, args, command):
        self.name, self.port = name, free_port()
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command(self.port), stdout=self.log, stderr=self.log, preexec_fn=lambda: os.sched_setaffinity(0, args.cpus))

    def wait(self):
        for _ in range(1200):
            try:
                self.post(json.dumps({"model": "minilm", "input": "ready?"}))
                return
            except OSError:
                time.sleep(0.1)
            if self.process.poll() is not None:
                break
        self.log.seek(0)
        sys.exit(f"{self.name} did not start: {self.log.read()[-2000:]}")

    def post(self, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/embeddings", body.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def load(self, args, bodies, connections):
        before = cpu_seconds(self.process.pid)
        out = subprocess.run([args.http_load, "127.0.0.1", str(self.port), "/v1/embeddings", bodies, "--connections", str(connections),
                              "--seconds", str(args.seconds), "--warm", str(args.warm)], capture_output=True, text=True, check=True)
        result = json.loads(out.stdout)
        after = cpu_seconds(self.process.pid)
        result["cpu"] = {k: after[k] - before.get(k, 0) for k in after}
        if result["failed"]:
            print(f"{self.name}: {result['failed']} of {result['requests']} answers failed", file=sys.stderr)
        return result

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def library(args, path, threads):
    """The library on these texts: texts/s with 512 in flight, ms of one 16-token text, CPU seconds per text in bulk."""
    out = subprocess.run([args.program, "bench", "--json", "-m", args.model, "-t", str(threads), "--lengths", "16", "--seconds", str(args.seconds), "--input", path],
                         capture_output=True, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, args.cpus))
    d = json.loads(out.stdout)
    t = d["throughput"]
    return {"per_s": t["texts_per_second"], "p50_ms": d["latency"][0]["p50_ms"], "cpu_per_text": t["busy_cpus"] / t["texts_per_second"]}


def http_share(result):
    """CPU time outside the engine's threads, tokenisation included: an upper bound of what HTTP costs."""
    total = sum(result["cpu"].values())
    engine = sum(v for k, v in result["cpu"].items() if k.startswith("rkf-"))
    return (total - engine) / total if total else 0


def measure(args, servers, texts, work):
    rounds = []
    for r in range(args.rounds):
        rounds.append({})
        for kind, list_ in texts.items():
            plain, bodies = work / f"{kind}.txt", work / f"{kind}.jsonl"
            plain.write_text("\n".join(list_) + "\n")
            bodies.write_text("".join(json.dumps({"model": "minilm", "input": t}) + "\n" for t in list_))
            rounds[-1][kind, "library", 0] = library(args, plain, args.threads)
            for n in CONNECTIONS:
                for s in servers:
                    rounds[-1][kind, s.name, n] = x = s.load(args, bodies, n)
                    print(f"round {r + 1} {kind} {s.name} {n}: {x['per_s']:.0f}/s p50 {x['p50_ms']:.2f} p99 {x['p99_ms']:.2f} ms", file=sys.stderr, flush=True)
    return rounds


def median(rounds, key, what):
    return statistics.median(r[key][what] for r in rounds)


def report(args, rounds, servers, texts):
    cpu = next((x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), platform.machine())
    out = [f"Made by `bench/server_load.sh` on {time.strftime('%Y-%m-%d')}: {cpu}, {len(args.cpus)} CPUs for server and clients together, load {args.load:.1f} at the "
           f"start; {args.rounds} rounds of {args.seconds:g} s, medians. One text per request.", "",
           "| texts | connections | " + " | ".join(f"{s.name}, texts/s | p50 / p99 ms" for s in servers) + " |", "|---|---|" + "---|---|" * len(servers)]
    for kind in texts:
        for n in CONNECTIONS:
            cells = [f"{median(rounds, (kind, s.name, n), 'per_s'):,.0f} | {median(rounds, (kind, s.name, n), 'p50_ms'):.2f} / {median(rounds, (kind, s.name, n), 'p99_ms'):.2f}" for s in servers]
            out.append(f"| {kind} | {n} | " + " | ".join(cells) + " |")
    out += ["", "| rkformer serve | " + " | ".join(texts) + " | goal |", "|---|" + "---|" * (len(texts) + 1)]

    def row(what, value, goal, form="{:.2f}"):
        cells = [form.format(statistics.median(value(r, kind) for r in rounds)) for kind in texts]
        out.append(f"| {what} | " + " | ".join(cells) + f" | {goal} |")

    row("p99 / p50 at 64 connections", lambda r, k: r[k, "rkformer", 64]["p99_ms"] / r[k, "rkformer", 64]["p50_ms"], "< 2.5")
    row("texts/s at 64 / the library's in bulk, clients on the same CPUs", lambda r, k: r[k, "rkformer", 64]["per_s"] / r[k, "library", 0]["per_s"], ">= 0.9")
    row("the library's CPU time for a text in bulk / the server's at 64", lambda r, k: r[k, "library", 0]["cpu_per_text"] * r[k, "rkformer", 64]["answered"]
        / sum(r[k, "rkformer", 64]["cpu"].values()), "")
    row("CPU time outside the engine at 64, tokenisation included", lambda r, k: http_share(r[k, "rkformer", 64]), "< 0.10 for HTTP", "{:.3f}")
    first = next(iter(texts))
    added = statistics.median(r[first, "rkformer", 1]["p50_ms"] - r[first, "library", 0]["p50_ms"] for r in rounds)
    lib = statistics.median(r[first, "library", 0]["p50_ms"] for r in rounds)
    out.append(f"| ms added to the library's {lib:.2f} for one text at 1 connection, p50 | {added:.2f} | | < 0.3 |")
    return "\n".join(out) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("program")
    p.add_argument("http_load")
    p.add_argument("--peers", default="fastapi,infinity", help="none: without")
    p.add_argument("--python", default=sys.executable, help="one that has fastapi, sentence-transformers, infinity-emb")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seconds", type=float, default=4)
    p.add_argument("--warm", type=float, default=1)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--docs", help="a page whose text between <!-- load --> and <!-- /load --> is replaced")
    args = p.parse_args()
    args.cpus = set(sorted(os.sched_getaffinity(0))[: args.threads])
    args.load = os.getloadavg()[0]
    os.sched_setaffinity(0, args.cpus)  # the clients too
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    os.environ["DO_NOT_TRACK"] = os.environ["HF_HUB_OFFLINE"] = "1"
    texts = make_texts()
    servers = [Server("rkformer", args, lambda port: [args.program, "serve", "-m", f"minilm={args.model}", "-t", str(args.threads), "--listen", f"127.0.0.1:{port}", "--log-level", "warn"])]
    servers += [Server(name, args, lambda port, name=name: [args.python, HERE / "server_peers.py", name, args.model, str(port), str(args.threads)])
                for name in args.peers.split(",") if name != "none"]
    try:
        for s in servers:
            s.wait()
        vectors = [s.post(json.dumps({"model": "minilm", "input": texts["mixed"][0]}))["data"][0]["embedding"] for s in servers]
        for s, v in zip(servers, vectors):  # all do the same work
            assert max(abs(a - b) for a, b in zip(v, vectors[0])) < 1e-3, f"{s.name} gives another embedding"
        with tempfile.TemporaryDirectory() as work:
            text = report(args, measure(args, servers, texts, pathlib.Path(work)), servers, texts)
    finally:
        for s in servers:
            s.stop()
    print(text)
    if args.docs:
        page = pathlib.Path(args.docs).read_text()
        head, rest = page.split("<!-- load -->", 1)
        pathlib.Path(args.docs).write_text(f"{head}<!-- load -->\n{text}<!-- /load -->{rest.split('<!-- /load -->', 1)[1]}")


if __name__ == "__main__":
    main()
