/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the CPU device share: repeatable random numbers, an exec, and the levels this machine can run. */
#ifndef RKF_TESTS_DEVICE_CPU_TEST_UTIL_H
#define RKF_TESTS_DEVICE_CPU_TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "device/cpu/cpu.h"
#include "device/cpu/cpu_private.h"
#include "device/cpu/kernels.h"
#include "reference.h"

#if defined(__x86_64__)
#include "amx_levels.h"
#else
static inline uint32_t emulated_flags(void)
{
    return 0;
}
#endif

static uint64_t random_state = 0x9E3779B97F4A7C15u;

static inline uint32_t random_u32(void) /* xorshift64* */
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 0x2545F4914F6CDD1Du) >> 32);
}

static inline uint32_t random_below(uint32_t n)
{
    return (uint32_t)(((uint64_t)random_u32() * n) >> 32);
}

static inline float random_float(float from, float to)
{
    return from + (to - from) * (float)random_u32() / 4294967296.0f;
}

static inline float *random_floats(size_t n, float from, float to) /* 64-byte aligned; free() */
{
    float *p = aligned_alloc(64, (n * sizeof *p + 127) / 64 * 64);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = random_float(from, to);
    return p;
}

/* What of a level's flags this machine runs, the emulated ones included; false: not all that it needs. */
static inline bool level_here(const struct cpu_level *level, uint32_t *flags)
{
    rkf_error why;
    uint32_t have = cpu_flags_granted(cpu_flags_detected(), &why) | emulated_flags();
    *flags = have & level->allowed;
    return !(level->needs & ~have);
}

/* d as if the processor had flags. */
static inline void use_flags(struct device *d, uint32_t flags)
{
    struct cpu_device *cpu = (struct cpu_device *)d;
    kernels_init_portable(&cpu->k);
    kernels_init_family(&cpu->k, flags);
    cpu_ops_init(&cpu->ops, &cpu->k);
}

/* Runs fn for every level of instruction sets that this machine has. */
static inline void each_level(void (*fn)(struct device *d))
{
    uint32_t flags;
    for (int i = 0; i < cpu_n_levels; i++) {
        struct device *d = NULL;
        rkf_error err;
        rkf_status rc = cpu_device_create(cpu_levels[i].name, NULL, &d, &err);
        if (rc == RKF_UNAVAILABLE && level_here(&cpu_levels[i], &flags)) {
            rc = cpu_device_create(NULL, NULL, &d, &err);
            use_flags(d, flags);
        }
        if (rc == RKF_UNAVAILABLE) {
            print_message("%s: not on this machine\n", cpu_levels[i].name);
            continue;
        }
        assert_int_equal(rc, RKF_OK);
        print_message("%s\n", cpu_levels[i].name);
        fn(d);
        cpu_device_free(d);
    }
}

static inline void exec_open(struct exec *x, const struct device *d, int threads)
{
    rkf_error err;
    *x = (struct exec){ .device = d, .cores = 1 };
    assert_int_equal(team_create(threads, NULL, &x->team, &err), RKF_OK);
}

static inline void exec_close(struct exec *x)
{
    team_destroy(x->team);
    arena_free(&x->scratch);
}

/* What a column's 127 steps are of, where four weights of one sign have 126: 0, 1, 4, 5 and 2, 3, 6, 7 of eight. */
static inline float quad_range(const float *w, uint32_t n)
{
    float most = 0;
    for (uint32_t i = 0; i < n; i += 8)
        for (uint32_t quad = 0; quad < 2; quad++) {
            float up[2] = { 0, 0 }, down[2] = { 0, 0 };
            for (uint32_t k = 0; k < 4; k++) {
                uint32_t at = i + 2 * quad + k % 2 + 4 * (k / 2);
                up[k / 2] += at < n && w[at] > 0 ? w[at] : 0;
                down[k / 2] -= at < n && w[at] < 0 ? w[at] : 0;
            }
            most = fmaxf(most, fmaxf(up[0] + up[1], down[0] + down[1]));
        }
    return most * (127.0f / 126);
}

#endif
