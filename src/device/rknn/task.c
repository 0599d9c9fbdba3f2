/* SPDX-License-Identifier: Apache-2.0 */
#include "device/rknn/rknn_private.h"

enum { TASK_OPEN, TASK_FINISHED, TASK_ABANDONED };

static void task_call(struct call *c)
{
    struct task *t = (struct task *)c;
    t->work(t);
    if (atomic_exchange(&t->state, TASK_FINISHED) == TASK_ABANDONED && t->undo)
        t->undo(t);
}

static void task_destroy(struct call *c)
{
    struct task *t = (struct task *)c;
    struct rknn_device *d = t->d;
    mem_free(t);
    rknn_drop(d);
}

struct task *task_new(struct rknn_device *d, size_t arg_size, void (*work)(struct task *t),
                      void (*undo)(struct task *t))
{
    struct task *t = mem_zalloc(1, sizeof *t + 16 + arg_size);
    if (!t)
        return NULL;
    call_init(&t->call, task_call, task_destroy);
    rknn_hold(d);
    t->d = d;
    t->work = work;
    t->undo = undo;
    atomic_init(&t->state, TASK_OPEN);
    t->arg = (char *)t + (sizeof *t + 15) / 16 * 16;
    return t;
}

void task_drop(struct task *t)
{
    call_drop(&t->call);
}

rkf_status task_run(struct worker *w, struct task *t, int64_t deadline_ns, bool *hung, rkf_error *err)
{
    *hung = false;
    rkf_status rc = worker_submit(w, &t->call, err);
    if (rc) {
        *hung = rc == RKF_DEVICE;
        return rc;
    }
    rkf_error late;
    rc = worker_wait(w, &t->call, deadline_ns, hung, &late);
    if (rc && atomic_exchange(&t->state, TASK_ABANDONED) == TASK_FINISHED) {
        *hung = false;
        rc = RKF_OK; /* at the last moment */
    }
    if (rc && err)
        *err = late;
    return rc;
}

void task_post(struct worker *w, struct task *t)
{
    if (worker_post(w, &t->call, NULL))
        task_call(&t->call);
    task_drop(t);
}
