#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/golden/command/*.json: what the reference implementations answer for whole commands.

    python3 make_goldens.py pipelines    with transformers 4.57 (the last one with question answering)
    python3 make_goldens.py embed        with sentence-transformers 6

The models are those of tests/data/models; nothing is downloaded."""
import json
import os
import pathlib
import shutil
import sys
import tempfile
import warnings

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
warnings.filterwarnings("ignore")
DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
TRAINED, RANDOM, OUT = DATA / "models" / "trained", DATA / "models" / "random", DATA / "golden" / "command"
TEXTS = [
    "Angela Merkel visited Paris.",
    "Li Wei lives in Oslo and works for Siemens.",
    "There is rain and snow today.",
    "",
    "Marie Curie, Zürich; 東京 😀 Ada Lovelace!",
    "Angela Merkel met Li Wei in London.",
]
LONG = " ".join(f"{name} lives in {city}." for name in ("Li Wei", "Marie Curie", "Angela Merkel", "Ada Lovelace")
                for city in ("Paris", "Oslo", "London", "Zürich"))


def clean(value):
    """NumPy numbers to Python's, floats to seven digits."""
    if isinstance(value, dict):
        return {k: clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return float(f"{value:.7g}") if isinstance(value, float) else value


def write(name, value):
    OUT.mkdir(exist_ok=True)
    value = clean(value)
    if isinstance(value, list):  # a line per case
        text = "[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in value) + "\n]\n"
    else:
        text = json.dumps(value, ensure_ascii=False) + "\n"
    (OUT / f"{name}.json").write_text(text)


def load(path, cls):
    from transformers import PreTrainedTokenizerFast

    config = json.loads((path / "tokenizer_config.json").read_text())
    names = [k for k in config if k.endswith("_token") and isinstance(config[k], str)]
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"), model_max_length=64,
                                        **{k: config[k] for k in names})
    model = cls.from_pretrained(path, attn_implementation="eager").eval()
    if model.config.model_type in ("distilbert", "roberta"):
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return {"model": model, "tokenizer": tokenizer}


def make_ner():
    import transformers as t

    loaded = load(TRAINED / "distilbert-ner", t.AutoModelForTokenClassification)
    cases = []
    for strategy in ("simple", "none", "first", "average", "max"):
        p = t.pipeline("token-classification", aggregation_strategy=strategy, **loaded)
        cases += [{"options": ["--aggregation", strategy], "text": text, "entities": p(text) if text else []} for text in TEXTS]
    for strategy in ("simple", "first", "average", "max"):
        p = t.pipeline("token-classification", aggregation_strategy=strategy, stride=16, **loaded)
        cases.append({"options": ["--aggregation", strategy, "--stride", "16"], "text": LONG, "entities": p(LONG)})
    write("ner", cases)


def make_qa():
    import transformers as t

    p = t.pipeline("question-answering", **load(TRAINED / "bert-qa", t.AutoModelForQuestionAnswering))
    contexts = ["Li Wei lives in Paris. Marie Curie lives in Oslo.", "Marie Curie lives in Zürich.", LONG]
    cases = []
    for context in contexts:
        for question in ("Where does Li Wei live?", "Where does Marie Curie live?"):
            for options, more in (
                ([], {}),
                (["--top-k", "3"], {"top_k": 3}),
                (["--max-answer-length", "1"], {"max_answer_len": 1}),
                (["--impossible-answer", "--top-k", "2"], {"handle_impossible_answer": True, "top_k": 2}),
            ):
                answers = p(question=question, context=context, **more)
                answers = answers if isinstance(answers, list) else [answers]
                cases.append({"options": options, "question": question, "context": context, "answers": answers})
    write("qa", cases)


def make_fill_mask():
    import transformers as t

    loaded = load(TRAINED / "roberta-fillmask", t.AutoModelForMaskedLM)
    p = t.pipeline("fill-mask", **loaded)
    cases = []
    for text in ("Angela Merkel visited<mask>.", "There is<mask> and<mask> today.", "Li Wei<mask> in Oslo."):
        cases.append({"options": [], "text": text, "predictions": p(text)})
        cases.append({"options": ["--top-k", "2"], "text": text, "predictions": p(text, top_k=2)})
    for targets in (["Paris", "Oslo"], [" Paris", " Oslo", " snow"]):
        cases.append({"options": ["--targets", ",".join(targets)], "text": "Angela Merkel visited<mask>.",
                      "predictions": p("Angela Merkel visited<mask>.", targets=targets)})
    write("fill_mask", cases)


def make_classify():
    import transformers as t

    cases = []
    for name in ("trained/roberta-sentiment", "random/bert-multilabel", "random/distilbert-cls3"):
        p = t.pipeline("text-classification", **load(DATA / "models" / name, t.AutoModelForSequenceClassification))
        pair = {"text": "There is rain.", "text_pair": "She likes wind."}
        for options, more in (([], {"top_k": None}), (["--scores", "sigmoid"], {"top_k": None, "function_to_apply": "sigmoid"}),
                              (["--scores", "softmax"], {"top_k": None, "function_to_apply": "softmax"}),
                              (["--raw-scores"], {"top_k": None, "function_to_apply": "none"})):
            cases += [{"model": name, "options": options, "text": text, "labels": p(text, **more)} for text in TEXTS[:3]]
            cases.append({"model": name, "options": options, **pair, "labels": p(pair, **more)})
    write("classify", cases)


def make_zero_shot():
    """distilbert-cls3 with the labels of a model for natural language inference."""
    import transformers as t

    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "nli"
        shutil.copytree(RANDOM / "distilbert-cls3", model)
        config = json.loads((model / "config.json").read_text())
        config["id2label"] = {"0": "contradiction", "1": "neutral", "2": "entailment"}
        config["label2id"] = {v: int(k) for k, v in config["id2label"].items()}
        (model / "config.json").write_text(json.dumps(config))
        p = t.pipeline("zero-shot-classification", **load(model, t.AutoModelForSequenceClassification))
        cases = []
        for options, more in (([], {}), (["--multi-label"], {"multi_label": True}),
                              (["--hypothesis-template", "It is about {}."], {"hypothesis_template": "It is about {}."})):
            for text in TEXTS[:3]:
                got = p(text, candidate_labels=["rain", "loan", "rabbit"], **more)
                cases.append({"options": options, "text": text, "labels": got["labels"], "scores": got["scores"]})
        write("zero_shot", cases)


def make_pipelines():
    make_ner()
    make_qa()
    make_fill_mask()
    make_classify()
    make_zero_shot()


def make_embed():
    import numpy as np
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import quantize_embeddings

    model = SentenceTransformer(str(TRAINED / "bert-embed"), device="cpu", model_kwargs={"attn_implementation": "eager"})
    texts = [t for t in TEXTS if t] + [LONG]

    def encode(**more):
        return model.encode(texts, batch_size=1, **more)

    cases = [
        {"options": [], "rows": encode()},
        {"options": ["--no-normalize"], "rows": encode(output_value="token_embeddings")},
        {"options": ["--truncate-dim", "16"], "rows": encode(truncate_dim=16)},
        {"options": ["--truncate-dim", "16", "--normalize"], "rows": encode(truncate_dim=16, normalize_embeddings=True)},
        {"options": ["--prompt", "query: "], "rows": encode(prompt="query: ")},
        {"options": ["--precision", "binary"], "rows": encode(precision="binary")},
        {"options": ["--precision", "ubinary"], "rows": encode(precision="ubinary")},
    ]
    cases[1]["rows"] = [row.mean(dim=0).numpy() for row in cases[1]["rows"]]  # of one text: nothing is padded
    for mode, pool in (("cls", lambda t: t[0]), ("max", lambda t: t.max(axis=0)), ("mean_sqrt_len_tokens", lambda t: t.sum(axis=0) / len(t) ** 0.5),
                       ("lasttoken", lambda t: t[-1]),
                       ("weightedmean", lambda t: (t * np.arange(1, len(t) + 1)[:, None]).sum(axis=0) / (len(t) * (len(t) + 1) / 2))):
        rows = [pool(row.numpy()) for row in encode(output_value="token_embeddings")]
        cases.append({"options": ["--pooling", mode, "--no-normalize"], "rows": rows})
    for precision in ("int8", "uint8"):
        cases.append({"options": ["--precision", precision], "rows": quantize_embeddings(encode(), precision)})
    for case in cases:
        case["rows"] = [[v.item() for v in row] for row in case["rows"]]
    write("embed", {"texts": texts, "cases": cases})


if __name__ == "__main__":
    {"pipelines": make_pipelines, "embed": make_embed}[sys.argv[1]]()
