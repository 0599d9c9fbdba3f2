/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run takes, learnt from runs: microseconds = fixed + per unit * units, for one, two and three cores. A straight
 * line through the runs so far, the latest counting most. For a number of cores that was not tried yet, the fixed part
 * of another one is taken and the rest divided. Any thread may add and ask.
 */
#ifndef RKF_DEVICE_COST_H
#define RKF_DEVICE_COST_H

#include "npu/npu.h"

#include <pthread.h>

struct cost_line {
    double n, x, y, xx, xy; /* faded sums */
    bool warm;              /* the first run, which touches everything for the first time, has been forgotten */
};
struct cost_fit {
    pthread_mutex_t mutex;
    struct cost_line line[NPU_MAX_CORES];
};
void cost_fit_init(struct cost_fit *f);
void cost_fit_free(struct cost_fit *f);
void cost_fit_add(struct cost_fit *f, uint32_t n_cores, double units, double us);
/* false: nothing is known. */
bool cost_fit_get(struct cost_fit *f, uint32_t n_cores, double *fixed_us, double *unit_us);
uint32_t cost_fit_us(struct cost_fit *f, uint32_t n_cores, double units); /* at least 1; 0: nothing is known */

#endif
