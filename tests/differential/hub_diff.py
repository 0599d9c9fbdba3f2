#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rkformer pull and huggingface_hub on one cache: each finds what the other fetched, without fetching it again, and both
lay it out alike. Needs the package huggingface_hub (any version from 0.30 on); the hub is tests/e2e/fake_hub.py.

    RKFORMER=build/rkformer PYTHON_WITH_HUGGINGFACE_HUB tests/differential/hub_diff.py
"""
import os
import pathlib
import random
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "e2e"))
from fake_hub import FakeHub, Repo  # noqa: E402

RKFORMER = os.environ.get("RKFORMER", str(TOP / "build" / "rkformer"))
FILES = {
    "config.json": '{"model_type": "bert"}',
    "tokenizer.json": "{}",
    "tokenizer_config.json": "{}",
    "modules.json": '[{"path": ""}, {"path": "1_Pooling"}]',
    "1_Pooling/config.json": '{"a": 1}',
    "README.md": "---\nlicense: mit\n---\n",
    "model.safetensors": random.Random(3).randbytes(500_000),
}
WANTED = ["*.json", "*.safetensors", "README.md"]
THEIRS = """
import huggingface_hub, sys
print(huggingface_hub.__version__, file=sys.stderr)
path = huggingface_hub.snapshot_download(sys.argv[1], revision=sys.argv[2], allow_patterns={wanted!r},
                                         local_files_only=sys.argv[3] == "local")
one = huggingface_hub.hf_hub_download(sys.argv[1], "1_Pooling/config.json", revision=sys.argv[2],
                                      local_files_only=sys.argv[3] == "local")
assert one == path + "/1_Pooling/config.json", (one, path)
print(path)
""".format(wanted=WANTED)


def tree(cache):
    """The cache without what only one of the two writes: kind and content (or target) of every file."""
    out = {}
    for path in sorted(pathlib.Path(cache).rglob("*")):
        name = str(path.relative_to(cache))
        if path.is_dir() or "/trees/" in name or ".no_exist" in name or "CACHEDIR.TAG" in name or ".locks" in name:
            continue
        out[name] = os.readlink(path) if path.is_symlink() else path.read_bytes()
    return out


class Trial:
    def __init__(self, hub, home):
        self.hub = hub
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
        self.env.update(HF_HOME=str(home), HF_ENDPOINT=hub.url, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1",
                        HF_HUB_DISABLE_PROGRESS_BARS="1")

    def fetched(self):
        return len([r for r in self.hub.requests if r[1] == "GET" and (r[0] == "cdn" or "/resolve/" in r[2])])

    def run(self, *args):
        p = subprocess.run(args, env=self.env, capture_output=True, text=True, timeout=120)
        if p.returncode:
            raise SystemExit(f"{args[0]}: {p.stderr}")
        self.said = p.stderr
        return p.stdout.strip()

    def theirs(self, revision="main", mode="online"):
        return self.run(sys.executable, "-c", THEIRS, "org/model", revision, mode)

    def ours(self, *args):
        return self.run(RKFORMER, "pull", "org/model", "--quiet", *args)


def check(words, ok):
    print(("ok    " if ok else "WRONG ") + words)
    return 0 if ok else 1


def main():
    wrong = 0
    repo = Repo(FILES)
    repo.refs = {"main": repo.commit, "refs/pr/1": repo.commit, "v1": repo.commit}
    hub = FakeHub({"org/model": repo})
    with tempfile.TemporaryDirectory() as top:
        a, b, c = (Trial(hub, pathlib.Path(top) / name) for name in "abc")
        for revision in ("main", "refs/pr/1", "v1", repo.commit):
            path = a.ours("--revision", revision)
            before = a.fetched()
            wrong += check(f"{revision}: they find ours without the network", a.theirs(revision, "local") == path)
            wrong += check(f"{revision}: they find ours online and fetch nothing",
                           a.theirs(revision) == path and a.fetched() == before)
        print("      huggingface_hub", a.said.split()[0])
        for revision in ("main", "refs/pr/1", "v1", repo.commit):
            path = b.theirs(revision)
            before = b.fetched()
            wrong += check(f"{revision}: we find theirs and fetch nothing",
                           b.ours("--revision", revision) == path and b.fetched() == before)
        one, two = tree(pathlib.Path(top) / "a" / "hub"), tree(pathlib.Path(top) / "b" / "hub")
        wrong += check("both caches are alike: " + ", ".join(sorted(set(one) ^ set(two))), one == two)
        b.env["HF_HUB_OFFLINE"] = "1"
        wrong += check("offline we find theirs", b.ours() == path)
        # both at once, on a slow line
        locks = [subprocess.Popen(args, env=c.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for args in
                 ([RKFORMER, "pull", "org/model", "--quiet"], [sys.executable, "-c", THEIRS, "org/model", "main", "online"])]
        answers = [p.communicate(timeout=120) for p in locks]
        wrong += check("both at once", not any(p.returncode for p in locks) and answers[0][0] == answers[1][0])
        # plain directories: each takes what the other put there
        there = pathlib.Path(top) / "plain"
        c.ours("--local-dir", str(there), "--cache-dir", str(pathlib.Path(top) / "d"))
        before = c.fetched()
        c.run(sys.executable, "-c", "import huggingface_hub, sys; huggingface_hub.snapshot_download('org/model', "
              f"local_dir=sys.argv[1], allow_patterns={WANTED!r})", str(there))
        wrong += check("they take our local_dir as it is", c.fetched() == before)
        there = pathlib.Path(top) / "plain2"
        c.run(sys.executable, "-c", "import huggingface_hub, sys; huggingface_hub.snapshot_download('org/model', "
              f"local_dir=sys.argv[1], cache_dir=sys.argv[1] + '.c', allow_patterns={WANTED!r})", str(there))
        before = c.fetched()
        c.ours("--local-dir", str(there), "--cache-dir", str(pathlib.Path(top) / "d2"))
        wrong += check("we take their local_dir as it is", c.fetched() == before)
    hub.close()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
