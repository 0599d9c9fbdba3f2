/* SPDX-License-Identifier: Apache-2.0 */
/* BF16 (Cortex-A510, A710, X2, Neoverse V1): 2 x 4 times 4 x 2 bf16 at a time, sums in f32. */
#include "device/cpu/kernels_simd_neon.h"

#include "device/cpu/kernels_simd.h"

/* Rows and columns go by pairs: 3 row pairs x 8 column pairs of sums, 3 of a, 1 of b. An odd last row stands twice. */
enum { TILE_ROWS_BF16 = 6, KR_BF16 = 4 };

static inline bfloat16x8_t load_pair(const uint16_t *a, const uint16_t *b)
{
    return vreinterpretq_bf16_u16(vcombine_u16(vld1_u16(a), vld1_u16(b)));
}

ALWAYS_INLINE void tile_pairs(const int PAIRS, const struct tile *t)
{
    float32x4_t sum[3][NR / 2];
    const uint16_t *b = t->b, *row[3][2];
    uintptr_t ahead = t->ahead;
    UNROLL for (int p = 0; p < PAIRS; p++)
    {
        uint32_t second = 2 * (uint32_t)p + 1 < t->rows ? 2 * (uint32_t)p + 1 : 2 * (uint32_t)p;
        row[p][0] = (const uint16_t *)t->a + 2 * (size_t)p * t->lda;
        row[p][1] = (const uint16_t *)t->a + second * t->lda;
        UNROLL for (int v = 0; v < NR / 2; v++) sum[p][v] = vdupq_n_f32(0);
    }
    for (uint32_t i = 0; i < t->k; i += KR_BF16, b += KR_BF16 * NR) {
        bfloat16x8_t x[3];
        __builtin_prefetch((const void *)ahead, 0, 2);
        ahead += t->ahead_step;
        UNROLL for (int p = 0; p < PAIRS; p++) x[p] = load_pair(row[p][0] + i, row[p][1] + i);
        UNROLL for (int v = 0; v < NR / 2; v++)
        {
            bfloat16x8_t w = vreinterpretq_bf16_u16(vld1q_u16(b + v * 8));
            UNROLL for (int p = 0; p < PAIRS; p++) sum[p][v] = vbfmmlaq_f32(sum[p][v], x[p], w);
        }
    }
    UNROLL for (int p = 0; p < PAIRS; p++) UNROLL for (int v = 0; v < NR / 2; v += 2)
    {
        float64x2_t s0 = vreinterpretq_f64_f32(sum[p][v]), s1 = vreinterpretq_f64_f32(sum[p][v + 1]);
        float *c = t->c + 2 * p * NR + 2 * v;
        vst1q_f32(c, vreinterpretq_f32_f64(vzip1q_f64(s0, s1)));
        if (2 * (uint32_t)p + 1 < t->rows)
            vst1q_f32(c + NR, vreinterpretq_f32_f64(vzip2q_f64(s0, s1)));
    }
}

static void tile_bf16(const struct tile *t)
{
    if (t->rows > 4)
        tile_pairs(3, t);
    else if (t->rows > 2)
        tile_pairs(2, t);
    else
        tile_pairs(1, t);
}

static void pack_a_bf16(const float *x, size_t stride, uint32_t rows, uint32_t k, void *a, size_t lda,
                        struct row_quant *rq)
{
    (void)rq;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < k; i += LANES) /* k is padded to LANES */
            vf_store_bf16((uint16_t *)a + r * lda + i, load_upto(x + r * stride + i, k - i));
}

static void pack_b_bf16(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                        int32_t *wsum)
{
    (void)scale, (void)wsum;
    pack_b_16_kr(KR_BF16, false, w, stride, cols, k, panel);
}

void kernels_init_neon_bf16(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_BF16))
        return;
    k->isa = k->gemm_isa[GEMM_BF16] = "bf16";
    k->gemm[GEMM_BF16] = (struct gemm){ TILE_ROWS_BF16, NR, KR_BF16, 2, tile_bf16, pack_a_bf16, pack_b_bf16 };
}
