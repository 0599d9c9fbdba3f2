/* SPDX-License-Identifier: Apache-2.0 */
/* One list of models on the simulated NPU, native and as .rknn files, on every platform and mask: answers against
 * transformers (f16: cosine at least 0.9999), and the cores that were really used. */
#include "rknn_test_util.h"

#include "../encoder/enc_test_util.h"

enum { MAX_IDS = 1024 };
static struct test_batch batch;
static double worst_cosine;

/* Lanes that a user can ask for on a platform: 0 ends. */
static const uint8_t *masks_of(const char *platform)
{
    static const uint8_t three[] = { 1, 2, 4, 3, 7, 0 }, two[] = { 1, 2, 3, 0 }, one[] = { 1, 0 };
    uint32_t cores = platform_by_name(platform, strlen(platform))->cores;
    return cores == 3 ? three : cores == 2 ? two : one;
}

static void fill(yyjson_val *cases)
{
    int32_t ids[MAX_IDS];
    uint8_t types[MAX_IDS];
    yyjson_val *c;
    size_t i, n;
    batch_clear(&batch);
    yyjson_arr_foreach(cases, i, n, c)
    {
        uint32_t k = read_ids(yyjson_obj_get(c, "input_ids"), ids, MAX_IDS);
        types_of_pair(ids, k, yyjson_obj_get(c, "text_pair") ? 3 : -1, types); /* [SEP] */
        batch_add(&batch, ids, types, k);
    }
}

struct angle {
    double dot, a, b;
    size_t n;
};

static void add_case(struct angle *s, yyjson_val *want, const float *got, size_t n)
{
    yyjson_val *data = yyjson_is_obj(want) ? yyjson_obj_get(want, "data") : want, *v;
    size_t i, max;
    assert_int_equal(yyjson_arr_size(data), n);
    yyjson_arr_foreach(data, i, max, v)
    {
        double w = yyjson_get_num(v);
        s->dot += w * got[i];
        s->a += w * w;
        s->b += (double)got[i] * got[i];
    }
    s->n += n;
}

static void check_angle(const char *what, const struct angle *s)
{
    double cosine = s->dot / sqrt(s->a * s->b);
    worst_cosine = fmin(worst_cosine, isfinite(cosine) ? cosine : -1);
    if (!(cosine >= 0.9999 && fabs(sqrt(s->b / s->a) - 1) < 0.01))
        fail_msg("%s: cosine %.6f, length %.4f of what it should be", what, cosine, sqrt(s->b / s->a));
}

/* Each case by itself; single numbers (one logit per text) together. */
static void check_rows(const char *what, yyjson_val *cases, const struct rows *out)
{
    struct angle all = { 0 };
    yyjson_val *c;
    size_t i, n;
    yyjson_arr_foreach(cases, i, n, c)
    {
        bool hidden = yyjson_obj_get(c, "last_hidden_state") != NULL;
        yyjson_val *want = yyjson_obj_get(c, hidden ? "last_hidden_state" : "logits");
        uint32_t first = out->per_token ? batch.cu[i] : (uint32_t)i;
        uint32_t rows = out->per_token ? batch.cu[i + 1] - batch.cu[i] : 1;
        struct angle one = { 0 };
        assert_int_equal(out->kind, hidden ? BODY_HIDDEN : BODY_LOGITS);
        add_case(rows * out->cols > 1 ? &one : &all, want, out->data + (size_t)first * out->cols,
                 (size_t)rows * out->cols);
        if (one.n)
            check_angle(what, &one);
    }
    if (all.n)
        check_angle(what, &all);
}

/* ---- native */

static const char *const native_models[] = {
    "albert",       "albert-groups", "bert-cls",   "bert-fillmask",   "bert-gelu-new", "bert-multilabel", "bert-relu",
    "camembert",    "deberta-v2",    "distilbert", "distilbert-cls3", "electra",       "electra-ner",     "eurobert",
    "jina-bert-v3", "modernbert",    "mpnet",      "nomic-bert",      "roberta",       "xlm-roberta",     "xlmr-rerank",
};

static void run_native(struct bed *b, const char *platform, const char *name)
{
    char path[512];
    struct rig r = { .device = b->cpu };
    rkf_error err;
    snprintf(path, sizeof path, TEST_DATA "/golden/random/%s.json", name);
    yyjson_doc *golden = golden_open(path);
    yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(golden), "cases");
    fill(cases);
    lane_open(&r.x, b, 1, 1);
    snprintf(path, sizeof path, TEST_DATA "/models/random/%s", name);
    assert_ok(rig_load(&r, path, DTYPE_F16, &err));
    for (const uint8_t *mask = masks_of(platform); *mask; mask++) {
        struct rows out, logits;
        r.x.cores = *mask;
        r.x.cores_used = 0;
        arena_reset(&r.x.scratch);
        assert_ok(r.body->ops->run(r.body, &r.x, &batch.b, &out, &err));
        if (r.head) {
            assert_ok(head_run(r.head, &r.x, &batch.b, &out, NULL, 0, &logits, &err));
            out = logits;
        }
        check_rows(name, cases, &out);
        assert_true(r.x.cores_used && !(r.x.cores_used & ~*mask));
        assert_int_equal(r.x.cores_failed, 0);
    }
    rig_unload(&r);
    lane_close(&r.x);
    yyjson_doc_free(golden);
}

static void native_models_match(void **state)
{
    (void)state;
    worst_cosine = 1;
    for (int p = 0; p < N_PLATFORMS; p++) {
        struct bed b;
        bed_open(&b, all_platforms[p]);
        for (size_t m = 0; m < sizeof native_models / sizeof *native_models; m++)
            run_native(&b, all_platforms[p], native_models[m]);
        struct rknnsim_counters c = sim_counters();
        assert_int_equal(c.jobs_by_mask[0] + c.jobs_by_mask[3] + c.jobs_by_mask[7], 0); /* single cores only */
        bed_end(&b);
    }
    print_message("worst cosine, native f16: %.7f\n", worst_cosine);
}

/* ---- .rknn files */

static const char *const graph_models[] = {
    "bert-gelu-new",   "bert-relu",       "roberta",     "xlm-roberta",   "camembert", "distilbert",
    "distilbert-cls3", "bert-multilabel", "xlmr-rerank", "bert-fillmask", "bert-cls",
};

static void run_graph(struct bed *b, const char *platform, const char *name)
{
    char path[512];
    rkf_error err;
    struct model_dir *dir = NULL;
    struct body *body = NULL;
    struct exec x;
    snprintf(path, sizeof path, TEST_DATA "/golden/random/%s.json", name);
    yyjson_doc *golden = golden_open(path);
    yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(golden), "cases");
    fill(cases);
    snprintf(path, sizeof path, SIM_MODEL_DIR "/%s", name);
    assert_ok(model_dir_open(path, NULL, &dir, &err));
    assert_ok(
        rknn_body_create(b->npu, dir, &(struct rknn_body_options){ .file_name = "model_b1_s64.rknn" }, &body, &err));
    assert_int_equal(body->ops->limits(body).max_tokens, 64);
    assert_int_equal(body->ops->limits(body).batch_seqs, 1);
    lane_open(&x, b, 1, 1);
    for (const uint8_t *mask = masks_of(platform); *mask; mask++) {
        struct rows out;
        struct rknnsim_counters before = sim_counters(), after;
        x.cores = *mask;
        x.cores_used = 0;
        arena_reset(&x.scratch);
        assert_ok(body->ops->run(body, &x, &batch.b, &out, &err));
        check_rows(name, cases, &out);
        assert_int_equal(x.cores_used, *mask);
        after = sim_counters();
        assert_true(after.jobs_by_mask[*mask] > before.jobs_by_mask[*mask]);
        for (int i = 0; i < 3; i++)
            assert_true((*mask >> i & 1) || after.jobs[i] == before.jobs[i]);
    }
    assert_int_equal(sim_counters().weights, 1); /* once for all contexts */
    body->ops->release(body);
    model_dir_close(dir);
    lane_close(&x);
    yyjson_doc_free(golden);
}

static void compiled_models_match(void **state)
{
    (void)state;
    worst_cosine = 1;
    for (int p = 0; p < N_PLATFORMS; p++)
        for (size_t m = 0; m < sizeof graph_models / sizeof *graph_models; m++) {
            struct bed b;
            bed_open(&b, all_platforms[p]);
            run_graph(&b, all_platforms[p], graph_models[m]);
            bed_end(&b);
        }
    print_message("worst cosine, .rknn: %.7f\n", worst_cosine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(native_models_match),
        cmocka_unit_test(compiled_models_match),
    };
    sim_load();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
