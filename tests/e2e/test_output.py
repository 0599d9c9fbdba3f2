# SPDX-License-Identifier: Apache-2.0
"""Where results go: complete or not at all in files, line by line on standard output, and what a failure leaves."""
import array
import json
import os
import pty
import resource
import signal
import subprocess
import time

from support import EMBED, REAL, RKFORMER, Case, main


def read_npy(path):
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:10]
    size = int.from_bytes(data[8:10], "little")
    assert (10 + size) % 64 == 0
    header = eval(data[10 : 10 + size].decode("latin-1"))  # a dict literal, as NumPy's own reader takes it
    assert not header["fortran_order"]
    values = array.array({"<f4": "f", "|i1": "b", "|u1": "B"}[header["descr"]])
    values.frombytes(data[10 + size :])
    rows, width = header["shape"]
    assert len(values) == rows * width
    return header, [list(values[i * width : (i + 1) * width]) for i in range(rows)]


class Files(Case):
    def left_over(self):
        return sorted(p.name for p in self.dir.iterdir() if p.name != "locks")

    def test_same_as_standard_output(self):
        wanted = self.ok("embed", "-m", EMBED, "rain", "snow").out
        self.ok("embed", "-m", EMBED, "-o", self.dir / "out.jsonl", "rain", "snow")
        self.assertEqual((self.dir / "out.jsonl").read_bytes(), wanted)
        self.assertEqual(self.left_over(), ["out.jsonl"])
        self.assertEqual(self.ok("embed", "-m", EMBED, "-o", "-", "rain", "snow").out, wanted)

    def test_replaces_only_when_complete(self):
        out = self.file("out.jsonl", "old\n")
        self.fails(1, "line 2", "embed", "-m", EMBED, "--strict", "-o", out, stdin=b"rain\n\xff\n")
        self.assertEqual(out.read_text(), "old\n")
        self.assertEqual(self.left_over(), ["out.jsonl"])
        self.ok("embed", "-m", EMBED, "-o", out, "rain")
        self.assertNotEqual(out.read_text(), "old\n")

    def test_input_may_be_output(self):
        path = self.file("x.txt", "rain\nsnow\n")
        wanted = self.ok("embed", "-m", EMBED, "-i", path).out
        self.ok("embed", "-m", EMBED, "-i", path, "-o", path)
        self.assertEqual(path.read_bytes(), wanted)

    def test_bad_paths(self):
        self.fails(1, "cannot write", "embed", "-m", EMBED, "-o", self.dir / "no" / "x", "rain")
        self.fails(1, "cannot", "embed", "-m", EMBED, "-o", self.dir, "rain")
        self.assertEqual(self.left_over(), [])

    def test_full_disk(self):
        self.fails(1, "cannot write", "embed", "-m", EMBED, "-o", "/dev/full", "rain")
        with open("/dev/full", "w") as full:
            p = subprocess.run([RKFORMER, "embed", "-m", EMBED, "rain"], stdout=full, stderr=subprocess.PIPE, env=self.env)
        self.assertEqual(p.returncode, 1)
        self.assertRegex(p.stderr.decode(), r"\Arkformer: cannot write to standard output: [^\n]+\n\Z")

    def test_file_size_limit(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
        self.fails(1, "cannot write", "embed", "-m", EMBED, "-o", self.dir / "out", stdin="rain\n" * 2000, preexec_fn=limit)
        self.assertEqual(self.left_over(), [])

    def test_signals_leave_nothing(self):
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(signal=sig):
                p = self.start("embed", "-m", EMBED, "-o", self.dir / "out", stdin=subprocess.PIPE)
                p.stdin.write(b"rain\n")
                p.stdin.flush()
                for _ in range(500):
                    if any(name.endswith(".tmp") for name in self.left_over()):
                        break
                    time.sleep(0.01)
                else:
                    self.fail("no temporary file")
                p.send_signal(sig)
                self.assertEqual(p.wait(30), -sig)
                p.stdin.close()
                self.assertEqual(self.left_over(), [])

    def test_failure_keeps_earlier_lines_on_standard_output(self):
        texts = b"rain\n" * 700 + b"\xff\n" + b"rain\n" * 700
        answer = self.fails(1, "line 701 of standard input", "embed", "-m", EMBED, "--strict", stdin=texts)
        self.assertEqual([line["index"] for line in answer.lines], list(range(700)))

    def test_closed_pipe_is_quiet(self):
        p = self.start("embed", "-m", EMBED, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        feeder = subprocess.Popen(["yes", "There is rain and snow today."], stdout=p.stdin)
        p.stdin.close()
        p.stdout.readline()
        p.stdout.close()
        self.assertEqual(p.wait(60), 0)
        self.assertEqual(p.stderr.read(), b"")
        feeder.kill()
        feeder.wait()
        p.stderr.close()


class Pace(Case):
    def test_answers_come_while_others_are_computed(self):
        model = REAL / "all-MiniLM-L6-v2"
        self.assertTrue(model.is_dir(), f"{model} is missing: make model fetches it")
        texts = self.file("texts", "There is rain and snow today, and wind. " * 30 + "\n")
        texts.write_text(texts.read_text() * 128)
        begin = time.monotonic()
        p = self.start("embed", "-m", model, "-i", texts, stdout=subprocess.PIPE)
        p.stdout.readline()
        first = time.monotonic() - begin
        self.assertEqual(len(p.stdout.read().splitlines()), 127)
        self.assertLess(first, 0.6 * (time.monotonic() - begin))
        self.assertEqual(p.wait(), 0)
        p.stdout.close()


class Formats(Case):
    texts = ["rain", "", "snow and wind"]

    def setUp(self):
        super().setUp()
        self.rows = [line["embedding"] for line in self.ok("embed", "-m", EMBED, *self.texts).lines]

    def test_npy(self):
        path = self.dir / "x.npy"
        self.ok("embed", "-m", EMBED, "--format", "npy", "-o", path, *self.texts)
        header, rows = read_npy(path)
        self.assertEqual((header["descr"], header["shape"]), ("<f4", (3, 64)))
        for got, wanted in zip(rows, self.rows):
            self.assertEqual(got, array.array("f", wanted).tolist())

    def test_npy_of_nothing(self):
        path = self.dir / "x.npy"
        self.ok("embed", "-m", EMBED, "--format", "npy", "-o", path, stdin=b"")
        self.assertEqual(read_npy(path)[1], [])

    def test_npy_needs_a_real_file(self):
        os.mkfifo(self.dir / "pipe")
        reader = subprocess.Popen(["cat", self.dir / "pipe"], stdout=subprocess.DEVNULL)
        self.fails(2, "cannot hold an npy file", "embed", "-m", EMBED, "--format", "npy", "-o", self.dir / "pipe", "rain")
        reader.wait(10)

    def test_f32(self):
        path = self.dir / "x.f32"
        self.ok("embed", "-m", EMBED, "--format", "f32", "-o", path, *self.texts)
        wanted = array.array("f", sum(self.rows, [])).tobytes()
        self.assertEqual(path.read_bytes(), wanted)
        self.assertEqual(self.ok("embed", "-m", EMBED, "--format", "f32", *self.texts).out, wanted)

    def test_int8_npy(self):
        path = self.dir / "x.npy"
        args = ["embed", "-m", EMBED, "--precision", "int8", "--log-level", "error"]
        self.ok(*args, "--format", "npy", "-o", path, *self.texts)
        header, rows = read_npy(path)
        self.assertEqual((header["descr"], header["shape"]), ("|i1", (3, 64)))
        self.assertEqual(rows, [line["embedding"] for line in self.ok(*args, *self.texts).lines])

    def test_floats_are_the_shortest(self):
        text = self.ok("embed", "-m", EMBED, "rain").out.decode()
        self.assertLess(len(text), 64 * 14)
        for number in text[text.index("[") + 1 : text.index("]")].split(","):
            f = array.array("f", [float(number)])[0]
            shortest = min((f"{f:.{d}g}" for d in range(1, 10) if array.array("f", [float(f"{f:.{d}g}")])[0] == f), key=len)
            self.assertEqual(float(number), float(shortest))


class Progress(Case):
    def on_terminal(self, args, stdin_lines, stdout=subprocess.DEVNULL):
        leader, follower = pty.openpty()
        p = self.start(*args, stdin=subprocess.PIPE, stdout=follower if stdout is None else stdout, stderr=follower)
        os.close(follower)
        for line, pause in stdin_lines:
            p.stdin.write(line)
            p.stdin.flush()
            time.sleep(pause)
        p.stdin.close()
        seen = b""
        while True:
            try:
                data = os.read(leader, 65536)
            except OSError:
                break
            if not data:
                break
            seen += data
        os.close(leader)
        self.assertEqual(p.wait(60), 0)
        return seen.decode()

    def test_bar_after_a_second(self):
        self.env["TERM"] = "xterm"
        slow = [(b"rain\n", 0.6), (b"rain\n", 0.6), (b"rain\n", 0.2), (b"rain\n", 0)]
        seen = self.on_terminal(["embed", "-m", EMBED], slow)
        self.assertRegex(seen, r"\d texts, \d+/s")
        self.assertTrue(seen.endswith("\r\x1b[K"), repr(seen[-80:]))
        self.assertEqual(self.on_terminal(["embed", "-m", EMBED, "--no-progress"], slow), "")

    def test_no_bar_for_quick_work(self):
        self.env["TERM"] = "xterm"
        self.assertEqual(self.on_terminal(["embed", "-m", EMBED], [(b"rain\n", 0)]), "")

    def test_lines_are_whole_on_a_terminal(self):
        self.env["TERM"] = "xterm"
        slow = [(b"rain\n", 0.6), (b"rain\n", 0.6), (b"rain\n", 0.2), (b"rain\n", 0)]
        seen = self.on_terminal(["embed", "-m", EMBED], slow, stdout=None)
        lines = [line.split("\x1b[K")[-1] for line in seen.replace("\r\n", "\n").split("\n") if "index" in line]
        self.assertEqual([json.loads(line)["index"] for line in lines], [0, 1, 2, 3])


if __name__ == "__main__":
    main()
