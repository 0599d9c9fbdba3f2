/* SPDX-License-Identifier: Apache-2.0 */
/* The queue: FIFO per model and priority, admission, deadlines, cancellation, and who gives the answers. */
#include "engine/engine.h"

#include <string.h>

void queue_init(rkf_runtime *rt)
{
    pthread_condattr_t attr; /* deadlines are on the monotonic clock */
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&rt->lock, NULL);
    pthread_mutex_init(&rt->load_lock, NULL);
    pthread_cond_init(&rt->ended, NULL);
    pthread_cond_init(&rt->keeper_wake, &attr);
    pthread_condattr_destroy(&attr);
}

/* ---- jobs in and out */

static rkf_status queue_of(struct rkf_model *m, int32_t priority, struct queue **out, rkf_error *err)
{
    struct queue **at = &m->queues;
    while (*at && (*at)->priority > priority)
        at = &(*at)->next;
    if (!*at || (*at)->priority != priority) {
        struct queue *q = mem_zalloc(1, sizeof *q);
        if (!q)
            return rkf_fail_memory(err, sizeof *q, "a queue");
        q->priority = priority;
        q->next = *at;
        *at = q;
    }
    *out = *at;
    return RKF_OK;
}

void job_unlink(struct job *job)
{
    struct rkf_model *m = job->model;
    for (struct queue *q = m->queues; q && job->queued; q = q->next) {
        if (q->priority != job->priority)
            continue;
        struct job **at = &q->first, *before = NULL;
        while (*at != job) {
            before = *at;
            at = &before->next;
        }
        *at = job->next;
        if (q->last == job)
            q->last = before;
        job->queued = false;
        job->next = NULL;
        m->rt->waiting_items -= job->n_items - job->next_item;
        m->waiting_items -= job->n_items - job->next_item;
    }
}

void queue_load_changed(struct rkf_model *m, int64_t now_ns)
{
    uint32_t in_system = (uint32_t)(m->waiting_items + m->running_items);
    place_demand_note(&m->demand, now_ns, in_system);
    parting_note(&m->judge, in_system > 0, now_ns);
}

static void timer_add(rkf_runtime *rt, struct job *job)
{
    job->timer_next = rt->timers;
    if (rt->timers)
        rt->timers->timer_prev = job;
    rt->timers = job;
}

static void timer_remove(rkf_runtime *rt, struct job *job)
{
    if (!job->deadline_ns)
        return;
    if (job->timer_prev)
        job->timer_prev->timer_next = job->timer_next;
    else if (rt->timers == job)
        rt->timers = job->timer_next;
    if (job->timer_next)
        job->timer_next->timer_prev = job->timer_prev;
    job->timer_prev = job->timer_next = NULL;
}

static rkf_status enqueue(struct job *job, rkf_error *err)
{
    struct rkf_model *m = job->model;
    rkf_runtime *rt = m->rt;
    struct queue *q = NULL;
    if (m->closing || rt->closing)
        return rkf_fail(err, RKF_CLOSED, "model %s is being closed", m->name);
    if (rt->waiting_items && rt->waiting_items + job->n_items > (uint64_t)rt->options.queue_limit)
        return rkf_fail(err, RKF_BUSY, "the queue is full: %llu sequences wait, the limit is %d; try again later",
                        (unsigned long long)rt->waiting_items, rt->options.queue_limit);
    rkf_status rc = queue_of(m, job->priority, &q, err);
    if (rc)
        return rc;
    job->ticket = ++rt->next_ticket;
    job->queued_ns = time_now_ns();
    if (q->last)
        q->last->next = job;
    else
        q->first = job;
    q->last = job;
    job->queued = true;
    rt->waiting_items += job->n_items;
    m->waiting_items += job->n_items;
    for (uint32_t i = 0; i < job->n_items && i < 16; i++)
        parting_text(&m->judge, job->items[i].n);
    queue_load_changed(m, job->queued_ns);
    m->jobs++;
    m->n_requests++;
    m->n_inputs += job->n_inputs;
    if (job->deadline_ns) {
        timer_add(rt, job);
        keeper_poke(rt);
    }
    return RKF_OK;
}

void queue_end(struct job *job, rkf_status status, const rkf_error *err)
{
    if (job->ended)
        return;
    job->ended = true;
    job->status = status;
    if (err)
        job->error = *err;
    job->error.status = status;
    if (status)
        job->model->n_failed++;
    if (job->queued) {
        job_unlink(job);
        queue_load_changed(job->model, time_now_ns());
    }
    timer_remove(job->model->rt, job);
    if (job->blocking) {
        pthread_cond_signal(&job->wake);
    } else {
        job->next = job->model->rt->answers;
        job->model->rt->answers = job;
    }
}

void job_release(struct job *job)
{
    if (!job->answered || job->in_flight)
        return;
    struct rkf_model *m = job->model;
    m->jobs--;
    pthread_cond_broadcast(&m->rt->ended);
    job_free(job);
}

void queue_unlock(rkf_runtime *rt)
{
    struct job *list = rt->answers;
    rt->answers = NULL;
    pthread_mutex_unlock(&rt->lock);
    while (list) {
        struct job *job = list;
        list = job->next;
        rkf_result *result = job->status ? NULL : job->result;
        if (result)
            job->result = NULL;
        job->done(job->cookie, job->ticket, job->status, result, job->status ? &job->error : NULL);
        pthread_mutex_lock(&rt->lock);
        job->answered = true;
        job_release(job);
        pthread_mutex_unlock(&rt->lock);
    }
}

rkf_status queue_submit(struct job *job, uint64_t *ticket, rkf_error *err)
{
    rkf_runtime *rt = job->model->rt;
    pthread_mutex_lock(&rt->lock);
    rkf_status rc = enqueue(job, err);
    if (!rc) {
        if (ticket) /* before anything can run and answer */
            *ticket = job->ticket;
        queue_schedule(rt);
    }
    queue_unlock(rt);
    return rc;
}

static bool work_has(const struct work *w, const struct job *job)
{
    for (uint32_t i = 0; i < w->n_slices; i++)
        if (w->slices[i].job == job)
            return true;
    return false;
}

static void hand_over(struct work *w)
{
    w->runner->work = w;
    pthread_cond_signal(&w->runner->wake);
}

/* Starts everything that can start; returns the first work that holds items of `mine` for the caller to run himself. */
static struct work *schedule_but(rkf_runtime *rt, const struct job *mine)
{
    struct work *own = NULL;
    for (struct work *w; (w = queue_take(rt));) {
        bool may_hang = mine && mine->deadline_ns &&
                        w->lane->pool == &rt->pool[POOL_NPU]; /* then it must stay free to leave */
        if (mine && !own && !may_hang && work_has(w, mine)) {
            own = w;
            w->runner->lent = true;
        } else {
            hand_over(w);
        }
    }
    return own;
}

void queue_schedule(rkf_runtime *rt)
{
    (void)schedule_but(rt, NULL);
}

rkf_status queue_run(struct job *job, rkf_result **out, rkf_error *err)
{
    rkf_runtime *rt = job->model->rt;
    job->blocking = true;
    pthread_cond_init(&job->wake, NULL);
    pthread_mutex_lock(&rt->lock);
    rkf_status rc = enqueue(job, err);
    if (rc) {
        pthread_mutex_unlock(&rt->lock);
        pthread_cond_destroy(&job->wake);
        job_free(job);
        return rc;
    }
    while (!job->ended) {
        struct work *w = schedule_but(rt, job);
        if (w) {
            queue_unlock(rt);
            work_run(w);
            pthread_mutex_lock(&rt->lock);
        } else if (rt->answers) { /* of others, that could not start */
            queue_unlock(rt);
            pthread_mutex_lock(&rt->lock);
        } else if (!job->ended) {
            pthread_cond_wait(&job->wake, &rt->lock);
        }
    }
    queue_schedule(rt); /* what this thread left behind */
    rc = job->status;
    if (rc && err)
        *err = job->error;
    if (!rc) {
        *out = job->result;
        job->result = NULL;
    }
    job->answered = true;
    pthread_cond_destroy(&job->wake);
    job->blocking = false; /* nobody waits on it any more */
    job_release(job);
    queue_unlock(rt);
    return rc;
}

rkf_status queue_cancel(struct rkf_model *m, uint64_t ticket)
{
    rkf_runtime *rt = m->rt;
    struct job *job = NULL;
    pthread_mutex_lock(&rt->lock);
    for (struct queue *q = m->queues; q && !job; q = q->next)
        for (job = q->first; job && job->ticket != ticket;)
            job = job->next;
    if (job) {
        rkf_error e;
        rkf_fail(&e, RKF_CANCELLED, "the request was cancelled");
        queue_end(job, RKF_CANCELLED, &e);
    }
    queue_unlock(rt);
    return job ? RKF_OK : RKF_NOT_FOUND;
}

void queue_close_model(struct rkf_model *m)
{
    rkf_runtime *rt = m->rt;
    pthread_mutex_lock(&rt->lock);
    m->closing = true;
    rkf_error e;
    rkf_fail(&e, RKF_CLOSED, "model %s was closed", m->name);
    for (struct queue *q = m->queues; q; q = q->next)
        while (q->first)
            queue_end(q->first, RKF_CLOSED, &e);
    queue_unlock(rt);
    pthread_mutex_lock(&rt->lock);
    while (m->jobs || m->in_flight)
        pthread_cond_wait(&rt->ended, &rt->lock);
    pthread_mutex_unlock(&rt->lock);
}
