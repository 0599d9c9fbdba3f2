/* SPDX-License-Identifier: Apache-2.0 */
/* JSON: bounded parsing with messages that name the place, typed look-ups, and writing that reads back the same. */
#include "base/json.h"
#include "base/mem.h"
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static yyjson_doc *parse(const char *text)
{
    yyjson_doc *doc = NULL;
    rkf_error err;
    assert_ok(json_parse(text, strlen(text), "test.json", &doc, &err));
    return doc;
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char text[4 * JSON_MAX_DEPTH];
    rkf_error err;
    for (int depth = JSON_MAX_DEPTH - 1; depth <= JSON_MAX_DEPTH + 1; depth++) {
        yyjson_doc *doc = NULL;
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        if (depth <= JSON_MAX_DEPTH) {
            assert_ok(json_parse(text, 2 * (size_t)depth, "x", &doc, &err));
            yyjson_doc_free(doc);
        } else {
            assert_fails(json_parse(text, 2 * (size_t)depth, "x", &doc, &err), RKF_FORMAT, "x is nested deeper than");
            assert_null(doc);
        }
    }
    /* Brackets in strings, after escaped quotes too, are not depth. */
    struct buf b;
    buf_init(&b, 1 << 16);
    buf_puts(&b, "{\"\\\"");
    for (int i = 0; i < 1000; i++)
        buf_puts(&b, "[{");
    buf_puts(&b, "\\\\\":[]}");
    yyjson_doc *doc = parse(b.p);
    assert_int_equal(yyjson_obj_size(yyjson_doc_get_root(doc)), 1);
    yyjson_doc_free(doc);
    buf_free(&b);
}

static void broken_documents_are_named(void **state)
{
    (void)state;
    static const char *const broken[] = { "",          "{",       "{\"a\":}", "[1,]",  "nul",    "{\"a\" 1}",
                                          "\"\\ud8\"", "[1] [2]", "\"\n\"",   "'a'",   "[0123]", "[NaN]",
                                          "\"\xff\"",  "// x\n1", "\"\\x\"",  "{1:2}", "[1e]",   "\"\xed\xa0\x80\"" };
    rkf_error err;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        yyjson_doc *doc = NULL;
        rkf_status rc = json_parse(broken[i], strlen(broken[i]), "test.json", &doc, &err);
        if (rc != RKF_FORMAT || !strstr(err.message, "test.json is not valid JSON: ") || doc)
            fail_msg("%s: %d %s", broken[i], (int)rc, rc ? err.message : "");
        assert_int_equal(json_parse(broken[i], strlen(broken[i]), "test.json", &doc, NULL), RKF_FORMAT);
    }
}

static void whole_numbers(void **state)
{
    (void)state;
    yyjson_doc *doc = parse(
        "{\"a\":5,\"neg\":-5,\"f\":5.0,\"half\":5.5,\"null\":null,\"s\":\"5\",\"big\":9223372036854775807,"
        "\"over\":9223372036854775808,\"most\":18446744073709551615,\"low\":-9223372036854775808,"
        "\"under\":-9223372036854780000,\"e\":1e18,\"huge\":1e300,\"t\":true,\"a\":6}");
    yyjson_val *v = yyjson_doc_get_root(doc);
    rkf_error err;
    int64_t n = 42;
    assert_ok(json_get_int(v, "absent", 0, 9, &n, "f", &err));
    assert_ok(json_get_int(v, "null", 0, 9, &n, "f", &err));
    assert_ok(json_get_int(NULL, "a", 0, 9, &n, "f", &err));
    assert_int_equal(n, 42);
    static const struct {
        const char *key;
        int64_t lo, hi, want;
    } good[] = { { "a", 0, 9, 5 }, /* the first of two */
                 { "a", 5, 5, 5 },
                 { "neg", -5, 0, -5 },
                 { "f", 0, 9, 5 },
                 { "big", 0, INT64_MAX, INT64_MAX },
                 { "low", INT64_MIN, 0, INT64_MIN },
                 { "e", 0, INT64_MAX, 1000000000000000000 } };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_ok(json_get_int(v, good[i].key, good[i].lo, good[i].hi, &n, "f", &err));
        assert_true(n == good[i].want);
    }
    n = 42;
    static const char *const outside[] = { "over", "most", "under", "huge" };
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        assert_fails(json_get_int(v, outside[i], INT64_MIN, INT64_MAX, &n, "f", &err), RKF_FORMAT, outside[i]);
    assert_fails(json_get_int(v, "a", 6, 9, &n, "config.json", &err), RKF_FORMAT,
                 "config.json: \"a\" is 5, allowed is 6 to 9");
    assert_fails(json_get_int(v, "big", 0, INT64_MAX - 1, &n, "f", &err), RKF_FORMAT, "big");
    assert_fails(json_get_int(v, "neg", 0, INT64_MAX, &n, "f", &err), RKF_FORMAT, "-5");
    assert_fails(json_get_int(v, "half", 0, 9, &n, "f", &err), RKF_FORMAT, "a fraction");
    assert_fails(json_get_int(v, "s", 0, 9, &n, "f", &err), RKF_FORMAT, "string");
    assert_fails(json_get_int(v, "t", 0, 9, &n, "f", &err), RKF_FORMAT, "true");
    assert_int_equal(n, 42);
    yyjson_doc_free(doc);
}

static void other_look_ups(void **state)
{
    (void)state;
    yyjson_doc *doc = parse("{\"n\":1e-12,\"i\":3,\"t\":true,\"s\":\"a\\u0000b\",\"null\":null,\"o\":{}}");
    yyjson_val *v = yyjson_doc_get_root(doc);
    rkf_error err;
    double d = 7;
    bool b = false;
    const char *s = "default";
    assert_ok(json_get_num(v, "null", &d, "f", &err));
    assert_ok(json_get_bool(v, "absent", &b, "f", &err));
    assert_ok(json_get_str(v, "null", &s, "f", &err));
    assert_true(d == 7 && !b && !strcmp(s, "default"));
    assert_ok(json_get_num(v, "n", &d, "f", &err));
    assert_true(d == 1e-12);
    assert_ok(json_get_num(v, "i", &d, "f", &err));
    assert_true(d == 3);
    assert_ok(json_get_bool(v, "t", &b, "f", &err));
    assert_true(b);
    assert_ok(json_get_str(v, "s", &s, "f", &err));
    assert_memory_equal(s, "a\0b", 4);
    assert_fails(json_get_num(v, "s", &d, "f", &err), RKF_FORMAT, "f: \"s\" must be a number, not string");
    assert_fails(json_get_bool(v, "i", &b, "f", &err), RKF_FORMAT, "true or false");
    assert_fails(json_get_str(v, "o", &s, "f", &err), RKF_FORMAT, "must be a string, not object");
    assert_true(json_has(v, "o") && !json_has(v, "null") && !json_has(v, "absent") && !json_has(NULL, "o"));
    yyjson_doc_free(doc);
}

static void files(void **state)
{
    (void)state;
    char dir[] = "/tmp/rkf-test-XXXXXX", path[64];
    rkf_error err;
    yyjson_doc *doc = NULL;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.json", dir);
    assert_fails(json_load(dir, "a.json", 100, &doc, &err), RKF_NOT_FOUND, path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("{\"a\":[1,2,3]}", f);
    fclose(f);
    assert_ok(json_load(dir, "a.json", 13, &doc, &err));
    yyjson_doc_free(doc);
    assert_ok(json_load(path, NULL, 13, &doc, &err));
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(yyjson_doc_get_root(doc), "a")), 3);
    yyjson_doc_free(doc);
    doc = NULL;
    assert_fails(json_load(path, NULL, 12, &doc, &err), RKF_FORMAT, "too large: 13 bytes, at most 12");
    char *endless = mem_alloc(10000);
    memset(endless, 'a', 9999);
    endless[9999] = 0;
    assert_fails(json_load(endless, "x", 12, &doc, &err), RKF_INVALID, "path too long");
    assert_fails(json_load(endless, NULL, 12, &doc, &err), RKF_INVALID, "path too long");
    assert_null(doc);
    mem_free(endless);
    unlink(path);
    rmdir(dir);
}

static void strings_are_escaped(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    json_put_str(&b, "a\"\\\b\f\n\r\t\x01\x1f\x7f\xc3\xa9/\0z", 16);
    assert_string_equal(b.p, "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\xc3\xa9/\\u0000z\"");
    buf_clear(&b);
    json_put_str(&b, "x\xff\xc3y", 4);
    assert_string_equal(b.p, "\"x\xef\xbf\xbd\xef\xbf\xbdy\"");
    buf_clear(&b);
    json_put_str(&b, "", 0);
    assert_string_equal(b.p, "\"\"");
    buf_free(&b);
}

static int digits(const char *s) /* significant digits of a decimal number */
{
    int n = 0, zeros = 0;
    for (; *s && *s != 'e' && *s != 'E'; s++) {
        if (*s < '0' || *s > '9' || (*s == '0' && !n))
            continue;
        zeros = *s == '0' ? zeros + 1 : 0;
        n++;
    }
    return n - zeros;
}

/* What is printed reads back as the same f32, and no shorter number of digits does. */
static void check_float(struct buf *b, float f)
{
    char want[32];
    int precision = 1;
    do
        snprintf(want, sizeof want, "%.*g", precision, (double)f);
    while (strtof(want, NULL) != f && precision++ < 9);
    buf_clear(b);
    json_put_f32(b, f);
    float back = strtof(b->p, NULL);
    if (back != f || signbit(back) != signbit(f) || digits(b->p) > digits(want))
        fail_msg("%.9g: printed %s, shortest %s", (double)f, b->p, want);
    yyjson_doc *doc = parse(b->p);
    assert_true((float)yyjson_get_num(yyjson_doc_get_root(doc)) == f); /* through a double as readers do */
    yyjson_doc_free(doc);
}

static void shortest_floats(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    static const float special[] = { 0,         -0.0f, 1,      -1,      0.1f,    1e-45f,   0x1p-149f, 0x1.fffffep127f,
                                     0x1p-126f, 1e10f, 123456, 1.5e-7f, 1 / 3.f, 16777216, 33554432,  8388608.5f };
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        check_float(&b, special[i]);
    uint64_t seed = 5;
    for (int i = 0; i < 20000; i++) {
        uint32_t u = (uint32_t)(test_random(&seed) >> 32);
        float f;
        memcpy(&f, &u, sizeof f);
        if (isfinite(f))
            check_float(&b, f);
        check_float(&b, ldexpf((float)(int32_t)u, -31 - (i & 7))); /* the size of embeddings */
    }
    buf_clear(&b);
    json_put_f32(&b, NAN);
    json_put_f32(&b, -INFINITY);
    assert_string_equal(b.p, "nullnull");
    buf_clear(&b);
    json_put_f32s(&b, (const float[]){ 0.5f, NAN, -2 }, 3);
    json_put_f32s(&b, NULL, 0);
    assert_string_equal(b.p, "[0.5,null,-2.0][]");
    static const char text[] = "{\"a\":[1,2.5,\"\\u00e9\\n\"],\"a\":null}";
    yyjson_doc *doc;
    rkf_error err;
    assert_ok(json_parse(text, strlen(text), "x", &doc, &err));
    buf_clear(&b);
    json_put_val(&b, yyjson_doc_get_root(doc));
    json_put_val(&b, NULL);
    assert_string_equal(b.p, "{\"a\":[1,2.5,\"é\\n\"],\"a\":null}null");
    yyjson_doc_free(doc);
    buf_free(&b);
}

/* With every single allocation failing in turn: an error or the whole truth, no leak, no crash. */
static void out_of_memory(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,2,3,\"\\u00e9\"],\"b\":{\"c\":null}}";
    rkf_error err;
    for (int64_t n = 0;; n++) {
        yyjson_doc *doc = NULL;
        mem_fail_after(n);
        rkf_status rc = json_parse(text, strlen(text), "x", &doc, &err);
        mem_fail_after(-1);
        if (rc == RKF_OK) {
            assert_true(n > 0);
            yyjson_doc_free(doc);
            break;
        }
        assert_int_equal(rc, RKF_NO_MEMORY);
        assert_null(doc);
    }
    for (int64_t n = 0;; n++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        mem_fail_after(n);
        json_put_f32s(&b, (const float[]){ 1, 2, 3 }, 3);
        json_put_str(&b, "\xff", 1);
        mem_fail_after(-1);
        bool failed = b.failed;
        if (!failed)
            assert_string_equal(b.p, "[1.0,2.0,3.0]\"\xef\xbf\xbd\"");
        buf_free(&b);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(broken_documents_are_named),
        cmocka_unit_test(whole_numbers),
        cmocka_unit_test(other_look_ups),
        cmocka_unit_test(files),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(shortest_floats),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
