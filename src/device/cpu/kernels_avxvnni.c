/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-VNNI, the VEX-coded form: 8-bit dot products, four at a time, exact in int32. */
#include "device/cpu/kernels_simd_avx2.h"

#include "device/cpu/kernels_simd.h"

enum { MANY_ROWS = 24 }; /* of a tile: blocks of TILE_ROWS (4 x 3 sums, 3 of b, 1 of a), one after the other */

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

ALWAYS_INLINE void tile_rows(const int R, const struct tile *t, uint32_t row, uintptr_t ahead, size_t step)
{
    __m256i sum[16][TILE_VECS], bv[TILE_VECS];
    const uint8_t *a = (const uint8_t *)t->a + row * t->lda;
    const int8_t *b = t->b;
    if (R > TILE_ROWS)
        return;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++) sum[r][v] = _mm256_setzero_si256();
    for (uint32_t i = 0; i < t->k; i += 4, b += 4 * NR, ahead += step) {
        UNROLL for (int v = 0; v < TILE_VECS; v++) bv[v] = load_bytes(b + v * 32);
        __builtin_prefetch((const void *)ahead, 0, 2);
        UNROLL for (int r = 0; r < R; r++)
        {
            int32_t four;
            memcpy(&four, a + (size_t)r * t->lda + i, sizeof four);
            __m256i x = _mm256_set1_epi32(four);
            UNROLL for (int v = 0; v < TILE_VECS; v++) sum[r][v] = dot4(sum[r][v], x, bv[v]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++)
    {
        const struct row_quant *rq = &t->rq[row + (uint32_t)r];
        __m256i zero = _mm256_mullo_epi32(_mm256_set1_epi32(rq->zero), load_bytes(t->wsum + v * LANES));
        vf scale = _mm256_mul_ps(_mm256_set1_ps(rq->scale), _mm256_loadu_ps(t->scale + v * LANES));
        vf y = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_sub_epi32(sum[r][v], zero)));
        _mm256_storeu_ps(t->c + ((size_t)row + (uint32_t)r) * NR + v * LANES, y);
    }
}

static void tile_i8(const struct tile *t)
{
    uint32_t blocks = (t->rows + TILE_ROWS - 1) / TILE_ROWS;
    size_t step = t->ahead_step / blocks + 1;
    uintptr_t ahead = t->ahead;
    for (uint32_t r = 0; r < t->rows; r += TILE_ROWS, ahead += step * (t->k / 4)) {
        uint32_t rows = t->rows - r < TILE_ROWS ? t->rows - r : TILE_ROWS;
#define DO(R) tile_rows(R, t, r, ahead, step)
        EACH_ROWS(rows, DO)
#undef DO
    }
}

void kernels_init_avxvnni(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_AVXVNNI))
        return;
    k->isa = k->gemm_isa[GEMM_I8] = "avxvnni";
    k->gemm[GEMM_I8] = (struct gemm){ MANY_ROWS, NR, 4, 1, tile_i8, simd_pack_a_i8, simd_pack_b_i8, .group = 4 };
}
