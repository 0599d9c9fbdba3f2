/* SPDX-License-Identifier: Apache-2.0 */
/* Which flags tests of the CPU device may add to the processor's: AMX, by its emulator. */
#ifndef RKF_TESTS_DEVICE_AMX_LEVELS_H
#define RKF_TESTS_DEVICE_AMX_LEVELS_H

#include "amx_emulator.h"

#include "device/cpu/kernels.h"

/* None where the compiler has not, and where the processor has tiles: then the tests run on them, or, where the kernel
 * does not permit it, not at all, since the configuration alone would not come to the handler. */
static inline uint32_t emulated_flags(void)
{
    const uint32_t beside = CPU_AVX512 | CPU_AVX512VNNI | CPU_AVX512BF16, tiles = CPU_AMX_BF16 | CPU_AMX_INT8;
    uint32_t have = cpu_flags_detected();
    struct kernels k = { 0 };
    if ((have & beside) != beside || have & tiles)
        return 0;
    kernels_init_amx(&k, CPU_AMX_BF16); /* compiled for AVX-512: only after it was found to be here */
    if (!k.isa)
        return 0;
    amx_emulate();
    return tiles;
}

#endif
