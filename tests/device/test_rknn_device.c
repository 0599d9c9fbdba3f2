/* SPDX-License-Identifier: Apache-2.0 */
/* Creating the device: what is looked at before the library is loaded, and the words for what is missing. The worker
 * threads by themselves. */
#include "rknn_test_util.h"

#include "base/json.h"
#include "device/rknn/worker.h"

#include <unistd.h>

static const char *board(const char *name)
{
    static char root[512];
    snprintf(root, sizeof root, TEST_DATA "/boards/%s", name);
    return root;
}

static rkf_status create(const char *root, const char *library, bool simulator, const struct platform *p,
                         struct device **out, rkf_error *err)
{
    static struct device *cpu;
    rkf_error none;
    if (!cpu && cpu_device_create(NULL, NULL, &cpu, &none))
        fail();
    struct rknn_options o = { .simulator = simulator, .library = library, .platform = p, .root = root, .cpu = cpu };
    return rknn_device_create(&o, out, err);
}

static void nodes_are_probed_before_the_library(void **state)
{
    (void)state;
    static const struct {
        const char *board, *words;
    } cases[] = {
        { "pc", "no Rockchip NPU is here" },
        { "rk3588-rocket", "mainline driver rocket" },
        { "rk3588-no-driver", "has no NPU driver" },
        { "rk3588-legacy-link", "is a symbolic link" },
        { "container-no-node", "device node is missing" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct device *d = NULL;
        rkf_error err;
        /* a library that does not exist would be reported if it were looked for first */
        assert_int_equal(create(board(cases[i].board), "/no/such.so", false, NULL, &d, &err), RKF_UNAVAILABLE);
        if (!strstr(err.message, cases[i].words))
            fail_msg("%s: %s", cases[i].board, err.message);
        assert_null(d);
    }
}

/* The same code drives a library that is there; the simulator answers for it. */
static void boards_with_a_node_open(void **state)
{
    (void)state;
    struct device *d = NULL;
    rkf_error err;
    sim_begin("rk3588");
    assert_int_equal(create(board("rk3588"), SIM_LIBRARY, false, NULL, &d, &err), RKF_OK);
    assert_string_equal(d->name, "rknn");
    assert_int_equal(d->exec_depth, 2);
    assert_true(d->joint_lanes);
    rknn_device_free(d);
    rknn_device_free(NULL);
    assert_int_equal(create(board("container"), SIM_LIBRARY, false, NULL, &d, &err), RKF_OK);
    rknn_device_free(d);
    sim_end();
}

static void libraries_are_checked(void **state)
{
    (void)state;
    struct device *d = NULL;
    rkf_error err;
    assert_int_equal(create(board("rk3588"), "/no/such.so", false, NULL, &d, &err), RKF_UNAVAILABLE);
    assert_non_null(strstr(err.message, "no runtime library at /no/such.so, which the option names"));
    setenv("RKFORMER_RKNN_LIBRARY", "/no/other.so", 1);
    assert_int_equal(create(board("rk3588"), NULL, false, NULL, &d, &err), RKF_UNAVAILABLE);
    assert_non_null(strstr(err.message, "/no/other.so, which RKFORMER_RKNN_LIBRARY names"));
    unsetenv("RKFORMER_RKNN_LIBRARY");
    assert_int_equal(create(board("rk3588"), TEST_DATA "/boards/README.md", false, NULL, &d, &err), RKF_UNAVAILABLE);
    assert_non_null(strstr(err.message, "cannot load the runtime library"));
    static const char *const others[] = { "/lib/x86_64-linux-gnu/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6",
                                          "/usr/lib/libm.so.6", "/usr/aarch64-linux-gnu/lib/libm.so.6" };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (access(others[i], R_OK) == 0 && create(board("rk3588"), others[i], false, NULL, &d, &err) &&
            !strstr(err.message, "cannot load"))
            assert_non_null(strstr(err.message, "lacks the call rknn_init"));
    assert_null(d);
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    struct device *d = NULL;
    rkf_error err;
    assert_int_equal(create(NULL, SIM_LIBRARY, true, platform_get(PLATFORM_CPU), &d, &err), RKF_INVALID);
    assert_string_equal(err.message, "platform cpu has no NPU: use device cpu");
    struct bed b;
    bed_open(&b, "rk3576");
    struct exec x;
    struct linear *h = NULL;
    float w[32 * 16] = { 0 };
    struct linear_part part = { view_make(w, DTYPE_F32, 16, 32), NULL, DTYPE_F32 };
    lane_open(&x, &b, 1, 1);
    assert_int_equal(b.npu->linear->prepare(&x, &part, 1, DTYPE_F16, &h, &err), RKF_OK);
    assert_int_equal(create(NULL, SIM_LIBRARY, true, platform_get(PLATFORM_RK3588), &d, &err), RKF_UNAVAILABLE);
    assert_non_null(strstr(err.message, "already runs as another platform"));
    b.npu->linear->release(h);
    lane_close(&x);
    bed_end(&b);
}

static void runtimes_are_described(void **state)
{
    (void)state;
    struct buf out;
    struct rknn_options o = { .simulator = true, .library = SIM_LIBRARY };
    yyjson_doc *doc = NULL;
    rkf_error err;
    buf_init(&out, 4096);
    assert_int_equal(rknn_describe(&o, &out, &err), RKF_OK);
    assert_int_equal(json_parse(out.p, out.len, "description", &doc, &err), RKF_OK);
    assert_true(yyjson_get_bool(yyjson_obj_get(yyjson_doc_get_root(doc), "found")));
    assert_string_equal(yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "library")), SIM_LIBRARY);
    yyjson_doc_free(doc);
    buf_clear(&out);
    o = (struct rknn_options){ .library = "/no/such.so" };
    assert_int_equal(rknn_describe(&o, &out, &err), RKF_OK);
    assert_int_equal(json_parse(out.p, out.len, "description", &doc, &err), RKF_OK);
    assert_false(yyjson_get_bool(yyjson_obj_get(yyjson_doc_get_root(doc), "found")));
    assert_non_null(strstr(yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "advice")), "/no/such.so"));
    yyjson_doc_free(doc);
    buf_free(&out);
}

/* ---- workers */

struct job {
    struct call call;
    atomic_bool go, ran;
    atomic_int destroyed;
    int sleep_ms;
};

static void job_run(struct call *c)
{
    struct job *j = (struct job *)c;
    sleep_ms(j->sleep_ms);
    while (!atomic_load(&j->go))
        sleep_ms(1);
    atomic_store(&j->ran, true);
}

static void job_destroy(struct call *c)
{
    atomic_fetch_add(&((struct job *)c)->destroyed, 1);
}

static void job_init(struct job *j, bool go, int ms)
{
    memset(j, 0, sizeof *j);
    call_init(&j->call, job_run, job_destroy);
    atomic_store(&j->go, go);
    j->sleep_ms = ms;
}

static void workers_run_in_order(void **state)
{
    (void)state;
    struct worker w;
    struct job j[20];
    bool hung;
    rkf_error err;
    assert_int_equal(worker_init(&w, "test", NULL, 5000000000, 0, &err), RKF_OK);
    for (int i = 0; i < 20; i++) {
        job_init(&j[i], true, i % 3 == 0);
        assert_int_equal(worker_submit(&w, &j[i].call, &err), RKF_OK);
    }
    assert_int_equal(worker_wait(&w, &j[19].call, 0, &hung, &err), RKF_OK);
    for (int i = 0; i < 20; i++) {
        assert_true(atomic_load(&j[i].ran));
        call_drop(&j[i].call);
    }
    assert_true(worker_stop(&w, NULL, NULL));
    for (int i = 0; i < 20; i++)
        assert_int_equal(atomic_load(&j[i].destroyed), 1);
    assert_int_equal(worker_post(&w, &j[0].call, &err), RKF_CLOSED);
    worker_free(&w);
}

static void queued_calls_leave_at_the_deadline(void **state)
{
    (void)state;
    struct worker w;
    struct job slow, queued;
    bool hung;
    rkf_error err;
    assert_int_equal(worker_init(&w, "test", NULL, 5000000000, 0, &err), RKF_OK);
    job_init(&slow, false, 0);
    job_init(&queued, true, 0);
    assert_int_equal(worker_submit(&w, &slow.call, &err), RKF_OK);
    assert_int_equal(worker_submit(&w, &queued.call, &err), RKF_OK);
    assert_int_equal(worker_wait(&w, &queued.call, time_now_ns() + 20000000, &hung, &err), RKF_DEADLINE);
    assert_false(hung); /* 20 ms are nothing */
    assert_false(atomic_load(&queued.ran));
    atomic_store(&slow.go, true);
    assert_int_equal(worker_wait(&w, &slow.call, 0, &hung, &err), RKF_OK);
    call_drop(&slow.call);
    call_drop(&queued.call);
    assert_int_equal(atomic_load(&queued.destroyed), 1);
    assert_true(worker_stop(&w, NULL, NULL));
    assert_false(atomic_load(&queued.ran)); /* it was taken out */
    worker_free(&w);
}

static void hanging_calls_are_given_up(void **state)
{
    (void)state;
    struct worker w;
    struct job stuck, next;
    bool hung;
    rkf_error err;
    assert_int_equal(worker_init(&w, "test", NULL, 100000000, 0, &err), RKF_OK);
    job_init(&stuck, false, 0);
    job_init(&next, true, 0);
    assert_int_equal(worker_submit(&w, &stuck.call, &err), RKF_OK);
    assert_int_equal(worker_wait(&w, &stuck.call, 0, &hung, &err), RKF_DEVICE);
    assert_true(hung);
    assert_true(worker_hangs(&w));
    assert_int_equal(worker_submit(&w, &next.call, &err), RKF_DEVICE);
    call_drop(&stuck.call); /* its caller goes: the worker still holds it */
    assert_int_equal(atomic_load(&stuck.destroyed), 0);
    atomic_store(&stuck.go, true);
    for (int i = 0; i < 500 && worker_hangs(&w); i++)
        sleep_ms(5);
    assert_false(worker_hangs(&w));
    assert_int_equal(worker_submit(&w, &next.call, &err), RKF_OK);
    assert_int_equal(worker_wait(&w, &next.call, 0, &hung, &err), RKF_OK);
    call_drop(&next.call);
    assert_true(worker_stop(&w, NULL, NULL));
    assert_int_equal(atomic_load(&stuck.destroyed), 1);
    worker_free(&w);
}

/* What runs 8 times as long as usual is late when the deadline comes; what usually takes long is not. */
static void late_is_measured_by_the_usual(void **state)
{
    (void)state;
    for (int usual_ms = 1; usual_ms <= 100; usual_ms += 99) {
        struct worker w;
        struct job j;
        bool hung;
        rkf_error err;
        assert_int_equal(worker_init(&w, "test", NULL, 5000000000, 0, &err), RKF_OK);
        job_init(&j, false, 0);
        j.call.usual_ns = usual_ms * 1000000;
        assert_int_equal(worker_submit(&w, &j.call, &err), RKF_OK);
        assert_int_equal(worker_wait(&w, &j.call, time_now_ns() + 400000000, &hung, &err), RKF_DEADLINE);
        assert_int_equal(hung, usual_ms == 1);
        atomic_store(&j.go, true);
        for (int i = 0; i < 500 && !atomic_load(&j.ran); i++)
            sleep_ms(1);
        assert_true(worker_stop(&w, NULL, NULL));
        call_drop(&j.call);
        worker_free(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_probed_before_the_library),
        cmocka_unit_test(boards_with_a_node_open),
        cmocka_unit_test(libraries_are_checked),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(runtimes_are_described),
        cmocka_unit_test(workers_run_in_order),
        cmocka_unit_test(queued_calls_leave_at_the_deadline),
        cmocka_unit_test(hanging_calls_are_given_up),
        cmocka_unit_test(late_is_measured_by_the_usual),
    };
    sim_load();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
