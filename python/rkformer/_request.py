# SPDX-License-Identifier: Apache-2.0
"""Requests in flight: building a rkf_request, submitting it, waiting for the answer in a thread or in an event loop.

Threads: the library answers on its own threads through one callback (`_on_done`), which hands the result to the waiter and
does nothing else. A blocked waiter sits in a lock, so that KeyboardInterrupt reaches it.
"""

from __future__ import annotations

import _thread
import itertools
from ctypes import byref, c_uint64, c_void_p, sizeof
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from . import _native
from ._result import Result
from ._runtime import in_callback

if TYPE_CHECKING:
    import asyncio

_POOLINGS = {
    None: 0,
    "cls": 1,
    "mean": 2,
    "max": 3,
    "mean_sqrt_len": 4,
    "mean_sqrt_len_tokens": 4,
    "weighted_mean": 5,
    "weightedmean": 5,
    "lasttoken": 6,
    "last_token": 6,
}
_PRECISIONS = {None: 0, "float32": 0, "int8": 1, "uint8": 2, "binary": 3, "ubinary": 4}
_AGGREGATIONS = {None: 0, "simple": 0, "none": 1, "first": 2, "average": 3, "max": 4}
_SCORES = {None: 0, "default": 0, "sigmoid": 1, "softmax": 2, "raw": 3, "none": 3}
_TRUNCATE = {None: 0, True: 0, "right": 0, "left": 1, False: 2, "none": 2}
_SWITCH = {None: 0, True: 1, False: 2}
_TABLES: Dict[str, Dict[Any, int]] = {
    "pooling": _POOLINGS,
    "precision": _PRECISIONS,
    "aggregation": _AGGREGATIONS,
    "scores": _SCORES,
    "truncate": _TRUNCATE,
    "chunk": _SWITCH,
    "normalize": _SWITCH,
}
_TEXTS = ("query", "prompt", "prompt_name", "hypothesis_template")
_NUMBERS = ("max_length", "stride", "truncate_dim", "top_k", "max_answer_length", "priority")
_FLAGS = ("strict", "multi_label", "impossible_answer")


def _choice(name: str, value: Any) -> int:
    table = _TABLES[name]
    try:
        return table[value]
    except (KeyError, TypeError):
        legal = ", ".join(repr(key) for key in table if key is not None)
        raise _native.InvalidError(f"{name} {value!r} is not known: use one of {legal}") from None


class Template:
    """A request without its inputs: made once per call, used for every chunk of it."""

    __slots__ = ("request", "keep", "timeout")

    def __init__(self, task: int, options: Dict[str, Any]) -> None:
        self.keep: List[Any] = []
        self.request = request = _native.Request(size=sizeof(_native.Request), task=task)
        self.timeout: Optional[float] = None
        for name, value in options.items():
            if value is None:
                continue
            if name in _TABLES:
                setattr(request, name, _choice(name, value))
            elif name in _TEXTS:
                if not isinstance(value, str):
                    raise TypeError(f"{name} must be str, not {type(value).__name__}")
                setattr(request, name, _native.make_str(value, self.keep))
            elif name in _NUMBERS:
                number = int(value)
                if not -(2**31) <= number < 2**31 or (number < 0 and name != "priority"):
                    raise _native.InvalidError(f"{name} is {number}: it must be a positive 32-bit number")
                setattr(request, name, number)
            elif name in _FLAGS:
                setattr(request, name, bool(value))
            elif name == "labels":
                self._labels(value)
            elif name == "ranges":
                self._ranges(value)
            elif name == "timeout":
                self.timeout = float(value)
                if self.timeout <= 0:
                    raise _native.InvalidError(f"timeout is {value}: it must be more than 0 seconds")
            else:
                raise TypeError(f"unknown option {name!r}")

    def _labels(self, labels: Sequence[str]) -> None:
        array = (_native.Str * len(labels))(*[_native.make_str(label, self.keep) for label in labels])
        self.keep.append(array)
        self.request.labels = array
        self.request.n_labels = len(labels)

    def _ranges(self, ranges: Any) -> None:
        import numpy as np

        array = np.ascontiguousarray(ranges, np.float32)
        if array.ndim != 2 or array.shape[0] != 2:
            raise _native.InvalidError("ranges must have the shape [2, dim]: lowest and highest value per dimension")
        self.keep.append(array)
        self.request.ranges = array.ctypes.data

    def fill(self, address: int, n: int, deadline: Optional[float]) -> Any:
        """The request for n inputs at an address. deadline: of time.monotonic."""
        import time

        request = self.request
        request.inputs = address
        request.n_inputs = n
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise _native.DeadlineError("the request's timeout passed before all of its inputs were queued")
            request.timeout_us = max(1, int(left * 1e6))
        return request


class Pending:
    """One submitted request."""

    __slots__ = ("status", "message", "result", "ticket", "lock", "loop", "future", "owner")

    def __init__(self, owner: Any, loop: "Optional[asyncio.AbstractEventLoop]" = None) -> None:
        self.status: Optional[int] = None
        self.message = ""
        self.result: Optional[Result] = None
        self.ticket = 0
        self.owner = owner  # keeps the model from being collected, and so closed, while the request runs
        self.loop = loop
        self.future: "Optional[asyncio.Future[None]]" = loop.create_future() if loop else None
        self.lock = _thread.allocate_lock()
        self.lock.acquire()

    def answer(self) -> None:
        """On the library's thread: wakes the waiter."""
        if self.loop is None:
            self.lock.release()
            return
        try:
            self.loop.call_soon_threadsafe(self._resolve)
        except RuntimeError:  # the loop is closed: nobody waits
            pass

    def _resolve(self) -> None:
        if self.future is not None and not self.future.done():
            self.future.set_result(None)

    def wait(self) -> Result:
        """Blocks until the answer is there; interruptible."""
        self.lock.acquire()
        return self.take()

    def take(self) -> Result:
        if self.status:
            raise _native.make_error(self.status, self.message)
        assert self.result is not None
        result, self.result = self.result, None
        return result


_pending: Dict[int, Pending] = {}
_cookies = itertools.count(1)


def _done(cookie: int, ticket: int, status: int, result: Optional[int], error: Any) -> None:
    in_callback.active = True  # what is dropped here must not be closed here
    try:
        _answer(cookie, status, Result(result) if result else None, error)
    finally:
        in_callback.active = False


def _answer(cookie: int, status: int, result: Optional[Result], error: Any) -> None:
    pending = _pending.pop(cookie, None)
    if pending is None:
        return
    pending.result = result
    if status:
        pending.message = error[0].message.decode("utf-8", "replace") if error else "the request failed"
    pending.status = status
    pending.answer()


_on_done = _native.DoneFn(_done)  # one for ever: the library calls it on its threads


def submit(library: Any, model: int, request: Any, pending: Pending) -> None:
    """Tokenises and queues. Raises what rkf_submit answers; then the callback will not run."""
    cookie = next(_cookies)
    _pending[cookie] = pending
    ticket, error = c_uint64(), _native.Error()
    status = library.rkf_submit(model, byref(request), _on_done, cookie, byref(ticket), byref(error))
    if status:
        _pending.pop(cookie, None)
        _native.check(status, error)
    pending.ticket = ticket.value


def run(library: Any, model: int, request: Any) -> Result:
    """rkf_run: the calling thread takes part in the work, and cannot be interrupted meanwhile."""
    out, error = c_void_p(), _native.Error()
    _native.check(library.rkf_run(model, byref(request), byref(out), byref(error)), error)
    assert out.value is not None
    return Result(out.value)


def forget_all() -> None:
    """In a forked child: requests of the parent will never be answered here."""
    _pending.clear()
