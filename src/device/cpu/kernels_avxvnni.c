/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-VNNI, the VEX-coded form: 8-bit dot products, four at a time, exact in int32. */
#include "device/cpu/kernels_simd_avx2.h"

#include "device/cpu/kernels_simd.h"

enum { TILE_ROWS_I8 = 6 }; /* 6 x 2 sums, 2 of b, 1 of a */

static inline __m256i load_bytes(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* As text: gcc 12 moves every sum twice around the intrinsic. */
ALWAYS_INLINE __m256i dot4(__m256i sum, __m256i x, __m256i b)
{
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "x"(b));
    return sum;
}

ALWAYS_INLINE void tile_rows(const int R, const struct tile *t)
{
    __m256i sum[16][2];
    const uint8_t *a = t->a;
    const int8_t *b = t->b;
    uintptr_t ahead = t->ahead;
    if (R > TILE_ROWS_I8)
        return;
    UNROLL for (int r = 0; r < R; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (uint32_t i = 0; i < t->k; i += 4) {
        __m256i b0 = load_bytes(b + (size_t)i * NR), b1 = load_bytes(b + (size_t)i * NR + 32);
        __builtin_prefetch((const void *)ahead, 0, 2);
        ahead += t->ahead_step;
        UNROLL for (int r = 0; r < R; r++)
        {
            int32_t four;
            memcpy(&four, a + (size_t)r * t->lda + i, sizeof four);
            __m256i x = _mm256_set1_epi32(four);
            sum[r][0] = dot4(sum[r][0], x, b0);
            sum[r][1] = dot4(sum[r][1], x, b1);
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < 2; v++)
    {
        __m256i zero = _mm256_mullo_epi32(_mm256_set1_epi32(t->rq[r].zero), load_bytes(t->wsum + v * LANES));
        vf scale = _mm256_mul_ps(_mm256_set1_ps(t->rq[r].scale), _mm256_loadu_ps(t->scale + v * LANES));
        vf y = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_sub_epi32(sum[r][v], zero)));
        _mm256_storeu_ps(t->c + r * NR + v * LANES, y);
    }
}

static void tile_i8(const struct tile *t)
{
#define DO(R) tile_rows(R, t)
    EACH_ROWS(t->rows, DO)
#undef DO
}

void kernels_init_avxvnni(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_AVXVNNI))
        return;
    k->isa = k->gemm_isa[GEMM_I8] = "avxvnni";
    k->gemm[GEMM_I8] = (struct gemm){ TILE_ROWS_I8, NR, 4, 1, tile_i8, simd_pack_a_i8, simd_pack_b_i8, .group = 4 };
}
