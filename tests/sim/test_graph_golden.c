/* SPDX-License-Identifier: Apache-2.0 */
/*
 * .rknn models on the simulator against transformers' goldens, whose f32 an f16 interpreter meets to a cosine of
 * 0.9999. The files were made by tools/make_rknn_sim.py during the build.
 */
#include "model.h"

#include "base/json.h"

#include <math.h>

static yyjson_doc *load_json(const char *name)
{
    yyjson_doc *doc;
    rkf_error err;
    if (json_load(TEST_DATA, name, 64 << 20, &doc, &err))
        fail_msg("%s", err.message);
    return doc;
}

static uint32_t read_ids(yyjson_val *list, int64_t *ids)
{
    yyjson_val *v;
    size_t i, n;
    assert_in_range(yyjson_arr_size(list), 1, 64);
    yyjson_arr_foreach(list, i, n, v) ids[i] = yyjson_get_sint(v);
    return (uint32_t)yyjson_arr_size(list);
}

/* Where the second text of a BERT pair begins: behind the first separator (id 3). 0: no pair. */
static uint32_t second_text(yyjson_val *c, const int64_t *ids, uint32_t n)
{
    for (uint32_t i = 0; json_has(c, "text_pair") && i < n; i++)
        if (ids[i] == 3)
            return i + 1;
    return 0;
}

static double *read_numbers(yyjson_val *list, size_t *n)
{
    double *d = malloc(sizeof *d * (yyjson_arr_size(list) + 1));
    yyjson_val *v;
    size_t i, max;
    assert_true(yyjson_is_arr(list));
    yyjson_arr_foreach(list, i, max, v) d[i] = yyjson_get_num(v);
    *n = yyjson_arr_size(list);
    return d;
}

static void expect(const char *name, const float *got, yyjson_val *list)
{
    size_t n;
    double *want = read_numbers(list, &n), cosine = sim_cosine(got, want, n), most = 0, worst = 0;
    for (size_t i = 0; i < n; i++) {
        double off = fabs(want[i] - (double)got[i]);
        most = fabs(want[i]) > most ? fabs(want[i]) : most;
        worst = off > worst ? off : worst;
    }
    if (!(cosine >= 0.9999) || !(worst <= 0.02 * most))
        fail_msg("%s: cosine %.7f, off by %g of %g", name, cosine, worst, most);
    free(want);
}

static int64_t pad_of(const char *name)
{
    return strstr(name, "roberta") || strstr(name, "camembert") || strstr(name, "xlmr");
}

/* Runs the case in row `row` of the batch, the other rows hold other text; -> the case's part of output 0. */
static float *run_case(struct sim_model *m, yyjson_val *c, const char *name, uint32_t row, float *out)
{
    int64_t ids[64], other[3] = { 2, 100, 3 };
    uint32_t n = read_ids(yyjson_obj_get(c, "input_ids"), ids), batch = m->in[0].n_elems / m->length;
    for (uint32_t i = 0; i < batch; i++)
        sim_model_fill(m, i, other, 3, 0, pad_of(name));
    sim_model_fill(m, row, ids, n, second_text(c, ids, n), pad_of(name));
    assert_int_equal(sim_model_set(m), 0);
    assert_int_equal(p_rknn_run(m->ctx, NULL), 0);
    assert_int_equal(sim_model_get(m, (float *[]){ out, NULL }), 0);
    return out + (size_t)row * m->out[0].n_elems / batch;
}

static void check_golden(const char *name, const char *file, const char *golden, const char *list, const char *field,
                         uint32_t row)
{
    struct sim_model m;
    sim_model_open(&m, name, file);
    float *out = malloc(sizeof *out * m.out[0].n_elems);
    yyjson_doc *doc = load_json(golden);
    yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(doc), list), *c;
    size_t i, n;
    assert_true(yyjson_arr_size(cases) > 0);
    yyjson_arr_foreach(cases, i, n, c)
    {
        yyjson_val *want = yyjson_obj_get(c, field);
        expect(name, run_case(&m, c, name, row, out), yyjson_is_obj(want) ? yyjson_obj_get(want, "data") : want);
    }
    yyjson_doc_free(doc);
    free(out);
    sim_model_close(&m);
}

static void test_golden_random(void **state)
{
    (void)state;
    static const struct {
        const char *name, *field;
    } cases[] = {
        { "bert-cls", "last_hidden_state" },    { "bert-gelu-new", "last_hidden_state" },
        { "bert-relu", "last_hidden_state" },   { "roberta", "last_hidden_state" },
        { "xlm-roberta", "last_hidden_state" }, { "camembert", "last_hidden_state" },
        { "distilbert", "last_hidden_state" },  { "distilbert-cls3", "logits" },
        { "bert-multilabel", "logits" },        { "xlmr-rerank", "logits" },
        { "bert-fillmask", "logits" },
    };
    sim_begin("rk3588");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char golden[100];
        snprintf(golden, sizeof golden, "golden/random/%s.json", cases[i].name);
        check_golden(cases[i].name, "model_b1_s64.rknn", golden, "cases", cases[i].field, 0);
    }
    for (uint32_t row = 0; row < 4; row += 3)
        check_golden("bert-cls", "rknn/model_b4_s64.rknn", "golden/random/bert-cls.json", "cases", "last_hidden_state",
                     row);
    sim_end();
}

/* Goldens without ids: those of the same text in the golden's tokenize list, or in tests/data/encoder/ids.json. */
static void check_by_text(const char *name, const char *golden, const char *list, const char *field)
{
    struct sim_model m;
    sim_model_open(&m, name, "model_b1_s64.rknn");
    float *out = malloc(sizeof *out * m.out[0].n_elems);
    yyjson_doc *doc = load_json(golden), *ids = load_json("encoder/ids.json");
    yyjson_val *known = yyjson_obj_get(yyjson_doc_get_root(ids), name), *k, *c;
    size_t i, n, j, o, found = 0;
    if (known == NULL)
        known = yyjson_obj_get(yyjson_doc_get_root(doc), "tokenize");
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), list), i, n, c)
    {
        yyjson_arr_foreach(known, j, o, k)
        {
            if (!yyjson_equals(yyjson_obj_get(k, "text"), yyjson_obj_get(c, "text")) ||
                yyjson_arr_size(yyjson_obj_get(k, "input_ids")) > 64)
                continue;
            float *got = run_case(&m, k, name, 0, out);
            yyjson_val *want = yyjson_obj_get(c, field), *at = yyjson_obj_get(c, "mask_index");
            if (at) /* logits [64, vocab] at the mask */
                got += yyjson_get_uint(at) * m.out[0].dims[2];
            expect(name, got, yyjson_is_obj(want) ? yyjson_obj_get(want, "data") : want);
            found++;
        }
    }
    assert_true(found > 0);
    yyjson_doc_free(doc);
    yyjson_doc_free(ids);
    free(out);
    sim_model_close(&m);
}

static void test_golden_trained(void **state)
{
    (void)state;
    sim_begin("rk3576");
    check_by_text("bert-embed", "golden/trained/bert-embed.json", "hidden", "last_hidden_state");
    check_by_text("xlmr-embed", "golden/trained/xlmr-embed.json", "hidden", "last_hidden_state");
    check_golden("bert-rerank", "model_b1_s64.rknn", "golden/trained/bert-rerank.json", "pairs", "logits", 0);
    sim_end();
}

static void test_golden_heads(void **state)
{
    (void)state;
    sim_begin("rk3568");
    check_by_text("distilbert-ner", "golden/trained/distilbert-ner.json", "token_classify", "logits");
    check_by_text("roberta-fillmask", "golden/trained/roberta-fillmask.json", "fill_mask", "mask_logits");
    check_by_text("roberta-sentiment", "golden/trained/roberta-sentiment.json", "classify", "logits");
    sim_end();
}

static void test_golden_choice(void **state)
{
    (void)state;
    struct sim_model m;
    int64_t ids[64];
    float out[3];
    size_t i, n;
    yyjson_val *c;
    yyjson_doc *doc = load_json("golden/random/bert-multiple-choice.json"), *known = load_json("encoder/ids.json");
    sim_begin("rk3566");
    sim_model_open(&m, "bert-multiple-choice", "model_b1_s64.rknn");
    assert_int_equal(m.in[0].n_dims, 3);
    assert_memory_equal(m.in[0].dims, ((uint32_t[]){ 1, 3, 64 }), 12);
    assert_memory_equal(m.out[0].dims, ((uint32_t[]){ 1, 3 }), 8);
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(known), "bert-multiple-choice");
    assert_int_equal(yyjson_arr_size(list), 3);
    yyjson_arr_foreach(list, i, n, c)
    {
        uint32_t len = read_ids(yyjson_obj_get(c, "input_ids"), ids);
        sim_model_fill(&m, (uint32_t)i, ids, len, second_text(c, ids, len), 0);
    }
    assert_int_equal(sim_model_set(&m), 0);
    assert_int_equal(p_rknn_run(m.ctx, NULL), 0);
    assert_int_equal(sim_model_get(&m, (float *[]){ out, NULL }), 0);
    expect("bert-multiple-choice", out, yyjson_ptr_get(yyjson_doc_get_root(doc), "/cases/0/logits"));
    sim_model_close(&m);
    sim_end();
    yyjson_doc_free(doc);
    yyjson_doc_free(known);
}

static void test_golden_qa(void **state)
{
    (void)state;
    struct sim_model m;
    float start[64], end[64];
    size_t i, n;
    yyjson_val *c;
    yyjson_doc *doc = load_json("golden/trained/bert-qa.json");
    sim_begin("rk3562");
    sim_model_open(&m, "bert-qa", "model_b1_s64.rknn");
    assert_int_equal(m.n.n_output, 2);
    assert_string_equal(m.out[0].name, "start_logits");
    assert_string_equal(m.out[1].name, "end_logits");
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "qa");
    assert_true(yyjson_arr_size(list) > 0);
    yyjson_arr_foreach(list, i, n, c)
    {
        int64_t ids[64];
        uint32_t len = read_ids(yyjson_obj_get(c, "input_ids"), ids), second = 0;
        while (ids[second++] != 3)
            ;
        sim_model_fill(&m, 0, ids, len, second, 0);
        assert_int_equal(sim_model_set(&m), 0);
        assert_int_equal(p_rknn_run(m.ctx, NULL), 0);
        assert_int_equal(sim_model_get(&m, (float *[]){ start, end }), 0);
        expect("bert-qa start", start, yyjson_obj_get(c, "start_logits"));
        expect("bert-qa end", end, yyjson_obj_get(c, "end_logits"));
    }
    sim_model_close(&m);
    sim_end();
    yyjson_doc_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_random), cmocka_unit_test(test_golden_trained),
        cmocka_unit_test(test_golden_heads),  cmocka_unit_test(test_golden_choice),
        cmocka_unit_test(test_golden_qa),
    };
    sim_load();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
