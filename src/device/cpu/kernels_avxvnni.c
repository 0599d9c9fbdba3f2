/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-VNNI, the VEX-coded form: 8-bit dot products, four at a time, exact in int32. */
#include "device/cpu/kernels_simd_avx2.h"

#include "device/cpu/kernels_simd.h"

enum { DOT_ROWS = 6, DOT_DEPTHS = 4 }; /* 6 x 2 sums, 2 of b, 1 of a */
typedef __m256i dv;
typedef uint8_t dot_element;

ALWAYS_INLINE dv dv_zero(void)
{
    return _mm256_setzero_si256();
}
ALWAYS_INLINE dv dv_load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}
ALWAYS_INLINE dv dv_repeat(int32_t word)
{
    return _mm256_set1_epi32(word);
}
/* As text: gcc 12 moves every sum twice around the intrinsic. */
ALWAYS_INLINE dv dv_dot(dv sum, dv x, dv b)
{
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "x"(b));
    return sum;
}

ALWAYS_INLINE void dot_store(const int R, const struct tile *t, dv sum[16][2])
{
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < 2; v++)
    {
        __m256i zero = _mm256_mullo_epi32(_mm256_set1_epi32(t->rq[r].zero), dv_load(t->wsum + v * LANES));
        vf scale = _mm256_mul_ps(_mm256_set1_ps(t->rq[r].scale), _mm256_loadu_ps(t->scale + v * LANES));
        vf y = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_sub_epi32(sum[r][v], zero)));
        _mm256_storeu_ps(t->c + r * NR + v * LANES, y);
    }
}

#include "device/cpu/kernels_simd_dot.h"

void kernels_init_avxvnni(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_AVXVNNI))
        return;
    k->isa = k->gemm_isa[GEMM_I8] = "avxvnni";
    k->gemm[GEMM_I8] = (struct gemm){ DOT_ROWS, NR, DOT_DEPTHS, 1, dot_tile, simd_pack_a_i8, simd_pack_b_i8 };
}
