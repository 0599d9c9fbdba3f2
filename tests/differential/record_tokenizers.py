#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/tokenizer/recorded.json: what `tokenizers` answers to nasty texts, for tests/tokenizer/test_recorded.c.

usage: record_tokenizers.py [-n TEXTS] [--seed S]      (needs tokenizers 0.23.3)

A kind is a model of tests/data and the parts of its tokenizer.json that are replaced; the answer to a text is a CRC-32 of
its windows (per window: u32 n, ids, offsets, word_ids as i32; type_ids, sequence_ids, special as bytes) and of the
decoded text with and without special tokens (if there are ids); 0 if `tokenizers` refuses.
"""
import argparse
import json
import os
import struct
import zlib

import tokenizers
from tokenizers import Tokenizer

import kinds
from texts import NASTY, Source
from tokenizer_diff import expect, options

OUT = os.path.join(os.path.dirname(__file__), "..", "data", "tokenizer", "recorded.json")
BASES = ["trained/bert-embed", "trained/distilbert-ner", "trained/mpnet-embed", "trained/roberta-sentiment", "trained/xlmr-embed"]
PARTS = ["normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens", "model"]
CHARSMAP = "@charsmap"  # stands for the one of xlmr-embed


def pack(w):
    n = len(w["ids"])
    flat = [x for o in w["offsets"] for x in o]
    return struct.pack(f"<I{n}i{2 * n}i{n}i", n, *w["ids"], *flat, *w["word_ids"]) + bytes(w["type_ids"]) + \
        struct.pack(f"<{n}b", *w["sequence_ids"]) + bytes(w["special"])


def crc(t, text, pair, o):
    e = expect(t, text, pair, o)
    if e is None:
        return 0
    data = b"".join(pack(w) for w in [e] + e.get("overflow", []))
    if e["ids"]:
        data += e["decoded_skip"].encode() + b"\0" + e["decoded"].encode()
    return zlib.crc32(data) or 1


def parts_of(j, charsmap):
    """The base that needs the fewest replaced parts, and those."""
    best = min(BASES, key=lambda b: len(json.dumps({k: j[k] for k in PARTS if j[k] != kinds.base(b)[k]})))
    parts = {k: j[k] for k in PARTS if j[k] != kinds.base(best)[k]}
    return best, json.loads(json.dumps(parts).replace(charsmap, CHARSMAP))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-n", type=int, default=1500)
    p.add_argument("--seed", type=int, default=20)
    a = p.parse_args()
    source = Source(a.seed, "rain snow The the loan dog tomorrow Paris Merkel Ġthe ##ing ▁and".split())
    source.real = ["The quick brown fox doesn't jump over 13 lazy dogs.", "It's 10:45 p.m. -- (see §4.2) \u201cReally?\u201d", "A\tB\n\nC  D"]
    texts = [(t, None, {"special": True, "max_length": 0, "stride": 0, "overflow": False, "left": False, "strategy": "longest_first"})
             for t in NASTY]
    while len(texts) < a.n:
        t, pair = source.text(), source.text() if source.r.random() < 0.15 else None
        if len(t) < 300:
            texts.append((t, pair, options(source.r)))
    charsmap = kinds.base("trained/xlmr-embed")["normalizer"]["normalizers"][0]["precompiled_charsmap"]
    strategies = ["longest_first", "only_first", "only_second"]
    out = {"note": f"made by tests/differential/record_tokenizers.py from tokenizers {tokenizers.__version__}",
           "texts": [[t, pair, o["special"] << 1 | o["overflow"] << 2 | o["left"] << 3 | strategies.index(o["strategy"]) << 5,
                      o["max_length"], o["stride"]] for t, pair, o in texts], "kinds": {}}
    everything = {**{b: kinds.base(b) for b in BASES}, **kinds.variation_files()}
    for name, j in everything.items():
        t = Tokenizer.from_str(json.dumps(j))
        base, parts = parts_of(j, charsmap)
        out["kinds"][name] = {"base": base, "parts": parts, "crc": "".join("%08x" % crc(t, *x) for x in texts)}
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "w", encoding="utf-8") as f:
        f.write("{\n" + ",\n".join(json.dumps(k) + ":" + json.dumps(v, ensure_ascii=False) for k, v in out.items() if k != "kinds"))
        f.write(',\n"kinds":{\n' + ",\n".join(json.dumps(k) + ":" + json.dumps(v, ensure_ascii=False) for k, v in out["kinds"].items()))
        f.write("\n}}\n")
    print(f"{OUT}: {len(texts)} texts, {len(out['kinds'])} kinds, {os.path.getsize(OUT)} bytes")


if __name__ == "__main__":
    main()
