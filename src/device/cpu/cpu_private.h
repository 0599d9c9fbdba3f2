/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the CPU device share: its private struct, and the two tables of operations it is made of. */
#ifndef RKF_DEVICE_CPU_CPU_PRIVATE_H
#define RKF_DEVICE_CPU_CPU_PRIVATE_H

#include "device/cpu/cpu.h"
#include "device/cpu/kernels.h"
#include "device/cpu/slab.h"

struct cpu_device {
    struct device base;
    struct kernels k;
    struct cpu_ops ops;
    uint32_t flags;
    rkf_error missing; /* why something that the processor has is not used; RKF_OK: all is */
    struct slab_pool slabs;
};
static inline const struct kernels *cpu_kernels(const struct exec *x)
{
    return x->device->priv;
}

extern const struct linear_ops cpu_linear_ops;
void cpu_ops_init(struct cpu_ops *ops, const struct kernels *k);
rkf_status cpu_attend(struct exec *x, const struct attention *a, const struct batch *b, struct view qkv,
                      struct view out, rkf_error *err);

#endif
