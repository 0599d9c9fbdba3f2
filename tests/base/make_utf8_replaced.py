#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/base/utf8_replaced.txt: broken byte sequences and what Python's errors="replace" makes of them."""
import itertools
import pathlib
import random

LEADS = [0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF, 0x80, 0xBF]
NEXT = [0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC2, 0xE2, 0xF0]


def main():
    cases = [bytes([lead]) for lead in range(256)]
    cases += [bytes(c) for c in itertools.product(LEADS, NEXT)]
    cases += [bytes(c) for c in itertools.product(LEADS, NEXT, NEXT)]
    rng = random.Random(7)
    whole = "aé€😀\u0000z".encode()
    for _ in range(800):  # well-formed text with bytes cut out, doubled and overwritten
        text = bytearray(whole * rng.randint(1, 3))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            action = rng.randrange(3)
            if action == 0:
                del text[at]
            elif action == 1:
                text.insert(at, text[at])
            else:
                text[at] = rng.randrange(256)
            if not text:
                break
        cases.append(bytes(text))
    path = pathlib.Path(__file__).parent.parent / "data" / "base" / "utf8_replaced.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as out:
        print('# bytes, and bytes.decode("utf-8", "replace").encode(), in hex; made by tests/base/make_utf8_replaced.py',
              file=out)
        for case in dict.fromkeys(cases):
            print(case.hex() or "-", case.decode("utf-8", "replace").encode().hex() or "-", file=out)


main()
