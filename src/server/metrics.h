/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and histograms, written in Prometheus' text format. TEI's names (te_*) with TEI's buckets, so that its
 * dashboards work, and our own (rkformer_*). One table names them all; adding is lock-free. What the library counts
 * (cores, devices, models) is read from its statistics when /metrics is asked for: see metrics_write_stats.
 */
#ifndef RKF_SERVER_METRICS_H
#define RKF_SERVER_METRICS_H

#include "server/api.h"

enum counter {
    TE_REQUEST_COUNT_SINGLE,
    TE_REQUEST_COUNT_BATCH,
    TE_REQUEST_SUCCESS_SINGLE,
    TE_REQUEST_SUCCESS_BATCH,
    TE_FAILURE_BATCH_SIZE,
    TE_FAILURE_DROPPED,
    TE_FAILURE_INFERENCE,
    TE_FAILURE_MISSING_VALUES,
    TE_FAILURE_MODEL_TYPE,
    TE_FAILURE_OVERLOADED,
    TE_FAILURE_TOKENIZATION,
    TE_FAILURE_VALIDATION,
    TE_EMBED_COUNT,
    TE_EMBED_SUCCESS,
    TE_PREDICT_COUNT,
    TE_PREDICT_SUCCESS,
    CACHE_HITS,
    CACHE_MISSES,
    DEDUPLICATED,
    CONNECTIONS_OPENED,
    CONNECTIONS_EXPIRED,
    CLIENTS_GONE,
    COUNTER_COUNT
};
enum gauge {
    TE_QUEUE_SIZE, /* set when it is asked for: what the library's queue holds */
    GAUGE_INPUTS,
    GAUGE_CONNECTIONS,
    GAUGE_REQUESTS,
    GAUGE_BODY_BYTES,
    GAUGE_CACHE_BYTES,
    GAUGE_COUNT
};
enum histogram {
    TE_REQUEST_DURATION,
    TE_REQUEST_TOKENIZATION,
    TE_REQUEST_QUEUE,
    TE_REQUEST_INFERENCE,
    TE_EMBED_DURATION,
    TE_EMBED_TOKENIZATION,
    TE_EMBED_QUEUE,
    TE_EMBED_INFERENCE,
    TE_PREDICT_DURATION,
    TE_PREDICT_TOKENIZATION,
    TE_PREDICT_QUEUE,
    TE_PREDICT_INFERENCE,
    TE_INPUT_LENGTH,
    TE_BATCH_SIZE,
    TE_BATCH_TOKENS,
    HISTOGRAM_COUNT
};

struct metrics;
struct metrics *metrics_create(void); /* NULL: out of memory */
void metrics_destroy(struct metrics *m);
void metrics_add(struct metrics *m, enum counter c, int64_t n);
int64_t metrics_count(const struct metrics *m, enum counter c);
void metrics_gauge(struct metrics *m, enum gauge g, int64_t by); /* relative */
void metrics_gauge_set(struct metrics *m, enum gauge g, int64_t value);
int64_t metrics_gauge_value(const struct metrics *m, enum gauge g);
/* Durations in microseconds, lengths and sizes as they are. */
void metrics_observe(struct metrics *m, enum histogram h, int64_t value);
void metrics_observe_many(struct metrics *m, enum histogram h, int64_t value, int64_t times);
/* The whole histogram, as others counted: counts[i] observations up to 2^i and above what counts[i - 1] took. */
void metrics_set_powers(struct metrics *m, enum histogram h, const int64_t *counts, int n, int64_t sum);
void metrics_fault(struct metrics *m, enum api_fault fault); /* te_request_failure of this fault, if it has one */
/* An answered request: rkformer_http_requests_total{route, code}. route: index below 64. */
void metrics_http(struct metrics *m, int route, int status);
/* How many observations, and their sum (microseconds for durations). */
uint64_t metrics_total(const struct metrics *m, enum histogram h, uint64_t *sum);
/* The value below which a share q (0..1) of the observations lies, from the buckets; 0: none. */
double metrics_quantile(const struct metrics *m, enum histogram h, double q);

/* Everything, in Prometheus' text format; names[route] are the paths given to metrics_http. */
void metrics_write(const struct metrics *m, const char *const *names, int n_names, struct buf *out);

#endif
