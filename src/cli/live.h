/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a machine and a server of ours are doing right now: counters read twice make rates. Reads /proc and /sys (below
 * the runtime's root) and a server's GET /v1/cores; prints nothing.
 */
#ifndef RKF_CLI_LIVE_H
#define RKF_CLI_LIVE_H

#include "base/json.h"
#include "cli/options.h"
#include "hub/http.h"

enum { LIVE_CORES = 32, LIVE_MODELS = 256 };

struct live_core { /* of the server, since the sample before */
    const char *device;
    int core, running;
    bool sick, leased_away;
    double busy_percent, tokens_per_s;
    int64_t faults; /* in all */
};

struct live_model {
    const char *name, *device, *mask;
    int64_t waiting, running, failed, fallbacks;
    double texts_per_s, tokens_per_s;
};

struct live {
    const struct options *o;
    struct http *http;    /* NULL: no server is asked */
    const char *endpoint; /* its address */
    yyjson_doc *machine;  /* rkf_devices */
    yyjson_doc *now;      /* /v1/cores; NULL: the server does not answer */
    yyjson_doc *before;   /* the one before that */
    rkf_error server_err; /* why it does not */
    double cpu_percent;   /* of all CPUs; -1 before there are two samples */
    uint64_t cpu_busy, cpu_all;
    int64_t memory_bytes, available_bytes; /* -1: unknown */
    uint32_t samples;
    /* strings point into `now` */
    struct live_core cores[LIVE_CORES];
    struct live_model models[LIVE_MODELS];
    uint32_t n_cores, n_models;
};

rkf_status live_open(const struct options *o, struct live *out, rkf_error *err) MUST_CHECK;
/* One more sample. A server that does not answer is no failure: `now` is NULL, and the next sample asks again. */
rkf_status live_sample(struct live *l, rkf_error *err) MUST_CHECK;
/* One JSON object, without a line end. */
void live_put_json(const struct live *l, struct buf *b);
/* Lines of at most `columns` for people. */
void live_put_screen(const struct live *l, int columns, struct buf *b);
void live_close(struct live *l);

#endif
