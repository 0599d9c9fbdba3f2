#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every command of docs/npu-cores.md works as it stands, from the top of the repository, and answers what the page says."""
import pathlib
import re
import shlex
import signal
import subprocess
import unittest

from support import RKFORMER, TOP, Case

PAGE = (TOP / "docs" / "npu-cores.md").read_text()


def steps():
    """(command, the block of output that follows it or None)"""
    for block in re.finditer(r"```sh\n(.*?)```\n(?:```\n(.*?)```)?", PAGE, re.S):
        lines = block.group(1).splitlines()
        for i, line in enumerate(lines):
            yield line, block.group(2) if i + 1 == len(lines) else None


class Page(Case):
    def serve(self, args):
        p = subprocess.Popen([RKFORMER, *args, "--listen", f"unix:{self.dir}/socket"], cwd=TOP, env=self.env,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            for _ in range(600):
                if (self.dir / "socket").exists() or p.poll() is not None:
                    break
                try:
                    p.wait(0.1)
                except subprocess.TimeoutExpired:
                    pass
            self.assertIsNone(p.poll(), "the server ended")
            p.send_signal(signal.SIGTERM)
            _, err = p.communicate(timeout=60)
            self.assertEqual(p.returncode, 0, err.decode())
        finally:
            p.kill()
            p.communicate()

    def test_commands(self):
        found = list(steps())
        self.assertGreaterEqual(len(found), 20)
        self.env["RKNNSIM_STRICT"] = "1"  # nothing may be left behind, no call out of order
        for line, expected in found:
            args = shlex.split(line)
            with self.subTest(command=line):
                self.assertEqual(args[0], "rkformer")
                if args[1] == "serve":
                    self.serve(args[1:])
                    continue
                answer = self.run_command(*args[1:], cwd=TOP)
                if expected:
                    self.assertEqual((answer.status, answer.err), (2, expected))
                else:
                    self.assertEqual(answer.status, 0, answer.err)
                    self.assertTrue(answer.out.strip())

    def test_every_paragraph_is_there(self):
        for words in ("chosen when it runs", "Available core masks", "Platforms", "RK-Transformers", "Sentence Transformers", "CrossEncoder",
                      "Single core or several", "Automatic or by hand", "Best practices", "Several models", "Troubleshooting", "nothing yet"):
            self.assertIn(words, PAGE)

    def test_links(self):
        for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
            self.assertTrue(pathlib.Path(TOP / "docs" / target).exists(), target)


if __name__ == "__main__":
    unittest.main()
