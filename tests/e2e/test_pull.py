# SPDX-License-Identifier: Apache-2.0
"""rkformer pull against a hub on this machine: what is fetched, where it lies, and everything that can go wrong."""
import json
import os
import pathlib
import random
import resource
import signal
import ssl
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from fake_hub import Cut, Drip, FakeHub, Hold, Repo, Status, Whole, Wrong, git_sha1, sha256
from support import DATA, RKFORMER, TRAINED, Case, main

BIG = random.Random(1).randbytes(3_000_000)
MODULES = [{"idx": 0, "name": "0", "path": "", "type": "x.Transformer"},
           {"idx": 1, "name": "1", "path": "1_Pooling", "type": "x.Pooling"},
           {"idx": 2, "name": "2", "path": "2_Dense", "type": "x.Dense"}]
NEEDED = {
    "config.json": '{"model_type": "bert"}',
    "tokenizer.json": "{}",
    "tokenizer_config.json": "{}",
    "modules.json": json.dumps(MODULES),
    "sentence_bert_config.json": "{}",
    "1_Pooling/config.json": '{"pooling_mode_mean_tokens": true}',
    "2_Dense/config.json": "{}",
    "2_Dense/model.safetensors": b"dense" * 100,
    "README.md": "---\nlicense: mit\n---\n",
    "model.safetensors": BIG,
}
USELESS = {
    ".gitattributes": "x",
    "pytorch_model.bin": b"p" * 5000,
    "2_Dense/pytorch_model.bin": b"p",
    "onnx/model.onnx": b"o" * 5000,
    "openvino/openvino_model.bin": b"v" * 5000,
    "tf_model.h5": b"t" * 5000,
    "train_script.py": "x",
    "data/config.json": "{}",
}
RKNN = {
    "config.json": json.dumps({"model_type": "bert", "rknn": {
        "rknn/model_o3.rknn": {"target_platform": "rk3588"},
        "rknn/small.rknn": {"platform": "rk3576"}}}),
    "tokenizer.json": "{}",
    "README.md": "---\nbase_model:\n- org/model\nlibrary_name: rk-transformers\n---\n",
    "rknn/model_o3.rknn": b"for 3588",
    "rknn/small.rknn": b"for 3576",
    "model.rknn": b"for anyone",
    "rk3566/model.rknn": b"for 3566",
}


UNIQUE = sum(len(c) for c in {c.encode() if isinstance(c, str) else c for c in NEEDED.values()})  # what is alike is fetched once


class Pull(Case):
    def setUp(self):
        super().setUp()
        self.repos = {"org/model": Repo({**NEEDED, **USELESS})}
        self.cache = self.dir / "hub"
        for name in [n for n in self.env if n.lower().endswith(("_proxy", "_ca_bundle", "ssl_cert_file"))]:
            del self.env[name]
        self.env.update(HF_HOME=str(self.dir), HF_HUB_DOWNLOAD_TIMEOUT="60", no_proxy="localhost")

    def hub(self, tls=None, **more):
        hub = FakeHub(self.repos, tls=tls, **more)
        self.addCleanup(hub.close)
        self.env["HF_ENDPOINT"] = hub.url
        return hub

    def pull(self, *args, **more):
        return self.run_command("pull", *args, **more)

    def pulled(self, *args, **more):
        answer = self.pull("--json", *args, **more)
        self.assertEqual(answer.status, 0, answer.err)
        return answer.lines[0]

    def files(self, path):
        path = pathlib.Path(path)
        return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}

    def expect(self, path, files):
        want = {n: c.encode() if isinstance(c, str) else c for n, c in files.items()}
        got = self.files(path)
        self.assertEqual(sorted(got), sorted(want))
        self.assertEqual(got, want)

    def leftovers(self, where=None):
        return [str(p) for p in pathlib.Path(where or self.cache).rglob("*") if p.name.endswith((".incomplete", ".tmp"))]


class Layout(Pull):
    def test_what_is_needed_and_where_it_lies(self):
        hub = self.hub()
        answer = self.pull("org/model", "--quiet")
        self.assertEqual((answer.status, answer.err), (0, ""))
        repo = self.repos["org/model"]
        snapshot = self.cache / "models--org--model" / "snapshots" / repo.commit
        self.assertEqual(answer.out.decode(), f"{snapshot}\n")
        self.expect(snapshot, NEEDED)
        self.assertEqual((snapshot.parents[1] / "refs" / "main").read_text(), repo.commit)
        for name in NEEDED:
            etag = sha256(repo.files[name]) if name in repo.large else git_sha1(repo.files[name])
            self.assertEqual(os.readlink(snapshot / name), "../" * (2 + name.count("/")) + "blobs/" + etag)
        self.assertEqual(self.leftovers(), [])
        self.assertEqual(len(hub.asked("hub", "/resolve/")), len({bytes(repo.files[n]) for n in NEEDED}))
        self.assertEqual(len(hub.asked("hub", command="HEAD")), 0)
        # a second time nothing is fetched
        before = len(hub.requests)
        again = self.pulled("org/model", "--quiet")
        self.assertEqual(len(hub.requests), before + 1)
        self.assertEqual((again["path"], again["fetched"], again["commit"]), (str(snapshot), 0, repo.commit))
        self.assertTrue(all(f["cached"] for f in again["files"]))

    def test_json(self):
        self.hub()
        got = self.pulled("org/model", "--revision", self.repos["org/model"].commit)
        self.assertEqual(got["revision"], self.repos["org/model"].commit)
        self.assertEqual([f["name"] for f in got["files"]], sorted(NEEDED))
        self.assertEqual(got["bytes"], sum(len(c) for c in NEEDED.values()))
        self.assertEqual(got["fetched"], UNIQUE)
        self.assertIsNone(got["base_model"])
        self.assertFalse((self.cache / "models--org--model" / "refs").exists())

    def test_a_model_that_runs(self):
        model = TRAINED / "bert-embed"
        files = {str(f.relative_to(model)): f.read_bytes() for f in model.rglob("*") if f.is_file()}
        self.repos["sentence-transformers/tiny"] = Repo(files)
        self.hub()
        got = self.pulled("tiny")  # a name alone, as sentence-transformers takes it
        self.assertEqual(got["id"], "sentence-transformers/tiny")
        want = self.ok("embed", "-m", model, "hello").lines
        self.assertEqual(self.ok("embed", "-m", "tiny", "hello").lines, want)
        self.assertEqual(self.ok("embed", "-m", "sentence-transformers/tiny", "hello").lines, want)

    def test_revisions(self):
        repo = self.repos["org/model"]
        repo.refs = {"main": repo.commit, "v1.0": repo.commit, "refs/pr/7": repo.commit, "dev/x": repo.commit}
        hub = self.hub()
        for revision in ("v1.0", "refs/pr/7", "dev/x"):
            self.pulled("org/model", "--revision", revision)
            ref = self.cache / "models--org--model" / "refs" / revision
            self.assertEqual(ref.read_text(), repo.commit)
        self.assertIn("/revision/refs%2Fpr%2F7?", hub.requests[-2][2] + hub.asked("hub", "refs%2Fpr")[0][2])

    def test_moved_repository(self):
        hub = self.hub(moved={"old-name": "org/model"})
        got = self.pulled("old-name")
        self.expect(got["path"], NEEDED)
        self.assertIn("models--old-name", got["path"])
        self.assertTrue(hub.asked("cdn"))

    def test_odd_names(self):
        names = {"tokenizer.json": "{}", "a b/ü%#?&+.json": "odd", "x.txt": ""}
        self.repos["org/odd"] = Repo({**names, "config.json": "{}"})
        self.hub()
        got = self.pulled("org/odd", "--include", "*.json,x.*", "--exclude", "config.*")
        self.expect(got["path"], names)

    def test_patterns(self):
        self.hub()
        got = self.pulled("org/model", "--include", "onnx/,*.py")
        self.expect(got["path"], {n: USELESS[n] for n in ("onnx/model.onnx", "train_script.py")})
        got = self.pulled("org/model", "--exclude", "*.safetensors")
        self.assertNotIn("model.safetensors", self.files(got["path"]))
        got = self.pulled("org/model", "--all", "--cache-dir", self.dir / "other")
        self.expect(got["path"], {**NEEDED, **USELESS})
        self.assertTrue(got["path"].startswith(str(self.dir / "other")))

    def test_shards(self):
        shards = {f"model-0000{i}-of-00002.safetensors": b"%d" % i * 1000 for i in (1, 2)}
        index = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors",
                                           "b": "model-00002-of-00002.safetensors"}})
        files = {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors.index.json": index, **shards}
        self.repos["org/shards"] = Repo({**files, "model-00009-of-00009.safetensors": b"not of the index"})
        self.hub()
        self.expect(self.pulled("org/shards")["path"], files)
        self.repos["org/shards"].files["model.safetensors.index.json"] = json.dumps(
            {"weight_map": {"a": "../../x.safetensors"}}).encode()
        answer = self.pull("org/shards", "--quiet", "--cache-dir", self.dir / "b")
        self.assertEqual(answer.status, 1)
        self.assertIn("names the shard '../../x.safetensors'", answer.err)

    def test_subfolder(self):
        self.repos["org/sub"] = Repo({"README.md": "x", "config.json": "{}", "en/config.json": "{}",
                                      "en/tokenizer.json": "{}", "en/model.safetensors": BIG[:1000], "de/config.json": "{}"})
        self.hub()
        got = self.pulled("org/sub", "--subfolder", "en")
        self.assertEqual(sorted(self.files(got["path"])),
                         ["README.md", "en/config.json", "en/model.safetensors", "en/tokenizer.json"])

    def test_dry_run(self):
        hub = self.hub()
        got = self.pulled("org/model", "--dry-run")
        self.assertEqual([f["name"] for f in got["files"]], sorted(NEEDED))
        self.assertTrue(got["dry_run"] and not any(f["cached"] for f in got["files"]))
        self.assertFalse(self.cache.exists())
        self.assertFalse(hub.asked("cdn"))
        plan = self.ok("pull", "org/model", "--dry-run").out.decode()
        self.assertRegex(plan, r"3000000  fetch   model.safetensors\n")
        self.assertRegex(plan, r"10 files, 3\.0 MB, of which 3\.0 MB are to be fetched\n\Z")

    def test_local_dir(self):
        hub = self.hub()
        there = self.dir / "plain"
        got = self.pulled("org/model", "--local-dir", there)
        self.assertEqual(got["path"], str(there))
        for name, content in NEEDED.items():
            self.assertFalse((there / name).is_symlink())
            self.assertEqual((there / name).read_bytes(), content.encode() if isinstance(content, str) else content)
        self.assertFalse((self.cache / "models--org--model").exists())
        before = len(hub.requests)
        self.assertEqual(self.pulled("org/model", "--local-dir", there)["fetched"], 0)
        self.assertEqual(len(hub.requests), before + 1)
        (there / "config.json").write_text("{'model_type': 'bert'}")  # changed by hand, same length
        os.utime(there / "config.json", (time.time() + 100,) * 2)
        self.assertEqual(self.pulled("org/model", "--local-dir", there)["fetched"], len(NEEDED["config.json"]))
        self.assertEqual((there / "config.json").read_text(), NEEDED["config.json"])
        # from the cache, if it is there
        self.pulled("org/model")
        got = self.pulled("org/model", "--local-dir", self.dir / "second")
        self.assertEqual(got["fetched"], 0)
        self.assertEqual((self.dir / "second" / "model.safetensors").read_bytes(), BIG)

    def test_without_links(self):
        self.hub()
        self.env["HF_HUB_DISABLE_SYMLINKS"] = "1"
        got = self.pulled("org/model")
        self.expect(got["path"], NEEDED)
        self.assertFalse(any(p.is_symlink() for p in pathlib.Path(got["path"]).rglob("*")))
        self.assertEqual(self.pulled("org/model")["fetched"], 0)

    def test_force(self):
        self.hub()
        self.pulled("org/model")
        self.assertEqual(self.pulled("org/model", "--force")["fetched"], sum(map(len, NEEDED.values())))

    def test_a_broken_snapshot_is_mended(self):
        self.hub()
        path = pathlib.Path(self.pulled("org/model")["path"])
        os.truncate(path / "model.safetensors", 1000)
        (path / "config.json").unlink()
        got = self.pulled("org/model")
        self.assertEqual(got["fetched"], len(BIG))
        self.expect(path, NEEDED)

    def test_mirror_without_sizes(self):
        self.repos["org/model"].bare = True
        hub = self.hub()
        self.expect(self.pulled("org/model")["path"], NEEDED)
        self.assertEqual(len(hub.asked("hub", command="HEAD")), len(NEEDED))


class Rknn(Pull):
    def setUp(self):
        super().setUp()
        self.repos["org/npu"] = Repo(RKNN)

    def test_files_of_the_platform(self):
        self.hub()
        for platform, names in {"rk3588": ["model.rknn", "rknn/model_o3.rknn"], "rk3576": ["model.rknn", "rknn/small.rknn"],
                                "rk3566": ["model.rknn", "rk3566/model.rknn"]}.items():
            got = self.pulled("org/npu", "--platform", platform, "--cache-dir", self.dir / platform)
            self.assertEqual([n for n in self.files(got["path"]) if n.endswith(".rknn")].sort(), names.sort())
            self.assertEqual(sorted(n for n in self.files(got["path"]) if n.endswith(".rknn")), sorted(names))
            self.assertIsNone(got["base_model"])

    def test_base_model_without_an_npu(self):
        self.hub()
        answer = self.pull("org/npu", "--platform", "cpu", "--json")
        self.assertIn("its base model org/model is fetched too", answer.err)
        got = answer.lines[0]
        self.assertEqual(sorted(self.files(got["path"])), ["README.md", "config.json", "tokenizer.json"])
        self.assertEqual(got["base_model"]["id"], "org/model")
        self.expect(got["base_model"]["path"], NEEDED)
        plan = self.pulled("org/npu", "--platform", "cpu", "--dry-run", "--cache-dir", self.dir / "dry")
        self.assertEqual(plan["base_model"]["id"], "org/model")

    def test_no_base_model(self):
        self.repos["org/npu"] = Repo({**RKNN, "README.md": "nothing"})
        self.hub()
        self.fails(1, ["only .rknn files", "names no base model", "--platform"], "pull", "org/npu", "--platform", "cpu",
                   "--quiet")

    def test_only_a_pickle(self):
        self.repos["org/old"] = Repo({"config.json": "{}", "pytorch_model.bin": b"p"})
        hub = self.hub()
        self.fails(1, ["pytorch_model.bin", "save_pretrained", "refs/pr/1", "--all"], "pull", "org/old", "--quiet")
        self.assertFalse(hub.asked("cdn"))
        self.assertEqual(len(self.files(self.pulled("org/old", "--all")["path"])), 2)

    def test_nothing_to_run(self):
        self.repos["org/gguf"] = Repo({"config.json": "{}", "model.gguf": b"p"})
        self.hub()
        self.fails(1, ["no model.safetensors", "only other formats"], "pull", "org/gguf", "--quiet")


class BaseModel(Pull):
    """-m of a model that has only .rknn files, on a machine without an NPU."""

    def setUp(self):
        super().setUp()
        model = TRAINED / "bert-embed"
        files = {str(f.relative_to(model)): f.read_bytes() for f in model.rglob("*") if f.is_file()}
        self.repos["org/base"] = Repo(files)
        self.card = "---\ntags:\n- rknn\nbase_model:\n- org/base\n---\n"
        self.compiled = {**{n: c for n, c in files.items() if not n.endswith(".safetensors")}, "README.md": self.card,
                         "rknn/model.rknn": b"RKNN"}
        self.repos["org/npu"] = Repo(self.compiled)
        self.want = self.ok("embed", "-m", model, "hello").lines

    def embeds(self, *args):
        answer = self.run_command("embed", *args, "hello")
        self.assertEqual((answer.status, answer.lines), (0, self.want), answer.err)
        warnings = [line for line in answer.err.splitlines() if "is virtual here" not in line]
        self.assertEqual(len(warnings), 1, answer.err)
        self.assertRegex(warnings[0], r"\Arkformer: warning: model \S*npu\S* holds .* base model org/base runs")

    def test_pulled_without_an_npu(self):
        self.hub()
        self.pulled("org/npu", "--platform", "cpu")
        self.embeds("-m", "org/npu")
        self.embeds("-m", "org/npu", "--platform", "rk3588")
        self.embeds("-m", "org/npu", "--file-name", "rknn/model.rknn")

    def test_pulled_for_a_board(self):
        self.hub()
        path = self.pulled("org/npu", "--platform", "rk3588")["path"]
        for model in ("org/npu", path, path + "/rknn/model.rknn"):
            self.fails(1, ["base model org/base", "rkformer pull org/base"], "embed", "-m", model, "hello")
        self.pulled("org/base")
        self.embeds("-m", "org/npu")

    def test_other_readmes(self):
        for card, status, words in (
            ("no front matter", 2, "names no base model"),
            ("---\nbase_model: /etc\n---\n", 2, "names no base model"),
            ("---\nbase_model: org/base\nbase_model_relation: finetune\n---\n", 2, "names no base model"),
            ("---\nbase_model: org/elsewhere\n---\n", 1, "rkformer pull org/elsewhere"),
        ):
            there = self.dir / "npu"
            for name, content in {**self.compiled, "README.md": card}.items():
                (there / name).parent.mkdir(parents=True, exist_ok=True)
                (there / name).write_bytes(content.encode() if isinstance(content, str) else content)
            self.fails(status, words, "embed", "-m", there, "hello")

    def test_trained_further(self):
        """Weights of its own, in a format that is not read, are not those of the base model."""
        self.hub()
        self.pulled("org/base")
        self.repos["org/npu"] = Repo({**self.compiled, "pytorch_model.bin": b"p"})
        self.hub()
        self.fails(1, "pytorch_model.bin", "pull", "org/npu", "--platform", "cpu", "--quiet")
        path = self.pulled("org/npu", "--all")["path"]
        self.fails(1, "pytorch_model.bin", "embed", "-m", path, "hello")


class Safety(Pull):
    def test_the_token_stays_with_the_hub(self):
        self.repos["org/model"].token = "hf_secret"
        hub = self.hub()
        self.env["HF_TOKEN"] = "hf_secret"
        self.pulled("org/model")
        self.assertTrue(all(r[3].get("Authorization") == "Bearer hf_secret" for r in hub.asked("hub")))
        self.assertEqual(len(hub.asked("cdn")), 2)
        self.assertFalse(any("Authorization" in r[3] for r in hub.asked("cdn")))

    def test_where_the_token_comes_from(self):
        self.repos["org/model"].token = "t"
        hub = self.hub()
        self.file("token", " t\n")
        self.file("other", "t")
        self.pulled("org/model", "--dry-run")  # $HF_HOME/token
        self.pulled("org/model", "--dry-run", env={"HF_TOKEN_PATH": str(self.dir / "other"), "HF_HOME": "/none"})
        self.pulled("org/model", "--dry-run", "--token", "t", env={"HF_TOKEN": "other"})
        self.assertNotEqual(self.pull("org/model", "--token", "").status, 0)
        self.assertNotIn("Authorization", hub.requests[-1][3])
        self.fails(2, "the token cannot be one", "pull", "org/model", "--token", "a\nX-Other: b")

    def test_hostile_names(self):
        for name in ("../evil", "/etc/evil", "a/../../evil", "a//b", "./x", "a/.", "", "x\ny", "a/" + "b" * 300):
            repo = Repo(NEEDED)
            repo.extra = [{"rfilename": name, "size": 4, "blobId": git_sha1(b"evil")}]
            self.repos["org/evil"] = repo
            self.hub()
            self.fails(1, "not trusted", "pull", "org/evil", "--all", "--quiet")
            self.assertFalse(self.cache.exists())
        for entry in ({"rfilename": "x", "size": 1, "blobId": "../../x"}, {"rfilename": "x", "size": 1, "blobId": ".x"}):
            self.repos["org/evil"] = Repo(NEEDED)
            self.repos["org/evil"].extra = [entry]
            self.hub()
            self.fails(1, "cannot be one", "pull", "org/evil", "--quiet")
        self.repos["org/evil"] = Repo(NEEDED)
        self.repos["org/evil"].commit = "../../../x"
        self.repos["org/evil"].refs = {"main": ""}
        self.hub()
        self.fails(1, "not what a hub answers", "pull", "org/evil", "--quiet")

    def test_wrong_content(self):
        for name, kind in (("model.safetensors", "sha256"), ("config.json", "sha1")):
            hub = self.hub()
            content = self.repos["org/model"].files[name]
            hub.fault(*(("cdn", sha256(content)) if kind == "sha256" else ("hub", name)), Wrong(), 99)
            self.cache = self.dir / kind
            answer = self.fails(1, ["arrived with", kind, "announced"], "pull", "org/model", "--quiet", "--cache-dir",
                                self.cache)
            self.assertIn(name, answer.err)
            self.assertFalse((self.cache / "models--org--model" / "refs").exists())
            self.assertEqual(self.leftovers(), [])
            self.assertFalse(list(self.cache.rglob("snapshots/*/" + name)))

    def test_tls_is_checked(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(DATA / "tls" / "cert.pem", DATA / "tls" / "key.pem")
        self.hub(tls=context)
        self.fails(1, ["certificate is not trusted", "SSL_CERT_FILE"], "pull", "org/model", "--quiet")
        self.env["SSL_CERT_FILE"] = str(DATA / "tls" / "cert.pem")
        self.expect(self.pulled("org/model")["path"], NEEDED)

    def test_misuse(self):
        self.env["HF_ENDPOINT"] = "http://localhost:9"
        self.fails(2, "takes one model id", "pull")
        self.fails(2, "takes one model id", "pull", "a/b", "c/d")
        for name in ("../x", "a/b/c", "/abs", "a b", "", "x/.."):
            self.fails(2, "is no model id", "pull", name)
        self.fails(2, "cannot be a revision", "pull", "a/b", "--revision", "../../x")
        self.fails(2, "cannot be a folder", "pull", "a/b", "--subfolder", "../x")
        self.fails(2, "unknown platform", "pull", "a/b", "--platform", "rk9999")
        self.fails(2, "HF_ENDPOINT", "pull", "a/b", env={"HF_ENDPOINT": "file:///etc"})
        self.fails(2, "HF_HUB_DOWNLOAD_TIMEOUT", "pull", "a/b", env={"HF_HUB_DOWNLOAD_TIMEOUT": "soon"})


class Trouble(Pull):
    def test_answers_that_refuse(self):
        self.repos["org/secret"] = Repo(NEEDED, token="x")
        self.repos["org/gated"] = Repo(NEEDED, token="x", gated=True)
        hub = self.hub()
        self.fails(1, ["no model org/none on " + hub.url, "private", "HF_TOKEN"], "pull", "org/none", "--quiet")
        self.fails(1, ["no model org/secret", "private"], "pull", "org/secret", "--quiet")
        self.fails(1, ["no model org/secret", "rights of the token"], "pull", "org/secret", "--quiet", "--token", "y")
        self.fails(1, ["does not accept the token", "HF_TOKEN"], "pull", "org/model", "--quiet", "--token", "expired")
        self.fails(1, ["gated", "ask for it at " + hub.url + "/org/gated", "HF_TOKEN"], "pull", "org/gated", "--quiet")
        self.fails(1, ["gated", "account that was granted"], "pull", "org/gated", "--quiet", "--token", "y")
        self.fails(1, ["org/model has no revision v9"], "pull", "org/model", "--revision", "v9", "--quiet")
        self.expect(self.pulled("org/gated", "--token", "x")["path"], NEEDED)
        hub.fault("hub", "/api/", Status(403))
        self.fails(1, ["forbids access", "settings/tokens"], "pull", "org/model", "--quiet")
        hub.fault("hub", "/api/", Status(400))
        self.fails(1, ["answers 400"], "pull", "org/model", "--quiet")

    def test_trouble_that_passes(self):
        hub = self.hub()
        hub.fault("hub", "/api/", Status(503))
        hub.fault("hub", "/resolve/", Status(429, {"Retry-After": "1"}))
        hub.fault("cdn", "/blob/", Status(500))
        begin = time.monotonic()
        answer = self.pull("org/model")
        self.assertEqual(answer.status, 0, answer.err)
        self.assertGreater(time.monotonic() - begin, 1.9)
        self.assertEqual(answer.err.count("trying again in"), 3)
        self.expect(answer.out.decode().strip(), NEEDED)

    def test_trouble_that_stays(self):
        hub = self.hub()
        hub.fault("hub", "/api/", Status(500), 99)
        self.fails(1, ["answers 500", "later"], "pull", "org/model", "--quiet", "--retries", "1")
        self.assertEqual(len(hub.requests), 2)
        hub.faults.clear()
        hub.fault("hub", "/api/", Status(429, {"Retry-After": "3600"}), 99)
        self.fails(1, ["limits requests (429)", "in 3600 s", "HF_TOKEN"], "pull", "org/model", "--quiet")
        self.assertEqual(len(hub.requests), 3)

    def test_the_limit_that_the_hub_names(self):
        """The hub says in RateLimit when its limit ends; on every answer, so that it counts with a 429 only."""
        hub = self.hub()
        hub.fault("hub", "/api/", Status(429, {"RateLimit": '"api";r=0;t=55000'}), 99)
        self.fails(1, ["limits requests (429)", "in 55000 s"], "pull", "org/model", "--quiet")
        hub.faults.clear()
        hub.fault("hub", "/api/", Status(429, {"RateLimit": '"api"; r=0; t=1'}))
        hub.fault("hub", "/resolve/", Status(503, {"RateLimit": '"resolvers";r=0;t=9000'}))
        answer = self.pull("org/model")
        self.assertEqual(answer.status, 0, answer.err)
        self.assertEqual(answer.err.count("trying again in"), 2)

    def test_disabled(self):
        hub = self.hub()
        hub.fault("hub", "/api/", Status(403, {"X-Error-Message": "Access to this resource is disabled."}))
        self.fails(1, ["forbids access", "Access to this resource is disabled"], "pull", "org/model", "--quiet")

    def test_proxy(self):
        """http_proxy is asked for the hub, no_proxy names whom to ask directly."""
        hub = self.hub()
        self.env.update(HF_ENDPOINT="http://hub.invalid", http_proxy=hub.url)
        self.expect(self.pulled("org/model")["path"], NEEDED)
        self.assertTrue(all(r[2].startswith("http://hub.invalid/") for r in hub.asked("hub")))
        self.assertTrue(all(r[2].startswith("/blob/") for r in hub.asked("cdn")))
        self.env.update(http_proxy="http://localhost:9", HF_HOME=str(self.dir / "other"))
        self.fails(1, ["proxy"], "pull", "org/model", "--quiet", "--retries", "0")

    def test_nobody_there(self):
        self.env["HF_ENDPOINT"] = "http://localhost:9"
        self.fails(1, ["cannot reach the hub http://localhost:9", "HF_ENDPOINT"], "pull", "org/model", "--quiet",
                   "--retries", "0")

    def test_the_cache_helps_out(self):
        hub = self.hub()
        path = self.pulled("org/model")["path"]
        hub.fault("hub", "/api/", Status(502), 99)
        answer = self.pull("org/model", "--retries", "0")
        self.assertEqual((answer.status, answer.out.decode().strip()), (0, path))
        self.assertIn("taking what is in the cache", answer.err)

    def test_offline(self):
        hub = self.hub()
        self.env["HF_HUB_OFFLINE"] = "1"
        self.fails(1, ["not in the cache", "HF_HUB_OFFLINE"], "pull", "org/model", "--quiet")
        self.assertEqual(hub.requests, [])
        path = self.pulled("org/model", env={"HF_HUB_OFFLINE": "0"})["path"]
        before = len(hub.requests)
        self.assertEqual(self.ok("pull", "org/model").out.decode().strip(), path)
        self.assertEqual(len(hub.requests), before)

    def test_cut_connections(self):
        hub = self.hub()
        for at in (1_000_000, 700_000):
            hub.fault("cdn", sha256(BIG), Cut(at))
        answer = self.pull("org/model", "--json")
        self.assertEqual(answer.status, 0, answer.err)
        self.expect(answer.lines[0]["path"], NEEDED)
        ranges = [r[3].get("Range") for r in hub.asked("cdn", sha256(BIG))]
        self.assertEqual(ranges[0], None)
        self.assertEqual(len(ranges), 3)
        begun = [int(r[6:-1]) for r in ranges[1:]]
        self.assertTrue(0 < begun[0] <= 1_000_000 and begun[0] < begun[1] <= 1_700_000, ranges)
        self.assertEqual(answer.lines[0]["fetched"], UNIQUE)

    def test_a_server_without_ranges(self):
        hub = self.hub()
        hub.fault("cdn", sha256(BIG), Cut(1_000_000))
        hub.fault("cdn", sha256(BIG), Whole())
        self.expect(self.pulled("org/model")["path"], NEEDED)

    def test_silence(self):
        hub = self.hub()
        hub.fault("cdn", sha256(BIG), Drip(500_000, 20))
        answer = self.pull("org/model", env={"HF_HUB_DOWNLOAD_TIMEOUT": "2"})
        self.assertEqual(answer.status, 0, answer.err)
        self.assertIn("trying again", answer.err)
        self.assertRegex(hub.asked("cdn", sha256(BIG))[1][3]["Range"], r"bytes=\d+-")
        self.expect(answer.out.decode().strip(), NEEDED)

    def part(self):
        return self.cache / "models--org--model" / "blobs" / (sha256(BIG) + ".incomplete")

    def wait_for_part(self, size):
        deadline = time.monotonic() + 60
        while not (self.part().exists() and self.part().stat().st_size >= size):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_killed_and_resumed(self):
        hub = self.hub()
        hold = Hold(600_000)
        hub.fault("cdn", sha256(BIG), hold)
        process = self.start("pull", "org/model", "--quiet")
        self.wait_for_part(500_000)
        process.send_signal(signal.SIGKILL)
        process.wait()
        hold.release()
        had = self.part().stat().st_size
        self.assertTrue(0 < had < len(BIG))
        self.assertFalse((self.cache / "models--org--model" / "refs").exists())
        self.fails(1, "rkformer pull org/model", "embed", "-m", "org/model", "x")
        got = self.pulled("org/model")
        self.assertEqual(hub.asked("cdn", sha256(BIG))[-1][3]["Range"], f"bytes={had}-")
        self.assertLess(got["fetched"], len(BIG) + 1000 - had)
        self.expect(got["path"], NEEDED)
        self.assertEqual(self.leftovers(), [])

    def test_a_part_of_something_else(self):
        for content in (b"z" * 1000, b"z" * (len(BIG) + 5), b"z" * len(BIG)):
            self.hub()
            self.part().parent.mkdir(parents=True)
            self.part().write_bytes(content)
            self.expect(self.pulled("org/model")["path"], NEEDED)
            subprocess.run(["rm", "-r", self.cache], check=True)

    def test_two_at_once(self):
        hub = self.hub()
        hold = Hold(600_000)
        hub.fault("cdn", sha256(BIG), hold)
        first = self.start("pull", "org/model", "--quiet", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.wait_for_part(1)
        others = [self.start("pull", "org/model", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
        for process in others:
            line = process.stderr.readline()
            while line and b"is being fetched by another process" not in line:
                line = process.stderr.readline()
            self.assertTrue(line)
        hold.release()
        answers = [p.communicate(timeout=60) for p in (first, *others)]
        self.assertEqual([p.returncode for p in (first, *others)], [0, 0, 0], answers)
        self.assertEqual(len({out for out, _ in answers}), 1)
        self.expect(answers[0][0].decode().strip(), NEEDED)
        self.assertEqual(len(hub.asked("cdn", sha256(BIG))), 1)

    def test_full_disk(self):
        self.hub()

        def small_files():  # a write past this fails, as on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

        answer = self.pull("org/model", "--quiet", preexec_fn=small_files)
        self.assertEqual(answer.status, 1)
        self.assertRegex(answer.err, r"\Arkformer: cannot write [^\n]+goes on where it was[^\n]+\n\Z")
        self.assertFalse((self.cache / "models--org--model" / "refs").exists())
        self.assertFalse(list(self.cache.rglob("snapshots/*/model.safetensors")))
        self.assertEqual(self.part().stat().st_size, 1_000_000)
        self.expect(self.pulled("org/model")["path"], NEEDED)

    def test_no_room(self):
        repo = self.repos["org/model"] = Repo(NEEDED)
        listing = repo.listing

        def huge(blobs):
            answer = listing(blobs)
            for entry in answer["siblings"]:
                if entry["rfilename"] == "model.safetensors":
                    entry["size"] = entry["lfs"]["size"] = 1 << 60
            return answer

        repo.listing = huge
        hub = self.hub()
        self.fails(1, ["has room for", "--cache-dir"], "pull", "org/model", "--quiet")
        self.assertFalse(hub.asked("cdn"))

    def test_a_place_that_cannot_be_written(self):
        self.hub()
        self.file("hub", "a file where the cache should be")
        self.fails(1, ["cannot make the directory", "--cache-dir"], "pull", "org/model", "--quiet")

    def test_not_a_hub(self):
        hub = self.hub()
        for body in (b"<html>login</html>", b"[]", b"{}", b'{"sha": "x", "siblings": []}', b"", b"[" * 100000):
            class Page(Status):
                def __call__(self, handler):
                    handler.answer(200, body)
                    return True

            hub.fault("hub", "/api/", Page(200))
            answer = self.pull("org/model", "--quiet")
            self.assertEqual(answer.status, 1)
            self.assertRegex(answer.err, r"\Arkformer: [^\n]+\n\Z")

    def test_redirects(self):
        hub = self.hub()

        class Elsewhere(Status):
            def __call__(self, handler):
                handler.answer(302, b"", {"Location": self.headers})
                return True

        hub.fault("hub", "/api/", Elsewhere(302, "/api/models/org/model/revision/main"), 99)
        self.fails(1, "redirects without end", "pull", "org/model", "--quiet")
        hub.faults.clear()
        hub.fault("hub", "/api/", Elsewhere(302, "file:///etc/passwd"), 1)
        self.assertEqual(self.pull("org/model", "--quiet", "--retries", "0").status, 1)


if __name__ == "__main__":
    main()
