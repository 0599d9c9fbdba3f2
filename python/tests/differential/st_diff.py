#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""RKSentenceTransformer and RKCrossEncoder against sentence-transformers 5 or 6, in an environment that has it.

usage: st_diff.py MODEL_DIRECTORY...   (directories of models; --pairs N FORTUNES for the ranking of real sentence pairs)

For each model: encode with every legal combination of arguments, or predict and rank, and misuse; both must give the same kinds,
shapes, dtypes and values, and exceptions of the same kind. Prints a line per model and ends with 1 if anything differs.
Models saved by sentence-transformers 6 are rewritten for 5 in a temporary directory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

TOP = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(TOP / "python"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
warnings.simplefilter("ignore")

import numpy as np
import torch

torch.set_num_threads(1)  # tiny models: threads would only wait for each other

import sentence_transformers as theirs

import odd_inputs
import rktransformers as ours

GENERATION = int(theirs.__version__.split(".")[0])
TEXTS = [
    "There is rain and snow today.",
    "The bank gave a loan.",
    "What do you know about cat or dog?",
    "a",
    "",
    "Ünïcödé, ßtraße & naïve: 東京 is 12 km² away!",
    "The dog runs over there and then it runs back again, as dogs do when they are told to stay.",
    "word " * 90,
]
ABSOLUTE, RELATIVE = 1e-5, 1e-4  # of unit vectors; of the largest value else


class Different(Exception):
    pass


def shape_of(value: Any) -> str:
    return f"{type(value).__name__}{tuple(value.shape)}:{value.dtype}".replace("torch.", "")


def compare(a: Any, b: Any, where: str, worst: List[float], padding: Any = None) -> None:
    """Raises Different unless ours (b) is like theirs (a). padding: rows of token embeddings that are no tokens."""
    if isinstance(a, dict) and isinstance(b, dict) or type(a).__name__ == "BatchEncoding":
        if set(a) != set(b):
            raise Different(f"{where}: keys {sorted(a)}, ours {sorted(b)}")
        mask = np.asarray(a["attention_mask"]).astype(bool) if "attention_mask" in a else None
        for key in a:
            compare(a[key], b[key], f"{where}[{key!r}]", worst, mask if key == "token_embeddings" else None)
        return
    if type(a) is not type(b):
        raise Different(f"{where}: {type(a).__name__}, ours {type(b).__name__}")
    if isinstance(a, list):
        if len(a) != len(b):
            raise Different(f"{where}: {len(a)} items, ours {len(b)}")
        for i, (x, y) in enumerate(zip(a, b)):
            compare(x, y, f"{where}[{i}]", worst)
        return
    if isinstance(a, (str, int, bool)) or a is None:
        if a != b:
            raise Different(f"{where}: {a!r}, ours {b!r}")
        return
    if isinstance(a, float):
        a, b = np.float64(a), np.float64(b)
    if shape_of(a) != shape_of(b):
        raise Different(f"{where}: {shape_of(a)}, ours {shape_of(b)}")
    values(np.asarray(a), np.asarray(b), where, worst, padding)


def values(a: Any, b: Any, where: str, worst: List[float], padding: Any) -> None:
    if not a.size:
        return
    if padding is not None:
        a, b = a[padding], b[padding]
    if a.dtype.kind in "iu" and a.dtype.itemsize > 1:
        if not np.array_equal(a, b):
            raise Different(f"{where}: other integers")
        return
    if a.dtype.kind in "iu":  # levels and bits of values at a border may fall to either side
        if a.ndim and "binary" in where:
            unlike = np.unpackbits((a ^ b).view(np.uint8)).mean()
        else:
            unlike = np.mean(
                np.minimum(np.abs(a.astype(int) - b.astype(int)), 256 - np.abs(a.astype(int) - b.astype(int))) > 1
            )
        if unlike > 0.002:
            raise Different(f"{where}: {unlike:.1%} of levels or bits differ")
        return
    scale = max(1.0, float(np.abs(a).max()))
    error = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()) / scale
    worst[0] = max(worst[0], error)
    if not error <= (ABSOLUTE if scale == 1.0 else RELATIVE):
        raise Different(f"{where}: values differ by {error:.1e} of {scale:.3g}")


def outcome(call: Callable[[], Any]) -> Tuple[Any, Optional[BaseException]]:
    try:
        return call(), None
    except Exception as error:
        return None, error


class Check:
    def __init__(self, name: str) -> None:
        self.name, self.n, self.errors, self.worst = name, 0, [], [0.0]  # type: ignore[var-annotated]

    def both(self, a: Callable[[], Any], b: Callable[[], Any], where: str) -> None:
        self.n += 1
        x, wrong = outcome(a)
        y, ours_wrong = outcome(b)
        if wrong is not None or ours_wrong is not None:
            same = wrong is not None and ours_wrong is not None and isinstance(ours_wrong, type(wrong))
            if not same:
                self.errors.append(f"{where}: {wrong!r}, ours {ours_wrong!r}"[:300])
            return
        try:
            compare(x, y, where, self.worst)
        except Different as error:
            self.errors.append(str(error)[:300])

    def report(self, seconds: float) -> bool:
        print(
            f"{self.name:24s} {self.n:5d} calls  worst {self.worst[0]:.1e}  {len(self.errors)} differ  {seconds:.0f} s",
            flush=True,
        )
        for error in self.errors[:12]:
            print("    " + error)
        return not self.errors


def combinations() -> Iterator[Dict[str, Any]]:
    """Every legal combination of what changes the answer of encode; the rest is varied along with it."""
    axes: Dict[str, List[Any]] = {
        "output_value": ["sentence_embedding", "token_embeddings", None],
        "precision": ["float32", "int8", "uint8", "binary", "ubinary"],
        "convert_to_numpy": [True, False],
        "convert_to_tensor": [False, True],
        "normalize_embeddings": [False, True],
        "truncate_dim": [None, 16],
        "prompt": [None, "find: "],
        "batch_size": [32, 3],
    }
    for values in itertools.product(*axes.values()):
        options = dict(zip(axes, values))
        if options["output_value"] is None and options["precision"] != "float32":
            continue  # misuse: see below
        if options["batch_size"] != 32 and options["output_value"] is not None:
            continue  # seen in the padding only
        if (
            GENERATION == 5
            and options["output_value"]
            and options["precision"] != "float32"
            and options["output_value"] != "sentence_embedding"
        ):
            continue  # 5 fails on lists of matrices
        yield options


def check_encode(check: Check, a: Any, b: Any, texts: List[str]) -> None:
    for options in combinations():
        for inputs, what in ((texts, "list"), (texts[0], "one")):
            if (
                what == "one"
                and "int8" in options["precision"]
                and (GENERATION > 5 or options["output_value"] == "sentence_embedding")
            ):
                if GENERATION == 5:
                    continue  # a range of one value: 5 divides by zero, and what int8 makes of it is the processor's choice
            shown = {key: value for key, value in options.items() if value not in (None, False, "float32", 32)}
            check.both(lambda: a.encode(inputs, **options), lambda: b.encode(inputs, **options), f"{what} {shown}")


def check_encode_calls(check: Check, a: Any, b: Any, texts: List[str]) -> None:
    pairs = [("a cat", "the dog"), ("The bank gave a loan.", "There is rain.")]
    calls = (
        "m.encode([])",
        "m.encode([], convert_to_tensor=True)",
        "m.encode([], convert_to_numpy=False)",
        "m.encode([], precision='int8')",
        "m.encode([], output_value=None)",
        "m.encode([], output_value='token_embeddings')",
        "m.encode(tuple(t))",
        "m.encode(np.array(t))",
        "m.encode(pairs)",
        "m.encode([list(p) for p in pairs])",
        "m.encode(t, precision=None)",
        "m.encode(t, 'query')",
        "m.encode(t, None, 'x ')",
        "m.encode(t, None, None, 4, False, 'sentence_embedding', 'float32', True, False, 'cpu', True)",
        "m.encode(t, prompt_name='query', prompt='y ')",
        "m.encode_query(t)",
        "m.encode_document(t)",
        "m.encode_query(t[0], normalize_embeddings=True)",
        "m.encode_document(t, convert_to_tensor=True, truncate_dim=8)",
        "m.encode(t, task='x')",
        "m.encode(t, truncate_dim=1000)",
        "m.encode(t, truncate_dim=0)",
        "m.encode(t, truncate_dim=-3)",
        "m.encode(t, device='cpu')",
        "m.encode(t, device=torch.device('cpu'))",
        "m.encode(t, chunk_size=0)",
        "m.similarity(m.encode(t), m.encode(t[:3]))",
        "m.similarity(m.encode(t[0]), m.encode(t))",
        "m.similarity_pairwise(m.encode(t), m.encode(t[::-1]))",
        "m.similarity([[1.0, 2.0]], [[1.0, 3.0]])",
        "m.similarity_fn_name",
        "m.max_seq_length",
        "m.get_max_seq_length()",
        "m.get_sentence_embedding_dimension()",
        "m.truncate_dim",
        "m.prompts",
        "m.default_prompt_name",
        "m.get_model_kwargs()",
        "len(m)",
        "str(m.device)",
        "str(m.dtype)",
        "dict(m.tokenize(t))",
        "dict(m.tokenize(pairs))",
        "[type(x).__name__ for x in m]",
        # misuse
        "m.encode(5)",
        "m.encode([1, 2])",
        "m.encode(None)",
        "m.encode([None])",
        "m.encode(b'x')",
        "m.encode(iter(t))",
        "m.encode(set(t))",
        "m.encode(t, batch_size=0)",
        "m.encode(t, batch_size='a')",
        "m.encode(t, precision='x')",
        "m.encode(t, precision='binary', output_value=None)",
        "m.encode(t, output_value='x')",
        "m.encode(t, prompt_name='nope')",
        "m.encode(t, prompt=5)",
        "m.encode(t, bogus=1)",
        "m.encode(t, truncate_dim='a')",
        "m.encode(t, device='bogus')",
        "m.encode(t, device=[])",
        "m.encode()",
        "setattr(m, 'similarity_fn_name', 'bogus')",
    )
    six = ("m.encode(inputs=t)", "m.encode([('a', 'b', 'c')])", "m.get_embedding_dimension()", "m.encode(['a', ('b', 'c')])", "m.encode(pairs, prompt='x ')",
           "m.encode(t, batch_size=-1)", "m.encode(t, processing_kwargs={'text': {'max_length': 5}})", "m.modalities",
           "m.is_singular_input('a')", "m.encode([{'text': 'a'}])", "m.encode('a', precision='int8')")  # fmt: skip
    five = ("m.encode(sentences=t)", "m.encode(pairs, prompt='x ')", "m.encode(t, batch_size=0)")
    for call in (*calls, *(six if GENERATION > 5 else five)):
        code = compile(call, "call", "eval")
        names = {"t": texts, "pairs": pairs, "np": np, "torch": torch}
        check.both(lambda: eval(code, {**names, "m": a}), lambda: eval(code, {**names, "m": b}), call)
    for name in ("dot", "euclidean", "manhattan", "cosine"):
        a.similarity_fn_name = b.similarity_fn_name = name
        x, y = a.encode(texts[:5]), a.encode(texts[5:])
        check.both(lambda: a.similarity(x, y), lambda: b.similarity(x, y), f"similarity {name}")
        check.both(
            lambda: a.similarity_pairwise(x[:3], y[:3]), lambda: b.similarity_pairwise(x[:3], y[:3]), f"pairwise {name}"
        )
    for n in (3, 5, 64, 17):
        a.max_seq_length = b.max_seq_length = n
        check.both(lambda: a.encode(texts), lambda: b.encode(texts), f"max_seq_length {n}")
    for include in (False, True):
        a.set_pooling_include_prompt(include)
        b.set_pooling_include_prompt(include)
        for shown in ({"output_value": "sentence_embedding"}, {"output_value": None}):
            check.both(lambda: a.encode(texts[:4], prompt="find: ", **shown), lambda: b.encode(texts[:4], prompt="find: ", **shown), f"include_prompt {include} {shown}")  # fmt: skip


def check_pool(check: Check, a: Any, b: Any, texts: List[str]) -> None:
    """Their pool starts processes: one model is enough."""
    x, y = a.start_multi_process_pool(["cpu", "cpu"]), b.start_multi_process_pool(["cpu", "cpu"])
    for options in ({}, {"precision": "int8", "chunk_size": 3}, {"convert_to_tensor": True}, {"normalize_embeddings": True, "prompt": "x "}, {"output_value": "token_embeddings"}, {"chunk_size": 0}):  # fmt: skip
        check.both(
            lambda: a.encode(texts, pool=x, **options), lambda: b.encode(texts, pool=y, **options), f"pool {options}"
        )
    a.stop_multi_process_pool(x)
    b.stop_multi_process_pool(y)


def check_predict(check: Check, a: Any, b: Any, texts: List[str]) -> None:
    pairs = list(zip(texts, texts[1:] + texts[:1]))
    for values in itertools.product(
        [True, False], [False, True], [False, True], [32, 2], [None, torch.nn.Identity(), torch.nn.Tanh()]
    ):
        names = ("convert_to_numpy", "convert_to_tensor", "apply_softmax", "batch_size", "activation_fn")
        options = dict(zip(names, values))
        if options["activation_fn"] is None:
            a.set_activation_fn(None) if GENERATION == 5 else None  # 5 keeps that of the call before
        for inputs, what in ((pairs, "list"), (pairs[0], "one"), ([list(pair) for pair in pairs], "lists")):
            check.both(lambda: a.predict(inputs, **options), lambda: b.predict(inputs, **options), f"{what} {options}")
    a.set_activation_fn(None) if GENERATION == 5 else None
    calls = [
        "m.predict([])",
        "m.predict([], convert_to_tensor=True)",
        "m.predict([], convert_to_numpy=False)",
        "m.predict(p, activation_fct=torch.nn.Identity())" if GENERATION > 5 else "m.num_labels",
        "m.predict(p, num_workers=0)",
        "m.num_labels",
        "m.max_length",
        "str(m.device)",
        "m.rank(t[0], t)",
        "m.rank(t[0], t, top_k=2, return_documents=True)",
        "m.rank(t[0], t, 3, True)",
        "m.rank(t[0], t, top_k=0)",
        "m.rank(t[0], [])",
        "m.rank(t[0], t, apply_softmax=True)",
        "m.rank(t[0], t, convert_to_tensor=True)",
        # misuse
        "m.predict(5)",
        "m.predict(None)",
        "m.predict([1, 2])",
        "m.predict([None])",
        "m.predict(['a', 'b', 'c'])",
        "m.predict([('a', 'b', 'c')])",
        "m.predict([('a',)])",
        "m.predict(p, batch_size=0)",
        "m.rank(5, ['x'])",
    ]
    calls += ["m.predict(inputs=p)", "m.predict(np.array(p))", "m.predict(p, prompt='x ')", "m.predict(p, prompt_name='x')", "m.predict(p, None, None, 4)", "m.predict('abc')"] if GENERATION > 5 else ["m.predict(sentences=p)", "m.predict(p, 4)", "m.predict(p, 4, False, None, True)", "m.rank(t[0], t, 3, True, 4)", "m.predict(p, bogus=1)"]  # fmt: skip
    for call in calls:
        code = compile(call, "call", "eval")
        names = {"t": texts, "p": pairs, "np": np, "torch": torch}
        check.both(lambda: eval(code, {**names, "m": a}), lambda: eval(code, {**names, "m": b}), call)


def check_odd(check: Check, a: Any, b: Any, rerank: bool) -> None:
    """odd_inputs.py, on models that nothing has been set on."""
    try:
        import pandas
    except ImportError:
        pandas = None
    known = {**odd_inputs.KNOWN, **(odd_inputs.KNOWN_5 if GENERATION == 5 else odd_inputs.KNOWN_6)}
    for call in (odd_inputs.PREDICT if rerank else odd_inputs.ENCODE).strip().splitlines():
        if call in known or (pandas is None and "pd." in call):
            continue
        code = compile(call, "call", "eval")

        def names(model: Any) -> Dict[str, Any]:
            pairs = [("a cat", "the dog"), ("The bank gave a loan.", "There is rain.")]
            given = {"t": list(TEXTS), "p": list(zip(TEXTS, TEXTS[1:] + TEXTS[:1])), "pairs": pairs}
            return {**given, "m": model, "np": np, "torch": torch, "pd": pandas}

        if rerank and GENERATION == 5 and "set_activation" not in call:
            a.set_activation_fn(None)  # it keeps that of the call before
        check.both(lambda: eval(code, names(a)), lambda: eval(code, names(b)), call)


# ---------------------------------------------------------------- models


def for_five(source: Path, folder: Path) -> Path:
    """A copy that sentence-transformers 5 and transformers 4 open: module names, pooling and tokenizer class of old."""
    copy = folder / source.name
    shutil.copytree(source, copy)

    def change(file: str, edit: Callable[[Any], Any]) -> None:
        if (copy / file).exists():
            (copy / file).write_text(json.dumps(edit(json.loads((copy / file).read_text("utf-8")))), "utf-8")

    def pooling(config: Any) -> Any:
        if "pooling_mode" not in config:
            return config
        modes = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
                 "weightedmean": "weightedmean_tokens", "lasttoken": "lasttoken"}  # fmt: skip
        old = {f"pooling_mode_{name}": mode == config["pooling_mode"] for mode, name in modes.items()}
        return {
            "word_embedding_dimension": config["embedding_dimension"],
            "include_prompt": config["include_prompt"],
            **old,
        }

    change(
        "modules.json",
        lambda x: [
            {**m, "type": re.sub(r"sentence_transformers\..*\.", "sentence_transformers.models.", m["type"])} for m in x
        ],
    )
    change("1_Pooling/config.json", pooling)
    tokenizer = (
        json.loads((copy / "tokenizer_config.json").read_text("utf-8"))
        if (copy / "tokenizer_config.json").exists()
        else {}
    )
    if (copy / "sentence_bert_config.json").exists():
        change(
            "sentence_bert_config.json",
            lambda x: x if "max_seq_length" in x else {"max_seq_length": tokenizer.get("model_max_length")},
        )
    def tokenizer_class(config: Any) -> Any:
        if config.get("tokenizer_class") != "TokenizersBackend":
            return config
        names = {}
        if json.loads((copy / "config.json").read_text("utf-8"))["model_type"] == "distilbert":
            names = {"model_input_names": ["input_ids", "attention_mask"]}  # 4 gives the model all there are, and it fails
        return {**config, "tokenizer_class": "PreTrainedTokenizerFast", **names}

    change("tokenizer_config.json", tokenizer_class)
    return copy


def check_model(path: Path, pool: bool) -> bool:
    config = json.loads((path / "config.json").read_text("utf-8"))
    architecture = (config.get("architectures") or [""])[0]
    rerank = architecture.endswith("ForSequenceClassification")
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if GENERATION == 5:
            path = for_five(path, Path(folder))
        check = Check(path.name)
        try:
            a: Any = (theirs.CrossEncoder if rerank else theirs.SentenceTransformer)(str(path), device="cpu")
        except Exception as error:
            print(f"{path.name:24s} sentence-transformers cannot open it: {str(error)[:120]!r}")
            return True
        b: Any = (ours.RKCrossEncoder if rerank else ours.RKSentenceTransformer)(str(path))
        try:
            (a.predict([("a", "b")]) if rerank else a.encode(["a"]))
        except Exception as error:
            print(f"{path.name:24s} sentence-transformers cannot run it: {str(error)[:120]!r}")
            return True
        if rerank:
            check_predict(check, a, b, TEXTS)
        else:
            check_encode(check, a, b, TEXTS)
            if pool:
                check_pool(check, a, b, TEXTS)
            check_encode_calls(check, a, b, TEXTS)
        b.close()
        a = (theirs.CrossEncoder if rerank else theirs.SentenceTransformer)(str(path), device="cpu")
        b = (ours.RKCrossEncoder if rerank else ours.RKSentenceTransformer)(str(path))
        check_odd(check, a, b, rerank)
        b.close()
    return check.report(time.monotonic() - begin)


# ---------------------------------------------------------------- ranking


def sentences(folder: Path) -> List[str]:
    out: List[str] = []
    for file in sorted(folder.iterdir()):
        if file.suffix or not file.is_file():
            continue
        for entry in file.read_text("utf-8", "replace").split("\n%\n"):
            text = " ".join(entry.split())
            if 20 <= len(text) <= 900:
                out.append(text)
    return out


def check_ranking(path: Path, n: int, folder: Path) -> bool:
    """Spearman's correlation between the similarities of n real sentence pairs."""
    from scipy.stats import spearmanr

    every = sentences(folder)
    picks = np.random.default_rng(6).permutation(len(every))[: 2 * n]
    first, second = [every[i] for i in picks[:n]], [every[i] for i in picks[n:]]
    with tempfile.TemporaryDirectory() as temporary:
        source = for_five(path, Path(temporary)) if GENERATION == 5 else path
        a, b = theirs.SentenceTransformer(str(source), device="cpu"), ours.RKSentenceTransformer(str(source))
        ea, eb = [m.encode(first + second) for m in (a, b)]
    x, y = [(e[:n] * e[n:]).sum(axis=1) for e in (ea, eb)]
    rho, worst = float(spearmanr(x, y)[0]), float(np.abs(ea - eb).max())
    print(f"{path.name}: {n} pairs of {len(every)} texts, Spearman {rho:.7f}, embeddings differ by {worst:.1e} at most")
    return rho >= 0.9999 and worst <= ABSOLUTE


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument(
        "--pairs", nargs=2, metavar=("N", "FORTUNES"), help="ranking of N pairs from a folder of fortunes"
    )
    parser.add_argument("--pool", action="store_true", help="pools too: their processes take a while to start")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"sentence-transformers {theirs.__version__}, torch {torch.__version__}")
    good = True
    for path in arguments.models:
        if arguments.pairs:
            good &= check_ranking(path, int(arguments.pairs[0]), Path(arguments.pairs[1]))
        else:
            good &= check_model(path.resolve(), arguments.pool)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
