/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cpu/cpu_private.h"

#include <stdio.h>
#include <string.h>

static const struct cpu_level *find_level(const char *name)
{
    for (int i = 0; i < cpu_n_levels; i++)
        if (!strcmp(cpu_levels[i].name, name))
            return &cpu_levels[i];
    return NULL;
}

static rkf_status choose_flags(const char *name, uint32_t *flags, rkf_error *missing, rkf_error *err)
{
    uint32_t have = cpu_flags_detected();
    if (!name || !*name || !strcmp(name, "auto")) {
        *flags = cpu_flags_granted(cpu_flags_preferred(), missing);
        return RKF_OK;
    }
    const struct cpu_level *level = find_level(name);
    if (!level) {
        char list[256] = "", quoted[64];
        for (int i = 0; i < cpu_n_levels; i++)
            snprintf(list + strlen(list), sizeof list - strlen(list), ", %s", cpu_levels[i].name);
        return rkf_fail(err, RKF_INVALID, "unknown CPU instruction set '%s': use auto%s",
                        rkf_quote(quoted, sizeof quoted, name, strlen(name)), list);
    }
    if ((have & level->needs) != level->needs)
        return rkf_fail(err, RKF_UNAVAILABLE, "this processor has no %s: leave the instruction set on auto", name);
    *flags = cpu_flags_granted(have & level->allowed, missing);
    if (missing->status)
        return rkf_fail(err, missing->status, "%.480s", missing->message);
    return RKF_OK;
}

rkf_status cpu_device_create(const char *flags, const struct logger *log, struct device **out, rkf_error *err)
{
    uint32_t use = 0;
    rkf_error missing;
    rkf_status rc = choose_flags(flags, &use, &missing, err);
    if (rc)
        return rc;
    struct cpu_device *d = mem_zalloc(1, sizeof *d);
    if (!d)
        return rkf_fail_memory(err, sizeof *d, "the CPU device");
    d->flags = use;
    d->missing = missing;
    if (missing.status)
        log_line(log, RKF_LOG_WARN, "%s", missing.message);
    slab_pool_init(&d->slabs);
    kernels_init_portable(&d->k);
    kernels_init_family(&d->k, use);
    cpu_ops_init(&d->ops, &d->k);
    d->base = (struct device){ .name = "cpu",
                               .exec_depth = 1,
                               .joint_lanes = true,
                               .splits = true,
                               .linear = &cpu_linear_ops,
                               .cpu = &d->ops,
                               .log = log,
                               .priv = &d->k };
    *out = &d->base;
    return RKF_OK;
}

void cpu_device_free(struct device *d)
{
    struct cpu_device *cpu = (struct cpu_device *)d;
    if (!cpu)
        return;
    slab_pool_free(&cpu->slabs);
    mem_free(cpu);
}

const char *cpu_device_isa(const struct device *d)
{
    return ((const struct kernels *)d->priv)->isa;
}

const char *cpu_device_missing(const struct device *d)
{
    const struct cpu_device *cpu = (const struct cpu_device *)d;
    return cpu->missing.status ? cpu->missing.message : NULL;
}

bool cpu_device_has(const struct device *d, enum dtype type)
{
    const struct kernels *k = d->priv;
    enum gemm_type g = gemm_type_of(type);
    return g != GEMM_COUNT && (g == GEMM_F32 || strcmp(k->gemm_isa[g], "portable"));
}
