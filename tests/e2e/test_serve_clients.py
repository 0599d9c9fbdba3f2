# SPDX-License-Identifier: Apache-2.0
"""What the real clients sent (tests/clients/test_clients.py recorded it) is answered as it was when they were content:
the same status, the same fields of the same types."""
import json
import pathlib
import sys

from serve_support import ServeCase
from support import DATA, main

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))
from recorder import shape  # noqa: E402


class Recorded(ServeCase):
    MODELS = ("bert-embed", "bert-rerank", "distilbert-ner", "bert-qa", "roberta-sentiment", "roberta-fillmask")
    OPTIONS = ("--platform", "rk3588")

    @classmethod
    def setUpClass(cls):
        import os

        cls.keys = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"rkformer-recorded-{os.getpid()}.keys"
        cls.keys.write_text("KEY\n")
        cls.OPTIONS = (*Recorded.OPTIONS, "--api-key-file", cls.keys)
        super().setUpClass()
        cls.keys.unlink()

    def replay(self, client):
        exchanges = json.loads((DATA / "clients" / (client + ".json")).read_text())
        self.assertTrue(exchanges)
        c = self.server.connect()
        self.addCleanup(c.close)
        for x in exchanges:
            with self.subTest(client=client, path=x["path"], body=x["body"][:200]):
                reply = self.server.request(x["method"], x["path"], x["body"].encode() or None, headers=x["headers"], connection=c)
                self.assertEqual(reply.status, x["status"], reply.body[:300])
                self.assertEqual(shape(reply.body), x["shape"])

    def test_openai(self):
        self.replay("openai")

    def test_cohere(self):
        self.replay("cohere")

    def test_huggingface(self):
        self.replay("huggingface")

    def test_ollama(self):
        self.replay("ollama")

    def test_langchain(self):
        self.replay("langchain")

    def test_curl(self):
        self.replay("curl")


if __name__ == "__main__":
    main()
