#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/encoder/pooling: stacks of sentence-transformers modules, and what sentence-transformers makes of
random token embeddings with them; SPLADE pooling of the logits in tests/data/golden/random/bert-fillmask.json."""

import json
import os
import shutil

import torch
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling
from sentence_transformers.sparse_encoder.modules import SpladePooling

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
OUT = os.path.join(DATA, "encoder", "pooling")
HIDDEN = 32
LENGTHS = [1, 2, 9, 23]
SKIP = [0, 1, 4, 5]  # tokens of a prompt at the begin


def numbers(t):
    return [float(f"{x:.7g}") for x in t.flatten().tolist()]


def save(name, modules):
    folder = os.path.join(OUT, name)
    entries = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}]
    for i, m in enumerate(modules, 1):
        path = f"{i}_{type(m).__name__}"
        os.makedirs(os.path.join(folder, path))
        m.save(os.path.join(folder, path))
        entries.append({"idx": i, "name": str(i), "path": path, "type": f"{type(m).__module__}.{type(m).__name__}"})
    json.dump(entries, open(os.path.join(folder, "modules.json"), "w"))
    json.dump({"model_type": "bert", "hidden_size": HIDDEN, "num_attention_heads": 4, "architectures": ["BertModel"]},
              open(os.path.join(folder, "config.json"), "w"))


@torch.no_grad()
def answers(modules, tokens, skips):
    out = []
    for t, skip in zip(tokens, skips):
        features = {"token_embeddings": t[None], "attention_mask": torch.ones(1, len(t), dtype=torch.int64)}
        if skip:
            features["prompt_length"] = skip
        for m in modules:
            features = m(features)
        out.append(numbers(features["sentence_embedding"]))
    return out


def main():
    torch.manual_seed(7)
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    every = ["lasttoken", "mean", "cls", "weightedmean", "max", "mean_sqrt_len_tokens"]
    norm = LayerNorm(2 * HIDDEN)
    torch.nn.init.normal_(norm.norm.weight)
    torch.nn.init.normal_(norm.norm.bias)
    stacks = {mode: [Pooling(HIDDEN, mode)] for mode in every}
    stacks["all"] = [Pooling(HIDDEN, every)]
    stacks["dense"] = [Pooling(HIDDEN, "mean"), Dense(HIDDEN, 12), Normalize()]
    stacks["dense-residual"] = [Pooling(HIDDEN, ["cls", "max"]), norm,
                                Dense(2 * HIDDEN, 2 * HIDDEN, activation_function=torch.nn.ReLU(), use_residual=True),
                                Dense(2 * HIDDEN, 10, bias=False, activation_function=torch.nn.Identity(), use_residual=True)]
    tokens = [torch.randn(n, HIDDEN) for n in LENGTHS]
    golden = {"lengths": LENGTHS, "skip": SKIP, "tokens": numbers(torch.cat(tokens)), "stacks": {}}
    for name, modules in stacks.items():
        save(name, modules)
        golden["stacks"][name] = {"plain": answers(modules, tokens, [0] * len(LENGTHS))}
        modules[0].include_prompt = False
        golden["stacks"][name]["skip"] = answers(modules, tokens, SKIP)
    cases = json.load(open(os.path.join(DATA, "golden/random/bert-fillmask.json")))["cases"][:2]
    golden["splade"] = []
    for strategy in ("max", "sum"):
        for act in ("relu", "log1p_relu"):
            pool = SpladePooling(pooling_strategy=strategy, activation_function=act)
            rows = []
            for c in cases:
                logits = torch.tensor(c["logits"]["data"]).reshape(c["logits"]["shape"])[None]
                rows.append(numbers(pool({"token_embeddings": logits, "attention_mask": torch.ones(logits.shape[:2])})["sentence_embedding"]))
            golden["splade"].append({"strategy": strategy, "activation": act, "embeddings": rows})
    json.dump(golden, open(os.path.join(OUT, "golden.json"), "w"))


main()
