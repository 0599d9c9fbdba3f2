#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rkformer against other engines on the same texts, same threads, in one run: the tables of docs/performance.md.

usage: compare.py MODEL_DIR BENCH_MODEL [--engines a,b,..] [--threads 2,1] [--rounds 3] [--work DIR] [--docs FILE]

Runs under a Python that has torch, transformers, onnxruntime, openvino (and ctranslate2); bench/run.sh makes one. Every round
measures every engine once, one after the other, so that a machine whose speed drifts drifts for all; the ratios are made within
a round, and the worst round is quoted. Texts: 512 of Debian's fortunes (bench/texts.py), cut to the model's length.
rkformer's side is bench_model: the encoder and the CPU device on token ids, as the peers get them.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
LENGTHS = (8, 16, 32, 128, 256)


def lines(command):
    p = subprocess.run(command, capture_output=True, text=True)
    if p.returncode:
        print(f"{' '.join(map(str, command))}: {p.stderr.strip()[-300:]}", file=sys.stderr)
        return []
    return [json.loads(x) for x in p.stdout.splitlines() if x.startswith("{")]


def measure(args, engine, threads, ids):
    """{"natural": tokens/s, "sorted": tokens/s, 8: ms, ...} of one engine, one round."""
    if engine.startswith("rkformer"):
        dtype = engine.partition("-")[2] or "f32"
        out = lines([args.bench_model, args.model, ids, f"dtype={dtype}", f"threads={threads}", "repeat=1"])
    else:
        out = lines([sys.executable, HERE / "peers.py", engine, args.model, ids, args.work, "--threads", str(threads), "--repeat", "1"])
    result = {}
    for x in out:
        if x["what"] in ("natural", "sorted"):
            result[x["what"]] = x["tokens_per_s"]
        elif x["what"] == "latency" and x["length"] in LENGTHS:
            result[x["length"]] = x["median_ms"]
    return result


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def table(rounds, engines, threads, out):
    ours = [e for e in engines if e.startswith("rkformer")]
    peers = [e for e in engines if e not in ours]
    columns = ["natural", "sorted", *LENGTHS]
    out.append(f"\n### {threads} thread{'s' if threads > 1 else ''}\n")
    out.append("| engine | natural order, tokens/s | sorted, tokens/s | " + " | ".join(f"{n} tokens, ms" for n in LENGTHS) + " |")
    out.append("|---|" + "---|" * len(columns))
    for e in engines:
        got = [r[e] for r in rounds if r.get(e)]
        cells = []
        for c in columns:
            v = [g[c] for g in got if c in g]
            cells.append("-" if not v else f"{median(v):,.0f}" if isinstance(c, str) else f"{median(v):.2f}")
        out.append(f"| {e} | " + " | ".join(cells) + " |")
    for e in ours:
        cells = []
        for c in columns:
            worst = []
            for r in rounds:
                theirs = [r[p][c] for p in peers if c in r.get(p, {})]
                if theirs and c in r.get(e, {}):
                    worst.append(r[e][c] / max(theirs) if isinstance(c, str) else r[e][c] / min(theirs))
            bad = (min if isinstance(c, str) else max)(worst) if worst else None
            cells.append("-" if bad is None else f"{bad:.2f}")
        out.append(f"| **{e} / best peer, worst round** | " + " | ".join(cells) + " |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("bench_model")
    p.add_argument("--engines", default="rkformer,onnxruntime,onnxruntime-fused,openvino,torch")
    p.add_argument("--threads", default="2,1")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--work", default=str(HERE.parent / "build" / "bench-work"))
    p.add_argument("--docs", help="a page whose text between <!-- compare --> and <!-- /compare --> is replaced")
    args = p.parse_args()
    os.makedirs(args.work, exist_ok=True)
    ids = os.path.join(args.work, "fortunes.ids")
    subprocess.run([sys.executable, HERE / "texts.py", os.path.join(args.model, "tokenizer.json"), ids, "256"], check=True)
    engines = args.engines.split(",")
    cpu = next((x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), platform.machine())
    out = [f"Made by `bench/run.sh` on {time.strftime('%Y-%m-%d')}: {cpu}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the start; "
           f"{args.rounds} rounds, medians; ratios within a round."]
    for threads in map(int, args.threads.split(",")):
        rounds = []
        for r in range(args.rounds):
            rounds.append({})
            for e in engines:
                rounds[-1][e] = measure(args, e, threads, ids)
                print(f"threads {threads} round {r + 1} {e}: {rounds[-1][e]}", file=sys.stderr, flush=True)
        table(rounds, engines, threads, out)
    text = "\n".join(out) + "\n"
    print(text)
    if args.docs:
        page = pathlib.Path(args.docs).read_text()
        head, rest = page.split("<!-- compare -->", 1)
        tail = rest.split("<!-- /compare -->", 1)[1]
        pathlib.Path(args.docs).write_text(f"{head}<!-- compare -->\n{text}<!-- /compare -->{tail}")


if __name__ == "__main__":
    main()
