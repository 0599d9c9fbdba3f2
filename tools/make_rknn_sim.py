#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes .rknn files for rkformer's simulator from Hugging Face models of BERT's shape.

    make_rknn_sim.py MODEL_DIR OUT_DIR [--batch 1] [--length 512] [--platform rk3588 ...] [--task ...]

MODEL_DIR holds config.json and model.safetensors (bert, roberta, xlm-roberta, camembert, distilbert). The result is
OUT_DIR/model[_bB_sS].rknn (the suffix as RK-Transformers writes it: unless batch is 1 and length 512) and, with
--config, its entry in OUT_DIR/config.json's "rknn" block. The container is the vendor's (format 6: header, body, JSON);
the body is ours: a list of tensors and operators in fixed shapes, interpreted by sim/ops.c. The vendor's runtime cannot
run it. sim/model.h describes the body. Only Python's standard library is used.
"""
import argparse
import array
import json
import os
import shutil
import struct
import sys

MAGIC = b"RKNNSIM1"
F32, F16, I8, I64 = 0, 1, 2, 8
TEMP, INPUT, OUTPUT, CONST = range(4)
GATHER, POSITIONS, MASK, ADD, NORM, MATMUL, SCORES, SOFTMAX, CONTEXT, ACT, FIRST, COPY = range(1, 13)
ACTS = {"gelu": 0, "gelu_new": 1, "gelu_pytorch_tanh": 1, "gelu_fast": 1, "relu": 2, "tanh": 3, "silu": 4, "swish": 4}
NONE = 0xFFFFFFFF
JOINT = 1  # op flag: runs on all cores of a joint mask


class Trouble(Exception):
    pass


# ---- reading


class Weights:
    """Tensors of model.safetensors by name, as f16 bytes."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        (n,) = struct.unpack_from("<Q", self.data)
        self.tensors = json.loads(self.data[8 : 8 + n])
        self.base = 8 + n

    def has(self, name):
        return name in self.tensors

    def shape(self, name):
        return self.tensors[name]["shape"]

    def f16(self, name):
        if name not in self.tensors:
            raise Trouble(f"model.safetensors has no tensor {name}")
        t = self.tensors[name]
        begin, end = t["data_offsets"]
        raw = self.data[self.base + begin : self.base + end]
        if t["dtype"] == "F16":
            return raw
        if t["dtype"] == "BF16":
            raw = array.array("I", (h << 16 for h in array.array("H", raw))).tobytes()
        elif t["dtype"] != "F32":
            raise Trouble(f"{name} is {t['dtype']}: only F32, F16 and BF16 weights are converted")
        return to_f16(array.array("f", raw))


def to_f16(values):
    """Rounds to nearest even; beyond the range: the largest."""
    out = []
    for at in range(0, len(values), 65536):
        part = values[at : at + 65536]
        try:
            out.append(struct.pack(f"<{len(part)}e", *part))
        except OverflowError:
            part = [max(-65504.0, min(65504.0, v)) for v in part]
            out.append(struct.pack(f"<{len(part)}e", *part))
    return b"".join(out)


# ---- building


class Graph:
    def __init__(self):
        self.tensors, self.ops, self.data = [], [], bytearray()
        self.named = {}

    def tensor(self, name, dtype, kind, dims, offset=0, scale=1.0, zp=0, quant=0):
        key = (name, tuple(dims))
        if kind == TEMP and key in self.named:  # layers reuse each other's memory
            return self.named[key]
        self.tensors.append((name, dtype, kind, list(dims), offset, scale, zp, quant))
        self.named[key] = len(self.tensors) - 1
        return self.named[key]

    def const(self, name, dims, raw):
        n = 2
        for d in dims:
            n *= d
        if len(raw) != n:
            raise Trouble(f"{name} has {len(raw)} bytes, expected {n}")
        self.data += bytes(-len(self.data) % 64)
        at = len(self.data)
        self.data += raw
        return self.tensor(name, F16, CONST, dims, at)

    def temp(self, name, *dims):
        return self.tensor(name, F16, TEMP, dims)

    def op(self, code, inputs, out, ints=(), floats=(), flags=0):
        self.ops.append((code, flags, list(inputs), out, list(ints), list(floats)))
        return out

    def dims(self, t):
        return self.tensors[t][3]

    def matmul(self, x, weight, bias, name, flags=0):
        n = self.dims(weight)[0]
        out = self.temp(name, *self.dims(x)[:-1], n)
        return self.op(MATMUL, [x, weight, NONE if bias is None else bias], out, flags=flags)

    def add(self, a, b, name, flags=0):
        return self.op(ADD, [a, b], self.temp(name, *self.dims(a)), flags=flags)

    def act(self, x, kind, name, flags=0):
        if kind not in ACTS:
            raise Trouble(f"activation {kind} is not supported")
        return self.op(ACT, [x], self.temp(name, *self.dims(x)), [ACTS[kind]], flags=flags)

    def body(self, platforms, toolkit, custom, single_core):
        inputs = sum(t[2] == INPUT for t in self.tensors)
        outputs = sum(t[2] == OUTPUT for t in self.tensors)
        head = 1184 + 128 * len(self.tensors) + 64 * len(self.ops)
        head += -head % 64
        out = bytearray(
            struct.pack(
                "<8s6I2Q80s32s1024s", MAGIC, len(self.tensors), len(self.ops), inputs, outputs, int(single_core), 0,
                head, len(self.data), " ".join(platforms).encode(), toolkit.encode(), custom.encode(),
            )
        )  # fmt: skip
        for name, dtype, kind, dims, offset, scale, zp, quant in self.tensors:
            padded = dims + [0] * (6 - len(dims))
            out += struct.pack("<4I6IfiIIQ64s", dtype, kind, len(dims), 3, *padded, scale, zp, quant, 0, offset, name[-63:].encode())
        for code, flags, ins, target, ints, floats in self.ops:
            ins = ins + [NONE] * (6 - len(ins))
            ints = ints + [0] * (4 - len(ints))
            floats = floats + [0.0] * (3 - len(floats))
            out += struct.pack("<2I6II4i3f", code, flags, *ins, target, *ints, *floats)
        out += bytes(head - len(out))
        return bytes(out + self.data)


# Where the families keep their weights. {p} is the prefix before "embeddings".
BERT = {
    "words": "{p}embeddings.word_embeddings.weight", "positions": "{p}embeddings.position_embeddings.weight",
    "types": "{p}embeddings.token_type_embeddings.weight", "embedding_norm": "{p}embeddings.LayerNorm",
    "q": "{p}encoder.layer.{i}.attention.self.query", "k": "{p}encoder.layer.{i}.attention.self.key",
    "v": "{p}encoder.layer.{i}.attention.self.value", "o": "{p}encoder.layer.{i}.attention.output.dense",
    "norm1": "{p}encoder.layer.{i}.attention.output.LayerNorm", "up": "{p}encoder.layer.{i}.intermediate.dense",
    "down": "{p}encoder.layer.{i}.output.dense", "norm2": "{p}encoder.layer.{i}.output.LayerNorm",
}  # fmt: skip
DISTILBERT = {
    "words": "{p}embeddings.word_embeddings.weight", "positions": "{p}embeddings.position_embeddings.weight",
    "embedding_norm": "{p}embeddings.LayerNorm", "q": "{p}transformer.layer.{i}.attention.q_lin",
    "k": "{p}transformer.layer.{i}.attention.k_lin", "v": "{p}transformer.layer.{i}.attention.v_lin",
    "o": "{p}transformer.layer.{i}.attention.out_lin", "norm1": "{p}transformer.layer.{i}.sa_layer_norm",
    "up": "{p}transformer.layer.{i}.ffn.lin1", "down": "{p}transformer.layer.{i}.ffn.lin2",
    "norm2": "{p}transformer.layer.{i}.output_layer_norm",
}  # fmt: skip
FAMILIES = {"bert": BERT, "roberta": BERT, "xlm-roberta": BERT, "camembert": BERT, "distilbert": DISTILBERT}
ROBERTA = ("roberta", "xlm-roberta", "camembert")
TASKS = {
    "ForSequenceClassification": "sequence-classification", "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering", "ForMaskedLM": "fill-mask", "ForMultipleChoice": "multiple-choice",
    "Model": "feature-extraction",
}  # fmt: skip


class Builder:
    def __init__(self, config, weights, args):
        self.c, self.w, self.args = config, weights, args
        self.kind = config.get("model_type")
        if self.kind not in FAMILIES:
            raise Trouble(f"model_type {self.kind} is not supported: {', '.join(FAMILIES)} are")
        self.names = FAMILIES[self.kind]
        ends = "embeddings.word_embeddings.weight"
        found = [n for n in weights.tensors if n.endswith(ends)]
        if len(found) != 1:
            raise Trouble(f"no tensor {ends} in model.safetensors")
        self.prefix = found[0][: -len(ends)]
        get = lambda *keys: next(config[k] for k in keys if k in config)
        self.hidden, self.layers = get("hidden_size", "dim"), get("num_hidden_layers", "n_layers")
        self.heads = get("num_attention_heads", "n_heads")
        self.eps = config.get("layer_norm_eps", 1e-12)
        self.g = Graph()
        self.b, self.s = args.batch, args.length
        limit = config["max_position_embeddings"] - (self.pad() + 1 if self.kind in ROBERTA else 0)
        if self.s > limit:
            raise Trouble(f"length {self.s} is more than the {limit} positions of the model")

    def pad(self):
        return self.c.get("pad_token_id", 1)

    def name(self, key, i=0):
        return self.names[key].format(p=self.prefix, i=i)

    def const(self, name):
        if not self.w.has(name):  # very old files
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            name = old if self.w.has(old) else name
        raw = self.w.f16(name)
        return self.g.const(name, self.w.shape(name), raw)

    def linear(self, x, name, out, flags=0):
        bias = self.const(name + ".bias") if self.w.has(name + ".bias") else None
        return self.g.matmul(x, self.const(name + ".weight"), bias, out, flags)

    def norm(self, x, name, out, eps=None):
        ins = [x, self.const(name + ".weight"), self.const(name + ".bias")]
        return self.g.op(NORM, ins, self.g.temp(out, *self.g.dims(x)), floats=[self.eps if eps is None else eps])

    def inputs(self, choices):
        dims = [self.b, choices, self.s] if choices else [self.b, self.s]
        types = "types" in self.names and self.c.get("type_vocab_size", 0) > 1
        names = ["input_ids", "attention_mask"] + (["token_type_ids"] if types else [])
        return {n: self.g.tensor(n, I64, INPUT, dims) for n in names}

    def embed(self, ins, rows):
        """-> [rows, s, hidden] f16; rows: batch times choices"""
        g, h = self.g, self.hidden
        dims = (rows, self.s, h)
        words = self.const(self.name("words"))
        x = g.op(GATHER, [ins["input_ids"], words], g.temp("x", *dims))
        if "types" in self.names and self.w.has(self.name("types")):
            table = self.const(self.name("types"))
            if "token_type_ids" in ins:
                t = g.op(GATHER, [ins["token_type_ids"], table], g.temp("t", *dims))
                x = g.add(x, t, "x2")
            else:
                row = self.w.f16(self.name("types"))[: 2 * h]
                x = g.add(x, g.const("type 0", [h], row), "x2")
        if self.kind in ROBERTA:
            p = g.tensor("positions", I64, TEMP, [rows, self.s])
            g.op(POSITIONS, [ins["input_ids"]], p, [self.pad()])
            p = g.op(GATHER, [p, self.const(self.name("positions"))], g.temp("t", *dims))
        else:
            p = g.const("positions", [self.s, h], self.w.f16(self.name("positions"))[: 2 * h * self.s])
        x = g.add(x, p, "x3")
        return self.norm(x, self.name("embedding_norm"), "h0"), words

    def layer(self, x, mask, i):
        g, d = self.g, self.hidden // self.heads
        rows = g.dims(x)[0]
        q, k, v = (self.linear(x, self.name(n, i), n) for n in "qkv")
        scores = g.temp("scores", rows, self.heads, self.s, self.s)
        g.op(SCORES, [q, k], scores, [self.heads], [d**-0.5])
        scores = g.add(scores, mask, "masked")
        probs = g.op(SOFTMAX, [scores], g.temp("probs", *g.dims(scores)))
        ctx = g.op(CONTEXT, [probs, v], g.temp("ctx", *g.dims(x)), [self.heads])
        y = g.add(self.linear(ctx, self.name("o", i), "o"), x, "sum")
        y = self.norm(y, self.name("norm1", i), "h1")
        z = self.linear(y, self.name("up", i), "up", JOINT)
        z = g.act(z, self.c.get("hidden_act", self.c.get("activation", "gelu")), "act", JOINT)
        z = self.linear(z, self.name("down", i), "down", JOINT)
        return self.norm(g.add(z, y, "sum2"), self.name("norm2", i), "h0" if i % 2 else "h2")

    def output(self, x, name, dims):
        if self.args.output_range:
            scale = self.args.output_range / 127
            out = self.g.tensor(name, I8, OUTPUT, dims, scale=scale, zp=self.args.output_zp, quant=2)
        else:
            out = self.g.tensor(name, F16, OUTPUT, dims)
        self.g.op(COPY, [x], out)

    # ---- heads

    def head_feature_extraction(self, x, words, choices):
        self.output(x, "last_hidden_state", self.g.dims(x))

    def first(self, x):
        return self.g.op(FIRST, [x], self.g.temp("cls", self.g.dims(x)[0], self.hidden))

    def pooled(self, x):
        return self.g.act(self.linear(self.first(x), self.prefix + "pooler.dense", "pool"), "tanh", "pooled")

    def head_sequence_classification(self, x, words, choices):
        if self.kind in ROBERTA:
            y = self.g.act(self.linear(self.first(x), "classifier.dense", "pool"), "tanh", "pooled")
            y = self.linear(y, "classifier.out_proj", "out")
        elif self.kind == "distilbert":
            y = self.g.act(self.linear(self.first(x), "pre_classifier", "pool"), "relu", "pooled")
            y = self.linear(y, "classifier", "out")
        else:
            y = self.linear(self.pooled(x), "classifier", "out")
        self.output(y, "logits", self.g.dims(y))

    def head_multiple_choice(self, x, words, choices):
        if self.kind == "distilbert":
            y = self.g.act(self.linear(self.first(x), "pre_classifier", "pool"), "relu", "pooled")
        else:
            y = self.pooled(x)
        self.output(self.linear(y, "classifier", "out"), "logits", [self.b, choices])

    def head_token_classification(self, x, words, choices):
        y = self.linear(x, "classifier", "out")
        self.output(y, "logits", self.g.dims(y))

    def head_question_answering(self, x, words, choices):
        w, b = self.w.f16("qa_outputs.weight"), self.w.f16("qa_outputs.bias")
        h = 2 * self.hidden
        for i, name in enumerate(("start_logits", "end_logits")):
            weight = self.g.const(name + ".weight", [1, self.hidden], w[i * h : (i + 1) * h])
            y = self.g.matmul(x, weight, self.g.const(name + ".bias", [1], b[2 * i : 2 * i + 2]), name + ".out")
            self.output(y, name, [self.b, self.s])

    def head_fill_mask(self, x, words, choices):
        act = self.c.get("hidden_act", self.c.get("activation", "gelu"))
        dense, norm, bias = {
            "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),
            "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
        }.get(self.kind, ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"))
        y = self.g.act(self.linear(x, dense, "transform"), "gelu" if self.kind in ROBERTA else act, "transform.act")
        y = self.norm(y, norm, "transform.norm", 1e-12 if self.kind == "distilbert" else None)
        y = self.g.matmul(y, words, self.const(bias), "out")
        self.output(y, "logits", self.g.dims(y))

    def build(self, task):
        choices = self.args.choices if task == "multiple-choice" else 0
        rows = self.b * (choices or 1)
        ins = self.inputs(choices)
        x, words = self.embed(ins, rows)
        mask = self.g.temp("mask", rows, 1, 1, self.s)
        self.g.op(MASK, [ins["attention_mask"]], mask, floats=[self.args.mask_value])
        for i in range(self.layers):
            x = self.layer(x, mask, i)
        getattr(self, "head_" + task.replace("-", "_"))(x, words, choices)
        return self.g


# ---- writing


def describe(g, platforms, toolkit):
    """The JSON at the end of the file, as the vendor's toolkit lays it out."""
    ends = [i for i, t in enumerate(g.tensors) if t[2] == INPUT] + [i for i, t in enumerate(g.tensors) if t[2] == OUTPUT]
    n_in = sum(t[2] == INPUT for t in g.tensors)
    edges = [
        {"left": "input" if i < n_in else "output", "left_tensor_id": i if i < n_in else i - n_in,
         "right": "norm_tensor", "right_tensor_id": i}
        for i in range(len(ends))
    ]  # fmt: skip
    tensors = [
        {"dim_num": len(g.tensors[t][3]), "size": g.tensors[t][3], "tensor_id": i, "url": g.tensors[t][0]}
        for i, t in enumerate(ends)
    ]
    doc = {
        "graph": edges, "input_num": n_in, "output_num": len(ends) - n_in, "name": "rkformer simulator model",
        "norm_tensor": tensors, "norm_tensor_num": len(tensors), "target_platform": platforms, "version": toolkit,
    }  # fmt: skip
    return json.dumps(doc).encode()


def write_file(path, body, doc):
    head = b"RKNN" + struct.pack("<IQQ", 0, 6, len(body)) + bytes(40)
    tmp = path + ".tmp"
    with open(tmp, "wb") as f:
        f.write(head + body + struct.pack("<Q", len(doc)) + doc)
    os.replace(tmp, path)


def copy_files(source, out_dir):
    """Everything but weights, so that OUT_DIR is a model directory as RK-Transformers exports it."""
    for folder, _, names in os.walk(source):
        target = os.path.join(out_dir, os.path.relpath(folder, source))
        for name in names:
            if name.endswith((".json", ".txt", ".model")) and not os.path.exists(os.path.join(target, name)):
                os.makedirs(target, exist_ok=True)
                shutil.copyfile(os.path.join(folder, name), os.path.join(target, name))


def update_config(out_dir, source, key, entry):
    path = os.path.join(out_dir, "config.json")
    with open(path if os.path.exists(path) else os.path.join(source, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config.setdefault("rknn", {})[key] = entry
    with open(path + ".tmp", "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2, sort_keys=True)
    os.replace(path + ".tmp", path)


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("model")
    p.add_argument("out")
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--length", type=int, default=512)
    p.add_argument("--platform", nargs="+", default=["rk3588"], help="all that the file shall run on")
    p.add_argument("--task", choices=sorted(TASKS.values()), help="default: from config.json's architectures")
    p.add_argument("--choices", type=int, default=4, help="multiple choice: choices per question")
    p.add_argument("--toolkit", default="2.3.2", help="version the file claims to be made by")
    p.add_argument("--custom", default="", help="custom string")
    p.add_argument("--name", help="file name in OUT_DIR (folders allowed); default model[_bB_sS].rknn")
    p.add_argument("--single-core", action="store_true", help="single-core mode: joint masks run on one core")
    p.add_argument("--output-range", type=float, default=0.0, help="int8 outputs for values up to this (0: float16)")
    p.add_argument("--output-zp", type=int, default=0, help="zero point of int8 outputs")
    p.add_argument("--mask-value", type=float, default=-65504.0, help="added to the scores of masked tokens")
    p.add_argument("--copy", action="store_true", help="copy the model's other files (not its weights) to OUT_DIR")
    p.add_argument("--config", action="store_true", help='enter the file into OUT_DIR/config.json\'s "rknn" block')
    return p.parse_args()


def main():
    args = parse_args()
    with open(os.path.join(args.model, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    task = args.task
    if not task:
        arch = (config.get("architectures") or [""])[0]
        task = next((t for end, t in TASKS.items() if arch.endswith(end)), None)
        if not task:
            raise Trouble(f"architecture {arch} is not supported: give --task")
    if args.batch < 1 or args.length < 1 or args.choices < 1:
        raise Trouble("batch, length and choices must be at least 1")
    weights = Weights(os.path.join(args.model, "model.safetensors"))
    g = Builder(config, weights, args).build(task)
    suffix = "" if args.batch == 1 and args.length == 512 else f"_b{args.batch}_s{args.length}"
    key = args.name or f"model{suffix}.rknn"
    path = os.path.join(args.out, key)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if args.copy:
        copy_files(args.model, args.out)
    body = g.body(args.platform, args.toolkit, args.custom, args.single_core)
    write_file(path, body, describe(g, args.platform, args.toolkit))
    if args.config:
        entry = {
            "batch_size": args.batch, "max_seq_length": args.length, "target_platform": args.platform[0], "task": task,
            "model_input_names": [t[0] for t in g.tensors if t[2] == INPUT], "float_dtype": "float16",
            "single_core_mode": args.single_core, "custom_string": args.custom or None,
            "task_kwargs": {"num_choices": args.choices} if task == "multiple-choice" else None,
            "quantization": {"do_quantization": bool(args.output_range), "quantized_dtype": "w8a8"},
            "optimization": {"optimization_level": 0},
        }  # fmt: skip
        update_config(args.out, args.model, key, entry)
    print(path)


if __name__ == "__main__":
    try:
        main()
    except (Trouble, OSError, KeyError, ValueError) as e:
        sys.exit(f"make_rknn_sim.py: {e}")
