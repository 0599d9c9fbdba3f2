/* SPDX-License-Identifier: Apache-2.0 */
/* The native body's own structure; private to src/encoder. create.c fills it, run.c reads it. */
#ifndef RKF_ENCODER_BODY_H
#define RKF_ENCODER_BODY_H

#include "encoder/params.h"

/* One set of layer weights; ALBERT's layers share sets. */
struct layer {
    struct linear *qkv, *o; /* [(heads + 2 kv_heads) * head_dim, hidden], [hidden, heads * head_dim] */
    struct linear *up;      /* [intermediate or gate and up, hidden] */
    struct linear *down;    /* [hidden, intermediate] */
    struct norm attention_norm, mlp_norm;
    bool has_attention_norm;          /* false: identity (ModernBERT's first) */
    const float *pos_key, *pos_query; // DeBERTa: [2 * span, heads * head_dim] f32
};

struct encoder {
    struct body body; /* first: a body is one */
    struct encoder_spec spec;
    struct params params;
    struct embedding_tables tables;
    struct norm embedding_norm, final_norm;
    struct linear *project; /* embedding_size -> hidden_size; NULL: the same */
    struct layer *sets;     // [spec.layer_sets]
    struct attention attention;
    struct rotary rotary[2]; /* global, local */
    size_t bytes;
    struct cost_fit cost; /* by millions of multiplications */
};

extern const struct body_ops encoder_ops;
/* The forward pass of a checked batch on all of x's threads together. */
rkf_status encoder_run_whole(const struct encoder *e, struct exec *x, const struct batch *b, struct rows *out,
                             rkf_error *err);
/* parts.c: the same, each thread with sequences of its own. */
bool parts_wanted(const struct encoder *e, const struct exec *x, const struct batch *b); /* false: not worth it */
rkf_status encoder_run_parts(const struct encoder *e, struct exec *x, const struct batch *b, struct rows *out,
                             rkf_error *err);
uint64_t encoder_work(const struct encoder_spec *s, const uint32_t *lengths, uint32_t n); /* multiplications of a run */
void encoder_free(struct encoder *e);

#endif
