/* SPDX-License-Identifier: Apache-2.0 */
/* config.json -> spec: defaults, other names of keys, what is refused and how the message names it. */
#include "st_build.h"

#include "model/arch.h"

static struct encoder_spec spec;

static rkf_status read_text(const char *text, rkf_error *err)
{
    yyjson_doc *doc = NULL;
    rkf_status rc = json_parse(text, strlen(text), "config.json", &doc, err);
    if (rc)
        return rc;
    rc = spec_read(yyjson_doc_get_root(doc), "config.json", &spec, err);
    yyjson_doc_free(doc);
    return rc;
}

static void accepted(const char *text)
{
    rkf_error err;
    memset(&spec, 0, sizeof spec);
    assert_ok(read_text(text, &err));
}

static void refused(const char *text, rkf_status status, const char *words)
{
    rkf_error err = { 0 };
    struct encoder_spec before;
    memset(&spec, 0x5a, sizeof spec);
    memcpy(&before, &spec, sizeof spec);
    assert_fails(read_text(text, &err), status, words);
    assert_memory_equal(&before, &spec, sizeof spec);
}

static void test_defaults(void **state)
{
    (void)state;
    accepted("{\"model_type\":\"bert\"}");
    assert_int_equal(spec.hidden_size, 768);
    assert_int_equal(spec.embedding_size, 768);
    assert_int_equal(spec.layers, 12);
    assert_int_equal(spec.head_dim, 64);
    assert_int_equal(spec.vocab_size, 30522);
    assert_int_equal(spec.type_vocab_size, 2);
    assert_int_equal(spec.max_positions, 512);
    assert_int_equal(spec.act, ACT_GELU);
    assert_int_equal(spec.head, HEAD_NONE);
    assert_true(spec.tie_word_embeddings);
    assert_string_equal(spec_model_type(&spec), "bert");
    accepted("{\"model_type\":\"eurobert\",\"hidden_size\":null}");
    assert_int_equal(spec.norm_kind, NORM_RMS);
    assert_false(spec.tie_word_embeddings);
    assert_false(spec.attention_bias);
    assert_int_equal(spec.act, ACT_SILU);
    accepted("{\"model_type\":\"deberta-v2\"}");
    assert_int_equal(spec.relative_span, 0); /* relative_attention is false by default */
    assert_true(spec.position_biased);
}

static void test_positions(void **state)
{
    (void)state;
    accepted("{\"model_type\":\"roberta\",\"max_position_embeddings\":514}");
    assert_int_equal(spec.max_positions, 512);
    assert_int_equal(spec.position_offset, 2);
    accepted("{\"model_type\":\"xlm-roberta\",\"max_position_embeddings\":100,\"pad_token_id\":9}");
    assert_int_equal(spec.max_positions, 90);
    accepted("{\"model_type\":\"mpnet\",\"max_position_embeddings\":514,\"pad_token_id\":9}");
    assert_int_equal(spec.max_positions, 512); /* MPNet's offset is fixed */
    refused("{\"model_type\":\"roberta\",\"max_position_embeddings\":2}", RKF_FORMAT, "leave none");
    accepted("{\"model_type\":\"modernbert\",\"num_hidden_layers\":4}");
    assert_int_equal(spec.layer_local[0], 0);
    assert_int_equal(spec.layer_local[1], 1);
    assert_int_equal(spec.layer_local[2], 1);
    assert_int_equal(spec.layer_local[3], 0);
    assert_int_equal(spec.local_window, 64);
    refused("{\"model_type\":\"modernbert\",\"num_hidden_layers\":2,\"layer_types\":[\"full_attention\"]}", RKF_FORMAT,
            "layer_types");
    refused("{\"model_type\":\"modernbert\",\"num_hidden_layers\":1,\"layer_types\":[\"chunked_attention\"]}",
            RKF_UNSUPPORTED, "chunked_attention");
    refused("{\"model_type\":\"modernbert\",\"local_attention\":1}", RKF_FORMAT, "local_attention");
}

static void test_albert_groups(void **state)
{
    (void)state;
    accepted("{\"model_type\":\"albert\",\"num_hidden_layers\":6,\"num_hidden_groups\":2,\"inner_group_num\":3}");
    assert_int_equal(spec.layers, 18);
    assert_int_equal(spec.layer_sets, 6);
    assert_int_equal(spec_layer_set(&spec, 0), 0);
    assert_int_equal(spec_layer_set(&spec, 8), 2);
    assert_int_equal(spec_layer_set(&spec, 9), 3);
    assert_int_equal(spec_layer_set(&spec, 17), 5);
    refused("{\"model_type\":\"albert\",\"num_hidden_layers\":256,\"inner_group_num\":2}", RKF_FORMAT, "more than 256");
    refused("{\"model_type\":\"albert\",\"num_hidden_layers\":2,\"num_hidden_groups\":3}", RKF_FORMAT,
            "num_hidden_groups");
}

static void test_heads(void **state)
{
    (void)state;
    static const struct {
        const char *class_name;
        enum head_kind kind;
    } classes[] = {
        { "BertModel", HEAD_NONE },
        { "BertForMaskedLM", HEAD_MASKED_LM },
        { "BertForPreTraining", HEAD_MASKED_LM },
        { "BertForSequenceClassification", HEAD_SEQUENCE },
        { "BertForTokenClassification", HEAD_TOKEN },
        { "BertForQuestionAnswering", HEAD_QA },
        { "BertForMultipleChoice", HEAD_CHOICE },
        { "BertForNextSentencePrediction", HEAD_NONE },
        { "ForMaskedLM", HEAD_NONE },
    };
    char text[256];
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        snprintf(text, sizeof text, "{\"model_type\":\"bert\",\"architectures\":[\"%s\"]}", classes[i].class_name);
        accepted(text);
        assert_int_equal(spec.head, classes[i].kind);
        assert_string_equal(spec.head_class, classes[i].class_name);
        assert_int_equal(spec.num_labels, 2);
    }
    accepted("{\"model_type\":\"nomic_bert\",\"architectures\":[\"NomicBertForQuestionAnswering\"]}");
    assert_int_equal(spec.head, HEAD_NONE); /* the family has no such class */
    accepted("{\"model_type\":\"electra\",\"architectures\":[\"ElectraForPreTraining\"]}");
    assert_int_equal(spec.head, HEAD_NONE); /* a discriminator */
    accepted(
        "{\"model_type\":\"bert\",\"id2label\":{\"0\":\"a\",\"1\":\"b\",\"2\":\"c\"},\"problem_type\":\"regression\"}");
    assert_int_equal(spec.num_labels, 3);
    assert_string_equal(spec.problem_type, "regression");
    accepted("{\"model_type\":\"bert\",\"num_labels\":7}");
    assert_int_equal(spec.num_labels, 7);
    refused("{\"model_type\":\"bert\",\"architectures\":[\"BertLMHeadModel\"]}", RKF_UNSUPPORTED, "BertLMHeadModel");
    refused("{\"model_type\":\"eurobert\",\"architectures\":[\"EuroBertForSequenceClassification\"],"
            "\"classifier_pooling\":\"attn\"}",
            RKF_UNSUPPORTED, "\"classifier_pooling\": attn");
}

static void test_refused_by_name(void **state)
{
    (void)state;
    refused("{\"model_type\":\"gpt2\"}", RKF_UNSUPPORTED, "\"gpt2\" is not supported; known are albert, bert, ");
    refused("{\"model_type\":\"gpt\\n2\"}", RKF_UNSUPPORTED, "\"gpt?2\"");
    refused("{}", RKF_FORMAT, "no \"model_type\"");
    refused("[]", RKF_FORMAT, "not a JSON object");
    refused("{\"model_type\":7}", RKF_FORMAT, "model_type");
    static const struct {
        const char *family, *pair, *words;
    } keys[] = {
        { "bert", "\"is_decoder\":true", "\"is_decoder\": true" },
        { "bert", "\"add_cross_attention\":true", "add_cross_attention" },
        { "bert", "\"is_encoder_decoder\":true", "is_encoder_decoder" },
        { "bert", "\"position_embedding_type\":\"relative_key\"", "\"position_embedding_type\": relative_key" },
        { "bert", "\"position_embedding_type\":\"alibi\"", "alibi" },
        { "xlm-roberta", "\"position_embedding_type\":\"rotary\"", "rotary" },
        { "bert", "\"pruned_heads\":{\"1\":[0]}", "pruned_heads" },
        { "bert", "\"hidden_act\":\"laplace\"", "\"hidden_act\": laplace" },
        { "distilbert", "\"activation\":\"prelu\"", "\"activation\": prelu" },
        { "bert", "\"quantization_config\":{\"load_in_4bit\":true}", "quantization_config" },
        { "deberta-v2", "\"conv_kernel_size\":3", "\"conv_kernel_size\": 3" },
        { "deberta-v2", "\"pos_att_type\":\"c2p|p2p\"", "p2p" },
        { "deberta-v2", "\"norm_rel_ebd\":\"batch\"", "batch" },
        { "deberta-v2", "\"attention_head_size\":5", "attention_head_size" },
        { "eurobert", "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2}", "\"rope_type\": yarn" },
        { "eurobert", "\"rope_parameters\":{\"rope_type\":\"dynamic\"}", "dynamic" },
        { "nomic_bert", "\"rope_parameters\":{\"partial_rotary_factor\":0.5}", "partial_rotary_factor" },
        { "modernbert", "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"llama3\"}}", "llama3" },
        { "modernbert", "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}", "rope_scaling" },
        { "nomic_bert", "\"num_experts\":8", "\"num_experts\": 8" },
        { "nomic_bert", "\"n_embd\":768,\"activation_function\":\"geglu\"", "geglu" },
        { "nomic_bert", "\"n_embd\":768,\"activation_function\":\"swiglu\",\"rotary_emb_fraction\":0.5", "fraction" },
        { "nomic_bert", "\"qkv_proj_bias\":true", "qkv_proj_bias" },
        { "mpnet", "\"relative_attention_num_buckets\":16", "relative_attention_num_buckets" },
    };
    char text[256];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(text, sizeof text, "{\"model_type\":\"%s\",%s}", keys[i].family, keys[i].pair);
        refused(text, RKF_UNSUPPORTED, keys[i].words);
    }
    accepted(
        "{\"model_type\":\"bert\",\"is_decoder\":false,\"pruned_heads\":{},\"position_embedding_type\":\"absolute\","
        "\"quantization_config\":null,\"conv_kernel_size\":3}");
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *pair, *words;
    } bad[] = {
        { "\"hidden_size\":0", "hidden_size" },
        { "\"hidden_size\":-5", "hidden_size" },
        { "\"hidden_size\":1e18", "hidden_size" },
        { "\"hidden_size\":\"768\"", "hidden_size" },
        { "\"hidden_size\":100", "not a multiple of 12" },
        { "\"num_attention_heads\":0", "num_attention_heads" },
        { "\"num_hidden_layers\":0", "num_hidden_layers" },
        { "\"num_hidden_layers\":257", "num_hidden_layers" },
        { "\"intermediate_size\":999999999999", "intermediate_size" },
        { "\"vocab_size\":4294967297", "vocab_size" },
        { "\"max_position_embeddings\":1e9", "max_position_embeddings" },
        { "\"type_vocab_size\":300", "type_vocab_size" },
        { "\"layer_norm_eps\":\"small\"", "layer_norm_eps" },
        { "\"layer_norm_eps\":-1", "makes no sense" },
        { "\"hidden_act\":7", "hidden_act" },
        { "\"num_labels\":0", "num_labels" },
    };
    char text[256];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "{\"model_type\":\"bert\",%s}", bad[i].pair);
        refused(text, RKF_FORMAT, bad[i].words);
    }
    refused("{\"model_type\":\"eurobert\",\"num_key_value_heads\":5}", RKF_FORMAT, "not a multiple of 5");
    refused("{\"model_type\":\"eurobert\",\"head_dim\":7}", RKF_FORMAT, "even head size");
    refused("{\"model_type\":\"eurobert\",\"head_dim\":4096,\"num_attention_heads\":4096,\"hidden_size\":4096}",
            RKF_FORMAT, "too many");
    refused("{\"model_type\":\"eurobert\",\"rope_parameters\":{\"rope_theta\":-3}}", RKF_FORMAT, "no sense");
    refused("{\"model_type\":\"deberta-v2\",\"relative_attention\":true,\"position_buckets\":512,"
            "\"max_relative_positions\":100}",
            RKF_UNSUPPORTED, "position_buckets");
}

static void test_nomic_hub(void **state)
{
    (void)state;
    accepted("{\"model_type\":\"nomic_bert\",\"activation_function\":\"swiglu\",\"n_embd\":768,\"n_head\":12,\"n_"
             "inner\":3072,"
             "\"n_layer\":11,\"n_positions\":8192,\"max_trained_positions\":2048,\"rotary_emb_base\":1000,"
             "\"rotary_emb_fraction\":1.0,\"rotary_emb_interleaved\":false,\"rotary_emb_scale_base\":null,"
             "\"rotary_scaling_factor\":2,\"qkv_proj_bias\":false,\"layer_norm_epsilon\":1e-9,\"type_vocab_size\":2}");
    assert_int_equal(spec.layers, 11);
    assert_int_equal(spec.max_positions, 2048); /* longer ones would need another theta */
    assert_true(spec.rope_theta == 1000);
    assert_true(spec.norm_eps == 1e-9f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),        cmocka_unit_test(test_positions), cmocka_unit_test(test_albert_groups),
        cmocka_unit_test(test_heads),           cmocka_unit_test(test_sizes),     cmocka_unit_test(test_nomic_hub),
        cmocka_unit_test(test_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
