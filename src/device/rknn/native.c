/* SPDX-License-Identifier: Apache-2.0 */
#include "device/rknn/native.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 16 }; /* rows walked together: whole cache lines of the native side */

#define F16_MAX 65504.0f

/* ---- numbers: plain C that compilers turn into vector code */

#if defined(__aarch64__)
static inline uint16_t half_of(float f)
{
    union {
        __fp16 h;
        uint16_t u;
    } v = { .h = (__fp16)f };
    return v.u;
}
#else
static inline uint16_t half_of(float f)
{
    union {
        float f;
        uint32_t u;
    } v = { f }, low;
    uint32_t sign = v.u >> 16 & 0x8000, a = v.u & 0x7fffffff;
    low.u = a;
    low.f += 0.5f; /* below 2^-14 this lines the subnormal up with the mantissa's end */
    uint32_t normal = (a + 0xfff + (a >> 13 & 1) - (112u << 23)) >> 13;
    uint32_t half = a < 0x38800000 ? low.u - 0x3f000000 : normal;
    half = a >= 0x477ff000 ? 0x7c00 : half; /* 65520 and up round to infinity */
    return (uint16_t)(sign | (a > 0x7f800000 ? 0x7e00 : half));
}
#endif

static inline int8_t byte_of(float f) /* |f| <= 127 or NaN */
{
    return (int8_t)(f == f ? lrintf(f) : 0);
}

float native_row_scale(const float *x, uint32_t k, enum dtype type)
{
    float max = 0;
    for (uint32_t i = 0; i < k; i++) {
        float a = fabsf(x[i]);
        max = a > max ? a : max; /* NaN never wins */
    }
    if (type == DTYPE_I8)
        return max > 0 && max <= 3.4e38f ? max / 127 : 1;
    if (max <= F16_MAX || !(max <= 3.4e38f)) /* an infinity stays one */
        return 1;
    int e;
    frexpf(max / F16_MAX, &e);
    return ldexpf(1, e);
}

void native_row_scales(const float *x, size_t stride, uint32_t rows, uint32_t k, enum dtype type, float *scale)
{
    for (uint32_t r = 0; r < rows; r++)
        scale[r] = native_row_scale(x + r * stride, k, type);
}

/* ---- A */

static void put_f16(uint16_t *dst, const float *x, uint32_t n, float factor)
{
    if (factor == 1)
        for (uint32_t i = 0; i < n; i++)
            dst[i] = half_of(x[i]);
    else
        for (uint32_t i = 0; i < n; i++)
            dst[i] = half_of(x[i] * factor);
}

static void put_i8(int8_t *dst, const float *x, uint32_t n, float factor)
{
    for (uint32_t i = 0; i < n; i++) {
        float f = x[i] * factor;
        dst[i] = byte_of(f > 127 ? 127 : f < -127 ? -127 : f);
    }
}

static void put(void *dst, enum dtype type, size_t at, const float *x, uint32_t n, float factor)
{
    if (type == DTYPE_I8)
        put_i8((int8_t *)dst + at, x, n, factor);
    else
        put_f16((uint16_t *)dst + at, x, n, factor);
}

static void clear(void *dst, enum dtype type, size_t at, size_t n)
{
    size_t size = dtype_size(type);
    memset((char *)dst + at * size, 0, n * size);
}

void native_put_a(void *dst, enum dtype type, uint32_t m, uint32_t k_pad, uint32_t group, uint32_t begin,
                  const float *x, size_t stride, uint32_t rows, uint32_t k, const float *scale)
{
    for (uint32_t r0 = 0; r0 < rows; r0 += BLOCK) {
        uint32_t n = rows - r0 < BLOCK ? rows - r0 : BLOCK;
        float factor[BLOCK];
        for (uint32_t r = 0; r < n; r++)
            factor[r] = 1 / scale[r0 + r];
        for (uint32_t col = 0; col < k_pad; col += group) {
            uint32_t have = col >= k ? 0 : k - col < group ? k - col : group;
            size_t at = ((size_t)(col / group) * m + begin + r0) * group;
            for (uint32_t r = 0; r < n; r++, at += group) {
                put(dst, type, at, x + (r0 + r) * stride + col, have, factor[r]);
                if (have < group)
                    clear(dst, type, at + have, group - have);
            }
        }
    }
}

void native_clear_a(void *dst, enum dtype type, uint32_t m, uint32_t k_pad, uint32_t group, uint32_t begin,
                    uint32_t rows)
{
    for (uint32_t col = 0; col < k_pad; col += group)
        clear(dst, type, ((size_t)(col / group) * m + begin) * group, (size_t)rows * group);
}

/* ---- B */

void native_put_b(void *dst, enum dtype type, uint32_t k_pad, uint32_t tile_n, uint32_t tile_k, uint32_t column,
                  const float *w, uint32_t k, float scale)
{
    size_t tile = (size_t)(column / tile_n) * (k_pad / tile_k);
    for (uint32_t k0 = 0; k0 < k_pad; k0 += tile_k, tile++) {
        size_t at = (tile * tile_n + column % tile_n) * tile_k;
        uint32_t have = k0 >= k ? 0 : k - k0 < tile_k ? k - k0 : tile_k;
        if (have)
            put(dst, type, at, w + k0, have, 1 / scale);
        clear(dst, type, at + have, tile_k - have);
    }
}

/* ---- C */

static inline float element(const struct native_c *c, size_t at)
{
    return c->i32 ? (float)((const int32_t *)c->src)[at] : ((const float *)c->src)[at];
}

void native_get_c(const struct native_c *c, uint32_t begin, uint32_t rows, uint32_t cols, const float *residual,
                  size_t residual_stride, float *y, size_t stride)
{
    uint32_t group = c->group;
    for (uint32_t r0 = 0; r0 < rows; r0 += BLOCK) {
        uint32_t n = rows - r0 < BLOCK ? rows - r0 : BLOCK;
        for (uint32_t col = 0; col < cols; col += group) {
            uint32_t have = cols - col < group ? cols - col : group;
            size_t at = ((size_t)(col / group) * c->m + begin + r0) * group;
            for (uint32_t r = 0; r < n; r++, at += group) {
                float scale = c->row_scale[begin + r0 + r], *out = y + (r0 + r) * stride + col;
                const float *res = residual ? residual + (r0 + r) * residual_stride + col : NULL;
                for (uint32_t j = 0; j < have; j++) {
                    float t = element(c, at + j) * scale;
                    if (c->col_scale)
                        t *= c->col_scale[col + j];
                    if (c->bias)
                        t += c->bias[col + j];
                    if (c->add)
                        t += out[j];
                    if (res)
                        t += res[j];
                    out[j] = t;
                }
            }
        }
    }
}
