# SPDX-License-Identifier: Apache-2.0
"""What callers give as texts, packed into an array of rkf_input.

Owns: telling texts, pairs and token ids apart, and laying them out in C's memory with as little work per item as Python
allows: all texts of a list become one block of UTF-8, and the array of structs is a numpy array of machine words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Sequence, Tuple, Union

from . import _native

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ids = Union[Sequence[int], NDArray[np.integer[Any]]]
    Texts = Union[str, Sequence[str], Sequence[Sequence[str]], Sequence[Mapping[str, str]], Ids, Sequence[Ids]]

_WORDS = 7  # of rkf_input: text, its length, pair, its length, ids, their number, type ids


class Packed:
    """An array of rkf_input and everything it points to.

    array: [n, 7] machine words; n: inputs; nbytes: of text, or 4 per token id.
    """

    __slots__ = ("array", "n", "nbytes", "keep")

    def __init__(self, array: Any, nbytes: int, keep: List[Any]) -> None:
        self.array = array
        self.n = len(array)
        self.nbytes = nbytes
        self.keep = keep

    @property
    def address(self) -> int:
        return int(self.array.ctypes.data)


def is_ids(value: Any) -> bool:
    """Whether one input is token ids: a 1-d array of integers, or a sequence of ints."""
    if isinstance(value, (str, bytes)):
        return False
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind is not None:
        return bool(kind in "iu" and getattr(value, "ndim", 0) == 1)
    if isinstance(value, Sequence) and len(value):
        first = value[0]
        kind = getattr(getattr(first, "dtype", None), "kind", "")
        return isinstance(first, int) or (kind in ("i", "u") and getattr(first, "ndim", 1) == 0)
    return False


def as_list(texts: Any) -> Tuple[List[Any], bool]:
    """The inputs as a list, and whether the caller gave one input alone (and gets one answer)."""
    if isinstance(texts, str):
        return [texts], True
    if isinstance(texts, Mapping):
        return [texts], True
    if is_ids(texts):
        return [texts], True
    if isinstance(texts, (bytes, bytearray)):
        raise TypeError("texts are str, not bytes: decode them first")
    if isinstance(texts, list):
        return texts, False
    if getattr(texts, "ndim", 1) == 0:  # a numpy scalar of text
        return [str(texts)], True
    return list(texts), False


def _blob(texts: List[str], keep: List[Any]) -> Tuple[Any, Any, int]:
    """Texts end to end. Returns their addresses [n], byte lengths [n] and the bytes in all."""
    import numpy as np

    joined = "".join(texts)  # TypeError names the first that is no str
    if joined.isascii():
        blob = joined.encode("ascii")
        lengths = np.fromiter(map(len, texts), np.uintp, len(texts))
    else:
        try:
            parts = [text.encode("utf-8") for text in texts]
        except UnicodeEncodeError as error:
            raise _native.TextError(f"a text has half of a surrogate pair ({error}): it is no Unicode text") from None
        blob = b"".join(parts)
        lengths = np.fromiter(map(len, parts), np.uintp, len(texts))
    memory = np.frombuffer(blob or b"\0", np.uint8)
    keep.append(memory)
    starts = np.cumsum(lengths, dtype=np.uintp)
    starts -= lengths
    starts += np.uintp(memory.ctypes.data)
    return starts, lengths, len(blob)


def _ids_blob(lists: List[Any], what: str, keep: List[Any]) -> Tuple[Any, Any, int]:
    """Token ids end to end as int32. Returns addresses [n], lengths [n] and the ids in all."""
    import numpy as np

    arrays = []
    for i, ids in enumerate(lists):
        array = np.asarray(ids)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise _native.InvalidError(f"input {i}: {what} are a list of whole numbers, or a 1-d array of them")
        if array.dtype.itemsize > 4 and array.size and (array.max() > 2**31 - 1 or array.min() < -(2**31)):
            raise _native.InvalidError(f"input {i}: {what} are beyond 32 bits")
        arrays.append(array.astype(np.int32, copy=False))
    lengths = np.fromiter(map(len, arrays), np.uintp, len(arrays))
    memory = np.concatenate([*arrays, np.zeros(1, np.int32)]).astype(np.int32, copy=False)
    keep.append(memory)
    starts = np.cumsum(lengths, dtype=np.uintp)
    starts -= lengths
    starts *= np.uintp(4)
    starts += np.uintp(memory.ctypes.data)
    return starts, lengths, int(lengths.sum())


def _pair_of(value: Any, index: int) -> Tuple[str, Optional[str]]:
    if isinstance(value, Mapping):
        return value["text"], value.get("text_pair")
    if isinstance(value, str):
        return value, None
    if getattr(value, "ndim", 1) != 1 or getattr(getattr(value, "dtype", None), "kind", "U") not in "UO":
        raise _native.InvalidError(f"input {index} is an array of numbers: token ids are 1-d arrays of whole numbers")
    if len(value) != 2:
        raise _native.InvalidError(f"input {index} has {len(value)} texts: a pair has two")
    return value[0], value[1]


def pack(texts: List[Any], token_type_ids: Optional[Sequence[Any]] = None) -> Packed:
    """Packs a list of texts, of pairs (two texts, or a dict with "text" and "text_pair") or of token ids.

    token_type_ids: with token ids, one array per input. Raises TypeError or InvalidError (a ValueError).
    """
    import numpy as np

    keep: List[Any] = []
    array = np.zeros((len(texts), _WORDS), np.uintp)
    nbytes = 0
    if not texts:
        return Packed(array, 0, keep)
    first = texts[0]
    if isinstance(first, str):
        array[:, 0], array[:, 1], nbytes = _blob(texts, keep)
    elif is_ids(first) or (not isinstance(first, Mapping) and len(first) == 0):
        array[:, 4], array[:, 5], total = _ids_blob(texts, "token ids", keep)
        nbytes = 4 * total
        if token_type_ids is not None:
            array[:, 6], lengths, _ = _ids_blob(list(token_type_ids), "token type ids", keep)
            if not np.array_equal(lengths, array[:, 5]):
                raise _native.InvalidError("token_type_ids must have as many numbers as the token ids of each input")
    else:
        pairs = [_pair_of(value, i) for i, value in enumerate(texts)]
        array[:, 0], array[:, 1], nbytes = _blob([pair[0] for pair in pairs], keep)
        seconds = [pair[1] for pair in pairs]
        array[:, 2], array[:, 3], more = _blob(["" if second is None else second for second in seconds], keep)
        nbytes += more
        for i, second in enumerate(seconds):
            if second is None:
                array[i, 2] = 0
    if token_type_ids is not None and not array[0, 4]:
        raise _native.InvalidError("token_type_ids go with token ids, not with texts")
    return Packed(array, nbytes, keep)
