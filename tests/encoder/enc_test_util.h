/* SPDX-License-Identifier: Apache-2.0 */
/* A model directory opened down to its body, head and pooler on the CPU device, and golden files to compare with. */
#ifndef RKF_TESTS_ENCODER_UTIL_H
#define RKF_TESTS_ENCODER_UTIL_H

#include "test.h"

#include "device/cpu/cpu.h"
#include "encoder/encoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct rig {
    struct device *device;
    struct exec x;
    struct model_dir *dir;
    struct weights *weights;
    struct body *body;
    struct head *head;
    struct pooler *pooler;
};

static inline void rig_start(struct rig *r, int threads)
{
    rkf_error err;
    memset(r, 0, sizeof *r);
    assert_ok(cpu_device_create(NULL, NULL, &r->device, &err));
    r->x.device = r->device;
    assert_ok(team_create(threads, NULL, &r->x.team, &err));
}

static inline rkf_status rig_load(struct rig *r, const char *path, enum dtype type, rkf_error *err)
{
    rkf_status rc = model_dir_open(path, NULL, &r->dir, err);
    if (!rc)
        rc = weights_open(r->dir->path, &r->weights, err);
    if (!rc)
        rc = encoder_create(&r->x, r->dir, r->weights, type, &r->body, err);
    if (!rc)
        rc = head_create(&r->x, r->dir, r->weights, type, &r->head, err);
    if (!rc)
        rc = pooler_create(&r->x, r->dir, type, &r->pooler, err);
    return rc;
}

static inline void rig_unload(struct rig *r)
{
    pooler_free(r->pooler);
    head_free(r->head);
    if (r->body)
        r->body->ops->release(r->body);
    weights_close(r->weights);
    model_dir_close(r->dir);
    r->pooler = NULL;
    r->head = NULL;
    r->body = NULL;
    r->weights = NULL;
    r->dir = NULL;
    arena_reset(&r->x.scratch);
}

static inline void rig_stop(struct rig *r)
{
    rig_unload(r);
    arena_free(&r->x.scratch);
    team_destroy(r->x.team);
    cpu_device_free(r->device);
}

/* A ragged batch that owns its arrays. */
struct test_batch {
    struct batch b;
    int32_t ids[16384];
    uint8_t types[16384];
    uint32_t cu[257];
};

static inline void batch_clear(struct test_batch *t)
{
    t->cu[0] = 0;
    t->b = (struct batch){ .ids = t->ids, .type_ids = t->types, .cu_lens = t->cu };
}

static inline void batch_add(struct test_batch *t, const int32_t *ids, const uint8_t *types, uint32_t n)
{
    assert_true(t->b.n_tokens + n <= sizeof t->ids / sizeof *t->ids && t->b.n_seqs < 256);
    memcpy(t->ids + t->b.n_tokens, ids, n * sizeof *ids);
    if (types)
        memcpy(t->types + t->b.n_tokens, types, n);
    else
        memset(t->types + t->b.n_tokens, 0, n);
    t->b.n_tokens += n;
    t->cu[++t->b.n_seqs] = t->b.n_tokens;
}

/* ---- golden files */

static inline yyjson_doc *golden_open(const char *path)
{
    rkf_error err;
    yyjson_doc *doc = NULL;
    assert_ok(json_load(path, NULL, 64 << 20, &doc, &err));
    return doc;
}

static inline uint32_t read_ids(yyjson_val *list, int32_t *ids, uint32_t max)
{
    yyjson_val *v;
    size_t i, n;
    assert_true(yyjson_is_arr(list) && yyjson_arr_size(list) <= max);
    yyjson_arr_foreach(list, i, n, v) ids[i] = yyjson_get_int(v);
    return (uint32_t)n;
}

/* The tokens after the first `separator` are the second text's. */
static inline void types_of_pair(const int32_t *ids, uint32_t n, int32_t separator, uint8_t *types)
{
    uint8_t type = 0;
    for (uint32_t i = 0; i < n; i++) {
        types[i] = type;
        if (ids[i] == separator)
            type = 1;
    }
}

/* Largest difference and largest magnitude of a golden array (flat, or {"shape", "data"}) and what we computed. */
static inline void compare_with(yyjson_val *want, const float *got, size_t n, double *worst, double *largest)
{
    yyjson_val *data = yyjson_is_obj(want) ? yyjson_obj_get(want, "data") : want, *v;
    size_t i, max;
    assert_true(yyjson_is_arr(data));
    assert_int_equal(yyjson_arr_size(data), n);
    yyjson_arr_foreach(data, i, max, v)
    {
        double w = yyjson_get_num(v), d = fabs(w - (double)got[i]);
        *worst = d > *worst || isnan(d) ? d : *worst;
        *largest = fabs(w) > *largest ? fabs(w) : *largest;
    }
}

/* within 1e-4 of the largest value */
static inline void assert_close(const char *what, yyjson_val *want, const float *got, size_t n)
{
    double worst = 0, largest = 0;
    compare_with(want, got, n, &worst, &largest);
    if (!(worst <= 1e-4 * largest))
        fail_msg("%s: off by %g, largest value %g", what, worst, largest);
}

#endif
