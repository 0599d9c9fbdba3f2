/* SPDX-License-Identifier: Apache-2.0 */
#include "encoder/params.h"

#include <stdio.h>
#include <string.h>

/* ---- memory */

void *params_alloc(struct params *p, size_t count, size_t size)
{
    size_t bytes;
    void **grown = mem_grow(p->blocks, (size_t)p->n + 1, sizeof *grown);
    if (grown)
        p->blocks = grown;
    if (!grown || __builtin_mul_overflow(count, size, &bytes) || !(grown[p->n] = mem_alloc_aligned(bytes, 64)))
        return NULL;
    p->bytes += bytes;
    return grown[p->n++];
}

void params_free(struct params *p)
{
    while (p->n)
        mem_free_aligned(p->blocks[--p->n]);
    mem_free(p->blocks);
    *p = (struct params){ 0 };
}

void linear_release(struct linear *l)
{
    if (l)
        l->device->linear->release(l);
}

size_t linear_bytes(const struct linear *l)
{
    return l ? l->device->linear->bytes(l) : 0;
}

/* ---- names */

bool loader_has(const struct loader *l, const char *name, const char *suffix)
{
    char full[NAME_CAP + 16];
    return (size_t)snprintf(full, sizeof full, "%s%s", name, suffix) < sizeof full && weights_find(l->w, full);
}

bool loader_name(const struct loader *l, enum weight_role role, uint32_t set, char *buf, size_t cap)
{
    return arch_weight_name(l->spec, l->names, l->prefix, role, set, buf, cap);
}

/* A layout fits if it names the word embeddings and the first layer's output projection. */
static bool layout_fits(struct loader *l)
{
    char word[NAME_CAP], o[NAME_CAP];
    return loader_name(l, WEIGHT_WORD, 0, word, sizeof word) && loader_has(l, word, ".weight") &&
           loader_name(l, WEIGHT_O, 0, o, sizeof o) && loader_has(l, o, ".weight");
}

rkf_status loader_init(struct loader *l, rkf_error *err)
{
    const struct arch *a = l->spec->arch;
    const char *const prefixes[] = { "", a->prefix };
    char name[NAME_CAP];
    for (size_t i = 0; i < sizeof a->layouts / sizeof *a->layouts && a->layouts[i]; i++)
        for (size_t j = 0; j < 2; j++) {
            l->names = a->layouts[i];
            l->prefix = prefixes[j];
            if (layout_fits(l))
                return RKF_OK;
        }
    /* Say what is missing in the words of the likelier prefix. */
    l->names = a->layouts[0];
    l->prefix = prefixes[l->spec->head != HEAD_NONE];
    loader_name(l, WEIGHT_WORD, 0, name, sizeof name);
    enum weight_role missing = loader_has(l, name, ".weight") ? WEIGHT_O : WEIGHT_WORD;
    loader_name(l, missing, 0, name, sizeof name);
    return rkf_fail(err, RKF_FORMAT, "%s: tensor %s.weight is missing: these are not the weights of a %s model",
                    l->where, name, a->model_type);
}

/* ---- tensors */

static const char *say_shape(const struct tensor *t, char *buf, size_t cap)
{
    size_t used = (size_t)snprintf(buf, cap, "[");
    for (uint32_t i = 0; i < t->ndim && i < 4 && used < cap; i++)
        used += (size_t)snprintf(buf + used, cap - used, "%s%llu", i ? ", " : "", (unsigned long long)t->shape[i]);
    if (used < cap)
        snprintf(buf + used, cap - used, t->ndim > 4 ? ", ...]" : "]");
    return buf;
}

/* rows x cols; cols 0: a vector */
static rkf_status find_tensor(const struct loader *l, const char *name, const char *suffix, uint32_t rows,
                              uint32_t cols, const struct tensor **out, rkf_error *err)
{
    char full[NAME_CAP + 16], shape[96], want[32];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    const struct tensor *t = weights_find(l->w, full);
    if (!t)
        return rkf_fail(err, RKF_FORMAT, "%s: tensor %s is missing", l->where, full);
    if (t->type != DTYPE_F32 && t->type != DTYPE_F16 && t->type != DTYPE_BF16)
        return rkf_fail(err, RKF_UNSUPPORTED, "%s: tensor %s is not of dtype F32, F16 or BF16", l->where, full);
    bool fits = t->ndim == (cols ? 2u : 1u) && t->shape[0] == rows && (!cols || t->shape[1] == cols);
    snprintf(want, sizeof want, cols ? "[%u, %u]" : "[%u]", rows, cols);
    if (!fits)
        return rkf_fail(err, RKF_FORMAT, "%s: tensor %s has the shape %s, config.json means %s", l->where, full,
                        say_shape(t, shape, sizeof shape), want);
    *out = t;
    return RKF_OK;
}

/* A file may put a tensor anywhere: what is not aligned to its elements is copied. */
static rkf_status aligned_data(struct params *p, const struct tensor *t, const void **out, rkf_error *err)
{
    *out = t->data;
    if ((uintptr_t)t->data % dtype_size(t->type) == 0)
        return RKF_OK;
    void *copy = params_alloc(p, t->bytes, 1);
    if (!copy)
        return rkf_fail_memory(err, t->bytes, t->name);
    *out = memcpy(copy, t->data, t->bytes);
    return RKF_OK;
}

rkf_status load_vector(struct loader *l, const char *name, const char *suffix, uint32_t size, const float **out,
                       rkf_error *err)
{
    const struct tensor *t;
    const void *data;
    struct params copies = { 0 };
    rkf_status rc = find_tensor(l, name, suffix, size, 0, &t, err);
    if (!rc)
        rc = aligned_data(&copies, t, &data, err);
    if (rc)
        return rc;
    float *v = params_alloc(l->params, size, sizeof *v);
    if (v)
        convert_to_f32(v, data, t->type, size);
    else
        rc = rkf_fail_memory(err, size * sizeof *v, t->name);
    params_free(&copies);
    if (!rc)
        *out = v;
    return rc;
}

rkf_status load_norm(struct loader *l, const char *name, uint32_t size, bool bias, struct norm *out, rkf_error *err)
{
    const char *gamma = loader_has(l, name, ".gamma") ? ".gamma" : ".weight";
    const char *beta = loader_has(l, name, ".beta") ? ".beta" : ".bias";
    struct norm n = { .kind = l->spec->norm_kind, .size = size, .eps = l->spec->norm_eps };
    rkf_status rc = load_vector(l, name, gamma, size, &n.gamma, err);
    if (!rc && bias)
        rc = load_vector(l, name, beta, size, &n.beta, err);
    if (!rc)
        *out = n;
    return rc;
}

rkf_status load_table(struct loader *l, const char *name, uint32_t rows, uint32_t cols, struct view *out,
                      rkf_error *err)
{
    const struct tensor *t;
    const void *data;
    rkf_status rc = find_tensor(l, name, ".weight", rows, cols, &t, err);
    if (!rc)
        rc = aligned_data(l->params, t, &data, err);
    if (!rc)
        *out = view_make((void *)(uintptr_t)data, t->type, rows, cols);
    return rc;
}

/* ---- linear layers */

enum { MAX_PARTS = 3 };

struct matrix matrix_of(const char *name, uint32_t rows, bool bias)
{
    struct matrix m = { .rows = rows, .whole = rows };
    snprintf(m.name, sizeof m.name, "%s", name);
    if (bias)
        snprintf(m.bias, sizeof m.bias, "%.*s.bias", NAME_CAP - 6, name);
    return m;
}

static rkf_status load_part(struct loader *l, const struct matrix *m, uint32_t cols, struct params *copies,
                            struct linear_part *out, rkf_error *err)
{
    const struct tensor *t, *b = NULL;
    const void *data, *bias = NULL;
    rkf_status rc = find_tensor(l, m->name, ".weight", m->whole, cols, &t, err);
    if (!rc)
        rc = aligned_data(copies, t, &data, err);
    if (!rc && *m->bias)
        rc = find_tensor(l, m->bias, "", m->whole, 0, &b, err);
    if (!rc && b)
        rc = aligned_data(copies, b, &bias, err);
    if (rc)
        return rc;
    const char *rows = (const char *)data + (size_t)m->first * cols * dtype_size(t->type);
    out->weight = view_make((void *)(uintptr_t)rows, t->type, m->rows, cols);
    out->bias = bias ? (const char *)bias + m->first * dtype_size(b->type) : NULL;
    out->bias_type = b ? b->type : DTYPE_F32;
    return RKF_OK;
}

rkf_status load_linear(struct loader *l, const struct matrix *m, uint32_t n, uint32_t cols, struct linear **out,
                       rkf_error *err)
{
    struct linear_part parts[MAX_PARTS] = { 0 };
    struct params own = { 0 }, *copies = l->x->observe ? &l->kept : &own;
    char full[NAME_CAP + 16];
    rkf_status rc = RKF_OK;
    for (uint32_t i = 0; !rc && i < n; i++)
        rc = load_part(l, &m[i], cols, copies, &parts[i], err);
    if (!rc)
        rc = l->x->device->linear->prepare(l->x, parts, n, l->type, out, err);
    params_free(&own);
    for (uint32_t i = 0; !rc && i < n; i++) { /* packed: the file's pages are not needed any more */
        snprintf(full, sizeof full, "%s.weight", m[i].name);
        weights_drop(l->w, weights_find(l->w, full));
    }
    return rc;
}
