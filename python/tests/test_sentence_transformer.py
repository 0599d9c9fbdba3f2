# SPDX-License-Identifier: Apache-2.0
"""RKSentenceTransformer: values of sentence-transformers (goldens), return kinds, misuse, prompts, pools, threads, memory."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Any, List

from st_support import CLOSE, TOP, changed, golden, have, model, needs_torch, rss_kb, texts, without_torch

import numpy as np

from rktransformers import RKSentenceTransformer, _compat, similarity

EMBED = "trained/bert-embed"


class Shared(unittest.TestCase):
    m: RKSentenceTransformer

    @classmethod
    def setUpClass(cls) -> None:
        cls.m = RKSentenceTransformer(model(EMBED))
        cls.texts = texts()
        logging.getLogger("rktransformers").setLevel(logging.ERROR)  # few texts for int8: said on purpose

    @classmethod
    def tearDownClass(cls) -> None:
        cls.m.close()


class Values(Shared):
    def test_goldens(self) -> None:
        for name in ("trained/bert-embed", "trained/mpnet-embed", "trained/xlmr-embed"):
            expected = golden(name)["embed"]
            if _compat.generation() == 5:  # which strips texts; the expected ones are 6's
                expected = [entry for entry in expected if entry["text"] == entry["text"].strip()]
            with RKSentenceTransformer(model(name)) as m:
                got = m.encode([entry["text"] for entry in expected])
            self.assertEqual(got.dtype, np.float32)
            np.testing.assert_allclose(got, [entry["embedding"] for entry in expected], atol=CLOSE)

    def test_token_types_as_transformers_gives_them(self) -> None:
        from rktransformers._tokenizer import _gives_types

        four = _compat.transformers_generation() < 5
        for settings, config, expected in (
            ({"model_input_names": ["input_ids", "attention_mask"], "tokenizer_class": "BertTokenizer"}, {}, False),
            ({"model_input_names": ["input_ids", "token_type_ids"], "tokenizer_class": "MPNetTokenizer"}, {}, True),
            ({"tokenizer_class": "BertTokenizerFast"}, {"model_type": "mpnet"}, True),
            ({"tokenizer_class": "MPNetTokenizer"}, {"model_type": "bert"}, False),
            ({"tokenizer_class": "PreTrainedTokenizerFast"}, {"model_type": "mpnet"}, four),
            ({"tokenizer_class": "TokenizersBackend"}, {"model_type": "bert"}, False),
            ({}, {"model_type": "bert"}, True),
            ({}, {"model_type": "roberta"}, False),
            ({}, {"model_type": "albert"}, four),
        ):
            self.assertEqual(_gives_types(settings, config), expected, (settings, config))

    def test_hidden_states(self) -> None:
        for entry in golden(EMBED)["hidden"]:
            shape, data = entry["last_hidden_state"]["shape"], entry["last_hidden_state"]["data"]
            got = _compat.to_array(self.m.encode(entry["text"], output_value="token_embeddings"))
            self.assertEqual(list(got.shape), shape)
            np.testing.assert_allclose(got.ravel(), data, atol=1e-4 * np.abs(data).max())

    def test_all_features(self) -> None:
        entry = golden(EMBED)["tokenize"][0]
        one = self.m.encode(entry["text"], output_value=None)
        self.assertEqual(_compat.to_array(one["input_ids"]).tolist(), entry["input_ids"])
        self.assertEqual(set(_compat.to_array(one["attention_mask"]).tolist()), {1})
        np.testing.assert_allclose(
            _compat.to_array(one["sentence_embedding"]), golden(EMBED)["embed"][0]["embedding"], atol=CLOSE
        )
        many = self.m.encode(["short", entry["text"]], output_value=None)
        self.assertEqual(len(_compat.to_array(many[0]["input_ids"])), len(entry["input_ids"]))  # padded as in a batch
        self.assertEqual(_compat.to_array(many[0]["attention_mask"]).tolist()[-1], 0)

    def test_truncation_to_dimensions(self) -> None:
        full = self.m.encode(self.texts)
        cut = self.m.encode(self.texts, truncate_dim=16)
        np.testing.assert_array_equal(cut, full[:, :16])
        unit = self.m.encode(self.texts, truncate_dim=16, normalize_embeddings=True)
        np.testing.assert_allclose(unit, full[:, :16] / np.linalg.norm(full[:, :16], axis=1, keepdims=True), atol=1e-6)
        self.assertEqual(self.m.encode(self.texts, truncate_dim=1000).shape[1], 64)
        with self.m.truncate_embeddings(8):
            self.assertEqual(self.m.encode("x").shape, (8,))
            self.assertEqual(self.m.get_sentence_embedding_dimension(), 8)
        self.assertEqual(self.m.get_embedding_dimension(), 64)

    def test_precisions(self) -> None:
        full = self.m.encode(self.texts)
        np.testing.assert_array_equal(self.m.encode(self.texts, precision="ubinary"), np.packbits(full > 0, axis=1))
        binary = self.m.encode(self.texts, precision="binary")
        self.assertEqual(binary.dtype, np.int8)
        np.testing.assert_array_equal(binary.astype(int) + 128, np.packbits(full > 0, axis=1))
        for kind, dtype, low in (("int8", np.int8, -128), ("uint8", np.uint8, 0)):
            got = self.m.encode(self.texts, precision=kind)
            self.assertEqual((got.dtype, got.shape), (dtype, full.shape))
            self.assertTrue((got.min(axis=0) == low).all() and (got.max(axis=0) >= low + 254).all())
            levels = (full - full.min(axis=0)) / (full.max(axis=0) - full.min(axis=0)) * 255 + low
            self.assertLess(np.abs(got - levels).max(), 1.01)

    def test_pairs(self) -> None:
        pairs = [("a cat", "the dog"), ["one", "two"]]
        self.assertEqual(self.m.encode(pairs).shape, (2, 64))
        self.assertEqual(self.m.encode(["alone", ("a", "b")]).shape, (2, 64))

    def test_longer_than_the_limit(self) -> None:
        long = "word " * 500
        self.assertEqual(_compat.to_array(self.m.encode(long, output_value="token_embeddings")).shape, (64, 64))
        m = RKSentenceTransformer(model(EMBED), tokenizer_kwargs={"model_max_length": 12})
        self.assertEqual(_compat.to_array(m.encode(long, output_value="token_embeddings")).shape[0], 12)
        m.max_seq_length = 7
        self.assertEqual(_compat.to_array(m.encode(long, output_value="token_embeddings")).shape[0], 7)
        np.testing.assert_allclose(m.encode(long), self.m.encode(long, processing_kwargs={"text": {"max_length": 7}}))
        with self.assertRaises(ValueError):
            m.max_seq_length = 0
        m.close()


class Kinds(Shared):
    def test_one_and_many(self) -> None:
        self.assertEqual(self.m.encode("one").shape, (64,))
        for many in (["a", "b"], ("a", "b"), np.array(["a", "b"]), np.array(["a", "b"], object)):
            self.assertEqual(self.m.encode(many).shape, (2, 64))
        self.assertEqual(self.m.encode(inputs=["a"]).shape, (1, 64))
        self.assertEqual(self.m.encode([""]).shape, (1, 64))

    def test_nothing(self) -> None:
        self.assertEqual(self.m.encode([]).shape, (0,))
        self.assertEqual(self.m.encode([], precision="int8").shape, (0,))
        self.assertEqual(self.m.encode([], output_value=None), [])
        self.assertEqual(self.m.encode([], output_value="token_embeddings"), [])

    @needs_torch
    def test_tensors(self) -> None:
        import torch

        one = self.m.encode("a", convert_to_tensor=True)
        self.assertEqual((type(one), one.shape, one.dtype), (torch.Tensor, (64,), torch.float32))
        self.assertEqual(self.m.encode(["a", "b"], convert_to_tensor=True).shape, (2, 64))
        rows = self.m.encode(["a", "b"], convert_to_numpy=False)
        self.assertTrue(isinstance(rows, list) and all(isinstance(row, torch.Tensor) for row in rows))
        self.assertEqual(self.m.encode(["a"], convert_to_tensor=True, precision="binary").dtype, torch.int8)
        self.assertEqual(tuple(self.m.encode([], convert_to_tensor=True).shape), (0,))
        self.assertTrue(isinstance(self.m.similarity(np.ones((2, 4), "f"), np.ones((2, 4), "f")), torch.Tensor))

    @without_torch
    def test_without_torch(self) -> None:
        for option in ({"convert_to_tensor": True}, {"convert_to_numpy": False}):
            with self.assertRaisesRegex(ImportError, "torch is not installed"):
                self.m.encode(["a"], **option)
        self.assertIsInstance(self.m.encode("a", output_value="token_embeddings"), np.ndarray)
        self.assertIsInstance(self.m.similarity(np.ones((2, 4)), np.ones((2, 4))), np.ndarray)

    def test_nothing_heavy_is_imported(self) -> None:
        code = (
            "import sys; sys.path.insert(0, 'python'); import time; t = time.process_time(); import rktransformers; "
            "took = time.process_time() - t; assert took < 0.1, took; assert 'numpy' not in sys.modules; "
            f"m = rktransformers.RKSentenceTransformer({model(EMBED)!r}); m.encode(['a']); m.max_seq_length; m.device; "
            "heavy = {'torch', 'transformers', 'sentence_transformers', 'huggingface_hub'} & set(sys.modules); "
            "assert not heavy, heavy"
        )
        subprocess.run([sys.executable, "-c", code], cwd=TOP, check=True)


class Misuse(Shared):
    def test_texts_that_are_none(self) -> None:
        every = [5, [1, 2], None, [None], iter(["a"]), {"a", "b"}, "\ud800", ["a", "b\udfff"]]
        if _compat.generation() > 5:  # 5 takes these: it looks at the longest text, and asks str() for the others
            every += [b"x", ["a", 5], [("a", "b", "c")], np.array([]), np.array([1.5])]
        for wrong in every:
            for kind in (TypeError, ValueError):  # sentence-transformers 5 and 6
                with self.subTest(wrong=repr(wrong)), self.assertRaises(kind):
                    self.m.encode(wrong)
        with self.assertRaises(TypeError):
            self.m.encode()

    def test_arguments(self) -> None:
        for kind, options in (
            (ValueError, {"batch_size": 0}),
            (ValueError, {"batch_size": -1}),
            (TypeError, {"batch_size": "a"}),
            (TypeError, {"batch_size": 2.0}),
            (ValueError, {"precision": "int4"}),
            (ValueError, {"prompt_name": "nope"}),
            (TypeError, {"prompt": 5}),
            (ValueError, {"bogus": 1}),
            (KeyError, {"output_value": "bogus"}),
            (TypeError, {"truncate_dim": "a"}),
            (RuntimeError, {"device": "bogus"}),
            (TypeError, {"device": []}),
            (TypeError, {"device": ("cpu",)}),
            (RuntimeError, {"device": "meta"}),
            (RuntimeError, {"device": 99}),
            (TypeError, {"output_value": None, "precision": "binary"}),
            (ValueError, {"device": ["cpu"], "chunk_size": 0}),
        ):
            with self.subTest(options), self.assertRaises(kind):
                self.m.encode(["a", "b"], **options)
        with self.assertRaisesRegex(ValueError, r"\['query', 'document'\]"):
            self.m.encode("a", prompt_name="nope")
        for call in (self.m.encode_query, self.m.encode_document):
            with self.assertRaises(TypeError):
                call("a", task="x")
        for length in (0, -1):
            with self.assertRaisesRegex(RuntimeError, "at least 1") as caught:
                self.m.max_seq_length = length
            self.assertIsInstance(caught.exception, ValueError)
        with self.assertRaises(TypeError):
            self.m.max_seq_length = "a"  # type: ignore[assignment]

    @unittest.skipUnless(_compat.generation() == 5, "sentence-transformers 5 is not installed")
    def test_what_5_takes_for_texts(self) -> None:
        expected = self.m.encode(["a text", "None"])
        for inputs in (["a text", None], [{"x": "a text"}, {"y": None}], np.array(["a text", None], dtype=object)):
            if isinstance(inputs[0], dict):
                inputs[1] = {"y": "None"}
            np.testing.assert_array_equal(self.m.encode(inputs), expected)
        pair = self.m.encode([("a", "b")])
        np.testing.assert_array_equal(self.m.encode([["a", "b", "c"]]), pair)
        np.testing.assert_array_equal(self.m.encode([" a ", "b"]), self.m.encode(["a", "b"]))
        for kind, wrong in (
            (KeyError, {"a": 1}),
            (IndexError, [("a",)]),
            (IndexError, ["a", ("b", "c")]),
            (AttributeError, [{"a": "a long one"}, "b"]),
            (StopIteration, [{}]),
        ):
            with self.subTest(wrong=wrong):
                with self.assertRaisesRegex(kind, "Unsupported") as caught:
                    self.m.encode(wrong)
                self.assertIsInstance(caught.exception, ValueError)
        with self.assertRaises(TypeError):
            self.m.encode([("a", "b")], prompt="x ")

    def test_other_outputs(self) -> None:
        texts = ["a longer text", "one"]
        every = self.m.encode(texts, output_value=None)
        ids = self.m.encode(texts, output_value="input_ids")
        self.assertEqual([list(row) for row in ids], [list(one["input_ids"]) for one in every])
        self.assertEqual(len(ids[0]), len(ids[1]))
        self.assertEqual(list(self.m.encode(texts[1], output_value="attention_mask")), [1] * len(self.m.encode(texts[1], output_value="token_embeddings")))  # fmt: skip

    def test_constructor(self) -> None:
        for kind, options in (
            (ValueError, {"default_prompt_name": "nope"}),
            (ValueError, {"similarity_fn_name": "nope"}),
            (ValueError, {"backend": "nope"}),
            (RuntimeError, {"device": "nope"}),
            (TypeError, {"model_kwargs": {"nope": 1}}),
            (ValueError, {"token": "a", "use_auth_token": "b"}),
            (ValueError, {"modules": []}),
            (OSError, {"model_kwargs": {"file_name": "nope.rknn"}}),
            (ValueError, {"model_kwargs": {"dtype": "float8"}}),
        ):
            with self.subTest(options), self.assertRaises(kind), self.assertWarnsIf("use_auth_token" in options):
                RKSentenceTransformer(model(EMBED), **options)
        with self.assertRaises(FileNotFoundError):
            RKSentenceTransformer("/nowhere/at/all")
        with self.assertRaises(OSError):
            RKSentenceTransformer("no-such-model", local_files_only=True)
        with self.assertRaises(ValueError):
            RKSentenceTransformer()

    def assertWarnsIf(self, wanted: bool) -> Any:
        from contextlib import nullcontext

        return self.assertWarns(FutureWarning) if wanted else nullcontext()

    def test_core_masks(self) -> None:
        with self.assertRaisesRegex(ValueError, "0_1 or all"):
            RKSentenceTransformer(model(EMBED), model_kwargs={"platform": "rk3576", "core_mask": "2"})
        with self.assertRaisesRegex(ValueError, "unknown core mask"):
            RKSentenceTransformer(model(EMBED), model_kwargs={"platform": "rk3588", "core_mask": "7"})
        m = RKSentenceTransformer(model(EMBED), model_kwargs={"platform": "rk3588", "core_mask": "0_1"})
        self.assertEqual((m.platform, m.core_mask), ("rk3588", "0_1"))
        np.testing.assert_allclose(m.encode(self.texts), self.m.encode(self.texts), atol=CLOSE)
        m.close()

    def test_closed(self) -> None:
        with RKSentenceTransformer(model(EMBED)) as m:
            pass
        with self.assertRaisesRegex(RuntimeError, "closed"):
            m.encode("a")


class Prompts(Shared):
    def test_prompts(self) -> None:
        m = RKSentenceTransformer(model(EMBED), prompts={"query": "find: ", "passage": "text: "})
        plain = self.m.encode
        np.testing.assert_allclose(m.encode("a cat", prompt="x "), plain("x a cat"), atol=1e-6)
        np.testing.assert_allclose(m.encode("a cat", prompt_name="query"), plain("find: a cat"), atol=1e-6)
        np.testing.assert_allclose(m.encode_query("a cat"), plain("find: a cat"), atol=1e-6)
        np.testing.assert_allclose(m.encode_document("a cat"), plain("a cat"), atol=1e-6)  # "document" is there, empty
        np.testing.assert_allclose(m.encode_query(["a cat"], prompt="y "), plain(["y a cat"]), atol=1e-6)
        del m.prompts["document"]
        np.testing.assert_allclose(m.encode_document("a cat"), plain("text: a cat"), atol=1e-6)
        with self.assertLogs("rktransformers", "WARNING"):
            np.testing.assert_allclose(m.encode("a", prompt="x ", prompt_name="query"), plain("x a"), atol=1e-6)
        m.close()

    def test_the_files_prompts(self) -> None:
        settings = {
            "prompts": {"query": "find: ", "s": "sum: "},
            "default_prompt_name": "s",
            "similarity_fn_name": "dot",
        }
        with changed(EMBED, **{"config_sentence_transformers.json": settings}) as path:
            m = RKSentenceTransformer(path)
            self.assertEqual(m.prompts, {"query": "find: ", "document": "", "s": "sum: "})
            self.assertEqual((m.default_prompt_name, m.similarity_fn_name), ("s", "dot"))
            np.testing.assert_allclose(m.encode("a"), self.m.encode("sum: a"), atol=1e-6)
            np.testing.assert_allclose(m.encode("a", prompt=""), self.m.encode("a"), atol=1e-6)
            self.assertEqual(RKSentenceTransformer(path, prompts={"query": "q "}).prompts["query"], "q ")

    def test_pooling_without_the_prompt(self) -> None:
        tokens = _compat.to_array(self.m.encode("find: a cat", output_value="token_embeddings"))
        skip = len(self.m.model.tokenize("find: ").ids) - 1
        expected = tokens[skip:].mean(axis=0)
        expected /= np.linalg.norm(expected)
        m = RKSentenceTransformer(model(EMBED))
        m.set_pooling_include_prompt(False)
        np.testing.assert_allclose(m.encode("a cat", prompt="find: "), expected, atol=CLOSE)
        np.testing.assert_allclose(m.encode("a cat"), self.m.encode("a cat"), atol=1e-6)
        with tempfile.TemporaryDirectory() as folder:
            m.save_pretrained(folder)
            saved = RKSentenceTransformer(folder)
            np.testing.assert_allclose(saved.encode(["a cat"], prompt="find: ")[0], expected, atol=CLOSE)
            saved.set_pooling_include_prompt(True)
            np.testing.assert_allclose(saved.encode("a cat", prompt="find: "), self.m.encode("find: a cat"), atol=1e-6)

    def test_pooling_without_the_prompt_before_a_dense_layer(self) -> None:
        rng = np.random.default_rng(3)
        weight, bias = rng.standard_normal((5, 64), np.float32), rng.standard_normal(5, np.float32)
        with changed(EMBED) as path:
            dense = Path(path) / "3_Dense"
            dense.mkdir()
            config = {"in_features": 64, "out_features": 5, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}  # fmt: skip
            (dense / "config.json").write_text(json.dumps(config))
            header = {"linear.weight": {"dtype": "F32", "shape": [5, 64], "data_offsets": [0, 1280]}, "linear.bias": {"dtype": "F32", "shape": [5], "data_offsets": [1280, 1300]}}  # fmt: skip
            raw = json.dumps(header).encode()
            (dense / "model.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + weight.tobytes() + bias.tobytes())
            modules = json.loads((Path(path) / "modules.json").read_text())
            modules[2] = {"idx": 2, "name": "2", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
            (Path(path) / "modules.json").write_text(json.dumps(modules))
            m = RKSentenceTransformer(path)
            self.assertEqual([type(module).__name__ for module in m], ["Transformer", "Pooling", "Dense"])
            m.set_pooling_include_prompt(False)
            tokens = _compat.to_array(m.encode("find: a cat", output_value="token_embeddings"))
            skip = len(m.model.tokenize("find: ").ids) - 1
            expected = np.tanh(tokens[skip:].mean(axis=0) @ weight.T + bias)
            np.testing.assert_allclose(m.encode(["a cat"], prompt="find: ")[0], expected, atol=1e-5)
            whole = np.tanh(tokens.mean(axis=0) @ weight.T + bias)
            self.assertGreater(np.abs(whole - expected).max(), 0.01)
            np.testing.assert_allclose(m.encode("find: a cat"), whole, atol=1e-5)
            m.close()
            with self.assertRaises(RuntimeError):
                m.encode(["a cat"], prompt="find: ")


class Similarity(Shared):
    def test_functions(self) -> None:
        a, b = self.m.encode(self.texts[:3]), self.m.encode(self.texts[3:8])
        cosine = a @ b.T  # of unit vectors
        expected = {
            "cosine": cosine,
            "dot": cosine,
            "euclidean": -np.linalg.norm(a[:, None] - b[None], axis=2),
            "manhattan": -np.abs(a[:, None] - b[None]).sum(axis=2),
        }
        m = RKSentenceTransformer(model(EMBED))
        for name, values in expected.items():
            m.similarity_fn_name = name
            np.testing.assert_allclose(_compat.to_array(m.similarity(a, b)), values, atol=1e-4)
            np.testing.assert_allclose(_compat.to_array(m.similarity_pairwise(a, b[:3])), np.diag(values), atol=1e-4)
        m.similarity_fn_name = None
        self.assertEqual(m.similarity_fn_name, "cosine")
        self.assertEqual(_compat.to_array(m.similarity(a[0], b)).shape, (1, 5))
        with self.assertRaises(ValueError):
            m.similarity_fn_name = "nope"

    def test_what_cannot_be_compared(self) -> None:
        rows = np.ones((2, 3), np.float32)
        for a, b in ((rows, rows[:, :2]), (rows, rows[None]), (None, None), ([[1.0]], [[1.0, 2.0]])):
            for kind in (RuntimeError, ValueError):  # torch's and ours
                for name in ("cosine", "dot", "euclidean", "manhattan"):
                    with self.assertRaises(kind):
                        similarity.FUNCTIONS[name][0](a, b)
        for kind in (RuntimeError, ValueError):
            with self.assertRaises(kind):
                self.m.similarity_pairwise(rows, np.ones((3, 3), np.float32))
        with self.assertRaises(TypeError):
            self.m.similarity("a", "b")

    def test_semantic_search(self) -> None:
        vectors = self.m.encode(self.texts)
        found = similarity.semantic_search(vectors, vectors, top_k=3)
        best = -np.sort(-vectors @ vectors.T, axis=1)[:, :3]
        np.testing.assert_allclose([[hit["score"] for hit in hits] for hits in found], best, atol=1e-6)
        for row, hits in enumerate(found):
            ids = [hit["corpus_id"] for hit in hits]
            np.testing.assert_allclose(vectors[ids] @ vectors[row], best[row], atol=1e-6)
        self.assertTrue(all(len(hits) == 3 and hits[0]["score"] >= hits[1]["score"] for hits in found))


class Running(Shared):
    def test_pool(self) -> None:
        pool = self.m.start_multi_process_pool(["cpu"] * 2)
        expected = self.m.encode(self.texts)
        np.testing.assert_array_equal(self.m.encode(self.texts, pool=pool, chunk_size=3), expected)
        np.testing.assert_array_equal(self.m.encode(self.texts, device=["cpu", "cpu"]), expected)
        np.testing.assert_array_equal(self.m.encode_multi_process(self.texts, pool, None, None, 8), expected)
        with self.assertRaises(ValueError):
            self.m.encode(self.texts, pool=pool, chunk_size=0)
        self.m.stop_multi_process_pool(pool)
        with self.assertRaisesRegex(RuntimeError, "stopped"):
            self.m.encode(self.texts, pool=pool)

    def test_asyncio(self) -> None:
        async def run() -> List[Any]:
            m = self.m
            return list(
                await asyncio.gather(
                    m.aencode(self.texts),
                    m.aencode("one"),
                    m.aencode_query(["q"], normalize_embeddings=True),
                    m.aencode(self.texts[:2], output_value="token_embeddings"),
                    m.aencode([]),
                    m.aencode_document(self.texts, truncate_dim=4),
                )
            )

        many, one, query, tokens, nothing, cut = asyncio.run(run())
        np.testing.assert_allclose(many, self.m.encode(self.texts), atol=1e-6)
        self.assertEqual((one.shape, query.shape, len(tokens), nothing.shape), ((64,), (1, 64), 2, (0,)))
        self.assertEqual(cut.shape[1], 4)

    def test_threads(self) -> None:
        expected = self.m.encode(self.texts)
        wrong: List[Any] = []

        def work(seed: int) -> None:
            for i in range(25):
                at = (seed * 7 + i) % len(self.texts)
                if not np.allclose(self.m.encode(self.texts[at]), expected[at], atol=CLOSE):
                    wrong.append(at)
                if not np.allclose(self.m.encode(self.texts[at:]), expected[at:], atol=CLOSE):
                    wrong.append(at)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_memory_is_flat(self) -> None:
        def calls(n: int) -> None:
            for i in range(n):
                self.m.encode(self.texts[i % 16 : i % 16 + 2])
                if not i % 50:
                    self.m.encode(self.texts, precision="int8")
                    self.m.encode(self.texts, output_value="token_embeddings")

        calls(300)
        before = rss_kb()
        calls(2000)
        self.assertLess(rss_kb() - before, 4000)  # 2 kB a call would be a leak

    def test_progress_bar(self) -> None:
        code = (
            "import sys; sys.path[:0] = ['python', 'python/tests']; from st_support import *; import rktransformers; "
            f"m = rktransformers.RKSentenceTransformer(model({EMBED!r})); "
            "m.encode(['a text'] * 600, show_progress_bar=True, batch_size=16)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=TOP, stderr=subprocess.PIPE, check=True)
        self.assertIn(b"Batches", done.stderr)
        self.assertIn(b"38/38", done.stderr)

    def test_keyboard_interrupt(self) -> None:
        code = (
            "import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
            "sys.path[:0] = ['python', 'python/tests']; from st_support import *; import rktransformers; "
            f"m = rktransformers.RKSentenceTransformer(model({EMBED!r})); m.encode('warm')\n"
            "print('ready', flush=True); t = time.time()\n"
            "try:\n    m.encode(['a text of some words ' * 10] * 400000)\n    print('done')\n"
            "except KeyboardInterrupt:\n    print('stopped'); m.encode('and on')"
        )
        process = subprocess.Popen([sys.executable, "-c", code], cwd=TOP, stdout=subprocess.PIPE)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), b"ready\n")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        out, _ = process.communicate(timeout=60)
        self.assertEqual((out, process.returncode), (b"stopped\n", 0))
        self.assertLess(time.monotonic() - begin, 30)


class Life(Shared):
    def test_looks(self) -> None:
        m = self.m
        self.assertEqual((len(m), bool(m), m.backend, m.get_model_kwargs()), (3, True, "rknn", []))
        self.assertEqual([type(module).__name__ for module in m], ["Transformer", "Pooling", "Normalize"])
        self.assertEqual((m[0].max_seq_length, m[1].pooling_mode), (64, "mean"))
        self.assertEqual(str(m.device), "cpu")
        self.assertIs(m.to("cpu").eval().half(), m)
        self.assertEqual(m.max_seq_length, 64)
        features = m.tokenize(["a cat", "a"])
        self.assertEqual(_compat.to_array(features["attention_mask"]).sum(), 4 + 3)
        out = m.forward(dict(features))
        np.testing.assert_allclose(_compat.to_array(out["sentence_embedding"]), m.encode(["a cat", "a"]), atol=CLOSE)

    def test_light_tokenizer(self) -> None:
        tokenizer = self.m._light_tokenizer()
        entry = golden(EMBED)["tokenize"][0]
        self.assertEqual(tokenizer.encode(entry["text"]), entry["input_ids"])
        both = tokenizer(["a", entry["text"]], padding=True, truncation=True, max_length=6, return_tensors="np")
        self.assertEqual(both["input_ids"].shape, (2, 6))
        self.assertEqual(tokenizer.decode(tokenizer.encode("a cat"), skip_special_tokens=True), "a cat")

    def test_a_tokenizer_of_the_callers(self) -> None:
        m = RKSentenceTransformer(model(EMBED))
        light = m._light_tokenizer()
        m.tokenizer = lambda first, second=None, **options: light([text.upper() for text in first], second, **options)
        np.testing.assert_allclose(m.encode(["a cat"]), self.m.encode(["A CAT"]), atol=1e-6)
        m.close()

    def test_save(self) -> None:
        m = RKSentenceTransformer(model(EMBED), prompts={"query": "q: "}, truncate_dim=8, similarity_fn_name="dot")
        m.max_seq_length = 9
        with tempfile.TemporaryDirectory() as folder:
            m.save_pretrained(folder)
            again = RKSentenceTransformer(folder)
            self.assertEqual((again.prompts["query"], again.similarity_fn_name), ("q: ", "dot"))
            self.assertEqual((again.max_seq_length, again.truncate_dim), (9, 8))
            np.testing.assert_array_equal(again.encode(self.texts), m.encode(self.texts))
        bare = RKSentenceTransformer(model("random/bert-relu"))  # no modules.json: mean pooling
        with tempfile.TemporaryDirectory() as folder:
            bare.save(folder)
            kinds = [
                entry["type"].rsplit(".", 1)[1] for entry in json.loads((Path(folder) / "modules.json").read_text())
            ]
            self.assertEqual(kinds, ["Transformer", "Pooling"])
            np.testing.assert_allclose(RKSentenceTransformer(folder).encode("a"), bare.encode("a"), atol=1e-6)

    def test_copies(self) -> None:
        for twin in (copy.deepcopy(self.m), pickle.loads(pickle.dumps(self.m))):
            self.assertIs(type(twin), RKSentenceTransformer)
            np.testing.assert_array_equal(twin.encode("a"), self.m.encode("a"))

    def test_fork(self) -> None:
        expected = self.m.encode("a")
        pid = os.fork()
        if not pid:
            os._exit(0 if np.array_equal(self.m.encode("a"), expected) else 1)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)

    @unittest.skipUnless(have("sentence_transformers"), "sentence-transformers is not installed")
    def test_where_theirs_is_expected(self) -> None:
        import sentence_transformers
        from sentence_transformers import util
        from sentence_transformers.evaluation import EmbeddingSimilarityEvaluator, InformationRetrievalEvaluator

        self.assertIsInstance(self.m, sentence_transformers.SentenceTransformer)
        self.assertIsInstance(self.m, RKSentenceTransformer)
        self.assertNotIsInstance(self.m, sentence_transformers.CrossEncoder)
        texts = self.texts
        scores = [float(a @ b) for a, b in zip(self.m.encode(texts[:8]), self.m.encode(texts[8:16]))]
        found = self.m.evaluate(EmbeddingSimilarityEvaluator(texts[:8], texts[8:16], scores, name="x"))
        self.assertAlmostEqual(found["x_pearson_cosine"], 1.0, places=4)
        queries, corpus = {"q": texts[0]}, {str(i): text for i, text in enumerate(texts)}
        found = self.m.evaluate(InformationRetrievalEvaluator(queries, corpus, {"q": {"0"}}, name="y"))
        self.assertEqual(found["y_cosine_accuracy@1"], 1.0)
        vectors = self.m.encode(texts, convert_to_tensor=True)
        hits = util.semantic_search(vectors[:2], vectors, top_k=2)
        self.assertEqual([hit[0]["corpus_id"] for hit in hits], [0, 1])


if __name__ == "__main__":
    unittest.main()
