/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 BF16: VDPBF16PS adds the products of a pair one after the other, the odd one first. */
#include "device/cpu/kernels_simd_avx512.h"

#include "device/cpu/kernels_simd.h"

enum { TILE_ROWS_BF16 = 12 };

/* As text: gcc 12 moves every sum twice around the intrinsic. */
ALWAYS_INLINE vf dot2(vf sum, __m512i x, __m512i b)
{
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(b));
    return sum;
}

ALWAYS_INLINE void tile_rows(const int R, const struct tile *t)
{
    vf sum[16][2];
    const uint16_t *a = t->a, *b = t->b;
    uintptr_t ahead = t->ahead;
    if (R > TILE_ROWS_BF16)
        return;
    UNROLL for (int r = 0; r < R; r++) sum[r][0] = sum[r][1] = vf_set(0);
    for (uint32_t i = 0; i < t->k; i += 2) {
        __m512i b0 = _mm512_loadu_si512(b + (size_t)i * NR), b1 = _mm512_loadu_si512(b + (size_t)i * NR + NR);
        __builtin_prefetch((const void *)ahead, 0, 2);
        ahead += t->ahead_step;
        UNROLL for (int r = 0; r < R; r++)
        {
            int32_t two;
            memcpy(&two, a + (size_t)r * t->lda + i, sizeof two);
            __m512i x = _mm512_set1_epi32(two);
            sum[r][0] = dot2(sum[r][0], x, b0);
            sum[r][1] = dot2(sum[r][1], x, b1);
        }
    }
    UNROLL for (int r = 0; r < R; r++)
    {
        vf_store(t->c + r * NR, sum[r][0]);
        vf_store(t->c + r * NR + LANES, sum[r][1]);
    }
}

static void tile_bf16(const struct tile *t)
{
#define DO(R) tile_rows(R, t)
    EACH_ROWS(t->rows, DO)
#undef DO
}

static void pack_a_bf16(const float *x, size_t stride, uint32_t rows, uint32_t k, void *a, size_t lda,
                        struct row_quant *rq)
{
    (void)rq;
    for (uint32_t r = 0; r < rows; r++) {
        const float *row = x + r * stride;
        uint16_t *out = (uint16_t *)a + r * lda, tail[LANES];
        uint32_t i = 0;
        for (; i + LANES <= k; i += LANES)
            _mm256_storeu_si256((__m256i *)(void *)(out + i), (__m256i)_mm512_cvtneps_pbh(vf_load(row + i)));
        if (i < k) {
            _mm256_storeu_si256((__m256i *)(void *)tail, (__m256i)_mm512_cvtneps_pbh(vf_load_n(row + i, k - i)));
            memcpy(out + i, tail, (k - i + 1) / 2 * 2 * sizeof *out); /* the padding is 0 */
        }
    }
}

void kernels_init_avx512bf16(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_AVX512BF16))
        return;
    k->isa = k->gemm_isa[GEMM_BF16] = "avx512bf16";
    k->gemm[GEMM_BF16] = (struct gemm){ TILE_ROWS_BF16, NR, 2, 2, tile_bf16, pack_a_bf16, simd_pack_b_bf16 };
}
