/* SPDX-License-Identifier: Apache-2.0 */
/* Pooling, dense, layer norm and normalising against sentence-transformers, stack by stack; SPLADE; what requests may
 * change. */
#include "enc_test_util.h"

static struct test_batch batch;
static struct rig rig;
static yyjson_doc *doc;
static float tokens[256 * 64];
static uint32_t skip[256];
static struct rows hidden;

/* The golden file's token embeddings as a body would return them. */
static void load_tokens(void)
{
    static const int32_t zeros[256];
    yyjson_val *root = yyjson_doc_get_root(doc), *v, *lengths = yyjson_obj_get(root, "lengths");
    size_t i, n;
    batch_clear(&batch);
    yyjson_arr_foreach(lengths, i, n, v) batch_add(&batch, zeros, NULL, (uint32_t)yyjson_get_int(v));
    yyjson_arr_foreach(yyjson_obj_get(root, "skip"), i, n, v) skip[i] = (uint32_t)yyjson_get_int(v);
    yyjson_arr_foreach(yyjson_obj_get(root, "tokens"), i, n, v) tokens[i] = (float)yyjson_get_num(v);
    assert_int_equal(n, batch.b.n_tokens * 32);
    hidden = (struct rows){ BODY_HIDDEN, tokens, batch.b.n_tokens, 32, true };
}

static int setup(void **state)
{
    (void)state;
    rig_start(&rig, 2);
    doc = golden_open(TEST_DATA "/encoder/pooling/golden.json");
    load_tokens();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    yyjson_doc_free(doc);
    rig_stop(&rig);
    return 0;
}

static void open_stack(const char *name)
{
    char path[512];
    rkf_error err;
    snprintf(path, sizeof path, TEST_DATA "/encoder/pooling/%s", name);
    assert_ok(model_dir_open(path, NULL, &rig.dir, &err));
    assert_ok(pooler_create(&rig.x, rig.dir, DTYPE_F32, &rig.pooler, &err));
}

/* out [n_seqs, width] */
static uint32_t pool(const struct pool_options *o, float *out)
{
    rkf_error err;
    arena_reset(&rig.x.scratch);
    assert_ok(pooler_run(rig.pooler, &rig.x, &batch.b, &hidden, o, out, &err));
    return pooler_width(rig.pooler, o);
}

static void check_rows(const char *what, yyjson_val *want, const float *got, uint32_t width)
{
    double worst = 0, largest = 0;
    yyjson_val *row;
    size_t i, n;
    assert_int_equal(yyjson_arr_size(want), batch.b.n_seqs);
    yyjson_arr_foreach(want, i, n, row) compare_with(row, got + i * width, width, &worst, &largest);
    if (!(worst <= 2e-6 * largest))
        fail_msg("%s: off by %g of %g", what, worst, largest);
}

static void test_stacks(void **state)
{
    (void)state;
    float out[4 * 256];
    yyjson_val *name, *stack;
    size_t i, n;
    yyjson_obj_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "stacks"), i, n, name, stack)
    {
        struct pool_options o = { .pooling = -1, .normalize = -1 };
        open_stack(yyjson_get_str(name));
        check_rows(yyjson_get_str(name), yyjson_obj_get(stack, "plain"), out, pool(&o, out));
        o.skip = skip;
        check_rows(yyjson_get_str(name), yyjson_obj_get(stack, "skip"), out, pool(&o, out));
        rig_unload(&rig);
    }
}

static float length_of(const float *v, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    return (float)sqrt(sum);
}

/* A request's own pooling, normalising and truncation. */
static void test_options(void **state)
{
    (void)state;
    static float out[4 * 256], full[4 * 256];
    yyjson_val *stacks = yyjson_obj_get(yyjson_doc_get_root(doc), "stacks");
    struct pool_options o = { .pooling = POOL_MAX, .normalize = -1 };
    open_stack("all");
    assert_int_equal(pool(&o, out), 32);
    check_rows("max", yyjson_obj_get(yyjson_obj_get(stacks, "max"), "plain"), out, 32);
    o.pooling = -1;
    assert_int_equal(pool(&o, full), 6 * 32);
    o.truncate_dim = 5;
    assert_int_equal(pool(&o, out), 5);
    assert_memory_equal(out + 5, full + 6 * 32, 5 * sizeof *out);
    o.normalize = 1;
    pool(&o, out);
    assert_true(fabsf(length_of(out + 5, 5) - 1) < 1e-6f);
    o.truncate_dim = 1000; /* more than there are: all */
    assert_int_equal(pool(&o, out), 6 * 32);
    rig_unload(&rig);
    open_stack("dense"); /* ends with Normalize */
    o = (struct pool_options){ .pooling = -1, .normalize = 0 };
    assert_int_equal(pool(&o, out), 12);
    assert_true(fabsf(length_of(out, 12) - 1) > 1e-3f);
    o = (struct pool_options){ .pooling = -1, .normalize = -1, .truncate_dim = 4 };
    assert_int_equal(pool(&o, out), 4); /* as sentence-transformers: cut after Normalize, not normalised again */
    assert_true(length_of(out, 4) < 0.99f);
    rig_unload(&rig);
}

/* A prompt as long as the text leaves nothing: zeros, never what is not a number. */
static void test_nothing_left(void **state)
{
    (void)state;
    static float out[4 * 256];
    uint32_t all[256];
    for (uint32_t i = 0; i < batch.b.n_seqs; i++)
        all[i] = 1000;
    struct pool_options o = { .pooling = -1, .normalize = 1, .skip = all };
    open_stack("all");
    pool(&o, out);
    for (uint32_t i = 0; i < 4 * 6 * 32; i++)
        assert_true(out[i] == 0);
    rig_unload(&rig);
}

static void test_errors(void **state)
{
    (void)state;
    static float out[4 * 256];
    rkf_error err;
    struct pool_options o = { .pooling = POOL_MEAN, .normalize = -1 };
    open_stack("dense-residual"); /* takes 2 * 32 columns */
    assert_fails(pooler_run(rig.pooler, &rig.x, &batch.b, &hidden, &o, out, &err), RKF_INVALID, "64 columns");
    o.pooling = POOL_COUNT;
    assert_fails(pooler_run(rig.pooler, &rig.x, &batch.b, &hidden, &o, out, &err), RKF_INTERNAL, "mode");
    struct rows narrow = hidden;
    narrow.cols = 31;
    o.pooling = -1;
    assert_fails(pooler_run(rig.pooler, &rig.x, &batch.b, &narrow, &o, out, &err), RKF_INTERNAL, "31");
    rig_unload(&rig);
}

static void test_splade(void **state)
{
    (void)state;
    static float out[2 * 600];
    int32_t ids[256];
    uint8_t types[256];
    rkf_error err;
    struct rows rows;
    yyjson_val *c, *v;
    size_t i, n;
    yyjson_doc *golden = golden_open(TEST_DATA "/golden/random/bert-fillmask.json");
    yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(golden), "cases");
    assert_ok(rig_load(&rig, TEST_DATA "/models/random/bert-fillmask", DTYPE_F32, &err));
    batch_clear(&batch);
    for (size_t k = 0; k < 2; k++) {
        v = yyjson_arr_get(cases, k);
        uint32_t count = read_ids(yyjson_obj_get(v, "input_ids"), ids, 256);
        types_of_pair(ids, count, yyjson_obj_get(v, "text_pair") ? 3 : -1, types);
        batch_add(&batch, ids, types, count);
    }
    assert_ok(rig.body->ops->run(rig.body, &rig.x, &batch.b, &rows, &err));
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "splade"), i, n, c)
    {
        double worst = 0, largest = 0;
        bool max = yyjson_equals_str(yyjson_obj_get(c, "strategy"), "max");
        bool twice = yyjson_equals_str(yyjson_obj_get(c, "activation"), "log1p_relu");
        assert_ok(head_run_splade(rig.head, &rig.x, &batch.b, &rows, max, twice, out, &err));
        for (size_t k = 0; k < 2; k++)
            compare_with(yyjson_arr_get(yyjson_obj_get(c, "embeddings"), k), out + k * 564, 564, &worst, &largest);
        assert_true(worst <= 1e-4 * largest);
    }
    rig_unload(&rig);
    assert_ok(rig_load(&rig, TEST_DATA "/models/trained/bert-qa", DTYPE_F32, &err));
    arena_reset(&rig.x.scratch);
    assert_ok(rig.body->ops->run(rig.body, &rig.x, &batch.b, &rows, &err));
    assert_fails(head_run_splade(rig.head, &rig.x, &batch.b, &rows, true, false, out, &err), RKF_UNSUPPORTED,
                 "masked-LM");
    yyjson_doc_free(golden);
    rig_unload(&rig);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_stacks), TEST(test_options), TEST(test_nothing_left), TEST(test_errors), TEST(test_splade),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
