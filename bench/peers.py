#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One peer engine on one model: tokens per second over texts in padded batches, latency of single texts, embeddings.

usage: peers.py ENGINE MODEL_DIR IDS WORK_DIR [--threads N] [--batch 32] [--repeat 3] [--dump FILE]

ENGINE is a key of ENGINES. WORK_DIR keeps what is made from the model (ONNX, OpenVINO, CTranslate2 files) for the next
call. Every engine gives mean-pooled, normalised embeddings. Prints one JSON line per measurement.
"""
import argparse
import json
import os
import statistics
import sys
import time

LATENCY_LENGTHS = (8, 16, 32, 128, 256)


# ---- models made once


def torch_model(model_dir):
    import torch
    from transformers import AutoModel

    class Embedder(torch.nn.Module):
        """Hidden states, mean over the mask, unit norm: one graph for every peer."""

        def __init__(self):
            super().__init__()
            self.encoder = AutoModel.from_pretrained(model_dir, attn_implementation="sdpa").eval()

        def forward(self, input_ids, attention_mask):
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            return torch.nn.functional.normalize(pooled, dim=1)

    return Embedder().eval()


def once(path, make):
    """Makes the file or folder `path` with make(temporary path) unless it is there."""
    if not os.path.exists(path):
        make(path + ".part.onnx" if path.endswith(".onnx") else path + ".part")
        os.rename(path + ".part.onnx" if path.endswith(".onnx") else path + ".part", path)
    return path


def onnx_plain(model_dir, work):
    def make(path):
        import torch

        ids = torch.randint(1000, 2000, (2, 16))
        torch.onnx.export(
            torch_model(model_dir), (ids, torch.ones_like(ids)), path, input_names=["input_ids", "attention_mask"],
            output_names=["embedding"], opset_version=17, dynamo=False,
            dynamic_axes={"input_ids": {0: "n", 1: "len"}, "attention_mask": {0: "n", 1: "len"}})

    return once(os.path.join(work, "model.onnx"), make)


def onnx_fused(model_dir, work):
    def make(path):
        from onnxruntime.transformers import optimizer

        config = json.load(open(os.path.join(model_dir, "config.json")))
        optimizer.optimize_model(
            onnx_plain(model_dir, work), model_type="bert", num_heads=config["num_attention_heads"],
            hidden_size=config["hidden_size"], opt_level=1).save_model_to_file(path)

    return once(os.path.join(work, "fused.onnx"), make)


def onnx_int8(model_dir, work):
    def make(path):
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(onnx_fused(model_dir, work), path, weight_type=QuantType.QInt8, per_channel=True,
                         extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})

    return once(os.path.join(work, "int8.onnx"), make)


# ---- engines: load, then run(ids [n, length], mask) -> embeddings


class Torch:
    def __init__(self, args, dtype="float32", int8=False):
        import torch

        torch.set_num_threads(args.threads)
        self.torch = torch
        self.model = torch_model(args.model).to(getattr(torch, dtype))
        if int8:
            self.model = torch.ao.quantization.quantize_dynamic(self.model, {torch.nn.Linear}, torch.qint8)

    def run(self, ids, mask):
        with self.torch.inference_mode():
            return self.model(self.torch.from_numpy(ids), self.torch.from_numpy(mask)).float().numpy()


class OnnxRuntime:
    def __init__(self, args, make=onnx_plain):
        import onnxruntime as ort

        o = ort.SessionOptions()
        o.intra_op_num_threads = args.threads
        o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = ort.InferenceSession(make(args.model, args.work), o, providers=["CPUExecutionProvider"])

    def run(self, ids, mask):
        return self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


class OpenVino:
    def __init__(self, args, precision="f32", int8=False):
        import openvino as ov

        if int8:
            model = ov.Core().read_model(self.quantized(args))
        else:
            model = ov.convert_model(onnx_plain(args.model, args.work))
        self.compiled = ov.Core().compile_model(
            model, "CPU", {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": args.threads,
                           "PERFORMANCE_HINT": "LATENCY"})

    @staticmethod
    def quantized(args):
        """NNCF's static quantisation for transformers, calibrated on the first 100 texts; made once."""
        path = os.path.join(args.work, "openvino-int8.xml")
        if not os.path.exists(path):
            import nncf
            import numpy as np
            import openvino as ov

            data = [{"input_ids": np.array([t], np.int64), "attention_mask": np.ones((1, len(t)), np.int64)}
                    for t in read_ids(args.ids)[:100]]
            model = nncf.quantize(ov.convert_model(onnx_plain(args.model, args.work)), nncf.Dataset(data),
                                  model_type=nncf.ModelType.TRANSFORMER, subset_size=100)
            ov.save_model(model, os.path.join(args.work, "part.xml"), compress_to_fp16=False)
            os.rename(os.path.join(args.work, "part.bin"), path[:-3] + "bin")
            os.rename(os.path.join(args.work, "part.xml"), path)
        return path

    def run(self, ids, mask):
        return self.compiled([ids, mask])[0]


class CTranslate2:
    def __init__(self, args, compute="float32"):
        import ctranslate2

        def make(path):
            ctranslate2.converters.TransformersConverter(args.model).convert(path)

        self.ct2 = ctranslate2
        self.encoder = ctranslate2.Encoder(once(os.path.join(args.work, "ct2"), make), device="cpu",
                                           compute_type=compute, intra_threads=args.threads, inter_threads=1)

    def run(self, ids, mask):
        import numpy as np

        lengths = mask.sum(1)
        out = self.encoder.forward_batch([row[:n].tolist() for row, n in zip(ids, lengths)])
        hidden = np.array(out.last_hidden_state)
        pooled = (hidden * mask[..., None]).sum(1) / lengths[:, None]
        return (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)


ENGINES = {
    "torch": lambda a: Torch(a),
    "torch-bf16": lambda a: Torch(a, "bfloat16"),
    "torch-int8": lambda a: Torch(a, int8=True),
    "onnxruntime": lambda a: OnnxRuntime(a),
    "onnxruntime-fused": lambda a: OnnxRuntime(a, onnx_fused),
    "onnxruntime-int8": lambda a: OnnxRuntime(a, onnx_int8),
    "openvino": lambda a: OpenVino(a),
    "openvino-bf16": lambda a: OpenVino(a, "bf16"),
    "openvino-int8": lambda a: OpenVino(a, int8=True),
    "ctranslate2": lambda a: CTranslate2(a),
    "ctranslate2-int8": lambda a: CTranslate2(a, "int8"),
}


# ---- measuring


def read_ids(path):
    return [list(map(int, line.split())) for line in open(path)]


def padded(texts, batch):
    import numpy as np

    out = []
    for i in range(0, len(texts), batch):
        part = texts[i:i + batch]
        longest = max(map(len, part))
        ids = np.zeros((len(part), longest), np.int64)
        mask = np.zeros_like(ids)
        for r, t in enumerate(part):
            ids[r, :len(t)] = t
            mask[r, :len(t)] = 1
        out.append((ids, mask))
    return out


def say(what, engine, args, seconds, tokens, length=0):
    seconds = sorted(seconds)
    print(json.dumps({
        "what": what, "engine": engine, "threads": args.threads, "length": length,
        "best_ms": round(seconds[0] * 1e3, 3), "median_ms": round(statistics.median(seconds) * 1e3, 3),
        "worst_ms": round(seconds[-1] * 1e3, 3), "tokens_per_s": round(tokens / statistics.median(seconds)),
        "best_tokens_per_s": round(tokens / seconds[0])}), flush=True)


def timed(run, repeat, clock):
    out = []
    for _ in range(repeat):
        start = clock()
        run()
        out.append(clock() - start)
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("engine", choices=ENGINES)
    p.add_argument("model")
    p.add_argument("ids")
    p.add_argument("work")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--dump")
    p.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: for one thread on a busy machine")
    p.add_argument("--what", default="natural,sorted,latency")
    args = p.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    os.makedirs(args.work, exist_ok=True)
    import numpy as np

    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    engine = ENGINES[args.engine](args)
    texts = read_ids(args.ids)
    tokens = sum(map(len, texts))
    for what, order in (("natural", texts), ("sorted", sorted(texts, key=len))):
        if what in args.what:
            batches = padded(order, args.batch)
            engine.run(*batches[0])
            engine.run(*batches[-1])
            say(what, args.engine, args, timed(lambda: [engine.run(*b) for b in batches], args.repeat, clock), tokens)
    if args.dump:
        np.concatenate([engine.run(*b) for b in padded(texts, args.batch)]).astype("<f4").tofile(args.dump)
    for length in LATENCY_LENGTHS if "latency" in args.what else ():
        ids = np.array([[1000 + i * 37 % 5000 for i in range(length)]], np.int64)
        mask = np.ones_like(ids)
        for _ in range(5):
            engine.run(ids, mask)
        runs = 40 if length <= 64 else 15
        say("latency", args.engine, args, timed(lambda: engine.run(ids, mask), runs, clock), length, length)


if __name__ == "__main__":
    main()
