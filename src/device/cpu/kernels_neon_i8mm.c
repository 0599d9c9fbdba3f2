/* SPDX-License-Identifier: Apache-2.0 */
/* I8MM (Cortex-A510, A710, X2, Neoverse V1): 2 x 8 times 8 x 2 bytes at a time. */
#include "device/cpu/kernels_simd_neon.h"

#include "device/cpu/kernels_simd.h"

/* Rows and columns go by pairs: 3 row pairs x 8 column pairs of sums, 3 of a, 1 of b. An odd last row stands twice. */
enum { TILE_ROWS_I8 = 6, KR_I8 = 8 };

static inline int8x16_t load_pair(const int8_t *a, const int8_t *b)
{
    return vcombine_s8(vld1_s8(a), vld1_s8(b));
}

ALWAYS_INLINE void tile_pairs(const int PAIRS, const struct tile *t)
{
    int32x4_t sum[3][NR / 2];
    const int8_t *b = t->b, *row[3][2];
    uintptr_t ahead = t->ahead;
    UNROLL for (int p = 0; p < PAIRS; p++)
    {
        uint32_t second = 2 * (uint32_t)p + 1 < t->rows ? 2 * (uint32_t)p + 1 : 2 * (uint32_t)p;
        row[p][0] = (const int8_t *)t->a + 2 * (size_t)p * t->lda;
        row[p][1] = (const int8_t *)t->a + second * t->lda;
        UNROLL for (int v = 0; v < NR / 2; v++) sum[p][v] = vdupq_n_s32(0);
    }
    for (uint32_t i = 0; i < t->k; i += KR_I8, b += KR_I8 * NR) {
        int8x16_t x[3];
        __builtin_prefetch((const void *)ahead, 0, 2);
        ahead += t->ahead_step;
        UNROLL for (int p = 0; p < PAIRS; p++) x[p] = load_pair(row[p][0] + i, row[p][1] + i);
        UNROLL for (int v = 0; v < NR / 2; v++)
        {
            int8x16_t w = vld1q_s8(b + v * 16);
            UNROLL for (int p = 0; p < PAIRS; p++) sum[p][v] = vmmlaq_s32(sum[p][v], x[p], w);
        }
    }
    UNROLL for (int p = 0; p < PAIRS; p++) UNROLL for (int v = 0; v < NR / 2; v += 2) for (int odd = 0; odd < 2; odd++)
    {
        uint32_t r = 2 * (uint32_t)p + (uint32_t)odd;
        int64x2_t s0 = vreinterpretq_s64_s32(sum[p][v]), s1 = vreinterpretq_s64_s32(sum[p][v + 1]);
        int32x4_t all = vreinterpretq_s32_s64(odd ? vzip2q_s64(s0, s1) : vzip1q_s64(s0, s1));
        if (r < t->rows)
            store_int8_sums(t->c + r * NR + 2 * v, all, t->rq[r].zero, t->rq[r].scale, t->scale + 2 * v,
                            t->wsum + 2 * v);
    }
}

static void tile_i8(const struct tile *t)
{
    if (t->rows > 4)
        tile_pairs(3, t);
    else if (t->rows > 2)
        tile_pairs(2, t);
    else
        tile_pairs(1, t);
}

static void pack_a_i8(const float *x, size_t stride, uint32_t rows, uint32_t k, void *a, size_t lda,
                      struct row_quant *rq)
{
    for (uint32_t r = 0; r < rows; r++)
        quantize_row(KR_I8, 128, x + r * stride, k, (uint8_t *)a + r * lda, rq + r);
}

static void pack_b_i8(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                      int32_t *wsum)
{
    pack_b_i8_kr(KR_I8, KR_I8, range_of_column, w, stride, cols, k, panel, scale, wsum);
}

void kernels_init_neon_i8mm(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_I8MM))
        return;
    k->isa = k->gemm_isa[GEMM_I8] = "i8mm";
    k->gemm[GEMM_I8] = (struct gemm){ TILE_ROWS_I8,  NR, KR_I8, 1, tile_i8, pack_a_i8, pack_b_i8, .offset = 128,
                                      .group = KR_I8 };
}
