/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime: which platform and devices there are, CPU threads, pools; and the way out. */
#include "engine/engine.h"

#include <string.h>

/* ---- options: copied whole, strings too */

static const char **option_strings(rkf_runtime_options *o, uint32_t i)
{
    const char **const at[] = { &o->platform, &o->device, &o->root, &o->lock_dir, &o->npu_runtime, &o->cpu_flags };
    return i < sizeof at / sizeof *at ? at[i] : NULL;
}

static rkf_status copy_options(rkf_runtime *rt, const rkf_runtime_options *in, rkf_error *err)
{
    rkf_runtime_options o = RKF_RUNTIME_OPTIONS_INIT;
    if (in && in->size < sizeof(size_t))
        return rkf_fail(err, RKF_INVALID, "rkf_runtime_options.size is not set: begin with RKF_RUNTIME_OPTIONS_INIT");
    if (in)
        memcpy(&o, in, in->size < sizeof o ? in->size : sizeof o);
    rt->options = o;
    const char **p;
    for (uint32_t i = 0; (p = option_strings(&rt->options, i)); i++)
        *p = NULL; /* so that a failure frees only copies */
    const char **from;
    for (uint32_t i = 0; (p = option_strings(&rt->options, i)) && (from = option_strings(&o, i)); i++)
        if (*from && !(*p = mem_strdup(*from)))
            return rkf_fail_memory(err, strlen(*from), "an option");
    if (rt->options.queue_limit <= 0)
        rt->options.queue_limit = 65536; /* as rkformer.h says */
    rt->log = (struct logger){ o.log, o.log_cookie, o.log_level };
    return RKF_OK;
}

/* ---- CPU threads */

struct cpu {
    int number;
    uint16_t capacity;
};

static int by_capacity(const void *a, const void *b)
{
    const struct cpu *x = a, *y = b;
    return x->capacity != y->capacity ? (int)y->capacity - (int)x->capacity : x->number - y->number;
}

/* The CPUs that the process may use, the fastest first: fewer threads than CPUs leave the slow ones out. Returns how
 * many. */
static int list_cpus(const char *root, struct cpu *out)
{
    int allowed[MOST_THREADS], n = cpu_list_allowed(allowed, MOST_THREADS);
    uint16_t capacity[MOST_THREADS];
    cpu_capacities(root, allowed, n, capacity);
    for (int i = 0; i < n; i++)
        out[i] = (struct cpu){ allowed[i], capacity[i] };
    qsort(out, (size_t)n, sizeof *out, by_capacity);
    return n;
}

static rkf_status setup_threads(rkf_runtime *rt, rkf_error *err)
{
    struct cpu cpu[MOST_THREADS];
    int n = list_cpus(rt->options.root, cpu);
    if (rt->options.threads < 0 || rt->options.threads > MOST_THREADS)
        return rkf_fail(err, RKF_INVALID, "%d threads are not possible: use 1 to %d, or 0 for every CPU",
                        rt->options.threads, MOST_THREADS);
    rt->threads = rt->options.threads ? rt->options.threads : cpu_count_usable(rt->options.root);
    if (rt->threads > MOST_THREADS)
        rt->threads = MOST_THREADS;
    rt->cpus = mem_array((size_t)rt->threads, sizeof *rt->cpus);
    rt->capacity = mem_array((size_t)rt->threads, sizeof *rt->capacity);
    if (!rt->cpus || !rt->capacity)
        return rkf_fail_memory(err, (size_t)rt->threads * sizeof *rt->cpus, "the CPU list");
    for (int i = 0; i < rt->threads; i++) { /* more threads than CPUs share them; capacities fall all the same */
        const struct cpu *c = &cpu[rt->threads <= n ? i : (int)((int64_t)i * n / rt->threads)];
        rt->cpus[i] = c->number;
        rt->capacity[i] = c->capacity;
    }
    return team_create(rt->threads, NULL, &rt->load_exec.team, err);
}

/* ---- devices */

enum device_wish { WISH_AUTO, WISH_CPU, WISH_RKNN, WISH_SIM, WISH_COUNT };

static rkf_status parse_device(const char *name, enum device_wish *out, rkf_error *err)
{
    static const char *const names[WISH_COUNT] = { "auto", "cpu", "rknn", "sim" };
    for (int i = 0; i < WISH_COUNT; i++)
        if (!name || !strcmp(name, names[i])) {
            *out = (enum device_wish)i;
            return RKF_OK;
        }
    return rkf_fail(err, RKF_INVALID, "unknown device '%s': use auto, cpu, rknn or sim", name);
}

static rkf_status choose_platform(rkf_runtime *rt, enum device_wish wish, rkf_error *err)
{
    const char *name = rt->options.platform;
    rt->platform = rt->facts.platform ? rt->facts.platform : platform_get(PLATFORM_CPU);
    if (wish == WISH_SIM && rt->platform->id == PLATFORM_CPU)
        rt->platform = platform_get(PLATFORM_RK3588);
    if (!name || !strcmp(name, "auto"))
        return RKF_OK;
    const struct platform *named = NULL;
    rkf_status rc = platform_parse(name, &named, err);
    if (!rc && named)
        rt->platform = named;
    if (!rc && wish == WISH_SIM && rt->platform->id == PLATFORM_CPU)
        rc = rkf_fail(err, RKF_INVALID, "device sim simulates an NPU: use a platform such as rk3588");
    return rc;
}

/* The NPU device if there is one for this platform; *out NULL and the reason in *why if not. */
static rkf_status open_npu(rkf_runtime *rt, enum device_wish wish, struct device **out, rkf_error *why)
{
    *out = NULL;
    bool here = rt->facts.platform && rt->facts.platform->id == rt->platform->id &&
                rt->facts.platform->id != PLATFORM_CPU;
    if (wish == WISH_CPU)
        return RKF_OK;
    if (wish != WISH_SIM && !here)
        return rkf_fail(why, RKF_UNAVAILABLE, "this machine has no %s NPU",
                        rt->platform->id == PLATFORM_CPU ? "Rockchip" : rt->platform->name);
    return npu_device_open(rt, wish == WISH_SIM, out, why);
}

static rkf_status setup_devices(rkf_runtime *rt, rkf_error *err)
{
    enum device_wish wish = WISH_AUTO;
    struct device *cpu = NULL, *npu = NULL;
    rkf_error why = { .message = "" };
    rkf_status rc = parse_device(rt->options.device, &wish, err);
    if (!rc)
        rc = choose_platform(rt, wish, err);
    if (!rc)
        rc = cpu_device_create(rt->options.cpu_flags, &rt->log, &cpu, err);
    if (rc)
        return rc;
    struct pool *pool = &rt->pool[POOL_CPU];
    pool->device = cpu;
    rt->load_exec.device = cpu;
    rkf_status npu_rc = open_npu(rt, wish, &npu, &why);
    bool explicit = wish == WISH_RKNN || wish == WISH_SIM || rt->options.require_npu;
    if (npu_rc && (explicit || npu_rc == RKF_NO_MEMORY))
        return rkf_fail(err, npu_rc, "%.480s", why.message);
    if (rt->options.require_npu && !npu)
        return rkf_fail(err, RKF_UNAVAILABLE, "device cpu was asked for together with --require-npu");
    bool named = rt->options.platform && strcmp(rt->options.platform, "auto") != 0;
    bool seen = rt->facts.platform && rt->facts.platform->id != PLATFORM_CPU;
    if (npu_rc && seen && rt->facts.platform->id == rt->platform->id)
        log_line(&rt->log, RKF_LOG_WARN, "the NPU of this %s cannot be used, the CPU computes instead: %s",
                 rt->platform->name, why.message);
    else if (!npu && named && rt->platform->id != PLATFORM_CPU)
        log_line(&rt->log, RKF_LOG_WARN, "platform %s is virtual here: its %u NPU core%s of %d CPU thread%s",
                 rt->platform->name, rt->platform->cores, rt->platform->cores > 1 ? "s are shares" : " is a share",
                 rt->threads, rt->threads > 1 ? "s" : "");
    /* with an NPU in use, models kept on the CPU take all of it; without, the platform's masks name virtual cores */
    pool->whole = npu || !named || rt->platform->id == PLATFORM_CPU;
    rc = pool_setup(pool, rt, cpu, npu ? platform_get(PLATFORM_CPU) : rt->platform, err);
    pool->virtual_cores = true;
    if (!rc && npu) {
        /* the simulator's cores are this process's own: leases only where they are asked for, to rehearse them */
        rt->pool[POOL_NPU].leased = wish != WISH_SIM || rt->options.lock_dir;
        rc = pool_setup(&rt->pool[POOL_NPU], rt, npu, rt->platform, err);
        if (!rc && rt->pool[POOL_NPU].leased)
            rc = lease_open(rt->options.lock_dir ? rt->options.lock_dir : "/run/lock/rkformer", rt->platform->cores,
                            &rt->log, &rt->lease, err);
    }
    return rc;
}

/* ---- the door */

rkf_status rkf_runtime_open(const rkf_runtime_options *options, rkf_runtime **out, rkf_error *err)
{
    if (!out)
        return rkf_fail(err, RKF_INVALID, "rkf_runtime_open needs a place for the runtime");
    rkf_runtime *rt = mem_zalloc(1, sizeof *rt);
    if (!rt)
        return rkf_fail_memory(err, sizeof *rt, "a runtime");
    for (int k = 0; k < POOL_KINDS; k++)
        rt->pool[k].rt = rt;
    queue_init(rt);
    rt->opened_ns = time_now_ns();
    rkf_status rc = copy_options(rt, options, err);
    if (!rc) {
        npu_detect(rt->options.root, &rt->facts);
        rc = setup_threads(rt, err);
    }
    if (!rc)
        rc = setup_devices(rt, err);
    if (rc) {
        rkf_runtime_close(rt);
        return rc;
    }
    *out = rt;
    return RKF_OK;
}

void rkf_runtime_trim(rkf_runtime *rt)
{
    if (!rt)
        return;
    pthread_mutex_lock(&rt->lock);
    for (int k = 0; k < POOL_KINDS; k++)
        for (int set = 0; set < LANE_SETS; set++)
            for (uint32_t i = 0; i < rt->pool[k].lane[set].n_runners; i++) {
                struct runner *r = &rt->pool[k].lane[set].runner[i];
                if (!r->work && !r->lent)
                    arena_free(&r->exec.scratch);
            }
    pthread_mutex_unlock(&rt->lock);
    mem_trim();
}

void rkf_runtime_close(rkf_runtime *rt)
{
    if (!rt)
        return;
    while (rt->models)
        rkf_model_close(rt->models);
    pthread_mutex_lock(&rt->lock);
    rt->closing = true;
    for (int k = 0; k < POOL_KINDS; k++)
        for (int set = 0; set < LANE_SETS; set++)
            for (uint32_t i = 0; i < rt->pool[k].lane[set].n_runners; i++)
                pthread_cond_signal(&rt->pool[k].lane[set].runner[i].wake);
    pthread_mutex_unlock(&rt->lock);
    keeper_stop(rt);
    for (int k = 0; k < POOL_KINDS; k++)
        pool_teardown(&rt->pool[k]);
    team_destroy(rt->load_exec.team);
    arena_free(&rt->load_exec.scratch);
    npu_device_close(rt->pool[POOL_NPU].device);
    if (rt->pool[POOL_CPU].device)
        cpu_device_free(rt->pool[POOL_CPU].device);
    lease_close(rt->lease);
    pthread_mutex_destroy(&rt->lock);
    pthread_mutex_destroy(&rt->load_lock);
    pthread_cond_destroy(&rt->ended);
    pthread_cond_destroy(&rt->keeper_wake);
    const char **p;
    for (uint32_t i = 0; (p = option_strings(&rt->options, i)); i++)
        mem_free((void *)*p);
    mem_free(rt->cpus);
    mem_free(rt->capacity);
    mem_free(rt);
}
