/* SPDX-License-Identifier: Apache-2.0 */
/* What the x86 versions of kernels_simd.h share. */
#ifndef RKF_DEVICE_CPU_KERNELS_SIMD_SSE_H
#define RKF_DEVICE_CPU_KERNELS_SIMD_SSE_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* dst [4 columns][4 rows] = src [4 rows][4 columns] transposed */
static inline void transpose4(const float *src, size_t lds, float *dst, size_t ldd)
{
    __m128 a = _mm_loadu_ps(src), b = _mm_loadu_ps(src + lds), c = _mm_loadu_ps(src + 2 * lds),
           d = _mm_loadu_ps(src + 3 * lds);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(dst, a);
    _mm_storeu_ps(dst + ldd, b);
    _mm_storeu_ps(dst + 2 * ldd, c);
    _mm_storeu_ps(dst + 3 * ldd, d);
}

#endif
