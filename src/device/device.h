/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boundary between a model's computation and what computes it.
 *
 *   device   makes linear handles and executes them: cpu, rknn, sim (rknn over our simulator).
 *   linear   y = epilogue(x W^T + b): immutable weights in the device's own layout, shared by every lane.
 *   body     a loaded model from token ids to rows: the native encoder (src/encoder) or a compiled .rknn graph.
 *   exec     one run in flight: where it runs, its thread team, its scratch memory, its deadline. Not shared between
 * threads. batch    ragged: all sequences end to end. Nothing is padded unless a device demands fixed shapes.
 *
 * Activations between linear layers are f32, row-major, in memory the CPU can read: attention, norm and gather are CPU
 * kernels (cpu/cpu.h) called with the exec. A linear with 16-bit or 8-bit weights converts or quantises its input
 * itself.
 */
#ifndef RKF_DEVICE_DEVICE_H
#define RKF_DEVICE_DEVICE_H

#include "base/log.h"
#include "base/mem.h"
#include "base/ops.h"
#include "base/thread.h"
#include "base/view.h"
#include "device/cost.h"
#include "npu/npu.h"

/* What went wrong on a core since the device was opened, whether a repetition then succeeded or not. */
struct core_faults {
    uint64_t timeouts, failures; /* jobs that timed out; that failed otherwise */
    uint64_t lost;               /* jobs lost when another core's timeout reset the NPU: no fault of this core */
    uint64_t hangs;              /* calls that did not return in time */
};

struct norm {
    enum norm_kind kind;
    uint32_t size;
    float eps;
    const float *gamma; // [size] f32; NULL: ones
    const float *beta;  // [size] f32; NULL: zeros
};

/* ---- linear layers */

/* One weight matrix of a fused product (Q, K, V; or gate, up): weight [out, in] F32, F16 or BF16, borrowed for the
 * call, or with exec.observe until the layer is settled or released. */
struct linear_part {
    struct view weight; // [out, in]
    const void *bias;   // [out] of bias_type; NULL: none
    enum dtype bias_type;
};

/* Whether n parts make one layer, of at most so many columns of x and of t. */
rkf_status linear_parts_check(const struct linear_part *parts, uint32_t n, uint32_t most_in, uint32_t most_out,
                              rkf_error *err);

/* Applied to t = x W^T + b, in this order. The norm needs whole rows and therefore comes last. */
struct epilogue {
    enum activation act;
    bool gated;              /* the two parts, of equal width, are gate and up: t = act(gate) * up, half as wide */
    struct view residual;    // [rows, out] f32, added; p == NULL: none
    struct view sum;         // [rows, out] f32, receives t before the norm (pre-norm stream); may be residual's memory
    const struct norm *norm; /* NULL: y = t */
};

struct linear {
    const struct device *device;
    uint32_t in, out; /* columns of x and of t (before gating) */
    enum dtype type;  /* compute dtype of the weights */
    /* the device's own fields follow in its private struct */
};

struct exec;
struct linear_ops {
    /* Packs parts (concatenated along out) for compute dtype `type`. May use x's team. */
    rkf_status (*prepare)(struct exec *x, const struct linear_part *parts, uint32_t n, enum dtype type,
                          struct linear **out, rkf_error *err);
    void (*release)(struct linear *l);
    /* x [rows, in] f32 -> y [rows, out or out / 2] f32. y may be the residual's memory, never x's. */
    rkf_status (*apply)(struct exec *x, const struct linear *l, struct view in, const struct epilogue *epi,
                        struct view y, rkf_error *err);
    /* y = second(first(x)), the way of an MLP: pieces of rows go through both, so that what is between them stays in
     * each thread's cache. first's epilogue has neither norm, residual nor sum. NULL: apply twice. */
    rkf_status (*apply_pair)(struct exec *x, const struct linear *first, const struct epilogue *first_epi,
                             const struct linear *second, const struct epilogue *second_epi, struct view in,
                             struct view y, rkf_error *err);
    size_t (*bytes)(const struct linear *l); /* memory held */
    /* Ends what x->observe began: a layer that was prepared with it has looked at the x of each apply, and now suits
     * itself to them. Before that no other thread may use it. May use x's team. NULL: nothing to learn. */
    rkf_status (*settle)(struct exec *x, struct linear *l, rkf_error *err);
};

struct device {
    const char *name;   /* "cpu", "rknn", "sim" */
    uint8_t exec_depth; /* execs in flight per lane: cpu 1, rknn 2 */
    bool joint_lanes;   /* auto may join idle cores for native bodies */
    bool splits;        /* threads of an exec may run parts of a batch each, with execs of their own without a team */
    const struct linear_ops *linear;
    const struct cpu_ops *cpu; /* the CPU kernels that belong to it (dispatch already done) */
    const struct logger *log;
    void *priv;
};

/* ---- exec */

struct exec {
    const struct device *device;
    uint8_t cores;        /* lane: bit per core (virtual on the cpu device); 0: not on numbered cores */
    struct team *team;    /* CPU threads of this run; NULL: the caller's only */
    bool uneven;          /* the team's CPUs are not alike: what they share is cut small */
    struct arena scratch; /* reset by whoever starts a run; valid until its end */
    struct pack_cache
        *packs;           /* while a model loads: its packed weights on disk (device/cpu/pack_cache.h); NULL: none */
    bool observe;         /* while a model loads: linear_ops.settle */
    int64_t deadline_ns;  /* 0: none */
    uint8_t cores_used;   /* set by devices: cores that really computed */
    uint8_t cores_failed; /* set by devices with RKF_DEVICE or RKF_DEADLINE: cores to take for sick */
    int64_t stalled_ns;   /* added to by devices: waited for other execs of the same cores, or made ready for good */
    void *priv;           /* the device's own (rknn: contexts, buffers) */
};

/* ---- bodies */

struct batch {
    uint32_t n_seqs, n_tokens;
    const int32_t *ids;      // [n_tokens]
    const uint8_t *type_ids; // [n_tokens]; NULL: zeros
    const uint32_t *cu_lens; // [n_seqs + 1], cu_lens[0] = 0: sequence i is tokens cu_lens[i] .. cu_lens[i + 1]
    bool first_only; /* only the first token's row of each sequence will be read: a body may return HIDDEN rows of those
                        alone, [n_seqs, cols] with per_token false */
};

enum body_output { BODY_HIDDEN, BODY_LOGITS, BODY_POOLED };
struct rows { /* what a body returns; data lives in the exec's scratch */
    enum body_output kind;
    float *data; // [rows, cols] f32: HIDDEN one row per token; LOGITS, POOLED as the body says in `per_token`
    uint32_t rows, cols;
    bool per_token;
};
struct body_limits {
    uint32_t max_tokens;   /* longest sequence */
    uint32_t batch_tokens; /* token budget of one run that suits the device; 0: no wish */
    uint32_t batch_seqs;   /* most sequences in one run; 0: no limit */
    size_t bytes;          /* memory held by weights */
};

struct body;
struct body_ops {
    struct body_limits (*limits)(const struct body *b);
    /* Predicted microseconds of a run of these lengths on `n_cores` cores with `threads` CPU threads each; 0: unknown.
     */
    uint32_t (*cost_us)(const struct body *b, uint32_t n_cores, const uint32_t *lengths, uint32_t n);
    /* Makes ready for / forgets a lane's exec (contexts, buffers). Optional. */
    rkf_status (*attach)(struct body *b, struct exec *x, rkf_error *err);
    void (*detach)(struct body *b, struct exec *x);
    rkf_status (*run)(struct body *b, struct exec *x, const struct batch *batch, struct rows *out, rkf_error *err);
    void (*release)(struct body *b);
};
struct body {
    const struct body_ops *ops;
    const struct device *device;
};

#endif
