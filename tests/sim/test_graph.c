/* SPDX-License-Identifier: Apache-2.0 */
/* .rknn models on the simulator: what the calls do and refuse. The numbers are in test_graph_golden.c. */
#include "model.h"

#include <math.h>
#include <unistd.h>

/* A run of some ids; out: [64, 32] f32 */
static int run_ids(struct sim_model *m, int64_t first, float *out)
{
    int64_t ids[5] = { 2, first, 20, 30, 3 };
    sim_model_fill(m, 0, ids, 5, 0, 0);
    assert_int_equal(sim_model_set(m), 0);
    int r = p_rknn_run(m->ctx, NULL);
    assert_int_equal(sim_model_get(m, (float *[]){ out, NULL }), 0);
    return r;
}

static void test_attributes(void **state)
{
    (void)state;
    struct sim_model m;
    struct sim_sdk_version v;
    struct sim_mem_size size;
    struct sim_custom_string custom;
    struct sim_tensor_attr a = { .index = 3 };
    struct sim_perf_run perf;
    sim_begin("rk3588");
    sim_config("runtime=2.1.0 driver=0.9.6");
    sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
    static const char *const names[] = { "input_ids", "attention_mask", "token_type_ids" };
    assert_int_equal(m.n.n_input, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(m.in[i].name, names[i]);
        assert_int_equal(m.in[i].n_dims, 2);
        assert_memory_equal(m.in[i].dims, ((uint32_t[]){ 1, 64 }), 8);
        assert_int_equal(m.in[i].n_elems, 64);
        assert_int_equal(m.in[i].size, 512);
        assert_int_equal(m.in[i].qnt_type, SIM_QUANT_NONE);
    }
    assert_int_equal(m.n.n_output, 1);
    assert_string_equal(m.out[0].name, "last_hidden_state");
    assert_memory_equal(m.out[0].dims, ((uint32_t[]){ 1, 64, 32 }), 12);
    assert_int_equal(m.out[0].type, SIM_F16);
    assert_int_equal(m.out[0].size, 64 * 32 * 2);
    assert_int_equal(p_rknn_query(m.ctx, SIM_QUERY_INPUT_ATTR, &a, sizeof a), -5);
    a.index = 1;
    assert_int_equal(p_rknn_query(m.ctx, SIM_QUERY_OUTPUT_ATTR, &a, sizeof a), -5);
    assert_int_equal(p_rknn_query(m.ctx, SIM_QUERY_CURRENT_INPUT_ATTR, &a, sizeof a), 0);
    assert_string_equal(a.name, "attention_mask");
    assert_int_equal(p_rknn_query(m.ctx, SIM_QUERY_NATIVE_INPUT_ATTR, &a, sizeof a - 1), -5);
    assert_int_equal(p_rknn_query(m.ctx, SIM_QUERY_INPUT_DYNAMIC_RANGE, &a, sizeof a), -5);
    assert_int_equal(p_rknn_query(m.ctx, 99, &a, sizeof a), -5);
    assert_int_equal(p_rknn_query(m.ctx, SIM_QUERY_SDK_VERSION, NULL, sizeof v), -5);
    assert_int_equal(p_rknn_query(m.ctx, SIM_QUERY_SDK_VERSION, &v, sizeof v), 0);
    assert_true(strncmp(v.api_version, "2.1.0 ", 6) == 0);
    assert_string_equal(v.drv_version, "0.9.6");
    assert_int_equal(p_rknn_query(m.ctx, SIM_QUERY_MEM_SIZE, &size, sizeof size), 0);
    assert_int_equal(size.total_weight_size, sim_counters().weights_bytes);
    assert_true(size.total_internal_size > 0);
    assert_int_equal(size.total_dma_allocated_size, size.total_weight_size + size.total_internal_size);
    assert_int_equal(p_rknn_query(m.ctx, SIM_QUERY_CUSTOM_STRING, &custom, sizeof custom), 0);
    assert_string_equal(custom.string, "made for tests");
    float out[64 * 32];
    assert_int_equal(run_ids(&m, 7, out), 0);
    assert_int_equal(p_rknn_query(m.ctx, SIM_QUERY_PERF_RUN, &perf, sizeof perf), 0);
    assert_true(perf.run_duration > 0);
    struct sim_tensor_attr same[3] = { m.in[0], m.in[1], m.in[2] };
    assert_int_equal(p_rknn_set_input_shapes(m.ctx, 3, same), 0);
    assert_int_equal(p_rknn_set_input_shapes(m.ctx, 2, same), -5);
    same[1].dims[1] = 32;
    assert_int_equal(p_rknn_set_input_shapes(m.ctx, 3, same), -5);
    sim_model_close(&m);
    sim_end();
}

static void test_core_masks(void **state)
{
    (void)state;
    static const struct {
        const char *platform;
        int mask, code;
    } cases[] = {
        { "rk3588", 0, 0 },    { "rk3588", 1, 0 },   { "rk3588", 2, 0 },      { "rk3588", 4, 0 },
        { "rk3588", 3, 0 },    { "rk3588", 7, 0 },   { "rk3588", 0xffff, 0 }, { "rk3588", 5, -1 },
        { "rk3588", 6, -1 },   { "rk3588", 8, -13 }, { "rk3576", 0, 0 },      { "rk3576", 1, 0 },
        { "rk3576", 2, 0 },    { "rk3576", 3, 0 },   { "rk3576", 0xffff, 0 }, { "rk3576", 4, -13 },
        { "rk3576", 5, -13 },  { "rk3576", 6, -13 }, { "rk3576", 7, -13 },    { "rk3576", 8, -13 },
        { "rk3588", -1, -13 },
    };
    float out[64 * 32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sim_model m;
        sim_begin(cases[i].platform);
        sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
        assert_int_equal(p_rknn_set_core_mask(m.ctx, 2), 0);
        int r = p_rknn_set_core_mask(m.ctx, cases[i].mask);
        if (r != cases[i].code)
            fail_msg("%s mask %d: %d", cases[i].platform, cases[i].mask, r);
        assert_int_equal(run_ids(&m, 7, out), 0);
        struct rknnsim_counters c = sim_counters();
        int all = strcmp(cases[i].platform, "rk3588") ? 3 : 7;
        int mask = r || cases[i].mask == 0 ? 1 : cases[i].mask == 0xffff ? all : cases[i].mask; /* AUTO: idle core 0 */
        if (mask == 3 || mask == 7) { /* 3 layers: one joint stretch each, the rest on core 0 alone */
            assert_int_equal(c.jobs_by_mask[mask], 3);
            assert_int_equal(c.jobs_by_mask[1], 4);
        } else {
            assert_int_equal(c.jobs_by_mask[mask], 1);
        }
        assert_int_equal(c.runs, 1);
        sim_model_close(&m);
        sim_end();
    }
    static const char *const single[] = { "rk3568", "rk3566", "rk3562" };
    for (int i = 0; i < 3; i++) {
        struct sim_model m;
        sim_begin(single[i]);
        sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
        assert_int_equal(p_rknn_set_core_mask(m.ctx, 1), -1);
        assert_int_equal(run_ids(&m, 7, out), 0);
        assert_int_equal(sim_counters().jobs[0], 1);
        sim_model_close(&m);
        sim_end_after_misuse();
        assert_int_equal(sim_counters().misuse, 1); /* must not be called there */
    }
}

static void test_mask_messages(void **state)
{
    (void)state;
    struct sim_model m;
    struct sim_capture cap;
    sim_begin("rk3576");
    sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
    sim_capture_begin(&cap);
    p_rknn_set_core_mask(m.ctx, 4);
    assert_non_null(strstr(sim_capture_end(&cap), "max core mask = 3"));
    sim_model_close(&m);
    sim_begin("rk3588");
    sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
    sim_capture_begin(&cap);
    p_rknn_set_core_mask(m.ctx, 5);
    assert_non_null(strstr(sim_capture_end(&cap), "Not support core mask: 5, fallback to single core auto mode"));
    sim_model_close(&m);
    sim_end();
}

static void test_single_core_mode(void **state)
{
    (void)state;
    struct sim_model m;
    float out[64 * 32];
    sim_begin("rk3588");
    sim_model_open(&m, "bert-cls", "rknn/model_b1_s64_single.rknn");
    assert_int_equal(p_rknn_set_core_mask(m.ctx, 7), 0);
    assert_int_equal(run_ids(&m, 7, out), 0);
    assert_int_equal(sim_counters().jobs_by_mask[1], 1);
    assert_int_equal(sim_counters().jobs[1] + sim_counters().jobs[2], 0);
    sim_model_close(&m);
    sim_end();
}

/* Wherever it runs, a model answers the same bits. */
static void test_same_everywhere(void **state)
{
    (void)state;
    static const int masks[] = { 1, 2, 4, 3, 7 };
    struct sim_model m;
    float first[64 * 32], out[64 * 32];
    sim_begin("rk3588");
    sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
    assert_int_equal(run_ids(&m, 7, first), 0);
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        memset(out, 0, sizeof out);
        assert_int_equal(p_rknn_set_core_mask(m.ctx, masks[i]), 0);
        assert_int_equal(run_ids(&m, 7, out), 0);
        assert_memory_equal(out, first, sizeof out);
    }
    sim_model_close(&m);
    sim_end();
}

static void test_shared_weights(void **state)
{
    (void)state;
    struct sim_model m[3];
    float first[64 * 32], out[64 * 32];
    rknn_context other;
    sim_begin("rk3588");
    sim_model_open(&m[0], "bert-cls", "model_b1_s64.rknn");
    uint64_t bytes = sim_counters().weights_bytes;
    for (int i = 1; i < 3; i++) {
        assert_int_equal(p_rknn_dup_context(&m[0].ctx, &other), 0);
        sim_model_attach(&m[i], other);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(p_rknn_set_core_mask(m[i].ctx, 1 << i), 0);
    assert_int_equal(sim_counters().weights, 1);
    assert_int_equal(sim_counters().weights_loaded, 1);
    assert_int_equal(sim_counters().weights_bytes, bytes);
    assert_int_equal(run_ids(&m[0], 7, first), 0);
    assert_int_equal(run_ids(&m[1], 8, out), 0); /* inputs and outputs are each context's own */
    assert_memory_not_equal(first, out, sizeof out);
    assert_int_equal(run_ids(&m[2], 7, out), 0);
    assert_memory_equal(first, out, sizeof out);
    struct rknnsim_counters c = sim_counters();
    for (int i = 0; i < 3; i++)
        assert_int_equal(c.jobs[i], 1);
    sim_model_close(&m[0]); /* the others keep the weights */
    assert_int_equal(run_ids(&m[1], 7, out), 0);
    assert_memory_equal(first, out, sizeof out);
    sim_model_close(&m[1]);
    assert_int_equal(sim_counters().weights, 1);
    /* a second load is a second set of weights, unless it asks to share */
    sim_model_open(&m[0], "bert-cls", "model_b1_s64.rknn");
    assert_int_equal(sim_counters().weights, 2);
    struct sim_init_extend extend = { .ctx = m[0].ctx };
    char path[512];
    snprintf(path, sizeof path, "%s/bert-cls/model_b1_s64.rknn", SIM_MODEL_DIR);
    assert_int_equal(p_rknn_init(&other, path, 0, SIM_FLAG_SHARE_WEIGHTS, &extend), 0);
    assert_int_equal(sim_counters().weights, 2);
    assert_int_equal(p_rknn_destroy(other), 0);
    sim_model_close(&m[0]);
    sim_model_close(&m[2]);
    assert_int_equal(p_rknn_dup_context(&m[2].ctx, &other), -7);
    assert_int_equal(p_rknn_dup_context(NULL, &other), -5);
    sim_end_after_misuse();
}

static void test_inputs(void **state)
{
    (void)state;
    struct sim_model m;
    float first[64 * 32], out[64 * 32];
    int16_t narrow[3][64];
    int32_t wide[64];
    sim_begin("rk3588");
    sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
    assert_int_equal(p_rknn_run(m.ctx, NULL), -8); /* nothing set yet */
    assert_int_equal(sim_counters().misuse, 1);
    assert_int_equal(run_ids(&m, 7, first), 0);
    /* other integer types are converted */
    struct sim_input in[3];
    for (uint32_t k = 0; k < 3; k++) {
        for (uint32_t i = 0; i < 64; i++)
            narrow[k][i] = (int16_t)m.inputs[k][i];
        in[k] = (struct sim_input){ .index = k, .buf = narrow[k], .size = 128, .type = SIM_I16 };
    }
    for (uint32_t i = 0; i < 64; i++)
        wide[i] = (int32_t)m.inputs[0][i];
    in[0] = (struct sim_input){ .index = 0, .buf = wide, .size = 256, .type = SIM_I32 };
    in[1] = (struct sim_input){ .index = 1, .buf = m.inputs[1], .size = 512, .type = SIM_F32, .pass_through = 1 };
    assert_int_equal(p_rknn_inputs_set(m.ctx, 3, in), 0);
    assert_int_equal(p_rknn_run(m.ctx, NULL), 0);
    assert_int_equal(sim_model_get(&m, (float *[]){ out, NULL }), 0);
    assert_memory_equal(first, out, sizeof out);
    /* what does not fit is refused */
    assert_int_equal(p_rknn_inputs_set(m.ctx, 2, in), -5);
    assert_int_equal(p_rknn_inputs_set(m.ctx, 3, NULL), -5);
    in[0].size = 128;
    assert_int_equal(p_rknn_inputs_set(m.ctx, 3, in), -8);
    in[0].size = 256;
    in[0].type = SIM_F32;
    assert_int_equal(p_rknn_inputs_set(m.ctx, 3, in), -8);
    in[0].type = SIM_I32;
    in[0].index = 3;
    assert_int_equal(p_rknn_inputs_set(m.ctx, 3, in), -8);
    in[0].index = 0;
    in[0].buf = NULL;
    assert_int_equal(p_rknn_inputs_set(m.ctx, 3, in), -8);
    /* an id that the vocabulary does not have: the run fails, outputs_get still answers what was there */
    memset(out, 0, sizeof out);
    assert_int_equal(run_ids(&m, 70000, out), -1);
    assert_memory_equal(first, out, sizeof out);
    sim_model_close(&m);
    sim_end_after_misuse();
}

static void test_outputs(void **state)
{
    (void)state;
    struct sim_model m;
    float first[64 * 32];
    sim_begin("rk3588");
    sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
    assert_int_equal(run_ids(&m, 7, first), 0);
    /* f16 as it is, in a buffer of the library's */
    struct sim_output o = { .index = 0 };
    assert_int_equal(p_rknn_outputs_get(m.ctx, 1, &o, NULL), 0);
    assert_int_equal(o.size, 64 * 32 * 2);
    assert_int_equal(sim_counters().outputs_held, 1);
    for (int i = 0; i < 64 * 32; i++) {
        uint16_t h = ((uint16_t *)o.buf)[i];
        int e = h >> 10 & 31, frac = h & 1023;
        double v = e ? ldexp(1024 + frac, e - 25) : ldexp(frac, -24);
        assert_true((float)(h & 0x8000 ? -v : v) == first[i]);
    }
    assert_int_equal(p_rknn_outputs_release(m.ctx, 1, &o), 0);
    assert_int_equal(sim_counters().outputs_held, 0);
    o = (struct sim_output){ .want_float = 1 };
    assert_int_equal(p_rknn_outputs_get(m.ctx, 1, &o, NULL), 0);
    assert_int_equal(o.size, sizeof first);
    assert_memory_equal(o.buf, first, sizeof first);
    assert_int_equal(p_rknn_outputs_release(m.ctx, 1, &o), 0);
    o = (struct sim_output){ .want_float = 1, .is_prealloc = 1, .buf = first, .size = sizeof first - 1 };
    assert_int_equal(p_rknn_outputs_get(m.ctx, 1, &o, NULL), -9);
    o.buf = NULL;
    assert_int_equal(p_rknn_outputs_get(m.ctx, 1, &o, NULL), -9);
    o.index = 1;
    assert_int_equal(p_rknn_outputs_get(m.ctx, 1, &o, NULL), -9);
    assert_int_equal(p_rknn_outputs_get(m.ctx, 2, &o, NULL), -5);
    assert_int_equal(p_rknn_outputs_get(m.ctx, 1, NULL, NULL), -5);
    sim_model_close(&m);
    sim_end();
}

static void test_quantised_output(void **state)
{
    (void)state;
    struct sim_model plain, q;
    float want[64 * 32], got[64 * 32];
    int8_t raw[64 * 32];
    sim_begin("rk3588");
    sim_model_open(&plain, "bert-cls", "model_b1_s64.rknn");
    sim_model_open(&q, "bert-cls", "rknn/model_b1_s64_w8a8.rknn");
    assert_int_equal(q.out[0].type, SIM_I8);
    assert_int_equal(q.out[0].qnt_type, SIM_QUANT_AFFINE);
    assert_int_equal(q.out[0].zp, -3);
    assert_true(fabsf(q.out[0].scale - 4.0f / 127) < 1e-7f);
    assert_int_equal(run_ids(&plain, 7, want), 0);
    assert_int_equal(run_ids(&q, 7, got), 0);
    struct sim_output o = { .is_prealloc = 1, .buf = raw, .size = sizeof raw };
    assert_int_equal(p_rknn_outputs_get(q.ctx, 1, &o, NULL), 0);
    for (int i = 0; i < 64 * 32; i++) {
        float top = (127 + 3) * q.out[0].scale, low = (-128 + 3) * q.out[0].scale;
        float near = want[i] > top ? top : want[i] < low ? low : want[i];
        assert_true(fabsf(got[i] - near) <= q.out[0].scale * 0.51f);
        assert_true(got[i] == (float)(raw[i] + 3) * q.out[0].scale);
    }
    sim_model_close(&plain);
    sim_model_close(&q);
    sim_end();
}

static void test_io_memory(void **state)
{
    (void)state;
    struct sim_model m;
    float first[64 * 32];
    sim_begin("rk3588");
    sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
    assert_int_equal(run_ids(&m, 7, first), 0);
    struct sim_tensor_mem *mem[4], *f16;
    for (int i = 0; i < 3; i++) {
        mem[i] = p_rknn_create_mem(m.ctx, m.in[i].size);
        memcpy(mem[i]->virt_addr, m.inputs[i], m.in[i].size);
        assert_int_equal(p_rknn_set_io_mem(m.ctx, mem[i], &m.in[i]), 0);
    }
    struct sim_tensor_attr out = m.out[0];
    out.type = SIM_F32;
    mem[3] = p_rknn_create_mem(m.ctx, sizeof first);
    f16 = p_rknn_create_mem(m.ctx, m.out[0].size);
    assert_int_equal(p_rknn_set_io_mem(m.ctx, f16, &out), -5); /* too small for f32 */
    assert_int_equal(p_rknn_set_io_mem(m.ctx, f16, &m.out[0]), 0);
    assert_int_equal(p_rknn_run(m.ctx, NULL), 0);
    assert_int_equal(p_rknn_set_io_mem(m.ctx, mem[3], &out), 0);
    assert_int_equal(p_rknn_run(m.ctx, NULL), 0);
    assert_memory_equal(mem[3]->virt_addr, first, sizeof first);
    strcpy(out.name, "nothing");
    assert_int_equal(p_rknn_set_io_mem(m.ctx, mem[3], &out), -5);
    assert_int_equal(p_rknn_set_io_mem(m.ctx, NULL, &out), -5);
    for (int i = 0; i < 4; i++)
        p_rknn_destroy_mem(m.ctx, mem[i]);
    p_rknn_destroy_mem(m.ctx, f16);
    assert_int_equal(p_rknn_run(m.ctx, NULL), -8); /* its memories are gone */
    sim_model_close(&m);
    sim_end_after_misuse();
}

static void test_without_blocking(void **state)
{
    (void)state;
    struct sim_model m;
    float first[64 * 32], out[64 * 32];
    struct sim_run_extend extend = { .non_block = 1 };
    sim_begin("rk3588");
    sim_model_open(&m, "bert-cls", "model_b1_s64.rknn");
    assert_int_equal(run_ids(&m, 7, first), 0);
    sim_config("cost=model scale=3000"); /* 120 ms and more */
    assert_int_equal(sim_model_set(&m), 0);
    assert_int_equal(p_rknn_run(m.ctx, &extend), 0);
    struct sim_run_extend soon = { .timeout_ms = 1 };
    assert_int_equal(p_rknn_wait(m.ctx, &soon), -2);
    assert_int_equal(p_rknn_wait(m.ctx, &extend), 0);
    assert_int_equal(sim_model_get(&m, (float *[]){ out, NULL }), 0);
    assert_memory_equal(first, out, sizeof out);
    /* destroying waits for the run */
    assert_int_equal(p_rknn_run(m.ctx, &extend), 0);
    sim_model_close(&m);
    sim_end();
}

/* ---- files that are not taken */

static uint8_t *read_model(const char *name, size_t *len)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", SIM_MODEL_DIR, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *len = (size_t)ftell(f);
    rewind(f);
    uint8_t *p = malloc(*len);
    assert_int_equal(fread(p, 1, *len, f), *len);
    fclose(f);
    return p;
}

static int init_logged(const uint8_t *p, size_t len, struct sim_capture *cap)
{
    rknn_context ctx = 77;
    sim_capture_begin(cap);
    int r = p_rknn_init(&ctx, (void *)(uintptr_t)p, (uint32_t)len, 0, NULL);
    sim_capture_end(cap);
    if (r == 0)
        assert_int_equal(p_rknn_destroy(ctx), 0);
    else
        assert_int_equal(ctx, 77);
    return r;
}

static void test_refused_files(void **state)
{
    (void)state;
    struct sim_capture cap;
    size_t len, other_len;
    uint8_t *p = read_model("bert-cls/model_b1_s64.rknn", &len);
    uint8_t *other = read_model("bert-cls/rknn/model_rk3576.rknn", &other_len);
    sim_begin("rk3588");
    assert_int_equal(init_logged(p, len, &cap), 0);
    assert_string_equal(cap.text, "");
    assert_int_equal(init_logged(other, other_len, &cap), -6);
    assert_non_null(strstr(cap.text, "This rknn model is for RK3576, but current platform is RK3588"));
    sim_config("runtime=1.4.0");
    assert_int_equal(init_logged(p, len, &cap), -1);
    assert_non_null(strstr(cap.text, "Invalid RKNN model version 6"));
    sim_config("runtime=2.3.2 device=no");
    assert_int_equal(init_logged(p, len, &cap), -3);
    sim_config("device=yes");
    sim_end();
    /* the vendor's library would end the process on some of these: counted, so that callers can be shown to check */
    for (size_t cut = 72; cut < len; cut += 4099)
        assert_int_equal(init_logged(p, cut, &cap), -6);
    assert_true(sim_counters().would_abort > 0);
    assert_int_equal(init_logged(p, 3, &cap), -6);
    p[64] ^= 1; /* another body: the vendor's, say */
    assert_int_equal(init_logged(p, len, &cap), -6);
    assert_non_null(strstr(cap.text, "the simulator runs no files of the vendor's compiler"));
    p[64] ^= 1;
    p[8] = 2;
    assert_int_equal(init_logged(p, len, &cap), -1);
    assert_non_null(strstr(cap.text, "Invalid RKNN model version 2"));
    rknn_context ctx;
    char nowhere[] = "/nowhere/model.rknn";
    assert_int_equal(p_rknn_init(&ctx, nowhere, 0, 0, NULL), -6);
    assert_int_equal(p_rknn_init(NULL, p, (uint32_t)len, 0, NULL), -5);
    assert_int_equal(p_rknn_init(&ctx, NULL, 0, 0, NULL), -5);
    free(p);
    free(other);
    p = read_model("bert-cls/rknn/model_new.rknn", &len);
    assert_int_equal(init_logged(p, len, &cap), 0);
    assert_non_null(strstr(cap.text, "made by toolkit 2.5.0, the runtime is 2.3.2"));
    free(p);
    sim_end_after_misuse();
}

/* Any single byte of tensor and op tables may be wrong: refused or harmless (sanitizers look on). */
static void test_damaged_tables(void **state)
{
    (void)state;
    size_t len;
    uint8_t *p = read_model("bert-cls/model_b1_s64.rknn", &len);
    uint64_t seed = 88172645463325252ull;
    unsetenv("RKNN_LOG_LEVEL");
    sim_begin("rk3588");
    uint32_t tables = 1184, end = *(uint32_t *)(p + 64 + 32), refused = 0;
    for (int i = 0; i < 500; i++) {
        rknn_context ctx;
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        size_t at = 64 + (i < 64 ? (size_t)i % 48 : tables + seed % (end - tables));
        uint8_t old = p[at];
        p[at] = (uint8_t)(seed >> 40);
        int r = p_rknn_init(&ctx, p, (uint32_t)len, 0, NULL);
        if (r == 0) {
            struct sim_in_out_num n;
            struct sim_input in[3];
            assert_int_equal(p_rknn_query(ctx, SIM_QUERY_IN_OUT_NUM, &n, sizeof n), 0);
            int64_t zeros[64] = { 0 };
            for (uint32_t k = 0; k < 3; k++)
                in[k] = (struct sim_input){ .index = k, .buf = zeros, .size = sizeof zeros, .type = SIM_I64 };
            if (p_rknn_inputs_set(ctx, 3, in) == 0)
                p_rknn_run(ctx, NULL);
            assert_int_equal(p_rknn_destroy(ctx), 0);
        }
        refused += r != 0;
        p[at] = old;
    }
    assert_true(refused > 30);
    free(p);
    sim_end_after_misuse();
}

static void test_look_only(void **state)
{
    (void)state;
    char path[512];
    struct sim_model m;
    rknn_context ctx;
    sim_begin("rk3588");
    snprintf(path, sizeof path, "%s/bert-cls/model_b1_s64.rknn", SIM_MODEL_DIR);
    assert_int_equal(p_rknn_init(&ctx, path, 0, SIM_FLAG_INFO_ONLY, NULL), 0);
    sim_model_attach(&m, ctx);
    assert_int_equal(m.out[0].n_elems, 64 * 32);
    assert_int_equal(sim_model_set(&m), 0);
    assert_int_equal(p_rknn_run(ctx, NULL), -1);
    sim_model_close(&m);
    sim_end_after_misuse();
}

/* A model inside another file. */
static void test_offset(void **state)
{
    (void)state;
    char path[] = "/tmp/rknnsim-offset-XXXXXX";
    size_t len;
    uint8_t *p = read_model("bert-cls/model_b1_s64.rknn", &len);
    FILE *f = fdopen(mkstemp(path), "wb");
    assert_non_null(f);
    fwrite("12345", 1, 5, f);
    fwrite(p, 1, len, f);
    fwrite("678", 1, 3, f);
    fclose(f);
    free(p);
    rknn_context ctx;
    struct sim_init_extend extend = { .real_model_offset = 5, .real_model_size = (uint32_t)len };
    sim_begin("rk3588");
    assert_int_equal(p_rknn_init(&ctx, path, 0, 0, NULL), -6);
    assert_int_equal(p_rknn_init(&ctx, path, 0, 0, &extend), 0);
    assert_int_equal(p_rknn_destroy(ctx), 0);
    extend.real_model_offset = 1 << 30;
    assert_int_equal(p_rknn_init(&ctx, path, 0, 0, &extend), -6);
    remove(path);
    sim_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attributes),       cmocka_unit_test(test_core_masks),
        cmocka_unit_test(test_mask_messages),    cmocka_unit_test(test_single_core_mode),
        cmocka_unit_test(test_same_everywhere),  cmocka_unit_test(test_shared_weights),
        cmocka_unit_test(test_inputs),           cmocka_unit_test(test_outputs),
        cmocka_unit_test(test_quantised_output), cmocka_unit_test(test_io_memory),
        cmocka_unit_test(test_without_blocking), cmocka_unit_test(test_refused_files),
        cmocka_unit_test(test_damaged_tables),   cmocka_unit_test(test_look_only),
        cmocka_unit_test(test_offset),
    };
    sim_load();
    sim_config("coherent=yes"); /* caches: test_order */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
