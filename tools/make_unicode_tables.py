#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes src/tokenizer/unicode_data.c from the behaviour of the installed `tokenizers` library.

Every fact is probed through the library's public components, code point by code point: no Unicode data file is read, so
that our ids follow the library's mixture of Unicode versions and not the ones of some distribution.

usage: python3 tools/make_unicode_tables.py [OUTPUT]      (needs: pip install tokenizers==0.23.3; takes a minute or two)
"""
import os
import struct
import sys

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

PINNED = "0.23.3"
OUT = os.path.join(os.path.dirname(__file__), "..", "src", "tokenizer", "unicode_data.c")
MAX = 0x110000
ALL = [c for c in range(MAX) if not 0xD800 <= c <= 0xDFFF]

# Order as in enum unicode_flag of unicode.h.
FLAGS = ["control", "space", "punct", "mn", "numeric", "mark", "word", "cjk", "re_letter", "re_number", "re_space",
         "re_upper", "re_lower", "re_other_letter", "re_mark", "re_punct", "re_symbol", "re_word", "re_digit",
         "joins", "prepends", "breaks", "pictures"]
CATEGORIES = ["Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc",
              "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co"]  # as in enum unicode_category; bits 23 to 27 of the flags
CATEGORY_SHIFT = 23
REGEX = {"re_letter": r"\p{L}", "re_number": r"\p{N}", "re_space": r"\s", "re_upper": r"[\p{Lu}\p{Lt}]",
         "re_lower": r"\p{Ll}", "re_other_letter": r"[\p{Lm}\p{Lo}]", "re_mark": r"\p{M}", "re_punct": r"\p{P}",
         "re_symbol": r"\p{S}", "re_word": r"\w", "re_digit": r"\d"}


def pieces(pre, text):
    return [p for p, _ in pre.pre_tokenize_str(text)]


def members(pattern):
    """Code points that Oniguruma's pattern matches: what Split leaves when it removes them."""
    pre, out = pre_tokenizers.Split(Regex(pattern), "removed"), set()
    for begin in range(0, len(ALL), 4096):
        block = ALL[begin:begin + 4096]
        rest = set()
        for _, (b, e) in pre.pre_tokenize_str("".join(map(chr, block))):
            rest.update(block[b:e])
        out.update(c for c in block if c not in rest)
    return out


def probe_flags():
    bert = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    clean = normalizers.BertNormalizer(**{**bert, "clean_text": True})
    cjk = normalizers.BertNormalizer(**{**bert, "handle_chinese_chars": True})
    accents = normalizers.BertNormalizer(**{**bert, "strip_accents": True})
    strip_marks = normalizers.StripAccents()
    white, punct = pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")
    digits, words = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Whitespace()
    bert_pre = pre_tokenizers.BertPreTokenizer()
    classes = {k: members(v) for k, v in REGEX.items()}
    category = {c: i for i, name in enumerate(CATEGORIES) for c in members(r"\p{%s}" % name)}
    assert len(category) == len(ALL)
    flags = [0] * MAX
    for cp in ALL:
        c = chr(cp)
        text, f = "\x01" + c + "\x01", 0
        facts = {
            "control": clean.normalize_str("a" + c) == "a",
            "space": len(pieces(white, text)) == 2,
            "punct": len(pieces(punct, text)) == 3,
            "mn": accents.normalize_str("a" + c) == "a",
            "numeric": len(pieces(digits, text)) == 3,
            "mark": strip_marks.normalize_str("a" + c) == "a",
            "word": pieces(words, "a" + c) == ["a" + c],
            "cjk": cjk.normalize_str(c) == " " + c + " ",
        }
        # the same function decides for both: what is neither splits differently
        assert (len(pieces(bert_pre, text)) == 3) == (facts["punct"] and not facts["space"]), hex(cp)
        facts.update((k, cp in v) for k, v in classes.items())
        for i, k in enumerate(FLAGS):
            f |= facts.get(k, False) << i  # the last ones: probe_breaks
        flags[cp] = f | category[cp] << CATEGORY_SHIFT
    return flags


def probe_maps():
    forms = {k: getattr(normalizers, k)() for k in ("NFD", "NFKD", "NFC", "NFKC", "Lowercase")}
    nfd, nfkd, lower, composed = {}, {}, {}, {}
    for cp in ALL:
        c = chr(cp)
        if not 0xAC00 <= cp < 0xAC00 + 11172:
            d, k = forms["NFD"].normalize_str(c), forms["NFKD"].normalize_str(c)
            if d != c:
                nfd[c] = d
            if k != d:
                nfkd[c] = k
        low = forms["Lowercase"].normalize_str(c)
        if low != c:
            lower[c] = low
    whole = {d: c for c, d in nfd.items() if len(d) > 1 and forms["NFC"].normalize_str(d) == c}
    for d, c in whole.items():
        head = forms["NFC"].normalize_str(d[:-1])
        assert len(head) == 1 and forms["NFC"].normalize_str(head + d[-1]) == c, hex(ord(c))
        composed[head, d[-1]] = c
    for c in ALL:  # every character that survives NFC and decomposes is made by one pair
        c = chr(c)
        if c in nfd and len(nfd[c]) > 1 and forms["NFC"].normalize_str(c) == c:
            assert nfd[c] in whole, hex(ord(c))
    return nfd, nfkd, lower, composed


def probe_classes(nfd):
    """Canonical combining classes, by who changes places with whom."""
    form = normalizers.NFD()
    swaps = lambda x, y: form.normalize_str("a" + x + y) == "a" + y + x  # class(x) > class(y) > 0
    low, high = "\u0334", "\u0345"
    marks = [chr(c) for c in ALL if chr(c) not in nfd and chr(c) not in (low, high)
             and (swaps(chr(c), low) or swaps(high, chr(c)))] + [low, high]
    groups = []  # ascending; members of one group never change places
    for x in marks:
        at = 0
        while at < len(groups) and swaps(x, groups[at][0]):
            at += 1
        if at < len(groups) and not swaps(groups[at][0], x):
            groups[at].append(x)
        else:
            groups.insert(at, [x])
    # ranks are enough: only the order matters
    return {x: i + 1 for i, g in enumerate(groups) for x in g}, len(groups)


def charsmap(keys):
    """A SentencePiece charsmap (a length, a double array, replacements) that turns every key into "X"."""
    units, used = [0], {0}

    def build(node, level):
        kids = {}
        for k in level:
            kids.setdefault(k[0] if k else 0, []).append(k[1:])
        base = 1
        while any((base ^ label) in used for label in kids):  # where all children are free
            base += 1
        used.update(base ^ label for label in kids)
        units.extend([0] * (max(used) + 1 - len(units)))
        units[node] |= (base ^ node) << 10
        for label in kids:
            if label:
                units[base ^ label] |= label
            else:
                units[base] = 1 << 31
                units[node] |= 1 << 8
        for label, rest in kids.items():
            if label:
                build(base ^ label, rest)

    build(0, keys)
    units += [0] * 256  # look-ups may go past the last unit
    blob = b"".join(struct.pack("<I", u) for u in units)
    return struct.pack("<I", len(blob)) + blob + b"X\0"


def probe_breaks(flags):
    """Grapheme clusters, as far as they show: Precompiled replaces clusters of less than six bytes as a whole."""
    bit = {k: 1 << i for i, k in enumerate(FLAGS)}
    after_a = normalizers.Precompiled(charsmap([b"a"]))
    picture = normalizers.Precompiled(charsmap(["\u00a9".encode()]))
    assert after_a.normalize_str("a\u0301ab") == "XXb" and after_a.normalize_str("b\u0301") == "b\u0301"
    for cp in ALL:
        c = chr(cp)
        if after_a.normalize_str("a" + c) == "X":
            flags[cp] |= bit["joins"]
        if picture.normalize_str("\u00a9\u200d" + c) == "X\u200d" + c:
            flags[cp] |= bit["pictures"]
    for begin in range(1, MAX, 64):  # what happens after c can only be seen where c is a key
        block = [c for c in range(begin, min(begin + 64, MAX)) if not 0xD800 <= c <= 0xDFFF]
        if not block:
            continue
        n = normalizers.Precompiled(charsmap([chr(c).encode() for c in block]))
        for cp in block:
            c = chr(cp)
            if n.normalize_str(c + "b") == "X":
                flags[cp] |= bit["prepends"]
            if cp < 0x10000 and n.normalize_str(c + "\u0308") != "X":
                flags[cp] |= bit["breaks"]
    flags[0] |= bit["breaks"]  # ends every key; a control character


def props_line(values, width=118):
    lines, line = [], "   "
    for v in values:
        s = f" {v},"
        if len(line) + len(s) > width:
            lines.append(line)
            line = "   "
        line += s
    lines.append(line)
    return "\n".join(lines)


def ctype(values):
    top = max(values)
    return "uint8_t" if top < 256 else "uint16_t" if top < 65536 else "uint32_t"


def two_stage(f, name, values, shift):
    """values[MAX] -> name_stage1[cp >> shift], name_stage2[(block << shift) | low]."""
    size, blocks, index = 1 << shift, {}, []
    for i in range(0, MAX, size):
        b = tuple(values[i:i + size])
        index.append(blocks.setdefault(b, len(blocks)))
    flat = [v for b in blocks for v in b]
    f.write(f"const {ctype(index)} {name}_stage1[{len(index)}] = {{\n{props_line(index)}\n}};\n")
    f.write(f"const {ctype(flat)} {name}_stage2[{len(flat)}] = {{\n{props_line(flat)}\n}};\n\n")
    return f"extern const {ctype(index)} {name}_stage1[{len(index)}];\n" \
           f"extern const {ctype(flat)} {name}_stage2[{len(flat)}];\n"


def array(f, name, values):
    f.write(f"const {ctype(values)} {name}[{len(values)}] = {{\n{props_line(values)}\n}};\n\n")
    return f"extern const {ctype(values)} {name}[{len(values)}];\n"


def main():
    if tokenizers.__version__ != PINNED:
        sys.exit(f"this table is made from tokenizers {PINNED}, here is {tokenizers.__version__}")
    out = sys.argv[1] if len(sys.argv) > 1 else OUT
    flags = probe_flags()
    probe_breaks(flags)
    nfd, nfkd, lower, composed = probe_maps()
    ccc, n_ccc = probe_classes(nfd)

    head = "/* SPDX-License-Identifier: Apache-2.0 */\n" \
           f"/* Made by tools/make_unicode_tables.py from tokenizers {PINNED}; do not edit. */\n"
    decls = ""
    with open(out, "w") as f:
        f.write(head + '#include "tokenizer/unicode_data.h"\n\n/* clang-format off */\n')
        distinct = sorted(set(flags))
        number = {v: i for i, v in enumerate(distinct)}
        decls += two_stage(f, "unicode_flags", [number[v] for v in flags], 7)
        decls += array(f, "unicode_flag_sets", distinct)
        decls += two_stage(f, "unicode_ccc", [ccc.get(chr(c), 0) if c in range(MAX) else 0 for c in range(MAX)], 7)
        # decompositions: value = index of the length in the pool, 0: none
        pool, at, seen = [0], {}, {}
        for table in (nfd, nfkd):
            for c, d in table.items():
                if d not in seen:
                    seen[d] = len(pool)
                    pool += [len(d)] + [ord(x) for x in d]
        decls += two_stage(f, "unicode_nfd", [seen.get(nfd.get(chr(c)), 0) for c in range(MAX)], 6)
        both = {**nfd, **nfkd}
        decls += two_stage(f, "unicode_nfkd", [seen.get(both.get(chr(c)), 0) for c in range(MAX)], 6)
        decls += array(f, "unicode_pool", pool)
        # lower case: index into deltas (0: itself); the one character that becomes two has its own code path
        (two, ) = [c for c, l in lower.items() if len(l) > 1]
        assert two == "\u0130" and lower[two] == "i\u0307"
        deltas = [0] + sorted({ord(l) - ord(c) for c, l in lower.items() if c != two})
        delta_no = {d: i for i, d in enumerate(deltas)}
        decls += two_stage(f, "unicode_lower",
                           [delta_no[ord(lower[chr(c)]) - c] if chr(c) in lower and chr(c) != two else 0 for c in range(MAX)], 6)
        f.write(f"const int32_t unicode_lower_delta[{len(deltas)}] = {{\n{props_line(deltas)}\n}};\n\n")
        decls += f"extern const int32_t unicode_lower_delta[{len(deltas)}];\n"
        # compositions: sorted by (first, second)
        pairs = sorted((ord(a), ord(b), ord(c)) for (a, b), c in composed.items())
        f.write(f"const uint32_t unicode_pairs[{len(pairs)}][3] = {{\n")
        f.write(props_line(["{" + ",".join(map(str, p)) + "}" for p in pairs]) + "\n};\n")
        decls += f"extern const uint32_t unicode_pairs[{len(pairs)}][3];\nenum {{ UNICODE_PAIRS = {len(pairs)} }};\n"
    with open(out[:-2] + ".h", "w") as f:
        f.write(head + "#ifndef RKF_TOKENIZER_UNICODE_DATA_H\n#define RKF_TOKENIZER_UNICODE_DATA_H\n\n#include <stdint.h>\n\n"
                "/* clang-format off */\n" + decls + "\n#endif\n")
    print(f"{out}: {len(nfd)} canonical, {len(nfkd)} compatible decompositions, {len(lower)} lower case, {len(composed)} pairs, "
          f"{len(ccc)} marks in {n_ccc} classes, {len(distinct)} sets of flags")


if __name__ == "__main__":
    main()
