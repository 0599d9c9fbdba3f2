/* SPDX-License-Identifier: Apache-2.0 */
/* Teams: every thread runs once per run, every index is taken once, what a run wrote is seen after it. */
#include "base/mem.h"
#include "base/thread.h"
#include "test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 8 };

struct counts {
    int runs[MOST]; /* written by the thread of that number only */
    int sum;        /* written by thread 0 only */
};

static void count_runs(void *arg, int thread)
{
    struct counts *c = arg;
    c->runs[thread]++;
    if (thread == 0)
        c->sum++;
}

static void nap_us(long us)
{
    nanosleep(&(struct timespec){ 0, us * 1000 }, NULL);
}

static void every_thread_runs_once_per_run(void **state)
{
    (void)state;
    static const int sizes[] = { 1, 2, 3, MOST };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct team *team = NULL;
        struct counts c = { 0 };
        rkf_error err;
        assert_ok(team_create(sizes[s], NULL, &team, &err));
        assert_int_equal(team_size(team), sizes[s]);
        for (int run = 1; run <= 200; run++) {
            team_run(team, count_runs, &c);
            for (int t = 0; t < MOST; t++)
                assert_int_equal(c.runs[t], t < sizes[s] ? run : 0);
            if (run % 50 == 0)
                nap_us(1500); /* long enough for the team to go to sleep */
        }
        assert_int_equal(c.sum, 200);
        team_destroy(team);
    }
    struct counts c = { 0 };
    team_run(NULL, count_runs, &c); /* no team is a team of one */
    assert_int_equal(c.runs[0], 1);
    assert_int_equal(team_size(NULL), 1);
    team_destroy(NULL);
}

struct cover {
    uint8_t *taken; // [n]
    uint32_t n, grain;
    int threads;
    _Atomic int wrong;
};

static void take(void *arg, uint32_t begin, uint32_t end, int thread)
{
    struct cover *c = arg;
    if (begin >= end || end > c->n || thread < 0 || thread >= c->threads)
        c->wrong++;
    if (c->threads > 1 && c->n > c->grain && (begin % c->grain || end - begin > c->grain))
        c->wrong++;
    for (uint32_t i = begin; i < end; i++)
        c->taken[i]++;
}

static void every_index_is_taken_once(void **state)
{
    (void)state;
    static const struct {
        uint32_t n, grain;
    } cases[] = { { 0, 1 }, { 1, 1 }, { 7, 3 }, { 1000, 1 }, { 1000, 7 }, { 1000, 1000 }, { 5, 100 }, { 4096, 64 } };
    for (int threads = 1; threads <= 4; threads++) {
        struct team *team = NULL;
        rkf_error err;
        assert_ok(team_create(threads, NULL, &team, &err));
        for (int round = 0; round < 5; round++)
            for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                uint8_t taken[4096] = { 0 };
                struct cover c = { taken, cases[i].n, cases[i].grain, threads, 0 };
                team_for(team, c.n, c.grain, take, &c);
                assert_int_equal(c.wrong, 0);
                for (uint32_t k = 0; k < sizeof taken; k++)
                    assert_int_equal(taken[k], k < c.n);
            }
        team_destroy(team);
    }
}

/* Runs of all and shared ranges in turn, so short that workers come late to many of them: whoever comes to the next run
 * instead still takes part in it once. */
static void late_threads_join_the_next_run_once(void **state)
{
    (void)state;
    struct team *team = NULL;
    rkf_error err;
    assert_ok(team_create(4, NULL, &team, &err));
    struct counts c = { 0 };
    uint8_t taken[8] = { 0 };
    struct cover cover = { taken, 8, 1, 4, 0 };
    for (int round = 1; round <= 2000; round++) {
        for (int i = 0; i < round % 4; i++)
            team_for(team, cover.n, cover.grain, take, &cover);
        team_run(team, count_runs, &c);
        for (int t = 0; t < 4; t++)
            assert_int_equal(c.runs[t], round);
        if (round % 100 == 0)
            nap_us(500);
    }
    assert_int_equal(cover.wrong, 0);
    for (size_t k = 0; k < sizeof taken; k++)
        assert_int_equal(taken[k], 500 * 6 % 256);
    team_destroy(team);
}

static void take_one(void *arg, uint32_t begin, uint32_t end, int thread)
{
    (void)thread;
    *(uint64_t *)arg += end - begin; /* a team of one: no race */
}

/* A range of 2^32 - 1 with no grain given. */
static void the_largest_range(void **state)
{
    (void)state;
    struct team *team = NULL;
    rkf_error err;
    uint64_t sum = 0;
    assert_ok(team_create(1, NULL, &team, &err));
    team_for(team, UINT32_MAX, 0, take_one, &sum);
    assert_int_equal(sum, UINT32_MAX);
    team_destroy(team);
}

/* Two callers, each with a team of its own, at the same time. */
static void *caller(void *arg)
{
    struct team *team = arg;
    struct counts c = { 0 };
    for (int i = 0; i < 300; i++)
        team_run(team, count_runs, &c);
    return c.sum == 300 && c.runs[1] == 300 ? NULL : team;
}

static void teams_do_not_meet(void **state)
{
    (void)state;
    struct team *team[2];
    pthread_t thread[2];
    rkf_error err;
    for (int i = 0; i < 2; i++) {
        assert_ok(team_create(2, NULL, &team[i], &err));
        assert_int_equal(pthread_create(&thread[i], NULL, caller, team[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        void *bad = NULL;
        pthread_join(thread[i], &bad);
        assert_null(bad);
        team_destroy(team[i]);
    }
}

static void made_and_ended_many_times(void **state)
{
    (void)state;
    int cpu[MOST];
    int n = cpu_list_allowed(cpu, 1);
    assert_int_equal(n, 1);
    for (int i = 1; i < MOST; i++)
        cpu[i] = cpu[0];
    for (int i = 0; i < 50; i++) {
        struct team *team = NULL;
        struct counts c = { 0 };
        rkf_error err;
        assert_ok(team_create(3, i % 2 ? cpu : NULL, &team, &err));
        if (i % 3)
            team_run(team, count_runs, &c);
        team_destroy(team);
    }
}

static void impossible_teams(void **state)
{
    (void)state;
    struct team *team = NULL;
    rkf_error err;
    assert_fails(team_create(0, NULL, &team, &err), RKF_INVALID, "1 to 1024");
    assert_fails(team_create(1025, NULL, &team, &err), RKF_INVALID, "1025");
    mem_fail_after(0);
    rkf_status rc = team_create(2, NULL, &team, &err);
    mem_fail_after(-1);
    assert_int_equal(rc, RKF_NO_MEMORY);
    assert_null(team);
}

static void clock_and_cpus(void **state)
{
    (void)state;
    int64_t a = time_now_ns();
    nap_us(2000);
    assert_true(time_now_ns() - a >= 2000000);
    int cpus[1024];
    int n = cpu_list_allowed(cpus, 1024);
    assert_true(n >= 1);
    for (int i = 1; i < n; i++)
        assert_true(cpus[i] > cpus[i - 1]);
    assert_true(cpu_count_usable("/") >= 1 && cpu_count_usable("/") <= n);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* The quota of a cgroup (version 2, then 1) cuts the count, rounded up, never below 1; "max" does not. */
static void quota_is_respected(void **state)
{
    (void)state;
    char dir[] = "/tmp/rkf-test-XXXXXX", path[512];
    assert_non_null(mkdtemp(dir));
    static const char *const folders[] = { "sys", "sys/fs", "sys/fs/cgroup", "sys/fs/cgroup/cpu" };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    int cpus[1024], all = cpu_list_allowed(cpus, 1024);
    assert_int_equal(cpu_count_usable(dir), all);
    write_file(dir, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    write_file(dir, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cpu_count_usable(dir), all);
    write_file(dir, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
    assert_int_equal(cpu_count_usable(dir), 1);
    write_file(dir, "sys/fs/cgroup/cpu.max", "max 100000\n");
    write_file(dir, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    assert_int_equal(cpu_count_usable(dir), all);
    write_file(dir, "sys/fs/cgroup/cpu.max", "100001 100000\n");
    assert_int_equal(cpu_count_usable(dir), all < 2 ? all : 2);
    write_file(dir, "sys/fs/cgroup/cpu.max", "1000 100000\n");
    assert_int_equal(cpu_count_usable(dir), 1);
    write_file(dir, "sys/fs/cgroup/cpu.max", "rubbish\n");
    assert_int_equal(cpu_count_usable(dir), all);
    static const char *const files[] = { "cpu.max", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/sys/fs/cgroup/%s", dir, files[i]);
        unlink(path);
    }
    for (size_t i = sizeof folders / sizeof *folders; i-- > 0;) {
        snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
        rmdir(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_thread_runs_once_per_run),
        cmocka_unit_test(every_index_is_taken_once),
        cmocka_unit_test(late_threads_join_the_next_run_once),
        cmocka_unit_test(the_largest_range),
        cmocka_unit_test(teams_do_not_meet),
        cmocka_unit_test(made_and_ended_many_times),
        cmocka_unit_test(impossible_teams),
        cmocka_unit_test(clock_and_cpus),
        cmocka_unit_test(quota_is_respected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
