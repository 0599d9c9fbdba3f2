/* SPDX-License-Identifier: Apache-2.0 */
/* The engine under use: many threads, virtual cores, asynchronous calls, cancelling, deadlines, closing, out of memory.
 */
#include "engine_util.h"

#include "base/thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static const char *const texts[] = {
    "There is rain and snow today.",
    "She likes loan more than stock.",
    "cat",
    "",
    "The bank gave a loan. The dog and the cat like rain, wind and snow, and the bank likes stock.",
    "wind and rain",
    "a",
    "Li Wei lives in Paris.",
};
enum { N = sizeof texts / sizeof *texts, DIM = 64 };

static rkf_input input_of(size_t i)
{
    return (rkf_input){ .text = { texts[i % N], strlen(texts[i % N]) } };
}

/* One embedding per text, made alone, as the measure for all that follows. */
static float reference[N][DIM];

static void embed_one(rkf_model *m, size_t i, float *out)
{
    rkf_error err;
    rkf_input in = input_of(i);
    rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
    rkf_result *r = NULL;
    rkf_tensor t;
    assert_ok(rkf_run(m, &rq, &r, &err));
    assert_int_equal(rkf_result_tensor(r, RKF_ALL, &t), RKF_OK);
    assert_int_equal(t.shape[1], DIM);
    memcpy(out, t.data, DIM * sizeof *out);
    rkf_result_free(r);
}

static bool same(const float *a, const float *b)
{
    for (int k = 0; k < DIM; k++)
        if (!(fabsf(a[k] - b[k]) < 2e-6f))
            return false;
    return true;
}

static int setup(void **state)
{
    (void)state;
    rkf_runtime *rt = open_runtime("cpu", 1);
    rkf_model *m = open_model(rt, MODELS "bert-embed", NULL);
    for (size_t i = 0; i < N; i++)
        embed_one(m, i, reference[i]);
    rkf_model_close(m);
    rkf_runtime_close(rt);
    return 0;
}

/* ---- masks */

static void every_mask_gives_the_same_answers_on_its_cores(void **state)
{
    (void)state;
    static const struct {
        const char *platform, *mask;
        uint32_t cores; /* that may be reported */
    } cases[] = {
        { "rk3588", "auto", 7 }, { "rk3588", "0", 1 },   { "rk3588", "1", 2 },     { "rk3588", "2", 4 },
        { "rk3588", "0_1", 3 },  { "rk3588", "all", 7 }, { "rk3588", "0_1_2", 7 }, { "rk3576", "1", 2 },
        { "rk3576", "all", 3 },  { "rk3566", "0", 1 },   { "rk3562", "all", 1 },   { "rk3568", "auto", 1 },
        { "cpu", "auto", 7 },    { "cpu", "2", 4 },      { "cpu", "0_1_2", 7 },
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        rkf_error err;
        rkf_runtime *rt = open_runtime(cases[c].platform, 2);
        rkf_model *m = open_model(rt, MODELS "bert-embed", cases[c].mask);
        rkf_input in[N];
        for (size_t i = 0; i < N; i++)
            in[i] = input_of(i);
        rkf_request rq = request_of(RKF_TASK_EMBED, in, N);
        rkf_result *r = NULL;
        rkf_info info;
        assert_ok(rkf_run(m, &rq, &r, &err));
        assert_int_equal(rkf_result_info(r, RKF_ALL, &info), RKF_OK);
        assert_true(info.cores != 0 && (info.cores & ~cases[c].cores) == 0);
        if (strcmp(cases[c].mask, "auto") != 0)
            assert_int_equal(info.cores, cases[c].cores);
        assert_string_equal(info.device, "cpu");
        for (size_t i = 0; i < N; i++) {
            rkf_tensor t;
            assert_int_equal(rkf_result_tensor(r, i, &t), RKF_OK);
            assert_true(same(t.data, reference[i]));
        }
        rkf_result_free(r);
        rkf_model_close(m);
        rkf_runtime_close(rt);
    }
}

static void masks_that_do_not_exist_are_errors(void **state)
{
    (void)state;
    static const struct {
        const char *platform, *mask;
        rkf_status status;
        const char *message;
    } cases[] = {
        { "rk3576", "2", RKF_UNAVAILABLE,
          "core mask '2' is not available on rk3576: it has 2 NPU cores; use auto, 0, 1, 0_1 or all" },
        { "rk3576", "0_1_2", RKF_UNAVAILABLE, "core mask '0_1_2' is not available on rk3576" },
        { "rk3566", "1", RKF_UNAVAILABLE,
          "core mask '1' is not available on rk3566: it has 1 NPU core; use auto, 0 or all" },
        { "rk3588", "x", RKF_INVALID, "unknown core mask 'x': use auto, " },
        { "cpu", "3", RKF_INVALID, "unknown core mask '3': use auto, " },
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        rkf_error err;
        rkf_runtime *rt = open_runtime(cases[c].platform, 1);
        rkf_model_options o = RKF_MODEL_OPTIONS_INIT;
        rkf_model *m = NULL;
        o.path = "/nowhere"; /* the mask is checked before anything is looked for */
        o.core_mask = cases[c].mask;
        assert_fails(rkf_model_open(rt, &o, &m, &err), cases[c].status, cases[c].message);
        assert_null(m);
        rkf_runtime_close(rt);
    }
}

static void exclusive_models_keep_others_off(void **state)
{
    (void)state;
    rkf_error err;
    rkf_runtime *rt = open_runtime("rk3588", 3);
    rkf_model_options o = RKF_MODEL_OPTIONS_INIT;
    rkf_model *one = NULL, *two = NULL, *any;
    o.path = MODELS "bert-embed";
    o.name = "holder";
    o.core_mask = "1";
    o.exclusive = true;
    assert_ok(rkf_model_open(rt, &o, &one, &err));
    o.exclusive = false;
    o.name = "second";
    o.core_mask = "0_1";
    assert_fails(rkf_model_open(rt, &o, &two, &err), RKF_CONFLICT, "holder");
    any = open_model(rt, MODELS "bert-embed", "auto");
    for (int round = 0; round < 20; round++) {
        rkf_input in = input_of((size_t)round);
        rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
        rkf_result *r = NULL;
        rkf_info info;
        assert_ok(rkf_run(any, &rq, &r, &err));
        rkf_result_info(r, RKF_ALL, &info);
        assert_int_equal(info.cores & 2, 0);
        rkf_result_free(r);
    }
    rkf_model_close(one);
    assert_ok(rkf_model_open(rt, &o, &two, &err));
    rkf_model_close(two);
    rkf_model_close(any);
    rkf_runtime_close(rt);
}

/* ---- many threads */

struct caller {
    rkf_model *model;
    unsigned seed;
    int wrong;
};

static void *call_many(void *arg)
{
    struct caller *c = arg;
    for (int i = 0; i < 60; i++) {
        rkf_error err;
        rkf_input in[3];
        size_t of[3], n = 1 + (c->seed + (unsigned)i) % 3;
        for (size_t k = 0; k < n; k++) {
            of[k] = (c->seed * 7 + (unsigned)i * 3 + k) % N;
            in[k] = input_of(of[k]);
        }
        rkf_request rq = request_of(RKF_TASK_EMBED, in, n);
        rkf_result *r = NULL;
        if (rkf_run(c->model, &rq, &r, &err)) {
            if (!c->wrong++)
                print_error("%s\n", err.message);
            continue;
        }
        for (size_t k = 0; k < n; k++) {
            rkf_tensor t;
            if (rkf_result_tensor(r, k, &t) || !same(t.data, reference[of[k]]))
                c->wrong++;
        }
        rkf_result_free(r);
    }
    return NULL;
}

static void many_threads_and_models_get_their_own_answers(void **state)
{
    (void)state;
    enum { THREADS = 12 };
    static const char *const masks[] = { "auto", "0", "0_1", "all" };
    rkf_runtime *rt = open_runtime("rk3588", 3);
    rkf_model *m[4];
    pthread_t t[THREADS];
    struct caller c[THREADS];
    for (int i = 0; i < 4; i++)
        m[i] = open_model(rt, MODELS "bert-embed", masks[i]);
    for (int i = 0; i < THREADS; i++) {
        c[i] = (struct caller){ m[i % 4], (unsigned)i, 0 };
        assert_int_equal(pthread_create(&t[i], NULL, call_many, &c[i]), 0);
    }
    for (int i = 0; i < 100; i++) { /* takes scratch from idle cores, from none that computes */
        rkf_runtime_trim(rt);
        usleep(500);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(c[i].wrong, 0);
    }
    for (int i = 0; i < 4; i++)
        rkf_model_close(m[i]);
    rkf_runtime_close(rt);
}

/* ---- asynchronous */

struct tally {
    _Atomic int calls, ok, wrong, status[RKF_INTERNAL + 1];
};
struct asked {
    struct tally *tally;
    size_t text;
    _Atomic int calls;
};

static void on_done(void *cookie, rkf_ticket ticket, rkf_status status, rkf_result *result, const rkf_error *err)
{
    struct asked *a = cookie;
    rkf_tensor t;
    (void)ticket;
    if (atomic_fetch_add(&a->calls, 1) != 0 || (status == RKF_OK) != (result != NULL) ||
        (status == RKF_OK) != (err == NULL))
        atomic_fetch_add(&a->tally->wrong, 1);
    if (result && (rkf_result_tensor(result, 0, &t) || !same(t.data, reference[a->text])))
        atomic_fetch_add(&a->tally->wrong, 1);
    rkf_result_free(result);
    atomic_fetch_add(&a->tally->status[status], 1);
    atomic_fetch_add(&a->tally->calls, 1);
}

static void wait_calls(struct tally *t, int n)
{
    for (int i = 0; i < 20000 && atomic_load(&t->calls) < n; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&t->calls), n);
}

static void callbacks_run_exactly_once(void **state)
{
    (void)state;
    enum { MANY = 400 };
    rkf_runtime *rt = open_runtime("rk3576", 2);
    rkf_model *m = open_model(rt, MODELS "bert-embed", "auto");
    struct tally tally = { 0 };
    static struct asked asked[MANY];
    for (size_t i = 0; i < MANY; i++) {
        rkf_error err;
        rkf_ticket ticket;
        char copy[200]; /* the request's memory is the caller's again after submit */
        asked[i] = (struct asked){ .tally = &tally, .text = i % N };
        strcpy(copy, texts[i % N]);
        rkf_input in = { .text = { copy, strlen(copy) } };
        rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
        rq.priority = (int)(i % 3);
        assert_ok(rkf_submit(m, &rq, on_done, &asked[i], &ticket, &err));
        memset(copy, 'x', sizeof copy);
        if (i % 5 == 0)
            (void)rkf_cancel(m, ticket);
    }
    wait_calls(&tally, MANY);
    assert_int_equal(tally.wrong, 0);
    assert_int_equal(tally.status[RKF_OK] + tally.status[RKF_CANCELLED], MANY);
    assert_true(tally.status[RKF_OK] >= MANY - MANY / 5);
    rkf_model_close(m);
    rkf_runtime_close(rt);
}

static void deadlines_end_requests(void **state)
{
    (void)state;
    enum { MANY = 300 };
    rkf_runtime *rt = open_runtime("cpu", 1);
    rkf_model *m = open_model(rt, MODELS "bert-embed", NULL);
    struct tally tally = { 0 };
    static struct asked asked[MANY];
    for (size_t i = 0; i < MANY; i++) {
        rkf_error err;
        asked[i] = (struct asked){ .tally = &tally, .text = 4 };
        rkf_input in = input_of(4);
        rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
        rq.timeout_us = 1 + (int64_t)i * 20;
        assert_ok(rkf_submit(m, &rq, on_done, &asked[i], NULL, &err));
    }
    wait_calls(&tally, MANY);
    assert_int_equal(tally.wrong, 0);
    assert_int_equal(tally.status[RKF_OK] + tally.status[RKF_DEADLINE], MANY);
    rkf_model_close(m);
    rkf_runtime_close(rt);
}

static void closing_ends_what_waits(void **state)
{
    (void)state;
    enum { MANY = 300 };
    rkf_error err;
    rkf_runtime *rt = open_runtime("cpu", 1);
    rkf_model *m = open_model(rt, MODELS "bert-embed", NULL);
    struct tally tally = { 0 };
    static struct asked asked[MANY];
    for (size_t i = 0; i < MANY; i++) {
        asked[i] = (struct asked){ .tally = &tally, .text = i % N };
        rkf_input in = input_of(i);
        rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
        assert_ok(rkf_submit(m, &rq, on_done, &asked[i], NULL, &err));
    }
    rkf_runtime_close(rt); /* closes the model too */
    assert_int_equal(tally.calls, MANY);
    assert_int_equal(tally.wrong, 0);
    assert_int_equal(tally.status[RKF_OK] + tally.status[RKF_CLOSED], MANY);
}

static void a_full_queue_is_busy(void **state)
{
    (void)state;
    rkf_error err;
    rkf_runtime_options o = RKF_RUNTIME_OPTIONS_INIT;
    rkf_runtime *rt = NULL;
    o.threads = 1;
    o.platform = "cpu";
    o.queue_limit = 4;
    assert_ok(rkf_runtime_open(&o, &rt, &err));
    rkf_model *m = open_model(rt, MODELS "bert-embed", NULL);
    struct tally tally = { 0 };
    static struct asked asked[200];
    int submitted = 0, busy = 0;
    for (size_t i = 0; i < 200; i++) {
        asked[i] = (struct asked){ .tally = &tally, .text = i % N };
        rkf_input in = input_of(i);
        rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
        rkf_status rc = rkf_submit(m, &rq, on_done, &asked[i], NULL, &err);
        submitted += rc == RKF_OK;
        busy += rc == RKF_BUSY;
        assert_true(rc == RKF_OK || (rc == RKF_BUSY && strstr(err.message, "queue is full")));
    }
    wait_calls(&tally, submitted);
    assert_int_equal(submitted + busy, 200);
    rkf_runtime_close(rt);
}

/* ---- wrong use, and no memory */

static void wrong_requests_are_refused(void **state)
{
    (void)state;
    rkf_error err;
    rkf_runtime *rt = open_runtime("cpu", 1);
    rkf_model *m = open_model(rt, MODELS "bert-embed", NULL);
    rkf_input in = input_of(0), bad = { .text = { "a\xff"
                                                  "b",
                                                  3 } };
    rkf_result *r = NULL;
    rkf_request rq = request_of(RKF_TASK_NER, &in, 1);
    assert_fails(rkf_run(m, &rq, &r, &err), RKF_UNSUPPORTED, "cannot do ner");
    rq = request_of(RKF_TASK_EMBED, NULL, 0);
    assert_fails(rkf_run(m, &rq, &r, &err), RKF_INVALID, "at least one input");
    rq = request_of(RKF_TASK_EMBED, &bad, 1);
    rq.strict = true;
    assert_fails(rkf_run(m, &rq, &r, &err), RKF_INVALID, "input 0 is not valid UTF-8 at byte 1");
    rq = request_of(RKF_TASK_EMBED, &in, 1);
    rq.prompt_name = RKF_STR("nope");
    assert_fails(rkf_run(m, &rq, &r, &err), RKF_INVALID, "no prompt named 'nope'");
    rq = request_of(RKF_TASK_EMBED, &in, 1);
    rq.max_length = 3;
    rq.truncate = RKF_TRUNCATE_NONE;
    assert_fails(rkf_run(m, &rq, &r, &err), RKF_TOO_LONG, "input 0 has 9 tokens, the limit is 3");
    int32_t ids[] = { 2, 1 << 20 };
    rkf_input raw = { .ids = ids, .n_ids = 2 };
    rq = request_of(RKF_TASK_EMBED, &raw, 1);
    assert_fails(rkf_run(m, &rq, &r, &err), RKF_INVALID, "token id 1048576 is outside the vocabulary");
    assert_null(r);
    rkf_model_close(m);
    rkf_runtime_close(rt);
}

static rkf_status whole_life(rkf_error *err)
{
    rkf_runtime *rt = NULL;
    rkf_model *m = NULL;
    rkf_result *r = NULL;
    rkf_runtime_options o = RKF_RUNTIME_OPTIONS_INIT;
    rkf_model_options mo = RKF_MODEL_OPTIONS_INIT;
    o.threads = 1;
    o.platform = "cpu";
    mo.path = MODELS "bert-embed";
    rkf_input in = input_of(0);
    rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
    rkf_status rc = rkf_runtime_open(&o, &rt, err);
    if (!rc)
        rc = rkf_model_open(rt, &mo, &m, err);
    if (!rc)
        rc = rkf_run(m, &rq, &r, err);
    if (!rc) {
        rkf_tensor t;
        rkf_result_tensor(r, 0, &t);
        assert_true(same(t.data, reference[0]));
    }
    rkf_result_free(r);
    rkf_runtime_close(rt);
    return rc;
}

static void every_failed_allocation_is_an_error(void **state)
{
    (void)state;
    rkf_error err;
    int64_t before = mem_count();
    assert_ok(whole_life(&err));
    int64_t n = mem_count() - before;
    int64_t step = n > 400 ? n / 400 : 1; /* all of the first hundred, then a sample */
    for (int64_t i = 0; i < n; i += i < 100 ? 1 : step) {
        err.status = RKF_OK;
        mem_fail_after(i);
        rkf_status rc = whole_life(&err);
        mem_fail_after(-1);
        if (rc && (rc != RKF_NO_MEMORY || err.status != rc))
            fail_msg("allocation %lld: %s: %s", (long long)i, rkf_status_name(rc), err.message);
    }
    assert_ok(whole_life(&err));
}

static void stats_and_description_are_json(void **state)
{
    (void)state;
    rkf_error err;
    rkf_runtime *rt = open_runtime("rk3588", 2);
    rkf_model *m = open_model(rt, MODELS "bert-embed", "0_1");
    char *json = NULL;
    yyjson_doc *doc;
    float row[DIM];
    embed_one(m, 0, row);
    assert_ok(rkf_stats(rt, &json, &err));
    assert_ok(json_parse(json, strlen(json), "stats", &doc, &err));
    yyjson_val *model = yyjson_arr_get_first(yyjson_obj_get(yyjson_doc_get_root(doc), "models"));
    assert_int_equal(yyjson_get_int(yyjson_obj_get(model, "requests")), 1);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(model, "core_mask")), "0_1");
    yyjson_doc_free(doc);
    rkf_free(json);
    assert_ok(rkf_model_describe(m, &json, &err));
    assert_ok(json_parse(json, strlen(json), "description", &doc, &err));
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "model_type")), "bert");
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "platform")), "rk3588");
    assert_true(yyjson_get_bool(yyjson_obj_get(root, "virtual")));
    assert_int_equal(yyjson_get_int(yyjson_obj_get(root, "embedding_dimension")), DIM);
    yyjson_doc_free(doc);
    rkf_free(json);
    assert_ok(rkf_devices(NULL, &json, &err));
    assert_ok(json_parse(json, strlen(json), "devices", &doc, &err));
    yyjson_doc_free(doc);
    rkf_free(json);
    rkf_runtime_close(rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mask_gives_the_same_answers_on_its_cores),
        cmocka_unit_test(masks_that_do_not_exist_are_errors),
        cmocka_unit_test(exclusive_models_keep_others_off),
        cmocka_unit_test(many_threads_and_models_get_their_own_answers),
        cmocka_unit_test(callbacks_run_exactly_once),
        cmocka_unit_test(deadlines_end_requests),
        cmocka_unit_test(closing_ends_what_waits),
        cmocka_unit_test(a_full_queue_is_busy),
        cmocka_unit_test(wrong_requests_are_refused),
        cmocka_unit_test(stats_and_description_are_json),
        cmocka_unit_test(every_failed_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
