/* SPDX-License-Identifier: Apache-2.0 */
/* Marks for the compiler that every SIMD file needs; included by kernels_simd_<isa>.h. */
#ifndef RKF_DEVICE_CPU_KERNELS_SIMD_WORDS_H
#define RKF_DEVICE_CPU_KERNELS_SIMD_WORDS_H

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#endif
