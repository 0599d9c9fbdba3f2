/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways to part the cores of a model that may join them, and which one to take: the one that delivered most. What a
 * run costs depends on what else is at work (the cores share the DRAM, the CPU its threads), and how many requests are
 * in a batch on how the others are dealt out, so ways are not compared by predictions but tried: each for a turn of
 * some dozens of requests, the promising ones again, the others now and then, apart for every number of cores that can
 * be had and for about every doubling of the requests in the system. What counts is the work done per time during which
 * there was any: for a number of requests, more of it is also a shorter wait.
 *
 * Not a thread's business: the caller locks. No clock: times are given, and must not fall.
 */
#ifndef RKF_NPU_PARTING_H
#define RKF_NPU_PARTING_H

#include "npu/npu.h"

/* Lanes by their number of cores, the largest first; cores that are left over stay idle, for a DRAM that two cores
 * already fill. Batches are dealt out over all execs, so that one lane's next run is ready when the first ends; or, if
 * they gather, over the lanes: fewer and larger runs, and a free lane waits a moment for those who are expected back.
 */
struct parting {
    uint8_t of_cores; /* how many can be had */
    uint8_t lanes, size[NPU_MAX_CORES];
    bool gather;
};
enum { PARTINGS = 14, PARTING_LOADS = 8 };
extern const struct parting partings[PARTINGS];

struct parting_score {
    float speed;    /* work per us; 0: never tried */
    float requests; /* that it was seen with, and runs of each exec; the latest counting most */
    float rounds;
    uint32_t at; /* the load's turn when it was tried last */
};
struct parting_judge {
    struct parting_score score[PARTING_LOADS][PARTINGS];
    uint32_t turns[PARTING_LOADS];
    uint8_t way, load;           /* way: index plus 1; 0: none yet */
    bool busy;                   /* there is work in the system */
    float tokens, n_tokens;      /* of a text on average, of the last so many; */
    float usual;                 /* what that was when texts were looked at last; 0: too few came to judge by */
    uint32_t epoch;              /* rises when the way changes */
    uint32_t running, strangers; /* runs in flight; of those, begun under another way: until they end nothing counts */
    int64_t noted_ns;
    /* this turn */
    float like;              /* requests in the system when it began */
    uint32_t requests, runs; /* that have ended */
    double work, wall_ns;    /* what they did, and how long each took, summed up */
    double busy_ns, runs_ns; /* time with work in the system; the same of each run in flight, summed up */
};

/* A request of so many tokens has come. Texts twice as long or short as they were are another load: all is forgotten.
 */
void parting_text(struct parting_judge *j, uint32_t tokens);
/* The way to take now, as index into partings plus 1, for so many cores and about so many requests in the system.
 * joined: all of them in one lane, only its batches are to be chosen. 0: no cores. */
uint8_t parting_choose(struct parting_judge *j, uint32_t cores, bool joined, float requests, int64_t now_ns);
/* Requests came, or have been answered. */
void parting_note(struct parting_judge *j, bool work_in_system, int64_t now_ns);
/* A run begins, under the way that was chosen last or not (another model competes for the cores: nothing counts until
 * it has ended). The ticket is passed to parting_ended with what it did and when it began. Work is counted
 * in tokens of usual texts (judge.usual), so that it does not depend on which came: see parting_work. */
uint32_t parting_began(struct parting_judge *j, bool parted, int64_t now_ns);
/* Of so many requests, which are predicted to take us, and would usual_us if all were as long as usual. */
double parting_work(const struct parting_judge *j, uint32_t requests, uint32_t us, uint32_t usual_us);
void parting_ended(struct parting_judge *j, uint32_t ticket, int64_t began_ns, uint32_t requests, double work,
                   int64_t now_ns);

#endif
