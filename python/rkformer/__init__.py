# SPDX-License-Identifier: Apache-2.0
"""rkformer: Hugging Face encoder models on Rockchip NPUs and on CPUs, natively.

    import rkformer

    with rkformer.Model("all-MiniLM-L6-v2", core_mask="auto") as model:
        vectors = model.embed(["a text", "another"])  # [2, 384] float32

Nothing is loaded at import: the library (librkformer) and numpy come with the first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Dict, List, Optional

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ._model import Model, quantize
    from ._native import (
        BusyError,
        CancelledError,
        ClosedError,
        ConflictError,
        DeadlineError,
        DeviceError,
        FormatError,
        InternalError,
        InvalidError,
        NotFoundError,
        OutOfMemoryError,
        RKFError,
        SystemIOError,
        TooLongError,
        UnavailableError,
        UnsupportedError,
    )
    from ._result import Encoding, SparseVector
    from ._runtime import Runtime, devices

__all__ = [
    "bench",
    "BusyError",
    "CancelledError",
    "ClosedError",
    "ConflictError",
    "DeadlineError",
    "DeviceError",
    "devices",
    "Encoding",
    "FormatError",
    "inspect",
    "InternalError",
    "InvalidError",
    "library_version",
    "Model",
    "NotFoundError",
    "OutOfMemoryError",
    "quantize",
    "RKFError",
    "Runtime",
    "SparseVector",
    "stats",
    "SystemIOError",
    "TooLongError",
    "UnavailableError",
    "UnsupportedError",
]

_HOMES: Dict[str, str] = {
    "Model": "_model",
    "quantize": "_model",
    "Runtime": "_runtime",
    "devices": "_runtime",
    "Encoding": "_result",
    "SparseVector": "_result",
    "BusyError": "_native",
    "CancelledError": "_native",
    "ClosedError": "_native",
    "ConflictError": "_native",
    "DeadlineError": "_native",
    "DeviceError": "_native",
    "FormatError": "_native",
    "InternalError": "_native",
    "InvalidError": "_native",
    "NotFoundError": "_native",
    "OutOfMemoryError": "_native",
    "RKFError": "_native",
    "SystemIOError": "_native",
    "TooLongError": "_native",
    "UnavailableError": "_native",
    "UnsupportedError": "_native",
}


def stats(runtime: "Optional[Runtime]" = None) -> Dict[str, Any]:
    """Live load per core, queue and counters per model, of a runtime (None: the process's)."""
    if runtime is None:
        runtime = importlib.import_module("._runtime", __name__).Runtime.shared()
    return runtime.stats()


def inspect(path: str) -> Dict[str, Any]:
    """What a .rknn file or a model directory is, without loading it."""
    native = importlib.import_module("._native", __name__)
    document: Dict[str, Any] = native.take_json("rkf_inspect", native.encode(path))
    return document


def bench(path: str, *arguments: str) -> Any:
    """The speed table of a model, as `rkformer bench --json` gives it. arguments: options of that command. Needs the
    command: FileNotFoundError if it is not installed."""
    import json
    import subprocess

    native = importlib.import_module("._native", __name__)
    command = native.command()
    if command is None:
        raise FileNotFoundError("the command rkformer was not found: install it, or set RKFORMER_COMMAND to its path")
    done = subprocess.run(
        [command, "bench", "-m", path, "--json", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise native.RKFError(done.stderr.decode("utf-8", "replace").strip())
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else lines


def library_version() -> str:
    """The version of librkformer."""
    version: bytes = importlib.import_module("._native", __name__).lib().rkf_version()
    return version.decode()


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module("." + home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *_HOMES})
