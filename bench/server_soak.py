#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many requests to `rkformer serve` over a device that fails now and then: no crash, no wrong answer, memory back.

usage: bench/server_soak.py [--requests 100000] [--connections 32] [--program build/rkformer] [--device sim|cpu] [--memory 32]
The simulator's jobs fail, time out and run out of memory at random places; a request is answered rightly (against the
CPU's answer, within f16) or with an error of the peers' kind.
"""
import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import sys
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "e2e"))
parser = argparse.ArgumentParser()
parser.add_argument("--requests", type=int, default=100000)
parser.add_argument("--connections", type=int, default=32)
parser.add_argument("--program", default=str(TOP / "build" / "rkformer"))
parser.add_argument("--device", default="sim")
parser.add_argument("--memory", type=int, default=6, help="MiB it may have grown by when quiet (sanitizers keep what was freed: 512)")
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()
os.environ["RKFORMER"] = args.program
from serve_support import Server  # noqa: E402
from support import EMBED, TRAINED  # noqa: E402

rng = random.Random(args.seed)
texts = [" ".join(rng.choice("rain snow bank loan cat rabbit train town old new the a in of".split()) for _ in range(rng.randrange(1, 40))) + f" {i}" for i in range(200)]


def faults():
    scale = args.requests / 100000  # spread over the run
    job, config = int(2000 * scale), []
    for _ in range(14):
        kind = rng.choice(("fail", "fail", "timeout", "nomem"))
        config.append(f"fault={kind} job={job} count={rng.randrange(1, 4)}" + (f" core={rng.randrange(3)}" if kind == "fail" else ""))
        job += int(rng.randrange(1000, 20000) * scale)
    return " ".join(config)


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("RKFORMER_", "HF_"))}
    return {**env, "RKFORMER_LOCK_DIR": "/nonexistent", **more}


cpu = Server(environment(), "-m", EMBED, "--device", "cpu")
right = cpu.post("/embed", {"inputs": texts}).json
assert cpu.stop() == 0
config = faults()
print("faults:", config, flush=True)
server = Server(environment(RKNNSIM_CONFIG=config) if args.device == "sim" else environment(), "-m", EMBED, "-m", TRAINED / "bert-rerank", "--device", args.device,
                *(("--platform", "rk3588") if args.device == "sim" else ()), "--log-level", "info")
counts = collections.Counter()
wrong = []
left = args.requests
lock = threading.Lock()


def take():
    global left
    with lock:
        left -= 1
        return left >= 0


def ask(k):
    r = random.Random(f"{args.seed} {k}")
    c = server.connect()
    while take():
        which = [r.randrange(len(texts)) for _ in range(r.choice((1, 1, 1, 2, 5)))]
        try:
            if r.random() < 0.01:  # a client that gives up
                c.request("POST", "/embed", json.dumps({"inputs": [texts[i] for i in which]}), {"Content-Type": "application/json"})
                c.close()
                counts["cut"] += 1
                continue
            reply = server.post("/embed", {"inputs": [texts[i] for i in which]}, connection=c)
        except (OSError, http.client.HTTPException) as e:
            counts[type(e).__name__] += 1
            c.close()
            continue
        counts[reply.status] += 1
        if reply.status == 200:
            for i, v in zip(which, reply.json):
                if max(abs(a - b) for a, b in zip(v, right[i])) > 0.02:
                    wrong.append(i)
    c.close()


def run(n):
    global left
    left = n
    threads = [threading.Thread(target=ask, args=(k,)) for k in range(args.connections)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def quiet():
    time.sleep(4)  # freed memory goes back after two seconds without work
    return server.memory()


run(max(200, args.requests // 20))
before, begin, cpu0 = quiet(), time.monotonic(), server.cpu_seconds()
grown = []
for _ in range(4):
    run(args.requests // 4)
    grown.append(server.memory() >> 20)
seconds = time.monotonic() - begin
after = quiet()
print("answers:", dict(counts))
print(f"{args.requests / seconds:.0f} requests/s, {(server.cpu_seconds() - cpu0) / args.requests * 1e3:.2f} ms of CPU each, memory {before >> 20} -> {after >> 20} MiB (under load, by quarter: {grown})")
print("faults counted:", server.metric("rkformer_core_faults_total"), "waiting:", server.metric("te_queue_size"))
warnings = [line for line in server.lines if "warning" in line]
print(f"{len(warnings)} warnings:", *warnings[:10], sep="\n  ")
status = server.stop()
ok = status == 0 and not wrong and after - before < args.memory << 20 and counts[200] > args.requests * 0.9
print("wrong answers:", len(wrong), "exit status:", status, "->", "ok" if ok else "FAILED")
sys.exit(not ok)
