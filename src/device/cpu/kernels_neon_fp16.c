/* SPDX-License-Identifier: Apache-2.0 */
/* NEON's arithmetic in f16 (ASIMDHP): 8 multiplications at a time, FMLA.8H. */
#include "device/cpu/kernels_simd_neon.h"

#include "device/cpu/kernels_simd.h"

enum { HALF_ROWS = 6, HALF_VECS = 4, HALF_COLS = 8, HALF_KR = 1 };
typedef float16x8_t vh;

ALWAYS_INLINE vh vh_zero(void)
{
    return vreinterpretq_f16_u16(vdupq_n_u16(0));
}
ALWAYS_INLINE vh vh_load(const uint16_t *p)
{
    return vreinterpretq_f16_u16(vld1q_u16(p));
}
ALWAYS_INLINE vh vh_fma(vh a, vh b, vh c)
{
    return vfmaq_f16(c, a, b);
}
ALWAYS_INLINE vh vh_repeat(const uint16_t *p)
{
    return vreinterpretq_f16_u16(vld1q_dup_u16(p));
}
ALWAYS_INLINE void vh_add_to(float *c, vh v, float scale, bool set)
{
    vf low = vcvt_f32_f16(vget_low_f16(v)), high = vcvt_high_f32_f16(v), zero = vf_set(0);
    vf_store(c, vf_fma(low, vf_set(scale), set ? zero : vf_load(c)));
    vf_store(c + LANES, vf_fma(high, vf_set(scale), set ? zero : vf_load(c + LANES)));
}

#include "device/cpu/kernels_simd_f16.h"

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
