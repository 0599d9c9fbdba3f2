# SPDX-License-Identifier: Apache-2.0
"""rktransformers over librkformer: the classes that users of RK-Transformers import. Each is loaded at its first use."""

from __future__ import annotations

import importlib
from typing import Any, Dict, List

from . import _conflict

__version__ = "0.1.0"

_HOMES: Dict[str, str] = {
    "RKModel": "modeling",
    "RKModelForFeatureExtraction": "modeling",
    "RKModelForMaskedLM": "modeling",
    "RKModelForMultipleChoice": "modeling",
    "RKModelForQuestionAnswering": "modeling",
    "RKModelForSequenceClassification": "modeling",
    "RKModelForTokenClassification": "modeling",
    "RKNNConfig": "configuration",
    "OptimizationConfig": "configuration",
    "QuantizationConfig": "configuration",
    "RKSentenceTransformer": "sentence_transformer",
    "RKCrossEncoder": "cross_encoder",
    "RKEmbeddings": "langchain",
    "RKReranker": "langchain",
    "RKEmbedding": "llama_index",
    "RKRerank": "llama_index",
}

_conflict.warn()


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module("." + home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *_HOMES})
