/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's tests over the simulated NPU share. Include engine_util.h first. */
#ifndef RKF_TESTS_NPU_UTIL_H
#define RKF_TESTS_NPU_UTIL_H

#include "../sim/simlib.h"

#include <malloc.h>

static inline rkf_runtime *open_sim(const char *platform)
{
    rkf_error err;
    rkf_runtime_options o = RKF_RUNTIME_OPTIONS_INIT;
    rkf_runtime *rt = NULL;
    o.platform = platform;
    o.device = "sim";
    o.npu_runtime = SIM_LIBRARY;
    o.threads = 2;
    assert_ok(rkf_runtime_open(&o, &rt, &err));
    return rt;
}

/* Every context, memory, set of weights and output is given back, and no call broke the documented contract: order of
 * calls, sizes, handles, memories written past their end. */
static inline void nothing_is_left(void)
{
    struct rknnsim_counters c = sim_counters();
    assert_int_equal(c.contexts + c.matmul_contexts, 0);
    assert_int_equal(c.memories + c.memory_bytes, 0);
    assert_int_equal(c.weights + c.weights_bytes, 0);
    assert_int_equal(c.outputs_held + c.threads, 0);
    assert_int_equal(c.mem_leaked, 0);
    assert_int_equal(c.mem_overruns, 0);
    assert_int_equal(c.bad_handles, 0);
    assert_int_equal(c.misuse, 0);
    assert_int_equal(c.concurrent_calls, 0);
    assert_int_equal(c.would_abort, 0);
    assert_int_equal(c.auto_jobs, 0);   /* no job ran without a core mask where there are masks */
    assert_int_equal(c.stale_reads, 0); /* outputs of failed runs are never looked at */
    assert_int_equal(c.unsynced, 0);
    assert_int_equal(c.unreleased, 0);
}

static inline int count_threads(void)
{
    char line[256];
    int n = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "Threads: %d", &n) == 1)
            break;
    if (f)
        fclose(f);
    return n;
}

/* Of the allocator; with a sanitizer 0, it looks for leaks itself. */
static inline int64_t memory_in_use(void)
{
    struct mallinfo2 m = mallinfo2();
    return (int64_t)(m.uordblks + m.hblkhd);
}

#endif
