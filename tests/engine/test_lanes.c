/* SPDX-License-Identifier: Apache-2.0 */
/* Which CPU threads belong to which core: CPUs that are alike, and the fast and slow ones of the boards. */
#include "base/thread.h"
#include "engine/engine.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { FAST = 1024, SLOW = 414 }; /* Cortex-A76 and A55 of an RK3588 at their highest clocks, as Linux tells them */

struct dealt {
    uint8_t users[MOST_THREADS];
    int share[NPU_MAX_CORES];
    uint32_t capacity[NPU_MAX_CORES]; /* of each core's threads */
};

static struct dealt deal(const uint16_t *capacity, int threads, uint32_t cores)
{
    struct dealt d = { .share = { -1, -1, -1 } };
    deal_threads(capacity, threads, cores, d.users, d.share);
    for (int s = 0; s < threads; s++)
        for (uint32_t c = 0; c < cores; c++)
            d.capacity[c] += d.users[s] >> c & 1 ? capacity[s] : 0;
    return d;
}

static void alike_are_neighbours(void **state)
{
    uint16_t capacity[16];
    (void)state;
    for (int i = 0; i < 16; i++)
        capacity[i] = (uint16_t)(i < 8 ? 1024 : 900); /* turbo cores of a desktop */
    struct dealt d = deal(capacity, 8, 3);
    const uint8_t three[] = { 1, 1, 2, 2, 2, 4, 4, 4 };
    assert_memory_equal(d.users, three, sizeof three);
    assert_int_equal(d.share[0] + d.share[1] + d.share[2], 8);
    d = deal(capacity, 16, 2);
    assert_int_equal(d.share[0], 8);
    assert_int_equal(d.users[7], 1);
    assert_int_equal(d.users[8], 2);
}

static void few_threads_are_shared(void **state)
{
    const uint16_t capacity[] = { FAST, SLOW };
    (void)state;
    struct dealt d = deal(capacity, 1, 3);
    assert_int_equal(d.users[0], 7);
    d = deal(capacity, 2, 3);
    assert_int_equal(d.users[0] | d.users[1], 7);
    for (int c = 0; c < 3; c++)
        assert_int_equal(d.share[c], 1);
}

static void fast_and_slow_are_spread(void **state)
{
    const uint16_t rk3588[] = { FAST, FAST, FAST, FAST, SLOW, SLOW, SLOW, SLOW };
    (void)state;
    struct dealt d = deal(rk3588, 8, 3);
    int threads = 0;
    for (int c = 0; c < 3; c++) {
        threads += d.share[c];
        assert_true(d.capacity[c] >=
                    FAST + SLOW); /* each has a fast one; evenly by number one core had slow ones only */
        assert_true(d.capacity[c] <= 2 * FAST);
    }
    assert_int_equal(threads, 8);
    for (int s = 0; s < 8; s++)
        assert_int_equal(__builtin_popcount(d.users[s]), 1);
    d = deal(rk3588, 8, 2); /* an RK3576 has the same clusters and two cores */
    assert_int_equal(d.capacity[0], 2 * FAST + 2 * SLOW);
    assert_int_equal(d.capacity[1], 2 * FAST + 2 * SLOW);
    d = deal(rk3588, 3, 3); /* only fast ones */
    assert_int_equal(d.users[0] | d.users[1] << 4 | d.users[2] << 8, 0x421);
}

/* ---- what the kernel tells */

static void put(const char *root, int cpu, const char *file, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "mkdir -p %s/sys/devices/system/cpu/cpu%d/cpufreq", root, cpu);
    assert_int_equal(system(path), 0);
    snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/%s", root, cpu, file);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void capacities_are_read(void **state)
{
    char root[] = "/tmp/rkformer-test-XXXXXX", remove[64];
    const int cpus[] = { 0, 3, 4, 7 };
    uint16_t got[4];
    (void)state;
    assert_non_null(mkdtemp(root));
    cpu_capacities(root, cpus, 4, got); /* a machine that tells nothing */
    for (int i = 0; i < 4; i++)
        assert_int_equal(got[i], CPU_FASTEST);
    for (int i = 0; i < 4; i++) /* by clocks: in kilohertz */
        put(root, cpus[i], "cpufreq/cpuinfo_max_freq", i < 2 ? "1800000\n" : "2400000\n");
    cpu_capacities(root, cpus, 4, got);
    assert_int_equal(got[0], 768);
    assert_int_equal(got[3], 1024);
    for (int i = 0; i < 4; i++) /* capacities know more than clocks do */
        put(root, cpus[i], "cpu_capacity", i < 2 ? "414\n" : "1024\n");
    cpu_capacities(root, cpus, 4, got);
    assert_int_equal(got[1], SLOW);
    assert_int_equal(got[2], FAST);
    put(root, 7, "cpu_capacity", "rubbish\n"); /* not of every CPU: the clocks */
    cpu_capacities(root, cpus, 4, got);
    assert_int_equal(got[1], 768);
    snprintf(remove, sizeof remove, "rm -r %s", root);
    assert_int_equal(system(remove), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alike_are_neighbours),
        cmocka_unit_test(few_threads_are_shared),
        cmocka_unit_test(fast_and_slow_are_spread),
        cmocka_unit_test(capacities_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
