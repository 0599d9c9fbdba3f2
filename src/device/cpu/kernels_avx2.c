/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 with FMA and F16C: 8 floats at a time. */
#include "device/cpu/kernels_simd_avx2.h"

#include "device/cpu/kernels_simd.h"

/* Int8 without dot products: x and w widened to 16 bits and multiplied by pairs, exact in int32 (VPMADDUBSW would
 * saturate). A vector of b is 4 depths of 4 columns, so that each column has two sums, added at the end. */

enum { TILE_ROWS_I8 = 3 }; /* 3 x 4 sums, 1 of b at a time, 1 of a */

ALWAYS_INLINE void tile_rows_i8(const int R, const struct tile *t)
{
    __m256i sum[16][4];
    const int16_t *a = t->a;
    const int8_t *b = t->b;
    if (R > TILE_ROWS_I8)
        return;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < 4; v++) sum[r][v] = _mm256_setzero_si256();
    for (uint32_t i = 0; i < t->k; i += 4) {
        const __m128i *p = (const __m128i *)(const void *)(b + (size_t)i * NR);
        __m256i x[4];
        UNROLL for (int r = 0; r < R; r++)
        {
            int64_t four;
            memcpy(&four, a + (size_t)r * t->lda + i, sizeof four);
            x[r] = _mm256_set1_epi64x(four);
        }
        UNROLL for (int v = 0; v < 4; v++)
        {
            __m256i w = _mm256_cvtepi8_epi16(_mm_loadu_si128(p + v));
            UNROLL for (int r = 0; r < R; r++) sum[r][v] = _mm256_add_epi32(sum[r][v], _mm256_madd_epi16(x[r], w));
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < 2; v++)
    {
        __m256i dot = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[r][2 * v], sum[r][2 * v + 1]), 0xd8);
        __m256i wsum = _mm256_loadu_si256((const __m256i *)(const void *)(t->wsum + v * LANES));
        __m256i zero = _mm256_mullo_epi32(_mm256_set1_epi32(t->rq[r].zero), wsum);
        vf scale = _mm256_mul_ps(_mm256_set1_ps(t->rq[r].scale), _mm256_loadu_ps(t->scale + v * LANES));
        _mm256_storeu_ps(t->c + r * NR + v * LANES,
                         _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_sub_epi32(dot, zero))));
    }
}

static void tile_i8(const struct tile *t)
{
#define DO(R) tile_rows_i8(R, t)
    EACH_ROWS(t->rows, DO)
#undef DO
}

static void pack_a_i16(const float *x, size_t stride, uint32_t rows, uint32_t k, void *a, size_t lda,
                       struct row_quant *rq)
{
    for (uint32_t r = 0; r < rows; r++) { /* quantised as bytes, then widened in place from the end */
        int16_t *out = (int16_t *)a + r * lda;
        uint8_t *bytes = (uint8_t *)a + r * lda * sizeof *out;
        simd_pack_a_i8(x + r * stride, stride, 1, k, bytes, lda, rq + r);
        for (uint32_t i = (k + 3) / 4 * 4; i; i -= 4) {
            __m128i four = _mm_cvtepu8_epi16(_mm_loadu_si32(bytes + i - 4));
            _mm_storel_epi64((__m128i *)(void *)(out + i - 4), four);
        }
    }
}

void kernels_init_avx2(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_AVX2))
        return;
    k->isa = "avx2";
    simd_fill(k);
    k->gemm[GEMM_F32] = (struct gemm){ TILE_ROWS, NR, 1, 4, simd_tile_f32, NULL, simd_pack_b_f32, NULL };
    k->gemm[GEMM_BF16] = (struct gemm){
        TILE_ROWS_16, NR, 2, 4, simd_tile_bf16, NULL, simd_pack_b_bf16, simd_widen_bf16
    };
    k->gemm[GEMM_F16] = (struct gemm){ TILE_ROWS_16, NR, 1, 4, simd_tile_f16, NULL, simd_pack_b_f16, simd_widen_f16 };
    k->gemm[GEMM_I8] = (struct gemm){ TILE_ROWS_I8, NR, 4, 2, tile_i8, pack_a_i16, simd_pack_b_i8 };
    k->gemm_isa[GEMM_I8] = k->gemm_isa[GEMM_F32] = k->gemm_isa[GEMM_BF16] = k->gemm_isa[GEMM_F16] = k->isa;
}
