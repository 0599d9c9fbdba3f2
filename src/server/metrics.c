/* SPDX-License-Identifier: Apache-2.0 */
#include "server/metrics.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { MAX_BUCKETS = 36, ROUTES = 64, CODES = 7 };

/* Names in the order of the enums; equal names stand together and share one HELP and TYPE line. */
static const struct name {
    const char *name, *labels, *help;
} counter_names[COUNTER_COUNT] = {
    [TE_REQUEST_COUNT_SINGLE] = { "te_request_count", "method=\"single\"", "requests by kind of input" },
    [TE_REQUEST_COUNT_BATCH] = { "te_request_count", "method=\"batch\"", NULL },
    [TE_REQUEST_SUCCESS_SINGLE] = { "te_request_success", "method=\"single\"", "requests answered" },
    [TE_REQUEST_SUCCESS_BATCH] = { "te_request_success", "method=\"batch\"", NULL },
    [TE_FAILURE_BATCH_SIZE] = { "te_request_failure", "err=\"batch_size\"", "requests refused or failed" },
    [TE_FAILURE_DROPPED] = { "te_request_failure", "err=\"dropped\"", NULL },
    [TE_FAILURE_INFERENCE] = { "te_request_failure", "err=\"inference\"", NULL },
    [TE_FAILURE_MISSING_VALUES] = { "te_request_failure", "err=\"missing_values\"", NULL },
    [TE_FAILURE_MODEL_TYPE] = { "te_request_failure", "err=\"model_type\"", NULL },
    [TE_FAILURE_OVERLOADED] = { "te_request_failure", "err=\"overloaded\"", NULL },
    [TE_FAILURE_TOKENIZATION] = { "te_request_failure", "err=\"tokenization\"", NULL },
    [TE_FAILURE_VALIDATION] = { "te_request_failure", "err=\"validation\"", NULL },
    [TE_EMBED_COUNT] = { "te_embed_count", NULL, "inputs to embed" },
    [TE_EMBED_SUCCESS] = { "te_embed_success", NULL, "inputs embedded" },
    [TE_PREDICT_COUNT] = { "te_predict_count", NULL, "inputs to classify or score" },
    [TE_PREDICT_SUCCESS] = { "te_predict_success", NULL, "inputs classified or scored" },
    [CACHE_HITS] = { "rkformer_cache_hits_total", NULL, "inputs answered from the result cache" },
    [CACHE_MISSES] = { "rkformer_cache_misses_total", NULL, "inputs looked up in the result cache in vain" },
    [DEDUPLICATED] = { "rkformer_deduplicated_inputs_total", NULL, "inputs equal to another of their request" },
    [CONNECTIONS_OPENED] = { "rkformer_connections_total", NULL, "connections accepted" },
    [CONNECTIONS_EXPIRED] = { "rkformer_connections_expired_total", NULL, "connections cut for being too slow" },
    [CLIENTS_GONE] = { "rkformer_clients_gone_total", NULL, "requests dropped because their client went away" },
};
static const struct name gauge_names[GAUGE_COUNT] = {
    [TE_QUEUE_SIZE] = { "te_queue_size", NULL, "inputs waiting for a batch" },
    [GAUGE_INPUTS] = { "rkformer_inputs_in_flight", NULL, "inputs accepted and not yet answered" },
    [GAUGE_CONNECTIONS] = { "rkformer_connections", NULL, "open connections" },
    [GAUGE_REQUESTS] = { "rkformer_requests_in_flight", NULL, "requests being worked on" },
    [GAUGE_BODY_BYTES] = { "rkformer_body_bytes", NULL, "memory held by request bodies" },
    [GAUGE_CACHE_BYTES] = { "rkformer_cache_bytes", NULL, "memory held by the result cache" },
};

/* TEI's buckets: 35 durations of 1e-5 * 1.5^n seconds, powers of two for sizes. */
enum scale { SCALE_DURATION, SCALE_POWERS };
static const struct {
    const char *name;
    enum scale scale;
    int buckets;
    const char *help;
} histogram_names[HISTOGRAM_COUNT] = {
    [TE_REQUEST_DURATION] = { "te_request_duration", SCALE_DURATION, 35, "seconds from arrival to answer" },
    [TE_REQUEST_TOKENIZATION] = { "te_request_tokenization_duration", SCALE_DURATION, 35, "seconds tokenising" },
    [TE_REQUEST_QUEUE] = { "te_request_queue_duration", SCALE_DURATION, 35, "seconds waiting for a lane" },
    [TE_REQUEST_INFERENCE] = { "te_request_inference_duration", SCALE_DURATION, 35, "seconds computing" },
    [TE_EMBED_DURATION] = { "te_embed_duration", SCALE_DURATION, 35, "as te_request_duration, embeddings" },
    [TE_EMBED_TOKENIZATION] = { "te_embed_tokenization_duration", SCALE_DURATION, 35, "embeddings" },
    [TE_EMBED_QUEUE] = { "te_embed_queue_duration", SCALE_DURATION, 35, "embeddings" },
    [TE_EMBED_INFERENCE] = { "te_embed_inference_duration", SCALE_DURATION, 35, "embeddings" },
    [TE_PREDICT_DURATION] = { "te_predict_duration", SCALE_DURATION, 35, "as te_request_duration, scores" },
    [TE_PREDICT_TOKENIZATION] = { "te_predict_tokenization_duration", SCALE_DURATION, 35, "scores" },
    [TE_PREDICT_QUEUE] = { "te_predict_queue_duration", SCALE_DURATION, 35, "scores" },
    [TE_PREDICT_INFERENCE] = { "te_predict_inference_duration", SCALE_DURATION, 35, "scores" },
    [TE_INPUT_LENGTH] = { "te_request_input_length", SCALE_POWERS, 20, "tokens per input" },
    [TE_BATCH_SIZE] = { "te_batch_next_size", SCALE_POWERS, 13, "inputs of a batch" },
    [TE_BATCH_TOKENS] = { "te_batch_next_tokens", SCALE_POWERS, 21, "tokens of a batch" },
};

struct counts {
    _Atomic uint64_t buckets[MAX_BUCKETS]; /* not cumulative; the last is +Inf */
    _Atomic uint64_t sum;
};
struct metrics {
    _Atomic int64_t counters[COUNTER_COUNT];
    _Atomic int64_t gauges[GAUGE_COUNT];
    struct counts histograms[HISTOGRAM_COUNT];
    _Atomic int64_t http[ROUTES][CODES * 100]; /* by status - 100 .. */
    double durations[MAX_BUCKETS];             /* upper bounds in seconds */
};

struct metrics *metrics_create(void)
{
    struct metrics *m = mem_zalloc(1, sizeof *m);
    double bound = 1e-5;
    for (int i = 0; m && i < MAX_BUCKETS; i++)
        m->durations[i] = bound *= 1.5;
    return m;
}

void metrics_destroy(struct metrics *m)
{
    mem_free(m);
}

void metrics_add(struct metrics *m, enum counter c, int64_t n)
{
    atomic_fetch_add_explicit(&m->counters[c], n, memory_order_relaxed);
}

int64_t metrics_count(const struct metrics *m, enum counter c)
{
    return atomic_load_explicit(&m->counters[c], memory_order_relaxed);
}

void metrics_gauge(struct metrics *m, enum gauge g, int64_t by)
{
    atomic_fetch_add_explicit(&m->gauges[g], by, memory_order_relaxed);
}

void metrics_gauge_set(struct metrics *m, enum gauge g, int64_t value)
{
    atomic_store_explicit(&m->gauges[g], value, memory_order_relaxed);
}

int64_t metrics_gauge_value(const struct metrics *m, enum gauge g)
{
    return atomic_load_explicit(&m->gauges[g], memory_order_relaxed);
}

static double bound_of(const struct metrics *m, enum histogram h, int bucket)
{
    return histogram_names[h].scale == SCALE_DURATION ? m->durations[bucket] : (double)(1u << bucket);
}

void metrics_observe_many(struct metrics *m, enum histogram h, int64_t value, int64_t times)
{
    double x = histogram_names[h].scale == SCALE_DURATION ? (double)value * 1e-6 : (double)value;
    int i = 0, n = histogram_names[h].buckets;
    while (i < n && x > bound_of(m, h, i))
        i++;
    atomic_fetch_add_explicit(&m->histograms[h].buckets[i], (uint64_t)times, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->histograms[h].sum, value > 0 ? (uint64_t)(value * times) : 0, memory_order_relaxed);
}

void metrics_observe(struct metrics *m, enum histogram h, int64_t value)
{
    metrics_observe_many(m, h, value, 1);
}

void metrics_set_powers(struct metrics *m, enum histogram h, const int64_t *counts, int n, int64_t sum)
{
    int above = histogram_names[h].buckets;
    uint64_t rest = 0;
    for (int i = 0; i < n; i++) {
        if (i < above)
            atomic_store_explicit(&m->histograms[h].buckets[i], (uint64_t)counts[i], memory_order_relaxed);
        else
            rest += (uint64_t)counts[i];
    }
    atomic_store_explicit(&m->histograms[h].buckets[above], rest, memory_order_relaxed);
    atomic_store_explicit(&m->histograms[h].sum, (uint64_t)sum, memory_order_relaxed);
}

void metrics_fault(struct metrics *m, enum api_fault fault)
{
    static const int counters[FAULT_COUNT] = {
        [FAULT_EMPTY] = TE_FAILURE_VALIDATION,       [FAULT_VALIDATION] = TE_FAILURE_VALIDATION,
        [FAULT_TOKENIZER] = TE_FAILURE_TOKENIZATION, [FAULT_MODEL_TYPE] = TE_FAILURE_MODEL_TYPE,
        [FAULT_BATCH_SIZE] = TE_FAILURE_BATCH_SIZE,  [FAULT_OVERLOADED] = TE_FAILURE_OVERLOADED,
        [FAULT_DEADLINE] = TE_FAILURE_DROPPED,       [FAULT_BACKEND] = TE_FAILURE_INFERENCE,
        [FAULT_GONE] = TE_FAILURE_DROPPED,           [FAULT_INTERNAL] = TE_FAILURE_INFERENCE,
    };
    if (counters[fault])
        metrics_add(m, (enum counter)counters[fault], 1);
}

void metrics_http(struct metrics *m, int route, int status)
{
    if (route >= 0 && route < ROUTES && status >= 100 && status < CODES * 100)
        atomic_fetch_add_explicit(&m->http[route][status], 1, memory_order_relaxed);
}

uint64_t metrics_total(const struct metrics *m, enum histogram h, uint64_t *sum)
{
    uint64_t total = 0;
    for (int i = 0; i <= histogram_names[h].buckets; i++)
        total += atomic_load_explicit(&m->histograms[h].buckets[i], memory_order_relaxed);
    *sum = atomic_load_explicit(&m->histograms[h].sum, memory_order_relaxed);
    return total;
}

double metrics_quantile(const struct metrics *m, enum histogram h, double q)
{
    uint64_t sum, total = metrics_total(m, h, &sum), seen = 0;
    int n = histogram_names[h].buckets;
    for (int i = 0; i < n && total; i++) {
        seen += atomic_load_explicit(&m->histograms[h].buckets[i], memory_order_relaxed);
        if ((double)seen >= q * (double)total)
            return bound_of(m, h, i);
    }
    return total ? bound_of(m, h, n - 1) : 0;
}

/* ---- writing */

static void put_head(struct buf *out, const char *name, const char *help, const char *type)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_values(struct buf *out, const struct name *names, const _Atomic int64_t *values, int n,
                       const char *type)
{
    for (int i = 0; i < n; i++) {
        if (names[i].help)
            put_head(out, names[i].name, names[i].help, type);
        buf_puts(out, names[i].name);
        if (names[i].labels)
            buf_printf(out, "{%s}", names[i].labels);
        buf_printf(out, " %lld\n", (long long)atomic_load_explicit(&values[i], memory_order_relaxed));
    }
}

static void put_histogram(const struct metrics *m, enum histogram h, struct buf *out)
{
    const char *name = histogram_names[h].name;
    const struct counts *c = &m->histograms[h];
    uint64_t total = 0;
    put_head(out, name, histogram_names[h].help, "histogram");
    for (int i = 0; i < histogram_names[h].buckets; i++) {
        total += atomic_load_explicit(&c->buckets[i], memory_order_relaxed);
        buf_printf(out, "%s_bucket{le=\"%.6g\"} %llu\n", name, bound_of(m, h, i), (unsigned long long)total);
    }
    total += atomic_load_explicit(&c->buckets[histogram_names[h].buckets], memory_order_relaxed);
    double sum = (double)atomic_load_explicit(&c->sum, memory_order_relaxed);
    if (histogram_names[h].scale == SCALE_DURATION)
        sum *= 1e-6;
    buf_printf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n", name, (unsigned long long)total, name,
               sum, name, (unsigned long long)total);
}

static void put_http(const struct metrics *m, const char *const *names, int n, struct buf *out)
{
    put_head(out, "rkformer_http_requests_total", "answers by route and status", "counter");
    for (int r = 0; r < n && r < ROUTES; r++)
        for (int s = 100; s < CODES * 100; s++) {
            int64_t v = atomic_load_explicit(&m->http[r][s], memory_order_relaxed);
            if (v)
                buf_printf(out, "rkformer_http_requests_total{route=\"%s\",code=\"%d\"} %lld\n", names[r], s,
                           (long long)v);
        }
}

void metrics_write(const struct metrics *m, const char *const *names, int n_names, struct buf *out)
{
    put_values(out, counter_names, m->counters, COUNTER_COUNT, "counter");
    put_values(out, gauge_names, m->gauges, GAUGE_COUNT, "gauge");
    for (int h = 0; h < HISTOGRAM_COUNT; h++)
        put_histogram(m, (enum histogram)h, out);
    put_http(m, names, n_names, out);
}
