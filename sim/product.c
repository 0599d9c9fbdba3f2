/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of matmul: elements become f32, products are summed in f32 over pieces of K that are short enough to
 * be exact for 8-bit integers, pieces in double, and the sum is rounded once to the type of C. Strips of 16 columns of
 * B are unpacked at a time.
 */
#include "matmul.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    STRIP = 16,
    PIECE = 256, /* 255 * 255 * 256 < 2^24 */
};

/* n elements of a 16, 8 or 4 bit type, `step` elements apart, minus zp. */
static void load(const uint8_t *p, int type, size_t at, size_t step, uint32_t n, float zp, float *out, size_t out_step)
{
    for (uint32_t i = 0; i < n; i++, at += step, out += out_step) {
        uint16_t h;
        switch (type) {
        case SIM_F16:
            memcpy(&h, p + 2 * at, 2);
            *out = half_to_float(h);
            break;
        case SIM_I8:
            *out = (float)(int8_t)p[at] - zp;
            break;
        default: /* i4, the first of a byte in the low half */
            *out = (float)(((p[at / 2] >> 4 * (at & 1) & 15) ^ 8) - 8) - zp;
        }
    }
}

static float *load_a(const struct matmul_product *p)
{
    const struct matmul *m = p->m;
    float zp = m->quant[0].zp ? (float)m->quant[0].zp[0] : 0;
    uint32_t group = m->info.AC_layout == SIM_NATIVE ? m->tile.a : p->K;
    float *a = malloc(sizeof *a * p->M * p->K); // [M, K] f32
    for (uint32_t r = 0; a && r < p->M; r++)
        for (uint32_t k = 0; k < p->K; k += group)
            load(p->a, m->kind->a, native_ac(group, p->M, r, k), 1, group, zp, a + (size_t)r * p->K + k, 1);
    return a;
}

/* strip [K, STRIP] f32: columns n0 .. n0 + width, zeros behind them */
static void load_strip(const struct matmul_product *p, uint32_t n0, uint32_t width, float *strip)
{
    const struct matmul *m = p->m;
    const struct matmul_quant *q = &m->quant[1];
    if (width < STRIP)
        memset(strip, 0, sizeof *strip * STRIP * p->K);
    for (uint32_t j = 0; j < width; j++) {
        uint32_t n = n0 + j;
        float zp = q->zp ? (float)q->zp[q->n > 1 ? n : 0] : 0;
        if (m->info.B_layout == SIM_NORMAL) {
            load(p->b, m->kind->b, n, p->N, p->K, zp, strip + j, STRIP);
        } else if (m->info.B_layout == SIM_TRANSPOSED) {
            load(p->b, m->kind->b, (size_t)n * p->K, 1, p->K, zp, strip + j, STRIP);
        } else {
            for (uint32_t k = 0; k < p->K; k += m->tile.k)
                load(p->b, m->kind->b, native_b(&m->tile, p->K, p->N, k, n), 1, m->tile.k, zp, strip + k * STRIP + j,
                     STRIP);
        }
    }
}

typedef float quad __attribute__((vector_size(16), aligned(4), may_alias)); /* the compiler's own: SSE, NEON, scalars */

/* Two rows times a strip. a0, a1 [K], strip [K, STRIP]; sums [2][STRIP]. All of it belongs to this call: nothing for
 * the thread sanitizer to see, only to slow down. */
__attribute__((no_sanitize_thread)) static void multiply(const float *restrict a0, const float *restrict a1,
                                                         const float *restrict strip, uint32_t K, double sums[2][STRIP])
{
    memset(sums, 0, sizeof(double[2][STRIP]));
    for (uint32_t k0 = 0; k0 < K; k0 += PIECE) {
        quad s0 = { 0 }, s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
        uint32_t end = k0 + PIECE < K ? k0 + PIECE : K;
        for (uint32_t k = k0; k < end; k++) {
            const quad *b = (const quad *)(strip + k * STRIP);
            s0 += a0[k] * b[0];
            s1 += a0[k] * b[1];
            s2 += a0[k] * b[2];
            s3 += a0[k] * b[3];
            t0 += a1[k] * b[0];
            t1 += a1[k] * b[1];
            t2 += a1[k] * b[2];
            t3 += a1[k] * b[3];
        }
        const quad rows[2][4] = { { s0, s1, s2, s3 }, { t0, t1, t2, t3 } };
        for (int j = 0; j < STRIP; j++) {
            sums[0][j] += rows[0][j / 4][j % 4];
            sums[1][j] += rows[1][j / 4][j % 4];
        }
    }
}

static double clamp(double v, double lo, double hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

static void store(const struct matmul_product *p, uint32_t r, uint32_t n, double sum)
{
    const struct matmul *m = p->m;
    const struct matmul_quant *qa = &m->quant[0], *qb = &m->quant[1], *qc = &m->quant[2];
    double real = sum * (qa->scale ? qa->scale[0] : 1) * (qb->scale ? qb->scale[qb->n > 1 ? n : 0] : 1);
    size_t at = m->info.AC_layout == SIM_NATIVE ? native_ac(m->tile.c, p->M, r, n) : (size_t)r * p->N + n;
    union {
        float f;
        uint16_t h;
        int32_t i;
        int16_t s;
        int8_t b;
    } v;
    switch (m->kind->c) {
    case SIM_F32:
        v.f = (float)real;
        memcpy(p->c + 4 * at, &v.f, 4);
        break;
    case SIM_F16:
        v.h = float_to_half((float)real);
        memcpy(p->c + 2 * at, &v.h, 2);
        break;
    case SIM_I32:
        v.i = (int32_t)clamp(sum, INT32_MIN, INT32_MAX);
        memcpy(p->c + 4 * at, &v.i, 4);
        break;
    case SIM_I16:
        v.s = (int16_t)clamp(sum, INT16_MIN, INT16_MAX);
        memcpy(p->c + 2 * at, &v.s, 2);
        break;
    default: /* i8, requantised */
        real = real / (qc->scale ? qc->scale[0] : 1) + (qc->zp ? qc->zp[0] : 0);
        v.b = (int8_t)clamp(nearbyint(real), INT8_MIN, INT8_MAX);
        p->c[at] = (uint8_t)v.b;
    }
}

int matmul_compute(struct matmul_product *p)
{
    float *a = load_a(p), *strip = malloc(sizeof *strip * STRIP * p->K);
    if (a == NULL || strip == NULL) {
        free(a);
        free(strip);
        return SIM_NO_MEMORY;
    }
    for (uint32_t n0 = 0; n0 < p->N; n0 += STRIP) {
        uint32_t width = p->N - n0 < STRIP ? p->N - n0 : STRIP;
        load_strip(p, n0, width, strip);
        for (uint32_t r = 0; r < p->M; r += 2) {
            double sums[2][STRIP];
            uint32_t last = r + 1 < p->M ? r + 1 : r;
            multiply(a + (size_t)r * p->K, a + (size_t)last * p->K, strip, p->K, sums);
            for (uint32_t i = r; i <= last; i++)
                for (uint32_t j = 0; j < width; j++)
                    store(p, i, n0 + j, sums[i - r][j]);
        }
    }
    free(a);
    free(strip);
    return SIM_OK;
}
