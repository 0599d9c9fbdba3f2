/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native body: one forward pass driven by the spec, from token ids to hidden states, for every architecture of the
 * table; and what comes after it: heads (logits) and sentence-transformers modules (pooling, dense, normalise). Knows
 * nothing of ISAs, NPUs or threads: linear layers go through the device, the rest through its CPU kernels.
 */
#ifndef RKF_ENCODER_ENCODER_H
#define RKF_ENCODER_ENCODER_H

#include "device/device.h"
#include "model/model.h"

/* Packs the weights for device at compute dtype `type`. x is an exec to pack with. The weights must outlive the body
 * (the embedding tables are read from the map). Errors name the tensor. */
rkf_status encoder_create(struct exec *x, const struct model_dir *m, const struct weights *w, enum dtype type,
                          struct body **out, rkf_error *err) MUST_CHECK;

/* ---- heads: hidden states -> logits */
struct head;
rkf_status head_create(struct exec *x, const struct model_dir *m, const struct weights *w, enum dtype type,
                       struct head **out, rkf_error *err) MUST_CHECK; /* *out NULL if the model has no head */
void head_free(struct head *h);
uint32_t head_width(const struct head *h); /* columns of its logits */
bool head_per_token(const struct head *h); /* one row per token (NER, QA, fill-mask), else one per sequence */
/* It reads the first token of each sequence only (struct batch: first_only). */
bool spec_head_first_only(const struct encoder_spec *spec);
/* hidden [n_tokens, hidden], or [n_seqs, hidden] of a first_only batch. Per-token heads: rows (or all tokens if rows is
 * NULL) choose which tokens. Result in scratch: [rows or n_seqs, head_width]. */
rkf_status head_run(const struct head *h, struct exec *x, const struct batch *b, const struct rows *hidden,
                    const uint32_t *rows, uint32_t n_rows, struct rows *out, rkf_error *err) MUST_CHECK;
/* SPLADE over a masked-LM head: out [n_seqs, head_width] f32, the largest (or the sum) over a sequence's tokens of
 * log(1 + relu(logit)); log_twice: log(1 + that). No more logits are held at once than fit some megabytes. */
rkf_status head_run_splade(const struct head *h, struct exec *x, const struct batch *b, const struct rows *hidden,
                           bool max, bool log_twice, float *out, rkf_error *err) MUST_CHECK;

/* ---- sentence-transformers modules: hidden states -> one row per sequence */
struct pooler;
struct pool_options { /* what a request may change */
    int pooling;      /* -1: as the modules say (mean without modules), else enum pooling_mode */
    int normalize;    /* -1: as the modules say, 0, 1 */
    /* 0: all. As sentence-transformers: after all modules, a Normalize among them too; normalize 1 then normalises what
     * is left. */
    uint32_t truncate_dim;
    const uint32_t *skip; // [n_seqs] leading tokens to leave out of pooling (include_prompt false); NULL: none
};
rkf_status pooler_create(struct exec *x, const struct model_dir *m, enum dtype type, struct pooler **out,
                         rkf_error *err) MUST_CHECK;
void pooler_free(struct pooler *p);
uint32_t pooler_width(const struct pooler *p, const struct pool_options *o);
bool pooler_skips_prompt(const struct pooler *p);                             /* include_prompt is false */
bool pooler_first_only(const struct pooler *p, const struct pool_options *o); /* as spec_head_first_only */
/* out [n_seqs, width] f32 */
rkf_status pooler_run(const struct pooler *p, struct exec *x, const struct batch *b, const struct rows *hidden,
                      const struct pool_options *o, float *out, rkf_error *err) MUST_CHECK;

#endif
