/* SPDX-License-Identifier: Apache-2.0 */
/* What encoder_create, run and head_create refuse, and how; memory that runs out; files that change. */
#include "enc_test_util.h"
#include "model/st_build.h"

static struct rig rig;
static struct tmp_dir dir;
static struct test_batch batch;
static uint8_t file[1 << 20];

static int setup(void **state)
{
    (void)state;
    tmp_make(&dir);
    rig_start(&rig, 2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_stop(&rig);
    tmp_remove(&dir);
    return 0;
}

/* A copy of a random model with its config.json changed: every `from` becomes `to`. */
static void copy_model(const char *name, const char *from, const char *to)
{
    char path[512], command[1200];
    snprintf(path, sizeof path, TEST_DATA "/models/random/%s", name);
    tmp_copy(&dir, path);
    if (!from)
        return;
    snprintf(command, sizeof command, "grep -q '%s' '%s/config.json' && sed -i 's/%s/%s/' '%s/config.json'", from,
             dir.path, from, to, dir.path);
    assert_int_equal(system(command), 0);
}

/* Replaces bytes of the header of the copied model.safetensors (same length). */
static void patch_header(const char *from, const char *to)
{
    char path[512];
    snprintf(path, sizeof path, "%s/model.safetensors", dir.path);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t len = fread(file, 1, sizeof file, f), k = strlen(from);
    fclose(f);
    assert_int_equal(k, strlen(to));
    uint8_t *at = memmem(file, len, from, k);
    assert_non_null(at);
    memcpy(at, to, k);
    tmp_write(&dir, "model.safetensors", file, len);
}

static void load_fails(rkf_status status, const char *text)
{
    rkf_error err = { 0 };
    assert_fails(rig_load(&rig, dir.path, DTYPE_F32, &err), status, text);
    assert_null(rig.body);
    rig_unload(&rig);
}

static void test_shapes(void **state)
{
    (void)state;
    copy_model("bert-cls", "\"hidden_size\": 32", "\"hidden_size\": 36");
    load_fails(RKF_FORMAT,
               "tensor embeddings.word_embeddings.weight has the shape [564, 32], config.json means [564, 36]");
    copy_model("bert-cls", "\"vocab_size\": 564", "\"vocab_size\": 565");
    load_fails(RKF_FORMAT, "[564, 32], config.json means [565, 32]");
    copy_model("bert-cls", "\"intermediate_size\": 64", "\"intermediate_size\": 60");
    load_fails(RKF_FORMAT,
               "encoder.layer.0.intermediate.dense.weight has the shape [64, 32], config.json means [60, 32]");
    copy_model("bert-cls", "\"max_position_embeddings\": 80", "\"max_position_embeddings\": 81");
    load_fails(RKF_FORMAT, "embeddings.position_embeddings.weight has the shape [80, 32]");
    copy_model("bert-cls", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4");
    load_fails(RKF_FORMAT, "tensor encoder.layer.3.attention.self.query.weight is missing");
    copy_model("modernbert", "\"intermediate_size\": 64", "\"intermediate_size\": 63");
    load_fails(RKF_FORMAT, "layers.0.mlp.Wi.weight has the shape [128, 32], config.json means [126, 32]");
    copy_model("eurobert", "\"num_key_value_heads\": 4", "\"num_key_value_heads\": 2");
    load_fails(RKF_FORMAT, "layers.0.self_attn.k_proj.weight has the shape [32, 32], config.json means [16, 32]");
    copy_model("mpnet", "\"relative_attention_num_buckets\": 32", "\"relative_attention_num_buckets\": 33");
    load_fails(RKF_FORMAT, "encoder.relative_attention_bias.weight has the shape [32, 4], config.json means [33, 4]");
    copy_model("deberta-v2", "\"position_buckets\": 16", "\"position_buckets\": 12");
    load_fails(RKF_FORMAT, "encoder.rel_embeddings.weight has the shape [32, 32], config.json means [24, 32]");
}

static void test_names_and_types(void **state)
{
    (void)state;
    copy_model("bert-cls", NULL, NULL);
    patch_header("encoder.layer.1.output.LayerNorm.bias", "encoder.layer.1.output.LayerNorm.blas");
    load_fails(RKF_FORMAT, "tensor encoder.layer.1.output.LayerNorm.bias is missing");
    copy_model("bert-cls", NULL, NULL);
    patch_header("embeddings.word_embeddings", "embeddings.wurd_embeddings");
    load_fails(RKF_FORMAT, "tensor embeddings.word_embeddings.weight is missing: these are not the weights of a bert");
    copy_model("bert-cls", "\"model_type\": \"bert\"", "\"model_type\": \"distilbert\"");
    load_fails(RKF_FORMAT, "transformer.layer.0.attention.out_lin.weight is missing");
    copy_model("bert-cls", NULL, NULL);
    patch_header("embeddings.word_embeddings.weight\":{\"dtype\":\"F32\"",
                 "embeddings.word_embeddings.weight\":{\"dtype\":\"I32\"");
    load_fails(RKF_UNSUPPORTED, "embeddings.word_embeddings.weight is not of dtype F32, F16 or BF16");
    copy_model("bert-fillmask", NULL, NULL);
    patch_header("cls.predictions.bias", "cls.predictions.blas");
    rkf_error err;
    assert_fails(rig_load(&rig, dir.path, DTYPE_F32, &err), RKF_FORMAT, "tensor cls.predictions.bias is missing");
    assert_null(rig.head);
    rig_unload(&rig);
    copy_model("bert-fillmask", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    assert_fails(rig_load(&rig, dir.path, DTYPE_F32, &err), RKF_FORMAT,
                 "tensor cls.predictions.decoder.weight is missing");
    rig_unload(&rig);
}

static void test_bad_batches(void **state)
{
    (void)state;
    rkf_error err;
    struct rows out = { 0 };
    int32_t ids[100] = { 0 };
    assert_ok(rig_load(&rig, TEST_DATA "/models/random/bert-cls", DTYPE_F32, &err));
    struct body *b = rig.body;
    assert_int_equal(b->ops->limits(b).max_tokens, 80);
    assert_true(b->ops->limits(b).bytes > 3 * 4 * 32 * 32 * sizeof(float));
    batch_clear(&batch);
    batch_add(&batch, ids, NULL, 81);
    assert_fails(b->ops->run(b, &rig.x, &batch.b, &out, &err), RKF_TOO_LONG, "81 tokens, the model takes 80");
    batch_clear(&batch);
    ids[3] = 564;
    batch_add(&batch, ids, NULL, 5);
    assert_fails(b->ops->run(b, &rig.x, &batch.b, &out, &err), RKF_INVALID, "564");
    batch.ids[3] = -1;
    assert_fails(b->ops->run(b, &rig.x, &batch.b, &out, &err), RKF_INVALID, "-1");
    batch.ids[3] = 0;
    batch.types[2] = 2;
    assert_fails(b->ops->run(b, &rig.x, &batch.b, &out, &err), RKF_INVALID, "token type 2");
    batch.types[2] = 0;
    batch.b.n_tokens = 4;
    assert_fails(b->ops->run(b, &rig.x, &batch.b, &out, &err), RKF_INTERNAL, "add up");
    batch.b.n_tokens = 5;
    rig.x.deadline_ns = 1;
    assert_fails(b->ops->run(b, &rig.x, &batch.b, &out, &err), RKF_DEADLINE, "0 of 3 layers");
    rig.x.deadline_ns = 0;
    assert_null(out.data);
    assert_ok(b->ops->run(b, &rig.x, &batch.b, &out, &err));
    rig_unload(&rig);
}

/* Types are not read where the model has none, and an empty sequence is no trouble. */
static void test_odd_batches(void **state)
{
    (void)state;
    rkf_error err;
    struct rows out;
    const struct pool_options o = { .pooling = -1, .normalize = -1 };
    int32_t ids[4] = { 0, 5, 6, 2 };
    uint8_t types[4] = { 9, 9, 9, 9 };
    float pooled[3 * 32];
    assert_ok(rig_load(&rig, TEST_DATA "/models/random/roberta", DTYPE_F32, &err));
    batch_clear(&batch);
    batch_add(&batch, ids, types, 4);
    batch_add(&batch, ids, types, 0);
    batch_add(&batch, ids, types, 4);
    assert_ok(rig.body->ops->run(rig.body, &rig.x, &batch.b, &out, &err));
    assert_memory_equal(out.data, out.data + 4 * 32, 4 * 32 * sizeof(float));
    assert_ok(pooler_run(rig.pooler, &rig.x, &batch.b, &out, &o, pooled, &err));
    assert_true(pooled[32] == 0 && pooled[63] == 0);
    rig_unload(&rig);
}

/* The file changes between weights_open and encoder_create. */
static void test_changed_weights(void **state)
{
    (void)state;
    rkf_error err;
    copy_model("bert-cls", NULL, NULL);
    assert_ok(model_dir_open(dir.path, NULL, &rig.dir, &err));
    assert_ok(weights_open(dir.path, &rig.weights, &err));
    char command[256];
    snprintf(command, sizeof command, "touch -d '2001-01-01' '%s/model.safetensors'", dir.path);
    assert_int_equal(system(command), 0);
    assert_fails(encoder_create(&rig.x, rig.dir, rig.weights, DTYPE_F32, &rig.body, &err), RKF_FORMAT,
                 "the weights changed while they were read");
    assert_null(rig.body);
    rig_unload(&rig);
}

/* Predictions: none before the first run, then more for more work and less for more cores. */
static void test_cost(void **state)
{
    (void)state;
    rkf_error err;
    struct rows out;
    int32_t ids[80] = { 0 };
    const uint32_t one[] = { 70 }, two[] = { 70, 70 };
    assert_ok(rig_load(&rig, TEST_DATA "/models/random/bert-cls", DTYPE_F32, &err));
    struct body *b = rig.body;
    assert_int_equal(b->ops->cost_us(b, 1, one, 1), 0);
    batch_clear(&batch);
    for (int i = 0; i < 100; i++)
        batch_add(&batch, ids, NULL, 70);
    assert_ok(b->ops->run(b, &rig.x, &batch.b, &out, &err));
    uint32_t many[64];
    for (int i = 0; i < 64; i++)
        many[i] = 70;
    uint32_t cost = b->ops->cost_us(b, 1, many, 64);
    assert_true(cost > 0);
    assert_true(b->ops->cost_us(b, 1, two, 2) >= b->ops->cost_us(b, 1, one, 1));
    assert_true(b->ops->cost_us(b, 2, many, 64) < cost); /* a part of it is not divided */
    assert_true(b->ops->cost_us(b, 2, many, 64) >= cost / 2);
    rig_unload(&rig);
}

static void test_no_head(void **state)
{
    (void)state;
    rkf_error err;
    struct head *head = (struct head *)(uintptr_t)1;
    assert_ok(rig_load(&rig, TEST_DATA "/models/random/bert-cls", DTYPE_F32, &err));
    assert_ok(head_create(&rig.x, rig.dir, rig.weights, DTYPE_F32, &head, &err));
    assert_null(head);
    rig_unload(&rig);
}

/* Every allocation of loading and running fails once. */
static void out_of_memory(const char *name)
{
    char path[512];
    rkf_error err;
    struct rows out, logits;
    int32_t ids[5] = { 2, 7, 8, 9, 3 };
    snprintf(path, sizeof path, TEST_DATA "/models/random/%s", name);
    batch_clear(&batch);
    batch_add(&batch, ids, NULL, 5);
    for (int64_t n = 0;; n++) {
        arena_free(&rig.x.scratch); /* so that scratch has to be found again, too */
        mem_fail_after(n);
        rkf_status rc = rig_load(&rig, path, DTYPE_F32, &err);
        if (!rc)
            rc = rig.body->ops->run(rig.body, &rig.x, &batch.b, &out, &err);
        if (!rc && rig.head)
            rc = head_run(rig.head, &rig.x, &batch.b, &out, NULL, 0, &logits, &err);
        mem_fail_after(-1);
        rig_unload(&rig);
        if (rc == RKF_OK) {
            assert_true(n > 20);
            break;
        }
        assert_int_equal(rc, RKF_NO_MEMORY);
        assert_int_equal(err.status, RKF_NO_MEMORY);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    out_of_memory("xlmr-rerank");
    out_of_memory("deberta-v2");
    out_of_memory("modernbert");
    out_of_memory("mpnet");
    out_of_memory("albert");
    out_of_memory("bert-fillmask");
}

/* What a run needs is taken from scratch: the second run of the same shape allocates nothing. */
static void test_steady_state(void **state)
{
    (void)state;
    static const char *const names[] = { "bert-cls", "modernbert", "deberta-v2", "mpnet" };
    rkf_error err;
    struct rows out;
    int32_t ids[60];
    char path[512];
    for (int i = 0; i < 60; i++)
        ids[i] = 5 + i;
    batch_clear(&batch);
    for (int i = 0; i < 8; i++)
        batch_add(&batch, ids, NULL, 60);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        snprintf(path, sizeof path, TEST_DATA "/models/random/%s", names[k]);
        assert_ok(rig_load(&rig, path, DTYPE_F32, &err));
        for (int round = 0; round < 2; round++) {
            arena_reset(&rig.x.scratch);
            assert_ok(rig.body->ops->run(rig.body, &rig.x, &batch.b, &out, &err));
        }
        arena_reset(&rig.x.scratch);
        int64_t before = mem_count();
        assert_ok(rig.body->ops->run(rig.body, &rig.x, &batch.b, &out, &err));
        assert_int_equal(mem_count() - before, 0);
        rig_unload(&rig);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_shapes),       TEST(test_names_and_types), TEST(test_bad_batches), TEST(test_odd_batches),
        TEST(test_cost),         TEST(test_changed_weights), TEST(test_no_head),     TEST(test_out_of_memory),
        TEST(test_steady_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
