#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
The placement studies of docs/placement.md, over the simulated RK3588 and its cost model (sim/cost.c):

  virtual  the placement alone in simulated time (tests/npu/test_placement_batches.c): exact, the same on every machine
  pinned   three models on cores 0, 1 and 2 with 64 clients each, in one process and in three, one after the other, with
           every answer compared; they take turns, so that a change of the machine's load shows
  auto     one model: `auto` against placements made by hand at 1, 3, 8 and 64 concurrent requests, short and long texts
           mixed; the placements take turns within every round, a cell is the median of its rounds. Before each cell is
           counted it runs for twice as long, `auto` with 64 requests at once six times: the ways to part cores and batches
           are learnt from some hundred requests, or some runs of each exec where those are large, which take a second or two
           on an NPU, but modelled times are multiplied

    bench/placement.py build/release/bench/load [--seconds 12] [--rounds 1] [--pinned-seconds 60] [--out build/placement.json]
    bench/placement.py --plot build/placement.json --docs docs/placement.md     (writes its tables, and the SVG files beside it)

Modelled NPU times are multiplied (scale; in the last by requests at once) until the host, on which they are measured,
hardly matters: `npu busy` is the share of the time that the virtual cores had a job. Standard library only.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

TRAINED = "tests/data/models/trained/"
PINNED = {"scale": 60, "models": [TRAINED + "bert-embed", TRAINED + "mpnet-embed", TRAINED + "xlmr-embed"], "clients": 64}
LOADS = [1, 3, 8, 64]
STUDIES = [
    {"name": "MiniLM, native", "key": "minilm", "model": "build/models/all-MiniLM-L6-v2", "scale": [40, 40, 40, 40], "longest": 128,
     "warm": [2, 2, 2, 6]},
    {"name": "tiny BERT, native", "key": "tiny", "model": TRAINED + "bert-embed", "scale": [200, 200, 200, 100], "longest": 60,
     "warm": [2, 2, 2, 6]},
    {"name": "tiny BERT, .rknn", "key": "rknn", "model": "{build}/sim-models/bert-embed:model_b1_s64.rknn", "scale": [60] * 4,
     "longest": 60, "warm": [0.3] * 4},
]
BY_HAND = ["0", "0_1", "all", "0 + 1", "0_1 + 2", "0 + 1 + 2"]


def cores(mask):
    return 3 if mask == "all" else len(mask.split("_"))


def targets(model, placement, clients):
    """Clients are dealt out by cores, as somebody would who does it by hand."""
    masks = placement.split(" + ")
    total, dealt, out = sum(cores(m) for m in masks), 0, []
    for i, mask in enumerate(masks):
        upto = clients if i + 1 == len(masks) else round(clients * sum(cores(m) for m in masks[:i + 1]) / total)
        upto = max(upto, 1) if i == 0 else upto
        if upto > dealt:
            out.append(f"{model}@{mask}@{upto - dealt}")
        dealt = max(dealt, upto)
    return out


def load(program, args, scale, more=""):
    env = dict(os.environ, RKNNSIM_CONFIG=f"cost=model scale={scale} {more}".strip())
    done = subprocess.run([program] + args, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{program} {' '.join(args)}: {done.stderr[-500:]}")
    return json.loads(done.stdout)["models"]


def run_pinned(program, seconds):
    args = [f"{m}@{i}@{PINNED['clients']}" for i, m in enumerate(PINNED["models"])]
    cells = []
    for way in ("one process", "three processes", "three processes", "one process"):
        extra = ["--processes"] if way == "three processes" else []
        # a simulator per process knows nothing of the DRAM that the others use: in one process it is not shared either
        models = load(program, ["--seconds", str(seconds / 2), "--warm", "15"] + extra + args, PINNED["scale"], "dram=own")
        busy = models[0]["npu_busy"] if not extra else [models[i]["npu_busy"][i] for i in range(3)]
        cells.append({"way": way, "seconds": seconds / 2, "models": models, "npu_busy": busy})
        print(way, [round(m["per_s"], 1) for m in models], "wrong", [m["wrong"] for m in models],
              [m["by_cores"] for m in models], "busy", busy, flush=True)
    return cells


def run_auto(program, build, study, seconds, rounds, loads):
    model, rows = study["model"].format(build=build), []
    for _ in range(rounds):
        for n in loads:
            done = {}  # with one client, placements that begin with the same mask are one
            for placement in ["auto"] + BY_HAND:
                warm = study["warm"][LOADS.index(n)]  # by hand there are two ways to learn of, else up to eight
                warm = seconds * (warm if placement == "auto" else min(warm, 2))
                args = ["--no-check", "--seconds", str(seconds), "--warm", str(warm), "--longest", str(study["longest"])]
                what = targets(model, placement, n)
                models = done.get(tuple(what)) or load(program, args + what, study["scale"][LOADS.index(n)], "compute=no")
                done[tuple(what)] = models
                if any(m["failed"] for m in models):
                    sys.exit(f"{placement}: {models}")
                row = {"clients": n, "placement": placement, "per_s": sum(m["per_s"] for m in models),
                       "tokens_per_s": sum(m["tokens_per_s"] for m in models), "npu_busy": models[0]["npu_busy"],
                       "by_cores": models[0]["by_cores"] if placement == "auto" else None}
                rows.append(row)
                print(study["key"], n, placement, round(row["tokens_per_s"]), row["npu_busy"], row["by_cores"] or "", flush=True)
    return rows


VIRTUAL = re.compile(r"^(.{16,}?)\s+(\d+) clients: auto\s+([\d.]+)/s, best by hand\s+([\d.]+)/s \((.*)\), ratio ([\d.]+), ([\d.]+) while learning$", re.M)


def run_virtual(program):
    out = subprocess.run([program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    return [{"costs": m[0].strip(), "clients": int(m[1]), "auto": float(m[2]), "best": float(m[3]), "which": m[4], "ratio": float(m[5]),
             "learning": float(m[6])}
            for m in VIRTUAL.findall(out)]


# ---- tables and plots

def virtual_table(rows):
    loads = sorted({r["clients"] for r in rows})
    lines = ["| costs | " + " | ".join(f"{n}" for n in loads) + " |", "|---|" + "---|" * len(loads)]
    for name in dict.fromkeys(r["costs"] for r in rows):
        mine = {r["clients"]: r for r in rows if r["costs"] == name}
        lines.append(f"| {name} | " + " | ".join(f"{mine[n]['ratio']:.3f} ({mine[n]['which']})" for n in loads) + " |")
    return lines + ["", f"The lowest is **{min(r['ratio'] for r in rows):.3f}**, and while it learns, {min(r['learning'] for r in rows):.3f}.", "", "![auto over the best by hand](placement-virtual.svg)"]


def virtual_svg(rows):
    loads, names = sorted({r["clients"] for r in rows}), list(dict.fromkeys(r["costs"] for r in rows))
    colours = ["#d1495b", "#00798c", "#edae49", "#30638e", "#6a994e", "#7b2d8b", "#6d6875"]
    w, h, left, top, base = 860, 300, 50, 30, 262

    def x(i):
        return left + i * (w - left - 190) / (len(loads) - 1)

    def y(ratio):
        return base - (ratio - 0.9) * (base - top) / 0.35

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" font-family="sans-serif" font-size="11">',
           f'<rect width="{w}" height="{h}" fill="white"/><text x="{left}" y="18" font-size="13">auto relative to the best placement by hand, '
           'in simulated time</text>']
    for tick in (0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2, 1.25):
        out.append(f'<line x1="{left}" x2="{w - 180}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="{"#888" if tick in (0.95, 1) else "#ddd"}"/>'
                   f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for i, n in enumerate(loads):
        out.append(f'<text x="{x(i):.1f}" y="{base + 18}" text-anchor="middle">{n}</text>')
    out.append(f'<text x="{(left + w - 190) / 2}" y="{h - 4}" text-anchor="middle">requests at once</text>')
    for k, name in enumerate(names):
        points = [(x(i), y(next(r["ratio"] for r in rows if r["costs"] == name and r["clients"] == n))) for i, n in enumerate(loads)]
        out.append(f'<polyline fill="none" stroke="{colours[k % 7]}" stroke-width="2" points="' + " ".join(f"{a:.1f},{b:.1f}" for a, b in points) + '"/>'
                   f'<rect x="{w - 168}" y="{40 + 20 * k}" width="10" height="10" fill="{colours[k % 7]}"/><text x="{w - 153}" y="{49 + 20 * k}">{name}</text>')
    return "\n".join(out + ["</svg>", ""])

def median_cells(rows):
    cells = {}
    for r in rows:
        cells.setdefault((r["clients"], r["placement"]), []).append(r["tokens_per_s"])
    return {k: statistics.median(v) for k, v in cells.items()}


def pinned_table(cells):
    lines = ["| | " + " | ".join(f"core {i}: {os.path.basename(m)}" for i, m in enumerate(PINNED["models"])) +
             " | together | wrong or failed | used other cores | NPU busy |", "|---|---|---|---|---|---|---|---|"]
    total = {}
    for way in ("one process", "three processes"):
        mine = [c for c in cells if c["way"] == way]
        rate = [statistics.mean(c["models"][i]["per_s"] for c in mine) for i in range(3)]
        bad = sum(m["wrong"] + m["failed"] for c in mine for m in c["models"])
        other = sum(n for c in mine for i, m in enumerate(c["models"]) for k, n in m["by_cores"].items() if k != str(i))
        busy = [statistics.mean(c["npu_busy"][i] for c in mine) for i in range(3)]
        total[way] = sum(rate)
        lines.append(f"| {way}, {sum(c['seconds'] for c in mine):.0f} s | " + " | ".join(f"{r:.1f}/s" for r in rate) +
                     f" | {sum(rate):.1f}/s | {bad} | {other} | " + ", ".join(f"{b:.2f}" for b in busy) + " |")
    lines += ["", f"One process reaches **{total['one process'] / total['three processes']:.3f}** of three."]
    return lines


def auto_table(study, rows, scale):
    cells = median_cells(rows)
    lines = [f"**{study['name']}** (tokens per second, median of {len(rows) // len(cells)} rounds; modelled times x "
             f"{', '.join(map(str, scale))} with {', '.join(map(str, LOADS))} requests at once)", "",
             "| requests at once | auto | " + " | ".join(BY_HAND) + " | auto / best |", "|---|" + "---|" * (len(BY_HAND) + 2)]
    for n in LOADS:
        hand = [cells[n, p] for p in BY_HAND]
        best = max(hand)
        lines.append(f"| {n} | {cells[n, 'auto']:.0f} | " + " | ".join(f"**{h:.0f}**" if h == best else f"{h:.0f}" for h in hand) +
                     f" | **{cells[n, 'auto'] / best:.3f}** |")
    return lines


def auto_svg(study, rows):
    cells, names = median_cells(rows), ["auto"] + BY_HAND
    colours = ["#d1495b", "#cfd8dc", "#b0bec5", "#90a4ae", "#78909c", "#546e7a", "#37474f"]
    w, h, left, top = 860, 300, 50, 46
    group, bar = (w - left - 10) / len(LOADS), 22
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" font-family="sans-serif" font-size="11">',
           f'<rect width="{w}" height="{h}" fill="white"/><text x="{left}" y="16" font-size="13">{study["name"]}: tokens per second '
           'relative to the best placement by hand</text>']
    for k, name in enumerate(names):
        out.append(f'<rect x="{left + k * 105}" y="24" width="10" height="10" fill="{colours[k]}"/>'
                   f'<text x="{left + 14 + k * 105}" y="33">{name}</text>')
    base, full = h - 30, h - 30 - top - 10
    for tick in (0, 0.25, 0.5, 0.75, 1):
        y = base - tick * full / 1.1
        out.append(f'<line x1="{left}" x2="{w - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/><text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for g, n in enumerate(LOADS):
        best, x0 = max(cells[n, p] for p in BY_HAND), left + g * group + 12
        for k, name in enumerate(names):
            ratio = cells[n, name] / best
            y = base - ratio * full / 1.1
            out.append(f'<rect x="{x0 + k * (bar + 3):.1f}" y="{y:.1f}" width="{bar}" height="{base - y:.1f}" fill="{colours[k]}"/>'
                       f'<text x="{x0 + k * (bar + 3) + bar / 2:.1f}" y="{y - 3:.1f}" text-anchor="middle" font-size="9">{ratio:.2f}</text>')
        out.append(f'<text x="{x0 + 3.5 * (bar + 3):.1f}" y="{h - 12}" text-anchor="middle">{n} at once</text>')
    return "\n".join(out + ["</svg>", ""])


def fill(text, name, lines):
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, rest = text.split(begin)
    return head + begin + "\n" + "\n".join(lines) + "\n" + end + rest.split(end)[1]


def plot(data, docs):
    text = open(docs, encoding="utf-8").read()
    if data.get("pinned"):
        text = fill(text, "pinned", pinned_table(data["pinned"]))
    if data.get("virtual"):
        text = fill(text, "virtual", virtual_table(data["virtual"]))
        open(os.path.join(os.path.dirname(docs), "placement-virtual.svg"), "w", encoding="utf-8").write(virtual_svg(data["virtual"]))
    lines = []
    for study in STUDIES:
        if study["key"] in data["auto"]:
            svg = f"placement-{study['key']}.svg"
            open(os.path.join(os.path.dirname(docs), svg), "w", encoding="utf-8").write(auto_svg(study, data["auto"][study["key"]]))
            lines += auto_table(study, data["auto"][study["key"]], data["scale"][study["key"]]) + ["", f"![{study['name']}]({svg})", ""]
    text = fill(text, "auto", lines[:-1])
    open(docs, "w", encoding="utf-8").write(text)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program", nargs="?")
    p.add_argument("--seconds", type=float, default=12)
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--pinned-seconds", type=float, default=60)
    p.add_argument("--loads", default=",".join(map(str, LOADS)), help="requests at once; rows of others stay as they are")
    p.add_argument("--only", default="virtual,pinned,minilm,tiny,rknn")
    p.add_argument("--out", default="build/placement.json")
    p.add_argument("--plot")
    p.add_argument("--docs")
    a = p.parse_args()
    if a.plot:
        return plot(json.load(open(a.plot, encoding="utf-8")), a.docs)
    if not a.program:
        p.error("the load program is missing: make build, then build/release/bench/load")
    data = json.load(open(a.out, encoding="utf-8")) if os.path.exists(a.out) else {"auto": {}}
    build, only = os.path.dirname(os.path.dirname(a.program)), a.only.split(",")
    data["taken"] = time.strftime("%Y-%m-%d")
    if "virtual" in only:
        data["virtual"] = run_virtual(os.path.join(build, "tests", "npu_test_placement_batches"))
    if "pinned" in only:
        data["pinned"] = run_pinned(a.program, a.pinned_seconds)
    for study in STUDIES:
        if study["key"] in only:
            data.setdefault("scale", {})[study["key"]] = study["scale"]
            loads = [int(n) for n in a.loads.split(",")]
            before = [r for r in data["auto"].get(study["key"], []) if r["clients"] not in loads]
            data["auto"][study["key"]] = before + run_auto(a.program, build, study, a.seconds, a.rounds, loads)
        json.dump(data, open(a.out, "w", encoding="utf-8"), indent=1)
    json.dump(data, open(a.out, "w", encoding="utf-8"), indent=1)


if __name__ == "__main__":
    sys.exit(main())
