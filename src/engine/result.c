/* SPDX-License-Identifier: Apache-2.0 */
/* Results: made by tasks, read through rkformer.h. All arrays and strings live and die with the result. */
#include "engine/engine.h"

#include <string.h>

rkf_status result_create(size_t n, rkf_result **out, rkf_error *err)
{
    rkf_result *r = mem_zalloc(1, sizeof *r);
    struct result_item *items = mem_zalloc(n, sizeof *items);
    if (!r || !items) {
        mem_free(r);
        mem_free(items);
        return rkf_fail_memory(err, n * sizeof *items, "a result");
    }
    r->n = n;
    r->item = items;
    *out = r;
    return RKF_OK;
}

bool result_str(rkf_result *r, const char *s, size_t len, rkf_str *out)
{
    char *p = arena_alloc(&r->mem, len + 1);
    if (!p)
        return false;
    if (len)
        memcpy(p, s, len);
    p[len] = 0;
    *out = (rkf_str){ p, len };
    return true;
}

void rkf_result_free(rkf_result *r)
{
    if (!r)
        return;
    mem_free(r->item);
    mem_free(r->device);
    mem_free_aligned(r->matrix);
    arena_free(&r->mem);
    mem_free(r);
}

size_t rkf_result_count(const rkf_result *r)
{
    return r->n;
}

rkf_status rkf_result_tensor(const rkf_result *r, size_t item, rkf_tensor *out)
{
    const rkf_tensor *t = item == RKF_ALL ? &r->all : item < r->n ? &r->item[item].tensor : NULL;
    if (!t || !t->ndim)
        return RKF_INVALID;
    *out = *t;
    return RKF_OK;
}

#define RESULT_ARRAY(type, field)                                                                                      \
    const rkf_##type *rkf_result_##field(const rkf_result *r, size_t item, size_t *n)                                  \
    {                                                                                                                  \
        const struct result_item *it = item < r->n ? &r->item[item] : NULL;                                            \
        *n = it && it->field ? it->n : 0;                                                                              \
        return it ? it->field : NULL;                                                                                  \
    }
RESULT_ARRAY(label, labels)
RESULT_ARRAY(span, spans)
RESULT_ARRAY(fill, fills)
RESULT_ARRAY(sparse, sparse)

const rkf_tokens *rkf_result_tokens(const rkf_result *r, size_t item)
{
    return item < r->n ? r->item[item].tokens : NULL;
}

rkf_status rkf_result_info(const rkf_result *r, size_t item, rkf_info *out)
{
    if (item != RKF_ALL && item >= r->n)
        return RKF_INVALID;
    *out = item == RKF_ALL ? r->info : r->item[item].info;
    return RKF_OK;
}
