# SPDX-License-Identifier: Apache-2.0
"""The kinds of tokenizers that are compared: models of tests/data, and variations of them that use every component."""
import copy
import json
import os

DATA = os.path.join(os.path.dirname(__file__), "..", "data", "models")
REAL = os.path.join(os.path.dirname(__file__), "..", "..", "build", "models")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}


def models():
    out = {n: os.path.join(DATA, n) for n in ("trained/bert-embed", "trained/distilbert-ner", "trained/mpnet-embed",
                                              "trained/roberta-sentiment", "trained/xlmr-embed")}
    real = os.path.join(REAL, "all-MiniLM-L6-v2")
    if os.path.isdir(real):
        out["all-MiniLM-L6-v2"] = real
    return out


def base(name):
    with open(os.path.join(DATA, name, "tokenizer.json"), encoding="utf-8") as f:
        j = json.load(f)
    j["truncation"] = j["padding"] = None
    return j


def bert(**normalizer):
    j = base("trained/bert-embed")
    j["normalizer"].update(normalizer)
    return j


def changed(name, **parts):
    j = base(name)
    for k, v in parts.items():
        j[k] = v
    return j


def added(j, *tokens):
    for i, (content, flags) in enumerate(tokens):
        j["added_tokens"].append({"id": 5000 + i, "content": content, "single_word": "w" in flags, "lstrip": "l" in flags,
                                  "rstrip": "r" in flags, "normalized": "n" in flags, "special": "s" in flags})
    return j


def split(pattern, behavior="Isolated", invert=False, literal=False):
    return {"type": "Split", "pattern": {"String" if literal else "Regex": pattern}, "behavior": behavior, "invert": invert}


def sequence(kind, *parts):
    return {"type": "Sequence", kind: list(parts)}


def norms(*parts):
    return sequence("normalizers", *parts)


def pres(*parts):
    return sequence("pretokenizers", *parts)


def byte_level(prefix=False, regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def bpe_of(vocab_words, **fields):
    """A small BPE over characters, with merges that build the given words."""
    vocab, merges = {"<unk>": 0}, []
    for w in vocab_words:
        for c in w:
            vocab.setdefault(c, len(vocab))
    for w in vocab_words:
        left = w[0]
        for c in w[1:]:
            if [left, c] not in merges:
                merges.append([left, c])
            left += c
            vocab.setdefault(left, len(vocab))
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": merges, **fields}


def char_bpe(**fields):
    m = bpe_of(["the", "and", "then", "there", "in", "ing", "on", "tion", "er", "re", "\u2581the", "\u2581a", "\u2581and", "é", "日本"], **fields)
    for i, c in enumerate("abcdefghijklmnopqrstuvwxyz \u2581.,'"):
        m["vocab"].setdefault(c, len(m["vocab"]))
    if fields.get("byte_fallback"):
        for b in range(256 if fields["byte_fallback"] is True else 0):
            m["vocab"][f"<0x{b:02X}>"] = len(m["vocab"])
    return m


def suffix_bpe(**fields):
    vocab, merges = {"<unk>": 0}, []
    for c in "abcdefghijklmnopqrstuvwxyz.,!":
        vocab[c] = len(vocab)
        vocab[c + "</w>"] = len(vocab)
    for a, b in (("t", "h"), ("th", "e</w>"), ("a", "n"), ("an", "d</w>"), ("i", "n"), ("in", "g</w>"), ("e", "r</w>")):
        merges.append(f"{a} {b}")
        vocab.setdefault(a + b, len(vocab))
    return {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": "</w>",
            "fuse_unk": False, "vocab": vocab, "merges": merges, **fields}


def prefix_bpe():
    vocab, merges = {"[UNK]": 0}, []
    for c in "abcdefghijklmnopqrstuvwxyz.,!":
        vocab[c] = len(vocab)
        vocab["##" + c] = len(vocab)
    for a, b in (("t", "##h"), ("th", "##e"), ("##a", "##n"), ("##an", "##d"), ("i", "##n"), ("##e", "##r")):
        merges.append([a, b])
        vocab.setdefault(a + b[2:], len(vocab))
    return {"type": "BPE", "dropout": None, "unk_token": "[UNK]", "continuing_subword_prefix": "##", "end_of_word_suffix": None,
            "fuse_unk": True, "byte_fallback": False, "vocab": vocab, "merges": merges}


def wordlevel():
    words = "the a and of to in is it that ; , . you I ▁the ▁a THE é".split()
    return {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(["<unk>"] + words)}, "unk_token": "<unk>"}


def unigram(byte_fallback=False, drop_unk=False):
    m = copy.deepcopy(base("trained/xlmr-embed")["model"])
    if byte_fallback:
        m["vocab"] += [[f"<0x{b:02X}>", -15.0] for b in range(256)]
        m["byte_fallback"] = True
    if drop_unk:
        m["unk_id"] = None
    return m


def template(single, pair, ids):
    def piece(p):
        name, _, type_id = p.partition(":")
        body = {"id": name[1:] if name[0] == "$" else name, "type_id": int(type_id or 0)}
        return {"Sequence" if name[0] == "$" else "SpecialToken": body}
    return {"type": "TemplateProcessing", "single": [piece(p) for p in single.split()], "pair": [piece(p) for p in pair.split()],
            "special_tokens": {k: {"id": k, "ids": v, "tokens": [k] * len(v)} for k, v in ids.items()}}


def variation_files():
    b, r, x = "trained/bert-embed", "trained/roberta-sentiment", "trained/xlmr-embed"
    rep = lambda p, c, re=True: {"type": "Replace", "pattern": {"Regex" if re else "String": p}, "content": c}
    t = lambda name: {"type": name}
    wordpiece_dec = {"type": "WordPiece", "prefix": "##", "cleanup": False}
    roberta_bpe = base(r)["model"]
    out = {
        "bert-cased": bert(lowercase=False, strip_accents=False),
        "bert-accents": bert(lowercase=True, strip_accents=False),
        "bert-cased-stripped": bert(lowercase=False, strip_accents=True),
        "bert-no-clean": bert(clean_text=False),
        "bert-no-cjk": bert(handle_chinese_chars=False),
        "bert-processing": changed(b, post_processor={"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}),
        "bert-no-post": changed(b, post_processor=None, decoder=None),
        "bert-nfc": changed(b, normalizer=t("NFC"), pre_tokenizer=t("Whitespace"), decoder=wordpiece_dec),
        "bert-nfd": changed(b, normalizer=norms(t("NFD"), t("Lowercase"), t("StripAccents")), pre_tokenizer=t("WhitespaceSplit")),
        "bert-nfkc": changed(b, normalizer=norms(t("NFKC"), t("Lowercase")), pre_tokenizer=pres(t("Whitespace"), t("Punctuation"))),
        "bert-nfkd": changed(b, normalizer=norms(t("NFKD"), t("StripAccents"), t("NFC")), pre_tokenizer=t("BertPreTokenizer")),
        "bert-strip": changed(b, normalizer=norms({"type": "Strip", "strip_left": True, "strip_right": False}, t("Nmt"), t("Lowercase"),
                                                  {"type": "Strip", "strip_left": False, "strip_right": True})),
        "bert-strip-both": changed(b, normalizer=norms({"type": "Strip", "strip_left": True, "strip_right": True}, t("NFKC"))),
        "bert-replace": changed(b, normalizer=norms(rep("a", "bb", False), rep(r"[aeiou]{2,}", "é"), rep("''", '"', False), rep(r"\d+", "0"),
                                                    rep(" {2,}", " "), t("NFD"), rep(r"\p{M}", ""), rep("é", "", False))),
        "bert-prepend": changed(b, normalizer=norms({"type": "Prepend", "prepend": "x y"}, t("NFKC"), t("Lowercase"))),
        "bert-digits": changed(b, pre_tokenizer=pres(t("WhitespaceSplit"), {"type": "Digits", "individual_digits": False})),
        "bert-digits-single": changed(b, pre_tokenizer=pres({"type": "Digits", "individual_digits": True}, t("BertPreTokenizer"))),
        "bert-fixed": changed(b, pre_tokenizer=pres(t("WhitespaceSplit"), {"type": "FixedLength", "length": 3})),
        "bert-delimiter": changed(b, pre_tokenizer=pres({"type": "CharDelimiterSplit", "delimiter": "e"}, t("BertPreTokenizer"))),
        "bert-no-normalizer": changed(b, normalizer=None, pre_tokenizer=None),
        "bert-byte-norm": changed(b, normalizer=norms(t("NFC"), t("ByteLevel")), pre_tokenizer=t("WhitespaceSplit")),
        "bert-template": changed(b, post_processor=template("$A [SEP] $A:3", "[X]:1 $B:2 [SEP] $A:1 [CLS]:7", {"[SEP]": [3], "[CLS]": [2], "[X]": [4, 1, 4]})),
        "bert-added": added(bert(), ("[E1]", "s"), ("[e2]", "n"), ("Rain", "n"), ("snow", ""), ("the", "w"), ("cat", "nw"), (" dog", "l"),
                            ("<x>", "lr"), ("<y>", "lrn"), ("é", "n"), ("日本", ""), ("ab", ""), ("abc", ""), ("bcd", ""), ("loan.", "r"), ("\u0130", "n")),
        "wordlevel": changed(b, model=wordlevel(), pre_tokenizer=t("Whitespace"), normalizer=None, decoder=None, added_tokens=[]),
        "roberta-prefix": changed(r, pre_tokenizer=byte_level(True), post_processor={**base(r)["post_processor"], "add_prefix_space": True}),
        "roberta-no-trim": changed(r, post_processor={**base(r)["post_processor"], "trim_offsets": False}),
        "roberta-byte-post": changed(r, post_processor=byte_level()),
        "roberta-byte-template": changed(r, post_processor=sequence("processors", byte_level(True), template("<s> $A", "<s> $A <s> $B:1", {"<s>": [0]}))),
        "roberta-nfc": added(changed(r, normalizer=t("NFC")), ("<mask>", "ls"), ("  ", "n"), ("Hello", "nw"), ("\n", "")),
        "roberta-llama3": changed(r, pre_tokenizer=pres(split(LLAMA3), byte_level(False, False))),
        "roberta-llama3-ignore": changed(r, pre_tokenizer=pres(split(LLAMA3), byte_level(False, False)), model={**roberta_bpe, "ignore_merges": True}),
        "roberta-qwen2": changed(r, normalizer=t("NFC"), pre_tokenizer=pres(split(QWEN2, "Removed", True), byte_level(False, False))),
        "roberta-o200k": changed(r, pre_tokenizer=pres(split(O200K), byte_level(False, False))),
        "roberta-gpt2-split": changed(r, pre_tokenizer=pres(split(GPT2), byte_level(False, False))),
        "roberta-regex": changed(r, pre_tokenizer=pres(split("(?:" + LLAMA3 + ")"), byte_level(False, False))),
        "roberta-classes": changed(r, pre_tokenizer=pres(split(r"\p{Lu}+|\p{Letter}|\P{^Nd}|[\p{P}\p{S}]+|\p{Mn}|[^\p{Z}\p{C}]|\w\W|\p{Han}+"),
                                                         byte_level(False, False))),
        "roberta-punct-digits": changed(r, pre_tokenizer=pres({"type": "Punctuation", "behavior": "Contiguous"}, byte_level(),
                                                              {"type": "Digits", "individual_digits": True})),
        "roberta-whole": changed(r, pre_tokenizer=byte_level(False, False)),
        "roberta-merges-legacy": changed(r, model={**roberta_bpe, "merges": [m if isinstance(m, str) else " ".join(m) for m in roberta_bpe["merges"]]}),
        "bpe-char": changed(r, model=char_bpe(), normalizer=rep(" ", "\u2581", False), pre_tokenizer=None, post_processor=None,
                            decoder=sequence("decoders", rep("\u2581", " ", False), t("ByteFallback"), t("Fuse"),
                                             {"type": "Strip", "content": " ", "start": 1, "stop": 0}), added_tokens=[]),
        "bpe-unk": changed(r, model=char_bpe(unk_token="<unk>"), pre_tokenizer=METASPACE, post_processor=None, decoder=METASPACE, added_tokens=[]),
        "bpe-unk-fuse": changed(r, model=char_bpe(unk_token="<unk>", fuse_unk=True), pre_tokenizer={**METASPACE, "split": False}, decoder=METASPACE),
        "bpe-fallback": changed(r, model=char_bpe(unk_token="<unk>", byte_fallback=True, fuse_unk=True),
                                normalizer=norms({"type": "Prepend", "prepend": "\u2581"}, rep(" ", "\u2581", False)), pre_tokenizer=None,
                                decoder=sequence("decoders", rep("\u2581", " ", False), t("ByteFallback"), t("Fuse"),
                                                 {"type": "Strip", "content": " ", "start": 1, "stop": 1}), added_tokens=[]),
        "bpe-suffix": changed(r, model=suffix_bpe(), normalizer=t("Lowercase"), pre_tokenizer=t("BertPreTokenizer"), post_processor=None,
                              decoder={"type": "BPEDecoder", "suffix": "</w>"}, added_tokens=[]),
        "bpe-prefix": changed(r, model=prefix_bpe(), normalizer=t("Lowercase"), pre_tokenizer=t("Whitespace"), post_processor=None,
                              decoder=wordpiece_dec, added_tokens=[]),
        "xlmr-first": added(changed(x, pre_tokenizer={**METASPACE, "prepend_scheme": "first"}), ("<e>", "l"), ("Rain", "n")),
        "xlmr-never": changed(x, pre_tokenizer={**METASPACE, "prepend_scheme": "never"}, decoder={**METASPACE, "prepend_scheme": "never"}),
        "xlmr-whole": changed(x, pre_tokenizer={**METASPACE, "split": False}),
        "xlmr-t5": changed(x, pre_tokenizer=pres(t("WhitespaceSplit"), METASPACE), post_processor=template("$A </s>", "$A </s> $B </s>", {"</s>": [2]})),
        "xlmr-fallback": changed(x, model=unigram(True), decoder=sequence("decoders", t("ByteFallback"), METASPACE)),
        "xlmr-no-unk": changed(x, model=unigram(drop_unk=True)),
        "xlmr-strip-first": changed(x, normalizer=norms({"type": "Strip", "strip_left": True, "strip_right": True}, x and base(x)["normalizer"]),
                                    pre_tokenizer={**METASPACE, "prepend_scheme": "first"}),
        "xlmr-albert": changed(x, normalizer=norms(rep("``", '"', False), rep("''", '"', False), t("NFKD"), t("StripAccents"), t("Lowercase"),
                                                   base(x)["normalizer"]["normalizers"][0], rep(" {2,}", " "))),
        "xlmr-deberta": changed(x, normalizer=norms({"type": "Strip", "strip_left": True, "strip_right": True}, base(x)["normalizer"]["normalizers"][0],
                                                    rep(" {2,}", " ")), pre_tokenizer=pres(t("Punctuation"), METASPACE),
                                post_processor=template("<s> $A </s>", "<s> $A </s> $B:1 </s>:1", {"<s>": [0], "</s>": [2]})),
        "xlmr-no-norm": changed(x, normalizer=None, post_processor=None),
    }
    for b_ in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for inv in (False, True):
            out[f"split-{b_}-{inv}"] = changed(b, pre_tokenizer=split(r"\s+|[,.]", b_, inv))
        out[f"split-punct-{b_}"] = changed(b, pre_tokenizer={"type": "Punctuation", "behavior": b_})
        out[f"split-literal-{b_}"] = changed(b, pre_tokenizer=split("e.", b_, False, True))
        out[f"split-empty-{b_}"] = changed(b, pre_tokenizer=split(r"x*", b_))
    return out


def variations(tmp):
    out = {}
    for name, j in variation_files().items():
        path = os.path.join(tmp, name + ".json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(j, f)
        out[name] = path
    return out
