/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 F, BW, VL, DQ: 16 floats at a time. */
#include "device/cpu/kernels_simd_avx512.h"

#include "device/cpu/kernels_simd.h"

void kernels_init_avx512(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_AVX512))
        return;
    k->isa = "avx512";
    simd_fill(k);
    k->gemm[GEMM_F32] = (struct gemm){ TILE_ROWS, NR, 1, 4, simd_tile_f32, NULL, simd_pack_b_f32, NULL };
    k->gemm[GEMM_BF16] = (struct gemm){
        TILE_ROWS_16, NR, 2, 4, simd_tile_bf16, NULL, simd_pack_b_bf16, simd_widen_bf16
    };
    k->gemm[GEMM_F16] = (struct gemm){ TILE_ROWS_16, NR, 1, 4, simd_tile_f16, NULL, simd_pack_b_f16, simd_widen_f16 };
    k->gemm_isa[GEMM_F32] = k->gemm_isa[GEMM_BF16] = k->gemm_isa[GEMM_F16] = k->isa;
}
