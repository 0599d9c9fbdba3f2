#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rkformer top: on a recorded board, of a server, in a terminal."""
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import fcntl
import termios
import threading
import time

from serve_support import Server
from support import DATA, RKFORMER, SLOW, TRAINED, Case, main

STAT = "cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3 4\n"


class Board(Case):
    def setUp(self):
        super().setUp()
        self.root = self.dir / "board"
        shutil.copytree(DATA / "boards/rk3588", self.root, symlinks=True)
        self.stat = self.root / "proc/stat"
        self.stat.write_text(STAT.format(busy=1000, idle=9000))
        (self.root / "proc/meminfo").write_text("MemTotal:        8000000 kB\nMemFree: 1 kB\nMemAvailable:    6000000 kB\n")

    def later(self, seconds, busy, idle):
        """Ticks go on while top waits for its second look."""
        timer = threading.Timer(seconds, lambda: self.stat.write_text(STAT.format(busy=busy, idle=idle)))
        timer.start()
        self.addCleanup(timer.join)

    def test_once(self):
        self.later(1 * SLOW, 1030, 9070)
        a = self.run_command("top", "--once", "--interval", str(2 * SLOW), "--root", self.root)
        self.assertEqual((a.status, a.err), (0, ""))
        self.assertEqual(a.out.decode().splitlines(), [
            "rk3588, Orange Pi 5 Plus",
            "NPU core 0 [|||||||          37%]",
            "NPU core 1 [                  0%]",
            "NPU core 2 [||||||||||||||||100%]",
            "           1.00 of 1.00 GHz (rknpu_ondemand) 45.3 C",
            "CPU        [||||||           30%]  memory 1.9 of 7.6 GiB used",
        ])

    def test_json(self):
        self.later(1 * SLOW, 1500, 9500)
        a = self.run_command("top", "-1", "--json", "-i", str(2 * SLOW), "--root", self.root)
        (line,) = a.lines
        self.assertEqual(line["npu"]["telemetry"]["load_percent"], [37, 0, 100])
        self.assertEqual((line["cpu_percent"], line["memory_bytes"], line["available_bytes"], line["server"]), (50.0, 8192000000, 6144000000, None))

    def test_lines_until_the_reader_goes(self):
        p = self.start("top", "--json", "--interval", "0.1", "--root", self.root, stdout=-1, stderr=-1)
        for _ in range(3):
            json.loads(p.stdout.readline())
        p.stdout.close()
        p.wait(20 * SLOW)
        self.assertEqual(p.stderr.read(), b"")
        p.stderr.close()

    def test_usage(self):
        for args, status, words in (
            (("--url", "ftp://x"), 2, "the server's address 'ftp://x' is no http or https URL"),
            (("--url", f"http://127.0.0.1:{unused_port()}", "--once", "-i", "0.1"), 1, "cannot reach the server http://127.0.0.1:"),
            (("--url", "unix:/nowhere/socket", "--once", "-i", "0.1"), 1, "cannot reach the server"),
            (("--interval", "0"), 2, "--interval '0' is not from 0.1 to 3600 seconds"),
            (("text",), 2, "top takes options only"),
        ):
            with self.subTest(args=args):
                a = self.run_command("top", *args)
                self.assertEqual(a.status, status)
                self.assertIn(words, a.err)


def unused_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class OfServer(Case):
    def start_server(self, *args, **more):
        s = Server(self.env, "-m", f"e={TRAINED}/bert-embed", "-m", f"c={TRAINED}/bert-rerank,mask=1", *args, **more)
        self.addCleanup(lambda: s.process.poll() is None and s.stop())
        return s

    def top(self, url, *args):
        a = self.run_command("top", "--once", "--json", "-i", str(2 * SLOW), "--url", url, *args)
        self.assertEqual((a.status, a.err), (0, ""))
        return a.lines[0]["server"]

    def test_rates(self):
        s = self.start_server("--platform", "rk3588", "--device", "cpu")
        s.post("/models/e/embed", {"inputs": "before top looked"})

        def work():
            time.sleep(1 * SLOW)
            for _ in range(10):
                s.post("/models/e/embed", {"inputs": ["one text", "and another"]})

        t = threading.Thread(target=work)
        t.start()
        server = self.top(f"http://127.0.0.1:{s.port}/")
        t.join()
        e, c = server["models"]
        self.assertEqual((e["name"], e["core_mask"], c["name"], c["core_mask"]), ("e", "auto", "c", "1"))
        # 20 texts within about two seconds, and not the one before
        self.assertTrue(20 / (4 * SLOW) < e["texts_per_s"] <= 20 / (1.9 * SLOW), e)
        self.assertTrue(e["tokens_per_s"] > e["texts_per_s"])
        self.assertEqual((c["texts_per_s"], c["failed"], c["fallbacks"]), (0.0, 0, 0))
        self.assertEqual([x["core"] for x in server["cores"]], [0, 1, 2])
        self.assertGreater(sum(x["tokens_per_s"] for x in server["cores"]), 0)
        self.assertGreater(server["totals"]["requests"], 10)

    def test_key_and_unix_socket(self):
        keys = self.file("keys", "sesame-open-1234567\n")
        path = self.dir / "socket"
        s = self.start_server("--api-key-file", keys, "--listen", f"unix:{path}")
        a = self.run_command("top", "--once", "-i", "0.1", "--url", f"unix:{path}")
        self.assertEqual((a.status, a.err), (1, "rkformer: the server wants a key: give it with --api-key\n"))
        self.assertEqual(len(self.top(f"unix:{path}", "--api-key", "sesame-open-1234567")["models"]), 2)
        self.env["RKFORMER_API_KEY"] = "sesame-open-1234567"
        self.assertEqual(len(self.top(f"http://127.0.0.1:{s.port}")["models"]), 2)


class Terminal(Case):
    def setUp(self):
        super().setUp()
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.execve(RKFORMER, [RKFORMER, "top", "--interval", "0.2", "--root", str(DATA / "boards/rk3588")], self.env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 30, 0, 0))
        self.seen = b""

    def tearDown(self):
        os.close(self.fd)

    def read_until(self, wanted, times=1):
        until = time.time() + 30 * SLOW
        while self.seen.count(wanted) < times and time.time() < until:
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    break
        self.assertGreaterEqual(self.seen.count(wanted), times, self.seen)

    def end(self):
        self.read_until(b"\033[?25h\033[?1049l")  # the cursor and the other page are back
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def test_key(self):
        self.read_until(b"NPU core 2", 2)
        self.assertTrue(self.seen.index(b"\033[?1049h") < self.seen.index(b"NPU core 0"))
        for row in re.split(rb"\033\[K\r\n", self.seen.split(b"\033[H")[-2]):
            self.assertLessEqual(len(row.replace(b"\033[J", b"")), 30, row)  # the window's width
        os.write(self.fd, b"q")
        self.assertEqual(self.end(), 0)

    def test_signals(self):
        self.read_until(b"NPU core 2", 1)
        os.kill(self.pid, signal.SIGTERM)
        self.assertEqual(self.end(), 0)

    def test_control_c(self):
        self.read_until(b"NPU core 2", 1)
        os.write(self.fd, b"\003")
        self.assertEqual(self.end(), 0)


if __name__ == "__main__":
    main()
