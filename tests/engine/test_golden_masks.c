/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One list, run on every body: the CPU's virtual cores, the simulated NPU with .rknn files, and the native body on it;
 * for every platform and every core mask. Answers against sentence-transformers (f32: 1e-5, f16: cosine 0.9999), the
 * cores that were really used as the answer and as the NPU itself say, and the words for masks that do not exist.
 */
#include "engine_util.h"

#include "npu_util.h"

static const struct platform_case {
    const char *name, *device_of_error, *list; /* as the user reads it */
    int cores;
} platforms[] = {
    { "rk3588", "3 NPU cores", "auto, 0, 1, 2, 0_1, 0_1_2 or all", 3 },
    { "rk3576", "2 NPU cores", "auto, 0, 1, 0_1 or all", 2 },
    { "rk3568", "1 NPU core", "auto, 0 or all", 1 },
    { "rk3566", "1 NPU core", "auto, 0 or all", 1 },
    { "rk3562", "1 NPU core", "auto, 0 or all", 1 },
};

static const struct mask_case {
    const char *name;
    uint32_t cores; /* 0: those of the platform */
    bool known;
} masks[] = {
    { "auto", 0, true }, { "0", 1, true },     { "1", 2, true },    { "2", 4, true },  { "0_1", 3, true },
    { "all", 0, true },  { "0_1_2", 7, true }, { "3", 0, false },   { "", 0, false },  { "1_2", 0, false },
    { "0_2", 0, false }, { "AUTO", 0, false }, { "0,1", 0, false }, { "7", 0, false }, { "0 ", 0, false },
};

enum body { BODY_CPU, BODY_GRAPH, BODY_NATIVE };
static const struct {
    const char *path, *device;
    double cosine;
} bodies[] = {
    [BODY_CPU] = { MODELS "bert-embed", "cpu", 0 },
    [BODY_GRAPH] = { SIM_MODEL_DIR "/bert-embed", "sim", 0.9999 },
    [BODY_NATIVE] = { MODELS "bert-embed", "sim", 0.9999 },
};

static yyjson_doc *golden;
static yyjson_val *cases;

static int setup(void **state)
{
    (void)state;
    sim_load();
    golden = golden_open("trained/bert-embed.json");
    cases = yyjson_obj_get(yyjson_doc_get_root(golden), "embed");
    return yyjson_arr_size(cases) > 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    yyjson_doc_free(golden);
    return 0;
}

static void check_answer(enum body body, yyjson_val *want, const rkf_tensor *t)
{
    size_t i, n = (size_t)t->shape[0], max;
    double dot = 0, a = 0, b = 0;
    yyjson_val *v;
    const float *got = t->data;
    if (!bodies[body].cosine) {
        assert_true(worst(want, got, n) <= 1e-5);
        return;
    }
    assert_int_equal(yyjson_arr_size(want), n);
    yyjson_arr_foreach(want, i, max, v)
    {
        double w = yyjson_get_num(v);
        dot += w * (double)got[i];
        a += w * w;
        b += (double)got[i] * (double)got[i];
    }
    if (!(dot / sqrt(a * b) >= bodies[body].cosine))
        fail_msg("cosine %f", dot / sqrt(a * b));
}

/* What the NPU itself saw: no job on other cores; native bodies never under a joint mask, which the runtime refuses for
 * products; compiled ones under the mask that was asked for. */
static void check_jobs(enum body body, const struct mask_case *m, uint32_t allowed)
{
    struct rknnsim_counters k = sim_counters();
    bool automatic = strcmp(m->name, "auto") == 0;
    for (uint32_t set = 1; set < 8; set++) {
        bool joint = (set & (set - 1)) != 0;
        if ((set & ~allowed) || (joint && (body == BODY_NATIVE || automatic || set != allowed)))
            assert_int_equal(k.jobs_by_mask[set], 0);
    }
    for (uint32_t core = 0; core < 3 && !automatic; core++)
        assert_true((k.jobs[core] > 0) == (allowed >> core & 1));
    if (body == BODY_GRAPH && !automatic)
        assert_true(k.jobs_by_mask[allowed] > 0);
    assert_int_equal(k.jobs_failed, 0);
}

static void run_cases(enum body body, rkf_model *model, const struct mask_case *m, uint32_t allowed)
{
    yyjson_val *c;
    size_t i, max;
    yyjson_arr_foreach(cases, i, max, c)
    {
        rkf_error err;
        rkf_result *r = NULL;
        rkf_tensor t;
        rkf_info info;
        rkf_input in = { .text = str_of(yyjson_obj_get(c, "text")) };
        rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
        assert_ok(rkf_run(model, &rq, &r, &err));
        assert_int_equal(rkf_result_tensor(r, 0, &t), RKF_OK);
        check_answer(body, yyjson_obj_get(c, "embedding"), &t);
        assert_int_equal(rkf_result_info(r, RKF_ALL, &info), RKF_OK);
        assert_string_equal(info.device, bodies[body].device);
        if (strcmp(m->name, "auto") == 0)
            assert_true(info.cores && !(info.cores & ~allowed));
        else
            assert_int_equal(info.cores, allowed);
        rkf_result_free(r);
    }
}

static void check_error(rkf_runtime *rt, enum body body, const struct platform_case *p, const struct mask_case *m)
{
    rkf_error err;
    rkf_model_options o = RKF_MODEL_OPTIONS_INIT;
    rkf_model *model = NULL;
    char want[256];
    o.path = bodies[body].path;
    o.core_mask = m->name;
    if (m->known)
        snprintf(want, sizeof want, "core mask '%s' is not available on %s: it has %s; use %s", m->name, p->name,
                 p->device_of_error, p->list);
    else
        snprintf(want, sizeof want, "unknown core mask '%s': use %s", m->name, p->list);
    assert_int_equal(rkf_model_open(rt, &o, &model, &err), m->known ? RKF_UNAVAILABLE : RKF_INVALID);
    assert_null(model);
    assert_string_equal(err.message, want);
}

static void every_platform_and_mask(enum body body)
{
    int legal = 0, refused = 0;
    for (size_t i = 0; i < sizeof platforms / sizeof *platforms; i++) {
        const struct platform_case *p = &platforms[i];
        const uint32_t all = (1u << p->cores) - 1;
        for (size_t k = 0; k < sizeof masks / sizeof *masks; k++) {
            const struct mask_case *m = &masks[k];
            uint32_t allowed = m->cores ? m->cores : all;
            rkf_runtime *rt = body == BODY_CPU ? open_runtime(p->name, 2) : open_sim(p->name);
            sim_config("reset=counters");
            if (m->known && !(allowed & ~all)) {
                run_cases(body, open_model(rt, bodies[body].path, m->name), m, allowed);
                if (body != BODY_CPU)
                    check_jobs(body, m, allowed);
                legal++;
            } else {
                check_error(rt, body, p, m);
                assert_int_equal(sim_counters().contexts_created, 0); /* nothing was loaded */
                refused++;
            }
            rkf_runtime_close(rt);
            if (body != BODY_CPU)
                nothing_is_left();
        }
    }
    assert_int_equal(legal, 7 + 5 + 3 * 3);
    assert_int_equal(refused, 5 * 15 - legal);
}

static void on_virtual_cores(void **state)
{
    (void)state;
    every_platform_and_mask(BODY_CPU);
}

static void compiled_on_the_npu(void **state)
{
    (void)state;
    every_platform_and_mask(BODY_GRAPH);
}

static void native_on_the_npu(void **state)
{
    (void)state;
    every_platform_and_mask(BODY_NATIVE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_virtual_cores),
        cmocka_unit_test(compiled_on_the_npu),
        cmocka_unit_test(native_on_the_npu),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
