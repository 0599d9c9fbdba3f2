/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cpu/outliers.h"

#include "base/mem.h"

#include <math.h>

void outliers_see(const struct outliers *o, const float *x, size_t stride, uint32_t rows, uint32_t in)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < in; i++)
            if (fabsf(x[r * stride + i]) > o->seen[i])
                o->seen[i] = fabsf(x[r * stride + i]);
}

static uint32_t largest(const float *seen, uint32_t in)
{
    uint32_t found = 0;
    for (uint32_t i = 1; i < in; i++)
        found = seen[i] > seen[found] ? i : found;
    return found;
}

void outliers_choose(struct outliers *o, uint32_t in)
{
    const float beyond = 1.25f; /* times the largest of the others: below, there is little to gain */
    float size[OUTLIERS];
    uint32_t n = 0;
    for (; n < OUTLIERS && n + 1 < in; n++) {
        o->channel[n] = largest(o->seen, in);
        size[n] = o->seen[o->channel[n]];
        o->seen[o->channel[n]] = 0;
    }
    float rest = o->seen[largest(o->seen, in)];
    while (n && !(size[n - 1] > beyond * rest))
        n--;
    o->n = n;
    mem_free(o->seen);
    o->seen = NULL;
}

void outliers_clear(const struct outliers *o, const struct gemm *g, int8_t *panel, int32_t *wsum)
{
    for (uint32_t i = 0; i < o->n; i++) {
        uint32_t channel = o->channel[i];
        int8_t *w = panel + (size_t)(channel / g->group) * g->nr * g->group + channel % g->group;
        for (uint32_t col = 0; col < g->nr; col++, w += g->group) {
            wsum[col] -= *w;
            *w = 0;
        }
    }
}

void outliers_pack_a(const struct outliers *o, const struct gemm *g, const float *x, size_t stride, uint32_t rows,
                     uint32_t in, void *a, struct row_quant *rq, float *far, float *row)
{
    size_t lda = gemm_depth(g, in);
    for (uint32_t r = 0; r < rows; r++) {
        memcpy(row, x + r * stride, in * sizeof *row);
        for (uint32_t i = 0; i < o->n; i++) {
            far[r * OUTLIERS + i] = row[o->channel[i]];
            row[o->channel[i]] = 0;
        }
        gemm_pack_a(g, row, in, 1, in, (uint8_t *)a + r * lda, rq + r);
    }
}
