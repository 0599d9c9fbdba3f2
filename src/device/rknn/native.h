/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NPU's native matrix layouts, and the conversions between them and plain rows of f32. Pure functions.
 *
 *     A [M, K] as (K/a, M, a)         a: 8 f16 or 16 i8 on most platforms     B [N, K] as (N/n, K/k, n, k)
 *     C [M, N] as (N/4, M, 4) f32 or i32
 *
 * Rows are scaled on the way in and back on the way out: for int8 by what maps the row's largest value to 127, for f16
 * by a power of two where a value would overflow (else 1).
 */
#ifndef RKF_DEVICE_RKNN_NATIVE_H
#define RKF_DEVICE_RKNN_NATIVE_H

#include "base/view.h"

/* scale[i] of rows x [rows, k] f32: multiply the row by 1 / scale[i] to get into range. */
void native_row_scales(const float *x, size_t stride, uint32_t rows, uint32_t k, enum dtype type, float *scale);
float native_row_scale(const float *x, uint32_t k, enum dtype type);
/* Rows begin .. begin + rows - 1 of A: dst is all of A, (k_pad/group, m, group) of type; x [rows, k] f32 is the first
 * of these rows; columns k .. k_pad - 1 become 0. */
void native_put_a(void *dst, enum dtype type, uint32_t m, uint32_t k_pad, uint32_t group, uint32_t begin,
                  const float *x, size_t stride, uint32_t rows, uint32_t k, const float *scale);
/* Rows without content: zeros. */
void native_clear_a(void *dst, enum dtype type, uint32_t m, uint32_t k_pad, uint32_t group, uint32_t begin,
                    uint32_t rows);
/* One row of B^T (one output column): k elements of f32 times 1 / scale into column `column` of dst, (n/tile_n,
 * k_pad/tile_k, tile_n, tile_k). */
void native_put_b(void *dst, enum dtype type, uint32_t k_pad, uint32_t tile_n, uint32_t tile_k, uint32_t column,
                  const float *w, uint32_t k, float scale);
/* y[r][c] (+)= C[begin + r][c] * row_scale[r] * col_scale[c] + bias[c] + residual[r][c]; NULL: that term is absent. src
 * is all of C, (n/group, m, group) i32 or f32. */
struct native_c {
    const void *src;
    bool i32;
    uint32_t m, group;
    const float *row_scale; // [m], by row of C
    const float *col_scale; // [cols]
    const float *bias;      // [cols]
    bool add;               /* to what is in y */
};
void native_get_c(const struct native_c *c, uint32_t begin, uint32_t rows, uint32_t cols, const float *residual,
                  size_t residual_stride, float *y, size_t stride);

#endif
