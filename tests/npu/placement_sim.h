/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A discrete event simulation of the engine around place_next: clients submit batches to models, cores run them, time
 * jumps from event to event. It checks on the way what must always hold, and counts what came out.
 */
#ifndef TESTS_NPU_PLACEMENT_SIM_H
#define TESTS_NPU_PLACEMENT_SIM_H

#include "npu/placement.h"

#include <stdlib.h>
#include <string.h>

enum { SIM_MODELS = 4, SIM_PRIORITIES = 3, SIM_JOBS = 2048, SIM_CLIENTS = 64 };

struct sim_job {
    uint32_t model, client;
    int32_t priority;
    int64_t arrived, oldest_since, started, ended; /* ns; -1: not yet */
    uint32_t cost_us[NPU_MAX_CORES];
    double noise; /* real time over predicted */
    uint8_t lane;
    bool done;
};

struct sim {
    uint32_t n_cores, depth, n_models;
    struct place_model models[SIM_MODELS];
    struct place_core core[NPU_MAX_CORES];
    struct sim_job jobs[SIM_JOBS];
    uint32_t n_jobs;
    struct place_demand demand;
    int64_t now;
    bool use_demand;
    /* findings */
    int64_t max_cost_ns, worst_oldest_wait;
    uint32_t wrong; /* broken invariants */
    const char *what;
};

static inline void sim_wrong(struct sim *s, const char *what)
{
    s->wrong++;
    s->what = what;
}

/* xorshift: the same everywhere */
static inline uint32_t sim_rand(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)(*seed >> 32);
}

static inline uint32_t sim_add(struct sim *s, uint32_t model, int32_t priority, int64_t at, const uint32_t *cost_us,
                               double noise)
{
    struct sim_job *j = &s->jobs[s->n_jobs];
    *j = (struct sim_job){ model, 0, priority, at, -1, -1, -1, .noise = noise };
    for (int i = 0; i < NPU_MAX_CORES; i++) {
        j->cost_us[i] = cost_us[i];
        int64_t ns = (int64_t)((int64_t)cost_us[i] * 1000 * noise); /* as sim_start computes it */
        s->max_cost_ns = ns > s->max_cost_ns ? ns : s->max_cost_ns;
    }
    return s->n_jobs++;
}

static inline bool sim_waits(const struct sim *s, const struct sim_job *j)
{
    return j->arrived <= s->now && j->started < 0;
}

/* Heads of the queues (one per model and priority), as the engine passes them. */
static inline uint32_t sim_heads(const struct sim *s, struct place_waiting *w, uint32_t *job)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_jobs; i++) {
        const struct sim_job *j = &s->jobs[i];
        if (!sim_waits(s, j))
            continue;
        uint32_t k = 0;
        while (k < n && (w[k].model != j->model || w[k].priority != j->priority))
            k++;
        if (k < n && (s->jobs[job[k]].arrived < j->arrived || (s->jobs[job[k]].arrived == j->arrived && job[k] < i))) {
            w[k].behind++;
            continue;
        }
        uint32_t behind = k < n ? w[k].behind + 1 : 0;
        w[k] = (struct place_waiting){ j->model, j->priority, j->arrived, .behind = behind };
        memcpy(w[k].cost_us, j->cost_us, sizeof j->cost_us);
        job[k] = i;
        n += k == n;
    }
    return n;
}

static inline uint32_t sim_in_system(const struct sim *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_jobs; i++)
        n += s->jobs[i].arrived <= s->now && !s->jobs[i].done;
    return n;
}

static inline bool sim_is_before(const struct sim_job *a, const struct sim_job *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->arrived < b->arrived;
}

static inline void sim_start(struct sim *s, uint32_t job, const struct place_out *o)
{
    struct sim_job *j = &s->jobs[job];
    const struct place_model *m = &s->models[j->model];
    uint32_t n = (uint32_t)__builtin_popcount(o->cores);
    if (!o->cores || (o->cores & ~m->cores))
        sim_wrong(s, "a core outside the model's mask");
    if ((!m->automatic || m->whole) && o->cores != m->cores)
        sim_wrong(s, "an explicit mask did not get exactly its cores");
    if (m->automatic && !m->whole && !m->joint_lanes && n != 1)
        sim_wrong(s, "auto joined cores without leave");
    int64_t start = s->now;
    for (uint32_t i = 0; i < s->n_cores; i++) {
        struct place_core *c = &s->core[i];
        if (!(o->cores >> i & 1))
            continue;
        if (c->runs >= c->depth)
            sim_wrong(s, "a core is used twice");
        if (c->health == CORE_SICK || c->leased_away)
            sim_wrong(s, "a core that is sick or away is used");
        if (c->runs && c->free_at_ns > start)
            start = c->free_at_ns;
    }
    for (uint32_t i = 0; i < s->n_jobs; i++) { /* FIFO within model and priority */
        const struct sim_job *o2 = &s->jobs[i];
        if (i != job && sim_waits(s, o2) && o2->model == j->model && o2->priority == j->priority &&
            o2->arrived < j->arrived)
            sim_wrong(s, "not first in, first out");
    }
    int64_t cost = (int64_t)j->cost_us[n - 1] * 1000;
    if (o->finish_ns != start + cost)
        sim_wrong(s, "the predicted finish is not start plus cost");
    j->started = s->now;
    j->lane = o->cores;
    for (uint32_t i = 0; i < s->n_cores; i++)
        if (o->cores >> i & 1) {
            s->core[i].runs++;
            s->core[i].free_at_ns = start + cost;
        }
    if (j->oldest_since >= 0 && s->now - j->oldest_since > s->worst_oldest_wait)
        s->worst_oldest_wait = s->now - j->oldest_since;
    j->ended = start + (int64_t)(cost * j->noise); /* in the future: sim_step takes it out then */
}

/* Nothing could start: is that right? Every waiting head must lack an open core of its own, or stand behind an older
 * joint request whose cores are kept free for it. */
static inline void sim_check_conserving(struct sim *s, const struct place_waiting *w, const uint32_t *job, uint32_t n)
{
    uint8_t open = 0, usable = 0;
    for (uint32_t i = 0; i < s->n_cores; i++) {
        bool ok = s->core[i].health == CORE_WELL && !s->core[i].leased_away;
        usable |= (uint8_t)(ok << i);
        open |= (uint8_t)((ok && s->core[i].runs < s->core[i].depth) << i);
    }
    for (uint32_t a = 0; a < n; a++) {
        const struct place_model *m = &s->models[w[a].model];
        bool fixed = !m->automatic || m->whole, excused = false;
        uint8_t could = fixed ? ((m->cores & ~open) ? 0 : m->cores) : (uint8_t)(m->cores & open);
        for (uint32_t b = 0; b < n && could; b++) {
            const struct place_model *o = &s->models[w[b].model];
            bool joint = (!o->automatic || o->whole) && (o->cores & ~open) && !(o->cores & ~usable);
            if (b != a && joint && sim_is_before(&s->jobs[job[b]], &s->jobs[job[a]]))
                excused |= fixed ? (could & o->cores) != 0 : !(could & ~o->cores);
        }
        if (could && !excused)
            sim_wrong(s, "a core idles although somebody could use it");
    }
}

static inline void sim_place(struct sim *s)
{
    struct place_waiting w[SIM_MODELS * SIM_PRIORITIES];
    uint32_t job[SIM_MODELS * SIM_PRIORITIES];
    for (;;) {
        struct place_in in = { .now_ns = s->now, .n_cores = s->n_cores, .models = s->models, .n_models = s->n_models };
        struct place_out out;
        place_demand_note(&s->demand, s->now, sim_in_system(s));
        in.demand = s->use_demand ? place_demand_get(&s->demand, s->now) : 0;
        memcpy(in.core, s->core, sizeof in.core);
        in.waiting = w;
        in.n_waiting = sim_heads(s, w, job);
        uint32_t first = in.n_waiting;
        for (uint32_t i = 0; i < in.n_waiting; i++)
            if (first == in.n_waiting || sim_is_before(&s->jobs[job[i]], &s->jobs[job[first]]))
                first = i;
        if (first < in.n_waiting && s->jobs[job[first]].oldest_since < 0)
            s->jobs[job[first]].oldest_since = s->now;
        if (!place_next(&in, &out)) {
            sim_check_conserving(s, w, job, in.n_waiting);
            return;
        }
        if (out.waiting >= in.n_waiting) {
            sim_wrong(s, "an entry that does not exist");
            return;
        }
        sim_start(s, job[out.waiting], &out);
    }
}

/* Jumps to the next arrival or end; false when there is none. Returns the job that ended in *ended (or n_jobs). */
static inline bool sim_step(struct sim *s, uint32_t *ended)
{
    int64_t next = INT64_MAX;
    uint32_t who = s->n_jobs;
    for (uint32_t i = 0; i < s->n_jobs; i++) {
        struct sim_job *j = &s->jobs[i];
        int64_t at = j->arrived > s->now ? j->arrived : j->started >= 0 && !j->done ? j->ended : INT64_MAX;
        if (at < next) {
            next = at;
            who = i;
        }
    }
    if (next == INT64_MAX)
        return false;
    s->now = next > s->now ? next : s->now;
    *ended = s->n_jobs;
    if (s->jobs[who].started >= 0) {
        for (uint32_t i = 0; i < s->n_cores; i++)
            s->core[i].runs -= s->jobs[who].lane >> i & 1;
        s->jobs[who].done = true;
        *ended = who;
    }
    return true;
}

static inline struct sim *sim_new(uint32_t n_cores, uint32_t depth)
{
    struct sim *s = calloc(1, sizeof *s);
    s->n_cores = n_cores;
    s->depth = depth;
    s->now = 0;
    for (uint32_t i = 0; i < n_cores; i++)
        s->core[i] = (struct place_core){ .depth = (uint8_t)depth };
    return s;
}

#endif
