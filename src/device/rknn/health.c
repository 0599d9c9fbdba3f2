/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is to blame for a failed job. A timeout makes the driver reset the whole NPU, so jobs of other cores die with the
 * job that timed out: they are repeated and blame nobody. Of several that timed out at once the one that began first is
 * the culprit.
 *
 * A job is tried again once. If it fails twice for reasons of its own, its cores are to blame.
 */
#include "base/thread.h"
#include "device/rknn/rknn_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    MAX_TRIES = 6,                /* however they are explained: a run ends */
    SETTLE_NS = 20 * 1000 * 1000, /* calls that a reset killed return within this time of each other */
    SETTLE_STEP_NS = 1 * 1000 * 1000,
};

void health_init(struct health *h)
{
    pthread_mutex_init(&h->mutex, NULL);
    h->n = 0;
}

static void note(struct health *h, const struct attempt *a)
{
    pthread_mutex_lock(&h->mutex);
    h->failed[h->n++ % HEALTH_RING] = *a;
    pthread_mutex_unlock(&h->mutex);
}

/* A timeout on other cores that reset the NPU while a ran. If a timed out too, only one that began before it. */
static bool has_other_culprit(struct health *h, const struct attempt *a)
{
    bool found = false;
    pthread_mutex_lock(&h->mutex);
    for (uint32_t i = 0; i < HEALTH_RING && i < h->n && !found; i++) {
        const struct attempt *b = &h->failed[i];
        bool culprit = a->result != ABI_TIMEOUT || b->start_ns < a->start_ns;
        found = b->result == ABI_TIMEOUT && !(b->cores & a->cores) && culprit && b->end_ns >= a->start_ns &&
                b->end_ns <= a->end_ns + SETTLE_NS;
    }
    pthread_mutex_unlock(&h->mutex);
    return found;
}

static void count(struct health *h, const struct attempt *a, bool excused)
{
    pthread_mutex_lock(&h->mutex);
    for (int i = 0; i < NPU_MAX_CORES; i++) {
        struct core_faults *f = &h->faults[i];
        if (a->cores >> i & 1)
            ++*(excused ? &f->lost : a->result == ABI_TIMEOUT ? &f->timeouts : &f->failures);
    }
    pthread_mutex_unlock(&h->mutex);
}

/* The culprit's call may return a little later than its victims'. */
static bool is_excused(struct health *h, const struct attempt *a)
{
    for (int64_t waited = 0; waited < SETTLE_NS; waited += SETTLE_STEP_NS) {
        if (has_other_culprit(h, a))
            return true;
        nanosleep(&(struct timespec){ .tv_nsec = SETTLE_STEP_NS }, NULL);
    }
    return has_other_culprit(h, a);
}

/* Of the job or the core, not of how the library was called. */
static bool is_failure_of_core(int result)
{
    return result == ABI_FAIL || result == ABI_TIMEOUT || result == ABI_DEVICE_UNAVAILABLE;
}

int health_run(struct rknn_device *d, struct worker *w, uint8_t cores, int (*fn)(void *arg), void *arg, bool *blame)
{
    int own = 0, result = ABI_OK;
    char name[64];
    *blame = false;
    for (int i = 0; i < MAX_TRIES; i++) {
        struct attempt a = { .cores = cores, .start_ns = time_now_ns() };
        worker_restart_clock(w);
        a.result = result = fn(arg);
        if (result >= ABI_OK)
            return ABI_OK;
        a.end_ns = time_now_ns();
        if (!is_failure_of_core(result))
            return result;
        note(&d->health, &a);
        bool excused = is_excused(&d->health, &a);
        own += !excused;
        count(&d->health, &a, excused);
        rknn_log(d, RKF_LOG_WARN, "a job on NPU core %s failed: %s%s", core_set_name(cores),
                 abi_result_name(result, name, sizeof name),
                 excused   ? ", another core's timeout reset the NPU; it is repeated"
                 : own < 2 ? "; it is tried again"
                           : " again: the core is taken for sick");
        if (own == 2) {
            *blame = true;
            return result;
        }
    }
    return result;
}

rkf_status rknn_fail(rkf_error *err, int result, const char *fmt, ...)
{
    char what[256], name[64];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return rkf_fail(err, result == ABI_NO_MEMORY ? RKF_NO_MEMORY : RKF_DEVICE, "%s: %s", what,
                    abi_result_name(result, name, sizeof name));
}
