/* SPDX-License-Identifier: Apache-2.0 */
/* The vector words of kernels_simd.h for AVX2 with FMA and F16C. */
#ifndef RKF_DEVICE_CPU_KERNELS_SIMD_AVX2_H
#define RKF_DEVICE_CPU_KERNELS_SIMD_AVX2_H

#include "device/cpu/kernels_simd_words.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

enum { LANES = 8, TILE_ROWS = 4, TILE_VECS = 3 }; /* 4 x 3 sums, 3 columns of b, 1 of a: all 16 registers */
enum { MM_ROWS = 6, MM_VECS = 2 };                /* heads are 32 or 64 wide */
typedef __m256 vf;

static inline vf vf_set(float f)
{
    return _mm256_set1_ps(f);
}
static inline vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v);
}
static inline __m256i first_lanes(uint32_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vf vf_load_n(const float *p, uint32_t n) /* n < LANES; the rest is 0 */
{
    return _mm256_maskload_ps(p, first_lanes(n));
}
static inline void vf_store_n(float *p, vf v, uint32_t n)
{
    _mm256_maskstore_ps(p, first_lanes(n), v);
}
static inline vf vf_first(vf v, uint32_t n, vf rest) /* the first n lanes of v, n < LANES, then those of rest */
{
    return _mm256_blendv_ps(rest, v, _mm256_castsi256_ps(first_lanes(n)));
}
static inline vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c) /* a b + c */
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf vf_fma_n(float a, vf b, vf c) /* a b + c */
{
    return _mm256_fmadd_ps(_mm256_set1_ps(a), b, c);
}
static inline vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
static inline vf vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline vf vf_round(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf vf_scale2(vf a, vf n) /* a 2^n, n whole, -126 .. 127 */
{
    __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(a, _mm256_castsi256_ps(bits));
}
static inline float vf_sum(vf a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float vf_hmax(vf a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline void vf_store_f16(uint16_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline void vf_store_bf16(uint16_t *p, vf v) /* nearest even, NaN stays NaN */
{
    __m256i u = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    u = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, odd), _mm256_set1_epi32(0x7fff)), 16);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    u = _mm256_blendv_epi8(u, _mm256_set1_epi32(0x7fc0), nan);
    u = _mm256_permute4x64_epi64(_mm256_packus_epi32(u, u), 0x08);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(u));
}
/* The even and odd of 2 * LANES bf16 */
static inline vf vf_even_bf16(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i *)p), 16));
}
static inline vf vf_odd_bf16(const uint16_t *p)
{
    return _mm256_castsi256_ps(
        _mm256_and_si256(_mm256_loadu_si256((const __m256i *)p), _mm256_set1_epi32((int)0xffff0000)));
}
/* Rounded to nearest even; v within -128 .. 127, 0 .. 255 */
static inline void vf_store_i8(int8_t *p, vf v)
{
    __m256i u = _mm256_cvtps_epi32(v);
    __m128i s = _mm_packs_epi32(_mm256_castsi256_si128(u), _mm256_extracti128_si256(u, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(s, s));
}
static inline void vf_store_u8(uint8_t *p, vf v)
{
    __m256i u = _mm256_cvtps_epi32(v);
    __m128i s = _mm_packs_epi32(_mm256_castsi256_si128(u), _mm256_extracti128_si256(u, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(s, s));
}

/* dst [4][8 rows] = 4 columns of 8 rows: each ymm takes every fourth row, whose 4 x 4 squares are turned at once */
static inline void transpose4(const float *const row[8], float *dst, size_t ldd)
{
    __m256 v[4];
    for (int i = 0; i < 4; i++)
        v[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[i])), _mm_loadu_ps(row[i + 4]), 1);
    __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(v[0], v[1])), b = _mm256_castps_pd(_mm256_unpacklo_ps(v[2], v[3]));
    __m256d c = _mm256_castps_pd(_mm256_unpackhi_ps(v[0], v[1])), d = _mm256_castps_pd(_mm256_unpackhi_ps(v[2], v[3]));
    _mm256_storeu_ps(dst, _mm256_castpd_ps(_mm256_unpacklo_pd(a, b)));
    _mm256_storeu_ps(dst + ldd, _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
    _mm256_storeu_ps(dst + 2 * ldd, _mm256_castpd_ps(_mm256_unpacklo_pd(c, d)));
    _mm256_storeu_ps(dst + 3 * ldd, _mm256_castpd_ps(_mm256_unpackhi_pd(c, d)));
}

#include "device/cpu/kernels_simd_gelu.h"

#endif
