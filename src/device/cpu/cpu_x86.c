/* SPDX-License-Identifier: Apache-2.0 */
/* x86-64: what the processor and the operating system have, and which kernel files there are. */
#include "device/cpu/kernels.h"

#include <cpuid.h>

enum {
    AVX2_LEVEL = CPU_AVX2,
    AVXVNNI_LEVEL = CPU_AVX2 | CPU_AVXVNNI,
    AVX512_LEVEL = CPU_AVX2 | CPU_AVX512,
    AVX512VNNI_LEVEL = AVX512_LEVEL | CPU_AVX512VNNI,
    AVX512BF16_LEVEL = AVX512VNNI_LEVEL | CPU_AVX512BF16,
    AVX512FP16_LEVEL = AVX512VNNI_LEVEL | CPU_AVX512FP16,
    AMX_LEVEL = AVX512BF16_LEVEL | CPU_AMX_BF16 | CPU_AMX_INT8,
};

const struct cpu_level cpu_levels[] = {
    { "portable", 0, 0 },
    { "avx2", AVX2_LEVEL, AVX2_LEVEL },
    { "avxvnni", AVXVNNI_LEVEL, AVXVNNI_LEVEL },
    { "avx512", AVX512_LEVEL, AVX512_LEVEL },
    { "avx512vnni", AVX512VNNI_LEVEL, AVX512VNNI_LEVEL },
    { "avx512bf16", AVX512BF16_LEVEL, AVX512BF16_LEVEL },
    { "avx512fp16", AVX512FP16_LEVEL, AVX512FP16_LEVEL },
    { "amx", AMX_LEVEL, AMX_LEVEL | CPU_AVX512FP16 },
};
const int cpu_n_levels = sizeof cpu_levels / sizeof *cpu_levels;

/* Registers that the operating system saves: bits of XCR0. */
enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe6, XCR0_TILES = 0x60000 };

static uint64_t read_xcr0(void)
{
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool all(uint32_t value, uint32_t bits)
{
    return (value & bits) == bits;
}

/* Tiles as the kernels use them: palette 1 with 8 of 16 rows of 64 bytes, products of 16 groups by 64 bytes. Whether
 * the process may use them is another question: cpu_flags_granted. */
static uint32_t detect_tiles(void)
{
    uint32_t a, b, c, d, flags = 0;
    const uint32_t bf16 = 1u << 22, tile = 1u << 24, int8 = 1u << 25;
    if (!all((uint32_t)read_xcr0(), XCR0_TILES) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !all(d, tile))
        return 0;
    flags = (all(d, bf16) ? CPU_AMX_BF16 : 0u) | (all(d, int8) ? CPU_AMX_INT8 : 0u);
    if (!__get_cpuid_count(0x1d, 1, &a, &b, &c, &d) || b != (8u << 16 | 64) || (c & 0xffff) < 16)
        return 0;
    if (!__get_cpuid_count(0x1e, 0, &a, &b, &c, &d) || (b & 0xff) < 16 || (b >> 8 & 0xffff) < 64)
        return 0;
    return flags;
}

uint32_t cpu_flags_detected(void)
{
    uint32_t a, b, c, d, flags = 0;
    const uint32_t osxsave = 1u << 27, fma = 1u << 12, f16c = 1u << 29;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !all(c, osxsave | fma | f16c) || !all((uint32_t)read_xcr0(), XCR0_AVX))
        return 0;
    bool zmm = all((uint32_t)read_xcr0(), XCR0_AVX512);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    const uint32_t fp16 = 1u << 23, avx2 = 1u << 5, f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31,
                   vnni = 1u << 11;
    if (!all(b, avx2))
        return 0;
    flags |= CPU_AVX2;
    if (zmm && all(b, f | dq | bw | vl)) {
        flags |= CPU_AVX512;
        if (all(c, vnni))
            flags |= CPU_AVX512VNNI;
        if (all(d, fp16))
            flags |= CPU_AVX512FP16;
    }
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
        const uint32_t avx_vnni = 1u << 4, avx512_bf16 = 1u << 5;
        if (all(a, avx_vnni))
            flags |= CPU_AVXVNNI;
        if (flags & CPU_AVX512 && all(a, avx512_bf16))
            flags |= CPU_AVX512BF16;
    }
    if (all(flags, AVX512BF16_LEVEL))
        flags |= detect_tiles();
    return flags;
}

/* Intel's cores to date do one VDPBF16PS in two cycles against two FMAs in one (measured on Emerald Rapids: 89 against
 * 179 Gop/s): bf16 weights are faster there when they are widened to f32. AMD's do one or two in a cycle. */
uint32_t cpu_flags_preferred(void)
{
    uint32_t a, b, c, d, flags = cpu_flags_detected();
    const uint32_t genu = 0x756e6547;
    if (__get_cpuid(0, &a, &b, &c, &d) && b == genu)
        flags &= ~(uint32_t)CPU_AVX512BF16;
    return flags;
}

void kernels_init_family(struct kernels *k, uint32_t flags)
{
    kernels_init_avx2(k, flags);
    kernels_init_avxvnni(k, flags);
    kernels_init_avx512(k, flags);
    kernels_init_avx512vnni(k, flags);
    kernels_init_avx512bf16(k, flags);
    kernels_init_avx512fp16(k, flags);
    kernels_init_amx(k, flags);
}
