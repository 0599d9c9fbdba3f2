# SPDX-License-Identifier: Apache-2.0
"""RKCrossEncoder: transformers' logits (goldens), return kinds, activations, rank, misuse."""

from __future__ import annotations

import asyncio
import copy
import tempfile
import unittest

from st_support import CLOSE_LOGITS, changed, golden, have, model, needs_torch, without_torch

import numpy as np

from rktransformers import RKCrossEncoder, _compat
from rktransformers.cross_encoder import Activation

RERANK = "trained/bert-rerank"
THREE = "random/distilbert-cls3"


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Shared(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.m = RKCrossEncoder(model(RERANK))
        cls.three = RKCrossEncoder(model(THREE))
        cls.expected = golden(RERANK)["pairs"]
        cls.pairs = [(entry["text"], entry["text_pair"]) for entry in cls.expected]

    @classmethod
    def tearDownClass(cls) -> None:
        cls.m.close()
        cls.three.close()


class Predict(Shared):
    def test_goldens(self) -> None:
        logits = np.array([entry["logits"][0] for entry in self.expected], np.float32)
        raw = self.m.predict(self.pairs, activation_fn=Activation("Identity"))
        self.assertEqual((raw.dtype, raw.shape), (np.float32, logits.shape))
        np.testing.assert_allclose(raw, logits, atol=CLOSE_LOGITS * np.abs(logits).max())
        np.testing.assert_allclose(self.m.predict(self.pairs), sigmoid(logits), atol=1e-4)

    def test_kinds(self) -> None:
        one = self.m.predict(self.pairs[0])
        self.assertEqual((type(one), one.shape), (np.float32, ()))
        self.assertEqual(self.m.predict(list(self.pairs[0])), one)
        self.assertEqual(self.m.predict([list(pair) for pair in self.pairs]).shape, (len(self.pairs),))
        if _compat.generation() > 5:  # 5 asks an array whether it is true
            self.assertEqual(self.m.predict(np.array(self.pairs)).shape, (len(self.pairs),))
            self.assertEqual(self.m.predict(np.array([self.pairs[0]], dtype=object)).shape, (1,))
            self.assertEqual(self.m.predict(np.array(self.pairs[0])), one)
        else:
            with self.assertRaises(ValueError):
                self.m.predict(np.array(self.pairs))
        self.assertEqual(self.m.predict([self.pairs[0], "one alone"])[0], one)
        self.assertEqual(self.m.predict([]).shape, (0,))
        self.assertEqual(self.three.predict(self.pairs).shape, (len(self.pairs), 3))
        self.assertEqual(self.three.predict(self.pairs[0]).shape, (3,))
        self.assertEqual(self.m.predict(inputs=self.pairs).shape, self.m.predict(sentences=self.pairs).shape)

    def test_arguments_in_the_order_of_5_and_of_6(self) -> None:
        plain = self.m.predict(self.pairs)
        np.testing.assert_array_equal(self.m.predict(self.pairs, 16, False, None, False, True), plain)
        np.testing.assert_array_equal(self.m.predict(self.pairs, None, None, 16, False, None, False, True), plain)
        np.testing.assert_array_equal(self.m.predict(self.pairs, activation_fct=None, num_workers=0), plain)
        with self.assertRaises(TypeError):
            self.m.predict(self.pairs, 16, batch_size=8)

    def test_softmax(self) -> None:
        raw = self.three.predict(self.pairs)
        soft = self.three.predict(self.pairs, apply_softmax=True)
        np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(np.log(soft) - np.log(soft[:, :1]), raw - raw[:, :1], atol=1e-4)

    def test_activations(self) -> None:
        raw = self.m.predict(self.pairs, activation_fn=Activation("Identity"))
        np.testing.assert_allclose(
            self.m.predict(self.pairs, activation_fn=Activation("Tanh")), np.tanh(raw), atol=1e-6
        )
        np.testing.assert_allclose(self.m.predict(self.pairs), sigmoid(raw), atol=1e-6)  # held for one call
        self.assertEqual((repr(self.m.activation_fn), repr(self.three.activation_fn)), ("Sigmoid()", "Identity()"))
        with changed(
            RERANK, **{"config.json": {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}}
        ) as path:
            np.testing.assert_allclose(RKCrossEncoder(path).predict(self.pairs), raw, atol=1e-6)
        old = {"sentence_transformers": {}, "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}
        with changed(RERANK, **{"config.json": old}) as path:
            np.testing.assert_allclose(RKCrossEncoder(path).predict(self.pairs), raw, atol=1e-6)
        with changed(RERANK, **{"config.json": {"sentence_transformers": {"activation_fn": "os.system"}}}) as path:
            with self.assertLogs("rktransformers", "WARNING"):
                np.testing.assert_allclose(RKCrossEncoder(path).predict(self.pairs), sigmoid(raw), atol=1e-6)
        mine = RKCrossEncoder(model(RERANK), activation_fn=Activation("Identity"))
        np.testing.assert_allclose(mine.predict(self.pairs), raw, atol=1e-6)
        mine.set_activation_fn(None)
        np.testing.assert_allclose(mine.predict(self.pairs), sigmoid(raw), atol=1e-6)
        mine.set_activation_fn(Activation("Tanh"))
        mine.set_activation_fn(Activation("Identity"), set_default=False)
        np.testing.assert_allclose(mine.predict(self.pairs), raw, atol=1e-6)
        mine.set_activation_fn(None)  # the default that was set
        np.testing.assert_allclose(mine.predict(self.pairs), np.tanh(raw), atol=1e-6)

    def test_prompts(self) -> None:
        m = RKCrossEncoder(model(RERANK), prompts={"web": "search: "})
        expected = self.m.predict([("search: " + a, b) for a, b in self.pairs])
        np.testing.assert_allclose(m.predict(self.pairs, prompt_name="web"), expected, atol=1e-6)
        np.testing.assert_allclose(m.predict(self.pairs, prompt="search: "), expected, atol=1e-6)
        with self.assertRaises(ValueError):
            m.predict(self.pairs, prompt_name="nope")

    @needs_torch
    def test_tensors(self) -> None:
        import torch

        many = self.m.predict(self.pairs, convert_to_tensor=True)
        self.assertEqual((type(many), tuple(many.shape)), (torch.Tensor, (len(self.pairs),)))
        self.assertTrue(all(isinstance(x, torch.Tensor) for x in self.m.predict(self.pairs, convert_to_numpy=False)))
        self.assertEqual(tuple(self.m.predict(self.pairs[0], convert_to_tensor=True).shape), ())
        raw = self.m.predict(self.pairs, activation_fn=torch.nn.Identity())
        np.testing.assert_allclose(self.m.predict(self.pairs, activation_fn=torch.nn.Tanh()), np.tanh(raw), atol=1e-6)

    @without_torch
    def test_without_torch(self) -> None:
        with self.assertRaisesRegex(ImportError, "torch is not installed"):
            self.m.predict(self.pairs, convert_to_tensor=True)

    def test_misuse(self) -> None:
        for wrong in (5, None, [1, 2], [None], ["a", "b", "c"], [("a", "b", "c")], [("a",)]):
            for kind in (TypeError, ValueError):
                with self.subTest(wrong), self.assertRaises(kind):
                    self.m.predict(wrong)
        with self.assertRaises(ValueError):
            self.m.predict(self.pairs, batch_size=0)
        with self.assertRaises(RuntimeError):
            RKCrossEncoder(model(RERANK), num_labels=2)
        with self.assertRaisesRegex(ValueError, "head"):
            RKCrossEncoder(model("trained/bert-embed"))
        with self.assertRaises(TypeError):
            RKCrossEncoder(model(RERANK), nope=1)
        with self.assertRaises(TypeError):
            self.m.rank("a", ["b"], nope=1)
        with self.assertRaises(TypeError):
            self.m.predict(self.pairs, batch_size=2.0)
        with self.assertRaises(TypeError):
            self.m.set_activation_fn(5)  # type: ignore[arg-type]

    @needs_torch
    def test_activations_that_give_no_scores(self) -> None:
        for give in (lambda x: None, lambda x: x.sum(), lambda x: x[:1]):
            with self.assertRaises(TypeError):
                self.m.predict(self.pairs, activation_fn=give)

    def test_length(self) -> None:
        long = [("word " * 200, "another " * 200)]
        m = RKCrossEncoder(model(RERANK), max_length=8)
        self.assertEqual((m.max_length, self.m.max_length), (8, 64))
        self.assertNotEqual(m.predict(long)[0], self.m.predict(long)[0])
        m.max_length = 64
        np.testing.assert_allclose(m.predict(long), self.m.predict(long), atol=1e-6)


class Rank(Shared):
    def test_rank(self) -> None:
        documents = [entry["text_pair"] for entry in self.expected]
        scores = self.m.predict([(self.pairs[0][0], document) for document in documents])
        found = self.m.rank(self.pairs[0][0], documents, return_documents=True)
        order = list(np.argsort(-scores, kind="stable"))
        self.assertEqual([hit["corpus_id"] for hit in found], order)
        self.assertEqual([hit["text"] for hit in found], [documents[i] for i in order])
        np.testing.assert_allclose([hit["score"] for hit in found], scores[order], atol=1e-7)
        if _compat.generation() > 5:
            self.assertIs(type(found[0]["score"]), float)
        self.assertEqual(len(self.m.rank("a", documents, 1)), 1)
        self.assertEqual(len(self.m.rank("a", documents, 2, False, 16)), 2)
        self.assertEqual(self.m.rank("a", []), [])
        self.assertNotIn("text", self.m.rank("a", documents)[0])
        with self.assertRaisesRegex(ValueError, "num_labels=1"):
            self.three.rank("a", documents)

    def test_asyncio(self) -> None:
        async def run() -> tuple:
            return await self.m.apredict(self.pairs), await self.m.arank("a", ["b", "c"], top_k=1)

        scores, ranked = asyncio.run(run())
        np.testing.assert_allclose(scores, self.m.predict(self.pairs), atol=1e-6)
        self.assertEqual(len(ranked), 1)

    def test_saved_and_copied(self) -> None:
        m = RKCrossEncoder(model(RERANK), activation_fn=Activation("Identity"))
        with tempfile.TemporaryDirectory() as folder:
            m.save_pretrained(folder)
            np.testing.assert_array_equal(RKCrossEncoder(folder).predict(self.pairs), m.predict(self.pairs))
        np.testing.assert_array_equal(copy.deepcopy(m).predict(self.pairs), m.predict(self.pairs))

    @unittest.skipUnless(have("sentence_transformers"), "sentence-transformers is not installed")
    def test_where_theirs_is_expected(self) -> None:
        import sentence_transformers

        self.assertIsInstance(self.m, sentence_transformers.CrossEncoder)
        self.assertNotIsInstance(self.m, sentence_transformers.SentenceTransformer)


if __name__ == "__main__":
    unittest.main()
