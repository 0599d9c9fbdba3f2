/* SPDX-License-Identifier: Apache-2.0 */
/* f16 and f32. */
#ifndef RKNNSIM_HALF_H
#define RKNNSIM_HALF_H

#include <stdint.h>

static inline float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
    union {
        uint32_t u;
        float f;
    } v;
    if (e == 0) {
        v.f = (float)m * 0x1p-24f; /* subnormal: exact */
        v.u |= sign;
    } else if (e == 31) {
        v.u = sign | 0x7f800000 | m << 13;
    } else {
        v.u = sign | (e + 112) << 23 | m << 13;
    }
    return v.f;
}

/* Nearest, ties to even. */
static inline uint16_t float_to_half(float f)
{
    union {
        float f;
        uint32_t u;
    } v = { f };
    uint16_t sign = (uint16_t)(v.u >> 16 & 0x8000);
    v.u &= 0x7fffffff;
    if (v.u > 0x7f800000)
        return sign | 0x7e00;
    if (v.u >= 0x47800000) /* 65536 and more */
        return sign | 0x7c00;
    if (v.u < 0x38800000) { /* below 2^-14: adding 0.5 shifts the subnormal's bits to the bottom, rounded by the FPU */
        v.f += 0.5f;
        return sign | (uint16_t)(v.u - 0x3f000000);
    }
    v.u += 0xfff + (v.u >> 13 & 1);
    return sign | (uint16_t)((v.u - 0x38000000) >> 13);
}

#endif
