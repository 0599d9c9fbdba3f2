#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the machine allows two threads, and what they reach.

usage: threads.py MODEL_DIR IDS BENCH_MODEL [--dtype f32,int8] [--rounds 5] [--what sorted]

In each round, one after the other: one thread on the first CPU, one on the second, then both as two processes at the same time,
each pinned to its CPU, then one process with two threads. Two processes share nothing but the caches, memory and clock: what they
reach together is the machine's ceiling. Everything is a ratio to one thread of the same round; the best of three passes counts, as
other work on the machine can only make a pass slower.
"""
import argparse
import json
import subprocess


def start(args, dtype, cpus, threads):
    command = ["taskset", "-c", cpus, args.bench_model, args.model, args.ids, f"dtype={dtype}", f"threads={threads}",
               f"what={args.what}", "repeat=3"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def speed(process):
    return json.loads(process.communicate()[0].splitlines()[-1])["best_tokens_per_s"]


def median(values):
    return sorted(values)[len(values) // 2]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("ids")
    p.add_argument("bench_model")
    p.add_argument("--dtype", default="f32,int8")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--what", default="sorted")
    args = p.parse_args()
    for dtype in args.dtype.split(","):
        together, threads = [], []
        for _ in range(args.rounds):
            one = sum(speed(start(args, dtype, cpu, 1)) for cpu in "01") / 2
            pair = [start(args, dtype, cpu, 1) for cpu in "01"]
            together.append(sum(map(speed, pair)) / one)
            threads.append(speed(start(args, dtype, "0,1", 2)) / one)
            print(f"{dtype}: one thread {one:,.0f} tokens/s; two processes {together[-1]:.2f}, two threads {threads[-1]:.2f} times",
                  flush=True)
        print(f"{dtype}: median of {args.rounds}: two processes {median(together):.2f}, two threads {median(threads):.2f}; "
              f"best {max(together):.2f}, {max(threads):.2f}")


if __name__ == "__main__":
    main()
