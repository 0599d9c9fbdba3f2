/* SPDX-License-Identifier: Apache-2.0 */
/* rknnsim_configure: "key=value ..." into struct config, all or nothing. README.md explains the keys. */
#include "sim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct change { /* one text being applied */
    struct config config;
    struct fault *fault; /* the latest fault=; later core=, job= ... belong to it */
    bool release, reset_counters;
    int64_t trace; /* -1: as it is */
};

static bool parse_number(const char *s, double lo, double hi, double *out)
{
    char *end;
    double v = strtod(s, &end);
    if (end == s || *end || !(v >= lo && v <= hi))
        return false;
    *out = v;
    return true;
}

static bool parse_count(const char *s, double lo, double hi, uint64_t *out)
{
    double v;
    if (!parse_number(s, lo, hi, &v) || v != floor(v))
        return false;
    *out = (uint64_t)v;
    return true;
}

static bool parse_switch(const char *s, bool *out)
{
    *out = strcmp(s, "yes") == 0;
    return *out || strcmp(s, "no") == 0;
}

static bool set_platform(struct change *c, const char *v)
{
    c->config.platform = platform_find(v, strlen(v));
    return c->config.platform != NULL;
}

static bool set_cost(struct change *c, const char *v)
{
    c->config.model = strcmp(v, "model") == 0;
    return c->config.model || strcmp(v, "host") == 0;
}

static bool set_scale(struct change *c, const char *v)
{
    return parse_number(v, 1e-6, 1e6, &c->config.scale);
}

static bool set_compute(struct change *c, const char *v)
{
    return parse_switch(v, &c->config.compute);
}

static bool set_device(struct change *c, const char *v)
{
    return parse_switch(v, &c->config.device);
}

static bool set_coherent(struct change *c, const char *v)
{
    return parse_switch(v, &c->config.coherent);
}

static bool set_dram(struct change *c, const char *v)
{
    c->config.own_dram = !strcmp(v, "own");
    return c->config.own_dram || !strcmp(v, "shared");
}

static bool set_share(struct change *c, const char *v)
{
    return parse_switch(v, &c->config.share);
}

static bool set_memory(struct change *c, const char *v)
{
    static const char units[] = "KMG";
    size_t len = strlen(v);
    char number[32];
    const char *unit = len ? strchr(units, v[len - 1]) : NULL;
    if (len == 0 || len >= sizeof number)
        return false;
    memcpy(number, v, len + 1);
    if (unit)
        number[len - 1] = '\0';
    if (!parse_count(number, 0, 0x1p44, &c->config.limit))
        return false;
    c->config.limit <<= unit ? 10 * (unit - units + 1) : 0;
    return true;
}

/* "2.3.2": digits and dots. */
static bool set_version(char *out, const char *v)
{
    if (*v == '\0' || strlen(v) >= 32 || v[strspn(v, "0123456789.")])
        return false;
    memcpy(out, v, strlen(v) + 1);
    return true;
}

static bool set_runtime(struct change *c, const char *v)
{
    return set_version(c->config.runtime, v);
}

static bool set_driver(struct change *c, const char *v)
{
    return set_version(c->config.driver, v);
}

static bool set_trace(struct change *c, const char *v)
{
    uint64_t n;
    if (!parse_count(v, 0, 1 << 20, &n))
        return false;
    c->trace = (int64_t)n;
    return true;
}

static bool set_reset(struct change *c, const char *v)
{
    c->reset_counters = strcmp(v, "counters") == 0;
    return c->reset_counters;
}

static bool set_release(struct change *c, const char *v)
{
    c->release = strcmp(v, "hang") == 0;
    return c->release;
}

static bool set_fault(struct change *c, const char *v)
{
    static const struct {
        const char *name;
        struct fault fault;
    } kinds[] = {
        { "timeout", { FAULT_TIMEOUT, -1, 1, 1, 0.02, SIM_TIMEOUT, 0 } },
        { "fail", { FAULT_FAIL, -1, 1, 1, 0, SIM_FAIL, 0 } },
        { "dead", { FAULT_DEAD, -1, 1, UINT64_MAX, 0, SIM_FAIL, 0 } },
        { "hang", { FAULT_HANG, -1, 1, 1, 0, SIM_OK, 0 } },
        { "nomem", { FAULT_NOMEM, -1, 1, 1, 0, SIM_NO_MEMORY, 0 } },
    };
    if (strcmp(v, "none") == 0) {
        c->config.n_faults = 0;
        c->fault = NULL;
        return true;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(v, kinds[i].name) == 0 && c->config.n_faults < SIM_MAX_FAULTS) {
            c->fault = &c->config.faults[c->config.n_faults++];
            *c->fault = kinds[i].fault;
            return true;
        }
    return false;
}

static bool set_core(struct change *c, const char *v)
{
    uint64_t core;
    if (c->fault == NULL || !parse_count(v, 0, SIM_CORES - 1, &core))
        return false;
    c->fault->core = (int32_t)core;
    return true;
}

static bool set_job(struct change *c, const char *v)
{
    return c->fault && parse_count(v, 1, 1e15, &c->fault->first);
}

static bool set_count(struct change *c, const char *v)
{
    return c->fault && parse_count(v, 1, 1e15, &c->fault->count);
}

static bool set_after(struct change *c, const char *v)
{
    double ms;
    if (c->fault == NULL || !parse_number(v, 0, 1e6, &ms))
        return false;
    c->fault->after_s = ms / 1000;
    return true;
}

static bool set_result(struct change *c, const char *v)
{
    double r;
    if (c->fault == NULL || !parse_number(v, SIM_PLATFORM_UNMATCHED, 0, &r) || r != floor(r))
        return false;
    c->fault->result = (int32_t)r;
    return true;
}

static const struct {
    const char *key;
    bool (*set)(struct change *c, const char *value);
} keys[] = {
    { "platform", set_platform }, { "cost", set_cost },       { "scale", set_scale },       { "compute", set_compute },
    { "device", set_device },     { "share", set_share },     { "coherent", set_coherent }, { "dram", set_dram },
    { "memory", set_memory },     { "runtime", set_runtime }, { "driver", set_driver },     { "trace", set_trace },
    { "reset", set_reset },       { "release", set_release }, { "fault", set_fault },       { "core", set_core },
    { "job", set_job },           { "count", set_count },     { "after_ms", set_after },    { "result", set_result },
};

static bool parse_pair(struct change *c, char *pair)
{
    char *value = strchr(pair, '=');
    if (value == NULL)
        return false;
    *value++ = '\0';
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i].key, pair) == 0)
            return keys[i].set(c, value);
    return false;
}

static bool parse_text(struct change *c, const char *text)
{
    char buf[1024], *save = NULL;
    if (strlen(text) >= sizeof buf)
        return false;
    memcpy(buf, text, strlen(text) + 1);
    for (char *pair = strtok_r(buf, " \t\n", &save); pair; pair = strtok_r(NULL, " \t\n", &save)) {
        char shown[64];
        strncpy(shown, pair, sizeof shown - 1);
        shown[sizeof shown - 1] = '\0';
        if (!parse_pair(c, pair)) {
            sim_log('E', "rknnsim_configure: cannot use '%s'", shown);
            return false;
        }
    }
    return true;
}

static void reset_counters(void)
{
    struct rknnsim_counters *c = &sim.counters, live = *c;
    memset(c, 0, sizeof *c);
    c->contexts = live.contexts;
    c->matmul_contexts = live.matmul_contexts;
    c->memories = live.memories;
    c->memory_bytes = c->memory_peak = live.memory_bytes;
    c->weights = live.weights;
    c->weights_bytes = live.weights_bytes;
    c->outputs_held = live.outputs_held;
    c->threads = live.threads;
    memcpy(c->queued, live.queued, sizeof c->queued);
    sim.trace_len = sim.trace_at = 0;
}

/* Locked. */
static int apply(const char *text)
{
    struct change c = { .config = sim.config, .trace = -1 };
    struct rknnsim_job *trace = NULL;
    if (!parse_text(&c, text))
        return SIM_BAD_PARAM;
    if (c.config.platform != sim.config.platform && sim.contexts) {
        sim_log('E', "rknnsim_configure: the platform cannot change while contexts are alive");
        return SIM_FAIL;
    }
    if (c.trace > 0 && (trace = calloc((size_t)c.trace, sizeof *trace)) == NULL)
        return SIM_NO_MEMORY;
    if (c.trace >= 0) {
        free(sim.trace);
        sim.trace = trace;
        sim.trace_cap = (uint32_t)c.trace;
        sim.trace_len = sim.trace_at = 0;
    }
    sim.config = c.config;
    sim.config_broken = false;
    if (c.reset_counters)
        reset_counters();
    if (c.release)
        sim.releases++;
    pthread_cond_broadcast(&sim.wake);
    return SIM_OK;
}

static void start_once(void)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&sim.wake, &attr);
    pthread_condattr_destroy(&attr);
    sim.config = (struct config){
        .platform = platform_find("rk3588", 6),
        .scale = 1,
        .compute = true,
        .device = true,
        .share = true,
        .limit = UINT64_C(4) << 30,
        .runtime = "2.3.2",
        .driver = "0.9.8",
    };
    const char *text = getenv("RKNNSIM_CONFIG");
    sim_lock();
    sim.config_broken = text && apply(text) != SIM_OK;
    sim_unlock();
}

void sim_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_once);
}

int rknnsim_configure(const char *text)
{
    sim_start();
    if (text == NULL)
        return SIM_BAD_PARAM;
    sim_lock();
    int r = apply(text);
    sim_unlock();
    return r;
}
