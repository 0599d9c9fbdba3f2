/* SPDX-License-Identifier: Apache-2.0 */
/* NEON's arithmetic in f16 (ASIMDHP): 8 multiplications at a time, FMLA.8H. */
#include "device/cpu/kernels_simd_neon.h"

#include "device/cpu/kernels_simd.h"

enum { HALF_ROWS = 5, HALF_VECS = 4, HALF_COLS = 8, HALF_KR = 1 }; /* 5 x 4 sums, 5 of x, and of b what is on its way */
#include "device/cpu/kernels_simd_f16.h"

typedef float16x8_t vh;

ALWAYS_INLINE vh vh_zero(void)
{
    return vreinterpretq_f16_u16(vdupq_n_u16(0));
}
ALWAYS_INLINE vh vh_load(const uint16_t *p)
{
    return vreinterpretq_f16_u16(vld1q_u16(p));
}
/* As text: gcc 12 repeats the number in a register of its own first. FMLA takes elements of v0 to v15 only ("x"). */
#define FMLA(LANE)                                                                                                     \
    case LANE:                                                                                                         \
        __asm__("fmla %0.8h, %1.8h, %2.h[" #LANE "]" : "+w"(sum) : "w"(w), "x"(x));                                    \
        break
ALWAYS_INLINE vh fma_lane(vh sum, vh w, vh x, const int lane)
{
    switch (lane) {
        FMLA(0);
        FMLA(1);
        FMLA(2);
        FMLA(3);
        FMLA(4);
        FMLA(5);
        FMLA(6);
        FMLA(7);
    }
    return sum;
}

/* Eight depths at a time: one load of a row serves eight steps, where a load that repeats one number for every step
 * would keep in-order cores waiting. */
ALWAYS_INLINE void half_depths(const int R, const uint16_t *a, size_t lda, const uint16_t *b, uint32_t n,
                               uintptr_t ahead, uint32_t ahead_step, vh sum[HALF_ROWS][HALF_VECS])
{
    enum { STEP = 8 };
    vh x[HALF_ROWS];
    uint32_t i = 0;
    for (; i + STEP <= n; i += STEP, b += STEP * HALF_NR, ahead += (size_t)STEP * ahead_step) {
        __builtin_prefetch((const void *)ahead, 0, 2);
        __builtin_prefetch((const void *)(ahead + (size_t)STEP / 2 * ahead_step), 0, 2);
        UNROLL for (int r = 0; r < R; r++) x[r] = vh_load(a + (size_t)r * lda + i);
        UNROLL for (int lane = 0; lane < STEP; lane++) UNROLL for (int v = 0; v < HALF_VECS; v++)
        {
            vh w = vh_load(b + lane * HALF_NR + v * HALF_COLS);
            KEEP_ORDER();
            UNROLL for (int r = 0; r < R; r++) sum[r][v] = fma_lane(sum[r][v], w, x[r], lane);
        }
    }
    for (; i < n; i++, b += HALF_NR)
        UNROLL for (int v = 0; v < HALF_VECS; v++) UNROLL for (int r = 0; r < R; r++)
        {
            vh one = vreinterpretq_f16_u16(vld1q_dup_u16(a + (size_t)r * lda + i));
            sum[r][v] = vfmaq_f16(sum[r][v], one, vh_load(b + v * HALF_COLS));
        }
}
ALWAYS_INLINE void vh_add_to(float *c, vh v, float scale, bool set)
{
    vf low = vcvt_f32_f16(vget_low_f16(v)), high = vcvt_high_f32_f16(v), zero = vf_set(0);
    vf_store(c, vf_fma(low, vf_set(scale), set ? zero : vf_load(c)));
    vf_store(c + LANES, vf_fma(high, vf_set(scale), set ? zero : vf_load(c + LANES)));
}

ALWAYS_INLINE void half_rows(const int R, const struct tile *t)
{
    const uint16_t *a = t->a, *b = t->b;
    uintptr_t ahead = t->ahead;
    if (R > HALF_ROWS)
        return;
    for (uint32_t i = 0; i < t->k; i += HALF_CHUNK, a += HALF_CHUNK, b += HALF_CHUNK * HALF_NR) {
        vh sum[HALF_ROWS][HALF_VECS];
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < HALF_VECS; v++) sum[r][v] = vh_zero();
        half_depths(R, a, t->lda, b, t->k - i < HALF_CHUNK ? t->k - i : HALF_CHUNK, ahead, t->ahead_step, sum);
        ahead += (size_t)HALF_CHUNK * t->ahead_step;
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < HALF_VECS; v++)
            vh_add_to(t->c + r * HALF_NR + v * HALF_COLS, sum[r][v], t->rq[r].scale, i == 0);
    }
}

static void half_pack_b(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                        int32_t *wsum)
{
    (void)scale, (void)wsum;
    pack_b_f16_nr(HALF_NR, w, stride, cols, k, panel);
}

void kernels_init_neon_fp16(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_FP16))
        return;
    k->isa = k->gemm_isa[GEMM_F16] = "fp16";
    k->gemm_wide_f16 = k->gemm[GEMM_F16];
    k->gemm[GEMM_F16] = (struct gemm){ HALF_ROWS,   HALF_NR,     HALF_KR, 2,        half_tile,
                                       half_pack_a, half_pack_b, NULL,    HALF_MOST };
}
