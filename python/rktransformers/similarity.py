# SPDX-License-Identifier: Apache-2.0
"""Similarities between embeddings, and embeddings at lower precision, as sentence-transformers computes them; in numpy.

Embeddings are arrays [n, dim] or [dim], torch tensors, or lists of either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

from rkformer import _native

from ._compat import generation, logger, to_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")


def _matrix(embeddings: Any) -> Any:
    import numpy as np

    if isinstance(embeddings, (str, bytes)):
        raise InvalidKindError(f"embeddings must be numbers, not {type(embeddings).__name__}")
    if isinstance(embeddings, (list, tuple)) and not len(embeddings) and generation() == 5:
        raise ShapeError("there are no embeddings in the list")
    try:
        array = to_array(embeddings)
    except ValueError as error:
        raise ShapeError(f"embeddings must be a matrix: {error}") from None
    if array.dtype.kind not in "fiub":
        raise ShapeError(f"embeddings must be numbers, not {type(embeddings).__name__}")
    if array.dtype.itemsize == 2 and array.dtype.kind == "f" and generation() > 5:
        array = array.astype(np.float32)
    if array.ndim > 2:
        raise ShapeError(f"embeddings must be a matrix [n, dim] or a vector [dim], not of {array.ndim} dimensions")
    numbers = isinstance(embeddings, (list, tuple)) and not hasattr(embeddings[0] if len(embeddings) else 0, "dtype")
    if numbers or array.dtype.kind != "f":  # as torch makes tensors of Python's numbers
        array = array.astype(np.float32)
    return array[None] if array.ndim == 1 else array


def _matrices(a: Any, b: Any) -> Tuple[Any, Any]:
    a, b = _matrix(a), _matrix(b)
    if a.shape[1] != b.shape[1]:
        raise ShapeError(f"embeddings of {a.shape[1]} and {b.shape[1]} dimensions cannot be compared")
    return a, b


def unit(embeddings: Any) -> Any:
    """Rows [n, dim] divided by their length (rows of zeros stay so)."""
    import numpy as np

    length = np.sqrt(np.einsum("...i,...i->...", embeddings, embeddings))[..., None]
    return embeddings / np.maximum(length, np.asarray(1e-12, embeddings.dtype))


def cos_sim(a: Any, b: Any) -> "NDArray[np.floating[Any]]":
    """[n, m] cosines between the rows of a [n, dim] and of b [m, dim]."""
    a, b = _matrices(a, b)
    out: "NDArray[np.floating[Any]]" = unit(a) @ unit(b).T
    return out


def dot_score(a: Any, b: Any) -> "NDArray[np.floating[Any]]":
    """[n, m] dot products."""
    a, b = _matrices(a, b)
    out: "NDArray[np.floating[Any]]" = a @ b.T
    return out


def euclidean_sim(a: Any, b: Any) -> "NDArray[np.floating[Any]]":
    """[n, m] negative distances."""
    import numpy as np

    a, b = _matrices(a, b)
    out: "NDArray[np.floating[Any]]" = -np.stack([np.sqrt(np.square(b - row).sum(axis=-1)) for row in a])
    return out


def manhattan_sim(a: Any, b: Any) -> "NDArray[np.floating[Any]]":
    """[n, m] negative sums of absolute differences."""
    import numpy as np

    a, b = _matrices(a, b)
    out: "NDArray[np.floating[Any]]" = -np.stack([np.abs(b - row).sum(axis=-1) for row in a])
    return out


def _rows(a: Any, b: Any) -> Tuple[Any, Any]:
    """As arrays, without adding a dimension: pairs of vectors give a number."""
    x, y = _matrix(a), _matrix(b)
    if x.shape[1] != y.shape[1] or (len(x) != len(y) and 1 not in (len(x), len(y))):
        raise ShapeError(f"embeddings {list(x.shape)} and {list(y.shape)} are not pairs")
    return x.reshape(to_array(a).shape), y.reshape(to_array(b).shape)


def pairwise_cos_sim(a: Any, b: Any) -> "NDArray[np.floating[Any]]":
    """[n] cosines between a[i] and b[i]."""
    a, b = _rows(a, b)
    out: "NDArray[np.floating[Any]]" = (unit(a) * unit(b)).sum(axis=-1)
    return out


def pairwise_dot_score(a: Any, b: Any) -> "NDArray[np.floating[Any]]":
    """[n] dot products of a[i] and b[i]."""
    a, b = _rows(a, b)
    out: "NDArray[np.floating[Any]]" = (a * b).sum(axis=-1)
    return out


def pairwise_euclidean_sim(a: Any, b: Any) -> "NDArray[np.floating[Any]]":
    """[n] negative distances between a[i] and b[i]."""
    import numpy as np

    a, b = _rows(a, b)
    out: "NDArray[np.floating[Any]]" = -np.sqrt(np.square(a - b).sum(axis=-1))
    return out


def pairwise_manhattan_sim(a: Any, b: Any) -> "NDArray[np.floating[Any]]":
    """[n] negative sums of absolute differences between a[i] and b[i]."""
    import numpy as np

    a, b = _rows(a, b)
    out: "NDArray[np.floating[Any]]" = -np.abs(a - b).sum(axis=-1)
    return out


FUNCTIONS: Dict[str, Tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "cosine": (cos_sim, pairwise_cos_sim),
    "dot": (dot_score, pairwise_dot_score),
    "euclidean": (euclidean_sim, pairwise_euclidean_sim),
    "manhattan": (manhattan_sim, pairwise_manhattan_sim),
}


# ---------------------------------------------------------------- precision


def _ranges(embeddings: Any, precision: str, calibration: Any) -> Any:
    """[2, dim] lowest and highest value per dimension."""
    import numpy as np

    if calibration is None:
        if generation() > 5 and (embeddings.ndim == 1 or embeddings.shape[0] == 1):
            raise _native.InvalidError(
                f"Cannot compute {precision} quantization ranges from a single embedding: give "
                "`quantize_embeddings` ranges or calibration_embeddings from a representative set of embeddings"
            )
        if len(embeddings) < 100:
            logger.warning(
                "%s levels are computed from %d embeddings only: more, or ranges, are better",
                precision,
                len(embeddings),
            )
        calibration = embeddings
    calibration = to_array(calibration)
    return np.vstack((calibration.min(axis=0), calibration.max(axis=0)))


def _levels(embeddings: Any, precision: str, ranges: Any) -> Any:
    """The 256 levels between lowest and highest, as int8 or uint8."""
    import numpy as np

    ranges = to_array(ranges).astype(np.float32, copy=False)
    low, steps = ranges[0], (ranges[1] - ranges[0]) / 255
    if generation() == 5:  # rounds int8 towards 0, and a dimension without a range has no meaning
        with np.errstate(divide="ignore", invalid="ignore"):
            levels = (embeddings - low) / steps
            return levels.astype(np.uint8) if precision == "uint8" else (levels - 128).astype(np.int8)
    levels = np.clip(np.floor((embeddings - low) / np.where(steps == 0, 1, steps)), 0, 255)
    return levels.astype(np.uint8) if precision == "uint8" else (levels - 128).astype(np.int8)


def _bits(embeddings: Any, precision: str) -> Any:
    import numpy as np

    if generation() == 5:
        packed = np.packbits(embeddings > 0).reshape(embeddings.shape[0], -1)
    else:
        packed = np.packbits(embeddings > 0, axis=-1)
    return packed if precision == "ubinary" else (packed - 128).astype(np.int8)


def quantize_embeddings(embeddings: Any, precision: str, ranges: Any = None, calibration_embeddings: Any = None) -> Any:
    """Embeddings [n, dim] (or a list of [tokens, dim]) as int8 or uint8 levels [n, dim], or as packed bits [n, dim / 8] of
    their signs: binary (int8), ubinary (uint8).

    ranges: [2, dim] lowest and highest values of the levels; None: those of calibration_embeddings, else of the embeddings
    themselves. Raises ValueError: precision unknown, one embedding alone without ranges.
    """
    import numpy as np

    if precision not in PRECISIONS:
        raise _native.InvalidError(f"Precision {precision!r} is not supported, must be one of {PRECISIONS}")
    if isinstance(embeddings, (list, tuple)):
        if not len(embeddings):
            return []
        rows = [to_array(row) for row in embeddings]
        if rows[0].ndim == 2 and generation() > 5:
            if "int8" in precision and ranges is None:
                ranges = _ranges(np.concatenate(rows), precision, calibration_embeddings)
            each: List[Any] = [quantize_embeddings(row, precision, ranges) for row in rows]
            return each
        array: Any = np.array(rows)
    else:
        array = to_array(embeddings)
    if array.dtype.kind in "iu":
        raise InvalidKindError("Embeddings to quantize must be float rather than int8 or uint8.")
    if precision == "float32":
        return array.astype(np.float32)
    if "binary" in precision:
        return _bits(array, precision)
    if array.ndim == 2 and not len(array) and ranges is None:
        return array.astype(np.uint8 if precision == "uint8" else np.int8)
    ranges = _ranges(array, precision, calibration_embeddings) if ranges is None else ranges
    return _levels(array, precision, ranges)


class ShapeError(_native.InvalidError, RuntimeError):
    """Embeddings that do not fit each other (RuntimeError, as in torch)."""


class InvalidKindError(_native.InvalidError, TypeError):
    """Embeddings that are integers already."""


# ---------------------------------------------------------------- search


def semantic_search(
    queries: Any, corpus: Any, top_k: int = 10, score_function: Optional[Callable[[Any, Any], Any]] = None
) -> List[List[Dict[str, Any]]]:
    """The top_k rows of the corpus [m, dim] for each query [n, dim]: [[{"corpus_id", "score"}]] by falling score (cosine,
    or score_function(queries, corpus) -> [n, m])."""
    import numpy as np

    queries, corpus = _matrix(queries), _matrix(corpus)
    top_k = min(top_k, len(corpus))
    found = []
    for at in range(0, len(queries), 100):
        scores = to_array((score_function or cos_sim)(queries[at : at + 100], corpus))
        best = np.argpartition(-scores, top_k - 1, axis=1)[:, :top_k] if top_k else np.zeros((len(scores), 0), int)
        for row, ids in zip(scores, best):
            order = ids[np.argsort(-row[ids], kind="stable")]
            found.append([{"corpus_id": int(i), "score": float(row[i])} for i in order])
    return found
