/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine over the simulated NPU: models side by side, single faults and what is said about them, other processes'
 * cores. test_golden_masks.c goes through platforms and masks, test_npu_faults.c through faults under load. Answers are
 * compared with those of the CPU device, which the golden tests hold against the reference.
 */
#include "engine_util.h"

#include "npu_util.h"

#include "base/thread.h"

#include <fcntl.h>
#include <pthread.h>

static const char *const texts[] = {
    "There is rain and snow today.",
    "She likes loan more than stock.",
    "cat",
    "The bank gave a loan. The dog and the cat like rain, wind and snow, and the bank likes stock.",
};
enum { N = sizeof texts / sizeof *texts, DIM = 64 };
static float reference[N][DIM];

static rkf_input input_of(size_t i)
{
    return (rkf_input){ .text = { texts[i % N], strlen(texts[i % N]) } };
}

static bool close_to(const float *a, size_t i) /* unit vectors: the dot product is the cosine */
{
    double dot = 0;
    for (int k = 0; k < DIM; k++)
        dot += (double)a[k] * reference[i % N][k];
    return dot >= 0.9999;
}

static rkf_status run_one(rkf_model *m, size_t i, int64_t timeout_us, uint32_t *cores, rkf_error *err)
{
    rkf_input in = input_of(i);
    rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
    rkf_result *r = NULL;
    rkf_tensor t;
    rkf_info info;
    rq.timeout_us = timeout_us;
    rkf_status rc = rkf_run(m, &rq, &r, err);
    if (rc)
        return rc;
    assert_int_equal(rkf_result_tensor(r, 0, &t), RKF_OK);
    assert_int_equal(t.shape[0], DIM);
    assert_true(close_to(t.data, i));
    assert_int_equal(rkf_result_info(r, RKF_ALL, &info), RKF_OK);
    if (cores)
        *cores = info.cores;
    rkf_result_free(r);
    return RKF_OK;
}

static int setup(void **state)
{
    (void)state;
    sim_load();
    rkf_error err;
    rkf_runtime *rt = open_runtime("cpu", 1);
    rkf_model *m = open_model(rt, MODELS "bert-embed", NULL);
    for (size_t i = 0; i < N; i++) {
        rkf_input in = input_of(i);
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

/* ---- several models side by side, as in the vendor's multi-model example: three different ones, so that an answer of
 * another model or of another client is noticed. bench/placement.py is the long version. */

enum { APART = 3, CLIENTS = 48, EACH = 4 };
static const char *const apart[APART] = { MODELS "bert-embed", MODELS "mpnet-embed", MODELS "xlmr-embed" };
static float *apart_answers[APART][N]; // [width] f32, of the CPU device
static size_t apart_width[APART];

static rkf_result *embed(rkf_model *m, size_t text)
{
    rkf_input in = input_of(text);
    rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
    rkf_result *r = NULL;
    return rkf_run(m, &rq, &r, NULL) ? NULL : r;
}

static void learn_answers(void)
{
    rkf_runtime *rt = open_runtime("cpu", 1);
    for (int k = 0; k < APART; k++) {
        rkf_model *m = open_model(rt, apart[k], NULL);
        for (size_t i = 0; i < N; i++) {
            rkf_tensor t;
            rkf_result *r = embed(m, i);
            assert_non_null(r);
            assert_int_equal(rkf_result_tensor(r, 0, &t), RKF_OK);
            apart_width[k] = (size_t)t.shape[0];
            apart_answers[k][i] = malloc(apart_width[k] * sizeof(float));
            memcpy(apart_answers[k][i], t.data, apart_width[k] * sizeof(float));
            rkf_result_free(r);
        }
    }
    rkf_runtime_close(rt);
}

struct caller {
    rkf_model *model;
    int which, wrong;
};

static bool own_answer(const struct caller *c, size_t text, const rkf_result *r)
{
    rkf_tensor t;
    rkf_info info;
    double dot = 0, a = 0, b = 0;
    if (rkf_result_tensor(r, 0, &t) || (size_t)t.shape[0] != apart_width[c->which] ||
        rkf_result_info(r, RKF_ALL, &info) || info.cores != 1u << c->which)
        return false;
    const float *got = t.data, *want = apart_answers[c->which][text];
    for (size_t k = 0; k < apart_width[c->which]; k++) {
        dot += (double)got[k] * (double)want[k];
        a += (double)got[k] * (double)got[k];
        b += (double)want[k] * (double)want[k];
    }
    return dot >= 0.9999 * sqrt(a * b);
}

static void *call_many(void *arg)
{
    struct caller *c = arg;
    for (size_t i = 0; i < EACH; i++) {
        rkf_result *r = embed(c->model, (i + (size_t)c->which) % N);
        c->wrong += !r || !own_answer(c, (i + (size_t)c->which) % N, r);
        rkf_result_free(r);
    }
    return NULL;
}

static void three_models_on_three_cores_under_load(void **state)
{
    (void)state;
    static const char *const masks[APART] = { "0", "1", "2" };
    rkf_model *m[APART];
    struct caller c[CLIENTS];
    pthread_t t[CLIENTS];
    learn_answers();
    rkf_runtime *rt = open_sim("rk3588");
    for (int i = 0; i < APART; i++)
        m[i] = open_model(rt, apart[i], masks[i]);
    sim_config("reset=counters");
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = (struct caller){ m[i % APART], i % APART, 0 };
        assert_int_equal(pthread_create(&t[i], NULL, call_many, &c[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(c[i].wrong, 0);
    }
    struct rknnsim_counters k = sim_counters();
    for (uint32_t set = 0; set < 8; set++)
        assert_true((k.jobs_by_mask[set] > 0) == (set == 1 || set == 2 || set == 4));
    rkf_runtime_close(rt);
    nothing_is_left();
    for (int i = 0; i < APART; i++)
        for (size_t n = 0; n < N; n++)
            free(apart_answers[i][n]);
}

/* ---- memory: one model on three cores holds its weights once (natively: device/test_rknn_linear.c) */

static void *call_some(void *arg)
{
    for (size_t i = 0; i < 8; i++)
        rkf_result_free(embed(arg, i));
    return NULL;
}

/* What the NPU holds when the model has run on every core of its mask. */
static struct rknnsim_counters held_on(const char *mask, const char *path, const char *file)
{
    rkf_error err;
    rkf_runtime *rt = open_sim("rk3588");
    rkf_model_options o = RKF_MODEL_OPTIONS_INIT;
    rkf_model *m = NULL;
    pthread_t t[9];
    o.path = path;
    o.file_name = file;
    o.core_mask = mask;
    sim_config("reset=counters");
    assert_ok(rkf_model_open(rt, &o, &m, &err));
    for (int tries = 0; tries < 50; tries++) { /* until every core of the mask has had work */
        for (int i = 0; i < 9; i++)
            assert_int_equal(pthread_create(&t[i], NULL, call_some, m), 0);
        for (int i = 0; i < 9; i++)
            pthread_join(t[i], NULL);
        struct rknnsim_counters c = sim_counters();
        if (c.jobs[0] && (!strcmp(mask, "0") || (c.jobs[1] && c.jobs[2])))
            break;
    }
    struct rknnsim_counters held = sim_counters();
    rkf_runtime_close(rt);
    nothing_is_left();
    return held;
}

static void three_cores_hold_the_weights_once(void **state)
{
    (void)state;
    struct rknnsim_counters one = held_on("0", SIM_MODEL_DIR "/bert-embed", "model_b1_s64.rknn"),
                            three = held_on("auto", SIM_MODEL_DIR "/bert-embed", "model_b1_s64.rknn");
    assert_true(three.jobs[1] && three.jobs[2] && three.contexts > one.contexts);
    assert_int_equal(three.weights, 1);
    assert_int_equal(three.weights_loaded, 1);
    assert_int_equal(three.weights_bytes, one.weights_bytes);
}

/* ---- faults */

static void a_timeout_is_retried(void **state)
{
    (void)state;
    rkf_error err;
    rkf_runtime *rt = open_sim("rk3588");
    rkf_model *m = open_model(rt, MODELS "bert-embed", "1");
    assert_ok(run_one(m, 0, 0, NULL, &err));
    sim_config("fault=timeout core=1 job=3");
    assert_ok(run_one(m, 1, 0, NULL, &err)); /* once: the device tries again */
    sim_config("fault=none");
    rkf_runtime_close(rt);
    nothing_is_left();
}

static void a_dead_core_is_named_and_auto_goes_round_it(void **state)
{
    (void)state;
    rkf_error err;
    rkf_runtime *rt = open_sim("rk3588");
    rkf_model *pinned = open_model(rt, MODELS "bert-embed", "2"), *any = open_model(rt, MODELS "bert-embed", "auto");
    assert_ok(run_one(pinned, 0, 0, NULL, &err));
    sim_config("fault=dead core=2");
    assert_fails(run_one(pinned, 1, 0, NULL, &err), RKF_DEVICE, "2");
    assert_fails(run_one(pinned, 1, 0, NULL, &err), RKF_DEVICE, "core 2 failed and is left alone");
    for (size_t i = 0; i < 8; i++) {
        uint32_t cores = 0;
        assert_ok(run_one(any, i, 0, &cores, &err));
        assert_int_equal(cores & 4, 0);
    }
    sim_config("fault=none");
    rkf_runtime_close(rt);
    nothing_is_left();
}

static void the_cpu_takes_over_where_that_is_allowed(void **state)
{
    (void)state;
    rkf_error err;
    rkf_runtime *rt = open_sim("rk3566");
    rkf_model_options o = RKF_MODEL_OPTIONS_INIT;
    rkf_model *m = NULL;
    o.path = MODELS "bert-embed";
    o.cpu_fallback = true;
    assert_ok(rkf_model_open(rt, &o, &m, &err));
    assert_ok(run_one(m, 0, 0, NULL, &err));
    sim_config("fault=dead core=0");
    for (size_t i = 0; i < 4; i++)
        assert_ok(run_one(m, i, 0, NULL, &err));
    char *json = NULL;
    assert_ok(rkf_stats(rt, &json, &err));
    assert_non_null(strstr(json, "\"fallbacks\":1"));
    rkf_free(json);
    sim_config("fault=none");
    rkf_runtime_close(rt);
    nothing_is_left();
}

static void a_hung_call_does_not_hold_its_request(void **state)
{
    (void)state;
    rkf_error err;
    rkf_runtime *rt = open_sim("rk3588");
    rkf_model *m = open_model(rt, MODELS "bert-embed", "0"), *other = open_model(rt, MODELS "bert-embed", "1");
    assert_ok(run_one(m, 0, 0, NULL, &err));
    sim_config("fault=hang core=0");
    int64_t begin = time_now_ns();
    assert_fails(run_one(m, 1, 300000, NULL, &err), RKF_DEADLINE, "");
    assert_true(time_now_ns() - begin < 5 * (int64_t)1000000000);
    assert_ok(run_one(other, 2, 0, NULL, &err)); /* the other cores go on */
    sim_config("release=hang");
    rkf_runtime_close(rt);
    for (int i = 0; i < 100 && sim_counters().memories; i++)
        usleep(20000); /* what the hung call held goes when it has returned */
    nothing_is_left();
}

static void an_allocation_that_fails_is_an_error(void **state)
{
    (void)state;
    for (int nth = 1; nth <= 12; nth += 3) {
        rkf_error err;
        char fault[40];
        rkf_runtime *rt = open_sim("rk3576");
        rkf_model_options o = RKF_MODEL_OPTIONS_INIT;
        rkf_model *m = NULL;
        o.path = MODELS "bert-embed";
        snprintf(fault, sizeof fault, "fault=nomem job=%d", nth);
        sim_config(fault);
        rkf_status rc = rkf_model_open(rt, &o, &m, &err);
        if (!rc)
            rc = run_one(m, 0, 0, NULL, &err);
        assert_true(rc == RKF_OK || rc == RKF_NO_MEMORY || rc == RKF_DEVICE);
        sim_config("fault=none");
        rkf_runtime_close(rt);
        nothing_is_left();
    }
}

/* ---- other processes: whoever else holds the lock of a core is one, also another open file of this process */

static int lock_core(const char *dir, int core)
{
    char path[200];
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    snprintf(path, sizeof path, "%s/core%d", dir, core);
    int fd = open(path, O_RDWR | O_CREAT, 0666);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), 0);
    return fd;
}

static void cores_of_other_processes_are_left_alone(void **state)
{
    (void)state;
    rkf_error err;
    char dir[] = "/tmp/rkformer-locks-XXXXXX";
    assert_non_null(mkdtemp(dir));
    rkf_runtime_options o = RKF_RUNTIME_OPTIONS_INIT;
    rkf_model_options mo = RKF_MODEL_OPTIONS_INIT;
    rkf_runtime *rt = NULL;
    rkf_model *alone = NULL;
    o.platform = "rk3588";
    o.device = "sim";
    o.npu_runtime = SIM_LIBRARY;
    o.lock_dir = dir;
    assert_ok(rkf_runtime_open(&o, &rt, &err));
    rkf_model *pinned = open_model(rt, MODELS "bert-embed", "1"), *any = open_model(rt, MODELS "bert-embed", "auto");
    int fd = lock_core(dir, 1);
    for (size_t i = 0; i < 6; i++) {
        uint32_t cores = 0;
        assert_ok(run_one(any, i, 0, &cores, &err));
        assert_int_equal(cores & 2, 0);
    }
    assert_fails(run_one(pinned, 0, 200000, NULL, &err), RKF_DEADLINE, "200 ms"); /* it waits, as long as it may */
    mo.path = MODELS "bert-embed";
    mo.core_mask = "0_1";
    mo.exclusive = true;
    rkf_model_close(any);
    rkf_model_close(pinned);
    assert_fails(rkf_model_open(rt, &mo, &alone, &err), RKF_CONFLICT, "another process uses core 1");
    close(fd);
    assert_ok(rkf_model_open(rt, &mo, &alone, &err));
    assert_ok(run_one(alone, 1, 0, NULL, &err));
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    char path[200];
    snprintf(path, sizeof path, "%s/core1", dir);
    fd = open(path, O_RDWR);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), -1); /* held while loaded, busy or not */
    rkf_model_close(alone);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), 0);
    close(fd);
    rkf_runtime_close(rt);
    nothing_is_left();
    char rm[300];
    snprintf(rm, sizeof rm, "rm -rf %s", dir);
    assert_int_equal(system(rm), 0);
}

static void a_missing_device_is_said_in_words(void **state)
{
    (void)state;
    rkf_error err;
    rkf_runtime_options o = RKF_RUNTIME_OPTIONS_INIT;
    rkf_runtime *rt = NULL;
    o.platform = "rk3588";
    o.require_npu = true;
    o.root = TEST_DATA "/boards/none";
    assert_fails(rkf_runtime_open(&o, &rt, &err), RKF_UNAVAILABLE, "no rk3588 NPU");
    o.require_npu = false;
    o.device = "rknn";
    assert_fails(rkf_runtime_open(&o, &rt, &err), RKF_UNAVAILABLE, "no rk3588 NPU");
    o.device = "gpu";
    assert_fails(rkf_runtime_open(&o, &rt, &err), RKF_INVALID, "unknown device 'gpu': use auto, cpu, rknn or sim");
    o.device = "sim";
    o.npu_runtime = "/nowhere.so";
    assert_fails(rkf_runtime_open(&o, &rt, &err), RKF_UNAVAILABLE, "/nowhere.so");
    assert_null(rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_models_on_three_cores_under_load),
        cmocka_unit_test(three_cores_hold_the_weights_once),
        cmocka_unit_test(a_timeout_is_retried),
        cmocka_unit_test(a_dead_core_is_named_and_auto_goes_round_it),
        cmocka_unit_test(the_cpu_takes_over_where_that_is_allowed),
        cmocka_unit_test(a_hung_call_does_not_hold_its_request),
        cmocka_unit_test(an_allocation_that_fails_is_an_error),
        cmocka_unit_test(cores_of_other_processes_are_left_alone),
        cmocka_unit_test(a_missing_device_is_said_in_words),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
