/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 FP16: 32 multiplications in f16 at a time. A pair of depths of x is repeated as one word, which needs no
 * shuffle; even and odd depths are summed apart and meet in f32. */
#include "device/cpu/kernels_simd_avx512.h"

#include "device/cpu/kernels_simd.h"

enum { HALF_ROWS = 14, HALF_VECS = 2, HALF_COLS = 16, HALF_KR = 2 };
#include "device/cpu/kernels_simd_f16.h"

typedef __m512h vh;

ALWAYS_INLINE vh vh_zero(void)
{
    return _mm512_setzero_ph();
}
ALWAYS_INLINE vh vh_load(const uint16_t *p)
{
    return _mm512_castsi512_ph(_mm512_loadu_si512(p));
}
ALWAYS_INLINE vh vh_repeat(const uint16_t *p)
{
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return _mm512_castsi512_ph(_mm512_set1_epi32(pair));
}
ALWAYS_INLINE void vh_add_to(float *c, vh v, float scale, bool set)
{
    __m512i pairs = _mm512_castph_si512(v);
    vf even = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(pairs));
    vf odd = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(pairs, 16)));
    vf sum = vf_add(even, odd), by = vf_set(scale);
    vf_store(c, set ? vf_mul(sum, by) : vf_fma(sum, by, vf_load(c)));
}

ALWAYS_INLINE void half_rows(const int R, const struct tile *t)
{
    const uint16_t *a = t->a, *b = t->b;
    uintptr_t ahead = t->ahead;
    if (R > HALF_ROWS)
        return;
    for (uint32_t begin = 0; begin < t->k; begin += HALF_CHUNK) {
        uint32_t end = t->k - begin < HALF_CHUNK ? t->k : begin + HALF_CHUNK;
        vh sum[16][HALF_VECS], bv[HALF_VECS];
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < HALF_VECS; v++) sum[r][v] = vh_zero();
        for (uint32_t i = begin; i < end; i += HALF_KR, b += HALF_KR * HALF_NR) {
            UNROLL for (int v = 0; v < HALF_VECS; v++) bv[v] = vh_load(b + v * HALF_COLS * HALF_KR);
            __builtin_prefetch((const void *)ahead, 0, 2);
            ahead += t->ahead_step;
            UNROLL for (int r = 0; r < R; r++)
            {
                vh x = vh_repeat(a + (size_t)r * t->lda + i);
                UNROLL for (int v = 0; v < HALF_VECS; v++) sum[r][v] = _mm512_fmadd_ph(x, bv[v], sum[r][v]);
            }
        }
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < HALF_VECS; v++)
            vh_add_to(t->c + r * HALF_NR + v * HALF_COLS, sum[r][v], t->rq[r].scale, begin == 0);
    }
}

static void pack_b_pairs(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                         int32_t *wsum)
{
    (void)scale, (void)wsum;
    pack_b_16_kr(HALF_KR, true, w, stride, cols, k, panel);
}

void kernels_init_avx512fp16(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_AVX512FP16))
        return;
    k->isa = k->gemm_isa[GEMM_F16] = "avx512fp16";
    k->gemm_wide_f16 = k->gemm[GEMM_F16];
    k->gemm[GEMM_F16] = (struct gemm){ HALF_ROWS,   HALF_NR,      HALF_KR, 2,        half_tile,
                                       half_pack_a, pack_b_pairs, NULL,    HALF_MOST };
}
