/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models for .rknn contexts: a container of the vendor's format 6 whose body is ours (tools/make_rknn_sim.py writes
 * it):
 *
 *   0     "RKNNSIM1"                        128   version of the toolkit it claims, 32 bytes
 *   8     u32 tensors, ops, inputs, outputs 160   custom string, 1024 bytes
 *   24    u32 flags (1: single-core mode),  1184  tensors, 128 bytes each
 *         u32 0                             ..    ops, 64 bytes each
 *   32    u64 where constants begin, bytes  ..    constants (f16), 64-byte aligned
 *   48    platforms, separated by spaces,
 *         80 bytes
 *   tensor: u32 type, kind, ndims, format; u32 dims[6]; f32 scale; i32 zp; u32 quantisation, 0; u64 offset; name[64]
 *   op:     u32 code, flags; u32 inputs[6] (~0: none); u32 output; i32 ints[4]; f32 floats[3]
 *
 * Everything is f16 in memory, computed in f32 and rounded after each op, but token ids, masks and types (i64).
 */
#ifndef RKNNSIM_MODEL_H
#define RKNNSIM_MODEL_H

#include "sim.h"

enum { MODEL_MAX_IO = 16, MODEL_NO_TENSOR = -1 };

enum tensor_kind { TENSOR_TEMP, TENSOR_INPUT, TENSOR_OUTPUT, TENSOR_CONST };
struct tensor {
    int type; /* enum sim_type: f16, i64; outputs also i8, f32 */
    enum tensor_kind kind;
    uint32_t n_dims, dims[6];
    size_t elems, bytes;
    size_t offset; /* CONST: into the weights; else into a context's values */
    float scale;   /* i8: real = (q - zp) * scale */
    int32_t zp, quant;
    char name[64];
};

enum op_code {
    OP_GATHER = 1, /* ids [..] i64, table [v, h] -> [.., h] */
    OP_POSITIONS,  /* ids [b, s] i64 -> [b, s] i64: RoBERTa's count of tokens that are not ints[0], offset by it */
    OP_MASK,       /* mask [..] i64 -> [..]: 0 where it is not 0, else floats[0] */
    OP_ADD,        /* a, b -> a + b; dims of b that are 1 or missing at the front are repeated */
    OP_NORM,       /* x, gamma, beta; floats[0] eps; over the last dim */
    OP_MATMUL,     /* x [.., k], w [n, k], bias [n] or none -> [.., n] */
    OP_SCORES,     /* q, k [b, s, h] -> [b, heads, s, s]; ints[0] heads, floats[0] scale */
    OP_SOFTMAX,    /* over the last dim */
    OP_CONTEXT,    /* p [b, heads, s, s], v [b, s, h] -> [b, s, h]; ints[0] heads */
    OP_ACT,        /* ints[0]: enum act */
    OP_FIRST,      /* x [b, s, h] -> [b, h]: row 0 */
    OP_COPY,       /* the same elements, converted to the type of the output */
    OP_COUNT
};
enum act { ACT_GELU, ACT_GELU_TANH, ACT_RELU, ACT_TANH, ACT_SILU, ACT_COUNT };
enum { OP_INPUTS = 6, OP_JOINT = 1 };

struct op {
    uint32_t code, flags;
    int32_t in[OP_INPUTS], out;
    int32_t ints[4];
    float floats[3];
};

struct model {     /* shared by duplicated contexts */
    uint32_t refs; /* locked */
    uint32_t n_tensors, n_ops, n_inputs, n_outputs;
    struct tensor *tensors;
    struct op *ops;
    uint32_t inputs[MODEL_MAX_IO], outputs[MODEL_MAX_IO]; /* tensors */
    bool single_core;
    char toolkit[32], custom[1024];
    uint8_t *weights;
    size_t weights_size, values_size;
};

/* file: all of it. 0 or the code that rknn_init returns; logs why. Locked. */
int model_load(const uint8_t *file, size_t size, struct model **out);
void model_free(struct model *m);

/* Checks shapes and types of an op, so that running it stays inside its tensors. */
bool op_check(const struct model *m, const struct op *op);
/* data: where each tensor is. 0, -1 (an id outside the table) or -4. */
int op_run(const struct model *m, uint8_t *const *data, const struct op *op);
double op_cost(const struct model *m, const struct op *op, uint32_t busy); /* seconds on one core of RK3588 */

#endif
