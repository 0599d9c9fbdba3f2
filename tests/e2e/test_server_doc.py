# SPDX-License-Identifier: Apache-2.0
"""docs/server.md: its commands run in their order, and each answer is the one shown below the command."""
import re
import shlex
import subprocess

from serve_support import Server
from support import REAL, RKFORMER, TOP, Case, main

PAGE = TOP / "docs" / "server.md"
NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?|\.\.\.")


def blocks(text):
    """(language, lines) of every fenced block that has a language."""
    return [(m.group(1), m.group(2).splitlines()) for m in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)]


def commands(lines):
    """[(command, answer)]: `$ ` begins a command, a backslash at the end of a line continues it."""
    found = []
    for line in lines:
        if line.startswith("$ "):
            found.append([line[2:], []])
        elif found[-1][0].endswith("\\"):
            found[-1][0] = found[-1][0][:-1] + line.strip()
        else:
            found[-1][1].append(line)
    return [(c, "\n".join(a)) for c, a in found]


class Guide:
    """What the page's commands share: a folder that looks like a clone's top, and the server that was started last."""

    def __init__(self, case):
        self.case, self.server = case, None
        (case.dir / "build").mkdir()
        (case.dir / "build" / "models").symlink_to(REAL)
        (case.dir / "tests").symlink_to(TOP / "tests")
        case.addCleanup(self.stop)

    def stop(self):
        if self.server:
            self.case.assertEqual(self.server.stop(), 0)
        self.server = None

    def serve(self, args):
        self.stop()
        listen = () if "--config" in args else ("--listen", "127.0.0.1:0")
        self.server = Server(self.case.env, *args, listen=listen, cwd=self.case.dir)

    def run(self, command):
        """The answer of a command; nothing for `rkformer serve`, which is started."""
        if command.startswith("rkformer serve "):
            self.serve(shlex.split(command)[2:])
            return ""
        command = command.replace("localhost:8080", f"localhost:{self.server.port}" if self.server else "localhost:1")
        p = subprocess.run(["bash", "-c", command], cwd=self.case.dir, env=self.case.env, capture_output=True, text=True, timeout=60)
        self.case.assertEqual((p.returncode, p.stderr), (0, ""), command)
        return p.stdout.strip()

    def block(self, language, lines):
        if language == "yaml":  # its first line names the file
            text = "\n".join(lines[1:]).replace("127.0.0.1:8080", "127.0.0.1:0")
            (self.case.dir / lines[0].removeprefix("# ")).write_text(text + "\n")


class Page(Case):
    def compare(self, command, got, shown):
        """Literally, but for `...`, and numbers, which may differ by two units of their last digit."""
        parts, numbers, at = [], [], 0
        for m in NUMBER.finditer(shown):
            parts.append(re.escape(shown[at : m.start()]))
            parts.append(r".*?" if m.group() == "..." else r"(-?[\d.]+(?:e[-+]?\d+)?)")
            numbers += [] if m.group() == "..." else [m.group()]
            at = m.end()
        m = re.fullmatch("".join(parts) + re.escape(shown[at:]), got, re.S)
        self.assertTrue(m, f"{command}\nshown: {shown}\ngot:   {got[:2000]}")
        for value, number in zip(m.groups(), numbers):
            digits = len(number.split("e")[0].partition(".")[2])
            exponent = int(number.partition("e")[2] or 0)
            self.assertAlmostEqual(float(value), float(number), delta=2.5 * 10.0 ** (exponent - digits), msg=command)

    def test_commands(self):
        guide, n = Guide(self), 0
        for language, lines in blocks(PAGE.read_text()):
            guide.block(language, lines)
            for command, shown in commands(lines) if language == "console" else ():
                with self.subTest(command=command):
                    self.compare(command, guide.run(command), shown)
                n += 1
        self.assertGreater(n, 35)

    def test_metrics(self):
        """Every metric of ours is on the page, and every name on the page exists or needs a board."""
        server = Server(self.env, "-m", "tests/data/models/trained/bert-embed", cwd=TOP)
        self.addCleanup(server.stop)
        real = set(re.findall(r"^# HELP (rkformer_\w+)", server.get("/metrics").body.decode(), re.M))
        listed = set(re.findall(r"^\| `(rkformer_\w+)` \|", PAGE.read_text(), re.M))
        self.assertEqual(real - listed, set())
        self.assertLessEqual({x for x in listed - real if not x.startswith("rkformer_device_")}, set())

    def test_options(self):
        """Every option of the command that the page names exists."""
        help_text = subprocess.run([RKFORMER, "serve", "--help"], capture_output=True, text=True, check=True).stdout
        page = "\n".join(line for line in PAGE.read_text().splitlines() if "curl" not in line)
        for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page)) - {"--json"}:
            self.assertIn(option, help_text)


if __name__ == "__main__":
    main()
