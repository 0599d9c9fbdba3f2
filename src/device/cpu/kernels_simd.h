/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels written over vectors of LANES floats, once for all instruction sets. A kernels_<isa>.c includes its
 * vector words (kernels_simd_<isa>.h) and then this file; what an instruction set does in a way of its own (dot
 * products of 8 and 16 bits, tiles that multiply by a lane) it writes itself.
 *
 * Accuracy: exp 1 ulp (6e-8 relative); 2^t 1.4e-7 relative; gelu 3e-7 absolute; the others follow from exp by a few
 * roundings, 3e-7.
 */
#ifndef RKF_DEVICE_CPU_KERNELS_SIMD_H
#define RKF_DEVICE_CPU_KERNELS_SIMD_H

#include "device/cpu/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { NR = TILE_VECS * LANES };

/* n may be anything: a whole vector, or the first n lanes. */
ALWAYS_INLINE vf load_upto(const float *p, uint32_t n)
{
    return n >= LANES ? vf_load(p) : vf_load_n(p, n);
}

ALWAYS_INLINE void store_upto(float *p, vf v, uint32_t n)
{
    if (n >= LANES)
        vf_store(p, v);
    else
        vf_store_n(p, v, n);
}

/* ---- functions */

/* exp(x) = 2^n (1 + r + r^2 q(r)), |r| <= ln 2 / 2; q is the minimax polynomial for the relative error. Below -87.3
 * it stays at 1e-38, above 88.3 at 2e38: nobody downstream tells those from 0 and infinity. */
ALWAYS_INLINE vf vf_exp(vf x)
{
    x = vf_min(vf_max(x, vf_set(-87.3f)), vf_set(88.3f));
    vf n = vf_round(vf_mul(x, vf_set(1.44269504f)));
    vf r = vf_fma(n, vf_set(-0.693359375f), x); /* ln 2 in two parts, the first exact in few bits */
    r = vf_fma(n, vf_set(2.12194440e-4f), r);
    vf q = vf_fma(vf_set(0.0013814467f), r, vf_set(0.0083687808f));
    q = vf_fma(q, r, vf_set(0.041668393f));
    q = vf_fma(q, r, vf_set(0.1666652f));
    q = vf_fma(q, r, vf_set(0.49999994f));
    return vf_scale2(vf_fma(vf_fma(q, r, vf_set(1)), r, vf_set(1)), n);
}

/* 2^t for t <= 0, 1.4e-7 relative: a minimax polynomial on |r| <= 1/2. It stays at 1e-38. */
ALWAYS_INLINE vf vf_exp2(vf t)
{
    t = vf_max(t, vf_set(-126));
    vf n = vf_round(t), r = vf_sub(t, n);
    vf q = vf_fma(vf_set(0x1.5c08e6p-10f), r, vf_set(0x1.3d0c54p-7f));
    q = vf_fma(q, r, vf_set(0x1.c6b6e4p-5f));
    q = vf_fma(q, r, vf_set(0x1.ebf918p-3f));
    q = vf_fma(q, r, vf_set(0x1.62e428p-1f));
    return vf_scale2(vf_fma(q, r, vf_set(0x1.000002p+0f)), n);
}

ALWAYS_INLINE vf vf_sigmoid(vf x)
{
    return vf_div(vf_set(1), vf_add(vf_set(1), vf_exp(vf_sub(vf_set(0), x))));
}

ALWAYS_INLINE vf vf_tanh(vf x)
{
    return vf_sub(vf_set(1), vf_div(vf_set(2), vf_add(vf_exp(vf_add(x, x)), vf_set(1))));
}

/* x tanh(log(1 + e^x)) = x n / (n + 2), n = e^x (e^x + 2) */
ALWAYS_INLINE vf vf_mish(vf x)
{
    vf e = vf_exp(vf_min(x, vf_set(20))), n = vf_mul(e, vf_add(e, vf_set(2)));
    return vf_mul(x, vf_div(n, vf_add(n, vf_set(2))));
}

/* act is a constant wherever this is called. */
ALWAYS_INLINE vf vf_activate(enum activation act, vf x)
{
    vf zero = vf_set(0), cube;
    switch (act) {
    case ACT_GELU:
        return vf_gelu(x);
    case ACT_GELU_TANH: /* x/2 (1 + tanh z) = x sigmoid(2 z), 2 z = sqrt(8 / pi) (x + 0.044715 x^3) */
        cube = vf_mul(vf_mul(x, x), x);
        return vf_mul(x, vf_sigmoid(vf_mul(vf_set(1.5957691216f), vf_fma(cube, vf_set(0.044715f), x))));
    case ACT_QUICK_GELU:
        return vf_mul(x, vf_sigmoid(vf_mul(x, vf_set(1.702f))));
    case ACT_RELU:
        return vf_max(x, zero);
    case ACT_RELU2:
        return vf_mul(vf_max(x, zero), vf_max(x, zero));
    case ACT_SILU:
        return vf_mul(x, vf_sigmoid(x));
    case ACT_TANH:
        return vf_tanh(x);
    case ACT_SIGMOID:
        return vf_sigmoid(x);
    case ACT_MISH:
        return vf_mish(x);
    case ACT_ELU:
        return vf_add(vf_max(x, zero), vf_min(vf_sub(vf_exp(vf_min(x, zero)), vf_set(1)), zero));
    case ACT_LEAKY_RELU:
        return vf_max(x, vf_mul(x, vf_set(0.01f)));
    default:
        return x;
    }
}

ALWAYS_INLINE void activate_act(enum activation act, const float *x, float *y, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += LANES)
        store_upto(y + i, vf_activate(act, load_upto(x + i, n - i)), n - i);
}

/* NR columns of every row from column n on: no tails. up and residual are constants. */
ALWAYS_INLINE void finish_whole(enum activation act, const struct finish *f, uint32_t n, const bool up,
                                const bool residual)
{
    vf bias[TILE_VECS], bias_up[TILE_VECS];
    UNROLL for (int v = 0; v < TILE_VECS; v++)
    {
        bias[v] = vf_load(f->bias + n + v * LANES);
        bias_up[v] = up ? vf_load(f->bias_up + n + v * LANES) : bias[v];
    }
    for (uint32_t r = 0; r < f->rows; r++) {
        const float *c = f->c + r * f->ldc + n, *cu = up ? f->up + r * f->ldc + n : NULL;
        const float *res = residual ? f->residual + r * f->residual_stride + n : NULL;
        float *y = f->y + r * f->stride + n;
        UNROLL for (int v = 0; v < TILE_VECS; v++)
        {
            vf t = vf_activate(act, vf_add(vf_load(c + v * LANES), bias[v]));
            if (up)
                t = vf_mul(t, vf_add(vf_load(cu + v * LANES), bias_up[v]));
            if (residual)
                t = vf_add(t, vf_load(res + v * LANES));
            vf_store(y + v * LANES, t);
        }
    }
}

ALWAYS_INLINE void finish_part(enum activation act, const struct finish *f)
{
    for (uint32_t r = 0; r < f->rows; r++) {
        const float *c = f->c + r * f->ldc, *up = f->up ? f->up + r * f->ldc : NULL;
        const float *residual = f->residual ? f->residual + r * f->residual_stride : NULL;
        for (uint32_t i = 0; i < f->cols; i += LANES) {
            uint32_t left = f->cols - i;
            vf t = vf_activate(act, vf_add(load_upto(c + i, left), load_upto(f->bias + i, left)));
            if (up)
                t = vf_mul(t, vf_add(load_upto(up + i, left), load_upto(f->bias_up + i, left)));
            if (residual)
                t = vf_add(t, load_upto(residual + i, left));
            store_upto(f->y + r * f->stride + i, t, left);
        }
    }
}

ALWAYS_INLINE void finish_act(enum activation act, const struct finish *f)
{
    if (f->cols % NR || (f->up && f->residual)) {
        finish_part(act, f);
        return;
    }
    for (uint32_t n = 0; n < f->cols; n += NR)
        if (f->up)
            finish_whole(act, f, n, true, false);
        else if (f->residual)
            finish_whole(act, f, n, false, true);
        else
            finish_whole(act, f, n, false, false);
}

/* One loop per activation, chosen outside of it. */
#define EACH_ACTIVATION(DO)                                                                                            \
    switch (act) {                                                                                                     \
    case ACT_GELU:                                                                                                     \
        DO(ACT_GELU);                                                                                                  \
        break;                                                                                                         \
    case ACT_GELU_TANH:                                                                                                \
        DO(ACT_GELU_TANH);                                                                                             \
        break;                                                                                                         \
    case ACT_QUICK_GELU:                                                                                               \
        DO(ACT_QUICK_GELU);                                                                                            \
        break;                                                                                                         \
    case ACT_RELU:                                                                                                     \
        DO(ACT_RELU);                                                                                                  \
        break;                                                                                                         \
    case ACT_RELU2:                                                                                                    \
        DO(ACT_RELU2);                                                                                                 \
        break;                                                                                                         \
    case ACT_SILU:                                                                                                     \
        DO(ACT_SILU);                                                                                                  \
        break;                                                                                                         \
    case ACT_TANH:                                                                                                     \
        DO(ACT_TANH);                                                                                                  \
        break;                                                                                                         \
    case ACT_SIGMOID:                                                                                                  \
        DO(ACT_SIGMOID);                                                                                               \
        break;                                                                                                         \
    case ACT_MISH:                                                                                                     \
        DO(ACT_MISH);                                                                                                  \
        break;                                                                                                         \
    case ACT_ELU:                                                                                                      \
        DO(ACT_ELU);                                                                                                   \
        break;                                                                                                         \
    case ACT_LEAKY_RELU:                                                                                               \
        DO(ACT_LEAKY_RELU);                                                                                            \
        break;                                                                                                         \
    default:                                                                                                           \
        DO(ACT_NONE);                                                                                                  \
    }

static inline void simd_activate(enum activation act, const float *x, float *y, uint32_t n)
{
#define DO(ACT) activate_act(ACT, x, y, n)
    EACH_ACTIVATION(DO)
#undef DO
}

static inline void simd_finish(const struct finish *f)
{
    enum activation act = f->act;
#define DO(ACT) finish_act(ACT, f)
    EACH_ACTIVATION(DO)
#undef DO
}

ALWAYS_INLINE void add_channels_whole(const struct channels *p, uint32_t row)
{
    const float *x = p->x + row * p->stride, *w = p->w;
    float *c = p->c + (size_t)row * NR;
    vf sum[TILE_VECS];
    UNROLL for (int v = 0; v < TILE_VECS; v++) sum[v] = vf_load(c + v * LANES);
    for (uint32_t j = 0; j < p->n; j++, w += NR)
        UNROLL for (int v = 0; v < TILE_VECS; v++) sum[v] = vf_fma(vf_set(x[j]), vf_load(w + v * LANES), sum[v]);
    UNROLL for (int v = 0; v < TILE_VECS; v++) vf_store(c + v * LANES, sum[v]);
}

static inline void simd_add_channels(const struct channels *p)
{
    for (uint32_t r = 0; r < p->rows; r++)
        if (p->nr == NR)
            add_channels_whole(p, r);
        else /* panels of another instruction set's products */
            for (uint32_t i = 0; i < p->nr; i += LANES) {
                float *c = p->c + (size_t)r * p->nr + i;
                uint32_t left = p->nr - i;
                vf sum = load_upto(c, left);
                for (uint32_t j = 0; j < p->n; j++)
                    sum = vf_fma(vf_set(p->x[r * p->stride + j]), load_upto(p->w + j * p->nr + i, left), sum);
                store_upto(c, sum, left);
            }
}

/* ---- rows */

/* For n < LANES the lanes from n on are those of `rest`. */
ALWAYS_INLINE vf first_upto(vf v, uint32_t n, vf rest)
{
    return n >= LANES ? v : vf_first(v, n, rest);
}

/* With a bias it is added on the way to the largest, else the scale is part of the exponent's factor. */
ALWAYS_INLINE void soften_row(const struct soften *p, uint32_t row, const bool biased)
{
    float *s = p->s + row * p->lds, old = p->max[row], log2e = 1.44269504f, unit = biased ? log2e : p->scale * log2e;
    uint32_t n = p->n, i;
    vf by = vf_set(unit), scale = vf_set(p->scale), none = vf_set(-INFINITY), high = none, sum = vf_set(0);
    for (i = 0; i < n; i += LANES) {
        vf v = load_upto(s + i, n - i);
        if (biased) {
            v = vf_fma(v, scale, load_upto(p->bias + i, n - i));
            store_upto(s + i, v, n - i);
        }
        high = vf_max(high, first_upto(vf_mul(v, by), n - i, none));
    }
    float max = ceilf(vf_hmax(high)), keep = 1;
    if (max > old)
        keep = old > -INFINITY ? ldexpf(1, (int)fmaxf(old - max, -126)) : 0;
    else
        max = old;
    vf from = vf_set(-max);
    for (i = 0; i < n; i += LANES) {
        vf e = first_upto(vf_exp2(vf_fma(load_upto(s + i, n - i), by, from)), n - i, vf_set(0));
        store_upto(s + i, e, n - i);
        sum = vf_add(sum, e);
    }
    p->keep[row] = keep;
    p->sum[row] = p->sum[row] * keep + vf_sum(sum);
    p->max[row] = max;
}

static inline void simd_soften(const struct soften *p)
{
    for (uint32_t r = 0; r < p->rows; r++)
        if (p->bias)
            soften_row(p, r, true);
        else
            soften_row(p, r, false);
}

static inline void simd_scale(float *y, float f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += LANES)
        store_upto(y + i, vf_mul(load_upto(y + i, n - i), vf_set(f)), n - i);
}

static inline void simd_softmax(float *p, uint32_t n)
{
    float max = -INFINITY, sum = 0, keep;
    simd_soften(&(struct soften){ p, n, 1, n, 1, NULL, &max, &sum, &keep });
    simd_scale(p, 1 / sum, n);
}

static inline float simd_dot(const float *a, const float *b, uint32_t n)
{
    vf s0 = vf_set(0), s1 = vf_set(0);
    uint32_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        s0 = vf_fma(vf_load(a + i), vf_load(b + i), s0);
        s1 = vf_fma(vf_load(a + i + LANES), vf_load(b + i + LANES), s1);
    }
    for (; i < n; i += LANES)
        s0 = vf_fma(load_upto(a + i, n - i), load_upto(b + i, n - i), s0);
    return vf_sum(vf_add(s0, s1));
}

static inline void simd_add(float *y, const float *a, float scale, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += LANES)
        store_upto(y + i, vf_fma(load_upto(a + i, n - i), vf_set(scale), load_upto(y + i, n - i)), n - i);
}

/* The sum of d or, squared, of d^2, d = x - mean: four sums, so that none waits for its last addition. */
ALWAYS_INLINE float sum_row(const float *x, uint32_t n, float mean, const bool squared)
{
    vf sum[4], m = vf_set(mean), zero = vf_set(0);
    uint32_t i = 0;
    UNROLL for (int v = 0; v < 4; v++) sum[v] = zero;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        UNROLL for (uint32_t v = 0; v < 4; v++)
        {
            vf d = vf_sub(vf_load(x + i + v * LANES), m);
            sum[v] = squared ? vf_fma(d, d, sum[v]) : vf_add(d, sum[v]);
        }
    for (; i < n; i += LANES) {
        vf d = first_upto(vf_sub(load_upto(x + i, n - i), m), n - i, zero);
        sum[0] = squared ? vf_fma(d, d, sum[0]) : vf_add(d, sum[0]);
    }
    return vf_sum(vf_add(vf_add(sum[0], sum[1]), vf_add(sum[2], sum[3])));
}

/* Two passes after the mean: the row is in the first cache. */
static inline void simd_norm(const struct norm *p, const float *x, float *y)
{
    uint32_t n = p->size;
    float mean = p->kind == NORM_LAYER ? sum_row(x, n, 0, false) / (float)n : 0;
    float scale = 1 / sqrtf(sum_row(x, n, mean, true) / (float)n + p->eps);
    vf m = vf_set(mean), f = vf_set(scale), gamma = vf_set(1), beta = vf_set(0);
    for (uint32_t i = 0; i < n; i += LANES) {
        if (p->gamma)
            gamma = load_upto(p->gamma + i, n - i);
        if (p->beta)
            beta = load_upto(p->beta + i, n - i);
        store_upto(y + i, vf_fma(vf_mul(vf_sub(load_upto(x + i, n - i), m), f), gamma, beta), n - i);
    }
}

ALWAYS_INLINE vf load_as(const void *p, enum dtype type, uint32_t i)
{
    if (type == DTYPE_F32)
        return vf_load((const float *)p + i);
    return type == DTYPE_F16 ? vf_load_f16((const uint16_t *)p + i) : vf_load_bf16((const uint16_t *)p + i);
}

static inline void simd_gather(float *y, const void *a, enum dtype type, float scale, uint32_t n, bool set)
{
    vf f = vf_set(scale);
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf v = vf_mul(load_as(a, type, i), f);
        vf_store(y + i, set ? v : vf_add(vf_load(y + i), v));
    }
    for (; i < n; i++) {
        float v;
        convert_to_f32(&v, (const char *)a + i * dtype_size(type), type, 1);
        y[i] = (set ? 0 : y[i]) + scale * v;
    }
}

static inline void simd_rotate(float *x, const float *cos, const float *sin, uint32_t dim, bool interleaved)
{
    uint32_t half = dim / 2;
    for (uint32_t i = 0; interleaved && i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cos[i] - b * sin[i];
        x[2 * i + 1] = b * cos[i] + a * sin[i];
    }
    for (uint32_t i = 0; !interleaved && i < half; i += LANES) {
        uint32_t n = half - i;
        vf a = load_upto(x + i, n), b = load_upto(x + half + i, n), c = load_upto(cos + i, n),
           s = load_upto(sin + i, n);
        store_upto(x + i, vf_sub(vf_mul(a, c), vf_mul(b, s)), n);
        store_upto(x + half + i, vf_fma(b, c, vf_mul(a, s)), n);
    }
}

#include "device/cpu/kernels_simd_gemm.h"

/* What is the same for all: everything but the gemms. */
static inline void simd_fill(struct kernels *k)
{
    k->finish = simd_finish;
    k->add_channels = simd_add_channels;
    k->lanes = LANES;
    k->matmul = simd_matmul;
    k->matmul_rows = MM_ROWS;
    k->transpose = simd_transpose;
    k->soften = simd_soften;
    k->scale = simd_scale;
    k->softmax = simd_softmax;
    k->dot = simd_dot;
    k->add = simd_add;
    k->activate = simd_activate;
    k->norm = simd_norm;
    k->gather = simd_gather;
    k->rotate = simd_rotate;
}

#endif
