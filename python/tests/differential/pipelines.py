# SPDX-License-Identifier: Apache-2.0
"""transformers' pipelines over RKModelFor... against the same pipelines over transformers' own models.

usage: python pipelines.py MODELS   (a folder with trained/ and random/; run it with transformers 4.57 and with 5)

Every pipeline of the task is called with every combination of its options that is legal, with one text, a list and a batch;
the answers must have the same fields in the same order, and numbers within 1e-4 of the largest. Wrong use must raise the same
kind of exception.
"""

import inspect
import itertools
import math
import os
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoTokenizer, PreTrainedTokenizerFast, pipeline  # noqa: E402

import rktransformers  # noqa: E402

torch.set_num_threads(1)
warnings.simplefilter("ignore")

TEXTS = [
    "There is rain and snow today.",
    "Angela Merkel visited Paris. Marie Curie lives in Oslo.",
    "The bank raised the interest on my loan.",
    "The cat was near the rabbit.",
    "é 日本 cat",
]
CLASSES = {
    "text-classification": ("RKModelForSequenceClassification", "AutoModelForSequenceClassification"),
    "token-classification": ("RKModelForTokenClassification", "AutoModelForTokenClassification"),
    "fill-mask": ("RKModelForMaskedLM", "AutoModelForMaskedLM"),
    "feature-extraction": ("RKModelForFeatureExtraction", "AutoModel"),
    "zero-shot-classification": ("RKModelForSequenceClassification", "AutoModelForSequenceClassification"),
    "question-answering": ("RKModelForQuestionAnswering", "AutoModelForQuestionAnswering"),
}
MODELS = {
    "text-classification": [
        "trained/roberta-sentiment",
        "trained/bert-rerank",
        "random/bert-multilabel",
        "random/distilbert-cls3",
        "random/xlmr-rerank",
    ],
    "token-classification": ["trained/distilbert-ner", "random/electra-ner"],
    "fill-mask": ["trained/roberta-fillmask", "random/bert-fillmask"],
    "feature-extraction": [
        "trained/bert-embed",
        "trained/mpnet-embed",
        "trained/xlmr-embed",
        "random/albert",
        "random/camembert",
        "random/deberta-v2",
        "random/distilbert",
        "random/electra",
        "random/modernbert",
        "random/roberta",
        "random/xlm-roberta",
    ],
    "zero-shot-classification": ["random/distilbert-cls3", "trained/roberta-sentiment"],
    "question-answering": ["trained/bert-qa"],
}


def options_of(task):
    """Every combination of the options of a task's call."""
    grids = {
        "text-classification": {"top_k": [1, 2, None], "function_to_apply": [None, "sigmoid", "softmax", "none"]},
        "token-classification": {
            "aggregation_strategy": ["none", "simple", "first", "average", "max"],
            "ignore_labels": [["O"], []],
        },
        "fill-mask": {"top_k": [1, 5], "targets": [None, [" the", " cat"]]},
        "feature-extraction": {"return_tensors": [False, True], "tokenize_kwargs": [None, {"truncation": True, "max_length": 6}]},
        "zero-shot-classification": {
            "multi_label": [False, True],
            "hypothesis_template": ["This example is {}.", "It is about {}"],
        },
        "question-answering": {
            "top_k": [1, 3],
            "handle_impossible_answer": [False, True],
            "max_answer_len": [15, 2],
            "doc_stride": [None, 8],
        },
    }
    grid = grids[task]
    for values in itertools.product(*grid.values()):
        options = {key: value for key, value in zip(grid, values) if value is not None or key == "top_k"}
        if options.get("doc_stride"):
            options["max_seq_len"] = 32
        if task == "zero-shot-classification":
            options["candidate_labels"] = ["weather", "money", "animals"]
        yield options


def inputs_of(task, tokenizer):
    if task == "fill-mask":
        return [f"Angela Merkel visited{tokenizer.mask_token}.", f"The {tokenizer.mask_token} was {tokenizer.mask_token} today."]
    if task == "question-answering":
        return [
            {"question": "Where does Li Wei live?", "context": "Li Wei lives in Paris. Marie Curie lives in Oslo."},
            {"question": "Who lives in Oslo?", "context": "Li Wei lives in Paris. " * 6 + "Marie Curie lives in Oslo."},
        ]
    return TEXTS


def tokenizer_of(path):
    """transformers 4 does not know the class that 5 writes."""
    import json

    try:
        return AutoTokenizer.from_pretrained(path)
    except ValueError:
        config = json.loads((path / "tokenizer_config.json").read_text())
        names = ("unk_token", "pad_token", "cls_token", "sep_token", "mask_token", "bos_token", "eos_token")
        known = {name: config[name] for name in (*names, "model_max_length", "model_input_names") if config.get(name)}
        return PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"), **known)


def difference(got, want, where=""):
    """The largest relative difference of two answers; raises where they are not of one shape."""
    if isinstance(want, dict):
        assert isinstance(got, dict) and list(got) == list(want), f"{where}: {list(got)} instead of {list(want)}"
        return max((difference(got[key], want[key], f"{where}.{key}") for key in want), default=0.0)
    if isinstance(want, torch.Tensor):
        assert isinstance(got, torch.Tensor) and got.shape == want.shape and got.dtype == want.dtype, where
        return float((got - want).abs().max() / max(1.0, float(want.abs().max()))) if want.numel() else 0.0
    if isinstance(want, (list, tuple)):
        assert type(got) is type(want) and len(got) == len(want), f"{where}: {got} instead of {want}"
        return max((difference(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(got, want))), default=0.0)
    if isinstance(want, str) or want is None or isinstance(want, int):
        assert got == want and type(got) is type(want), f"{where}: {got!r} instead of {want!r}"
        return 0.0
    assert type(got) is type(want), f"{where}: {type(got)} instead of {type(want)}"
    return abs(float(got) - float(want)) / max(1.0, abs(float(want))) if math.isfinite(float(want)) else 0.0


def call(pipe, *arguments, **options):
    """The answer, or the exception's class."""
    try:
        return pipe(*arguments, **options)
    except Exception as error:  # what is raised is what is compared
        return type(error)


def compare(task, path):
    ours_name, theirs_name = CLASSES[task]
    tokenizer = tokenizer_of(path)
    reference = getattr(transformers, theirs_name).from_pretrained(path).eval()
    if "token_type_ids" not in inspect.signature(reference.forward).parameters:  # as its own tokenizer class says
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    ours = pipeline(task, model=getattr(rktransformers, ours_name).from_pretrained(path), tokenizer=tokenizer)
    theirs = pipeline(task, model=reference, tokenizer=tokenizer, device="cpu")
    texts = inputs_of(task, tokenizer)
    worst, calls, failures, refused = 0.0, 0, [], 0
    for options in options_of(task):
        forms = [(texts[0], {}), (texts, {})]
        if task not in ("zero-shot-classification", "question-answering"):
            forms.append((texts, {"batch_size": len(texts)} if tokenizer.pad_token else {}))
        for given, extra in forms:
            if task == "feature-extraction" and extra:
                continue  # padding rows: transformers computes them, we leave them zero (docs/python.md)
            calls += 1
            got, want = call(ours, given, **options, **extra), call(theirs, given, **options, **extra)
            if isinstance(want, type):
                refused += 1
                if not (isinstance(got, type) and issubclass(got, want)):
                    failures.append(f"{options} {extra}: {got if isinstance(got, type) else 'an answer'} instead of {want}")
                continue
            try:
                assert not isinstance(got, type), f"{got} instead of an answer"
                worst = max(worst, difference(got, want))
            except AssertionError as error:
                failures.append(f"{options} {extra}: {error}")
    for wrong in (None, 5, {"nonsense": 1}):
        calls += 1
        options = next(iter(options_of(task)))
        got, want = call(ours, wrong, **options), call(theirs, wrong, **options)
        if isinstance(want, type) and got is not want:
            failures.append(f"{wrong!r}: {got} instead of {want}")
    return worst, calls, refused, failures


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root, failed, total = Path(sys.argv[1]), 0, 0
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    for task, models in MODELS.items():
        if task == "question-answering" and transformers.__version__ >= "5":
            continue
        for name in models:
            worst, calls, refused, failures = compare(task, root / name)
            total += calls
            bad = bool(failures) or worst > 1e-4
            failed += bad
            print(
                f"{'FAIL' if bad else 'ok  '} {task:25} {name:27} {calls:3} calls ({refused} refused by both), "
                f"largest difference {worst:.1e}",
                flush=True,
            )
            for failure in failures[:5]:
                print("     ", failure[:600])
    print(f"{total} calls, {failed} of the models differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
