/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placement as a pure function. Everything is small (3 cores, 7 lanes, a handful of queues), so the code walks the
 * waiting heads in their order and tries every lane; there is no state between calls but what the caller passes in.
 */
#include "npu/placement.h"

#include <math.h>

enum { UNKNOWN_COST_US = 1000, HALF_LIFE_NS = 100 * 1000 * 1000 };

static uint32_t count(uint8_t cores)
{
    return (uint32_t)__builtin_popcount(cores);
}

static uint8_t all_cores(const struct place_in *in)
{
    return (uint8_t)((1u << in->n_cores) - 1);
}

/* Sets of cores by state. */
struct state {
    uint8_t usable; /* well and not leased away */
    uint8_t open;   /* usable, and takes another exec */
    uint8_t idle;   /* open and running nothing */
};

static struct state read_state(const struct place_in *in)
{
    struct state s = { 0 };
    for (uint32_t i = 0; i < in->n_cores; i++) {
        const struct place_core *c = &in->core[i];
        uint8_t bit = (uint8_t)(1u << i);
        if (c->health == CORE_SICK || c->leased_away)
            continue;
        s.usable |= bit;
        if (c->runs < c->depth)
            s.open |= bit;
        if (c->runs == 0)
            s.idle |= bit;
    }
    s.idle &= s.open;
    return s;
}

static bool is_fixed(const struct place_model *m)
{
    return !m->automatic || m->whole;
}

/* Higher priority first, then older, then the lower index. */
static bool before(const struct place_in *in, uint32_t a, uint32_t b)
{
    const struct place_waiting *x = &in->waiting[a], *y = &in->waiting[b];
    if (x->priority != y->priority)
        return x->priority > y->priority;
    if (x->since_ns != y->since_ns)
        return x->since_ns < y->since_ns;
    return a < b;
}

/* The entry that comes after `last` in that order (last == n_waiting: the first); n_waiting at the end. */
static uint32_t next_in_order(const struct place_in *in, uint32_t last)
{
    uint32_t best = in->n_waiting;
    for (uint32_t i = 0; i < in->n_waiting; i++) {
        if (last < in->n_waiting && (i == last || !before(in, last, i)))
            continue;
        if (best == in->n_waiting || before(in, i, best))
            best = i;
    }
    return best;
}

static int64_t finish_on(const struct place_in *in, const struct place_waiting *w, uint8_t lane)
{
    int64_t start = in->now_ns;
    for (uint32_t i = 0; i < in->n_cores; i++)
        if ((lane >> i & 1) && in->core[i].runs && in->core[i].free_at_ns > start)
            start = in->core[i].free_at_ns;
    uint32_t cost = w->cost_us[count(lane) - 1];
    if (!cost)
        cost = w->cost_us[0] ? w->cost_us[0] : UNKNOWN_COST_US;
    return start + (int64_t)cost * 1000;
}

/* Waiting requests with a fixed lane on any of these cores, other than entry `self`. */
static uint32_t wanted_by_fixed(const struct place_in *in, uint8_t lane, uint32_t self)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->n_waiting; i++) {
        const struct place_model *m = &in->models[in->waiting[i].model];
        if (i != self && is_fixed(m) && (m->cores & lane))
            n++;
    }
    return n;
}

/* Most cores that auto entry `self` may join, out of `idle` ones: see rule 3. */
static uint32_t joint_limit(const struct place_in *in, uint32_t self, uint8_t idle)
{
    uint32_t others = in->waiting[self].behind, running = 0, free = count(idle);
    for (uint32_t i = 0; i < in->n_waiting; i++)
        if (i != self && (in->models[in->waiting[i].model].cores & idle))
            others += 1 + in->waiting[i].behind;
    for (uint32_t i = 0; i < in->n_cores; i++)
        running += in->core[i].runs;
    /* what was here lately and is neither this one nor running nor waiting will be back in a moment */
    uint32_t expected = in->demand > running + 1 ? in->demand - running - 1 : 0;
    if (expected > others)
        others = expected;
    return free > others ? free - others : 1;
}

struct candidate {
    uint8_t lane;
    bool busy;
    int64_t finish_ns;
    uint32_t cores, wanted;
};

static bool better(const struct candidate *a, const struct candidate *b)
{
    if (a->busy != b->busy)
        return !a->busy;
    if (a->finish_ns != b->finish_ns)
        return a->finish_ns < b->finish_ns;
    if (a->cores != b->cores)
        return a->cores < b->cores;
    if (a->wanted != b->wanted)
        return a->wanted < b->wanted;
    return a->lane < b->lane; /* among equal sizes the lower number has the lower cores */
}

/* The lane that auto takes now; 0: none. */
static uint8_t choose_auto(const struct place_in *in, uint32_t self, const struct state *s, uint8_t kept_free)
{
    const struct place_waiting *w = &in->waiting[self];
    const struct place_model *m = &in->models[w->model];
    uint8_t open = s->open & m->cores & (uint8_t)~kept_free, idle = s->idle & open;
    uint32_t limit = m->joint_lanes ? joint_limit(in, self, idle) : 1;
    struct candidate best = { 0 };
    for (uint8_t lane = 1; lane <= all_cores(in); lane++) {
        uint32_t n = count(lane);
        if ((lane & ~open) || n > limit || (n > 1 && ((lane & ~idle) || !w->cost_us[n - 1])))
            continue;
        struct candidate c = { lane, (lane & idle) != lane, finish_on(in, w, lane), n,
                               wanted_by_fixed(in, lane, self) };
        if (!best.lane || better(&c, &best))
            best = c;
    }
    return best.lane;
}

bool place_next(const struct place_in *in, struct place_out *out)
{
    struct state s = read_state(in);
    uint8_t kept_free = 0;
    for (uint32_t i = next_in_order(in, in->n_waiting); i < in->n_waiting; i = next_in_order(in, i)) {
        const struct place_model *m = &in->models[in->waiting[i].model];
        uint8_t lane = 0;
        if (!m->cores)
            continue;
        if (!is_fixed(m))
            lane = choose_auto(in, i, &s, kept_free);
        else if (!(m->cores & ~s.open) && !(m->cores & kept_free))
            lane = m->cores;
        else if (!kept_free && !(m->cores & ~s.usable))
            kept_free = m->cores;
        if (lane) {
            *out = (struct place_out){ i, lane, finish_on(in, &in->waiting[i], lane) };
            return true;
        }
    }
    return false;
}

bool place_hopeless(const struct place_in *in, uint32_t model)
{
    const struct place_model *m = &in->models[model];
    uint8_t well = 0;
    for (uint32_t i = 0; i < in->n_cores; i++)
        if (in->core[i].health == CORE_WELL)
            well |= (uint8_t)(1u << i);
    return is_fixed(m) ? !m->cores || (m->cores & ~well) : !(m->cores & well);
}

uint32_t place_width(const struct place_in *in, uint32_t model)
{
    const struct place_model *m = &in->models[model];
    struct state s = read_state(in);
    uint32_t n = is_fixed(m) ? 1 : count(s.open & m->cores);
    return n ? n : 1;
}

/* ---- demand */

static double faded(const struct place_demand *d, int64_t now_ns)
{
    return now_ns <= d->at_ns ? d->level : d->level * exp2(-(double)(now_ns - d->at_ns) / HALF_LIFE_NS);
}

void place_demand_note(struct place_demand *d, int64_t now_ns, uint32_t in_system)
{
    double level = faded(d, now_ns);
    d->level = level > in_system ? level : in_system;
    d->at_ns = now_ns;
}

uint32_t place_demand_get(const struct place_demand *d, int64_t now_ns)
{
    return (uint32_t)(faded(d, now_ns) + 0.5);
}

/* ---- admission */

/* Cores that claim `which` keeps to itself: 0 unless it is exclusive. */
static uint8_t held(const struct place_claim *all, uint32_t n, uint32_t which)
{
    if (!all[which].exclusive)
        return 0;
    uint8_t cores = all[which].mask.cores;
    if (all[which].mask.automatic) /* it took what the explicit ones had left */
        for (uint32_t i = 0; i < n; i++)
            if (i != which && all[i].exclusive && !all[i].mask.automatic)
                cores &= (uint8_t)~all[i].mask.cores;
    return cores;
}

uint8_t place_allowed(const struct place_claim *all, uint32_t n, uint32_t which)
{
    uint8_t cores = all[which].mask.cores;
    if (all[which].mask.automatic)
        for (uint32_t i = 0; i < n; i++)
            if (i != which && !(all[which].exclusive && all[i].mask.automatic))
                cores &= (uint8_t)~held(all, n, i);
    return cores;
}

/* The incoming model against exclusive ones that are already there: what they leave of its cores. */
static rkf_status admit_beside(const struct place_claim *loaded, uint32_t n, const struct place_claim *incoming,
                               uint8_t *cores, rkf_error *err)
{
    uint8_t left = incoming->mask.cores;
    const struct place_claim *holder = NULL;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t taken = held(loaded, n, i) & left;
        if (!taken)
            continue;
        holder = &loaded[i];
        left &= (uint8_t)~taken;
        if (!incoming->mask.automatic)
            return rkf_fail(err, RKF_CONFLICT,
                            "model '%.100s' cannot use core mask '%s': model '%.100s' holds core %s exclusively; use "
                            "another core mask or close that model",
                            incoming->name, incoming->mask.name, holder->name, core_set_name(taken));
    }
    if (!left)
        return rkf_fail(err, RKF_CONFLICT,
                        "model '%.100s' finds no core: model '%.100s' holds the last of them exclusively; close that "
                        "model or use the CPU",
                        incoming->name, holder ? holder->name : "?");
    *cores = left;
    return RKF_OK;
}

rkf_status place_admit(const struct place_claim *loaded, uint32_t n, const struct place_claim *incoming, uint8_t *cores,
                       rkf_error *err)
{
    uint8_t mine = 0;
    rkf_status rc = admit_beside(loaded, n, incoming, &mine, err);
    if (rc)
        return rc;
    for (uint32_t i = 0; incoming->exclusive && i < n; i++) {
        const struct place_claim *other = &loaded[i];
        if (held(loaded, n, i))
            continue; /* already apart */
        if (!other->mask.automatic && (other->mask.cores & mine))
            return rkf_fail(err, RKF_CONFLICT,
                            "model '%.100s' cannot have core %s to itself: model '%.100s' is pinned to core mask '%s'; "
                            "use other cores or close that model",
                            incoming->name, core_set_name(mine), other->name, other->mask.name);
        if (other->mask.automatic && !(place_allowed(loaded, n, i) & ~mine))
            return rkf_fail(err, RKF_CONFLICT,
                            "model '%.100s' cannot have core %s to itself: model '%.100s' (auto) would have no core "
                            "left; use fewer cores or close that model",
                            incoming->name, core_set_name(mine), other->name);
    }
    *cores = mine;
    return RKF_OK;
}
