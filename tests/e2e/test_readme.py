#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The commands in the README's tables work as they stand, from the top of the repository."""

import os
import re
import shlex
import subprocess
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
BINARY = os.environ["RKFORMER"]


def commands():
    for line in (TOP / "README.md").read_text().splitlines():
        row = re.fullmatch(r"\| (.*) \| `rkformer (.*)` \|", line)
        if row:
            yield row.group(1), shlex.split(row.group(2))


class Readme(unittest.TestCase):
    def test_tables(self):
        found = list(commands())
        self.assertGreaterEqual(len(found), 25)
        for what, args in found:
            with self.subTest(what=what):
                p = subprocess.run([BINARY, *args], cwd=TOP, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
                self.assertEqual(p.returncode, 0, p.stderr)
                self.assertTrue(p.stdout.strip())


if __name__ == "__main__":
    unittest.main()
