/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cost.h"

static const double fade = 0.98;  /* about the last 50 runs */
static const double enough = 2.5; /* three runs: one that something else held up does not decide */

void cost_fit_init(struct cost_fit *f)
{
    *f = (struct cost_fit){ 0 };
    pthread_mutex_init(&f->mutex, NULL);
}

void cost_fit_free(struct cost_fit *f)
{
    pthread_mutex_destroy(&f->mutex);
}

static uint32_t index_of(uint32_t n_cores)
{
    return n_cores < 1 ? 0 : n_cores > NPU_MAX_CORES ? NPU_MAX_CORES - 1 : n_cores - 1;
}

void cost_fit_add(struct cost_fit *f, uint32_t n_cores, double units, double us)
{
    if (!(units > 0) || !(us > 0))
        return;
    pthread_mutex_lock(&f->mutex);
    struct cost_line *l = &f->line[index_of(n_cores)];
    if (l->n > 0 && !l->warm)
        *l = (struct cost_line){ .warm = true };
    l->n = l->n * fade + 1;
    l->x = l->x * fade + units;
    l->y = l->y * fade + us;
    l->xx = l->xx * fade + units * units;
    l->xy = l->xy * fade + units * us;
    pthread_mutex_unlock(&f->mutex);
}

/* Few runs, or runs of one size, do not tell the fixed part from the rest: halves are assumed, with a weight that
 * others soon outdo. */
static void solve(const struct cost_line *l, double *fixed, double *unit)
{
    double mx = l->x / l->n, my = l->y / l->n, var = l->xx / l->n - mx * mx, cov = l->xy / l->n - mx * my;
    double halves = mx * mx * (0.002 + 0.5 / (l->n * l->n));
    double slope = (cov + halves * 0.5 * my / mx) / (var + halves);
    slope = slope < 0 ? 0 : slope > my / mx ? my / mx : slope; /* neither part is negative */
    *unit = slope;
    *fixed = my - slope * mx;
}

bool cost_fit_get(struct cost_fit *f, uint32_t n_cores, double *fixed_us, double *unit_us)
{
    uint32_t want = index_of(n_cores), from = NPU_MAX_CORES;
    pthread_mutex_lock(&f->mutex);
    for (uint32_t i = 0; i < NPU_MAX_CORES; i++) /* itself, else the fewest cores that were tried */
        if (f->line[i].n > 0 && (from == NPU_MAX_CORES || (i == want && f->line[i].n > enough)))
            from = i;
    struct cost_line l = from < NPU_MAX_CORES ? f->line[from] : (struct cost_line){ 0 };
    pthread_mutex_unlock(&f->mutex);
    if (from == NPU_MAX_CORES)
        return false;
    solve(&l, fixed_us, unit_us);
    *unit_us *= (double)(from + 1) / (want + 1);
    return true;
}

uint32_t cost_fit_us(struct cost_fit *f, uint32_t n_cores, double units)
{
    double fixed, unit;
    if (!cost_fit_get(f, n_cores, &fixed, &unit))
        return 0;
    double us = fixed + unit * units;
    return us < 1 ? 1 : us > 1e9 ? 1000000000 : (uint32_t)us;
}
