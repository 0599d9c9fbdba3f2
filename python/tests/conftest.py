# SPDX-License-Identifier: Apache-2.0
"""Where the tests find models and recorded answers. The installed package is tested, or else the one beside this folder."""

import json
import os
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
DATA = TOP / "tests" / "data"
TRAINED = DATA / "models" / "trained"
RANDOM = DATA / "models" / "random"
MINILM = TOP / "build" / "models" / "all-MiniLM-L6-v2"

if os.environ.get("RKFORMER_TEST_INSTALLED") != "1":
    sys.path.insert(0, str(TOP / "python"))


def golden(name):
    with open(DATA / "golden" / (name + ".json"), encoding="utf-8") as file:
        return json.load(file)


def build_tree():
    """The build tree whose simulator and .rknn models the tests use, or None."""
    for name in (
        os.environ.get("RKFORMER_BUILD"),
        TOP / "build" / "release",
        TOP / "build" / "dev",
        TOP / "build" / "land",
    ):
        if name and (Path(name) / "sim-models" / "bert-embed").is_dir():
            return Path(name)
    return None


@pytest.fixture(scope="session")
def embedder():
    import rkformer

    with rkformer.Model(TRAINED / "bert-embed") as model:
        yield model


@pytest.fixture(scope="session")
def minilm_path():
    if not (MINILM / "model.safetensors").exists():
        pytest.skip("the real all-MiniLM-L6-v2 is not in build/models")
    return MINILM
