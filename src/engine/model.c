/* SPDX-License-Identifier: Apache-2.0 */
/* Models: everything that is checked before anything is loaded, then loading, and the way out. */
#include "engine/engine.h"

#include <string.h>

/* ---- what a model needs while it lives */

rkf_status model_scratch_get(struct rkf_model *m, struct tokenizer_scratch **out, rkf_error *err)
{
    pthread_mutex_lock(&m->scratch_lock);
    struct tokenizer_scratch *s = m->n_scratch ? m->scratch[--m->n_scratch] : NULL;
    pthread_mutex_unlock(&m->scratch_lock);
    if (s) {
        *out = s;
        return RKF_OK;
    }
    return tokenizer_scratch_create(out, err);
}

void model_scratch_put(struct rkf_model *m, struct tokenizer_scratch *s)
{
    pthread_mutex_lock(&m->scratch_lock);
    if (m->n_scratch < sizeof m->scratch / sizeof *m->scratch) {
        m->scratch[m->n_scratch++] = s;
        s = NULL;
    }
    pthread_mutex_unlock(&m->scratch_lock);
    tokenizer_scratch_free(s);
}

rkf_status model_head(struct rkf_model *m, struct exec *x, struct head **out, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    pthread_mutex_lock(&m->head_lock);
    if (!m->weights)
        rc = rkf_fail(err, RKF_UNSUPPORTED, "model %s has compiled graphs only, and they give no logits", m->name);
    else if (!m->head_made && !(rc = head_create(x, m->dir, m->weights, m->dtype, &m->head, err)))
        m->head_made = true;
    pthread_mutex_unlock(&m->head_lock);
    if (!rc && !m->head)
        rc = rkf_fail(err, RKF_UNSUPPORTED, "model %s has no head", m->name);
    if (!rc)
        *out = m->head;
    return rc;
}

/* ---- checks that come before loading */

static rkf_status choose_pool(rkf_runtime *rt, const rkf_model_options *o, struct pool **out, rkf_error *err)
{
    struct pool *npu = &rt->pool[POOL_NPU], *cpu = &rt->pool[POOL_CPU];
    const char *d = o->device ? o->device : "auto";
    if (!strcmp(d, "auto"))
        *out = npu->device ? npu : cpu;
    else if (!strcmp(d, "cpu"))
        *out = cpu;
    else if (npu->device && !strcmp(d, npu->device->name))
        *out = npu;
    else if (!strcmp(d, "rknn") || !strcmp(d, "sim"))
        return rkf_fail(err, RKF_UNAVAILABLE, "device '%s' is not open in this runtime: use auto or %s", d,
                        npu->device ? npu->device->name : "cpu");
    else
        return rkf_fail(err, RKF_INVALID, "unknown device '%s': use auto, cpu, rknn or sim", d);
    return RKF_OK;
}

static rkf_status choose_dtype(const rkf_model_options *o, const struct pool *p, enum dtype *out, rkf_error *err)
{
    bool npu = p == &p->rt->pool[POOL_NPU];
    *out = npu ? DTYPE_F16 : DTYPE_F32;
    if (!o->dtype || !strcmp(o->dtype, "auto"))
        return RKF_OK;
    if (!dtype_parse(o->dtype, out) ||
        (*out != DTYPE_F32 && *out != DTYPE_BF16 && *out != DTYPE_F16 && *out != DTYPE_I8))
        return rkf_fail(err, RKF_INVALID, "unknown dtype '%s': use f32, bf16, f16 or int8", o->dtype);
    if (npu && (*out == DTYPE_F32 || *out == DTYPE_BF16))
        return rkf_fail(err, RKF_UNAVAILABLE, "dtype %s is not available on the NPU: use f16 or int8", o->dtype);
    return RKF_OK;
}

/* Cores that this model may have beside those that are loaded; under rt->lock. */
static rkf_status admit(struct rkf_model *m, rkf_error *err)
{
    struct place_claim claims[64];
    struct rkf_model *of[64];
    uint32_t n = 0;
    for (struct rkf_model *o = m->rt->models; o && n < 63; o = o->next)
        if (o->pool == m->pool) {
            of[n] = o;
            claims[n++] = (struct place_claim){ o->name, o->mask, o->exclusive };
        }
    struct place_claim mine = { m->name, m->mask, m->exclusive };
    rkf_status rc = place_admit(claims, n, &mine, &m->cores, err);
    if (rc)
        return rc;
    claims[n] = mine;
    of[n++] = m;
    for (uint32_t i = 0; i < n; i++)
        of[i]->cores = place_allowed(claims, n, i);
    return RKF_OK;
}

/* Drivers that cannot use all cores: said when a model may use more than core 0. */
static void warn_old_driver(rkf_runtime *rt, const struct rkf_model *m)
{
    char words[512];
    if (m->pool == &rt->pool[POOL_NPU] && !strcmp(m->pool->device->name, "rknn") && (m->mask.cores & ~1) &&
        npu_old_driver(&rt->facts, words, sizeof words))
        log_line(&rt->log, RKF_LOG_WARN, "model %s: %s", m->name, words);
}

static void readmit(rkf_runtime *rt, struct pool *p) /* a model has gone: the others may grow back */
{
    struct place_claim claims[64];
    struct rkf_model *of[64];
    uint32_t n = 0;
    for (struct rkf_model *o = rt->models; o && n < 64; o = o->next)
        if (o->pool == p) {
            of[n] = o;
            claims[n++] = (struct place_claim){ o->name, o->mask, o->exclusive };
        }
    for (uint32_t i = 0; i < n; i++)
        of[i]->cores = place_allowed(claims, n, i);
}

/* ---- loading */

static uint32_t longest(const struct rkf_model *m, const rkf_model_options *o)
{
    const struct model_dir *d = m->dir;
    struct tokenizer_facts f = tokenizer_facts(m->tokenizer);
    int64_t n = o->max_length > 0          ? o->max_length
                : d->st_max_seq_length > 0 ? d->st_max_seq_length
                                           : f.model_max_length;
    int64_t positions = d->spec.max_positions;
    if (positions && (n <= 0 || n > positions))
        n = positions;
    return n > 0 && n < UINT32_MAX ? (uint32_t)n : 0;
}

static const char *last_part(const char *path)
{
    const char *end = path + strlen(path), *p;
    while (end > path && end[-1] == '/')
        end--;
    for (p = end; p > path && p[-1] != '/';)
        p--;
    return p;
}

static rkf_status load_names(struct rkf_model *m, const rkf_model_options *o, rkf_error *err)
{
    char path[4096];
    rkf_status rc = model_locate(o->path, o->revision, path, sizeof path, err);
    if (rc)
        return rc;
    const char *name = o->name ? o->name : last_part(o->path);
    m->path = mem_strdup(path);
    m->name = mem_strndup(name, o->name ? strlen(name) : strcspn(name, "/"));
    m->packs = o->pack_cache && *o->pack_cache ? mem_strdup(o->pack_cache) : NULL;
    return m->path && m->name ? RKF_OK : rkf_fail_memory(err, strlen(path), "a model's name");
}

/* A native body on a pool's device. */
static rkf_status make_native(struct rkf_model *m, struct pool *p, enum dtype dtype, struct body **out, rkf_error *err)
{
    rkf_runtime *rt = m->rt;
    if (m->dir->spec_error.status)
        return rkf_fail(err, m->dir->spec_error.status, "%.480s", m->dir->spec_error.message);
    pthread_mutex_lock(&rt->load_lock);
    struct exec *x = &rt->load_exec;
    x->device = p->device;
    arena_reset(&x->scratch);
    rkf_status rc = m->weights ? RKF_OK : weights_open(m->dir->path, &m->weights, err);
    struct pack_cache *packs = NULL;
    if (!rc && m->packs && p == &rt->pool[POOL_CPU])
        packs = x->packs = pack_cache_open(m->packs, m->dir->path, dtype, cpu_device_isa(p->device),
                                           weights_identity(m->weights), &rt->log);
    if (!rc)
        rc = encoder_create(x, m->dir, m->weights, dtype, out, err);
    x->packs = NULL;
    arena_free(&x->scratch);
    pthread_mutex_unlock(&rt->load_lock);
    bool complete = !rc;
    if (!rc && weights_changed(m->weights)) {
        complete = false;
        rc = rkf_fail(err, RKF_IO, "the weights of %s changed while they were read: load the model again", m->path);
    }
    pack_cache_close(packs, complete);
    return rc;
}

rkf_status model_native(struct rkf_model *m, struct body **out, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    pthread_mutex_lock(&m->head_lock);
    if (!m->native)
        rc = make_native(m, m->pool, m->dtype, &m->native, err);
    pthread_mutex_unlock(&m->head_lock);
    if (!rc)
        *out = m->native;
    return rc;
}

/* Compiled graphs or the native body: --file-name decides; else, on an NPU, the files for its platform if there are
 * any. */
static rkf_status load_body(struct rkf_model *m, const rkf_model_options *o, rkf_error *err)
{
    bool npu = m->pool == &m->rt->pool[POOL_NPU];
    const char *file = m->from_base ? NULL : o->file_name;
    size_t n = strlen(m->path), dir = strlen(m->dir->path);
    if (!file && n > 5 && !strcmp(m->path + n - 5, ".rknn") && n > dir)
        file = m->path + dir + 1;
    if (file && !npu && !m->dir->has_weights)
        return rkf_fail(err, RKF_UNAVAILABLE,
                        "%s is compiled for an NPU, which this runtime does not have, and there are "
                        "no model.safetensors beside it",
                        file);
    if (file && !npu)
        log_line(&m->rt->log, RKF_LOG_WARN,
                 "%s is compiled for an NPU: model %s runs from model.safetensors on the CPU", file, m->name);
    if (npu && (file || m->dir->n_rknn_files)) {
        rkf_status rc = npu_graph_open(m->pool->device, m->dir, file, m->dtype == DTYPE_I8, &m->body, err);
        if (!rc) {
            m->graph = true;
            m->graph_length = m->body->ops->limits(m->body).max_tokens;
            return RKF_OK;
        }
        if (rc != RKF_NOT_FOUND || file || !m->dir->has_weights)
            return rc;
    }
    return make_native(m, m->pool, m->dtype, &m->body, err);
}

static rkf_status load_pooler(struct rkf_model *m, rkf_error *err)
{
    rkf_runtime *rt = m->rt;
    pthread_mutex_lock(&rt->load_lock);
    struct exec *x = &rt->load_exec;
    x->device = m->pool->device;
    arena_reset(&x->scratch);
    rkf_status rc = pooler_create(x, m->dir, m->dtype == DTYPE_I8 ? DTYPE_F32 : m->dtype, &m->pooler, err);
    arena_free(&x->scratch);
    pthread_mutex_unlock(&rt->load_lock);
    return rc;
}

/* Graphs for an NPU that is not there: the model that they were made from takes their place, if it is in the cache. */
static rkf_status take_base(struct rkf_model *m, const rkf_model_options *o, rkf_error *err)
{
    bool npu = m->pool == &m->rt->pool[POOL_NPU], found = false;
    struct base_model base;
    struct model_dir *dir = NULL;
    if (m->dir->has_weights || (npu && (m->dir->n_rknn_files || o->file_name)))
        return RKF_OK;
    rkf_status rc = model_base(m->path, m->dir, &base, &found, err);
    if (rc || !found)
        return rc;
    if ((rc = model_dir_open(base.path, NULL, &dir, err)))
        return rc;
    char *path = mem_strdup(base.path);
    if (!path)
        rc = rkf_fail_memory(err, sizeof base.path, "a path");
    else if (!dir->has_weights)
        rc = rkf_fail(err, RKF_NOT_FOUND, "the base model %s of %s has no weights in %s: rkformer pull %s fetches them",
                      base.id, m->name, base.path, base.id);
    if (rc) {
        mem_free(path);
        model_dir_close(dir);
        return rc;
    }
    log_line(&m->rt->log, RKF_LOG_WARN,
             "model %s holds only graphs compiled for an NPU, which is not in use here: its base model %s runs instead",
             m->name, base.id);
    model_dir_close(m->dir);
    mem_free(m->path);
    m->dir = dir;
    m->path = path;
    m->from_base = true;
    return RKF_OK;
}

static rkf_status load(struct rkf_model *m, const rkf_model_options *o, rkf_error *err)
{
    rkf_status rc = load_names(m, o, err);
    if (!rc)
        rc = model_dir_open(m->path, o->subfolder, &m->dir, err);
    if (!rc)
        rc = take_base(m, o, err);
    if (!rc)
        rc = tokenizer_open(m->dir->path, &m->tokenizer, err);
    if (!rc)
        rc = load_body(m, o, err);
    if (!rc)
        rc = load_pooler(m, err);
    struct pool *cpu = &m->rt->pool[POOL_CPU];
    if (!rc && m->cpu_fallback && m->pool != cpu && m->dir->has_weights)
        rc = make_native(m, cpu, DTYPE_F32, &m->cpu_body, err);
    if (rc)
        return rc;
    enum { BATCH_TOKENS = 2048 };
    struct body_limits limits = m->body->ops->limits(m->body);
    int32_t wish = m->rt->options.batch_tokens;
    m->batch_tokens = wish > 0 ? (uint32_t)wish : limits.batch_tokens ? limits.batch_tokens : BATCH_TOKENS;
    m->max_length = longest(m, o);
    if (m->graph && !m->dir->has_weights && (!m->max_length || m->max_length > m->graph_length))
        m->max_length = m->graph_length; /* nothing takes more */
    m->feed_types = m->dir->spec.type_vocab_size > 1 && tokenizer_facts(m->tokenizer).token_types;
    return RKF_OK;
}

static void model_free(struct rkf_model *m)
{
    if (!m)
        return;
    struct body *bodies[] = { m->body, m->cpu_body, m->native };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        if (bodies[i])
            bodies[i]->ops->release(bodies[i]);
    head_free(m->head);
    pooler_free(m->pooler);
    weights_close(m->weights);
    tokenizer_free(m->tokenizer);
    model_dir_close(m->dir);
    while (m->n_scratch)
        tokenizer_scratch_free(m->scratch[--m->n_scratch]);
    while (m->queues) {
        struct queue *next = m->queues->next;
        mem_free(m->queues);
        m->queues = next;
    }
    pthread_mutex_destroy(&m->head_lock);
    pthread_mutex_destroy(&m->scratch_lock);
    mem_free(m->name);
    mem_free(m->path);
    mem_free(m->packs);
    mem_free(m);
}

/* Between processes an exclusive model holds its cores' locks as long as it is loaded. */
static rkf_status lease_exclusive(struct rkf_model *m, rkf_error *err)
{
    rkf_runtime *rt = m->rt;
    if (!m->exclusive || !m->pool->leased || !lease_active(rt->lease))
        return RKF_OK;
    if (!lease_try(rt->lease, m->cores))
        return rkf_fail(err, RKF_CONFLICT, "model %s cannot have core %s for itself: another process uses core %s",
                        m->name, core_set_name(m->cores), core_set_name(lease_busy(rt->lease)));
    m->leased = m->cores;
    return RKF_OK;
}

static void unlink_model(struct rkf_model *m)
{
    rkf_runtime *rt = m->rt;
    pthread_mutex_lock(&rt->lock);
    struct rkf_model **at = &rt->models;
    while (*at && *at != m)
        at = &(*at)->next;
    if (*at) {
        *at = m->next;
        rt->n_models--;
        if (m->leased)
            lease_give(rt->lease, m->leased);
        readmit(rt, m->pool);
    }
    queue_schedule(rt);
    queue_unlock(rt);
}

static rkf_status link_model(struct rkf_model *m, rkf_error *err)
{
    rkf_runtime *rt = m->rt;
    pthread_mutex_lock(&rt->lock);
    rkf_status rc = rt->closing          ? rkf_fail(err, RKF_CLOSED, "the runtime is being closed")
                    : rt->n_models >= 60 ? rkf_fail(err, RKF_UNSUPPORTED, "a runtime holds at most 60 models")
                                         : admit(m, err);
    if (!rc && (rc = lease_exclusive(m, err)))
        readmit(rt, m->pool); /* the others may keep what they had */
    if (!rc) {
        struct rkf_model **at = &rt->models;
        while (*at)
            at = &(*at)->next;
        *at = m; /* visible to placement; nothing can be queued before the caller has it */
        rt->n_models++;
    }
    pthread_mutex_unlock(&rt->lock);
    return rc;
}

static void warn_masks(rkf_runtime *rt, const struct rkf_model *m)
{
    pthread_mutex_lock(&rt->lock);
    bool warn = m->pool->platform->id == PLATFORM_CPU && !m->mask.automatic && !rt->masks_warned;
    rt->masks_warned |= warn;
    pthread_mutex_unlock(&rt->lock);
    if (warn)
        log_line(
            &rt->log, RKF_LOG_WARN,
            "this machine has no NPU: core mask %s names virtual cores, shares of the CPU (for a rehearsal of a board "
            "use a platform such as rk3588)",
            m->mask.name);
}

rkf_status rkf_model_open(rkf_runtime *rt, const rkf_model_options *options, rkf_model **out, rkf_error *err)
{
    rkf_model_options o = RKF_MODEL_OPTIONS_INIT;
    if (!rt || !out || !options || !options->path || options->size < sizeof(size_t))
        return rkf_fail(err, RKF_INVALID,
                        "rkf_model_open needs a runtime, options with a path, and a place for the model");
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    struct rkf_model *m = mem_zalloc(1, sizeof *m);
    if (!m)
        return rkf_fail_memory(err, sizeof *m, "a model");
    *m = (struct rkf_model){
        .rt = rt, .exclusive = o.exclusive, .cpu_fallback = o.cpu_fallback, .priority = o.priority
    };
    pthread_mutex_init(&m->head_lock, NULL);
    pthread_mutex_init(&m->scratch_lock, NULL);
    rkf_status rc = choose_pool(rt, &o, &m->pool, err);
    if (!rc)
        rc = core_mask_parse(o.core_mask, m->pool->platform, &m->mask, err);
    if (!rc)
        rc = choose_dtype(&o, m->pool, &m->dtype, err);
    if (!rc)
        rc = load(m, &o, err);
    if (!rc)
        rc = link_model(m, err);
    if (rc) {
        model_free(m);
        return rc;
    }
    warn_masks(rt, m);
    warn_old_driver(rt, m);
    *out = m;
    return RKF_OK;
}

void rkf_model_close(rkf_model *m)
{
    if (!m)
        return;
    queue_close_model(m);
    unlink_model(m);
    model_free(m);
}
