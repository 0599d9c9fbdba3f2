/* SPDX-License-Identifier: Apache-2.0 */
/* The trained models against transformers and sentence-transformers: hidden states, embeddings, logits of each head. */
#include "enc_test_util.h"

static struct test_batch batch;
static struct rig rig;
static yyjson_val *golden, *more_ids; /* roots */

/* Ids of a text that the file does not give beside the answer: its "tokenize" list, or encoder/ids.json. */
static yyjson_val *ids_of(yyjson_val *c, const char *name)
{
    yyjson_val *lists[] = { yyjson_obj_get(golden, "tokenize"), yyjson_obj_get(more_ids, name) }, *v;
    size_t i, n;
    if (yyjson_obj_get(c, "input_ids"))
        return yyjson_obj_get(c, "input_ids");
    yyjson_val *text = yyjson_obj_get(c, "text"); /* may hold a NUL */
    for (size_t l = 0; l < 2; l++) {
        yyjson_arr_foreach(lists[l], i, n, v)
        {
            if (yyjson_equals(yyjson_obj_get(v, "text"), text))
                return yyjson_obj_get(v, "input_ids");
        }
    }
    fail_msg("%s: no ids for \"%s\"", name, yyjson_get_str(text));
    return NULL;
}

static void fill_batch(const char *name, const char *list)
{
    int32_t ids[1024];
    uint8_t types[1024];
    yyjson_val *c, *cases = yyjson_obj_get(golden, list);
    size_t i, n;
    assert_true(yyjson_arr_size(cases) > 0);
    batch_clear(&batch);
    yyjson_arr_foreach(cases, i, n, c)
    {
        uint32_t k = read_ids(ids_of(c, name), ids, 1024);
        bool pair = yyjson_obj_get(c, "text_pair") || yyjson_obj_get(c, "context");
        types_of_pair(ids, k, pair ? 3 : -1, types);
        batch_add(&batch, ids, types, k);
    }
}

static void run_body(struct rows *out)
{
    rkf_error err;
    arena_reset(&rig.x.scratch);
    assert_ok(rig.body->ops->run(rig.body, &rig.x, &batch.b, out, &err));
}

static void check_hidden(const char *name)
{
    struct rows out;
    yyjson_val *c;
    size_t i, n;
    fill_batch(name, "hidden");
    run_body(&out);
    yyjson_arr_foreach(yyjson_obj_get(golden, "hidden"), i, n, c)
        assert_close(name, yyjson_obj_get(c, "last_hidden_state"), out.data + (size_t)batch.cu[i] * out.cols,
                     (size_t)(batch.cu[i + 1] - batch.cu[i]) * out.cols);
}

/* Embeddings of unit length: within 1e-5. Returns the largest difference. */
static double check_embeddings(const char *name, const char *list)
{
    static float pooled[256 * 1024];
    const struct pool_options as_modules = { .pooling = -1, .normalize = -1 };
    rkf_error err;
    struct rows out;
    yyjson_val *c;
    double worst = 0, largest = 0;
    size_t i, n;
    fill_batch(name, list);
    run_body(&out);
    uint32_t width = pooler_width(rig.pooler, &as_modules);
    assert_true((size_t)width * batch.b.n_seqs <= sizeof pooled / sizeof *pooled);
    assert_ok(pooler_run(rig.pooler, &rig.x, &batch.b, &out, &as_modules, pooled, &err));
    yyjson_arr_foreach(yyjson_obj_get(golden, list), i, n, c)
        compare_with(yyjson_obj_get(c, "embedding"), pooled + i * width, width, &worst, &largest);
    if (!(worst <= 1e-5))
        fail_msg("%s: embeddings are off by %g", name, worst);
    return worst;
}

static void check_logits(const char *name, const char *list)
{
    rkf_error err;
    struct rows out;
    yyjson_val *c;
    size_t i, n;
    fill_batch(name, list);
    run_body(&out);
    assert_ok(head_run(rig.head, &rig.x, &batch.b, &out, NULL, 0, &out, &err));
    yyjson_arr_foreach(yyjson_obj_get(golden, list), i, n, c)
    {
        size_t first = out.per_token ? batch.cu[i] : i, rows = out.per_token ? batch.cu[i + 1] - batch.cu[i] : 1;
        assert_close(name, yyjson_obj_get(c, "logits"), out.data + first * out.cols, rows * out.cols);
    }
}

/* Opens model and golden file, runs check, closes. */
static void with_model(const char *name, void (*check)(const char *name))
{
    char path[512];
    rkf_error err;
    rig_start(&rig, 2);
    snprintf(path, sizeof path, TEST_DATA "/models/trained/%s", name);
    assert_ok(rig_load(&rig, path, DTYPE_F32, &err));
    snprintf(path, sizeof path, TEST_DATA "/golden/trained/%s.json", name);
    yyjson_doc *doc = golden_open(path), *ids = golden_open(TEST_DATA "/encoder/ids.json");
    golden = yyjson_doc_get_root(doc);
    more_ids = yyjson_doc_get_root(ids);
    check(name);
    yyjson_doc_free(doc);
    yyjson_doc_free(ids);
    rig_stop(&rig);
}

static void check_embed_model(const char *name)
{
    check_hidden(name);
    check_embeddings(name, "embed");
}

static void check_pairs(const char *name)
{
    check_logits(name, "pairs");
}

static void check_classify(const char *name)
{
    check_logits(name, "classify");
}

static void check_tokens(const char *name)
{
    check_logits(name, "token_classify");
}

/* One column of [tokens, 2] against a list. */
static void check_column(const char *what, yyjson_val *want, const struct rows *out, uint32_t seq, uint32_t column)
{
    float got[1024];
    uint32_t n = batch.cu[seq + 1] - batch.cu[seq];
    for (uint32_t i = 0; i < n; i++)
        got[i] = out->data[(size_t)(batch.cu[seq] + i) * out->cols + column];
    assert_close(what, want, got, n);
}

static void check_qa(const char *name)
{
    rkf_error err;
    struct rows out;
    yyjson_val *c;
    size_t i, n;
    fill_batch(name, "qa");
    run_body(&out);
    assert_ok(head_run(rig.head, &rig.x, &batch.b, &out, NULL, 0, &out, &err));
    assert_int_equal(out.cols, 2);
    yyjson_arr_foreach(yyjson_obj_get(golden, "qa"), i, n, c)
    {
        check_column("start", yyjson_obj_get(c, "start_logits"), &out, (uint32_t)i, 0);
        check_column("end", yyjson_obj_get(c, "end_logits"), &out, (uint32_t)i, 1);
    }
}

/* Only the rows of the masks are computed. */
static void check_fill(const char *name)
{
    rkf_error err;
    struct rows out;
    uint32_t rows[16];
    yyjson_val *c;
    size_t i, n;
    fill_batch(name, "fill_mask");
    run_body(&out);
    yyjson_arr_foreach(yyjson_obj_get(golden, "fill_mask"), i, n, c)
        rows[i] = batch.cu[i] + (uint32_t)yyjson_get_int(yyjson_obj_get(c, "mask_index"));
    assert_ok(head_run(rig.head, &rig.x, &batch.b, &out, rows, (uint32_t)n, &out, &err));
    assert_int_equal(out.rows, n);
    yyjson_arr_foreach(yyjson_obj_get(golden, "fill_mask"), i, n, c)
        assert_close(name, yyjson_obj_get(c, "mask_logits"), out.data + i * out.cols, out.cols);
}

static void test_embeddings(void **state)
{
    (void)state;
    with_model("bert-embed", check_embed_model);
    with_model("xlmr-embed", check_embed_model);
    with_model("mpnet-embed", check_embed_model);
}

static void test_heads(void **state)
{
    (void)state;
    with_model("bert-rerank", check_pairs);
    with_model("roberta-sentiment", check_classify);
    with_model("distilbert-ner", check_tokens);
    with_model("bert-qa", check_qa);
    with_model("roberta-fillmask", check_fill);
}

/* The real model, fetched into build/models by make. */
static void test_real_model(void **state)
{
    (void)state;
    rkf_error err;
    const char *path = TEST_MODELS "/all-MiniLM-L6-v2";
    if (!path_is_dir(path)) {
        if (getenv("CI"))
            fail_msg("%s is missing: make model fetches it", path);
        skip();
    }
    rig_start(&rig, 2);
    assert_ok(rig_load(&rig, path, DTYPE_F32, &err));
    yyjson_doc *doc = golden_open(TEST_DATA "/golden/all-MiniLM-L6-v2.json");
    golden = yyjson_doc_get_root(doc);
    more_ids = NULL;
    print_message("largest difference of all embeddings: %g\n", check_embeddings("all-MiniLM-L6-v2", "cases"));
    yyjson_doc_free(doc);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embeddings),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_real_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
