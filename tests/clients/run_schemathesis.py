# SPDX-License-Identifier: Apache-2.0
"""schemathesis against /openapi.json of a running server. usage: run_schemathesis.py PROGRAM [its options]"""
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from serve_support import Server  # noqa: E402
from support import RANDOM, TRAINED  # noqa: E402

MODELS = ("bert-embed", "bert-rerank", "distilbert-ner", "bert-qa", "roberta-sentiment", "roberta-fillmask")

env = {k: v for k, v in os.environ.items() if not k.startswith(("RKFORMER_", "HF_"))}
server = Server(env, *(x for name in MODELS for x in ("-m", TRAINED / name)), "-m", RANDOM / "bert-multiple-choice")
options = sys.argv[2:] or ["--max-examples", "20", "--phases", "examples,coverage,fuzzing", "--seed", "1"]
with tempfile.TemporaryDirectory() as work:  # it keeps notes where it runs
    status = subprocess.run([os.path.abspath(sys.argv[1]), "run", f"http://127.0.0.1:{server.port}/openapi.json", *options], cwd=work,
                            env={**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(pathlib.Path(__file__).resolve().parent)}).returncode
stopped = server.stop()
sys.exit(status or stopped)
