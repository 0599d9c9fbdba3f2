/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that make the calls into the vendor's library, so that whoever waits for a call can leave when it hangs.
 *
 *   worker   one thread with a queue, first in, first out: one per core, and one for loading ("control")
 *   call     something to run there. Counted: the caller holds it, and the worker from submission to completion.
 * Whoever lets go last destroys it; a caller that leaves early lets go and never looks back.
 *
 * A call that runs longer than `hang_ns`, or that still runs well past its usual time when its caller's deadline comes,
 * is given up: the worker takes nothing more (worker_submit fails) until the call returns. Nothing can end it.
 */
#ifndef RKF_DEVICE_RKNN_WORKER_H
#define RKF_DEVICE_RKNN_WORKER_H

#include "base/log.h"
#include "base/status.h"

#include <pthread.h>
#include <stdatomic.h>

enum call_state { CALL_IDLE, CALL_QUEUED, CALL_RUNNING, CALL_DONE };
struct call {
    void (*run)(struct call *c);     /* on the worker's thread; leaves its results in the struct around the call */
    void (*destroy)(struct call *c); /* nobody holds it any more; on any thread, must not block */
    _Atomic int state;
    atomic_int holders;
    int64_t usual_ns; /* what it usually takes; 0: unknown */
    int64_t limit_ns; /* longest it may run; 0: the worker's */
    struct call *next;
};

struct worker {
    pthread_mutex_t mutex;
    pthread_cond_t work, done; /* CLOCK_MONOTONIC */
    pthread_t thread;
    struct call *first, *last, *running;
    int64_t running_since; /* the call may restart it (worker_restart_clock) */
    int64_t hang_ns, spin_ns;
    bool started, stop, ended, hung;
    _Atomic uint32_t queued;
    _Atomic uint64_t hangs; /* calls given up, ever */
    char name[16];
    const struct logger *log;
    void (*left)(void *arg); /* the thread ends; arg: owner */
    void *owner;
};
rkf_status worker_init(struct worker *w, const char *name, const struct logger *log, int64_t hang_ns, int64_t spin_ns,
                       rkf_error *err) MUST_CHECK;
/* Lets the queue run empty, then ends the thread. false: it hangs; it will call left(owner) when it ends, and then
 * worker_free may be called. */
bool worker_stop(struct worker *w, void (*left)(void *owner), void *owner);
void worker_free(struct worker *w);

void call_init(struct call *c, void (*run)(struct call *c), void (*destroy)(struct call *c)); /* held once */
void call_hold(struct call *c);
void call_drop(struct call *c);

/* Queues c (state IDLE or DONE). RKF_DEVICE: the worker hangs; RKF_NO_MEMORY: no thread. */
rkf_status worker_submit(struct worker *w, struct call *c, rkf_error *err) MUST_CHECK;
/* The same for what nobody waits for: it is queued even behind a call that hangs. Fails if the thread has ended. */
rkf_status worker_post(struct worker *w, struct call *c, rkf_error *err) MUST_CHECK;
/* Waits until c is done: RKF_OK, whatever came out. deadline_ns 0: none. RKF_DEADLINE: it came first; RKF_DEVICE: c or
 * a call before it hangs. In both cases c may still be running, and *hung tells whether the worker hangs. */
rkf_status worker_wait(struct worker *w, struct call *c, int64_t deadline_ns, bool *hung, rkf_error *err) MUST_CHECK;
bool worker_hangs(struct worker *w);
/* From inside a call: what follows is a new attempt. */
void worker_restart_clock(struct worker *w);

#endif
