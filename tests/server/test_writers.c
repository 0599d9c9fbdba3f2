/* SPDX-License-Identifier: Apache-2.0 */
/* Answers and errors of every dialect against the peers' documented shapes; encodings against RFC 4648 and
 * sentence-transformers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/bodies.h"
#include "server/encode.h"
#include "server/writers.h"

#include <math.h>
#include <string.h>

#define STR(s) RKF_STR(s)

static struct api_request req;
static struct api_item items[3];
static struct api_answer answer;
static struct buf out;

static void fresh(size_t n)
{
    api_request_free(&req);
    api_request_init(&req, 64);
    buf_free(&out);
    buf_init(&out, 1 << 20);
    memset(items, 0, sizeof items);
    answer = (struct api_answer){ .req = &req,
                                  .model = "m",
                                  .id = "id-1",
                                  .items = items,
                                  .n = n,
                                  .tokens = 7,
                                  .total_us = 1500,
                                  .created = 1700000000 };
}

static void writes(writer_fn *writer, const char *expected)
{
    struct api_error e = { 0 };
    buf_clear(&out);
    assert_true(writer(&answer, &out, &e));
    assert_false(out.failed);
    assert_string_equal(out.p, expected);
    yyjson_doc *doc;
    assert_int_equal(json_parse(out.p, out.len, "answer", &doc, NULL), RKF_OK);
    yyjson_doc_free(doc);
}

static const float x[3][9] = { { 0.5f, -0.25f, 0.125f, 1.0f, -1.0f, 0.3f, 0.0f, 0.7f, 0.01f },
                               { 0.1f, -0.5f, 0.5f, 0.9f, -0.2f, -0.3f, 0.2f, 0.6f, -0.01f },
                               { -0.5f, 0.75f, 0.25f, 0.95f, 0.4f, 0.1f, -0.1f, 0.65f, 0.0f } };

static void vectors(size_t n, int64_t dim)
{
    fresh(n);
    for (size_t i = 0; i < n; i++)
        items[i] = (struct api_item){ .data = x[i], .type = RKF_F32, .rows = 1, .dim = dim };
}

static void base64(void **state)
{
    (void)state;
    static const char *const pairs[][2] = { { "", "" },
                                            { "f", "Zg==" },
                                            { "fo", "Zm8=" },
                                            { "foo", "Zm9v" },
                                            { "foob", "Zm9vYg==" },
                                            { "fooba", "Zm9vYmE=" },
                                            { "foobar", "Zm9vYmFy" } };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        fresh(0);
        buf_puts(&out, "");
        base64_put(&out, pairs[i][0], strlen(pairs[i][0]));
        assert_string_equal(out.p, pairs[i][1]);
    }
}

/* From sentence-transformers 6.2's quantize_embeddings on the same numbers. */
static void quantize(void **state)
{
    (void)state;
    static const int8_t int8[3][9] = { { 126, -77, -128, 127, -128, 127, -43, 127, 126 },
                                       { 25, -128, 127, -128, 17, -128, 127, -128, -128 },
                                       { -128, 126, -43, -1, 127, 42, -128, -1, -1 } };
    static const uint8_t uint8[3][9] = { { 254, 51, 0, 255, 0, 255, 85, 255, 254 },
                                         { 153, 0, 255, 0, 145, 0, 255, 0, 0 },
                                         { 0, 254, 85, 127, 255, 170, 0, 127, 127 } };
    static const int8_t binary[3][2] = { { 53, 0 }, { 51, -128 }, { -3, -128 } };
    static const uint8_t ubinary[3][2] = { { 181, 128 }, { 179, 0 }, { 125, 0 } };
    struct api_item q[3];
    struct arena mem = { 0 };
    vectors(3, 9);
    for (int i = 0; i < 3; i++) {
        assert_true(quantize_items(items, 3, EMBED_INT8, &mem, q));
        assert_memory_equal(q[i].data, int8[i], 9);
        assert_true(quantize_items(items, 3, EMBED_UINT8, &mem, q));
        assert_memory_equal(q[i].data, uint8[i], 9);
        assert_true(quantize_items(items, 3, EMBED_BINARY, &mem, q));
        assert_memory_equal(q[i].data, binary[i], 2);
        assert_true(quantize_items(items, 3, EMBED_UBINARY, &mem, q));
        assert_int_equal(q[i].dim, 2);
        assert_memory_equal(q[i].data, ubinary[i], 2);
    }
    arena_free(&mem);
}

/* One vector has no range of its own: the largest magnitude, both ways, keeps its shape. */
static void quantize_one(void **state)
{
    (void)state;
    struct api_item q[1];
    struct arena mem = { 0 };
    vectors(1, 9);
    assert_true(quantize_items(items, 1, EMBED_INT8, &mem, q));
    const int8_t *b = q[0].data;
    assert_true(b[3] >= 126); /* the largest: 255 steps up, give or take a rounding */
    assert_int_equal(b[4], -128);
    assert_in_range(b[0] + 128, 190, 192);
    arena_free(&mem);
}

static void tei(void **state)
{
    (void)state;
    vectors(2, 3);
    writes(write_tei_embed, "[[0.5,-0.25,0.125],[0.1,-0.5,0.5]]");
    req.precision = EMBED_UBINARY;
    writes(write_tei_embed, "[[160],[160]]");
    vectors(1, 3);
    items[0].rows = 2;
    writes(write_tei_embed_all, "[[[0.5,-0.25,0.125],[1.0,-1.0,0.3]]]");
    fresh(1);
    items[0].sparse = (const rkf_sparse[]){ { 5, 0.5f }, { 9, 1.25f } };
    items[0].n = 2;
    writes(write_tei_embed_sparse, "[[{\"index\":5,\"value\":0.5},{\"index\":9,\"value\":1.25}]]");
    fresh(2);
    items[0].labels = (const rkf_label[]){ { STR("a\"b"), 0.75f, 0 }, { STR("c"), 0.25f, 1 } };
    items[0].n = 2;
    items[1].labels = (const rkf_label[]){ { STR("c"), 0.5f, 1 } };
    items[1].n = 1;
    writes(write_tei_predict, "[[{\"score\":0.75,\"label\":\"a\\\"b\"},{\"score\":0.25,\"label\":\"c\"}],"
                              "[{\"score\":0.5,\"label\":\"c\"}]]");
    req.single = true;
    writes(write_tei_predict, "[{\"score\":0.75,\"label\":\"a\\\"b\"},{\"score\":0.25,\"label\":\"c\"}]");
}

static void scored(void)
{
    static const rkf_label labels[3] = { { { NULL, 0 }, 0.25f, 0 },
                                         { { NULL, 0 }, 0.75f, 1 },
                                         { { NULL, 0 }, 0.25f, 2 } };
    static rkf_input texts[3] = { { .text = STR("a") }, { .text = STR("b") }, { .text = STR("c") } };
    fresh(3);
    req.inputs = texts;
    for (int i = 0; i < 3; i++) {
        items[i].labels = &labels[i];
        items[i].n = 1;
    }
}

static void rerank(void **state)
{
    (void)state;
    scored();
    writes(write_tei_rerank,
           "[{\"index\":1,\"score\":0.75},{\"index\":0,\"score\":0.25},{\"index\":2,\"score\":0.25}]");
    req.return_text = TRI_YES;
    writes(write_tei_rerank, "[{\"index\":1,\"text\":\"b\",\"score\":0.75},{\"index\":0,\"text\":\"a\",\"score\":0.25},"
                             "{\"index\":2,\"text\":\"c\",\"score\":0.25}]");
    req.top_n = 1;
    writes(
        write_jina_rerank,
        "{\"id\":\"id-1\",\"object\":\"list\",\"model\":\"m\",\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7},"
        "\"results\":[{\"index\":1,\"relevance_score\":0.75,\"document\":{\"text\":\"b\"}}],\"meta\":{\"api_version\":"
        "{\"version\":\"1\",\"is_experimental\":false},\"billed_units\":{\"search_units\":1},\"tokens\":"
        "{\"input_tokens\":7}}}");
    req.return_text = TRI_NO;
    writes(
        write_cohere_rerank,
        "{\"id\":\"id-1\",\"results\":[{\"index\":1,\"relevance_score\":0.75}],\"meta\":{\"api_version\":{\"version\":"
        "\"2\",\"is_experimental\":false},\"billed_units\":{\"search_units\":1},\"tokens\":{\"input_tokens\":7}}}");
    writes(
        write_vllm_score,
        "{\"id\":\"id-1\",\"object\":\"list\",\"created\":1700000000,\"model\":\"m\",\"data\":[{\"index\":0,\"object\":"
        "\"score\",\"score\":0.25},{\"index\":1,\"object\":\"score\",\"score\":0.75},{\"index\":2,\"object\":\"score\","
        "\"score\":0.25}],\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7,\"completion_tokens\":0}}");
    writes(write_choose, "{\"choice\":1,\"scores\":[0.25,0.75,0.25]}");
}

static void nan_is_an_error(void **state)
{
    (void)state;
    static const rkf_label bad = { { NULL, 0 }, NAN, 0 };
    struct api_error e = { 0 };
    scored();
    items[1].labels = &bad;
    assert_false(write_tei_rerank(&answer, &out, &e));
    assert_string_equal(e.message, "score is NaN");
    assert_int_equal(e.fault, FAULT_BACKEND);
    e.fault = FAULT_NONE;
    assert_false(write_tei_predict(&answer, &out, &e));
    assert_int_equal(e.fault, FAULT_BACKEND);
}

static void similarity(void **state)
{
    (void)state;
    static const float v[3][2] = { { 1, 0 }, { 3, 4 }, { 0, 0 } };
    fresh(3);
    for (int i = 0; i < 3; i++)
        items[i] = (struct api_item){ .data = v[i], .dim = 2, .rows = 1 };
    writes(write_tei_similarity, "[0.6,0.0]");
}

/* The numbers are TEI's own test: "这是一个文本" by bge-m3's tokenizer has byte offsets 0..3, 0..12, 12..18. */
static void tokens(void **state)
{
    (void)state;
    static const int32_t ids[] = { 0, 6, 100013, 189061, 2 };
    static const int32_t offsets[][2] = { { 0, 0 }, { 0, 1 }, { 0, 4 }, { 4, 6 }, { 0, 0 } };
    static const uint8_t special[] = { 1, 0, 0, 0, 1 };
    static const char *const texts[] = { "<s>", "x", "x", "x", "</s>" };
    static const rkf_tokens t = { .n = 5, .ids = ids, .offsets = offsets, .special = special };
    static rkf_input in = { .text = STR("这是一个文本") };
    fresh(1);
    req.inputs = &in;
    items[0].tokenized = &t;
    items[0].token_texts = texts;
    writes(write_tei_tokenize, "[[{\"id\":0,\"text\":\"<s>\",\"special\":true,\"start\":null,\"stop\":null},"
                               "{\"id\":6,\"text\":\"这\",\"special\":false,\"start\":0,\"stop\":3},"
                               "{\"id\":100013,\"text\":\"这是一个\",\"special\":false,\"start\":0,\"stop\":12},"
                               "{\"id\":189061,\"text\":\"文本\",\"special\":false,\"start\":12,\"stop\":18},"
                               "{\"id\":2,\"text\":\"</s>\",\"special\":true,\"start\":null,\"stop\":null}]]");
    items[0].text = "test";
    writes(write_tei_decode, "[\"test\"]");
}

static void openai(void **state)
{
    (void)state;
    vectors(2, 3);
    writes(write_openai_embeddings,
           "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.5,-0.25,0.125]},"
           "{\"object\":\"embedding\",\"index\":1,\"embedding\":[0.1,-0.5,0.5]}],\"model\":\"m\",\"usage\":"
           "{\"prompt_tokens\":7,\"total_tokens\":7}}");
    req.base64 = 1;
    answer.n = 1;
    /* python: base64.b64encode(struct.pack("<3f", 0.5, -0.25, 0.125)) */
    writes(write_openai_embeddings,
           "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":"
           "\"AAAAPwAAgL4AAAA+\"}],\"model\":\"m\",\"usage\":{\"prompt_tokens\":7,"
           "\"total_tokens\":7}}");
}

static void cohere(void **state)
{
    (void)state;
    static rkf_input texts[2] = { { .text = STR("a") }, { .text = STR("b") } };
    vectors(2, 3);
    req.inputs = texts;
    req.types = 1u << EMBED_FLOAT | 1u << EMBED_BINARY;
    writes(
        write_cohere_embed,
        "{\"response_type\":\"embeddings_by_type\",\"id\":\"id-1\",\"embeddings\":{\"float\":[[0.5,-0.25,0.125],"
        "[0.1,-0.5,0.5]],\"binary\":[[32],[32]]},\"texts\":[\"a\",\"b\"],\"meta\":{\"api_version\":{\"version\":\"2\","
        "\"is_experimental\":false},\"billed_units\":{\"input_tokens\":7}}}");
    req.types = 0;
    writes(write_cohere_embed_v1,
           "{\"id\":\"id-1\",\"response_type\":\"embeddings_floats\",\"embeddings\":[[0.5,-0.25,0.125],[0.1,-0.5,0.5]],"
           "\"texts\":[\"a\",\"b\"],\"meta\":{\"api_version\":{\"version\":\"1\",\"is_experimental\":false},"
           "\"billed_units\":{\"input_tokens\":7}}}");
    writes(write_ollama_embed, "{\"model\":\"m\",\"embeddings\":[[0.5,-0.25,0.125],[0.1,-0.5,0.5]],\"total_duration\":"
                               "1500000,\"load_duration\":0,\"prompt_eval_count\":7}");
    writes(write_ollama_embeddings, "{\"embedding\":[0.5,-0.25,0.125]}");
}

static void pipelines(void **state)
{
    (void)state;
    static const rkf_label ignore[] = { { STR("LOC"), 0, 0 } };
    fresh(1);
    req.single = true;
    req.rq.aggregation = RKF_AGGREGATE_SIMPLE;
    items[0].spans = (const rkf_span[]){ { STR("PER"), STR("Ann"), 0.5f, -1, 0, 3 },
                                         { STR("LOC"), STR("Rome"), 0.25f, -1, 12, 16 } };
    items[0].n = 2;
    writes(write_ner, "[{\"entity_group\":\"PER\",\"score\":0.5,\"word\":\"Ann\",\"start\":0,\"end\":3},"
                      "{\"entity_group\":\"LOC\",\"score\":0.25,\"word\":\"Rome\",\"start\":12,\"end\":16}]");
    req.labels = (rkf_str[]){ ignore[0].label };
    req.n_labels = 1;
    req.rq.aggregation = RKF_AGGREGATE_NONE;
    writes(write_ner, "[{\"entity\":\"PER\",\"score\":0.5,\"index\":-1,\"word\":\"Ann\",\"start\":0,\"end\":3}]");
    req.single = false;
    writes(write_ner, "[[{\"entity\":\"PER\",\"score\":0.5,\"index\":-1,\"word\":\"Ann\",\"start\":0,\"end\":3}]]");

    req.single = true;
    writes(write_qa, "{\"score\":0.5,\"start\":0,\"end\":3,\"answer\":\"Ann\"}");
    req.rq.top_k = 2;
    writes(write_qa, "[{\"score\":0.5,\"start\":0,\"end\":3,\"answer\":\"Ann\"},"
                     "{\"score\":0.25,\"start\":12,\"end\":16,\"answer\":\"Rome\"}]");

    items[0].fills = (const rkf_fill[]){ { 0, 5, STR("a"), STR("s a"), 0.5f }, { 0, 6, STR("b"), STR("s b"), 0.25f } };
    writes(write_fill_mask, "[{\"score\":0.5,\"token\":5,\"token_str\":\"a\",\"sequence\":\"s a\"},"
                            "{\"score\":0.25,\"token\":6,\"token_str\":\"b\",\"sequence\":\"s b\"}]");
    items[0].fills = (const rkf_fill[]){ { 0, 5, STR("a"), STR("s"), 0.5f }, { 1, 6, STR("b"), STR("t"), 0.25f } };
    writes(write_fill_mask, "[[{\"score\":0.5,\"token\":5,\"token_str\":\"a\",\"sequence\":\"s\"}],"
                            "[{\"score\":0.25,\"token\":6,\"token_str\":\"b\",\"sequence\":\"t\"}]]");

    items[0].labels = (const rkf_label[]){ { STR("x"), 0.5f, 0 }, { STR("y"), 0.25f, 1 } };
    writes(write_zero_shot, "[{\"label\":\"x\",\"score\":0.5},{\"label\":\"y\",\"score\":0.25}]");
    writes(write_classify, "[[{\"label\":\"x\",\"score\":0.5},{\"label\":\"y\",\"score\":0.25}]]");
}

static void error_is(enum dialect d, const struct api_error *e, int status, const char *body, const char *media)
{
    const char *type;
    fresh(0);
    api_error_write(&out, d, e, "id-1", &type);
    assert_int_equal(api_error_status(d, e->fault), status);
    assert_string_equal(out.p ? out.p : "", body);
    if (media)
        assert_string_equal(type, media);
    else
        assert_null(type);
}

static void errors(void **state)
{
    (void)state;
    struct api_error e;
    static const char json[] = "application/json", text[] = "text/plain; charset=utf-8";
    api_fail(&e, FAULT_OVERLOADED, "", "Model is overloaded");
    error_is(DIALECT_TEI, &e, 429, "{\"error\":\"Model is overloaded\",\"error_type\":\"Overloaded\"}", json);
    error_is(DIALECT_OPENAI, &e, 429,
             "{\"error\":{\"message\":\"Model is overloaded\",\"type\":\"requests\",\"param\":null,\"code\":"
             "\"rate_limit_exceeded\"}}",
             json);
    error_is(DIALECT_COHERE, &e, 429, "{\"id\":\"id-1\",\"message\":\"Model is overloaded\"}", json);
    error_is(DIALECT_OLLAMA, &e, 429, "{\"error\":\"Model is overloaded\"}", json);
    api_fail(&e, FAULT_KEY, "", "no key");
    error_is(DIALECT_TEI, &e, 401, "", NULL);
    api_fail(&e, FAULT_TYPE, "inputs", "missing field `inputs`");
    error_is(DIALECT_TEI, &e, 422, "Failed to deserialize the JSON body into the target type: missing field `inputs`",
             text);
    error_is(
        DIALECT_OPENAI, &e, 400,
        "{\"error\":{\"message\":\"missing field `inputs`\",\"type\":\"invalid_request_error\",\"param\":\"inputs\","
        "\"code\":null}}",
        json);
    api_fail(&e, FAULT_EMPTY, "texts", "`texts` cannot be empty");
    error_is(DIALECT_TEI, &e, 400, "{\"error\":\"`texts` cannot be empty\",\"error_type\":\"Empty\"}", json);
    api_fail(&e, FAULT_MODEL_TYPE, "", "Backend error: model is not a re-ranker model");
    error_is(DIALECT_TEI, &e, 424,
             "{\"error\":\"Backend error: model is not a re-ranker model\",\"error_type\":\"Backend\"}", json);
    api_fail(&e, FAULT_FIELD, "top_k", "unknown field: parameter 'top_k' is not a valid field");
    error_is(DIALECT_COHERE, &e, 422,
             "{\"id\":\"id-1\",\"message\":\"unknown field: parameter 'top_k' is not a valid field\"}", json);
    for (int f = 1; f < FAULT_COUNT; f++)
        for (int d = 0; d < DIALECT_COUNT; d++)
            assert_in_range(api_error_status((enum dialect)d, (enum api_fault)f), 400, 599);
}

static int tidy(void **state)
{
    (void)state;
    api_request_free(&req);
    buf_free(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64),     cmocka_unit_test(quantize),  cmocka_unit_test(quantize_one),
        cmocka_unit_test(tei),        cmocka_unit_test(rerank),    cmocka_unit_test(nan_is_an_error),
        cmocka_unit_test(similarity), cmocka_unit_test(tokens),    cmocka_unit_test(openai),
        cmocka_unit_test(cohere),     cmocka_unit_test(pipelines), cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, tidy);
}
