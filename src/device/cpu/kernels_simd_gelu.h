/* SPDX-License-Identifier: Apache-2.0 */
/* vf_gelu for instruction sets without tables in registers; the end of their kernels_simd_<isa>.h. */
#ifndef RKF_DEVICE_CPU_KERNELS_SIMD_GELU_H
#define RKF_DEVICE_CPU_KERNELS_SIMD_GELU_H

/* gelu(x) = max(x, 0) - h(|x|), h(u) = u/2 erfc(u / sqrt 2): h is the minimax polynomial of degree 17 on [0, 5.6] in
 * t = u / 2.8 - 1 (3e-8 off); beyond 5.6 it is below 6e-8. It is summed as four polynomials in t^4: one chain of 17
 * dependent FMAs fills the processor's window and leaves its multipliers idle. */
ALWAYS_INLINE vf vf_gelu(vf x)
{
    static const float h[] = { 0x1.d4de7ap-8f,  -0x1.c1c4aep-5f, 0x1.731bc2p-3f,  -0x1.3ed116p-2f, 0x1.b7919ep-3f,
                               0x1.b7d5e8p-3f,  -0x1.44f11cp-1f, 0x1.0fe984p-1f,  0x1.4d8bfap-4f,  -0x1.1972e0p-1f,
                               0x1.74162ap-2f,  0x1.41acc2p-3f,  -0x1.3e4fe0p-2f, 0x1.8fe80ap-5f,  0x1.d9c8fep-4f,
                               -0x1.7389e4p-5f, -0x1.2637bcp-6f, 0x1.39e96ep-7f }; /* of t^0, t^1, ... */
    vf t = vf_fma(vf_min(vf_abs(x), vf_set(5.6f)), vf_set(1 / 2.8f), vf_set(-1));
    vf t2 = vf_mul(t, t), t4 = vf_mul(t2, t2), p[4];
    UNROLL for (int i = 0; i < 4; i++) p[i] = vf_set(h[i + (i < 2 ? 16 : 12)]);
    UNROLL for (int i = 13; i >= 0; i--) p[i % 4] = vf_fma(p[i % 4], t4, vf_set(h[i]));
    vf low = vf_fma(p[1], t, p[0]), high = vf_fma(p[3], t, p[2]);
    return vf_sub(vf_max(x, vf_set(0)), vf_fma(high, t2, low));
}

#endif
