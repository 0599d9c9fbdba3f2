/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What librknnrt-sim exports besides the vendor runtime's calls: configuration and counters, for tests and scheduling
 * studies. README.md has the list of keys. All calls may be made from any thread at any time.
 */
#ifndef RKNNSIM_H
#define RKNNSIM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RKNNSIM_API __attribute__((visibility("default")))

/*
 * Applies "key=value key=value ..." (see README.md), all of it or, on an error, nothing. 0; -5 an unknown key or value;
 * -1 the platform cannot change while contexts are alive. The environment variable RKNNSIM_CONFIG is applied before the
 * first call of the library.
 */
RKNNSIM_API int rknnsim_configure(const char *key_value_text);

/* Since the library was loaded or reset=counters was configured; the "live" ones are never reset. */
struct rknnsim_counters {
    uint64_t jobs[3];         /* jobs that ran on core i, joint jobs included */
    uint64_t jobs_by_mask[8]; /* jobs that ran on exactly this set of cores */
    uint64_t busy_ns[3];      /* time that core i was busy */
    uint64_t modelled_ns;     /* what the cost model says of all jobs, scaled; 0 with cost=host */
    uint64_t queued[3];       /* live: jobs that wait for core i or run on it */
    uint64_t jobs_failed, resets;
    uint64_t jobs_late;                 /* computing took longer than the modelled time */
    uint64_t contexts, matmul_contexts; /* live */
    uint64_t contexts_created;          /* of both kinds */
    uint64_t memories, memory_bytes;    /* live tensor memories, and the bytes they hold */
    uint64_t memory_peak;               /* most bytes at once */
    uint64_t weights, weights_bytes;    /* live sets of weights of .rknn models (shared ones once) */
    uint64_t weights_loaded;            /* sets of weights ever loaded */
    uint64_t outputs_held;              /* live: buffers from rknn_outputs_get not yet released */
    uint64_t runs;                      /* rknn_run and rknn_matmul_run calls that got as far as a job */
    uint64_t mem_leaked;                /* memories alive when their context was destroyed */
    uint64_t mem_overruns;              /* memories written past their end (seen when destroyed) */
    uint64_t bad_handles;               /* calls with a context or memory that does not exist */
    uint64_t misuse;                    /* other calls that the documented contract forbids */
    uint64_t concurrent_calls;          /* calls that met another one on the same context */
    uint64_t auto_jobs;                 /* jobs under mask 0 on a platform that has core masks */
    uint64_t stale_reads;               /* rknn_outputs_get without a run that succeeded since the inputs were set */
    uint64_t unsynced;                  /* products in native layouts whose memories rknn_mem_sync was not called for */
    uint64_t unreleased;                /* outputs taken and not released before the next run or the context's end */
    uint64_t would_abort;               /* calls on which the vendor's library ends the process */
    uint64_t threads;                   /* live: threads of runs that were started without waiting */
};
/* size: sizeof(struct rknnsim_counters) of the caller. 0 or -5. */
RKNNSIM_API int rknnsim_counters_read(struct rknnsim_counters *out, uint32_t size);

/* One finished job; times of CLOCK_MONOTONIC. */
struct rknnsim_job {
    uint64_t ctx;
    uint32_t cores; /* bit per core */
    int32_t result; /* what the call returned for it */
    int64_t queued_ns, start_ns, end_ns;
};
/* The last jobs (configure trace=N), oldest first, in order of their ends. Returns how many were written. */
RKNNSIM_API uint32_t rknnsim_trace_read(struct rknnsim_job *out, uint32_t max);

#ifdef __cplusplus
}
#endif
#endif
