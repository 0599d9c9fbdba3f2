#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every task of the command against the transformers pipelines: the same texts, the same options, the same fields.

Run it with the Python of an environment that has torch and transformers 4.57 (5.x has no question-answering pipeline; the other
tasks work with either):

    python tests/differential/pipelines_diff.py build/rkformer [--texts N]

Prints one line per model and option with the largest difference of a score; exits 1 if a field differs or a score is off by more
than 1e-4.
"""

import argparse
import json
import random
import subprocess
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
DATA = Path(__file__).resolve().parent.parent / "data" / "models"
SCORE = 1e-4
problems = 0

NAMES = ["Angela Merkel", "Li Wei", "Marie Curie", "Ana", "O'Brien"]
PLACES = ["Paris", "Zürich", "Rome", "New York", "København"]
PARTS = ["visited", "lives in", "wrote to", "the bank gave a loan", "there is rain, wind and snow", "😀", "a-b", "cat", "dog", "  ", "."]


def texts(n, seed=7):
    rng = random.Random(seed)
    out = ["", " ", "cat", "Angela Merkel visited Paris.", "Li Wei and Marie Curie live in New York and Zürich, not in Rome."]
    while len(out) < n:
        words = [rng.choice(rng.choice([NAMES, PLACES, PARTS])) for _ in range(rng.randint(1, 14))]
        out.append(" ".join(words) + rng.choice(["", ".", "!", " ?"]))
    return out


def run(binary, args, lines=None):
    text = None if lines is None else "".join(json.dumps(x) + "\n" for x in lines)
    extra = [] if lines is None else ["--jsonl", "--input", "-"]
    p = subprocess.run([binary, *args, *extra], input=text, capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError(f"{' '.join(args)}: {p.stderr.strip()}")
    return [json.loads(x) for x in p.stdout.splitlines()]


def report(name, worst, wrong, example=""):
    global problems
    bad = wrong or worst > SCORE
    problems += bool(bad)
    print(f"{'DIFFERS' if bad else 'ok':8}{name:60} score {worst:.2e}  fields that differ: {wrong} {example}", flush=True)


def compare(ours, theirs, fields, rename=None):
    """Lists of dicts: (largest difference of scores, number of differing fields, an example)."""
    worst, wrong, example = 0.0, 0, ""
    rename = rename or {}
    if len(ours) != len(theirs):
        return 0.0, 1, f"{ours} | {theirs}"
    for a, b in zip(ours, theirs):
        worst = max(worst, abs(a["score"] - float(b["score"])))
        for f in fields:
            if a.get(rename.get(f, f)) != b.get(f):
                wrong += 1
                example = example or f"{f}: {a.get(f)!r} | {b.get(f)!r}"
    return worst, wrong, example


def total(results):
    worst, wrong, example = 0.0, 0, ""
    for w, n, e in results:
        worst, wrong, example = max(worst, w), wrong + n, example or e
    return worst, wrong, example


def fitting(pipe, inputs):
    """Texts that the model takes whole: these pipelines do not truncate."""
    most = min(pipe.tokenizer.model_max_length, 60)
    return [t for t in inputs if len(pipe.tokenizer(t)["input_ids"]) <= most]


def ner(binary, pipeline, model, n):
    inputs = [t for t in texts(n) if t.strip()]
    pipe = pipeline("token-classification", str(DATA / model))
    for how in ["none", "simple", "first", "average", "max"]:
        ours = run(binary, ["ner", "-m", str(DATA / model), "--aggregation", how], inputs)
        theirs = [pipe(t, aggregation_strategy=how) for t in inputs]
        fields = ["entity", "index", "word", "start", "end"] if how == "none" else ["entity_group", "word", "start", "end"]
        report(f"ner {model} {how}", *total(compare(a["entities"], b, fields) for a, b in zip(ours, theirs)))


def classify(binary, pipeline, model, n):
    pipe = pipeline("text-classification", str(DATA / model))
    inputs = fitting(pipe, texts(n))
    ours = run(binary, ["classify", "-m", str(DATA / model)], inputs)
    theirs = [pipe(t, top_k=None) for t in inputs]
    report(f"classify {model}", *total(compare(a["labels"], b, ["label"]) for a, b in zip(ours, theirs)))


def zero_shot(binary, pipeline, model, n):
    inputs = [t for t in texts(n) if t.strip()]
    labels = ["weather", "finance", "animals and more"]
    pipe = pipeline("zero-shot-classification", str(DATA / model))
    for multi in [False, True]:
        args = ["classify", "-m", str(DATA / model), "--candidate-labels", ",".join(labels)] + (["--multi-label"] if multi else [])
        ours = run(binary, args, inputs)
        theirs = [pipe(t, labels, multi_label=multi) for t in inputs]
        theirs = [[{"label": x, "score": s} for x, s in zip(b["labels"], b["scores"])] for b in theirs]
        report(f"zero-shot {model} multi_label={multi}", *total(compare(a["labels"], b, ["label"]) for a, b in zip(ours, theirs)))


def fill_mask(binary, pipeline, model, n):
    pipe = pipeline("fill-mask", str(DATA / model))
    mask = pipe.tokenizer.mask_token
    inputs = fitting(pipe, [t + " " + mask for t in texts(n)] + [f"Angela Merkel visited {mask}."])
    ours = run(binary, ["fill-mask", "-m", str(DATA / model)], inputs)
    theirs = [pipe(t) for t in inputs]
    fields = ["token", "token_str", "sequence"]
    report(f"fill-mask {model}", *total(compare(a["predictions"], b, fields) for a, b in zip(ours, theirs)))


def qa(binary, pipeline, model, n):
    pipe = pipeline("question-answering", str(DATA / model))
    contexts = [t for t in texts(n) if len(t.split()) > 1]
    contexts += [" ".join(contexts[i : i + 12]) for i in range(0, len(contexts) - 12, 6)]  # several windows
    for top_k, impossible in [(1, False), (3, False), (3, True)]:
        results = []
        for c in contexts:
            args = ["qa", "-m", str(DATA / model), "--question", "Where does Li Wei live?", "--context", c, "--top-k", str(top_k)]
            ours = run(binary, args + (["--impossible-answer"] if impossible else []))
            theirs = pipe(question="Where does Li Wei live?", context=c, top_k=top_k, handle_impossible_answer=impossible)
            theirs = theirs if isinstance(theirs, list) else [theirs]
            results.append(compare(ours, theirs, ["answer", "start", "end"]))
        report(f"qa {model} top_k={top_k} impossible={impossible}", *total(results))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--texts", type=int, default=60)
    args = parser.parse_args()
    import transformers

    def pipeline(task, path):  # the generic class: 4.x does not know the class name that 5.x writes
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(path)
        config = transformers.AutoConfig.from_pretrained(path)
        if getattr(config, "type_vocab_size", 0) == 0:  # DistilBERT's forward() does not take them
            tokenizer.model_input_names = ["input_ids", "attention_mask"]
        return transformers.pipeline(task, path, tokenizer=tokenizer, device="cpu")

    transformers.utils.logging.set_verbosity_error()
    print("transformers", transformers.__version__)
    jobs = [
        (ner, "trained/distilbert-ner"),
        (ner, "random/electra-ner"),
        (classify, "trained/roberta-sentiment"),
        (classify, "random/bert-multilabel"),
        (classify, "random/distilbert-cls3"),
        (classify, "trained/bert-rerank"),
        (zero_shot, "random/distilbert-cls3"),
        (fill_mask, "trained/roberta-fillmask"),
        (fill_mask, "random/bert-fillmask"),
        (qa, "trained/bert-qa"),
    ]
    for job, model in jobs:
        try:
            job(args.binary, pipeline, model, args.texts)
        except Exception as e:  # noqa: BLE001: one task that cannot run must not hide the others
            report(f"{job.__name__} {model}", 0.0, 1, str(e)[:300])
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
