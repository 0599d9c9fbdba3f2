/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator as a program sees it: loaded at run time, its calls in a table. Included by each test once. */
#ifndef TESTS_SIM_SIMLIB_H
#define TESTS_SIM_SIMLIB_H

#include "../../sim/abi.h"
#include "../../sim/rknnsim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <unistd.h>

#define SIM_CALLS(X)                                                                                                   \
    X(rknn_init)                                                                                                       \
    X(rknn_dup_context)                                                                                                \
    X(rknn_destroy)                                                                                                    \
    X(rknn_query)                                                                                                      \
    X(rknn_inputs_set)                                                                                                 \
    X(rknn_set_core_mask)                                                                                              \
    X(rknn_run)                                                                                                        \
    X(rknn_wait)                                                                                                       \
    X(rknn_outputs_get)                                                                                                \
    X(rknn_outputs_release)                                                                                            \
    X(rknn_create_mem)                                                                                                 \
    X(rknn_create_mem2)                                                                                                \
    X(rknn_create_mem_from_fd)                                                                                         \
    X(rknn_destroy_mem)                                                                                                \
    X(rknn_set_io_mem)                                                                                                 \
    X(rknn_set_input_shapes)                                                                                           \
    X(rknn_mem_sync)                                                                                                   \
    X(rknn_matmul_create)                                                                                              \
    X(rknn_matmul_create_dynamic_shape)                                                                                \
    X(rknn_matmul_set_io_mem)                                                                                          \
    X(rknn_matmul_set_core_mask)                                                                                       \
    X(rknn_matmul_set_quant_params)                                                                                    \
    X(rknn_matmul_set_dynamic_shape)                                                                                   \
    X(rknn_matmul_run)                                                                                                 \
    X(rknn_matmul_destroy)                                                                                             \
    X(rknn_B_normal_layout_to_native_layout)                                                                           \
    X(rknnsim_configure)                                                                                               \
    X(rknnsim_counters_read)                                                                                           \
    X(rknnsim_trace_read)

#define SIM_DECLARE(name) static __typeof__(&name) p_##name __attribute__((unused));
SIM_CALLS(SIM_DECLARE)

static inline void sim_load(void)
{
    void *lib = dlopen(SIM_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
#define SIM_FIND(name)                                                                                                 \
    *(void **)&p_##name = dlsym(lib, #name);                                                                           \
    if (p_##name == NULL) {                                                                                            \
        fprintf(stderr, "%s is not exported\n", #name);                                                                \
        exit(1);                                                                                                       \
    }
    SIM_CALLS(SIM_FIND)
}

static inline struct rknnsim_counters sim_counters(void)
{
    struct rknnsim_counters c;
    assert_int_equal(p_rknnsim_counters_read(&c, sizeof c), 0);
    return c;
}

static inline void sim_config(const char *text)
{
    assert_int_equal(p_rknnsim_configure(text), 0);
}

/* Every test begins on a named platform, host speed, without faults; and ends with nothing alive and nothing misused,
 * unless it says so. */
static inline void sim_begin(const char *platform)
{
    char text[256];
    snprintf(text, sizeof text,
             "platform=%s cost=host scale=1 compute=yes device=yes share=yes memory=4G runtime=2.3.2 driver=0.9.8 "
             "fault=none trace=0 reset=counters",
             platform);
    sim_config(text);
}

static inline void sim_end_after_misuse(void)
{
    struct rknnsim_counters c = sim_counters();
    assert_int_equal(c.contexts, 0);
    assert_int_equal(c.matmul_contexts, 0);
    assert_int_equal(c.memories, 0);
    assert_int_equal(c.memory_bytes, 0);
    assert_int_equal(c.weights, 0);
    assert_int_equal(c.weights_bytes, 0);
    assert_int_equal(c.outputs_held, 0);
    assert_int_equal(c.threads, 0);
}

static inline void sim_end(void)
{
    struct rknnsim_counters c = sim_counters();
    sim_end_after_misuse();
    assert_int_equal(c.misuse, 0);
    assert_int_equal(c.bad_handles, 0);
    assert_int_equal(c.mem_leaked, 0);
    assert_int_equal(c.mem_overruns, 0);
    assert_int_equal(c.would_abort, 0);
}

/* Standard error while `call` runs, with the library's log switched on. */
struct sim_capture {
    int saved;
    FILE *file;
    char text[4096];
};

static inline void sim_capture_begin(struct sim_capture *c)
{
    fflush(stderr);
    c->file = tmpfile();
    assert_non_null(c->file);
    c->saved = dup(2);
    dup2(fileno(c->file), 2);
    setenv("RKNN_LOG_LEVEL", "4", 1);
}

static inline const char *sim_capture_end(struct sim_capture *c)
{
    unsetenv("RKNN_LOG_LEVEL");
    fflush(stderr);
    dup2(c->saved, 2);
    close(c->saved);
    rewind(c->file);
    c->text[fread(c->text, 1, sizeof c->text - 1, c->file)] = '\0';
    fclose(c->file);
    return c->text;
}

#endif
