# SPDX-License-Identifier: Apache-2.0
"""The native API: what it returns, in which memory, and what it says to wrong use."""

import ctypes
import gc
import inspect
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import RANDOM, TOP, TRAINED, golden

import rkformer
from rkformer import _flow, _inputs, _native, _request


def worst(got, want):
    return float(np.max(np.abs(np.asarray(got, np.float64) - np.asarray(want, np.float64))))


def close_to(got, want):
    """Within 1e-4 of the largest value, as the C tests."""
    return worst(got, want) <= 1e-4 * max(1.0, float(np.max(np.abs(want))))


# ---- structs


def test_structs_are_those_of_the_header(tmp_path):
    """Sizes and offsets of every struct, compared with what the C compiler says."""
    structs = {
        "rkf_str": _native.Str,
        "rkf_error": _native.Error,
        "rkf_runtime_options": _native.RuntimeOptions,
        "rkf_model_options": _native.ModelOptions,
        "rkf_input": _native.Input,
        "rkf_request": _native.Request,
        "rkf_tokens": _native.Tokens,
        "rkf_tensor": _native.Tensor,
        "rkf_label": _native.Label,
        "rkf_span": _native.Span,
        "rkf_fill": _native.Fill,
        "rkf_sparse": _native.Sparse,
        "rkf_info": _native.Info,
    }
    source = ["#include <rkformer.h>", "#include <stdio.h>", "int main(void) {"]
    for name, struct in structs.items():
        source.append(f'printf("{name} %zu", sizeof({name}));')
        for field in struct._fields_:
            source.append(f'printf(" %zu", offsetof({name}, {field[0]}));')
        source.append('puts("");')
    source.append("return 0; }")
    (tmp_path / "sizes.c").write_text("\n".join(source))
    program = tmp_path / "sizes"
    try:
        subprocess.run(["cc", "-I", str(TOP / "include"), str(tmp_path / "sizes.c"), "-o", str(program)], check=True)
    except FileNotFoundError:
        pytest.skip("no C compiler")
    lines = subprocess.run([str(program)], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
    for line, (name, struct) in zip(lines, structs.items()):
        numbers = [int(word) for word in line.split()[1:]]
        ours = [ctypes.sizeof(struct)] + [getattr(struct, field[0]).offset for field in struct._fields_]
        assert ours == numbers, name
    assert ctypes.sizeof(_native.Input) == _inputs._WORDS * ctypes.sizeof(ctypes.c_void_p)


def test_every_function_and_status_of_the_header_is_declared():
    import re

    header = (TOP / "include" / "rkformer.h").read_text()
    declared = set(re.findall(r"^RKF_API [^(]*?\b(rkf_\w+)\(", header, flags=re.M))
    assert declared == set(_native._PROTOTYPES)
    names = re.findall(
        r"^    RKF_(\w+)(?: = 0)?,", header.split("typedef enum rkf_status")[1].split("}")[0], flags=re.M
    )
    for value, name in enumerate(names):
        assert getattr(_native, name) == value
        if value:
            assert _native._EXCEPTIONS[value].status == value


# ---- embeddings


def test_embeddings_are_the_recorded_ones(embedder):
    cases = golden("trained/bert-embed")["embed"]
    got = embedder.embed([case["text"] for case in cases])
    assert got.dtype == np.float32 and got.shape == (len(cases), 64)
    assert worst(got, [case["embedding"] for case in cases]) <= 1e-5
    assert worst(embedder.embed(cases[0]["text"]), cases[0]["embedding"]) <= 1e-5


def test_arrays_are_the_librarys_memory(embedder):
    array = embedder.embed(["one", "two"])
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    assert type(base).__name__ == "_Memory"  # numpy made no copy
    assert array.flags.writeable and array.flags.c_contiguous
    before = array.copy()
    del base
    gc.collect()
    for _ in range(50):
        embedder.embed(["other", "texts"])
    assert np.array_equal(array, before)  # the array keeps its result alive


def test_long_lists_are_cut_and_put_together(embedder):
    texts = [f"There is rain number {i} " + "and snow " * (i % 7) for i in range(3 * _flow.CHUNK + 17)]
    seen = []
    whole = embedder.embed(texts, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(texts), len(texts)) and [x for x, _ in seen] == sorted(x for x, _ in seen) and len(seen) > 2
    for i in (0, _flow.CHUNK - 1, _flow.CHUNK, len(texts) - 1):
        assert worst(whole[i], embedder.embed(texts[i])) < 1e-6


def test_texts_of_every_kind_of_letter(embedder):
    texts = ["", "é", "日本語 rain", "rain", "🐈 cat", "a\0b"]
    together = embedder.embed(texts)
    for i, text in enumerate(texts):
        assert worst(together[i], embedder.embed(text)) < 1e-6
    with pytest.raises(ValueError):
        embedder.embed(["\ud800"])


def test_nothing_gives_nothing(embedder):
    assert embedder.embed([]).shape == (0, 64)
    assert embedder.embed([], precision="ubinary").shape == (0, 8)
    assert embedder.embed([], truncate_dim=10).shape == (0, 10)
    assert embedder.hidden([]) == [] and embedder.tokenize([]) == []


def test_options_of_embed(embedder):
    texts = ["There is rain and snow today.", "The bank raised the interest on my loan.", "cat"]
    plain = embedder.embed(texts)
    assert np.allclose(np.linalg.norm(plain, axis=1), 1, atol=1e-5)
    assert embedder.embed(texts, truncate_dim=16).shape == (3, 16)
    assert not np.allclose(np.linalg.norm(embedder.embed(texts, normalize=False), axis=1), 1, atol=1e-2)
    assert worst(embedder.embed(texts, pooling="cls"), plain) > 1e-3
    assert worst(embedder.embed(texts, prompt="query: "), embedder.embed(["query: " + x for x in texts])) < 1e-6
    assert np.array_equal(embedder.embed(texts, precision="ubinary"), np.packbits(plain > 0, axis=1))
    ranges = np.stack([plain.min(0), plain.max(0)])
    int8 = embedder.embed(texts, precision="int8", ranges=ranges)
    assert int8.dtype == np.int8 and np.array_equal(int8, embedder.embed(texts, precision="int8"))


def test_calibration_is_over_the_whole_list(embedder):
    texts = [f"rain {i} " + "snow " * (i % 5) for i in range(_flow.CHUNK + 50)]
    floats = embedder.embed(texts)
    low, high = floats.min(0), floats.max(0)
    want = (floats - low) / ((high - low) / 255)
    assert np.max(np.abs(embedder.embed(texts, precision="uint8").astype(int) - want.astype(np.uint8).astype(int))) <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "float16"},
        {"pooling": "median"},
        {"truncate_dim": -1},
        {"ranges": [1, 2], "precision": "int8"},
        {"timeout": 0},
        {"prompt_name": "no such"},
    ],
)
def test_wrong_options_are_value_errors(embedder, options):
    with pytest.raises(ValueError):
        embedder.embed(["a", "b"], **options)


def test_wrong_types_are_type_errors(embedder):
    for texts in ([1.5], [None], ["a", 1], b"bytes", [b"bytes"], [("a", 1)]):
        with pytest.raises((TypeError, ValueError)):
            embedder.embed(texts)


# ---- token ids


def test_token_ids_give_what_texts_give(embedder):
    texts = ["There is rain and snow today.", "cat"]
    ids = [encoding.ids for encoding in embedder.tokenize(texts)]
    for form in (ids, [list(map(int, x)) for x in ids], [x.astype(np.int64) for x in ids]):
        assert worst(embedder.embed(form), embedder.embed(texts)) < 1e-6
    assert embedder.embed(ids[0]).shape == (64,)
    assert [x.shape for x in embedder.hidden(ids)] == [(len(x), 64) for x in ids]


def test_token_types_count():
    cases = golden("trained/bert-rerank")["pairs"]
    with rkformer.Model(TRAINED / "bert-rerank") as model:
        for case in cases[:4]:
            ids = case["input_ids"]
            types = [1 if i > ids.index(3) else 0 for i in range(len(ids))]
            assert close_to(model.logits([ids], token_type_ids=[types])[0], case["logits"])
            assert worst(model.logits(ids), case["logits"]) > 1e-3
        with pytest.raises(ValueError):
            model.logits([ids], token_type_ids=[types[:-1]])
        with pytest.raises(ValueError):
            model.logits(["text"], token_type_ids=[types])


def test_bad_ids(embedder):
    with pytest.raises(ValueError, match="vocabulary"):
        embedder.embed([[2, 10**6, 3]])
    with pytest.raises(ValueError, match="32 bits"):
        embedder.embed([[2, 2**40, 3]])
    with pytest.raises(ValueError):
        embedder.embed([np.zeros((2, 2), np.int32)])
    with pytest.raises(rkformer.TooLongError):
        embedder.hidden([[2] * 5000], truncate=False)


# ---- tasks


def test_hidden_states_and_logits():
    for case in golden("trained/bert-embed")["hidden"][:3]:
        with rkformer.Model(TRAINED / "bert-embed") as model:
            want = np.reshape(case["last_hidden_state"]["data"], case["last_hidden_state"]["shape"])
            assert close_to(model.hidden(case["text"]), want)
    with rkformer.Model(TRAINED / "distilbert-ner") as model:
        for case in golden("trained/distilbert-ner")["token_classify"]:
            assert close_to(model.logits(case["text"]), np.reshape(case["logits"]["data"], case["logits"]["shape"]))


def test_classify_and_pairs():
    with rkformer.Model(TRAINED / "roberta-sentiment") as model:
        cases = golden("trained/roberta-sentiment")["classify"]
        for case, answer in zip(cases, model.classify([case["text"] for case in cases])):
            e = np.exp(np.array(case["logits"]) - max(case["logits"]))
            assert abs(answer[0]["score"] - (e / e.sum()).max()) < 1e-5 and len(answer) == 2
    with rkformer.Model(TRAINED / "bert-rerank") as model:
        cases = golden("trained/bert-rerank")["pairs"]
        pairs = [(case["text"], case["text_pair"]) for case in cases]
        raw = model.score_pairs(pairs, scores="raw")
        assert close_to(raw, [case["logits"][0] for case in cases])
        query = cases[0]["text"]
        documents = [case["text_pair"] for case in cases if case["text"] == query]
        ranked = model.rerank(query, documents)
        assert [hit["score"] for hit in ranked] == sorted((hit["score"] for hit in ranked), reverse=True)
        assert {hit["index"] for hit in ranked} == set(range(len(documents)))
        assert all(hit["text"] == documents[hit["index"]] for hit in ranked)
        assert len(model.rerank(query, documents, top_k=2)) == 2 and model.rerank(query, []) == []


def test_answers_fills_entities_and_choices():
    with rkformer.Model(TRAINED / "bert-qa") as model:
        for case in golden("trained/bert-qa")["qa"]:
            answer = model.qa(case["question"], case["context"])
            assert answer["answer"] == case["context"][answer["start"] : answer["end"]]
        assert len(model.qa(case["question"], case["context"], top_k=3)) == 3
    with rkformer.Model(TRAINED / "roberta-fillmask") as model:
        for case in golden("trained/roberta-fillmask")["fill_mask"]:
            got = model.fill_mask(case["text"], top_k=10)
            assert [x["token"] for x in got] == [x["token"] for x in case["top"]]
    with rkformer.Model(TRAINED / "distilbert-ner") as model:
        text = "Angela Merkel visited Paris."
        for entity in model.ner(text):
            assert set(entity) == {"entity_group", "score", "word", "start", "end"}
            assert text[entity["start"] : entity["end"]]
        assert set(model.ner([text], aggregation="none")[0][0]) == {"entity", "index", "score", "word", "start", "end"}
    with rkformer.Model(RANDOM / "bert-multiple-choice") as model:
        for case in golden("random/bert-multiple-choice")["cases"]:
            e = np.exp(np.array(case["logits"]) - max(case["logits"]))
            got = model.choose(case["text"], case["choices"])
            assert worst(got["scores"], e / e.sum()) < 1e-4 and got["choice"] == int(np.argmax(case["logits"]))
    with rkformer.Model(RANDOM / "distilbert-cls3") as model:
        answer = model.zero_shot("rain", ["weather", "money"])
        assert set(answer) == {"sequence", "labels", "scores"} and abs(sum(answer["scores"]) - 1) < 1e-5
    with rkformer.Model(TRAINED / "roberta-fillmask") as model:
        sparse = model.sparse("rain")
        assert sparse.indices.dtype == np.int32 and sparse.values.dtype == np.float32 and (sparse.values > 0).all()


def test_wrong_task(embedder):
    with pytest.raises(ValueError, match="cannot do classify"):
        embedder.classify("a")


def test_tokenize_and_decode(embedder):
    for case in golden("trained/bert-embed")["tokenize"]:
        encoding = embedder.tokenize(case["text"])
        assert encoding.ids.tolist() == case["input_ids"] and encoding.offsets.tolist() == case["offsets"]
        assert len(encoding.tokens) == len(case["input_ids"])
    pair = embedder.tokenize("rain", "snow")
    assert pair.type_ids.max() == 1
    assert embedder.tokenize("rain", add_special_tokens=False).special_tokens_mask.sum() == 0
    ids = embedder.tokenize("there is rain").ids
    assert "rain" in embedder.decode(ids) and len(embedder.decode([ids, ids])) == 2


# ---- devices, masks, life


def test_documents(embedder):
    assert rkformer.devices()["platform"] and "models" in embedder.runtime.stats()
    before = embedder.embed("a text")
    embedder.runtime.trim()
    assert np.array_equal(embedder.embed("a text"), before)
    assert embedder.describe()["hidden_size"] == 64
    assert rkformer.inspect(str(TRAINED / "bert-embed"))["model_type"] == "bert"
    assert rkformer.library_version() == rkformer.__version__


@pytest.mark.parametrize("mask", ["auto", "0", "1", "2", "0_1", "0_1_2", "all"])
def test_every_mask_of_rk3588(mask):
    case = golden("trained/bert-embed")["embed"][0]
    with rkformer.Model(TRAINED / "bert-embed", platform="rk3588", core_mask=mask) as model:
        assert worst(model.embed(case["text"]), case["embedding"]) <= 1e-5
        assert model.describe()["core_mask"] == mask


def test_unknown_and_unavailable_masks_name_those_there_are():
    with pytest.raises(ValueError, match=r"unknown core mask '7': use auto, 0, 1, 2, 0_1, 0_1_2 or all"):
        rkformer.Model(TRAINED / "bert-embed", core_mask="7")
    with pytest.raises(rkformer.UnavailableError, match=r"not available on rk3576.*use auto, 0, 1, 0_1 or all"):
        rkformer.Model(TRAINED / "bert-embed", platform="rk3576", core_mask="2")
    with pytest.raises(ValueError):
        rkformer.Model(TRAINED / "bert-embed", platform="rk9999")


def test_missing_models():
    with pytest.raises(FileNotFoundError):
        rkformer.Model("/no/such/model")
    with pytest.raises(rkformer.RKFError):
        rkformer.Model(TOP / "docs")


def test_close():
    model = rkformer.Model(TRAINED / "bert-embed")
    model.embed("a")
    model.close()
    model.close()
    with pytest.raises(rkformer.ClosedError):
        model.embed("a")
    with rkformer.Runtime(platform="rk3576") as runtime:
        model = rkformer.Model(TRAINED / "bert-embed", runtime=runtime)
    assert model.closed
    with pytest.raises(rkformer.ClosedError):
        model.embed("a")
    with pytest.raises(rkformer.ClosedError):
        runtime.stats()


def test_exclusive_models_conflict():
    with rkformer.Runtime(platform="rk3588") as runtime:
        with rkformer.Model(TRAINED / "bert-embed", runtime=runtime, core_mask="0", exclusive=True):
            with pytest.raises(rkformer.ConflictError):
                rkformer.Model(TRAINED / "bert-embed", runtime=runtime, core_mask="0_1")


def test_shared_runtimes_are_shared():
    assert rkformer.Runtime.shared() is rkformer.Runtime.shared()
    assert rkformer.Runtime.shared("rk3588") is not rkformer.Runtime.shared("rk3576")
    with pytest.raises(TypeError):
        pickle.dumps(rkformer.Model(TRAINED / "bert-embed"))


def test_timeouts(embedder):
    texts = ["rain " * 200] * 3000
    with pytest.raises(TimeoutError):
        embedder.embed(texts, timeout=0.02)
    assert embedder.embed("a", timeout=30).shape == (64,)


# ---- threads, signals, forks, memory


def test_sixteen_threads_on_one_model(embedder):
    texts = [f"There is rain {i} and snow" + " today" * (i % 9) for i in range(64)]
    want = embedder.embed(texts)
    wrong = []

    def work(k):
        for i in range(k, k + 20):
            if worst(embedder.embed(texts[i % 64]), want[i % 64]) > 1e-6:
                wrong.append(i)
        if worst(embedder.embed(texts), want) > 1e-6:
            wrong.append(-1)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_closing_while_threads_work():
    model = rkformer.Model(TRAINED / "bert-embed")
    others = []

    def work():
        try:
            while True:
                model.embed(["rain"] * 40)
        except rkformer.ClosedError:
            pass
        except BaseException as error:
            others.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    model.close()
    for thread in threads:
        thread.join(20)
    assert not others and not any(thread.is_alive() for thread in threads)


def test_control_c_ends_a_long_call(tmp_path):
    program = (
        "import signal, sys, rkformer\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background inherits that it is ignored
        f"model = rkformer.Model({str(TRAINED / 'bert-embed')!r})\n"
        "print('ready', flush=True)\n"
        "model.embed(['rain and snow ' * 20] * 400000)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
    )
    child.stdout.readline()
    time.sleep(0.5)
    begin = time.monotonic()
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors and time.monotonic() - begin < 10


def test_a_forked_child_opens_its_own(embedder):
    want = embedder.embed("rain")
    read, write = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(read)
            os.write(write, embedder.embed("rain").tobytes())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        got = np.frombuffer(file.read(), np.float32)
    assert os.waitpid(child, 0)[1] == 0 and worst(got, want) < 1e-6
    assert worst(embedder.embed("rain"), want) < 1e-6  # and the parent goes on


def test_multiprocessing_with_fork(embedder):
    import multiprocessing

    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork")
    embedder.embed("warm")
    _CHILD["model"] = embedder
    with multiprocessing.get_context("fork").Pool(2) as pool:
        got = pool.map(_child_embed, ["rain", "snow", "cat"])
    assert worst(got, embedder.embed(["rain", "snow", "cat"])) < 1e-6


_CHILD = {}


def _child_embed(text):
    return _CHILD["model"].embed(text)


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_is_flat(embedder):
    calls = int(os.environ.get("RKFORMER_TEST_CALLS", "5000"))
    texts = ["rain", "There is rain and snow today."]
    for _ in range(500):
        embedder.embed(texts)
        embedder.hidden(texts)
    gc.collect()
    before = _resident()
    for _ in range(calls):
        embedder.embed(texts)
        embedder.hidden(texts)
    gc.collect()
    grown = _resident() - before
    print(f"{calls} calls: {grown} bytes more")
    assert grown < 2 << 20
    assert not _request._pending


def test_every_public_method_says_what_it_does():
    for cls in (rkformer.Model, rkformer.Runtime):
        for name, member in inspect.getmembers(cls):
            if not name.startswith("_") and callable(member):
                assert member.__doc__, f"{cls.__name__}.{name}"
