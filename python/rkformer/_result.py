# SPDX-License-Identifier: Apache-2.0
"""Results: the library's memory seen as numpy arrays, and its labels, spans and fills as Python values."""

from __future__ import annotations

from ctypes import byref, c_size_t
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Tuple

from . import _native

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class _Memory:
    """numpy's array interface over memory that a result owns; an array made from it keeps the result alive."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, owner: "Result", address: int, shape: Tuple[int, ...], typestr: str) -> None:
        self.owner = owner
        self.__array_interface__ = {"data": (address, False), "shape": shape, "typestr": typestr, "version": 3}


class SparseVector(NamedTuple):
    """Non-zero weights of a SPLADE vector: indices [k] int32 (vocabulary ids), values [k] float32."""

    indices: "NDArray[np.int32]"
    values: "NDArray[np.float32]"


class Encoding(NamedTuple):
    """The tokens of one text, arrays of int32. offsets are code points of the text (pair: of the token's own text)."""

    ids: "NDArray[np.int32]"  # [n]
    type_ids: "NDArray[np.int32]"  # [n]
    offsets: "NDArray[np.int32]"  # [n, 2]
    special_tokens_mask: "NDArray[np.uint8]"  # [n] 1: added by the post-processor
    word_ids: "NDArray[np.int32]"  # [n] -1: none
    sequence_ids: "NDArray[np.int32]"  # [n] 0 text, 1 pair, -1 none
    tokens: List[str]
    truncated: int  # tokens cut


class Result:
    """Owns a rkf_result."""

    __slots__ = ("_ptr", "_library", "__weakref__")

    def __init__(self, ptr: int) -> None:
        self._ptr = ptr
        self._library = _native.lib()

    def __del__(self) -> None:
        self._library.rkf_result_free(self._ptr)

    def __len__(self) -> int:
        return int(self._library.rkf_result_count(self._ptr))

    def array(self, address: int, shape: Tuple[int, ...], typestr: str) -> Any:
        """Memory of this result as an array, without a copy."""
        import numpy as np

        if not address or 0 in shape:
            return np.zeros(shape, typestr)
        return np.asarray(_Memory(self, address, shape, typestr))

    def tensor(self, item: int = _native.ALL) -> Any:
        """The tensor of an input, or of all (EMBED)."""
        tensor = _native.Tensor()
        status = self._library.rkf_result_tensor(self._ptr, item, byref(tensor))
        if status:
            raise _native.make_error(status, "this result has no such tensor")
        shape = tuple(tensor.shape[: tensor.ndim])
        return self.array(tensor.data or 0, shape, _native.TENSOR_TYPES[tensor.type])

    def _items(self, function: str, item: int) -> Any:
        n = c_size_t()
        items = getattr(self._library, function)(self._ptr, item, byref(n))
        return items[: n.value] if n.value else []

    def labels(self, item: int) -> List[Dict[str, Any]]:
        return [{"label": x.label.text(), "score": x.score} for x in self._items("rkf_result_labels", item)]

    def scores(self) -> Any:
        """RERANK, CHOOSE: one score per input, [n] float32."""
        import numpy as np

        n = len(self)
        out = np.empty(n, np.float32)
        library, count = self._library, c_size_t()
        for i in range(n):
            out[i] = library.rkf_result_labels(self._ptr, i, byref(count))[0].score
        return out

    def label_scores(self, item: int) -> List[Tuple[int, float]]:
        """(label id, score), best first."""
        return [(x.id, x.score) for x in self._items("rkf_result_labels", item)]

    def spans(self, item: int) -> List[Any]:
        return list(self._items("rkf_result_spans", item))

    def fills(self, item: int) -> List[Any]:
        return list(self._items("rkf_result_fills", item))

    def sparse(self, item: int) -> SparseVector:
        n = c_size_t()
        address = self._library.rkf_result_sparse(self._ptr, item, byref(n)) or 0
        words = self.array(address, (n.value, 2), _native.TENSOR_TYPES[3])
        return SparseVector(words[:, 0], words[:, 1].view(_native.TENSOR_TYPES[0]) if n.value else words[:, 1])

    def info(self, item: int = _native.ALL) -> Dict[str, Any]:
        info = _native.Info()
        status = self._library.rkf_result_info(self._ptr, item, byref(info))
        if status:
            raise _native.make_error(status, "this result has no such input")
        return {
            "tokens": info.tokens,
            "truncated": info.truncated,
            "tokenize_us": info.tokenize_us,
            "queue_us": info.queue_us,
            "run_us": info.run_us,
            "device": info.device.decode() if info.device else None,
            "cores": [core for core in range(32) if info.cores >> core & 1],
        }

    def encoding(self, item: int, model: int) -> Encoding:
        tokens = self._library.rkf_result_tokens(self._ptr, item)[0]
        n, i4 = int(tokens.n), _native.TENSOR_TYPES[3]
        ids = self.array(tokens.ids or 0, (n,), i4)
        text = self._library.rkf_token_text
        return Encoding(
            ids,
            self.array(tokens.type_ids or 0, (n,), i4),
            self.array(tokens.offsets or 0, (n, 2), i4),
            self.array(tokens.special or 0, (n,), "|u1"),
            self.array(tokens.word_ids or 0, (n,), i4),
            self.array(tokens.sequence_ids or 0, (n,), i4),
            [(text(model, int(x)) or b"").decode("utf-8", "replace") for x in ids],
            int(tokens.truncated),
        )

