/* SPDX-License-Identifier: Apache-2.0 */
/* aarch64: what the processor has, as the kernel says in its hardware capabilities, and which kernel files there are.
 */
#include "device/cpu/kernels.h"

#include <asm/hwcap.h>
#include <sys/auxv.h>

enum {
    DOTPROD_LEVEL = CPU_NEON | CPU_DOTPROD,
    FP16_LEVEL = DOTPROD_LEVEL | CPU_FP16,
    BF16_LEVEL = FP16_LEVEL | CPU_BF16,
    I8MM_LEVEL = BF16_LEVEL | CPU_I8MM,
};

const struct cpu_level cpu_levels[] = {
    { "portable", 0, 0 },
    { "neon", CPU_NEON, CPU_NEON },
    { "dotprod", DOTPROD_LEVEL, DOTPROD_LEVEL },
    { "fp16", FP16_LEVEL, FP16_LEVEL },
    { "bf16", BF16_LEVEL, BF16_LEVEL },
    { "i8mm", I8MM_LEVEL, I8MM_LEVEL },
};
const int cpu_n_levels = sizeof cpu_levels / sizeof *cpu_levels;

uint32_t cpu_flags_detected(void)
{
    static const struct {
        unsigned long bit1, bit2; /* of AT_HWCAP, AT_HWCAP2; 0: none */
        uint32_t flag;
    } table[] = {
        { HWCAP_ASIMD, 0, CPU_NEON }, { HWCAP_ASIMDDP, 0, CPU_DOTPROD }, { HWCAP_ASIMDHP, 0, CPU_FP16 },
        { 0, HWCAP2_BF16, CPU_BF16 }, { 0, HWCAP2_I8MM, CPU_I8MM },
    };
    unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
    uint32_t flags = 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if ((caps & table[i].bit1) | (caps2 & table[i].bit2))
            flags |= table[i].flag;
    return flags;
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
    kernels_init_neon(k, flags);
    kernels_init_neon_dotprod(k, flags);
    kernels_init_neon_fp16(k, flags);
    kernels_init_neon_bf16(k, flags);
    kernels_init_neon_i8mm(k, flags);
}
