/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* yyjson parses without recursion, but what it returns is walked with it: refuse towers of brackets. */
static bool too_deep(const char *p, size_t len)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > JSON_MAX_DEPTH)
                return true;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return false;
}

static void *json_malloc(void *ctx, size_t size)
{
    (void)ctx;
    return mem_alloc(size);
}

static void *json_realloc(void *ctx, void *p, size_t old, size_t size)
{
    (void)ctx;
    (void)old;
    return mem_grow(p, size, 1);
}

static void json_free(void *ctx, void *p)
{
    (void)ctx;
    mem_free(p);
}

static const yyjson_alc json_memory = { json_malloc, json_realloc, json_free, NULL };

rkf_status json_parse(const char *p, size_t len, const char *what, yyjson_doc **out, rkf_error *err)
{
    yyjson_read_err e;
    if (too_deep(p, len))
        return rkf_fail(err, RKF_FORMAT, "%s is nested deeper than %d levels", what, JSON_MAX_DEPTH);
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)p, len, 0, &json_memory, &e);
    if (!doc && e.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return rkf_fail_memory(err, len, what);
    if (!doc)
        return rkf_fail(err, RKF_FORMAT, "%s is not valid JSON: %s at byte %zu", what, e.msg, e.pos);
    *out = doc;
    return RKF_OK;
}

rkf_status json_load(const char *dir, const char *name, size_t max, yyjson_doc **out, rkf_error *err)
{
    char path[PATH_MAX], *text;
    size_t len;
    if (name ? !path_join(path, sizeof path, dir, name) : strlen(dir) >= sizeof path)
        return rkf_fail(err, RKF_INVALID, "path too long: %.200s...", dir);
    if (!name)
        strcpy(path, dir);
    rkf_status rc = file_read(path, max, &text, &len, err);
    if (rc)
        return rc;
    rc = json_parse(text, len, path, out, err);
    mem_free(text);
    return rc;
}

static const char *type_of(yyjson_val *v)
{
    return yyjson_get_type_desc(v);
}

static yyjson_val *get(yyjson_val *v, const char *key)
{
    yyjson_val *x = yyjson_is_obj(v) ? yyjson_obj_get(v, key) : NULL;
    return yyjson_is_null(x) ? NULL : x;
}

bool json_has(yyjson_val *v, const char *key)
{
    return get(v, key) != NULL;
}

rkf_status json_get_int(yyjson_val *v, const char *key, int64_t lo, int64_t hi, int64_t *io, const char *what,
                        rkf_error *err)
{
    yyjson_val *x = get(v, key);
    if (!x)
        return RKF_OK;
    double d = yyjson_get_num(x);
    if (!yyjson_is_num(x) || floor(d) != d)
        return rkf_fail(err, RKF_FORMAT, "%s: \"%s\" must be a whole number, not %s", what, key,
                        yyjson_is_num(x) ? "a fraction" : type_of(x));
    /* In 64 bits throughout: near 2^63 a double cannot tell a number from its neighbours. */
    bool fits = yyjson_is_uint(x)   ? yyjson_get_uint(x) <= INT64_MAX
                : yyjson_is_real(x) ? d >= -0x1p63 && d < 0x1p63
                                    : true;
    int64_t i = !fits ? 0 : yyjson_is_real(x) ? (int64_t)d : yyjson_get_sint(x);
    if (!fits || i < lo || i > hi)
        return rkf_fail(err, RKF_FORMAT, "%s: \"%s\" is %.17g, allowed is %lld to %lld", what, key, d, (long long)lo,
                        (long long)hi);
    *io = i;
    return RKF_OK;
}

rkf_status json_get_num(yyjson_val *v, const char *key, double *io, const char *what, rkf_error *err)
{
    yyjson_val *x = get(v, key);
    if (x && !yyjson_is_num(x))
        return rkf_fail(err, RKF_FORMAT, "%s: \"%s\" must be a number, not %s", what, key, type_of(x));
    if (x)
        *io = yyjson_get_num(x);
    return RKF_OK;
}

rkf_status json_get_bool(yyjson_val *v, const char *key, bool *io, const char *what, rkf_error *err)
{
    yyjson_val *x = get(v, key);
    if (x && !yyjson_is_bool(x))
        return rkf_fail(err, RKF_FORMAT, "%s: \"%s\" must be true or false, not %s", what, key, type_of(x));
    if (x)
        *io = yyjson_get_bool(x);
    return RKF_OK;
}

rkf_status json_get_str(yyjson_val *v, const char *key, const char **io, const char *what, rkf_error *err)
{
    yyjson_val *x = get(v, key);
    if (x && !yyjson_is_str(x))
        return rkf_fail(err, RKF_FORMAT, "%s: \"%s\" must be a string, not %s", what, key, type_of(x));
    if (x)
        *io = yyjson_get_str(x);
    return RKF_OK;
}

/* ---- writing */

static void put_escaped(struct buf *b, unsigned char c)
{
    static const char plain[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* pairs: byte, letter after the backslash */
    for (const char *p = plain; *p; p += 2)
        if ((unsigned char)p[0] == c) {
            buf_append(b, (char[]){ '\\', p[1] }, 2);
            return;
        }
    buf_printf(b, "\\u%04x", c);
}

void json_put_str(struct buf *b, const char *s, size_t len)
{
    if (!len)
        s = "";
    if (utf8_valid_prefix(s, len) != len) {
        struct buf clean;
        buf_init(&clean, len <= SIZE_MAX / 4 ? 3 * len + 3 : len);
        utf8_append_replaced(&clean, s, len);
        if (clean.failed)
            b->failed = true;
        else
            json_put_str(b, clean.p, clean.len);
        buf_free(&clean);
        return;
    }
    buf_putc(b, '"');
    size_t from = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        buf_append(b, s + from, i - from);
        put_escaped(b, c);
        from = i + 1;
    }
    buf_append(b, s + from, len - from);
    buf_putc(b, '"');
}

/* Through yyjson's writer: it prints the shortest digits that read back as the same f32. */
static void put_floats(struct buf *b, const float *f, size_t n, bool array)
{
    size_t len;
    char *text = NULL;
    yyjson_mut_doc *doc = yyjson_mut_doc_new(&json_memory);
    yyjson_mut_val *v = doc ? array ? yyjson_mut_arr_with_float(doc, f, n) : yyjson_mut_float(doc, f[0]) : NULL;
    if (v)
        text = yyjson_mut_val_write_opts(v, YYJSON_WRITE_INF_AND_NAN_AS_NULL, &json_memory, &len, NULL);
    if (text)
        buf_append(b, text, len);
    else
        b->failed = true;
    mem_free(text);
    yyjson_mut_doc_free(doc);
}

void json_put_f32(struct buf *b, float f)
{
    put_floats(b, &f, 1, false);
}

void json_put_f32s(struct buf *b, const float *f, size_t n)
{
    put_floats(b, f, n, true);
}

void json_put_val(struct buf *b, yyjson_val *v)
{
    size_t len;
    char *text = v ? yyjson_val_write_opts(v, 0, &json_memory, &len, NULL) : NULL;
    if (text)
        buf_append(b, text, len);
    else if (v)
        b->failed = true;
    else
        buf_puts(b, "null");
    mem_free(text);
}
