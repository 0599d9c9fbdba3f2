/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers as bytes, one writer per shape. Pure: an answer in, JSON out. A writer returns false and fills *e where the
 * peer would answer an error after all (a NaN score); out of memory shows as out->failed.
 */
#ifndef RKF_SERVER_WRITERS_H
#define RKF_SERVER_WRITERS_H

#include "server/api.h"

typedef bool writer_fn(const struct api_answer *a, struct buf *out, struct api_error *e);

writer_fn write_tei_embed, write_tei_embed_all, write_tei_embed_sparse, write_tei_predict, write_tei_rerank,
    write_tei_similarity, write_tei_tokenize, write_tei_decode;
writer_fn write_openai_embeddings, write_vllm_score, write_vllm_cosine;
writer_fn write_jina_rerank, write_cohere_rerank, write_cohere_embed_v1, write_cohere_embed;
writer_fn write_ollama_embed, write_ollama_embeddings;
writer_fn write_ner, write_qa, write_fill_mask, write_classify, write_zero_shot, write_choose;

/* ---- what the writers share */

void put_key_str(struct buf *out, const char *key, const char *s); /* key comes with its quotes and colon */
void put_score(struct buf *out, float f);
/* The data of one item (dim values of its type), or its bytes in base64. */
void put_vector(struct buf *out, const struct api_item *item, bool base64);
/* Cosine of two items' vectors; 0 if one is 0. */
float cosine_of(const struct api_item *x, const struct api_item *y);
/* Labels of rerank items by falling score; NULL: out of memory or (e) a NaN. Freed with mem_free. */
struct ranked {
    size_t index;
    float score;
};
struct ranked *rank_items(const struct api_answer *a, struct api_error *e);

#endif
