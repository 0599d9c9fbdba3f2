/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every injected fault under load, with native and with compiled bodies: four models (cores 0, 1, 2 and auto) with two
 * clients each. Every request ends in its right answer or, where its model's cores are concerned, in a clear error, in
 * bounded time; when the runtime has closed, memory and threads are what they were, after a hang once it returns.
 */
#include "engine_util.h"

#include "npu_util.h"

#include "base/thread.h"

#include <pthread.h>

enum {
    MODELS_N = 4,
    PER_MODEL = 2,
    CLIENTS = MODELS_N * PER_MODEL,
    REQUESTS = 8,
    TEXTS = 4,
    DIM = 64,
    SLACK = 32 << 10
};
static const char *const masks[MODELS_N] = { "0", "1", "2", "auto" };
static const char *const texts[TEXTS] = {
    "There is rain and snow today.",
    "She likes loan more than stock.",
    "cat",
    "The bank gave a loan. The dog and the cat like rain, wind and snow, and the bank likes stock.",
};
static float reference[TEXTS][DIM]; /* of the CPU device, which the golden tests hold against the reference */

static const struct fault_case {
    const char *config;
    uint32_t may_fail; /* bit per model */
    int64_t timeout_us;
    bool all_may_fail_of_memory;
} faults[] = {
    { "fault=timeout core=1 job=9", 0, 0, false },         /* resets the whole NPU: all are tried again */
    { "fault=fail core=0 job=5", 0, 0, false },            /* tried again */
    { "fault=timeout core=1 job=9 count=9", 2, 0, false }, /* core 1 is sick, its model fails */
    { "fault=dead core=2 job=12", 4, 0, false },           /* core 2 is sick, auto goes round it */
    { "fault=dead job=30", 15, 0, false },                 /* all cores are sick */
    { "fault=nomem job=2 count=3", 15, 0, true },          /* early: contexts and memories */
    { "fault=nomem job=40 count=20", 15, 0, true },        /* later */
    { "fault=hang core=0 job=7", 1 | 8, 4000000, false },  /* what hung ends at its deadline, auto's too */
    { "fault=timeout core=0 job=6 fault=dead core=1 job=9 fault=nomem job=30", 15, 0, true }, /* several at once */
};

struct client {
    rkf_model *model;
    const struct fault_case *fault;
    uint32_t which; /* model */
    int wrong, failed, late;
    char what[256];
};

static bool is_right(const float *got, size_t text)
{
    double dot = 0;
    for (int k = 0; k < DIM; k++)
        dot += (double)got[k] * (double)reference[text][k];
    return dot >= 0.9999;
}

static void note_error(struct client *c, rkf_status rc, const rkf_error *err)
{
    bool memory = c->fault->all_may_fail_of_memory && rc == RKF_NO_MEMORY;
    bool device = rc == RKF_DEVICE && c->fault->may_fail >> c->which & 1;
    bool deadline = rc == RKF_DEADLINE && c->fault->timeout_us && c->fault->may_fail >> c->which & 1;
    c->failed++;
    if ((!memory && !device && !deadline) || !err->message[0]) {
        c->wrong++;
        snprintf(c->what, sizeof c->what, "%s: %.200s", rkf_status_name(rc), err->message);
    }
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    for (size_t i = 0; i < REQUESTS; i++) {
        rkf_error err = { .message = "" };
        size_t text = (i + c->which) % TEXTS;
        rkf_input in = { .text = { texts[text], strlen(texts[text]) } };
        rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
        rkf_result *r = NULL;
        rkf_tensor t;
        rkf_info info;
        rq.timeout_us = c->fault->timeout_us;
        int64_t begin = time_now_ns();
        rkf_status rc = rkf_run(c->model, &rq, &r, &err);
        c->late += rq.timeout_us && time_now_ns() - begin > rq.timeout_us * 1000 + 5 * (int64_t)1000000000;
        if (rc) {
            note_error(c, rc, &err);
            continue;
        }
        uint32_t allowed = c->which < 3 ? 1u << c->which : 7;
        if (rkf_result_tensor(r, 0, &t) || t.shape[0] != DIM || !is_right(t.data, text) ||
            rkf_result_info(r, RKF_ALL, &info) || (info.cores & ~allowed)) {
            c->wrong++;
            snprintf(c->what, sizeof c->what, "a wrong answer");
        }
        rkf_result_free(r);
    }
    return NULL;
}

static void under(const struct fault_case *fault, const char *path, int threads_before)
{
    rkf_runtime *rt = open_sim("rk3588");
    rkf_model *m[MODELS_N];
    struct client c[CLIENTS];
    pthread_t t[CLIENTS];
    sim_config("reset=counters");
    for (int i = 0; i < MODELS_N; i++)
        m[i] = open_model(rt, path, masks[i]);
    sim_config(fault->config);
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = (struct client){ .model = m[i % MODELS_N], .fault = fault, .which = (uint32_t)i % MODELS_N };
        assert_int_equal(pthread_create(&t[i], NULL, client_main, &c[i]), 0);
    }
    int failed = 0;
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(t[i], NULL);
        failed += c[i].failed;
        if (c[i].wrong || c[i].late)
            fail_msg("%s: model %s: %d wrong, %d late: %s", fault->config, masks[c[i].which], c[i].wrong, c[i].late,
                     c[i].what);
    }
    print_message("%s, %s: %d of %d requests failed\n", fault->config,
                  strstr(path, "sim-models") ? "compiled" : "native", failed, CLIENTS * REQUESTS);
    sim_config("fault=none release=hang");
    rkf_runtime_close(rt);
    for (int i = 0; i < 500 && (sim_counters().memories || sim_counters().contexts || count_threads() > threads_before);
         i++)
        usleep(10000); /* what a hung call held goes when it has returned */
    nothing_is_left();
    assert_true(count_threads() <= threads_before);
}

static void faults_under_load(void **state)
{
    const char *path = *state;
    rkf_runtime *rt = open_sim("rk3588"); /* once, so that what stays for good is there */
    struct client warm = { .model = open_model(rt, path, "auto"), .fault = &faults[0], .which = 3 };
    client_main(&warm);
    assert_int_equal(warm.wrong + warm.failed, 0);
    rkf_runtime_close(rt);
    int threads = count_threads();
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        under(&faults[i], path, threads);
}

/* Round after round of the same load and fault: memory does not grow. */
static void memory_returns_to_the_baseline(void **state)
{
    const char *path = *state;
    static const struct fault_case both = { "fault=timeout core=1 job=9 count=9 fault=dead core=2 job=12", 15, 0,
                                            true };
    int64_t first = 0;
    int threads = count_threads();
    for (int round = 0; round < 4; round++) {
        under(&both, path, threads);
        int64_t now = memory_in_use();
        if (round == 1)
            first = now;
        if (round > 1 && now > first + SLACK)
            fail_msg("round %d: %lld bytes in use, %lld after the first", round, (long long)now, (long long)first);
    }
}

/* A number of a core of the NPU, as rkf_stats has it. */
static long long stat_of(rkf_runtime *rt, int core, const char *key)
{
    char *json, what[32];
    rkf_error err;
    assert_ok(rkf_stats(rt, &json, &err));
    snprintf(what, sizeof what, "{\"core\":%d,", core);
    const char *at = strstr(json, "\"device\":\"sim\"");
    at = at ? strstr(at, what) : NULL;
    snprintf(what, sizeof what, "\"%s\":", key);
    at = at ? strstr(at, what) : NULL;
    assert_non_null(at);
    long long n = atoll(at + strlen(what));
    rkf_free(json);
    return n;
}

/* Also those that a repetition mended, each at its core, and no others. */
static void every_fault_is_counted(void **state)
{
    static const struct fault_case none = { "", 15, 0, false };
    static const struct {
        const char *config;
        int fails, faults, timeouts, sick; /* fails: whether a request may */
    } steps[] = {
        { "fault=none", 0, 0, 0, 0 },
        { "fault=timeout core=1 job=2 after_ms=2", 0, 1, 1, 0 },
        { "fault=none fault=fail core=1 job=1", 0, 2, 1, 0 },
        { "fault=none fault=fail core=1 job=1 count=2", 1, 4, 1, 1 },
    };
    rkf_runtime *rt = open_sim("rk3588");
    struct client c = { .model = open_model(rt, *state, "1"), .fault = &none, .which = 1 };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        sim_config(steps[i].config);
        c.failed = c.wrong = 0;
        client_main(&c);
        assert_int_equal(c.wrong, 0);
        assert_int_equal(c.failed > 0, steps[i].fails);
        assert_int_equal(stat_of(rt, 1, "faults"), steps[i].faults);
        assert_int_equal(stat_of(rt, 1, "timeouts"), steps[i].timeouts);
        assert_int_equal(stat_of(rt, 1, "times_sick"), steps[i].sick);
    }
    assert_int_equal(stat_of(rt, 0, "faults") + stat_of(rt, 2, "faults"), 0);
    assert_true(stat_of(rt, 1, "busy_us") > 0 && stat_of(rt, 0, "busy_us") == 0);
    sim_config("fault=none");
    rkf_runtime_close(rt);
    nothing_is_left();
}

static int setup(void **state)
{
    (void)state;
    sim_load();
    rkf_error err;
    rkf_runtime *rt = open_runtime("cpu", 1);
    rkf_model *m = open_model(rt, MODELS "bert-embed", NULL);
    for (size_t i = 0; i < TEXTS; i++) {
        rkf_input in = { .text = { texts[i], strlen(texts[i]) } };
        rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
        rkf_result *r = NULL;
        rkf_tensor t;
        assert_ok(rkf_run(m, &rq, &r, &err));
        rkf_result_tensor(r, 0, &t);
        memcpy(reference[i], t.data, sizeof reference[i]);
        rkf_result_free(r);
    }
    rkf_model_close(m);
    rkf_runtime_close(rt);
    return 0;
}

int main(void)
{
    static char native[] = MODELS "bert-embed", compiled[] = SIM_MODEL_DIR "/bert-embed";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(faults_under_load, native),
        cmocka_unit_test_prestate(faults_under_load, compiled),
        cmocka_unit_test_prestate(every_fault_is_counted, native),
        cmocka_unit_test_prestate(every_fault_is_counted, compiled),
        cmocka_unit_test_prestate(memory_returns_to_the_baseline, native),
        cmocka_unit_test_prestate(memory_returns_to_the_baseline, compiled),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
