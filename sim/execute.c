/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running .rknn models: inputs in, jobs, outputs out.
 *
 * Jobs. On one core (or AUTO) a run is one job. Under a joint mask only the ops that the file marks are split over the
 * mask's cores, each stretch of them one joint job; the others run on the lowest core alone. A model of single-core
 * mode runs on the lowest core whatever the mask.
 */
#include "graph.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- elements in and out */

static bool is_integer(int type)
{
    return type >= SIM_I8 && type <= SIM_BOOL;
}

static int64_t integer_at(const uint8_t *p, int type, size_t i)
{
    union {
        int16_t i16;
        uint16_t u16;
        int32_t i32;
        uint32_t u32;
        int64_t i64;
    } v;
    size_t bytes = type_bits(type) / 8;
    memcpy(&v, p + bytes * i, bytes);
    switch (type) {
    case SIM_I8:
        return (int8_t)p[i];
    case SIM_U8:
    case SIM_BOOL:
        return p[i];
    case SIM_I16:
        return v.i16;
    case SIM_U16:
        return v.u16;
    case SIM_I32:
        return v.i32;
    case SIM_U32:
        return v.u32;
    default:
        return v.i64;
    }
}

/* Elements of another integer type become int64, as the model wants them. */
static void store_input(const struct tensor *t, uint8_t *to, const uint8_t *from, int type)
{
    for (size_t i = 0; i < t->elems; i++) {
        int64_t v = integer_at(from, type, i);
        memcpy(to + 8 * i, &v, 8);
    }
}

static float output_at(const struct tensor *t, const uint8_t *p, size_t i)
{
    float f;
    uint16_t h;
    if (t->type == SIM_I8)
        return ((float)(int8_t)p[i] - (float)t->zp) * t->scale;
    if (t->type == SIM_F32) {
        memcpy(&f, p + 4 * i, 4);
        return f;
    }
    memcpy(&h, p + 2 * i, 2);
    return half_to_float(h);
}

static void load_output(const struct tensor *t, const uint8_t *from, uint8_t *to, int type)
{
    if (type == t->type) {
        memcpy(to, from, t->bytes);
        return;
    }
    for (size_t i = 0; i < t->elems; i++) { /* to f32 */
        float f = output_at(t, from, i);
        memcpy(to + 4 * i, &f, 4);
    }
}

/* ---- setting inputs */

static int check_input(const struct model *m, const struct sim_input *in)
{
    if (in->index >= m->n_inputs || in->buf == NULL)
        return SIM_BAD_INPUT;
    const struct tensor *t = &m->tensors[m->inputs[in->index]];
    int type = in->pass_through ? t->type : in->type;
    if (!is_integer(type) || in->size != t->elems * type_bits(type) / 8) {
        sim_log('E', "input %u (%s): type %d and %u bytes do not fit %zu elements", in->index, t->name, in->type,
                in->size, t->elems);
        return SIM_BAD_INPUT;
    }
    return SIM_OK;
}

int rknn_inputs_set(rknn_context ctx, uint32_t n, struct sim_input inputs[])
{
    struct context *c = context_enter(ctx, CONTEXT_GRAPH);
    int r = SIM_OK;
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    struct graph *g = c->impl;
    const struct model *m = g->model;
    g->fresh = false;
    if (inputs == NULL || n != m->n_inputs)
        r = SIM_BAD_PARAM;
    for (uint32_t i = 0; r == SIM_OK && i < n; i++)
        r = check_input(m, &inputs[i]);
    for (uint32_t i = 0; r == SIM_OK && i < n; i++) {
        const struct sim_input *in = &inputs[i];
        uint32_t tensor = m->inputs[in->index];
        store_input(&m->tensors[tensor], g->data[tensor], in->buf, in->pass_through ? SIM_I64 : in->type);
        g->input_set[in->index] = true;
        g->io_in[in->index].memory = 0;
    }
    context_leave(c);
    return r;
}

/* Locked. */
static int bind(struct context *c, const struct memory *mem, const struct sim_tensor_attr *attr)
{
    struct graph *g = c->impl;
    const struct model *m = g->model;
    for (uint32_t i = 0; i < m->n_inputs + m->n_outputs; i++) {
        bool input = i < m->n_inputs;
        uint32_t index = input ? i : i - m->n_inputs;
        const struct tensor *t = &m->tensors[(input ? m->inputs : m->outputs)[index]];
        if (strncmp(attr->name, t->name, sizeof t->name) != 0)
            continue;
        bool type_ok = input ? is_integer(attr->type) : attr->type == t->type || attr->type == SIM_F32;
        if (!type_ok || mem->size < t->elems * type_bits(attr->type) / 8)
            return sim_misuse(SIM_BAD_PARAM, "rknn_set_io_mem: %s: type %d does not fit, or %u bytes are too few",
                              t->name, attr->type, mem->size);
        (input ? g->io_in : g->io_out)[index] = (struct graph_io){ mem->id, attr->type };
        return SIM_OK;
    }
    return sim_misuse(SIM_BAD_PARAM, "rknn_set_io_mem: no tensor of that name");
}

int rknn_set_io_mem(rknn_context ctx, struct sim_tensor_mem *mem, struct sim_tensor_attr *attr)
{
    struct context *c = context_enter(ctx, CONTEXT_GRAPH);
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    sim_lock();
    struct memory *found = memory_find(mem);
    int r = found && attr ? bind(c, found, attr) : SIM_BAD_PARAM;
    sim_unlock();
    context_leave(c);
    return r;
}

/* ---- jobs */

struct stretch { /* ops begin .. end, one job */
    const struct graph *g;
    uint32_t begin, end;
    int result;
};

static void compute(void *arg)
{
    struct stretch *s = arg;
    for (uint32_t i = s->begin; s->result == SIM_OK && i < s->end; i++)
        s->result = op_run(s->g->model, s->g->data, &s->g->model->ops[i]);
}

static uint32_t count_cores(uint32_t mask)
{
    return (mask & 1) + (mask >> 1 & 1) + (mask >> 2 & 1);
}

static double cost_of(const struct stretch *s, uint32_t busy)
{
    double seconds = 0;
    for (uint32_t i = s->begin; i < s->end; i++)
        seconds += op_cost(s->g->model, &s->g->model->ops[i], busy);
    return seconds;
}

static int run_jobs(const struct context *c)
{
    const struct graph *g = c->impl;
    const struct model *m = g->model;
    uint32_t mask = c->mask, lowest = mask & (~mask + 1), begin = 0;
    bool joint = count_cores(mask) > 1 && !m->single_core;
    while (begin < m->n_ops) {
        struct stretch s = { g, begin, begin, SIM_OK };
        bool split = joint && m->ops[begin].flags & OP_JOINT;
        while (s.end < m->n_ops && (!joint || split == (m->ops[s.end].flags & OP_JOINT)))
            s.end++;
        uint32_t cores;
        struct work w = { .ctx = c->id, .mask = split ? mask : lowest, .compute = compute, .arg = &s };
        for (uint32_t busy = 1; busy <= SIM_CORES; busy++)
            w.seconds[busy - 1] = cost_submit() + cost_of(&s, busy) / (split ? count_cores(mask) : 1);
        int r = npu_run(&w, &cores);
        if (r == SIM_OK)
            r = s.result;
        if (r)
            return r;
        begin = s.end;
    }
    return SIM_OK;
}

/* Locked. Memories of the run, inputs then outputs; false if one is gone. */
static bool pin_all(const struct graph *g, struct memory **pinned)
{
    bool ok = true;
    for (uint32_t i = 0; i < g->model->n_inputs; i++) {
        const struct graph_io *io = &g->io_in[i];
        pinned[i] = io->memory ? memory_pin(io->memory) : NULL;
        ok &= io->memory ? pinned[i] != NULL : g->input_set[i];
    }
    for (uint32_t i = 0; i < g->model->n_outputs; i++) {
        const struct graph_io *io = &g->io_out[i];
        pinned[MODEL_MAX_IO + i] = io->memory ? memory_pin(io->memory) : NULL;
        ok &= io->memory == 0 || pinned[MODEL_MAX_IO + i];
    }
    return ok;
}

static void copy_in(const struct graph *g, struct memory *const *pinned)
{
    const struct model *m = g->model;
    for (uint32_t i = 0; i < m->n_inputs; i++)
        if (pinned[i])
            store_input(&m->tensors[m->inputs[i]], g->data[m->inputs[i]], memory_device(pinned[i]), g->io_in[i].type);
}

static void copy_out(struct graph *g, struct memory *const *pinned)
{
    const struct model *m = g->model;
    for (uint32_t i = 0; i < m->n_outputs; i++) {
        const struct tensor *t = &m->tensors[m->outputs[i]];
        memcpy(g->results[i], g->data[m->outputs[i]], t->bytes);
        if (pinned[MODEL_MAX_IO + i])
            load_output(t, g->results[i], memory_device(pinned[MODEL_MAX_IO + i]), g->io_out[i].type);
    }
}

/* The context is entered. */
static int execute(struct context *c)
{
    struct graph *g = c->impl;
    struct memory *pinned[2 * MODEL_MAX_IO] = { NULL };
    int r = SIM_OK;
    sim_lock();
    if (g->info_only)
        r = sim_misuse(SIM_FAIL, "rknn_run: the context was made to look at the model only");
    else if (!pin_all(g, pinned))
        r = sim_misuse(SIM_BAD_INPUT, "rknn_run: an input is not set, or its memory is gone");
    else
        sim.counters.runs++;
    sim.counters.unreleased += g->taken;
    g->taken = false;
    sim_unlock();
    int64_t begin = sim_now_ns();
    if (r == SIM_OK) {
        copy_in(g, pinned);
        r = run_jobs(c);
        if (r == SIM_OK)
            copy_out(g, pinned);
    }
    g->fresh = r == SIM_OK;
    sim_lock();
    c->run_us = (sim_now_ns() - begin) / 1000;
    for (int i = 0; i < 2 * MODEL_MAX_IO; i++)
        memory_unpin(pinned[i]);
    sim_unlock();
    return r;
}

/* ---- running */

static void *run_aside(void *arg)
{
    struct context *c = arg;
    struct graph *g = c->impl;
    int r = execute(c);
    sim_lock();
    g->result = r;
    g->running = false;
    sim.counters.threads--;
    pthread_cond_broadcast(&sim.wake);
    sim_unlock();
    context_leave(c);
    return NULL;
}

/* Leaves the context entered until the run ends. */
static int start_aside(struct context *c)
{
    struct graph *g = c->impl;
    pthread_attr_t attr;
    pthread_t thread;
    sim_lock();
    g->running = true;
    sim.counters.threads++;
    sim_unlock();
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int failed = pthread_create(&thread, &attr, run_aside, c);
    pthread_attr_destroy(&attr);
    if (!failed)
        return SIM_OK;
    sim_lock();
    g->running = false;
    sim.counters.threads--;
    sim_unlock();
    return SIM_FAIL;
}

int rknn_run(rknn_context ctx, struct sim_run_extend *extend)
{
    struct context *c = context_enter(ctx, CONTEXT_GRAPH);
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    if (extend && extend->non_block) {
        int r = start_aside(c);
        if (r)
            context_leave(c);
        return r;
    }
    int r = execute(c);
    context_leave(c);
    return r;
}

int rknn_wait(rknn_context ctx, struct sim_run_extend *extend)
{
    struct context *c = context_hold(ctx, CONTEXT_GRAPH);
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    struct graph *g = c->impl;
    int64_t end = extend && extend->timeout_ms > 0 ? sim_now_ns() + extend->timeout_ms * INT64_C(1000000) : INT64_MAX;
    struct timespec until = { .tv_sec = end / 1000000000, .tv_nsec = end % 1000000000 };
    sim_lock();
    while (g->running && sim_now_ns() < end) {
        if (end == INT64_MAX)
            pthread_cond_wait(&sim.wake, &sim.lock);
        else
            pthread_cond_timedwait(&sim.wake, &sim.lock, &until);
    }
    int r = g->running ? SIM_TIMEOUT : g->result;
    sim_unlock();
    context_drop(c);
    return r;
}

/* ---- outputs */

static int get_output(struct graph *g, struct sim_output *o)
{
    const struct model *m = g->model;
    if (o->index >= m->n_outputs)
        return SIM_BAD_OUTPUT;
    const struct tensor *t = &m->tensors[m->outputs[o->index]];
    int type = o->want_float ? SIM_F32 : t->type;
    uint32_t size = (uint32_t)(t->elems * type_bits(type) / 8);
    if (o->is_prealloc) {
        if (o->buf == NULL || o->size < size)
            return SIM_BAD_OUTPUT;
    } else {
        o->buf = malloc(size);
        if (o->buf == NULL)
            return SIM_NO_MEMORY;
        o->size = size;
        sim_lock();
        g->held++;
        sim.counters.outputs_held++;
        sim_unlock();
    }
    load_output(t, g->results[o->index], o->buf, type);
    return SIM_OK;
}

int rknn_outputs_get(rknn_context ctx, uint32_t n, struct sim_output outputs[], struct sim_output_extend *extend)
{
    struct context *c = context_enter(ctx, CONTEXT_GRAPH);
    int r = SIM_OK;
    (void)extend;
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    struct graph *g = c->impl;
    sim_lock();
    sim.counters.stale_reads += !g->fresh;
    sim_unlock();
    if (outputs == NULL || n != g->model->n_outputs)
        r = SIM_BAD_PARAM;
    for (uint32_t i = 0; r == SIM_OK && i < n; i++)
        r = get_output(g, &outputs[i]);
    g->taken |= r == SIM_OK;
    context_leave(c);
    return r;
}

int rknn_outputs_release(rknn_context ctx, uint32_t n, struct sim_output outputs[])
{
    struct context *c = context_enter(ctx, CONTEXT_GRAPH);
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    struct graph *g = c->impl;
    int r = outputs == NULL || n != g->model->n_outputs ? SIM_BAD_PARAM : SIM_OK;
    g->taken &= r != SIM_OK;
    for (uint32_t i = 0; r == SIM_OK && i < n; i++) {
        if (outputs[i].is_prealloc || outputs[i].buf == NULL)
            continue;
        free(outputs[i].buf);
        outputs[i].buf = NULL;
        sim_lock();
        g->held--;
        sim.counters.outputs_held--;
        sim_unlock();
    }
    context_leave(c);
    return r;
}
