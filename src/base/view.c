/* SPDX-License-Identifier: Apache-2.0 */
#include "base/view.h"

#include <string.h>
#include <strings.h>

static const struct {
    const char *name, *names[4]; /* ours, then what files and users write */
    uint8_t size;
} dtypes[DTYPE_COUNT] = {
    [DTYPE_F32] = { "f32", { "float32", "fp32" }, 4 },
    [DTYPE_F16] = { "f16", { "float16", "fp16", "half" }, 2 },
    [DTYPE_BF16] = { "bf16", { "bfloat16" }, 2 },
    [DTYPE_I8] = { "int8", { "i8" }, 1 },
    [DTYPE_U8] = { "uint8", { "u8" }, 1 },
    [DTYPE_I16] = { "int16", { "i16" }, 2 },
    [DTYPE_I32] = { "int32", { "i32" }, 4 },
    [DTYPE_I64] = { "int64", { "i64" }, 8 },
    [DTYPE_BOOL] = { "bool", { "boolean" }, 1 },
    [DTYPE_F64] = { "f64", { "float64", "double" }, 8 },
};

size_t dtype_size(enum dtype type)
{
    return dtypes[type].size;
}

const char *dtype_name(enum dtype type)
{
    return dtypes[type].name;
}

bool dtype_parse(const char *name, enum dtype *out)
{
    for (int t = 0; t < DTYPE_COUNT; t++) {
        bool hit = !strcasecmp(name, dtypes[t].name);
        for (int i = 0; i < 4 && dtypes[t].names[i]; i++)
            hit |= !strcasecmp(name, dtypes[t].names[i]);
        if (hit) {
            *out = (enum dtype)t;
            return true;
        }
    }
    return false;
}

static float bits_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static uint32_t f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = (h >> 10) & 31, man = h & 0x3ff;
    if (exp == 31)
        return bits_f32(sign | 0x7f800000 | man << 13);
    if (exp == 0) /* subnormal: man * 2^-24 is exact in f32 */
        return bits_f32(sign | f32_bits((float)man * 0x1p-24f));
    return bits_f32(sign | (exp + 112) << 23 | man << 13);
}

uint16_t f32_to_f16(float f)
{
    uint32_t u = f32_bits(f);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    u &= 0x7fffffff;
    if (u > 0x7f800000)
        return sign | 0x7e00; /* NaN */
    if (u >= 0x477ff000)
        return sign | 0x7c00; /* 65520 and up round to infinity */
    if (u < 0x38800000) {     /* below 2^-14: adding 0.5 lines the f16 subnormal up with the f32 mantissa's end */
        uint32_t r = f32_bits(bits_f32(u) + 0.5f);
        return sign | (uint16_t)(r - 0x3f000000);
    }
    uint32_t odd = u >> 13 & 1;
    return sign | (uint16_t)((u + 0xfff + odd - (112u << 23)) >> 13);
}

uint16_t f32_to_bf16(float f)
{
    uint32_t u = f32_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

void convert_to_f32(float *dst, const void *src, enum dtype type, size_t n)
{
    const uint16_t *h = src;
    switch (type) {
    case DTYPE_F16:
        for (size_t i = 0; i < n; i++)
            dst[i] = f16_to_f32(h[i]);
        break;
    case DTYPE_BF16:
        for (size_t i = 0; i < n; i++)
            dst[i] = bf16_to_f32(h[i]);
        break;
    default:
        memcpy(dst, src, n * sizeof *dst);
    }
}
