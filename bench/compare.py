#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rkformer against other engines on the same texts, same threads, in one run: the tables of docs/performance.md.

usage: compare.py MODEL_DIR BENCH_MODEL [--groups f32,bf16,int8] [--threads 2,1] [--rounds 3,1] [--roofline PROGRAM]
                  [--base] [--texts 512] [--peers a,b] [--work DIR] [--docs FILE [--section NAME]]

Runs under a Python that has torch, transformers, onnxruntime, openvino, nncf, ctranslate2; bench/run.sh makes one. Every round
measures every engine once (torch: the first round only), one after the other, so that a machine whose speed drifts drifts for all; the ratios are made within
a round, and the worst round is quoted. Texts: 512 of Debian's fortunes (bench/texts.py), cut to the model's length.
rkformer's side is bench_model: the encoder and the CPU device on token ids, as the peers get them. --base adds a random model of
BERT-base's size. --roofline adds the machine's peaks and the share of them that each layer and the whole model reach.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
LENGTHS = (8, 16, 32, 128, 256)
PEERS = {  # the first is ours
    "f32": ("rkformer-f32", "onnxruntime", "onnxruntime-fused", "openvino", "ctranslate2", "torch"),
    "bf16": ("rkformer-bf16", "openvino-bf16"),
    "int8": ("rkformer-int8", "onnxruntime-int8", "openvino-int8", "ctranslate2-int8"),
}
BASE = {  # for the larger model: the peers that came out best on the small one
    "f32": ("rkformer-f32", "onnxruntime-fused", "openvino", "ctranslate2"),
    "int8": ("rkformer-int8", "onnxruntime-int8", "ctranslate2-int8"),
}


def lines(command):
    p = subprocess.run(command, capture_output=True, text=True)
    if p.returncode:
        print(f"{' '.join(map(str, command))}: {p.stderr.strip()[-300:]}", file=sys.stderr)
        return []
    return [json.loads(x) for x in p.stdout.splitlines() if x.startswith("{")]


class Model:
    """A model directory, the token ids of the texts, and where what is made of it goes."""

    def __init__(self, args, path, work, texts=None):
        self.args, self.path, self.work = args, path, work
        os.makedirs(work, exist_ok=True)
        self.ids = os.path.join(work, "fortunes.ids")
        subprocess.run([sys.executable, HERE / "texts.py", os.path.join(path, "tokenizer.json"), self.ids, "256"], check=True)
        if texts:
            head = open(self.ids).readlines()[:texts]
            self.ids = os.path.join(work, f"fortunes-{texts}.ids")
            open(self.ids, "w").writelines(head)

    def command(self, engine, threads, what, dump=None):
        if engine.startswith("rkformer"):
            dtype = engine.partition("-")[2]
            repeat = 1 if threads == 1 else 3
            return [self.args.bench_model, self.path, self.ids, f"dtype={dtype}", f"threads={threads}", f"repeat={repeat}",
                    f"what={what}", *([f"dump={dump}"] if dump else [])]
        return [sys.executable, HERE / "peers.py", engine, self.path, self.ids, self.work, "--threads", str(threads),
                "--repeat", "1", "--what", what, *(["--dump", dump] if dump else [])]

    def measure(self, engine, threads, what):
        """{"natural": tokens/s, "sorted": tokens/s, 8: ms, ...} of one engine, one round."""
        result = {}
        for x in lines(self.command(engine, threads, what)):
            if x["what"] in ("natural", "sorted"):
                result[x["what"]] = x["tokens_per_s"]
            elif x["what"] == "latency" and x["length"] in LENGTHS:
                result[x["length"]] = x["median_ms"]
        return result

    def rounds(self, engines, threads, rounds, what="natural,sorted,latency"):
        got = []
        for r in range(rounds):
            got.append({})
            for e in engines:
                if e == "torch" and (r or threads == 1):  # far behind and slow: seen once
                    continue
                start = time.time()
                got[-1][e] = self.measure(e, threads, what)
                print(f"{os.path.basename(self.path)} threads {threads} round {r + 1} {e}: {got[-1][e]} ({time.time() - start:.0f} s)",
                      file=sys.stderr, flush=True)
        return got

    def flops(self):
        """Multiplications and additions of the linear layers per token."""
        c = json.load(open(os.path.join(self.path, "config.json")))
        h, m = c["hidden_size"], c["intermediate_size"]
        return 2 * c["num_hidden_layers"] * (4 * h * h + 2 * h * m)


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def number(column, value):
    return f"{value:,.0f}" if isinstance(column, str) else f"{value:.2f}"


def table(rounds, engines, title, out):
    """engines[0] is ours."""
    columns = [c for c in ("natural", "sorted", *LENGTHS) if any(c in g for r in rounds for g in r.values())]
    names = [f"{c} order, tokens/s" if c == "natural" else f"{c}, tokens/s" if isinstance(c, str) else f"{c} tokens, ms" for c in columns]
    out.append(f"\n### {title}\n")
    out.append("| engine | " + " | ".join(names) + " |")
    out.append("|---|" + "---|" * len(columns))
    for e in engines:
        cells = []
        for c in columns:
            v = [r[e][c] for r in rounds if c in r.get(e, {})]
            cells.append(number(c, median(v)) if v else "-")
        out.append(f"| {e} | " + " | ".join(cells) + " |")
    cells = []
    for c in columns:
        worst = []
        for r in rounds:
            theirs = [r[p][c] for p in engines[1:] if c in r.get(p, {})]
            if theirs and c in r.get(engines[0], {}):
                worst.append(r[engines[0]][c] / (max if isinstance(c, str) else min)(theirs))
        cells.append(f"{(min if isinstance(c, str) else max)(worst):.2f}" if worst else "-")
    out.append(f"| **{engines[0]} / best peer, worst round** | " + " | ".join(cells) + " |")


# ---- quality


def embeddings(model, engine, width):
    import numpy as np

    path = os.path.join(model.work, f"{engine}.f32")
    subprocess.run(model.command(engine, 2, "none", path), capture_output=True)
    if not os.path.exists(path):
        return None
    e = np.fromfile(path, "<f4").reshape(-1, width)
    return e / np.linalg.norm(e, axis=1, keepdims=True)


def quality(model, groups, out):
    import numpy as np

    width = json.load(open(os.path.join(model.path, "config.json")))["hidden_size"]
    truth = embeddings(model, "torch", width)
    out.append("\n### Cosine of each text's embedding with torch's in f32\n")
    out.append("| engine | worst | worst 1 % | median | texts below 0.995 |")
    out.append("|---|---|---|---|---|")
    for e in [e for g in groups for e in PEERS[g] if e.startswith("rkformer") or g != "f32"]:
        got = embeddings(model, e, width)
        if truth is None or got is None or got.shape != truth.shape:
            out.append(f"| {e} | - | - | - | - |")
            continue
        c = np.sort((got.astype(np.float64) * truth).sum(1))
        out.append(f"| {e} | {c[0]:.7f} | {c[len(c) // 100]:.7f} | {c[len(c) // 2]:.7f} | {(c < 0.995).sum()} |")


# ---- roofline


def roofline(args, model, speeds, out):
    """speeds: {(dtype, threads): tokens/s}"""
    for threads in sorted({t for _, t in speeds}):
        text = subprocess.run([args.roofline, f"threads={threads}"], capture_output=True, text=True).stdout
        peaks = {m[1]: float(m[2]) for m in re.finditer(r"peak (\w+)\s+([\d.]+)", text)}
        out.append(f"\n### Peaks and layers, {threads} thread{'s' if threads > 1 else ''}\n\n```\n{text.rstrip()}\n```\n")
        out.append("| whole model, sorted | tokens/s | Gop/s in linear layers | peak | share |")
        out.append("|---|---|---|---|---|")
        for (dtype, t), speed in speeds.items():
            peak = max(peaks.get(dtype, 0), peaks.get("f32", 0) if dtype in ("bf16", "f16") else 0)
            if t == threads and peak:
                gops = speed * model.flops() / 1e9
                out.append(f"| {dtype} | {speed:,.0f} | {gops:.0f} | {peak:.0f} | {100 * gops / peak:.0f} % |")


def profile(model, dtype, out):
    if not shutil.which("perf"):
        return
    data = os.path.join(model.work, "perf.data")
    command = model.command(f"rkformer-{dtype}", 1, "sorted")
    subprocess.run(["perf", "record", "-q", "-o", data, *map(str, command)], capture_output=True)
    text = subprocess.run(["perf", "report", "-i", data, "--stdio", "-q", "--no-children"], capture_output=True, text=True).stdout
    rows = re.findall(r"^\s*([\d.]+)%\s+\S+\s+(\S+)\s+\[\S\]\s+(\S+)", text, re.M)
    out.append(f"\n{dtype}, one thread, sorted: " + ", ".join(f"{f} {p} %" for p, lib, f in rows[:12]) + ".")


def write(page, mark, text):
    page = pathlib.Path(page)
    head, rest = page.read_text().split(f"<!-- {mark} -->", 1)
    page.write_text(f"{head}<!-- {mark} -->\n{text}<!-- /{mark} -->" + rest.split(f"<!-- /{mark} -->", 1)[1])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("bench_model")
    p.add_argument("--groups", default="f32,int8,bf16")
    p.add_argument("--threads", default="2,1")
    p.add_argument("--rounds", default="3,1", help="for each of --threads")
    p.add_argument("--roofline", help="the program bench/roofline")
    p.add_argument("--base", action="store_true", help="a random model of BERT-base's size too")
    p.add_argument("--texts", type=int, help="only the first so many: to try the script")
    p.add_argument("--peers", help="only these of them")
    p.add_argument("--work", default=str(HERE.parent / "build" / "bench-work"))
    p.add_argument("--docs", help="a page whose text between <!-- compare --> and <!-- /compare -->, and roofline the same, is replaced")
    p.add_argument("--section", default="", help="of --docs, for another machine: compare-NAME and roofline-NAME")
    args = p.parse_args()
    groups = args.groups.split(",")
    for table_of in (PEERS, BASE) if args.peers else ():
        for g, engines in table_of.items():
            table_of[g] = (engines[0], *[e for e in engines[1:] if e in args.peers.split(",")])
    section = f"-{args.section}" if args.section else ""
    model = Model(args, args.model, args.work, args.texts)
    cpu = next((x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), platform.machine())
    out = [f"Made by `bench/run.sh` on {time.strftime('%Y-%m-%d')}: {cpu}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the start; "
           f"medians of {args.rounds} rounds for {args.threads} threads; ratios within a round."]
    speeds = {}
    for threads, rounds in zip(map(int, args.threads.split(",")), map(int, args.rounds.split(","))):
        for g in groups:
            got = model.rounds(PEERS[g], threads, rounds, "natural,sorted,latency" if threads > 1 else "sorted,latency")
            table(got, PEERS[g], f"{g}, {threads} thread{'s' if threads > 1 else ''}", out)
            ours = [r[PEERS[g][0]]["sorted"] for r in got if "sorted" in r[PEERS[g][0]]]
            if ours:
                speeds[g, threads] = median(ours)
    quality(model, groups, out)
    if args.base:
        base = os.path.join(args.work, "bert-base")
        subprocess.run([sys.executable, HERE / "random_bert.py", args.model, base], check=True)
        large = Model(args, base, os.path.join(args.work, "bert-base-work"), min(args.texts or 96, 96))
        for g in [g for g in groups if g in BASE]:
            table(large.rounds(BASE[g], 2, 1, "sorted,latency"), BASE[g], f"BERT-base's size, random, 96 texts: {g}, 2 threads", out)
    text = "\n".join(out) + "\n"
    print(text)
    if args.docs:
        write(args.docs, "compare" + section, text)
    if args.roofline:
        out = []
        roofline(args, model, speeds, out)
        out.append("\n### Where the time goes")
        for g in groups:
            profile(model, g, out)
        text = "\n".join(out) + "\n"
        print(text)
        if args.docs:
            write(args.docs, "roofline" + section, text)


if __name__ == "__main__":
    main()
