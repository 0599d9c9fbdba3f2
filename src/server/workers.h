/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few threads for what would hold up an event loop: parsing and tokenising big bodies, writing big answers, loading
 * models. First in, first out. Jobs are embedded in what they work on, so that putting one in cannot fail.
 */
#ifndef RKF_SERVER_WORKERS_H
#define RKF_SERVER_WORKERS_H

#include "base/status.h"

struct errand {
    void (*run)(struct errand *e); /* the job may free itself */
    struct errand *next;
};
struct workers;
rkf_status workers_create(int threads, struct workers **out, rkf_error *err) MUST_CHECK;
void workers_put(struct workers *w, struct errand *e);
/* Runs what is waiting, then ends the threads. NULL is fine. */
void workers_destroy(struct workers *w);

#endif
