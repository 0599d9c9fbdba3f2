/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placement: which waiting model runs next, and on which cores. A pure function of what it is given: no clock, no
 * locks, no memory of its own, so that it is tested with recorded boards and simulated load.
 *
 * The core is the unit of exclusion: a lane is a set of cores and runs when all of them can take it. Rules, in this
 * order:
 *   1. higher priority first, then the oldest request; FIFO within model and priority;
 *   2. an explicit mask runs on exactly its cores; auto on one of the allowed lanes, idle cores first, the earliest
 *      predicted finish winning, ties to fewer cores, then to cores that no waiting explicit mask needs, then to the
 *      lowest core;
 *   3. auto of a native body may join cores. Joining is good for one stream and for large batches, and costs throughput
 *      otherwise, so its lanes are those of the way to part its cores that delivered most (npu/parting.h), and a lane's
 *      next run begins beside another only when it has its share of the requests; so does that of an explicit mask. A
 *      core whose work should have ended two seconds ago (a call that hangs, perhaps) is left out of the parting. Where
 *      another model competes for the cores, it joins idle cores only, and only where a core stays free for every other
 *      batch that waits or was in the system lately: a joint run cannot be split when the next request comes;
 *   4. if the oldest request of the highest waiting priority needs cores that are busy, those of its cores that are
 *      free take no younger work of equal or lower priority (no starvation of joint lanes);
 *   5. cores that another model holds exclusively, that are sick, or that another process leases, are not candidates,
 *      and nobody's cores are kept free while waiting for one of those.
 */
#ifndef RKF_NPU_PLACEMENT_H
#define RKF_NPU_PLACEMENT_H

#include "npu/parting.h"

#define PLACE_MAX_LANES 7 /* subsets of three cores */

enum core_health { CORE_WELL, CORE_SICK };
struct place_core {
    int64_t free_at_ns;  /* predicted end of the work it has; <= now: idle */
    uint8_t runs, depth; /* execs in flight, and most allowed (cpu 1, rknn 2) */
    enum core_health health;
    bool leased_away; /* another process works on it now */
};
struct place_model {
    uint8_t cores;    /* allowed cores, exclusivity of others already taken out */
    bool automatic;   /* may choose a lane within cores; else the lane is exactly `cores` */
    bool joint_lanes; /* auto may join cores (native bodies) */
    bool whole;       /* platform cpu, auto: one lane with all threads, always exactly `cores` */
    /* How its cores are parted: index into partings plus 1 (parting_choose); 0: they are not. Also for fixed ones, to
     * say how their batches are dealt out. */
    uint8_t way;
    float requests; /* waiting and running, lately: place_demand_get */
    float rivals;   /* the same of other models that may use its cores */
};
struct place_waiting { /* the head of the queue of one (model, priority): queues are FIFO */
    uint32_t model;    /* index into models */
    int32_t priority;
    int64_t since_ns; /* when it was submitted */
    /* predicted microseconds of its next batch on 1, 2, 3 cores; 0: unknown, counts as 1000 */
    uint32_t cost_us[NPU_MAX_CORES];
    uint32_t behind;   /* further batches that wait in the same queue, as far as known */
    uint32_t requests; /* that wait in it; 0: not known */
};
struct place_in {
    int64_t now_ns;
    uint32_t n_cores;
    float demand; /* requests of all models, lately: place_demand_get; 0: only what waits and runs now counts */
    struct place_core core[NPU_MAX_CORES];
    const struct place_model *models;
    uint32_t n_models;
    const struct place_waiting *waiting;
    uint32_t n_waiting;
};
struct place_out {
    uint32_t waiting;  /* index of the entry that runs */
    uint8_t cores;     /* its lane */
    int64_t finish_ns; /* predicted */
    uint32_t requests; /* how many its batch should take, so that all execs find work; 0: no wish */
    uint8_t way;       /* that the model's cores are parted by, and this run with them; 0: not parted */
    int64_t again_ns;  /* false: ask again then, for somebody waits a moment to be joined by others; 0: nobody does */
};
/* true: run out->waiting on out->cores now. false: nothing can start; only out->again_ns is set. Call again after
 * applying the answer. */
bool place_next(const struct place_in *in, struct place_out *out);

/* No lane of the model can ever start while its cores are as sick as they are: fail its requests, or take the CPU. */
bool place_hopeless(const struct place_in *in, uint32_t model);
/* Cores of the model that its parting may deal with: well, not leased away, their work not overdue. */
uint8_t place_usable(const struct place_in *in, uint32_t model);
/* Lanes that could each take a batch of this model right now: cut what waits into that many batches. At least 1. */
uint32_t place_width(const struct place_in *in, uint32_t model);

/* How many requests were in the system at once lately: rises at once, falls with a half-life of 100 ms, or of three
 * runs if they take longer than that. Note it whenever one comes or goes. Zero-initialised. */
struct place_demand {
    int64_t at_ns, run_ns; /* run_ns: set by the caller: what a run took lately */
    uint32_t in_system;    /* since at_ns */
    double level;
};
void place_demand_note(struct place_demand *d, int64_t now_ns, uint32_t in_system);
float place_demand_get(const struct place_demand *d, int64_t now_ns);

/* How an automatic model's cores are parted now: lanes[], at most three; returns how many. For display and tests. */
uint32_t place_partition(const struct place_in *in, uint32_t model, uint8_t lanes[NPU_MAX_CORES]);

/* May a model with this mask be loaded beside the others? Exclusive models: RKF_CONFLICT naming the holder. On success
 * *cores is what it may use; models that are automatic shrink (the caller recomputes them with place_allowed). */
struct place_claim {
    const char *name;
    struct core_mask mask;
    bool exclusive;
};
rkf_status place_admit(const struct place_claim *loaded, uint32_t n, const struct place_claim *incoming, uint8_t *cores,
                       rkf_error *err) MUST_CHECK;
uint8_t place_allowed(const struct place_claim *all, uint32_t n, uint32_t which);

#endif
