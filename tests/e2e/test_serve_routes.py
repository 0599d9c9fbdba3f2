# SPDX-License-Identifier: Apache-2.0
"""rkformer serve: every route's answer against the reference implementation, in the shapes of the peers."""
import base64
import json
import math
import pathlib
import shutil
import struct
import tempfile

from serve_support import JSON, ServeCase
from support import TRAINED, golden, main

EMBED = [c for c in golden("trained/bert-embed")["embed"] if c["text"]]  # the peers refuse empty texts
TEXTS = [c["text"] for c in EMBED]
VECTORS = [c["embedding"] for c in EMBED]


def unpack(text):
    data = base64.b64decode(text)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def softmax(logits):
    e = [math.exp(x - max(logits)) for x in logits]
    return [x / sum(e) for x in e]


class Embeddings(ServeCase):
    def close(self, got, wanted=VECTORS):
        self.assertEqual(len(got), len(wanted))
        for g, w in zip(got, wanted):
            self.assertClose(g, w, 1e-5)

    def test_tei(self):
        self.close(self.answer("/embed", {"inputs": TEXTS}))
        self.close(self.answer("/embed", {"inputs": TEXTS[0]}), VECTORS[:1])
        self.close(self.answer("/", {"inputs": TEXTS}))
        self.close(self.answer("/invocations", {"inputs": TEXTS}))
        self.close(self.answer("/models/bert-embed/embed", {"inputs": TEXTS}))
        self.close(self.answer("/models/bert-embed", {"inputs": TEXTS}))

    def test_tei_headers(self):
        h = self.post("/embed", {"inputs": "rain"}).headers
        for name in ("x-compute-type", "x-compute-time", "x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time"):
            self.assertIn(name, h)
        self.assertEqual(h["x-compute-characters"], "4")
        self.assertEqual(h["x-compute-tokens"], "3")
        self.assertEqual(h["content-type"], "application/json")

    def test_token_ids(self):
        case = golden("trained/bert-embed")["tokenize"][0]
        vector = next(c["embedding"] for c in EMBED if c["text"] == case["text"])
        self.close(self.answer("/embed", {"inputs": case["input_ids"]}), [vector])
        self.close(self.answer("/embed", {"inputs": [case["input_ids"], case["text"], case["input_ids"]]}), [vector] * 3)
        reply = self.answer("/v1/embeddings", {"input": [case["input_ids"]]})
        self.close([reply["data"][0]["embedding"]], [vector])

    def test_dimensions(self):
        for vector, text in zip(VECTORS[:2], TEXTS):
            cut = vector[:16]
            norm = math.sqrt(sum(x * x for x in cut))
            wanted = [x / norm for x in cut]
            self.close(self.answer("/embed", {"inputs": text, "dimensions": 16}), [wanted])
            self.close([self.answer("/v1/embeddings", {"input": text, "dimensions": 16})["data"][0]["embedding"]], [wanted])
        reply = self.post("/embed", {"inputs": "a", "dimensions": 65}, status=422)
        self.assertIn("`dimensions` should be smaller than the maximum embedding dimension.", reply.json["error"])

    def test_embed_all(self):
        case = golden("trained/bert-embed")["hidden"][0]
        rows = self.answer("/embed_all", {"inputs": case["text"]})
        shape, data = case["last_hidden_state"]["shape"], case["last_hidden_state"]["data"]
        self.assertEqual((len(rows), len(rows[0]), len(rows[0][0])), (1, *shape))
        self.assertClose([x for row in rows[0] for x in row], data, 1e-4 * max(map(abs, data)))

    def test_similarity(self):
        got = self.answer("/similarity", {"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS[1:]}})
        wanted = [sum(a * b for a, b in zip(VECTORS[0], v)) for v in VECTORS[1:]]
        self.assertClose(got, wanted, 1e-5)
        self.assertClose(self.answer("/", {"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS[1:]}}), wanted, 1e-5)

    def test_score(self):
        reply = self.answer("/score", {"text_1": TEXTS[0], "text_2": TEXTS[1:]})
        self.assertClose([d["score"] for d in reply["data"]], [sum(a * b for a, b in zip(VECTORS[0], v)) for v in VECTORS[1:]], 1e-5)

    def test_openai(self):
        reply = self.answer("/v1/embeddings", {"input": TEXTS, "model": "bert-embed"})
        self.assertEqual([d["index"] for d in reply["data"]], list(range(len(TEXTS))))
        self.assertEqual((reply["object"], reply["data"][0]["object"], reply["model"]), ("list", "embedding", "bert-embed"))
        self.close([d["embedding"] for d in reply["data"]])
        reply64 = self.answer("/v1/embeddings", {"input": TEXTS, "model": "bert-embed", "encoding_format": "base64"})
        self.close([unpack(d["embedding"]) for d in reply64["data"]])
        self.assertEqual(reply["usage"], reply64["usage"])
        self.assertEqual(reply["usage"]["prompt_tokens"], int(self.post("/embed", {"inputs": TEXTS}).headers["x-compute-tokens"]))

    def test_binary(self):
        wanted = []
        for v in VECTORS:
            bits = [x > 0 for x in v]
            wanted.append([sum(bit << (7 - i) for i, bit in enumerate(bits[k : k + 8])) for k in range(0, len(bits), 8)])
        self.assertEqual(self.answer("/embed", {"inputs": TEXTS, "precision": "ubinary"}), wanted)
        signed = [[b - 128 for b in row] for row in wanted]
        reply = self.answer("/v1/embeddings", {"input": TEXTS, "embedding_type": "binary"})
        self.assertEqual([d["embedding"] for d in reply["data"]], signed)
        reply = self.answer("/v2/embed", {"texts": TEXTS, "embedding_types": ["binary", "ubinary", "float", "int8"]})
        self.assertEqual(reply["embeddings"]["binary"], signed)
        self.assertEqual(reply["embeddings"]["ubinary"], wanted)
        self.close(reply["embeddings"]["float"])
        self.assertEqual(len(reply["embeddings"]["int8"]), len(TEXTS))

    def test_cohere(self):
        reply = self.answer("/v2/embed", {"model": "bert-embed", "texts": TEXTS, "input_type": "search_document"})
        self.close(reply["embeddings"]["float"])
        self.assertEqual(reply["texts"], TEXTS)
        self.close(self.answer("/v1/embed", {"texts": TEXTS})["embeddings"])
        self.close([unpack(t) for t in self.answer("/v2/embed", {"texts": TEXTS, "embedding_types": ["base64"]})["embeddings"]["base64"]])
        reply = self.post("/v2/embed", {"texts": ["a"], "top_k": 1}, status=422)
        self.assertIn("unknown field: parameter 'top_k' is not a valid field", reply.json["message"])

    def test_ollama(self):
        reply = self.answer("/api/embed", {"model": "bert-embed:latest", "input": TEXTS}, headers={})
        self.close(reply["embeddings"])
        self.assertGreater(reply["prompt_eval_count"], 0)
        self.close([self.answer("/api/embed", {"model": "bert-embed", "input": TEXTS[0]})["embeddings"][0]], VECTORS[:1])
        self.assertEqual(self.answer("/api/embed", {"model": "bert-embed", "input": ""})["embeddings"], [])
        self.assertEqual(len(self.answer("/api/embeddings", {"model": "bert-embed", "prompt": "a"})["embedding"]), 64)
        self.assertEqual([m["name"] for m in self.server.get("/api/tags").json["models"]], ["bert-embed"])
        reply = self.post("/api/embed", {"model": "nope", "input": "a"}, status=404)
        self.assertEqual(reply.json, {"error": 'model "nope" not found, try pulling it first'})

    def test_many_inputs_are_split(self):
        texts = [f"{TEXTS[i % 3]} {i}" for i in range(1500)]
        got = self.answer("/embed", {"inputs": texts})
        self.assertEqual(len(got), 1500)
        for i in (0, 511, 512, 1023, 1024, 1499):
            self.assertClose(got[i], self.answer("/embed", {"inputs": texts[i]})[0], 2e-6)

    def test_equal_inputs_are_computed_once(self):
        before = self.server.metric("rkformer_model_inputs_total")
        got = self.answer("/embed", {"inputs": [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[0]]})
        self.assertEqual(self.server.metric("rkformer_model_inputs_total") - before, 2)
        self.assertEqual(got[0], got[2])
        self.assertEqual(got[0], got[3])
        self.close(got[:2], VECTORS[:2])

    def test_tokenize(self):
        case = golden("trained/bert-embed")["tokenize"][0]
        tokens = self.answer("/tokenize", {"inputs": case["text"]})[0]
        self.assertEqual([t["id"] for t in tokens], case["input_ids"])
        for token, offsets in zip(tokens[1:-1], case["offsets"][1:-1]):
            self.assertEqual([token["start"], token["stop"]], offsets)
            self.assertEqual(token["text"], case["text"][slice(*offsets)])
        self.assertEqual((tokens[0]["special"], tokens[0]["start"], tokens[0]["text"]), (True, None, "[CLS]"))
        self.assertEqual([t["id"] for t in self.answer("/tokenize", {"inputs": case["text"], "add_special_tokens": False})[0]], case["input_ids"][1:-1])
        text = self.answer("/decode", {"ids": case["input_ids"]})[0]
        self.assertEqual(text.lower().replace(" ", ""), case["text"].lower().replace(" ", ""))

    def test_models(self):
        listed = self.server.get("/v1/models").json
        self.assertEqual((listed["object"], [m["id"] for m in listed["data"]]), ("list", ["bert-embed"]))
        self.assertEqual(self.server.get("/v1/models/bert-embed").json["id"], "bert-embed")
        self.assertEqual(self.server.get("/v1/models/nope").status, 404)
        info = self.server.get("/info").json
        self.assertEqual((info["served_model_name"], info["model_type"], info["max_input_length"]), ("bert-embed", {"embedding": {"pooling": "mean"}}, 64))

    def test_truncation(self):
        long = "rain " * 200
        self.assertEqual(self.post("/embed", {"inputs": long}).headers["x-compute-tokens"], "64")
        reply = self.post("/embed", {"inputs": long, "truncate": False}, status=422)
        self.assertEqual(reply.json, {"error": "Input validation error: `inputs` must have less than 64 tokens. Given: 202", "error_type": "Validation"})
        self.post("/v2/embed", {"texts": [long], "truncate": "NONE"}, status=400)
        right = self.answer("/embed", {"inputs": "snow " * 100 + "rain", "truncation_direction": "Right"})
        left = self.answer("/embed", {"inputs": "snow " * 100 + "rain", "truncation_direction": "Left"})
        self.assertNotEqual(right, left)


class Prompts(ServeCase):
    """A model with prompts."""

    PROMPTS = {"query": "the train: ", "document": "a cat: "}

    @classmethod
    def setUpClass(cls):
        cls.copy = pathlib.Path(tempfile.mkdtemp(prefix="rkformer-test-")) / "prompted"
        shutil.copytree(TRAINED / "bert-embed", cls.copy, ignore=shutil.ignore_patterns("onnx"))
        path = cls.copy / "config_sentence_transformers.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "prompts": cls.PROMPTS, "default_prompt_name": None}))
        cls.MODELS = (str(cls.copy),)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.copy.parent)

    def test_all(self):
        words = "there is rain today ."  # of the vocabulary, so that ids and text say the same
        ids = [t["id"] for t in self.answer("/tokenize", {"inputs": words, "add_special_tokens": False})[0]]
        plain = self.answer("/embed", {"inputs": words})[0]
        for name, prompt in self.PROMPTS.items():
            wanted = self.answer("/embed", {"inputs": prompt + words})[0]
            self.assertGreater(max(abs(a - b) for a, b in zip(wanted, plain)), 1e-3)
            for got in (
                self.answer("/embed", {"inputs": words, "prompt_name": name})[0],
                self.answer("/embed", {"inputs": ids, "prompt_name": name})[0],
                self.answer("/v1/embeddings", {"input": words, "prompt_name": name})["data"][0]["embedding"],
                self.answer("/v2/embed", {"texts": [words], "input_type": "search_" + name})["embeddings"]["float"][0],
                self.answer("/v1/embeddings", {"input": words, "task": {"query": "retrieval.query", "document": "retrieval.passage"}[name]})["data"][0]["embedding"],
            ):
                self.assertClose(got, wanted, 1e-6)
            tokens = self.answer("/tokenize", {"inputs": words, "prompt_name": name})
            self.assertEqual(tokens, self.answer("/tokenize", {"inputs": prompt + words}))
        self.assertIn("use one of", self.post("/embed", {"inputs": "a", "prompt_name": "nope"}, status=422).json["error"])


class Errors(ServeCase):
    def test_tei(self):
        for body, status, error in (
            ({"inputs": []}, 400, {"error": "`inputs` cannot be empty", "error_type": "Empty"}),
            ({"inputs": ""}, 400, {"error": "Input validation error: `inputs` cannot be empty", "error_type": "Empty"}),
            ({"inputs": "a", "dimensions": 0}, 422, {"error": "Input validation error: `dimensions` should be positive", "error_type": "Validation"}),
        ):
            self.assertEqual(self.post("/embed", body, status=status).json, error)
        self.assertEqual(self.post("/rerank", {"query": "q", "texts": ["a"]}, status=424).json, {"error": "Backend error: model is not a re-ranker model", "error_type": "Backend"})
        self.assertEqual(self.post("/predict", {"inputs": "a"}, status=424).json["error_type"], "Backend")
        self.assertIn("prompt", self.post("/embed", {"inputs": "a", "prompt_name": "nope"}, status=422).json["error"])

    def test_edges(self):
        """Empty, null and wrong values, as the peers answer them."""
        for path, body, status, words in (
            ("/embed", {"inputs": None}, 422, "missing field `inputs`"),
            ("/embed", {"inputs": ["a", ""]}, 400, "cannot be empty"),
            ("/embed", {"inputs": [[]]}, 400, "cannot be empty"),
            ("/embed", {"inputs": [1, "a"]}, 422, "Failed to deserialize"),
            ("/embed", {"inputs": [999999]}, 422, "Input validation error: "),
            ("/embed", {"inputs": "a", "dimensions": 65}, 422, "smaller than the maximum"),
            ("/embed", {"inputs": "a", "truncate": None, "normalize": None, "prompt_name": None, "dimensions": None}, 200, "[["),
            ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, 400, "`inputs.sentences` cannot be empty"),
            ("/similarity", {"inputs": {"source_sentence": "", "sentences": ["a"]}}, 400, "cannot be empty"),
            ("/tokenize", {"inputs": []}, 400, "`inputs` cannot be empty"),
            ("/decode", {"ids": []}, 400, "`ids` cannot be empty"),
            ("/v1/embeddings", {"input": None}, 400, "missing field `input`"),
            ("/v1/embeddings", {"input": ["a", ""]}, 400, "cannot be empty"),
            ("/v1/embeddings", {"input": "a", "model": None, "encoding_format": None}, 200, "embedding"),
            ("/v1/embeddings", {"input": [999999]}, 400, "outside the vocabulary"),
            ("/v2/embed", {"model": "bert-embed", "texts": []}, 400, "`texts` cannot be empty"),
            ("/v2/embed", {"texts": ["a"], "embedding_types": ["foo"]}, 400, "unknown value 'foo'"),
            ("/v2/embed", {"texts": ["a"], "model": "nope"}, 404, "does not exist"),
            ("/api/embed", {"model": "bert-embed"}, 400, "missing field `input`"),
            ("/api/embed", {"model": "bert-embed", "input": 5}, 400, "expected a string"),
            ("/models/bert-embed/embed", {"inputs": "a"}, 200, "[["),
            ("/models/nope/embed", {"inputs": "a"}, 404, "nope"),
            ("/embed/", {"inputs": "a"}, 404, "unknown path"),
            ("/v1/models", {}, 405, "is not for POST"),
        ):
            with self.subTest(path=path, body=body):
                self.assertIn(words, self.post(path, body, status=status).body.decode())
        head = self.server.request("HEAD", "/info")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(self.server.request("HEAD", "/embed").status, 405)
        self.assertEqual(set(self.server.request("PUT", "/").headers["allow"].split(", ")), {"OPTIONS", "GET", "POST"})
        self.assertEqual(self.server.request("OPTIONS", "/embed").status, 204)

    def test_tei_framework(self):
        reply = self.post("/embed", "{", status=400)
        self.assertTrue(reply.body.startswith(b"Failed to parse the request body as JSON: "), reply.body)
        self.assertTrue(reply.headers["content-type"].startswith("text/plain"))
        reply = self.post("/embed", {"inputs": 5}, status=422)
        self.assertTrue(reply.body.startswith(b"Failed to deserialize the JSON body into the target type: "), reply.body)
        reply = self.post("/embed", '{"inputs":"a"}', status=415, headers={"Content-Type": "text/plain"})
        self.assertEqual(reply.body, b"Expected request with `Content-Type: application/json`")

    def test_openai(self):
        reply = self.post("/v1/embeddings", {"input": "a", "model": "nope"}, status=404)
        self.assertEqual(reply.json["error"]["code"], "model_not_found")
        self.assertEqual(reply.json["error"]["param"], "model")
        self.assertEqual(reply.json["error"]["type"], "invalid_request_error")
        for body in ({"input": ""}, {"input": []}, {}, {"input": "a", "encoding_format": "x"}, {"input": "a", "dimensions": 1000}):
            error = self.post("/v1/embeddings", body, status=400).json["error"]
            self.assertEqual(sorted(error), ["code", "message", "param", "type"])

    def test_paths(self):
        self.assertEqual(self.server.get("/nope").status, 404)
        self.assertEqual(self.server.get("/embed").status, 405)
        self.assertEqual(self.server.request("PUT", "/embed", b"{}").status, 405)
        self.assertEqual(self.server.get("/models/nope/info").status, 404)
        self.assertEqual(self.server.request("HEAD", "/health").status, 200)

    def test_json(self):
        self.post("/v1/embeddings", b'{"input":"\xff"}', status=400)
        self.post("/v1/embeddings", b"[" * 100000, status=400)
        self.post("/v1/embeddings", b'{"input":' + b"[" * 100000 + b"]" * 100000 + b"}", status=400)
        self.post("/v1/embeddings", b"", status=400)
        self.assertEqual(len(self.answer("/v1/embeddings", '{"input":"\\ud83d\\ude00 \\u0000"}')["data"]), 1)

    def test_request_id(self):
        reply = self.post("/embed", {"inputs": "a"}, headers={**JSON, "X-Request-Id": "my-id-7"})
        self.assertEqual(reply.headers["x-request-id"], "my-id-7")
        bad = self.post("/embed", {"inputs": "a"}, headers={**JSON, "X-Request-Id": "my id\t<b>"})
        self.assertNotIn("<", bad.headers["x-request-id"])

    def test_health(self):
        for path in ("/health", "/ping", "/"):
            reply = self.server.get(path)
            self.assertEqual((reply.status, reply.body), (200, b""))
        page = self.server.get("/", headers={"Accept": "text/html,*/*"})
        self.assertIn(b"<html", page.body)
        self.assertEqual(page.headers["content-security-policy"], "default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'")
        self.assertNotIn(b"http://", page.body.replace(b"http://www.w3.org", b""))
        self.assertNotIn(b"https://", page.body)

    def test_metrics(self):
        self.post("/embed", {"inputs": ["a", "b"]})
        text = self.server.get("/metrics").body.decode()
        for name in ("te_request_count", "te_request_success", "te_request_failure", "te_embed_count", "te_queue_size", "te_request_duration_bucket",
                     "te_batch_next_tokens_sum", "rkformer_core_busy_seconds_total", "rkformer_model_tokens_total", "rkformer_http_requests_total"):
            self.assertRegex(text, rf"(?m)^{name}[ {{]")
        self.assertGreaterEqual(self.server.metric("te_embed_count"), 2)
        self.assertEqual(self.server.metric("te_queue_size"), 0)


class OtherTasks(ServeCase):
    MODELS = ("bert-rerank", "distilbert-ner", "bert-qa", "roberta-sentiment", "roberta-fillmask")

    def test_rerank(self):
        pairs = golden("trained/bert-rerank")["pairs"]
        query = pairs[0]["text"]
        mine = [p for p in pairs if p["text"] == query]
        texts = [p["text_pair"] for p in mine]
        logits = [p["logits"][0] if isinstance(p["logits"], list) else p["logits"]["data"][0] for p in mine]
        order = sorted(range(len(texts)), key=lambda i: -logits[i])
        raw = self.answer("/rerank", {"query": query, "texts": texts, "raw_scores": True, "return_text": True})
        self.assertEqual([r["index"] for r in raw], order)
        self.assertEqual([r["text"] for r in raw], [texts[i] for i in order])
        self.assertClose([r["score"] for r in raw], [logits[i] for i in order], 1e-3)
        sigmoid = [1 / (1 + math.exp(-logits[i])) for i in order]
        self.assertClose([r["score"] for r in self.answer("/rerank", {"query": query, "texts": texts})], sigmoid, 1e-4)
        for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
            reply = self.answer(path, {"model": "bert-rerank", "query": query, "documents": texts, "top_n": 1})
            self.assertEqual([r["index"] for r in reply["results"]], order[:1])
            self.assertClose([r["relevance_score"] for r in reply["results"]], sigmoid[:1], 1e-4)
        long = [t + " and so on" * 5 for t in texts]
        short = self.answer("/v2/rerank", {"query": query, "documents": texts})["results"]
        tokens = len(self.answer("/models/bert-rerank/tokenize", {"inputs": texts[0], "add_special_tokens": False})[0])
        cut = self.answer("/v2/rerank", {"query": query, "documents": long[:1], "max_tokens_per_doc": tokens})["results"]
        self.assertClose([cut[0]["relevance_score"]], [r["relevance_score"] for r in short if r["index"] == 0], 1e-5)
        reply = self.answer("/score", {"text_1": query, "text_2": texts})
        self.assertClose([d["score"] for d in reply["data"]], [1 / (1 + math.exp(-x)) for x in logits], 1e-4)

    def test_predict(self):
        for case in [c for c in golden("trained/roberta-sentiment")["classify"] if c["text"]]:
            wanted = sorted(softmax(case["logits"]), reverse=True)
            got = self.answer("/models/roberta-sentiment/predict", {"inputs": case["text"]})
            self.assertClose([p["score"] for p in got], wanted, 1e-5)
            nested = self.answer("/v1/classify", {"inputs": case["text"], "model": "roberta-sentiment"})
            self.assertEqual([(p["label"], p["score"]) for p in nested[0]], [(p["label"], p["score"]) for p in got])
            raw = self.answer("/models/roberta-sentiment/predict", {"inputs": [[case["text"]]], "raw_scores": True})
            self.assertClose([p["score"] for p in raw[0]], sorted(case["logits"], reverse=True), 1e-3)

    def test_ner(self):
        text = golden("trained/distilbert-ner")["token_classify"][0]["text"]
        found = self.answer("/v1/ner", {"inputs": text})
        self.assertEqual([text[e["start"] : e["end"]] for e in found if e["entity_group"] in ("PER", "LOC")], ["Angela Merkel", "Paris"])
        self.assertEqual(self.answer("/v1/ner", {"inputs": [text]}), [found])
        self.assertEqual(self.answer("/models/distilbert-ner", {"inputs": text}), found)
        tokens = self.answer("/v1/ner", {"inputs": text, "parameters": {"aggregation_strategy": "none"}})
        self.assertIn("entity", tokens[0])
        self.assertIn("index", tokens[0])

    def test_qa(self):
        case = golden("trained/bert-qa")["qa"][0]
        got = self.answer("/v1/qa", {"inputs": {"question": case["question"], "context": case["context"]}})
        self.assertEqual(got["answer"], case["context"][got["start"] : got["end"]])
        several = self.answer("/v1/qa", {"inputs": {"question": case["question"], "context": case["context"]}, "parameters": {"top_k": 2}})
        self.assertEqual(several[0], got)

    def test_fill_mask(self):
        case = golden("trained/roberta-fillmask")["fill_mask"][0]
        got = self.answer("/v1/fill-mask", {"inputs": case["text"], "top_k": 3})
        best = sorted(range(len(case["mask_logits"])), key=lambda i: -case["mask_logits"][i])[:3]
        self.assertEqual([f["token"] for f in got], best)

    def test_one_model_for_each_task(self):
        self.assertEqual(len(self.server.get("/v1/models").json["data"]), 5)
        self.assertEqual(self.server.get("/models/bert-qa/info").json["served_model_name"], "bert-qa")
        self.post("/v1/qa", {"inputs": {"question": "a", "context": "b"}, "model": "bert-rerank"}, status=404)


if __name__ == "__main__":
    main()
