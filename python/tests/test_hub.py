# SPDX-License-Identifier: Apache-2.0
"""Model names -> directories: the cache, and what is tried when a model is not in it."""

import logging
import shutil
import stat
import sys

import pytest
from test_examples import into_cache

import rkformer
from conftest import TRAINED
from rktransformers import RKModelForFeatureExtraction, RKSentenceTransformer, _hub


def fake_command(tmp_path, body):
    """A program in place of `rkformer`."""
    path = tmp_path / "rkformer"
    path.write_text(f"#!{sys.executable}\nimport json, os, shutil, sys\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return str(path)


def test_the_cache_is_used_before_anything_else(tmp_path, monkeypatch):
    monkeypatch.setenv("RKFORMER_COMMAND", "/nonexistent/rkformer")
    into_cache(tmp_path, "org/name", TRAINED / "bert-embed")
    assert _hub.resolve("org/name", cache_dir=tmp_path).name.startswith("0123")
    with RKModelForFeatureExtraction.from_pretrained("org/name", cache_dir=tmp_path) as model:
        assert model.model_id == "org/name"
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert _hub.resolve("org/name", cache_dir=tmp_path, revision=commit).name == commit
    assert _hub.in_cache("org/name", "v2", tmp_path) is None


@pytest.mark.parametrize(
    "variables, place",
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/b"}, "/b"),
        ({"HF_HOME": "/c"}, "/c/hub"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/huggingface/hub"),
        ({"HOME": "/e"}, "/e/.cache/huggingface/hub"),
    ],
)
def test_where_the_cache_is(variables, place, monkeypatch):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(_hub.cache_directory(None)) == place
    assert str(_hub.cache_directory("/x")) == "/x"


def test_pull_fetches_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    body = f"""
    words = sys.argv[1:]
    assert words[:3] == ["pull", "org/name", "--json"] and os.environ["HF_TOKEN"] == "secret", words
    assert words[words.index("--revision") + 1] == "v1"
    target = words[words.index("--cache-dir") + 1] + "/pulled"
    shutil.copytree({str(TRAINED / 'bert-embed')!r}, target)
    print(json.dumps({{"path": target}}))
    """
    monkeypatch.setenv("RKFORMER_COMMAND", fake_command(tmp_path, "if True:" + body))
    cache = tmp_path / "cache"
    cache.mkdir()
    found = _hub.resolve("org/name", cache_dir=cache, revision="v1", token="secret")
    assert found == cache / "pulled"


def test_what_is_said_when_nothing_helps(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(_hub, "_download", lambda *arguments: "huggingface_hub is not installed")
    command = fake_command(tmp_path, "sys.exit('rkformer: no such model: check its name')")
    monkeypatch.setenv("RKFORMER_COMMAND", command)
    with pytest.raises(OSError) as error:
        _hub.resolve("org/name", cache_dir=tmp_path)
    for words in (
        "org/name",
        str(tmp_path),
        "no such model",
        "huggingface_hub is not installed",
        "rkformer pull org/name",
    ):
        assert words in str(error.value)


@pytest.mark.skipif(bool(rkformer.devices()["npu"]["detected"] not in (None, "cpu")), reason="an NPU is here")
def test_what_pull_leaves_of_rknn_files_without_an_npu(tmp_path, monkeypatch, caplog):
    """Configuration and README, and the base model: enough to run, again and again, offline."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    bare = tmp_path / "bare"
    shutil.copytree(TRAINED / "bert-embed", bare, ignore=shutil.ignore_patterns("*.safetensors", "onnx"))
    (bare / "README.md").write_text("---\nbase_model: org/base\n---\n")
    into_cache(tmp_path, "org/rknn", bare)
    with pytest.raises(OSError, match="rkformer pull org/rknn"):
        RKSentenceTransformer("org/rknn")
    into_cache(tmp_path, "org/base", TRAINED / "bert-embed")
    with caplog.at_level(logging.WARNING), RKSentenceTransformer("org/rknn") as model:
        assert model.encode("a text").shape == (64,)
    said = [record.getMessage() for record in caplog.records if "org/base" in record.getMessage()]
    assert len(said) == 1 and "org/rknn" in said[0]
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "another"))  # and with a cache that the caller names
    caplog.clear()
    with caplog.at_level(logging.WARNING), RKSentenceTransformer("org/rknn", cache_folder=str(tmp_path)) as model:
        assert model.encode("a text").shape == (64,)
    said = [record.getMessage() for record in caplog.records if "org/base" in record.getMessage()]
    assert len(said) == 1 and "org/rknn" in said[0]


@pytest.mark.parametrize(
    "text, base",
    [
        ("---\nbase_model: a/b\n---\n", "a/b"),
        ("---\nbase_model:\n- a/b\n- c/d\n---\n", "a/b"),
        ("---\nbase_model:\n  - 'a/b'\n---\n", "a/b"),
        ('---\nbase_model: ["a/b", "c/d"]\n---\n', "a/b"),
        ("---\nlicense: x\n---\nbase_model: a/b\n", None),
        ("base_model: a/b\n", None),
        ("", None),
    ],
)
def test_base_model_of_a_readme(text, base, tmp_path):
    (tmp_path / "README.md").write_text(text)
    assert _hub.base_model_of(tmp_path) == base
    assert _hub.base_model_of(tmp_path / "none") is None
