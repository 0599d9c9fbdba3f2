/* SPDX-License-Identifier: Apache-2.0 */
/* Model directories: what Hugging Face and both spellings of sentence-transformers put there, and what is wrong with
 * others. */
#include "st_build.h"

#define BERT "{\"model_type\":\"bert\",\"hidden_size\":32,\"num_attention_heads\":4,\"architectures\":[\"BertModel\"]}"
#define OLD  "sentence_transformers.models."
#define NEW6 "sentence_transformers.sentence_transformer.modules."

static struct tmp_dir dir;
static struct model_dir *m;

static void open_ok(void)
{
    rkf_error err;
    m = NULL;
    assert_ok(model_dir_open(dir.path, NULL, &m, &err));
}

static void open_fails(rkf_status status, const char *text)
{
    rkf_error err = { 0 };
    m = NULL;
    assert_fails(model_dir_open(dir.path, NULL, &m, &err), status, text);
    assert_null(m);
}

static int setup(void **state)
{
    (void)state;
    tmp_make(&dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tmp_remove(&dir);
    return 0;
}

static void test_plain(void **state)
{
    (void)state;
    open_fails(RKF_NOT_FOUND, "no config.json");
    tmp_text(&dir, "config.json", BERT);
    open_ok();
    assert_true(m->has_config);
    assert_false(m->has_weights || m->has_modules || m->do_lower_case);
    assert_int_equal(m->n_modules, 0);
    assert_string_equal(m->path, dir.path);
    assert_string_equal(m->labels[1], "LABEL_1");
    assert_null(m->ce_activation);
    assert_int_equal(m->spec_error.status, RKF_OK);
    model_dir_close(m);
    tmp_text(&dir, "model.safetensors", "");
    open_ok();
    assert_true(m->has_weights);
    model_dir_close(m);
    tmp_text(&dir, "config.json", "{");
    open_fails(RKF_FORMAT, "not valid JSON");
}

static void test_bad_paths(void **state)
{
    (void)state;
    rkf_error err;
    m = NULL;
    assert_fails(model_dir_open("/nonexistent/model", NULL, &m, &err), RKF_NOT_FOUND, "/nonexistent/model");
    assert_fails(model_dir_open("", NULL, &m, &err), RKF_INVALID, "empty");
    assert_fails(model_dir_open("/etc/passwd", NULL, &m, &err), RKF_INVALID, "neither");
    assert_fails(model_dir_open(dir.path, "sub", &m, &err), RKF_NOT_FOUND, "sub");
    tmp_sub(&dir, "sub");
    tmp_text(&dir, "sub/config.json", BERT);
    assert_ok(model_dir_open(dir.path, "sub", &m, &err));
    model_dir_close(m);
}

static void test_modules_old(void **state)
{
    (void)state;
    tmp_text(&dir, "config.json", BERT);
    tmp_sub(&dir, "1_Pooling");
    tmp_sub(&dir, "2_Dense");
    tmp_text(&dir, "modules.json",
             "[{\"idx\":0,\"name\":\"0\",\"path\":\"\",\"type\":\"" OLD "Transformer\"},"
             "{\"idx\":1,\"name\":\"1\",\"path\":\"1_Pooling\",\"type\":\"" OLD "Pooling\"},"
             "{\"idx\":2,\"name\":\"2\",\"path\":\"2_Dense\",\"type\":\"" OLD "Dense\"},"
             "{\"idx\":3,\"name\":\"3\",\"path\":\"3_Normalize\",\"type\":\"" OLD "Normalize\"}]");
    tmp_text(&dir, "1_Pooling/config.json",
             "{\"word_embedding_dimension\":32,\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":true,"
             "\"pooling_mode_max_tokens\":true,\"pooling_mode_mean_sqrt_len_tokens\":false,\"include_prompt\":false}");
    tmp_text(&dir, "2_Dense/config.json",
             "{\"in_features\":96,\"out_features\":8,\"bias\":false,"
             "\"activation_function\":\"torch.nn.modules.linear.Identity\"}");
    tmp_text(&dir, "sentence_bert_config.json", "{\"max_seq_length\":256,\"do_lower_case\":true}");
    tmp_text(&dir, "config_sentence_transformers.json",
             "{\"prompts\":{\"query\":\"query: \",\"passage\":\"passage: \",\"none\":null},"
             "\"default_prompt_name\":\"query\",\"similarity_fn_name\":\"dot\"}");
    open_ok();
    assert_int_equal(m->n_modules, 3);
    assert_int_equal(m->modules[0].kind, MODULE_POOLING);
    assert_int_equal(m->modules[0].n_pool, 3);
    assert_int_equal(m->modules[0].pool[0], POOL_CLS); /* the order of sentence-transformers, not of the file */
    assert_int_equal(m->modules[0].pool[1], POOL_MAX);
    assert_int_equal(m->modules[0].pool[2], POOL_MEAN);
    assert_false(m->modules[0].include_prompt);
    assert_int_equal(m->modules[1].kind, MODULE_DENSE);
    assert_int_equal(m->modules[1].in, 96);
    assert_int_equal(m->modules[1].out, 8);
    assert_int_equal(m->modules[1].act, ACT_NONE);
    assert_false(m->modules[1].bias);
    assert_int_equal(m->modules[2].kind, MODULE_NORMALIZE); /* listed without a folder */
    assert_int_equal(m->st_max_seq_length, 256);
    assert_true(m->do_lower_case);
    assert_int_equal(m->n_prompts, 2);
    assert_string_equal(m->prompts[1].name, "passage");
    assert_string_equal(m->prompts[1].text, "passage: ");
    assert_string_equal(m->default_prompt_name, "query");
    assert_string_equal(m->similarity, "dot");
    model_dir_close(m);
}

static void test_modules_new(void **state)
{
    (void)state;
    tmp_text(&dir, "config.json", BERT);
    tmp_sub(&dir, "1_Pooling");
    tmp_text(&dir, "modules.json",
             "[{\"path\":\"\",\"type\":\"sentence_transformers.base.modules.transformer.Transformer\"},"
             "{\"path\":\"1_Pooling\",\"type\":\"" NEW6 "pooling.Pooling\"},"
             "{\"path\":\"2_Normalize\",\"type\":\"sentence_transformers.base.modules.normalize.Normalize\"}]");
    tmp_text(&dir, "1_Pooling/config.json",
             "{\"embedding_dimension\":32,\"pooling_mode\":[\"weightedmean\",\"lasttoken\"]}");
    open_ok();
    assert_int_equal(m->n_modules, 2);
    assert_int_equal(m->modules[0].n_pool, 2);
    assert_int_equal(m->modules[0].pool[0], POOL_WEIGHTED_MEAN);
    assert_int_equal(m->modules[0].pool[1], POOL_LAST_TOKEN);
    assert_true(m->modules[0].include_prompt);
    model_dir_close(m);
    tmp_text(&dir, "1_Pooling/config.json", "{\"pooling_mode\":\"mean_sqrt_len_tokens\"}");
    open_ok();
    assert_int_equal(m->modules[0].pool[0], POOL_MEAN_SQRT_LEN);
    model_dir_close(m);
    tmp_text(&dir, "1_Pooling/config.json", "{}");
    open_ok();
    assert_int_equal(m->modules[0].pool[0], POOL_MEAN);
    model_dir_close(m);
    tmp_text(&dir, "1_Pooling/config.json", "{\"pooling_mode\":\"median\"}");
    open_fails(RKF_UNSUPPORTED, "median");
}

/* Before version 0.4 the transformer had a folder of its own. */
static void test_transformer_folder(void **state)
{
    (void)state;
    tmp_sub(&dir, "0_Transformer");
    tmp_text(&dir, "0_Transformer/config.json", BERT);
    tmp_text(&dir, "0_Transformer/sentence_bert_config.json", "{\"max_seq_length\":128}");
    tmp_text(&dir, "modules.json", "[{\"path\":\"0_Transformer\",\"type\":\"" OLD "Transformer\"}]");
    open_ok();
    assert_non_null(strstr(m->path, "/0_Transformer"));
    assert_int_equal(m->st_max_seq_length, 128);
    model_dir_close(m);
}

static void test_bad_modules(void **state)
{
    (void)state;
    static const struct {
        const char *modules, *text;
        rkf_status status;
    } bad[] = {
        { "{}", "must be a list", RKF_FORMAT },
        { "[7]", "\"type\" and a \"path\"", RKF_FORMAT },
        { "[{\"path\":\"../x\",\"type\":\"" OLD "Pooling\"}]", "below the model", RKF_FORMAT },
        { "[{\"path\":\"a/../../x\",\"type\":\"" OLD "Pooling\"}]", "below the model", RKF_FORMAT },
        { "[{\"path\":\"/etc\",\"type\":\"" OLD "Pooling\"}]", "below the model", RKF_FORMAT },
        { "[{\"path\":\"x\",\"type\":\"" OLD "WordEmbeddings\"}]", "WordEmbeddings is not supported", RKF_UNSUPPORTED },
        { "[{\"path\":\"x\",\"type\":\"custom_st.Transformer\"}]", "custom_st.Transformer", RKF_UNSUPPORTED },
        { "[{\"path\":\"x\",\"type\":\"" OLD "Dense\"}]", "in_features", RKF_FORMAT },
    };
    tmp_text(&dir, "config.json", BERT);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tmp_text(&dir, "modules.json", bad[i].modules);
        open_fails(bad[i].status, bad[i].text);
    }
    tmp_sub(&dir, "d");
    tmp_text(&dir, "modules.json", "[{\"path\":\"d\",\"type\":\"" OLD "Dense\"}]");
    tmp_text(&dir, "d/config.json",
             "{\"in_features\":8,\"out_features\":8,\"activation_function\":\"torch.nn.modules.activation.Softmax\"}");
    open_fails(RKF_UNSUPPORTED, "Softmax");
    tmp_text(&dir, "d/config.json", "{\"in_features\":8,\"out_features\":8,\"activation_function\":\"mine.Act\"}");
    open_ok();
    assert_int_equal(m->modules[0].act, ACT_TANH); /* not trusted: the default */
    model_dir_close(m);
    tmp_text(&dir, "d/config.json",
             "{\"in_features\":8,\"out_features\":8,\"module_input_name\":\"token_embeddings\"}");
    open_fails(RKF_UNSUPPORTED, "token_embeddings");
}

static void test_cross_encoder(void **state)
{
    (void)state;
#define CE                                                                                                             \
    "{\"model_type\":\"bert\",\"architectures\":[\"BertForSequenceClassification\"],\"id2label\":{\"0\":\"YES\"},"
    tmp_text(&dir, "config.json",
             CE "\"sentence_transformers\":{\"activation_fn\":\"torch.nn.modules.linear.Identity\"}}");
    open_ok();
    assert_string_equal(m->ce_activation, "torch.nn.modules.linear.Identity");
    assert_int_equal(m->spec.num_labels, 1);
    assert_string_equal(m->labels[0], "YES");
    model_dir_close(m);
    tmp_text(&dir, "config.json",
             CE "\"sbert_ce_default_activation_function\":\"torch.nn.modules.activation.Sigmoid\"}");
    open_ok();
    assert_string_equal(m->ce_activation, "torch.nn.modules.activation.Sigmoid");
    model_dir_close(m);
    tmp_text(&dir, "config.json", CE "\"sentence_transformers\":{\"activation_fn\":\"my.code.Act\"}}");
    open_ok();
    assert_null(m->ce_activation); /* not torch's: not trusted, as in sentence-transformers */
    model_dir_close(m);
    tmp_text(&dir, "config.json", CE "\"sentence_transformers\":{\"activation_fn\":\"torch.nn.Softmin\"}}");
    open_fails(RKF_UNSUPPORTED, "torch.nn.Softmin");
}

static void test_rknn_files(void **state)
{
    (void)state;
    rkf_error err;
    char path[256];
    tmp_text(&dir, "config.json", "{\"model_type\":\"t5\"}");
    open_fails(RKF_UNSUPPORTED, "t5");
    tmp_sub(&dir, "rknn");
    tmp_text(&dir, "rknn/model_b1.rknn", "x");
    tmp_text(&dir, "model.rknn", "x");
    tmp_text(&dir, ".hidden.rknn", "x");
    open_ok(); /* a compiled graph may be of any family */
    assert_int_equal(m->spec_error.status, RKF_UNSUPPORTED);
    assert_non_null(strstr(m->spec_error.message, "t5"));
    assert_int_equal(m->n_rknn_files, 2);
    assert_string_equal(m->rknn_files[0], "model.rknn");
    assert_string_equal(m->rknn_files[1], "rknn/model_b1.rknn");
    model_dir_close(m);
    snprintf(path, sizeof path, "%s/rknn/model_b1.rknn", dir.path);
    assert_ok(model_dir_open(path, NULL, &m, &err));
    assert_string_equal(m->path, dir.path);
    model_dir_close(m);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    rkf_error err;
    for (int64_t n = 0;; n++) {
        m = NULL;
        mem_fail_after(n);
        rkf_status rc = model_dir_open(TEST_DATA "/models/trained/bert-embed", NULL, &m, &err);
        mem_fail_after(-1);
        if (rc == RKF_OK) {
            assert_true(n > 10);
            break;
        }
        assert_int_equal(rc, RKF_NO_MEMORY);
        assert_null(m);
    }
    assert_int_equal(m->n_modules, 2);
    assert_int_equal(m->n_prompts, 2);
    model_dir_close(m);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_plain),         TEST(test_bad_paths),  TEST(test_modules_old),        TEST(test_modules_new),
        TEST(test_bad_modules),   TEST(test_rknn_files), TEST(test_transformer_folder), TEST(test_cross_encoder),
        TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
