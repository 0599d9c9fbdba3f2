# SPDX-License-Identifier: Apache-2.0
"""RKCrossEncoder: what users of sentence_transformers.CrossEncoder call, over rkformer.Model.

Arguments come in the order of sentence-transformers 5 or 6, and answers are like those of the installed generation where the
two differ (the scores of rank, apply_softmax on one label). An activation_fn given to one call holds for that call only.
"""

from __future__ import annotations

import importlib
import operator
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

from rkformer import _native

from . import _compat
from ._base import Base, logger, read_json, write_json

if TYPE_CHECKING:
    import os


class Activation:
    """Sigmoid, Identity, Tanh, ReLU or Softmax without torch: of arrays or tensors [n, labels]."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, logits: Any) -> Any:
        if type(logits).__module__.split(".")[0] == "torch":
            return _compat.to_tensor(self(_compat.to_array(logits)), "this")
        return _ACTIVATIONS[self.name](logits)

    def __repr__(self) -> str:
        return f"{self.name}()"

    def __eq__(self, other: object) -> bool:
        return repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def path(self) -> str:
        """As config.json names it."""
        return f"torch.nn.modules.{'linear' if self.name == 'Identity' else 'activation'}.{self.name}"


class ActivationError(_native.InvalidError, TypeError, AttributeError):
    """What an activation_fn gave is no scores (TypeError or AttributeError, as in sentence-transformers)."""


def _sigmoid(x: Any) -> Any:
    import numpy as np

    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype)


def _softmax(x: Any) -> Any:
    import numpy as np

    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _tanh(x: Any) -> Any:
    import numpy as np

    return np.tanh(x)


_ACTIVATIONS: Dict[str, Callable[[Any], Any]] = {
    "Identity": lambda x: x,
    "Sigmoid": _sigmoid,
    "Tanh": _tanh,
    "ReLU": lambda x: x * (x > 0),
    "Softmax": _softmax,
}

_FIVE = ("batch_size", "show_progress_bar", "activation_fn", "apply_softmax", "convert_to_numpy", "convert_to_tensor")
_SIX = ("prompt_name", "prompt", *_FIVE, "device", "pool", "chunk_size")


class _Call(NamedTuple):
    pairs: List[Any]
    single: bool
    limit: Optional[int]  # tokens
    batch_size: int
    bar: bool
    activation: Any
    softmax: bool
    to_numpy: bool
    to_tensor: bool


class RKCrossEncoder(Base):
    """Scores of pairs of texts on NPU cores or the CPU, called as sentence_transformers.CrossEncoder is.

    model_name_or_path: a hub id (names without an organisation: cross-encoder/...), a directory or a .rknn file with a
    sequence classification head. num_labels: must be the head's. max_length: tokens per pair. activation_fn: of the logits
    [n, labels]; None: the model files', else Sigmoid for one label and Identity for more. model_kwargs: platform, core_mask,
    file_name (of a .rknn file), subfolder, dtype, device. prompts, default_prompt_name: put before the first text of a pair.
    Others: as RKSentenceTransformer's.

    Raises FileNotFoundError (an OSError), ValueError (core mask, platform, prompt unknown, a model without such a head),
    RuntimeError (num_labels; a .rknn file for other platforms), TypeError (unknown arguments).
    """

    _stands_for = "CrossEncoder"
    _organisation = "cross-encoder"

    def __init__(
        self,
        model_name_or_path: "Optional[Union[str, os.PathLike[str]]]" = None,
        num_labels: Optional[int] = None,
        max_length: Optional[int] = None,
        activation_fn: Optional[Callable[..., Any]] = None,
        device: Any = None,
        cache_folder: Optional[str] = None,
        trust_remote_code: bool = False,
        revision: Optional[str] = None,
        local_files_only: bool = False,
        token: Union[bool, str, None] = None,
        model_kwargs: Optional[Dict[str, Any]] = None,
        tokenizer_kwargs: Optional[Dict[str, Any]] = None,
        config_kwargs: Optional[Dict[str, Any]] = None,
        model_card_data: Any = None,
        backend: str = "rknn",
        *,
        processor_kwargs: Optional[Dict[str, Any]] = None,
        prompts: Optional[Dict[str, str]] = None,
        default_prompt_name: Optional[str] = None,
        modules: Any = None,
        keep_in_fp32_modules: Optional[List[str]] = None,
        **old: Any,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__", "old")}
        arguments.update(old)
        if old:
            _compat.renamed("CrossEncoder", old, _OLD_NAMES)
            old.pop("classifier_dropout", None)  # of training
            model_name_or_path = old.pop("model_name_or_path", model_name_or_path)
            model_kwargs = old.pop("model_kwargs", model_kwargs)
            tokenizer_kwargs = old.pop("tokenizer_kwargs", tokenizer_kwargs)
            config_kwargs = old.pop("config_kwargs", config_kwargs)
            cache_folder = old.pop("cache_folder", cache_folder)
            activation_fn = old.pop("activation_fn", activation_fn)
        if old:
            raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {sorted(old)[0]!r}")
        if modules is not None:
            raise _native.InvalidError("modules cannot be given: the model's own files say what they are")
        lengths = {} if max_length is None else {"model_max_length": max_length}
        super().__init__(
            model_name_or_path,
            arguments=arguments,
            device=device,
            cache_folder=cache_folder,
            trust_remote_code=trust_remote_code,
            revision=revision,
            local_files_only=local_files_only,
            token=token,
            model_kwargs=model_kwargs,
            tokenizer_kwargs={**lengths, **(tokenizer_kwargs or {}), **(processor_kwargs or {})},
            backend=backend,
        )
        if model_card_data is not None:
            self.model_card_data = model_card_data
        try:
            self._check_head(num_labels if num_labels is not None else (config_kwargs or {}).get("num_labels"))
            self._read_settings(prompts, default_prompt_name)
        except BaseException:
            self.close()
            raise
        self._default_activation: Any = None
        self._activation: Any = activation_fn if activation_fn is not None else self.get_default_activation_fn()

    def _check_head(self, num_labels: Optional[int]) -> None:
        labels = len(self.model_facts["labels"])
        if self.model_facts["task"] not in ("rerank", "classify") or not labels:
            raise _native.UnsupportedError(
                f"{self.name_or_path} has no sequence classification head (it is a {self.model_facts['architecture']}, for "
                f"{self.model_facts['task']}): a cross-encoder needs one"
            )
        if num_labels is not None and num_labels != labels:
            raise _compat.LabelsError(f"num_labels is {num_labels}, but the head of {self.name_or_path} has {labels}")

    def _read_settings(self, prompts: Optional[Dict[str, str]], default_prompt_name: Optional[str]) -> None:
        self._saved = read_json(self._folder / "config_sentence_transformers.json")
        mine = {**(self._saved.get("prompts") or {}), **(prompts or {})}
        self.prompts: Dict[str, str] = {name: text or "" for name, text in mine.items()}
        self.default_prompt_name = default_prompt_name or self._saved.get("default_prompt_name")
        if self.default_prompt_name is not None and self.default_prompt_name not in self.prompts:
            raise _native.InvalidError(
                f"Default prompt name '{self.default_prompt_name}' not found in the configured prompts "
                f"dictionary with keys {list(self.prompts)!r}."
            )

    # ---- activation

    def get_default_activation_fn(self) -> Any:
        """The one that was set as default, the one that the model's files name, else Sigmoid for one label and Identity
        for more."""
        if self._default_activation is not None:
            return self._default_activation
        config = self._loaded.config
        path = (
            self._saved.get("activation_fn")
            or (config.get("sentence_transformers") or {}).get("activation_fn")
            or config.get("sbert_ce_default_activation_function")
        )
        if path:
            found = self._activation_of(str(path))
            if found is not None:
                return found
        return Activation("Sigmoid" if self.num_labels == 1 else "Identity")

    def _activation_of(self, path: str) -> Any:
        module, _, name = path.rpartition(".")
        if path.startswith("torch.") and name in _ACTIVATIONS:
            return Activation(name)
        if path.startswith("torch."):
            _compat.torch_for(f"the activation {path}")
            return getattr(importlib.import_module(module), name)()
        logger.warning("The activation %r of the model's files is not torch's: the default is used instead", path)
        return None

    def set_activation_fn(self, activation_fn: Optional[Callable[..., Any]], set_default: bool = True) -> None:
        """None: the default one. set_default: it becomes that."""
        if activation_fn is not None and not callable(activation_fn):
            raise _compat.InputTypeError(f"activation_fn must be callable, not {type(activation_fn).__name__}")
        self._activation = activation_fn if activation_fn is not None else self.get_default_activation_fn()
        if set_default:
            self._default_activation = self._activation

    @property
    def activation_fn(self) -> Any:
        """Of logits [n, labels]: torch's module where torch is loaded."""
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(self._activation, Activation):
            softmax = {"dim": -1} if self._activation.name == "Softmax" else {}
            return getattr(torch.nn, self._activation.name)(**softmax)
        return self._activation

    @activation_fn.setter
    def activation_fn(self, value: Any) -> None:
        self.set_activation_fn(value, set_default=False)

    @property
    def default_activation_function(self) -> Any:
        return self.activation_fn

    # ---- facts

    @property
    def num_labels(self) -> int:
        return len(self.model_facts["labels"])

    @property
    def max_length(self) -> Optional[int]:
        """Tokens per pair, special ones included; the same as max_seq_length."""
        return self.max_seq_length

    @max_length.setter
    def max_length(self, value: Optional[int]) -> None:
        self.max_seq_length = value

    def set_config_value(self, key: str, value: Any) -> None:
        """Sets a value below "sentence_transformers" in the config."""
        if not hasattr(self.config, "sentence_transformers"):
            self.config.sentence_transformers = {}
        self.config.sentence_transformers[key] = value

    # ---- predict

    @_compat.positional(2, _FIVE, _SIX)
    def predict(
        self,
        sentences: Any = None,
        prompt_name: Optional[str] = None,
        prompt: Optional[str] = None,
        batch_size: int = 32,
        show_progress_bar: Optional[bool] = None,
        activation_fn: Optional[Callable[..., Any]] = None,
        apply_softmax: Optional[bool] = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        pool: Optional[Dict[str, Any]] = None,
        chunk_size: Optional[int] = None,
        **kwargs: Any,
    ) -> Any:
        """Scores [n] float32 of pairs by a model with one label, [n, labels] by others; of one pair: a number, or [labels].

        sentences (or `inputs`): a pair (two str), or a list or array of pairs. prompt, prompt_name: before the first text
        of each pair. batch_size: of the progress bar only. activation_fn: of the logits [n, labels] (torch tensors if torch
        is installed). apply_softmax: over the labels. convert_to_tensor: a torch tensor; convert_to_numpy=False: a list of
        tensors. device, pool, chunk_size: as in RKSentenceTransformer.encode. kwargs: processing_kwargs.

        Raises ValueError (batch_size, prompt name), TypeError and ValueError (inputs that are no pairs), ImportError (tensors
        without torch), RuntimeError (closed).
        """
        call = self._prepare(
            sentences,
            prompt_name,
            prompt,
            batch_size,
            show_progress_bar,
            activation_fn,
            apply_softmax,
            convert_to_numpy,
            convert_to_tensor,
            device,
            pool,
            chunk_size,
            kwargs,
        )
        if not call.pairs:
            return self._nothing(call)
        progress = _compat.Progress(len(call.pairs), call.batch_size) if call.bar else None
        try:
            rows = self._model.logits(call.pairs, max_length=call.limit, progress=progress)
        finally:
            if progress:
                progress.close()
        return self._finish(call, rows)

    @_compat.positional(2, _FIVE, _SIX)
    async def apredict(self, sentences: Any = None, **options: Any) -> Any:
        """`predict`, awaited."""
        given = {**_PREDICT_DEFAULTS, **options}
        kwargs = {name: given.pop(name) for name in list(given) if name not in _PREDICT_DEFAULTS}
        call = self._prepare(sentences, **given, kwargs=kwargs)
        if not call.pairs:
            return self._nothing(call)
        return self._finish(call, await self._model.alogits(call.pairs, max_length=call.limit))

    def _prepare(
        self,
        sentences: Any,
        prompt_name: Optional[str],
        prompt: Optional[str],
        batch_size: int,
        show_progress_bar: Optional[bool],
        activation_fn: Optional[Callable[..., Any]],
        apply_softmax: Optional[bool],
        convert_to_numpy: bool,
        convert_to_tensor: bool,
        device: Any,
        pool: Optional[Dict[str, Any]],
        chunk_size: Optional[int],
        kwargs: Dict[str, Any],
    ) -> _Call:
        if "inputs" in kwargs:
            if sentences is not None:
                raise TypeError("predict() got both `sentences` and `inputs`: they are the same")
            sentences = kwargs.pop("inputs")
        unknown = set(kwargs) - {"processing_kwargs"}
        if unknown and _compat.generation() == 5:
            raise TypeError(f"CrossEncoder.predict() got an unexpected keyword argument {sorted(unknown)[0]!r}")
        if batch_size <= 0:
            raise _native.InvalidError(f"batch_size must be a positive integer, got {batch_size}.")
        batch_size = operator.index(batch_size)
        pairs, single = self._pairs(sentences, batch_size)
        text = self._resolve_prompt(prompt, prompt_name)
        if text:
            pairs = [_compat.prompted(text, pair) for pair in pairs]
        self._pool_chunk(len(pairs), pool, device, chunk_size)
        if convert_to_tensor or not convert_to_numpy:
            _compat.torch_for("convert_to_tensor=True" if convert_to_tensor else "convert_to_numpy=False")
        own = ((kwargs.get("processing_kwargs") or {}).get("text") or {}).get("max_length")
        limit = int(own) if own is not None else self._max_seq_length
        if self._own_tokenizer and pairs:
            pairs = self._ids_of(pairs, limit)
        activation = self._activation if activation_fn is None else activation_fn
        bar = _compat.wants_bar(show_progress_bar)
        to_numpy = convert_to_numpy and not convert_to_tensor
        return _Call(
            pairs, single, limit, batch_size, bar, activation, bool(apply_softmax), to_numpy, convert_to_tensor
        )

    @staticmethod
    def _pairs(sentences: Any, batch_size: int) -> Tuple[List[Any], bool]:
        """The pairs as a list, and whether it was one pair alone. Texts among them are scored without a second one."""
        five = _compat.generation() == 5
        kind = getattr(getattr(sentences, "dtype", None), "kind", "")
        if isinstance(sentences, str):  # 5 cuts it into batches of characters
            if not five:
                return [sentences], True
            return [sentences[at : at + batch_size] for at in range(0, len(sentences), batch_size)], False
        if five:
            try:
                bool(sentences)
            except (ValueError, RuntimeError) as error:
                raise _compat.misuse(error, f"predict() needs a list of pairs: {error}") from None
        elif type(sentences).__name__ == "ndarray" and kind in "UOT":
            alone = sentences.ndim < 2 and sentences.size > 0
            return _paired([sentences.tolist()] if alone else sentences.tolist()), alone
        if not isinstance(sentences, (list, tuple)) and type(sentences).__name__ != "Column":
            raise _compat.InputTypeError(
                f"predict() needs pairs of texts: Unsupported input type: {type(sentences).__name__}"
            )
        single = len(sentences) > 0 and not isinstance(sentences[0], (list, tuple))
        return _paired([sentences] if single else list(sentences)), single

    def _resolve_prompt(self, prompt: Optional[str], prompt_name: Optional[str]) -> Optional[str]:
        if prompt is not None:
            if not isinstance(prompt, str):
                raise TypeError(f"prompt must be a str, not {type(prompt).__name__}")
            return prompt
        if prompt_name is None:
            return self.prompts.get(self.default_prompt_name) if self.default_prompt_name is not None else None
        if prompt_name not in self.prompts:
            raise _native.InvalidError(
                f"Prompt name '{prompt_name}' not found in the configured prompts dictionary with keys {list(self.prompts)!r}."
            )
        return self.prompts[prompt_name]

    def _finish(self, call: _Call, rows: List[Any]) -> Any:
        """Logits per pair -> scores as the caller wants them."""
        import numpy as np

        scores = _activated(call.activation, np.stack(rows))
        one = self.num_labels == 1
        five = _compat.generation() == 5
        if one and scores.ndim > 1 and not (five and call.softmax):
            scores = scores[:, 0]
        if call.softmax and scores.ndim > 1:
            scores = _softmax(scores)
        if one and scores.ndim > 1:
            scores = scores[:, 0]
        if call.to_numpy:
            scores = scores.astype(np.float32, copy=False)
            return scores[0] if call.single else scores
        tensor = _compat.to_tensor(np.ascontiguousarray(scores), "this")
        if call.single:
            return tensor[0]
        return tensor if call.to_tensor else list(tensor)

    @staticmethod
    def _nothing(call: _Call) -> Any:
        import numpy as np

        if call.to_tensor:
            return _compat.torch_for("convert_to_tensor=True").tensor([])
        return np.array([]) if call.to_numpy else []

    # ---- rank

    @_compat.positional(5, _FIVE, ("prompt_name", "prompt", *_FIVE[:3], "device", "pool", "chunk_size"))
    def rank(
        self,
        query: str,
        documents: Any,
        top_k: Optional[int] = None,
        return_documents: bool = False,
        **options: Any,
    ) -> List[Dict[str, Any]]:
        """The documents by falling score: [{"corpus_id", "score"}], with "text" if return_documents.

        top_k: how many; None: all. options: those of `predict`. Raises ValueError for a model with several labels, and what
        `predict` raises.
        """
        pairs = self._rank_pairs(query, documents, options)
        return self._ranked(self.predict(pairs, **options), documents, top_k, return_documents)

    @_compat.positional(5, _FIVE, ("prompt_name", "prompt", *_FIVE[:3], "device", "pool", "chunk_size"))
    async def arank(
        self,
        query: str,
        documents: Any,
        top_k: Optional[int] = None,
        return_documents: bool = False,
        **options: Any,
    ) -> List[Dict[str, Any]]:
        """`rank`, awaited."""
        pairs = self._rank_pairs(query, documents, options)
        return self._ranked(await self.apredict(pairs, **options), documents, top_k, return_documents)

    def _rank_pairs(self, query: str, documents: Any, options: Dict[str, Any]) -> List[Any]:
        unknown = set(options) - set(_PREDICT_DEFAULTS)
        if unknown:
            raise TypeError(f"rank() got an unexpected keyword argument {sorted(unknown)[0]!r}")
        if self.num_labels != 1:
            raise _native.InvalidError(
                "CrossEncoder.rank() only works for models with num_labels=1. Consider using CrossEncoder.predict() with "
                "input pairs instead."
            )
        return [[query, document] for document in documents]

    @staticmethod
    def _ranked(scores: Any, documents: Any, top_k: Optional[int], return_documents: bool) -> List[Dict[str, Any]]:
        if _compat.generation() > 5:
            scores = [float(score) for score in scores]
        results: List[Dict[str, Any]] = [{"corpus_id": i, "score": score} for i, score in enumerate(scores)]
        if return_documents:
            for i, result in enumerate(results):
                result["text"] = documents[i]
        return sorted(results, key=lambda result: result["score"], reverse=True)[:top_k]

    # ---- saving

    def _save_settings(self, target: Path) -> None:
        config = read_json(target / "config.json")
        given = self._activation
        path = given.path if isinstance(given, Activation) else f"{type(given).__module__}.{type(given).__qualname__}"
        config["sentence_transformers"] = {**(config.get("sentence_transformers") or {}), "activation_fn": path}
        write_json(target / "config.json", config)
        if self._max_seq_length is not None and self._max_seq_length != self.model_facts["max_length"]:
            settings = read_json(target / "tokenizer_config.json")
            write_json(target / "tokenizer_config.json", {**settings, "model_max_length": self._max_seq_length})
        if self.prompts or self._saved:
            saved = {**self._saved, "prompts": self.prompts, "default_prompt_name": self.default_prompt_name}
            if "activation_fn" in saved:
                saved["activation_fn"] = path
            write_json(target / "config_sentence_transformers.json", saved)


def _paired(pairs: List[Any]) -> List[Any]:
    """Pairs as rkformer takes them: all of them pairs, or all of them dicts where a text is alone. Raises InputTypeError."""
    checked = [_compat.text_or_pair(pair) for pair in pairs]
    if all(isinstance(pair, (list, tuple)) for pair in checked):
        return checked
    return [{"text": p} if isinstance(p, str) else {"text": p[0], "text_pair": p[1]} for p in checked]


def _activated(function: Any, logits: Any) -> Any:
    """function(logits) as an array: its own kind of argument for ours, tensors for others if torch is installed."""
    import numpy as np

    if function is None:
        return logits
    if isinstance(function, Activation):
        return function(logits)
    if not _compat.have_torch():
        return np.asarray(function(logits))
    torch = _compat.torch_for("activation_fn")
    with torch.no_grad():
        scores = function(torch.from_numpy(logits))
    if not getattr(scores, "ndim", 0) or len(scores) != len(logits):
        raise ActivationError(f"activation_fn gave {type(scores).__name__}, not a score or scores for each of the pairs")
    return _compat.to_array(scores)


_OLD_NAMES = {
    "model_name": "model_name_or_path",
    "automodel_args": "model_kwargs",
    "tokenizer_args": "tokenizer_kwargs",
    "config_args": "config_kwargs",
    "cache_dir": "cache_folder",
    "default_activation_function": "activation_fn",
}
_PREDICT_DEFAULTS: Dict[str, Any] = {
    "prompt_name": None,
    "prompt": None,
    "batch_size": 32,
    "show_progress_bar": None,
    "activation_fn": None,
    "apply_softmax": False,
    "convert_to_numpy": True,
    "convert_to_tensor": False,
    "device": None,
    "pool": None,
    "chunk_size": None,
}
