/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every kernel in plain C: what runs where nothing better is known, and the truth the others are tested against.
 * Sums that decide accuracy (norms, dot) are in double.
 */
#include "device/cpu/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { MR = 4, NR = 16 };

/* ---- matrix kernels: tile [rows][NR] += a [rows][k] panel [k / kr][NR][kr] */

static void tile_f32(const struct tile *t)
{
    const float *a = t->a, *b = t->b;
    for (uint32_t r = 0; r < t->rows; r++) {
        float acc[NR] = { 0 };
        for (uint32_t k = 0; k < t->k; k++)
            for (int n = 0; n < NR; n++)
                acc[n] += a[r * t->lda + k] * b[(size_t)k * NR + n];
        memcpy(t->c + (size_t)r * NR, acc, sizeof acc);
    }
}

static void tile_f16(const struct tile *t)
{
    const float *a = t->a;
    const uint16_t *b = t->b;
    for (uint32_t r = 0; r < t->rows; r++) {
        float acc[NR] = { 0 };
        for (uint32_t k = 0; k < t->k; k++)
            for (int n = 0; n < NR; n++)
                acc[n] += a[r * t->lda + k] * f16_to_f32(b[(size_t)k * NR + n]);
        memcpy(t->c + (size_t)r * NR, acc, sizeof acc);
    }
}

/* The pairs of a bf16 product are added one after the other, the odd one first, as VDPBF16PS does. */
static void tile_bf16(const struct tile *t)
{
    const uint16_t *a = t->a, *b = t->b;
    for (uint32_t r = 0; r < t->rows; r++) {
        float acc[NR] = { 0 };
        for (uint32_t k = 0; k < t->k; k += 2) {
            float a0 = bf16_to_f32(a[r * t->lda + k]), a1 = bf16_to_f32(a[r * t->lda + k + 1]);
            for (int n = 0; n < NR; n++) {
                const uint16_t *pair = b + (size_t)k * NR + 2 * n;
                acc[n] += a1 * bf16_to_f32(pair[1]);
                acc[n] += a0 * bf16_to_f32(pair[0]);
            }
        }
        memcpy(t->c + (size_t)r * NR, acc, sizeof acc);
    }
}

static void tile_i8(const struct tile *t)
{
    const uint8_t *a = t->a;
    const int8_t *b = t->b;
    for (uint32_t r = 0; r < t->rows; r++) {
        int32_t acc[NR] = { 0 };
        for (uint32_t k = 0; k < t->k; k += 4)
            for (int n = 0; n < NR; n++)
                for (int i = 0; i < 4; i++)
                    acc[n] += a[r * t->lda + k + i] * b[(size_t)k * NR + 4 * n + i];
        for (int n = 0; n < NR; n++)
            t->c[(size_t)r * NR + n] = t->rq[r].scale * t->scale[n] * (float)(acc[n] - t->rq[r].zero * t->wsum[n]);
    }
}

/* ---- packing */

static void pack_b_f32(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                       int32_t *wsum)
{
    (void)scale, (void)wsum;
    float *b = panel;
    for (uint32_t i = 0; i < k; i++)
        for (uint32_t n = 0; n < NR; n++)
            b[(size_t)i * NR + n] = n < cols ? w[n * stride + i] : 0;
}

static void pack_b_f16(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                       int32_t *wsum)
{
    (void)scale, (void)wsum;
    uint16_t *b = panel;
    for (uint32_t i = 0; i < k; i++)
        for (uint32_t n = 0; n < NR; n++)
            b[(size_t)i * NR + n] = n < cols ? f32_to_f16(w[n * stride + i]) : 0;
}

static void pack_b_bf16(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                        int32_t *wsum)
{
    (void)scale, (void)wsum;
    uint16_t *b = panel;
    for (uint32_t i = 0; i < k; i += 2)
        for (uint32_t n = 0; n < NR; n++)
            for (uint32_t j = i; j < i + 2; j++)
                *b++ = n < cols && j < k ? f32_to_bf16(w[n * stride + j]) : 0;
}

/* What becomes 127 steps of a column: its largest weight, or more if its quads need that. */
static float range_of_column(const float *w, uint32_t k, bool quads)
{
    float most = 0;
    for (uint32_t i = 0; !quads && i < k; i++)
        most = fmaxf(most, fabsf(w[i]));
    for (uint32_t i = 0; quads && i < k; i += i % 8 ? 6 : 2) { /* the first of a quad */
        float sum[2][2] = { { 0 } };
        for (uint32_t j = 0; j < 4; j++) {
            uint32_t at = i + j % 2 + j / 2 * 4;
            sum[0][j / 2] += at < k ? fmaxf(w[at], 0) : 0;
            sum[1][j / 2] += at < k ? fmaxf(-w[at], 0) : 0;
        }
        most = fmaxf(most, fmaxf(sum[0][0] + sum[0][1], sum[1][0] + sum[1][1]));
    }
    return quads ? most * QUAD_RANGE : most;
}

static void pack_b_columns(const float *w, size_t stride, uint32_t cols, uint32_t k, int8_t *b, float *scale,
                           int32_t *wsum, bool quads)
{
    uint32_t k4 = (k + 3) / 4 * 4;
    memset(b, 0, (size_t)k4 * NR);
    for (uint32_t n = 0; n < NR; n++) {
        float max = n < cols ? range_of_column(w + n * stride, k, quads) : 0;
        float inverse = quant_usable(max) ? 127 / max : 0;
        scale[n] = max / 127;
        wsum[n] = 0;
        for (uint32_t i = 0; n < cols && i < k; i++) {
            int32_t q = inverse > 0 ? (int32_t)nearbyintf(w[n * stride + i] * inverse) : 0;
            b[(size_t)(i / 4) * 4 * NR + 4 * n + i % 4] = (int8_t)q;
            wsum[n] += q;
        }
    }
}

static void pack_b_i8(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                      int32_t *wsum)
{
    pack_b_columns(w, stride, cols, k, panel, scale, wsum, false);
}

static void pack_b_i8_quads(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                            int32_t *wsum)
{
    pack_b_columns(w, stride, cols, k, panel, scale, wsum, true);
}

static void pack_a_bf16(const float *x, size_t stride, uint32_t rows, uint32_t k, void *a, size_t lda,
                        struct row_quant *rq)
{
    (void)rq;
    uint16_t *out = a;
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t i = 0; i < k; i++)
            out[r * lda + i] = f32_to_bf16(x[r * stride + i]);
        if (k & 1)
            out[r * lda + k] = 0;
    }
}

/* Zero is always inside the range, so that padding is exact: q = zero stands for 0. */
static void pack_a_i8(const float *x, size_t stride, uint32_t rows, uint32_t k, void *a, size_t lda,
                      struct row_quant *rq)
{
    uint8_t *out = a;
    for (uint32_t r = 0; r < rows; r++) {
        float lo = 0, hi = 0;
        for (uint32_t i = 0; i < k; i++) {
            lo = fminf(lo, x[r * stride + i]);
            hi = fmaxf(hi, x[r * stride + i]);
        }
        float range = hi - lo, inverse = quant_usable(range) ? 255 / range : 0;
        int32_t zero = inverse > 0 ? (int32_t)nearbyintf(-lo * inverse) : 0;
        rq[r] = (struct row_quant){ range / 255, zero };
        for (uint32_t i = 0; i < k; i++) {
            float q = fminf(fmaxf(x[r * stride + i] * inverse, (float)-zero), (float)(255 - zero));
            out[r * lda + i] = (uint8_t)((int32_t)nearbyintf(q) + zero);
        }
        for (uint32_t i = k; i % 4; i++)
            out[r * lda + i] = (uint8_t)zero;
    }
}

/* ---- elementwise */

static float activate_one(enum activation act, float x)
{
    switch (act) {
    case ACT_NONE:
        return x;
    case ACT_GELU:
        return 0.5f * x * erfcf(-x * (float)M_SQRT1_2);
    case ACT_RELU:
        return x > 0 ? x : 0;
    default:
        return activation_apply(act, x);
    }
}

static void activate_rows(enum activation act, const float *x, float *y, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        y[i] = activate_one(act, x[i]);
}

static void finish_tile(const struct finish *f)
{
    for (uint32_t r = 0; r < f->rows; r++)
        for (uint32_t n = 0; n < f->cols; n++) {
            float t = activate_one(f->act, f->c[r * f->ldc + n] + f->bias[n]);
            if (f->up)
                t *= f->up[r * f->ldc + n] + f->bias_up[n];
            if (f->residual)
                t += f->residual[r * f->residual_stride + n];
            f->y[r * f->stride + n] = t;
        }
}

static void add_channels(const struct channels *p)
{
    for (uint32_t r = 0; r < p->rows; r++)
        for (uint32_t j = 0; j < p->n; j++)
            for (uint32_t i = 0; i < p->nr; i++)
                p->c[r * p->nr + i] += p->x[r * p->stride + j] * p->w[j * p->nr + i];
}

static void matmul(const struct matmul *m)
{
    for (uint32_t r = 0; r < m->rows; r++)
        for (uint32_t begin = 0; begin < m->cols; begin += NR) {
            uint32_t n = m->cols - begin < NR ? m->cols - begin : NR;
            float acc[NR] = { 0 }, *c = m->c + r * m->ldc + begin;
            for (uint32_t i = 0; i < m->k; i++)
                for (uint32_t j = 0; j < n; j++)
                    acc[j] += m->a[r * m->lda + i] * m->b[i * m->ldb + begin + j];
            for (uint32_t j = 0; j < n; j++)
                c[j] = ((m->keep ? c[j] * m->keep[r] : 0) + acc[j]) * (m->scale ? m->scale[r] : 1);
        }
}

static void transpose(const float *src, size_t lds, uint32_t rows, uint32_t cols, float *dst, size_t ldd)
{
    for (uint32_t c = 0; c < cols; c++)
        for (uint32_t r = 0; r < rows; r++)
            dst[c * ldd + r] = src[r * lds + c];
}

static void soften_row(const struct soften *p, uint32_t row)
{
    float *s = p->s + row * p->lds, max = p->max[row];
    double sum = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        s[i] = s[i] * p->scale + (p->bias ? p->bias[i] : 0);
        max = fmaxf(max, ceilf(s[i] * (float)M_LOG2E));
    }
    for (uint32_t i = 0; i < p->n; i++)
        sum += s[i] = (float)exp2(s[i] * M_LOG2E - max);
    p->keep[row] = exp2f(p->max[row] - max);
    p->sum[row] = (float)(p->sum[row] * p->keep[row] + sum);
    p->max[row] = max;
}

static void soften(const struct soften *p)
{
    for (uint32_t r = 0; r < p->rows; r++)
        soften_row(p, r);
}

static void scale_row(float *y, float f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        y[i] *= f;
}

static void softmax(float *p, uint32_t n)
{
    float max = -INFINITY, sum = 0, keep;
    soften(&(struct soften){ p, n, 1, n, 1, NULL, &max, &sum, &keep });
    scale_row(p, 1 / sum, n);
}

static float dot(const float *a, const float *b, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return (float)sum;
}

static void add_row(float *y, const float *a, float scale, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        y[i] += scale * a[i];
}

static void norm_row(const struct norm *p, const float *x, float *y)
{
    double mean = 0, square = 0;
    if (p->kind == NORM_LAYER) {
        for (uint32_t i = 0; i < p->size; i++)
            mean += x[i];
        mean /= p->size;
    }
    for (uint32_t i = 0; i < p->size; i++)
        square += (x[i] - mean) * (x[i] - mean);
    double inverse = 1 / sqrt(square / p->size + p->eps);
    for (uint32_t i = 0; i < p->size; i++)
        y[i] = (float)((x[i] - mean) * inverse) * (p->gamma ? p->gamma[i] : 1) + (p->beta ? p->beta[i] : 0);
}

static void gather(float *y, const void *a, enum dtype type, float scale, uint32_t n, bool set)
{
    size_t size = dtype_size(type);
    for (uint32_t i = 0; i < n; i++) {
        float f;
        convert_to_f32(&f, (const char *)a + i * size, type, 1);
        y[i] = (set ? 0 : y[i]) + scale * f;
    }
}

static void rotate(float *x, const float *cos, const float *sin, uint32_t dim, bool interleaved)
{
    uint32_t half = dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        uint32_t first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + half;
        float a = x[first], b = x[second];
        x[first] = a * cos[i] - b * sin[i];
        x[second] = b * cos[i] + a * sin[i];
    }
}

void kernels_init_portable(struct kernels *k)
{
    *k = (struct kernels){
        .isa = "portable",
        .gemm = {
            [GEMM_F32] = { MR, NR, 1, 4, tile_f32, NULL, pack_b_f32 },
            [GEMM_F16] = { MR, NR, 1, 4, tile_f16, NULL, pack_b_f16 },
            [GEMM_BF16] = { MR, NR, 2, 2, tile_bf16, pack_a_bf16, pack_b_bf16 },
            [GEMM_I8] = { MR, NR, 4, 1, tile_i8, pack_a_i8, pack_b_i8, .group = 4 },
        },
        .gemm_quads_i8 = { MR, NR, 4, 1, tile_i8, pack_a_i8, pack_b_i8_quads, .quads = true, .group = 4 },
        .gemm_isa = { "portable", "portable", "portable", "portable" },
        .finish = finish_tile,
        .add_channels = add_channels,
        .lanes = 1,
        .matmul = matmul,
        .matmul_rows = 1,
        .transpose = transpose,
        .soften = soften,
        .scale = scale_row,
        .softmax = softmax,
        .dot = dot,
        .add = add_row,
        .activate = activate_rows,
        .norm = norm_row,
        .gather = gather,
        .rotate = rotate,
    };
}
