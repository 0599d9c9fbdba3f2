/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/document.h"
#include "base/utf8.h"
#include "cli/output.h"

#include <stdio.h>
#include <string.h>

enum { COLUMNS = 16, CELL = 400, MOST = 1 << 26, KEY_MOST = 24 };

static void put_value(struct buf *b, yyjson_val *v, int indent);

/* "max_length" -> "max length" */
static void put_key(struct buf *b, const char *key)
{
    for (; *key; key++)
        buf_putc(b, *key == '_' ? ' ' : *key);
}

static bool is_plain(yyjson_val *v)
{
    return !yyjson_is_obj(v) && !yyjson_is_arr(v);
}

static void put_plain(struct buf *b, yyjson_val *v)
{
    if (yyjson_is_str(v))
        buf_append(b, yyjson_get_str(v), yyjson_get_len(v));
    else if (yyjson_is_bool(v))
        buf_puts(b, yyjson_get_bool(v) ? "yes" : "no");
    else if (yyjson_is_int(v))
        buf_printf(b, "%lld", (long long)yyjson_get_sint(v));
    else if (yyjson_is_real(v))
        buf_printf(b, "%.6g", yyjson_get_real(v));
    else
        buf_puts(b, "-");
}

static bool all_plain(yyjson_val *list)
{
    size_t i, n;
    yyjson_val *v;
    yyjson_arr_foreach(list, i, n, v) if (!is_plain(v)) return false;
    return true;
}

static void put_list(struct buf *b, yyjson_val *list)
{
    size_t i, n;
    yyjson_val *v;
    if (!yyjson_arr_size(list))
        buf_puts(b, "none");
    yyjson_arr_foreach(list, i, n, v)
    {
        buf_puts(b, i ? ", " : "");
        put_plain(b, v);
    }
}

/* ---- tables */

struct table {
    const char *keys[COLUMNS];
    size_t widths[COLUMNS]; /* code points */
    size_t n;
};

static void put_cell(struct buf *b, yyjson_val *v)
{
    if (yyjson_is_arr(v))
        put_list(b, v);
    else
        put_plain(b, v);
}

/* Objects whose values are plain or lists of plain values, with few different keys. */
static bool table_measure(struct table *t, yyjson_val *list)
{
    size_t i, n, k, m;
    yyjson_val *row, *key, *v;
    struct buf cell;
    buf_init(&cell, MOST);
    *t = (struct table){ 0 };
    bool fits = true;
    yyjson_arr_foreach(list, i, n, row)
    {
        fits = fits && yyjson_is_obj(row);
        if (!fits)
            break;
        yyjson_obj_foreach(row, k, m, key, v)
        {
            size_t c = 0;
            while (c < t->n && strcmp(t->keys[c], yyjson_get_str(key)))
                c++;
            fits = fits && c < COLUMNS && (is_plain(v) || (yyjson_is_arr(v) && all_plain(v)));
            if (!fits)
                break;
            if (c == t->n) {
                t->keys[t->n++] = yyjson_get_str(key);
                t->widths[c] = strlen(t->keys[c]);
            }
            buf_clear(&cell);
            put_cell(&cell, v);
            size_t width = cell.p ? utf8_count(cell.p, cell.len) : 0;
            t->widths[c] = width > t->widths[c] ? width : t->widths[c];
        }
    }
    fits = fits && !cell.failed;
    buf_free(&cell);
    for (size_t c = 0; c < t->n; c++)
        fits = fits && t->widths[c] <= CELL;
    return fits && t->n > 0;
}

static void pad(struct buf *b, size_t from, size_t width, bool last)
{
    size_t have = utf8_count(b->p + from, b->len - from);
    for (; !b->failed && !last && have < width + 2; have++)
        buf_putc(b, ' ');
}

static void put_table(struct buf *b, const struct table *t, yyjson_val *list, int indent)
{
    size_t i, n;
    yyjson_val *row;
    buf_printf(b, "%*s", indent, "");
    for (size_t c = 0; c < t->n; c++) {
        size_t from = b->len;
        put_key(b, t->keys[c]);
        pad(b, from, t->widths[c], c + 1 == t->n);
    }
    buf_putc(b, '\n');
    yyjson_arr_foreach(list, i, n, row)
    {
        buf_printf(b, "%*s", indent, "");
        for (size_t c = 0; c < t->n; c++) {
            size_t from = b->len;
            put_cell(b, yyjson_obj_get(row, t->keys[c]));
            pad(b, from, t->widths[c], c + 1 == t->n);
        }
        buf_putc(b, '\n');
    }
}

/* ---- objects */

/* Values of one object stand below each other, unless a key is very long. */
static size_t key_width(yyjson_val *object)
{
    size_t i, n, width = 0;
    yyjson_val *key, *v;
    yyjson_obj_foreach(object, i, n, key, v)
    {
        size_t len = utf8_count(yyjson_get_str(key), yyjson_get_len(key));
        width = len > width && len <= KEY_MOST ? len : width;
    }
    return width;
}

static void put_member(struct buf *b, const char *key, size_t width, yyjson_val *v, int indent)
{
    bool short_list = yyjson_is_arr(v) && all_plain(v);
    size_t from = b->len;
    buf_printf(b, "%*s", indent, "");
    put_key(b, key);
    buf_putc(b, ':');
    if (is_plain(v) || short_list || !yyjson_get_len(v)) {
        pad(b, from, (size_t)indent + (strlen(key) > width ? strlen(key) : width), false);
        if (short_list)
            put_list(b, v);
        else if (is_plain(v))
            put_plain(b, v);
        else
            buf_puts(b, "none");
        buf_putc(b, '\n');
        return;
    }
    buf_putc(b, '\n');
    put_value(b, v, indent + 2);
}

static void put_value(struct buf *b, yyjson_val *v, int indent)
{
    size_t i, n;
    yyjson_val *key, *x;
    struct table table;
    if (yyjson_is_obj(v)) {
        size_t width = key_width(v);
        yyjson_obj_foreach(v, i, n, key, x) put_member(b, yyjson_get_str(key), width, x, indent);
    } else if (yyjson_is_arr(v) && table_measure(&table, v)) {
        put_table(b, &table, v, indent);
    } else if (yyjson_is_arr(v)) {
        yyjson_arr_foreach(v, i, n, x)
        {
            if (i)
                buf_putc(b, '\n');
            put_value(b, x, indent);
        }
    } else {
        buf_printf(b, "%*s", indent, "");
        put_plain(b, v);
        buf_putc(b, '\n');
    }
}

rkf_status document_put(struct buf *b, const char *json, rkf_error *err)
{
    yyjson_doc *doc = NULL;
    rkf_status rc = json_parse(json, strlen(json), "the document", &doc, err);
    if (rc)
        return rc;
    put_value(b, yyjson_doc_get_root(doc), 0);
    yyjson_doc_free(doc);
    return RKF_OK;
}

rkf_status document_print(const char *json, bool as_json, rkf_error *err)
{
    struct buf b;
    buf_init(&b, MOST);
    rkf_status rc = RKF_OK;
    if (!as_json) {
        rc = document_put(&b, json, err);
    } else {
        buf_puts(&b, json);
        if (b.len && b.p[b.len - 1] != '\n')
            buf_putc(&b, '\n');
    }
    if (rc) {
        buf_free(&b);
        return rc;
    }
    return output_print(&b, err);
}
