# SPDX-License-Identifier: Apache-2.0
"""RKModelFor...: the classes of RK-Transformers over rkformer.Model, for numpy arrays and torch tensors.

What differs from the original on purpose: outputs have the caller's own shape (never padding rows of the compiled shape), any
batch and length up to the model's limit is taken, token ids keep all their bits, positions whose attention_mask is 0 are left
out of the computation, errors say what happened, and `close` gives the cores back.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple, Type, TypeVar, Union

import rkformer
from rkformer import _native

from . import _hub, _load, _outputs
from .configuration import RKNNConfig
from .constants import DEFAULT_BATCH_SIZE

logger = logging.getLogger("rktransformers")
_Self = TypeVar("_Self", bound="RKModel")
_LONGEST = 2**31 - 1  # of a request: the model's own limit holds
_MASKED_ANSWER = -10000.0  # start and end logits where attention_mask is 0: never the largest
_warned: Set[str] = set()


class PreTrainedModel:
    """Its name, in a class's bases, is how transformers 4's pipelines know a model for torch tensors."""


class InputTooLongError(_native.TooLongError, RuntimeError):
    """More tokens than the model has positions (a RuntimeError too, as in torch and in RK-Transformers)."""


def _warn_once(text: str) -> None:
    if text not in _warned:
        _warned.add(text)
        logger.warning("%s", text)


def _is_torch(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _to_numpy(value: Any) -> Any:
    import numpy as np

    return value.detach().cpu().numpy() if _is_torch(value) else np.asarray(value)


def _like(array: Any, torch_wanted: bool) -> Any:
    if not torch_wanted:
        return array
    import numpy as np
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))


class _Config:
    """config.json as attributes, where transformers is not installed."""

    def __init__(self, values: Dict[str, Any]) -> None:
        labels = values.get("id2label")
        values = dict(values)
        if isinstance(labels, dict):
            values["id2label"] = {int(key): label for key, label in labels.items()}
        n = values.get("num_labels") or len(values.get("id2label") or ()) or 2
        values["num_labels"] = n
        values.setdefault("id2label", {i: f"LABEL_{i}" for i in range(n)})
        values.setdefault("label2id", {label: i for i, label in values["id2label"].items()})
        values.setdefault("problem_type", None)
        values.setdefault("type_vocab_size", 1)
        self.__dict__.update(values)

    def to_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.__dict__!r})"


class RKModel(PreTrainedModel):
    """Base of the task classes: one open model. Use the class of your task and `from_pretrained`.

    config: transformers' PretrainedConfig (or a dict); None: read from the model's directory. model_path: a directory or a
    .rknn file. max_seq_length: tokens that longer inputs are refused at, None: the model's. batch_size: kept for
    compatibility, any batch is taken.
    """

    model_type = "rknn_model"
    main_input_name = "input_ids"
    base_model_prefix = "model"
    input_modalities = ("text",)
    _is_stateful = False
    _tasks: Tuple[str, ...] = ()  # of rkformer's describe(); (): any
    _head = ""

    def __init__(
        self,
        *,
        model_path: Union[str, "os.PathLike[str]"],
        model_id: Optional[str] = None,
        config: Any = None,
        platform: Optional[str] = None,
        core_mask: Optional[str] = "auto",
        rknn_config: Optional[RKNNConfig] = None,
        max_seq_length: Optional[int] = None,
        batch_size: Optional[int] = None,
        file_name: Optional[str] = None,
        subfolder: str = "",
        device: Optional[str] = None,
        dtype: Optional[str] = None,
        **hub: Any,
    ) -> None:
        self.model_id = model_id or os.fspath(model_path)
        self.name_or_path = self.model_id
        path = Path(model_path)
        if not path.exists():
            raise _native.NotFoundError(f"RKNN model not found: {path}")
        loaded = _load.load(
            self.model_id,
            path,
            subfolder=subfolder,
            file_name=file_name,
            platform=platform,
            core_mask=core_mask,
            device=device,
            dtype=dtype,
            max_length=max_seq_length or 0,
            **hub,
        )
        self.model = loaded.model
        facts = self.model.facts
        try:
            self._check_task(facts)
        except BaseException:
            self.model.close()
            raise
        self._folder, self._file = loaded.folder, loaded.file
        self.model_path = loaded.folder / loaded.file if loaded.file else loaded.folder
        self.platform = facts["platform"]
        self.core_mask = facts["core_mask"]
        self.rknn_config = rknn_config or loaded.rknn_config
        self._values = loaded.config
        self._config = config
        self.input_names = ["input_ids", "attention_mask"]
        if int(self._values.get("type_vocab_size") or 1) > 1:
            self.input_names.append("token_type_ids")
        self.batch_size = DEFAULT_BATCH_SIZE
        self.max_seq_length = int(facts["max_length"])
        if self.rknn_config is not None:
            self.input_names = self.rknn_config.model_input_names or self.input_names
            self.batch_size = self.rknn_config.batch_size
            self.max_seq_length = self.rknn_config.max_seq_length or self.max_seq_length
        self.batch_size = batch_size or self.batch_size
        self.max_seq_length = max_seq_length or self.max_seq_length
        self._limit = max_seq_length or _LONGEST

    def _check_task(self, facts: Dict[str, Any]) -> None:
        if self._tasks and facts["task"] not in self._tasks:
            right = _CLASS_OF_TASK.get(facts["task"], "RKModelForFeatureExtraction")
            raise _native.UnsupportedError(
                f"{self.model_id} has no {self._head} (it is a {facts['architecture']}): load it with {right}"
            )

    @classmethod
    def from_pretrained(
        cls: Type[_Self],
        pretrained_model_name_or_path: Union[str, "os.PathLike[str]"],
        *,
        config: Any = None,
        platform: Optional[str] = None,
        core_mask: Optional[str] = "auto",
        subfolder: str = "",
        revision: Optional[str] = None,
        force_download: bool = False,
        resume_download: Optional[bool] = None,
        proxies: Optional[Dict[str, str]] = None,
        token: Union[str, bool, None] = None,
        local_files_only: bool = False,
        trust_remote_code: bool = False,
        cache_dir: Optional[Union[str, "os.PathLike[str]"]] = None,
        file_name: Optional[str] = None,
        **model_kwargs: Any,
    ) -> _Self:
        """Opens a model: a hub id, a directory or a .rknn file.

        platform: rk3588, rk3576, rk3568, rk3566, rk3562 (None: detected; without that NPU its cores are virtual). core_mask:
        auto, 0, 1, 2, 0_1, 0_1_2, all. file_name: a .rknn file, relative to the model's directory. config, subfolder,
        revision, token, cache_dir, local_files_only, force_download: as in transformers. resume_download, proxies: not
        needed. trust_remote_code: ignored, no code of a repository is ever run. model_kwargs: max_seq_length, batch_size,
        device, dtype.

        Raises FileNotFoundError (no such model or file), ValueError (core mask or platform unknown or not available: the
        message names those there are; a model without this class's head), RuntimeError (a .rknn file for other platforms),
        TypeError (unknown arguments).
        """
        unknown = set(model_kwargs) - {"max_seq_length", "batch_size", "device", "dtype", "rknn_config"}
        if unknown:
            raise TypeError(f"{cls.__name__}.from_pretrained() got an unexpected argument {sorted(unknown)[0]!r}")
        if trust_remote_code:
            _warn_once("trust_remote_code is ignored: no code of a model's repository is ever run")
        hub: Dict[str, Any] = dict(cache_dir=cache_dir, token=token, local_files_only=local_files_only)
        path = _hub.resolve(
            pretrained_model_name_or_path,
            revision=revision,
            force_download=force_download,
            subfolder=subfolder,
            **hub,
        )
        return cls(
            model_path=path,
            model_id=os.fspath(pretrained_model_name_or_path),
            config=config,
            platform=platform,
            core_mask=core_mask,
            subfolder=subfolder,
            file_name=file_name,
            **hub,
            **model_kwargs,
        )

    # ---- what transformers asks of a model

    @property
    def config(self) -> Any:
        """transformers' PretrainedConfig if transformers is installed, else config.json as attributes."""
        _register()
        if self._config is None or isinstance(self._config, dict):
            self._config = self._make_config(self._config)
        return self._config

    @config.setter
    def config(self, value: Any) -> None:
        self._config = value

    def _make_config(self, values: Optional[Dict[str, Any]]) -> Any:
        try:
            from transformers import AutoConfig, PretrainedConfig
        except ImportError:
            return _Config(self._values if values is None else values)
        if values is not None:
            return PretrainedConfig.from_dict(values)
        try:
            return AutoConfig.from_pretrained(str(self._folder))
        except (OSError, ValueError, KeyError) as error:
            logger.warning("Falling back to a generic config for %s: AutoConfig failed: %s", self.model_id, error)
            return PretrainedConfig.from_dict(dict(self._values))

    @property
    def tokenizer(self) -> Any:
        """transformers' tokenizer of this model; ImportError without transformers (the model's own: `model.tokenize`)."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(str(self._folder))

    @property
    def device(self) -> Any:
        """Where tensors come from and go to: always the CPU."""
        _register()
        torch = sys.modules.get("torch")
        return torch.device("cpu") if torch is not None else "cpu"

    @property
    def dtype(self) -> Any:
        """Of the outputs: float32."""
        torch = sys.modules.get("torch")
        return torch.float32 if torch is not None else "float32"

    def to(self: _Self, *args: Any, **kwargs: Any) -> _Self:
        """Does nothing: where the model computes is the choice of platform, core_mask and device at load."""
        return self

    def eval(self: _Self) -> _Self:
        return self

    def train(self: _Self, mode: bool = True) -> _Self:
        """Inference only: nothing changes."""
        return self

    def can_generate(self) -> bool:
        return False

    def list_model_compatible_platform(self) -> Optional[Dict[str, List[str]]]:
        """The platforms of the .rknn file in use; of the native forward pass: all. None once closed."""
        if self.model.closed:
            return None
        every = ["rk3588", "rk3576", "rk3568", "rk3566", "rk3562"]
        platforms = _load.platforms_of(self._folder / self._file) if self._file else every
        return {"filled_target_platform": list(platforms), "support_target_platform": list(platforms)}

    # ---- life

    def close(self) -> None:
        """Gives cores and memory back. What is called afterwards raises ClosedError (a RuntimeError)."""
        self.model.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_id!r}, platform={self.platform!r}, core_mask={self.core_mask!r})"

    def save_pretrained(
        self, save_directory: Union[str, "os.PathLike[str]"], *, push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Copies the model's files, so that from_pretrained opens the directory: config, tokenizer, modules, weights and,
        where .rknn files are in use, those."""
        target = Path(save_directory)
        if target.is_file():
            raise _native.InvalidError(f"{target} is a file: save_pretrained needs a directory")
        endings = {".json", ".txt", ".model", ".safetensors", ".md"} | ({".rknn"} if self._file else set())
        for path in sorted(self._folder.rglob("*")):
            inside = path.relative_to(self._folder)
            if path.suffix not in endings or not path.is_file() or inside.parts[0] in ("onnx", "openvino"):
                continue
            (target / inside).parent.mkdir(parents=True, exist_ok=True)
            if not (target / inside).exists() or not path.samefile(target / inside):
                shutil.copyfile(path, target / inside)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", target.name), folder=target, **kwargs)

    def push_to_hub(self, repo_id: str, *, folder: Optional[Path] = None, **kwargs: Any) -> Any:
        """Uploads the model's directory; ImportError without huggingface_hub."""
        from huggingface_hub import HfApi

        token = kwargs.pop("token", None)
        private = kwargs.pop("private", None)
        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        return api.upload_folder(repo_id=repo_id, folder_path=str(folder or self._folder), **kwargs)

    # ---- running

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        *,
        return_dict: Optional[bool] = True,
        **kwargs: Any,
    ) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no task: use one of the RKModelFor... classes")

    def _inputs(
        self, input_ids: Any, attention_mask: Any, token_type_ids: Any, kwargs: Dict[str, Any], ndim: int = 2
    ) -> Tuple[Any, Any, Any]:
        """The three inputs as arrays: ids [rows, seq], mask [rows, seq] bool (None: all true), types (or None)."""
        if input_ids is None:
            raise _native.InvalidError("`input_ids` is required for RKModel text inference.")
        if kwargs:
            _warn_once(f"{type(self).__name__} received unsupported arguments: {', '.join(kwargs)}")
        ids = _to_numpy(input_ids)
        if ids.ndim != ndim:
            what = "3D [batch_size, num_choices, seq_len]" if ndim == 3 else "2D [batch_size, seq_len]"
            raise _native.InvalidError(
                f"{'Multiple-choice inputs' if ndim == 3 else 'input_ids'} must be {what}. Got shape: {ids.shape}"
            )
        others = []
        for name, value in (("attention_mask", attention_mask), ("token_type_ids", token_type_ids)):
            array = None if value is None else _to_numpy(value)
            if array is not None and array.shape != ids.shape:
                raise _native.InvalidError(f"{name} has the shape {array.shape}, input_ids {ids.shape}: they must agree")
            others.append(None if array is None else array.reshape(-1, ids.shape[-1]))
        mask = None if others[0] is None else others[0].astype(bool)
        types = None if others[1] is None else others[1].astype("int32")
        return ids.reshape(-1, ids.shape[-1]), mask, types

    def _rows(self, run: Any, ids: Any, mask: Any, types: Any) -> Tuple[List[Any], List[int]]:
        """Runs the rows that have any token. Returns their answers and their numbers."""
        kept = [i for i in range(len(ids)) if ids.shape[1] and (mask is None or mask[i].any())]
        texts = [ids[i] if mask is None else ids[i][mask[i]] for i in kept]
        kinds = None if types is None else [types[i] if mask is None else types[i][mask[i]] for i in kept]
        if not kept:
            return [], []
        try:
            return run(texts, token_type_ids=kinds, max_length=self._limit, truncate=False), kept
        except _native.TooLongError as error:
            raise InputTooLongError(str(error)) from None

    def _per_token(self, run: Any, ids: Any, mask: Any, types: Any, width: int, blank: float = 0.0) -> Any:
        """[rows, seq, width] float32; `blank` where the mask is 0."""
        import numpy as np

        rows, kept = self._rows(run, ids, mask, types)
        if len(rows) == 1 and len(ids) == 1 and rows[0].shape[0] == ids.shape[1]:
            return rows[0][None]
        out = np.full((len(ids), ids.shape[1], rows[0].shape[1] if rows else width), blank, np.float32)
        for i, row in zip(kept, rows):
            if row.shape[0] == ids.shape[1]:
                out[i] = row
            else:
                out[i, mask[i]] = row
        return out

    def _per_row(self, ids: Any, mask: Any, types: Any) -> Any:
        """[rows, labels] float32; zeros for a row without tokens."""
        import numpy as np

        rows, kept = self._rows(self.model.logits, ids, mask, types)
        out = np.zeros((len(ids), rows[0].shape[0] if rows else 1), np.float32)
        for i, row in zip(kept, rows):
            out[i] = row
        return out

    @staticmethod
    def _output(kind: str, return_dict: Optional[bool], torch_wanted: bool, **values: Any) -> Any:
        values = {name: _like(value, torch_wanted) for name, value in values.items()}
        if return_dict is False:
            return tuple(values.values())
        return _outputs.make(kind, **values)


class RKModelForFeatureExtraction(RKModel):
    """Hidden states of any model."""

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        *,
        return_dict: Optional[bool] = True,
        **kwargs: Any,
    ) -> Any:
        """last_hidden_state [batch, seq, hidden] float32, zeros where attention_mask is 0."""
        ids, mask, types = self._inputs(input_ids, attention_mask, token_type_ids, kwargs)
        hidden = self._per_token(self.model.hidden, ids, mask, types, int(self.model.facts["hidden_size"]))
        return self._output("BaseModelOutput", return_dict, _is_torch(input_ids), last_hidden_state=hidden)


class RKModelForMaskedLM(RKModel):
    """Scores of every word of the vocabulary at every position."""

    _tasks, _head = ("fill-mask",), "fill-mask head"

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        *,
        return_dict: Optional[bool] = True,
        **kwargs: Any,
    ) -> Any:
        """logits [batch, seq, vocab] float32, zeros where attention_mask is 0."""
        ids, mask, types = self._inputs(input_ids, attention_mask, token_type_ids, kwargs)
        logits = self._per_token(self.model.logits, ids, mask, types, int(self.model.facts["vocab_size"]))
        return self._output("MaskedLMOutput", return_dict, _is_torch(input_ids), logits=logits)


class RKModelForSequenceClassification(RKModel):
    """Labels, or one relevance score, of texts or pairs."""

    _tasks, _head = ("classify", "rerank"), "sequence classification head"

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        *,
        return_dict: Optional[bool] = True,
        **kwargs: Any,
    ) -> Any:
        """logits [batch, labels] float32."""
        ids, mask, types = self._inputs(input_ids, attention_mask, token_type_ids, kwargs)
        logits = self._per_row(ids, mask, types)
        return self._output("SequenceClassifierOutput", return_dict, _is_torch(input_ids), logits=logits)


class RKModelForQuestionAnswering(RKModel):
    """Where an answer begins and ends."""

    _tasks, _head = ("qa",), "question answering head"

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        *,
        return_dict: Optional[bool] = True,
        **kwargs: Any,
    ) -> Any:
        """start_logits, end_logits [batch, seq] float32, -10000 where attention_mask is 0."""
        ids, mask, types = self._inputs(input_ids, attention_mask, token_type_ids, kwargs)
        both = self._per_token(self.model.logits, ids, mask, types, 2, _MASKED_ANSWER)
        return self._output(
            "QuestionAnsweringModelOutput",
            return_dict,
            _is_torch(input_ids),
            start_logits=both[..., 0],
            end_logits=both[..., 1],
        )


class RKModelForTokenClassification(RKModel):
    """Labels of tokens."""

    _tasks, _head = ("ner",), "token classification head"

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        *,
        return_dict: Optional[bool] = True,
        **kwargs: Any,
    ) -> Any:
        """logits [batch, seq, labels] float32, zeros where attention_mask is 0."""
        ids, mask, types = self._inputs(input_ids, attention_mask, token_type_ids, kwargs)
        logits = self._per_token(self.model.logits, ids, mask, types, len(self.model.facts["labels"]))
        return self._output("TokenClassifierOutput", return_dict, _is_torch(input_ids), logits=logits)


class RKModelForMultipleChoice(RKModel):
    """Which of several continuations fits."""

    _tasks, _head = ("choose",), "multiple choice head"

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        *,
        return_dict: Optional[bool] = True,
        **kwargs: Any,
    ) -> Any:
        """input_ids [batch, choices, seq] -> logits [batch, choices] float32."""
        ids, mask, types = self._inputs(input_ids, attention_mask, token_type_ids, kwargs, ndim=3)
        batch, choices = tuple(input_ids.shape)[:2] if hasattr(input_ids, "shape") else _to_numpy(input_ids).shape[:2]
        compiled = ((self.rknn_config.task_kwargs if self.rknn_config else None) or {}).get("num_choices")
        if compiled is not None and int(compiled) != choices:
            raise _native.InvalidError(
                f"Number of choices in config ({compiled}) does not match input shape ({choices})"
            )
        logits = self._per_row(ids, mask, types).reshape(batch, choices)
        return self._output("MultipleChoiceModelOutput", return_dict, _is_torch(input_ids), logits=logits)


_CLASS_OF_TASK = {
    "embed": "RKModelForFeatureExtraction",
    "fill-mask": "RKModelForMaskedLM",
    "classify": "RKModelForSequenceClassification",
    "rerank": "RKModelForSequenceClassification",
    "qa": "RKModelForQuestionAnswering",
    "ner": "RKModelForTokenClassification",
    "choose": "RKModelForMultipleChoice",
}

_MAPPINGS = {
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES": "RKModelForMaskedLM",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "RKModelForSequenceClassification",
    "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES": "RKModelForQuestionAnswering",
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES": "RKModelForTokenClassification",
    "MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES": "RKModelForMultipleChoice",
}
_registered = False


def _register() -> None:
    """Adds our classes to the names that transformers' pipelines know, once those are loaded: else they log an error."""
    global _registered
    auto = sys.modules.get("transformers.models.auto.modeling_auto")
    if _registered or auto is None:
        return
    for mapping, name in _MAPPINGS.items():
        names = getattr(auto, mapping, None)
        if isinstance(names, dict):
            names.setdefault(RKModel.model_type, name)
    _registered = True


__all__ = ["InputTooLongError", "RKModel", *sorted(set(_CLASS_OF_TASK.values()))]
