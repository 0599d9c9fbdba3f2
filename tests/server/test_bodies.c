/* SPDX-License-Identifier: Apache-2.0 */
/* Request bodies of every dialect: what the peers' documentation sends is read, what they refuse is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/bodies.h"

#include <string.h>

static struct api_request r;
static struct api_error e;

static bool read_body(const struct body *body, const char *text)
{
    api_request_free(&r);
    api_request_init(&r, 64);
    memset(&e, 0, sizeof e);
    return body_parse(text, strlen(text), &r.doc, &e) && body_read(body, yyjson_doc_get_root(r.doc), &r, &e) &&
           api_request_settle(&r, true, &e);
}

static void refuses(const struct body *body, const char *text, enum api_fault fault, const char *part)
{
    if (read_body(body, text))
        fail_msg("accepted: %s", text);
    if (e.fault != fault || !strstr(e.message, part))
        fail_msg("%s: fault %d, message '%s', expected fault %d, '%s'", text, e.fault, e.message, fault, part);
}

static void accepts(const struct body *body, const char *text)
{
    if (!read_body(body, text))
        fail_msg("%s: fault %d, '%s'", text, e.fault, e.message);
}

static void is_str(rkf_str s, const char *expected)
{
    assert_non_null(s.ptr);
    assert_int_equal(s.len, strlen(expected));
    assert_memory_equal(s.ptr, expected, s.len);
}

static void tei_inputs(void **state)
{
    (void)state;
    accepts(&body_tei_embed, "{\"inputs\":\"What is Deep Learning?\"}");
    assert_true(r.single);
    assert_int_equal(r.rq.n_inputs, 1);
    is_str(r.rq.inputs[0].text, "What is Deep Learning?");
    assert_int_equal(r.rq.normalize, RKF_ON);
    assert_int_equal(r.rq.truncate, RKF_TRUNCATE_RIGHT);
    assert_int_equal(r.rq.truncate_dim, 0);

    accepts(&body_tei_embed, "{\"inputs\":[1,2,3]}"); /* one list of ids, not three inputs */
    assert_true(r.single);
    assert_int_equal(r.rq.n_inputs, 1);
    assert_int_equal(r.rq.inputs[0].n_ids, 3);
    assert_int_equal(r.rq.inputs[0].ids[2], 3);
    assert_null(r.rq.inputs[0].text.ptr);

    accepts(&body_tei_embed, "{\"inputs\":[\"a\",[1,2],\"c\"]}");
    assert_false(r.single);
    assert_int_equal(r.rq.n_inputs, 3);
    is_str(r.rq.inputs[0].text, "a");
    assert_int_equal(r.rq.inputs[1].n_ids, 2);
    is_str(r.rq.inputs[2].text, "c");

    accepts(&body_tei_embed, "{\"inputs\":[\"a\\u0000b\"]}");
    assert_int_equal(r.rq.inputs[0].text.len, 3);
}

static void tei_options(void **state)
{
    (void)state;
    accepts(&body_tei_embed, "{\"inputs\":\"a\",\"truncate\":false,\"normalize\":false,\"dimensions\":32,"
                             "\"prompt_name\":\"query\",\"truncation_direction\":\"left\",\"priority\":3,"
                             "\"timeout_ms\":1500,\"precision\":\"ubinary\"}");
    assert_int_equal(r.rq.truncate, RKF_TRUNCATE_NONE);
    assert_int_equal(r.rq.normalize, RKF_OFF);
    assert_int_equal(r.rq.truncate_dim, 32);
    is_str(r.rq.prompt_name, "query");
    assert_int_equal(r.rq.priority, 3);
    assert_int_equal(r.rq.timeout_us, 1500000);
    assert_int_equal(r.precision, EMBED_UBINARY);
    accepts(&body_tei_embed, "{\"inputs\":\"a\",\"truncate\":true,\"truncation_direction\":\"Left\"}");
    assert_int_equal(r.rq.truncate, RKF_TRUNCATE_LEFT);
    accepts(&body_tei_embed, "{\"inputs\":\"a\",\"truncate\":null,\"unknown\":[{}]}");
    assert_int_equal(r.rq.truncate, RKF_TRUNCATE_RIGHT);
}

static void tei_refusals(void **state)
{
    (void)state;
    refuses(&body_tei_embed, "{\"inputs\":[]}", FAULT_EMPTY, "`inputs` cannot be empty");
    assert_string_equal(e.message, "`inputs` cannot be empty");
    refuses(&body_tei_embed, "{\"inputs\":\"\"}", FAULT_EMPTY, "Input validation error: `inputs` cannot be empty");
    refuses(&body_tei_embed, "{\"inputs\":[\"a\",[]]}", FAULT_EMPTY, "cannot be empty");
    refuses(&body_tei_embed, "{}", FAULT_TYPE, "missing field `inputs`");
    refuses(&body_tei_embed, "[]", FAULT_TYPE, "expected a JSON object");
    refuses(&body_tei_embed, "{\"inputs\":5}", FAULT_TYPE, "inputs: expected");
    refuses(&body_tei_embed, "{\"inputs\":[1,\"a\"]}", FAULT_TYPE, "inputs: expected");
    refuses(&body_tei_embed, "{\"inputs\":[1.5]}", FAULT_TYPE, "inputs: expected");
    refuses(&body_tei_embed, "{\"inputs\":[-1]}", FAULT_TYPE, "not in 0..");
    refuses(&body_tei_embed, "{\"inputs\":[4294967296]}", FAULT_TYPE, "not in 0..");
    refuses(&body_tei_embed, "{\"inputs\":[[[1]]]}", FAULT_TYPE, "inputs: expected");
    refuses(&body_tei_embed, "{\"inputs\":\"a\",\"truncate\":\"yes\"}", FAULT_TYPE, "truncate: expected true or false");
    refuses(&body_tei_embed, "{\"inputs\":\"a\",\"truncation_direction\":\"up\"}", FAULT_TYPE, "unknown value 'up'");
    refuses(&body_tei_embed, "{\"inputs\":\"a\",\"dimensions\":0}", FAULT_VALIDATION,
            "`dimensions` should be positive");
    refuses(&body_tei_embed, "{\"inputs\":\"a\",\"dimensions\":-3}", FAULT_TYPE, "dimensions");
    refuses(&body_tei_embed, "{\"inputs\":\"a\",\"dimensions\":1e30}", FAULT_TYPE, "dimensions");
    refuses(&body_tei_embed, "{\"inputs\":\"a\"", FAULT_JSON, "not valid JSON");
    refuses(&body_tei_embed, "{\"inputs\":\"\xff\"}", FAULT_JSON, "not valid JSON");
    refuses(&body_tei_embed, "", FAULT_JSON, "");
}

static void deep_json(void **state)
{
    (void)state;
    static char text[200001];
    memset(text, '[', 100000);
    memset(text + 100000, ']', 100000);
    refuses(&body_tei_embed, text, FAULT_JSON, "nested deeper");
}

static void too_many_inputs(void **state)
{
    (void)state;
    char text[1024] = "{\"inputs\":[";
    for (int i = 0; i < 65; i++)
        strcat(text, i ? ",\"a\"" : "\"a\"");
    strcat(text, "]}");
    refuses(&body_tei_embed, text, FAULT_BATCH_SIZE, "batch size 65 > maximum allowed batch size 64");
}

static void tei_predict(void **state)
{
    (void)state;
    accepts(&body_tei_predict, "{\"inputs\":\"a\"}");
    assert_true(r.single);
    accepts(&body_tei_predict, "{\"inputs\":[\"a\",\"b\"]}"); /* one pair */
    assert_true(r.single);
    assert_int_equal(r.rq.n_inputs, 1);
    is_str(r.rq.inputs[0].text, "a");
    is_str(r.rq.inputs[0].pair, "b");
    accepts(&body_tei_predict, "{\"inputs\":[\"a\"]}");
    assert_true(r.single);
    assert_null(r.rq.inputs[0].pair.ptr);
    accepts(&body_tei_predict, "{\"inputs\":[[\"a\"],[\"b\",\"c\"]],\"raw_scores\":true}");
    assert_false(r.single);
    assert_int_equal(r.rq.n_inputs, 2);
    is_str(r.rq.inputs[1].pair, "c");
    assert_int_equal(r.rq.scores, RKF_SCORES_RAW);
    refuses(&body_tei_predict, "{\"inputs\":[\"a\",\"b\",\"c\"]}", FAULT_TYPE, "a pair of strings");
    refuses(&body_tei_predict, "{\"inputs\":[]}", FAULT_TYPE, "a pair of strings");
    refuses(&body_tei_predict, "{\"inputs\":[[]]}", FAULT_TYPE, "a pair of strings");
    refuses(&body_tei_predict, "{\"inputs\":[[\"a\"],\"b\"]}", FAULT_TYPE, "inputs: expected");
    refuses(&body_tei_predict, "{\"inputs\":\"\"}", FAULT_EMPTY, "cannot be empty");
    refuses(&body_tei_predict, "{\"inputs\":[\"\",\"\"]}", FAULT_EMPTY, "cannot be empty");
    accepts(&body_tei_predict, "{\"inputs\":[\"\",\"b\"]}"); /* as the peer: one of the two may be */
    accepts(&body_tei_predict, "{\"inputs\":[[\"a\",\"\"]]}");
}

static void tei_rerank(void **state)
{
    (void)state;
    accepts(&body_tei_rerank, "{\"query\":\"q\",\"texts\":[\"a\",\"b\"],\"return_text\":true}");
    is_str(r.rq.query, "q");
    assert_int_equal(r.rq.n_inputs, 2);
    assert_int_equal(r.rq.scores, RKF_SCORES_SIGMOID);
    assert_int_equal(r.return_text, TRI_YES);
    accepts(&body_tei_rerank, "{\"query\":\"q\",\"texts\":[\"a\"],\"raw_scores\":true}");
    assert_int_equal(r.rq.scores, RKF_SCORES_RAW);
    refuses(&body_tei_rerank, "{\"query\":\"q\",\"texts\":[]}", FAULT_EMPTY, "`texts` cannot be empty");
    refuses(&body_tei_rerank, "{\"query\":\"\",\"texts\":[\"a\",\"\"]}", FAULT_EMPTY, "`inputs` cannot be empty");
    accepts(&body_tei_rerank, "{\"query\":\"\",\"texts\":[\"a\"]}");
    refuses(&body_tei_rerank, "{\"query\":\"q\",\"texts\":\"a\"}", FAULT_TYPE, "texts: expected a list");
    refuses(&body_tei_rerank, "{\"texts\":[\"a\"]}", FAULT_TYPE, "missing field `query`");
}

static void tei_similarity(void **state)
{
    (void)state;
    accepts(&body_tei_similarity, "{\"inputs\":{\"source_sentence\":\"s\",\"sentences\":[\"a\",\"b\"]},"
                                  "\"parameters\":{\"truncate\":false,\"prompt_name\":\"p\"}}");
    assert_int_equal(r.rq.n_inputs, 3);
    is_str(r.rq.inputs[0].text, "s");
    is_str(r.rq.inputs[2].text, "b");
    is_str(r.rq.prompt_name, "p");
    assert_int_equal(r.rq.truncate, RKF_TRUNCATE_NONE);
    refuses(&body_tei_similarity, "{\"inputs\":{\"source_sentence\":\"s\",\"sentences\":[]}}", FAULT_EMPTY,
            "`inputs.sentences` cannot be empty");
    refuses(&body_tei_similarity, "{\"inputs\":\"a\"}", FAULT_TYPE, "inputs: expected an object");
}

static void tei_tokens(void **state)
{
    (void)state;
    accepts(&body_tei_tokenize, "{\"inputs\":[\"a\",\"b\"],\"add_special_tokens\":false}");
    assert_int_equal(r.n_inputs, 2);
    assert_false(r.add_special_tokens);
    accepts(&body_tei_decode, "{\"ids\":[101,102]}");
    assert_true(r.single);
    assert_true(r.skip_special_tokens);
    assert_int_equal(r.inputs[0].n_ids, 2);
    accepts(&body_tei_decode, "{\"ids\":[[101],[102,103]],\"skip_special_tokens\":false}");
    assert_int_equal(r.n_inputs, 2);
    assert_int_equal(r.inputs[1].ids[1], 103);
    refuses(&body_tei_decode, "{\"ids\":[]}", FAULT_EMPTY, "`ids` cannot be empty");
    refuses(&body_tei_decode, "{\"ids\":\"a\"}", FAULT_TYPE, "ids: expected");
}

static void openai(void **state)
{
    (void)state;
    accepts(&body_openai_embeddings, "{\"input\":[\"a\",\"b\"],\"model\":\"m\",\"encoding_format\":\"base64\","
                                     "\"dimensions\":256,\"user\":\"u\"}");
    is_str(r.model, "m");
    assert_int_equal(r.base64, 1);
    assert_int_equal(r.rq.truncate_dim, 256);
    assert_int_equal(r.rq.n_inputs, 2);
    accepts(&body_openai_embeddings, "{\"input\":[[1,2],[3]],\"model\":\"m\"}");
    assert_int_equal(r.rq.n_inputs, 2);
    assert_int_equal(r.rq.inputs[1].ids[0], 3);
    accepts(&body_openai_embeddings, "{\"input\":[{\"text\":\"a\"},\"b\"],\"model\":\"m\",\"task\":\"retrieval.query\","
                                     "\"normalized\":false,\"embedding_type\":\"ubinary\",\"late_chunking\":false}");
    is_str(r.rq.inputs[0].text, "a");
    assert_int_equal(r.input_type, INPUT_QUERY);
    assert_int_equal(r.rq.normalize, RKF_OFF);
    assert_int_equal(r.precision, EMBED_UBINARY);
    refuses(&body_openai_embeddings, "{\"input\":\"a\",\"late_chunking\":true}", FAULT_VALIDATION, "not supported");
    refuses(&body_openai_embeddings, "{\"input\":\"a\",\"encoding_format\":\"hex\"}", FAULT_TYPE, "float, base64");
    assert_string_equal(e.param, "encoding_format");
    refuses(&body_openai_embeddings, "{\"input\":\"\"}", FAULT_EMPTY, "`input` cannot be empty");
}

static void jina_and_cohere(void **state)
{
    (void)state;
    accepts(&body_jina_rerank, "{\"model\":\"m\",\"query\":\"q\",\"documents\":[\"a\",{\"text\":\"b\"}],\"top_n\":1}");
    is_str(r.rq.inputs[1].text, "b");
    assert_int_equal(r.top_n, 1);
    assert_int_equal(r.return_text, TRI_YES);
    accepts(&body_jina_rerank, "{\"query\":{\"text\":\"q\"},\"documents\":[{\"title\":\"t\",\"text\":\"b\"}],"
                               "\"rank_fields\":[\"title\",\"text\"]}");
    is_str(r.rq.inputs[0].text, "t\nb");
    accepts(&body_jina_rerank, "{\"query\":\"q\",\"documents\":[{\"title\":\"t\",\"n\":1,\"body\":\"b\"}]}");
    is_str(r.rq.inputs[0].text, "t\nb");
    refuses(&body_jina_rerank, "{\"query\":\"q\",\"documents\":[1]}", FAULT_TYPE, "documents");
    accepts(&body_cohere_rerank, "{\"model\":\"m\",\"query\":\"q\",\"documents\":[\"a\"],\"max_tokens_per_doc\":4096,"
                                 "\"priority\":5,\"relevant_spans\":null}");
    assert_int_equal(r.rq.priority, -5);
    refuses(&body_cohere_rerank, "{\"query\":\"q\",\"documents\":[\"a\"],\"top_k\":3}", FAULT_FIELD,
            "unknown field: parameter 'top_k' is not a valid field");
    accepts(&body_cohere_embed, "{\"model\":\"m\",\"input_type\":\"search_query\",\"texts\":[\"a\",\"b\"],"
                                "\"embedding_types\":[\"float\",\"ubinary\"],\"truncate\":\"START\","
                                "\"output_dimension\":64}");
    assert_int_equal(r.types, 1u << EMBED_FLOAT | 1u << EMBED_UBINARY);
    assert_int_equal(r.rq.truncate, RKF_TRUNCATE_LEFT);
    assert_int_equal(r.rq.truncate_dim, 64);
    assert_int_equal(r.input_type, INPUT_QUERY);
    accepts(&body_cohere_embed, "{\"inputs\":[{\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                                "{\"type\":\"text\",\"text\":\"b\"}]}]}");
    is_str(r.rq.inputs[0].text, "ab");
    refuses(&body_cohere_embed, "{\"inputs\":[{\"content\":[{\"type\":\"image_url\"}]}]}", FAULT_VALIDATION,
            "only content of type text");
    refuses(&body_cohere_embed, "{\"model\":\"m\"}", FAULT_EMPTY, "`texts` cannot be empty");
    refuses(&body_cohere_embed, "{\"texts\":[\"a\"],\"truncate\":\"MIDDLE\"}", FAULT_TYPE, "NONE, START, END");
}

static void scores(void **state)
{
    (void)state;
    accepts(&body_vllm_score, "{\"text_1\":\"q\",\"text_2\":[\"a\",\"b\"]}");
    is_str(r.rq.inputs[1].text, "q");
    is_str(r.rq.inputs[1].pair, "b");
    accepts(&body_vllm_score, "{\"text_1\":[\"q\",\"p\"],\"text_2\":[\"a\",\"b\"]}");
    is_str(r.rq.inputs[1].text, "p");
    refuses(&body_vllm_score, "{\"text_1\":[\"q\",\"p\"],\"text_2\":\"a\"}", FAULT_VALIDATION, "1:1, 1:N or N:N");
}

static void ollama(void **state)
{
    (void)state;
    accepts(&body_ollama_embed, "{\"model\":\"m\",\"input\":[\"a\"],\"options\":{\"x\":1},\"keep_alive\":\"5m\"}");
    assert_int_equal(r.rq.n_inputs, 1);
    accepts(&body_ollama_embed, "{\"model\":\"m\",\"input\":\"\"}");
    assert_int_equal(r.rq.n_inputs, 0);
    accepts(&body_ollama_embeddings, "{\"model\":\"m\",\"prompt\":\"a\"}");
    assert_int_equal(r.rq.normalize, RKF_OFF);
    refuses(&body_ollama_embeddings, "{\"model\":\"m\",\"prompt\":[\"a\"]}", FAULT_TYPE, "prompt");
}

static void own(void **state)
{
    (void)state;
    accepts(&body_ner, "{\"inputs\":\"a\",\"parameters\":{\"aggregation_strategy\":\"first\",\"stride\":8}}");
    assert_int_equal(r.rq.aggregation, RKF_AGGREGATE_FIRST);
    assert_int_equal(r.rq.stride, 8);
    accepts(&body_ner, "{\"inputs\":[\"a\"]}");
    assert_int_equal(r.rq.aggregation, RKF_AGGREGATE_SIMPLE);
    accepts(&body_qa, "{\"inputs\":{\"question\":\"q\",\"context\":\"c\"},\"parameters\":{\"top_k\":2}}");
    is_str(r.rq.inputs[0].pair, "c");
    assert_int_equal(r.rq.top_k, 2);
    accepts(&body_fill_mask, "{\"inputs\":\"a [MASK]\",\"targets\":[\"x\",\"y\"],\"top_k\":1}");
    assert_int_equal(r.rq.n_labels, 2);
    is_str(r.rq.labels[1], "y");
    accepts(&body_classify, "{\"inputs\":[\"a\",{\"text\":\"b\",\"text_pair\":\"c\"}],"
                            "\"parameters\":{\"function_to_apply\":\"none\"}}");
    assert_int_equal(r.rq.scores, RKF_SCORES_RAW);
    is_str(r.rq.inputs[1].pair, "c");
    accepts(&body_classify, "{\"inputs\":\"a\"}");
    assert_int_equal(r.rq.scores, RKF_SCORES_DEFAULT);
    accepts(&body_zero_shot, "{\"inputs\":\"a\",\"parameters\":{\"candidate_labels\":\"sport, politics ,\","
                             "\"hypothesis_template\":\"It is {}.\",\"multi_label\":true}}");
    assert_int_equal(r.rq.n_labels, 2);
    is_str(r.rq.labels[0], "sport");
    is_str(r.rq.labels[1], "politics");
    assert_true(r.rq.multi_label);
    refuses(&body_zero_shot, "{\"inputs\":\"a\"}", FAULT_VALIDATION, "candidate_labels");
    refuses(&body_zero_shot, "{\"inputs\":\"a\",\"candidate_labels\":[\"x\"],\"hypothesis_template\":\"no place\"}",
            FAULT_VALIDATION, "must contain {}");
    accepts(&body_choose, "{\"question\":\"q\",\"choices\":[\"a\",\"b\"]}");
    is_str(r.rq.query, "q");
    accepts(&body_load, "{\"model\":\"/m\",\"core_mask\":\"0_1\",\"exclusive\":true}");
    is_str(r.load.core_mask, "0_1");
    refuses(&body_load, "{\"model\":\"/m\",\"mask\":\"0\"}", FAULT_FIELD, "unknown field: parameter 'mask'");
}

/* Every allocation may fail: an error, never a crash or a leak. */
static void allocation_failures(void **state)
{
    (void)state;
    static const char text[] =
        "{\"query\":\"q\",\"rank_fields\":[\"a\",\"b\"],\"documents\":[{\"a\":\"x\",\"b\":\"y\"}]}";
    for (int64_t n = 0; n < 20; n++) {
        mem_fail_after(n);
        bool ok = read_body(&body_jina_rerank, text);
        mem_fail_after(-1);
        if (ok)
            return;
        assert_int_equal(e.fault, FAULT_INTERNAL);
    }
    fail_msg("never succeeded");
}

static void schemas_are_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_BODIES; i++) {
        struct buf out;
        yyjson_doc *doc;
        rkf_error err;
        buf_init(&out, 1 << 20);
        body_write_schema(all_bodies[i], &(struct schema_facts){ 384, 30521, "[\"query\"]", "[\"cpu\"]", "." }, &out);
        assert_false(out.failed);
        if (json_parse(out.p, out.len, all_bodies[i]->name, &doc, &err))
            fail_msg("%s: %s", all_bodies[i]->name, err.message);
        yyjson_doc_free(doc);
        buf_free(&out);
    }
}

static int tidy(void **state)
{
    (void)state;
    api_request_free(&r);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tei_inputs),
        cmocka_unit_test(tei_options),
        cmocka_unit_test(tei_refusals),
        cmocka_unit_test(deep_json),
        cmocka_unit_test(too_many_inputs),
        cmocka_unit_test(tei_predict),
        cmocka_unit_test(tei_rerank),
        cmocka_unit_test(tei_similarity),
        cmocka_unit_test(tei_tokens),
        cmocka_unit_test(openai),
        cmocka_unit_test(jina_and_cohere),
        cmocka_unit_test(scores),
        cmocka_unit_test(ollama),
        cmocka_unit_test(own),
        cmocka_unit_test(allocation_failures),
        cmocka_unit_test(schemas_are_json),
    };
    return cmocka_run_group_tests(tests, NULL, tidy);
}
