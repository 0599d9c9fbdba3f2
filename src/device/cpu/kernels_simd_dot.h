/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tile of dot products: a word of x, 4 depths in bytes or 2 in bf16, times two vectors of such words of a panel.
 *
 * Whoever includes this has defined the vector dv with dv_zero, dv_load, dv_repeat and dv_dot, DOT_ROWS and DOT_DEPTHS,
 * the type of x dot_element, and dot_store, which turns sums into the tile's c.
 */
#ifndef RKF_DEVICE_CPU_KERNELS_SIMD_DOT_H
#define RKF_DEVICE_CPU_KERNELS_SIMD_DOT_H

ALWAYS_INLINE void dot_rows(const int R, const struct tile *t)
{
    dv sum[16][2];
    const dot_element *a = t->a;
    const uint8_t *b = t->b;
    uintptr_t ahead = t->ahead;
    if (R > DOT_ROWS)
        return;
    UNROLL for (int r = 0; r < R; r++) sum[r][0] = sum[r][1] = dv_zero();
    for (uint32_t i = 0; i < t->k; i += DOT_DEPTHS, b += 2 * sizeof(dv)) {
        dv b0 = dv_load(b), b1 = dv_load(b + sizeof(dv));
        __builtin_prefetch((const void *)ahead, 0, 2);
        ahead += t->ahead_step;
        UNROLL for (int r = 0; r < R; r++)
        {
            int32_t word;
            memcpy(&word, a + (size_t)r * t->lda + i, sizeof word);
            dv x = dv_repeat(word);
            sum[r][0] = dv_dot(sum[r][0], x, b0);
            sum[r][1] = dv_dot(sum[r][1], x, b1);
        }
    }
    dot_store(R, t, sum);
}

static void dot_tile(const struct tile *t)
{
#define DO(R) dot_rows(R, t)
    EACH_ROWS(t->rows, DO)
#undef DO
}

#endif
