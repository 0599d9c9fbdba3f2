/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From waiting jobs to works on lanes, and back when they have run. Which model runs next and where is placement's
 * decision (npu/placement.h); this file prepares its input and applies its answer. Everything here is under
 * runtime.lock.
 */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

enum {
    MAX_WAITING = 256,
};
static const int64_t sick_ns = 10 * (int64_t)1000000000; /* how long a core that failed is left alone */

/* ---- from waiting jobs to works */

struct candidate { /* what a row of placement's waiting list stands for */
    struct queue *queue;
    struct work *retry;
};

struct waiting_list {
    struct rkf_model *models[MAX_WAITING];
    struct place_model place_models[MAX_WAITING];
    struct place_waiting rows[MAX_WAITING];
    struct candidate of[MAX_WAITING];
    uint32_t n_models, n;
};

struct route { /* how a model runs on a pool now */
    struct body *body;
    uint8_t cores;
    bool automatic, whole;
};

static bool route_find(const struct rkf_model *m, const struct pool *p, struct route *out)
{
    const struct pool *cpu = &m->rt->pool[POOL_CPU];
    if (m->off_npu && p == cpu) /* its cores are sick, its user allowed the CPU */
        *out = (struct route){ m->cpu_body, (uint8_t)((1u << p->n_cores) - 1), true, true };
    else if (!m->off_npu && m->pool == p)
        *out = (struct route){ m->body, m->cores, m->mask.automatic, p->whole && m->mask.automatic };
    else
        return false;
    return true;
}

static void predict(const struct rkf_model *m, const struct route *r, const struct queue *q, struct place_waiting *row)
{
    const struct body_ops *ops = r->body->ops;
    if (!ops->cost_us)
        return;
    uint32_t lengths[64], n = 0, tokens = 0;
    for (const struct job *j = q->first; j && n < 64; j = j->next)
        for (uint32_t i = j->next_item; i < j->n_items && n < 64 && tokens < m->batch_tokens; i++) {
            tokens += j->items[i].n;
            lengths[n++] = j->items[i].n;
        }
    for (uint32_t c = 0; c < NPU_MAX_CORES; c++)
        row->cost_us[c] = ops->cost_us(r->body, c + 1, lengths, n);
}

/* Placement may part the model's cores, and is told what the ways to do so delivered. */
static bool is_judged(const struct rkf_model *m, const struct pool *p, const struct route *r)
{
    return !r->whole && p->device->joint_lanes && !m->graph;
}

static void list_add(struct waiting_list *l, struct rkf_model *m, const struct pool *p, const struct route *r,
                     struct place_waiting row, struct candidate of)
{
    if (l->n == MAX_WAITING)
        return; /* the rest waits for its turn */
    if (!l->n_models || l->models[l->n_models - 1] != m) {
        l->models[l->n_models] = m;
        l->place_models[l->n_models++] = (struct place_model){
            .cores = r->cores,
            .automatic = r->automatic,
            .joint_lanes = p->device->joint_lanes && !m->graph,
            .whole = r->whole,
        };
    }
    row.model = l->n_models - 1;
    l->of[l->n] = of;
    l->rows[l->n++] = row;
}

static void list_fill(struct waiting_list *l, rkf_runtime *rt, const struct pool *p)
{
    l->n = l->n_models = 0;
    for (struct rkf_model *m = rt->models; m; m = m->next) {
        struct route r;
        if (!route_find(m, p, &r))
            continue;
        for (struct work *w = m->retries; w; w = w->next)
            list_add(l, m, p, &r, (struct place_waiting){ .priority = w->priority, .since_ns = w->since_ns },
                     (struct candidate){ .retry = w });
        for (struct queue *q = m->queues; q; q = q->next)
            if (q->first) {
                struct place_waiting row = { .priority = q->priority, .since_ns = q->first->queued_ns };
                row.requests = m->waiting_items < UINT32_MAX ? (uint32_t)m->waiting_items : UINT32_MAX;
                if (is_judged(m, p, &r) || (r.automatic && p->n_cores > 1))
                    predict(m, &r, q, &row);
                list_add(l, m, p, &r, row, (struct candidate){ .queue = q });
            }
    }
}

/* Tokens that a work of this model takes now: the budget, but when the model may use several cores no more than its
 * share, so that the others find something to do. */
static uint32_t take_tokens(const struct rkf_model *m, const struct queue *q, uint8_t cores)
{
    enum { SMALLEST = 128 }; /* below, a matmul's fixed costs dominate */
    uint32_t lanes = (uint32_t)__builtin_popcount(m->cores) / (uint32_t)__builtin_popcount(cores);
    if (!m->mask.automatic || lanes < 2)
        return m->batch_tokens;
    uint64_t tokens = 0;
    for (const struct job *j = q->first; j && tokens < (uint64_t)m->batch_tokens * lanes; j = j->next)
        for (uint32_t i = j->next_item; i < j->n_items; i++)
            tokens += j->items[i].n;
    uint64_t share = (tokens + lanes - 1) / lanes;
    share = share < SMALLEST ? SMALLEST : share;
    return share < m->batch_tokens ? (uint32_t)share : m->batch_tokens;
}

/* Longer than every compiled graph of the model: the native body takes it. */
static bool item_long(const struct rkf_model *m, const struct item *it)
{
    return m->graph && it->n > m->graph_length;
}

/* Moves items from the head of the queue into a work: always one, then up to what placement wants, else up to this
 * model's budget. NULL: out of memory. */
static struct work *work_make(struct rkf_model *m, struct queue *q, const struct place_out *o)
{
    struct work *w = mem_zalloc(1, sizeof *w);
    uint32_t cap = 0, budget = o->requests ? m->batch_tokens : take_tokens(m, q, o->cores);
    if (!w)
        return NULL;
    *w = (struct work){ .model = m, .priority = q->priority, .since_ns = q->first->queued_ns };
    w->long_texts = item_long(m, &q->first->items[q->first->next_item]);
    uint32_t most_seqs = w->long_texts ? 0 : m->body->ops->limits(m->body).batch_seqs;
    bool full = false;
    while (q->first && !full) {
        struct job *job = q->first;
        uint32_t first = job->next_item, i = first;
        for (; i < job->n_items && !full; i++) {
            uint32_t n = job->items[i].n;
            bool other = item_long(m, &job->items[i]) != w->long_texts; /* another body's */
            bool enough = w->n_tokens + n > budget || (o->requests && w->n_seqs >= o->requests);
            if (w->n_seqs && (other || enough || (most_seqs && w->n_seqs == most_seqs))) {
                full = true;
                break;
            }
            w->n_tokens += n;
            w->n_seqs++;
        }
        if (i == first)
            break;
        if (w->n_slices == cap) {
            cap = cap ? cap * 2 : 4;
            struct slice *p = mem_grow(w->slices, cap, sizeof *p);
            if (!p) { /* take what is there; with nothing there, give up for now */
                w->n_seqs -= i - first;
                if (w->n_slices)
                    return w;
                work_free(w);
                return NULL;
            }
            w->slices = p;
        }
        w->slices[w->n_slices++] = (struct slice){ job, first, i - first };
        if (!job->in_flight++ && !job->started_ns)
            job->started_ns = time_now_ns();
        m->rt->waiting_items -= i - first;
        m->waiting_items -= i - first;
        job->next_item = i;
        if (i == job->n_items)
            job_unlink(job);
    }
    return w;
}

static void fail_first(struct queue *q, rkf_status status, const char *why)
{
    rkf_error e;
    rkf_fail(&e, status, "%s", why);
    queue_end(q->first, status, &e);
}

static struct runner *free_runner(struct lane *l)
{
    for (uint32_t i = 0; i < l->n_runners; i++)
        if (!l->runner[i].work && !l->runner[i].lent)
            return &l->runner[i];
    return NULL;
}

static void retries_remove(struct rkf_model *m, struct work *w)
{
    struct work **at = &m->retries;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    w->next = NULL;
}

static void count_batch(struct batch_counts *c, uint32_t value)
{
    int step = value > 1 ? 32 - __builtin_clz(value - 1) : 0;
    c->n[step < BATCH_STEPS ? step : BATCH_STEPS - 1]++;
    c->sum += value;
}

/* Applies a placement: takes the runner and the cores. NULL: it did not work out (out of memory; lease lost). */
static struct work *work_start(struct pool *p, struct rkf_model *m, struct candidate of, const struct place_out *o,
                               int64_t now)
{
    struct lane *lane;
    rkf_error err;
    rkf_status rc = pool_lane(p, o->cores, &lane, &err);
    struct runner *r = rc ? NULL : free_runner(lane);
    if (!r) {
        if (of.queue)
            fail_first(of.queue, rc ? rc : RKF_INTERNAL, rc ? err.message : "no free exec on a free lane");
        return NULL;
    }
    if (p->leased && p->rt->lease && !lease_try(p->rt->lease, o->cores)) {
        uint8_t busy = lease_busy(p->rt->lease);
        for (uint32_t c = 0; c < p->n_cores; c++)
            p->core[c].leased_away = busy >> c & 1;
        keeper_poke(p->rt);
        return NULL;
    }
    struct work *w = of.retry ? of.retry : work_make(m, of.queue, o);
    if (!w) {
        if (p->leased && p->rt->lease)
            lease_give(p->rt->lease, o->cores);
        fail_first(of.queue, RKF_NO_MEMORY, "out of memory: cannot start a batch");
        return NULL;
    }
    if (of.retry) {
        retries_remove(m, w);
    } else {
        count_batch(&p->rt->batch_inputs, w->n_seqs);
        count_batch(&p->rt->batch_tokens, w->n_tokens);
    }
    struct route route = { 0 };
    w->body = route_find(m, p, &route) ? route.body : m->body;
    w->lane = lane;
    w->runner = r;
    w->start_ns = now;
    r->work = w;
    m->in_flight++;
    m->running_items += w->n_seqs;
    w->n_answered = 0;
    w->judged = route.body && is_judged(m, p, &route);
    if (w->judged)
        w->ticket = parting_began(&m->judge, o->way != 0, now);
    for (uint32_t c = 0; c < p->n_cores; c++)
        if (o->cores >> c & 1) {
            if (!p->core[c].runs++)
                p->stats[c].busy_since_ns = now;
            p->core[c].free_at_ns = o->finish_ns;
        }
    return w;
}

/* A work that waited for another try gets none. */
static void work_give_up(struct work *w, const char *why)
{
    rkf_error e;
    rkf_fail(&e, RKF_DEVICE, "%s", why);
    retries_remove(w->model, w);
    for (uint32_t i = 0; i < w->n_slices; i++) {
        queue_end(w->slices[i].job, RKF_DEVICE, &e);
        w->slices[i].job->in_flight--;
        job_release(w->slices[i].job);
    }
    work_free(w);
}

static void cores_recover(struct pool *p, int64_t now)
{
    uint8_t hung = npu_device_hung(p->device);
    for (uint32_t c = 0; c < p->n_cores; c++)
        if (p->core[c].health == CORE_SICK && p->sick_until_ns[c] <= now && !(hung >> c & 1))
            p->core[c].health = CORE_WELL; /* another try; if it fails it is sick again */
}

/* A model all of whose cores are sick cannot wait for them: it goes to the CPU where its user allowed that, else its
 * requests fail now, with the reason. */
static void leave_sick_cores(struct pool *p, rkf_runtime *rt)
{
    uint8_t well = 0;
    for (uint32_t c = 0; c < p->n_cores; c++)
        well |= (uint8_t)((p->core[c].health == CORE_WELL) << c);
    for (struct rkf_model *m = rt->models; m; m = m->next) {
        if (m->pool != p)
            continue;
        bool stuck = m->mask.automatic ? !(m->cores & well) : (m->cores & well) != m->cores;
        if (m->cpu_body && stuck != m->off_npu) {
            m->off_npu = stuck;
            m->n_fallbacks += stuck;
            log_line(&rt->log, stuck ? RKF_LOG_ERROR : RKF_LOG_WARN,
                     stuck ? "model %s runs on the CPU now: %s core %s failed" : "model %s runs on %s core %s again",
                     m->name, p->platform->name, core_set_name(m->cores));
        }
        if (!stuck || m->cpu_body)
            continue;
        char why[200];
        snprintf(why, sizeof why, "%s core %s failed and is left alone for a while: try later, or another core mask",
                 p->platform->name, core_set_name(m->cores));
        for (struct queue *q = m->queues; q; q = q->next)
            while (q->first)
                fail_first(q, RKF_DEVICE, why);
        while (m->retries)
            work_give_up(m->retries, why);
    }
}

static float pool_demand(const rkf_runtime *rt, const struct pool *p, int64_t now)
{
    float sum = 0;
    for (const struct rkf_model *m = rt->models; m; m = m->next)
        if (m->pool == p)
            sum += place_demand_get(&m->demand, now);
    return sum;
}

static float rivals_of(const struct rkf_model *m, const struct pool *p, int64_t now)
{
    float sum = 0;
    for (const struct rkf_model *o = p->rt->models; o; o = o->next)
        if (o != m && o->pool == p && (o->cores & m->cores))
            sum += place_demand_get(&o->demand, now);
    return sum;
}

/* How the models' cores are parted now. */
static void choose_ways(struct waiting_list *l, const struct pool *p, const struct place_in *in)
{
    for (uint32_t i = 0; i < l->n_models; i++) {
        struct rkf_model *m = l->models[i];
        struct route r;
        if (!route_find(m, p, &r) || !is_judged(m, p, &r))
            continue;
        struct place_model *pm = &l->place_models[i];
        uint32_t cores = (uint32_t)__builtin_popcount(r.automatic ? place_usable(in, i) : m->cores);
        pm->requests = place_demand_get(&m->demand, in->now_ns);
        pm->rivals = rivals_of(m, p, in->now_ns);
        pm->way = parting_choose(&m->judge, cores, !r.automatic, pm->requests, in->now_ns);
    }
}

/* false: nothing can start. *out: the work that does; NULL: it did not work out, another may. */
static bool take_from(struct pool *p, int64_t now, struct work **out)
{
    struct waiting_list l;
    struct place_out o;
    list_fill(&l, p->rt, p);
    struct place_in in = { .now_ns = now,
                           .n_cores = p->n_cores,
                           .demand = pool_demand(p->rt, p, now),
                           .models = l.place_models,
                           .n_models = l.n_models,
                           .waiting = l.rows,
                           .n_waiting = l.n };
    memcpy(in.core, p->core, sizeof in.core);
    choose_ways(&l, p, &in);
    if (place_next(&in, &o)) {
        *out = work_start(p, l.models[l.rows[o.waiting].model], l.of[o.waiting], &o, now);
        return true;
    }
    if (o.again_ns && o.again_ns != p->again_ns)
        keeper_poke(p->rt);
    p->again_ns = o.again_ns;
    return false;
}

struct work *queue_take(rkf_runtime *rt)
{
    int64_t now = time_now_ns();
    for (int k = 0; k < POOL_KINDS && !rt->closing; k++)
        if (rt->pool[k].device) {
            cores_recover(&rt->pool[k], now);
            leave_sick_cores(&rt->pool[k], rt);
        }
    for (int k = 0; k < POOL_KINDS && !rt->closing; k++) {
        struct pool *p = &rt->pool[k];
        if (!p->device)
            continue;
        for (int tries = 0; tries < 64; tries++) { /* a lost lease or a failed request lets the next one try */
            struct work *w;
            if (!take_from(p, now, &w))
                break;
            if (w)
                return w;
        }
    }
    return NULL;
}

/* ---- a work has run */

static void core_sick(struct pool *p, uint32_t c, int64_t now, const char *why)
{
    p->stats[c].sick++;
    p->core[c].health = CORE_SICK;
    p->sick_until_ns[c] = now + sick_ns;
    log_line(&p->rt->log, RKF_LOG_ERROR, "%s core %u failed (%s): not used for %d s", p->platform->name, c, why,
             (int)(sick_ns / 1000000000));
    keeper_poke(p->rt);
}

/* Another core of the mask may do what this one could not; the device has tried the same core twice already. */
static bool may_retry(const struct work *w, const struct pool *p, rkf_status status)
{
    uint8_t well = 0;
    for (uint32_t c = 0; c < p->n_cores; c++)
        well |= (uint8_t)((p->core[c].health == CORE_WELL) << c);
    const struct rkf_model *m = w->model;
    bool elsewhere = m->cpu_body || (m->mask.automatic && (m->cores & well));
    return status == RKF_DEVICE && w->attempts == 0 && elsewhere && !m->closing;
}

/* What a work did, for the judge. */
static double work_done(const struct work *w)
{
    const struct parting_judge *j = &w->model->judge;
    const struct body_ops *ops = w->body->ops;
    uint32_t lengths[64], usual[64], n = 0, cores = (uint32_t)__builtin_popcount(w->lane->cores);
    for (uint32_t s = 0; s < w->n_slices; s++)
        for (uint32_t i = 0; i < w->slices[s].n && n < 64; i++) {
            usual[n] = (uint32_t)(j->usual + 0.5f);
            lengths[n++] = w->slices[s].job->items[w->slices[s].first + i].n;
        }
    if (!ops->cost_us)
        return parting_work(j, w->n_seqs, 0, 0);
    return parting_work(j, w->n_seqs, ops->cost_us(w->body, cores, lengths, n), ops->cost_us(w->body, cores, usual, n));
}

bool queue_work_done(struct work *w, rkf_status status, const rkf_error *err)
{
    struct lane *l = w->lane;
    struct pool *p = l->pool;
    int64_t now = time_now_ns();
    uint8_t failed = status == RKF_DEVICE || status == RKF_DEADLINE ? w->runner->exec.cores_failed : 0;
    for (uint32_t c = 0; c < p->n_cores; c++) {
        struct place_core *core = &p->core[c];
        if (!(l->cores >> c & 1))
            continue;
        core->runs--;
        if (!core->runs || core->free_at_ns < now)
            core->free_at_ns = now;
        if (!core->runs)
            p->stats[c].busy_ns += now - p->stats[c].busy_since_ns;
        p->stats[c].batches++;
        p->stats[c].tokens += w->n_tokens;
        if (failed >> c & 1)
            core_sick(p, c, now, err->message);
    }
    if (p->leased && p->rt->lease)
        lease_give(p->rt->lease, l->cores);
    w->model->in_flight--;
    w->model->running_items -= w->n_seqs - w->n_answered;
    w->model->demand.run_ns += (now - w->start_ns - w->model->demand.run_ns) / 8;
    queue_load_changed(w->model, now);
    if (w->judged)
        parting_ended(&w->model->judge, w->ticket, w->start_ns, status ? 0 : w->n_seqs, status ? 0 : work_done(w), now);
    w->model->n_batches++;
    w->runner->work = NULL;
    w->runner->lent = false;
    w->runner = NULL;
    if (may_retry(w, p, status)) {
        struct work **at = &w->model->retries;
        while (*at)
            at = &(*at)->next;
        *at = w;
        w->next = NULL;
        w->attempts++;
        return false;
    }
    for (uint32_t i = 0; status && i < w->n_slices; i++)
        queue_end(w->slices[i].job, status, err);
    for (uint32_t i = 0; i < w->n_slices; i++) {
        w->slices[i].job->in_flight--;
        job_release(w->slices[i].job);
    }
    pthread_cond_broadcast(&w->model->rt->ended);
    return true;
}

void work_free(struct work *w)
{
    mem_free(w->slices);
    mem_free(w);
}
