/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator notices who breaks the documented contract: wrong order of calls, memories not synced, handles used
 * after their end, what is left behind. Each case breaks one rule; the engine's tests hold all these counters at 0.
 */
#include "model.h"

#include <sys/wait.h>

struct product { /* 8 x 32 x 32 in native layouts, all memories set */
    rknn_context ctx;
    struct sim_matmul_io_attr io;
    struct sim_tensor_mem *mem[3];
};

static void product_open(struct product *p)
{
    struct sim_matmul_info info = { .M = 8, .K = 32, .N = 32, .type = 1, .B_layout = 1, .AC_layout = 1 };
    assert_int_equal(p_rknn_matmul_create(&p->ctx, &info, &p->io), 0);
    struct sim_matmul_tensor_attr *attr[3] = { &p->io.A, &p->io.B, &p->io.C };
    for (int i = 0; i < 3; i++) {
        p->mem[i] = p_rknn_create_mem(p->ctx, attr[i]->size);
        assert_non_null(p->mem[i]);
        assert_int_equal(p_rknn_matmul_set_io_mem(p->ctx, p->mem[i], attr[i]), 0);
    }
}

static void product_close(struct product *p)
{
    for (int i = 0; i < 3; i++)
        assert_int_equal(p_rknn_destroy_mem(p->ctx, p->mem[i]), 0);
    assert_int_equal(p_rknn_matmul_destroy(p->ctx), 0);
}

static void memories_are_synced(void **state)
{
    (void)state;
    struct product p;
    sim_begin("rk3588");
    product_open(&p);
    assert_int_equal(p_rknn_matmul_set_core_mask(p.ctx, 1), 0);
    assert_int_equal(p_rknn_matmul_run(p.ctx), 0);
    assert_int_equal(sim_counters().unsynced, 1); /* A and B were never synced */
    assert_int_equal(p_rknn_mem_sync(p.ctx, p.mem[2], SIM_FROM_DEVICE), 0);
    assert_int_equal(p_rknn_mem_sync(p.ctx, p.mem[1], SIM_TO_DEVICE), 0);
    assert_int_equal(p_rknn_matmul_run(p.ctx), 0);
    assert_int_equal(sim_counters().unsynced, 2); /* A was not */
    assert_int_equal(p_rknn_mem_sync(p.ctx, p.mem[2], SIM_FROM_DEVICE), 0);
    assert_int_equal(p_rknn_mem_sync(p.ctx, p.mem[0], SIM_TO_DEVICE), 0);
    assert_int_equal(p_rknn_matmul_run(p.ctx), 0);
    assert_int_equal(sim_counters().unsynced, 2); /* as it should be: B once is enough */
    assert_int_equal(p_rknn_mem_sync(p.ctx, p.mem[0], SIM_TO_DEVICE), 0);
    assert_int_equal(p_rknn_matmul_run(p.ctx), 0);
    assert_int_equal(sim_counters().unsynced, 3); /* C of the run before was not */
    product_close(&p);
    sim_end();
}

/* The NPU sees what was synced to it, the CPU what was synced from it, and nothing else. */
static void caches_are_simulated(void **state)
{
    (void)state;
    struct product p;
    sim_begin("rk3588");
    product_open(&p);
    uint16_t *a = p.mem[0]->virt_addr, *b = p.mem[1]->virt_addr;
    float *c = p.mem[2]->virt_addr;
    assert_int_equal(p_rknn_matmul_set_core_mask(p.ctx, 1), 0);
    for (int i = 0; i < 32 * 32; i++)
        b[i] = 0x3c00; /* 1 */
    assert_int_equal(p_rknn_mem_sync(p.ctx, p.mem[1], SIM_TO_DEVICE), 0);
    for (int i = 0; i < 8 * 32; i++)
        a[i] = 0x4000; /* 2 */
    assert_int_equal(p_rknn_mem_sync(p.ctx, p.mem[0], SIM_TO_DEVICE), 0);
    for (int i = 0; i < 8 * 32; i++)
        a[i] = 0; /* too late */
    c[0] = 5;
    assert_int_equal(p_rknn_matmul_run(p.ctx), 0);
    assert_true(c[0] == 5);
    assert_int_equal(p_rknn_mem_sync(p.ctx, p.mem[2], SIM_FROM_DEVICE), 0);
    assert_true(c[0] == 64);
    c[0] = 6; /* written after: the next result does not disappear behind it */
    assert_int_equal(p_rknn_mem_sync(p.ctx, p.mem[0], SIM_TO_DEVICE), 0);
    assert_int_equal(p_rknn_matmul_run(p.ctx), 0);
    assert_int_equal(p_rknn_mem_sync(p.ctx, p.mem[2], SIM_FROM_DEVICE), 0);
    assert_true(c[0] == 0);
    product_close(&p);
    sim_end();
}

static void masks_are_set_before_the_run(void **state)
{
    (void)state;
    struct product p;
    sim_begin("rk3588");
    product_open(&p);
    assert_int_equal(p_rknn_matmul_run(p.ctx), 0);
    assert_int_equal(sim_counters().auto_jobs, 1);
    assert_int_equal(p_rknn_matmul_set_core_mask(p.ctx, 4), 0);
    assert_int_equal(p_rknn_matmul_run(p.ctx), 0);
    assert_int_equal(sim_counters().auto_jobs, 1);
    product_close(&p);
    sim_end();
    sim_begin("rk3566"); /* has no masks */
    product_open(&p);
    assert_int_equal(p_rknn_matmul_run(p.ctx), 0);
    assert_int_equal(sim_counters().auto_jobs, 0);
    product_close(&p);
    sim_end();
}

static void stale_outputs_are_noticed(void **state)
{
    (void)state;
    struct sim_model m;
    float *buf;
    sim_begin("rk3588");
    sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
    buf = calloc(m.out[0].n_elems, sizeof *buf);
    struct sim_output out = { .want_float = 1, .is_prealloc = 1, .buf = buf, .size = m.out[0].n_elems * 4 };
    assert_int_equal(p_rknn_set_core_mask(m.ctx, 1), 0);
    assert_int_equal(p_rknn_outputs_get(m.ctx, 1, &out, NULL), 0);
    assert_int_equal(sim_counters().stale_reads, 1); /* nothing has run */
    struct sim_input in[MODEL_INPUTS];
    for (uint32_t i = 0; i < m.n.n_input; i++)
        in[i] = (struct sim_input){ .index = i, .buf = m.inputs[i], .size = m.in[i].n_elems * 8, .type = SIM_I64 };
    m.inputs[1][0] = 1;
    assert_int_equal(p_rknn_inputs_set(m.ctx, m.n.n_input, in), 0);
    assert_int_equal(p_rknn_run(m.ctx, NULL), 0);
    assert_int_equal(p_rknn_outputs_get(m.ctx, 1, &out, NULL), 0);
    assert_int_equal(sim_counters().stale_reads, 1);
    sim_config("fault=fail");
    assert_int_equal(p_rknn_inputs_set(m.ctx, m.n.n_input, in), 0);
    assert_int_equal(p_rknn_run(m.ctx, NULL), -1);
    assert_int_equal(p_rknn_outputs_get(m.ctx, 1, &out, NULL), 0); /* as the vendor's: no error */
    assert_int_equal(sim_counters().stale_reads, 2);
    assert_int_equal(sim_counters().unreleased, 2); /* of the two before each run; the third is still to come */
    free(buf);
    sim_model_close(&m);
    assert_int_equal(sim_counters().unreleased, 3);
    rknn_context ctx;
    char bytes[16] = "";
    assert_int_equal(p_rknn_init(&ctx, bytes, 16, 0x4000, NULL), -5); /* a flag that there is not */
    assert_int_equal(sim_counters().misuse, 1);
    sim_end_after_misuse();
}

static void handles_end(void **state)
{
    (void)state;
    struct product p;
    sim_begin("rk3588");
    product_open(&p);
    struct sim_tensor_mem *extra = p_rknn_create_mem(p.ctx, 64);
    assert_int_equal(p_rknn_destroy_mem(p.ctx, extra), 0);
    assert_int_equal(p_rknn_destroy_mem(p.ctx, extra), -5); /* twice */
    assert_int_equal(sim_counters().bad_handles, 1);
    assert_non_null(p_rknn_create_mem(p.ctx, 64)); /* forgotten */
    product_close(&p);
    assert_int_equal(sim_counters().mem_leaked, 1);
    assert_int_equal(p_rknn_matmul_run(p.ctx), -7); /* after its end */
    assert_int_equal(p_rknn_matmul_destroy(p.ctx), -7);
    assert_int_equal(sim_counters().bad_handles, 3);
}

/* RKNNSIM_STRICT: what a whole program left behind or broke decides its exit status. */
static int status_of_child(bool leave)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct product p;
        setenv("RKNNSIM_STRICT", "1", 1);
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        sim_config("reset=counters");
        product_open(&p);
        if (!leave)
            product_close(&p);
        exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void programs_end_clean(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(false), 0);
    assert_int_equal(status_of_child(true), 97);
}

int main(void)
{
    sim_load();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memories_are_synced),
        cmocka_unit_test(caches_are_simulated),
        cmocka_unit_test(masks_are_set_before_the_run),
        cmocka_unit_test(stale_outputs_are_noticed),
        cmocka_unit_test(programs_end_clean),
        cmocka_unit_test(handles_end), /* last: it leaves a memory behind */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
