/* SPDX-License-Identifier: Apache-2.0 */
/* Ids and offsets of every golden file, and of the real all-MiniLM-L6-v2 where it has been fetched. */
#include "test.h"

#include "base/file.h"
#include "tokenizer/tokenizer.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const names[] = {
    "random/albert-groups",   "random/albert",          "random/bert-cls",          "random/bert-fillmask",
    "random/bert-gelu-new",   "random/bert-multilabel", "random/bert-relu",         "random/camembert",
    "random/deberta-v2",      "random/distilbert-cls3", "random/distilbert",        "random/electra-ner",
    "random/electra",         "random/eurobert",        "random/jina-bert-v3",      "random/modernbert",
    "random/mpnet",           "random/nomic-bert",      "random/roberta",           "random/xlm-roberta",
    "random/xlmr-rerank",     "trained/bert-embed",     "trained/bert-qa",          "trained/bert-rerank",
    "trained/distilbert-ner", "trained/mpnet-embed",    "trained/roberta-fillmask", "trained/roberta-sentiment",
    "trained/xlmr-embed",
};

static rkf_error err;
static struct tokenizer_scratch *scratch;

static int setup(void **state)
{
    (void)state;
    return tokenizer_scratch_create(&scratch, &err);
}

static int teardown(void **state)
{
    (void)state;
    tokenizer_scratch_free(scratch);
    return 0;
}

static void check_case(const struct tokenizer *t, yyjson_val *c, uint32_t max_length, const char *model)
{
    yyjson_val *text = yyjson_obj_get(c, "text"), *pair = yyjson_obj_get(c, "text_pair"), *v;
    yyjson_val *ids = yyjson_obj_get(c, "input_ids"), *offsets = yyjson_obj_get(c, "offsets");
    struct encode_options o = { .add_special_tokens = true, .max_length = max_length, .offsets = true };
    struct encoding e;
    size_t i, n;
    const char *shown = yyjson_get_str(text);
    if (!shown)
        fail_msg("%s: a case has no text", model);
    shown = shown ? shown : "";
    assert_ok(tokenizer_encode(t, scratch, yyjson_get_str(text), yyjson_get_len(text), yyjson_get_str(pair),
                               yyjson_get_len(pair), &o, &e, &err));
    if (e.n != yyjson_arr_size(ids))
        fail_msg("%s: '%.200s': %u ids instead of %zu", model, shown, e.n, yyjson_arr_size(ids));
    yyjson_arr_foreach(ids, i, n, v) if (e.ids[i] != yyjson_get_int(v))
        fail_msg("%s: '%s': token %zu is %d instead of %d", model, shown, i, e.ids[i], yyjson_get_int(v));
    yyjson_arr_foreach(offsets, i, n, v)
    {
        assert_int_equal(e.offsets[i][0], yyjson_get_int(yyjson_arr_get(v, 0)));
        assert_int_equal(e.offsets[i][1], yyjson_get_int(yyjson_arr_get(v, 1)));
    }
    encoding_free(&e);
}

/* Returns how many cases it checked. */
static size_t check_file(const char *model_dir, const char *golden, uint32_t max_length)
{
    struct tokenizer *t;
    yyjson_doc *doc;
    size_t i, n, checked = 0;
    yyjson_val *c;
    assert_ok(tokenizer_open(model_dir, &t, &err));
    assert_ok(json_load(golden, NULL, 64 << 20, &doc, &err));
    static const char *const lists[] = { "tokenize", "cases", "pairs" };
    for (size_t k = 0; k < 3; k++)
        yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), lists[k]), i, n,
                           c) if (yyjson_obj_get(c, "input_ids"))
        {
            check_case(t, c, max_length, model_dir);
            checked++;
        }
    yyjson_doc_free(doc);
    tokenizer_free(t);
    return checked;
}

static void golden_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char model[PATH_MAX], golden[PATH_MAX];
        snprintf(model, sizeof model, "%s/models/%s", TEST_DATA, names[i]);
        snprintf(golden, sizeof golden, "%s/golden/%s.json", TEST_DATA, names[i]);
        assert_true(check_file(model, golden, 64) >= 4);
    }
}

/* The real model, from tokenizer.json and from vocab.txt alone. */
static void minilm(void **state)
{
    (void)state;
    const char *dir = TEST_MODELS "/all-MiniLM-L6-v2", *golden = TEST_DATA "/golden/all-MiniLM-L6-v2.json";
    char vocab[PATH_MAX], command[3 * PATH_MAX];
    if (!path_is_dir(dir)) {
        if (getenv("CI"))
            fail_msg("%s is missing: run make demo", dir);
        skip();
    }
    assert_int_equal(check_file(dir, golden, 256), 32);
    char tmp[] = "/tmp/rkf-vocab-XXXXXX";
    assert_non_null(mkdtemp(tmp));
    snprintf(vocab, sizeof vocab, "%s", tmp);
    snprintf(command, sizeof command, "cp '%s/vocab.txt' '%s/tokenizer_config.json' '%s'", dir, dir, vocab);
    assert_int_equal(system(command), 0);
    assert_int_equal(check_file(vocab, golden, 256), 32);
    snprintf(command, sizeof command, "rm -r '%s'", vocab);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_files),
        cmocka_unit_test(minilm),
    };
    return cmocka_run_group_tests_name("golden ids", tests, setup, teardown);
}
