/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cpu/outliers.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

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

/* Weights of a packed column. */
struct column {
    const int8_t *first;
    uint32_t group, step; /* so many depths together, so many bytes from there to the next */
};

static int weight_at(const struct column *c, uint32_t depth)
{
    return c->first[(size_t)(depth / c->group) * c->step + depth % c->group];
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

/* How many steps a weight at this depth takes; with `quads` the four that are added with it, of one sign. */
static int steps_at(const struct column *c, bool quads, uint32_t depth)
{
    int up = 0, down = 0;
    if (!quads)
        return abs(weight_at(c, depth));
    for (uint32_t i = 0; i < 4; i++) { /* 0, 1, 4, 5 and 2, 3, 6, 7 of eight depths */
        int w = weight_at(c, depth / 8 * 8 + depth % 4 / 2 * 2 + i % 2 + i / 2 * 4);
        up += larger(w, 0);
        down += larger(-w, 0);
    }
    return larger(up, down);
}

static bool takes_fewer(const struct column *c, bool quads, uint32_t k, int steps)
{
    for (uint32_t depth = 0; depth < k; depth += !quads ? 1 : depth % 8 ? 6 : 2)
        if (steps_at(c, quads, depth) >= steps)
            return false;
    return true;
}

bool outliers_clear(const struct outliers *o, const struct gemm *g, uint32_t k, int8_t *panel, int32_t *wsum)
{
    enum { ALL_STEPS = 120, FEW_STEPS = 100 }; /* of 127: about all, and so few that finer ones are worth the time */
    bool finer = false;
    for (uint32_t col = 0; col < g->nr; col++) {
        struct column c = { panel + (size_t)col * g->group, g->group, (uint32_t)g->nr * g->group };
        bool largest = false;
        for (uint32_t i = 0; i < o->n; i++)
            largest |= steps_at(&c, g->quads, o->channel[i]) >= ALL_STEPS;
        for (uint32_t i = 0; i < o->n; i++) {
            uint32_t depth = o->channel[i];
            wsum[col] -= weight_at(&c, depth);
            panel[(size_t)(depth / g->group) * c.step + col * g->group + depth % g->group] = 0;
        }
        finer = finer || (largest && takes_fewer(&c, g->quads, k, FEW_STEPS));
    }
    return finer;
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
