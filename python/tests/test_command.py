# SPDX-License-Identifier: Apache-2.0
"""The command that pip installs beside the packages."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TRAINED

COMMAND = Path(sys.executable).parent / "rkformer"

pytestmark = pytest.mark.skipif(os.environ.get("RKFORMER_TEST_INSTALLED") != "1", reason="the package is not installed")


def run(*arguments, status=0):
    env = {k: v for k, v in os.environ.items() if not k.startswith("RKFORMER_")}
    done = subprocess.run([COMMAND, *map(str, arguments)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done


def test_runs():
    import rkformer

    assert run("--version").stdout.split()[1] == rkformer.__version__
    assert "did you mean 'embed'" in run("embd", status=2).stderr


def test_finds_its_simulator():
    done = run("embed", "-m", TRAINED / "bert-embed", "--device", "sim", "--platform", "rk3588", "There is rain.")
    assert len(json.loads(done.stdout)["embedding"]) > 0
