/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ABI of librknnrt 2.x as far as it is used here: our own declarations of its structs (LP64), numbers and calls,
 * from tables of sizes and offsets that the assertions below repeat. No vendor header is used.
 */
#ifndef RKF_DEVICE_RKNN_ABI_H
#define RKF_DEVICE_RKNN_ABI_H

#include <stddef.h>
#include <stdint.h>

enum { ABI_MAX_DIMS = 16, ABI_MAX_NAME = 256 };

enum abi_result {
    ABI_OK = 0,
    ABI_FAIL = -1,
    ABI_TIMEOUT = -2,
    ABI_DEVICE_UNAVAILABLE = -3,
    ABI_NO_MEMORY = -4,
    ABI_BAD_PARAM = -5,
    ABI_BAD_MODEL = -6,
    ABI_BAD_CONTEXT = -7,
    ABI_BAD_INPUT = -8,
    ABI_BAD_OUTPUT = -9,
    ABI_DEVICE_UNMATCHED = -10,
    ABI_OLD_COMPILER = -11,
    ABI_OLD_OPTIMISER = -12,
    ABI_PLATFORM_UNMATCHED = -13,
};

enum abi_query {
    ABI_QUERY_IN_OUT_NUM = 0,
    ABI_QUERY_INPUT_ATTR = 1,
    ABI_QUERY_OUTPUT_ATTR = 2,
    ABI_QUERY_SDK_VERSION = 5,
    ABI_QUERY_MEM_SIZE = 6,
};

enum abi_type {
    ABI_F32,
    ABI_F16,
    ABI_I8,
    ABI_U8,
    ABI_I16,
    ABI_U16,
    ABI_I32,
    ABI_U32,
    ABI_I64,
    ABI_BOOL,
    ABI_I4,
    ABI_BF16,
    ABI_TYPE_COUNT
};

enum abi_matmul { ABI_MATMUL_F16_F16_F32 = 1, ABI_MATMUL_I8_I8_I32 = 2 };
enum abi_layout { ABI_LAYOUT_NORMAL = 0, ABI_LAYOUT_NATIVE = 1 };
enum abi_sync { ABI_SYNC_TO_DEVICE = 1, ABI_SYNC_FROM_DEVICE = 2 };

typedef uint64_t abi_context;

struct abi_in_out_num {
    uint32_t n_input, n_output;
};

struct abi_tensor_attr {
    uint32_t index, n_dims, dims[ABI_MAX_DIMS];
    char name[ABI_MAX_NAME];
    uint32_t n_elems, size; /* size in bytes */
    int32_t fmt, type, qnt_type;
    int8_t fl;
    int32_t zp;
    float scale;
    uint32_t w_stride, size_with_stride;
    uint8_t pass_through;
    uint32_t h_stride;
};

struct abi_sdk_version {
    char api_version[256], drv_version[256];
};

struct abi_mem_size {
    uint32_t total_weight_size, total_internal_size;
    uint64_t total_dma_allocated_size;
    uint32_t total_sram_size, free_sram_size, reserved[10];
};

struct abi_tensor_mem {
    void *virt_addr;
    uint64_t phys_addr;
    int32_t fd, offset; /* data begins at virt_addr + offset */
    uint32_t size, flags;
    void *priv_data;
};

struct abi_input {
    uint32_t index;
    void *buf;
    uint32_t size;
    uint8_t pass_through;
    int32_t type, fmt;
};

struct abi_output {
    uint8_t want_float, is_prealloc;
    uint32_t index;
    void *buf;
    uint32_t size;
};

struct abi_init_extend {
    uint64_t ctx;
    int32_t real_model_offset;
    uint32_t real_model_size;
    int32_t model_buffer_fd;
    uint32_t model_buffer_flags;
    uint8_t reserved[112];
};

struct abi_run_extend {
    uint64_t frame_id;
    int32_t non_block, timeout_ms, fence_fd;
};

struct abi_output_extend {
    uint64_t frame_id;
};

struct abi_matmul_info {
    int32_t M, K, N, type;
    int16_t B_layout, B_quant_type, AC_layout, AC_quant_type;
    int32_t iommu_domain_id;
    int16_t group_size;
    int8_t reserved[34];
};

struct abi_matmul_tensor_attr {
    char name[ABI_MAX_NAME];
    uint32_t n_dims, dims[ABI_MAX_DIMS], size;
    int32_t type;
};

struct abi_matmul_io_attr {
    struct abi_matmul_tensor_attr A, B, C;
};

/* Every call that is used: X(result, name, parameters). Generates the table of pointers and its look-up. */
#define ABI_CALLS(X)                                                                                                   \
    X(int, rknn_init, (abi_context * ctx, void *model, uint32_t size, uint32_t flag, struct abi_init_extend *extend))  \
    X(int, rknn_dup_context, (abi_context * in, abi_context * out))                                                    \
    X(int, rknn_destroy, (abi_context ctx))                                                                            \
    X(int, rknn_query, (abi_context ctx, int cmd, void *info, uint32_t size))                                          \
    X(int, rknn_set_core_mask, (abi_context ctx, int mask))                                                            \
    X(int, rknn_inputs_set, (abi_context ctx, uint32_t n, struct abi_input * inputs))                                  \
    X(int, rknn_run, (abi_context ctx, struct abi_run_extend * extend))                                                \
    X(int, rknn_outputs_get,                                                                                           \
      (abi_context ctx, uint32_t n, struct abi_output * outputs, struct abi_output_extend * extend))                   \
    X(int, rknn_outputs_release, (abi_context ctx, uint32_t n, struct abi_output * outputs))                           \
    X(struct abi_tensor_mem *, rknn_create_mem, (abi_context ctx, uint32_t size))                                      \
    X(struct abi_tensor_mem *, rknn_create_mem_from_fd,                                                                \
      (abi_context ctx, int32_t fd, void *virt_addr, uint32_t size, int32_t offset))                                   \
    X(int, rknn_destroy_mem, (abi_context ctx, struct abi_tensor_mem * mem))                                           \
    X(int, rknn_mem_sync, (abi_context ctx, struct abi_tensor_mem * mem, int mode))                                    \
    X(int, rknn_matmul_create, (abi_context * ctx, struct abi_matmul_info * info, struct abi_matmul_io_attr * io))     \
    X(int, rknn_matmul_set_io_mem,                                                                                     \
      (abi_context ctx, struct abi_tensor_mem * mem, struct abi_matmul_tensor_attr * attr))                            \
    X(int, rknn_matmul_set_core_mask, (abi_context ctx, int mask))                                                     \
    X(int, rknn_matmul_run, (abi_context ctx))                                                                         \
    X(int, rknn_matmul_destroy, (abi_context ctx))

struct abi_calls {
#define ABI_POINTER(result, name, parameters) result(*name) parameters;
    ABI_CALLS(ABI_POINTER)
#undef ABI_POINTER
};

#define ABI_AT(type, field, at) _Static_assert(offsetof(struct type, field) == (at), #type "." #field)
#define ABI_SIZE(type, size)    _Static_assert(sizeof(struct type) == (size), #type)
ABI_SIZE(abi_in_out_num, 8);
ABI_SIZE(abi_tensor_attr, 376);
ABI_AT(abi_tensor_attr, n_dims, 4);
ABI_AT(abi_tensor_attr, dims, 8);
ABI_AT(abi_tensor_attr, name, 72);
ABI_AT(abi_tensor_attr, n_elems, 328);
ABI_AT(abi_tensor_attr, size, 332);
ABI_AT(abi_tensor_attr, fmt, 336);
ABI_AT(abi_tensor_attr, type, 340);
ABI_AT(abi_tensor_attr, qnt_type, 344);
ABI_AT(abi_tensor_attr, fl, 348);
ABI_AT(abi_tensor_attr, zp, 352);
ABI_AT(abi_tensor_attr, scale, 356);
ABI_AT(abi_tensor_attr, w_stride, 360);
ABI_AT(abi_tensor_attr, size_with_stride, 364);
ABI_AT(abi_tensor_attr, pass_through, 368);
ABI_AT(abi_tensor_attr, h_stride, 372);
ABI_SIZE(abi_sdk_version, 512);
ABI_SIZE(abi_mem_size, 64);
ABI_AT(abi_mem_size, total_dma_allocated_size, 8);
ABI_SIZE(abi_tensor_mem, 40);
ABI_AT(abi_tensor_mem, phys_addr, 8);
ABI_AT(abi_tensor_mem, fd, 16);
ABI_AT(abi_tensor_mem, offset, 20);
ABI_AT(abi_tensor_mem, size, 24);
ABI_AT(abi_tensor_mem, priv_data, 32);
ABI_SIZE(abi_input, 32);
ABI_AT(abi_input, buf, 8);
ABI_AT(abi_input, size, 16);
ABI_AT(abi_input, pass_through, 20);
ABI_AT(abi_input, type, 24);
ABI_AT(abi_input, fmt, 28);
ABI_SIZE(abi_output, 24);
ABI_AT(abi_output, index, 4);
ABI_AT(abi_output, buf, 8);
ABI_AT(abi_output, size, 16);
ABI_SIZE(abi_init_extend, 136);
ABI_AT(abi_init_extend, real_model_offset, 8);
ABI_AT(abi_init_extend, model_buffer_fd, 16);
ABI_AT(abi_init_extend, reserved, 24);
ABI_SIZE(abi_run_extend, 24);
ABI_AT(abi_run_extend, non_block, 8);
ABI_AT(abi_run_extend, fence_fd, 16);
ABI_SIZE(abi_output_extend, 8);
ABI_SIZE(abi_matmul_info, 64);
ABI_AT(abi_matmul_info, type, 12);
ABI_AT(abi_matmul_info, B_layout, 16);
ABI_AT(abi_matmul_info, AC_layout, 20);
ABI_AT(abi_matmul_info, iommu_domain_id, 24);
ABI_AT(abi_matmul_info, group_size, 28);
ABI_AT(abi_matmul_info, reserved, 30);
ABI_SIZE(abi_matmul_tensor_attr, 332);
ABI_AT(abi_matmul_tensor_attr, n_dims, 256);
ABI_AT(abi_matmul_tensor_attr, dims, 260);
ABI_AT(abi_matmul_tensor_attr, size, 324);
ABI_AT(abi_matmul_tensor_attr, type, 328);
ABI_SIZE(abi_matmul_io_attr, 996);

#endif
