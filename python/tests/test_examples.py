# SPDX-License-Identifier: Apache-2.0
"""The examples of RK-Transformers' page on NPU cores, word for word, with local models of those names in a Hugging Face
cache: without an NPU, and on the simulator."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import RANDOM, TRAINED, build_tree

EXAMPLES = {
    "api": """
from rktransformers import RKModelForFeatureExtraction
model = RKModelForFeatureExtraction.from_pretrained(
    "rk-transformers/all-MiniLM-L6-v2",
    core_mask="all"
)
""",
    "sentence_transformers": """
from rktransformers import RKSentenceTransformer
model = RKSentenceTransformer(
    "rk-transformers/all-MiniLM-L6-v2",
    model_kwargs={
        "platform": "rk3588",
        "core_mask": "auto",
    },
)
""",
    "cross_encoder": """
from rktransformers import RKCrossEncoder
model = RKCrossEncoder(
    "rk-transformers/ms-marco-MiniLM-L12-v2",
    model_kwargs={
        "platform": "rk3588",
        "core_mask": "auto",
    },
)
""",
    "multi_model": """
from rktransformers import RKModelForFeatureExtraction, RKModelForSequenceClassification, RKModelForMultipleChoice
# Model 1 on core 0
model1 = RKModelForFeatureExtraction.from_pretrained(
    "model1",
    core_mask="0"
)
# Model 2 on core 1
model2 = RKModelForSequenceClassification.from_pretrained(
    "model2",
    core_mask="1"
)
# Model 3 on core 2
model3 = RKModelForMultipleChoice.from_pretrained(
    "model3",
    core_mask="2"
)
""",
}
# What is then asked of the models that the example made.
QUESTIONS = {
    "api": """
import numpy
assert model(input_ids=numpy.array([[2, 174, 168, 3]])).last_hidden_state.shape == (1, 4, 64)
assert model.core_mask == "all"
""",
    "sentence_transformers": """
vectors = model.encode(["There is rain.", "There is snow."])
assert vectors.shape == (2, 64)
""",
    "cross_encoder": """
scores = model.predict([("cat", "The cat was near the rabbit."), ("cat", "The bank gave a loan.")])
assert scores.shape == (2,)
""",
    "multi_model": """
import numpy
assert model1(input_ids=numpy.array([[2, 174, 168, 3]])).last_hidden_state.shape == (1, 4, 64)
assert model2(input_ids=numpy.array([[0, 10, 2]])).logits.shape[0] == 1
assert model3(input_ids=numpy.array([[[2, 10, 3], [2, 11, 3]]])).logits.shape == (1, 2)
assert [model.core_mask for model in (model1, model2, model3)] == ["0", "1", "2"]
""",
}
MODELS = {
    "rk-transformers/all-MiniLM-L6-v2": ("bert-embed", TRAINED / "bert-embed"),
    "rk-transformers/ms-marco-MiniLM-L12-v2": ("bert-rerank", TRAINED / "bert-rerank"),
    "model1": ("bert-embed", TRAINED / "bert-embed"),
    "model2": ("roberta-sentiment", TRAINED / "roberta-sentiment"),
    "model3": ("bert-multiple-choice", RANDOM / "bert-multiple-choice"),
}


def into_cache(cache, model_id, *folders):
    repo = cache / ("models--" + model_id.replace("/", "--"))
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0123456789abcdef0123456789abcdef01234567")
    for folder in folders:
        shutil.copytree(folder, repo / "snapshots" / "0123456789abcdef0123456789abcdef01234567", dirs_exist_ok=True)


def run(name, cache, **environment):
    program = EXAMPLES[name] + QUESTIONS[name]
    environment = dict(
        os.environ, HF_HUB_CACHE=str(cache), HF_HUB_OFFLINE="1", PYTHONPATH=os.pathsep.join(sys.path), **environment
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, timeout=300
    )
    if name in ("sentence_transformers", "cross_encoder") and b"No module named 'rktransformers." in done.stderr:
        pytest.skip("not in this version")
    assert done.returncode == 0, done.stderr.decode()
    return done.stderr.decode().splitlines()


@pytest.mark.parametrize("name", EXAMPLES)
def test_without_an_npu(name, tmp_path):
    for model_id, (_, folder) in MODELS.items():
        into_cache(tmp_path / "hub", model_id, folder)
    said = [line for line in run(name, tmp_path / "hub") if "virtual" in line]
    assert len(said) == 1, said  # one clear warning


@pytest.mark.parametrize("name", EXAMPLES)
def test_on_the_simulator(name, tmp_path):
    build = build_tree()
    if build is None:
        pytest.skip("no build tree with the simulator and its models")
    for model_id, (simulated, folder) in MODELS.items():
        both = [build / "sim-models" / simulated, folder]
        into_cache(tmp_path / "hub", model_id, *both)
    run(
        name,
        tmp_path / "hub",
        RKFORMER_DEVICE="sim",
        RKFORMER_PLATFORM="rk3588",
        RKFORMER_SIM_LIBRARY=str(build / "sim" / "librknnrt-sim.so"),
        RKFORMER_LOCK_DIR=str(tmp_path / "locks"),
    )
