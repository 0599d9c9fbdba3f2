#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The servers that rkformer serve is compared with, as their users run them: POST /v1/embeddings on 127.0.0.1.

usage: server_peers.py fastapi|infinity MODEL_DIR PORT THREADS

fastapi: the twenty lines that people write around SentenceTransformer.encode. infinity: infinity-emb's own server, engine
torch, its defaults, in f32.
"""
import sys

import torch
import uvicorn

kind, model_dir, port, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)


def fastapi_server():
    from fastapi import FastAPI
    from pydantic import BaseModel
    from sentence_transformers import SentenceTransformer

    app = FastAPI()
    model = SentenceTransformer(model_dir, device="cpu")

    class Body(BaseModel):
        input: str | list[str]
        model: str = ""

    @app.post("/v1/embeddings")
    def embeddings(body: Body):
        texts = [body.input] if isinstance(body.input, str) else body.input
        vectors = model.encode(texts, normalize_embeddings=True)
        return {"object": "list", "model": body.model, "data": [{"object": "embedding", "index": i, "embedding": v.tolist()} for i, v in enumerate(vectors)]}

    return app


def infinity_server():
    from infinity_emb import EngineArgs
    from infinity_emb.infinity_server import create_server

    return create_server(
        url_prefix="/v1",
        engine_args_list=[EngineArgs(model_name_or_path=model_dir, served_model_name="minilm", engine="torch", device="cpu", dtype="float32", bettertransformer=False)],
    )


app = fastapi_server() if kind == "fastapi" else infinity_server()
uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
