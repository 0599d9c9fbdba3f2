/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 VNNI: 8-bit dot products, four at a time, exact in int32. */
#include "device/cpu/kernels_simd_avx512.h"

#include "device/cpu/kernels_simd.h"

enum { TILE_ROWS_I8 = 12 }; /* 12 x 2 sums, 2 of b, 1 of a */

/* As text: gcc 12 moves every sum twice around the intrinsic. */
ALWAYS_INLINE __m512i dot4(__m512i sum, __m512i x, __m512i b)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(b));
    return sum;
}

/* zero * wsum as one dot product of 16-bit pairs, where a multiplication and a subtraction would be four instructions:
 * wsum = low + 128 high, so that zero * wsum = (zero, 128 zero) . (low, high), zero <= 255 and 128 * 255 < 2^15. Below
 * this depth |wsum| / 128 < 2^15, too. */
enum { SPLIT_K = 32768 };

ALWAYS_INLINE __m512i subtract_pairs(__m512i sum, int32_t zero, __m512i halves)
{
    uint32_t pair = (uint32_t)(-zero & 0xffff) | (uint32_t)(-zero * 128) << 16;
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(_mm512_set1_epi32((int32_t)pair)), "v"(halves));
    return sum;
}

ALWAYS_INLINE void store_sums(const int R, const struct tile *t, __m512i sum[16][2], const bool split)
{
    vf scale[2];
    __m512i wsum[2];
    UNROLL for (int v = 0; v < 2; v++)
    {
        scale[v] = vf_load(t->scale + v * LANES);
        wsum[v] = _mm512_loadu_si512(t->wsum + v * LANES);
        if (split)
            wsum[v] = _mm512_or_si512(_mm512_and_si512(wsum[v], _mm512_set1_epi32(127)),
                                      _mm512_slli_epi32(_mm512_srai_epi32(wsum[v], 7), 16));
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < 2; v++)
    {
        int32_t zero = t->rq[r].zero;
        __m512i exact = split ? subtract_pairs(sum[r][v], zero, wsum[v])
                              : _mm512_sub_epi32(sum[r][v], _mm512_mullo_epi32(_mm512_set1_epi32(zero), wsum[v]));
        vf y = _mm512_mul_ps(_mm512_mul_ps(vf_set(t->rq[r].scale), scale[v]), _mm512_cvtepi32_ps(exact));
        vf_store(t->c + r * NR + v * LANES, y);
    }
}

ALWAYS_INLINE void tile_rows(const int R, const struct tile *t)
{
    __m512i sum[16][2];
    const uint8_t *a = t->a;
    const int8_t *b = t->b;
    uintptr_t ahead = t->ahead;
    if (R > TILE_ROWS_I8)
        return;
    UNROLL for (int r = 0; r < R; r++) sum[r][0] = sum[r][1] = _mm512_setzero_si512();
    for (uint32_t i = 0; i < t->k; i += 4) {
        __m512i b0 = _mm512_loadu_si512(b + (size_t)i * NR), b1 = _mm512_loadu_si512(b + (size_t)i * NR + 64);
        __builtin_prefetch((const void *)ahead, 0, 2);
        ahead += t->ahead_step;
        UNROLL for (int r = 0; r < R; r++)
        {
            int32_t four;
            memcpy(&four, a + (size_t)r * t->lda + i, sizeof four);
            __m512i x = _mm512_set1_epi32(four);
            sum[r][0] = dot4(sum[r][0], x, b0);
            sum[r][1] = dot4(sum[r][1], x, b1);
        }
    }
    if (t->k <= SPLIT_K)
        store_sums(R, t, sum, true);
    else
        store_sums(R, t, sum, false);
}

static void tile_i8(const struct tile *t)
{
#define DO(R) tile_rows(R, t)
    EACH_ROWS(t->rows, DO)
#undef DO
}

/* Smallest and largest, then the bytes: 64 at a time, of which those above 255 (rounding can make a 256) are cut while
 * they are packed. Other depths, and rows whose range is not usable, go the way of all. */
static void pack_a(const float *x, size_t stride, uint32_t rows, uint32_t k, void *a, size_t lda, struct row_quant *rq)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (uint32_t r = 0; r < rows; r++) {
        const float *row = x + r * stride;
        uint8_t *out = (uint8_t *)a + r * lda;
        vf low[2], high[2];
        low[0] = low[1] = high[0] = high[1] = vf_set(0);
        for (uint32_t i = 0; i + 4 * LANES <= k; i += 4 * LANES)
            UNROLL for (uint32_t v = 0; v < 4; v++)
            {
                low[v % 2] = vf_min(low[v % 2], vf_load(row + i + v * LANES));
                high[v % 2] = vf_max(high[v % 2], vf_load(row + i + v * LANES));
            }
        float lo = _mm512_reduce_min_ps(vf_min(low[0], low[1])), range = vf_hmax(vf_max(high[0], high[1])) - lo;
        if (k % (4 * LANES) || !quant_usable(range)) {
            quantize_row(4, 0, row, k, out, rq + r);
            continue;
        }
        float inverse = 255 / range, zero = nearbyintf(-lo * inverse);
        vf by = vf_set(inverse);
        __m512i from = _mm512_set1_epi32((int32_t)zero), q[4];
        rq[r] = (struct row_quant){ range / 255, (int32_t)zero };
        for (uint32_t i = 0; i < k; i += 4 * LANES) {
            UNROLL for (uint32_t v = 0; v < 4; v++)
                q[v] = _mm512_add_epi32(_mm512_cvtps_epi32(vf_mul(vf_load(row + i + v * LANES), by)), from);
            __m512i bytes = _mm512_packus_epi16(_mm512_packus_epi32(q[0], q[1]), _mm512_packus_epi32(q[2], q[3]));
            _mm512_storeu_si512(out + i, _mm512_permutexvar_epi32(order, bytes));
        }
    }
}

void kernels_init_avx512vnni(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_AVX512VNNI))
        return;
    k->isa = k->gemm_isa[GEMM_I8] = "avx512vnni";
    k->gemm[GEMM_I8] = (struct gemm){ TILE_ROWS_I8, NR, 4, 1, tile_i8, pack_a, simd_pack_b_i8, .group = 4 };
}
