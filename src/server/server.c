/* SPDX-License-Identifier: Apache-2.0 */
#include "server/server.h"

#include "base/thread.h"
#include "server/http.h"
#include "server/listen.h"
#include "server/log.h"
#include "server/mhd.h"
#include "server/state.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

static int64_t or_default(int64_t value, int64_t usual)
{
    return value ? value : usual;
}

static rkf_status read_keys(struct server *s, const struct server_config *c, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    for (size_t i = 0; !rc && i < c->api_keys.n; i++)
        rc = keys_add(&s->keys, c->api_keys.p[i], err);
    for (size_t i = 0; !rc && i < c->admin_keys.n; i++)
        rc = keys_add(&s->admin_keys, c->admin_keys.p[i], err);
    if (!rc && c->api_key_file)
        rc = keys_load(&s->keys, c->api_key_file, err);
    if (!rc && c->admin_key_file)
        rc = keys_load(&s->admin_keys, c->admin_key_file, err);
    return rc;
}

static rkf_status make_core(struct server *s, const struct server_config *c, rkf_error *err)
{
    int cpus = cpu_count_usable(c->runtime.root);
    s->core.max_inputs = (size_t)or_default(c->max_batch, 65536);
    s->core.chunk = (size_t)or_default(c->chunk, 512);
    s->core.limit = or_default(c->max_concurrent, 65536);
    s->core.timeout_ms = c->timeout_ms;
    s->core.auto_truncate = c->auto_truncate != RKF_OFF;
    if (!(s->core.metrics = metrics_create()))
        return rkf_fail_memory(err, sizeof(void *), "metrics");
    rkf_status rc = workers_create(cpus < 8 ? cpus + 1 : 8, &s->core.workers, err);
    if (!rc && c->cache_bytes)
        rc = cache_create((size_t)c->cache_bytes, &s->core.cache, err);
    return rc;
}

static const char *or_text(const char *value, const char *usual)
{
    return value ? value : usual;
}

static struct server_model with_defaults(const struct server_config *c, const struct server_model *model)
{
    const rkf_model_options *d = &c->defaults.open;
    struct server_model m = *model;
    m.open.core_mask = or_text(m.open.core_mask, d->core_mask);
    m.open.dtype = or_text(m.open.dtype, d->dtype);
    m.open.revision = or_text(m.open.revision, d->revision);
    m.open.pack_cache = or_text(m.open.pack_cache, d->pack_cache);
    m.open.cpu_fallback |= d->cpu_fallback;
    m.open.max_length = m.open.max_length ? m.open.max_length : d->max_length;
    return m;
}

static rkf_status open_models(struct server *s, const struct server_config *c, rkf_error *err)
{
    rkf_status rc = rkf_runtime_open(&s->runtime_options, &s->runtime, err);
    if (!rc)
        rc = registry_create(s->runtime, &s->core.models, err);
    for (size_t i = 0; !rc && i < c->n_models; i++) {
        int64_t began = time_now_ns();
        struct server_model m = with_defaults(c, &c->models[i]);
        rc = registry_load(s->core.models, &m, err);
        if (!rc)
            log_event(s, RKF_LOG_INFO, "model %s loaded in %.2f s", c->models[i].open.path,
                      (double)(time_now_ns() - began) * 1e-9);
    }
    return rc;
}

rkf_status server_start(const struct server_config *c, struct server **out, rkf_error *err)
{
    struct server *s = mem_zalloc(1, sizeof *s);
    if (!s)
        return rkf_fail_memory(err, sizeof *s, "the server");
    s->log = (struct logger){ c->runtime.log, c->runtime.log_cookie, c->runtime.log_level };
    s->runtime_options = c->runtime;
    s->runtime_options.log = c->runtime.log ? log_library : NULL;
    s->runtime_options.log_cookie = s;
    s->cors = c->cors;
    s->json_log = c->json_log;
    s->payload_limit = or_default(c->payload_limit, 16 << 20);
    s->body_memory = or_default(c->body_memory, 512 << 20);
    s->drain_ms = or_default(c->drain_ms, 30000);
    s->started_ns = time_now_ns();
    pthread_mutex_init(&s->devices.lock, NULL);
    if (getrandom(&s->id_seed, sizeof s->id_seed, GRND_NONBLOCK) < 0)
        s->id_seed = (uint64_t)s->started_ns;
    rkf_status rc = mhd_load(err);
    if (!rc)
        rc = read_keys(s, c, err);
    if (!rc)
        rc = make_core(s, c, err);
    if (!rc)
        rc = open_models(s, c, err);
    if (!rc)
        rc = http_start(s, c, &s->http, err);
    if (rc) {
        server_stop(s);
        return rc;
    }
    if (c->systemd)
        systemd_notify("READY=1");
    log_event(s, RKF_LOG_INFO, "ready");
    *out = s;
    return RKF_OK;
}

static void wait_ms(int64_t ms)
{
    struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
    nanosleep(&t, NULL);
}

/* Requests in flight end by themselves, or are cancelled when their time is up. */
static void drain(struct server *s)
{
    int64_t until = time_now_ns() + s->drain_ms * 1000000;
    atomic_store(&s->draining, true);
    http_quiesce(s->http);
    while (atomic_load(&s->exchanges) && time_now_ns() < until)
        wait_ms(5);
    int64_t left = atomic_load(&s->exchanges);
    if (left)
        log_event(s, RKF_LOG_WARN, "%lld requests did not end in time and are dropped", (long long)left);
    http_cancel_all(s->http);
    while (http_waiting(s->http)) /* what runs on a device ends by itself */
        wait_ms(1);
}

void server_stop(struct server *s)
{
    if (!s)
        return;
    if (s->http) {
        log_event(s, RKF_LOG_INFO, "stopping");
        systemd_notify("STOPPING=1");
        drain(s);
        http_stop(s->http);
        log_event(s, RKF_LOG_INFO, "stopped");
    }
    workers_destroy(s->core.workers);
    registry_destroy(s->core.models);
    rkf_runtime_close(s->runtime);
    cache_destroy(s->core.cache);
    metrics_destroy(s->core.metrics);
    keys_free(&s->keys);
    keys_free(&s->admin_keys);
    rkf_free(s->devices.json);
    pthread_mutex_destroy(&s->devices.lock);
    mem_free(s);
}
