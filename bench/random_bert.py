#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A model directory of BERT-base's size with random weights, for speed only.

usage: random_bert.py TOKENIZER_DIR OUT_DIR     the tokenizer's files are copied from a model with BERT's vocabulary
"""
import os
import shutil
import sys


def main():
    import torch
    from transformers import BertConfig, BertModel

    source, out = sys.argv[1:3]
    if os.path.exists(os.path.join(out, "tokenizer.json")):
        return
    torch.manual_seed(0)
    config = BertConfig(position_embedding_type="absolute")  # said out loud for converters that look for it
    BertModel(config, add_pooling_layer=False).save_pretrained(out)
    for name in ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"):
        if os.path.exists(os.path.join(source, name)):
            shutil.copy(os.path.join(source, name), os.path.join(out, name))


if __name__ == "__main__":
    main()
