# SPDX-License-Identifier: Apache-2.0
"""What RKSentenceTransformer and RKCrossEncoder share with sentence-transformers: tensors if torch is there, devices by name,
progress bars, and which of its two generations (5 and 6) to answer like.

torch, transformers and sentence-transformers are never imported unless the caller asks for what only they can give.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import re
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Type, TypeVar, cast

from rkformer import _native

logger = logging.getLogger("rktransformers")
_F = TypeVar("_F", bound=Callable[..., Any])
_DEVICE = re.compile(r"(cpu|npu|rknn|sim|auto)(:\d+)?$")


class InputTypeError(_native.InvalidError, TypeError):
    """An input that is no text (sentence-transformers 5 raises TypeError for it, 6 raises ValueError: this is both)."""


class NoSuchOutputError(_native.InvalidError, KeyError):
    """An output_value that is not known (KeyError, as in sentence-transformers)."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class LabelsError(_native.InvalidError, RuntimeError):
    """num_labels differs from the model's head (RuntimeError, as in sentence-transformers)."""


class DeviceNameError(_native.InvalidError, NotImplementedError):
    """Not the name of a device that is here (a RuntimeError, as in torch)."""


class LengthError(_native.InvalidError, RuntimeError, OverflowError):
    """A max_seq_length below 1 (RuntimeError or OverflowError, as from torch and the tokenizer)."""


def _first_argument(error: BaseException) -> str:
    return str(error.args[0])


@functools.lru_cache(maxsize=None)
def _misuse_class(kind: Type[Exception]) -> Type[Exception]:
    covered = issubclass(_native.InvalidError, kind) or issubclass(kind, UnicodeError)  # which need arguments of their own
    bases = (_native.InvalidError,) if covered else (_native.InvalidError, kind)
    return type("InputError", bases, {"__str__": _first_argument})


def misuse(error: Exception, message: str) -> Exception:
    """An exception of the type of `error` that is an InvalidError (a ValueError) too and says `message`."""
    kind: Any = type(error)
    return _misuse_class(kind)(message)


@functools.lru_cache(maxsize=None)
def generation() -> int:
    """5 or 6: the installed sentence-transformers', whose answers ours are to be like; 6 if there is none."""
    return 5 if _major("sentence-transformers", 6) < 6 else 6


@functools.lru_cache(maxsize=None)
def transformers_generation() -> int:
    """4 or 5: the installed transformers'; 5 if there is none."""
    return 4 if _major("transformers", 5) < 5 else 5


def _major(distribution: str, default: int) -> int:
    from importlib import metadata

    try:
        return int(metadata.version(distribution).split(".")[0])
    except (metadata.PackageNotFoundError, ValueError):
        return default


# ---------------------------------------------------------------- tensors


def have_torch() -> bool:
    return "torch" in sys.modules or importlib.util.find_spec("torch") is not None


def torch_for(what: str) -> Any:
    """The torch module. Raises ImportError that names what needs it."""
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise ImportError(
            f"{what} gives torch tensors, and torch is not installed: pip install torch, or ask for numpy arrays"
        ) from None


def to_tensor(array: Any, what: str) -> Any:
    """A torch tensor over an array's memory."""
    return torch_for(what).from_numpy(array)


def to_array(value: Any) -> Any:
    """Arrays, tensors and lists of either, as one array."""
    import numpy as np

    torch = sys.modules.get("torch")
    if torch is not None:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu()
            return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        if isinstance(value, (list, tuple)) and len(value) and isinstance(value[0], torch.Tensor):
            return np.stack([to_array(row) for row in value])
    return np.asarray(value)


def tensor_if_torch(array: Any) -> Any:
    """What sentence-transformers gives as a tensor: that if torch is installed, else the array itself."""
    return to_tensor(array, "this") if have_torch() else array


# ---------------------------------------------------------------- devices


class Device:
    """torch.device("cpu"), where torch is not loaded."""

    type = "cpu"
    index: Optional[int] = None

    def __str__(self) -> str:
        return self.type

    def __eq__(self, other: object) -> bool:
        return str(other) == self.type

    def __hash__(self) -> int:
        return hash(self.type)


def cpu() -> Any:
    torch = sys.modules.get("torch")
    return torch.device("cpu") if torch is not None else Device()


def check_device(device: Any) -> None:
    """A device's name means nothing here (platform and core_mask choose where the model runs), but it must be the CPU, an
    NPU, or one that torch has on this machine. Raises InputTypeError, DeviceNameError."""
    if device is None:
        return
    if isinstance(device, bytes):
        device = device.decode("utf-8", "replace")
    named = type(device).__name__ == "device" and hasattr(device, "type")
    if not named and not isinstance(device, (str, int)):
        raise InputTypeError(f"device must be a name, not {type(device).__name__}")
    name = f"cuda:{device}" if isinstance(device, int) else str(device)
    if not _DEVICE.match(name) and not _torch_has(name):
        raise DeviceNameError(
            f"device {name!r} is not on this machine: expected cpu or npu. Leave it out: platform and core_mask choose the cores"
        )


def _torch_has(device: str) -> bool:
    """Whether torch is installed and can make a tensor there."""
    if not have_torch() or device.split(":")[0] == "meta":
        return False
    try:
        torch_for("device").empty(0, device=device)
    except (RuntimeError, NotImplementedError, AssertionError):
        return False
    return True


# ---------------------------------------------------------------- progress


class _OwnBar:
    """A line on standard error, where tqdm is not installed."""

    def __init__(self, total: int, desc: str) -> None:
        self.total, self.desc, self.done = total, desc, 0

    def update(self, n: int) -> None:
        self.done += n
        sys.stderr.write(f"\r{self.desc}: {100 * self.done // max(1, self.total)}% {self.done}/{self.total}")
        sys.stderr.flush()

    def close(self) -> None:
        sys.stderr.write("\n")
        sys.stderr.flush()


class Progress:
    """A bar over batches of `size` inputs, fed with (inputs done, inputs in all): tqdm's if it is installed."""

    def __init__(self, total: int, size: int, desc: str = "Batches") -> None:
        self.size, self.batches, self.shown = size, -(-total // size), 0
        try:
            self.bar: Any = importlib.import_module("tqdm.autonotebook").tqdm(total=self.batches, desc=desc)
        except ImportError:
            self.bar = _OwnBar(self.batches, desc)

    def __call__(self, done: int, total: int) -> None:
        now = self.batches if done >= total else done // self.size
        if now > self.shown:
            self.bar.update(now - self.shown)
            self.shown = now

    def close(self) -> None:
        self.bar.close()


def wants_bar(show: Optional[bool]) -> bool:
    """None: shown if the log level is INFO or DEBUG."""
    return logger.getEffectiveLevel() in (logging.INFO, logging.DEBUG) if show is None else bool(show)


# ---------------------------------------------------------------- arguments


def renamed(function: str, kwargs: Dict[str, Any], names: Dict[str, str]) -> None:
    """Moves arguments from their old names to the new ones, with a warning each."""
    for old, new in names.items():
        if old in kwargs:
            logger.warning(
                "The %s `%s` argument was renamed and is now deprecated, please use `%s` instead.", function, old, new
            )
            value = kwargs.pop(old)
            kwargs.setdefault(new, value)


def positional(first: int, five: Sequence[str], six: Sequence[str]) -> Callable[[_F], _F]:
    """Lets positional arguments come in the order of sentence-transformers 5 or 6: after `first` common ones (self among
    them) an int means 5, where batch_size is next, anything else means 6, where prompt_name is."""

    def decorate(function: _F) -> _F:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            renamed(function.__name__, kwargs, {"activation_fct": "activation_fn"})
            if kwargs.pop("num_workers", None) is not None:
                logger.warning("The %s `num_workers` argument is deprecated and has no effect.", function.__name__)
            if len(args) > first:
                more = args[first:]
                names = five if isinstance(more[0], int) and not isinstance(more[0], bool) else six
                if len(more) > len(names):
                    raise TypeError(
                        f"{function.__name__}() takes at most {first - 1 + len(names)} positional arguments"
                    )
                for name, value in zip(names, more):
                    if name in kwargs:
                        raise TypeError(f"{function.__name__}() got multiple values for argument {name!r}")
                    kwargs[name] = value
                args = args[:first]
            return function(*args, **kwargs)

        return cast(_F, wrapper)

    return decorate


def text_or_pair(value: Any) -> Any:
    """One input as rkformer takes it: a str, a pair of them or a mapping. Raises InputTypeError."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], str):
        return value
    if isinstance(value, dict):
        keys = list(value)
        if keys == ["text"] and isinstance(value["text"], str):
            return value["text"]
        wrong = InputTypeError if keys == ["text"] else _native.InvalidError
        raise wrong(f"a dict input must be {{'text': a str}}: this one has the keys {keys}")
    what = type(value).__name__
    if isinstance(value, (list, tuple)):
        what += f" of {len(value)} ({', '.join(sorted({type(part).__name__ for part in value})) or 'nothing'})"
    raise InputTypeError(f"Unsupported input type: {what}. Expected a str or a pair of str")


def texts_and_pairs(items: List[Any]) -> Tuple[List[Any], bool]:
    """A list of inputs checked, and whether all are plain texts."""
    for item in items:
        if type(item) is not str:
            break
    else:
        return items, True
    out = [text_or_pair(item) for item in items]
    if all(isinstance(item, str) for item in out):
        return out, True
    return [{"text": item} if isinstance(item, str) else item for item in out], False


def as_batch(inputs: Any) -> Tuple[List[Any], bool]:
    """Inputs as a list, and whether the caller gave one alone."""
    if isinstance(inputs, list):
        return inputs, False
    if isinstance(inputs, str):
        return [inputs], True
    if isinstance(inputs, tuple):
        return list(inputs), False
    kind = getattr(getattr(inputs, "dtype", None), "kind", None)
    if kind is not None and getattr(inputs, "ndim", 0) >= 1 and hasattr(inputs, "tolist"):
        return (list(inputs.tolist()), False) if type(inputs).__name__ == "ndarray" and kind in "UOT" else ([inputs], True)
    if type(inputs).__name__ == "Column" and hasattr(inputs, "__len__"):
        return list(inputs), False
    return [inputs], True


def prompted(prompt: str, item: Any) -> Any:
    """A prompt before a text; before the first text of a pair."""
    if isinstance(item, str):
        return prompt + item
    if isinstance(item, dict):
        return {**item, "text": prompt + item["text"]}
    return (prompt + item[0], item[1])
