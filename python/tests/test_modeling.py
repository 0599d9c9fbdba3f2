# SPDX-License-Identifier: Apache-2.0
"""RKModelFor...: loading, inputs and outputs; numpy only (torch and transformers: python/tests/differential)."""

import json
import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import DATA, RANDOM, TOP, TRAINED, build_tree, golden

import rkformer
import rktransformers
from rktransformers import (
    RKModel,
    RKModelForFeatureExtraction,
    RKModelForMaskedLM,
    RKModelForMultipleChoice,
    RKModelForQuestionAnswering,
    RKModelForSequenceClassification,
    RKModelForTokenClassification,
)


def close_to(got, want):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    return np.max(np.abs(got - want)) <= 1e-4 * max(1.0, np.max(np.abs(want)))


def padded(rows, pad=0):
    """ids and mask [rows, longest] int64, padded at the right."""
    longest = max(map(len, rows))
    ids = np.array([list(row) + [pad] * (longest - len(row)) for row in rows], np.int64)
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], np.int64)
    return ids, mask


@pytest.fixture(scope="module")
def model():
    with RKModelForFeatureExtraction.from_pretrained(TRAINED / "bert-embed") as model:
        yield model


# ---- outputs


def test_hidden_states_have_the_callers_shape(model):
    with rkformer.Model(TRAINED / "bert-embed") as native:
        cases = golden("trained/bert-embed")["hidden"]
        rows = [native.tokenize(case["text"]).ids for case in cases]
    ids, mask = padded(rows)
    output = model(input_ids=ids, attention_mask=mask)
    hidden = output.last_hidden_state
    assert isinstance(hidden, np.ndarray) and hidden.shape == (*ids.shape, 64) and hidden.dtype == np.float32
    for i, case in enumerate(cases):
        want = np.reshape(case["last_hidden_state"]["data"], case["last_hidden_state"]["shape"])
        assert close_to(hidden[i, : len(rows[i])], want)
        assert not hidden[i, len(rows[i]) :].any()
    assert output["last_hidden_state"] is hidden and output[0] is hidden and output.to_tuple() == (hidden,)
    assert list(output) == ["last_hidden_state"] and output.hidden_states is None
    with pytest.raises(AttributeError):
        output.nonsense
    assert np.array_equal(model(input_ids=ids, attention_mask=mask, return_dict=False)[0], hidden)
    assert np.array_equal(model.forward(ids, mask).last_hidden_state, hidden)


def test_masked_positions_are_left_out_wherever_they_are(model):
    row = [2, 174, 168, 218, 3]
    alone = model(np.array([row])).last_hidden_state[0]
    scattered = model(np.array([[0, 2, 174, 0, 168, 218, 3]]), np.array([[0, 1, 1, 0, 1, 1, 1]])).last_hidden_state[0]
    assert np.allclose(scattered[[1, 2, 4, 5, 6]], alone, atol=1e-6) and not scattered[[0, 3]].any()
    assert not model(np.array([row, row]), np.array([[1] * 5, [0] * 5])).last_hidden_state[1].any()
    floats = model(np.array([row]), np.ones((1, 5), np.float32)).last_hidden_state[0]
    assert np.allclose(floats, alone, atol=1e-6)


def test_batches_of_any_size_and_length(model):
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 400, (300, 7))
    together = model(ids).last_hidden_state
    assert together.shape == (300, 7, 64)
    assert np.allclose(together[299], model(ids[299:]).last_hidden_state[0], atol=1e-5)
    assert model(np.zeros((0, 7), np.int64)).last_hidden_state.shape == (0, 7, 64)


def test_big_token_ids_keep_their_bits():
    """The original casts to int16: ids above 32767 became others there."""
    with RKModelForFeatureExtraction.from_pretrained(TRAINED / "bert-embed") as model:
        with pytest.raises(ValueError, match="40000"):
            model(np.array([[2, 40000, 3]]))


def test_sequence_classification():
    with RKModelForSequenceClassification.from_pretrained(TRAINED / "bert-rerank") as model:
        cases = golden("trained/bert-rerank")["pairs"]
        ids, mask = padded([case["input_ids"] for case in cases])
        types = np.cumsum(ids == 3, axis=1) - (ids == 3) > 0
        got = model(input_ids=ids, attention_mask=mask, token_type_ids=types.astype(np.int64) * mask)
        assert got.logits.shape == (len(cases), 1) and close_to(got.logits, [case["logits"] for case in cases])


def test_question_answering():
    with RKModelForQuestionAnswering.from_pretrained(TRAINED / "bert-qa") as model:
        cases = golden("trained/bert-qa")["qa"]
        ids, mask = padded([case["input_ids"] for case in cases])
        types = (np.cumsum(ids == 3, axis=1) - (ids == 3) > 0) * mask
        got = model(input_ids=ids, attention_mask=mask, token_type_ids=types)
        assert got.start_logits.shape == ids.shape == got.end_logits.shape
        for i, case in enumerate(cases):
            n = len(case["input_ids"])
            assert close_to(got.start_logits[i, :n], case["start_logits"])
            assert close_to(got.end_logits[i, :n], case["end_logits"])
            assert (got.start_logits[i, n:] == -10000).all()
        start, end = model(input_ids=ids, attention_mask=mask, token_type_ids=types, return_dict=False)
        assert np.array_equal(start, got.start_logits) and np.array_equal(end, got.end_logits)


def test_token_classification_and_masked_lm():
    for cls, name, entry in (
        (RKModelForTokenClassification, "distilbert-ner", "token_classify"),
        (RKModelForMaskedLM, "roberta-fillmask", "fill_mask"),
    ):
        with cls.from_pretrained(TRAINED / name) as model, rkformer.Model(TRAINED / name) as native:
            for case in golden("trained/" + name)[entry]:
                ids = native.tokenize(case["text"]).ids[None]
                logits = model(input_ids=ids).logits
                if entry == "fill_mask":
                    assert logits.shape[:2] == ids.shape
                    assert close_to(logits[0, case["mask_index"]], case["mask_logits"])
                else:
                    assert close_to(logits[0], np.reshape(case["logits"]["data"], case["logits"]["shape"]))


def test_multiple_choice():
    with RKModelForMultipleChoice.from_pretrained(RANDOM / "bert-multiple-choice") as model:
        with rkformer.Model(RANDOM / "bert-multiple-choice") as native:
            case = golden("random/bert-multiple-choice")["cases"][0]
            tokens = [native.tokenize(case["text"], choice) for choice in case["choices"]]
        ids, mask = padded([token.ids for token in tokens])
        types, _ = padded([token.type_ids for token in tokens])
        got = model(input_ids=ids[None], attention_mask=mask[None], token_type_ids=types[None])
        assert got.logits.shape == (1, 3) and close_to(got.logits[0], case["logits"])
        with pytest.raises(ValueError, match="must be 3D"):
            model(input_ids=ids)
        model.rknn_config = rktransformers.RKNNConfig(task_kwargs={"num_choices": 4})
        with pytest.raises(ValueError, match=r"Number of choices in config \(4\) does not match input shape \(3\)"):
            model(input_ids=ids[None])
        model.rknn_config = rktransformers.RKNNConfig()  # says nothing of choices: the original compared with None
        assert model(input_ids=ids[None]).logits.shape == (1, 3)


# ---- wrong use


def test_wrong_inputs(model, caplog):
    with pytest.raises(ValueError, match="`input_ids` is required"):
        model()
    with pytest.raises(ValueError, match="2D"):
        model(np.array([2, 3]))
    with pytest.raises(ValueError, match="must agree"):
        model(np.array([[2, 3]]), np.array([[1]]))
    with pytest.raises(ValueError):
        model(np.array([[2, 5000, 3]]))
    too_long = np.full((1, 5000), 5)
    with pytest.raises(RuntimeError):  # as torch and the original
        model(too_long)
    with pytest.raises(ValueError):
        model(too_long)
    with caplog.at_level(logging.WARNING):
        model(np.array([[2, 3]]), nonsense=1)
        model(np.array([[2, 3]]), nonsense=1)
    assert sum("received unsupported arguments: nonsense" in record.message for record in caplog.records) <= 1


def test_wrong_class_for_a_model():
    with pytest.raises(ValueError, match="no sequence classification head.*RKModelForFeatureExtraction"):
        RKModelForSequenceClassification.from_pretrained(TRAINED / "bert-embed")
    with pytest.raises(ValueError, match="load it with RKModelForQuestionAnswering"):
        RKModelForMaskedLM.from_pretrained(TRAINED / "bert-qa")


def test_wrong_arguments_of_from_pretrained():
    load = RKModelForFeatureExtraction.from_pretrained
    with pytest.raises(TypeError, match="device_map"):
        load(TRAINED / "bert-embed", device_map="auto")
    with pytest.raises(ValueError, match="use auto, 0, 1, 2, 0_1, 0_1_2 or all"):
        load(TRAINED / "bert-embed", core_mask="nonsense")
    with pytest.raises(ValueError, match="use auto, 0 or all"):
        load(TRAINED / "bert-embed", platform="rk3566", core_mask="1")
    with pytest.raises(FileNotFoundError):
        load("/no/such/folder")
    with pytest.raises(FileNotFoundError, match="RKNN model not found"):
        load("/no/such/model.rknn")
    with pytest.raises((FileNotFoundError, OSError), match="does not appear to have a file named"):
        load(TRAINED / "bert-embed", file_name="non_existent.rknn", platform="rk3588")
    with pytest.raises(OSError, match="rkformer pull"):
        load("nobody/nothing", local_files_only=True)


def test_offline_is_honoured(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OSError, match="HF_HUB_OFFLINE"):
        RKModelForFeatureExtraction.from_pretrained("nobody/nothing")


def test_trust_remote_code_is_ignored_and_said(caplog):
    with caplog.at_level(logging.WARNING):
        RKModelForFeatureExtraction.from_pretrained(TRAINED / "bert-embed", trust_remote_code=True).close()
    assert any("no code of a model's repository is ever run" in record.message for record in caplog.records)


# ---- life, facts, saving


def test_life(model):
    other = RKModelForFeatureExtraction.from_pretrained(TRAINED / "bert-embed", core_mask="0_1", platform="RK3588")
    assert other.to("cuda") is other and other.eval() is other and str(other.device) == "cpu"
    assert other.core_mask == "0_1" and other.platform == "rk3588" and not other.can_generate()
    assert "rk3588" in other.list_model_compatible_platform()["support_target_platform"]
    other.close()
    assert other.list_model_compatible_platform() is None
    with pytest.raises(RuntimeError, match="closed"):
        other(np.array([[2, 3]]))
    with pytest.raises(NotImplementedError):
        RKModel(model_path=TRAINED / "bert-embed")(np.array([[2, 3]]))


def test_config():
    with RKModelForSequenceClassification.from_pretrained(TRAINED / "roberta-sentiment") as model:
        labels = json.loads((TRAINED / "roberta-sentiment" / "config.json").read_text())["id2label"]
        assert model.config.id2label == {int(key): value for key, value in labels.items()}
        assert model.config.num_labels == len(labels) and model.config.problem_type is None
    with RKModelForFeatureExtraction.from_pretrained(TRAINED / "bert-embed", config={"answer": 42}) as model:
        assert model.config.answer == 42


def test_save_pretrained(model, tmp_path):
    model.save_pretrained(tmp_path / "copy")
    ids = np.array([[2, 174, 168, 3]])
    with RKModelForFeatureExtraction.from_pretrained(tmp_path / "copy") as copy:
        assert np.array_equal(copy(ids).last_hidden_state, model(ids).last_hidden_state)
    assert (tmp_path / "copy" / "1_Pooling" / "config.json").is_file()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError):
        model.save_pretrained(tmp_path / "file")


# ---- .rknn files, on the simulator


@pytest.fixture
def simulated(tmp_path, monkeypatch):
    build = build_tree()
    if build is None:
        pytest.skip("no build tree with the simulator and its models")
    monkeypatch.setenv("RKFORMER_SIM_LIBRARY", str(build / "sim" / "librknnrt-sim.so"))
    monkeypatch.setenv("RKFORMER_LOCK_DIR", str(tmp_path / "locks"))
    return build / "sim-models" / "bert-embed"


def test_rknn_files_by_name(simulated):
    load = RKModelForFeatureExtraction.from_pretrained
    ids = np.array([[2, 174, 168, 218, 3]])
    with load(TRAINED / "bert-embed") as native:
        want = native(ids).last_hidden_state
    for name, file in (
        (None, None),
        ("model_b1_s64.rknn", "model_b1_s64.rknn"),
        ("rknn/model_b1_s16.rknn", "rknn/model_b1_s16.rknn"),
        ("model_b1_s16.rknn", "rknn/model_b1_s16.rknn"),  # the original finds bare names at the top only
    ):
        with load(simulated, file_name=name, platform="rk3588", device="sim", core_mask="1") as model:
            assert model.model.facts["device"] == "sim"
            if file:
                assert model.model_path == simulated / file
                assert model.rknn_config is not None and model.max_seq_length == model.rknn_config.max_seq_length
            got = model(ids).last_hidden_state
            assert got.shape == want.shape  # and not the compiled shape
            for a, b in zip(got[0], want[0]):
                assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.999
    with load(simulated / "model_b1_s64.rknn", platform="rk3588", device="sim") as model:
        assert model.model_path.name == "model_b1_s64.rknn"
    with load(simulated, platform="simulator") as model:
        assert model.model.facts["device"] == "sim"


def test_rknn_files_of_other_platforms(simulated, monkeypatch):
    monkeypatch.setattr("rktransformers._load.platforms_of", lambda path: ["rk3588"])
    for platform in ("rk3566", "rk3568"):
        with pytest.raises(RuntimeError, match="not compatible with the current platform"):
            RKModelForFeatureExtraction.from_pretrained(simulated, file_name="model_b1_s64.rknn", platform=platform)


def test_only_rknn_files_and_no_npu(simulated, tmp_path, monkeypatch, caplog):
    """The base model of the README takes over, with a warning; without it the error says what to pull."""
    cache = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "model"
    shutil.copytree(simulated, folder)
    (folder / "README.md").write_text("---\nbase_model:\n- some/base\nlibrary_name: rk-transformers\n---\n# text\n")
    with pytest.raises(OSError, match="rkformer pull some/base"):
        RKModelForFeatureExtraction.from_pretrained(folder)
    snapshot = cache / "models--some--base" / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    (cache / "models--some--base" / "refs").mkdir()
    (cache / "models--some--base" / "refs" / "main").write_text("abc")
    shutil.copytree(TRAINED / "bert-embed", snapshot)
    with caplog.at_level(logging.WARNING):
        with RKModelForFeatureExtraction.from_pretrained(folder) as model:
            assert model(np.array([[2, 174, 3]])).last_hidden_state.shape == (1, 3, 64)
    said = [record.getMessage() for record in caplog.records if "some/base" in record.getMessage()]
    assert len(said) == 1 and folder.name in said[0]


# ---- the package


def test_import_is_light():
    """No numpy, no torch, no library; well under a tenth of a second of the interpreter's own time."""
    program = (
        "import sys, time; begin = time.process_time(); import rktransformers, rkformer; took = time.process_time() - begin\n"
        "assert not {'numpy', 'torch', 'transformers', 'ctypes'} & set(sys.modules), 'too much'\n"
        "assert took < 0.1, took"
    )
    subprocess.run(
        [sys.executable, "-c", program], check=True, env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    )


def test_rk_transformers_beside_is_said(tmp_path):
    (tmp_path / "rk_transformers-0.3.1.dist-info").mkdir()
    program = "import warnings; warnings.simplefilter('error'); import rktransformers"
    done = subprocess.run(
        [sys.executable, "-c", program],
        stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([*sys.path, str(tmp_path)])),
    )
    assert done.returncode and b"pip uninstall rk-transformers" in done.stderr


def test_command_line(tmp_path):
    def run(*words):
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
        command = [sys.executable, "-m", "rktransformers.cli", *words]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)

    done = run("env")
    assert done.returncode == 0 and b"Python: " in done.stdout and rkformer.__version__.encode() in done.stdout
    done = run("export", "-m", "x")
    assert done.returncode == 1 and b"cannot export" in done.stderr
    assert run().returncode == 2 and run("nonsense").returncode == 2 and run("--help").returncode == 0


def test_constants():
    from rktransformers import constants

    for name in constants.TASK_TO_RK_MODEL_CLASS.values():
        assert issubclass(getattr(rktransformers, name), RKModel)
    assert DATA.is_dir() and TOP.is_dir()
    with pytest.raises(AttributeError):
        rktransformers.nonsense
