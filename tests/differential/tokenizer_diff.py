#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares our tokenizer with the `tokenizers` library on random and real texts, for every kind of tokenizer.

usage: tokenizer_diff.py [-n TEXTS] [--seed S] [--kind NAME] [--keep-going]

Kinds are the models in tests/data, variations on them made in kinds.py, and model directories given with --model.
Compared: ids, offsets, word and sequence ids, type ids, special mask, overflow windows, errors, decoded text. Needs
tokenizers 0.23.3 in this Python, and tool_tokenize in $RKF_BUILD/tests (default build/dev).
"""
import argparse
import os
import sys
import tempfile
import time

from tokenizers import Tokenizer

import kinds
from texts import Source
from toolproc import Tool

BATCH = 500


def options(r):
    o = {"special": r.random() < 0.8, "max_length": 0, "stride": 0, "overflow": False, "left": False, "strategy": "longest_first"}
    if r.random() < 0.4:
        o["max_length"] = r.randrange(5, 24)
        o["left"] = r.random() < 0.3
        o["strategy"] = r.choice(["longest_first", "longest_first", "only_first", "only_second"])
        o["overflow"] = r.random() < 0.5
        if o["overflow"]:
            o["stride"] = r.choice([0, 0, 1, 2])
    return o


def window(e):
    none = lambda xs: [-1 if x is None else x for x in xs]
    return {"ids": e.ids, "offsets": [tuple(o) for o in e.offsets], "word_ids": none(e.word_ids), "type_ids": e.type_ids,
            "sequence_ids": none(e.sequence_ids), "special": e.special_tokens_mask}


def expect(t, text, pair, o):
    """What `tokenizers` answers; None: it fails."""
    try:
        if o["max_length"]:
            t.enable_truncation(o["max_length"], stride=o["stride"], strategy=o["strategy"],
                                direction="left" if o["left"] else "right")
        else:
            t.no_truncation()
        e = t.encode(text, pair, add_special_tokens=o["special"])
    except BaseException as x:  # panics of the library are no Exceptions
        if isinstance(x, KeyboardInterrupt):
            raise
        return None
    out = window(e)
    if o["overflow"]:
        out["overflow"] = [window(w) for w in e.overflowing]
    try:
        out["decoded"] = t.decode(e.ids, skip_special_tokens=False)
        out["decoded_skip"] = t.decode(e.ids, skip_special_tokens=True)
    except BaseException as x:
        if isinstance(x, KeyboardInterrupt):
            raise
    return out


def differences(want, got):
    if want is None:
        return [] if got["status"] else ["tokenizers fails, we do not"]
    if got["status"]:
        return ["we fail: " + got["message"]]
    return [k for k in want if want[k] != got[k]]


def run(name, path, n, seed, keep_going, out=sys.stdout):
    reference = Tokenizer.from_file(path if path.endswith(".json") else os.path.join(path, "tokenizer.json"))
    reference.no_padding()
    words = list(reference.get_vocab())
    source = Source(seed, words)
    tool = Tool(path)
    bad = failed = done = 0
    begin = time.time()
    while done < n:
        cases = []
        for _ in range(min(BATCH, n - done)):
            pair = source.text() if source.r.random() < 0.15 else None
            cases.append((source.text(), pair, options(source.r)))
        for i in range(0, len(cases), 20):  # small bites: both pipes have limits
            bite = cases[i:i + 20]
            for text, pair, o in bite:
                tool.send(text, pair, **o)
            import threading
            flusher = threading.Thread(target=tool.flush)
            flusher.start()
            for text, pair, o in bite:
                got, want = tool.receive(), expect(reference, text, pair, o)
                failed += want is None
                d = differences(want, got)
                if d:
                    bad += 1
                    if bad <= 5:
                        print(f"{name}: {d}\n  text {text!r} pair {pair!r} {o}", file=out)
                        for k in d:
                            if want and k in want:
                                print(f"  {k}: want {want[k]}\n  {k}: got  {got[k]}", file=out)
                    if bad >= 5 and not keep_going:
                        tool.p.kill()
                        return bad
            flusher.join()
        done += len(cases)
    tool.close()
    print(f"{name}: {done} texts, {bad} differ, {failed} refused by both, {time.time() - begin:.0f} s", file=out, flush=True)
    return bad


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-n", type=int, default=1000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--kind", action="append")
    p.add_argument("--model", action="append", default=[])
    p.add_argument("--keep-going", action="store_true")
    a = p.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as tmp:
        todo = {**kinds.models(), **kinds.variations(tmp), **{m: m for m in a.model}}
        for name, path in todo.items():
            if not a.kind or any(k in name for k in a.kind):
                bad += run(name, path, a.n, a.seed, a.keep_going)
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
