/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator's cores: queues, joint jobs, the cost model, injected faults, threads. Orders and overlaps are exact;
 * modelled times are read from the counters, so that a busy machine does not blur them.
 */
#include "model.h"

#include <math.h>
#include <pthread.h>
#include <time.h>

/* ---- a matmul context with ones in A and B: C is K everywhere */

struct unit {
    rknn_context ctx;
    struct sim_tensor_mem *mem[3];
    struct sim_matmul_io_attr io;
    int M, K, N;
};

static void unit_open_shape(struct unit *u, int M, int K, int N, int type, int native)
{
    struct sim_matmul_info info = {
        .M = M, .K = K, .N = N, .type = type, .B_layout = (int16_t)native, .AC_layout = (int16_t)native
    };
    *u = (struct unit){ .M = M, .K = K, .N = N };
    assert_int_equal(p_rknn_matmul_create(&u->ctx, &info, &u->io), 0);
    struct sim_matmul_tensor_attr *attr[3] = { &u->io.A, &u->io.B, &u->io.C };
    for (int i = 0; i < 3; i++) {
        u->mem[i] = p_rknn_create_mem(u->ctx, attr[i]->size);
        assert_non_null(u->mem[i]);
        for (uint32_t k = 0; i < 2 && type == SIM_F16_F16_F32 && k < attr[i]->size / 2; k++)
            ((uint16_t *)u->mem[i]->virt_addr)[k] = 0x3c00;
        assert_int_equal(p_rknn_matmul_set_io_mem(u->ctx, u->mem[i], attr[i]), 0);
    }
}

static void unit_open(struct unit *u, int mask)
{
    unit_open_shape(u, 2, 64, 32, SIM_F16_F16_F32, 1);
    if (mask)
        assert_int_equal(p_rknn_matmul_set_core_mask(u->ctx, mask), 0);
}

static void unit_close(struct unit *u)
{
    for (int i = 0; i < 3; i++)
        assert_int_equal(p_rknn_destroy_mem(u->ctx, u->mem[i]), 0);
    assert_int_equal(p_rknn_matmul_destroy(u->ctx), 0);
}

static bool unit_right(const struct unit *u)
{
    for (int i = 0; i < u->M * u->N; i++)
        if (((float *)u->mem[2]->virt_addr)[i] != (float)u->K)
            return false;
    return true;
}

/* A run in a thread of its own. */
struct runner {
    pthread_t thread;
    struct unit *u;
    int result;
};

static void *runner_main(void *arg)
{
    struct runner *r = arg;
    r->result = p_rknn_matmul_run(r->u->ctx);
    return NULL;
}

static void runner_start(struct runner *r, struct unit *u)
{
    r->u = u;
    r->result = 12345;
    assert_int_equal(pthread_create(&r->thread, NULL, runner_main, r), 0);
}

static int runner_join(struct runner *r)
{
    assert_int_equal(pthread_join(r->thread, NULL), 0);
    return r->result;
}

/* Until `n` jobs wait for a core or run on it. */
static void await_queued(int core, uint64_t n)
{
    while (sim_counters().queued[core] != n)
        nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
}

/* ---- the cost model */

/* Modelled seconds of one run; the trace says that it took as long at least. */
static double modelled(struct unit *u, double scale)
{
    struct rknnsim_job job;
    sim_config("reset=counters");
    assert_int_equal(p_rknn_matmul_run(u->ctx), 0);
    assert_int_equal(p_rknnsim_trace_read(&job, 1), 1);
    uint64_t ns = sim_counters().modelled_ns;
    assert_true((uint64_t)(job.end_ns - job.start_ns) >= ns);
    return (double)ns / 1e9 / scale;
}

static void expect_speed(int M, int K, int N, int type, int native, double low, double high)
{
    struct unit u;
    unit_open_shape(&u, M, K, N, type, native);
    double gflops = 2.0 * M * K * N / modelled(&u, 20) / 1e9;
    if (!(gflops >= low && gflops <= high))
        fail_msg("%d x %d x %d type %d native %d: %g GFLOPS", M, K, N, type, native, gflops);
    unit_close(&u);
}

/* 10.5 GB/s for one core, 17 for all that are at work, as long as the others are. */
static void test_cores_share_the_dram(void **state)
{
    (void)state;
    struct unit u, other[2];
    struct runner r[2];
    double alone, seconds[2];
    sim_begin("rk3588");
    sim_config("cost=model scale=20 compute=no trace=4");
    unit_open_shape(&u, 1, 1024, 8192, SIM_F16_F16_F32, 1);
    assert_int_equal(p_rknn_matmul_set_core_mask(u.ctx, 1), 0);
    alone = modelled(&u, 20) - 40e-6;
    sim_config("fault=hang core=1 fault=hang core=2");
    for (int i = 0; i < 2; i++) {
        unit_open(&other[i], 2 << i);
        runner_start(&r[i], &other[i]);
        await_queued(i + 1, 1);
        seconds[i] = modelled(&u, 20) - 40e-6;
    }
    assert_true(fabs(seconds[0] / alone - 10.5 / 8.5) < 0.01);
    assert_true(fabs(seconds[1] / alone - 10.5 / (17.0 / 3)) < 0.01);
    sim_config("dram=own");
    assert_true(fabs(modelled(&u, 20) - 40e-6 - alone) < 0.01 * alone);
    sim_config("fault=none release=hang dram=shared");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(runner_join(&r[i]), 0);
        unit_close(&other[i]);
    }
    unit_close(&u);
    sim_end();
}

static void test_cost_model(void **state)
{
    (void)state;
    sim_begin("rk3588");
    sim_config("cost=model scale=20 compute=no trace=4");
    /* as published for one core of RK3588 */
    expect_speed(128, 1024, 8192, SIM_F16_F16_F32, 1, 850, 900);
    expect_speed(128, 1024, 8192, SIM_F16_F16_F32, 0, 700, 750);
    expect_speed(128, 1024, 8192, SIM_I8_I8_I32, 1, 1600, 1800);
    expect_speed(1, 1024, 8192, SIM_F16_F16_F32, 1, 9.5, 11);
    struct unit u;
    unit_open(&u, 0); /* next to nothing to compute: the submit */
    double submit = modelled(&u, 20);
    assert_true(submit >= 30e-6 && submit <= 50e-6);
    unit_close(&u);
    sim_config("platform=rk3568"); /* half as fast per core */
    expect_speed(128, 1024, 8192, SIM_F16_F16_F32, 1, 425, 450);
    sim_end();
}

static void test_late_jobs_are_counted(void **state)
{
    (void)state;
    struct unit u;
    sim_begin("rk3588");
    sim_config("cost=model scale=0.000001");
    unit_open_shape(&u, 16, 512, 512, SIM_F16_F16_F32, 1);
    assert_int_equal(p_rknn_matmul_run(u.ctx), 0);
    assert_true(unit_right(&u));
    assert_int_equal(sim_counters().jobs_late, 1);
    sim_config("compute=no"); /* C keeps what it held */
    memset(u.mem[2]->virt_addr, 0, u.io.C.size);
    assert_int_equal(p_rknn_matmul_run(u.ctx), 0);
    assert_false(unit_right(&u));
    unit_close(&u);
    sim_end();
}

/* ---- queues */

static void expect_no_overlap(const struct rknnsim_job *job, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < i; k++)
            if (job[i].cores & job[k].cores && job[i].start_ns < job[k].end_ns && job[k].start_ns < job[i].end_ns)
                fail_msg("jobs %u and %u were on cores %u and %u at once", k, i, job[k].cores, job[i].cores);
}

struct worker {
    pthread_t thread;
    struct unit u;
    int mask, jobs, wrong;
};

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < w->jobs; i++) {
        memset(w->u.mem[2]->virt_addr, 0, w->u.io.C.size);
        w->wrong += p_rknn_matmul_run(w->u.ctx) != 0 || !unit_right(&w->u);
    }
    return NULL;
}

static void work(struct worker *w, int n)
{
    for (int i = 0; i < n; i++)
        unit_open(&w[i].u, w[i].mask);
    for (int i = 0; i < n; i++)
        assert_int_equal(pthread_create(&w[i].thread, NULL, worker_main, &w[i]), 0);
    for (int i = 0; i < n; i++)
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
    for (int i = 0; i < n; i++) {
        assert_int_equal(w[i].wrong, 0);
        unit_close(&w[i].u);
    }
}

static void test_one_job_per_core(void **state)
{
    (void)state;
    enum { JOBS = 60 };
    struct worker w[6] = { { .mask = 1 }, { .mask = 1 }, { .mask = 2 }, { .mask = 4 }, { .mask = 0 }, { .mask = 0 } };
    static struct rknnsim_job trace[6 * JOBS];
    sim_begin("rk3588");
    sim_config("trace=1000");
    for (int i = 0; i < 6; i++)
        w[i].jobs = JOBS;
    work(w, 6);
    assert_int_equal(p_rknnsim_trace_read(trace, 6 * JOBS), 6 * JOBS);
    expect_no_overlap(trace, 6 * JOBS);
    struct rknnsim_counters c = sim_counters();
    assert_int_equal(c.jobs[0] + c.jobs[1] + c.jobs[2], 6 * JOBS);
    assert_true(c.jobs[0] >= 2 * JOBS && c.jobs[1] >= JOBS && c.jobs[2] >= JOBS);
    assert_int_equal(c.runs, 6 * JOBS);
    assert_int_equal(c.concurrent_calls, 0);
    sim_end();
}

/* While core 0 hangs, AUTO goes to 1; while 1 does too, to 2. With all equally loaded: the lowest. */
static void test_auto_takes_the_least_loaded(void **state)
{
    (void)state;
    struct unit a, b, c;
    struct runner ra, rb;
    sim_begin("rk3588");
    sim_config("fault=hang core=0 fault=hang core=1");
    unit_open(&a, 0);
    unit_open(&b, 0);
    unit_open(&c, 0);
    runner_start(&ra, &a);
    await_queued(0, 1);
    runner_start(&rb, &b);
    await_queued(1, 1);
    assert_int_equal(p_rknn_matmul_run(c.ctx), 0);
    assert_int_equal(sim_counters().jobs_by_mask[4], 1);
    sim_config("release=hang");
    assert_int_equal(runner_join(&ra), 0);
    assert_int_equal(runner_join(&rb), 0);
    assert_true(unit_right(&a) && unit_right(&b) && unit_right(&c));
    assert_int_equal(p_rknn_matmul_run(c.ctx), 0);
    struct rknnsim_counters n = sim_counters();
    assert_int_equal(n.jobs[0], 2);
    assert_int_equal(n.jobs[1], 1);
    assert_int_equal(n.jobs[2], 1);
    unit_close(&a);
    unit_close(&b);
    unit_close(&c);
    sim_end();
}

/* A joint job waits for its last core, holds those that reached it, and is not overtaken on them. */
struct graph_runner {
    pthread_t thread;
    struct sim_model *m;
    int result;
};

static void *graph_main(void *arg)
{
    struct graph_runner *r = arg;
    r->result = p_rknn_run(r->m->ctx, NULL);
    return NULL;
}

static void test_joint_jobs_wait(void **state)
{
    (void)state;
    static struct rknnsim_job trace[32];
    int64_t ids[3] = { 2, 7, 3 };
    struct sim_model m;
    struct unit u, after;
    struct runner hung, late;
    sim_begin("rk3588");
    sim_config("trace=32 fault=hang core=1");
    sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
    assert_int_equal(p_rknn_set_core_mask(m.ctx, 7), 0);
    sim_model_fill(&m, 0, ids, 3, 0, 0);
    assert_int_equal(sim_model_set(&m), 0);
    unit_open(&u, 2);
    unit_open(&after, 4);
    runner_start(&hung, &u); /* core 1 is busy */
    await_queued(1, 1);
    struct graph_runner joint = { .m = &m };
    assert_int_equal(pthread_create(&joint.thread, NULL, graph_main, &joint), 0);
    await_queued(2, 1);
    runner_start(&late, &after); /* core 2 is idle, but promised to the joint job */
    await_queued(2, 2);
    struct rknnsim_counters c = sim_counters();
    assert_int_equal(c.jobs[1] + c.jobs[2], 0);
    assert_int_equal(c.jobs[0], 1); /* the stretch before the first joint one */
    sim_config("release=hang");
    assert_int_equal(runner_join(&hung), 0);
    assert_int_equal(pthread_join(joint.thread, NULL), 0);
    assert_int_equal(joint.result, 0);
    assert_int_equal(runner_join(&late), 0);
    uint32_t n = p_rknnsim_trace_read(trace, 32);
    assert_int_equal(n, 9); /* hung, 3 joint and 4 single of the model, late */
    expect_no_overlap(trace, n);
    int64_t hung_end = 0, first_joint = 0, late_start = 0;
    for (uint32_t i = n; i-- > 0;) {
        if (trace[i].ctx == u.ctx)
            hung_end = trace[i].end_ns;
        else if (trace[i].ctx == after.ctx)
            late_start = trace[i].start_ns;
        else if (trace[i].cores == 7)
            first_joint = trace[i].start_ns;
    }
    assert_true(hung_end <= first_joint && first_joint < late_start);
    unit_close(&u);
    unit_close(&after);
    sim_model_close(&m);
    sim_end();
}

/* Three contexts on three cores from three threads take the time of one, the same on one core three times that. */
static double study(const int *masks, int jobs)
{
    struct worker w[3] = { { .mask = masks[0] }, { .mask = masks[1] }, { .mask = masks[2] } };
    static struct rknnsim_job trace[512];
    for (int i = 0; i < 3; i++)
        w[i].jobs = jobs;
    sim_config("reset=counters");
    work(w, 3);
    uint32_t n = p_rknnsim_trace_read(trace, 512);
    assert_int_equal(n, 3 * jobs);
    expect_no_overlap(trace, n);
    int64_t begin = trace[0].queued_ns, end = trace[n - 1].end_ns;
    for (uint32_t i = 0; i < n; i++)
        begin = trace[i].queued_ns < begin ? trace[i].queued_ns : begin;
    return (double)(end - begin) / 1e9;
}

static void test_study(void **state)
{
    (void)state;
    enum { JOBS = 20 };
    sim_begin("rk3588");
    sim_config("cost=model scale=500 trace=512"); /* a submit of 20 ms */
    double apart = study((int[]){ 1, 2, 4 }, JOBS), automatic = study((int[]){ 0, 0, 0 }, JOBS),
           together = study((int[]){ 2, 2, 2 }, JOBS);
    double least = JOBS * 40e-6 * 500;
    assert_true(apart >= least && automatic >= least && together >= 3 * least);
    if (apart > together / 2 || automatic > together / 2) /* a third, on a machine that has nothing else to do */
        fail_msg("%g and %g s beside %g s on one core", apart, automatic, together);
    sim_end();
}

static double run_seconds(struct sim_model *m, int mask)
{
    sim_config("reset=counters");
    assert_int_equal(p_rknn_set_core_mask(m->ctx, mask), 0);
    assert_int_equal(p_rknn_run(m->ctx, NULL), 0);
    return (double)sim_counters().modelled_ns / 1e9;
}

/* Users measure 1.0 to 1.9 for a joint mask on one stream. The test's model is tiny, so that submits weigh most: then
 * joint masks lose, as they do on boards. */
static void test_joint_cost(void **state)
{
    (void)state;
    int64_t ids[3] = { 2, 7, 3 };
    struct sim_model m;
    sim_begin("rk3588");
    sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
    sim_model_fill(&m, 0, ids, 3, 0, 0);
    assert_int_equal(sim_model_set(&m), 0);
    sim_config("cost=model scale=100 compute=no");
    double one = run_seconds(&m, 1), joint = run_seconds(&m, 7);
    assert_true(one >= 40e-6 * 100 && joint >= 7 * 40e-6 * 100 && joint > one);
    sim_model_close(&m);
    sim_end();
}

/* ---- faults */

static void test_timeout_resets_all(void **state)
{
    (void)state;
    struct unit victim, culprit, idle;
    struct runner rv, rc;
    sim_begin("rk3588");
    sim_config("cost=model scale=100000 fault=timeout core=1 job=1 after_ms=100"); /* a job of 4 s */
    unit_open(&victim, 1);
    unit_open(&culprit, 2);
    unit_open(&idle, 4);
    runner_start(&rv, &victim);
    await_queued(0, 1);
    runner_start(&rc, &culprit);
    assert_int_equal(runner_join(&rc), -2);
    assert_int_equal(runner_join(&rv), -1);
    struct rknnsim_counters c = sim_counters();
    assert_true(c.busy_ns[0] < 4000000000u); /* the victim did not sleep to its end */
    assert_false(unit_right(&victim) || unit_right(&culprit));
    for (int i = 0; i < 2 * 32; i++) /* NaN: what a failed run leaves must not be read */
        assert_true(isnan(((float *)culprit.mem[2]->virt_addr)[i]));
    assert_int_equal(c.resets, 1);
    assert_int_equal(c.jobs_failed, 2);
    sim_config("cost=host");
    assert_int_equal(p_rknn_matmul_run(victim.ctx), 0); /* all is well again */
    assert_int_equal(p_rknn_matmul_run(culprit.ctx), 0);
    assert_int_equal(p_rknn_matmul_run(idle.ctx), 0);
    assert_true(unit_right(&victim) && unit_right(&culprit) && unit_right(&idle));
    unit_close(&victim);
    unit_close(&culprit);
    unit_close(&idle);
    sim_end();
}

static void test_faults_by_core_and_number(void **state)
{
    (void)state;
    struct unit u[3];
    sim_begin("rk3588");
    for (int i = 0; i < 3; i++)
        unit_open(&u[i], 1 << i);
    sim_config("fault=fail core=1 job=3 count=2 fault=fail job=10");
    int job = 0;
    for (int round = 1; round <= 5; round++)
        for (int i = 0; i < 3; i++) {
            bool fails = (i == 1 && (round == 3 || round == 4)) || ++job == 10;
            job += i == 1 && (round == 3 || round == 4);
            assert_int_equal(p_rknn_matmul_run(u[i].ctx), fails ? -1 : 0);
            assert_int_equal(unit_right(&u[i]), !fails);
        }
    assert_int_equal(sim_counters().resets, 0);
    for (int i = 0; i < 3; i++)
        unit_close(&u[i]);
    sim_end();
}

static void test_dead_core(void **state)
{
    (void)state;
    struct unit u[3];
    sim_begin("rk3588");
    for (int i = 0; i < 3; i++)
        unit_open(&u[i], 1 << i);
    sim_config("fault=dead core=2 job=2");
    assert_int_equal(p_rknn_matmul_run(u[2].ctx), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(p_rknn_matmul_run(u[2].ctx), -1);
        assert_int_equal(p_rknn_matmul_run(u[0].ctx), 0);
        assert_int_equal(p_rknn_matmul_run(u[1].ctx), 0);
    }
    sim_config("fault=none");
    assert_int_equal(p_rknn_matmul_run(u[2].ctx), 0);
    assert_true(unit_right(&u[2]));
    for (int i = 0; i < 3; i++)
        unit_close(&u[i]);
    sim_end();
}

static void test_old_driver(void **state)
{
    (void)state;
    static const struct {
        const char *version;
        bool old;
    } cases[] = { { "0.8.2", true }, { "0.9.5", true }, { "0.9.6", false }, { "0.10.0", false }, { "1.0", false } };
    struct unit u[4];
    sim_begin("rk3588");
    for (int i = 0; i < 4; i++)
        unit_open(&u[i], i < 3 ? 1 << i : 0);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char text[50];
        snprintf(text, sizeof text, "driver=%s", cases[k].version);
        sim_config(text);
        for (int i = 0; i < 4; i++)
            assert_int_equal(p_rknn_matmul_run(u[i].ctx), cases[k].old && (i == 1 || i == 2) ? -1 : 0);
    }
    for (int i = 0; i < 4; i++)
        unit_close(&u[i]);
    sim_end();
}

static void test_hang(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct unit u, next, other;
        struct runner hung, waiting;
        sim_begin("rk3588");
        sim_config(fails ? "fault=hang core=0 result=-2" : "fault=hang core=0");
        unit_open(&u, 1);
        unit_open(&next, 1);
        unit_open(&other, 2);
        runner_start(&hung, &u);
        await_queued(0, 1);
        runner_start(&waiting, &next); /* its core stays busy */
        await_queued(0, 2);
        assert_int_equal(p_rknn_matmul_run(other.ctx), 0);
        assert_int_equal(sim_counters().jobs[0], 0);
        /* its memory may not go yet */
        assert_int_equal(p_rknn_destroy_mem(u.ctx, u.mem[2]), -5);
        assert_int_equal(sim_counters().misuse, 1);
        sim_config("release=hang");
        assert_int_equal(runner_join(&hung), fails ? -2 : 0);
        assert_int_equal(runner_join(&waiting), 0);
        assert_int_equal(unit_right(&u), !fails);
        assert_true(unit_right(&next));
        unit_close(&u);
        unit_close(&next);
        unit_close(&other);
        sim_end_after_misuse();
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    char path[512];
    rknn_context ctx, dup;
    struct sim_matmul_io_attr io;
    struct sim_matmul_info info = { .M = 1, .K = 32, .N = 16, .type = SIM_F16_F16_F32 };
    snprintf(path, sizeof path, "%s/bert-cls/model_b1_s64.rknn", SIM_MODEL_DIR);
    sim_begin("rk3588");
    sim_config("fault=nomem job=2");
    assert_int_equal(p_rknn_matmul_create(&ctx, &info, &io), 0);
    assert_null(p_rknn_create_mem(ctx, 64));
    struct sim_tensor_mem *m = p_rknn_create_mem(ctx, 64);
    assert_non_null(m);
    sim_config("fault=none fault=nomem");
    assert_null(p_rknn_create_mem_from_fd(ctx, m->fd, m->virt_addr, 64, 0));
    p_rknn_destroy_mem(ctx, m);
    assert_int_equal(p_rknn_matmul_destroy(ctx), 0);
    sim_config("fault=none fault=nomem");
    assert_int_equal(p_rknn_matmul_create(&ctx, &info, &io), -4);
    for (int n = 1; n <= 2; n++) { /* the model, then its context */
        char text[50];
        snprintf(text, sizeof text, "fault=none fault=nomem job=%d", n);
        sim_config(text);
        assert_int_equal(p_rknn_init(&ctx, path, 0, 0, NULL), -4);
        assert_int_equal(sim_counters().weights_bytes, 0);
    }
    assert_int_equal(p_rknn_init(&ctx, path, 0, 0, NULL), 0);
    sim_config("fault=none fault=nomem");
    assert_int_equal(p_rknn_dup_context(&ctx, &dup), -4);
    assert_int_equal(p_rknn_destroy(ctx), 0);
    assert_int_equal(sim_counters().jobs_failed, 0);
    sim_end();
}

static void test_no_device(void **state)
{
    (void)state;
    rknn_context ctx;
    struct sim_matmul_io_attr io;
    struct sim_capture cap;
    struct sim_matmul_info info = { .M = 1, .K = 32, .N = 16, .type = SIM_F16_F16_F32 };
    sim_begin("rk3588");
    sim_config("device=no");
    sim_capture_begin(&cap);
    int r = p_rknn_matmul_create(&ctx, &info, &io);
    assert_non_null(strstr(sim_capture_end(&cap), "E RKNN: failed to open rknpu module"));
    assert_int_equal(r, -3);
    /* silent unless asked */
    sim_capture_begin(&cap);
    setenv("RKNN_LOG_LEVEL", "0", 1);
    p_rknn_matmul_create(&ctx, &info, &io);
    assert_string_equal(sim_capture_end(&cap), "");
    sim_end();
}

/* A failed .rknn run leaves the outputs of the one before, and its later jobs do not start. */
static void test_faults_in_graphs(void **state)
{
    (void)state;
    int64_t ids[4] = { 2, 7, 9, 3 }, others[4] = { 2, 70, 90, 3 };
    float first[64 * 32], out[64 * 32];
    struct sim_model m;
    sim_begin("rk3588");
    sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
    assert_int_equal(p_rknn_set_core_mask(m.ctx, 7), 0);
    sim_model_fill(&m, 0, ids, 4, 0, 0);
    assert_int_equal(sim_model_set(&m), 0);
    assert_int_equal(p_rknn_run(m.ctx, NULL), 0);
    assert_int_equal(sim_model_get(&m, (float *[]){ first, NULL }), 0);
    sim_model_fill(&m, 0, others, 4, 0, 0);
    assert_int_equal(sim_model_set(&m), 0);
    sim_config("reset=counters fault=timeout job=3 after_ms=1"); /* the third of seven jobs */
    assert_int_equal(p_rknn_run(m.ctx, NULL), -2);
    assert_int_equal(sim_counters().jobs[0], 3);
    assert_int_equal(sim_model_get(&m, (float *[]){ out, NULL }), 0);
    assert_memory_equal(first, out, sizeof out);
    assert_int_equal(p_rknn_run(m.ctx, NULL), 0);
    assert_int_equal(sim_model_get(&m, (float *[]){ out, NULL }), 0);
    assert_memory_not_equal(first, out, sizeof out);
    sim_model_close(&m);
    sim_end();
}

/* ---- threads */

struct graph_worker {
    pthread_t thread;
    struct sim_model m;
    float want[64 * 32];
    int wrong;
};

static void *graph_worker_main(void *arg)
{
    struct graph_worker *w = arg;
    float out[64 * 32];
    for (int i = 0; i < 15; i++) {
        int64_t ids[4] = { 2, 7, 9, 3 };
        sim_model_fill(&w->m, 0, ids, 4, 0, 0);
        if (sim_model_set(&w->m) || p_rknn_run(w->m.ctx, NULL) || sim_model_get(&w->m, (float *[]){ out, NULL }) ||
            memcmp(out, w->want, sizeof out) != 0)
            w->wrong++;
    }
    return NULL;
}

/* Two threads per core and one for all, with shared weights, beside matmuls; everybody gets the right answer. */
static void test_threads(void **state)
{
    (void)state;
    static struct graph_worker w[5];
    static const int masks[5] = { 1, 2, 4, 7, 0 };
    struct worker mm[4] = {
        { .mask = 1, .jobs = 50 }, { .mask = 2, .jobs = 50 }, { .mask = 4, .jobs = 50 }, { .mask = 0, .jobs = 50 }
    };
    int64_t ids[4] = { 2, 7, 9, 3 };
    rknn_context ctx;
    sim_begin("rk3588");
    sim_model_open(&w[0].m, "bert-cls", "model_b1_s64.rknn");
    sim_model_fill(&w[0].m, 0, ids, 4, 0, 0);
    assert_int_equal(sim_model_set(&w[0].m), 0);
    assert_int_equal(p_rknn_run(w[0].m.ctx, NULL), 0);
    assert_int_equal(sim_model_get(&w[0].m, (float *[]){ w[0].want, NULL }), 0);
    for (int i = 0; i < 5; i++) {
        if (i) {
            assert_int_equal(p_rknn_dup_context(&w[0].m.ctx, &ctx), 0);
            sim_model_attach(&w[i].m, ctx);
            memcpy(w[i].want, w[0].want, sizeof w[i].want);
        }
        w[i].wrong = 0;
        assert_int_equal(p_rknn_set_core_mask(w[i].m.ctx, masks[i]), 0);
    }
    for (int i = 0; i < 5; i++)
        assert_int_equal(pthread_create(&w[i].thread, NULL, graph_worker_main, &w[i]), 0);
    work(mm, 4);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
        assert_int_equal(w[i].wrong, 0);
        sim_model_close(&w[i].m);
    }
    assert_int_equal(sim_counters().concurrent_calls, 0);
    sim_end();
}

/* Two threads on one context are serialised, counted, and a context may be destroyed under a run. */
static void test_concurrent_calls(void **state)
{
    (void)state;
    struct unit u;
    struct runner r[3];
    sim_begin("rk3588");
    sim_config("fault=hang");
    unit_open(&u, 1);
    for (int i = 0; i < 3; i++)
        runner_start(&r[i], &u);
    while (sim_counters().concurrent_calls < 2)
        nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
    assert_int_equal(sim_counters().queued[0], 1);
    sim_config("release=hang");
    for (int i = 0; i < 3; i++)
        assert_int_equal(runner_join(&r[i]), 0);
    assert_int_equal(sim_counters().jobs[0], 3);
    sim_config("cost=model scale=10000"); /* 400 ms */
    runner_start(&r[0], &u);
    await_queued(0, 1);
    for (int i = 0; i < 3; i++) /* in use */
        p_rknn_destroy_mem(u.ctx, u.mem[i]);
    assert_int_equal(p_rknn_matmul_destroy(u.ctx), 0); /* waits */
    assert_int_equal(runner_join(&r[0]), 0);
    assert_int_equal(p_rknn_matmul_run(u.ctx), -7);
    struct rknnsim_counters c = sim_counters();
    assert_int_equal(c.mem_leaked, 3);
    assert_int_equal(c.memories, 3);
    assert_int_equal(c.matmul_contexts, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cost_model),
        cmocka_unit_test(test_cores_share_the_dram),
        cmocka_unit_test(test_late_jobs_are_counted),
        cmocka_unit_test(test_one_job_per_core),
        cmocka_unit_test(test_auto_takes_the_least_loaded),
        cmocka_unit_test(test_joint_jobs_wait),
        cmocka_unit_test(test_study),
        cmocka_unit_test(test_joint_cost),
        cmocka_unit_test(test_timeout_resets_all),
        cmocka_unit_test(test_faults_by_core_and_number),
        cmocka_unit_test(test_dead_core),
        cmocka_unit_test(test_old_driver),
        cmocka_unit_test(test_hang),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_device),
        cmocka_unit_test(test_faults_in_graphs),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_concurrent_calls), /* last: it leaks on purpose */
    };
    sim_load();
    sim_config("coherent=yes"); /* caches: test_order */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
