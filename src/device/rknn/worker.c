/* SPDX-License-Identifier: Apache-2.0 */
#include "device/rknn/worker.h"
#include "base/thread.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    LATE_NS = 200 * 1000 * 1000, /* a call that runs this long at least ... */
    LATE_FACTOR = 8,             /* ... and this many times its usual time is given up when the deadline comes */
};

/* ---- calls */

void call_init(struct call *c, void (*run)(struct call *c), void (*destroy)(struct call *c))
{
    *c = (struct call){ .run = run, .destroy = destroy };
    atomic_init(&c->state, CALL_IDLE);
    atomic_init(&c->holders, 1);
}

void call_hold(struct call *c)
{
    atomic_fetch_add_explicit(&c->holders, 1, memory_order_relaxed);
}

void call_drop(struct call *c)
{
    if (atomic_fetch_sub_explicit(&c->holders, 1, memory_order_acq_rel) == 1)
        c->destroy(c);
}

/* ---- the thread */

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

static void spin_for_work(struct worker *w)
{
    int64_t end = w->spin_ns ? time_now_ns() + w->spin_ns : 0;
    while (end && !atomic_load_explicit(&w->queued, memory_order_acquire) && time_now_ns() < end)
        for (int i = 0; i < 32; i++)
            cpu_relax();
}

static struct call *take(struct worker *w) /* locked */
{
    struct call *c = w->first;
    w->first = c->next;
    if (!w->first)
        w->last = NULL;
    c->next = NULL;
    atomic_fetch_sub(&w->queued, 1);
    return c;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    pthread_mutex_lock(&w->mutex);
    for (;;) {
        if (!w->first && !w->stop) {
            pthread_mutex_unlock(&w->mutex);
            spin_for_work(w);
            pthread_mutex_lock(&w->mutex);
        }
        while (!w->first && !w->stop)
            pthread_cond_wait(&w->work, &w->mutex);
        if (!w->first)
            break;
        struct call *c = take(w);
        w->running = c;
        w->running_since = time_now_ns();
        atomic_store(&c->state, CALL_RUNNING);
        pthread_mutex_unlock(&w->mutex);
        c->run(c);
        pthread_mutex_lock(&w->mutex);
        w->running = NULL;
        if (w->hung)
            log_line(w->log, RKF_LOG_WARN, "the NPU call on %s that hung has returned", w->name);
        w->hung = false;
        atomic_store_explicit(&c->state, CALL_DONE, memory_order_release);
        pthread_cond_broadcast(&w->done);
        pthread_mutex_unlock(&w->mutex);
        call_drop(c);
        pthread_mutex_lock(&w->mutex);
    }
    w->ended = true;
    void (*left)(void *) = w->left;
    void *owner = w->owner;
    pthread_mutex_unlock(&w->mutex);
    if (left)
        left(owner);
    return NULL;
}

rkf_status worker_init(struct worker *w, const char *name, const struct logger *log, int64_t hang_ns, int64_t spin_ns,
                       rkf_error *err)
{
    pthread_condattr_t attr;
    *w = (struct worker){ .hang_ns = hang_ns, .spin_ns = spin_ns, .log = log };
    snprintf(w->name, sizeof w->name, "%s", name);
    if (pthread_condattr_init(&attr))
        return rkf_fail_memory(err, sizeof *w, "a worker");
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->work, &attr);
    pthread_cond_init(&w->done, &attr);
    pthread_condattr_destroy(&attr);
    return RKF_OK;
}

void worker_free(struct worker *w)
{
    pthread_cond_destroy(&w->work);
    pthread_cond_destroy(&w->done);
    pthread_mutex_destroy(&w->mutex);
}

/* The thread is made with the first call: most processes use few cores. Locked. */
static rkf_status start(struct worker *w, rkf_error *err)
{
    if (w->started)
        return RKF_OK;
    int e = pthread_create(&w->thread, NULL, worker_main, w);
    if (e)
        return rkf_fail(err, RKF_NO_MEMORY, "cannot start a thread for %s: %s", w->name, strerror(e));
    pthread_setname_np(w->thread, w->name);
    w->started = true;
    return RKF_OK;
}

static rkf_status enqueue(struct worker *w, struct call *c, bool even_if_hung, rkf_error *err)
{
    pthread_mutex_lock(&w->mutex);
    rkf_status rc = w->hung && !even_if_hung
                        ? rkf_fail(err, RKF_DEVICE, "an earlier NPU call on %s still hangs", w->name)
                    : w->ended ? rkf_fail(err, RKF_CLOSED, "the device is closed")
                               : start(w, err);
    if (rc == RKF_OK) {
        call_hold(c);
        atomic_store(&c->state, CALL_QUEUED);
        c->next = NULL;
        if (w->last)
            w->last->next = c;
        else
            w->first = c;
        w->last = c;
        atomic_fetch_add(&w->queued, 1);
        pthread_cond_signal(&w->work);
    }
    pthread_mutex_unlock(&w->mutex);
    return rc;
}

rkf_status worker_submit(struct worker *w, struct call *c, rkf_error *err)
{
    return enqueue(w, c, false, err);
}

rkf_status worker_post(struct worker *w, struct call *c, rkf_error *err)
{
    return enqueue(w, c, true, err);
}

/* Takes a queued call back out, so that it never runs. Locked. */
static void unqueue(struct worker *w, struct call *c)
{
    struct call **at = &w->first, *before = NULL;
    while (*at && *at != c) {
        before = *at;
        at = &(*at)->next;
    }
    if (!*at)
        return;
    *at = c->next;
    if (w->last == c)
        w->last = before;
    atomic_fetch_sub(&w->queued, 1);
    atomic_store(&c->state, CALL_IDLE);
    call_drop(c); /* the worker's; the caller still holds it */
}

static int64_t limit_of(const struct worker *w, const struct call *running)
{
    return running->limit_ns ? running->limit_ns : w->hang_ns;
}

/* The running call is given up. Locked. */
static void give_up(struct worker *w, int64_t ran_ns)
{
    if (!w->hung) {
        log_line(w->log, RKF_LOG_ERROR, "an NPU call on %s has not returned for %lld ms: it is given up until it does",
                 w->name, (long long)(ran_ns / 1000000));
        atomic_fetch_add_explicit(&w->hangs, 1, memory_order_relaxed);
    }
    w->hung = true;
    pthread_cond_broadcast(&w->done);
}

static bool spin_until_done(const struct worker *w, const struct call *c)
{
    int64_t end = w->spin_ns ? time_now_ns() + w->spin_ns : 0;
    do {
        if (atomic_load_explicit(&c->state, memory_order_acquire) == CALL_DONE)
            return true;
        for (int i = 0; i < 32; i++)
            cpu_relax();
    } while (end && time_now_ns() < end);
    return false;
}

/* One look at the clock: RKF_OK to go on waiting until *until. Locked. */
static rkf_status judge(struct worker *w, const struct call *c, int64_t deadline_ns, int64_t *until, rkf_error *err)
{
    int64_t now = time_now_ns(), ran = w->running ? now - w->running_since : 0;
    if (w->running && ran >= limit_of(w, w->running))
        give_up(w, ran);
    if (deadline_ns && now >= deadline_ns) {
        int64_t usual = w->running ? w->running->usual_ns * LATE_FACTOR : 0;
        if (w->running && ran >= (usual > LATE_NS ? usual : LATE_NS))
            give_up(w, ran);
        return rkf_fail(err, RKF_DEADLINE, "the deadline passed while the NPU was at work%s",
                        w->hung ? ": its call hangs" : "");
    }
    if (w->hung)
        return rkf_fail(err, RKF_DEVICE, "an NPU call on %s hangs", w->name);
    *until = w->running ? w->running_since + limit_of(w, w->running) : now + w->hang_ns;
    if (deadline_ns && deadline_ns < *until)
        *until = deadline_ns;
    (void)c;
    return RKF_OK;
}

rkf_status worker_wait(struct worker *w, struct call *c, int64_t deadline_ns, bool *hung, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    *hung = false;
    if (spin_until_done(w, c))
        return RKF_OK;
    pthread_mutex_lock(&w->mutex);
    while (atomic_load(&c->state) != CALL_DONE) {
        int64_t until = 0;
        rc = judge(w, c, deadline_ns, &until, err);
        if (rc)
            break;
        struct timespec t = { .tv_sec = until / 1000000000, .tv_nsec = until % 1000000000 };
        pthread_cond_timedwait(&w->done, &w->mutex, &t);
    }
    if (rc && atomic_load(&c->state) == CALL_QUEUED)
        unqueue(w, c);
    *hung = w->hung;
    pthread_mutex_unlock(&w->mutex);
    return rc;
}

bool worker_hangs(struct worker *w)
{
    pthread_mutex_lock(&w->mutex);
    bool hung = w->hung;
    pthread_mutex_unlock(&w->mutex);
    return hung;
}

void worker_restart_clock(struct worker *w)
{
    pthread_mutex_lock(&w->mutex);
    w->running_since = time_now_ns();
    pthread_mutex_unlock(&w->mutex);
}

bool worker_stop(struct worker *w, void (*left)(void *owner), void *owner)
{
    pthread_mutex_lock(&w->mutex);
    bool started = w->started;
    w->stop = true;
    pthread_cond_broadcast(&w->work);
    int64_t patience = 0;
    while (started && (w->running || w->first)) { /* what is queued runs; what hangs is left behind */
        int64_t now = time_now_ns();
        if (w->running && now - w->running_since >= limit_of(w, w->running))
            give_up(w, now - w->running_since);
        if (w->hung)
            break;
        patience = now + 10 * 1000 * 1000;
        struct timespec t = { .tv_sec = patience / 1000000000, .tv_nsec = patience % 1000000000 };
        pthread_cond_timedwait(&w->done, &w->mutex, &t);
    }
    bool hung = started && w->hung;
    if (hung) {
        w->left = left;
        w->owner = owner;
        w->log = NULL; /* its owner goes */
        pthread_detach(w->thread);
    }
    pthread_mutex_unlock(&w->mutex);
    if (started && !hung)
        pthread_join(w->thread, NULL);
    return !hung;
}
