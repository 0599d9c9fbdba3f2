/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiles multiplied in f16: what instruction sets have in common. A kernels_<isa>.c includes kernels_simd.h, names its
 * sizes, includes this file and then writes half_rows, which does R <= HALF_ROWS rows of a tile:
 *
 *   enum HALF_ROWS, HALF_VECS, HALF_COLS (columns of a vector), HALF_KR (depths of a column that lie together)
 *
 * Sums are kept in f16 over HALF_CHUNK depths only and then added in f32: the error of an output is that of few
 * additions, about 2^-11 of its own size. Rows of x are scaled by a power of two to at most 1 before they are rounded
 * to f16, so that neither numbers beyond f16's range nor their sums become infinite: HALF_CHUNK times the largest
 * weight stays below 65504 for weights up to HALF_MOST. x is rounded to 2^-11 of each number and 2^-24 of its row's
 * largest.
 */
#ifndef RKF_DEVICE_CPU_KERNELS_SIMD_F16_H
#define RKF_DEVICE_CPU_KERNELS_SIMD_F16_H

enum { HALF_CHUNK = 64, HALF_NR = HALF_VECS * HALF_COLS, HALF_MOST = 1000 };

ALWAYS_INLINE void half_rows(const int R, const struct tile *t); /* after this file */

static void half_tile(const struct tile *t)
{
#define DO(R) half_rows(R, t)
    EACH_ROWS(t->rows, DO)
#undef DO
}

static void half_pack_a(const float *x, size_t stride, uint32_t rows, uint32_t k, void *a, size_t lda,
                        struct row_quant *rq)
{
    for (uint32_t r = 0; r < rows; r++) {
        const float *row = x + r * stride;
        uint16_t *out = (uint16_t *)a + r * lda, tail[LANES];
        vf most = vf_set(0);
        uint32_t i;
        for (i = 0; i < k; i += LANES)
            most = vf_max(most, vf_abs(load_upto(row + i, k - i)));
        int e = 0;
        float max = vf_hmax(most);
        if (quant_usable(max))
            frexpf(max, &e);
        vf by = vf_set(ldexpf(1, -e));
        rq[r] = (struct row_quant){ ldexpf(1, e), 0 };
        for (i = 0; i + LANES <= k; i += LANES)
            vf_store_f16(out + i, vf_mul(vf_load(row + i), by));
        if (i < k) {
            vf_store_f16(tail, vf_mul(vf_load_n(row + i, k - i), by));
            memcpy(out + i, tail, (k - i + HALF_KR - 1) / HALF_KR * HALF_KR * sizeof *out); /* the padding is 0 */
        }
    }
}

#endif
