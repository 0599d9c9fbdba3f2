/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 BF16: VDPBF16PS adds the products of a pair one after the other, the odd one first. */
#include "device/cpu/kernels_simd_avx512.h"

#include "device/cpu/kernels_simd.h"

enum { DOT_ROWS = 12, DOT_DEPTHS = 2 };
typedef vf dv;
typedef uint16_t dot_element;

ALWAYS_INLINE dv dv_zero(void)
{
    return vf_set(0);
}
ALWAYS_INLINE dv dv_load(const void *p)
{
    return vf_load(p);
}
ALWAYS_INLINE dv dv_repeat(int32_t word)
{
    return _mm512_castsi512_ps(_mm512_set1_epi32(word));
}
/* As text: gcc 12 moves every sum twice around the intrinsic. */
ALWAYS_INLINE dv dv_dot(dv sum, dv x, dv b)
{
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(b));
    return sum;
}

ALWAYS_INLINE void dot_store(const int R, const struct tile *t, dv sum[16][2])
{
    tile_store(R, t, sum);
}

#include "device/cpu/kernels_simd_dot.h"

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
    k->gemm[GEMM_BF16] = (struct gemm){ DOT_ROWS, NR, DOT_DEPTHS, 2, dot_tile, pack_a_bf16, simd_pack_b_bf16 };
}
