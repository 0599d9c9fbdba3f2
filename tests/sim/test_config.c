/* SPDX-License-Identifier: Apache-2.0 */
/* rknnsim_configure: whole texts or nothing; RKNNSIM_CONFIG. */
#include "simlib.h"

#include <errno.h>
#include <sys/wait.h>

static void test_configure(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "platform=rk9999",
        "platform=",
        "cost=maybe",
        "scale=0",
        "scale=x",
        "scale=1x",
        "compute=1",
        "core=1",
        "job=1",
        "fault=what",
        "fault=fail core=3",
        "fault=fail core=-1",
        "fault=fail job=0",
        "fault=fail job=1.5",
        "memory=",
        "memory=K",
        "memory=1.5G",
        "driver=new",
        "runtime=",
        "nonsense",
        "key=1",
        "=",
        "fault=hang result=1",
        "fault=timeout after_ms=-1",
        "trace=-1",
        "trace=99999999",
        "release=all",
        "reset=all",
        "device=maybe",
        "fault=none core=1",
    };
    sim_begin("rk3588");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[100];
        snprintf(text, sizeof text, "platform=rk3576 %s", wrong[i]);
        if (p_rknnsim_configure(text) != -5)
            fail_msg("\"%s\" was taken", text);
    }
    assert_int_equal(p_rknnsim_configure(NULL), -5);
    /* none of them had an effect: it is rk3588 still */
    rknn_context ctx;
    struct sim_matmul_io_attr io;
    struct sim_matmul_info info = { .M = 1, .K = 32, .N = 16, .type = SIM_F16_F16_F32 };
    assert_int_equal(p_rknn_matmul_create(&ctx, &info, &io), 0);
    assert_int_equal(p_rknn_matmul_set_core_mask(ctx, 3), -1);
    info.type = SIM_F16_I8_F32; /* rk3576 could */
    assert_int_equal(p_rknn_matmul_create(&ctx, &info, &io), -5);
    assert_int_equal(p_rknnsim_configure("platform=rk3576"), -1); /* a context is alive */
    assert_int_equal(p_rknnsim_configure("platform=RK3588 cost=host\n\tscale=2"), 0);
    assert_int_equal(p_rknn_matmul_destroy(ctx), 0);
    for (int i = 0; i < 16; i++)
        sim_config("fault=fail core=2 job=1000000");
    assert_int_equal(p_rknnsim_configure("fault=fail"), -5); /* enough */
    struct rknnsim_counters c;
    assert_int_equal(p_rknnsim_counters_read(&c, sizeof c - 1), -5);
    assert_int_equal(p_rknnsim_counters_read(NULL, sizeof c), -5);
    sim_begin("rk3588");
    sim_end();
}

/* RKNNSIM_CONFIG, seen by a process that loads the library anew: 0 if it is as it should be. */
static int child_with_environment(const char *text, bool good)
{
    setenv("RKNNSIM_CONFIG", text, 1);
    sim_load();
    rknn_context ctx;
    struct sim_matmul_io_attr io;
    struct sim_matmul_info info = { .M = 1, .K = 16, .N = 8, .type = SIM_F16_F16_F32 }; /* rk3568's alignment */
    int r = p_rknn_matmul_create(&ctx, &info, &io);
    if (!good)
        return r != -1 || p_rknnsim_configure("platform=rk3568") != 0 || p_rknn_matmul_create(&ctx, &info, &io) != 0;
    return r != 0;
}

static int in_child(const char *text, bool good)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(child_with_environment(text, good));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid < 0 || !WIFEXITED(status) ? -1 : WEXITSTATUS(status);
}

static int environment_results[2]; /* found before the library was loaded here */

static void test_environment(void **state)
{
    (void)state;
    assert_int_equal(environment_results[0], 0);
    assert_int_equal(environment_results[1], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configure),
        cmocka_unit_test(test_environment),
    };
    environment_results[0] = in_child("platform=rk3568", true);
    environment_results[1] = in_child("platform=rk35", false);
    sim_load();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
