/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/json: any bytes are parsed or refused with a message; what was parsed can be walked and looked up; what the
 * writers make of any bytes is JSON again and says the same.
 */
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "fuzz.h"

#include <math.h>
#include <string.h>

static void look_up(yyjson_val *obj, const char *key)
{
    rkf_error err = { 0 };
    int64_t i = 7;
    double d = 7;
    bool b = true;
    const char *s = "7";
    if (json_get_int(obj, key, -1000, 1000, &i, "fuzz", &err))
        FUZZ_CHECK(i == 7 && err.message[0]);
    else
        FUZZ_CHECK(i >= -1000 && i <= 1000);
    if (json_get_int(obj, key, INT64_MIN, INT64_MAX, &i, "fuzz", &err))
        FUZZ_CHECK(err.message[0]);
    if (json_get_num(obj, key, &d, "fuzz", &err))
        FUZZ_CHECK(d == 7);
    if (json_get_bool(obj, key, &b, "fuzz", &err))
        FUZZ_CHECK(b);
    if (json_get_str(obj, key, &s, "fuzz", &err))
        FUZZ_CHECK(!strcmp(s, "7"));
    FUZZ_CHECK(strlen(s) < (size_t)1 << 30);
}

static void walk(yyjson_val *v, int depth)
{
    size_t i, n;
    yyjson_val *key, *val;
    FUZZ_CHECK(depth <= JSON_MAX_DEPTH);
    if (yyjson_is_arr(v)) {
        yyjson_arr_foreach(v, i, n, val) walk(val, depth + 1);
    } else if (yyjson_is_obj(v)) {
        yyjson_obj_foreach(v, i, n, key, val)
        {
            look_up(v, yyjson_get_str(key));
            walk(val, depth + 1);
        }
        look_up(v, "absent");
    }
}

/* json_put_str, then parsed, is utf8_append_replaced of the same bytes. */
static void write_and_read(const char *p, size_t len)
{
    struct buf text, clean;
    yyjson_doc *doc = NULL;
    buf_init(&text, 8 * len + 16);
    buf_init(&clean, 3 * len + 16);
    json_put_str(&text, p, len);
    utf8_append_replaced(&clean, p, len);
    FUZZ_CHECK(!text.failed && !clean.failed);
    FUZZ_CHECK(utf8_valid_prefix(clean.p, clean.len) == clean.len);
    FUZZ_CHECK(json_parse(text.p, text.len, "fuzz", &doc, NULL) == RKF_OK);
    yyjson_val *root = yyjson_doc_get_root(doc);
    FUZZ_CHECK(yyjson_is_str(root) && yyjson_get_len(root) == clean.len);
    FUZZ_CHECK(!clean.len || !memcmp(yyjson_get_str(root), clean.p, clean.len));
    yyjson_doc_free(doc);
    buf_free(&text);
    buf_free(&clean);
}

/* Floats come back with the same bits. */
static void write_floats(const uint8_t *data, size_t n)
{
    float f[16];
    n = n / sizeof *f < 16 ? n / sizeof *f : 16;
    memcpy(f, data, n * sizeof *f);
    struct buf text;
    yyjson_doc *doc = NULL;
    buf_init(&text, 1 << 16);
    json_put_f32s(&text, f, n);
    FUZZ_CHECK(!text.failed && json_parse(text.p, text.len, "fuzz", &doc, NULL) == RKF_OK);
    yyjson_val *root = yyjson_doc_get_root(doc), *v;
    FUZZ_CHECK(yyjson_arr_size(root) == n);
    size_t i, max;
    yyjson_arr_foreach(root, i, max, v)
    {
        float back = (float)yyjson_get_num(v);
        FUZZ_CHECK(isfinite(f[i]) ? !memcmp(&back, &f[i], sizeof back) : yyjson_is_null(v));
    }
    yyjson_doc_free(doc);
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rkf_error err = { 0 };
    yyjson_doc *doc = NULL;
    if (json_parse((const char *)data, size, "fuzz", &doc, &err)) {
        FUZZ_CHECK(!doc && err.status != RKF_OK && err.message[0]);
    } else {
        walk(yyjson_doc_get_root(doc), 0);
        yyjson_doc_free(doc);
    }
    write_and_read((const char *)data, size);
    write_floats(data, size);
    return 0;
}
