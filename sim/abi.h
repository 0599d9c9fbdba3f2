/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vendor runtime's public ABI as far as rkformer uses it: structs (LP64), numbers and the exported calls. Written
 * down from tables of sizes and offsets, which the assertions at the end repeat; no vendor header is used. The
 * simulator and its tests include this file; src/ has its own declarations, so that a wrong offset in one of the two is
 * noticed.
 */
#ifndef RKNNSIM_ABI_H
#define RKNNSIM_ABI_H

#include <stddef.h>
#include <stdint.h>

#define SIM_API __attribute__((visibility("default")))

enum {
    SIM_MAX_DIMS = 16,
    SIM_MAX_NAME = 256,
};

enum sim_error {
    SIM_OK = 0,
    SIM_FAIL = -1,
    SIM_TIMEOUT = -2,
    SIM_DEVICE_UNAVAILABLE = -3,
    SIM_NO_MEMORY = -4,
    SIM_BAD_PARAM = -5,
    SIM_BAD_MODEL = -6,
    SIM_BAD_CONTEXT = -7,
    SIM_BAD_INPUT = -8,
    SIM_BAD_OUTPUT = -9,
    SIM_PLATFORM_UNMATCHED = -13,
};

enum sim_type {
    SIM_F32,
    SIM_F16,
    SIM_I8,
    SIM_U8,
    SIM_I16,
    SIM_U16,
    SIM_I32,
    SIM_U32,
    SIM_I64,
    SIM_BOOL,
    SIM_I4,
    SIM_BF16,
    SIM_TYPE_COUNT
};
enum sim_format { SIM_NCHW, SIM_NHWC, SIM_NC1HWC2, SIM_UNDEFINED };
enum sim_quant { SIM_QUANT_NONE, SIM_QUANT_DFP, SIM_QUANT_AFFINE };
enum sim_mask { SIM_MASK_AUTO = 0, SIM_MASK_ALL = 0xffff };
enum sim_layout { SIM_NORMAL, SIM_NATIVE, SIM_TRANSPOSED };
enum sim_sync { SIM_TO_DEVICE = 1, SIM_FROM_DEVICE = 2 };

enum sim_query {
    SIM_QUERY_IN_OUT_NUM = 0,
    SIM_QUERY_INPUT_ATTR = 1,
    SIM_QUERY_OUTPUT_ATTR = 2,
    SIM_QUERY_PERF_DETAIL = 3,
    SIM_QUERY_PERF_RUN = 4,
    SIM_QUERY_SDK_VERSION = 5,
    SIM_QUERY_MEM_SIZE = 6,
    SIM_QUERY_CUSTOM_STRING = 7,
    SIM_QUERY_NATIVE_INPUT_ATTR = 8,
    SIM_QUERY_NATIVE_OUTPUT_ATTR = 9,
    SIM_QUERY_INPUT_DYNAMIC_RANGE = 13,
    SIM_QUERY_CURRENT_INPUT_ATTR = 14,
    SIM_QUERY_CURRENT_OUTPUT_ATTR = 15,
};

enum sim_flag {
    SIM_FLAG_ASYNC = 4,
    SIM_FLAG_COLLECT_PERF = 8,
    SIM_FLAG_MEM_OUTSIDE = 0x10,
    SIM_FLAG_SHARE_WEIGHTS = 0x20,
    SIM_FLAG_INFO_ONLY = 0x100,
    SIM_FLAG_SRAM = 0x800,
    SIM_FLAGS = 0x93f, /* and the priorities 0 .. 2 */
};

enum sim_matmul {
    SIM_F16_F16_F32 = 1,
    SIM_I8_I8_I32 = 2,
    SIM_I8_I8_I8 = 3,
    SIM_F16_F16_F16 = 4,
    SIM_F16_I8_F32 = 5,
    SIM_F16_I8_F16 = 6,
    SIM_F16_I4_F32 = 7,
    SIM_F16_I4_F16 = 8,
    SIM_I8_I8_F32 = 9,
    SIM_I4_I4_I16 = 10,
    SIM_I8_I4_I32 = 11,
};
enum sim_matmul_quant {
    SIM_PER_LAYER_SYM,
    SIM_PER_LAYER_ASYM,
    SIM_PER_CHANNEL_SYM,
    SIM_PER_CHANNEL_ASYM,
    SIM_PER_GROUP_SYM,
    SIM_PER_GROUP_ASYM
};

typedef uint64_t rknn_context;

struct sim_in_out_num {
    uint32_t n_input, n_output;
};

struct sim_tensor_attr {
    uint32_t index, n_dims, dims[SIM_MAX_DIMS];
    char name[SIM_MAX_NAME];
    uint32_t n_elems, size; /* size in bytes */
    int32_t fmt, type, qnt_type;
    int8_t fl;
    int32_t zp;
    float scale;
    uint32_t w_stride, size_with_stride;
    uint8_t pass_through;
    uint32_t h_stride;
};

struct sim_input_range {
    uint32_t index, shape_number;
    int32_t fmt;
    char name[SIM_MAX_NAME];
    uint32_t dyn_range[512][SIM_MAX_DIMS];
    uint32_t n_dims;
};

struct sim_perf_run {
    int64_t run_duration; /* microseconds */
};

struct sim_sdk_version {
    char api_version[256], drv_version[256];
};

struct sim_mem_size {
    uint32_t total_weight_size, total_internal_size;
    uint64_t total_dma_allocated_size;
    uint32_t total_sram_size, free_sram_size, reserved[10];
};

struct sim_custom_string {
    char string[1024];
};

struct sim_tensor_mem {
    void *virt_addr;
    uint64_t phys_addr;
    int32_t fd, offset;
    uint32_t size, flags;
    void *priv_data;
};

struct sim_input {
    uint32_t index;
    void *buf;
    uint32_t size;
    uint8_t pass_through;
    int32_t type, fmt;
};

struct sim_output {
    uint8_t want_float, is_prealloc;
    uint32_t index;
    void *buf;
    uint32_t size;
};

struct sim_init_extend {
    uint64_t ctx;
    int32_t real_model_offset;
    uint32_t real_model_size;
    int32_t model_buffer_fd;
    uint32_t model_buffer_flags;
    uint8_t reserved[112];
};

struct sim_run_extend {
    uint64_t frame_id;
    int32_t non_block, timeout_ms, fence_fd;
};

struct sim_output_extend {
    uint64_t frame_id;
};

struct sim_matmul_info {
    int32_t M, K, N, type;
    int16_t B_layout, B_quant_type, AC_layout, AC_quant_type;
    int32_t iommu_domain_id;
    int16_t group_size;
    int8_t reserved[34];
};

struct sim_matmul_tensor_attr {
    char name[SIM_MAX_NAME];
    uint32_t n_dims, dims[SIM_MAX_DIMS], size;
    int32_t type;
};

struct sim_matmul_io_attr {
    struct sim_matmul_tensor_attr A, B, C;
};

struct sim_quant_params {
    char name[SIM_MAX_NAME];
    float *scale; // [scale_len] f32
    int32_t scale_len;
    int32_t *zp; // [zp_len] i32
    int32_t zp_len;
};

struct sim_matmul_shape {
    int32_t M, K, N;
};

SIM_API int rknn_init(rknn_context *ctx, void *model, uint32_t size, uint32_t flag, struct sim_init_extend *extend);
SIM_API int rknn_dup_context(rknn_context *in, rknn_context *out);
SIM_API int rknn_destroy(rknn_context ctx);
SIM_API int rknn_query(rknn_context ctx, int cmd, void *info, uint32_t size);
SIM_API int rknn_inputs_set(rknn_context ctx, uint32_t n, struct sim_input inputs[]);
SIM_API int rknn_set_core_mask(rknn_context ctx, int mask);
SIM_API int rknn_run(rknn_context ctx, struct sim_run_extend *extend);
SIM_API int rknn_wait(rknn_context ctx, struct sim_run_extend *extend);
SIM_API int rknn_outputs_get(rknn_context ctx, uint32_t n, struct sim_output outputs[],
                             struct sim_output_extend *extend);
SIM_API int rknn_outputs_release(rknn_context ctx, uint32_t n, struct sim_output outputs[]);
SIM_API struct sim_tensor_mem *rknn_create_mem(rknn_context ctx, uint32_t size);
SIM_API struct sim_tensor_mem *rknn_create_mem2(rknn_context ctx, uint64_t size, uint64_t flags);
SIM_API struct sim_tensor_mem *rknn_create_mem_from_fd(rknn_context ctx, int32_t fd, void *virt_addr, uint32_t size,
                                                       int32_t offset);
SIM_API int rknn_destroy_mem(rknn_context ctx, struct sim_tensor_mem *mem);
SIM_API int rknn_set_io_mem(rknn_context ctx, struct sim_tensor_mem *mem, struct sim_tensor_attr *attr);
SIM_API int rknn_set_input_shapes(rknn_context ctx, uint32_t n, struct sim_tensor_attr attr[]);
SIM_API int rknn_mem_sync(rknn_context ctx, struct sim_tensor_mem *mem, int mode);

SIM_API int rknn_matmul_create(rknn_context *ctx, struct sim_matmul_info *info, struct sim_matmul_io_attr *io);
SIM_API int rknn_matmul_create_dynamic_shape(rknn_context *ctx, struct sim_matmul_info *info, int n,
                                             struct sim_matmul_shape shapes[], struct sim_matmul_io_attr io[]);
SIM_API int rknn_matmul_set_io_mem(rknn_context ctx, struct sim_tensor_mem *mem, struct sim_matmul_tensor_attr *attr);
SIM_API int rknn_matmul_set_core_mask(rknn_context ctx, int mask);
SIM_API int rknn_matmul_set_quant_params(rknn_context ctx, struct sim_quant_params *params);
SIM_API int rknn_matmul_set_dynamic_shape(rknn_context ctx, struct sim_matmul_shape *shape);
SIM_API int rknn_matmul_run(rknn_context ctx);
SIM_API int rknn_matmul_destroy(rknn_context ctx);
SIM_API int rknn_B_normal_layout_to_native_layout(void *in, void *out, int K, int N, struct sim_matmul_info *info);

#define SIM_AT(type, field, at) _Static_assert(offsetof(struct type, field) == (at), #type "." #field)
#define SIM_SIZE(type, size)    _Static_assert(sizeof(struct type) == (size), #type)
SIM_SIZE(sim_in_out_num, 8);
SIM_SIZE(sim_tensor_attr, 376);
SIM_AT(sim_tensor_attr, name, 72);
SIM_AT(sim_tensor_attr, n_elems, 328);
SIM_AT(sim_tensor_attr, size, 332);
SIM_AT(sim_tensor_attr, fmt, 336);
SIM_AT(sim_tensor_attr, type, 340);
SIM_AT(sim_tensor_attr, qnt_type, 344);
SIM_AT(sim_tensor_attr, fl, 348);
SIM_AT(sim_tensor_attr, zp, 352);
SIM_AT(sim_tensor_attr, scale, 356);
SIM_AT(sim_tensor_attr, w_stride, 360);
SIM_AT(sim_tensor_attr, size_with_stride, 364);
SIM_AT(sim_tensor_attr, pass_through, 368);
SIM_AT(sim_tensor_attr, h_stride, 372);
SIM_SIZE(sim_input_range, 33040);
SIM_AT(sim_input_range, name, 12);
SIM_AT(sim_input_range, dyn_range, 268);
SIM_AT(sim_input_range, n_dims, 33036);
SIM_SIZE(sim_perf_run, 8);
SIM_SIZE(sim_sdk_version, 512);
SIM_SIZE(sim_mem_size, 64);
SIM_AT(sim_mem_size, total_dma_allocated_size, 8);
SIM_SIZE(sim_custom_string, 1024);
SIM_SIZE(sim_tensor_mem, 40);
SIM_AT(sim_tensor_mem, fd, 16);
SIM_AT(sim_tensor_mem, size, 24);
SIM_AT(sim_tensor_mem, priv_data, 32);
SIM_SIZE(sim_input, 32);
SIM_AT(sim_input, buf, 8);
SIM_AT(sim_input, pass_through, 20);
SIM_AT(sim_input, type, 24);
SIM_SIZE(sim_output, 24);
SIM_AT(sim_output, index, 4);
SIM_AT(sim_output, buf, 8);
SIM_AT(sim_output, size, 16);
SIM_SIZE(sim_init_extend, 136);
SIM_AT(sim_init_extend, model_buffer_fd, 16);
SIM_AT(sim_init_extend, reserved, 24);
SIM_SIZE(sim_run_extend, 24);
SIM_AT(sim_run_extend, fence_fd, 16);
SIM_SIZE(sim_output_extend, 8);
SIM_SIZE(sim_matmul_info, 64);
SIM_AT(sim_matmul_info, B_layout, 16);
SIM_AT(sim_matmul_info, iommu_domain_id, 24);
SIM_AT(sim_matmul_info, group_size, 28);
SIM_AT(sim_matmul_info, reserved, 30);
SIM_SIZE(sim_matmul_tensor_attr, 332);
SIM_AT(sim_matmul_tensor_attr, dims, 260);
SIM_AT(sim_matmul_tensor_attr, size, 324);
SIM_AT(sim_matmul_tensor_attr, type, 328);
SIM_SIZE(sim_matmul_io_attr, 996);
SIM_SIZE(sim_quant_params, 288);
SIM_AT(sim_quant_params, scale, 256);
SIM_AT(sim_quant_params, zp, 272);
SIM_AT(sim_quant_params, zp_len, 280);
SIM_SIZE(sim_matmul_shape, 12);

#endif
