/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual cores. As the kernel driver does it: every core has a queue, first in, first out. A job for one core
 * joins that queue, a joint job those of all its cores; a job runs when it is at the head of all its queues, so that a
 * joint job holds the cores that reach it first until the last one is free. AUTO picks the core with the fewest queued
 * jobs, the lowest of equals. The thread that called computes, then sleeps until the modelled time is over.
 *
 * Faults strike when a job starts. A timeout resets the whole NPU: jobs running on other cores fail with it.
 */
#include "sim.h"

#include <stdio.h>
#include <time.h>

struct job {
    struct job *next[SIM_CORES];
    uint32_t cores;
    bool running, aborted;
    int64_t queued_ns, start_ns;
};

static bool has(uint32_t cores, uint32_t i)
{
    return cores >> i & 1;
}

/* The vendor's drivers before 0.9.6 could not submit to cores 1 and 2. */
static bool driver_is_old(void)
{
    unsigned v[3] = { 0 };
    sscanf(sim.config.driver, "%u.%u.%u", &v[0], &v[1], &v[2]);
    return v[0] == 0 && (v[1] < 9 || (v[1] == 9 && v[2] < 6));
}

static uint32_t least_loaded(uint32_t cores)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < cores; i++)
        if (sim.counters.queued[i] < sim.counters.queued[best])
            best = i;
    return best;
}

static void enqueue(struct job *j)
{
    for (uint32_t i = 0; i < SIM_CORES; i++) {
        struct core *c = &sim.cores[i];
        if (!has(j->cores, i))
            continue;
        if (c->tail)
            c->tail->next[i] = j;
        else
            c->head = j;
        c->tail = j;
        sim.counters.queued[i]++;
    }
}

static bool at_head(const struct job *j)
{
    for (uint32_t i = 0; i < SIM_CORES; i++)
        if (has(j->cores, i) && sim.cores[i].head != j)
            return false;
    return true;
}

static void dequeue(struct job *j)
{
    for (uint32_t i = 0; i < SIM_CORES; i++) {
        struct core *c = &sim.cores[i];
        if (!has(j->cores, i))
            continue;
        c->head = j->next[i];
        if (c->head == NULL)
            c->tail = NULL;
        sim.counters.queued[i]--;
    }
}

/* The first fault that strikes a job starting on these cores; every matching fault counts the job. */
static const struct fault *strike(uint32_t cores)
{
    const struct fault *hit = NULL;
    for (uint32_t i = 0; i < sim.config.n_faults; i++) {
        struct fault *f = &sim.config.faults[i];
        if (f->kind == FAULT_NOMEM || (f->core >= 0 && !has(cores, (uint32_t)f->core)))
            continue;
        f->seen++;
        if (hit == NULL && f->seen >= f->first && f->seen - f->first < f->count)
            hit = f;
    }
    return hit;
}

/* Locked; false when a reset aborted the job first. */
static bool sleep_until(const struct job *j, int64_t ns)
{
    struct timespec t = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
    while (!j->aborted && sim_now_ns() < ns)
        pthread_cond_timedwait(&sim.wake, &sim.lock, &t);
    return !j->aborted;
}

static void reset_npu(const struct job *culprit)
{
    sim.counters.resets++;
    sim_log('E', "soft reset of the NPU");
    for (uint32_t i = 0; i < SIM_CORES; i++) {
        struct job *j = sim.cores[i].head;
        if (j && j != culprit && j->running)
            j->aborted = true;
    }
    pthread_cond_broadcast(&sim.wake);
}

static int fail_job(struct job *j, const struct fault *f)
{
    if (f->kind == FAULT_TIMEOUT) {
        if (!sleep_until(j, sim_now_ns() + (int64_t)(f->after_s * 1e9)))
            return SIM_FAIL; /* somebody else's reset was first */
        sim_log('E', "failed to submit!, op timeout");
        reset_npu(j);
    } else {
        sim_log('E', "failed to submit!");
    }
    return f->result;
}

/* Locked. Cores with a job that runs. */
static uint32_t count_busy(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < SIM_CORES; i++)
        n += sim.cores[i].head && sim.cores[i].head->running;
    return n;
}

static int execute(const struct work *w, struct job *j)
{
    const struct fault *hit = strike(j->cores);
    struct fault f = hit ? *hit : (struct fault){ 0 };
    struct config *c = &sim.config;
    bool model = c->model, compute = c->compute || !model;
    double seconds = w->seconds[c->own_dram ? 0 : count_busy() - 1] * c->scale / c->platform->speed;
    uint64_t releases = sim.releases;
    sim.counters.modelled_ns += model ? (uint64_t)(seconds * 1e9) : 0;
    if (hit && f.kind != FAULT_HANG)
        return fail_job(j, &f);
    while (hit && sim.releases == releases)
        pthread_cond_wait(&sim.wake, &sim.lock);
    sim_unlock();
    if (compute)
        w->compute(w->arg);
    sim_lock();
    int64_t end = j->start_ns + (int64_t)(seconds * 1e9);
    if (model && !hit && sim_now_ns() > end)
        sim.counters.jobs_late++;
    if (j->aborted || (model && !sleep_until(j, end))) {
        sim_log('E', "job lost in a reset of the NPU");
        return SIM_FAIL;
    }
    return f.result;
}

static void record(const struct work *w, const struct job *j, int result)
{
    int64_t now = sim_now_ns();
    for (uint32_t i = 0; i < SIM_CORES; i++)
        if (has(j->cores, i)) {
            sim.counters.jobs[i]++;
            sim.counters.busy_ns[i] += (uint64_t)(now - j->start_ns);
        }
    sim.counters.jobs_by_mask[j->cores]++;
    sim.counters.jobs_failed += result != SIM_OK;
    if (sim.trace_cap) {
        sim.trace[sim.trace_at] = (struct rknnsim_job){ w->ctx, j->cores, result, j->queued_ns, j->start_ns, now };
        sim.trace_at = (sim.trace_at + 1) % sim.trace_cap;
        sim.trace_len += sim.trace_len < sim.trace_cap;
    }
}

int npu_run(const struct work *w, uint32_t *cores)
{
    struct job j = { .cores = w->mask };
    int result;
    sim_lock();
    uint32_t n = sim.config.platform->cores;
    bool old = driver_is_old();
    sim.counters.auto_jobs += j.cores == SIM_MASK_AUTO && sim.config.platform->core_masks;
    if (j.cores == SIM_MASK_AUTO)
        j.cores = 1u << (old ? 0 : least_loaded(n));
    *cores = j.cores;
    if (j.cores >> n || (old && j.cores != 1)) {
        sim_log('E', "failed to submit!, core mask %u", j.cores);
        sim.counters.jobs_failed++;
        sim_unlock();
        return SIM_FAIL;
    }
    j.queued_ns = sim_now_ns();
    enqueue(&j);
    while (!at_head(&j))
        pthread_cond_wait(&sim.wake, &sim.lock);
    j.running = true;
    j.start_ns = sim_now_ns();
    result = execute(w, &j);
    record(w, &j, result);
    dequeue(&j);
    pthread_cond_broadcast(&sim.wake);
    sim_unlock();
    return result;
}
