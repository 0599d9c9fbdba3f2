# SPDX-License-Identifier: Apache-2.0
"""What sentence-transformers 5 makes of inputs that are not a plain list of str.

It looks at no type: whatever has a length is a batch, the longest input of each batch decides whether all of it are texts,
dicts or pairs, and the texts are what str() makes of them. What it cannot take fails with the error of the operation that it
happened to try; ours has the same type, is a ValueError too, and says what was wrong.
"""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional

from . import _compat


class Batch(NamedTuple):
    items: List[Any]  # str, or pairs of them; the prompt is before them
    single: bool
    keys: Optional[List[str]]  # of inputs that were dicts


def _length(text: Any) -> int:
    if isinstance(text, dict):
        return len(next(iter(text.values())))
    if not hasattr(text, "__len__"):
        return 1
    if len(text) == 0 or isinstance(text[0], int):
        return len(text)
    return sum(len(part) for part in text)


def texts_of(batch: Any) -> List[Any]:
    """The texts or pairs of one batch, stripped."""
    if isinstance(batch[0], str):
        return [str(text).strip() for text in batch]
    if isinstance(batch[0], dict):
        return [str(next(iter(item.values()))).strip() for item in batch]
    return [(str(item[0]).strip(), str(item[1]).strip()) for item in batch]


def batch_of(sentences: Any, prompt: Any, batch_size: Any) -> Batch:
    """The inputs of encode. Raises what sentence-transformers 5 raises, as ValueError too."""
    import numpy as np

    single = isinstance(sentences, str) or not hasattr(sentences, "__len__")
    given = [sentences] if single else sentences
    try:
        if prompt is not None and len(prompt) > 0:
            given = [prompt + sentence for sentence in given]
        order = np.argsort([-_length(sentence) for sentence in given])
        longest_first = [given[int(i)] for i in order]
        texts: List[Any] = []
        for at in range(0, len(given), batch_size):
            texts.extend(texts_of(longest_first[at : at + batch_size]))
        back = [texts[i] for i in np.argsort(order)]
        keys = [next(iter(item)) for item in given] if len(given) and isinstance(given[0], dict) else None
    except (AttributeError, LookupError, StopIteration, TypeError, ValueError) as error:
        what = f"Unsupported input type: {type(sentences).__name__} ({type(error).__name__}: {error})"
        raise _compat.misuse(error, f"{what}. Expected a str, a pair of str, or a list of them") from None
    return Batch(back, single, keys)
