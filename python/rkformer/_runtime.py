# SPDX-License-Identifier: Apache-2.0
"""The runtime: devices, cores and the queue that a process's models share; forks and the end of the process.

Threads: every method may be called from any thread. Forks: a child process has none of the library's threads, so what was
opened before the fork is abandoned there (never touched, never freed) and opened again, with the same options, at its
first use in the child.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from ctypes import byref, c_void_p, sizeof
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple

from . import _native

if TYPE_CHECKING:
    from ._model import Model

logger = logging.getLogger("rkformer")
_LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
_LEVEL_NAMES = {"error": 0, "warn": 1, "warning": 1, "info": 2, "debug": 3}


def _log(cookie: Any, level: int, line: bytes) -> None:
    logger.log(_LEVELS[min(level, 3)], "%s", line.decode("utf-8", "replace"))


_on_log = _native.LogFn(_log)  # one for ever: the library calls it on its threads


def _environment(name: str) -> Optional[str]:
    return os.environ.get("RKFORMER_" + name) or None


def _environment_flag(name: str) -> bool:
    return (_environment(name) or "0").lower() in ("1", "true", "yes", "on")


def _environment_int(name: str) -> int:
    text = _environment(name)
    if text is None:
        return 0
    try:
        return int(text)
    except ValueError:
        raise _native.InvalidError(f"RKFORMER_{name} is {text!r}: it must be a whole number") from None


def _log_level() -> int:
    name = _environment("LOG_LEVEL")
    if name:
        return _LEVEL_NAMES.get(name.lower(), 1)
    level = logger.getEffectiveLevel()
    return 3 if level <= logging.DEBUG else 2 if level <= logging.INFO else 1


class Options:
    """What a runtime is opened with, environment applied: hashable, so that equal ones share a runtime."""

    __slots__ = ("key",)

    def __init__(
        self,
        platform: Optional[str] = None,
        device: Optional[str] = None,
        threads: int = 0,
        *,
        require_npu: Optional[bool] = None,
        no_pin: Optional[bool] = None,
        batch_tokens: int = 0,
        queue_limit: int = 0,
        root: Optional[str] = None,
        lock_dir: Optional[str] = None,
        npu_runtime: Optional[str] = None,
        cpu_flags: Optional[str] = None,
    ) -> None:
        self.key: Tuple[Any, ...] = (
            platform or _environment("PLATFORM"),
            device or _environment("DEVICE"),
            threads or _environment_int("THREADS"),
            _environment_flag("REQUIRE_NPU") if require_npu is None else bool(require_npu),
            _environment_flag("NO_PIN") if no_pin is None else bool(no_pin),
            batch_tokens or _environment_int("BATCH_TOKENS"),
            queue_limit,
            root or _environment("ROOT"),
            lock_dir or _environment("LOCK_DIR"),
            npu_runtime or _environment("NPU_RUNTIME"),
            cpu_flags or _environment("CPU_FLAGS"),
        )

    def struct(self) -> _native.RuntimeOptions:
        platform, device, threads, require, no_pin, tokens, limit, root, locks, npu, flags = self.key
        return _native.RuntimeOptions(
            size=sizeof(_native.RuntimeOptions),
            platform=_native.encode(platform),
            device=_native.encode(device),
            require_npu=require,
            no_pin=no_pin,
            threads=threads,
            batch_tokens=tokens,
            queue_limit=limit,
            root=_native.encode(root),
            lock_dir=_native.encode(locks),
            npu_runtime=_native.encode(npu),
            log=_on_log,
            log_level=_log_level(),
            cpu_flags=_native.encode(flags),
        )


class Runtime:
    """Devices, their cores and one queue for all models opened on it.

    platform: None or "auto" (detected), rk3588, rk3576, rk3568, rk3566, rk3562, cpu. device: None or "auto", cpu, rknn, sim.
    threads: CPU threads in all, 0: all that this process may use. require_npu: a missing or unusable NPU is an error.
    no_pin: do not pin threads to CPUs. batch_tokens: most tokens in one batch, 0: the device's. queue_limit: most inputs
    waiting before BusyError, 0: 65536. root: where /proc, /sys and /dev are. lock_dir: leases between processes.
    npu_runtime: path of the vendor's library. cpu_flags: instruction set to stop at.
    What is not given comes from RKFORMER_PLATFORM, RKFORMER_DEVICE, RKFORMER_THREADS and so on, as in the command.

    Raises InvalidError, UnavailableError (both ValueError), DeviceError, OutOfMemoryError.
    """

    def __init__(
        self,
        platform: Optional[str] = None,
        device: Optional[str] = None,
        threads: int = 0,
        **options: Any,
    ) -> None:
        self._ptr: Optional[int] = None
        self._closed = False
        self._lock = threading.RLock()
        self._models: "weakref.WeakSet[Model]" = weakref.WeakSet()
        self._options = Options(platform, device, threads, **options)
        self._open()
        _runtimes.add(self)

    def _open(self) -> None:
        out, error = c_void_p(), _native.Error()
        options = self._options.struct()
        _native.check(_native.lib().rkf_runtime_open(byref(options), byref(out), byref(error)), error)
        self._ptr = out.value

    @staticmethod
    def shared(
        platform: Optional[str] = None, device: Optional[str] = None, threads: int = 0, **options: Any
    ) -> "Runtime":
        """The process's runtime with these options; opened at the first call. Naming the platform that is detected
        anyway gives the same runtime as not naming it, so that all models share the cores. Never close it yourself:
        it is closed when the process ends."""
        wanted = Options(platform, device, threads, **options)
        with _shared_lock:
            known = wanted.key
            if known not in _shared and known[0] and known[0] not in ("auto", "cpu"):
                plain = (None,) + known[1:]
                if plain in _shared and _detected_platform() == known[0]:
                    known = plain
            runtime = _shared.get(known)
            if runtime is None or runtime.closed:
                runtime = Runtime.__new__(Runtime)
                runtime._ptr, runtime._closed, runtime._lock = None, False, threading.RLock()
                runtime._models, runtime._options = weakref.WeakSet(), wanted
                runtime._open()
                _runtimes.add(runtime)
                _shared[known] = runtime
                if known[0] and known[0] == _detected_platform():
                    _shared.setdefault((None,) + known[1:], runtime)
            return runtime

    @property
    def closed(self) -> bool:
        return self._closed

    def handle(self) -> int:
        """The rkf_runtime's address. Raises ClosedError."""
        if self._ptr is None:
            with self._lock:
                if self._closed:
                    raise _native.ClosedError("the runtime is closed: open another one")
                if self._ptr is None:  # a forked child
                    self._open()
        assert self._ptr is not None
        return self._ptr

    def stats(self) -> Dict[str, Any]:
        """Live load per core, queue and counters per model."""
        document: Dict[str, Any] = _native.take_json("rkf_stats", self.handle())
        return document

    def trim(self) -> None:
        """Gives the scratch memory of idle cores back to the system; the next calls take what they need again."""
        _native.lib().rkf_runtime_trim(self.handle())

    def close(self) -> None:
        """Closes the models that are still open, waits for what runs. Calling it again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for model in list(self._models):
                model.close()
            ptr, self._ptr = self._ptr, None
        if ptr is not None:
            _native.lib().rkf_runtime_close(ptr)

    def __enter__(self) -> "Runtime":
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if self.__dict__.get("_ptr") is not None and not self._closed:
            close_later(self.close)

    def __repr__(self) -> str:
        platform, device, threads = self._options.key[:3]
        state = ", closed" if self._closed else ""
        return f"rkformer.Runtime(platform={platform!r}, device={device!r}, threads={threads}{state})"

    def _abandon(self) -> None:
        self._ptr = None
        self._lock = threading.RLock()
        for model in list(self._models):
            model._abandon()


_runtimes: "weakref.WeakSet[Runtime]" = weakref.WeakSet()
_shared: Dict[Tuple[Any, ...], Runtime] = {}
_shared_lock = threading.RLock()
_platform: Optional[str] = None


def _detected_platform() -> str:
    global _platform
    if _platform is None:
        _platform = str(devices()["platform"]) if not _environment("PLATFORM") else ""
    return _platform


def devices(
    platform: Optional[str] = None, device: Optional[str] = None, threads: int = 0, **options: Any
) -> Dict[str, Any]:
    """What is here: platform, whether its cores are virtual, devices, cores, masks, driver, runtime, telemetry, and what is
    missing. Opens nothing that needs an NPU."""
    wanted = Options(platform, device, threads, **options).struct()
    wanted.log = _native.LogFn()
    document: Dict[str, Any] = _native.take_json("rkf_devices", byref(wanted))
    return document


# ---------------------------------------------------------------- closing from where one must not wait

in_callback = threading.local()


def close_later(close: Any) -> None:
    """Runs a close call; on one of the library's own threads (which it would wait for), another thread runs it."""
    if getattr(in_callback, "active", False):
        threading.Thread(target=close, name="rkformer-close", daemon=True).start()
    else:
        close()


# ---------------------------------------------------------------- fork and exit


def _after_fork_in_child() -> None:
    global _shared_lock
    from . import _request

    _shared_lock = threading.RLock()
    _request.forget_all()
    for runtime in list(_runtimes):
        runtime._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


@atexit.register
def _at_exit() -> None:
    for runtime in list(_runtimes):
        try:
            runtime.close()
        except Exception:  # the process ends anyway
            logger.debug("closing at exit", exc_info=True)
