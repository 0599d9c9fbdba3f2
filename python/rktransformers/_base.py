# SPDX-License-Identifier: Apache-2.0
"""What RKSentenceTransformer and RKCrossEncoder have in common: opening a model from sentence-transformers' arguments, its
life, its modules seen from outside, saving, pools.

Threads: everything may be called from any number of threads; setting attributes is not synchronised with calls under way.
"""

from __future__ import annotations

import json
import logging
import operator
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Type, TypeVar, Union

from rkformer import _native

from . import _compat, _five, _hub, _load

logger = logging.getLogger("rktransformers")
_Self = TypeVar("_Self", bound="Base")

_DTYPES = {
    None: None,
    "auto": None,
    "float32": "f32",
    "float16": "f16",
    "half": "f16",
    "bfloat16": "bf16",
    "int8": "int8",
    "f32": "f32",
    "f16": "f16",
    "bf16": "bf16",
}
_OURS = ("platform", "core_mask", "file_name", "subfolder", "device", "dtype", "torch_dtype")
_OF_TORCH = (  # have a meaning for a model in torch, onnxruntime or openvino, none here
    "attn_implementation",
    "device_map",
    "export",
    "low_cpu_mem_usage",
    "model_args",
    "num_labels",
    "ov_config",
    "provider",
    "provider_options",
    "session_options",
    "use_safetensors",
)
_OF_HUB = ("cache_dir", "force_download", "local_files_only", "revision", "token", "trust_remote_code")
_LEFT_OUT = ("onnx", "openvino")  # folders that save_pretrained does not copy
_COPIED = (".json", ".txt", ".model", ".safetensors", ".md", ".rknn")


def read_json(path: Path) -> Any:
    """A JSON file; {} if it is not there."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise _native.FormatError(f"{path}: {error}") from None


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


class ModelCard:
    """Holds what evaluators report; nothing is generated from it."""

    model_id: Optional[str] = None
    tags: Tuple[str, ...] = ()

    def __init__(self) -> None:
        self.evaluations: List[Tuple[Any, ...]] = []

    def set_evaluation_metrics(self, *args: Any, **kwargs: Any) -> None:
        self.evaluations.append((*args, kwargs))


class Module:
    """One module of the model, to be looked at: what computes is the library."""

    def __init__(self, owner: "Base", config: Dict[str, Any]) -> None:
        self._owner = owner
        self._config = config

    def get_config_dict(self) -> Dict[str, Any]:
        return dict(self._config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.get_config_dict()})"


class Transformer(Module):
    """The encoder."""

    @property
    def max_seq_length(self) -> Optional[int]:
        return self._owner.max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, value: Optional[int]) -> None:
        self._owner.max_seq_length = value

    @property
    def tokenizer(self) -> Any:
        return self._owner.tokenizer

    @property
    def config(self) -> Any:
        return self._owner.config

    @property
    def auto_model(self) -> "Transformer":
        return self

    def get_word_embedding_dimension(self) -> int:
        return int(self._owner.model_facts["hidden_size"])

    get_embedding_dimension = get_word_embedding_dimension


class Pooling(Module):
    """Tokens to one vector. include_prompt may be set."""

    def __init__(self, owner: "Base", config: Dict[str, Any]) -> None:
        super().__init__(owner, config)
        self.include_prompt = bool(config.get("include_prompt", True))

    def get_pooling_mode_str(self) -> str:
        return "+".join(self._owner.model_facts["pooling"])

    pooling_mode = property(get_pooling_mode_str)

    def get_config_dict(self) -> Dict[str, Any]:
        return {**self._config, "include_prompt": self.include_prompt}


class Normalize(Module):
    """Vectors to length 1."""


class Dense(Module):
    """A linear layer and an activation."""


class LayerNorm(Module):
    """Vectors to mean 0 and variance 1."""


class Other(Module):
    """What else a model may have."""

    def __repr__(self) -> str:
        return f"{self._config.get('type', 'Module')}()"


_MODULES: Dict[str, Type[Module]] = {
    "Transformer": Transformer,
    "Pooling": Pooling,
    "Normalize": Normalize,
    "Dense": Dense,
    "LayerNorm": LayerNorm,
}


class Worker:
    """A member of a pool: nothing runs in it, the library's threads are shared by all."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self._alive = True

    def is_alive(self) -> bool:
        return self._alive

    def terminate(self) -> None:
        self._alive = False

    def join(self, timeout: Optional[float] = None) -> None:
        self._alive = False

    def close(self) -> None:
        self._alive = False


class Base:
    """See RKSentenceTransformer and RKCrossEncoder."""

    _stands_for = ""  # the class of sentence_transformers that isinstance finds it to be
    _organisation = ""  # of names without one
    training = False
    is_hpu_graph_enabled = False
    _compiled_call_impl = None

    def __init__(
        self,
        model_name_or_path: Optional[Union[str, "os.PathLike[str]"]],
        *,
        arguments: Dict[str, Any],
        device: Any,
        cache_folder: Optional[str],
        trust_remote_code: bool,
        revision: Optional[str],
        local_files_only: bool,
        token: Any,
        model_kwargs: Optional[Dict[str, Any]],
        tokenizer_kwargs: Optional[Dict[str, Any]],
        backend: str,
    ) -> None:
        self._arguments = arguments
        if model_name_or_path is None or os.fspath(model_name_or_path) == "":
            raise _native.InvalidError(f"{type(self).__name__} needs a model: a hub id, a directory or a .rknn file")
        if backend not in ("rknn", "torch", "onnx", "openvino"):
            raise _native.InvalidError(f"Unsupported backend '{backend}'. `backend` should be `rknn`.")
        if backend != "rknn":
            logger.warning("backend=%r is not used: the model runs on rkformer", backend)
        _compat.check_device(device)
        if trust_remote_code:
            logger.warning("trust_remote_code is ignored: no code of a model's repository is ever run")
        self.backend = "rknn"
        self.trust_remote_code = trust_remote_code
        self.model_card_data: Any = ModelCard()
        self.name_or_path = os.fspath(model_name_or_path)
        options = self._split(model_kwargs)
        hub = dict(
            cache_dir=cache_folder or os.environ.get("SENTENCE_TRANSFORMERS_HOME"),
            token=token,
            local_files_only=local_files_only,
        )
        path = self._find(self.name_or_path, revision, options.get("subfolder", ""), hub)
        self._loaded = _load.load(self.name_or_path, path, **options, **hub)
        self._model = self._loaded.model
        self.model_facts: Dict[str, Any] = self._model.facts
        self._folder = self._loaded.folder
        self._max_seq_length: Optional[int] = int(self.model_facts["max_length"])
        wanted = (tokenizer_kwargs or {}).get("model_max_length")
        if wanted is not None:
            self.max_seq_length = int(wanted)
        self._tokenizer: Any = None
        self._own_tokenizer = False
        self._config: Any = None
        self._modules_list = self._read_modules()

    def _split(self, model_kwargs: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        """model_kwargs -> arguments of _load.load. TypeError for what nobody knows."""
        given = dict(model_kwargs or {})
        for name in (*_OF_TORCH, *_OF_HUB):
            if name in given:
                logger.debug("model_kwargs[%r] has no meaning here", name)
                given.pop(name)
        unknown = set(given) - set(_OURS)
        if unknown:
            raise TypeError(f"model_kwargs has the unknown key {sorted(unknown)[0]!r}: it takes {', '.join(_OURS)}")
        dtype = str(given.pop("torch_dtype", None) or given.pop("dtype", None) or "auto").replace("torch.", "")
        given.pop("dtype", None)
        if dtype not in _DTYPES:
            raise _native.InvalidError(f"dtype {dtype!r} is not known: use float32, float16, bfloat16 or int8")
        return {**given, "dtype": _DTYPES[dtype]}

    def _find(self, name: str, revision: Optional[str], subfolder: str, hub: Dict[str, Any]) -> Path:
        """The directory or file: names without an organisation get the usual one, as in sentence-transformers."""
        if "/" in name or os.path.exists(name):
            return _hub.resolve(name, revision=revision, subfolder=subfolder, **hub)
        cache = _hub.cache_directory(hub["cache_dir"])
        usual = f"{self._organisation}/{name}"
        for known in (usual, name):
            if _hub.in_cache(known, revision, cache, subfolder):
                return _hub.resolve(known, revision=revision, subfolder=subfolder, **hub)
        try:
            return _hub.resolve(usual, revision=revision, subfolder=subfolder, **hub)
        except OSError:
            if hub["local_files_only"] or _hub.is_offline():
                raise
        return _hub.resolve(name, revision=revision, subfolder=subfolder, **hub)

    # ---- the rkformer.Model below

    @property
    def model(self) -> Any:
        """The rkformer.Model that computes."""
        return self._model

    @property
    def platform(self) -> str:
        return str(self.model_facts["platform"])

    @property
    def core_mask(self) -> str:
        return str(self.model_facts["core_mask"])

    @property
    def rknn_config(self) -> Any:
        """The RKNNConfig of the .rknn file in use; None: the native forward pass."""
        return self._loaded.rknn_config

    def close(self) -> None:
        """Gives cores and memory back. What is called afterwards raises ClosedError (a RuntimeError)."""
        self._model.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def __reduce__(self) -> Any:
        """Copies and pickles are opened again from the same arguments."""
        return _reopen, (type(self), self._arguments)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name_or_path!r}, platform={self.platform!r}, core_mask={self.core_mask!r})"

    # ---- isinstance: where sentence-transformers is loaded, this is one of its models

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        theirs = getattr(sys.modules.get("sentence_transformers"), self._stands_for, None)
        return theirs if isinstance(theirs, type) else type(self)

    # ---- what torch modules have

    @property
    def device(self) -> Any:
        """Where tensors come from and go to: always the CPU."""
        return _compat.cpu()

    @property
    def _target_device(self) -> Any:
        return self.device

    @property
    def dtype(self) -> Any:
        """Of the outputs: float32."""
        torch = sys.modules.get("torch")
        return torch.float32 if torch is not None else "float32"

    def to(self: _Self, *args: Any, **kwargs: Any) -> _Self:
        """Checks a device's name and does nothing: platform and core_mask choose where the model runs."""
        if args and (isinstance(args[0], (str, int, bytes)) or type(args[0]).__name__ == "device"):
            _compat.check_device(args[0])
        return self

    def _same(self: _Self, *args: Any, **kwargs: Any) -> _Self:
        """Does nothing."""
        return self

    eval = train = half = float = double = bfloat16 = cpu = cuda = share_memory = requires_grad_ = compile = _same

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        """None: the weights are the library's."""
        return iter(())

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return iter(())

    def state_dict(self, *args: Any, **kwargs: Any) -> Dict[str, Any]:
        return {}

    # ---- modules, to be looked at

    def _read_modules(self) -> List[Module]:
        listed = read_json(self._folder / "modules.json") or []
        out: List[Module] = []
        for entry in listed:
            kind = str(entry.get("type", "")).rsplit(".", 1)[-1]
            folder = self._folder / str(entry.get("path", ""))
            config = (
                read_json(folder / "config.json") if entry.get("path") else {"max_seq_length": self._max_seq_length}
            )
            out.append(_MODULES.get(kind, Other)(self, {"type": kind, **config} if kind not in _MODULES else config))
        return out or self._default_modules()

    def _default_modules(self) -> List[Module]:
        return [Transformer(self, {"max_seq_length": self._max_seq_length})]

    def __len__(self) -> int:
        return len(self._modules_list)

    def __getitem__(self, index: int) -> Module:
        return self._modules_list[index]

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules_list)

    def __bool__(self) -> bool:
        return True

    def children(self) -> Iterator[Module]:
        return iter(self._modules_list)

    def named_children(self) -> Iterator[Tuple[str, Module]]:
        return ((str(i), module) for i, module in enumerate(self._modules_list))

    def modules(self) -> Iterator[Any]:
        yield self
        yield from self._modules_list

    def _first_module(self) -> Module:
        return self._modules_list[0]

    def _last_module(self) -> Module:
        return self._modules_list[-1]

    @property
    def transformers_model(self) -> None:
        """There is none."""
        return None

    @property
    def modalities(self) -> List[str]:
        return ["text"]

    def supports(self, modality: Any) -> bool:
        return bool(modality == "text")

    def get_model_kwargs(self) -> List[str]:
        """Names of further arguments that this model's forward pass takes: none."""
        return []

    def get_backend(self) -> str:
        return self.backend

    # ---- tokens

    @property
    def max_seq_length(self) -> Optional[int]:
        """Tokens, special ones included, that longer inputs are cut to; None: the model's own limit."""
        return self._max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, value: Optional[int]) -> None:
        if value is not None and operator.index(value) < 1:
            raise _compat.LengthError(f"max_seq_length is {value}: it must be at least 1")
        self._max_seq_length = None if value is None else operator.index(value)

    def get_max_seq_length(self) -> Optional[int]:
        return self._max_seq_length

    @property
    def tokenizer(self) -> Any:
        """transformers' tokenizer of this model if transformers is installed, else a light one (Tokenizer). Set another
        one (called as transformers' are, giving input_ids) and it is used instead of the library's."""
        if self._tokenizer is None:
            self._tokenizer = self._make_tokenizer()
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, value: Any) -> None:
        self._tokenizer = value
        self._own_tokenizer = True

    def _make_tokenizer(self) -> Any:
        from ._tokenizer import Tokenizer

        try:
            from transformers import AutoTokenizer
        except ImportError:
            return Tokenizer(self._model, self._folder)
        try:
            return AutoTokenizer.from_pretrained(str(self._folder))
        except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
            logger.warning("transformers cannot open the tokenizer of %s (%s): ours is given", self.name_or_path, error)
            return Tokenizer(self._model, self._folder)

    def _light_tokenizer(self) -> Any:
        from ._tokenizer import Tokenizer

        return Tokenizer(self._model, self._folder)

    def _ids_of(self, items: List[Any], max_length: Optional[int]) -> List[List[int]]:
        """Token ids by a tokenizer that the caller has set."""
        first, second = zip(*[(i, None) if isinstance(i, str) else self._parts(i) for i in items])
        pair = list(second) if any(part is not None for part in second) else None
        encoded = self._tokenizer(
            list(first), pair, truncation=True, max_length=max_length or self.model_facts["max_length"]
        )
        return [list(map(int, ids)) for ids in encoded["input_ids"]]

    @staticmethod
    def _parts(item: Any) -> Tuple[str, Optional[str]]:
        return (item["text"], item.get("text_pair")) if isinstance(item, dict) else (item[0], item[1])

    def tokenize(self, texts: Any, **kwargs: Any) -> Dict[str, Any]:
        """input_ids, token_type_ids (where the model has them) and attention_mask of texts or pairs, each [n, longest],
        padded on the right: torch tensors if torch is installed, else int64 arrays."""
        five = _compat.generation() == 5
        texts = list(texts) if texts is not None or five else []  # a str is a list of characters, as there
        if not texts and not five:
            return {}
        try:
            items, _ = _compat.texts_and_pairs(_five.texts_of(texts) if five else texts)
        except (LookupError, StopIteration, AttributeError) as error:
            raise _compat.misuse(error, f"tokenize() needs texts, pairs or dicts of one text: {error}") from None
        features = self._light_tokenizer().features(items, self._max_seq_length)
        out: Dict[str, Any] = {name: _compat.tensor_if_torch(value) for name, value in features.items()}
        if five and isinstance(texts[0], dict):
            out = {"text_keys": [next(iter(text)) for text in texts], **out}
        return out if five else {**out, "modality": "text"}

    def preprocess(self, inputs: Any, prompt: Optional[str] = None, **kwargs: Any) -> Dict[str, Any]:
        """`tokenize`, with a prompt before each text."""
        if prompt:
            inputs = [_compat.prompted(prompt, item) for item in inputs]
        return self.tokenize(inputs)

    # ---- config

    @property
    def config(self) -> Any:
        """transformers' PretrainedConfig if transformers is loaded or installed, else config.json as attributes."""
        if self._config is None:
            self._config = self._make_config()
        return self._config

    def _make_config(self) -> Any:
        from .modeling import _Config

        try:
            from transformers import AutoConfig

            return AutoConfig.from_pretrained(str(self._folder))
        except (ImportError, OSError, ValueError, KeyError):
            return _Config(self._loaded.config)

    # ---- pools: the library's threads already share every core of the mask, so a pool is bookkeeping only

    def start_multi_process_pool(self, target_devices: Optional[List[str]] = None) -> Dict[str, Any]:
        """A pool for `pool=`: calls with it give the same answers. No process is started: the cores are busy without it."""
        devices = ["cpu"] * 4 if target_devices is None else list(target_devices)
        for device in devices:
            _compat.check_device(device)
        return {"input": None, "output": None, "processes": [Worker(device) for device in devices]}

    @staticmethod
    def stop_multi_process_pool(pool: Dict[str, Any]) -> None:
        """Ends a pool: using it afterwards is an error."""
        pool["input"]  # KeyError, TypeError: it is none
        for worker in pool["processes"]:
            worker.close()

    def _pool_chunk(self, n: int, pool: Any, device: Any, chunk_size: Optional[int]) -> Optional[int]:
        """Inputs per chunk of a call with a pool; None: without one. Checks them as sentence-transformers does."""
        devices = device if isinstance(device, list) else None
        for one in devices or [device if devices is None else None]:
            _compat.check_device(one)
        if devices is not None and not devices and pool is None:
            raise _compat.InputTypeError("device is an empty list: give a name or a list of names")
        if pool is None and devices is None:
            return None
        if chunk_size is not None and chunk_size <= 0:
            raise _native.InvalidError(f"chunk_size must be a positive integer, got {chunk_size}.")
        workers = len(devices or ())
        if pool is not None:
            workers = len(pool["processes"])
            if not workers or not all(worker.is_alive() for worker in pool["processes"]):
                raise _native.ClosedError("the pool is stopped: start another one with start_multi_process_pool")
        return chunk_size or max(1, min(-(-n // workers // 10), 5000))

    # ---- saving

    def save(self, path: Union[str, "os.PathLike[str]"], *args: Any, **kwargs: Any) -> None:
        """The same as save_pretrained."""
        self.save_pretrained(path)

    def save_pretrained(self, path: Union[str, "os.PathLike[str]"], *args: Any, **kwargs: Any) -> None:
        """Copies the model's files to a directory, with what was set here (prompts, similarity, length): it opens again
        with this class and, where it has safetensors weights, with sentence-transformers'."""
        target = Path(path)
        if target.is_file():
            raise _native.InvalidError(f"{target} is a file: save_pretrained needs a directory")
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(self._folder.rglob("*")):
            inside = file.relative_to(self._folder)
            if file.suffix not in _COPIED or not file.is_file() or inside.parts[0] in _LEFT_OUT:
                continue
            (target / inside).parent.mkdir(parents=True, exist_ok=True)
            if not (target / inside).exists() or not file.samefile(target / inside):
                shutil.copyfile(file, target / inside)
        self._save_settings(target)

    def _save_settings(self, target: Path) -> None:
        """Writes what differs from the files."""

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """Saves to a temporary directory and uploads it; ImportError without huggingface_hub."""
        import tempfile

        from huggingface_hub import HfApi

        api = HfApi(token=kwargs.pop("token", None))
        repo_id = api.create_repo(repo_id, private=kwargs.pop("private", None), exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return api.upload_folder(repo_id=repo_id, folder_path=folder, **kwargs)

    # ---- evaluators

    def evaluate(self, evaluator: Any, output_path: Optional[str] = None) -> Any:
        """Runs one of sentence-transformers' evaluators."""
        if output_path is not None:
            os.makedirs(output_path, exist_ok=True)
        return evaluator(self, output_path)


def _reopen(cls: Type[Base], arguments: Dict[str, Any]) -> Base:
    return cls(**arguments)


def deprecated(text: str) -> None:
    warnings.warn(text, FutureWarning, stacklevel=3)
