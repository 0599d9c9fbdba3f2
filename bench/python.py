#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""RKSentenceTransformer.encode beside the C library and, where it is installed, sentence-transformers on torch; in one run.

usage: bench/python.py MODEL [--texts FILE] [-n TEXTS] [--rounds N] [--threads N] [--calls N]

The three take turns, so that whatever else the machine does meets all of them; the best round of each counts. Texts: lines of a
file, else entries of /usr/share/games/fortunes, in their natural order. The C library: one rkf_run over all texts, packed
before the clock starts. --calls: single-text encode calls afterwards, whose resident memory must stay flat.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from ctypes import byref, c_void_p
from pathlib import Path
from typing import Any, Callable, Dict, List

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "python"))
FORTUNES = Path("/usr/share/games/fortunes")


def read_texts(path: str, n: int) -> List[str]:
    if path:
        texts = Path(path).read_text("utf-8").splitlines()
    else:
        files = sorted(file for file in FORTUNES.iterdir() if file.is_file() and not file.suffix)
        entries = [e for file in files for e in file.read_text("utf-8", "replace").split("\n%\n")]
        texts = [" ".join(entry.split()) for entry in entries if entry.strip()]
    if len(texts) < n:
        sys.exit(f"bench/python.py: only {len(texts)} texts: give fewer with -n, or a longer file with --texts")
    return texts[:n]


def library_call(model: Any, texts: List[str]) -> Callable[[], None]:
    """rkf_run on texts that lie in C's memory already."""
    from rkformer import _inputs, _native, _request

    packed = _inputs.pack(texts)
    template = _request.Template(_native.TASK_EMBED, {"prompt": ""})
    library, address = _native.lib(), model._enter()

    def call() -> None:
        out, error = c_void_p(), _native.Error()
        request = template.fill(packed.address, packed.n, None)
        _native.check(library.rkf_run(address, byref(request), byref(out), byref(error)), error)
        library.rkf_result_free(out)

    return call


def rss_kb() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--texts", default="")
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--calls", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.threads:
        os.environ["RKFORMER_THREADS"] = str(arguments.threads)
    texts = read_texts(arguments.texts, arguments.n)

    from rktransformers import RKSentenceTransformer

    ours = RKSentenceTransformer(arguments.model)
    calls: Dict[str, Callable[[], Any]] = {
        "C library (rkf_run)": library_call(ours.model, texts),
        "encode()": lambda: ours.encode(texts, show_progress_bar=False),
    }
    try:
        import sentence_transformers
        import torch

        torch.set_num_threads(arguments.threads or len(os.sched_getaffinity(0)))
        theirs = sentence_transformers.SentenceTransformer(arguments.model, device="cpu")
        calls["sentence-transformers, torch"] = lambda: theirs.encode(texts, show_progress_bar=False)
    except ImportError:
        print("sentence-transformers is not installed: without it")
    best = {name: float("inf") for name in calls}
    for call in calls.values():
        call()  # warm
    for _ in range(arguments.rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - begin)
    mine = best["encode()"]
    for name, seconds in best.items():
        print(f"{name:30s} {len(texts) / seconds:9.1f} texts/s   encode() is {seconds / mine:5.2f} times as fast")
    if arguments.calls:
        for i in range(1000):
            ours.encode(texts[i % len(texts)][:80])
        before = rss_kb()
        for i in range(arguments.calls):
            ours.encode(texts[i % len(texts)][:80])
        print(f"resident memory over {arguments.calls} calls: {before} kB -> {rss_kb()} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
