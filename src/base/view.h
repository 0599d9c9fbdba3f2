/* SPDX-License-Identifier: Apache-2.0 */
/* Element types and two-dimensional views of memory that somebody else owns. */
#ifndef RKF_BASE_VIEW_H
#define RKF_BASE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_I16,
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_BOOL,
    DTYPE_F64,
    DTYPE_COUNT
};

size_t dtype_size(enum dtype type);                  /* bytes per element */
const char *dtype_name(enum dtype type);             /* "f32" ...; static */
bool dtype_parse(const char *name, enum dtype *out); /* "f32", "float32", "F32", ... */

/* rows x cols elements; row r begins at p + r * stride elements. p == NULL: no view. */
struct view {
    void *p;
    enum dtype type;
    uint32_t rows, cols;
    size_t stride; /* elements from one row to the next */
};
static inline struct view view_make(void *p, enum dtype type, uint32_t rows, uint32_t cols)
{
    return (struct view){ p, type, rows, cols, cols };
}

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f); /* rounds to nearest even; overflow becomes infinity */
static inline float bf16_to_f32(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } v = { (uint32_t)h << 16 };
    return v.f;
}
uint16_t f32_to_bf16(float f); /* rounds to nearest even, NaN stays NaN */
/* n elements of F32, F16 or BF16 at src to f32. */
void convert_to_f32(float *dst, const void *src, enum dtype type, size_t n);

#endif
