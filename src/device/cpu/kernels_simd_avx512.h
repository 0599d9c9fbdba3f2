/* SPDX-License-Identifier: Apache-2.0 */
/* The vector words of kernels_simd.h for AVX-512 F, BW, VL, DQ. */
#ifndef RKF_DEVICE_CPU_KERNELS_SIMD_AVX512_H
#define RKF_DEVICE_CPU_KERNELS_SIMD_AVX512_H

#include "device/cpu/kernels_simd_words.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

enum { LANES = 16, TILE_ROWS = 14, TILE_VECS = 2 }; /* 14 x 2 sums, 2 columns of b, 1 of a: 31 of 32 registers */
enum { MM_ROWS = TILE_ROWS, MM_VECS = TILE_VECS };
typedef __m512 vf;

static inline vf vf_set(float f)
{
    return _mm512_set1_ps(f);
}
static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void vf_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}
static inline __mmask16 first_lanes(uint32_t n)
{
    return (__mmask16)((1u << n) - 1);
}
static inline vf vf_load_n(const float *p, uint32_t n) /* n < LANES; the rest is 0 */
{
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
static inline void vf_store_n(float *p, vf v, uint32_t n)
{
    _mm512_mask_storeu_ps(p, first_lanes(n), v);
}
static inline vf vf_first(vf v, uint32_t n, vf rest) /* the first n lanes of v, n < LANES, then those of rest */
{
    return _mm512_mask_mov_ps(rest, first_lanes(n), v);
}
static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c) /* a b + c */
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf vf_fma_n(float a, vf b, vf c) /* a b + c */
{
    return _mm512_fmadd_ps(_mm512_set1_ps(a), b, c);
}
static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
static inline vf vf_abs(vf a)
{
    return _mm512_abs_ps(a);
}
static inline vf vf_round(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf vf_scale2(vf a, vf n) /* a 2^n, n whole */
{
    return _mm512_scalef_ps(a, n);
}
static inline float vf_sum(vf a)
{
    return _mm512_reduce_add_ps(a);
}
static inline float vf_hmax(vf a)
{
    return _mm512_reduce_max_ps(a);
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline void vf_store_f16(uint16_t *p, vf v)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline void vf_store_bf16(uint16_t *p, vf v) /* nearest even, NaN stays NaN */
{
    __m512i u = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    u = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(u, odd), _mm512_set1_epi32(0x7fff)), 16);
    u = _mm512_mask_set1_epi32(u, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), 0x7fc0);
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(u));
}
/* The even and odd of 2 * LANES bf16 */
static inline vf vf_even_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}
static inline vf vf_odd_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32((int)0xffff0000)));
}
/* Rounded to nearest even; v within -128 .. 127, 0 .. 255 */
static inline void vf_store_i8(int8_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}
static inline void vf_store_u8(uint8_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}

/* dst [4][16 rows] = 4 columns of 16 rows: each zmm takes every fourth row, whose 4 x 4 squares are turned at once */
static inline void transpose4(const float *const row[16], float *dst, size_t ldd)
{
    __m512 v[4];
    for (int i = 0; i < 4; i++) {
        v[i] = _mm512_castps128_ps512(_mm_loadu_ps(row[i]));
        v[i] = _mm512_insertf32x4(v[i], _mm_loadu_ps(row[i + 4]), 1);
        v[i] = _mm512_insertf32x4(v[i], _mm_loadu_ps(row[i + 8]), 2);
        v[i] = _mm512_insertf32x4(v[i], _mm_loadu_ps(row[i + 12]), 3);
    }
    __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1])), b = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3]));
    __m512d c = _mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1])), d = _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3]));
    _mm512_storeu_pd(dst, _mm512_unpacklo_pd(a, b));
    _mm512_storeu_pd(dst + ldd, _mm512_unpackhi_pd(a, b));
    _mm512_storeu_pd(dst + 2 * ldd, _mm512_unpacklo_pd(c, d));
    _mm512_storeu_pd(dst + 3 * ldd, _mm512_unpackhi_pd(c, d));
}

/* gelu(x) = max(x, 0) - h(|x|), h(u) = u/2 erfc(u / sqrt 2): a polynomial of degree 4 for each of 16 pieces of
 * [0, 5.45] (minimax, 2e-7 off, as is its end beyond), whose coefficients are picked from registers by the piece's
 * number: fewer instructions than one polynomial for all. */
ALWAYS_INLINE vf vf_gelu(vf x)
{
    static const float h[5][16] = {
        { -0x1.7ad158p-24f, 0x1.ff9bf4p-4f, 0x1.59cf2ap-3f, 0x1.4113cap-3f, 0x1.e2d9f2p-4f, 0x1.34d81ap-4f,
          0x1.5709a6p-5f, 0x1.4e2bb8p-6f, 0x1.1f154ap-7f, 0x1.b46782p-9f, 0x1.260c28p-10f, 0x1.5fbb1cp-12f,
          0x1.75c65ap-14f, 0x1.611420p-16f, 0x1.289a24p-18f, 0x1.bb4792p-21f },
        { 0x1.5ccef4p-3f, 0x1.4cbe4ep-4f, 0x1.698266p-7f, -0x1.ed79e4p-6f, -0x1.6619c6p-5f, -0x1.41154cp-5f,
          -0x1.c162acp-6f, -0x1.05a2dep-6f, -0x1.044ccap-7f, -0x1.c094ecp-9f, -0x1.516568p-10f, -0x1.bd3534p-12f,
          -0x1.02820ap-13f, -0x1.08ceccp-15f, -0x1.df5b2cp-18f, -0x1.7fd4c8p-20f },
        { -0x1.7b6f52p-5f, -0x1.51b3e4p-5f, -0x1.cf06f0p-6f, -0x1.af22c0p-7f, -0x1.55a29ep-10f, 0x1.42600cp-8f,
          0x1.9ad78cp-8f, 0x1.46a44ap-8f, 0x1.92172ap-9f, 0x1.98035ep-10f, 0x1.5ec614p-11f, 0x1.033f76p-12f,
          0x1.4c5568p-14f, 0x1.739582p-16f, 0x1.6bd12ap-18f, 0x1.38d2a0p-20f },
        { 0x1.38f84ap-14f, 0x1.ca5f94p-9f, 0x1.571cc0p-8f, 0x1.3b5560p-8f, 0x1.8a8838p-9f, 0x1.17dd90p-10f,
          -0x1.9d06dap-13f, -0x1.585728p-11f, -0x1.3e90d0p-11f, -0x1.98a2eap-12f, -0x1.9e1996p-13f, -0x1.5b6e4ep-14f,
          -0x1.edcc74p-16f, -0x1.2d1fe8p-17f, -0x1.3dc374p-19f, -0x1.23c430p-21f },
        { 0x1.b3ed7cp-11f, 0x1.cb6ea8p-12f, -0x1.5b5e90p-14f, -0x1.c0198ap-12f, -0x1.f2c99ep-12f, -0x1.4e401cp-12f,
          -0x1.00939ep-13f, 0x1.b49056p-18f, 0x1.b4a568p-15f, 0x1.91a7e8p-15f, 0x1.ea3e88p-16f, 0x1.d133b2p-17f,
          0x1.6a3af8p-18f, 0x1.daf1a8p-20f, 0x1.0a01aap-21f, 0x1.00ec28p-23f },

    };
    const __m512 per_unit = _mm512_set1_ps(16 / 5.45f), magic = _mm512_set1_ps(0x1p23f);
    __m512 u = _mm512_range_ps(x, _mm512_set1_ps(5.44f), 0xa); /* the smaller of the absolute values */
    /* the piece's number in the lowest bits, rounded down */
    __m512 number = _mm512_fmadd_round_ps(u, per_unit, magic, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fmsub_ps(u, per_unit, _mm512_sub_ps(number, magic));
    __m512i piece = _mm512_castps_si512(number);
    __m512 p = _mm512_permutexvar_ps(piece, _mm512_loadu_ps(h[4]));
    UNROLL for (int i = 3; i >= 0; i--) p = _mm512_fmadd_ps(p, r, _mm512_permutexvar_ps(piece, _mm512_loadu_ps(h[i])));
    return _mm512_sub_ps(_mm512_max_ps(x, _mm512_setzero_ps()), p);
}

#endif
