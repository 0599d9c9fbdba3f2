/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts of .rknn models: no file is understood yet, so there are none. */
#include "sim.h"

void graph_free(void *impl)
{
    (void)impl;
}

int rknn_init(rknn_context *ctx, void *model, uint32_t size, uint32_t flag, struct sim_init_extend *extend)
{
    sim_start();
    (void)size;
    (void)flag;
    (void)extend;
    return ctx == NULL || model == NULL ? SIM_BAD_PARAM : SIM_BAD_MODEL;
}

static int no_context(rknn_context ctx)
{
    struct context *c = context_hold(ctx, CONTEXT_GRAPH);
    if (c)
        context_drop(c);
    return SIM_BAD_CONTEXT;
}

int rknn_dup_context(rknn_context *in, rknn_context *out)
{
    return in == NULL || out == NULL ? SIM_BAD_PARAM : no_context(*in);
}

int rknn_destroy(rknn_context ctx)
{
    return no_context(ctx);
}

int rknn_query(rknn_context ctx, int cmd, void *info, uint32_t size)
{
    (void)cmd;
    (void)info;
    (void)size;
    return no_context(ctx);
}

int rknn_inputs_set(rknn_context ctx, uint32_t n, struct sim_input inputs[])
{
    (void)n;
    (void)inputs;
    return no_context(ctx);
}

int rknn_set_core_mask(rknn_context ctx, int mask)
{
    (void)mask;
    return no_context(ctx);
}

int rknn_run(rknn_context ctx, struct sim_run_extend *extend)
{
    (void)extend;
    return no_context(ctx);
}

int rknn_wait(rknn_context ctx, struct sim_run_extend *extend)
{
    (void)extend;
    return no_context(ctx);
}

int rknn_outputs_get(rknn_context ctx, uint32_t n, struct sim_output outputs[], struct sim_output_extend *extend)
{
    (void)n;
    (void)outputs;
    (void)extend;
    return no_context(ctx);
}

int rknn_outputs_release(rknn_context ctx, uint32_t n, struct sim_output outputs[])
{
    (void)n;
    (void)outputs;
    return no_context(ctx);
}

int rknn_set_io_mem(rknn_context ctx, struct sim_tensor_mem *mem, struct sim_tensor_attr *attr)
{
    (void)mem;
    (void)attr;
    return no_context(ctx);
}

int rknn_set_input_shapes(rknn_context ctx, uint32_t n, struct sim_tensor_attr attr[])
{
    (void)n;
    (void)attr;
    return no_context(ctx);
}
