/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts of .rknn models: creation, attributes, inputs and outputs. execute.c runs them. Duplicated contexts share
 * the model, that is the weights; values and settings are each context's own.
 */
#include "graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- creation */

/* Locked. */
static void model_drop(struct model *m)
{
    if (--m->refs)
        return;
    sim.counters.weights--;
    sim.counters.weights_bytes -= m->weights_size;
    model_free(m);
}

/* Locked. Takes over a reference to m, also when it fails. */
static int graph_new(struct model *m, uint32_t flags, rknn_context *ctx)
{
    struct graph *g = calloc(1, sizeof *g);
    struct context *c;
    int r = SIM_NO_MEMORY;
    if (g == NULL)
        goto fail;
    g->model = m;
    g->info_only = flags & SIM_FLAG_INFO_ONLY;
    g->values = aligned_alloc(64, m->values_size + 64);
    g->data = calloc(m->n_tensors, sizeof *g->data);
    if (g->values == NULL || g->data == NULL)
        goto fail;
    memset(g->values, 0, m->values_size + 64);
    for (uint32_t i = 0; i < m->n_tensors; i++) {
        const struct tensor *t = &m->tensors[i];
        g->data[i] = (t->kind == TENSOR_CONST ? m->weights : g->values) + t->offset;
    }
    for (uint32_t i = 0; i < m->n_outputs; i++)
        if ((g->results[i] = calloc(1, m->tensors[m->outputs[i]].bytes + 1)) == NULL)
            goto fail;
    r = context_add(CONTEXT_GRAPH, g, 0, &c);
    if (r)
        goto fail;
    *ctx = c->id;
    return SIM_OK;
fail:
    if (g) {
        g->model = NULL;
        graph_free_parts(g);
    }
    model_drop(m);
    return r;
}

void graph_free_parts(struct graph *g)
{
    for (int i = 0; i < MODEL_MAX_IO; i++)
        free(g->results[i]);
    free(g->values);
    free(g->data);
    free(g);
}

void graph_free(void *impl)
{
    struct graph *g = impl;
    sim_lock();
    sim.counters.outputs_held -= g->held;
    sim.counters.unreleased += g->taken;
    model_drop(g->model);
    sim_unlock();
    graph_free_parts(g);
}

/* A file, or the part of it that extend names; NULL: cannot be read. */
static uint8_t *read_file(const char *path, const struct sim_init_extend *extend, size_t *size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *p = NULL;
    if (f == NULL)
        return NULL;
    long begin = extend && extend->real_model_size ? extend->real_model_offset : 0, end = 0;
    if (fseek(f, 0, SEEK_END) == 0)
        end = ftell(f);
    if (extend && extend->real_model_size && begin + (long)extend->real_model_size < end)
        end = begin + (long)extend->real_model_size;
    if (begin >= 0 && end >= begin && fseek(f, begin, SEEK_SET) == 0)
        p = malloc((size_t)(end - begin) + 1);
    if (p && fread(p, 1, (size_t)(end - begin), f) != (size_t)(end - begin)) {
        free(p);
        p = NULL;
    }
    fclose(f);
    *size = (size_t)(end - begin);
    return p;
}

/* Locked. The model to share, if the caller wants that and it is the same. */
static struct model *shared_model(uint32_t flags, const struct sim_init_extend *extend, const struct model *m)
{
    for (struct context *c = sim.contexts; extend && flags & SIM_FLAG_SHARE_WEIGHTS && c; c = c->next) {
        if (c->id != extend->ctx || c->dying || c->kind != CONTEXT_GRAPH)
            continue;
        struct model *other = ((struct graph *)c->impl)->model;
        if (other->weights_size == m->weights_size && memcmp(other->weights, m->weights, m->weights_size) == 0)
            return other;
    }
    return NULL;
}

static int init(rknn_context *ctx, const uint8_t *p, size_t size, uint32_t flags, const struct sim_init_extend *extend)
{
    struct model *m = NULL;
    if (sim.config_broken)
        return SIM_FAIL;
    if (!sim.config.device) {
        sim_log('E', "failed to open rknpu module, need to insmod rknpu driver!");
        return SIM_DEVICE_UNAVAILABLE;
    }
    if (flags & ~(uint32_t)SIM_FLAGS)
        return sim_misuse(SIM_BAD_PARAM, "rknn_init: flags %#x", flags);
    int r = model_load(p, size, &m);
    if (r)
        return r;
    struct model *other = shared_model(flags, extend, m);
    if (other) {
        model_free(m);
        m = other;
        m->refs++;
    } else {
        sim.counters.weights++;
        sim.counters.weights_loaded++;
        sim.counters.weights_bytes += m->weights_size;
    }
    return graph_new(m, flags, ctx);
}

int rknn_init(rknn_context *ctx, void *model, uint32_t size, uint32_t flag, struct sim_init_extend *extend)
{
    uint8_t *file = NULL;
    size_t len = size;
    sim_start();
    if (ctx == NULL || model == NULL)
        return SIM_BAD_PARAM;
    if (size == 0) {
        file = read_file(model, extend, &len);
        if (file == NULL) {
            sim_log('E', "failed to read the model %s", (const char *)model);
            return SIM_BAD_MODEL;
        }
    }
    sim_lock();
    int r = init(ctx, file ? file : model, len, flag, extend);
    sim_unlock();
    free(file);
    return r;
}

int rknn_dup_context(rknn_context *in, rknn_context *out)
{
    sim_start();
    if (in == NULL || out == NULL)
        return SIM_BAD_PARAM;
    struct context *c = context_hold(*in, CONTEXT_GRAPH);
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    const struct graph *g = c->impl;
    sim_lock();
    g->model->refs++;
    int r = graph_new(g->model, g->info_only ? SIM_FLAG_INFO_ONLY : 0, out);
    sim_unlock();
    context_drop(c);
    return r;
}

int rknn_destroy(rknn_context ctx)
{
    struct context *c = context_remove(ctx, CONTEXT_GRAPH);
    context_free(c);
    return c ? SIM_OK : SIM_BAD_CONTEXT;
}

/* Locked. The table of rknn_set_core_mask: what the platform has, joint masks from core 0 on, everything else refused;
 * a refused mask leaves the context on AUTO. */
static int set_mask(struct context *c, int mask)
{
    const struct platform *p = sim.config.platform;
    int most = (1 << p->cores) - 1;
    c->mask = SIM_MASK_AUTO;
    if (!p->core_masks)
        return sim_misuse(SIM_FAIL, "rknn_set_core_mask: No implementation found for current platform!");
    if (mask == SIM_MASK_ALL)
        mask = most;
    if (mask < 0 || mask > most) {
        sim_log('E', "rknn_set_core_mask: core mask %d is not supported, max core mask = %d", mask, most);
        return SIM_PLATFORM_UNMATCHED;
    }
    if (mask == 5 || mask == 6) {
        sim_log('E', "Not support core mask: %d, fallback to single core auto mode", mask);
        return SIM_FAIL;
    }
    c->mask = (uint32_t)mask;
    return SIM_OK;
}

int rknn_set_core_mask(rknn_context ctx, int mask)
{
    struct context *c = context_enter(ctx, CONTEXT_GRAPH);
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    sim_lock();
    int r = set_mask(c, mask);
    sim_unlock();
    context_leave(c);
    return r;
}

/* ---- attributes */

static void describe(const struct model *m, uint32_t tensor, uint32_t index, struct sim_tensor_attr *a)
{
    const struct tensor *t = &m->tensors[tensor];
    memset(a, 0, sizeof *a);
    a->index = index;
    a->n_dims = t->n_dims;
    memcpy(a->dims, t->dims, sizeof t->dims);
    memcpy(a->name, t->name, sizeof t->name);
    a->n_elems = (uint32_t)t->elems;
    a->size = a->size_with_stride = (uint32_t)t->bytes;
    a->fmt = SIM_UNDEFINED;
    a->type = t->type;
    a->qnt_type = t->quant;
    a->zp = t->zp;
    a->scale = t->scale;
    a->w_stride = t->n_dims ? t->dims[t->n_dims - 1] : 1;
}

static int query_attr(const struct model *m, bool input, struct sim_tensor_attr *a)
{
    if (a->index >= (input ? m->n_inputs : m->n_outputs))
        return SIM_BAD_PARAM;
    describe(m, (input ? m->inputs : m->outputs)[a->index], a->index, a);
    return SIM_OK;
}

static void query_versions(struct sim_sdk_version *v)
{
    memset(v, 0, sizeof *v);
    sim_lock();
    snprintf(v->api_version, sizeof v->api_version, "%s (rkformer simulator)", sim.config.runtime);
    snprintf(v->drv_version, sizeof v->drv_version, "%s", sim.config.driver);
    sim_unlock();
}

static int query_graph(const struct context *c, int cmd, void *info)
{
    const struct graph *g = c->impl;
    const struct model *m = g->model;
    switch (cmd) {
    case SIM_QUERY_IN_OUT_NUM:
        *(struct sim_in_out_num *)info = (struct sim_in_out_num){ m->n_inputs, m->n_outputs };
        return SIM_OK;
    case SIM_QUERY_INPUT_ATTR:
    case SIM_QUERY_NATIVE_INPUT_ATTR:
    case SIM_QUERY_CURRENT_INPUT_ATTR:
        return query_attr(m, true, info);
    case SIM_QUERY_OUTPUT_ATTR:
    case SIM_QUERY_NATIVE_OUTPUT_ATTR:
    case SIM_QUERY_CURRENT_OUTPUT_ATTR:
        return query_attr(m, false, info);
    case SIM_QUERY_PERF_RUN:
        sim_lock();
        ((struct sim_perf_run *)info)->run_duration = c->run_us;
        sim_unlock();
        return SIM_OK;
    case SIM_QUERY_MEM_SIZE:
        *(struct sim_mem_size *)info = (struct sim_mem_size){ .total_weight_size = (uint32_t)m->weights_size,
                                                              .total_internal_size = (uint32_t)m->values_size,
                                                              .total_dma_allocated_size = m->weights_size +
                                                                                          m->values_size };
        return SIM_OK;
    case SIM_QUERY_CUSTOM_STRING:
        memcpy(info, m->custom, sizeof m->custom);
        return SIM_OK;
    default: /* PERF_DETAIL, INPUT_DYNAMIC_RANGE: not for static models without profiling */
        return SIM_BAD_PARAM;
    }
}

static size_t query_size(int cmd)
{
    static const struct {
        int cmd;
        size_t size;
    } sizes[] = {
        { SIM_QUERY_IN_OUT_NUM, sizeof(struct sim_in_out_num) },
        { SIM_QUERY_INPUT_ATTR, sizeof(struct sim_tensor_attr) },
        { SIM_QUERY_OUTPUT_ATTR, sizeof(struct sim_tensor_attr) },
        { SIM_QUERY_NATIVE_INPUT_ATTR, sizeof(struct sim_tensor_attr) },
        { SIM_QUERY_NATIVE_OUTPUT_ATTR, sizeof(struct sim_tensor_attr) },
        { SIM_QUERY_CURRENT_INPUT_ATTR, sizeof(struct sim_tensor_attr) },
        { SIM_QUERY_CURRENT_OUTPUT_ATTR, sizeof(struct sim_tensor_attr) },
        { SIM_QUERY_PERF_RUN, sizeof(struct sim_perf_run) },
        { SIM_QUERY_SDK_VERSION, sizeof(struct sim_sdk_version) },
        { SIM_QUERY_MEM_SIZE, sizeof(struct sim_mem_size) },
        { SIM_QUERY_CUSTOM_STRING, sizeof(struct sim_custom_string) },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].cmd == cmd)
            return sizes[i].size;
    return 0;
}

int rknn_query(rknn_context ctx, int cmd, void *info, uint32_t size)
{
    struct context *c = context_hold(ctx, -1);
    size_t needed = query_size(cmd);
    int r = SIM_OK;
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    if (info == NULL || needed == 0 || size < needed)
        r = SIM_BAD_PARAM;
    else if (cmd == SIM_QUERY_SDK_VERSION)
        query_versions(info);
    else
        r = c->kind == CONTEXT_GRAPH ? query_graph(c, cmd, info) : SIM_BAD_CONTEXT;
    context_drop(c);
    return r;
}

int rknn_set_input_shapes(rknn_context ctx, uint32_t n, struct sim_tensor_attr attr[])
{
    struct context *c = context_enter(ctx, CONTEXT_GRAPH);
    int r = SIM_OK;
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    const struct model *m = ((struct graph *)c->impl)->model;
    if (attr == NULL || n != m->n_inputs)
        r = SIM_BAD_PARAM;
    for (uint32_t i = 0; r == SIM_OK && i < n; i++) { /* static: only what it was made for */
        const struct tensor *t = attr[i].index < n ? &m->tensors[m->inputs[attr[i].index]] : NULL;
        if (t == NULL || attr[i].n_dims != t->n_dims || memcmp(attr[i].dims, t->dims, t->n_dims * sizeof *t->dims))
            r = SIM_BAD_PARAM;
    }
    context_leave(c);
    return r;
}
