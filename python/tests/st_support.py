# SPDX-License-Identifier: Apache-2.0
"""What the tests of RKSentenceTransformer and RKCrossEncoder share: models, expected values, a copy of a model to change."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, Dict, Iterator, List
from contextlib import contextmanager

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "python"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
MODELS = TOP / "tests" / "data" / "models"
GOLDEN = TOP / "tests" / "data" / "golden"
CLOSE = 1e-5  # absolute, on unit-norm embeddings
CLOSE_LOGITS = 1e-4  # of the largest value


def model(name: str) -> str:
    return str(MODELS / name)


def golden(name: str) -> Dict[str, Any]:
    """What transformers and sentence-transformers answered."""
    value: Dict[str, Any] = json.loads((GOLDEN / (name + ".json")).read_text("utf-8"))
    return value


@contextmanager
def changed(name: str, **files: Any) -> Iterator[str]:
    """A copy of a model with JSON files changed: changed("trained/bert-embed", **{"a.json": {"key": 1}})."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model"
        shutil.copytree(MODELS / name, copy)
        for file, values in files.items():
            path = copy / file
            old = json.loads(path.read_text("utf-8")) if path.exists() else {}
            path.write_text(json.dumps({**old, **values}), "utf-8")
        yield str(copy)


def rss_kb() -> int:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def have(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def texts() -> List[str]:
    """Different ones, for a model that does not see case."""
    every = [str(entry["text"]) for entry in golden("trained/bert-embed")["embed"]]
    return list({text.lower(): text for text in every}.values())


needs_torch = unittest.skipUnless(have("torch"), "torch is not installed")
without_torch = unittest.skipIf(have("torch"), "torch is installed")
