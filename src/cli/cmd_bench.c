/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rkformer bench: how fast a model is on this machine. Latency of one text at a time, by length; throughput of many
 * texts of mixed lengths in flight, in natural order, in all and per core.
 */
#include "base/thread.h"
#include "cli/cli.h"
#include "cli/document.h"
#include "cli/input.h"
#include "npu/npu.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MOST_RUNS = 100000, WARM_UP = 3, CORE_SETS = 1 << NPU_MAX_CORES, OWN_TEXTS = 512, MOST_TEXTS = 1 << 20 };

struct bench {
    struct options *options;
    struct session session;
    struct arena mem;
    rkf_input *texts; /* [n_texts] */
    size_t n_texts;
    struct buf json;
};

/* ---- texts */

/* Words that every vocabulary knows; lengths like those of sentences and short paragraphs, the same in every run. */
static rkf_status make_texts(struct bench *b, rkf_error *err)
{
    static const char *const words[] = { "the",    "small", "river", "was",  "very",   "cold",  "and",
                                         "people", "came",  "from",  "a",    "town",   "near",  "its",
                                         "bridge", "to",    "look",  "at",   "how",    "light", "played",
                                         "on",     "water", "every", "year", "before", "winter" };
    uint32_t seed = 1;
    struct buf text;
    buf_init(&text, 1 << 20);
    for (size_t i = 0; i < OWN_TEXTS; i++) {
        seed = seed * 1664525 + 1013904223;                 /* Numerical Recipes' generator */
        uint32_t n = 4 + (seed >> 24) * (seed >> 24) / 540; /* 4 to 124 words, short ones more often */
        buf_clear(&text);
        for (uint32_t k = 0; k < n; k++) {
            seed = seed * 1664525 + 1013904223;
            buf_puts(&text, k ? " " : "");
            buf_puts(&text, words[(seed >> 16) % (sizeof words / sizeof *words)]);
        }
        char *p = text.failed ? NULL : arena_alloc(&b->mem, text.len + 1);
        if (!p) {
            buf_free(&text);
            return rkf_fail_memory(err, text.len, "texts");
        }
        memcpy(p, text.p, text.len + 1);
        b->texts[b->n_texts++] = (rkf_input){ .text = { p, text.len } };
    }
    buf_free(&text);
    return RKF_OK;
}

static rkf_status read_texts(struct bench *b, rkf_error *err)
{
    struct input in;
    bool end = false;
    rkf_status rc = input_open(b->options, &in, err);
    if (rc)
        return rc;
    while (!rc && !end) {
        struct input_item item;
        rc = input_next(&in, &b->mem, &item, &end, err);
        if (!rc && !end && b->n_texts == MOST_TEXTS)
            rc = rkf_fail(err, RKF_FORMAT, "more than %d texts: a bench needs less", MOST_TEXTS);
        if (!rc && !end)
            b->texts[b->n_texts++] = (rkf_input){ .text = item.text, .pair = item.pair };
    }
    if (!rc && !b->n_texts)
        rc = rkf_fail(err, RKF_INVALID, "%s holds no texts", in.name);
    input_close(&in);
    return rc;
}

static rkf_status get_texts(struct bench *b, rkf_error *err)
{
    bool own = !b->options->n_texts && !b->options->input;
    size_t most = own ? OWN_TEXTS : MOST_TEXTS;
    if (!(b->texts = mem_array(most, sizeof *b->texts)))
        return rkf_fail_memory(err, most * sizeof *b->texts, "texts");
    return own ? make_texts(b, err) : read_texts(b, err);
}

/* ---- latency */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double percentile_ms(const int64_t *sorted, size_t n, double share)
{
    size_t i = (size_t)(share * (double)n);
    return (double)sorted[i < n ? i : n - 1] / 1e6;
}

static void put_latency(struct buf *j, int64_t tokens, int64_t *ns, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)ns[i];
    qsort(ns, n, sizeof *ns, by_value);
    buf_printf(j, "{\"tokens\":%lld,\"runs\":%zu,\"mean_ms\":%.4g,\"p50_ms\":%.4g,\"p90_ms\":%.4g,\"p99_ms\":%.4g}",
               (long long)tokens, n, sum / (double)n / 1e6, percentile_ms(ns, n, 0.5), percentile_ms(ns, n, 0.9),
               percentile_ms(ns, n, 0.99));
}

static rkf_status run_once(struct bench *b, const rkf_input *in, rkf_info *info, rkf_error *err)
{
    rkf_result *result = NULL;
    rkf_request rq = b->options->request;
    rq.inputs = in;
    rq.n_inputs = 1;
    rkf_status rc = rkf_run(b->session.model, &rq, &result, err);
    if (!rc)
        rc = rkf_result_info(result, RKF_ALL, info);
    rkf_result_free(result);
    return rc;
}

/* A text of about `tokens` tokens: "a" is one token nearly everywhere; what it really was is in the answer. */
static rkf_status measure_latency(struct bench *b, int64_t tokens, int64_t *ns, rkf_error *err)
{
    size_t words = tokens > 2 ? (size_t)tokens - 2 : 0, n = 0;
    char *text = arena_alloc(&b->mem, 2 * words + 1);
    rkf_info info = { 0 };
    rkf_status rc = RKF_OK;
    if (!text)
        return rkf_fail_memory(err, 2 * words, "a text");
    for (size_t i = 0; i < words; i++)
        memcpy(text + 2 * i, "a ", 2);
    const rkf_input in = { .text = { text, words ? 2 * words - 1 : 0 } };
    for (int i = 0; !rc && i < WARM_UP; i++)
        rc = run_once(b, &in, &info, err);
    for (int64_t now = time_now_ns(), until = now + b->options->bench_us * 1000;
         !rc && n < MOST_RUNS && (!n || now < until); n++) {
        rc = run_once(b, &in, &info, err);
        int64_t then = now;
        now = time_now_ns();
        ns[n] = now - then;
    }
    if (!rc)
        put_latency(&b->json, info.tokens, ns, n);
    return rc;
}

static rkf_status measure_latencies(struct bench *b, rkf_error *err)
{
    static rkf_str usual[] = { { "8", 1 }, { "32", 2 }, { "128", 3 } };
    const struct str_list lengths = b->options->lengths.n ? b->options->lengths : (struct str_list){ usual, 3, false };
    int64_t *ns = mem_array(MOST_RUNS, sizeof *ns);
    rkf_status rc = ns ? RKF_OK : rkf_fail_memory(err, MOST_RUNS * sizeof *ns, "times");
    buf_puts(&b->json, ",\"latency\":[");
    for (size_t i = 0; !rc && i < lengths.n; i++) {
        char *end, text[16] = "";
        snprintf(text, sizeof text, "%.*s", (int)(lengths.p[i].len < 15 ? lengths.p[i].len : 15), lengths.p[i].ptr);
        long tokens = strtol(text, &end, 10);
        if (*end || tokens < 1 || tokens > 1000000)
            rc = rkf_fail(err, RKF_INVALID, "--lengths: '%s' is no number of tokens", text);
        buf_puts(&b->json, i ? "," : "");
        if (!rc)
            rc = measure_latency(b, tokens, ns, err);
    }
    buf_putc(&b->json, ']');
    mem_free(ns);
    return rc;
}

/* ---- throughput */

struct flow {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int32_t in_flight;
    int64_t texts, tokens;
    struct {
        int64_t texts, tokens;
    } sets[CORE_SETS]; /* by the cores that ran them */
    rkf_error err;     /* of the first failure */
};

static void on_done(void *cookie, rkf_ticket ticket, rkf_status status, rkf_result *result, const rkf_error *err)
{
    struct flow *f = cookie;
    rkf_info info = { 0 };
    (void)ticket;
    if (!status)
        status = rkf_result_info(result, RKF_ALL, &info);
    rkf_result_free(result);
    pthread_mutex_lock(&f->lock);
    if (status && !f->err.status)
        f->err = err ? *err : (rkf_error){ status, "a request failed" };
    f->texts++;
    f->tokens += info.tokens;
    f->sets[info.cores % CORE_SETS].texts++;
    f->sets[info.cores % CORE_SETS].tokens += info.tokens;
    f->in_flight--;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

/* Room for one more in flight, or none at all left; false after a failure. */
static bool flow_wait(struct flow *f, int32_t below)
{
    pthread_mutex_lock(&f->lock);
    while (f->in_flight >= below)
        pthread_cond_wait(&f->changed, &f->lock);
    bool well = !f->err.status;
    pthread_mutex_unlock(&f->lock);
    return well;
}

static void flow_fail(struct flow *f, const rkf_error *err)
{
    pthread_mutex_lock(&f->lock);
    f->in_flight--;
    if (!f->err.status)
        f->err = *err;
    pthread_mutex_unlock(&f->lock);
}

static void flow_run(struct bench *b, struct flow *f)
{
    int64_t until = time_now_ns() + b->options->bench_us * 1000;
    rkf_request rq = b->options->request;
    rq.n_inputs = 1;
    for (size_t i = 0; flow_wait(f, b->options->in_flight) && (!i || time_now_ns() < until); i++) {
        rkf_error e;
        rq.inputs = &b->texts[i % b->n_texts];
        pthread_mutex_lock(&f->lock);
        f->in_flight++;
        pthread_mutex_unlock(&f->lock);
        if (rkf_submit(b->session.model, &rq, on_done, f, NULL, &e))
            flow_fail(f, &e);
    }
    flow_wait(f, 1);
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void put_flow(struct buf *j, const struct flow *f, double seconds, double cpu, int32_t in_flight)
{
    bool first = true;
    buf_printf(j,
               ",\"throughput\":{\"texts_per_second\":%.4g,\"tokens_per_second\":%.5g,\"texts\":%lld,\"tokens\":%lld,"
               "\"seconds\":%.4g,\"in_flight\":%d,\"busy_cpus\":%.3g,\"tokens_per_cpu_second\":%.5g},\"cores\":[",
               (double)f->texts / seconds, (double)f->tokens / seconds, (long long)f->texts, (long long)f->tokens,
               seconds, in_flight, cpu / seconds, (double)f->tokens / (cpu > 0 ? cpu : 1));
    for (uint32_t set = 0; set < CORE_SETS; set++) {
        if (!f->sets[set].texts)
            continue;
        buf_printf(j, "%s{\"cores\":\"%s\",\"texts_per_second\":%.4g,\"tokens_per_second\":%.5g,\"share\":%.3g}",
                   first ? "" : ",", set ? core_set_name((uint8_t)set) : "cpu", (double)f->sets[set].texts / seconds,
                   (double)f->sets[set].tokens / seconds,
                   (double)f->sets[set].tokens / (double)(f->tokens + !f->tokens));
        first = false;
    }
    buf_putc(j, ']');
}

static rkf_status measure_throughput(struct bench *b, rkf_error *err)
{
    struct flow f = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    int64_t begin = time_now_ns();
    double cpu = cpu_seconds();
    flow_run(b, &f);
    if (f.err.status)
        return rkf_fail(err, f.err.status, "%s", f.err.message);
    put_flow(&b->json, &f, (double)(time_now_ns() - begin) / 1e9, cpu_seconds() - cpu, b->options->in_flight);
    return RKF_OK;
}

/* ---- the run */

/* What the model is for is what is measured: embeddings, or the raw output of its head. */
static rkf_status choose_task(struct bench *b, const char *json, rkf_error *err)
{
    yyjson_doc *doc = NULL;
    const char *task = "embed";
    rkf_status rc = json_parse(json, strlen(json), "the model's description", &doc, err);
    if (!rc)
        rc = json_get_str(yyjson_doc_get_root(doc), "task", &task, "the model's description", err);
    b->options->request.task = strcmp(task, "embed") ? RKF_TASK_LOGITS : RKF_TASK_EMBED;
    yyjson_doc_free(doc);
    return rc;
}

static rkf_status put_model(struct bench *b, double load_ms, rkf_error *err)
{
    char *json = NULL;
    rkf_status rc = rkf_model_describe(b->session.model, &json, err);
    if (!rc)
        rc = choose_task(b, json, err);
    if (!rc)
        buf_printf(&b->json, "\"model\":%s,\"load_ms\":%.4g", json, load_ms);
    rkf_free(json);
    return rc;
}

static rkf_status measure(struct bench *b, rkf_error *err)
{
    struct rusage u;
    int64_t begin = time_now_ns();
    rkf_status rc = session_open(b->options, &b->session, err);
    buf_putc(&b->json, '{');
    if (!rc)
        rc = put_model(b, (double)(time_now_ns() - begin) / 1e6, err);
    if (!rc)
        rc = measure_latencies(b, err);
    if (!rc)
        rc = measure_throughput(b, err);
    if (!rc && !getrusage(RUSAGE_SELF, &u))
        buf_printf(&b->json, ",\"peak_memory_mib\":%ld}", u.ru_maxrss >> 10);
    return rc;
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct bench b = { .options = o };
    buf_init(&b.json, 1 << 24);
    rkf_status rc = get_texts(&b, err);
    if (!rc)
        rc = measure(&b, err);
    if (!rc && b.json.failed)
        rc = rkf_fail_memory(err, b.json.cap, "a document");
    if (!rc)
        rc = document_print(b.json.p, o->json, err);
    session_close(&b.session);
    mem_free(b.texts);
    arena_free(&b.mem);
    buf_free(&b.json);
    return rc;
}

const struct command command_bench = {
    .name = "bench",
    .usage = "-m MODEL [options] [TEXT...]",
    .summary = "measure latency and throughput of a model on this machine",
    .details =
        "Latency is that of one text at a time, tokenisation included. Throughput is that of texts of 4 to 124 words "
        "(or of yours: TEXT..., --input), --in-flight of them at once, in all and by the cores that ran them. "
        "--json writes one JSON document.",
    .examples = "rkformer bench -m all-MiniLM-L6-v2\n"
                "rkformer bench -m all-MiniLM-L6-v2 --core-mask 0 --lengths 16,256 --seconds 10 --json",
    .takes = TAKES_MODEL | TAKES_RUNTIME | TAKES_TOKENS | TAKES_JSON | FOR_BENCH,
    .run = run,
};
