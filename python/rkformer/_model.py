# SPDX-License-Identifier: Apache-2.0
"""A loaded model: embeddings, hidden states, scores, labels, spans and tokens of texts, pairs or token ids.

Every task is a plan (_flow.py), which the methods below run and wait for, and their async namesakes (aembed, ...) await.
"""

from __future__ import annotations

import os
import threading
from ctypes import byref, c_void_p, sizeof
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Union

from . import _flow, _inputs, _native, _request
from ._result import Encoding, Result, SparseVector
from ._runtime import Runtime, close_later

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ._flow import Progress
    from ._inputs import Texts


class Model(_flow.Flow):
    """A model on a runtime: `with Model("all-MiniLM-L6-v2", core_mask="0_1") as model: model.embed(["a text"])`.

    path: a directory, a .rknn file, or a hub id that is in the Hugging Face cache (the network is never used).
    runtime: where it runs; None: the process's, opened with platform and device. core_mask: auto, 0, 1, 2, 0_1, 0_1_2, all.
    device: "cpu" keeps this model off the NPU. dtype: f32, bf16, f16, int8; None: f32 on the CPU, f16 on the NPU.
    revision: of a hub id. subfolder: of the model's directory. file_name: a .rknn file, relative to its directory.
    max_length: tokens, 0: the model's own. exclusive: other models stay off its cores while it is open.
    cpu_fallback: run on the CPU if every core of the mask is sick. priority: default of its requests, higher first.
    pack_cache: directory for packed weights.

    Raises NotFoundError (a FileNotFoundError), FormatError, UnsupportedError, InvalidError and UnavailableError (ValueErrors;
    the latter names the core masks there are), ConflictError, OutOfMemoryError.

    All methods may be called from any number of threads at once. In what follows `texts` is one str, a list of str, of
    pairs (two str, or {"text", "text_pair"}), or of token ids with special tokens (ints, 1-d integer arrays; token_type_ids
    beside them); one str, or one list of ids, gives one answer instead of a list. All raise InvalidError (a ValueError) for
    wrong arguments, UnsupportedError for a task the model has no head for, TooLongError with truncate=False, DeadlineError
    (a TimeoutError), BusyError, ClosedError, DeviceError, OutOfMemoryError.
    """

    def __init__(
        self,
        path: Union[str, "os.PathLike[str]"],
        *,
        runtime: Optional[Runtime] = None,
        core_mask: Optional[str] = "auto",
        platform: Optional[str] = None,
        device: Optional[str] = None,
        dtype: Optional[str] = None,
        revision: Optional[str] = None,
        subfolder: Optional[str] = None,
        file_name: Optional[str] = None,
        max_length: int = 0,
        exclusive: bool = False,
        cpu_fallback: bool = False,
        priority: int = 0,
        pack_cache: Optional[str] = None,
        name: Optional[str] = None,
    ) -> None:
        self._ptr: Optional[int] = None
        self._closed = False
        self._condition = threading.Condition()
        self._users = 0
        self._us_per_byte: Optional[float] = None
        self._facts: Optional[Dict[str, Any]] = None
        if runtime is None:
            runtime = Runtime.shared(platform, device)
        elif platform is not None:
            raise _native.InvalidError("the platform is the runtime's: give platform or runtime, not both")
        self._runtime = runtime
        self._library = _native.lib()
        self._options: Dict[str, Any] = {
            "path": os.fspath(path),
            "name": name,
            "revision": revision,
            "subfolder": subfolder or None,
            "file_name": file_name,
            "core_mask": core_mask,
            "device": "cpu" if device == "cpu" else None,
            "dtype": dtype,
            "pack_cache": pack_cache,
        }
        self._switches: Dict[str, Any] = {
            "exclusive": exclusive,
            "cpu_fallback": cpu_fallback,
            "priority": priority,
            "max_length": max_length,
        }
        self._open()
        runtime._models.add(self)

    def _open(self) -> None:
        out, error = c_void_p(), _native.Error()
        texts = {key: _native.encode(value) for key, value in self._options.items()}
        options = _native.ModelOptions(size=sizeof(_native.ModelOptions), **texts, **self._switches)
        _native.check(
            self._library.rkf_model_open(self._runtime.handle(), byref(options), byref(out), byref(error)), error
        )
        self._ptr = out.value

    def reopened(self, path: Union[str, "os.PathLike[str]"]) -> "Model":
        """Another directory opened on the same runtime with the same options."""
        options = {name: value for name, value in self._options.items() if name not in ("path", "revision", "subfolder")}
        return Model(path, runtime=self._runtime, **options, **self._switches)

    # ---- life

    @property
    def runtime(self) -> Runtime:
        return self._runtime

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Requests still waiting end with ClosedError; what runs is waited for. Calling it again does nothing."""
        with self._condition:
            self._closed = True
            while self._users:
                self._condition.wait()
            ptr, self._ptr = self._ptr, None
        if ptr is not None:
            self._library.rkf_model_close(ptr)

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if self.__dict__.get("_ptr") is not None:
            close_later(self.close)

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"rkformer.Model({self._options['path']!r}, core_mask={self._options['core_mask']!r}{state})"

    def __getstate__(self) -> Dict[str, Any]:
        raise TypeError("a rkformer.Model cannot be pickled: open it in the other process (threads may share it)")

    def _abandon(self) -> None:
        """In a forked child: what was open belongs to the parent; the next use opens it again."""
        self._ptr = None
        self._users = 0
        self._condition = threading.Condition()

    def _enter(self) -> int:
        with self._condition:
            if self._closed:
                raise _native.ClosedError("the model is closed: open it again with rkformer.Model")
            if self._ptr is None:  # a forked child
                self._open()
            self._users += 1
            assert self._ptr is not None
            return self._ptr

    def _leave(self) -> None:
        with self._condition:
            self._users -= 1
            if not self._users and self._closed:
                self._condition.notify_all()

    # ---- facts

    def describe(self) -> Dict[str, Any]:
        """name, path, architecture, task, sizes, labels, prompts, pooling, max_length, dtype, device, core mask."""
        try:
            document: Dict[str, Any] = _native.take_json("rkf_model_describe", self._enter())
        finally:
            self._leave()
        return document

    @property
    def facts(self) -> Dict[str, Any]:
        """`describe` as it was when it was first asked for."""
        if self._facts is None:
            self._facts = self.describe()
        return self._facts

    # ---- embeddings

    def embed(
        self,
        texts: "Texts",
        *,
        prompt: Optional[str] = None,
        prompt_name: Optional[str] = None,
        normalize: Optional[bool] = None,
        pooling: Optional[str] = None,
        truncate_dim: Optional[int] = None,
        precision: str = "float32",
        ranges: "Optional[NDArray[np.float32]]" = None,
        max_length: Optional[int] = None,
        truncate: Union[bool, str, None] = None,
        chunk: Optional[bool] = None,
        stride: Optional[int] = None,
        token_type_ids: Optional[Sequence[Any]] = None,
        progress: "Progress" = None,
        timeout: Optional[float] = None,
        priority: int = 0,
    ) -> "NDArray[Any]":
        """Embeddings: [n, dim], or [dim] for one text. float32; int8, uint8 and the packed bits of binary (int8) and
        ubinary (uint8) by `precision`.

        prompt: put before every text; prompt_name: one of the model's prompts. normalize, pooling (cls, mean, max,
        mean_sqrt_len, weightedmean, lasttoken): other than the model's files say. truncate_dim: the first dimensions only.
        ranges: [2, dim] lowest and highest values for int8 and uint8 (None: of these embeddings). max_length: tokens.
        truncate: "right", "left" or False (TooLongError). chunk: long texts in overlapping windows (stride tokens), pooled.
        progress: True for a line on stderr, or a function of (done, total). timeout: seconds.
        """
        import numpy as np

        items, single = _inputs.as_list(texts)
        if single and token_type_ids is not None:
            token_type_ids = [token_type_ids]
        options = dict(
            prompt=prompt,
            prompt_name=prompt_name,
            normalize=normalize,
            pooling=pooling,
            truncate_dim=truncate_dim,
            precision=precision,
            ranges=ranges,
            max_length=max_length,
            truncate=truncate,
            chunk=chunk,
            stride=stride,
            timeout=timeout,
            priority=priority or None,
        )
        calibrate = precision in ("int8", "uint8") and ranges is None and len(items) > _flow.CHUNK
        if calibrate:  # over all of them, not chunk by chunk
            options["precision"] = "float32"

        def finish(results: _flow.Results) -> Any:
            out: Any = None
            for at, result in results:
                rows = result.tensor()
                if len(rows) == len(items):
                    out = rows
                else:
                    if out is None:
                        out = np.empty((len(items), rows.shape[1]), rows.dtype)
                    out[at : at + len(rows)] = rows
            if out is None:
                return self._no_embeddings(truncate_dim, precision)
            if calibrate:
                out = quantize(out, precision)
            return out[0] if single else out

        plan = _flow.Plan(_native.TASK_EMBED, items, options, token_type_ids, progress, finish)
        return self._go(plan)  # type: ignore[no-any-return]

    def _no_embeddings(self, truncate_dim: Optional[int], precision: str) -> "NDArray[Any]":
        import numpy as np

        width = int(self.facts["embedding_dimension"])
        width = min(width, truncate_dim) if truncate_dim else width
        kind = {"int8": np.int8, "uint8": np.uint8, "binary": np.int8, "ubinary": np.uint8}.get(precision, np.float32)
        return np.empty((0, (width + 7) // 8 if "binary" in precision else width), kind)

    def sparse(
        self,
        texts: "Texts",
        *,
        prompt: Optional[str] = None,
        prompt_name: Optional[str] = None,
        max_length: Optional[int] = None,
        progress: "Progress" = None,
        timeout: Optional[float] = None,
    ) -> Union[SparseVector, List[SparseVector]]:
        """SPLADE vectors of a fill-mask model: non-zero weights per vocabulary id."""
        return self._each(  # type: ignore[no-any-return]
            _native.TASK_SPARSE,
            texts,
            Result.sparse,
            progress=progress,
            prompt=prompt,
            prompt_name=prompt_name,
            max_length=max_length,
            timeout=timeout,
        )

    def _rows(self, task: int, texts: "Texts", types: Optional[Sequence[Any]], **options: Any) -> Any:
        return self._each(task, texts, Result.tensor, types, **options)

    def tokens(
        self,
        texts: "Texts",
        *,
        token_type_ids: Optional[Sequence[Any]] = None,
        prompt: Optional[str] = None,
        prompt_name: Optional[str] = None,
        max_length: Optional[int] = None,
        truncate: Union[bool, str, None] = None,
        progress: "Progress" = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """One embedding per token, special tokens included: [tokens, dim] float32 per text."""
        return self._rows(
            _native.TASK_TOKENS,
            texts,
            token_type_ids,
            prompt=prompt,
            prompt_name=prompt_name,
            max_length=max_length,
            truncate=truncate,
            progress=progress,
            timeout=timeout,
        )

    def hidden(
        self,
        texts: "Texts",
        *,
        token_type_ids: Optional[Sequence[Any]] = None,
        max_length: Optional[int] = None,
        truncate: Union[bool, str, None] = None,
        progress: "Progress" = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """The last hidden state: [tokens, hidden_size] float32 per text."""
        return self._rows(
            _native.TASK_HIDDEN,
            texts,
            token_type_ids,
            max_length=max_length,
            truncate=truncate,
            progress=progress,
            timeout=timeout,
        )

    def logits(
        self,
        texts: "Texts",
        *,
        token_type_ids: Optional[Sequence[Any]] = None,
        max_length: Optional[int] = None,
        truncate: Union[bool, str, None] = None,
        progress: "Progress" = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """The head's raw output, float32 per text: [labels], per token [tokens, labels], answers [tokens, 2] (start, end),
        fill-mask [tokens, vocab], multiple choice [1]."""
        return self._rows(
            _native.TASK_LOGITS,
            texts,
            token_type_ids,
            max_length=max_length,
            truncate=truncate,
            progress=progress,
            timeout=timeout,
        )

    # ---- scores

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_k: Optional[int] = None,
        scores: Optional[str] = None,
        max_length: Optional[int] = None,
        progress: "Progress" = None,
        timeout: Optional[float] = None,
    ) -> List[Dict[str, Any]]:
        """[{"index", "score", "text"}] by falling score. scores: None (the model's activation, else sigmoid), sigmoid, raw."""
        import numpy as np

        documents = list(documents)
        if not isinstance(query, str):
            raise TypeError(f"the query must be str, not {type(query).__name__}")
        options = dict(query=query, scores=scores, max_length=max_length, timeout=timeout)

        def finish(results: _flow.Results) -> List[Dict[str, Any]]:
            out = np.empty(len(documents), np.float32)
            for at, result in results:
                out[at : at + len(result)] = result.scores()
            order = np.argsort(-out, kind="stable")[: top_k or None]
            return [{"index": int(i), "score": float(out[i]), "text": documents[i]} for i in order]

        plan = _flow.Plan(_native.TASK_RERANK, documents, options, None, progress, finish)
        return self._go(plan)  # type: ignore[no-any-return]

    def score_pairs(
        self,
        pairs: Sequence[Any],
        *,
        scores: Optional[str] = None,
        max_length: Optional[int] = None,
        token_type_ids: Optional[Sequence[Any]] = None,
        progress: "Progress" = None,
        timeout: Optional[float] = None,
    ) -> "NDArray[np.float32]":
        """Scores of pairs of texts by a sequence classification model: [n] float32 if it has one label, else [n, labels].
        scores: None (the model's activation, else sigmoid for one label, softmax for more), sigmoid, softmax, raw."""
        import numpy as np

        items, single = _inputs.as_list(pairs)
        options = dict(scores=scores, max_length=max_length, timeout=timeout)
        width = max(1, len(self.facts["labels"]))

        def finish(results: _flow.Results) -> Any:
            out = np.zeros((len(items), width), np.float32)
            for at, result in results:
                for i in range(len(result)):
                    for label, score in result.label_scores(i):
                        out[at + i, label] = score
            answer = out[:, 0] if width == 1 else out
            return answer[0] if single else answer

        plan = _flow.Plan(_native.TASK_CLASSIFY, items, options, token_type_ids, progress, finish)
        return self._go(plan)  # type: ignore[no-any-return]

    def classify(
        self,
        texts: "Texts",
        *,
        top_k: Optional[int] = None,
        scores: Optional[str] = None,
        max_length: Optional[int] = None,
        token_type_ids: Optional[Sequence[Any]] = None,
        progress: "Progress" = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """[{"label", "score"}] by falling score, per text. scores: None (as the model's files say), sigmoid, softmax, raw."""
        return self._each(
            _native.TASK_CLASSIFY,
            texts,
            Result.labels,
            token_type_ids,
            progress,
            top_k=top_k,
            scores=scores,
            max_length=max_length,
            timeout=timeout,
        )

    def zero_shot(
        self,
        texts: "Texts",
        candidate_labels: Sequence[str],
        *,
        multi_label: bool = False,
        hypothesis_template: Optional[str] = None,
        max_length: Optional[int] = None,
        progress: "Progress" = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """{"sequence", "labels", "scores"} by falling score, per text, over a natural language inference model."""
        items, single = _inputs.as_list(texts)

        def finish(results: _flow.Results) -> Any:
            out = []
            for at, result in results:
                for i in range(len(result)):
                    answer = result.labels(i)
                    labels, values = [x["label"] for x in answer], [x["score"] for x in answer]
                    out.append({"sequence": items[at + i], "labels": labels, "scores": values})
            return out[0] if single else out

        options = dict(
            labels=[candidate_labels] if isinstance(candidate_labels, str) else list(candidate_labels),
            multi_label=multi_label,
            hypothesis_template=hypothesis_template,
            max_length=max_length,
            timeout=timeout,
        )
        return self._go(_flow.Plan(_native.TASK_ZERO_SHOT, items, options, None, progress, finish))

    # ---- spans and fills

    def ner(
        self,
        texts: "Texts",
        *,
        aggregation: str = "simple",
        stride: Optional[int] = None,
        max_length: Optional[int] = None,
        progress: "Progress" = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """Entities per text: [{"entity_group", "score", "word", "start", "end"}]; aggregation "none": one per token, with
        "entity" and "index" instead of "entity_group". Positions are code points."""
        plain = aggregation == "none"

        def read(result: Result, item: int) -> List[Dict[str, Any]]:
            entities = []
            for span in result.spans(item):
                entity = {"entity" if plain else "entity_group": span.label.text(), "score": span.score}
                if plain:
                    entity["index"] = span.index
                entity.update(word=span.text.text(), start=span.start, end=span.end)
                entities.append(entity)
            return entities

        return self._each(
            _native.TASK_NER,
            texts,
            read,
            progress=progress,
            aggregation=aggregation,
            stride=stride,
            max_length=max_length,
            timeout=timeout,
        )

    def qa(
        self,
        question: str,
        context: str,
        *,
        top_k: int = 1,
        max_answer_length: Optional[int] = None,
        impossible_answer: bool = False,
        stride: Optional[int] = None,
        max_length: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """{"answer", "score", "start", "end"} (a list of them for top_k above 1). Positions are code points of the context."""

        def finish(results: _flow.Results) -> Any:
            _, result = next(iter(results))
            answers = [
                {"answer": span.text.text(), "score": span.score, "start": span.start, "end": span.end}
                for span in result.spans(0)
            ]
            return answers if top_k > 1 else answers[0]

        options = dict(
            top_k=top_k,
            max_answer_length=max_answer_length,
            impossible_answer=impossible_answer,
            stride=stride,
            max_length=max_length,
            timeout=timeout,
        )
        return self._go(_flow.Plan(_native.TASK_QA, [(question, context)], options, None, None, finish))

    def fill_mask(
        self,
        texts: "Texts",
        *,
        top_k: int = 5,
        targets: Optional[Sequence[str]] = None,
        max_length: Optional[int] = None,
        progress: "Progress" = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """[{"score", "token", "token_str", "sequence"}] per text; a text with several masks: a list of them per mask."""

        def read(result: Result, item: int) -> Any:
            masks: Dict[int, List[Dict[str, Any]]] = {}
            for fill in result.fills(item):
                masks.setdefault(fill.mask, []).append(
                    {
                        "score": fill.score,
                        "token": fill.token,
                        "token_str": fill.token_str.text(),
                        "sequence": fill.sequence.text(),
                    }
                )
            lists = [masks[mask] for mask in sorted(masks)]
            return lists[0] if len(lists) == 1 else lists

        return self._each(
            _native.TASK_FILL_MASK,
            texts,
            read,
            progress=progress,
            top_k=top_k,
            labels=list(targets) if targets is not None else None,
            max_length=max_length,
            timeout=timeout,
        )

    def choose(
        self, question: str, choices: Sequence[str], *, max_length: Optional[int] = None, timeout: Optional[float] = None
    ) -> Dict[str, Any]:
        """{"choice": index of the best, "scores": [choices] float32 probabilities} of a multiple choice model."""

        def finish(results: _flow.Results) -> Dict[str, Any]:
            scores = next(iter(results))[1].scores()
            return {"choice": int(scores.argmax()), "scores": scores}

        options = {"query": question, "max_length": max_length, "timeout": timeout}
        plan = _flow.Plan(_native.TASK_CHOOSE, list(choices), options, None, None, finish, whole=True)
        return self._go(plan)  # type: ignore[no-any-return]

    # ---- the same for asyncio: cancelling the task cancels the request

    async def _await(self, method: Callable[..., Any], args: Any, options: Any) -> Any:
        return await method(_flow.Soon(self), *args, **options)

    async def aembed(self, *args: Any, **options: Any) -> Any:
        """`embed`, awaited."""
        return await self._await(Model.embed, args, options)

    async def asparse(self, *args: Any, **options: Any) -> Any:
        """`sparse`, awaited."""
        return await self._await(Model.sparse, args, options)

    async def atokens(self, *args: Any, **options: Any) -> Any:
        """`tokens`, awaited."""
        return await self._await(Model.tokens, args, options)

    async def ahidden(self, *args: Any, **options: Any) -> Any:
        """`hidden`, awaited."""
        return await self._await(Model.hidden, args, options)

    async def alogits(self, *args: Any, **options: Any) -> Any:
        """`logits`, awaited."""
        return await self._await(Model.logits, args, options)

    async def arerank(self, *args: Any, **options: Any) -> Any:
        """`rerank`, awaited."""
        return await self._await(Model.rerank, args, options)

    async def ascore_pairs(self, *args: Any, **options: Any) -> Any:
        """`score_pairs`, awaited."""
        return await self._await(Model.score_pairs, args, options)

    async def aclassify(self, *args: Any, **options: Any) -> Any:
        """`classify`, awaited."""
        return await self._await(Model.classify, args, options)

    async def azero_shot(self, *args: Any, **options: Any) -> Any:
        """`zero_shot`, awaited."""
        return await self._await(Model.zero_shot, args, options)

    async def aner(self, *args: Any, **options: Any) -> Any:
        """`ner`, awaited."""
        return await self._await(Model.ner, args, options)

    async def aqa(self, *args: Any, **options: Any) -> Any:
        """`qa`, awaited."""
        return await self._await(Model.qa, args, options)

    async def afill_mask(self, *args: Any, **options: Any) -> Any:
        """`fill_mask`, awaited."""
        return await self._await(Model.fill_mask, args, options)

    async def achoose(self, *args: Any, **options: Any) -> Any:
        """`choose`, awaited."""
        return await self._await(Model.choose, args, options)

    # ---- tokens

    def tokenize(
        self,
        texts: "Texts",
        pairs: Optional[Sequence[str]] = None,
        *,
        add_special_tokens: bool = True,
        max_length: Optional[int] = None,
        truncate: Union[bool, str, None] = None,
        prompt: Optional[str] = None,
    ) -> Union[Encoding, List[Encoding]]:
        """Token ids and all that Hugging Face's tokenizers say of them. pairs: second texts, one per text. Truncated as
        `embed` would; truncate=False leaves them whole. prompt: "" by default, so no default prompt is put before them."""
        items, single = _inputs.as_list(texts)
        if pairs is not None:
            seconds = [pairs] if isinstance(pairs, str) else list(pairs)
            if len(seconds) != len(items):
                raise _native.InvalidError(f"{len(items)} texts but {len(seconds)} pairs")
            items = list(zip(items, seconds))
        template = _request.Template(0, {"max_length": max_length, "truncate": truncate, "prompt": prompt or ""})
        out: List[Encoding] = []
        for packed in _flow.chunks(items, None, _flow.CHUNK):
            result, error = c_void_p(), _native.Error()
            model = self._enter()
            try:
                request = template.fill(packed.address, packed.n, None)
                _native.check(
                    self._library.rkf_tokenize(model, byref(request), add_special_tokens, byref(result), byref(error)),
                    error,
                )
                owned = Result(result.value or 0)
                out.extend(owned.encoding(i, model) for i in range(packed.n))
            finally:
                self._leave()
        return out[0] if single else out

    def decode(self, ids: Any, *, skip_special_tokens: bool = True) -> Union[str, List[str]]:
        """The text of token ids; a list of texts for a list of id lists."""
        import ctypes

        import numpy as np

        items, single = _inputs.as_list(ids)
        out: List[str] = []
        for one in items:
            array = np.ascontiguousarray(one, np.int32)
            text, error = c_void_p(), _native.Error()
            model = self._enter()
            try:
                _native.check(
                    self._library.rkf_decode(
                        model, array.ctypes.data, array.size, skip_special_tokens, byref(text), byref(error)
                    ),
                    error,
                )
            finally:
                self._leave()
            try:
                out.append(ctypes.string_at(text.value or 0).decode("utf-8", "replace"))
            finally:
                self._library.rkf_free(text)
        return out[0] if single else out


def quantize(embeddings: "NDArray[np.float32]", precision: str) -> "NDArray[Any]":
    """int8 or uint8 with the range of each dimension over these embeddings: [n, dim], as sentence-transformers does."""
    import numpy as np

    low, high = embeddings.min(axis=0), embeddings.max(axis=0)
    steps = (high - low) / 255
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.nan_to_num((embeddings - low) / steps, nan=0.0, posinf=0.0, neginf=0.0)
    quantized: "NDArray[Any]" = levels.astype(np.uint8) if precision == "uint8" else (levels - 128).astype(np.int8)
    return quantized
