/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int64_t time_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int cpu_list_allowed(int *cpus, int max)
{
    cpu_set_t set;
    int n = 0;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        for (int i = 0; i < CPU_SETSIZE && n < max; i++)
            if (CPU_ISSET(i, &set))
                cpus[n++] = i;
    if (!n && max > 0)
        cpus[n++] = 0;
    return n;
}

static int64_t cpu_number(const char *root, int cpu, const char *file)
{
    char path[96], text[32];
    long long v;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/%s", cpu, file);
    return root_read(root, path, text, sizeof text) > 0 && sscanf(text, "%lld", &v) == 1 && v > 0 ? v : 0;
}

void cpu_capacities(const char *root, const int *cpus, int n, uint16_t *out)
{
    static const char *const files[] = { "cpu_capacity", "cpufreq/cpuinfo_max_freq" };
    for (int i = 0; i < n; i++)
        out[i] = CPU_FASTEST;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        int64_t most = 0, least = INT64_MAX;
        for (int i = 0; i < n; i++) {
            int64_t v = cpu_number(root, cpus[i], files[f]);
            most = v > most ? v : most;
            least = v < least ? v : least;
        }
        if (least <= 0) /* not told, or not of every CPU */
            continue;
        for (int i = 0; i < n; i++) {
            int64_t v = cpu_number(root, cpus[i], files[f]) * CPU_FASTEST / most;
            out[i] = (uint16_t)(v < 1 ? 1 : v > CPU_FASTEST ? CPU_FASTEST : v);
        }
        return;
    }
}

/* CPUs that the cgroup's quota pays for, rounded up; INT_MAX-like large if there is no quota. */
static int cgroup_cpus(const char *root)
{
    char text[128];
    long long quota, period;
    if (root_read(root, "/sys/fs/cgroup/cpu.max", text, sizeof text) > 0 &&
        sscanf(text, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0)
        return (int)((quota + period - 1) / period);
    char p[64];
    if (root_read(root, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof text) > 0 &&
        root_read(root, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", p, sizeof p) > 0 && sscanf(text, "%lld", &quota) == 1 &&
        sscanf(p, "%lld", &period) == 1 && quota > 0 && period > 0)
        return (int)((quota + period - 1) / period);
    return 1 << 20;
}

int cpu_count_usable(const char *root)
{
    int cpus[CPU_SETSIZE];
    int n = cpu_list_allowed(cpus, CPU_SETSIZE), quota = cgroup_cpus(root);
    n = n < quota ? n : quota;
    return n < 1 ? 1 : n;
}

/* ---- teams
 * `generation` counts runs and is the futex word the workers sleep on. `gate` counts the workers inside a run that may
 * do without some of them, and is SHUT as soon as nothing is left to take: on a busy machine a worker that the kernel
 * has not woken yet must not hold up those that have done its work. `left` counts the workers that a run of all still
 * waits for. The caller sleeps on `gate` and `left`. */

enum { SPIN_NS = 100 * 1000 }; /* the gap between two layers is far below, an idle server's far above */
#define SHUT 0x80000000u

struct worker {
    struct team *team;
    int index;
    pthread_t thread;
};

struct team {
    int n;
    _Atomic uint32_t generation;
    _Atomic uint32_t gate;
    _Atomic uint32_t left;
    _Atomic uint32_t sleeping; /* workers in futex_wait or about to be */
    atomic_bool stop;
    /* the run that the gate guards */
    uint32_t run; /* its generation */
    bool all;     /* every worker must take part, once */
    void (*fn)(void *arg, int thread);
    void *arg;
    struct worker workers[]; /* [n - 1] */
};

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

/* Spins until *word is no longer `seen` or the time is over; true if it changed. */
static bool spin_change(_Atomic uint32_t *word, uint32_t seen)
{
    int64_t end = time_now_ns() + SPIN_NS;
    do
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != seen)
                return true;
            cpu_relax();
        }
    while (time_now_ns() < end);
    return false;
}

static bool gate_enter(struct team *t)
{
    uint32_t inside = atomic_load_explicit(&t->gate, memory_order_relaxed);
    do
        if (inside & SHUT)
            return false;
    while (!atomic_compare_exchange_weak_explicit(&t->gate, &inside, inside + 1, memory_order_acquire,
                                                  memory_order_relaxed));
    return true;
}

/* Counts down; wakes the caller who sleeps on the word if this was the last. */
static void count_down(_Atomic uint32_t *word, uint32_t last)
{
    if (atomic_fetch_sub_explicit(word, 1, memory_order_acq_rel) == last)
        futex_wake(word, 1);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct team *t = w->team;
    uint32_t seen = 0, done = 0;
    for (;;) {
        if (!spin_change(&t->generation, seen)) {
            atomic_fetch_add(&t->sleeping, 1);
            while (atomic_load(&t->generation) == seen)
                futex_wait(&t->generation, seen);
            atomic_fetch_sub(&t->sleeping, 1);
        }
        seen = atomic_load_explicit(&t->generation, memory_order_acquire);
        if (atomic_load(&t->stop))
            return NULL;
        if (!gate_enter(t))
            continue;         /* too late */
        if (done != t->run) { /* the gate may be a later run's than the one seen, or still that of the run just done */
            done = t->run;
            t->fn(t->arg, w->index);
            if (t->all)
                count_down(&t->left, 1);
        }
        count_down(&t->gate, SHUT + 1);
    }
}

static rkf_status start_worker(struct team *t, int index, const int *cpus, rkf_error *err)
{
    struct worker *w = &t->workers[index - 1];
    *w = (struct worker){ .team = t, .index = index };
    int e = pthread_create(&w->thread, NULL, worker_main, w);
    if (e)
        return rkf_fail(err, RKF_NO_MEMORY, "cannot start thread %d of %d: %s", index, t->n, strerror(e));
    if (cpus) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpus[index], &set);
        pthread_setaffinity_np(w->thread, sizeof set, &set); /* a wish: a changed cpuset only costs speed */
    }
    char name[32]; /* the kernel takes 15 characters: index is below 1024 */
    snprintf(name, sizeof name, "rkf-team-%d", index);
    pthread_setname_np(w->thread, name);
    return RKF_OK;
}

rkf_status team_create(int n, const int *cpus, struct team **out, rkf_error *err)
{
    if (n < 1 || n > 1024)
        return rkf_fail(err, RKF_INVALID, "a team of %d threads is not possible: use 1 to 1024", n);
    struct team *t = mem_zalloc(1, sizeof *t + (size_t)(n - 1) * sizeof *t->workers);
    if (!t)
        return rkf_fail_memory(err, sizeof *t, "a thread team");
    t->n = 1;
    t->gate = SHUT;
    for (int i = 1; i < n; i++) {
        rkf_status rc = start_worker(t, i, cpus, err);
        if (rc) {
            team_destroy(t);
            return rc;
        }
        t->n = i + 1;
    }
    *out = t;
    return RKF_OK;
}

void team_destroy(struct team *t)
{
    if (!t)
        return;
    atomic_store(&t->stop, true);
    atomic_fetch_add(&t->generation, 1);
    futex_wake(&t->generation, t->n);
    for (int i = 1; i < t->n; i++)
        pthread_join(t->workers[i - 1].thread, NULL);
    mem_free(t);
}

int team_size(const struct team *t)
{
    return t ? t->n : 1;
}

static void wait_until(_Atomic uint32_t *word, uint32_t done)
{
    for (uint32_t seen; (seen = atomic_load_explicit(word, memory_order_acquire)) != done;)
        if (!spin_change(word, seen))
            futex_wait(word, seen);
}

static void run(struct team *t, bool all, void (*fn)(void *arg, int thread), void *arg)
{
    t->fn = fn;
    t->arg = arg;
    t->all = all;
    t->run = atomic_load_explicit(&t->generation, memory_order_relaxed) + 1;
    atomic_store_explicit(&t->left, all ? (uint32_t)t->n - 1 : 0, memory_order_relaxed);
    atomic_store_explicit(&t->gate, 0, memory_order_release); /* publishes all of the above */
    atomic_fetch_add(&t->generation, 1);
    if (atomic_load(&t->sleeping))
        futex_wake(&t->generation, t->n);
    fn(arg, 0);
    wait_until(&t->left, 0);
    atomic_fetch_or_explicit(&t->gate, SHUT, memory_order_acq_rel);
    wait_until(&t->gate, SHUT);
}

void team_run(struct team *t, void (*fn)(void *arg, int thread), void *arg)
{
    if (!t || t->n == 1)
        fn(arg, 0);
    else
        run(t, true, fn, arg);
}

struct team_for_job {
    void (*fn)(void *arg, uint32_t begin, uint32_t end, int thread);
    void *arg;
    uint32_t n, grain;
    _Atomic uint32_t next;
};

static void team_for_thread(void *arg, int thread)
{
    struct team_for_job *j = arg;
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed);
        uint64_t begin = (uint64_t)i * j->grain;
        if (begin >= j->n)
            return;
        uint64_t end = begin + j->grain;
        j->fn(j->arg, (uint32_t)begin, end < j->n ? (uint32_t)end : j->n, thread);
    }
}

void team_for(struct team *t, uint32_t n, uint32_t grain,
              void (*fn)(void *arg, uint32_t begin, uint32_t end, int thread), void *arg)
{
    if (!n)
        return;
    if (!grain)
        grain = 1;
    if (!t || t->n == 1 || n <= grain) {
        fn(arg, 0, n, 0);
        return;
    }
    struct team_for_job job = { fn, arg, n, grain, 0 };
    run(t, false, team_for_thread, &job);
}
