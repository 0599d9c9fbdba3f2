/* SPDX-License-Identifier: Apache-2.0 */
/* The one state: its lock, the log, contexts and counters. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct sim sim = { .lock = PTHREAD_MUTEX_INITIALIZER };

void sim_lock(void)
{
    pthread_mutex_lock(&sim.lock);
}

void sim_unlock(void)
{
    pthread_mutex_unlock(&sim.lock);
}

int64_t sim_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* As the vendor's library: RKNN_LOG_LEVEL 1 shows errors, 2 warnings too, and so on; unset or 0: nothing. */
static void log_line(char level, const char *fmt, va_list args)
{
    static const char levels[] = "EWID";
    const char *wanted = getenv("RKNN_LOG_LEVEL");
    if (wanted == NULL || atoi(wanted) <= strchr(levels, level) - levels)
        return;
    char text[512];
    vsnprintf(text, sizeof text, fmt, args);
    fprintf(stderr, "%c RKNN: %s\n", level, text);
}

void sim_log(char level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_line(level, fmt, args);
    va_end(args);
}

int sim_misuse(int error, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_line('E', fmt, args);
    va_end(args);
    sim.counters.misuse++;
    return error;
}

bool sim_alloc_fails(void)
{
    bool fails = false;
    for (uint32_t i = 0; i < sim.config.n_faults; i++) {
        struct fault *f = &sim.config.faults[i];
        if (f->kind != FAULT_NOMEM)
            continue;
        f->seen++;
        fails |= f->seen >= f->first && f->seen - f->first < f->count;
    }
    if (fails)
        sim_log('E', "failed to allocate memory (injected)");
    return fails;
}

/* ---- contexts */

int context_add(enum context_kind kind, void *impl, uint32_t domain, struct context **out)
{
    struct context *c = sim_alloc_fails() ? NULL : calloc(1, sizeof *c);
    if (c == NULL)
        return SIM_NO_MEMORY;
    c->id = ++sim.next_id << 4 | 9; /* no pointer, no small number: mixing handles up is noticed */
    c->kind = kind;
    c->impl = impl;
    c->domain = domain;
    c->next = sim.contexts;
    sim.contexts = c;
    sim.counters.contexts_created++;
    if (kind == CONTEXT_MATMUL)
        sim.counters.matmul_contexts++;
    else
        sim.counters.contexts++;
    *out = c;
    return SIM_OK;
}

static struct context *context_find(uint64_t id, int kind)
{
    for (struct context *c = sim.contexts; c; c = c->next)
        if (c->id == id && !c->dying && (kind < 0 || c->kind == (enum context_kind)kind))
            return c;
    sim.counters.bad_handles++;
    sim_log('E', "invalid context %#llx", (unsigned long long)id);
    return NULL;
}

struct context *context_enter(uint64_t id, int kind)
{
    sim_start();
    sim_lock();
    struct context *c = context_find(id, kind);
    if (c) {
        c->users++;
        if (c->entered) {
            sim.counters.concurrent_calls++;
            sim_log('W', "context %#llx is used by two threads at once", (unsigned long long)id);
        }
        while (c->entered && !c->dying)
            pthread_cond_wait(&sim.wake, &sim.lock);
        if (c->dying) {
            c->users--;
            sim.counters.bad_handles++;
            pthread_cond_broadcast(&sim.wake);
            c = NULL;
        } else {
            c->entered = true;
        }
    }
    sim_unlock();
    return c;
}

void context_leave(struct context *c)
{
    sim_lock();
    c->entered = false;
    c->users--;
    pthread_cond_broadcast(&sim.wake);
    sim_unlock();
}

struct context *context_hold(uint64_t id, int kind)
{
    sim_start();
    sim_lock();
    struct context *c = context_find(id, kind);
    if (c)
        c->users++;
    sim_unlock();
    return c;
}

void context_drop(struct context *c)
{
    sim_lock();
    c->users--;
    pthread_cond_broadcast(&sim.wake);
    sim_unlock();
}

struct context *context_remove(uint64_t id, int kind)
{
    sim_start();
    sim_lock();
    struct context *c = context_find(id, kind);
    if (c) {
        c->dying = true;
        if (c->users) {
            sim.counters.concurrent_calls++;
            sim_log('W', "context %#llx is destroyed while it is used", (unsigned long long)id);
        }
        pthread_cond_broadcast(&sim.wake);
        while (c->users)
            pthread_cond_wait(&sim.wake, &sim.lock);
        struct context **at = &sim.contexts;
        while (*at != c)
            at = &(*at)->next;
        *at = c->next;
        if (c->kind == CONTEXT_MATMUL)
            sim.counters.matmul_contexts--;
        else
            sim.counters.contexts--;
        memory_leak_check(id);
    }
    sim_unlock();
    return c;
}

void context_free(struct context *c)
{
    if (c == NULL)
        return;
    if (c->kind == CONTEXT_MATMUL)
        matmul_free(c->impl);
    else
        graph_free(c->impl);
    free(c);
}

/* ---- the end of the process */

/* RKNNSIM_STRICT=1: whoever left something behind, or broke the contract, ends with status 97 and a line that says so.
 * For tests of whole programs. */
__attribute__((destructor)) static void strict_end(void)
{
    const struct rknnsim_counters *c = &sim.counters;
    const char *strict = getenv("RKNNSIM_STRICT");
    uint64_t alive = c->contexts + c->matmul_contexts + c->memories + c->weights + c->outputs_held + c->threads;
    uint64_t broken = c->mem_leaked + c->mem_overruns + c->bad_handles + c->misuse + c->would_abort + c->auto_jobs +
                      c->stale_reads + c->unsynced + c->concurrent_calls + c->unreleased;
    if (strict == NULL || strcmp(strict, "1") != 0 || alive + broken == 0)
        return;
    fprintf(
        stderr,
        "RKNNSIM_STRICT: alive: %llu contexts, %llu of products, %llu memories, %llu weights, %llu outputs; broken: "
        "%llu leaked, %llu overrun, %llu bad handles, %llu misused, %llu would abort, %llu without a core, %llu stale "
        "reads, %llu unsynced, %llu by two threads at once, %llu not released\n",
        (unsigned long long)c->contexts, (unsigned long long)c->matmul_contexts, (unsigned long long)c->memories,
        (unsigned long long)c->weights, (unsigned long long)c->outputs_held, (unsigned long long)c->mem_leaked,
        (unsigned long long)c->mem_overruns, (unsigned long long)c->bad_handles, (unsigned long long)c->misuse,
        (unsigned long long)c->would_abort, (unsigned long long)c->auto_jobs, (unsigned long long)c->stale_reads,
        (unsigned long long)c->unsynced, (unsigned long long)c->concurrent_calls, (unsigned long long)c->unreleased);
    fflush(NULL);
    _exit(97);
}

/* ---- counters and trace */

int rknnsim_counters_read(struct rknnsim_counters *out, uint32_t size)
{
    sim_start();
    if (out == NULL || size != sizeof *out)
        return SIM_BAD_PARAM;
    sim_lock();
    *out = sim.counters;
    sim_unlock();
    return SIM_OK;
}

uint32_t rknnsim_trace_read(struct rknnsim_job *out, uint32_t max)
{
    sim_start();
    sim_lock();
    uint32_t n = sim.trace_len < max ? sim.trace_len : max;
    for (uint32_t i = 0; i < n; i++)
        out[i] = sim.trace[(sim.trace_at + sim.trace_cap - n + i) % sim.trace_cap];
    sim_unlock();
    return n;
}
