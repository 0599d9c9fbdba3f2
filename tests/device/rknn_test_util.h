/* SPDX-License-Identifier: Apache-2.0 */
/* The rknn device over the simulator: opening and closing it, execs, random numbers, and a reference of linear layers
 * in double precision. */
#ifndef RKF_TESTS_DEVICE_RKNN_TEST_UTIL_H
#define RKF_TESTS_DEVICE_RKNN_TEST_UTIL_H

#include "../sim/simlib.h"
#include "reference.h"

#include "base/thread.h"
#include "device/cpu/cpu.h"
#include "device/rknn/rknn_device.h"

#include <math.h>
#include <pthread.h>
#include <time.h>

static const char *const all_platforms[] = { "rk3588", "rk3576", "rk3568", "rk3566", "rk3562" };
enum { N_PLATFORMS = sizeof all_platforms / sizeof *all_platforms };

struct bed { /* a test bed: device and CPU device */
    struct device *cpu, *npu;
    rkf_error err;
};

static struct logger bed_log; /* silent unless a test sets fn */

static inline void bed_open_with(struct bed *b, const char *platform, const char *config, int64_t hang_us)
{
    const struct platform *p = NULL;
    sim_begin(platform);
    b->err.message[0] = 0;
    if (platform_parse(platform, &p, &b->err) || cpu_device_create(NULL, NULL, &b->cpu, &b->err))
        fail_msg("%s", b->err.message);
    struct rknn_options o = { .simulator = true,
                              .library = SIM_LIBRARY,
                              .sim_config = config,
                              .platform = p,
                              .cpu = b->cpu,
                              .log = &bed_log,
                              .hang_us = hang_us };
    if (rknn_device_create(&o, &b->npu, &b->err))
        fail_msg("%s", b->err.message);
}

static inline void bed_open(struct bed *b, const char *platform)
{
    bed_open_with(b, platform, NULL,
                  600 * (int64_t)1000000); /* sanitizers and qemu are slow: nothing hangs unless a test says so */
}

static inline void bed_close(struct bed *b)
{
    rknn_device_free(b->npu);
    cpu_device_free(b->cpu);
    b->npu = b->cpu = NULL;
}

/* Everything must be gone, and nothing done wrong. */
static inline void bed_end(struct bed *b)
{
    bed_close(b);
    sim_end();
    struct rknnsim_counters c = sim_counters();
    assert_int_equal(c.auto_jobs, 0); /* nothing ran where nobody asked for it */
    assert_int_equal(c.stale_reads, 0);
    assert_int_equal(c.unsynced, 0);
    assert_int_equal(c.unreleased, 0);
}

static inline void lane_open(struct exec *x, const struct bed *b, uint8_t cores, int threads)
{
    *x = (struct exec){ .device = b->npu, .cores = cores };
    assert_int_equal(team_create(threads, NULL, &x->team, NULL), RKF_OK);
}

static inline void lane_close(struct exec *x)
{
    team_destroy(x->team);
    arena_free(&x->scratch);
}

static inline uint32_t next_random(uint64_t *s)
{
    *s ^= *s >> 12;
    *s ^= *s << 25;
    *s ^= *s >> 27;
    return (uint32_t)((*s * 0x2545F4914F6CDD1Du) >> 32);
}

static inline float random_in(uint64_t *s, float a)
{
    return ((float)next_random(s) / 4294967296.0f * 2 - 1) * a;
}

static inline float *random_array(uint64_t *s, size_t n, float a)
{
    float *p = malloc((n + 1) * sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = random_in(s, a);
    return p;
}

static inline void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L }, NULL);
}

/* ---- a layer and what it must give */
struct layer {
    uint32_t rows, in, out;
    float *x, *w, *bias, *residual; // [rows, in], [out, in], [out], [rows, width]
    float *gamma, *beta;            // [width]
    bool gated, use_residual, use_norm, use_sum, residual_is_y, rms;
    enum activation act;
    enum dtype type;
    struct norm norm;
};

static inline uint32_t layer_width(const struct layer *l)
{
    return l->gated ? l->out / 2 : l->out;
}

static inline void layer_make(struct layer *l, uint64_t *seed)
{
    l->x = random_array(seed, (size_t)l->rows * l->in, 2);
    l->w = random_array(seed, (size_t)l->out * l->in, 0.2f);
    l->bias = random_array(seed, l->out, 1);
    l->residual = random_array(seed, (size_t)l->rows * l->out, 1);
    l->gamma = random_array(seed, l->out, 1);
    l->beta = random_array(seed, l->out, 1);
    l->norm = (struct norm){ l->rms ? NORM_RMS : NORM_LAYER, layer_width(l), 1e-5f, l->gamma, l->rms ? NULL : l->beta };
}

static inline void layer_free(struct layer *l)
{
    free(l->x);
    free(l->w);
    free(l->bias);
    free(l->residual);
    free(l->gamma);
    free(l->beta);
}

/* The product as exact arithmetic on inputs rounded as the type says; for int8 with the documented scales: a row's
 * largest value, and a column's, are 127. */
TEST_REFERENCE static inline double *layer_product(const struct layer *l)
{
    size_t nx = (size_t)l->rows * l->in, nw = (size_t)l->out * l->in;
    double *x = malloc((nx + 1) * sizeof *x), *w = malloc((nw + 1) * sizeof *w);
    double *t = malloc(((size_t)l->rows * l->out + 1) * sizeof *t);
    for (int side = 0; side < 2; side++) {
        const float *from = side ? l->w : l->x;
        double *to = side ? w : x;
        for (uint32_t r = 0; r < (side ? l->out : l->rows); r++) {
            double max = 0;
            for (uint32_t i = 0; i < l->in; i++)
                max = fmax(max, fabs(from[(size_t)r * l->in + i]));
            double scale = max > 0 ? (double)((float)max / 127) : 1;
            for (uint32_t i = 0; i < l->in; i++) {
                float v = from[(size_t)r * l->in + i];
                to[(size_t)r * l->in + i] = l->type == DTYPE_I8 ? scale * nearbyint(v * (1 / (float)scale))
                                                                : (double)f16_to_f32(f32_to_f16(v));
            }
        }
    }
    for (uint32_t r = 0; r < l->rows; r++)
        for (uint32_t c = 0; c < l->out; c++) {
            double sum = l->bias[c];
            for (uint32_t i = 0; i < l->in; i++)
                sum += x[(size_t)r * l->in + i] * w[(size_t)c * l->in + i];
            t[(size_t)r * l->out + c] = sum;
        }
    free(x);
    free(w);
    return t;
}

/* sum [rows, width] before the norm, y after it */
TEST_REFERENCE static inline void layer_reference(const struct layer *l, double **sum, double **y)
{
    double *t = layer_product(l);
    uint32_t width = layer_width(l);
    *sum = malloc(((size_t)l->rows * width + 1) * sizeof **sum);
    *y = malloc(((size_t)l->rows * width + 1) * sizeof **y);
    for (uint32_t r = 0; r < l->rows; r++) {
        double mean = 0, var = 0, *s = *sum + (size_t)r * width, *o = *y + (size_t)r * width;
        for (uint32_t c = 0; c < width; c++) {
            double v = t[(size_t)r * l->out + c];
            v = l->act == ACT_NONE ? v : (double)activation_apply(l->act, (float)v);
            v *= l->gated ? t[(size_t)r * l->out + width + c] : 1;
            s[c] = v + (l->use_residual ? l->residual[(size_t)r * width + c] : 0);
            mean += l->rms ? 0 : s[c] / width;
        }
        for (uint32_t c = 0; c < width; c++)
            var += (s[c] - mean) * (s[c] - mean) / width;
        for (uint32_t c = 0; c < width; c++)
            o[c] = l->use_norm ? (s[c] - mean) / sqrt(var + l->norm.eps) * l->gamma[c] + (l->rms ? 0 : l->beta[c])
                               : s[c];
    }
    free(t);
}

static inline double worst_difference(const float *got, const double *want, size_t n)
{
    double worst = 0, top = 1e-3;
    for (size_t i = 0; i < n; i++)
        top = fmax(top, fabs(want[i]));
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, isfinite(got[i]) ? fabs(got[i] - want[i]) / top : 1e9);
    return worst;
}

static inline rkf_status layer_prepare(struct exec *x, const struct layer *l, struct linear **out, rkf_error *err)
{
    uint32_t half = l->out / 2;
    struct linear_part parts[2] = {
        { view_make(l->w, DTYPE_F32, l->gated ? half : l->out, l->in), l->bias, DTYPE_F32 },
        { view_make(l->w + (size_t)half * l->in, DTYPE_F32, half, l->in), l->bias + half, DTYPE_F32 },
    };
    return x->device->linear->prepare(x, parts, l->gated ? 2 : 1, l->type, out, err);
}

/* y [rows, width] f32; sum may be NULL */
static inline rkf_status layer_apply(struct exec *x, const struct layer *l, const struct linear *h, float *y,
                                     float *sum, rkf_error *err)
{
    uint32_t width = layer_width(l);
    struct epilogue e = { .act = l->act, .gated = l->gated, .norm = l->use_norm ? &l->norm : NULL };
    if (l->use_residual)
        e.residual = view_make(l->residual_is_y ? y : l->residual, DTYPE_F32, l->rows, width);
    if (l->residual_is_y)
        memcpy(y, l->residual, (size_t)l->rows * width * sizeof *y);
    if (sum)
        e.sum = view_make(sum, DTYPE_F32, l->rows, width);
    return x->device->linear->apply(x, h, view_make(l->x, DTYPE_F32, l->rows, l->in), &e,
                                    view_make(y, DTYPE_F32, l->rows, width), err);
}

#endif
