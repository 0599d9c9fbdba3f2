# SPDX-License-Identifier: Apache-2.0
"""A light tokenizer over the library's, with the few methods of transformers' that users of sentence-transformers call."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, Union

from . import _compat

if TYPE_CHECKING:
    from rkformer._model import Model

# Tokenizer classes of transformers that give token_type_ids where the files do not name a tokenizer's outputs: in every version
# of it, and those that stopped in 5 (PreTrained: the class without a family).
_TYPED = frozenset(
    ("Bert", "Canine", "ConvBert", "Deberta", "DebertaV2", "Electra", "FNet", "LayoutLM", "LayoutLMv2", "Lxmert", "MarkupLM")
    + ("MobileBert", "SqueezeBert", "Tapas")
)
_TYPED_IN_4 = frozenset(
    ("Albert", "BertJapanese", "Bertweet", "Flaubert", "Funnel", "Herbert", "Phobert", "PreTrained", "RemBert", "RoFormer")
    + ("Splinter", "XLM", "XLNet")
)
_CLASS_OF = {  # of model types, where no class is named
    "albert": "Albert",
    "bert": "Bert",
    "deberta-v2": "DebertaV2",
    "electra": "Electra",
    "eurobert": "PreTrained",
    "modernbert": "PreTrained",
    "new": "Bert",
    "nomic_bert": "Bert",
}


def _read(path: Path) -> Dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


class Tokenizer:
    """tokenizer("a text") -> {"input_ids", "token_type_ids", "attention_mask"} as lists; padding=True pads on the right.

    model: an open rkformer.Model; folder: of its files. Truncation is at max_length tokens, else at model_max_length.
    """

    is_fast = True
    padding_side = "right"

    def __init__(self, model: "Model", folder: Path) -> None:
        self._model = model
        self._settings = _read(folder / "tokenizer_config.json")
        config = _read(folder / "config.json")
        typed = _gives_types(self._settings, config)
        self.model_input_names = (
            ["input_ids", "token_type_ids", "attention_mask"] if typed else ["input_ids", "attention_mask"]
        )
        self.pad_token_id = int(config.get("pad_token_id") or 0)
        self.model_max_length = int(model.facts["max_length"])
        self.vocab_size = int(model.facts["vocab_size"])

    def __len__(self) -> int:
        return self.vocab_size

    def _encode(self, items: List[Any], special: bool, truncate: bool, max_length: Optional[int]) -> List[Any]:
        first = [
            item if isinstance(item, str) else item["text"] if isinstance(item, dict) else item[0] for item in items
        ]
        second = [None if isinstance(i, str) else i.get("text_pair") if isinstance(i, dict) else i[1] for i in items]
        options: Dict[str, Any] = dict(add_special_tokens=special, max_length=max_length)
        options["truncate"] = None if truncate else False
        if not any(part is not None for part in second):
            return list(self._call(first, **options))
        if all(part is not None for part in second):
            return list(self._call(first, second, **options))
        return [self._one(a, b, options) for a, b in zip(first, second)]

    def _one(self, first: str, second: Optional[str], options: Dict[str, Any]) -> Any:
        return self._call([first], None if second is None else [second], **options)[0]

    def _call(self, *args: Any, **options: Any) -> Any:
        return self._model.tokenize(*args, **options)

    def features(self, items: List[Any], max_length: Optional[int] = None) -> Dict[str, Any]:
        """input_ids, token_type_ids and attention_mask of texts and pairs: arrays [n, longest] int64."""
        import numpy as np

        encoded = self._encode(items, True, True, max_length)
        longest = max((len(one.ids) for one in encoded), default=0)
        out = {name: np.zeros((len(encoded), longest), np.int64) for name in self.model_input_names}
        out["input_ids"][:] = self.pad_token_id
        for i, one in enumerate(encoded):
            n = len(one.ids)
            out["input_ids"][i, :n] = one.ids
            out["attention_mask"][i, :n] = 1
            if "token_type_ids" in out:
                out["token_type_ids"][i, :n] = one.type_ids
        return out

    def __call__(
        self,
        text: Union[str, List[Any]],
        text_pair: Union[str, List[str], None] = None,
        *,
        add_special_tokens: bool = True,
        padding: Union[bool, str] = False,
        truncation: Union[bool, str] = False,
        max_length: Optional[int] = None,
        return_tensors: Optional[str] = None,
        **kwargs: Any,
    ) -> Dict[str, Any]:
        items, single = _items(text, text_pair)
        limit = (max_length or self.model_max_length) if truncation else None
        encoded = self._encode(items, add_special_tokens, bool(truncation), limit)
        out: Dict[str, Any] = {name: [] for name in self.model_input_names}
        width = max((len(one.ids) for one in encoded), default=0)
        if padding == "max_length":
            width = max_length or self.model_max_length
        for one in encoded:
            missing = max(0, width - len(one.ids)) if padding else 0
            out["input_ids"].append([int(x) for x in one.ids] + [self.pad_token_id] * missing)
            out["attention_mask"].append([1] * len(one.ids) + [0] * missing)
            if "token_type_ids" in out:
                out["token_type_ids"].append([int(x) for x in one.type_ids] + [0] * missing)
        if return_tensors:
            return {name: _tensors(rows, return_tensors) for name, rows in out.items()}
        return {name: rows[0] for name, rows in out.items()} if single else out

    def encode(
        self, text: str, text_pair: Optional[str] = None, *, add_special_tokens: bool = True, **kwargs: Any
    ) -> List[int]:
        """Token ids."""
        return list(self(text, text_pair, add_special_tokens=add_special_tokens, **kwargs)["input_ids"])

    def tokenize(self, text: str, **kwargs: Any) -> List[str]:
        """The vocabulary's texts of a text's tokens, without special ones."""
        return list(self._call(text, add_special_tokens=False, truncate=False).tokens)

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **kwargs: Any) -> str:
        """The text of token ids."""
        return str(self._model.decode(list(map(int, token_ids)), skip_special_tokens=skip_special_tokens))

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **kwargs: Any) -> List[str]:
        return [self.decode(ids, skip_special_tokens) for ids in sequences]


def _gives_types(settings: Dict[str, Any], config: Dict[str, Any]) -> bool:
    """Whether transformers' tokenizer gives token_type_ids: the files say so, else the tokenizer's class."""
    named = settings.get("model_input_names")
    if named:
        return "token_type_ids" in named
    family = settings.get("tokenizer_class") or _CLASS_OF.get(str(config.get("model_type", "")), "")
    family = re.sub(r"Tokenizer(Fast)?$", "", str(family))
    return family in _TYPED or (family in _TYPED_IN_4 and _compat.transformers_generation() < 5)


def _items(text: Any, pair: Any) -> Tuple[List[Any], bool]:
    single = isinstance(text, str)
    texts = [text] if single else list(text)
    if pair is None:
        return texts, single
    return list(zip(texts, [pair] if isinstance(pair, str) else list(pair))), single


def _tensors(rows: List[List[int]], kind: str) -> Any:
    import numpy as np

    array = np.array(rows, np.int64)
    return _compat.to_tensor(array, 'return_tensors="pt"') if kind == "pt" else array
