# SPDX-License-Identifier: Apache-2.0
"""Texts that are hard on tokenizers, from a seed, and real ones from Debian's fortunes where they are installed."""
import glob
import random
import re

FORTUNES = "/usr/share/games/fortunes"
NASTY = [
    "", " ", "  ", "\n", "\r\n", "\t \n", "a", "\x00", "\x00a\x00", "\x01\x02", "\x7f", "\x80\x9f", "\u00ad", "\ufffd", "\ufeff",
    "\u200b", "\u200d", "\u2028\u2029", "\u3000", "\u1680", "\u180e", "\u00a0x\u00a0", "é", "e\u0301", "\u0301e", "\u0301",
    "a\u0301\u0323", "a\u0323\u0301", "\u0344", "\u0f73\u0f71", "\u1e9b\u0323", "ǭ", "Å", "ﬁ", "ﷺ", "ĳ", "İi̇ı", "ẞß", "ΑΣ ς", "ſ", "K",
    "'s 't 're 've 'm 'll 'd 'S 'LL", "don't I'll we've it's DON'T I'LL", "x'ſ y'ſT", "ab'cd''s", " 's", "don’t",
    "日本語", "中文 mixed 文字", "한국어", "\u1112\u1161\u11ab", "\uac00\u11a8", "ㄱㅏ", "カ\u3099", "ｶﾞ", "ﾊﾝ", "ไทย", "ไม่", "हिन्दी क्षि", "த", "\u0600a",
    "\u06dd12", "\u110bdx", "עברית", "العربية", "\u202eabc", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "©\u200d😀", "©\u200dx", "🏳️‍🌈", "1️⃣", "\U0001f600" * 7,
    "½ ² ① Ⅷ ㎏ ﬃ", "１２３ ＡＢＣ", "…—–‐‑", "“quoted” ‘x’", "!!??..,,;;", "$5.00 + 7% = #3", "a_b__c", "foo@bar.com http://x.y/z?a=b&c=d",
    "x" * 99, "x" * 100, "x" * 101, "y" * 300, "a b " * 50, "é" * 101, "the " * 300, "0123456789" * 5, "1,234.567", "[CLS] [SEP] [MASK] [PAD] [UNK]",
    "[mask]", "[ MASK ]", "a[MASK]b", "<s> </s> <mask> <pad> <unk>", " <mask>", "x <mask> y", "<mask><mask>", "<MASK>", "▁", "▁▁a", "a▁b", "_", "Ġ", "ĠaĊ",
    "##ing", "ing##", "<0x0A>", "<0xE2>", "\U0001d400\U0001d56c", "\U0002f800", "豈", "\uf900", "㐀", "\U00020000", "\U0002b740", "\U0010ffff",
    "\ue000", "\ufdd0", "\u0378", "a\u00a0b", "\u2581the", "tab\tsep", "line\nbreak\n\nx", "  lead", "trail  ", " a  b   c ", "\x85x", "\x0bx\x0c",
    "\u1160", "\u0e33", "\u0eb3", "\u0f0b", "\u2126", "\u212b", "\ufb2e", "\u1f71", "\u0958", "\u0915\u093c", "\ufb1d", "\U0001d15e", "\u2adc",
]
ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz     ", "ABCabc xyz.,!?'\"-()", "0123456789 .,$%", " \t\n\r\u00a0\u3000\u200b\u2003", "'stremvld ", "éèüñçàôÅßøæ abc",
    "\u0300\u0301\u0302\u0308\u0323\u0327\u0345\u05b0\u3099ae o", "αβγδεζ ΑΒΓ ς", "абвгд ЖЗИ", "日本語漢字仮名かなカナ 。、", "한국어가나다 각\u1100\u1161\u11a8",
    "ﬁﬂ①②½㎏ﾊﾟＡ１ﷺ", "👍🏽👨\u200d👩🇩🇪😀\ufe0f\u20e3", "\x00\x01\x1f\x7f\x80\x9f\u00ad\u200d\u200e\ufeff\ufffd", "\u0600\u06dd\u070f\u0890\u0d4e\U000110bda\u0308",
    "हिन्दीक्षत्रज्ञ\u094d\u0930", "กขไม่ำ ๑๒", "[]CLSEPMAKUN <>/s#_▁Ġ", "\u1112\u1161\u11ab\uac00\u11a8\uac01a\u0308", "()[]{}<>|\\/&*^~`@#",
]


def fortunes():
    out = []
    for f in sorted(glob.glob(FORTUNES + "/**/*", recursive=True)):
        if re.search(r"(\.dat|\.u8)$", f):
            continue
        try:
            out += [t.strip("\n") for t in open(f, encoding="utf-8").read().split("\n%\n")]
        except (UnicodeDecodeError, IsADirectoryError):
            pass
    return [t for t in out if t.strip()]


class Source:
    def __init__(self, seed, words=()):
        self.r = random.Random(seed)
        self.real = fortunes()
        self.words = list(words)

    def char(self):
        r = self.r
        k = r.random()
        if k < 0.3:
            return chr(r.randrange(32, 127))
        if k < 0.5:
            return chr(r.randrange(0x80, 0x600))
        if k < 0.7:
            return chr(r.randrange(0x600, 0x3100))
        if k < 0.8:
            return chr(r.randrange(0xa000, 0xd800))
        if k < 0.9:
            return chr(r.randrange(0xe000, 0x10000))
        return chr(r.randrange(0x10000, 0x110000 if k > 0.99 else 0x30000))

    def short(self):
        r = self.r
        k = r.random()
        if k < 0.12:
            return r.choice(NASTY)
        if k < 0.45:
            a = r.choice(ALPHABETS)
            return "".join(r.choice(a) for _ in range(r.randrange(1, 30)))
        if k < 0.6:
            return "".join(self.char() for _ in range(r.randrange(1, 12)))
        if k < 0.75 and self.words:
            return "".join(r.choice(["", " ", " "]) + r.choice(self.words) for _ in range(r.randrange(1, 8)))
        if k < 0.9 and self.real:
            t = r.choice(self.real)
            i = r.randrange(len(t))
            return t[i:i + r.randrange(1, 120)]
        return "".join(r.choice(r.choice(ALPHABETS)) for _ in range(r.randrange(1, 20)))

    def text(self):
        r = self.r
        k = r.random()
        if k < 0.02 and self.real:
            return r.choice(self.real)
        if k < 0.55:
            return self.short()
        return r.choice(["", " ", "\n"]).join(self.short() for _ in range(r.randrange(2, 5)))
