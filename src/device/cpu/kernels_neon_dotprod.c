/* SPDX-License-Identifier: Apache-2.0 */
/* The dot products of ARMv8.2 (Cortex-A55, A76): four bytes of each of four columns at a time, by element of x. */
#include "device/cpu/kernels_simd_neon.h"

#include "device/cpu/kernels_simd.h"

enum { TILE_ROWS_I8 = 5, KR_I8 = 16 }; /* 5 x 4 sums, 5 of x, 1 of b and what is on its way: 16 depths each */

ALWAYS_INLINE int32x4_t dot_lane(int32x4_t sum, int8x16_t w, int8x16_t x, const int lane)
{
    switch (lane) {
    case 0:
        return vdotq_laneq_s32(sum, w, x, 0);
    case 1:
        return vdotq_laneq_s32(sum, w, x, 1);
    case 2:
        return vdotq_laneq_s32(sum, w, x, 2);
    default:
        return vdotq_laneq_s32(sum, w, x, 3);
    }
}

ALWAYS_INLINE void tile_rows(const int R, const struct tile *t)
{
    int32x4_t sum[8][4];
    int8x16_t x[8];
    const int8_t *a = t->a, *b = t->b;
    uintptr_t ahead = t->ahead;
    if (R > TILE_ROWS_I8)
        return;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < 4; v++) sum[r][v] = vdupq_n_s32(0);
    for (uint32_t i = 0; i < t->k; i += 16, b += 16 * NR) {
        __builtin_prefetch((const void *)ahead, 0, 2);
        ahead += t->ahead_step;
        UNROLL for (int r = 0; r < R; r++) x[r] = vld1q_s8(a + (size_t)r * t->lda + i);
        UNROLL for (int lane = 0; lane < 4; lane++)
        {
            UNROLL for (int v = 0; v < 4; v++)
            {
                int8x16_t w = vld1q_s8(b + lane * 4 * NR + v * 16);
                KEEP_ORDER();
                UNROLL for (int r = 0; r < R; r++) sum[r][v] = dot_lane(sum[r][v], w, x[r], lane);
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < 4; v++) store_int8_sums(
        t->c + r * NR + 4 * v, sum[r][v], t->rq[r].zero, t->rq[r].scale, t->scale + 4 * v, t->wsum + 4 * v);
}

static void tile_i8(const struct tile *t)
{
#define DO(R) tile_rows(R, t)
    EACH_ROWS(t->rows, DO)
#undef DO
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
    pack_b_i8_kr(4, KR_I8, range_of_column, w, stride, cols, k, panel, scale, wsum);
}

void kernels_init_neon_dotprod(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_DOTPROD))
        return;
    k->isa = k->gemm_isa[GEMM_I8] = "dotprod";
    k->gemm[GEMM_I8] = (struct gemm){ TILE_ROWS_I8, NR,        KR_I8,         1,         tile_i8,
                                      pack_a_i8,    pack_b_i8, .offset = 128, .group = 4 };
}
