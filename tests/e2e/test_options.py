# SPDX-License-Identifier: Apache-2.0
"""Options, help, exit statuses: what is wrong use is said in words that help, with status 2, before anything runs."""
import re
import subprocess

from support import EMBED, RKFORMER, TOP, Case, main

COMMANDS = "embed rerank classify ner qa fill-mask choose tokenize hidden devices inspect bench serve env".split()


class WrongUse(Case):
    def test_no_command(self):
        self.fails(2, "no command: try rkformer embed")

    def test_unknown_command(self):
        self.fails(2, "unknown command 'embde': did you mean 'embed'?", "embde")

    def test_unknown_option(self):
        self.fails(2, "unknown option --core-maks: did you mean --core-mask?", "embed", "-m", EMBED, "--core-maks", "0", "x")

    def test_no_model(self):
        self.fails(2, "no model: give one with -m", "embed", "x")

    def test_masks(self):
        all_masks = "use auto, 0, 1, 2, 0_1, 0_1_2 or all"
        cases = {
            ("rk3588", "x"): "unknown core mask 'x': use auto",
            ("rk3588", "3"): "unknown core mask '3': use auto",
            ("rk3588", "1_2"): "unknown core mask '1_2': use auto",
            ("rk3576", "2"): "core mask '2' is not available on rk3576: it has 2 NPU cores; use auto, 0, 1, 0_1 or all",
            ("rk3576", "0_1_2"): "core mask '0_1_2' is not available on rk3576: it has 2 NPU cores; use auto, 0, 1, 0_1 or all",
            ("rk3568", "1"): "core mask '1' is not available on rk3568: it has 1 NPU core; use auto, 0 or all",
            ("rk3566", "0_1"): "core mask '0_1' is not available on rk3566: it has 1 NPU core; use auto, 0 or all",
        }
        for (platform, mask), words in cases.items():
            with self.subTest(platform=platform, mask=mask):
                answer = self.fails(2, words, "embed", "-m", EMBED, "--log-level", "error", "--platform", platform, "--core-mask", mask, "x")
                if words.startswith("unknown"):
                    self.assertIn("unknown core mask", answer.err)
                self.assertEqual(answer.out, b"")
        self.assertIn(all_masks, self.run_command("embed", "-m", EMBED, "-p", "rk3588", "-c", "9", "x").err)

    def test_names_that_do_not_exist(self):
        cases = {
            "--platform=rk9999": "unknown platform 'rk9999'",
            "--device=tpu": "'tpu'",
            "--dtype=f8": "'f8'",
            "--pooling=median": "unknown value 'median' of --pooling: use cls, mean",
            "--precision=int4": "unknown value 'int4' of --precision",
            "--log-level=loud": "unknown value 'loud' of --log-level: use error, warn, info or debug",
        }
        for option, words in cases.items():
            with self.subTest(option=option):
                self.fails(2, words, "embed", "-m", EMBED, option, "x")

    def test_no_npu_here(self):
        root = self.dir / "root"
        root.mkdir()
        self.fails(2, "NPU", "embed", "-m", EMBED, "--require-npu", "--root", root, "x")

    def test_environment(self):
        answer = self.run_command("embed", "-m", EMBED, "x", env={"RKFORMER_CORE_MASK": "x"})
        self.assertEqual(answer.status, 2)
        self.assertIn("unknown core mask 'x'", answer.err)
        answer = self.run_command("embed", "-m", EMBED, "-c", "0", "x", env={"RKFORMER_CORE_MASK": "x", "RKFORMER_PLATFORM": "rk3588"})
        self.assertEqual(answer.status, 0, answer.err)
        self.assertEqual(self.run_command("embed", "x", env={"RKFORMER_MODEL": EMBED}).status, 0)

    def test_formats(self):
        self.fails(2, "add --output FILE", "embed", "-m", EMBED, "--format", "npy", "x")
        self.fails(2, "--precision", "embed", "-m", EMBED, "--format", "f32", "--precision", "int8", "-o", self.dir / "x", "x")

    def test_what_a_command_needs(self):
        self.fails(2, "add --query", "rerank", "-m", EMBED, "x")
        self.fails(2, "add --question", "qa", "-m", EMBED, "--context", "x")
        self.fails(2, "add --question", "choose", "-m", EMBED, "x")
        self.fails(2, "one model directory or .rknn file", "inspect")
        self.fails(2, "--multi-label is for zero-shot", "classify", "-m", EMBED, "--multi-label", "x")


class Help(Case):
    def test_version(self):
        self.assertRegex(self.ok("--version").out.decode(), r"\Arkformer \d+\.\d+\.\d+\n\Z")

    def test_help_lists_commands_that_exist(self):
        text = self.ok("--help").out.decode()
        listed = re.findall(r"^  ([a-z-]+) {2,}", text, re.M)
        self.assertEqual(set(COMMANDS) - set(listed), set())
        for name in listed:
            with self.subTest(command=name):
                self.assertIn("rkformer " + name, self.ok(name, "--help").out.decode())
                self.assertEqual(self.ok(name, "--help").out, self.ok("help", name).out)

    def test_page_is_made_from_the_table(self):
        self.assertEqual(self.ok("help", "--markdown").out.decode(), (TOP / "docs" / "cli.md").read_text(),
                         "make it anew: build/rkformer help --markdown > docs/cli.md")

    def test_version_to_a_full_disk(self):
        with open("/dev/full", "w") as full:
            p = subprocess.run([RKFORMER, "--version"], stdout=full, stderr=subprocess.PIPE, env=self.env)
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"rkformer: cannot write to standard output", p.stderr)


class Completion(Case):
    def complete(self, *words):
        script = self.file("completion", self.ok("completion", "bash").out)
        code = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rkformer; echo "${COMPREPLY[@]}"'
        out = subprocess.run(["bash", "-c", code, "bash", script, *words], capture_output=True, check=True)
        self.assertEqual(out.stderr, b"")
        return out.stdout.decode().split()

    def test_commands(self):
        self.assertEqual(self.complete("rkformer", "to"), ["tokenize", "top"])

    def test_options(self):
        self.assertEqual(self.complete("rkformer", "embed", "--core"), ["--core-mask"])
        self.assertEqual(self.complete("rkformer", "embed", "--query"), [])

    def test_values(self):
        self.assertEqual(self.complete("rkformer", "embed", "--core-mask", "0"), ["0", "0_1", "0_1_2"])
        self.assertEqual(self.complete("rkformer", "embed", "-p", "rk356"), ["rk3568", "rk3566", "rk3562"])


if __name__ == "__main__":
    main()
