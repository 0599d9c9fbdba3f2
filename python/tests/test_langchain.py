# SPDX-License-Identifier: Apache-2.0
"""The LangChain adapters in a retrieval: store, retriever, reranker. Skipped where langchain-core is not installed:
python3 -m venv build/adapters && build/adapters/bin/pip install langchain-core llama-index-core numpy."""

from __future__ import annotations

import asyncio
import unittest

from st_support import have, model, texts

import numpy as np

from rktransformers import RKCrossEncoder, RKSentenceTransformer

FACTS = [
    "The dog runs in the garden.",
    "The bank gave a loan.",
    "There is rain and snow today.",
    "A cat sleeps on the sofa.",
]


@unittest.skipUnless(have("langchain_core"), "langchain-core is not installed: pip install langchain-core")
class LangChain(unittest.TestCase):
    def test_retrieval(self) -> None:
        from langchain_core.documents import Document
        from langchain_core.vectorstores import InMemoryVectorStore

        from rktransformers.langchain import RKEmbeddings, RKReranker

        embeddings = RKEmbeddings(model("trained/bert-embed"), encode_kwargs={"normalize_embeddings": True})
        store = InMemoryVectorStore(embeddings)
        store.add_documents([Document(page_content=text, metadata={"n": i}) for i, text in enumerate(FACTS)])
        for i, text in enumerate(FACTS):
            found = store.as_retriever(search_kwargs={"k": 3}).invoke(text)
            self.assertEqual(found[0].metadata["n"], i)
        plain = RKSentenceTransformer(model("trained/bert-embed")).encode(FACTS)
        np.testing.assert_allclose(embeddings.embed_documents(FACTS), plain, atol=1e-6)

        encoder = RKCrossEncoder(model("trained/bert-rerank"))
        reranker = RKReranker(model_name=model("trained/bert-rerank"), top_n=2)
        best = reranker.compress_documents(found, FACTS[0])
        ranked = encoder.rank(FACTS[0], [document.page_content for document in found], top_k=2, return_documents=True)
        self.assertEqual([document.page_content for document in best], [hit["text"] for hit in ranked])
        self.assertAlmostEqual(best[0].metadata["relevance_score"], float(ranked[0]["score"]), places=6)
        self.assertNotIn("relevance_score", found[0].metadata)
        self.assertEqual(len(RKReranker(model=encoder, top_n=None).compress_documents(found, "x")), 3)

    def test_asyncio(self) -> None:
        from langchain_core.documents import Document

        from rktransformers.langchain import RKEmbeddings, RKReranker

        embeddings = RKEmbeddings(model=RKSentenceTransformer(model("trained/bert-embed")))
        reranker = RKReranker(model=RKCrossEncoder(model("trained/bert-rerank")), top_n=1)

        async def run() -> tuple:
            documents = [Document(page_content=text) for text in FACTS]
            return await asyncio.gather(
                embeddings.aembed_documents(texts()),
                embeddings.aembed_query("one"),
                reranker.acompress_documents(documents, FACTS[1]),
            )

        many, one, best = asyncio.run(run())
        np.testing.assert_allclose(many, embeddings.embed_documents(texts()), atol=1e-6)
        np.testing.assert_allclose(one, embeddings.embed_query("one"), atol=1e-6)
        self.assertEqual(len(best), 1)


if __name__ == "__main__":
    unittest.main()
