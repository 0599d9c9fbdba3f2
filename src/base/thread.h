/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads: clocks, CPU sets, and teams.
 *
 * A team is n threads that run one function together: thread 0 is whoever calls team_run, the other n - 1 are the
 * team's own and sleep between runs (they spin for some microseconds first, never longer than 1 ms). One team_run at a
 * time per team.
 */
#ifndef RKF_BASE_THREAD_H
#define RKF_BASE_THREAD_H

#include "base/status.h"

int64_t time_now_ns(void); /* monotonic */

/* CPUs this process may use: affinity mask cut by the cgroup's quota (root: as in file.h). At least 1. */
int cpu_count_usable(const char *root);
/* Fills cpus[] with the numbers of the CPUs in the affinity mask, ascending; returns how many (at most max). */
int cpu_list_allowed(int *cpus, int max);
enum { CPU_FASTEST = 1024 };
/* How fast each CPU is relative to the fastest of the machine, CPU_FASTEST: as the kernel tells (cpu_capacity, else the
 * highest clock). All are CPU_FASTEST where it does not. */
void cpu_capacities(const char *root, const int *cpus, int n, uint16_t *out);

struct team;
/* cpus: CPU per thread to pin to, or NULL for no pinning. n >= 1; n == 1 makes no thread. */
rkf_status team_create(int n, const int *cpus, struct team **out, rkf_error *err) MUST_CHECK;
void team_destroy(struct team *team); /* NULL is fine */
int team_size(const struct team *team);
/* Runs fn(arg, thread) for thread = 0 .. n-1 at once; returns when all are done. */
void team_run(struct team *team, void (*fn)(void *arg, int thread), void *arg);
/* Cuts 0..n into pieces of `grain` that threads take as they get free: fn(arg, begin, end, thread). A thread that comes
 * after the last piece is taken is not waited for: to be preferred to team_run wherever the threads share the work. */
void team_for(struct team *team, uint32_t n, uint32_t grain,
              void (*fn)(void *arg, uint32_t begin, uint32_t end, int thread), void *arg);

#endif
