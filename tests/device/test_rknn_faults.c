/* SPDX-License-Identifier: Apache-2.0 */
/* Injected faults, with layers and with .rknn files: every run ends in its right result or in an error that blames the
 * right cores, in bounded time; and everything is given back, after a hang once the call has returned. */
#include "rknn_test_util.h"

#include "model/model.h"

/* One thing to run on a lane, checked against what it must give. */
struct load {
    struct bed b;
    struct layer l;
    struct linear *h;
    double *sum, *want;
    struct model_dir *dir;
    struct body *body;
    float *first; /* a compiled model's own answer without faults */
    uint32_t n_first;
};

static int32_t some_ids[12] = { 2, 17, 30, 9, 41, 3, 2, 8, 44, 23, 12, 3 };
static uint32_t some_lens[3] = { 0, 6, 12 };
static const struct batch some_batch = { .n_seqs = 2, .n_tokens = 12, .ids = some_ids, .cu_lens = some_lens };

static rkf_status run_body(struct load *w, struct exec *x, struct rows *out, rkf_error *err)
{
    arena_reset(&x->scratch);
    return w->body->ops->run(w->body, x, &some_batch, out, err);
}

/* A layer, or with compiled a .rknn file; it has run once on each core, so that what follows are runs alone. */
static void load_open(struct load *w, bool compiled, int64_t hang_us)
{
    uint64_t seed = 77;
    struct exec x;
    rkf_error err = { 0 };
    memset(w, 0, sizeof *w);
    /* a slow machine is no hang: only tests of the watch itself set it */
    bed_open_with(&w->b, "rk3588", NULL, hang_us ? hang_us : 600 * (int64_t)1000000);
    lane_open(&x, &w->b, 1, 1);
    if (compiled) {
        struct rows out;
        struct rknn_body_options o = { .file_name = "model_b1_s64.rknn" };
        assert_int_equal(model_dir_open(SIM_MODEL_DIR "/bert-cls", NULL, &w->dir, &err), RKF_OK);
        assert_int_equal(rknn_body_create(w->b.npu, w->dir, &o, &w->body, &err), RKF_OK);
        assert_int_equal(run_body(w, &x, &out, &err), RKF_OK);
        w->n_first = out.rows * out.cols;
        w->first = malloc(w->n_first * sizeof(float));
        memcpy(w->first, out.data, w->n_first * sizeof(float));
    } else {
        w->l = (struct layer){ .rows = 20, .in = 64, .out = 96, .type = DTYPE_F16 };
        layer_make(&w->l, &seed);
        layer_reference(&w->l, &w->sum, &w->want);
        assert_int_equal(layer_prepare(&x, &w->l, &w->h, &err), RKF_OK);
    }
    lane_close(&x);
}

static void load_release(struct load *w)
{
    if (w->body)
        w->body->ops->release(w->body);
    if (w->h)
        w->b.npu->linear->release(w->h);
    w->body = NULL;
    w->h = NULL;
}

static void load_free(struct load *w)
{
    model_dir_close(w->dir);
    layer_free(&w->l);
    free(w->sum);
    free(w->want);
    free(w->first);
}

static void load_end(struct load *w)
{
    load_release(w);
    bed_end(&w->b);
    load_free(w);
}

/* One run; its result must be right if it succeeds. timeout_ms 0: no deadline. */
static rkf_status run_on(struct load *w, struct exec *x, int timeout_ms, rkf_error *err)
{
    rkf_status rc;
    x->cores_failed = x->cores_used = 0;
    x->deadline_ns = timeout_ms ? time_now_ns() + (int64_t)timeout_ms * 1000000 : 0;
    if (w->body) {
        struct rows out;
        rc = run_body(w, x, &out, err);
        if (!rc)
            assert_memory_equal(out.data, w->first, w->n_first * sizeof(float));
    } else {
        float y[20 * 96];
        memset(y, 0xff, sizeof y);
        rc = layer_apply(x, &w->l, w->h, y, NULL, err);
        if (!rc)
            assert_true(worst_difference(y, w->want, 20 * 96) < 2e-5);
    }
    return rc;
}

static rkf_status run_lane(struct load *w, uint8_t cores, int timeout_ms, uint8_t *failed, rkf_error *err)
{
    struct exec x;
    lane_open(&x, &w->b, cores, 1);
    rkf_status rc = run_on(w, &x, timeout_ms, err);
    *failed = x.cores_failed;
    lane_close(&x);
    return rc;
}

static void warm(struct load *w)
{
    uint8_t failed;
    rkf_error err = { 0 };
    for (uint8_t core = 1; core < 8; core <<= 1)
        assert_int_equal(run_lane(w, core, 0, &failed, &err), RKF_OK);
    assert_int_equal(run_lane(w, 7, 0, &failed, &err), RKF_OK);
}

/* A deadline in ms by which a call that does not return counts as hung, however slow this machine is. */
static int long_enough(struct load *w)
{
    uint8_t failed;
    rkf_error err = { 0 };
    int64_t worst = 0;
    for (int i = 0; i < 12; i++) { /* as many as it takes to forget a slow one from before */
        int64_t begin = time_now_ns();
        assert_int_equal(run_lane(w, 7, 0, &failed, &err), RKF_OK);
        worst = time_now_ns() - begin > worst ? time_now_ns() - begin : worst;
    }
    return 500 + (int)(worst * 20 / 1000000);
}

typedef void scenario(struct load *w);
static void each_kind(scenario *fn, int64_t hang_us)
{
    for (int compiled = 0; compiled < 2; compiled++) {
        struct load w;
        load_open(&w, compiled, hang_us);
        warm(&w);
        fn(&w);
        sim_config("fault=none");
        load_end(&w);
    }
}

/* ---- failures that pass */

static void one_failure(struct load *w)
{
    static const char *const faults[] = { "fault=fail core=1", "fault=timeout core=1 after_ms=5" };
    for (int i = 0; i < 2; i++) {
        uint8_t failed;
        rkf_error err = { 0 };
        sim_config(faults[i]);
        assert_int_equal(run_lane(w, 2, 0, &failed, &err), RKF_OK);
        assert_int_equal(failed, 0);
        assert_int_equal(sim_counters().jobs_failed, i + 1);
        sim_config("fault=none");
    }
    assert_int_equal(sim_counters().resets, 1);
}

static void one_failure_is_tried_again(void **state)
{
    (void)state;
    each_kind(one_failure, 0);
}

/* ---- cores that do not recover */

static void dead_core(struct load *w)
{
    uint8_t failed;
    rkf_error err = { 0 };
    sim_config("fault=dead core=2");
    assert_int_equal(run_lane(w, 4, 0, &failed, &err), RKF_DEVICE);
    assert_int_equal(failed, 4);
    assert_non_null(strstr(err.message, "failure (-1)"));
    assert_int_equal(run_lane(w, 1, 0, &failed, &err), RKF_OK); /* the others go on */
    assert_int_equal(run_lane(w, 7, 0, &failed, &err), RKF_DEVICE);
    assert_true(failed & 4);
    assert_int_equal(run_lane(w, 2, 0, &failed, &err), RKF_OK);
    sim_config("fault=none");
    assert_int_equal(run_lane(w, 4, 0, &failed, &err), RKF_OK); /* well again */
    assert_int_equal(run_lane(w, 7, 0, &failed, &err), RKF_OK);
}

static void dead_cores_are_blamed(void **state)
{
    (void)state;
    each_kind(dead_core, 0);
}

/* A core that times out again and again resets the NPU under the others: only it is to blame. */
struct neighbour {
    struct load *w;
    uint8_t cores;
    int runs, ok;
    uint8_t failed;
    rkf_status rc;
    rkf_error err;
};

static void *neighbour_main(void *arg)
{
    struct neighbour *n = arg;
    struct exec x;
    lane_open(&x, &n->w->b, n->cores, 1);
    for (int i = 0; i < n->runs; i++) {
        rkf_status rc = run_on(n->w, &x, 0, &n->err);
        n->failed |= x.cores_failed;
        n->ok += rc == RKF_OK;
        n->rc = rc ? rc : n->rc;
    }
    lane_close(&x);
    return NULL;
}

static void resets(struct load *w)
{
    struct neighbour n[3];
    pthread_t t[3];
    sim_config("cost=model scale=40 fault=timeout core=0 after_ms=60 count=4"); /* jobs of some ms meet the resets */
    for (int i = 0; i < 3; i++) {
        n[i] = (struct neighbour){ .w = w, .cores = (uint8_t)(1u << i), .runs = i ? 20 : 2 };
        assert_int_equal(pthread_create(&t[i], NULL, neighbour_main, &n[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    sim_config("cost=host scale=1 fault=none");
    assert_int_equal(n[0].ok, 0);
    assert_int_equal(n[0].rc, RKF_DEVICE);
    assert_int_equal(n[0].failed, 1);
    for (int i = 1; i < 3; i++) {
        if (n[i].ok != n[i].runs)
            fail_msg("core %d: %d of %d: %s", i, n[i].ok, n[i].runs, n[i].err.message);
        assert_int_equal(n[i].failed, 0);
    }
    assert_int_equal(sim_counters().resets, 4);
}

static void resets_blame_only_the_culprit(void **state)
{
    (void)state;
    each_kind(resets, 0);
}

/* ---- hangs */

static void wait_until_returned(struct load *w)
{
    sim_config("release=hang");
    for (int i = 0; i < 500 && rknn_device_hung(w->b.npu); i++)
        sleep_ms(10);
    assert_int_equal(rknn_device_hung(w->b.npu), 0);
}

static void hang_with_deadline(struct load *w)
{
    uint8_t failed;
    rkf_error err = { 0 };
    int timeout = long_enough(w);
    int64_t begin = time_now_ns();
    sim_config("fault=hang core=1");
    assert_int_equal(run_lane(w, 2, timeout, &failed, &err), RKF_DEADLINE);
    assert_int_equal(failed, 2);
    assert_true(time_now_ns() - begin < (int64_t)(timeout + 3000) * 1000000);
    assert_int_equal(rknn_device_hung(w->b.npu), 2);
    begin = time_now_ns();
    assert_int_equal(run_lane(w, 2, 0, &failed, &err), RKF_DEVICE); /* at once */
    assert_int_equal(failed, 2);
    assert_true(time_now_ns() - begin < (int64_t)2000 * 1000000);
    assert_int_equal(run_lane(w, 1, 0, &failed, &err), RKF_OK);
    assert_int_equal(run_lane(w, 4, 0, &failed, &err), RKF_OK);
    wait_until_returned(w);
    assert_int_equal(run_lane(w, 2, 0, &failed, &err), RKF_OK);
    assert_int_equal(run_lane(w, 7, 0, &failed, &err), RKF_OK);
}

static void hang_ends_at_the_deadline(void **state)
{
    (void)state;
    each_kind(hang_with_deadline, 0);
}

static void hang_without_deadline(struct load *w)
{
    uint8_t failed;
    rkf_error err = { 0 };
    sim_config("fault=hang core=0");
    assert_int_equal(run_lane(w, 1, 0, &failed, &err), RKF_DEVICE);
    assert_int_equal(failed, 1);
    assert_non_null(strstr(err.message, "hangs"));
    wait_until_returned(w);
    assert_int_equal(run_lane(w, 1, 0, &failed, &err), RKF_OK);
}

static void hang_ends_without_a_deadline(void **state)
{
    (void)state;
    each_kind(hang_without_deadline, 2000 * 1000);
}

/* A deadline that comes while the NPU is merely at work ends the request, and blames nobody. */
static void slow_job(struct load *w)
{
    uint8_t failed;
    rkf_error err = { 0 };
    sim_config("cost=model scale=2500");
    assert_int_equal(run_lane(w, 1, 30, &failed, &err), RKF_DEADLINE);
    assert_int_equal(failed, 0);
    sim_config("cost=host scale=1");
    assert_int_equal(run_lane(w, 1, 0, &failed, &err), RKF_OK);
}

static void deadlines_of_slow_jobs_blame_nobody(void **state)
{
    (void)state;
    each_kind(slow_job, 0);
}

/* The model and the device go while a call hangs: what it uses stays until it returns, then all of it goes. */
static void release_while_hanging(void **state)
{
    (void)state;
    for (int compiled = 0; compiled < 2; compiled++) {
        struct load w;
        uint8_t failed;
        rkf_error err = { 0 };
        load_open(&w, compiled, 0);
        warm(&w);
        int timeout = long_enough(&w);
        sim_config("fault=hang core=2");
        assert_int_equal(run_lane(&w, 4, timeout, &failed, &err), RKF_DEADLINE);
        load_release(&w);
        bed_close(&w.b);
        assert_true(sim_counters().contexts + sim_counters().matmul_contexts > 0);
        sim_config("release=hang");
        for (int i = 0; i < 500; i++) {
            struct rknnsim_counters c = sim_counters();
            if (c.contexts + c.matmul_contexts + c.memories == 0)
                break;
            sleep_ms(10);
        }
        sim_config("fault=none");
        sim_end();
        load_free(&w);
    }
}

/* ---- memory that runs out */

static void npu_memory_runs_out(void **state)
{
    (void)state;
    for (int compiled = 0; compiled < 2; compiled++) {
        int successes = 0;
        for (int nth = 1; successes < 2; nth++) {
            struct bed b;
            struct exec x;
            char fault[64];
            uint64_t seed = 5;
            rkf_error err = { 0 };
            struct layer l = { .rows = 300, .in = 64, .out = 96, .type = nth % 2 ? DTYPE_F16 : DTYPE_I8 };
            float *y = malloc(sizeof *y * 300 * 96);
            struct linear *h = NULL;
            struct model_dir *dir = NULL;
            struct body *body = NULL;
            struct rows out;
            rkf_status rc;
            bed_open(&b, "rk3588");
            lane_open(&x, &b, 3, 1);
            layer_make(&l, &seed);
            snprintf(fault, sizeof fault, "fault=nomem job=%d count=%d", nth, 1 + nth % 3);
            sim_config(fault);
            if (compiled) {
                assert_int_equal(model_dir_open(SIM_MODEL_DIR "/bert-cls", NULL, &dir, &err), RKF_OK);
                rc = rknn_body_create(b.npu, dir, &(struct rknn_body_options){ .file_name = "model_b1_s64.rknn" },
                                      &body, &err);
                rc = rc ? rc : body->ops->run(body, &x, &some_batch, &out, &err);
            } else {
                rc = layer_prepare(&x, &l, &h, &err);
                rc = rc ? rc : layer_apply(&x, &l, h, y, NULL, &err);
            }
            assert_true(rc == RKF_OK || rc == RKF_NO_MEMORY);
            assert_int_equal(x.cores_failed, 0);
            successes += rc == RKF_OK && nth > 20;
            assert_true(nth < 200);
            sim_config("fault=none");
            if (body)
                body->ops->release(body);
            model_dir_close(dir);
            b.npu->linear->release(h);
            lane_close(&x);
            layer_free(&l);
            free(y);
            bed_end(&b);
        }
    }
}

static void own_memory_runs_out(void **state)
{
    (void)state;
    for (int compiled = 0; compiled < 2; compiled++) {
        bool done = false;
        for (int64_t nth = 0; !done; nth++) {
            struct bed b;
            struct exec x;
            uint64_t seed = 5;
            rkf_error err = { 0 };
            struct layer l = { .rows = 20, .in = 64, .out = 96, .type = DTYPE_F16 };
            float y[20 * 96];
            struct linear *h = NULL;
            struct model_dir *dir = NULL;
            struct body *body = NULL;
            struct rows out;
            rkf_status rc;
            bed_open(&b, "rk3588");
            lane_open(&x, &b, 3, 1);
            layer_make(&l, &seed);
            assert_int_equal(model_dir_open(SIM_MODEL_DIR "/bert-cls", NULL, &dir, &err), RKF_OK);
            mem_fail_after(nth);
            if (compiled) {
                rc = rknn_body_create(b.npu, dir, &(struct rknn_body_options){ .file_name = "model_b1_s64.rknn" },
                                      &body, &err);
                rc = rc ? rc : body->ops->run(body, &x, &some_batch, &out, &err);
            } else {
                rc = layer_prepare(&x, &l, &h, &err);
                rc = rc ? rc : layer_apply(&x, &l, h, y, NULL, &err);
            }
            done = rc == RKF_OK;
            assert_true(done || rc == RKF_NO_MEMORY);
            /* what is left must go even while there is no memory */
            if (body)
                body->ops->release(body);
            b.npu->linear->release(h);
            rknn_device_free(b.npu);
            mem_fail_after(-1);
            b.npu = NULL;
            model_dir_close(dir);
            lane_close(&x);
            layer_free(&l);
            bed_end(&b);
            assert_true(nth < 1000);
        }
    }
}

static void missing_devices_are_reported(void **state)
{
    (void)state;
    struct bed b;
    struct exec x;
    uint64_t seed = 5;
    rkf_error err = { 0 };
    struct layer l = { .rows = 2, .in = 32, .out = 32, .type = DTYPE_F16 };
    struct linear *h = NULL;
    bed_open_with(&b, "rk3588", "device=no", 0);
    lane_open(&x, &b, 1, 1);
    layer_make(&l, &seed);
    assert_int_equal(layer_prepare(&x, &l, &h, &err), RKF_DEVICE);
    assert_non_null(strstr(err.message, "device unavailable (-3)"));
    layer_free(&l);
    lane_close(&x);
    bed_end(&b);
}

/* Old drivers run jobs on core 0 only. */
static void old_drivers_blame_the_other_cores(void **state)
{
    (void)state;
    struct load w;
    uint8_t failed;
    rkf_error err = { 0 };
    load_open(&w, false, 0);
    sim_config("driver=0.8.2");
    assert_int_equal(run_lane(&w, 1, 0, &failed, &err), RKF_OK);
    assert_int_equal(run_lane(&w, 2, 0, &failed, &err), RKF_DEVICE);
    assert_int_equal(failed, 2);
    sim_config("driver=0.9.8");
    load_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_failure_is_tried_again),
        cmocka_unit_test(dead_cores_are_blamed),
        cmocka_unit_test(resets_blame_only_the_culprit),
        cmocka_unit_test(hang_ends_at_the_deadline),
        cmocka_unit_test(hang_ends_without_a_deadline),
        cmocka_unit_test(deadlines_of_slow_jobs_blame_nobody),
        cmocka_unit_test(release_while_hanging),
        cmocka_unit_test(npu_memory_runs_out),
        cmocka_unit_test(own_memory_runs_out),
        cmocka_unit_test(missing_devices_are_reported),
        cmocka_unit_test(old_drivers_blame_the_other_cores),
    };
    sim_load();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
