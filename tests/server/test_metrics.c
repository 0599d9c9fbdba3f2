/* SPDX-License-Identifier: Apache-2.0 */
/* Counters and histograms, and their text: TEI's names and buckets, cumulative, one HELP and TYPE per name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = { "/embed", "/rerank", "none" };

static void write_all(const struct metrics *m, struct buf *out)
{
    buf_init(out, 1 << 20);
    metrics_write(m, names, 3, out);
    assert_false(out->failed);
    buf_putc(out, '\0');
}

/* The value on the line that begins with `series` and a space. */
static double value_of(const struct buf *text, const char *series)
{
    size_t n = strlen(series);
    for (const char *line = text->p; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, series, n) && line[n] == ' ')
            return strtod(line + n + 1, NULL);
    }
    fail_msg("no line %s", series);
    return 0;
}

static void counters(void **state)
{
    struct metrics *m = metrics_create();
    struct buf text;
    (void)state;
    metrics_add(m, TE_REQUEST_COUNT_SINGLE, 2);
    metrics_add(m, TE_REQUEST_COUNT_BATCH, 3);
    metrics_add(m, TE_EMBED_COUNT, 100);
    metrics_gauge(m, TE_QUEUE_SIZE, 5);
    metrics_gauge(m, TE_QUEUE_SIZE, -2);
    metrics_fault(m, FAULT_OVERLOADED);
    metrics_fault(m, FAULT_EMPTY);
    metrics_fault(m, FAULT_VALIDATION);
    metrics_fault(m, FAULT_KEY); /* TEI does not count those */
    metrics_http(m, 0, 200);
    metrics_http(m, 0, 200);
    metrics_http(m, 2, 404);
    metrics_http(m, -1, 200);
    metrics_http(m, 64, 200);
    metrics_http(m, 0, 99);
    metrics_http(m, 0, 1000);
    assert_int_equal(metrics_gauge_value(m, TE_QUEUE_SIZE), 3);
    write_all(m, &text);
    assert_true(value_of(&text, "te_request_count{method=\"single\"}") == 2);
    assert_true(value_of(&text, "te_request_count{method=\"batch\"}") == 3);
    assert_true(value_of(&text, "te_embed_count") == 100);
    assert_true(value_of(&text, "te_queue_size") == 3);
    assert_true(value_of(&text, "te_request_failure{err=\"overloaded\"}") == 1);
    assert_true(value_of(&text, "te_request_failure{err=\"validation\"}") == 2);
    assert_true(value_of(&text, "rkformer_http_requests_total{route=\"/embed\",code=\"200\"}") == 2);
    assert_true(value_of(&text, "rkformer_http_requests_total{route=\"none\",code=\"404\"}") == 1);
    buf_free(&text);
    metrics_destroy(m);
}

/* TEI: 35 buckets, the nth ends at 1e-5 * 1.5^(n+1) seconds. */
static void duration_buckets(void **state)
{
    struct metrics *m = metrics_create();
    struct buf text;
    uint64_t sum;
    char series[96];
    (void)state;
    metrics_observe(m, TE_REQUEST_DURATION, 10);         /* 1e-5 s: the first */
    metrics_observe(m, TE_REQUEST_DURATION, 1000);       /* 1e-3 s */
    metrics_observe(m, TE_REQUEST_DURATION, 1000000000); /* 1000 s: only in +Inf */
    metrics_observe(m, TE_REQUEST_DURATION, -5);
    assert_int_equal(metrics_total(m, TE_REQUEST_DURATION, &sum), 4);
    assert_int_equal(sum, 1000001010);
    write_all(m, &text);
    double bound = 1e-5;
    for (int n = 1; n <= 35; n++) {
        bound *= 1.5;
        snprintf(series, sizeof series, "te_request_duration_bucket{le=\"%.6g\"}", bound);
        assert_true(value_of(&text, series) == (bound < 1e-3 ? 2 : 3));
    }
    assert_true(value_of(&text, "te_request_duration_bucket{le=\"+Inf\"}") == 4);
    assert_true(value_of(&text, "te_request_duration_count") == 4);
    assert_true(fabs(value_of(&text, "te_request_duration_sum") - 1000.00101) < 1e-5);
    buf_free(&text);
    metrics_destroy(m);
}

static void size_buckets(void **state)
{
    struct metrics *m = metrics_create();
    struct buf text;
    (void)state;
    for (int i = 1; i <= 8; i++)
        metrics_observe(m, TE_INPUT_LENGTH, i);
    write_all(m, &text);
    assert_true(value_of(&text, "te_request_input_length_bucket{le=\"1\"}") == 1);
    assert_true(value_of(&text, "te_request_input_length_bucket{le=\"4\"}") == 4);
    assert_true(value_of(&text, "te_request_input_length_bucket{le=\"8\"}") == 8);
    assert_true(value_of(&text, "te_request_input_length_sum") == 36);
    buf_free(&text);
    metrics_destroy(m);
}

static void quantiles(void **state)
{
    struct metrics *m = metrics_create();
    (void)state;
    assert_true(metrics_quantile(m, TE_REQUEST_DURATION, 0.5) == 0);
    for (int i = 0; i < 98; i++)
        metrics_observe(m, TE_REQUEST_DURATION, 1000);
    metrics_observe(m, TE_REQUEST_DURATION, 1000000);
    metrics_observe(m, TE_REQUEST_DURATION, 1000000);
    double p50 = metrics_quantile(m, TE_REQUEST_DURATION, 0.5), p99 = metrics_quantile(m, TE_REQUEST_DURATION, 0.99);
    assert_true(p50 >= 1e-3 && p50 <= 1.5e-3); /* a bucket's upper end */
    assert_true(p99 >= 1 && p99 <= 1.5);
    metrics_destroy(m);
}

/* Prometheus refuses a page on which a name has two TYPE lines, or samples apart from them. */
static void text_is_well_formed(void **state)
{
    struct metrics *m = metrics_create();
    struct buf text;
    char type[128] = "", seen[8192] = " ", *save = NULL;
    (void)state;
    metrics_http(m, 1, 200);
    write_all(m, &text);
    for (char *line = strtok_r(text.p, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char name[100];
        if (!strncmp(line, "# HELP ", 7))
            continue;
        if (sscanf(line, "# TYPE %99s", name) == 1) {
            snprintf(type, sizeof type, " %s ", name);
            assert_null(strstr(seen, type));
            assert_true(strlen(seen) + strlen(type) < sizeof seen);
            strcat(seen, type);
            type[strlen(type) - 1] = 0;
        } else {
            assert_int_equal(strncmp(line, type + 1, strlen(type + 1)), 0);
            assert_non_null(strrchr(line, ' '));
        }
    }
    buf_free(&text);
    metrics_destroy(m);
}

static void *count(void *arg)
{
    for (int i = 0; i < 10000; i++) {
        metrics_add(arg, TE_EMBED_COUNT, 1);
        metrics_observe(arg, TE_BATCH_SIZE, i & 7);
    }
    return NULL;
}

static void threads(void **state)
{
    struct metrics *m = metrics_create();
    struct buf text;
    pthread_t t[4];
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, count, m), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    write_all(m, &text);
    assert_true(value_of(&text, "te_embed_count") == 40000);
    assert_true(value_of(&text, "te_batch_next_size_count") == 40000);
    assert_true(value_of(&text, "te_batch_next_size_sum") == 140000);
    buf_free(&text);
    metrics_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters),  cmocka_unit_test(duration_buckets),    cmocka_unit_test(size_buckets),
        cmocka_unit_test(quantiles), cmocka_unit_test(text_is_well_formed), cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
