# SPDX-License-Identifier: Apache-2.0
"""RKSentenceTransformer: what users of sentence_transformers.SentenceTransformer call, over rkformer.Model.

Answers have the kinds, shapes and values of sentence-transformers (the installed generation, 5 or 6, where they differ).
What is different on purpose: nothing is padded, so where `output_value=None` shows padding rows they are zeros; a device's
name is checked and otherwise ignored, since platform and core_mask choose where the model runs; a pool starts no processes.
"""

from __future__ import annotations

import asyncio
import operator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from rkformer import _native

from . import _compat, _five, similarity
from ._base import Base, Module, Normalize, Pooling, Transformer, deprecated, logger, read_json, write_json

if TYPE_CHECKING:
    import os

_KNOWN_KWARGS = ("task", "processing_kwargs")


class _Call(NamedTuple):
    """One encode call: what goes to the library, and how its answer is to be given back."""

    items: List[Any]  # str, pairs or mappings
    plain: bool  # all are str
    ready: bool  # the prompt is before them
    keys: Optional[List[str]]  # of inputs that were dicts (sentence-transformers 5)
    single: bool
    prompt: str
    limit: Optional[int]  # tokens
    batch_size: int
    bar: bool
    output_value: Optional[str]
    precision: Optional[str]
    to_numpy: bool
    to_tensor: bool
    normalize: bool
    truncate_dim: Optional[int]
    chunk: Optional[int]  # of a pool


class RKSentenceTransformer(Base):
    """Embeddings of texts on NPU cores or the CPU, called as sentence_transformers.SentenceTransformer is.

    model_name_or_path: a hub id (names without an organisation: sentence-transformers/...), a directory or a .rknn file.
    model_kwargs: platform, core_mask, file_name (of a .rknn file), subfolder, dtype, device ("cpu" keeps the model off the
    NPU). prompts, default_prompt_name, similarity_fn_name, truncate_dim: other than the model's files say. revision, token,
    cache_folder, local_files_only: of the hub. tokenizer_kwargs (processor_kwargs): model_max_length. device: checked and
    ignored. modules, config_kwargs, model_card_data, trust_remote_code: without effect; no code of a repository is run.

    isinstance(model, SentenceTransformer) holds wherever sentence_transformers is loaded, without this class importing it.

    Raises FileNotFoundError (an OSError), ValueError (core mask, platform, prompt or similarity unknown: the message names
    those there are), TypeError (unknown arguments), RuntimeError (a .rknn file for other platforms).
    """

    _stands_for = "SentenceTransformer"
    _organisation = "sentence-transformers"

    def __init__(
        self,
        model_name_or_path: "Optional[Union[str, os.PathLike[str]]]" = None,
        modules: Any = None,
        device: Any = None,
        prompts: Optional[Dict[str, str]] = None,
        default_prompt_name: Optional[str] = None,
        similarity_fn_name: Any = None,
        cache_folder: Optional[str] = None,
        trust_remote_code: bool = False,
        revision: Optional[str] = None,
        local_files_only: bool = False,
        token: Union[bool, str, None] = None,
        use_auth_token: Union[bool, str, None] = None,
        truncate_dim: Optional[int] = None,
        model_kwargs: Optional[Dict[str, Any]] = None,
        tokenizer_kwargs: Optional[Dict[str, Any]] = None,
        config_kwargs: Optional[Dict[str, Any]] = None,
        model_card_data: Any = None,
        backend: str = "rknn",
        *,
        processor_kwargs: Optional[Dict[str, Any]] = None,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        if modules is not None:
            raise _native.InvalidError("modules cannot be given: the model's own files say what they are")
        if use_auth_token is not None:
            deprecated("The `use_auth_token` argument is deprecated: use `token`.")
            if token is not None:
                raise _native.InvalidError("Both `token` and `use_auth_token` are specified: give `token` only.")
            token = use_auth_token
        self._similarity_fn_name: Optional[str] = None
        self._without_prompt: Optional[Tuple[Any, Any]] = None
        self.similarity_fn_name = similarity_fn_name
        self.truncate_dim = truncate_dim
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
            tokenizer_kwargs={**(tokenizer_kwargs or {}), **(processor_kwargs or {})},
            backend=backend,
        )
        if model_card_data is not None:
            self.model_card_data = model_card_data
        try:
            self._read_settings(prompts, default_prompt_name)
        except BaseException:
            self.close()
            raise

    def _read_settings(self, prompts: Optional[Dict[str, str]], default_prompt_name: Optional[str]) -> None:
        """config_sentence_transformers.json below what the caller gave."""
        saved = read_json(self._folder / "config_sentence_transformers.json")
        mine: Dict[str, Any] = {"query": None, "document": None, **(prompts or {})}
        for name, text in (saved.get("prompts") or {}).items():
            if mine.get(name) is None or (not mine[name] and _compat.generation() == 5):
                mine[name] = text
        self.prompts: Dict[str, str] = {name: text or "" for name, text in mine.items()}
        self.default_prompt_name = default_prompt_name or saved.get("default_prompt_name")
        if self._similarity_fn_name is None:
            self.similarity_fn_name = saved.get("similarity_fn_name")
        if self.truncate_dim is None:
            self.truncate_dim = saved.get("truncate_dim")
        if self.default_prompt_name is not None and self.default_prompt_name not in self.prompts:
            raise _native.InvalidError(
                f"Default prompt name '{self.default_prompt_name}' not found in the configured prompts "
                f"dictionary with keys {list(self.prompts)!r}."
            )

    def _default_modules(self) -> List[Module]:
        config = {"word_embedding_dimension": self.model_facts["hidden_size"], "pooling_mode_mean_tokens": True}
        return [*super()._default_modules(), Pooling(self, config)]

    # ---- encode

    def encode(
        self,
        sentences: Any = None,
        prompt_name: Optional[str] = None,
        prompt: Optional[str] = None,
        batch_size: int = 32,
        show_progress_bar: Optional[bool] = None,
        output_value: Optional[str] = "sentence_embedding",
        precision: Optional[str] = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: Optional[int] = None,
        pool: Optional[Dict[str, Any]] = None,
        chunk_size: Optional[int] = None,
        **kwargs: Any,
    ) -> Any:
        """Embeddings [n, dim] float32 of a list of texts (or of pairs of texts), [dim] of one text.

        sentences (or `inputs`): str, pairs (two str, or {"text": ...}), or a list, tuple or array of them.
        prompt: put before every text; prompt_name: one of `prompts` (else default_prompt_name's). batch_size: of the
        progress bar only, batches are made by tokens. output_value: "sentence_embedding"; "token_embeddings": a list of
        [tokens, hidden]; None: a list of dicts with input_ids, attention_mask, token_embeddings, sentence_embedding (torch
        tensors if torch is installed, else arrays). precision: float32, int8, uint8 [n, dim], binary (int8), ubinary (uint8)
        [n, dim / 8]. convert_to_tensor: one torch tensor; convert_to_numpy=False: a list of tensors. normalize_embeddings:
        length 1, after truncate_dim. pool, device as a list, chunk_size: taken, and checked; the cores are shared anyway.
        kwargs: task (ignored), processing_kwargs={"text": {"max_length": n}}.

        Raises ValueError (prompt name, precision, batch_size, further arguments), TypeError and ValueError (an input that
        is no text), KeyError (output_value), ImportError (tensors without torch), RuntimeError (closed).
        """
        call = self._prepare(
            sentences,
            prompt_name,
            prompt,
            batch_size,
            show_progress_bar,
            output_value,
            precision,
            convert_to_numpy,
            convert_to_tensor,
            device,
            normalize_embeddings,
            truncate_dim,
            pool,
            chunk_size,
            kwargs,
        )
        if not call.items:
            return self._nothing(call)
        if call.output_value != "sentence_embedding":
            return self._features(call)
        if self._pools_by_hand(call):
            return self._finish(call, self._pool_without_prompt(call))
        progress = _compat.Progress(len(call.items), call.chunk or call.batch_size) if call.bar else None
        try:
            rows = self._model.embed(self._texts(call), progress=progress, **self._options(call))
        finally:
            if progress:
                progress.close()
        return self._finish(call, rows)

    async def aencode(self, sentences: Any = None, *args: Any, **options: Any) -> Any:
        """`encode`, awaited: the event loop goes on meanwhile, and cancelling the task cancels the work."""
        given = {**_ENCODE_DEFAULTS, **dict(zip(_ENCODE_DEFAULTS, args)), **options}
        kwargs = {name: given.pop(name) for name in list(given) if name not in _ENCODE_DEFAULTS}
        call = self._prepare(sentences, **given, kwargs=kwargs)
        if not call.items:
            return self._nothing(call)
        if call.output_value != "sentence_embedding" or self._pools_by_hand(call):
            run: Callable[[], Any] = lambda: self.encode(sentences, **given, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(None, run)
        return self._finish(call, await self._model.aembed(self._texts(call), **self._options(call)))

    def encode_query(
        self,
        sentences: Any = None,
        prompt_name: Optional[str] = None,
        prompt: Optional[str] = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """`encode` with the prompt "query", if no other is given."""
        return self.encode(sentences, self._query_prompt(prompt_name, prompt), prompt, *args, **_no_task(kwargs))

    def encode_document(
        self,
        sentences: Any = None,
        prompt_name: Optional[str] = None,
        prompt: Optional[str] = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """`encode` with the first of the prompts "document", "passage" and "corpus" that there is, if no other is given."""
        return self.encode(sentences, self._document_prompt(prompt_name, prompt), prompt, *args, **_no_task(kwargs))

    async def aencode_query(
        self,
        sentences: Any = None,
        prompt_name: Optional[str] = None,
        prompt: Optional[str] = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """`encode_query`, awaited."""
        return await self.aencode(sentences, self._query_prompt(prompt_name, prompt), prompt, *args, **_no_task(kwargs))

    async def aencode_document(
        self,
        sentences: Any = None,
        prompt_name: Optional[str] = None,
        prompt: Optional[str] = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """`encode_document`, awaited."""
        return await self.aencode(sentences, self._document_prompt(prompt_name, prompt), prompt, *args, **_no_task(kwargs))

    def _query_prompt(self, prompt_name: Optional[str], prompt: Optional[str]) -> Optional[str]:
        return "query" if prompt_name is None and prompt is None and "query" in self.prompts else prompt_name

    def _document_prompt(self, prompt_name: Optional[str], prompt: Optional[str]) -> Optional[str]:
        if prompt_name is None and prompt is None:
            for name in ("document", "passage", "corpus"):
                if name in self.prompts:
                    return name
        return prompt_name

    # ---- the parts of encode

    def _prepare(
        self,
        sentences: Any,
        prompt_name: Optional[str],
        prompt: Optional[str],
        batch_size: int,
        show_progress_bar: Optional[bool],
        output_value: Optional[str],
        precision: Optional[str],
        convert_to_numpy: bool,
        convert_to_tensor: bool,
        device: Any,
        normalize_embeddings: bool,
        truncate_dim: Optional[int],
        pool: Optional[Dict[str, Any]],
        chunk_size: Optional[int],
        kwargs: Dict[str, Any],
    ) -> _Call:
        """Checks the arguments, in the order in which sentence-transformers does."""
        if "inputs" in kwargs:
            if sentences is not None:
                raise TypeError("encode() got both `sentences` and `inputs`: they are the same")
            sentences = kwargs.pop("inputs")
        elif sentences is None:
            raise _compat.InputTypeError(
                "encode() needs texts: Unsupported input type: NoneType. Expected a str or a list"
            )
        if output_value != "sentence_embedding":
            convert_to_numpy = convert_to_tensor = False
        five = _compat.generation() == 5
        if batch_size <= 0 and not five:
            raise _native.InvalidError(f"batch_size must be a positive integer, got {batch_size}.")
        unknown = set(kwargs) - set(_KNOWN_KWARGS)
        if unknown:
            raise _native.InvalidError(
                f"{type(self).__name__}.encode() has been called with additional keyword arguments that this model does "
                f"not use: {sorted(unknown)}. This model does not accept any additional keyword arguments."
            )
        if (precision or (precision is not None and not five)) and precision not in similarity.PRECISIONS:
            raise _native.InvalidError(
                f"Precision {precision!r} is not supported, must be one of {similarity.PRECISIONS}"
            )
        prompt = self._resolve_prompt(prompt, prompt_name)
        items, single, keys = self._inputs(sentences, prompt, batch_size)
        ready = five and not (isinstance(sentences, str) or items is sentences)
        items, plain = _compat.texts_and_pairs(items)
        batch_size = operator.index(batch_size)
        if batch_size <= 0:
            raise _compat.misuse(IndexError(), f"batch_size must be a positive integer, got {batch_size}.")
        truncate_dim = truncate_dim if truncate_dim is not None else self.truncate_dim
        if not truncate_dim and five:
            truncate_dim = None
        if not isinstance(output_value, str) and output_value is not None and items and not five:
            raise _compat.InputTypeError(f"output_value must be a str or None, not {type(output_value).__name__}")
        if convert_to_tensor or (output_value == "sentence_embedding" and not convert_to_numpy):
            _compat.torch_for("convert_to_tensor=True" if convert_to_tensor else "convert_to_numpy=False")
        return _Call(
            items,
            plain,
            ready,
            keys,
            single,
            prompt or "",
            self._limit(kwargs.get("processing_kwargs")),
            batch_size,
            _compat.wants_bar(show_progress_bar),
            output_value,
            precision,
            convert_to_numpy and not convert_to_tensor,
            convert_to_tensor,
            bool(normalize_embeddings),
            truncate_dim,
            self._pool_chunk(len(items), pool, device, chunk_size),
        )

    def _inputs(self, sentences: Any, prompt: Optional[str], batch_size: Any) -> Tuple[List[Any], bool, Optional[List[str]]]:
        """Inputs as a list, whether there was one alone, and keys of dicts. Checks the prompt too: it needs texts."""
        if _compat.generation() > 5:
            items, single = _compat.as_batch(sentences)
            if items and prompt and not isinstance(prompt, str):
                raise TypeError(f"prompt must be a str, not {type(prompt).__name__}")
            return items, single, None
        if isinstance(prompt, str) or prompt is None:
            if isinstance(sentences, str):
                return [sentences], True, None
            if isinstance(sentences, list) and all(type(sentence) is str for sentence in sentences):
                return sentences, False, None
        return _five.batch_of(sentences, prompt, batch_size)

    def _resolve_prompt(self, prompt: Optional[str], prompt_name: Optional[str]) -> Optional[str]:
        if prompt is None:
            if prompt_name is not None:
                try:
                    return self.prompts[prompt_name]
                except KeyError:
                    raise _native.InvalidError(
                        f"Prompt name '{prompt_name}' not found in the configured prompts dictionary with keys "
                        f"{list(self.prompts)!r}."
                    ) from None
            return self.prompts.get(self.default_prompt_name) if self.default_prompt_name is not None else None
        if prompt_name is not None:
            logger.warning("Give a `prompt` or a `prompt_name`, not both: the `prompt_name` is ignored.")
        return prompt

    def _limit(self, processing: Any) -> Optional[int]:
        """Tokens per text of a call."""
        own = ((processing or {}).get("text") or {}).get("max_length")
        return int(own) if own is not None else self._max_seq_length

    def _prompted(self, call: _Call) -> List[Any]:
        prompt = call.prompt
        if call.ready:
            return call.items
        if call.plain and _compat.generation() == 5:  # which strips texts, prompt and all
            return [(prompt + text).strip() for text in call.items]
        if not prompt:
            return call.items
        if call.plain:
            return [prompt + text for text in call.items]
        return [_compat.prompted(prompt, item) for item in call.items]

    def _texts(self, call: _Call) -> List[Any]:
        """What the library is given: texts whose prompt it adds itself, else prompted texts, or ids."""
        if self._own_tokenizer:
            return self._ids_of(self._prompted(call), call.limit)
        return call.items if self._library_adds(call) else self._prompted(call)

    def _library_adds(self, call: _Call) -> bool:
        if call.ready or not call.plain or self._own_tokenizer or (_compat.generation() == 5 and self._include_prompt is not False):
            return False
        return self._include_prompt is not True or self._file_includes_prompt

    def _options(self, call: _Call) -> Dict[str, Any]:
        return {
            "prompt": call.prompt if self._library_adds(call) else "",
            "max_length": call.limit,
            "normalize": True if call.normalize and not call.truncate_dim else None,
        }

    def _finish(self, call: _Call, rows: Any) -> Any:
        """Embeddings [n, dim] as the caller wants them."""
        import numpy as np

        if call.truncate_dim is not None:
            rows = rows[:, : call.truncate_dim]
            if call.normalize:
                rows = similarity.unit(rows)
            rows = np.ascontiguousarray(rows)
        if call.precision and call.precision != "float32":
            rows = self._quantized(call, rows)
        if call.to_numpy:
            return rows[0] if call.single else rows
        tensor = _compat.to_tensor(rows, "this")
        if call.to_tensor:
            return tensor[0] if call.single else tensor
        return tensor[0] if call.single else list(tensor)

    def _quantized(self, call: _Call, rows: Any) -> Any:
        import numpy as np

        precision = str(call.precision)
        if call.chunk and _compat.generation() == 5:  # each worker of a pool takes its own ranges
            parts = [rows[at : at + call.chunk] for at in range(0, len(rows), call.chunk)]
            return np.concatenate([similarity.quantize_embeddings(part, precision) for part in parts])
        return similarity.quantize_embeddings(rows, precision)

    def _nothing(self, call: _Call) -> Any:
        import numpy as np

        if call.to_tensor:
            return _compat.torch_for("convert_to_tensor=True").tensor([])
        return np.array([]) if call.to_numpy else []

    # ---- tokens and all features

    def _features(self, call: _Call) -> Any:
        texts = self._ids_of(self._prompted(call), call.limit) if self._own_tokenizer else self._prompted(call)
        hidden = self._model.hidden(texts, max_length=call.limit)
        if call.output_value not in (None, "token_embeddings"):
            return self._one_feature(call, hidden)
        out: List[Any] = hidden if call.output_value else self._dicts(call, hidden)
        quantized = bool(call.precision) and call.precision != "float32"
        if quantized and not call.output_value:
            raise TypeError("output_value=None has no precision but float32: '>' not supported between dict and int")
        if quantized:
            out = list(similarity.quantize_embeddings(hidden, str(call.precision)))
            if _compat.generation() == 5:
                out = [_compat.tensor_if_torch(row) for row in out]
        elif call.output_value:
            out = [_compat.tensor_if_torch(row) for row in hidden]
        return out[0] if call.single else out

    def _one_feature(self, call: _Call, hidden: List[Any]) -> Any:
        """output_value that names another feature, input_ids for example: that of each text, padded as _dicts does."""
        dicts = self._dicts(call, hidden)
        if call.output_value not in dicts[0]:
            raise _compat.NoSuchOutputError(
                f"output_value {call.output_value!r} is not known: use None or one of {', '.join(dicts[0])}"
            )
        out = [each[call.output_value] for each in dicts]
        if call.normalize or (call.precision and call.precision != "float32"):
            raise _compat.InputTypeError(f"output_value {call.output_value!r} can be neither normalized nor quantized")
        return out[0] if call.single else out

    def _dicts(self, call: _Call, hidden: List[Any]) -> List[Dict[str, Any]]:
        """All features per text, padded to the longest of its batch as sentence-transformers' are; zeros in the padding."""
        import numpy as np

        texts = self._prompted(call)
        raw = call._replace(normalize=False)
        by_hand = self._pool_without_prompt(raw, hidden) if self._pools_by_hand(call) else None
        pooled = (
            self._model.embed(self._texts(call), **{**self._options(call), "normalize": None})
            if by_hand is None
            else by_hand
        )
        if call.truncate_dim is not None:
            pooled = pooled[:, : call.truncate_dim]
        tokenizer = self._light_tokenizer()
        lengths = [
            len(t) if isinstance(t, str) else sum(map(len, t.values() if isinstance(t, dict) else t))
            for t in call.items
        ]
        order = np.argsort([-n for n in lengths])
        out: List[Dict[str, Any]] = [{} for _ in texts]
        shared: Dict[str, Any] = {"modality": "text"} if _compat.generation() > 5 else {}
        if call.prompt:
            shared["prompt_length"] = self._prompt_length(call)
        for at in range(0, len(order), call.batch_size):
            batch = [int(i) for i in order[at : at + call.batch_size]]
            features = tokenizer.features([texts[i] for i in batch], call.limit)
            width = features["input_ids"].shape[1]
            for row, i in enumerate(batch):
                tokens = np.zeros((width, hidden[i].shape[1]), np.float32)
                tokens[: len(hidden[i])] = hidden[i]
                if (
                    call.prompt and self._include_prompt is False and _compat.generation() == 5
                ):  # as its pooling leaves it
                    features["attention_mask"][row, : shared["prompt_length"]] = 0
                arrays = {name: np.ascontiguousarray(value[row]) for name, value in features.items()}
                tail = {"token_embeddings": tokens, "sentence_embedding": np.ascontiguousarray(pooled[i])}
                tensors = {name: _compat.tensor_if_torch(value) for name, value in {**arrays, **tail}.items()}
                last = {name: tensors.pop(name) for name in tail}
                keyed = {"text_keys": call.keys[i]} if call.keys else {}
                out[i] = {**keyed, **tensors, **shared, **last}
        return out

    # ---- pooling without the prompt

    @property
    def _pooling(self) -> Optional[Pooling]:
        for module in self._modules_list:
            if isinstance(module, Pooling):
                return module
        return None

    @property
    def _include_prompt(self) -> Optional[bool]:
        return self._pooling.include_prompt if self._pooling else None

    @property
    def _file_includes_prompt(self) -> bool:
        return bool(self._pooling._config.get("include_prompt", True)) if self._pooling else True

    def set_pooling_include_prompt(self, include_prompt: bool) -> None:
        """Whether the tokens of a prompt take part in the pooling (instructor models: they do not)."""
        if self._pooling is not None:
            self._pooling.include_prompt = include_prompt

    def _pools_by_hand(self, call: _Call) -> bool:
        """The files pool the prompt too, and the caller does not want it (or it is before pairs, or a tokenizer of theirs, or
        there is a first token that 5 takes whatever it is)."""
        if not call.prompt or self._include_prompt is not False:
            return False
        keeps_first = _compat.generation() == 5 and "cls" in self.model_facts["pooling"]  # the library follows 6
        return self._file_includes_prompt or not call.plain or call.ready or self._own_tokenizer or keeps_first

    def _prompt_length(self, call: _Call) -> int:
        """Tokens of the prompt, the leading special ones included."""
        prompt = call.prompt.strip() if _compat.generation() == 5 else call.prompt
        encoding: Any = self._model.tokenize(prompt, max_length=call.limit)
        return len(encoding.ids) - int(encoding.special_tokens_mask[-1]) if len(encoding.ids) else 0

    def _pool_without_prompt(self, call: _Call, hidden: Optional[List[Any]] = None) -> Any:
        """Embeddings [n, dim] pooled here, from token embeddings without the prompt's."""
        import numpy as np

        if any(not isinstance(m, (Transformer, Pooling, Normalize)) for m in self._modules_list):
            return self._embed_without_prompt(call)
        if hidden is None:
            texts = self._ids_of(self._prompted(call), call.limit) if self._own_tokenizer else self._prompted(call)
            hidden = self._model.hidden(texts, max_length=call.limit)
        skip = self._prompt_length(call)
        modes = self.model_facts["pooling"]
        rows = np.stack(
            [np.concatenate([_pool(mode, tokens, min(skip, len(tokens))) for mode in modes]) for tokens in hidden]
        )
        if self.model_facts["normalize"] or (call.normalize and not call.truncate_dim):
            rows = similarity.unit(rows)
        return rows

    def _embed_without_prompt(self, call: _Call) -> Any:
        """The same, where more than a normalisation follows the pooling: by the model opened a second time, from files that
        say include_prompt false."""
        if self._own_tokenizer or not call.plain:
            raise _native.UnsupportedError(
                f"pooling without the prompt, before {self._modules_list[2]!r}, takes plain texts and the model's own tokenizer"
            )
        if self._without_prompt is None:
            self._without_prompt = self._open_without_prompt()
        options = {**self._options(call), "prompt": call.prompt}
        return self._without_prompt[0].embed(call.items, **options)

    def _open_without_prompt(self) -> Tuple[Any, Any]:
        """The model, and the directory of links and of the one changed file that it was opened from."""
        import tempfile

        folder = tempfile.TemporaryDirectory(prefix="rktransformers-")
        copy = Path(folder.name)
        pooling = next(
            str(entry["path"])
            for entry in read_json(self._folder / "modules.json")
            if str(entry.get("type", "")).endswith(".Pooling")
        )
        for file in self._folder.iterdir():
            if file.name != pooling:
                (copy / file.name).symlink_to(file.resolve())
        (copy / pooling).mkdir()
        config = read_json(self._folder / pooling / "config.json")
        write_json(copy / pooling / "config.json", {**config, "include_prompt": False})
        return self._model.reopened(str(copy)), folder

    def close(self) -> None:
        super().close()
        if self._without_prompt is not None:
            self._without_prompt[0].close()

    # ---- similarity

    @property
    def similarity_fn_name(self) -> str:
        """cosine, dot, euclidean or manhattan."""
        return self._similarity_fn_name or "cosine"

    @similarity_fn_name.setter
    def similarity_fn_name(self, value: Any) -> None:
        name = getattr(value, "value", value)  # an enum of sentence-transformers
        if name is not None and name not in similarity.FUNCTIONS:
            raise _native.InvalidError(
                f"{type(self).__name__} only supports similarity_fn_name in {tuple(similarity.FUNCTIONS)}, got {name!r}."
            )
        self._similarity_fn_name = name

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """[n, m] similarities between two sets of embeddings [n, dim] and [m, dim], by similarity_fn_name: a torch tensor
        if torch is installed, else an array."""
        return _compat.tensor_if_torch(similarity.FUNCTIONS[self.similarity_fn_name][0](embeddings1, embeddings2))

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """[n] similarities between embeddings1[i] and embeddings2[i], as `similarity` gives them."""
        import numpy as np

        return _compat.tensor_if_torch(
            np.asarray(similarity.FUNCTIONS[self.similarity_fn_name][1](embeddings1, embeddings2))
        )

    # ---- dimensions

    def get_embedding_dimension(self) -> int:
        """Columns of what `encode` gives, truncate_dim applied."""
        width = int(self.model_facts["embedding_dimension"])
        return width if self.truncate_dim is None else min(width, self.truncate_dim)

    get_sentence_embedding_dimension = get_embedding_dimension

    @contextmanager
    def truncate_embeddings(self, truncate_dim: Optional[int]) -> Iterator[None]:
        """Another truncate_dim for the time of a `with` block."""
        before = self.truncate_dim
        try:
            self.truncate_dim = truncate_dim
            yield
        finally:
            self.truncate_dim = before

    truncate_sentence_embeddings = truncate_embeddings

    # ---- the rest

    def is_singular_input(self, inputs: Any) -> bool:
        return _compat.as_batch(inputs)[1]

    def encode_multi_process(self, sentences: Any, pool: Dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """`encode` with a pool (arguments after it: prompt_name, prompt, batch_size, chunk_size, show_progress_bar,
        precision, normalize_embeddings, truncate_dim)."""
        names = (
            "prompt_name",
            "prompt",
            "batch_size",
            "chunk_size",
            "show_progress_bar",
            "precision",
            "normalize_embeddings",
            "truncate_dim",
        )
        return self.encode(sentences, pool=pool, **dict(zip(names, args)), **kwargs)

    def forward(self, input: Dict[str, Any], **kwargs: Any) -> Dict[str, Any]:
        """Adds token_embeddings [n, tokens, hidden] and sentence_embedding [n, dim] to a dict with input_ids and
        attention_mask [n, tokens]: float32, tensors if torch is installed. No gradients."""
        import numpy as np

        ids = _compat.to_array(input["input_ids"])
        mask = (
            _compat.to_array(input["attention_mask"]).astype(bool)
            if "attention_mask" in input
            else np.ones(ids.shape, bool)
        )
        lists = [row[keep] for row, keep in zip(ids, mask)]
        rows = self._model.hidden(lists, max_length=self._max_seq_length)
        tokens = np.zeros((*ids.shape, rows[0].shape[1]), np.float32)
        for i, row in enumerate(rows):
            tokens[i, np.flatnonzero(mask[i])[: len(row)]] = row
        pooled = self._model.embed(lists, max_length=self._max_seq_length)
        features = {"token_embeddings": tokens, "sentence_embedding": pooled}
        return {**input, **{name: _compat.tensor_if_torch(value) for name, value in features.items()}}

    __call__ = forward

    def _save_settings(self, target: Path) -> None:
        path = target / "config_sentence_transformers.json"
        saved = read_json(path)
        saved.update(
            model_type="SentenceTransformer",
            prompts=self.prompts,
            default_prompt_name=self.default_prompt_name,
            similarity_fn_name=self.similarity_fn_name,
        )
        if self.truncate_dim is not None:
            saved["truncate_dim"] = self.truncate_dim
        write_json(path, saved)
        settings = read_json(target / "sentence_bert_config.json")
        if self._max_seq_length != self.model_facts["max_length"] or not settings:
            write_json(target / "sentence_bert_config.json", {**settings, "max_seq_length": self._max_seq_length})
        if not (target / "modules.json").exists():
            self._save_modules(target)
        elif self._pooling is not None and self._include_prompt is not self._file_includes_prompt:
            for entry in read_json(target / "modules.json"):
                if str(entry.get("type", "")).endswith(".Pooling"):
                    config = target / entry["path"] / "config.json"
                    write_json(config, {**read_json(config), "include_prompt": self._include_prompt})

    def _save_modules(self, target: Path) -> None:
        """A model without sentence-transformers' files is one with mean pooling: written so that it stays one."""
        (target / "1_Pooling").mkdir(exist_ok=True)
        config = {"word_embedding_dimension": self.model_facts["hidden_size"], "pooling_mode_mean_tokens": True}
        write_json(
            target / "1_Pooling" / "config.json", {**config, "include_prompt": self._include_prompt is not False}
        )
        kinds = (("", "Transformer"), ("1_Pooling", "Pooling"))
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(kinds)
        ]
        write_json(target / "modules.json", modules)


_ENCODE_DEFAULTS: Dict[str, Any] = {
    "prompt_name": None,
    "prompt": None,
    "batch_size": 32,
    "show_progress_bar": None,
    "output_value": "sentence_embedding",
    "precision": "float32",
    "convert_to_numpy": True,
    "convert_to_tensor": False,
    "device": None,
    "normalize_embeddings": False,
    "truncate_dim": None,
    "pool": None,
    "chunk_size": None,
}


def _no_task(kwargs: Dict[str, Any]) -> Dict[str, Any]:
    """encode_query and encode_document are the task: TypeError if one is given, as in sentence-transformers."""
    if "task" in kwargs:
        raise TypeError("encode() got multiple values for keyword argument 'task'")
    return kwargs


def _mean(tokens: Any, skip: int, power: float) -> Any:
    n = len(tokens) - skip
    return tokens[skip:].sum(axis=0) / max(n**power, 1e-9)


def _weighted(tokens: Any, skip: int) -> Any:
    import numpy as np

    weights = np.arange(skip + 1, len(tokens) + 1, dtype=np.float32)
    return weights @ tokens[skip:] / max(float(weights.sum()), 1e-9)


def _pool(mode: str, tokens: Any, skip: int) -> Any:
    """One mode of pooling: tokens [n, hidden], leading ones to leave out -> [hidden]."""
    if mode == "cls" and _compat.generation() > 5:  # the first that is left
        return tokens[skip if skip < len(tokens) else 0]
    return _POOL[mode](tokens, skip)


_POOL: Dict[str, Callable[[Any, int], Any]] = {
    "cls": lambda tokens, skip: tokens[0],
    "mean": lambda tokens, skip: _mean(tokens, skip, 1.0),
    "max": lambda tokens, skip: tokens[skip:].max(axis=0, initial=-1e9),
    "mean_sqrt_len": lambda tokens, skip: _mean(tokens, skip, 0.5),
    "mean_sqrt_len_tokens": lambda tokens, skip: _mean(tokens, skip, 0.5),
    "weightedmean": _weighted,
    "weighted_mean": _weighted,
    "lasttoken": lambda tokens, skip: tokens[-1],
    "last_token": lambda tokens, skip: tokens[-1],
}
