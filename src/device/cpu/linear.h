/* SPDX-License-Identifier: Apache-2.0 */
/* A linear layer of the CPU device: packed by linear_pack.c, multiplied by linear.c. */
#ifndef RKF_DEVICE_CPU_LINEAR_H
#define RKF_DEVICE_CPU_LINEAR_H

#include "device/cpu/cpu_private.h"
#include "device/cpu/outliers.h"

struct panel {
    uint32_t col;  /* its first column of t */
    uint32_t cols; /* <= nr */
};

struct cpu_linear {
    struct linear base;
    const struct gemm *g;
    uint32_t k; /* base.in, padded */
    uint32_t n_panels, n_parts;
    uint32_t part_out; /* columns of each part if all are the same, else 0 */
    size_t panel_bytes, bytes;
    struct panel *panels;      // [n_panels]
    struct linear_part *parts; /* [n_parts] while it is observed, else NULL */
    uint64_t key;              /* of its packed form; 0: not cached */
    struct slab *slab;         /* what the rest is a piece of */
    uint8_t *b;                // [n_panels][panel_bytes]
    float *bias;               // [n_panels][nr], zeros where there is none
    float *scale;              // [n_panels][nr] int8 only
    int32_t *wsum;             // [n_panels][nr] int8 only
    struct outliers outliers;  /* int8 only: their weights and channels */
    uint32_t *chosen;          // [1 + OUTLIERS] where outliers are looked for: their n and channel, for the cache
};

/* As in struct linear_ops. */
rkf_status cpu_linear_prepare(struct exec *x, const struct linear_part *parts, uint32_t n, enum dtype type,
                              struct linear **out, rkf_error *err);
void cpu_linear_release(struct linear *l);
rkf_status cpu_linear_settle(struct exec *x, struct linear *l, rkf_error *err);

#endif
