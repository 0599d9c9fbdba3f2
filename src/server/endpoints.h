/* SPDX-License-Identifier: Apache-2.0 */
/* What the POST routes do, one line of a table each, with the JSON schemas of their answers. */
#ifndef RKF_SERVER_ENDPOINTS_H
#define RKF_SERVER_ENDPOINTS_H

#include "server/call.h"

extern const struct endpoint ep_embed, ep_embed_all, ep_embed_sparse, ep_predict, ep_rerank, ep_similarity, ep_tokenize,
    ep_decode;
extern const struct endpoint ep_embeddings, ep_score, ep_rerank_documents, ep_cohere_rerank, ep_cohere_embed_v1,
    ep_cohere_embed, ep_ollama_embed, ep_ollama_embeddings;
extern const struct endpoint ep_ner, ep_qa, ep_fill_mask, ep_classify, ep_zero_shot, ep_choose;

#endif
