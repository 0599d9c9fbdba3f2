/* SPDX-License-Identifier: Apache-2.0 */
/* Every family and head with random weights against transformers: one text at a time, and all texts as one batch. */
#include "enc_test_util.h"

static struct test_batch batch;
static struct rig rig;

/* ids and types of case i of a golden file */
static uint32_t case_tokens(yyjson_val *c, int32_t *ids, uint8_t *types)
{
    uint32_t n = read_ids(yyjson_obj_get(c, "input_ids"), ids, 1024);
    if (yyjson_obj_get(c, "text_pair"))
        types_of_pair(ids, n, 3, types); /* [SEP] of the models that have token types */
    else
        memset(types, 0, n);
    return n;
}

static void check_case(const char *name, yyjson_val *c, const struct rows *out, uint32_t seq)
{
    yyjson_val *want = yyjson_obj_get(c, rig.head ? "logits" : "last_hidden_state");
    uint32_t first = out->per_token ? batch.cu[seq] : seq, n = out->per_token ? batch.cu[seq + 1] - batch.cu[seq] : 1;
    assert_close(name, want, out->data + (size_t)first * out->cols, (size_t)n * out->cols);
}

static void run_batch(struct rows *out)
{
    rkf_error err;
    arena_reset(&rig.x.scratch);
    assert_ok(rig.body->ops->run(rig.body, &rig.x, &batch.b, out, &err));
    assert_int_equal(out->rows, batch.b.n_tokens);
    if (rig.head)
        assert_ok(head_run(rig.head, &rig.x, &batch.b, out, NULL, 0, out, &err));
}

static void check_model(const char *name)
{
    char path[512];
    int32_t ids[1024];
    uint8_t types[1024];
    rkf_error err;
    struct rows out;
    yyjson_val *c;
    size_t i, n;
    snprintf(path, sizeof path, TEST_DATA "/models/random/%s", name);
    assert_ok(rig_load(&rig, path, DTYPE_F32, &err));
    snprintf(path, sizeof path, TEST_DATA "/golden/random/%s.json", name);
    yyjson_doc *golden = golden_open(path);
    yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(golden), "cases");
    assert_true(yyjson_arr_size(cases) >= 4);
    yyjson_arr_foreach(cases, i, n, c)
    {
        batch_clear(&batch);
        batch_add(&batch, ids, types, case_tokens(c, ids, types));
        run_batch(&out);
        check_case(name, c, &out, 0);
    }
    batch_clear(&batch);
    yyjson_arr_foreach(cases, i, n, c) batch_add(&batch, ids, types, case_tokens(c, ids, types));
    run_batch(&out);
    yyjson_arr_foreach(cases, i, n, c) check_case(name, c, &out, (uint32_t)i);
    yyjson_doc_free(golden);
    rig_unload(&rig);
}

static void check_models(const char *const *names)
{
    rig_start(&rig, 2);
    for (; *names; names++)
        check_model(*names);
    rig_stop(&rig);
}

static void test_bert_shapes(void **state)
{
    (void)state;
    check_models((const char *const[]){ "bert-cls", "bert-gelu-new", "bert-relu", "roberta", "xlm-roberta", "camembert",
                                        "distilbert", "electra", NULL });
}

static void test_other_shapes(void **state)
{
    (void)state;
    check_models((const char *const[]){ "albert", "albert-groups", "mpnet", "deberta-v2", "modernbert", "nomic-bert",
                                        "jina-bert-v3", "eurobert", NULL });
}

static void test_heads(void **state)
{
    (void)state;
    check_models((const char *const[]){ "bert-fillmask", "bert-multilabel", "distilbert-cls3", "electra-ner",
                                        "xlmr-rerank", NULL });
}

static void test_multiple_choice(void **state)
{
    (void)state;
    int32_t ids[1024];
    uint8_t types[1024];
    rkf_error err;
    struct rows out;
    yyjson_val *c;
    size_t i, n;
    rig_start(&rig, 1);
    assert_ok(rig_load(&rig, TEST_DATA "/models/random/bert-multiple-choice", DTYPE_F32, &err));
    yyjson_doc *golden = golden_open(TEST_DATA "/golden/random/bert-multiple-choice.json");
    yyjson_doc *known = golden_open(TEST_DATA "/encoder/ids.json");
    batch_clear(&batch);
    yyjson_val *choices = yyjson_obj_get(yyjson_doc_get_root(known), "bert-multiple-choice");
    yyjson_arr_foreach(choices, i, n, c) batch_add(&batch, ids, types, case_tokens(c, ids, types));
    run_batch(&out);
    assert_int_equal(out.cols, 1);
    assert_false(out.per_token);
    c = yyjson_arr_get_first(yyjson_obj_get(yyjson_doc_get_root(golden), "cases"));
    assert_close("choices", yyjson_obj_get(c, "logits"), out.data, out.rows);
    yyjson_doc_free(known);
    yyjson_doc_free(golden);
    rig_stop(&rig);
}

/* first_only: the rows of the first tokens, and the head over them, are what the whole batch gives. */
static void check_first_only(const char *name)
{
    static float whole[64 * 32], logits[64 * 8];
    char path[512];
    int32_t ids[64];
    rkf_error err;
    struct rows out;
    snprintf(path, sizeof path, TEST_DATA "/models/random/%s", name);
    assert_ok(rig_load(&rig, path, DTYPE_F32, &err));
    batch_clear(&batch);
    for (uint32_t n = 1; n < 40; n += 7) {
        for (uint32_t i = 0; i < n; i++)
            ids[i] = (int32_t)(5 + n + i);
        batch_add(&batch, ids, NULL, n);
    }
    arena_reset(&rig.x.scratch);
    assert_ok(rig.body->ops->run(rig.body, &rig.x, &batch.b, &out, &err));
    for (uint32_t i = 0; i < batch.b.n_seqs; i++)
        memcpy(whole + i * 32, out.data + (size_t)batch.cu[i] * 32, 32 * sizeof *whole);
    if (rig.head) {
        assert_ok(head_run(rig.head, &rig.x, &batch.b, &out, NULL, 0, &out, &err));
        memcpy(logits, out.data, (size_t)out.rows * out.cols * sizeof *logits);
    }
    batch.b.first_only = true;
    arena_reset(&rig.x.scratch);
    assert_ok(rig.body->ops->run(rig.body, &rig.x, &batch.b, &out, &err));
    assert_int_equal(out.rows, batch.b.n_seqs);
    assert_false(out.per_token);
    for (uint32_t i = 0; i < batch.b.n_seqs * 32; i++)
        assert_true(fabsf(out.data[i] - whole[i]) < 1e-5f);
    if (rig.head) {
        assert_true(spec_head_first_only(&rig.dir->spec));
        assert_ok(head_run(rig.head, &rig.x, &batch.b, &out, NULL, 0, &out, &err));
        assert_int_equal(out.rows, batch.b.n_seqs);
        for (uint32_t i = 0; i < out.rows * out.cols; i++)
            assert_true(fabsf(out.data[i] - logits[i]) < 1e-5f);
    }
    rig_unload(&rig);
}

static void test_first_only(void **state)
{
    (void)state;
    rig_start(&rig, 2);
    check_first_only("bert-cls");
    check_first_only("albert");
    check_first_only("modernbert");
    check_first_only("eurobert");
    check_first_only("xlmr-rerank");
    check_first_only("bert-multilabel");
    rig_stop(&rig);
}

/* Texts that spell the padding token out: RoBERTa and MPNet do not count it as a position. */
static void test_padding_inside(void **state)
{
    (void)state;
    int32_t ids[64];
    char path[512];
    rkf_error err;
    struct rows out;
    yyjson_val *c;
    size_t i, n;
    yyjson_doc *golden = golden_open(TEST_DATA "/encoder/padding_inside.json");
    rig_start(&rig, 1);
    yyjson_arr_foreach(yyjson_doc_get_root(golden), i, n, c)
    {
        const char *name = yyjson_get_str(yyjson_obj_get(c, "model"));
        snprintf(path, sizeof path, TEST_DATA "/models/random/%s", name);
        assert_ok(rig_load(&rig, path, DTYPE_F32, &err));
        uint32_t k = read_ids(yyjson_obj_get(c, "input_ids"), ids, 64);
        batch_clear(&batch);
        batch_add(&batch, ids, NULL, k);
        run_batch(&out);
        assert_close(name, yyjson_obj_get(c, "last_hidden_state"), out.data, (size_t)k * out.cols);
        rig_unload(&rig);
    }
    assert_int_equal(n, 2);
    yyjson_doc_free(golden);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bert_shapes),    cmocka_unit_test(test_other_shapes),
        cmocka_unit_test(test_heads),          cmocka_unit_test(test_multiple_choice),
        cmocka_unit_test(test_padding_inside), cmocka_unit_test(test_first_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
