#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random models of every family against transformers: sizes, options, heads and files other than those of tests/data.

    python3 tests/differential/models_diff.py [--only TEXT] [--docs docs/models.md] [--eval build/.../tool_encoder]

Needs torch and transformers 5 (an environment of its own will do) and the program tool_encoder (built with the tests).
Each row makes a model, saves it the way the row says, runs transformers on one sequence at a time (f32, eager
attention) and our encoder on all of them as one ragged batch, and reports the largest difference of hidden states and
logits, relative to the largest value. --docs writes the table. Exit status 1 if a row is over its limit.
"""

import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
import transformers
from safetensors.torch import load_file, save_file

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

LIMIT = 1e-4  # of the largest value
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


# ---- what is done to a saved model before we read it


def rewrite(path, change):
    file = os.path.join(path, "model.safetensors")
    save_file({k: v.contiguous() for k, v in change(load_file(file)).items()}, file)


def old_names(path):
    rewrite(path, lambda t: {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
                             for k, v in t.items()})


def position_buffers(path):
    def change(t):
        prefix = next(k for k in t if k.endswith("embeddings.word_embeddings.weight"))[: -len("word_embeddings.weight")]
        return {**t, prefix + "position_ids": torch.arange(80).reshape(1, -1)}

    rewrite(path, change)


def add_prefix(prefix):
    return lambda path: rewrite(path, lambda t: {prefix + k: v for k, v in t.items()})


def drop_prefix(prefix):
    return lambda path: rewrite(path, lambda t: {k.removeprefix(prefix): v for k, v in t.items()})


def unaligned(path):
    """An odd byte before everything: nothing after it is aligned."""
    file = os.path.join(path, "model.safetensors")
    raw = open(file, "rb").read()
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + n])
    for k, v in header.items():
        if k != "__metadata__":
            v["data_offsets"] = [v["data_offsets"][0] + 1, v["data_offsets"][1] + 1]
    header["a"] = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    text = json.dumps(header).encode()
    with open(file, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + b"\0" + raw[8 + n :])


def config_change(**changes):
    def change(path):
        file = os.path.join(path, "config.json")
        config = json.load(open(file))
        for k, v in changes.items():
            if v is None:
                config.pop(k, None)
            else:
                config[k] = v
        json.dump(config, open(file, "w"))

    return change


def nomic_hub(path):
    """Keys as nomic-ai's own code wrote them."""
    c = json.load(open(os.path.join(path, "config.json")))
    json.dump(
        {
            "model_type": "nomic_bert",
            "architectures": ["NomicBertModel"],
            "activation_function": "swiglu",
            "n_embd": c["hidden_size"],
            "n_head": c["num_attention_heads"],
            "n_inner": c["intermediate_size"],
            "n_layer": c["num_hidden_layers"],
            "n_positions": c["max_position_embeddings"],
            "layer_norm_epsilon": c["layer_norm_eps"],
            "rotary_emb_base": c["rope_parameters"]["rope_theta"],
            "rotary_emb_fraction": 1.0,
            "rotary_emb_interleaved": False,
            "rotary_emb_scale_base": None,
            "rotary_scaling_factor": None,
            "max_trained_positions": 64,
            "qkv_proj_bias": False,
            "mlp_fc1_bias": False,
            "mlp_fc2_bias": False,
            "prenorm": False,
            "parallel_block": False,
            "use_rms_norm": False,
            "causal": False,
            "type_vocab_size": c["type_vocab_size"],
            "vocab_size": c["vocab_size"],
        },
        open(os.path.join(path, "config.json"), "w"),
    )


def class_names(path):
    """Weights named after transformers' classes; save_pretrained writes the hub's older names."""
    renames = [("emb_ln", "embeddings.LayerNorm"), ("encoder.layers.", "layers."), ("norm1", "post_attention_layernorm"),
               ("norm2", "post_mlp_layernorm"), ("attn.out_proj", "self_attn.o_proj"),
               ("mixer.out_proj", "self_attn.o_proj"), ("fc11", "up_proj"), ("fc12", "gate_proj")]

    def change(t):
        out = {}
        gated = any("fc11" in k for k in t)
        for k, v in t.items():
            new = k
            for a, b in renames + ([("fc2", "down_proj")] if gated else []):
                new = new.replace(a, b)
            if "Wqkv" in new:
                for part, letter in zip(v.chunk(3), "qkv"):
                    out[new.replace("attn.Wqkv", f"self_attn.{letter}_proj").replace("mixer.Wqkv", f"self_attn.{letter}_proj")] = part
            else:
                out[new] = v
        return out

    rewrite(path, change)


# ---- the rows: (family, what is special, head, config, options)

SMALL = dict(vocab_size=211, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=56,
             max_position_embeddings=96)
DISTIL = dict(vocab_size=211, dim=32, n_layers=2, n_heads=4, hidden_dim=56, max_position_embeddings=96)
DEBERTA = dict(SMALL, relative_attention=True, position_buckets=16, norm_rel_ebd="layer_norm", share_att_key=True,
               pos_att_type=["p2c", "c2p"], position_biased_input=False, type_vocab_size=0)
ROWS = []


def row(family, special, head="", options=None, **config):
    ROWS.append((family, special, head, config, options or {}))


def common(family, base, heads, **tiny):
    """What is tried with every family."""
    row(family, "base", **base)
    row(family, "one layer", **dict(base, **tiny.get("one_layer", dict(num_hidden_layers=1))))
    row(family, "F16 file", options=dict(dtype="float16"), **base)
    row(family, "BF16 file", options=dict(dtype="bfloat16"), **base)
    row(family, "shards", options=dict(shards="20KB"), **base)
    row(family, "unaligned tensors", options=dict(after=unaligned), **base)
    for head in heads:
        labels = {"SequenceClassification": (1, 2, 5), "TokenClassification": (1, 7)}.get(head, (2,))
        for n in labels:
            row(family, f"{n} labels" if len(labels) > 1 else "head", head, num_labels=n, **base)


ALL = ["MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice"]
for name in ("bert", "roberta", "xlm-roberta", "camembert", "electra"):
    common(name, dict(SMALL, type_vocab_size=2), ALL)
for name in ("bert", "roberta"):
    base = dict(SMALL, type_vocab_size=2)
    for act in ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "quick_gelu", "relu", "silu", "tanh", "mish", "leaky_relu"):
        row(name, f"hidden_act {act}", **dict(base, hidden_act=act))
    row(name, "hidden_act relu", "MaskedLM", **dict(base, hidden_act="relu"))
    row(name, "untied decoder", "MaskedLM", **dict(base, tie_word_embeddings=False))
    row(name, "odd sizes: hidden 42, heads of 7, middle 53", **dict(base, hidden_size=42, num_attention_heads=6,
                                                                    intermediate_size=53))
    row(name, "one head of 48", **dict(base, hidden_size=48, num_attention_heads=1))
    row(name, "vocabulary of 50021", "MaskedLM", **dict(base, vocab_size=50021))
    row(name, "layer_norm_eps 0.1", **dict(base, layer_norm_eps=0.1))
    row(name, "gamma and beta", options=dict(after=old_names), **base)
    row(name, "position_ids buffers", options=dict(after=position_buffers), **base)
    row(name, "prefixed weights of a base model", options=dict(after=add_prefix(name + ".")), **base)
    row(name, "six layers of 384, sequences of 500", options=dict(lengths=[500, 3]),
        **dict(base, hidden_size=384, num_attention_heads=12, intermediate_size=1536, num_hidden_layers=6,
               max_position_embeddings=514))
row("bert", "weights without prefix under a head", "TokenClassification", options=dict(after=drop_prefix("bert.")),
    **dict(SMALL))
row("bert", "one token type", **dict(SMALL, type_vocab_size=1))
row("bert", "config without defaults", options=dict(after=config_change(hidden_act=None, layer_norm_eps=None,
                                                                       type_vocab_size=None, pad_token_id=None)),
    **dict(SMALL, type_vocab_size=2))
row("roberta", "pad_token_id 5", **dict(SMALL, pad_token_id=5, bos_token_id=0, eos_token_id=2))
for name in ("roberta", "camembert", "mpnet", "bert"):
    row(name, "padding tokens inside of the text", options=dict(pads=True), **dict(SMALL, vocab_size=7))
row("electra", "embeddings of 24", **dict(SMALL, embedding_size=24))
row("electra", "embeddings of 24", "MaskedLM", **dict(SMALL, embedding_size=24))
row("electra", "embeddings as wide as hidden", **dict(SMALL, embedding_size=32))
row("electra", "summary without projection", "MultipleChoice", **dict(SMALL, summary_use_proj=False))
row("electra", "summary last, tanh", "MultipleChoice", **dict(SMALL, summary_type="last", summary_activation="tanh"))
row("electra", "summary mean", "MultipleChoice", **dict(SMALL, summary_type="mean"))

common("distilbert", DISTIL, ALL, one_layer=dict(n_layers=1))
row("distilbert", "sinusoidal positions", **dict(DISTIL, sinusoidal_pos_embds=True))
row("distilbert", "activation relu", "MaskedLM", **dict(DISTIL, activation="relu"))
row("distilbert", "head size 10", **dict(DISTIL, dim=50, n_heads=5))
row("distilbert", "untied decoder", "MaskedLM", **dict(DISTIL, tie_word_embeddings=False))

common("mpnet", SMALL, ALL)
row("mpnet", "sequences of 400", options=dict(lengths=[400, 260, 129, 1]), **dict(SMALL, max_position_embeddings=514))
row("mpnet", "48 buckets", **dict(SMALL, relative_attention_num_buckets=48))
row("mpnet", "pad_token_id 7", **dict(SMALL, pad_token_id=7))
row("mpnet", "untied decoder", "MaskedLM", **dict(SMALL, tie_word_embeddings=False))

ALBERT = dict(SMALL, embedding_size=20)
common("albert", ALBERT, ALL)
row("albert", "4 layers in 2 groups", **dict(ALBERT, num_hidden_layers=4, num_hidden_groups=2))
row("albert", "5 layers in 3 groups", **dict(ALBERT, num_hidden_layers=5, num_hidden_groups=3))
row("albert", "3 layers, 2 inner", **dict(ALBERT, num_hidden_layers=3, inner_group_num=2))
row("albert", "6 layers, 2 groups, 3 inner", **dict(ALBERT, num_hidden_layers=6, num_hidden_groups=2, inner_group_num=3))
row("albert", "embeddings as wide as hidden", **dict(ALBERT, embedding_size=32))
row("albert", "hidden_act relu", "MaskedLM", **dict(ALBERT, hidden_act="relu"))

common("deberta-v2", DEBERTA, ALL)
row("deberta-v2", "own position projections", **dict(DEBERTA, share_att_key=False))
row("deberta-v2", "c2p only", **dict(DEBERTA, pos_att_type=["c2p"]))
row("deberta-v2", "p2c only, own projections", **dict(DEBERTA, pos_att_type=["p2c"], share_att_key=False))
row("deberta-v2", "pos_att_type as text", options=dict(after=config_change(pos_att_type="c2p|p2c")), **DEBERTA)
row("deberta-v2", "no relative terms", **dict(DEBERTA, pos_att_type=[]))
row("deberta-v2", "position_biased_input, token types", **dict(DEBERTA, position_biased_input=True, type_vocab_size=2))
row("deberta-v2", "norm_rel_ebd none", **dict(DEBERTA, norm_rel_ebd="none"))
row("deberta-v2", "no buckets", **dict(DEBERTA, position_buckets=-1))
row("deberta-v2", "no buckets, max_relative_positions 20", **dict(DEBERTA, position_buckets=-1, max_relative_positions=20))
row("deberta-v2", "relative_attention false", **dict(DEBERTA, relative_attention=False, position_biased_input=True))
row("deberta-v2", "256 buckets, sequences of 500", options=dict(lengths=[500, 301, 2]),
    **dict(DEBERTA, position_buckets=256, max_position_embeddings=512))
row("deberta-v2", "32 buckets, max_relative_positions 200", options=dict(lengths=[300, 2]),
    **dict(DEBERTA, position_buckets=32, max_relative_positions=200, max_position_embeddings=300))
row("deberta-v2", "embeddings of 24", **dict(DEBERTA, embedding_size=24))
row("deberta-v2", "embeddings of 24", "MaskedLM", **dict(DEBERTA, embedding_size=24))
row("deberta-v2", "masked LM, not legacy", "MaskedLM", **dict(DEBERTA, legacy=False))
row("deberta-v2", "pooler_hidden_act tanh", "SequenceClassification", **dict(DEBERTA, pooler_hidden_act="tanh"))

MODERN = dict(SMALL, local_attention=8, num_hidden_layers=4, pad_token_id=3, bos_token_id=1, eos_token_id=2,
              cls_token_id=1, sep_token_id=2)
common("modernbert", MODERN, ALL)
row("modernbert", "global every 2 layers", **dict(MODERN, num_hidden_layers=5, global_attn_every_n_layers=2))
row("modernbert", "keys of before version 5", options=dict(after=config_change(
    layer_types=None, rope_parameters=None, global_attn_every_n_layers=2, global_rope_theta=50000.0,
    local_rope_theta=300.0)), reference_after=True, **dict(MODERN))
row("modernbert", "thetas 500 and 20", **dict(MODERN, rope_parameters={
    "full_attention": {"rope_type": "default", "rope_theta": 500.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 20.0}}))
row("modernbert", "all biases", "SequenceClassification", **dict(
    MODERN, attention_bias=True, mlp_bias=True, norm_bias=True, classifier_bias=True))
row("modernbert", "no decoder bias", "MaskedLM", **dict(MODERN, decoder_bias=False))
row("modernbert", "untied decoder", "MaskedLM", **dict(MODERN, tie_word_embeddings=False))
row("modernbert", "pooling mean", "SequenceClassification", **dict(MODERN, classifier_pooling="mean"))
row("modernbert", "pooling mean", "MultipleChoice", **dict(MODERN, classifier_pooling="mean"))
row("modernbert", "classifier_activation silu", "TokenClassification", **dict(MODERN, classifier_activation="silu"))
row("modernbert", "hidden_activation gelu_pytorch_tanh", **dict(MODERN, hidden_activation="gelu_pytorch_tanh"))
row("modernbert", "window of 128, sequences of 1000", options=dict(lengths=[1000, 129, 64]),
    **dict(MODERN, local_attention=128, max_position_embeddings=1024))
row("modernbert", "odd window 7", **dict(MODERN, local_attention=7))

common("nomic_bert", dict(SMALL, type_vocab_size=2), ["MaskedLM", "SequenceClassification", "TokenClassification"])
row("nomic_bert", "heads of 10", **dict(SMALL, head_dim=10))
row("nomic_bert", "hidden_act gelu", **dict(SMALL, hidden_act="gelu"))
row("nomic_bert", "theta 10000, sequences of 900", options=dict(lengths=[900, 5]),
    **dict(SMALL, max_position_embeddings=1000, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}))
row("nomic_bert", "keys of the hub", options=dict(after=nomic_hub, lengths=[64, 17, 2]), **dict(SMALL))
row("nomic_bert", "names of the class", options=dict(after=class_names), **dict(SMALL))
row("nomic_bert", "names of the class", "MaskedLM", options=dict(after=class_names), **dict(SMALL))
row("nomic_bert", "linear scaling 4", **dict(SMALL, rope_parameters={"rope_type": "linear", "rope_theta": 1000.0,
                                                                    "factor": 4.0}))

common("jina_embeddings_v3", SMALL, ["MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering"])
row("jina_embeddings_v3", "names of the class", options=dict(after=class_names), **SMALL)
row("jina_embeddings_v3", "theta 500", **dict(SMALL, rope_parameters={"rope_type": "default", "rope_theta": 500.0}))

EURO = dict(SMALL, pad_token_id=3, bos_token_id=1, eos_token_id=2, mask_token_id=4)
common("eurobert", EURO, ["MaskedLM", "SequenceClassification", "TokenClassification"])
row("eurobert", "4 heads over 2", **dict(EURO, num_key_value_heads=2))
row("eurobert", "4 heads over 1", **dict(EURO, num_key_value_heads=1))
row("eurobert", "heads of 12 over 2", **dict(EURO, num_key_value_heads=2, head_dim=12))
row("eurobert", "biases", "MaskedLM", **dict(EURO, attention_bias=True, mlp_bias=True))
row("eurobert", "tied decoder", "MaskedLM", **dict(EURO, tie_word_embeddings=True))
row("eurobert", "pooling bos", "SequenceClassification", **dict(EURO, classifier_pooling="bos"))
row("eurobert", "pooling mean", "SequenceClassification", **dict(EURO, classifier_pooling="mean"))
row("eurobert", "rope_theta as older files have it", options=dict(
    after=config_change(rope_parameters=None, rope_theta=250000.0)), reference_after=True, **EURO)
row("eurobert", "sequences of 2000", options=dict(lengths=[2000, 3]), **dict(EURO, max_position_embeddings=2048))


# ---- making, saving, running


def make(family, head, config):
    reference_after = config.pop("reference_after", False)
    cfg = transformers.AutoConfig.for_model(family, **config)
    auto = getattr(transformers, "AutoModel" + ("For" + head if head else ""))
    cfg._attn_implementation = "eager"
    torch.manual_seed(1)
    model = auto.from_config(cfg)
    with torch.no_grad():
        for name, p in model.named_parameters():
            norm = "norm" in name.lower() and name.endswith("weight")
            p.copy_(torch.rand_like(p) + 0.5 if norm else torch.randn_like(p) * 0.2)
    return model.eval(), auto, reference_after


def save(model, path, options):
    if "dtype" in options:
        model = model.to(getattr(torch, options["dtype"]))
    model.save_pretrained(path, max_shard_size=options.get("shards", "10GB"))
    if "after" in options:
        options["after"](path)


def cases_for(model, lengths, pads_too):
    c = model.config
    pads = set() if pads_too else {i for i in (c.pad_token_id, 1) if i is not None}
    allowed = [i for i in range(min(c.vocab_size, 60000)) if i not in pads]
    types = getattr(c, "type_vocab_size", 0) or 0
    g = torch.Generator().manual_seed(1)
    out = []
    for n in lengths:
        ids = [allowed[i] for i in torch.randint(0, len(allowed), (n,), generator=g).tolist()]
        t = torch.randint(0, types, (n,), generator=g).tolist() if types > 1 else [0] * n
        out.append({"ids": ids, "types": t})
    return out


@torch.no_grad()
def reference(model, head, cases):
    out = {"hidden": [], "logits": []}
    base = getattr(model, model.base_model_prefix, model) if head else model
    for case in cases:
        ids = torch.tensor([case["ids"]])
        args = {"attention_mask": torch.ones_like(ids)}
        if (getattr(model.config, "type_vocab_size", 0) or 0) > 1:
            args["token_type_ids"] = torch.tensor([case["types"]])
        out["hidden"].append(base(input_ids=ids, **args).last_hidden_state.flatten())
        if head == "MultipleChoice":
            out["logits"].append(model(ids[None], **{k: v[None] for k, v in args.items()}).logits.flatten())
        elif head == "QuestionAnswering":
            answer = model(ids, **args)
            out["logits"].append(torch.stack([answer.start_logits[0], answer.end_logits[0]], -1).flatten())
        elif head:
            out["logits"].append(model(ids, **args).logits.flatten())
    return out


def worst(want, got):
    if len(want) != len(got):
        return float("inf")
    largest = max(w.abs().max().item() for w in want)
    diff = 0.0
    for w, g in zip(want, got):
        g = torch.tensor(g)
        if g.shape != w.shape or not torch.isfinite(g).all():
            return float("inf")
        diff = max(diff, (w.double() - g.double()).abs().max().item())
    return diff / largest


def run_row(program, family, special, head, config, options):
    with tempfile.TemporaryDirectory() as path:
        model, auto, reference_after = make(family, head, dict(config))
        save(model, path, options)
        if "dtype" in options or reference_after:
            model = auto.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
        limit = model.config.max_position_embeddings - 2 - max(model.config.pad_token_id or 0, 1 if family == "mpnet" else 0)
        lengths = options.get("lengths", [1, 2, 17, 33, min(limit, 80)])
        cases = cases_for(model, lengths, options.get("pads"))
        cases_file, out_file = os.path.join(path, "cases.json"), os.path.join(path, "out.json")
        json.dump(cases, open(cases_file, "w"))
        done = subprocess.run([program, path, cases_file, out_file, "f32"], capture_output=True, text=True)
        if done.returncode:
            return None, (done.stdout + done.stderr).strip()
        got = json.load(open(out_file))
        want = reference(model, head, cases)
        kinds = ["hidden", "logits"] if head else ["hidden"]
        exact = reference(model.double(), head, cases)
        return [max(worst(a[k], b.get(k, [])) for k in kinds)
                for a, b in ((want, got), (exact, got), (exact, {k: [v.tolist() for v in want[k]] for k in kinds}))], ""


def replace_block(text, name, block):
    """text with what stands between <!-- name --> and <!-- /name --> replaced."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    head, rest = text.split(begin, 1)
    return head + begin + block + end + rest.split(end, 1)[1]


def write_docs(path, results, versions):
    families = {}
    for family, special, head, errors in results:
        families.setdefault(family, []).append((errors, special, head))
    summary = f"With {versions}:\n\n| family | models | worst to transformers | to f64 | transformers to f64 | the worst model |\n"
    summary += "|---|---|---|---|---|---|\n"
    for family, rows in families.items():
        (e, exact, own), special, head = max(rows)
        summary += f"| {family} | {len(rows)} | {e:.1e} | {exact:.1e} | {own:.1e} | {special}{', ' + head if head else ''} |\n"
    each = "| family | model | head | to transformers | to f64 | transformers to f64 |\n|---|---|---|---|---|---|\n"
    for family, special, head, (e, exact, own) in results:
        each += f"| {family} | {special} | {head or '-'} | {e:.1e} | {exact:.1e} | {own:.1e} |\n"
    with open(path) as f:
        text = f.read()
    text = replace_block(replace_block(text, "families", summary), "models", each)
    with open(path, "w") as f:
        f.write(text)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--only", default="")
    p.add_argument("--docs")
    p.add_argument("--eval", help="default: the newest build/*/tests/tool_encoder")
    a = p.parse_args()
    programs = sorted(glob.glob(os.path.join(TOP, "build/*/tests/tool_encoder")), key=os.path.getmtime)
    a.eval = a.eval or (programs and programs[-1]) or p.error("build tool_encoder first")
    torch.set_num_threads(1)
    results, bad = [], 0
    for family, special, head, config, options in ROWS:
        label = f"{family} {head} {special}"
        if a.only not in label:
            continue
        errors, message = run_row(a.eval, family, special, head, config, options)
        wrong = errors is None or not errors[0] <= LIMIT
        bad += wrong
        text = message or " ".join(f"{e:.1e}" for e in errors)
        print(f"{'WRONG ' if wrong else ''}{family:20} {head:24} {special:45} {text}", flush=True)
        results.append((family, special, head, errors))
    print(f"{len(results)} models, {bad} wrong")
    if a.docs and not bad:
        write_docs(a.docs, results, f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
