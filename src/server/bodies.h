/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of all dialects, and the one step after reading that turns their words into rkf_request. */
#ifndef RKF_SERVER_BODIES_H
#define RKF_SERVER_BODIES_H

#include "server/fields.h"

extern const struct body body_tei_embed, body_tei_embed_all, body_tei_embed_sparse, body_tei_predict, body_tei_rerank,
    body_tei_similarity, body_tei_tokenize, body_tei_decode;
extern const struct body body_openai_embeddings, body_vllm_score;
extern const struct body body_jina_rerank, body_cohere_rerank, body_cohere_embed_v1, body_cohere_embed;
extern const struct body body_ollama_embed, body_ollama_embeddings;
extern const struct body body_ner, body_qa, body_fill_mask, body_classify, body_zero_shot, body_choose;
extern const struct body body_load, body_unload, body_show;

/* Each of them, for what must hold for all; the order is the fuzzer's corpus's: new ones at the end. */
enum { N_BODIES = 24 };
extern const struct body *const all_bodies[N_BODIES];

/* Truncation and prompt as the server's defaults say, for what the client left open. Called once, after body_read. */
bool api_request_settle(struct api_request *r, bool auto_truncate, struct api_error *e);

#endif
