#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models with other modules than those of the tests' data, for st_diff.py: poolings, dense layers, prompts, lengths.

usage: make_st_models.py TRANSFORMER FOLDER    (a small model's directory; written with the sentence-transformers that runs it)
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, List

import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer, models
from st_diff import for_five
from transformers import AutoConfig, AutoModel, AutoTokenizer

FIVE = sentence_transformers.__version__.startswith("5.")


def transformer(source: Path, **options: Any) -> Any:
    return models.Transformer(str(source), **options)


def save(folder: Path, name: str, modules: List[Any], **options: Any) -> None:
    SentenceTransformer(modules=modules, device="cpu", **options).save_pretrained(str(folder / name), create_model_card=False)
    print(name)


def pooled(source: Path, mode: Any, **options: Any) -> List[Any]:
    body = transformer(source)
    size = body.get_word_embedding_dimension() if FIVE else body.get_embedding_dimension()
    if FIVE and isinstance(mode, tuple):
        names = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "weightedmean": "weightedmean_tokens"}
        flags = {f"pooling_mode_{names.get(one, one)}": True for one in mode}
        return [body, models.Pooling(size, **{"pooling_mode_mean_tokens": False, **flags}, **options)]
    return [body, models.Pooling(size, pooling_mode=mode, **options)]


def main() -> int:
    folder = Path(sys.argv[2])
    torch.manual_seed(7)
    with tempfile.TemporaryDirectory() as temporary:
        write(for_five(Path(sys.argv[1]).resolve(), Path(temporary)) if FIVE else Path(sys.argv[1]), folder)
    return 0


def write(source: Path, folder: Path) -> None:
    for mode in ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"):
        save(folder, f"pool-{mode}", pooled(source, mode))
    save(folder, "pool-three", pooled(source, ("cls", "mean") if FIVE else ("cls", "max", "mean")))  # 5's max spoils cls
    save(folder, "pool-all-normalize", [*pooled(source, ("max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")), models.Normalize()])
    save(folder, "pool-two-sums", pooled(source, ("mean", "mean_sqrt_len_tokens")))
    save(folder, "no-prompt-pooling", pooled(source, "mean", include_prompt=False), prompts={"query": "find: ", "document": "", "long": "a longer prompt, in front: "}, default_prompt_name="query")  # fmt: skip
    for mode in ("weightedmean", "lasttoken", "cls", *(() if FIVE else ("max",))):  # 5's max spoils the tokens it leaves out
        save(folder, f"no-prompt-{mode}", pooled(source, mode, include_prompt=False), prompts={"query": "find: "})
    save(folder, "prompts", [*pooled(source, "mean"), models.Normalize()], prompts={"query": "query: ", "passage": "passage: "}, default_prompt_name="passage", similarity_fn_name="dot")  # fmt: skip
    save(folder, "euclidean", pooled(source, "mean"), similarity_fn_name="euclidean", truncate_dim=24)
    save(folder, "manhattan", pooled(source, "cls"), similarity_fn_name="manhattan")
    for name, activation in (("tanh", torch.nn.Tanh()), ("identity", torch.nn.Identity()), ("relu", torch.nn.ReLU()), ("gelu", torch.nn.GELU()), ("sigmoid", torch.nn.Sigmoid())):  # fmt: skip
        body = pooled(source, "mean")
        size = body[0].auto_model.config.hidden_size if FIVE else body[0].model.config.hidden_size
        dense = models.Dense(in_features=size, out_features=20, bias=name != "relu", activation_function=activation)
        save(folder, f"dense-{name}", [*body, dense])
    body = pooled(source, ("mean", "weightedmean"))
    size = 2 * (body[0].auto_model if FIVE else body[0].model).config.hidden_size
    save(folder, "dense-two-normalize", [*body, models.Dense(size, 48), models.Dense(48, 16, activation_function=torch.nn.Identity()), models.Normalize()], prompts={"query": "q: "})  # fmt: skip
    body = pooled(source, "mean")
    save(folder, "layer-norm", [*body, models.LayerNorm((body[0].auto_model if FIVE else body[0].model).config.hidden_size)])
    for length in (16, 8):
        body = pooled(source, "mean")
        body[0].max_seq_length = length
        save(folder, f"length-{length}", body)
    if FIVE:
        body = pooled(source, "mean")
        body[0].do_lower_case = True
        save(folder, "lower-case", body)
    # a plain transformer: mean pooling is what both make of it
    AutoModel.from_pretrained(source).save_pretrained(folder / "plain")
    AutoTokenizer.from_pretrained(source).save_pretrained(folder / "plain")
    config = json.loads((folder / "plain" / "config.json").read_text())
    assert AutoConfig.from_pretrained(folder / "plain").model_type == config["model_type"]


if __name__ == "__main__":
    sys.exit(main())
