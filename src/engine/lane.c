/* SPDX-License-Identifier: Apache-2.0 */
/* Pools and lanes: which CPU threads belong to which core, and the execs of every set of cores, made at first use. */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

enum {
    ALIKE_PERCENT = 80
}; /* the slowest of CPUs that are taken for alike, of the fastest: a Cortex-A55 is far below */

static bool unlike(const uint16_t *capacity, int n)
{
    uint32_t most = 0, least = UINT16_MAX;
    for (int i = 0; i < n; i++) {
        most = capacity[i] > most ? capacity[i] : most;
        least = capacity[i] < least ? capacity[i] : least;
    }
    return n && least * 100 < most * ALIKE_PERCENT;
}

void deal_threads(const uint16_t *capacity, int threads, uint32_t n_cores, uint8_t *users, int *share)
{
    uint32_t has[NPU_MAX_CORES] = { 0 };
    memset(users, 0, (size_t)threads);
    for (uint32_t c = 0; c < n_cores; c++) {
        int from = (int)((int64_t)threads * c / n_cores), to = (int)((int64_t)threads * (c + 1) / n_cores);
        for (int s = from; s < to || s == from; s++)
            users[s] |= (uint8_t)(1u << c);
        share[c] = to > from ? to - from : 1;
    }
    if (threads < (int)n_cores || !unlike(capacity, threads))
        return;
    memset(share, 0, n_cores * sizeof *share);
    for (int s = 0; s < threads; s++) { /* the fastest first, each to the core that has the least */
        uint32_t least = 0;
        for (uint32_t c = 1; c < n_cores; c++)
            least = has[c] < has[least] ? c : least;
        users[s] = (uint8_t)(1u << least);
        has[least] += capacity[s];
        share[least]++;
    }
}

rkf_status pool_setup(struct pool *p, rkf_runtime *rt, struct device *d, const struct platform *platform,
                      rkf_error *err)
{
    (void)err;
    p->rt = rt;
    p->device = d;
    p->platform = platform;
    p->n_cores = platform->cores;
    for (uint32_t c = 0; c < p->n_cores; c++)
        p->core[c].depth = d->exec_depth ? d->exec_depth : 1;
    deal_threads(rt->capacity, rt->threads, p->n_cores, p->users, p->share);
    return RKF_OK;
}

/* Thread slots of a set of cores: every slot once, so that cores that share a thread do not get it twice. */
static int lane_slots(const struct pool *p, uint8_t cores, int *slots)
{
    int n = 0;
    for (int s = 0; s < p->rt->threads; s++)
        if (p->users[s] & cores)
            slots[n++] = s;
    return n;
}

static void runner_stop(struct runner *r)
{
    if (r->started)
        pthread_join(r->thread, NULL);
    r->started = false;
    pthread_cond_destroy(&r->wake);
    team_destroy(r->exec.team);
    arena_free(&r->exec.scratch);
}

static rkf_status runner_start(struct lane *l, struct runner *r, rkf_error *err)
{
    rkf_runtime *rt = l->pool->rt;
    int slots[MOST_THREADS], cpus[MOST_THREADS];
    uint16_t capacity[MOST_THREADS];
    int n = lane_slots(l->pool, l->cores, slots);
    /* a lane of all threads has nothing to keep apart: the kernel knows better, above all where a caller lends his own
     */
    bool pin = !rt->options.no_pin && !l->pool->whole;
    for (int i = 0; i < n; i++) {
        cpus[i] = rt->cpus[slots[i]];
        capacity[i] = rt->capacity[slots[i]];
    }
    r->lane = l;
    r->exec = (struct exec){ .device = l->pool->device, .cores = l->cores, .uneven = unlike(capacity, n) };
    rkf_status rc = team_create(n, pin ? cpus : NULL, &r->exec.team, err);
    if (rc)
        return rc;
    pthread_cond_init(&r->wake, NULL);
    int e = pthread_create(&r->thread, NULL, runner_main, r);
    if (e) {
        runner_stop(r);
        return rkf_fail(err, RKF_NO_MEMORY, "cannot start a thread for cores %s: %s", core_set_name(l->cores),
                        strerror(e));
    }
    r->started = true;
    char name[16];
    snprintf(name, sizeof name, "rkf-%s-%s", l->pool->device->name, core_set_name(l->cores));
    pthread_setname_np(r->thread, name);
    if (pin) {
        cpu_set_t set;
        CPU_ZERO(&set);
        for (int i = 0; i < n; i++)
            CPU_SET(cpus[i], &set);
        pthread_setaffinity_np(r->thread, sizeof set, &set);
    }
    return RKF_OK;
}

rkf_status pool_lane(struct pool *p, uint8_t cores, struct lane **out, rkf_error *err)
{
    struct lane *l = &p->lane[cores & (LANE_SETS - 1)];
    if (!l->n_runners) { /* runners read these without the lock */
        l->pool = p;
        l->cores = cores;
    }
    uint32_t want = p->device->exec_depth ? p->device->exec_depth : 1;
    while (l->n_runners < want && l->n_runners < MAX_EXECS) {
        rkf_status rc = runner_start(l, &l->runner[l->n_runners], err);
        if (rc && l->n_runners == 0)
            return rc;
        if (rc)
            break; /* one exec works too */
        l->n_runners++;
    }
    *out = l;
    return RKF_OK;
}

/* The runtime is closing: runners see it and leave. */
void pool_teardown(struct pool *p)
{
    for (int set = 0; set < LANE_SETS; set++) {
        struct lane *l = &p->lane[set];
        for (uint32_t i = 0; i < l->n_runners; i++)
            runner_stop(&l->runner[i]);
        l->n_runners = 0;
    }
}
