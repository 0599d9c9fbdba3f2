# SPDX-License-Identifier: Apache-2.0
"""Where texts come from, and every way they can be broken."""
import json
import os
import pty
import resource
import select
import subprocess
import time

from support import EMBED, RKFORMER, TRAINED, Case, main


class Texts(Case):
    def embed(self, *args, **more):
        return [line["embedding"] for line in self.ok("embed", "-m", EMBED, *args, **more).lines]

    def setUp(self):
        super().setUp()
        self.texts = ["There is rain.", "", "The cat was near the rabbit.", " spaces ", "Über 東京 😀"]
        self.wanted = None

    def test_all_ways_give_the_same(self):
        lines = "".join(text + "\n" for text in self.texts)
        wanted = self.embed(*self.texts)
        self.assertEqual(len(wanted), 5)
        ways = {
            "file": self.embed("--input", self.file("texts.txt", lines)),
            "stdin": self.embed(stdin=lines),
            "dash": self.embed("--input", "-", stdin=lines),
            "no newline at the end": self.embed(stdin=lines[:-1]),
            "carriage returns": self.embed(stdin=lines.replace("\n", "\r\n")),
            "byte order mark": self.embed(stdin=b"\xef\xbb\xbf" + lines.encode()),
            "jsonl": self.embed("--input", self.file("texts.jsonl", "".join(json.dumps(t) + "\n" for t in self.texts))),
            "objects": self.embed("--jsonl", stdin="".join(json.dumps({"id": 1, "text": t}) + "\n" for t in self.texts)),
            "after --": self.embed("--", *self.texts),
        }
        for way, got in ways.items():
            with self.subTest(way=way):
                self.assertEqual(got, wanted)

    def test_order_and_index(self):
        texts = ["word " * (i * 37 % 50) for i in range(3000)]
        lines = self.ok("embed", "-m", EMBED, stdin="\n".join(texts)).lines
        self.assertEqual([line["index"] for line in lines], list(range(3000)))
        alone = {t: self.embed(t)[0] for t in texts[:50:7]}
        for i, text in enumerate(texts):
            if text in alone:
                self.assertClose(lines[i]["embedding"], alone[text], 1e-6)

    def test_empty_lines_are_texts(self):
        self.assertEqual(len(self.embed(stdin="\n\n\n")), 3)

    def test_nothing(self):
        self.assertEqual(self.ok("embed", "-m", EMBED, stdin=b"").out, b"")
        self.assertEqual(self.ok("embed", "-m", EMBED, "--input", os.devnull).out, b"")

    def test_texts_that_look_like_options(self):
        self.assertEqual(self.embed("--", "--threads", "-x"), self.embed(stdin="--threads\n-x\n"))

    def test_a_zero_byte_is_part_of_the_text(self):
        line = self.ok("tokenize", "-m", EMBED, stdin=b"rain\0snow\n").lines
        self.assertEqual(len(line), 1)
        self.assertEqual(line[0], self.ok("tokenize", "-m", EMBED, "--jsonl", stdin=r'"rain\u0000snow"').lines[0])

    def test_pairs(self):
        pair = {"text": "There is rain.", "text_pair": "She likes wind."}
        line = self.ok("tokenize", "-m", EMBED, "--jsonl", stdin=json.dumps(pair)).lines[0]
        one = self.ok("tokenize", "-m", EMBED, "There is rain.", "She likes wind.").lines
        self.assertEqual(line["input_ids"], one[0]["input_ids"] + one[1]["input_ids"][1:])
        self.assertEqual(line["token_type_ids"], [0] * len(one[0]["input_ids"]) + [1] * (len(one[1]["input_ids"]) - 1))


class BadTexts(Case):
    def test_both_texts_and_input(self):
        self.fails(2, "both texts and --input", "embed", "-m", EMBED, "-i", self.file("x", "x"), "text")

    def test_missing_file(self):
        self.fails(1, ["cannot open", "nowhere.txt"], "embed", "-m", EMBED, "-i", self.dir / "nowhere.txt")

    def test_directory(self):
        self.fails(1, "is a directory", "embed", "-m", EMBED, "-i", self.dir)

    def test_terminal_without_texts(self):
        leader, follower = pty.openpty()
        p = subprocess.run([RKFORMER, "embed", "-m", EMBED], stdin=follower, capture_output=True, timeout=60, env=self.env)
        os.close(leader)
        os.close(follower)
        self.assertEqual(p.returncode, 2)
        self.assertIn(b"no texts: give them as arguments", p.stderr)

    def test_invalid_utf8_is_replaced(self):
        # Python's errors="replace" is what Hugging Face users feed to the tokenizer
        for broken in [b"caf\xe9 au lait", b"\xff\xfe", b"a\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", b"\xe4\xb8rain"]:
            with self.subTest(text=broken):
                wanted = self.ok("tokenize", "-m", EMBED, stdin=broken.decode("utf-8", "replace")).lines
                self.assertEqual(self.ok("tokenize", "-m", EMBED, stdin=broken).lines, wanted)
                self.assertEqual(self.ok("tokenize", "-m", EMBED, "--jsonl", stdin=b'"' + broken + b'"').lines, wanted)

    def test_invalid_utf8_is_an_error_with_strict(self):
        path = self.file("x.txt", b"fine\nalso fine\ncaf\xe9\nfine\n")
        answer = self.fails(1, ["line 3 of", "x.txt is not valid UTF-8 at byte 4"], "embed", "-m", EMBED, "--strict", "-i", path)
        self.assertEqual([line["index"] for line in answer.lines], [0, 1])
        self.assertEqual(len(self.ok("embed", "-m", EMBED, "--strict", "fine").lines), 1)

    def test_long_lines(self):
        text = b"short\n" + b"a " * 600 + b"\nshort\n"
        answer = self.fails(1, "line 2 of standard input is longer than 1000 bytes", "embed", "-m", EMBED, "--max-line", "1000", stdin=text)
        self.assertEqual(len(answer.lines), 1)
        self.assertEqual(len(self.ok("tokenize", "-m", EMBED, "--max-line", "1200", stdin=text).lines), 3)
        self.fails(1, "longer than 1199 bytes", "embed", "-m", EMBED, "--max-line", "1199", stdin=text)

    def test_a_line_of_100_mb(self):
        begin = time.monotonic()
        self.fails(1, "line 2 of standard input is longer than 67108864 bytes: split it, or raise --max-line",
                   "embed", "-m", EMBED, stdin=b"short\n" + b"x" * 100_000_000)
        self.assertLess(time.monotonic() - begin, 20)

    def test_an_endless_line_stays_bounded(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        with open("/dev/zero", "rb") as zeros:
            p = subprocess.run([RKFORMER, "embed", "-m", EMBED, "--threads", "1"], stdin=zeros, capture_output=True, timeout=60,
                               env=self.env, preexec_fn=limit)
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"line 1 of standard input is longer than 67108864 bytes", p.stderr)

    def test_broken_json(self):
        cases = {
            "{": "is not valid JSON",
            '"a" "b"': "is not valid JSON",
            "": "is not valid JSON",
            "12": 'a JSON string or an object with "text" is needed',
            "null": 'a JSON string or an object with "text" is needed',
            "[]": 'a JSON string or an object with "text" is needed',
            "{}": 'is an object without "text"',
            '{"text": 3}': '"text" must be a string',
            '{"text": "a", "text_pair": []}': '"text_pair" must be a string',
            "[" * 100000: "nested deeper than",
            r'"\ud800"': "is not valid JSON",
        }
        for line, words in cases.items():
            with self.subTest(line=line[:40]):
                path = self.file("bad.jsonl", '"fine"\n' + line + '\n"fine"\n')
                answer = self.fails(1, ["line 2 of", words], "embed", "-m", EMBED, "-i", path)
                self.assertEqual(len(answer.lines), 1)

    def test_too_long_without_truncation(self):
        text = "rain\n" + "rain " * 500 + "\nrain\n"
        answer = self.fails(1, "line 2 of standard input has 502 tokens, the limit is 64: ", "embed", "-m", EMBED, "--no-truncate", stdin=text)
        self.assertEqual(len(answer.lines), 1)
        lines = self.ok("embed", "-m", EMBED, stdin=text).lines
        self.assertEqual([line.get("truncated") for line in lines], [None, 502 - 64, None])
        lines = self.ok("tokenize", "-m", EMBED, "--max-length", "10", stdin=text).lines
        self.assertEqual([line.get("truncated") for line in lines], [None, 502 - 10, None])
        self.assertEqual(len(lines[1]["input_ids"]), 10)

    def test_no_mask_to_fill(self):
        self.fails(1, "line 2 of standard input has no mask token: write <mask>", "fill-mask", "-m", TRAINED / "roberta-fillmask",
                   stdin="a <mask>\nnothing to fill\n")
        self.fails(2, "text 1: max_length 1 is too small", "embed", "-m", EMBED, "--max-length", "1", "x")

    def test_wrong_command_for_the_model(self):
        for command in (["classify"], ["ner"], ["fill-mask"], ["rerank", "--query", "x"], ["qa", "--question", "x"]):
            with self.subTest(command=command[0]):
                answer = self.run_command(*command, "-m", EMBED, "x [MASK]")
                self.assertIn(answer.status, (1, 2), answer.err)
                self.assertRegex(answer.err, r"\Arkformer: [^\n]+\n\Z")


class Conversation(Case):
    """Somebody writes a line and waits for its answer before writing the next."""

    def test_answers_come_at_once(self):
        p = self.start("embed", "-m", EMBED, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for i in range(5):
            p.stdin.write(b"line %d\n" % i)
            p.stdin.flush()
            self.assertTrue(select.select([p.stdout], [], [], 30)[0], "no answer")
            self.assertEqual(json.loads(p.stdout.readline())["index"], i)
        p.stdin.write(b"a line with")
        p.stdin.flush()
        time.sleep(0.2)
        p.stdin.write(b" two parts\n")
        p.stdin.close()
        self.assertEqual(json.loads(p.stdout.readline())["index"], 5)
        self.assertEqual(p.wait(30), 0)
        p.stdout.close()


class Memory(Case):
    def peak(self, lines):
        code = ("import resource, subprocess, sys; p = subprocess.run(sys.argv[2:], stdin=open(sys.argv[1]), stdout=subprocess.DEVNULL);"
                "print(p.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
        path = self.file("many.txt", "There is rain and snow today, and wind.\n" * lines)
        out = subprocess.run(["python3", "-c", code, path, RKFORMER, "embed", "-m", EMBED], capture_output=True, check=True, env=self.env)
        status, kib = map(int, out.stdout.split())
        self.assertEqual(status, 0, out.stderr)
        return kib / 1024

    def test_bounded_however_many_lines(self):
        self.assertLess(self.peak(150000), 96)  # the answers alone would be more


if __name__ == "__main__":
    main()
