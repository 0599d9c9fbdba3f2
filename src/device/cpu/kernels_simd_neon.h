/* SPDX-License-Identifier: Apache-2.0 */
/* The vector words of kernels_simd.h for NEON, which every aarch64 processor has. */
#ifndef RKF_DEVICE_CPU_KERNELS_SIMD_NEON_H
#define RKF_DEVICE_CPU_KERNELS_SIMD_NEON_H

#include "device/cpu/kernels_simd_words.h"

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 4, TILE_ROWS = 6, TILE_VECS = 4 }; /* 6 x 4 sums, 4 columns of b, 1 of a: 29 of 32 registers */
enum { MM_ROWS = TILE_ROWS, MM_VECS = TILE_VECS };
typedef float32x4_t vf;

/* gcc would read a whole step's weights ahead of the first use of any, and then has no registers left for the sums. */
#define KEEP_ORDER() __asm__ volatile("" ::: "memory")

static inline vf vf_set(float f)
{
    return vdupq_n_f32(f);
}
static inline vf vf_load(const float *p)
{
    return vld1q_f32(p);
}
static inline void vf_store(float *p, vf v)
{
    vst1q_f32(p, v);
}
static inline vf vf_load_n(const float *p, uint32_t n) /* n < LANES; the rest is 0 */
{
    float four[4] = { 0 };
    for (uint32_t i = 0; i < n; i++)
        four[i] = p[i];
    return vld1q_f32(four);
}
static inline void vf_store_n(float *p, vf v, uint32_t n)
{
    float four[4];
    vst1q_f32(four, v);
    for (uint32_t i = 0; i < n; i++)
        p[i] = four[i];
}
static inline vf vf_first(vf v, uint32_t n, vf rest) /* the first n lanes of v, n < LANES, then those of rest */
{
    static const uint32_t lane[4] = { 0, 1, 2, 3 };
    return vbslq_f32(vcltq_u32(vld1q_u32(lane), vdupq_n_u32(n)), v, rest);
}
static inline vf vf_add(vf a, vf b)
{
    return vaddq_f32(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return vsubq_f32(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return vmulq_f32(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return vdivq_f32(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c) /* a b + c */
{
    return vfmaq_f32(c, a, b);
}
static inline vf vf_fma_n(float a, vf b, vf c) /* a b + c; by element, so that a needs no broadcast */
{
    return vfmaq_n_f32(c, b, a);
}
static inline vf vf_max(vf a, vf b)
{
    return vmaxq_f32(a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return vminq_f32(a, b);
}
static inline vf vf_abs(vf a)
{
    return vabsq_f32(a);
}
static inline vf vf_round(vf a)
{
    return vrndnq_f32(a);
}
static inline vf vf_scale2(vf a, vf n) /* a 2^n, n whole, -126 .. 127 */
{
    int32x4_t bits = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    return vmulq_f32(a, vreinterpretq_f32_s32(bits));
}
static inline float vf_sum(vf a)
{
    return vaddvq_f32(a);
}
static inline float vf_hmax(vf a)
{
    return vmaxvq_f32(a);
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
static inline void vf_store_f16(uint16_t *p, vf v)
{
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v)));
}
static inline void vf_store_bf16(uint16_t *p, vf v) /* nearest even, NaN stays NaN */
{
    uint32x4_t u = vreinterpretq_u32_f32(v), odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    u = vaddq_u32(vaddq_u32(u, odd), vdupq_n_u32(0x7fff));
    u = vbslq_u32(vceqq_f32(v, v), u, vdupq_n_u32(0x7fc00000));
    vst1_u16(p, vshrn_n_u32(u, 16));
}
/* The even and odd of 2 * LANES bf16 */
static inline vf vf_even_bf16(const uint16_t *p)
{
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_u16(vld1q_u16(p)), 16));
}
static inline vf vf_odd_bf16(const uint16_t *p)
{
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_u16(vld1q_u16(p)), vdupq_n_u32(0xffff0000)));
}
/* Rounded to nearest even; v within -128 .. 127, 0 .. 255 */
static inline void vf_store_i8(int8_t *p, vf v)
{
    int16x4_t s = vqmovn_s32(vcvtnq_s32_f32(v));
    int32x2_t four = vreinterpret_s32_s8(vqmovn_s16(vcombine_s16(s, s)));
    int32_t word = vget_lane_s32(four, 0);
    memcpy(p, &word, sizeof word);
}
static inline void vf_store_u8(uint8_t *p, vf v)
{
    int16x4_t s = vqmovn_s32(vcvtnq_s32_f32(v));
    uint32x2_t four = vreinterpret_u32_u8(vqmovun_s16(vcombine_s16(s, s)));
    uint32_t word = vget_lane_u32(four, 0);
    memcpy(p, &word, sizeof word);
}

/* dst [4][4 rows] = 4 columns of 4 rows */
static inline void transpose4(const float *const row[4], float *dst, size_t ldd)
{
    float32x4x2_t ab = vtrnq_f32(vld1q_f32(row[0]), vld1q_f32(row[1]));
    float32x4x2_t cd = vtrnq_f32(vld1q_f32(row[2]), vld1q_f32(row[3]));
    vst1q_f32(dst, vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0])));
    vst1q_f32(dst + ldd, vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1])));
    vst1q_f32(dst + 2 * ldd, vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0])));
    vst1q_f32(dst + 3 * ldd, vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1])));
}

/* A row of int8 sums as floats: c = x scale * w scale * (sum - x zero * w sum) */
static inline void store_int8_sums(float *c, int32x4_t sum, int32_t x_zero, float x_scale, const float *scale,
                                   const int32_t *wsum)
{
    int32x4_t exact = vsubq_s32(sum, vmulq_n_s32(vld1q_s32(wsum), x_zero));
    vst1q_f32(c, vmulq_f32(vmulq_n_f32(vld1q_f32(scale), x_scale), vcvtq_f32_s32(exact)));
}

#include "device/cpu/kernels_simd_gelu.h"

#endif
