/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 with FMA and F16C: 8 floats at a time. */
#include "device/cpu/kernels_simd_avx2.h"

#include "device/cpu/kernels_simd.h"

/* Row r of a, by few registers: an address takes one of them and up to twice the stride. */
#define ROW(base, r, lda) ((base)[(r) / 3] + (size_t)((r) % 3) * (lda))

/* As simd_tile_f32, with little beside the products: a core shared with another thread decodes no more than them. */
ALWAYS_INLINE void add_depth(const int R, vf sum[16][TILE_VECS], const float *const base[2], size_t lda, uint32_t depth,
                             const float *b)
{
    vf b0 = vf_load(b), b1 = vf_load(b + LANES), x;
    UNROLL for (int r = 0; r < R; r++) /* as text: gcc 12 moves sums about and keeps some in memory */
        __asm__("vbroadcastss %3, %2\n\tvfmadd231ps %4, %2, %0\n\tvfmadd231ps %5, %2, %1" : "+x"(sum[r][0]),
                "+x"(sum[r][1]), "=&x"(x) : "m"(ROW(base, r, lda)[depth]), "x"(b0), "x"(b1));
}

ALWAYS_INLINE void tile_rows_f32(const int R, const struct tile *t)
{
    enum { DEPTHS = 4 };
    vf sum[16][TILE_VECS];
    const float *base[2] = { t->a, (const float *)t->a + 3 * t->lda }, *b = t->b;
    uintptr_t ahead = t->ahead;
    uint32_t i = 0;
    if (R > TILE_ROWS)
        return;
    UNROLL for (int r = 0; r < R; r++) sum[r][0] = sum[r][1] = vf_set(0);
    for (; i + DEPTHS <= t->k; i += DEPTHS, b += DEPTHS * NR, base[0] += DEPTHS, base[1] += DEPTHS) {
        __builtin_prefetch((const void *)ahead, 0, 2);
        ahead += DEPTHS * (size_t)t->ahead_step;
        UNROLL for (uint32_t d = 0; d < DEPTHS; d++) add_depth(R, sum, base, t->lda, d, b + d * NR);
    }
    for (uint32_t d = 0; i < t->k; i++, d++, b += NR)
        add_depth(R, sum, base, t->lda, d, b);
    tile_store(R, t, sum);
}

static void tile_f32(const struct tile *t)
{
#define DO(R) tile_rows_f32(R, t)
    EACH_ROWS(t->rows, DO)
#undef DO
}

/*
 * Int8 without dot products: VPMADDUBSW multiplies bytes and adds the products of two depths in 16 bits, where it would
 * saturate if both weights were large and of the same sign. So weights are quantised in steps that keep them from it
 * (struct gemm, pairs), and the sums are exact.
 */

enum { TILE_ROWS_I8 = 6 }; /* 6 x 2 sums, ones, 2 for the products of a row; b is read from memory */

struct bytes4 {
    uint8_t q[4];
};
struct bytes32 {
    int8_t q[32];
};

/* Both sums of one row. As text: gcc 12 keeps most sums in memory around the intrinsics. */
ALWAYS_INLINE void add_four(__m256i *s0, __m256i *s1, const uint8_t *a, const int8_t *b, __m256i ones)
{
    const struct bytes4 *four = (const void *)a;
    const struct bytes32 *b0 = (const void *)b, *b1 = b0 + 1;
    __m256i x, t;
    __asm__("vpbroadcastd %4, %2\n\t"
            "vpmaddubsw %5, %2, %3\n\tvpmaddwd %7, %3, %3\n\tvpaddd %3, %0, %0\n\t"
            "vpmaddubsw %6, %2, %2\n\tvpmaddwd %7, %2, %2\n\tvpaddd %2, %1, %1"
            : "+x"(*s0), "+x"(*s1), "=&x"(x), "=&x"(t)
            : "m"(*four), "m"(*b0), "m"(*b1), "x"(ones));
}

ALWAYS_INLINE void tile_rows_i8(const int R, const struct tile *t)
{
    __m256i sum[16][2], ones = _mm256_set1_epi16(1);
    const uint8_t *base[2] = { t->a, (const uint8_t *)t->a + 3 * t->lda };
    const int8_t *b = t->b;
    uintptr_t ahead = t->ahead;
    if (R > TILE_ROWS_I8)
        return;
    UNROLL for (int r = 0; r < R; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; i + 8 <= t->k; i += 8, base[0] += 8, base[1] += 8, b += 8 * NR) {
        __builtin_prefetch((const void *)ahead, 0, 2);
        ahead += 2 * (size_t)t->ahead_step;
        UNROLL for (int r = 0; r < R; r++) add_four(&sum[r][0], &sum[r][1], ROW(base, r, t->lda), b, ones);
        UNROLL for (int r = 0; r < R; r++) add_four(&sum[r][0], &sum[r][1], ROW(base, r, t->lda) + 4, b + 4 * NR, ones);
    }
    if (i < t->k) {
        UNROLL for (int r = 0; r < R; r++) add_four(&sum[r][0], &sum[r][1], ROW(base, r, t->lda), b, ones);
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < 2; v++)
    {
        __m256i wsum = _mm256_loadu_si256((const __m256i *)(const void *)(t->wsum + v * LANES));
        __m256i zero = _mm256_mullo_epi32(_mm256_set1_epi32(t->rq[r].zero), wsum);
        vf scale = _mm256_mul_ps(_mm256_set1_ps(t->rq[r].scale), _mm256_loadu_ps(t->scale + v * LANES));
        vf y = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_sub_epi32(sum[r][v], zero)));
        _mm256_storeu_ps(t->c + r * NR + v * LANES, y);
    }
}

static void tile_i8(const struct tile *t){
#define DO(R) tile_rows_i8(R, t)
    EACH_ROWS(t->rows, DO)
#undef DO
}

/* The largest sum of a pair's weights of one sign. */
ALWAYS_INLINE float range_of_pairs(const float *w, uint32_t k)
{
    vf most = vf_set(0), zero = vf_set(0);
    for (uint32_t i = 0; i < k; i += LANES) {
        vf v = load_upto(w + i, k - i);
        vf sums = _mm256_hadd_ps(vf_max(v, zero), vf_max(vf_sub(zero, v), zero));
        most = vf_max(most, sums);
    }
    return vf_hmax(most);
}

static void pack_b_i8_pairs(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                            int32_t *wsum)
{
    pack_b_i8_kr(4, 4, range_of_pairs, w, stride, cols, k, panel, scale, wsum);
}

void kernels_init_avx2(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_AVX2))
        return;
    k->isa = "avx2";
    simd_fill(k);
    k->gemm[GEMM_F32] = (struct gemm){ TILE_ROWS, NR, 1, 4, tile_f32, NULL, simd_pack_b_f32, NULL };
    k->gemm[GEMM_BF16] = (struct gemm){
        TILE_ROWS_16, NR, 2, 4, simd_tile_bf16, NULL, simd_pack_b_bf16, simd_widen_bf16
    };
    k->gemm[GEMM_F16] = (struct gemm){ TILE_ROWS_16, NR, 1, 4, simd_tile_f16, NULL, simd_pack_b_f16, simd_widen_f16 };
    k->gemm[GEMM_I8] = (struct gemm){ TILE_ROWS_I8,  NR,        4, 1, tile_i8, simd_pack_a_i8, pack_b_i8_pairs,
                                      .pairs = true, .group = 4 };
    k->gemm_isa[GEMM_I8] = k->gemm_isa[GEMM_F32] = k->gemm_isa[GEMM_BF16] = k->gemm_isa[GEMM_F16] = k->isa;
}
