/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the rknn device share. Reading order: library (the vendor's calls), worker (threads that make
 * them), health (retries and blame), task (one-off calls), matmul (contexts and weights), linear (layers), graph
 * (bodies).
 *
 * Lifetime. The device is counted: its owner, every linear and body, and every call in flight hold it, so that what a
 * hung call uses stays until it returns.
 */
#ifndef RKF_DEVICE_RKNN_PRIVATE_H
#define RKF_DEVICE_RKNN_PRIVATE_H

#include "device/rknn/library.h"
#include "device/rknn/rknn_device.h"
#include "device/rknn/worker.h"

enum { MEMORY_TYPES = 2 }; /* f16, i8 */

/* ---- health */
struct attempt { /* one failed try of a job */
    uint8_t cores;
    int result;
    int64_t start_ns, end_ns;
};
enum { HEALTH_RING = 16 };
struct health {
    pthread_mutex_t mutex;
    struct attempt failed[HEALTH_RING]; /* the latest failures of all cores */
    uint32_t n;
    struct core_faults faults[NPU_MAX_CORES]; /* all but hangs: workers count those */
};

/* ---- what memory of one context is worth to another: found out by trying, see matmul.c */
enum sharing { SHARING_UNKNOWN, SHARING_DIRECT, SHARING_IMPORT, SHARING_NONE };

struct matmul_context;
struct home { /* per weight type: a small context that owns the weights' memory */
    abi_context ctx;
    bool open;
    uint32_t tile_n, tile_k, a_group, c_group;
};

struct rknn_device {
    struct device base; /* first; priv is the CPU device's, whose kernels run here */
    atomic_int holders;
    bool simulator;
    struct library lib;
    const struct platform *platform;
    pthread_mutex_t log_mutex; /* guards log: the owner's logger does not outlive the owner */
    const struct logger *log;
    struct worker core[NPU_MAX_CORES], control;
    struct health health;
    int64_t hang_ns;

    pthread_mutex_t mutex;      /* guards everything below */
    pthread_mutex_t home_mutex; /* calls on home contexts */
    struct home home[MEMORY_TYPES];
    enum sharing sharing;            /* written once */
    bool parts_shared;               /* memory may be imported from the middle */
    struct matmul_context *contexts; /* all that are alive */
    uint32_t n_contexts;
    size_t context_bytes;
    uint64_t clock; /* counts uses, for the least recently used */
};

static inline struct rknn_device *rknn_of(const struct device *d)
{
    return (struct rknn_device *)d;
}
void rknn_hold(struct rknn_device *d);
void rknn_drop(struct rknn_device *d);
void rknn_log(struct rknn_device *d, rkf_log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Runs fn until it succeeds or is to blame: failures and timeouts are tried once more, those that another core's reset
 * explains again. On the worker's thread. Returns the vendor's result; *blame: the cores are to be taken for sick. */
int health_run(struct rknn_device *d, struct worker *w, uint8_t cores, int (*fn)(void *arg), void *arg, bool *blame);
void health_init(struct health *h);
/* The status of a vendor result: RKF_NO_MEMORY or RKF_DEVICE with "<what>: <result>". */
rkf_status rknn_fail(rkf_error *err, int result, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- one-off calls */
struct task {
    struct call call;
    struct rknn_device *d;
    void (*work)(struct task *t); /* on the worker's thread */
    void (*undo)(struct task *t); /* on the worker's thread: nobody waited for the result; NULL: nothing to undo */
    atomic_int state;
    void *arg; /* behind the struct */
    int result;
};
struct task *task_new(struct rknn_device *d, size_t arg_size, void (*work)(struct task *t),
                      void (*undo)(struct task *t)); /* NULL: out of memory; task_drop */
/* RKF_OK: work has run. Else the task may still run, and undoes itself. */
rkf_status task_run(struct worker *w, struct task *t, int64_t deadline_ns, bool *hung, rkf_error *err) MUST_CHECK;
void task_post(struct worker *w,
               struct task *t); /* consumes t: runs some time, or at once where no thread can be had */
void task_drop(struct task *t);

/* ---- weights: a matrix [n, k] of one type in the NPU's memory, in native layout */
struct block {
    struct rknn_device *d;
    enum dtype type;
    uint32_t k, n; /* padded */
    uint64_t id;   /* never used twice */
    struct abi_tensor_mem *mem;
    struct cut {
        uint32_t n0, n;
        struct abi_tensor_mem *mem;
    } cuts[8]; /* imported parts, made when first used; guarded by home_mutex */
    uint32_t n_cuts;
};
static inline enum dtype memory_type(int i)
{
    return i ? DTYPE_I8 : DTYPE_F16;
}
static inline int memory_index(enum dtype type)
{
    return type == DTYPE_I8;
}
/* Opens the home of a type if it is not open yet; *h is good for as long as the device. */
rkf_status home_open(struct rknn_device *d, enum dtype type, const struct home **h, rkf_error *err) MUST_CHECK;
rkf_status block_create(struct rknn_device *d, enum dtype type, uint32_t k, uint32_t n, struct block *out,
                        rkf_error *err) MUST_CHECK;
void *block_data(const struct block *b);
rkf_status block_written(struct block *b, rkf_error *err) MUST_CHECK; /* the NPU shall see what was written */
void block_release(struct block *b);                                  /* soon; a zeroed block is fine */
/* What contexts may share is known afterwards: tried on this core if it is not. *parts: joint lanes can cut a block. */
rkf_status sharing_ensure(struct rknn_device *d, uint32_t core, int64_t deadline_ns, bool *parts, uint8_t *failed,
                          rkf_error *err) MUST_CHECK;

/* ---- matmul contexts: C[m, n] = A[m, k] B[k, n] on one core, two pairs of A and C each */
struct matmul_shape {
    uint32_t m, k, n;
    enum dtype type;
};
enum { MATMUL_SLOTS = 2 };
/* One for the caller alone. */
rkf_status matmul_acquire(struct rknn_device *d, uint32_t core, struct matmul_shape shape, int64_t deadline_ns,
                          struct matmul_context **out, uint8_t *failed, rkf_error *err) MUST_CHECK;
/* broken: it failed or is still running: it is destroyed as soon as nothing uses it. */
void matmul_release(struct matmul_context *c, bool broken);
/* Memory of a slot; makes the slot's memory at first use. */
rkf_status matmul_slot(struct matmul_context *c, uint32_t slot, int64_t deadline_ns, void **a, const void **cc,
                       uint8_t *failed, rkf_error *err) MUST_CHECK;
uint64_t *matmul_tag(struct matmul_context *c, uint32_t slot); /* the caller's note of what A holds; 0: nothing */
/* Starts slot on columns n0 .. n0 + n of the block. keep is held until the run has ended. */
rkf_status matmul_start(struct matmul_context *c, uint32_t slot, struct block *b, uint32_t n0, struct call *keep,
                        uint8_t *failed, rkf_error *err) MUST_CHECK;
/* *took_ns: the run alone, without what it waited for others on its core. */
rkf_status matmul_finish(struct matmul_context *c, uint32_t slot, int64_t deadline_ns, int64_t *took_ns,
                         uint8_t *failed, rkf_error *err) MUST_CHECK;

void matmul_close_all(struct rknn_device *d); /* every idle context; no core's worker runs */

extern const struct linear_ops rknn_linear_ops;

#endif
