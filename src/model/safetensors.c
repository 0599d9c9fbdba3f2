/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The safetensors format:
 *
 *   0          8                8 + n                        end
 *   | n (u64le) | JSON, n bytes | data, one tensor after the other |
 *
 * JSON: { "name": { "dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end] }, ..., "__metadata__": {...} },
 * offsets from the start of data. As the reference reader does, this one refuses whatever is not exactly that: tensors
 * that overlap, leave holes or reach beyond the file, sizes that do not follow from dtype and shape, a name given
 * twice.
 */
#include "base/mem.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_MAX (100u << 20) /* bytes; the reference reader's limit */

/* Element types; DTYPE_COUNT: known to the format, but not something we compute with. */
static const struct {
    const char *name;
    enum dtype type;
    uint8_t size;
} types[] = {
    { "F32", DTYPE_F32, 4 },       { "F16", DTYPE_F16, 2 },       { "BF16", DTYPE_BF16, 2 },
    { "F64", DTYPE_F64, 8 },       { "I64", DTYPE_I64, 8 },       { "I32", DTYPE_I32, 4 },
    { "I16", DTYPE_I16, 2 },       { "I8", DTYPE_I8, 1 },         { "U8", DTYPE_U8, 1 },
    { "BOOL", DTYPE_BOOL, 1 },     { "U16", DTYPE_COUNT, 2 },     { "U32", DTYPE_COUNT, 4 },
    { "U64", DTYPE_COUNT, 8 },     { "F8_E4M3", DTYPE_COUNT, 1 }, { "F8_E5M2", DTYPE_COUNT, 1 },
    { "F8_E8M0", DTYPE_COUNT, 1 }, { "C64", DTYPE_COUNT, 8 },
};

/* One header entry that is being read. */
struct entry {
    const char *what; /* file */
    char name[64];    /* quoted, for messages */
    yyjson_val *v;
};

static rkf_status read_type(const struct entry *e, struct tensor *t, size_t *size, rkf_error *err)
{
    yyjson_val *v = yyjson_obj_get(e->v, "dtype");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (yyjson_equals_str(v, types[i].name)) {
            t->type = types[i].type;
            *size = types[i].size;
            return RKF_OK;
        }
    char quoted[32] = "none";
    if (yyjson_is_str(v))
        rkf_quote(quoted, sizeof quoted, yyjson_get_str(v), yyjson_get_len(v));
    return rkf_fail(err, RKF_FORMAT, "%s: tensor %s has an unknown dtype: %s", e->what, e->name, quoted);
}

/* Shape; *bytes is what shape and dtype say the tensor takes. */
static rkf_status read_shape(const struct entry *e, struct tensor *t, size_t size, size_t *bytes, rkf_error *err)
{
    yyjson_val *shape = yyjson_obj_get(e->v, "shape"), *d;
    if (!yyjson_is_arr(shape))
        return rkf_fail(err, RKF_FORMAT, "%s: tensor %s has no shape", e->what, e->name);
    size_t i, n;
    *bytes = size;
    t->ndim = (uint32_t)yyjson_arr_size(shape);
    yyjson_arr_foreach(shape, i, n, d)
    {
        if (!yyjson_is_uint(d))
            return rkf_fail(err, RKF_FORMAT, "%s: tensor %s: shape[%zu] is not a whole number of at least 0", e->what,
                            e->name, i);
        uint64_t dim = yyjson_get_uint(d);
        if (i < 4)
            t->shape[i] = dim;
        if (dim > SIZE_MAX || __builtin_mul_overflow(*bytes, (size_t)dim, bytes))
            return rkf_fail(err, RKF_FORMAT, "%s: tensor %s: the product of its shape overflows", e->what, e->name);
    }
    return RKF_OK;
}

static rkf_status read_offsets(const struct entry *e, struct tensor *t, const uint8_t *data, size_t data_len,
                               size_t bytes, rkf_error *err)
{
    yyjson_val *v = yyjson_obj_get(e->v, "data_offsets");
    yyjson_val *b = yyjson_arr_get(v, 0), *c = yyjson_arr_get(v, 1);
    if (yyjson_arr_size(v) != 2 || !yyjson_is_uint(b) || !yyjson_is_uint(c))
        return rkf_fail(err, RKF_FORMAT, "%s: tensor %s: data_offsets must be two whole numbers", e->what, e->name);
    uint64_t begin = yyjson_get_uint(b), end = yyjson_get_uint(c);
    if (begin > end || end > data_len)
        return rkf_fail(err, RKF_FORMAT,
                        "%s: tensor %s: data_offsets [%llu, %llu] lie outside of the file's %zu data bytes (is the "
                        "download complete?)",
                        e->what, e->name, (unsigned long long)begin, (unsigned long long)end, data_len);
    if (end - begin != bytes)
        return rkf_fail(err, RKF_FORMAT, "%s: tensor %s has %llu bytes of data, its dtype and shape need %zu", e->what,
                        e->name, (unsigned long long)(end - begin), bytes);
    t->data = data + begin;
    t->bytes = bytes;
    return RKF_OK;
}

static rkf_status read_entry(const struct entry *e, struct tensor *t, const uint8_t *data, size_t data_len,
                             rkf_error *err)
{
    size_t size = 0, bytes = 0;
    if (!yyjson_is_obj(e->v))
        return rkf_fail(err, RKF_FORMAT, "%s: the header's entry for tensor %s is not an object", e->what, e->name);
    rkf_status rc = read_type(e, t, &size, err);
    if (!rc)
        rc = read_shape(e, t, size, &bytes, err);
    return rc ? rc : read_offsets(e, t, data, data_len, bytes, err);
}

static int by_data(const void *pa, const void *pb)
{
    const struct tensor *a = pa, *b = pb;
    if (a->data != b->data)
        return (const char *)a->data < (const char *)b->data ? -1 : 1;
    return a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
}

static int by_name(const void *pa, const void *pb)
{
    const struct tensor *a = pa, *b = pb;
    return strcmp(a->name, b->name);
}

/* The tensors must tile the data. Leaves them sorted by name. */
static rkf_status check_all(struct tensor *t, uint32_t n, const uint8_t *data, size_t len, const char *what,
                            rkf_error *err)
{
    char a[64], b[64];
    const uint8_t *end = data;
    qsort(t, n, sizeof *t, by_data);
    for (uint32_t i = 0; i < n; end += t[i++].bytes)
        if ((const uint8_t *)t[i].data != end)
            return rkf_fail(err, RKF_FORMAT, "%s: tensor %s %s", what,
                            rkf_quote(a, sizeof a, t[i].name, strlen(t[i].name)),
                            (const uint8_t *)t[i].data < end ? "overlaps another one" : "has unused bytes before it");
    if (end != data + len)
        return rkf_fail(err, RKF_FORMAT, "%s: %zu bytes at its end belong to no tensor", what,
                        (size_t)(data + len - end));
    qsort(t, n, sizeof *t, by_name);
    for (uint32_t i = 1; i < n; i++)
        if (!strcmp(t[i - 1].name, t[i].name))
            return rkf_fail(err, RKF_FORMAT, "%s: tensor %s is there twice", what,
                            rkf_quote(b, sizeof b, t[i].name, strlen(t[i].name)));
    return RKF_OK;
}

/* Names are copied behind the array: one block holds all. */
static struct tensor *tensors_alloc(yyjson_val *root, char **names)
{
    size_t n = 0, text = 0, i, max;
    yyjson_val *key, *v;
    yyjson_obj_foreach(root, i, max, key, v)
    {
        n++;
        text += yyjson_get_len(key) + 1;
    }
    struct tensor *t = mem_zalloc(1, n * sizeof *t + text + 1);
    if (t)
        *names = (char *)(t + n);
    return t;
}

static rkf_status read_header(yyjson_val *root, const uint8_t *data, size_t len, const char *what, struct tensor **out,
                              uint32_t *n_out, rkf_error *err)
{
    struct tensor *t = NULL;
    char *names;
    uint32_t n = 0;
    size_t i, max;
    yyjson_val *key, *v;
    rkf_status rc = RKF_OK;
    if (!yyjson_is_obj(root))
        return rkf_fail(err, RKF_FORMAT, "%s: the safetensors header is not a JSON object", what);
    if (!(t = tensors_alloc(root, &names)))
        return rkf_fail_memory(err, yyjson_obj_size(root) * sizeof *t, what);
    yyjson_obj_foreach(root, i, max, key, v)
    {
        struct entry e = { .what = what, .v = v };
        size_t key_len = yyjson_get_len(key);
        if (yyjson_equals_str(key, "__metadata__"))
            continue;
        rkf_quote(e.name, sizeof e.name, yyjson_get_str(key), key_len);
        t[n].name = memcpy(names, yyjson_get_str(key), key_len + 1);
        if (strlen(names) != key_len) {
            rc = rkf_fail(err, RKF_FORMAT, "%s: the name of tensor %s holds a NUL", what, e.name);
            goto fail;
        }
        names += key_len + 1;
        if ((rc = read_entry(&e, &t[n++], data, len, err)))
            goto fail;
    }
    if ((rc = check_all(t, n, data, len, what, err)))
        goto fail;
    *out = t;
    *n_out = n;
    return RKF_OK;
fail:
    mem_free(t);
    return rc;
}

rkf_status safetensors_parse(const uint8_t *map, size_t len, const char *what, struct tensor **out, uint32_t *n,
                             rkf_error *err)
{
    uint64_t header = 0;
    yyjson_doc *doc;
    if (len < 8)
        return rkf_fail(err, RKF_FORMAT, "%s is not a safetensors file: it has %zu bytes", what, len);
    for (int i = 7; i >= 0; i--)
        header = header << 8 | map[i];
    if (header > HEADER_MAX)
        return rkf_fail(err, RKF_FORMAT, "%s is not a safetensors file: its header would be %llu bytes long", what,
                        (unsigned long long)header);
    if (header > len - 8)
        return rkf_fail(err, RKF_FORMAT,
                        "%s ends inside of its header: %zu bytes, the header needs %llu (is the download complete?)",
                        what, len, (unsigned long long)header + 8);
    if (!header || map[8] != '{')
        return rkf_fail(err, RKF_FORMAT, "%s is not a safetensors file: its header does not begin with '{'", what);
    rkf_status rc = json_parse((const char *)map + 8, (size_t)header, what, &doc, err);
    if (rc)
        return rc;
    rc = read_header(yyjson_doc_get_root(doc), map + 8 + header, len - 8 - (size_t)header, what, out, n, err);
    yyjson_doc_free(doc);
    return rc;
}

void safetensors_free(struct tensor *t, uint32_t n)
{
    (void)n;
    mem_free(t);
}
