# SPDX-License-Identifier: Apache-2.0
"""Model directories that are missing, broken or hostile: a clear error that names the file and the part, status 1."""
import json
import shutil
import struct
import subprocess
import threading
import time

from support import EMBED, RANDOM, RKFORMER, TRAINED, Case, main


class BrokenModel(Case):
    def setUp(self):
        super().setUp()
        self.model = self.dir / "model"
        shutil.copytree(EMBED, self.model, ignore=shutil.ignore_patterns("onnx"))
        self.weights = self.model / "model.safetensors"

    def broken(self, *words, timeout=20):
        begin = time.monotonic()
        self.fails(1, list(words), "embed", "-m", self.model, "rain", timeout=timeout)
        self.assertLess(time.monotonic() - begin, 10)

    def change_json(self, name, change):
        path = self.model / name
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    def header(self):
        data = self.weights.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        return json.loads(data[8 : 8 + size]), data[8 + size :]

    def write_weights(self, header, data, size=None):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        self.weights.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + data)

    def change_tensor(self, name, **changes):
        header, data = self.header()
        header[name].update(changes)
        self.write_weights(header, data)


class Directories(BrokenModel):
    def test_missing(self):
        self.fails(1, "no-such-model", "embed", "-m", self.dir / "no-such-model", "x")
        self.fails(1, "no-such/model", "embed", "-m", "no-such/model", "x")

    def test_empty(self):
        (self.dir / "empty").mkdir()
        self.fails(1, "config.json", "embed", "-m", self.dir / "empty", "x")

    def test_a_file_that_is_no_model(self):
        self.fails(2, "x.txt is neither a model directory nor a .rknn file", "embed", "-m", self.file("x.txt", "hello"), "x")

    def test_missing_files(self):
        for name, word in (("config.json", "config.json"), ("model.safetensors", "safetensors"), ("tokenizer.json", None)):
            with self.subTest(missing=name):
                self.tearDown()
                self.setUp()
                (self.model / name).unlink()
                if name == "tokenizer.json":
                    (self.model / "vocab.txt").unlink()
                self.broken(word or "tokenizer")

    def test_pickled_weights(self):
        self.weights.rename(self.model / "pytorch_model.bin")
        self.broken("pytorch_model.bin, a pickle", "convert it")


class Configs(BrokenModel):
    def test_unknown_model_type(self):
        self.change_json("config.json", lambda c: c.update(model_type="llama-9", architectures=["Llama9"]))
        self.broken("llama-9", "bert", "roberta", "modernbert")

    def test_broken_json(self):
        for name in ("config.json", "tokenizer.json", "modules.json"):
            with self.subTest(file=name):
                text = (self.model / name).read_text()
                (self.model / name).write_text(text[: len(text) // 2])
                self.broken(name)
                (self.model / name).write_text(text)

    def test_sizes_that_do_not_fit(self):
        cases = [("hidden_size", 65), ("hidden_size", 128), ("num_attention_heads", 7), ("num_hidden_layers", 3), ("vocab_size", 10**9),
                 ("hidden_size", -64), ("hidden_size", "64"), ("intermediate_size", 2**31), ("num_hidden_layers", 10**8)]
        original = (self.model / "config.json").read_text()
        for key, value in cases:
            with self.subTest(key=key, value=value):
                self.change_json("config.json", lambda c: c.update({key: value}))
                self.broken("config.json" if isinstance(value, str) or value < 0 else "model")
                (self.model / "config.json").write_text(original)

    def test_unknown_activation(self):
        self.change_json("config.json", lambda c: c.update(hidden_act="gelu_of_mine"))
        self.broken("gelu_of_mine")

    def test_unknown_module(self):
        modules = json.loads((self.model / "modules.json").read_text())
        modules[-1]["type"] = "sentence_transformers.models.Teleport"
        (self.model / "modules.json").write_text(json.dumps(modules))
        self.broken("Teleport")

    def test_unknown_tokenizer_parts(self):
        original = (self.model / "tokenizer.json").read_text()
        for part in ("model", "normalizer", "pre_tokenizer", "post_processor"):
            with self.subTest(part=part):
                self.change_json("tokenizer.json", lambda t: t[part].update(type="Telepathy"))
                self.broken("Telepathy", "tokenizer.json")
                (self.model / "tokenizer.json").write_text(original)


class Weights(BrokenModel):
    some = "encoder.layer.0.attention.self.query.weight"

    def test_truncated(self):
        data = self.weights.read_bytes()
        for keep in (0, 4, 8, 100, len(data) // 2, len(data) - 1):
            with self.subTest(keep=keep):
                self.weights.write_bytes(data[:keep])
                self.broken("model.safetensors")

    def test_header_length(self):
        header, data = self.header()
        for size in (0, 1, 2**20 * 100, 2**32, 2**63, 2**64 - 1, 2**64 - 8):
            with self.subTest(size=size):
                self.write_weights(header, data, size)
                self.broken("model.safetensors")

    def test_header_that_is_no_table(self):
        _, data = self.header()
        for text in (b"[]", b"null", b"{", b"\xff" * 50, b"[" * 10000, b'{"a":' * 5000, b'{"a":3}', b'{"a":{}}'):
            with self.subTest(header=text[:10]):
                self.write_weights(text, data)
                self.broken("model.safetensors")

    def test_offsets(self):
        header, data = self.header()
        begin, end = header[self.some]["data_offsets"]
        cases = [[begin, len(data) + 4], [end, begin], [2**63, 2**63 + 4], [-4, end], [begin, end - 4], [begin + 1, end + 1], [begin],
                 [begin, end, end], "all", [0, 2**64 - 1]]
        for offsets in cases:
            with self.subTest(offsets=offsets):
                self.change_tensor(self.some, data_offsets=offsets)
                self.broken("model.safetensors")
                self.write_weights(header, data)

    def test_overlap(self):
        header, data = self.header()
        twin = next(n for n in header if n != self.some and n != "__metadata__" and header[n]["shape"] == header[self.some]["shape"])
        self.change_tensor(self.some, data_offsets=header[twin]["data_offsets"])
        self.broken("model.safetensors", "overlap")

    def test_types_and_shapes(self):
        header, data = self.header()
        rows, columns = header[self.some]["shape"]
        cases = [{"dtype": "F99"}, {"dtype": "I32"}, {"dtype": "F16"}, {"shape": [rows, columns + 1]}, {"shape": [rows]}, {"shape": []},
                 {"shape": [rows * columns, 1]}, {"shape": [2**32, 2**32]}, {"shape": [-rows, -columns]}, {"shape": "square"}]
        for changes in cases:
            with self.subTest(changes=changes):
                self.change_tensor(self.some, **changes)
                self.broken(self.some)
                self.write_weights(header, data)

    def test_missing_tensor_is_named(self):
        header, data = self.header()
        header["some.other.name"] = header.pop(self.some)
        self.write_weights(header, data)
        self.broken(self.some)

    def test_unused_tensors_do_not_matter(self):
        header, data = self.header()
        header["embeddings.position_ids"] = {"dtype": "I64", "shape": [1, 2], "data_offsets": [len(data), len(data) + 16]}
        wanted = self.ok("embed", "-m", self.model, "rain").out
        self.write_weights(header, data + bytes(16))
        self.assertEqual(self.ok("embed", "-m", self.model, "rain").out, wanted)

    def test_numbers_that_are_none(self):
        header, data = self.header()
        begin, end = header[self.some]["data_offsets"]
        self.write_weights(header, data[:begin] + b"\xff" * (end - begin) + data[end:])
        answer = self.run_command("embed", "-m", self.model, "rain")  # JSON knows no NaN: Answer.lines refuses it
        self.assertIn(answer.status, (0, 1))
        if answer.status == 0:
            self.assertEqual(len(answer.lines[0]["embedding"]), 64)

    def test_changing_while_it_is_read(self):
        """Truncated, rewritten, removed while the model loads and runs: right answers or an error, no crash."""
        wanted = self.ok("embed", "-m", self.model, "rain").lines
        original = self.weights.read_bytes()
        for round in range(12):
            with self.subTest(round=round):
                self.weights.write_bytes(original)
                p = self.start("embed", "-m", self.model, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                timer = threading.Timer(round * 0.002, lambda: self.weights.write_bytes(original[: 1000 * round]))
                timer.start()
                out, err = p.communicate(b"rain\n", timeout=30)
                timer.join()
                self.assertIn(p.returncode, (0, 1), err)
                if p.returncode == 0:
                    self.assertClose(json.loads(out)["embedding"], wanted[0]["embedding"], 1e-6)
                else:
                    self.assertRegex(err.decode(), r"\Arkformer: [^\n]+\n\Z")

    def test_truncated_after_loading(self):
        p = self.start("embed", "-m", self.model, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stdin.write(b"rain\n")
        p.stdin.flush()
        first = json.loads(p.stdout.readline())
        self.weights.write_bytes(b"")
        out, err = p.communicate(b"rain\nsnow and wind\n" * 20, timeout=30)
        self.assertIn(p.returncode, (0, 1), err)
        if p.returncode == 0:
            self.assertEqual(json.loads(out.splitlines()[0])["embedding"], first["embedding"])
        else:
            self.assertIn(b"rkformer: a model file was cut short while it was in use", err)


if __name__ == "__main__":
    main()
