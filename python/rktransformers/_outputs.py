# SPDX-License-Identifier: Apache-2.0
"""What models return: transformers' own output classes where transformers is in use, else objects that act like them."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any, Tuple


class ModelOutput(OrderedDict):  # type: ignore[type-arg]
    """Results by name, attribute or position: `output["logits"]`, `output.logits`, `output[0]`."""

    _fields: Tuple[str, ...] = ()

    def __init__(self, **values: Any) -> None:
        super().__init__((key, value) for key, value in values.items() if value is not None)

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return super().__getitem__(name)
        if name in self._fields:
            return None
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> Tuple[Any, ...]:
        return tuple(self.values())

    def __reduce__(self) -> Any:
        return _restore, (type(self), dict(self))


def _restore(cls: Any, values: Any) -> Any:
    return cls(**values)


class BaseModelOutput(ModelOutput):
    """last_hidden_state: [batch, seq, hidden] float32."""

    _fields = ("last_hidden_state", "hidden_states", "attentions")


class _Logits(ModelOutput):
    _fields = ("loss", "logits", "hidden_states", "attentions")


class MaskedLMOutput(_Logits):
    """logits: [batch, seq, vocab] float32."""


class SequenceClassifierOutput(_Logits):
    """logits: [batch, labels] float32."""


class TokenClassifierOutput(_Logits):
    """logits: [batch, seq, labels] float32."""


class MultipleChoiceModelOutput(_Logits):
    """logits: [batch, choices] float32."""


class QuestionAnsweringModelOutput(ModelOutput):
    """start_logits, end_logits: [batch, seq] float32."""

    _fields = ("loss", "start_logits", "end_logits", "hidden_states", "attentions")


def make(name: str, **values: Any) -> Any:
    """An output of a class by its name."""
    if "transformers" in sys.modules:
        try:
            from transformers import modeling_outputs

            return getattr(modeling_outputs, name)(**values)
        except (ImportError, AttributeError):  # transformers without torch
            pass
    return globals()[name](**values)
