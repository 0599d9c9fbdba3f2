/* SPDX-License-Identifier: Apache-2.0 */
/* Listings of a hub: names, etags, and which files are needed. */
#include "base/mem.h"
#include "hub/listing.h"
#include "test.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static rkf_status parse(const char *text, struct hub_listing *l, rkf_error *err)
{
    *l = (struct hub_listing){ 0 };
    return hub_listing_parse(text, strlen(text), "listing", l, err);
}

static void names(void **state)
{
    static const char *const good[] = { "a", "a/b.c", "1_Pooling/config.json", "...", "a..b", ".git", "a b", "a\\b" };
    static const char *const bad[] = { "",       "/",     "/a",   "a/",   "..",   ".",    "../a",
                                       "a/../b", "a/./b", "a//b", "a/..", "a\nb", "a\x7f" };
    char longest[HUB_NAME + 1];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(hub_name_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (hub_name_valid(bad[i], strlen(bad[i])))
            fail_msg("took %s", bad[i]);
    assert_false(hub_name_valid("a\0b", 3));
    for (size_t i = 0; i < HUB_NAME; i++)
        longest[i] = i % 2 ? '/' : 'a';
    longest[HUB_NAME] = 0;
    assert_false(hub_name_valid(longest, HUB_NAME));
    longest[HUB_NAME - 1] = 0;
    assert_true(hub_name_valid(longest, HUB_NAME - 1));
    memset(longest, 'a', 256);
    longest[256] = 0;
    assert_false(hub_name_valid(longest, 256)); /* more than a file system takes */
}

static void etags(void **state)
{
    char out[HUB_ETAG];
    (void)state;
    assert_true(hub_etag("\"" SHA256 "\"", out));
    assert_string_equal(out, SHA256);
    assert_true(hub_etag("W/\"" COMMIT "\"", out));
    assert_string_equal(out, COMMIT);
    assert_true(hub_etag("0123abcd-7", out));
    assert_false(hub_etag("", out) || hub_etag("\"\"", out) || hub_etag("\"../../../x\"", out) ||
                 hub_etag(".12345678", out) || hub_etag("a b c d e f g", out) || hub_etag("\"" COMMIT, out));
}

static void answers(void **state)
{
    struct hub_listing l;
    rkf_error err;
    (void)state;
    assert_ok(parse("{\"sha\":\"" COMMIT "\",\"siblings\":["
                    "{\"rfilename\":\"b\",\"size\":134,\"blobId\":\"" COMMIT "\","
                    "\"lfs\":{\"sha256\":\"" SHA256 "\",\"size\":5000000000,\"pointerSize\":134}},"
                    "{\"rfilename\":\"a/c\",\"size\":0,\"blobId\":\"" COMMIT "\"},{\"rfilename\":\"d\"}]}",
                    &l, &err));
    assert_string_equal(l.commit, COMMIT);
    assert_int_equal(l.n, 3);
    assert_string_equal(l.files[0].name, "a/c");
    assert_int_equal(l.files[0].bytes, 0);
    assert_string_equal(hub_listing_find(&l, "b")->etag, SHA256);
    assert_int_equal(hub_listing_find(&l, "b")->bytes, 5000000000);
    assert_string_equal(hub_listing_find(&l, "d")->etag, "");
    assert_int_equal(hub_listing_find(&l, "d")->bytes, -1);
    assert_null(hub_listing_find(&l, "e"));
    hub_listing_free(&l);
    assert_ok(parse("{\"sha\":\"" COMMIT "\",\"siblings\":[]}", &l, &err));
    assert_null(hub_listing_find(&l, "e"));
    hub_listing_free(&l);
}

static void answers_that_are_refused(void **state)
{
#define LISTING(files) "{\"sha\":\"" COMMIT "\",\"siblings\":[" files "]}"
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "", "listing" },
        { "<html>", "listing" },
        { "[]", "not what a hub answers" },
        { "{\"sha\":\"main\",\"siblings\":[]}", "not what a hub answers" },
        { "{\"sha\":7,\"siblings\":[]}", "\"sha\" must be a string" },
        { "{\"sha\":\"" COMMIT "\"}", "not what a hub answers" },
        { LISTING("{}"), "without a name" },
        { LISTING("7"), "without a name" },
        { LISTING("{\"rfilename\":\"../x\"}"), "not trusted" },
        { LISTING("{\"rfilename\":\"a\\u0000b\"}"), "not trusted" },
        { LISTING("{\"rfilename\":\"a\"},{\"rfilename\":\"a\"}"), "twice" },
        { LISTING("{\"rfilename\":\"a\",\"size\":-7}"), "size" },
        { LISTING("{\"rfilename\":\"a\",\"size\":1,\"blobId\":\"../x\"}"), "cannot be one" },
        { LISTING("{\"rfilename\":\"a\",\"lfs\":{\"sha256\":\"../../../x\",\"size\":1}}"), "cannot be one" },
    };
    struct hub_listing l;
    rkf_error err;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_fails(parse(cases[i].text, &l, &err), RKF_FORMAT, cases[i].words);
        assert_null(l.files);
    }
}

static void no_memory(void **state)
{
    static const char text[] = LISTING("{\"rfilename\":\"a\"},{\"rfilename\":\"b\",\"size\":1,\"blobId\":\"" COMMIT
                                       "\"}");
    struct hub_listing l;
    rkf_error err;
    rkf_status rc = RKF_NO_MEMORY;
    int n = 0;
    (void)state;
    for (; rc == RKF_NO_MEMORY && n < 100; n++) {
        mem_fail_after(n);
        rc = parse(text, &l, &err);
        mem_fail_after(-1);
    }
    assert_int_equal(rc, RKF_OK);
    assert_in_range(n, 4, 99);
    hub_listing_free(&l);
}

/* ---- patterns: as Python's fnmatch (huggingface_hub's allow_patterns) */

static void globs(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool matches;
    } cases[] = {
        { "*.json", "config.json", true },    { "*.json", "1_Pooling/config.json", true },
        { "*.json", ".hidden.json", true },   { "config.json", "1_Pooling/config.json", false },
        { "onnx/", "onnx/model.onnx", true }, { "onnx/", "onnx", false },
        { "onnx/*", "onnx/a/b", true },       { "?.txt", "a.txt", true },
        { "?.txt", "ab.txt", false },         { "[ab].txt", "b.txt", true },
        { "[!ab].txt", "b.txt", false },      { "a\\b", "a\\b", true },
        { "*", "anything/at/all", true },     { "", "a", false },
        { "*.JSON", "config.json", false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (hub_glob(cases[i].pattern, cases[i].name) != cases[i].matches)
            fail_msg("%s and %s", cases[i].pattern, cases[i].name);
}

/* ---- the choice */

/* Names that were chosen, in order, with blanks between. */
static const char *chosen(const char *const *files, const struct hub_rules *r, const struct hub_texts *t,
                          struct hub_kinds *kinds)
{
    static char out[1000];
    struct buf b;
    struct hub_listing l;
    rkf_error err;
    buf_init(&b, 1 << 16);
    buf_puts(&b, "{\"sha\":\"" COMMIT "\",\"siblings\":[");
    for (size_t i = 0; files[i]; i++)
        buf_printf(&b, "%s{\"rfilename\":\"%s\"}", i ? "," : "", files[i]);
    buf_puts(&b, "]}");
    assert_ok(parse(b.p, &l, &err));
    assert_ok(hub_choose(&l, r, t, &err));
    out[0] = 0;
    for (uint32_t i = 0; i < l.n; i++)
        if (l.files[i].wanted)
            snprintf(out + strlen(out), sizeof out - strlen(out), "%s%s", out[0] ? " " : "", l.files[i].name);
    if (kinds)
        *kinds = hub_kinds(&l, r->subfolder);
    hub_listing_free(&l);
    buf_free(&b);
    return out;
}

static const char *const repository[] = {
    ".gitattributes",
    "1_Pooling/config.json",
    "2_Dense/model.safetensors",
    "2_Dense/pytorch_model.bin",
    "README.md",
    "config.json",
    "flax_model.msgpack",
    "model.safetensors",
    "modules.json",
    "onnx/config.json",
    "onnx/model.onnx",
    "pytorch_model.bin",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "train.py",
    "vocab.txt",
    NULL,
};

static void the_needed(void **state)
{
    static const char modules[] =
        "[{\"path\":\"\"},{\"path\":\"1_Pooling\"},{\"path\":\"2_Dense\"},{\"path\":\"../x\"},{}]";
    struct hub_rules r = { .subfolder = "", .platform = "cpu" };
    struct hub_texts t = { .modules = modules, .modules_len = sizeof modules - 1 };
    struct hub_kinds k;
    (void)state;
    assert_string_equal(chosen(repository, &r, &t, &k),
                        "1_Pooling/config.json 2_Dense/model.safetensors README.md config.json model.safetensors "
                        "modules.json sentence_bert_config.json special_tokens_map.json tokenizer.json vocab.txt");
    assert_true(k.weights && k.pickle && k.other && !k.rknn);
    r.exclude = (const char *const[]){ "*.txt", "1_*/" };
    r.n_exclude = 2;
    assert_string_equal(chosen(repository, &r, &t, NULL),
                        "2_Dense/model.safetensors README.md config.json model.safetensors modules.json "
                        "sentence_bert_config.json special_tokens_map.json tokenizer.json");
    r.include = (const char *const[]){ "onnx/", "*.txt" };
    r.n_include = 2;
    assert_string_equal(chosen(repository, &r, &t, NULL), "onnx/config.json onnx/model.onnx");
}

static void broken_modules(void **state)
{
    struct hub_rules r = { .subfolder = "", .platform = "rk3588" };
    struct hub_texts t = { .modules = "{", .modules_len = 1 };
    struct hub_listing l;
    rkf_error err;
    (void)state;
    assert_ok(parse(LISTING("{\"rfilename\":\"modules.json\"}"), &l, &err));
    assert_fails(hub_choose(&l, &r, &t, &err), RKF_FORMAT, "modules.json");
    t = (struct hub_texts){ .config = "[", .config_len = 1 };
    assert_fails(hub_choose(&l, &r, &t, &err), RKF_FORMAT, "config.json");
    hub_listing_free(&l);
}

static void compiled(void **state)
{
    static const char config[] = "{\"rknn\":{\"rknn/a.rknn\":{\"target_platform\":\"RK3588\"},"
                                 "\"rknn/b.rknn\":{\"platform\":\"rk3576\"}}}";
    static const char *const files[] = { "a_rk3566.rknn", "config.json",        "rknn/a.rknn", "rknn/b.rknn",
                                         "rknn/c.rknn",   "rk3588/RK3576.rknn", NULL };
    struct hub_rules r = { .subfolder = "", .platform = "rk3588" };
    struct hub_texts t = { .config = config, .config_len = sizeof config - 1 };
    struct hub_kinds k;
    (void)state;
    assert_string_equal(chosen(files, &r, &t, &k), "config.json rk3588/RK3576.rknn rknn/a.rknn rknn/c.rknn");
    assert_true(k.rknn && k.rknn_wanted && !k.weights);
    r.platform = "rk3566";
    assert_string_equal(chosen(files, &r, &t, NULL), "a_rk3566.rknn config.json rknn/c.rknn");
    r.platform = "cpu";
    assert_string_equal(chosen(files, &r, &t, &k), "config.json");
    assert_true(k.rknn && !k.rknn_wanted);
}

static void shards(void **state)
{
    static const char index[] = "{\"weight_map\":{\"x\":\"model-1.safetensors\",\"y\":\"model-1.safetensors\"}}";
    static const char *const bad[] = { "[",
                                       "{}",
                                       "{\"weight_map\":[]}",
                                       "{\"weight_map\":{\"x\":\"../model-1.safetensors\"}}",
                                       "{\"weight_map\":{\"x\":7}}",
                                       "{\"weight_map\":{\"x\":\"none\"}}" };
    struct hub_rules r = { .subfolder = "", .platform = "cpu" };
    struct hub_texts t = { 0 };
    struct hub_listing l;
    rkf_error err;
    (void)state;
    assert_ok(
        parse(LISTING("{\"rfilename\":\"0_T/model.safetensors.index.json\"},{\"rfilename\":\"model-1.safetensors\"},"
                      "{\"rfilename\":\"0_T/model-1.safetensors\"}"),
              &l, &err));
    const struct hub_entry *e = hub_listing_find(&l, "0_T/model.safetensors.index.json");
    t.modules = "[{\"path\":\"0_T\"}]";
    t.modules_len = strlen(t.modules);
    assert_ok(hub_choose(&l, &r, &t, &err));
    assert_true(e->wanted && !hub_kinds(&l, "").weights);
    assert_ok(hub_choose_shards(&l, &r, e, index, sizeof index - 1, &err));
    assert_true(hub_listing_find(&l, "0_T/model-1.safetensors")->wanted && hub_kinds(&l, "").weights);
    assert_false(hub_listing_find(&l, "model-1.safetensors")->wanted);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(hub_choose_shards(&l, &r, e, bad[i], strlen(bad[i]), &err), RKF_FORMAT, "index.json");
    hub_listing_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),      cmocka_unit_test(etags),
        cmocka_unit_test(answers),    cmocka_unit_test(answers_that_are_refused),
        cmocka_unit_test(no_memory),  cmocka_unit_test(globs),
        cmocka_unit_test(the_needed), cmocka_unit_test(broken_modules),
        cmocka_unit_test(compiled),   cmocka_unit_test(shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
