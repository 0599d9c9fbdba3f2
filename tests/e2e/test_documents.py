# SPDX-License-Identifier: Apache-2.0
"""Commands whose answer is a document: devices, env, inspect, bench; for people by default, --json for programs."""
import json

from support import DATA, EMBED, TRAINED, Case, main

BOARDS = DATA / "boards"


class Devices(Case):
    def document(self, *args):
        return json.loads(self.run_command("devices", "--json", *args).out)

    def test_this_machine(self):
        document = self.document("--platform", "cpu")
        self.assertEqual((document["platform"], document["device"]), ("cpu", "cpu"))
        self.assertIn("platform:", self.run_command("devices", "--platform", "cpu").out.decode())

    def test_boards(self):
        masks = {"rk3588": ["auto", "0", "1", "2", "0_1", "0_1_2", "all"], "rk3576": ["auto", "0", "1", "0_1", "all"],
                 "rk3568": ["auto", "0", "all"], "rk3566": ["auto", "0", "all"], "rk3562": ["auto", "0", "all"]}
        for platform, names in masks.items():
            with self.subTest(board=platform):
                npu = self.document("--root", BOARDS / platform)["npu"]
                self.assertEqual((npu["detected"], npu["core_masks"]), (platform, names))
            with self.subTest(rehearsed=platform):
                document = self.document("--root", BOARDS / "pc", "--platform", platform)
                self.assertEqual((document["platform"], document["virtual"]), (platform, True))
                self.assertEqual([lane["core_mask"] for lane in document["lanes"]], names)

    def test_texts_are_refused(self):
        self.fails(2, "takes options only", "devices", "text")
        self.fails(2, "takes options only", "env", "text")


class Env(Case):
    def test_document(self):
        document = json.loads(self.ok("env", "--json", env={"RKFORMER_CORE_MASK": "0", "HF_HOME": "/x"}).out)
        self.assertEqual(document["environment"]["RKFORMER_CORE_MASK"], "0")
        self.assertEqual(document["environment"]["HF_HOME"], "/x")
        self.assertRegex(document["build"]["version"], r"\d+\.\d+\.\d+")
        self.assertIn("platform", document["devices"])

    def test_no_secrets(self):
        secrets = {"HF_TOKEN": "hf_secret", "RKFORMER_API_KEY": "sk_secret", "HUGGING_FACE_HUB_TOKEN": "x_secret"}
        for args in (["env"], ["env", "--json"]):
            text = self.ok(*args, env=secrets).out.decode()
            self.assertNotIn("_secret", text)
            self.assertIn("(set)", text)

    def test_for_people(self):
        text = self.ok("env").out.decode()
        for word in ("version:", "kernel:", "usable cpus:", "platform:"):
            self.assertIn(word, text)


class Inspect(Case):
    def test_model(self):
        for args in ([EMBED], ["-m", EMBED]):
            document = json.loads(self.ok("inspect", "--json", *args).out)
            self.assertEqual((document["architecture"], document["hidden_size"]), ("BertModel", 64))
        self.assertIn("architecture:", self.ok("inspect", EMBED).out.decode())

    def test_labels(self):
        document = json.loads(self.ok("inspect", "--json", TRAINED / "roberta-sentiment").out)
        self.assertEqual(document["labels"], ["NEGATIVE", "POSITIVE"])

    def test_what_is_not_there(self):
        answer = self.run_command("inspect", self.dir / "nothing")
        self.assertEqual(answer.status, 1)
        self.assertRegex(answer.err, r"\Arkformer: [^\n]*nothing[^\n]*\n\Z")

    def test_a_broken_rknn_file(self):
        self.fails(1, "model.rknn", "inspect", self.file("model.rknn", b"RKNN" + b"\xff" * 60))


class Bench(Case):
    def bench(self, *args):
        return json.loads(self.ok("bench", "--json", "--seconds", "0.2", *args).out)

    def test_document(self):
        document = self.bench("-m", EMBED, "--lengths", "4,20", "--in-flight", "8")
        self.assertEqual([row["tokens"] for row in document["latency"]], [4, 20])
        for row in document["latency"]:
            self.assertLessEqual(0, row["p50_ms"])
            self.assertLessEqual(row["p50_ms"], row["p90_ms"])
            self.assertLessEqual(row["p90_ms"], row["p99_ms"])
        self.assertGreater(document["throughput"]["tokens_per_second"], 0)
        self.assertAlmostEqual(sum(core["share"] for core in document["cores"]), 1, delta=0.02)
        self.assertEqual(document["model"]["task"], "embed")

    def test_cores(self):
        answer = self.run_command("bench", "--json", "--seconds", "0.2", "-m", EMBED, "-p", "rk3588", "-c", "1")
        self.assertEqual([core["cores"] for core in json.loads(answer.out)["cores"]], ["1"])

    def test_other_heads_and_own_texts(self):
        document = self.bench("-m", TRAINED / "roberta-sentiment", "one", "two")
        self.assertGreater(document["throughput"]["texts"], 0)
        self.assertIn("latency:", self.ok("bench", "-m", EMBED, "--seconds", "0.1").out.decode())

    def test_wrong_use(self):
        self.fails(2, "'many' is no number of tokens", "bench", "-m", EMBED, "--lengths", "many")
        self.fails(2, "no model", "bench")


if __name__ == "__main__":
    main()
