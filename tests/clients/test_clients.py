# SPDX-License-Identifier: Apache-2.0
"""The peers' own clients, unchanged, against a running server. `make test-clients` installs them and runs this; with
RKF_RECORD=DIR what they sent is written there, for the tests that cannot install them (tests/e2e/test_serve_clients.py)."""
import json
import math
import os
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
from recorder import Recorder  # noqa: E402
from serve_support import Server  # noqa: E402
from support import TRAINED, Case, golden  # noqa: E402

MODELS = ("bert-embed", "bert-rerank", "distilbert-ner", "bert-qa", "roberta-sentiment", "roberta-fillmask")
EMBED = [c for c in golden("trained/bert-embed")["embed"] if c["text"]]
TEXTS = [c["text"] for c in EMBED]
VECTORS = [c["embedding"] for c in EMBED]
KEY = "a-test-key"


class ClientCase(Case):
    """A server with a key, and a recorder in front of it."""

    @classmethod
    def setUpClass(cls):
        keys = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"rkformer-clients-{os.getpid()}.keys"
        keys.write_text(KEY + "\n")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("RKFORMER_", "HF_"))}
        args = [x for name in MODELS for x in ("-m", TRAINED / name)]
        cls.server = Server(env, *args, "--api-key-file", keys, "--platform", "rk3588")
        keys.unlink()
        cls.recorder = Recorder(cls.server.port)
        cls.url = cls.recorder.url

    @classmethod
    def tearDownClass(cls):
        cls.recorder.close()
        if os.environ.get("RKF_RECORD") and cls is not Browser:
            path = pathlib.Path(os.environ["RKF_RECORD"]) / (cls.__name__.lower() + ".json")
            path.write_text(json.dumps(cls.recorder.exchanges, indent=1, ensure_ascii=False).replace(KEY, "KEY") + "\n")
        if cls.server.stop() != 0:
            raise AssertionError("\n".join(cls.server.lines[-20:]))

    def close(self, got, wanted=VECTORS, within=1e-5):
        self.assertEqual(len(got), len(wanted))
        for g, w in zip(got, wanted):
            self.assertClose(list(map(float, g)), w, within)


class OpenAI(ClientCase):
    def setUp(self):
        super().setUp()
        import openai

        self.openai = openai
        self.client = openai.OpenAI(base_url=self.url + "/v1", api_key=KEY, max_retries=0)

    def test_embeddings(self):
        reply = self.client.embeddings.create(model="bert-embed", input=TEXTS)  # the client asks for base64 by itself
        self.close([d.embedding for d in reply.data])
        self.assertGreater(reply.usage.prompt_tokens, 0)
        reply = self.client.embeddings.create(model="bert-embed", input=TEXTS[0], encoding_format="float", dimensions=64)
        self.close([reply.data[0].embedding], VECTORS[:1])
        ids = golden("trained/bert-embed")["tokenize"][0]["input_ids"]
        self.assertEqual(len(self.client.embeddings.create(model="bert-embed", input=[ids, ids]).data), 2)

    def test_models(self):
        self.assertEqual([m.id for m in self.client.models.list()], list(MODELS))
        self.assertEqual(self.client.models.retrieve("bert-embed").id, "bert-embed")

    def test_errors(self):
        with self.assertRaises(self.openai.NotFoundError) as e:
            self.client.embeddings.create(model="text-embedding-3-small", input="a")
        self.assertEqual(e.exception.code, "model_not_found")
        with self.assertRaises(self.openai.BadRequestError):
            self.client.embeddings.create(model="bert-embed", input="")
        with self.assertRaises(self.openai.AuthenticationError) as e:
            self.openai.OpenAI(base_url=self.url + "/v1", api_key="wrong", max_retries=0).embeddings.create(model="bert-embed", input="a")
        self.assertEqual(e.exception.code, "invalid_api_key")

    def test_async(self):
        import asyncio

        async def ask():
            async with self.openai.AsyncOpenAI(base_url=self.url + "/v1", api_key=KEY) as client:
                replies = await asyncio.gather(*(client.embeddings.create(model="bert-embed", input=t) for t in TEXTS))
                return [r.data[0].embedding for r in replies]

        self.close(asyncio.run(ask()))


class Cohere(ClientCase):
    def setUp(self):
        super().setUp()
        import cohere

        self.cohere = cohere
        self.v2 = cohere.ClientV2(api_key=KEY, base_url=self.url)
        self.v1 = cohere.Client(api_key=KEY, base_url=self.url)

    def test_rerank(self):
        documents = ["The bank gave a loan.", "There is rain.", "A cat."]
        reply = self.v2.rerank(model="bert-rerank", query="What do you know about rain?", documents=documents, top_n=2)
        self.assertEqual(len(reply.results), 2)
        self.assertGreaterEqual(reply.results[0].relevance_score, reply.results[1].relevance_score)
        self.assertEqual(reply.meta.api_version.version, "2")
        old = self.v1.rerank(model="bert-rerank", query="What do you know about rain?", documents=documents, top_n=2, return_documents=True)
        self.assertEqual([r.index for r in old.results], [r.index for r in reply.results])
        self.assertEqual(old.results[0].document.text, documents[old.results[0].index])

    def test_embed(self):
        reply = self.v2.embed(model="bert-embed", input_type="clustering", texts=TEXTS, embedding_types=["float", "int8", "ubinary", "base64"])
        self.close(reply.embeddings.float_)
        self.assertEqual(len(reply.embeddings.int8[0]), 64)
        self.assertEqual(len(reply.embeddings.ubinary[0]), 8)
        old = self.v1.embed(model="bert-embed", texts=TEXTS)
        self.close(old.embeddings)

    def test_errors(self):
        with self.assertRaises(self.cohere.NotFoundError):
            self.v2.rerank(model="nope", query="q", documents=["a"])
        with self.assertRaises(self.cohere.UnauthorizedError):
            self.cohere.ClientV2(api_key="wrong", base_url=self.url).rerank(model="bert-rerank", query="q", documents=["a"])
        with self.assertRaises(self.cohere.BadRequestError):
            self.v2.embed(model="bert-embed", input_type="clustering", texts=["rain " * 100], embedding_types=["float"], truncate="NONE")


class HuggingFace(ClientCase):
    def client(self, path):
        from huggingface_hub import InferenceClient

        return InferenceClient(model=self.url + path, token=KEY)

    def test_feature_extraction(self):
        for path in ("/embed", "/models/bert-embed", "/models/bert-embed/embed", "/"):
            got = self.client(path).feature_extraction(TEXTS[0])
            self.assertEqual(got.shape, (1, 64))
            self.close(got, VECTORS[:1])
        self.close(self.client("/embed").feature_extraction(TEXTS[0], normalize=True, truncate=True, truncation_direction="left"), VECTORS[:1])

    def test_sentence_similarity(self):
        got = self.client("/models/bert-embed").sentence_similarity(TEXTS[0], other_sentences=TEXTS[1:])
        self.assertClose(got, [sum(a * b for a, b in zip(VECTORS[0], v)) for v in VECTORS[1:]], 1e-5)

    def test_classification(self):
        case = golden("trained/roberta-sentiment")["classify"][0]
        e = [math.exp(x) for x in case["logits"]]
        for path in ("/v1/classify", "/models/roberta-sentiment"):
            got = self.client(path).text_classification(case["text"])
            self.assertClose([x.score for x in got], sorted((x / sum(e) for x in e), reverse=True), 1e-5)
        self.assertEqual(len(self.client("/v1/classify").text_classification(case["text"], top_k=1)), 1)

    def test_ner(self):
        text = golden("trained/distilbert-ner")["token_classify"][0]["text"]
        for path in ("/v1/ner", "/models/distilbert-ner"):
            got = self.client(path).token_classification(text, aggregation_strategy="simple")
            self.assertIn(("PER", 0, 13), [(x.entity_group, x.start, x.end) for x in got])

    def test_qa(self):
        case = golden("trained/bert-qa")["qa"][0]
        for path in ("/v1/qa", "/models/bert-qa"):
            got = self.client(path).question_answering(question=case["question"], context=case["context"])
            self.assertEqual(got.answer, case["context"][got.start : got.end])

    def test_fill_mask(self):
        case = golden("trained/roberta-fillmask")["fill_mask"][0]
        best = max(range(len(case["mask_logits"])), key=case["mask_logits"].__getitem__)
        for path in ("/v1/fill-mask", "/models/roberta-fillmask"):
            self.assertEqual(self.client(path).fill_mask(case["text"])[0].token, best)

    def test_zero_shot(self):
        got = self.client("/v1/zero-shot").zero_shot_classification("It rains.", candidate_labels=["weather", "sport"])
        self.assertEqual(sorted(x.label for x in got), ["sport", "weather"])


class Ollama(ClientCase):
    def test_all(self):
        import ollama

        client = ollama.Client(host=self.url, headers={"Authorization": "Bearer " + KEY})
        self.close(client.embed(model="bert-embed", input=TEXTS).embeddings)
        self.assertEqual(len(client.embed(model="bert-embed", input="a", dimensions=16).embeddings[0]), 16)
        self.assertEqual(len(client.embeddings(model="bert-embed", prompt="a").embedding), 64)
        self.assertEqual([m.model for m in client.list().models], list(MODELS))
        with self.assertRaises(ollama.ResponseError) as e:
            client.embed(model="nope", input="a")
        self.assertEqual(e.exception.status_code, 404)


class LangChain(ClientCase):
    def test_openai(self):
        from langchain_openai import OpenAIEmbeddings

        e = OpenAIEmbeddings(model="bert-embed", base_url=self.url + "/v1", api_key=KEY, check_embedding_ctx_length=False)
        self.close(e.embed_documents(TEXTS))
        self.close([e.embed_query(TEXTS[0])], VECTORS[:1])


class Curl(ClientCase):
    """Lines of the peers' documentation, with our address and model."""

    def curl(self, *args):
        out = subprocess.run(["curl", "-sS", "--fail-with-body", *args], capture_output=True, text=True, timeout=60)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        return json.loads(out.stdout)

    def test_tei(self):
        auth = ("-H", "Authorization: Bearer " + KEY, "-H", "Content-Type: application/json")
        url = self.url
        self.assertEqual(len(self.curl(url + "/embed", "-X", "POST", "-d", '{"inputs":"What is Deep Learning?"}', *auth)[0]), 64)
        self.assertEqual(len(self.curl(url + "/embed", "-X", "POST", "-d", '{"inputs":["Today is a nice day", "I like you"]}', *auth)), 2)
        self.assertEqual(len(self.curl(url + "/rerank", "-X", "POST", "-d", '{"query": "What is Deep Learning?", "texts": ["Deep Learning is not...", "Deep learning is..."]}', *auth)), 2)
        self.assertEqual(len(self.curl(url + "/predict", "-X", "POST", "-d", '{"inputs":"I like you."}', *auth)), 2)
        self.assertEqual(len(self.curl(url + "/predict", "-X", "POST", "-d", '{"inputs":[["I like you."], ["I hate pineapples"]]}', *auth)), 2)
        self.assertEqual(len(self.curl(url + "/embed_sparse", "-X", "POST", "-d", '{"inputs":"I like you."}', *auth)), 1)

    def test_openai(self):
        reply = self.curl(self.url + "/v1/embeddings", "-H", "Content-Type: application/json", "-H", "Authorization: Bearer " + KEY, "-d",
                          '{"input": "The food was delicious and the waiter...", "model": "bert-embed", "encoding_format": "float"}')
        self.assertEqual(len(reply["data"][0]["embedding"]), 64)

    def test_ollama(self):
        reply = self.curl(self.url + "/api/embed", "-H", "Authorization: Bearer " + KEY, "-d", '{"model": "bert-embed", "input": ["Why is the sky blue?", "Why is the grass green?"]}')
        self.assertEqual(len(reply["embeddings"]), 2)

    def test_jina(self):
        reply = self.curl(self.url + "/v1/rerank", "-H", "Content-Type: application/json", "-H", "Authorization: Bearer " + KEY, "-d",
                          '{"model": "bert-rerank", "query": "Organic skincare products", "top_n": 3, "documents": ["a", "b", "c", "d"]}')
        self.assertEqual(len(reply["results"]), 3)

    def test_vllm(self):
        reply = self.curl("-X", "POST", self.url + "/score", "-H", "accept: application/json", "-H", "Content-Type: application/json", "-H", "Authorization: Bearer " + KEY, "-d",
                          '{"model": "bert-rerank", "encoding_format": "float", "text_1": "What is the capital of France?", "text_2": "The capital of France is Paris."}')
        self.assertEqual(len(reply["data"]), 1)


class Browser(ClientCase):
    def test_page(self):
        from chromium import Chromium

        b = Chromium()
        self.addCleanup(b.close)
        b.open(self.url + "/")
        b.until("document.getElementById('error').textContent.includes('key')")
        b.eval(f"document.getElementById('key').value = '{KEY}'; document.getElementById('key').oninput()")
        b.until("document.querySelectorAll('#model option').length == 6")
        b.until("document.querySelectorAll('.core').length == 3")
        for i, model in enumerate(MODELS):
            b.eval(f"document.getElementById('model').value = '{model}'; document.getElementById('model').onchange()")
            b.eval("document.getElementById('try').requestSubmit()")
            text = b.until("document.getElementById('took').textContent && document.getElementById('result').innerText")
            self.assertTrue(text.strip(), model)
        b.eval("""(async () => { for (let i = 0; i < 40; i++) await call('models/bert-embed/embed', { inputs: ['numbers move ' + i] }) })()""")
        b.until("parseFloat(document.getElementById('rate').textContent) > 0")
        b.until("parseFloat(document.getElementById('tokens').textContent) > 0")
        b.until("document.getElementById('where').textContent.includes('rk3588 (virtual)')")
        self.assertEqual({u.split("/")[2] for u in b.requests if u.startswith("http")}, {self.url.split("/")[2]})  # nothing from elsewhere


if __name__ == "__main__":
    unittest.main(verbosity=2)
