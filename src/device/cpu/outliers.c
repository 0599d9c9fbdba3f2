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

static int8_t *weight_at(const struct gemm *g, int8_t *panel, uint32_t depth, uint32_t col)
{
    return panel + ((size_t)(depth / g->group) * g->nr + col) * g->group + depth % g->group;
}

void outliers_fill(const struct outliers *o, const struct gemm *g, int8_t *panel)
{
    for (uint32_t i = 0; i < OUTLIER_DEPTHS; i++)
        for (uint32_t col = 0; col < g->nr; col++) {
            int8_t w = i / 4 < o->n ? *weight_at(g, panel, o->channel[i / 4], col) : 0;
            *weight_at(g, panel, o->first + i, col) = (int8_t)(i % 4 < 2 ? w : -w);
        }
}

static int32_t clamp(int32_t v, int32_t low, int32_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* One channel of a row that has been quantised with half of it: its true steps, and what is beyond them. */
static void place(const struct gemm *g, float x, const struct row_quant *rq, uint8_t *q, uint8_t *beyond)
{
    enum { MOST = 127 };
    float steps = quant_usable(rq->scale * 255) ? fminf(fmaxf(x / rq->scale, -1024), 1024) : 0;
    int32_t all = (int32_t)lrintf(steps) + rq->zero + g->offset, in = clamp(all, 0, 255);
    int32_t up = clamp(all - in, 0, 2 * MOST), down = clamp(in - all, 0, 2 * MOST);
    *q = (uint8_t)(in - g->offset);
    beyond[0] = (uint8_t)clamp(up, 0, MOST);
    beyond[1] = (uint8_t)(up - beyond[0]);
    beyond[2] = (uint8_t)clamp(down, 0, MOST);
    beyond[3] = (uint8_t)(down - beyond[2]);
}

void outliers_pack_a(const struct outliers *o, const struct gemm *g, const float *x, size_t stride, uint32_t rows,
                     uint32_t in, void *a, size_t lda, struct row_quant *rq, float *row)
{
    for (uint32_t r = 0; r < rows; r++, x += stride, rq++) {
        uint8_t *out = (uint8_t *)a + r * lda;
        memcpy(row, x, in * sizeof *row);
        for (uint32_t i = 0; i < o->n; i++) /* half of it is within the range, so all of it within twice that */
            row[o->channel[i]] /= 2;
        g->pack_a(row, in, 1, in, out, lda, rq);
        memset(out + o->first, 0, lda - o->first);
        for (uint32_t i = 0; i < o->n; i++)
            place(g, x[o->channel[i]], rq, out + o->channel[i], out + o->first + 4 * (size_t)i);
    }
}
