/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has to happen before AMX is used: the kernel's permission for the process, whose threads get larger signal
 * frames by it, and, since these kernels were made without such a processor, a small product of each type that must
 * equal the portable kernels'. Both happen once in a process.
 */
#include "device/cpu/kernels.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

rkf_status amx_permission(rkf_error *why)
{
    enum { REQUEST = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM of asm/prctl.h, a bit of XCR0 */
    if (!syscall(SYS_arch_prctl, REQUEST, TILE_DATA))
        return RKF_OK;
    return rkf_fail(why, RKF_UNAVAILABLE,
                    "AMX is not used: the kernel does not permit it (%s): Linux 5.16 or newer is needed%s",
                    strerror(errno), errno == ENOSPC ? ", and larger alternate signal stacks" : "");
}

/* Beyond one tile in each direction, with a rest in each. */
enum { ROWS = 19, COLS = 32, DEPTH = 70, PADDED = 128 };

/* Whole numbers of few bits: every sum is exact in f32, too, so that all kernels must give the same. */
static void multiply(const struct gemm *g, float *out)
{
    _Alignas(64) uint16_t a[2 * 16 * PADDED] = { 0 }, b[KERNEL_MAX_NR * PADDED];
    _Alignas(64) float c[KERNEL_MAX_MR * KERNEL_MAX_NR], scale[KERNEL_MAX_NR];
    struct row_quant rq[ROWS];
    float x[ROWS * DEPTH], w[COLS * DEPTH];
    int32_t wsum[KERNEL_MAX_NR];
    for (uint32_t i = 0; i < ROWS * DEPTH; i++)
        x[i] = (float)(int)(i * 7 % 23) - 9;
    for (uint32_t i = 0; i < COLS * DEPTH; i++)
        w[i] = (float)(int)(i * 11 % 29) - 14;
    uint32_t k = gemm_depth(g, DEPTH);
    gemm_pack_a(g, x, DEPTH, ROWS, DEPTH, a, rq);
    for (uint32_t n = 0; n < COLS; n += g->nr) {
        gemm_pack_b(g, w + n * DEPTH, DEPTH, g->nr, DEPTH, b, (size_t)k * g->nr * g->a_size, scale, wsum);
        for (uint32_t r = 0; r < ROWS; r += g->mr) {
            struct tile t = { (char *)a + (size_t)r * k * g->a_size,
                              k,
                              b,
                              k,
                              ROWS - r < g->mr ? ROWS - r : g->mr,
                              c,
                              (uintptr_t)b,
                              0,
                              rq + r,
                              scale,
                              wsum };
            bool entered = gemm_enter(g, t.rows);
            gemm_tile(g, &t);
            if (entered)
                g->leave();
            for (uint32_t i = 0; i < t.rows; i++)
                memcpy(out + (r + i) * COLS + n, c + i * g->nr, g->nr * sizeof *c);
        }
    }
}

rkf_status amx_check(const struct kernels *k, rkf_error *why)
{
    static const enum gemm_type types[] = { GEMM_BF16, GEMM_I8 };
    struct kernels truth;
    kernels_init_portable(&truth);
    for (int i = 0; i < 2; i++) {
        if (!k->gemm[types[i]].enter) /* not compiled in */
            continue;
        float want[ROWS * COLS], got[ROWS * COLS];
        multiply(&truth.gemm[types[i]], want);
        multiply(&k->gemm[types[i]], got);
        if (memcmp(want, got, sizeof want) != 0)
            return rkf_fail(why, RKF_UNAVAILABLE,
                            "AMX is not used: its product of %s is not that of plain arithmetic: please report it",
                            types[i] == GEMM_I8 ? "int8" : "bf16");
    }
    return RKF_OK;
}

static rkf_error verdict;

static void decide(void)
{
    struct kernels k;
    if (amx_permission(&verdict))
        return;
    kernels_init_portable(&k);
    kernels_init_family(&k, cpu_flags_detected());
    (void)amx_check(&k, &verdict); /* fills verdict where it fails */
}

uint32_t cpu_flags_granted(uint32_t flags, rkf_error *why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const uint32_t amx = CPU_AMX_BF16 | CPU_AMX_INT8;
    why->status = RKF_OK;
    if (!(flags & amx))
        return flags;
    pthread_once(&once, decide);
    *why = verdict;
    return verdict.status ? flags & ~amx : flags;
}
