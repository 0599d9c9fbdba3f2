# SPDX-License-Identifier: Apache-2.0
"""The words of RK-Transformers: platforms, core masks, tasks and the classes for them."""

from __future__ import annotations


from typing import Dict, Literal, Tuple

RKNN_WEIGHTS_NAME = "model.rknn"
RKNN_FILE_PATTERN = r".*\.rknn$"
DEFAULT_MAX_SEQ_LENGTH = 512
DEFAULT_BATCH_SIZE = 1
DEFAULT_OPSET = 19

PlatformType = Literal["simulator", "rk3588", "rk3576", "rk3568", "rk3566", "rk3562"]
PLATFORM_CHOICES: Tuple[str, ...] = ("simulator", "rk3588", "rk3576", "rk3568", "rk3566", "rk3562")
CoreMaskType = Literal["auto", "0", "1", "2", "0_1", "0_1_2", "all"]
CORE_MASK_CHOICES: Tuple[str, ...] = ("auto", "0", "1", "2", "0_1", "0_1_2", "all")
SUPPORTED_TASK_CHOICES: Tuple[str, ...] = (
    "auto",
    "feature-extraction",
    "fill-mask",
    "sequence-classification",
    "question-answering",
    "token-classification",
    "multiple-choice",
)
TASK_TO_RK_MODEL_CLASS: Dict[str, str] = {
    "fill-mask": "RKModelForMaskedLM",
    "sequence-classification": "RKModelForSequenceClassification",
    "feature-extraction": "RKModelForFeatureExtraction",
    "question-answering": "RKModelForQuestionAnswering",
    "token-classification": "RKModelForTokenClassification",
    "multiple-choice": "RKModelForMultipleChoice",
}
