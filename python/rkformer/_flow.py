# SPDX-License-Identifier: Apache-2.0
"""Running a list of inputs through a model: chunks, how many are in flight, waiting in a thread or in an event loop.

Long lists go to the library in chunks, a few of them queued ahead, so that tokenising one chunk overlaps computing the one
before and KeyboardInterrupt is answered between two of them. What is still queued when a call fails, is interrupted or is
cancelled, is cancelled in the library too.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Deque, Dict, Iterable, Iterator, List, Optional
from typing import Sequence, Tuple, Union

from . import _inputs, _native, _request
from ._result import Result

if TYPE_CHECKING:
    Progress = Union[bool, Callable[[int, int], None], None]

Results = Iterable[Tuple[int, Result]]  # index of the first input, and the result of a chunk; in order

CHUNK = 256  # inputs per request of a long list
AHEAD = 4  # requests in flight of one call
CHUNK_BYTES = 1 << 20  # of text, or of 4 bytes per token id: longer texts make smaller chunks
SHORT_SECONDS = 0.2  # a request predicted to take less runs in the calling thread: uninterruptible, but no hand-over
DIRECT_BYTES = 4096  # of text that an async call tokenises on the event loop's own thread


class Plan:
    """What to run and how to read the answers: finish takes the results of the chunks, in order."""

    __slots__ = ("task", "items", "options", "types", "progress", "finish", "whole")

    def __init__(
        self,
        task: int,
        items: List[Any],
        options: Dict[str, Any],
        types: Optional[Sequence[Any]],
        progress: "Progress",
        finish: Callable[[Results], Any],
        whole: bool = False,
    ) -> None:
        self.task = task
        self.items = items
        self.options = options
        self.types = types
        self.progress = progress
        self.finish = finish
        self.whole = whole  # never cut into chunks


class _Bar:
    """A progress line on standard error, drawn at most ten times a second."""

    def __init__(self) -> None:
        self.last = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last < 0.1 and done < total:
            return
        self.last = now
        sys.stderr.write(f"\r{done}/{total}" + ("\n" if done == total else ""))
        sys.stderr.flush()


def _reporter(progress: "Progress") -> Optional[Callable[[int, int], None]]:
    if not progress:
        return None
    return _Bar() if progress is True else progress


class _Run:
    """One plan under way: its template, deadline, chunks and the requests in flight."""

    def __init__(self, plan: Plan) -> None:
        self.template = _request.Template(plan.task, plan.options)
        timeout = self.template.timeout
        self.deadline = time.monotonic() + timeout if timeout else None
        self.report = _reporter(plan.progress)
        self.total = len(plan.items)
        self.flying: Deque[Tuple[int, int, _request.Pending]] = deque()
        self.plan = plan

    def chunks(self) -> Iterator[_inputs.Packed]:
        items, types = self.plan.items, self.plan.types
        return chunks(items, types, self.total if self.plan.whole else CHUNK)

    def request(self, packed: _inputs.Packed) -> Any:
        return self.template.fill(packed.address, packed.n, self.deadline)

    def landed(self, at: int, n: int) -> None:
        if self.report:
            self.report(at + n, self.total)


def chunks(items: List[Any], types: Optional[Sequence[Any]], size: int) -> Iterator[_inputs.Packed]:
    """A list packed piece by piece: `size` inputs at a time, fewer if they are long."""
    at = 0
    whole = size >= len(items)
    while at < len(items):
        packed = _inputs.pack(items[at : at + size], None if types is None else types[at : at + size])
        if packed.nbytes > 2 * CHUNK_BYTES and packed.n > 1 and not whole:
            size = max(1, min(size, CHUNK_BYTES * packed.n // packed.nbytes))
            continue
        yield packed
        at += packed.n


class Flow:
    """The part of a model that runs plans. A subclass gives `_enter` (the rkf_model's address, counted) and `_leave`."""

    _library: Any
    _closed: bool
    _us_per_byte: Optional[float]

    def _enter(self) -> int:
        raise NotImplementedError

    def _leave(self) -> None:
        raise NotImplementedError

    def _submit(self, request: Any, pending: _request.Pending) -> None:
        model = self._enter()
        try:
            _request.submit(self._library, model, request, pending)
        finally:
            self._leave()

    def _cancel(self, pendings: "Sequence[_request.Pending]") -> None:
        if self._closed:
            return
        model = self._enter()
        try:
            for pending in pendings:
                if pending.status is None:
                    self._library.rkf_cancel(model, pending.ticket)
        finally:
            self._leave()

    def _go(self, plan: Plan) -> Any:
        """Runs a plan and waits."""
        return plan.finish(self._stream(plan))

    async def _soon(self, plan: Plan) -> Any:
        """Runs a plan and awaits."""
        return plan.finish([item async for item in self._astream(plan)])

    def _each(
        self,
        task: int,
        texts: Any,
        read: Callable[[Result, int], Any],
        types: Optional[Sequence[Any]] = None,
        progress: "Progress" = None,
        **options: Any,
    ) -> Any:
        """One value per input, read from its result; a lone input gives a lone value."""
        items, single = _inputs.as_list(texts)
        if single and types is not None:
            types = [types]

        def finish(results: Results) -> Any:
            out: List[Any] = []
            for _, result in results:
                out.extend(read(result, i) for i in range(len(result)))
            return out[0] if single else out

        return self._go(Plan(task, items, options, types, progress, finish))

    # ---- in a thread

    def _once(self, request: Any, nbytes: int) -> Result:
        """One request, in this thread if it is short."""
        begin = time.perf_counter()
        rate = self._us_per_byte
        alone = threading.current_thread() is not threading.main_thread()
        if alone or (rate is not None and nbytes * rate < SHORT_SECONDS * 1e6):
            model = self._enter()
            try:
                result = _request.run(self._library, model, request)
            finally:
                self._leave()
        else:
            pending = _request.Pending(self)
            self._submit(request, pending)
            try:
                result = pending.wait()
            except BaseException:
                self._cancel([pending])
                raise
        took = (time.perf_counter() - begin) * 1e6 / (nbytes + 64)
        self._us_per_byte = took if rate is None else 0.75 * rate + 0.25 * took
        return result

    def _stream(self, plan: Plan) -> Iterator[Tuple[int, Result]]:
        run, at = _Run(plan), 0
        try:
            for packed in run.chunks():
                if not at and packed.n == run.total:
                    yield 0, self._once(run.request(packed), packed.nbytes)
                    run.landed(0, packed.n)
                    return
                while not self._launch(run, at, packed):
                    yield self._land(run)
                at += packed.n
                if len(run.flying) >= AHEAD:
                    yield self._land(run)
            while run.flying:
                yield self._land(run)
        finally:
            if run.flying:
                self._cancel([pending for _, _, pending in run.flying])

    def _launch(
        self, run: _Run, at: int, packed: _inputs.Packed, loop: "Optional[asyncio.AbstractEventLoop]" = None
    ) -> bool:
        """Submits a chunk. False: the queue is full, and one of ours must land first."""
        pending = _request.Pending(self, loop)
        try:
            self._submit(run.request(packed), pending)
        except _native.BusyError:
            if not run.flying:
                raise
            return False
        run.flying.append((at, packed.n, pending))
        return True

    @staticmethod
    def _land(run: _Run) -> Tuple[int, Result]:
        at, n, pending = run.flying[0]
        result = pending.wait()
        run.flying.popleft()
        run.landed(at, n)
        return at, result

    # ---- in an event loop

    async def _astream(self, plan: Plan) -> AsyncIterator[Tuple[int, Result]]:
        run, at = _Run(plan), 0
        loop = asyncio.get_running_loop()
        todo = run.chunks()
        try:
            while True:
                if plan.items and not at and _size_hint(plan.items) <= DIRECT_BYTES:
                    packed = next(todo, None)
                    launched = packed is None or self._launch(run, at, packed, loop)
                else:  # packing and tokenising take their time: on a thread of the loop's executor
                    packed = await loop.run_in_executor(None, next, todo, None)
                    launched = packed is None or await loop.run_in_executor(None, self._launch, run, at, packed, loop)
                if packed is None:
                    break
                while not launched:
                    yield await self._aland(run)
                    launched = await loop.run_in_executor(None, self._launch, run, at, packed, loop)
                at += packed.n
                if len(run.flying) >= AHEAD:
                    yield await self._aland(run)
            while run.flying:
                yield await self._aland(run)
        finally:
            if run.flying:
                self._cancel([pending for _, _, pending in run.flying])

    @staticmethod
    async def _aland(run: _Run) -> Tuple[int, Result]:
        at, n, pending = run.flying[0]
        assert pending.future is not None
        await pending.future
        result = pending.take()
        run.flying.popleft()
        run.landed(at, n)
        return at, result


def _size_hint(items: List[Any]) -> int:
    """Bytes, roughly, of a short list; many for a long one."""
    if len(items) > 64:
        return DIRECT_BYTES + 1
    return sum(len(x) if isinstance(x, str) else 4 * len(x) + sum(len(y) for y in x if isinstance(y, str)) for x in items)


class Soon:
    """A model seen by its methods as one whose plans are awaited: `Model.embed(Soon(model), texts)` is a coroutine."""

    def __init__(self, model: Flow) -> None:
        self._model = model
        self._go = model._soon

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def _each(self, *args: Any, **options: Any) -> Any:
        return Flow._each(self, *args, **options)  # type: ignore[arg-type]

    def _rows(self, *args: Any, **options: Any) -> Any:
        return type(self._model)._rows(self, *args, **options)  # type: ignore[attr-defined]
