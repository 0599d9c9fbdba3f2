/* SPDX-License-Identifier: Apache-2.0 */
/* What happens on an exec: a work becomes a batch, the body runs it, tasks take their rows. And the keeper: a thread
 * that ends requests at their deadline, starts what waited a moment for others to join, and looks again at cores that
 * were sick or leased by another process. */
#include "engine/engine.h"

#include <string.h>

/* ---- a work as a batch; arrays live in the exec's scratch */

static rkf_status batch_make(const struct work *w, struct arena *a, struct batch *out, rkf_error *err)
{
    int32_t *ids = arena_array(a, w->n_tokens, sizeof *ids);
    uint8_t *types = arena_array(a, w->n_tokens, 1);
    uint32_t *cu = arena_array(a, (size_t)w->n_seqs + 1, sizeof *cu);
    if (!ids || !types || !cu)
        return rkf_fail_memory(err, w->n_tokens * sizeof *ids, "a batch");
    uint32_t tok = 0, seq = 0;
    cu[0] = 0;
    for (uint32_t s = 0; s < w->n_slices; s++)
        for (uint32_t i = 0; i < w->slices[s].n; i++) {
            const struct item *it = &w->slices[s].job->items[w->slices[s].first + i];
            memcpy(ids + tok, it->ids, it->n * sizeof *ids);
            if (it->type_ids)
                memcpy(types + tok, it->type_ids, it->n);
            else
                memset(types + tok, 0, it->n);
            tok += it->n;
            cu[++seq] = tok;
        }
    *out = (struct batch){ .n_seqs = seq, .n_tokens = tok, .ids = ids, .type_ids = types, .cu_lens = cu };
    return RKF_OK;
}

/* Sequences seq .. seq + n of a batch, and their rows, as a batch of their own. */
static rkf_status sub_batch(const struct batch *b, const struct rows *rows, uint32_t seq, uint32_t n, struct arena *a,
                            struct batch *out, struct rows *out_rows, rkf_error *err)
{
    uint32_t *cu = arena_array(a, (size_t)n + 1, sizeof *cu);
    if (!cu)
        return rkf_fail_memory(err, n * sizeof *cu, "a batch");
    uint32_t from = b->cu_lens[seq];
    for (uint32_t i = 0; i <= n; i++)
        cu[i] = b->cu_lens[seq + i] - from;
    *out = (struct batch){ n, cu[n], b->ids + from, b->type_ids + from, cu };
    *out_rows = *rows;
    out_rows->rows = rows->per_token ? cu[n] : n;
    out_rows->data = rows->data + (size_t)(rows->per_token ? from : seq) * rows->cols;
    return RKF_OK;
}

static bool job_alive(rkf_runtime *rt, const struct job *job)
{
    pthread_mutex_lock(&rt->lock);
    bool alive = !job->ended;
    pthread_mutex_unlock(&rt->lock);
    return alive;
}

static void job_account(struct job *job, const struct work *w, int64_t run_ns)
{
    rkf_result *r = job->result;
    const char *device = w->lane->pool->device->name;
    r->info = (rkf_info){ .tokenize_us = job->tokenize_ns / 1000, .run_us = run_ns / 1000, .cores = job->cores_used };
    r->info.queue_us = (job->started_ns - job->queued_ns) / 1000;
    r->device = mem_strdup(device);
    r->info.device = r->device ? r->device : "";
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        rkf_info *info = &r->item[i].info;
        *info = (rkf_info){ .tokens = job->n_tokens[i],
                            .truncated = job->truncated[i],
                            .device = r->info.device,
                            .cores = job->cores_used };
        r->info.tokens += info->tokens;
        r->info.truncated += info->truncated;
    }
}

/* One job's part of a finished run: its rows, and if they are the last, its result. */
static void slice_done(struct work *w, const struct slice *s, struct exec *x, const struct batch *sub,
                       const struct rows *rows)
{
    rkf_runtime *rt = w->model->rt;
    struct job *job = s->job;
    rkf_error err;
    if (!job_alive(rt, job))
        return;
    rkf_status rc = task_collect(job, x, sub, rows, s->first, &err);
    pthread_mutex_lock(&rt->lock);
    job->done_items += s->n;
    w->n_answered += s->n; /* its client may send the next before this work has ended */
    w->model->running_items -= s->n;
    job->cores_used |= x->cores_used;
    bool last = !rc && job->done_items == job->n_items && !job->ended;
    if (rc)
        queue_end(job, rc, &err);
    queue_unlock(rt);
    if (!last)
        return;
    job_account(job, w, time_now_ns() - job->started_ns);
    rc = job->task->finish ? job->task->finish(job, &err) : RKF_OK;
    pthread_mutex_lock(&rt->lock);
    if (!rc) {
        w->model->n_tokens += job->result->info.tokens;
        w->model->n_truncated += job->result->info.truncated;
    }
    queue_end(job, rc, rc ? &err : NULL);
    queue_unlock(rt);
}

/* When nobody waits for the work any more: the last deadline of its jobs, 0 if one has none. */
static int64_t work_deadline(const struct work *w)
{
    int64_t last = 0;
    for (uint32_t i = 0; i < w->n_slices; i++) {
        int64_t d = w->slices[i].job->deadline_ns;
        if (!d)
            return 0;
        last = d > last ? d : last;
    }
    return last;
}

/* Every job of the work reads nothing but the first token of each text. */
static bool first_only(const struct work *w)
{
    for (uint32_t i = 0; i < w->n_slices; i++) {
        const struct job *j = w->slices[i].job;
        const struct pool_options po = { .pooling = (int)j->rq.pooling - 1 };
        bool pooled = j->task->collect == COLLECT_POOLED && !pooler_skips_prompt(w->model->pooler) &&
                      pooler_first_only(w->model->pooler, &po);
        if (!pooled && !(j->task->collect == COLLECT_LOGITS && spec_head_first_only(&w->model->dir->spec)))
            return false;
    }
    return true;
}

static rkf_status work_compute(struct work *w, struct exec *x, rkf_error *err)
{
    struct batch batch;
    struct rows rows = { 0 };
    struct body *body = w->body;
    arena_reset(&x->scratch);
    x->cores_used = x->cores;
    x->cores_failed = 0;
    x->deadline_ns = work_deadline(w);
    rkf_status rc = batch_make(w, &x->scratch, &batch, err);
    if (!rc)
        batch.first_only = first_only(w);
    if (!rc && w->long_texts && body == w->model->body)
        rc = model_native(w->model, &body, err);
    if (!rc)
        rc = body->ops->run(body, x, &batch, &rows, err);
    uint32_t seq = 0;
    for (uint32_t i = 0; !rc && i < w->n_slices; i++) {
        struct batch sub;
        struct rows sub_rows;
        rc = sub_batch(&batch, &rows, seq, w->slices[i].n, &x->scratch, &sub, &sub_rows, err);
        if (!rc)
            slice_done(w, &w->slices[i], x, &sub, &sub_rows);
        seq += w->slices[i].n;
    }
    return rc;
}

void work_run(struct work *w)
{
    rkf_runtime *rt = w->model->rt;
    bool lent = w->runner->lent;
    rkf_error err = { .message = "" };
    rkf_status rc = work_compute(w, &w->runner->exec, &err);
    pthread_mutex_lock(&rt->lock);
    bool over = queue_work_done(w, rc, &err);
    if (!lent) /* a lent exec's caller schedules himself */
        queue_schedule(rt);
    queue_unlock(rt);
    if (over)
        work_free(w);
}

void *runner_main(void *arg)
{
    struct runner *r = arg;
    rkf_runtime *rt = r->lane->pool->rt;
    pthread_mutex_lock(&rt->lock);
    for (;;) {
        while ((!r->work || r->lent) && !rt->closing)
            pthread_cond_wait(&r->wake, &rt->lock);
        if (!r->work || r->lent)
            break; /* closing: every model has been closed, so nothing is left to run */
        struct work *w = r->work;
        pthread_mutex_unlock(&rt->lock);
        work_run(w);
        pthread_mutex_lock(&rt->lock);
    }
    pthread_mutex_unlock(&rt->lock);
    return NULL;
}

/* ---- the keeper */

static int64_t keeper_pass(rkf_runtime *rt, int64_t now)
{
    int64_t next = INT64_MAX;
    for (struct job *j = rt->timers, *after; j; j = after) {
        after = j->timer_next;
        if (j->deadline_ns <= now) {
            rkf_error e;
            rkf_fail(&e, RKF_DEADLINE, "the request did not end within its %lld ms",
                     (long long)((j->deadline_ns - j->submitted_ns) / 1000000));
            queue_end(j, RKF_DEADLINE, &e);
        } else if (j->deadline_ns < next) {
            next = j->deadline_ns;
        }
    }
    for (int k = 0; k < POOL_KINDS; k++) {
        struct pool *p = &rt->pool[k];
        for (uint32_t c = 0; p->device && c < p->n_cores; c++) {
            if (p->core[c].leased_away) { /* another process: look again soon */
                p->core[c].leased_away = false;
                if (now + 2000000 < next)
                    next = now + 2000000;
            }
            if (p->core[c].health == CORE_SICK && p->sick_until_ns[c] < next)
                next = p->sick_until_ns[c] > now ? p->sick_until_ns[c] : now + 1000000;
        }
    }
    return next;
}

static void *keeper_main(void *arg)
{
    rkf_runtime *rt = arg;
    pthread_mutex_lock(&rt->lock);
    while (!rt->closing) {
        int64_t next = keeper_pass(rt, time_now_ns());
        queue_schedule(rt);
        for (int k = 0; k < POOL_KINDS; k++)
            if (rt->pool[k].again_ns && rt->pool[k].again_ns < next)
                next = rt->pool[k].again_ns;
        if (rt->answers) {
            queue_unlock(rt);
            pthread_mutex_lock(&rt->lock);
            continue;
        }
        if (next == INT64_MAX) {
            pthread_cond_wait(&rt->keeper_wake, &rt->lock);
        } else {
            struct timespec ts = { .tv_sec = next / 1000000000, .tv_nsec = next % 1000000000 };
            pthread_cond_timedwait(&rt->keeper_wake, &rt->lock, &ts);
        }
    }
    pthread_mutex_unlock(&rt->lock);
    return NULL;
}

void keeper_poke(rkf_runtime *rt)
{
    if (!rt->keeper_started && !rt->closing && pthread_create(&rt->keeper, NULL, keeper_main, rt) == 0) {
        rt->keeper_started = true;
        pthread_setname_np(rt->keeper, "rkf-keeper");
    } else {
        pthread_cond_signal(&rt->keeper_wake);
    }
}

void keeper_stop(rkf_runtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    pthread_cond_signal(&rt->keeper_wake);
    bool started = rt->keeper_started;
    pthread_mutex_unlock(&rt->lock);
    if (started)
        pthread_join(rt->keeper, NULL);
}
