/* SPDX-License-Identifier: Apache-2.0 */
/* NEON as in ARMv8.0 (Cortex-A53, A72, A73): 4 floats at a time; int8 by widening multiplications. */
#include "device/cpu/kernels_simd_neon.h"

#include "device/cpu/kernels_simd.h"

/* As text: gcc 12 repeats the number in a register of its own first. */
#define FMLA(LANE)                                                                                                     \
    case LANE:                                                                                                         \
        __asm__("fmla %0.4s, %1.4s, %2.s[" #LANE "]" : "+w"(sum) : "w"(w), "w"(x));                                    \
        break
ALWAYS_INLINE vf fma_lane(vf sum, vf w, vf x, const int lane)
{
    switch (lane) {
        FMLA(0);
        FMLA(1);
        FMLA(2);
        FMLA(3);
    }
    return sum;
}

enum { TILE_ROWS_F32 = 5 }; /* 5 x 4 sums, 5 of x, 1 of b and what is on its way: the sixth row would be spilled */

/* Four depths at a time: a load of each row serves four steps, which in-order cores need to keep their multiplier busy.
 */
ALWAYS_INLINE void tile_rows_f32(const int R, const struct tile *t)
{
    vf sum[8][TILE_VECS], x[8];
    const float *a = t->a, *b = t->b;
    uintptr_t ahead = t->ahead;
    uint32_t i = 0;
    if (R > TILE_ROWS_F32)
        return;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++) sum[r][v] = vf_set(0);
    for (; i + 4 <= t->k; i += 4, b += 4 * NR) {
        __builtin_prefetch((const void *)ahead, 0, 2);
        ahead += 4 * (size_t)t->ahead_step;
        UNROLL for (int r = 0; r < R; r++) x[r] = vf_load(a + (size_t)r * t->lda + i);
        UNROLL for (int lane = 0; lane < 4; lane++) UNROLL for (int v = 0; v < TILE_VECS; v++)
        {
            vf w = vf_load(b + lane * NR + v * LANES);
            KEEP_ORDER();
            UNROLL for (int r = 0; r < R; r++) sum[r][v] = fma_lane(sum[r][v], w, x[r], lane);
        }
    }
    for (; i < t->k; i++, b += NR)
        UNROLL for (int v = 0; v < TILE_VECS; v++) UNROLL for (int r = 0; r < R; r++)
            sum[r][v] = vf_fma_n(a[(size_t)r * t->lda + i], vf_load(b + v * LANES), sum[r][v]);
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++)
        vf_store(t->c + r * NR + v * LANES, sum[r][v]);
}

static void tile_f32(const struct tile *t)
{
#define DO(R) tile_rows_f32(R, t)
    EACH_ROWS(t->rows, DO)
#undef DO
}

/*
 * Int8 without dot products. 16 depths of a column stand together, [k / 16][NR][16]. Two products of the same place in
 * the low and high half fit 16 bits (|x| <= 128, |w| <= 127: 2 * 128 * 127 < 2^15), pairs of those are added into 32.
 * The four sums of a column are added at the end. Columns go by four, so that 4 x 4 sums stay in registers.
 */
enum { TILE_ROWS_I8 = 4, KR_I8 = 16 };

ALWAYS_INLINE void tile_rows_i8(const int R, const struct tile *t)
{
    const int8_t *a = t->a;
    for (int n = 0; n < NR; n += 4) {
        const int8_t *b = (const int8_t *)t->b + n * KR_I8;
        int32x4_t sum[4][4];
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < 4; v++) sum[r][v] = vdupq_n_s32(0);
        for (uint32_t i = 0; i < t->k; i += KR_I8, b += NR * KR_I8) {
            int8x16_t x[4];
            UNROLL for (int r = 0; r < R; r++) x[r] = vld1q_s8(a + (size_t)r * t->lda + i);
            UNROLL for (int v = 0; v < 4; v++)
            {
                int8x16_t w = vld1q_s8(b + v * KR_I8);
                UNROLL for (int r = 0; r < R; r++)
                {
                    int16x8_t p = vmull_s8(vget_low_s8(x[r]), vget_low_s8(w));
                    p = vmlal_high_s8(p, x[r], w);
                    sum[r][v] = vpadalq_s16(sum[r][v], p);
                }
            }
        }
        UNROLL for (int r = 0; r < R; r++)
        {
            int32x4_t all = vpaddq_s32(vpaddq_s32(sum[r][0], sum[r][1]), vpaddq_s32(sum[r][2], sum[r][3]));
            store_int8_sums(t->c + r * NR + n, all, t->rq[r].zero, t->rq[r].scale, t->scale + n, t->wsum + n);
        }
    }
}

static void tile_i8(const struct tile *t)
{
    switch (t->rows) {
    case 1:
        tile_rows_i8(1, t);
        break;
    case 2:
        tile_rows_i8(2, t);
        break;
    case 3:
        tile_rows_i8(3, t);
        break;
    default:
        tile_rows_i8(4, t);
        break;
    }
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

void kernels_init_neon(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_NEON))
        return;
    k->isa = "neon";
    simd_fill(k);
    k->gemm[GEMM_F32] = (struct gemm){ TILE_ROWS_F32, NR, 1, 4, tile_f32, NULL, simd_pack_b_f32, NULL };
    k->gemm[GEMM_BF16] = (struct gemm){
        TILE_ROWS_16, NR, 2, 4, simd_tile_bf16, NULL, simd_pack_b_bf16, simd_widen_bf16
    };
    k->gemm[GEMM_F16] = (struct gemm){ TILE_ROWS_16, NR, 1, 4, simd_tile_f16, NULL, simd_pack_b_f16, simd_widen_f16 };
    k->gemm[GEMM_I8] = (struct gemm){ TILE_ROWS_I8,  NR, KR_I8, 1, tile_i8, pack_a_i8, pack_b_i8, .offset = 128,
                                      .group = KR_I8 };
    for (int i = 0; i < GEMM_COUNT; i++)
        k->gemm_isa[i] = k->isa;
}
