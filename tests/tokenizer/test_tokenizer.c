/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile and broken files, limits, facts, directories, memory that runs out. Ids are checked in test_recorded. */
#include "test.h"

#include "base/file.h"
#include "tokenizer/tokenizer.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static rkf_error err;

static rkf_status parse(const char *json, struct tokenizer **t)
{
    *t = NULL;
    return tokenizer_parse(json, strlen(json), NULL, 0, t, &err);
}

static void refused(const char *json, rkf_status want, const char *text)
{
    struct tokenizer *t;
    assert_fails(parse(json, &t), want, text);
    assert_null(t);
}

#define WORDPIECE                                                                                                      \
    "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","                  \
    "\"max_input_chars_per_word\":100,\"vocab\":{\"[UNK]\":0,\"a\":1,\"##b\":2,\"[CLS]\":3,\"[SEP]\":4}}"

static void broken_files(void **state)
{
    (void)state;
    refused("", RKF_FORMAT, "tokenizer.json");
    refused("{", RKF_FORMAT, "not valid JSON");
    refused("[]", RKF_FORMAT, "not an object");
    refused("{}", RKF_FORMAT, "model");
    refused("{\"version\":\"2.0\"," WORDPIECE "}", RKF_UNSUPPORTED, "2.0");
    refused("{\"model\":{\"type\":\"Markov\",\"vocab\":{}}}", RKF_UNSUPPORTED, "'Markov'");
    refused("{\"model\":{\"type\":\"WordPiece\"}}", RKF_FORMAT, "vocab");
    refused("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":-1}}}", RKF_FORMAT, "'a'");
    refused("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":1.5}}}", RKF_FORMAT, "'a'");
    refused("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":4000000000}}}", RKF_FORMAT, "'a'");
    refused("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":2000000000}}}", RKF_FORMAT, "too large");
    refused("{\"normalizer\":{\"type\":\"Foo\"}," WORDPIECE "}", RKF_UNSUPPORTED, "normalizer 'Foo'");
    refused("{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}," WORDPIECE "}", RKF_UNSUPPORTED, "UnicodeScripts");
    refused("{\"post_processor\":{\"type\":\"Foo\"}," WORDPIECE "}", RKF_UNSUPPORTED, "post_processor 'Foo'");
    refused("{\"decoder\":{\"type\":\"CTC\"}," WORDPIECE "}", RKF_UNSUPPORTED, "decoder 'CTC'");
    refused("{\"normalizer\":{}," WORDPIECE "}", RKF_FORMAT, "type");
    refused("{\"normalizer\":{\"type\":\"Sequence\"}," WORDPIECE "}", RKF_FORMAT, "normalizers");
    refused("{\"added_tokens\":[{}]," WORDPIECE "}", RKF_FORMAT, "content");
    refused("{\"added_tokens\":[{\"content\":\"x\",\"lstrip\":3}]," WORDPIECE "}", RKF_FORMAT, "lstrip");
}

static void broken_parts(void **state)
{
    (void)state;
    refused("{\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"x\"],\"cls\":[\"x\",1]}," WORDPIECE "}",
            RKF_FORMAT, "sep");
    refused("{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"[X]\","
            "\"type_id\":0}}],\"pair\":[],\"special_tokens\":{}}," WORDPIECE "}",
            RKF_FORMAT, "[X]");
    refused("{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"B\","
            "\"type_id\":0}}],\"pair\":[],\"special_tokens\":{}}," WORDPIECE "}",
            RKF_FORMAT, "two");
    refused("{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}," WORDPIECE "}", RKF_FORMAT,
            "one character");
    refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a\"},\"behavior\":\"Isolated\","
            "\"invert\":false}," WORDPIECE "}",
            RKF_FORMAT, "regular expression");
    refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Foo\","
            "\"invert\":false}," WORDPIECE "}",
            RKF_UNSUPPORTED, "'Foo'");
    /* charsmaps: not base64, too short, an array longer than the file */
    refused("{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"*\"}," WORDPIECE "}", RKF_FORMAT,
            "base64");
    refused("{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAA=\"}," WORDPIECE "}", RKF_FORMAT,
            "short");
    refused("{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////wAAAAA=\"}," WORDPIECE "}",
            RKF_FORMAT, "array");
    /* models */
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", RKF_FORMAT, "merges");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", RKF_FORMAT, "'b'");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[[\"a\",\"b\"]]}}", RKF_FORMAT,
            "'ab'");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b c\"]}}", RKF_FORMAT, "two tokens");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[5]}}", RKF_FORMAT, "merge 1");
    refused("{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}", RKF_UNSUPPORTED,
            "dropout");
    refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":{\"a\":0}}}", RKF_FORMAT, "vocab");
    refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", RKF_FORMAT, "score");
    refused("{\"model\":{\"type\":\"Unigram\",\"unk_id\":3,\"vocab\":[[\"a\",0]]}}", RKF_FORMAT, "unk_id");
}

/* A tower of Sequences is cut off, not followed down the stack. */
static void deep_file(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 24);
    buf_puts(&b, "{\"normalizer\":");
    for (int i = 0; i < 10000; i++)
        buf_puts(&b, "{\"type\":\"Sequence\",\"normalizers\":[");
    refused(b.p, RKF_FORMAT, "deeper");
    buf_clear(&b);
    buf_puts(&b, "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}");
    for (int i = 0; i < 100; i++)
        buf_puts(&b, ",{\"type\":\"NFC\"}");
    buf_puts(&b, "]}," WORDPIECE "}");
    refused(b.p, RKF_UNSUPPORTED, "more than 64");
    buf_free(&b);
}

static struct encoding encode(const struct tokenizer *t, const char *text, struct encode_options o)
{
    struct tokenizer_scratch *s;
    struct encoding e;
    assert_ok(tokenizer_scratch_create(&s, &err));
    assert_ok(tokenizer_encode(t, s, text, strlen(text), NULL, 0, &o, &e, &err));
    tokenizer_scratch_free(s);
    return e;
}

static rkf_status try_encode(const struct tokenizer *t, const char *text, const char *pair, struct encode_options o)
{
    struct tokenizer_scratch *s;
    struct encoding e;
    assert_ok(tokenizer_scratch_create(&s, &err));
    rkf_status rc = tokenizer_encode(t, s, text, strlen(text), pair, pair ? strlen(pair) : 0, &o, &e, &err);
    if (!rc)
        encoding_free(&e);
    tokenizer_scratch_free(s);
    return rc;
}

/* A token given twice has the id given last; two tokens may share one. As in `tokenizers`. */
static void repeated_tokens(void **state)
{
    (void)state;
    struct tokenizer *t;
    assert_ok(parse(
        "{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"u\",\"vocab\":{\"u\":0,\"a\":1,\"a\":7,\"b\":7}}}", &t));
    struct encoding e = encode(t, "a", (struct encode_options){ .offsets = true });
    assert_int_equal(e.n, 1);
    assert_int_equal(e.ids[0], 7);
    assert_int_equal(tokenizer_vocab_size(t), 8);
    assert_null(tokenizer_token(t, 1));
    assert_null(tokenizer_token(t, 8));
    assert_null(tokenizer_token(t, -1));
    encoding_free(&e);
    tokenizer_free(t);
}

static void unknown_without_token(void **state)
{
    (void)state;
    struct tokenizer *t;
    assert_ok(parse("{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"vocab\":{\"a\":0}}}", &t));
    assert_ok(try_encode(t, "a", NULL, (struct encode_options){ 0 }));
    assert_fails(try_encode(t, "b", NULL, (struct encode_options){ 0 }), RKF_FORMAT, "[UNK]");
    tokenizer_free(t);
}

static void exploding_pattern(void **state)
{
    (void)state;
    struct tokenizer *t;
    assert_ok(
        parse("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(x+x+)+y\"},\"behavior\":\"Isolated\","
              "\"invert\":false}," WORDPIECE "}",
              &t));
    assert_ok(try_encode(t, "xxxy", NULL, (struct encode_options){ 0 }));
    assert_fails(try_encode(t, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", NULL,
                            (struct encode_options){ 0 }),
                 RKF_FORMAT, "gives up");
    tokenizer_free(t);
}

static void limits(void **state)
{
    (void)state;
    struct tokenizer *t;
    assert_ok(tokenizer_open(TEST_DATA "/models/trained/bert-embed", &t, &err));
    struct encode_options o = { .add_special_tokens = true, .max_length = 1 };
    assert_fails(try_encode(t, "the dog", NULL, o), RKF_INVALID, "2 special tokens");
    o.max_length = 6;
    o.stride = 4;
    o.overflow = true;
    assert_fails(try_encode(t, "the dog and the cat and the rain", NULL, o), RKF_INVALID, "stride");
    o = (struct encode_options){ .add_special_tokens = true, .max_length = 6, .strategy = TRUNCATE_ONLY_SECOND };
    assert_fails(try_encode(t, "the dog and the cat and the rain", NULL, o), RKF_INVALID, "second text");
    o.strategy = TRUNCATE_ONLY_FIRST;
    assert_fails(try_encode(t, "the dog", "the dog and the cat and the rain", o), RKF_TOO_LONG, "second text");
    tokenizer_free(t);
}

static void facts(void **state)
{
    (void)state;
    struct tokenizer *t;
    static const char json[] =
        "{\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",4],\"cls\":[\"[CLS]\",3]}," WORDPIECE "}";
    static const char config[] = "{\"model_max_length\":1000000000000000019884624838656,\"truncation_side\":\"left\","
                                 "\"model_input_names\":[\"input_ids\"],\"cls_token\":{\"content\":\"[CLS]\"},"
                                 "\"sep_token\":\"[SEP]\",\"mask_token\":\"[MASK]\",\"pad_token\":null}";
    assert_ok(tokenizer_parse(json, strlen(json), config, strlen(config), &t, &err));
    struct tokenizer_facts f = tokenizer_facts(t);
    assert_int_equal(f.model_max_length, 0);
    assert_true(f.truncate_left);
    assert_false(f.token_types);
    assert_int_equal(f.n_special_single, 2);
    assert_int_equal(f.n_special_pair, 3);
    assert_int_equal(tokenizer_special_id(t, TOKEN_CLS), 3);
    assert_int_equal(tokenizer_special_id(t, TOKEN_SEP), 4);
    assert_int_equal(tokenizer_special_id(t, TOKEN_MASK), 5); /* new: after the vocabulary */
    assert_int_equal(tokenizer_special_id(t, TOKEN_PAD), -1);
    assert_true(tokenizer_is_special(t, 5));
    assert_false(tokenizer_is_special(t, 1));
    assert_int_equal(tokenizer_token_id(t, "##b", 3), 2);
    assert_int_equal(tokenizer_token_id(t, "nope", 4), -1);
    char prefix[16];
    assert_true(tokenizer_is_wordpiece(t, prefix));
    assert_string_equal(prefix, "##");
    tokenizer_free(t);
    assert_fails(tokenizer_parse(json, strlen(json), "{\"truncation_side\":\"up\"}", 24, &t, &err), RKF_FORMAT,
                 "left or right");
}

/* ---- directories */

static char *write_dir(const char *const files[][2], size_t n)
{
    static char dir[64];
    snprintf(dir, sizeof dir, "/tmp/rkf-tokenizer-XXXXXX");
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < n; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", dir, files[i][0]);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(files[i][1], f);
        fclose(f);
    }
    return dir;
}

static void remove_dir(const char *dir, const char *const files[][2], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", dir, files[i][0]);
        unlink(path);
    }
    rmdir(dir);
}

static void directories(void **state)
{
    (void)state;
    struct tokenizer *t;
    assert_fails(tokenizer_open("/nowhere", &t, &err), RKF_NOT_FOUND, "vocab.txt");
    static const char *const bert[][2] = {
        { "vocab.txt", "[PAD]\n[UNK]\r\n[CLS]\n[SEP]\n[MASK]\nÉ \n##b\n" },
        { "tokenizer_config.json", "{\"do_lower_case\":false}" },
    };
    char *dir = write_dir(bert, 2);
    assert_ok(tokenizer_open(dir, &t, &err));
    struct encoding e = encode(t, "Éb [MASK]É", (struct encode_options){ .add_special_tokens = true, .offsets = true });
    static const int32_t want[] = { 2, 5, 6, 4, 5, 3 };
    assert_int_equal(e.n, 6);
    assert_memory_equal(e.ids, want, sizeof want);
    assert_int_equal(e.offsets[3][0], 3);
    assert_int_equal(tokenizer_special_id(t, TOKEN_MASK), 4);
    encoding_free(&e);
    tokenizer_free(t);
    remove_dir(dir, bert, 2);

    /* special_tokens_map.json before tokenizer_config.json */
    static const char *const both[][2] = {
        { "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n" },
        { "tokenizer_config.json", "{\"mask_token\":{\"content\":\"[MASK]\",\"lstrip\":true}}" },
        { "special_tokens_map.json", "{\"mask_token\":\"[MASK]\",\"pad_token\":\"a\"}" },
    };
    dir = write_dir(both, 3);
    assert_ok(tokenizer_open(dir, &t, &err));
    e = encode(t, "a [MASK]", (struct encode_options){ .offsets = true });
    assert_int_equal(e.n, 2);
    assert_int_equal(e.offsets[1][0], 2);
    assert_int_equal(tokenizer_special_id(t, TOKEN_PAD), 5);
    encoding_free(&e);
    tokenizer_free(t);
    remove_dir(dir, both, 3);

    static const char *const bare[][2] = { { "vocab.txt", "a\nb\n" } };
    dir = write_dir(bare, 1);
    assert_fails(tokenizer_open(dir, &t, &err), RKF_FORMAT, "[CLS]");
    remove_dir(dir, bare, 1);
}

static void roberta_directory(void **state)
{
    (void)state;
    struct tokenizer *t;
    static const char *const files[][2] = {
        { "vocab.json", "{\"<s>\":0,\"<pad>\":1,\"</"
                        "s>\":2,\"<unk>\":3,\"a\":4,\"b\":5,\"\u0120\":6,\"ab\":7,\"\u0120ab\":8,\"<mask>\":9}" },
        { "merges.txt", "#version: 0.2\na b\n\u0120 ab\n" },
    };
    char *dir = write_dir(files, 2);
    assert_ok(tokenizer_open(dir, &t, &err));
    struct encoding e = encode(t, "ab ab<mask>",
                               (struct encode_options){ .add_special_tokens = true, .offsets = true });
    static const int32_t want[] = { 0, 7, 8, 9, 2 };
    assert_int_equal(e.n, 5);
    assert_memory_equal(e.ids, want, sizeof want);
    assert_int_equal(e.offsets[2][0], 3); /* the space is trimmed off */
    assert_int_equal(e.offsets[2][1], 5);
    encoding_free(&e);
    tokenizer_free(t);
    remove_dir(dir, files, 2);
}

/* ---- memory that runs out, at every single allocation */

static void starve(const char *dir)
{
    static const char text[] =
        "It's  a RAINY day in Z\u00fcrich e\u0301\u0323 \u65e5\u672c [MASK] <mask> \ufb01nd 123 ...";
    struct encode_options o = {
        .add_special_tokens = true, .max_length = 8, .overflow = true, .stride = 1, .offsets = true
    };
    bool whole = false;
    for (int64_t n = 0; !whole; n++) {
        struct tokenizer *t = NULL;
        struct tokenizer_scratch *s = NULL;
        struct encoding e;
        struct buf b;
        buf_init(&b, 1 << 20);
        mem_fail_after(n);
        rkf_status rc = tokenizer_open(dir, &t, &err);
        if (!rc)
            rc = tokenizer_scratch_create(&s, &err);
        if (!rc)
            rc = tokenizer_encode(t, s, text, strlen(text), text, 20, &o, &e, &err);
        if (!rc) {
            rc = tokenizer_decode(t, e.ids, e.n, false, &b, &err);
            encoding_free(&e);
        }
        mem_fail_after(-1);
        if (rc && rc != RKF_NO_MEMORY)
            fail_msg("%s: allocation %lld: %s: %s", dir, (long long)n, rkf_status_name(rc), err.message);
        whole = rc == RKF_OK;
        buf_free(&b);
        tokenizer_scratch_free(s);
        tokenizer_free(t);
        assert_true(n < 5000);
    }
}

static void out_of_memory(void **state)
{
    (void)state;
    starve(TEST_DATA "/models/trained/bert-embed");
    starve(TEST_DATA "/models/trained/roberta-sentiment");
    starve(TEST_DATA "/models/trained/xlmr-embed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_files),
        cmocka_unit_test(broken_parts),
        cmocka_unit_test(deep_file),
        cmocka_unit_test(repeated_tokens),
        cmocka_unit_test(unknown_without_token),
        cmocka_unit_test(exploding_pattern),
        cmocka_unit_test(limits),
        cmocka_unit_test(facts),
        cmocka_unit_test(directories),
        cmocka_unit_test(roberta_directory),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
