/* SPDX-License-Identifier: Apache-2.0 */
/* In f32 wherever the reference computes in f32: far positions and the borders of buckets depend on the rounding. */
#include "encoder/positions.h"

#include <math.h>
#include <stdlib.h>

void rotary_fill(double theta, double factor, uint32_t dim, uint32_t positions, float *cos_out, float *sin_out)
{
    uint32_t half = dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        float exponent = (float)(2 * i) / (float)dim;
        float frequency = 1.0f / (float)pow(theta, exponent);
        frequency /= (float)factor;
        for (uint32_t p = 0; p < positions; p++) {
            float angle = (float)p * frequency;
            cos_out[(size_t)p * half + i] = cosf(angle);
            sin_out[(size_t)p * half + i] = sinf(angle);
        }
    }
}

uint32_t relative_bucket(int32_t distance)
{
    enum { SIDE = 16, EXACT = SIDE / 2, FURTHEST = 128 }; /* buckets of a side, those of one distance each */
    uint32_t base = distance > 0 ? SIDE : 0, n = (uint32_t)abs(distance);
    if (n < EXACT)
        return base + n;
    float log_ratio = logf((float)n / EXACT) / (float)log((double)FURTHEST / EXACT);
    uint32_t far = EXACT + (uint32_t)(log_ratio * (SIDE - EXACT));
    return base + (far < SIDE ? far : SIDE - 1);
}

int32_t disentangled_row(const struct encoder_spec *spec, int32_t distance)
{
    int32_t span = (int32_t)spec->relative_span, mid = (int32_t)spec->position_buckets / 2, bucket = distance;
    if (mid && abs(distance) > mid) {
        float furthest = (float)((double)((int32_t)spec->max_relative_positions - 1) / mid);
        float steps = logf((float)abs(distance) / (float)mid) / logf(furthest) * (float)(mid - 1);
        bucket = (int32_t)ceilf(steps) + mid;
        bucket = distance < 0 ? -bucket : bucket;
    }
    int32_t row = bucket + span;
    return row < 0 ? 0 : row > 2 * span - 1 ? 2 * span - 1 : row;
}
