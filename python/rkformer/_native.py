# SPDX-License-Identifier: Apache-2.0
"""librkformer over ctypes: the structs and functions of rkformer.h, found, declared and nothing more.

Owns: finding the library, the struct layouts, the mapping of `rkf_status` to exceptions. Refuses: anything with a policy
(that is in `_runtime`, `_model`). The library is loaded at first use, not at import.

Every function below is called without the GIL (`ctypes.CDLL`).
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_bool,
    c_char,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Type

SONAME = "librkformer.so.0"

# ---------------------------------------------------------------- status and exceptions

OK = 0
(
    INVALID,
    UNAVAILABLE,
    NOT_FOUND,
    IO,
    FORMAT,
    UNSUPPORTED,
    NO_MEMORY,
    BUSY,
    CANCELLED,
    DEADLINE,
    DEVICE,
    CONFLICT,
    CLOSED,
    TOO_LONG,
    INTERNAL,
) = range(1, 16)


class RKFError(Exception):
    """What the library answered: `status` is its rkf_status, the text says what happened and what to do."""

    status: int = INTERNAL


class InvalidError(RKFError, ValueError):
    """Wrong use: an argument, option or core mask that means nothing."""

    status = INVALID


class TextError(InvalidError, TypeError):
    """A str that is no Unicode text."""


class UnavailableError(InvalidError):
    """A platform, core mask or device that exists, but not here. The message names what does."""

    status = UNAVAILABLE


class NotFoundError(RKFError, FileNotFoundError):
    """No such file, model or name."""

    status = NOT_FOUND

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class SystemIOError(RKFError, OSError):
    """The operating system refused a read, write or map."""

    status = IO

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class FormatError(RKFError, ValueError):
    """A file is broken: the message says which and where."""

    status = FORMAT


class UnsupportedError(RKFError, ValueError):
    """A well-formed file or request asks for something this version cannot do."""

    status = UNSUPPORTED


class OutOfMemoryError(RKFError, MemoryError):
    status = NO_MEMORY


class BusyError(RKFError, RuntimeError):
    """The queue is full: try again later."""

    status = BUSY


class CancelledError(RKFError, RuntimeError):
    """The request was cancelled (asyncio callers see asyncio.CancelledError instead)."""

    status = CANCELLED


class DeadlineError(RKFError, TimeoutError):
    """The request's timeout passed."""

    status = DEADLINE

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DeviceError(RKFError, RuntimeError):
    """The device failed."""

    status = DEVICE


class ConflictError(RKFError, RuntimeError):
    """Another model holds these cores exclusively."""

    status = CONFLICT


class ClosedError(RKFError, RuntimeError):
    """The model or runtime is closed."""

    status = CLOSED


class TooLongError(RKFError, ValueError):
    """An input is longer than the model takes, and truncation was switched off."""

    status = TOO_LONG


class InternalError(RKFError, RuntimeError):
    """A bug in rkformer."""

    status = INTERNAL


_EXCEPTIONS: Dict[int, Type[RKFError]] = {
    cls.status: cls
    for cls in (
        InvalidError,
        UnavailableError,
        NotFoundError,
        SystemIOError,
        FormatError,
        UnsupportedError,
        OutOfMemoryError,
        BusyError,
        CancelledError,
        DeadlineError,
        DeviceError,
        ConflictError,
        ClosedError,
        TooLongError,
        InternalError,
    )
}


def make_error(status: int, message: str) -> RKFError:
    """The exception of a status."""
    cls = _EXCEPTIONS.get(status, RKFError)
    error = cls(message)
    error.status = status
    return error


# ---------------------------------------------------------------- structs, as in rkformer.h


class Str(Structure):
    """rkf_str. What fills one keeps the bytes alive: see `make_str`."""

    _fields_ = [("ptr", c_void_p), ("len", c_size_t)]

    def text(self) -> str:
        """The text, copied."""
        return ctypes.string_at(self.ptr, self.len).decode("utf-8", "replace") if self.ptr else ""


def make_str(text: str, keep: List[Any]) -> Str:
    """A rkf_str of text; the bytes behind it are appended to `keep`, which must live as long as it."""
    raw = text.encode("utf-8")
    keep.append(raw)
    return Str(ctypes.cast(c_char_p(raw), c_void_p), len(raw))


class Error(Structure):
    _fields_ = [("status", c_int), ("message", c_char * 508)]


LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG = range(4)
LogFn = CFUNCTYPE(None, c_void_p, c_int, c_char_p)


class RuntimeOptions(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("platform", c_char_p),
        ("device", c_char_p),
        ("require_npu", c_bool),
        ("no_pin", c_bool),
        ("threads", c_int32),
        ("batch_tokens", c_int32),
        ("queue_limit", c_int32),
        ("root", c_char_p),
        ("lock_dir", c_char_p),
        ("npu_runtime", c_char_p),
        ("log", LogFn),
        ("log_cookie", c_void_p),
        ("log_level", c_int),
        ("cpu_flags", c_char_p),
    ]


class ModelOptions(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("path", c_char_p),
        ("name", c_char_p),
        ("revision", c_char_p),
        ("subfolder", c_char_p),
        ("file_name", c_char_p),
        ("core_mask", c_char_p),
        ("device", c_char_p),
        ("dtype", c_char_p),
        ("exclusive", c_bool),
        ("cpu_fallback", c_bool),
        ("priority", c_int32),
        ("max_length", c_int32),
        ("pack_cache", c_char_p),
    ]


(
    TASK_EMBED,
    TASK_SPARSE,
    TASK_TOKENS,
    TASK_HIDDEN,
    TASK_LOGITS,
    TASK_RERANK,
    TASK_CLASSIFY,
    TASK_ZERO_SHOT,
    TASK_NER,
    TASK_QA,
    TASK_FILL_MASK,
    TASK_CHOOSE,
) = range(12)


class Input(Structure):
    """rkf_input: seven words, which `_inputs` writes as rows of a numpy array."""

    _fields_ = [
        ("text", Str),
        ("pair", Str),
        ("ids", POINTER(c_int32)),
        ("n_ids", c_size_t),
        ("type_ids", POINTER(c_int32)),
    ]


class Request(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("task", c_int),
        ("inputs", c_void_p),
        ("n_inputs", c_size_t),
        ("query", Str),
        ("prompt", Str),
        ("prompt_name", Str),
        ("max_length", c_int32),
        ("truncate", c_int),
        ("strict", c_bool),
        ("stride", c_int32),
        ("chunk", c_int),
        ("normalize", c_int),
        ("pooling", c_int),
        ("truncate_dim", c_int32),
        ("precision", c_int),
        ("ranges", c_void_p),
        ("scores", c_int),
        ("top_k", c_int32),
        ("aggregation", c_int),
        ("labels", POINTER(Str)),
        ("n_labels", c_size_t),
        ("multi_label", c_bool),
        ("hypothesis_template", Str),
        ("max_answer_length", c_int32),
        ("impossible_answer", c_bool),
        ("priority", c_int32),
        ("timeout_us", c_int64),
    ]


# void rkf_done(void *cookie, rkf_ticket ticket, rkf_status status, rkf_result *result, const rkf_error *err)
DoneFn = CFUNCTYPE(None, c_void_p, c_uint64, c_int, c_void_p, POINTER(Error))


class Tokens(Structure):
    _fields_ = [
        ("n", c_size_t),
        ("ids", c_void_p),
        ("type_ids", c_void_p),
        ("offsets", c_void_p),
        ("special", c_void_p),
        ("word_ids", c_void_p),
        ("sequence_ids", c_void_p),
        ("truncated", c_size_t),
    ]


class Tensor(Structure):
    _fields_ = [("data", c_void_p), ("type", c_int), ("ndim", c_int32), ("shape", c_int64 * 3)]


class Label(Structure):
    _fields_ = [("label", Str), ("score", c_float), ("id", c_int32)]


class Span(Structure):
    _fields_ = [
        ("label", Str),
        ("text", Str),
        ("score", c_float),
        ("index", c_int32),
        ("start", c_int64),
        ("end", c_int64),
    ]


class Fill(Structure):
    _fields_ = [("mask", c_int32), ("token", c_int32), ("token_str", Str), ("sequence", Str), ("score", c_float)]


class Sparse(Structure):
    _fields_ = [("index", c_int32), ("value", c_float)]


class Info(Structure):
    _fields_ = [
        ("tokens", c_int64),
        ("truncated", c_int64),
        ("tokenize_us", c_int64),
        ("queue_us", c_int64),
        ("run_us", c_int64),
        ("device", c_char_p),
        ("cores", c_uint32),
    ]


ALL = c_size_t(-1).value

# numpy's names of enum rkf_dtype
TENSOR_TYPES = ("<f4", "|i1", "|u1", "<i4") if sys.byteorder == "little" else (">f4", "|i1", "|u1", ">i4")

_ERR = POINTER(Error)
_PROTOTYPES: Dict[str, Tuple[Any, Tuple[Any, ...]]] = {
    "rkf_status_name": (c_char_p, (c_int,)),
    "rkf_version": (c_char_p, ()),
    "rkf_free": (None, (c_void_p,)),
    "rkf_runtime_open": (c_int, (POINTER(RuntimeOptions), POINTER(c_void_p), _ERR)),
    "rkf_runtime_close": (None, (c_void_p,)),
    "rkf_runtime_trim": (None, (c_void_p,)),
    "rkf_devices": (c_int, (POINTER(RuntimeOptions), POINTER(c_void_p), _ERR)),
    "rkf_stats": (c_int, (c_void_p, POINTER(c_void_p), _ERR)),
    "rkf_inspect": (c_int, (c_char_p, POINTER(c_void_p), _ERR)),
    "rkf_model_open": (c_int, (c_void_p, POINTER(ModelOptions), POINTER(c_void_p), _ERR)),
    "rkf_model_close": (None, (c_void_p,)),
    "rkf_model_describe": (c_int, (c_void_p, POINTER(c_void_p), _ERR)),
    "rkf_run": (c_int, (c_void_p, POINTER(Request), POINTER(c_void_p), _ERR)),
    "rkf_submit": (c_int, (c_void_p, POINTER(Request), DoneFn, c_void_p, POINTER(c_uint64), _ERR)),
    "rkf_cancel": (c_int, (c_void_p, c_uint64)),
    "rkf_tokenize": (c_int, (c_void_p, POINTER(Request), c_bool, POINTER(c_void_p), _ERR)),
    "rkf_decode": (c_int, (c_void_p, c_void_p, c_size_t, c_bool, POINTER(c_void_p), _ERR)),
    "rkf_token_text": (c_char_p, (c_void_p, c_int32)),
    "rkf_result_count": (c_size_t, (c_void_p,)),
    "rkf_result_tensor": (c_int, (c_void_p, c_size_t, POINTER(Tensor))),
    "rkf_result_labels": (POINTER(Label), (c_void_p, c_size_t, POINTER(c_size_t))),
    "rkf_result_spans": (POINTER(Span), (c_void_p, c_size_t, POINTER(c_size_t))),
    "rkf_result_fills": (POINTER(Fill), (c_void_p, c_size_t, POINTER(c_size_t))),
    "rkf_result_sparse": (c_void_p, (c_void_p, c_size_t, POINTER(c_size_t))),
    "rkf_result_tokens": (POINTER(Tokens), (c_void_p, c_size_t)),
    "rkf_result_info": (c_int, (c_void_p, c_size_t, POINTER(Info))),
    "rkf_result_free": (None, (c_void_p,)),
}

# ---------------------------------------------------------------- the library


def _candidates() -> Iterator[str]:
    """Where the library may be: the variable alone if it is set, the wheel, a build tree around a checkout, the system."""
    named = os.environ.get("RKFORMER_LIBRARY")
    if named:
        yield named
        return
    here = Path(__file__).resolve().parent
    yield str(here / "lib" / SONAME)
    top = here.parent.parent
    if (top / "include" / "rkformer.h").is_file():
        for build in ("release", "dev", "land"):
            yield str(top / "build" / build / SONAME)
    yield SONAME


def _load() -> ctypes.CDLL:
    tried = []
    for path in _candidates():
        if os.sep in path and not os.path.exists(path):
            tried.append(f"{path}: no such file")
            continue
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            tried.append(str(error))
            continue
        try:
            for name, (result, arguments) in _PROTOTYPES.items():
                function = getattr(library, name)
                function.restype = result
                function.argtypes = arguments
        except AttributeError as error:
            raise ImportError(f"{path} is not the librkformer this package needs ({error}): update it") from None
        return library
    raise ImportError(
        "librkformer was not found: install the wheel of rkformer, or set RKFORMER_LIBRARY to the path of "
        f"{SONAME} (tried: {'; '.join(tried)})"
    )


_library: Optional[ctypes.CDLL] = None


def lib() -> Any:
    """The loaded library. Raises ImportError that says where it was looked for."""
    global _library
    if _library is None:
        _library = _load()
    return _library


def command() -> Optional[str]:
    """Path of the `rkformer` command: RKFORMER_COMMAND, the wheel's, the build tree's, PATH's; None if there is none."""
    import shutil

    named = os.environ.get("RKFORMER_COMMAND")
    if named:
        return named
    here = Path(__file__).resolve().parent
    places = [here / "bin" / "rkformer"]
    top = here.parent.parent
    if (top / "include" / "rkformer.h").is_file():
        places += [top / "build" / build / "rkformer" for build in ("release", "dev", "land")]
    for place in places:
        if os.access(place, os.X_OK) and place.is_file():
            return str(place)
    return shutil.which("rkformer")


def check(status: int, error: Error) -> None:
    """Raises the exception of a status that is not OK."""
    if status:
        raise make_error(status, error.message.decode("utf-8", "replace"))


def encode(text: Optional[str]) -> Optional[bytes]:
    """A C string argument; ValueError if it holds a NUL."""
    if text is None:
        return None
    raw = os.fsencode(text)
    if b"\0" in raw:
        raise ValueError(f"{text!r} holds a NUL character")
    return raw


def take_json(function: str, *arguments: Any) -> Any:
    """Calls one of the functions that return a JSON document, and parses it."""
    import json

    library = lib()
    out, error = c_void_p(), Error()
    check(getattr(library, function)(*arguments, byref(out), byref(error)), error)
    try:
        return json.loads(ctypes.string_at(out.value or 0))
    finally:
        library.rkf_free(out)

