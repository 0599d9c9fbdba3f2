/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placement as a pure function. Everything is small (3 cores, 7 lanes, a handful of queues), so the code walks the
 * waiting heads in their order and tries every lane; there is no state between calls but what the caller passes in.
 */
#include "npu/placement.h"

#include <math.h>

enum {
    UNKNOWN_COST_US = 1000,
    HALF_LIFE_NS = 100 * 1000 * 1000,
    HALF_LIFE_RUNS = 3,
    LATE_NS = 2000 * 1000 * 1000, /* after its predicted end a core may hang */
    GATHER_PART = 8,              /* of a run's predicted time is waited for others to join */
};

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

/* Cores whose work should have ended long ago. */
static uint8_t late_cores(const struct place_in *in)
{
    uint8_t late = 0;
    for (uint32_t i = 0; i < in->n_cores; i++)
        if (in->core[i].runs && in->now_ns - in->core[i].free_at_ns > LATE_NS)
            late |= (uint8_t)(1u << i);
    return late;
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
    uint32_t lately = (uint32_t)(in->demand + 0.5f), expected = lately > running + 1 ? lately - running - 1 : 0;
    if (expected > others)
        others = expected;
    return free > others ? free - others : 1;
}

/* ---- parting the cores of an automatic model */

/* Another model is at work on the same cores, or was a moment ago. */
static bool has_rivals(const struct place_in *in, const struct place_model *m)
{
    for (uint32_t i = 0; i < in->n_waiting; i++) {
        const struct place_model *o = &in->models[in->waiting[i].model];
        if (o != m && (o->cores & m->cores))
            return true;
    }
    return m->rivals > 0.5f;
}

/* Lanes of the way to part `usable`, fewest cores left out; 0: not parted. */
static uint32_t part(const struct place_in *in, const struct place_model *m, uint8_t usable, uint8_t *lanes)
{
    const struct parting *p = m->way ? &partings[m->way - 1] : NULL;
    if (!p || !m->joint_lanes || p->of_cores != count(usable) || has_rivals(in, m))
        return 0;
    for (uint32_t i = 0; i < p->lanes; i++) {
        lanes[i] = 0;
        for (uint32_t k = 0; k < p->size[i]; k++) {
            uint8_t lowest = (uint8_t)(usable & -usable);
            lanes[i] |= lowest;
            usable &= (uint8_t)~lowest;
        }
    }
    return p->lanes;
}

uint8_t place_usable(const struct place_in *in, uint32_t model)
{
    return read_state(in).usable & in->models[model].cores & (uint8_t)~late_cores(in);
}

uint32_t place_partition(const struct place_in *in, uint32_t model, uint8_t lanes[NPU_MAX_CORES])
{
    const struct place_model *m = &in->models[model];
    uint8_t usable = place_usable(in, model);
    if (is_fixed(m)) {
        lanes[0] = m->cores;
        return 1;
    }
    uint32_t n = part(in, m, usable, lanes);
    if (n)
        return n;
    for (uint32_t i = 0; i < in->n_cores; i++)
        if (usable >> i & 1)
            lanes[n++] = (uint8_t)(1u << i);
    return n;
}

/* ---- choosing */

struct candidate {
    uint8_t lane;
    bool busy;
    uint32_t runs; /* most execs on one of its cores */
    int64_t finish_ns;
    uint32_t cores, wanted;
};

static bool better(const struct candidate *a, const struct candidate *b)
{
    if (a->busy != b->busy)
        return !a->busy;
    if (a->runs != b->runs)
        return a->runs < b->runs;
    if (a->finish_ns != b->finish_ns)
        return a->finish_ns < b->finish_ns;
    if (a->cores != b->cores)
        return a->cores < b->cores;
    if (a->wanted != b->wanted)
        return a->wanted < b->wanted;
    return a->lane < b->lane; /* among equal sizes the lower number has the lower cores */
}

static struct candidate look_at(const struct place_in *in, uint32_t self, uint8_t lane)
{
    struct candidate c = { .lane = lane, .finish_ns = finish_on(in, &in->waiting[self], lane), .cores = count(lane) };
    for (uint32_t i = 0; i < in->n_cores; i++)
        if ((lane >> i & 1) && in->core[i].runs > c.runs)
            c.runs = in->core[i].runs;
    c.busy = c.runs > 0;
    c.wanted = wanted_by_fixed(in, lane, self);
    return c;
}

/* Requests of a batch when those in the system are dealt out evenly. */
static float even_share(const struct place_model *m, uint32_t depth)
{
    const struct parting *p = &partings[m->way - 1];
    float requests = m->requests < 1 ? 1 : m->requests;
    return requests / (float)(p->lanes * (p->gather ? 1 : depth));
}

/* May a batch begin on this lane of a way, or does it wait for more? A lane that is at work waits for its share, a free
 * one that gathers for a moment. *again_ns: the end of that. */
static bool is_time(const struct place_in *in, const struct candidate *c, uint32_t self, int64_t *again_ns)
{
    const struct place_waiting *w = &in->waiting[self];
    const struct place_model *m = &in->models[w->model];
    float share = even_share(m, in->core[__builtin_ctz(c->lane)].depth);
    if (!w->requests || (float)w->requests >= floorf(share))
        return true;
    if (c->busy)
        return false;
    if (!partings[m->way - 1].gather)
        return true;
    int64_t until = w->since_ns + (c->finish_ns - in->now_ns) / GATHER_PART;
    if (in->now_ns >= until)
        return true;
    if (!*again_ns || until < *again_ns)
        *again_ns = until;
    return false;
}

/* The lane that auto takes now; 0: none. *out: how much its batch should take, and how the cores are parted. */
static uint8_t choose_auto(const struct place_in *in, uint32_t self, const struct state *s, uint8_t kept_free,
                           struct place_out *out)
{
    const struct place_waiting *w = &in->waiting[self];
    const struct place_model *m = &in->models[w->model];
    uint8_t open = s->open & m->cores & (uint8_t)~kept_free, idle = s->idle & open, lanes[NPU_MAX_CORES];
    uint32_t parts = part(in, m, place_usable(in, w->model), lanes);
    struct candidate best = { 0 };
    for (uint32_t i = 0; i < parts; i++) {
        struct candidate c = look_at(in, self, lanes[i]);
        if (!(lanes[i] & ~open) && (!best.lane || better(&c, &best)) && is_time(in, &c, self, &out->again_ns))
            best = c;
    }
    if (parts && best.lane) {
        out->requests = (uint32_t)ceilf(even_share(m, in->core[__builtin_ctz(best.lane)].depth));
        out->way = m->way;
    }
    uint32_t limit = parts ? 0 : m->joint_lanes ? joint_limit(in, self, idle) : 1;
    for (uint8_t lane = 1; lane <= all_cores(in) && limit; lane++) {
        uint32_t n = count(lane);
        if ((lane & ~open) || n > limit || (n > 1 && ((lane & ~idle) || !w->cost_us[n - 1])))
            continue;
        struct candidate c = look_at(in, self, lane);
        if (!best.lane || better(&c, &best))
            best = c;
    }
    return best.lane;
}

/* The lane of an explicit mask, which is open; 0: it waits for more requests. */
static uint8_t choose_fixed(const struct place_in *in, uint32_t self, struct place_out *out)
{
    const struct place_model *m = &in->models[in->waiting[self].model];
    if (!m->way || partings[m->way - 1].size[0] != count(m->cores) || has_rivals(in, m))
        return m->cores;
    struct candidate c = look_at(in, self, m->cores);
    if (!is_time(in, &c, self, &out->again_ns))
        return 0;
    out->requests = (uint32_t)ceilf(even_share(m, in->core[__builtin_ctz(m->cores)].depth));
    out->way = m->way;
    return m->cores;
}

bool place_next(const struct place_in *in, struct place_out *out)
{
    struct state s = read_state(in);
    uint8_t kept_free = 0;
    int64_t again_ns = 0;
    for (uint32_t i = next_in_order(in, in->n_waiting); i < in->n_waiting; i = next_in_order(in, i)) {
        const struct place_model *m = &in->models[in->waiting[i].model];
        struct place_out o = { .waiting = i };
        uint8_t lane = 0;
        if (!m->cores)
            continue;
        if (!is_fixed(m))
            lane = choose_auto(in, i, &s, kept_free, &o);
        else if (!(m->cores & ~s.open) && !(m->cores & kept_free))
            lane = choose_fixed(in, i, &o);
        else if (!kept_free && !(m->cores & ~s.usable))
            kept_free = m->cores;
        if (lane) {
            o.cores = lane;
            o.finish_ns = finish_on(in, &in->waiting[i], lane);
            *out = o;
            out->again_ns = 0;
            return true;
        }
        if (o.again_ns && (!again_ns || o.again_ns < again_ns))
            again_ns = o.again_ns;
    }
    out->again_ns = again_ns;
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
    struct state s = read_state(in);
    uint8_t lanes[NPU_MAX_CORES];
    uint32_t n = 0, parts = place_partition(in, model, lanes);
    for (uint32_t i = 0; i < parts; i++)
        n += !(lanes[i] & ~s.open);
    return n ? n : 1;
}

/* ---- demand */

static double faded(const struct place_demand *d, int64_t now_ns)
{
    double runs = HALF_LIFE_RUNS * (double)d->run_ns, half_life = runs > HALF_LIFE_NS ? runs : HALF_LIFE_NS;
    double level = now_ns <= d->at_ns ? d->level : d->level * exp2(-(double)(now_ns - d->at_ns) / half_life);
    return level > d->in_system ? level : d->in_system;
}

void place_demand_note(struct place_demand *d, int64_t now_ns, uint32_t in_system)
{
    double level = faded(d, now_ns);
    *d = (struct place_demand){ now_ns, d->run_ns, in_system, level > in_system ? level : in_system };
}

float place_demand_get(const struct place_demand *d, int64_t now_ns)
{
    return (float)faded(d, now_ns);
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
