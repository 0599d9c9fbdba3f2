# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: running the command, where models and goldens are."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
RKFORMER = os.environ.get("RKFORMER", str(TOP / "build" / "rkformer"))
DATA = pathlib.Path(os.environ.get("TEST_DATA", TOP / "tests" / "data"))
REAL = pathlib.Path(os.environ.get("RKF_TEST_MODELS", TOP / "build" / "models"))
TRAINED = DATA / "models" / "trained"
RANDOM = DATA / "models" / "random"
EMBED = str(TRAINED / "bert-embed")
SLOW = float(os.environ.get("RKF_TEST_SLOW", "1"))  # under sanitizers: how much slower and larger all may be


def golden(name):
    return json.loads((DATA / "golden" / (name + ".json")).read_text())


def no_constant(name):
    raise ValueError(f"{name} is not JSON")


class Answer:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    @property
    def lines(self):
        return [json.loads(line, parse_constant=no_constant) for line in self.out.splitlines()]


class Case(unittest.TestCase):
    """Every test gets a temporary directory, and an environment that is free of the caller's options."""

    maxDiff = 2000

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="rkformer-test-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.env = {k: v for k, v in os.environ.items() if k != "RKFORMER" and not k.startswith(("RKFORMER_", "HF_"))}
        self.env["RKFORMER_LOCK_DIR"] = str(self.dir / "locks")

    def run_command(self, *args, stdin=b"", timeout=120, **more):
        if isinstance(stdin, str):
            stdin = stdin.encode()
        env = dict(self.env, **more.pop("env", {}))
        p = subprocess.run([RKFORMER, *map(str, args)], input=stdin, capture_output=True, timeout=timeout, env=env, **more)
        return Answer(p.returncode, p.stdout, p.stderr.decode("utf-8", "replace"))

    def start(self, *args, **more):
        return subprocess.Popen([RKFORMER, *map(str, args)], env=self.env, **more)

    def ok(self, *args, **more):
        """Runs the command, which must succeed and say nothing on standard error."""
        answer = self.run_command(*args, **more)
        self.assertEqual((answer.status, answer.err), (0, ""), answer.out[:300])
        return answer

    def fails(self, status, words, *args, **more):
        """The command must end with this status and one line on standard error that holds all the words."""
        answer = self.run_command(*args, **more)
        self.assertEqual(answer.status, status, answer.err)
        self.assertRegex(answer.err, r"\Arkformer: [^\n]+\n\Z")
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, answer.err)
        return answer

    def file(self, name, content):
        path = self.dir / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def assertClose(self, got, wanted, within):
        self.assertEqual(len(got), len(wanted))
        worst = max((abs(a - b) for a, b in zip(got, wanted)), default=0)
        self.assertLessEqual(worst, within)


def main():
    unittest.main(verbosity=2)
