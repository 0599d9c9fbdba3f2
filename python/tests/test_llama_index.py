# SPDX-License-Identifier: Apache-2.0
"""The LlamaIndex adapters in a retrieval: index, retriever, reranker. Skipped where llama-index-core is not installed
(see test_langchain.py)."""

from __future__ import annotations

import asyncio
import unittest

from st_support import have, model, texts

import numpy as np

from rktransformers import RKCrossEncoder, RKSentenceTransformer
from test_langchain import FACTS


@unittest.skipUnless(
    have("llama_index.core") if have("llama_index") else False,
    "llama-index-core is not installed: pip install llama-index-core",
)
class LlamaIndex(unittest.TestCase):
    def test_retrieval(self) -> None:
        from llama_index.core import VectorStoreIndex
        from llama_index.core.schema import QueryBundle, TextNode

        from rktransformers.llama_index import RKEmbedding, RKRerank

        embedding = RKEmbedding(model("trained/bert-embed"))
        index = VectorStoreIndex(
            nodes=[TextNode(text=text, id_=str(i)) for i, text in enumerate(FACTS)], embed_model=embedding
        )
        retriever = index.as_retriever(similarity_top_k=3)
        for i, text in enumerate(FACTS):
            found = retriever.retrieve(text)
            self.assertEqual(found[0].node.node_id, str(i))
        encoder = RKCrossEncoder(model("trained/bert-rerank"))
        reranker = RKRerank(encoder=encoder, top_n=2, keep_retrieval_score=True)
        before = [node.node.get_content() for node in found]
        best = reranker.postprocess_nodes(found, QueryBundle(FACTS[0]))
        ranked = encoder.rank(FACTS[0], before, top_k=2, return_documents=True)
        self.assertEqual([node.node.get_content() for node in best], [hit["text"] for hit in ranked])
        self.assertAlmostEqual(best[0].score, float(ranked[0]["score"]), places=6)
        self.assertIn("retrieval_score", best[0].node.metadata)
        with self.assertRaises(ValueError):
            reranker.postprocess_nodes(found)

    def test_asyncio(self) -> None:
        from rktransformers.llama_index import RKEmbedding

        m = RKSentenceTransformer(model("trained/bert-embed"))
        embedding = RKEmbedding(model=m, query_instruction="find: ")

        async def run() -> tuple:
            return await asyncio.gather(
                embedding.aget_text_embedding_batch(texts()), embedding.aget_query_embedding("one")
            )

        many, one = asyncio.run(run())
        np.testing.assert_allclose(many, m.encode(texts()), atol=1e-6)
        np.testing.assert_allclose(one, m.encode("find: one"), atol=1e-6)
        np.testing.assert_allclose(embedding.get_text_embedding("a"), m.encode("a"), atol=1e-6)


if __name__ == "__main__":
    unittest.main()
