/* SPDX-License-Identifier: Apache-2.0 */
/* A .rknn context of the simulator, driven as a program would: padded ids in, rows of floats out. */
#ifndef TESTS_SIM_MODEL_H
#define TESTS_SIM_MODEL_H

#include "simlib.h"

enum { MODEL_INPUTS = 3 };

struct sim_model {
    rknn_context ctx;
    struct sim_in_out_num n;
    struct sim_tensor_attr in[MODEL_INPUTS], out[2];
    int64_t *inputs[MODEL_INPUTS]; // [batch, length] each: ids, mask, types (as far as the model has them)
    uint32_t length;
};

static inline void sim_model_attach(struct sim_model *m, rknn_context ctx)
{
    memset(m, 0, sizeof *m);
    m->ctx = ctx;
    assert_int_equal(p_rknn_query(ctx, SIM_QUERY_IN_OUT_NUM, &m->n, sizeof m->n), 0);
    assert_in_range(m->n.n_input, 2, MODEL_INPUTS);
    assert_in_range(m->n.n_output, 1, 2);
    for (uint32_t i = 0; i < m->n.n_input; i++) {
        m->in[i].index = i;
        assert_int_equal(p_rknn_query(ctx, SIM_QUERY_INPUT_ATTR, &m->in[i], sizeof m->in[i]), 0);
        assert_int_equal(m->in[i].type, SIM_I64);
        m->inputs[i] = calloc(m->in[i].n_elems, sizeof(int64_t));
    }
    for (uint32_t i = 0; i < m->n.n_output; i++) {
        m->out[i].index = i;
        assert_int_equal(p_rknn_query(ctx, SIM_QUERY_OUTPUT_ATTR, &m->out[i], sizeof m->out[i]), 0);
    }
    m->length = m->in[0].dims[m->in[0].n_dims - 1];
}

static inline void sim_model_open(struct sim_model *m, const char *name, const char *file)
{
    char path[512];
    rknn_context ctx;
    snprintf(path, sizeof path, "%s/%s/%s", SIM_MODEL_DIR, name, file);
    int r = p_rknn_init(&ctx, path, 0, 0, NULL);
    if (r)
        fail_msg("rknn_init(%s): %d", path, r);
    sim_model_attach(m, ctx);
}

static inline void sim_model_close(struct sim_model *m)
{
    for (int i = 0; i < MODEL_INPUTS; i++)
        free(m->inputs[i]);
    assert_int_equal(p_rknn_destroy(m->ctx), 0);
}

/* Row `row` of the batch: ids, mask 1 for them, types 1 from `second` on (0: none), padding with pad behind. */
static inline void sim_model_fill(struct sim_model *m, uint32_t row, const int64_t *ids, uint32_t n, uint32_t second,
                                  int64_t pad)
{
    assert_true(n <= m->length);
    for (uint32_t i = 0; i < m->length; i++) {
        size_t at = (size_t)row * m->length + i;
        m->inputs[0][at] = i < n ? ids[i] : pad;
        m->inputs[1][at] = i < n;
        if (m->n.n_input > 2)
            m->inputs[2][at] = second && i >= second && i < n;
    }
}

static inline int sim_model_set(struct sim_model *m)
{
    struct sim_input in[MODEL_INPUTS];
    for (uint32_t i = 0; i < m->n.n_input; i++)
        in[i] = (struct sim_input){
            .index = i, .buf = m->inputs[i], .size = m->in[i].size, .type = SIM_I64, .fmt = SIM_UNDEFINED
        };
    return p_rknn_inputs_set(m->ctx, m->n.n_input, in);
}

/* out[i]: [out[i].n_elems] f32, given by the caller */
static inline int sim_model_get(struct sim_model *m, float *const *out)
{
    struct sim_output o[2];
    for (uint32_t i = 0; i < m->n.n_output; i++)
        o[i] = (struct sim_output){
            .want_float = 1, .is_prealloc = 1, .index = i, .buf = out[i], .size = m->out[i].n_elems * 4
        };
    return p_rknn_outputs_get(m->ctx, m->n.n_output, o, NULL);
}

static inline double sim_cosine(const float *a, const double *b, size_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * (double)a[i];
        bb += b[i] * b[i];
    }
    return aa > 0 && bb > 0 ? ab / (__builtin_sqrt(aa) * __builtin_sqrt(bb)) : aa == bb;
}

#endif
