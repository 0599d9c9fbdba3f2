# SPDX-License-Identifier: Apache-2.0
"""For LangChain: RKEmbeddings (an Embeddings) and RKReranker (a document compressor). Needs langchain-core.

from rktransformers.langchain import RKEmbeddings
store = InMemoryVectorStore(RKEmbeddings("all-MiniLM-L6-v2", model_kwargs={"core_mask": "0_1"}))
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
except ImportError as error:
    raise ImportError(f"rktransformers.langchain needs langchain-core: pip install langchain-core ({error})") from None

from pydantic import ConfigDict, PrivateAttr

from .cross_encoder import RKCrossEncoder
from .sentence_transformer import RKSentenceTransformer


class RKEmbeddings(Embeddings):  # type: ignore[misc]
    """Embeddings of documents and queries.

    model_name: as RKSentenceTransformer's; or model: an open one. model_kwargs: platform, core_mask, file_name, ...
    encode_kwargs: of every encode call (normalize_embeddings, truncate_dim, ...); query_encode_kwargs: of queries, if they
    are others. Prompts: the model's "query" for queries, its "document", "passage" or "corpus" for documents. options: further
    arguments of RKSentenceTransformer. Raises what RKSentenceTransformer raises.
    """

    def __init__(
        self,
        model_name: str = "sentence-transformers/all-MiniLM-L6-v2",
        *,
        model: Optional[RKSentenceTransformer] = None,
        model_kwargs: Optional[Dict[str, Any]] = None,
        encode_kwargs: Optional[Dict[str, Any]] = None,
        query_encode_kwargs: Optional[Dict[str, Any]] = None,
        show_progress: bool = False,
        **options: Any,
    ) -> None:
        self.model = RKSentenceTransformer(model_name, model_kwargs=model_kwargs, **options) if model is None else model
        self.model_name = self.model.name_or_path
        self.encode_kwargs = {"show_progress_bar": show_progress, **(encode_kwargs or {})}
        self.query_encode_kwargs = {**self.encode_kwargs, "show_progress_bar": False, **(query_encode_kwargs or {})}

    def embed_documents(self, texts: List[str]) -> List[List[float]]:
        """[n][dim]."""
        rows: List[List[float]] = self.model.encode_document(list(texts), **self.encode_kwargs).tolist()
        return rows

    def embed_query(self, text: str) -> List[float]:
        """[dim]."""
        row: List[float] = self.model.encode_query(text, **self.query_encode_kwargs).tolist()
        return row

    async def aembed_documents(self, texts: List[str]) -> List[List[float]]:
        """[n][dim], awaited."""
        rows = await self.model.aencode_document(list(texts), **self.encode_kwargs)
        out: List[List[float]] = rows.tolist()
        return out

    async def aembed_query(self, text: str) -> List[float]:
        """[dim], awaited."""
        row = await self.model.aencode_query(text, **self.query_encode_kwargs)
        out: List[float] = row.tolist()
        return out

    def close(self) -> None:
        """Gives cores and memory back."""
        self.model.close()


class RKReranker(BaseDocumentCompressor):  # type: ignore[misc]
    """The top_n documents by relevance, with metadata["relevance_score"].

    model_name: as RKCrossEncoder's, with model_kwargs; or model: an open one. top_n: how many; None: all.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", protected_namespaces=())

    model_name: str = "cross-encoder/ms-marco-MiniLM-L6-v2"
    top_n: Optional[int] = 3
    model_kwargs: Optional[Dict[str, Any]] = None
    model: Any = None
    _encoder: Any = PrivateAttr(default=None)

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        self._encoder = (
            RKCrossEncoder(self.model_name, model_kwargs=self.model_kwargs) if self.model is None else self.model
        )

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Optional[Callbacks] = None
    ) -> Sequence[Document]:
        """The best documents, best first; copies with the score in their metadata."""
        ranked = self._encoder.rank(query, [document.page_content for document in documents], top_k=self.top_n)
        return _picked(documents, ranked)

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Optional[Callbacks] = None
    ) -> Sequence[Document]:
        """`compress_documents`, awaited."""
        ranked = await self._encoder.arank(query, [document.page_content for document in documents], top_k=self.top_n)
        return _picked(documents, ranked)


def _picked(documents: Sequence[Document], ranked: List[Dict[str, Any]]) -> List[Document]:
    out = []
    for hit in ranked:
        document = documents[hit["corpus_id"]]
        metadata = {**document.metadata, "relevance_score": float(hit["score"])}
        out.append(Document(page_content=document.page_content, metadata=metadata, id=document.id))
    return out
