/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's tests share: a runtime on virtual cores, a trained model, the recorded answers. */
#ifndef RKF_TESTS_ENGINE_UTIL_H
#define RKF_TESTS_ENGINE_UTIL_H

#include "test.h"

#include "base/json.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MODELS TEST_DATA "/models/trained/"

struct fixture {
    rkf_runtime *rt;
    rkf_model *model;
};

static inline rkf_runtime *open_runtime(const char *platform, int threads)
{
    rkf_error err;
    rkf_runtime_options o = RKF_RUNTIME_OPTIONS_INIT;
    rkf_runtime *rt = NULL;
    o.platform = platform;
    o.threads = threads;
    o.device = "cpu";
    assert_ok(rkf_runtime_open(&o, &rt, &err));
    return rt;
}

static inline rkf_model *open_model(rkf_runtime *rt, const char *path, const char *mask)
{
    rkf_error err;
    rkf_model_options o = RKF_MODEL_OPTIONS_INIT;
    rkf_model *m = NULL;
    o.path = path;
    o.core_mask = mask;
    assert_ok(rkf_model_open(rt, &o, &m, &err));
    return m;
}

static inline rkf_str str_of(yyjson_val *v)
{
    return (rkf_str){ yyjson_get_str(v), yyjson_get_len(v) };
}

static inline yyjson_doc *golden_open(const char *name)
{
    rkf_error err;
    yyjson_doc *doc = NULL;
    assert_ok(json_load(TEST_DATA "/golden", name, 64 << 20, &doc, &err));
    return doc;
}

/* Largest absolute difference of n recorded numbers and ours. */
static inline double worst(yyjson_val *want, const float *got, size_t n)
{
    double w = 0;
    assert_int_equal(yyjson_arr_size(want), n);
    size_t i, max;
    yyjson_val *v;
    yyjson_arr_foreach(want, i, max, v)
    {
        double d = fabs(yyjson_get_num(v) - (double)got[i]);
        w = d <= w ? w : d; /* a NaN sticks */
    }
    return w;
}

static inline rkf_request request_of(rkf_task task, const rkf_input *in, size_t n)
{
    rkf_request rq = RKF_REQUEST_INIT;
    rq.task = task;
    rq.inputs = in;
    rq.n_inputs = n;
    return rq;
}

#endif
