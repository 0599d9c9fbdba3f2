/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the simulator. Reading order: platform and config (what is simulated), state (one lock), contexts, memories,
 * npu (cores, jobs, faults), then the two kinds of contexts: matmul.c and graph.c.
 *
 * Threads. `sim.lock` guards everything that is shared. Computing happens outside of it, by the thread that called:
 * the simulator has no threads of its own but those of runs that do not block. A context is used by one call at a time
 * (context_enter), calls that only look or that own their memory go beside it (context_hold).
 */
#ifndef RKNNSIM_SIM_H
#define RKNNSIM_SIM_H

#include "abi.h"
#include "half.h"
#include "rknnsim.h"

#include <pthread.h>
#include <stdbool.h>

#define SIM_CORES      3
#define SIM_MAX_FAULTS 16
#define SIM_DOMAINS    16 /* IOMMU domains of 4 GiB each */

/* ---- platforms */
struct platform {
    const char *name;  /* "rk3588" */
    const char *label; /* "RK3588", in log lines */
    uint32_t cores;
    bool core_masks;               /* rknn_set_core_mask is implemented */
    bool transposed_b;             /* B may be given transposed */
    uint32_t types;                /* bit per enum sim_matmul that it computes */
    uint32_t k_segment;            /* B is cut along K into pieces of this many; 0: not cut */
    uint32_t f16_k, f16_n, f16_ac; /* B native tile (k, n), columns per group of A native */
    uint32_t i8_k, i8_n, i8_ac;
    uint32_t i4_k, i4_n, i4_ac; /* 0: no i4 */
    double speed;               /* of a core, relative to one of RK3588 */
};
const struct platform *platform_find(const char *name, size_t len); /* NULL: none; case-insensitive */

/* ---- config */
enum fault_kind { FAULT_TIMEOUT, FAULT_FAIL, FAULT_DEAD, FAULT_HANG, FAULT_NOMEM };
struct fault {
    enum fault_kind kind;
    int32_t core;   /* -1: any */
    uint64_t first; /* the nth job (allocation) from now on, counted from 1 */
    uint64_t count; /* how many fail */
    double after_s; /* TIMEOUT: how long the job sits on the core */
    int32_t result; /* HANG: what the call returns once released */
    uint64_t seen;  /* jobs (allocations) that matched so far */
};
struct config {
    const struct platform *platform;
    bool model;     /* modelled time, else the host's */
    double scale;   /* modelled times are multiplied by this */
    bool compute;   /* false: modelled time only, outputs keep what they held */
    bool device;    /* an NPU and its driver are there */
    bool share;     /* a context accepts memory of another context */
    bool own_dram;  /* every core reads memory as if it were alone */
    bool coherent;  /* CPU and NPU see the same bytes without rknn_mem_sync */
    uint64_t limit; /* bytes per IOMMU domain */
    char runtime[32], driver[32];
    struct fault faults[SIM_MAX_FAULTS];
    uint32_t n_faults;
};

/* ---- state */
struct context;
struct memory;
struct job;
struct core {
    struct job *head, *tail; /* FIFO; the head runs or waits for its other cores; counters.queued: how many */
};
struct sim {
    pthread_mutex_t lock;
    pthread_cond_t wake; /* CLOCK_MONOTONIC: something changed: a queue, a context, a reset, a release */
    struct config config;
    bool config_broken; /* RKNNSIM_CONFIG is wrong: nothing opens until it is configured */
    struct rknnsim_counters counters;
    struct core cores[SIM_CORES];
    uint64_t releases; /* times that hangs were released */
    uint64_t next_id;
    struct context *contexts; /* list */
    struct memory *memories;  /* list */
    struct block *blocks;     /* list */
    uint64_t domain_bytes[SIM_DOMAINS];
    struct rknnsim_job *trace;
    uint32_t trace_cap, trace_len, trace_at;
};
extern struct sim sim;

void sim_start(void); /* every exported call begins with this: applies RKNNSIM_CONFIG once */
void sim_lock(void);
void sim_unlock(void);
void sim_log(char level, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* 'E', 'W', 'I', 'D' */
int64_t sim_now_ns(void);
bool sim_alloc_fails(void); /* locked: counts one allocation against the nomem faults */
int sim_misuse(int error, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* locked; returns error */

/* ---- contexts */
enum context_kind { CONTEXT_GRAPH, CONTEXT_MATMUL };
struct context {
    struct context *next;
    uint64_t id;
    enum context_kind kind;
    bool entered; /* a call is inside */
    bool dying;
    uint32_t users;  /* calls that hold or wait for it */
    uint32_t domain; /* of its memory */
    uint32_t mask;
    int64_t run_us; /* duration of the last run */
    void *impl;     /* struct matmul or struct graph */
};
/* Locked. -4 or 0; the context is known to others from now on. */
int context_add(enum context_kind kind, void *impl, uint32_t domain, struct context **out);
/* These take the lock themselves; NULL: no such context (counted, caller returns -7). kind -1: any. */
struct context *context_enter(uint64_t id, int kind);
void context_leave(struct context *c);
struct context *context_hold(uint64_t id, int kind);
void context_drop(struct context *c);
/* Takes it out of the list and waits for others to leave; then it belongs to the caller alone. */
struct context *context_remove(uint64_t id, int kind);
void context_free(struct context *c);

/* ---- tensor memories */
struct block { /* the bytes, shared by the memories made from its fd */
    struct block *next;
    uint8_t *p;      /* size + guard */
    uint8_t *device; /* what the NPU sees; NULL: the same */
    uint64_t size;   /* bytes */
    int32_t fd;      /* a number that rknn_create_mem_from_fd understands, no real descriptor */
    uint32_t refs, domain;
    bool synced; /* to the device, at least once */
};
struct memory {
    struct sim_tensor_mem pub; /* first: what the caller holds */
    struct memory *next;
    uint64_t id, ctx;    /* ctx: context that made it */
    struct block *block; /* NULL: the caller's own memory */
    uint8_t *data;       /* virt_addr + offset */
    uint32_t size, pins; /* pins: runs in flight that use it */
    bool synced;         /* to the device since a run last read it */
    bool unread;         /* written by a run, not synced from the device since */
};
uint8_t *memory_device(const struct memory *m);               /* its bytes as the NPU sees them */
struct memory *memory_find(const struct sim_tensor_mem *mem); /* locked; NULL: not alive */
struct memory *memory_pin(uint64_t id); /* locked; keeps it alive until memory_unpin; NULL: not alive */
void memory_unpin(struct memory *m);    /* locked; NULL is fine */
void memory_leak_check(uint64_t ctx);   /* locked: a context dies */

/* ---- cores and jobs */
struct work {
    uint64_t ctx;
    uint32_t mask;             /* 0: the core with the fewest queued tasks */
    double seconds[SIM_CORES]; /* modelled, before scaling, with 1, 2, 3 cores at work */
    void (*compute)(void *arg);
    void *arg;
};
/* Queues the work, waits for its cores, runs it, returns 0 or the error. *cores: where it ran. Not locked. */
int npu_run(const struct work *w, uint32_t *cores);

/* Seconds on one RK3588-like core while `busy` cores have a job, this one among them; see cost.c. */
double cost_submit(void);
double cost_matmul(uint32_t m, uint32_t k, uint32_t n, int type, bool native, uint32_t busy);
double cost_stream(uint64_t bytes, uint32_t busy);

size_t type_bits(int type); /* of an element */

/* ---- native layouts; index of an element in the native order */
struct tile {
    uint32_t k, n, segment; /* B: tile and cut along K (0: not cut) */
    uint32_t a, c;          /* columns per group of A and C */
};
struct tile platform_tile(const struct platform *p, int matmul_type);
size_t native_b(const struct tile *t, uint32_t K, uint32_t N, uint32_t k, uint32_t n);
static inline size_t native_ac(uint32_t group, uint32_t rows, uint32_t r, uint32_t col)
{
    return ((size_t)(col / group) * rows + r) * group + col % group;
}

struct matmul_kind { /* element types of a matmul type */
    int a, b, c;
};
const struct matmul_kind *matmul_kind(int type); /* NULL: unknown */

/* ---- the two kinds of contexts */
void matmul_free(void *impl);
void graph_free(void *impl);

#endif
