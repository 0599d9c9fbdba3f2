/* SPDX-License-Identifier: Apache-2.0 */
/* x86-64: 24 independent accumulators, as text so that nothing is optimised away. */
#include "roofline.h"

#include "device/cpu/kernels.h"

#include <cpuid.h>
#include <immintrin.h>

/* clang-format off */
#define EACH24(DO)                                                                                                     \
    DO(0)                                                                                                              \
    DO(1)                                                                                                              \
    DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15) DO(16) DO(17) DO(18)     \
        DO(19) DO(20) DO(21) DO(22) DO(23)
/* clang-format on */
#define CLOBBER(I) "xmm" #I,
#define CLEAR(I)   "vpxord %%zmm" #I ", %%zmm" #I ", %%zmm" #I "\n"
#define ROUNDS512(NAME, OP)                                                                                            \
    __attribute__((target("avx512f"))) static void NAME(long n)                                                        \
    {                                                                                                                  \
        __asm__ volatile(EACH24(CLEAR) "vpxord %%zmm30, %%zmm30, %%zmm30\n vpxord %%zmm31, %%zmm31, %%zmm31\n"         \
                                       "1:\n" EACH24(OP) "dec %0\n jnz 1b\n"                                           \
                         : "+r"(n)                                                                                     \
                         :                                                                                             \
                         : EACH24(CLOBBER) "xmm30", "xmm31", "cc");                                                    \
    }
#define FMA(I)   "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #I "\n"
#define FMAPH(I) "vfmadd231ph %%zmm30, %%zmm31, %%zmm" #I "\n"
#define DPBF(I)  "vdpbf16ps %%zmm30, %%zmm31, %%zmm" #I "\n"
#define DPBU(I)  "vpdpbusd %%zmm30, %%zmm31, %%zmm" #I "\n"
ROUNDS512(rounds_fma512, FMA)
ROUNDS512(rounds_fmaph, FMAPH)
ROUNDS512(rounds_dpbf, DPBF)
ROUNDS512(rounds_dpbu512, DPBU)

#define EACH12(DO)  DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define FMA256(I)   "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #I "\n"
#define CLEAR256(I) "vxorps %%ymm" #I ", %%ymm" #I ", %%ymm" #I "\n"
__attribute__((target("avx2,fma"))) static void rounds_fma256(long n)
{
    __asm__ volatile(EACH12(CLEAR256) "vxorps %%ymm14, %%ymm14, %%ymm14\n vxorps %%ymm15, %%ymm15, %%ymm15\n"
                                      "1:\n" EACH12(FMA256) "dec %0\n jnz 1b\n"
                     : "+r"(n)
                     :
                     : EACH12(CLOBBER) "xmm14", "xmm15", "cc");
}

/* Without dot products: products of bytes, added by pairs, by fours, and to the sums. */
#define DPB256(I)                                                                                                      \
    "vpmaddubsw %%ymm14, %%ymm15, %%ymm12\n vpmaddwd %%ymm12, %%ymm13, %%ymm12\n"                                      \
    "vpaddd %%ymm12, %%ymm" #I ", %%ymm" #I "\n"
__attribute__((target("avx2"))) static void rounds_maddubs(long n)
{
    __asm__ volatile(EACH12(CLEAR256) "vpcmpeqw %%ymm13, %%ymm13, %%ymm13\n vpabsw %%ymm13, %%ymm13\n"
                                      "vpxor %%ymm14, %%ymm14, %%ymm14\n vpxor %%ymm15, %%ymm15, %%ymm15\n"
                                      "1:\n" EACH12(DPB256) "dec %0\n jnz 1b\n"
                     : "+r"(n)
                     :
                     : EACH12(CLOBBER) "xmm12", "xmm13", "xmm14", "xmm15", "cc");
}

/* Six tiles of sums, and one of each factor; the configuration as src/device/cpu/kernels_amx.c has it. */
#define EACH6(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define ZERO(I)   "tilezero %%tmm" #I "\n"
#define TDPBF(I)  "tdpbf16ps %%tmm7, %%tmm6, %%tmm" #I "\n"
#define TDPBU(I)  "tdpbusd %%tmm7, %%tmm6, %%tmm" #I "\n"
#define ROUNDS_AMX(NAME, OP)                                                                                           \
    static void NAME(long n)                                                                                           \
    {                                                                                                                  \
        static const struct {                                                                                          \
            uint8_t palette, zeros[15];                                                                                \
            uint16_t line[16];                                                                                         \
            uint8_t rows[16];                                                                                          \
        } config = { 1, { 0 }, { 64, 64, 64, 64, 64, 64, 64, 64 }, { 16, 16, 16, 16, 16, 16, 16, 16 } };               \
        __asm__ volatile("ldtilecfg %1\n" EACH6(ZERO) "tilezero %%tmm6\n tilezero %%tmm7\n"                            \
                                                      "1:\n" EACH6(OP) "dec %0\n jnz 1b\n tilerelease\n"               \
                         : "+r"(n)                                                                                     \
                         : "m"(config)                                                                                 \
                         : "cc");                                                                                      \
    }
ROUNDS_AMX(rounds_tdpbf, TDPBF)
ROUNDS_AMX(rounds_tdpbu, TDPBU)

int peaks_list(struct peak *out, int max)
{
    rkf_error why;
    uint32_t flags = cpu_flags_granted(cpu_flags_detected(), &why), a, b, c, d = 0;
    int n = 0;
    if (n < max && flags & CPU_AVX512)
        out[n++] = (struct peak){ "f32", 24 * 32, rounds_fma512 };
    else if (n < max && flags & CPU_AVX2)
        out[n++] = (struct peak){ "f32", 12 * 16, rounds_fma256 };
    if (n < max && flags & CPU_AMX_BF16)
        out[n++] = (struct peak){ "bf16", 6 * 2 * 16 * 16 * 32, rounds_tdpbf };
    else if (n < max && flags & CPU_AVX512BF16)
        out[n++] = (struct peak){ "bf16", 24 * 64, rounds_dpbf };
    if (n < max && flags & CPU_AVX512 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 23 & 1)
        out[n++] = (struct peak){ "f16", 24 * 64, rounds_fmaph };
    if (n < max && flags & CPU_AMX_INT8)
        out[n++] = (struct peak){ "int8", 6 * 2 * 16 * 16 * 64, rounds_tdpbu };
    else if (n < max && flags & CPU_AVX512VNNI)
        out[n++] = (struct peak){ "int8", 24 * 128, rounds_dpbu512 };
    else if (n < max && flags & CPU_AVX2 && !(flags & CPU_AVXVNNI))
        out[n++] = (struct peak){ "int8", 12 * 64, rounds_maddubs };
    return n;
}

__attribute__((target("avx2"))) void read_bytes(const void *p, size_t n)
{
    const char *at = p, *end = at + n;
    for (; at < end; at += 256)
        __asm__ volatile("vmovdqa (%0), %%ymm0\n vmovdqa 32(%0), %%ymm1\n vmovdqa 64(%0), %%ymm2\n"
                         "vmovdqa 96(%0), %%ymm3\n vmovdqa 128(%0), %%ymm4\n vmovdqa 160(%0), %%ymm5\n"
                         "vmovdqa 192(%0), %%ymm6\n vmovdqa 224(%0), %%ymm7\n"
                         :
                         : "r"(at)
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "memory");
}
