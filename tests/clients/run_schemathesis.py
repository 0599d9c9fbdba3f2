# SPDX-License-Identifier: Apache-2.0
"""schemathesis against /openapi.json of running servers: every route but administration; then administration, on a server
of its own, whose models nobody else needs. usage: run_schemathesis.py PROGRAM [its options]"""
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
from serve_support import Server  # noqa: E402
from support import EMBED, RANDOM, TRAINED  # noqa: E402

MODELS = ("bert-embed", "bert-rerank", "distilbert-ner", "bert-qa", "roberta-sentiment", "roberta-fillmask")
ADMIN = "^/models/(load|unload)$"
env = {k: v for k, v in os.environ.items() if not k.startswith(("RKFORMER_", "HF_"))}
options = sys.argv[2:] or ["--max-examples", "20", "--phases", "examples,coverage,fuzzing", "--seed", "1"]


def run(server, work, *more):
    """schemathesis keeps notes where it runs."""
    more_env = {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE), "LOADABLE_MODEL": EMBED}
    status = subprocess.run([os.path.abspath(sys.argv[1]), "run", f"http://127.0.0.1:{server.port}/openapi.json", *options, *more], cwd=work,
                            env={**os.environ, **more_env}).returncode
    return server.stop() or status


with tempfile.TemporaryDirectory() as work:
    keys = pathlib.Path(work) / "keys"
    keys.write_text("an-administrator\n")
    models = [x for name in MODELS for x in ("-m", TRAINED / name)] + ["-m", RANDOM / "bert-multiple-choice"]
    status = run(Server(env, *models), work, "--exclude-path-regex", ADMIN, "--exclude-operation-id", "delete_model")
    admin = Server(env, "-m", f"one={EMBED}", "-m", f"two={EMBED}", "--admin-key-file", keys)
    status |= run(admin, work, "--include-path-regex", ADMIN + "|^/v1/models", "--header", "Authorization: Bearer an-administrator")
sys.exit(status)
