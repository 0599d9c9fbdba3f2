/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weights in the NPU's memory, once for all contexts. They belong to a small context, the home of their type; other
 * contexts use them directly, or import them by their file descriptor. Which of the two the library allows is tried
 * with small numbers before the first layer runs (the vendor's library is not documented on this point).
 */
#ifndef RKF_DEVICE_RKNN_WEIGHTS_H
#define RKF_DEVICE_RKNN_WEIGHTS_H

#include "device/rknn/rknn_private.h"

/* What a context has as its B. */
struct weights_binding {
    uint64_t block; /* id; 0: none */
    uint32_t n0, n;
    struct abi_tensor_mem *import; /* the context's own */
};

struct abi_matmul_info weights_info(struct matmul_shape shape);
/* Makes columns n0 .. n0 + n of the block the context's B. On the worker's thread of the core, as the only one that
 * uses ctx. Returns the vendor's result. */
int weights_bind(struct rknn_device *d, abi_context ctx, struct abi_matmul_tensor_attr *attr, struct block *b,
                 uint32_t n0, uint32_t n, struct weights_binding *bound);
void weights_unbind(struct rknn_device *d, abi_context ctx, struct weights_binding *bound);
void homes_close(struct rknn_device *d); /* after the last block */
int matmul_pin(struct rknn_device *d, abi_context ctx, uint32_t core);

#endif
