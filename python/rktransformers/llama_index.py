# SPDX-License-Identifier: Apache-2.0
"""For LlamaIndex: RKEmbedding (a BaseEmbedding) and RKRerank (a node postprocessor). Needs llama-index-core.

from rktransformers.llama_index import RKEmbedding
index = VectorStoreIndex.from_documents(documents, embed_model=RKEmbedding("all-MiniLM-L6-v2"))
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import Field, PrivateAttr
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
except ImportError as error:
    raise ImportError(
        f"rktransformers.llama_index needs llama-index-core: pip install llama-index-core ({error})"
    ) from None

from .cross_encoder import RKCrossEncoder
from .sentence_transformer import RKSentenceTransformer


class RKEmbedding(BaseEmbedding):  # type: ignore[misc]
    """Embeddings of nodes and queries.

    model_name: as RKSentenceTransformer's; or model: an open one. model_kwargs: platform, core_mask, file_name, ...
    normalize: vectors of length 1. query_instruction, text_instruction: prompts; None: the model's own. options: of
    BaseEmbedding (embed_batch_size, callback_manager, num_workers, ...). Raises what RKSentenceTransformer raises.
    """

    normalize: bool = Field(default=True, description="Vectors of length 1.")
    query_instruction: Optional[str] = Field(default=None, description="Put before queries; None: the model's prompt.")
    text_instruction: Optional[str] = Field(default=None, description="Put before texts; None: the model's prompt.")
    _model: Any = PrivateAttr(default=None)

    def __init__(
        self,
        model_name: str = "sentence-transformers/all-MiniLM-L6-v2",
        *,
        model: Optional[RKSentenceTransformer] = None,
        model_kwargs: Optional[Dict[str, Any]] = None,
        embed_batch_size: int = 256,
        **options: Any,
    ) -> None:
        name = model_name if model is None else model.name_or_path
        super().__init__(model_name=name, embed_batch_size=embed_batch_size, **options)
        self._model = RKSentenceTransformer(model_name, model_kwargs=model_kwargs) if model is None else model

    @classmethod
    def class_name(cls) -> str:
        return "RKEmbedding"

    def _get_query_embedding(self, query: str) -> List[float]:
        row = self._model.encode_query(query, prompt=self.query_instruction, **self._options)
        out: List[float] = row.tolist()
        return out

    def _get_text_embedding(self, text: str) -> List[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: List[str]) -> List[List[float]]:
        rows = self._model.encode_document(list(texts), prompt=self.text_instruction, **self._options)
        out: List[List[float]] = rows.tolist()
        return out

    async def _aget_query_embedding(self, query: str) -> List[float]:
        row = await self._model.aencode_query(query, prompt=self.query_instruction, **self._options)
        out: List[float] = row.tolist()
        return out

    async def _aget_text_embedding(self, text: str) -> List[float]:
        return (await self._aget_text_embeddings([text]))[0]

    async def _aget_text_embeddings(self, texts: List[str]) -> List[List[float]]:
        rows = await self._model.aencode_document(list(texts), prompt=self.text_instruction, **self._options)
        out: List[List[float]] = rows.tolist()
        return out

    @property
    def _options(self) -> Dict[str, Any]:
        return {"normalize_embeddings": self.normalize, "show_progress_bar": False}


class RKRerank(BaseNodePostprocessor):  # type: ignore[misc]
    """The top_n nodes by relevance to the query, their score the cross-encoder's.

    model: as RKCrossEncoder's model_name_or_path, with model_kwargs; or encoder: an open one. keep_retrieval_score: the score
    before in metadata["retrieval_score"].
    """

    model: str = Field(default="cross-encoder/ms-marco-MiniLM-L6-v2", description="Of the cross-encoder.")
    top_n: int = Field(default=2, description="Nodes to keep.")
    keep_retrieval_score: bool = Field(default=False, description="In metadata['retrieval_score'].")
    _encoder: Any = PrivateAttr(default=None)

    def __init__(
        self,
        model: str = "cross-encoder/ms-marco-MiniLM-L6-v2",
        top_n: int = 2,
        *,
        encoder: Optional[RKCrossEncoder] = None,
        model_kwargs: Optional[Dict[str, Any]] = None,
        **options: Any,
    ) -> None:
        super().__init__(model=model if encoder is None else encoder.name_or_path, top_n=top_n, **options)
        self._encoder = RKCrossEncoder(model, model_kwargs=model_kwargs) if encoder is None else encoder

    @classmethod
    def class_name(cls) -> str:
        return "RKRerank"

    def _postprocess_nodes(
        self, nodes: List[NodeWithScore], query_bundle: Optional[QueryBundle] = None
    ) -> List[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("RKRerank needs the query: give query_bundle or query_str")
        if not nodes:
            return []
        texts = [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
        out = []
        for hit in self._encoder.rank(query_bundle.query_str, texts, top_k=self.top_n):
            node = nodes[hit["corpus_id"]]
            if self.keep_retrieval_score:
                node.node.metadata["retrieval_score"] = node.score
            out.append(NodeWithScore(node=node.node, score=float(hit["score"])))
        return out
