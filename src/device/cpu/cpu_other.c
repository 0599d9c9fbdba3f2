/* SPDX-License-Identifier: Apache-2.0 */
/* Any other processor: the portable kernels alone. */
#include "device/cpu/kernels.h"

const struct cpu_level cpu_levels[] = {
    { "portable", 0, 0 },
};
const int cpu_n_levels = sizeof cpu_levels / sizeof *cpu_levels;

uint32_t cpu_flags_detected(void)
{
    return 0;
}

uint32_t cpu_flags_preferred(void)
{
    return cpu_flags_detected();
}

uint32_t cpu_flags_granted(uint32_t flags, rkf_error *why)
{
    why->status = RKF_OK;
    return flags;
}

void kernels_init_family(struct kernels *k, uint32_t flags)
{
    (void)k, (void)flags;
}
