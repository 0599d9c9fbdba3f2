/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU device: linear layers over packed weights, and the kernels for everything around them.
 *
 * Every operation takes the exec and spreads its rows over the exec's team itself; callers know nothing of threads or
 * ISAs. The kernels behind are a table per instruction set (kernels.h), the portable C one being the truth.
 */
#ifndef RKF_DEVICE_CPU_CPU_H
#define RKF_DEVICE_CPU_CPU_H

#include "device/device.h"

/* flags: NULL for all the processor has, else the name of an instruction set to stop at ("portable", "avx2", "avx512",
 * "neon",
 * ...): RKF_INVALID lists what exists, RKF_UNAVAILABLE if the processor lacks it. */
rkf_status cpu_device_create(const char *flags, const struct logger *log, struct device **out,
                             rkf_error *err) MUST_CHECK;
void cpu_device_free(struct device *d);
const char *cpu_device_isa(const struct device *d);     /* "avx512", ... */
const char *cpu_device_missing(const struct device *d); /* why it does not use all that the processor has; or NULL */
bool cpu_device_has(const struct device *d,
                    enum dtype type); /* this compute dtype runs natively (else it is emulated) */

/* ---- attention */
enum attention_bias { ATTN_BIAS_NONE, ATTN_BIAS_RELATIVE /* MPNet, T5 style */, ATTN_BIAS_DISENTANGLED /* DeBERTa */ };
struct attention {
    uint32_t heads, kv_heads, head_dim;
    float scale;     /* of q k^T, usually 1 / sqrt(head_dim) */
    uint32_t window; /* tokens to either side that are seen; 0: all */
    enum attention_bias bias;
    /* RELATIVE: rel_bias [heads, 2 * rel_span - 1] f32 by key - query + rel_span - 1, clamped at the ends; added to the
     * scaled score. */
    const float *rel_bias;
    uint32_t rel_span;
    /* DISENTANGLED: score = scale * (q[i] k[j] + q[i] pos_key[r] + k[j] pos_query[r]) where
     * r = rel_index[i - j + rel_index_span - 1], clamped at the ends. pos_key, pos_query [rel_rows, heads * head_dim]
     * f32: projected relative embeddings; NULL: that term is absent. */
    const float *pos_key, *pos_query;
    uint32_t rel_rows;
    const int32_t *rel_index; // [2 * rel_index_span - 1], never falling
    uint32_t rel_index_span;
};

struct rotary { /* cos, sin [max_positions, dim / 2] f32, dim <= head_dim rotated */
    const float *cos, *sin;
    uint32_t dim, positions;
    bool interleaved; /* pairs (0,1),(2,3).. instead of halves */
};

struct embedding_tables {          /* out = (sum of tables) -> norm; tables F32, F16 or BF16 */
    struct view word;              // [vocab, size]
    struct view position;          // [positions, size]; p NULL: none
    struct view type;              // [types, size]; p NULL: none
    int32_t position_offset;       /* row of the first token (RoBERTa: pad_id + 1) */
    const uint32_t *position_rows; // [n_tokens] row of each token instead; NULL: offset, offset + 1, ... per sequence
    float scale;                   /* of the word row; 1 */
    const struct norm *norm;       /* NULL: none */
};

/* The operations, all spread over x->team. Rows are tokens. Nothing here allocates outside x->scratch. */
struct cpu_ops {
    /* out [n_tokens, size] f32. Ids are already checked. */
    rkf_status (*embed)(struct exec *x, const struct embedding_tables *t, const struct batch *b, struct view out,
                        rkf_error *err);
    /* y = norm(x + residual); sum (if given) receives x + residual. y may be x. */
    rkf_status (*normalize)(struct exec *x, const struct norm *n, struct view in, struct view residual, struct view sum,
                            struct view y, rkf_error *err);
    /* qkv [n_tokens, (heads + 2 kv_heads) * head_dim] f32: rotates q and k in place. */
    rkf_status (*rotate)(struct exec *x, const struct rotary *r, const struct attention *a, const struct batch *b,
                         struct view qkv, rkf_error *err);
    /* out [n_tokens, heads * head_dim] f32 */
    rkf_status (*attend)(struct exec *x, const struct attention *a, const struct batch *b, struct view qkv,
                         struct view out, rkf_error *err);
    /* y = act(x), elementwise; y may be x. */
    rkf_status (*activate)(struct exec *x, enum activation act, struct view in, struct view y, rkf_error *err);
    /* One row at a time, for heads and pooling (called inside one thread): */
    float (*dot)(const float *a, const float *b, uint32_t n);
    void (*add)(float *y, const float *a, float scale, uint32_t n); /* y += scale * a */
    void (*softmax)(float *p, uint32_t n);                          /* in place */
};

#endif
