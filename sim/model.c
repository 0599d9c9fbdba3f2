/* SPDX-License-Identifier: Apache-2.0 */
/* Reading of .rknn containers. Nothing in a file is believed before it is checked. */
#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FRAME = 72, /* bytes around body and JSON */
    HEADER = 1184,
    TENSOR_RECORD = 128,
    OP_RECORD = 64,
    MAX_RECORDS = 1 << 16,
};
static const char magic[8] = "RKNNSIM1";

static uint64_t u64_at(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int32_t i32_at(const uint8_t *p)
{
    return (int32_t)u32_at(p);
}

static float f32_at(const uint8_t *p)
{
    uint32_t u = u32_at(p);
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* ---- the frame */

static int version_compare(const char *a, const char *b)
{
    unsigned x[3] = { 0 }, y[3] = { 0 };
    sscanf(a, "%u.%u.%u", &x[0], &x[1], &x[2]);
    sscanf(b, "%u.%u.%u", &y[0], &y[1], &y[2]);
    for (int i = 0; i < 3; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

/* Finds the body. */
static int open_frame(const uint8_t *p, size_t size, const uint8_t **body, size_t *len)
{
    if (size < 16 || memcmp(p, "RKNN", 4) != 0) {
        sim_log('E', "parseRKNN: not a RKNN model");
        return SIM_BAD_MODEL;
    }
    uint64_t version = u64_at(p + 8);
    if (version != 6 || version_compare(sim.config.runtime, "1.5") < 0) {
        sim_log('E', "Invalid RKNN model version %llu", (unsigned long long)version);
        return SIM_FAIL;
    }
    uint64_t n = size >= FRAME ? u64_at(p + 16) : 0;
    if (size < FRAME || n > size - FRAME || u64_at(p + 64 + n) != size - FRAME - n) {
        sim.counters.would_abort++;
        sim_log('E', "the file is truncated: the vendor's runtime may end the process here");
        return SIM_BAD_MODEL;
    }
    if (n < HEADER || memcmp(p + 64, magic, sizeof magic) != 0) {
        sim_log('E',
                "this file was not made by make_rknn_sim.py: the simulator runs no files of the vendor's compiler");
        return SIM_BAD_MODEL;
    }
    *body = p + 64;
    *len = (size_t)n;
    return SIM_OK;
}

/* "rk3588 rk3576" holds the current platform? */
static int check_platform(const char *list)
{
    const struct platform *current = sim.config.platform;
    char first[32] = "", upper[32];
    size_t n = 0;
    for (const char *p = list; *p; p += n + (p[n] == ' ')) {
        n = strcspn(p, " ");
        if (platform_find(p, n) == current)
            return SIM_OK;
        if (!*first && n < sizeof first)
            memcpy(first, p, n);
    }
    for (n = 0; first[n]; n++)
        upper[n] = first[n] >= 'a' && first[n] <= 'z' ? (char)(first[n] - 32) : first[n];
    upper[n] = '\0';
    sim_log('E', "This rknn model is for %s, but current platform is %s", upper, current->label);
    return SIM_BAD_MODEL;
}

/* ---- the body */

static bool read_tensor(struct model *m, const uint8_t *p, struct tensor *t)
{
    t->type = i32_at(p);
    uint32_t kind = u32_at(p + 4);
    t->n_dims = u32_at(p + 8);
    t->scale = f32_at(p + 40);
    t->zp = i32_at(p + 44);
    t->quant = i32_at(p + 48);
    memcpy(t->name, p + 64, sizeof t->name);
    if (kind > TENSOR_CONST || t->n_dims > 6 || t->name[sizeof t->name - 1] || t->quant < 0 ||
        t->quant > SIM_QUANT_AFFINE || !isfinite(t->scale) || t->scale <= 0)
        return false;
    t->kind = (enum tensor_kind)kind;
    bool type_ok = t->type == SIM_F16 || (t->type == SIM_I64 && kind != TENSOR_CONST) ||
                   (kind == TENSOR_OUTPUT && (t->type == SIM_I8 || t->type == SIM_F32));
    t->elems = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        t->dims[i] = u32_at(p + 16 + 4 * i);
        if (t->dims[i] == 0 || t->dims[i] > 1u << 24 || t->elems * t->dims[i] > 1u << 28)
            return false;
        t->elems *= t->dims[i];
    }
    t->bytes = t->elems * type_bits(t->type) / 8;
    if (kind == TENSOR_CONST) {
        uint64_t offset = u64_at(p + 56);
        t->offset = (size_t)offset;
        return type_ok && offset % 2 == 0 && offset <= m->weights_size && t->bytes <= m->weights_size - offset;
    }
    t->offset = m->values_size;
    m->values_size += (t->bytes + 63) / 64 * 64;
    return type_ok && m->values_size < UINT64_C(1) << 32;
}

static bool read_tensors(struct model *m, const uint8_t *p, uint32_t n_inputs, uint32_t n_outputs)
{
    for (uint32_t i = 0; i < m->n_tensors; i++, p += TENSOR_RECORD) {
        struct tensor *t = &m->tensors[i];
        if (!read_tensor(m, p, t))
            return false;
        if (t->kind == TENSOR_INPUT && m->n_inputs < MODEL_MAX_IO)
            m->inputs[m->n_inputs++] = i;
        else if (t->kind == TENSOR_OUTPUT && m->n_outputs < MODEL_MAX_IO)
            m->outputs[m->n_outputs++] = i;
    }
    return m->n_inputs == n_inputs && m->n_outputs == n_outputs && n_inputs && n_outputs;
}

static bool read_ops(struct model *m, const uint8_t *p)
{
    for (uint32_t i = 0; i < m->n_ops; i++, p += OP_RECORD) {
        struct op *op = &m->ops[i];
        op->code = u32_at(p);
        op->flags = u32_at(p + 4);
        for (int k = 0; k < OP_INPUTS; k++)
            op->in[k] = i32_at(p + 8 + 4 * k);
        op->out = i32_at(p + 32);
        for (int k = 0; k < 4; k++)
            op->ints[k] = i32_at(p + 36 + 4 * k);
        for (int k = 0; k < 3; k++)
            op->floats[k] = f32_at(p + 52 + 4 * k);
        if (!op_check(m, op)) {
            sim_log('E', "op %u of the model does not fit its tensors", i);
            return false;
        }
    }
    return true;
}

/* Copies what is needed; -6 or -4 if it cannot. */
static int read_body(struct model *m, const uint8_t *body, size_t len)
{
    uint64_t data = u64_at(body + 32), size = u64_at(body + 40);
    m->n_tensors = u32_at(body + 8);
    m->n_ops = u32_at(body + 12);
    m->single_core = u32_at(body + 24) & 1;
    memcpy(m->toolkit, body + 128, sizeof m->toolkit);
    memcpy(m->custom, body + 160, sizeof m->custom);
    if (m->n_tensors > MAX_RECORDS || m->n_ops > MAX_RECORDS || data > len || size > len - data ||
        data < HEADER + (uint64_t)m->n_tensors * TENSOR_RECORD + (uint64_t)m->n_ops * OP_RECORD ||
        m->toolkit[sizeof m->toolkit - 1] || m->custom[sizeof m->custom - 1])
        return SIM_BAD_MODEL;
    m->weights_size = (size_t)size;
    m->weights = aligned_alloc(64, (size_t)(size + 64) / 64 * 64);
    m->tensors = calloc(m->n_tensors + 1, sizeof *m->tensors);
    m->ops = calloc(m->n_ops + 1, sizeof *m->ops);
    if (m->weights == NULL || m->tensors == NULL || m->ops == NULL)
        return SIM_NO_MEMORY;
    memcpy(m->weights, body + data, size);
    if (!read_tensors(m, body + HEADER, u32_at(body + 16), u32_at(body + 20)) ||
        !read_ops(m, body + HEADER + (size_t)m->n_tensors * TENSOR_RECORD))
        return SIM_BAD_MODEL;
    return SIM_OK;
}

int model_load(const uint8_t *file, size_t size, struct model **out)
{
    const uint8_t *body;
    size_t len;
    char platforms[81] = "";
    int r = open_frame(file, size, &body, &len);
    if (r)
        return r;
    memcpy(platforms, body + 48, 80);
    r = check_platform(platforms);
    if (r)
        return r;
    struct model *m = sim_alloc_fails() ? NULL : calloc(1, sizeof *m);
    if (m == NULL)
        return SIM_NO_MEMORY;
    m->refs = 1;
    r = read_body(m, body, len);
    if (r) {
        sim_log('E', "the model is damaged or too big: %d", r);
        model_free(m);
        return r;
    }
    if (version_compare(m->toolkit, sim.config.runtime) > 0)
        sim_log('W', "the model was made by toolkit %s, the runtime is %s", m->toolkit, sim.config.runtime);
    *out = m;
    return SIM_OK;
}

void model_free(struct model *m)
{
    free(m->weights);
    free(m->tensors);
    free(m->ops);
    free(m);
}
