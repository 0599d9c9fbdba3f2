/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON documents of the API: what a model is (loaded or not), what is going on. */
#include "engine/engine.h"

#include "base/buf.h"
#include "base/file.h"
#include "model/rknn.h"

#include <string.h>

enum { DOCUMENT_MAX = 16 << 20 };

static void put_key(struct buf *b, const char *key)
{
    if (b->len && b->p[b->len - 1] != '{' && b->p[b->len - 1] != '[')
        buf_putc(b, ',');
    buf_printf(b, "\"%s\":", key);
}

static void put_text(struct buf *b, const char *key, const char *value)
{
    put_key(b, key);
    if (value)
        json_put_str(b, value, strlen(value));
    else
        buf_puts(b, "null");
}

static void put_int(struct buf *b, const char *key, int64_t value)
{
    put_key(b, key);
    buf_printf(b, "%lld", (long long)value);
}

static void put_bool(struct buf *b, const char *key, bool value)
{
    put_key(b, key);
    buf_puts(b, value ? "true" : "false");
}

static rkf_status take(struct buf *b, char **json, rkf_error *err)
{
    char *p = buf_steal(b);
    if (!p)
        return rkf_fail_memory(err, b->len, "a document");
    *json = p;
    return RKF_OK;
}

/* ---- a model */

/* What a model is for, by its head: the command of that name works. */
static const char *natural_task(const struct model_dir *d)
{
    switch (d->spec.head) {
    case HEAD_MASKED_LM:
        return "fill-mask";
    case HEAD_SEQUENCE:
        return d->spec.num_labels == 1 ? "rerank" : "classify";
    case HEAD_TOKEN:
        return "ner";
    case HEAD_QA:
        return "qa";
    case HEAD_CHOICE:
        return "choose";
    default:
        return "embed";
    }
}

static const char *const pooling_names[POOL_COUNT] = {
    [POOL_CLS] = "cls",
    [POOL_MEAN] = "mean",
    [POOL_MAX] = "max",
    [POOL_MEAN_SQRT_LEN] = "mean_sqrt_len",
    [POOL_WEIGHTED_MEAN] = "weightedmean",
    [POOL_LAST_TOKEN] = "lasttoken",
};

static void put_modules(struct buf *b, const struct model_dir *d)
{
    bool normalize = false, pooling = false;
    put_key(b, "pooling");
    buf_putc(b, '[');
    for (uint32_t i = 0; i < d->n_modules; i++) {
        const struct st_module *m = &d->modules[i];
        normalize |= m->kind == MODULE_NORMALIZE;
        for (uint32_t k = 0; m->kind == MODULE_POOLING && k < m->n_pool; k++, pooling = true)
            buf_printf(b, "%s\"%s\"", pooling ? "," : "", pooling_names[m->pool[k]]);
    }
    buf_puts(b, pooling ? "]" : "\"mean\"]"); /* without modules: mean */
    put_bool(b, "normalize", normalize);
}

static void put_names(struct buf *b, const struct model_dir *d)
{
    put_key(b, "labels");
    buf_putc(b, '[');
    for (uint32_t i = 0; d->spec.head != HEAD_NONE && d->labels && i < d->spec.num_labels; i++) {
        if (i)
            buf_putc(b, ',');
        json_put_str(b, d->labels[i], strlen(d->labels[i]));
    }
    buf_putc(b, ']');
    put_key(b, "prompts");
    buf_putc(b, '{');
    for (uint32_t i = 0; i < d->n_prompts; i++) {
        if (i)
            buf_putc(b, ',');
        json_put_str(b, d->prompts[i].name, strlen(d->prompts[i].name));
        buf_putc(b, ':');
        json_put_str(b, d->prompts[i].text, strlen(d->prompts[i].text));
    }
    buf_putc(b, '}');
    put_text(b, "default_prompt_name", d->default_prompt_name);
    put_text(b, "similarity", d->similarity ? d->similarity : "cosine");
}

static void put_place(struct buf *b, const struct rkf_model *m)
{
    const struct pool *p = m->pool;
    put_text(b, "dtype", dtype_name(m->dtype));
    put_text(b, "device", p->device->name);
    put_text(b, "platform", p->platform->name);
    put_bool(b, "virtual", p->virtual_cores);
    put_text(b, "core_mask", m->mask.name);
    pthread_mutex_lock(&m->rt->lock);
    uint8_t cores = m->cores;
    pthread_mutex_unlock(&m->rt->lock);
    put_key(b, "cores");
    buf_putc(b, '[');
    for (uint32_t c = 0, n = 0; c < p->n_cores; c++)
        if (cores >> c & 1)
            buf_printf(b, "%s%u", n++ ? "," : "", c);
    buf_putc(b, ']');
    put_bool(b, "exclusive", m->exclusive);
    put_int(b, "threads", m->rt->threads);
    if (p == &m->rt->pool[POOL_CPU])
        put_text(b, "isa", cpu_device_isa(p->device));
}

/* What the files say, loaded or not. */
static void put_facts(struct buf *b, const struct model_dir *d)
{
    const struct encoder_spec *s = &d->spec;
    yyjson_val *config = d->config_doc ? yyjson_doc_get_root(d->config_doc) : NULL;
    put_text(b, "model_type", yyjson_get_str(yyjson_obj_get(config, "model_type")));
    put_text(b, "architecture", yyjson_get_str(yyjson_arr_get_first(yyjson_obj_get(config, "architectures"))));
    put_text(b, "task", natural_task(d));
    put_int(b, "hidden_size", s->hidden_size);
    put_int(b, "num_hidden_layers", s->layers);
    put_int(b, "vocab_size", s->vocab_size);
    put_bool(b, "sentence_transformers", d->has_modules);
    put_modules(b, d);
    put_names(b, d);
}

rkf_status rkf_model_describe(const rkf_model *m, char **json, rkf_error *err)
{
    if (!m || !json)
        return rkf_fail(err, RKF_INVALID, "rkf_model_describe needs a model and a place for the text");
    const struct pool_options po = { .pooling = -1, .normalize = -1 };
    struct buf b;
    buf_init(&b, DOCUMENT_MAX);
    buf_putc(&b, '{');
    put_text(&b, "name", m->name);
    put_text(&b, "path", m->path);
    put_facts(&b, m->dir);
    put_int(&b, "embedding_dimension", pooler_width(m->pooler, &po));
    put_int(&b, "max_length", m->max_length);
    put_int(&b, "batch_tokens", m->batch_tokens);
    put_int(&b, "weight_bytes", (int64_t)m->body->ops->limits(m->body).bytes);
    put_place(&b, m);
    buf_putc(&b, '}');
    return take(&b, json, err);
}

/* ---- a model that is not loaded, or a .rknn file */

static void put_weights(struct buf *b, const struct weights *w)
{
    int64_t parameters = 0, by_type[DTYPE_COUNT] = { 0 };
    for (uint32_t i = 0; i < weights_count(w); i++) {
        const struct tensor *t = weights_at(w, i);
        int64_t n = 1;
        for (uint32_t k = 0; k < t->ndim; k++)
            n *= (int64_t)t->shape[k];
        parameters += n;
        by_type[t->type] += n;
    }
    put_int(b, "tensors", weights_count(w));
    put_int(b, "parameters", parameters);
    put_int(b, "file_bytes", (int64_t)weights_bytes(w));
    put_key(b, "parameters_by_dtype");
    buf_putc(b, '{');
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (by_type[t])
            put_int(b, dtype_name((enum dtype)t), by_type[t]);
    buf_putc(b, '}');
}

static rkf_status put_rknn_files(struct buf *b, const struct model_dir *d, rkf_error *err)
{
    put_key(b, "rknn_files");
    buf_putc(b, '[');
    for (uint32_t i = 0; i < d->n_rknn_files; i++) {
        char path[4096];
        struct buf one;
        if (i)
            buf_putc(b, ',');
        buf_init(&one, DOCUMENT_MAX);
        rkf_error why;
        rkf_status rc = path_join(path, sizeof path, d->path, d->rknn_files[i])
                            ? rknn_file_describe(path, &one, &why)
                            : rkf_fail(&why, RKF_INVALID, "the path is too long");
        if (rc == RKF_NO_MEMORY) {
            buf_free(&one);
            return rkf_fail(err, rc, "%.400s", why.message);
        }
        if (rc) { /* a broken file is part of the answer */
            buf_puts(b, "{");
            put_text(b, "path", d->rknn_files[i]);
            put_text(b, "error", why.message);
            buf_putc(b, '}');
        } else {
            buf_append(b, one.p, one.len);
        }
        buf_free(&one);
    }
    buf_putc(b, ']');
    return RKF_OK;
}

static rkf_status inspect_dir(const char *path, struct buf *b, rkf_error *err)
{
    struct model_dir *d = NULL;
    struct weights *w = NULL;
    rkf_status rc = model_dir_open(path, NULL, &d, err);
    if (rc)
        return rc;
    buf_putc(b, '{');
    put_text(b, "path", d->path);
    put_facts(b, d);
    put_int(b, "max_positions", d->spec.max_positions);
    if (d->has_weights && !(rc = weights_open(d->path, &w, err))) {
        put_weights(b, w);
        weights_close(w);
    }
    if (!rc)
        rc = put_rknn_files(b, d, err);
    buf_putc(b, '}');
    model_dir_close(d);
    return rc;
}

rkf_status rkf_inspect(const char *path, char **json, rkf_error *err)
{
    char dir[4096];
    struct buf b;
    if (!path || !json)
        return rkf_fail(err, RKF_INVALID, "rkf_inspect needs a path and a place for the text");
    buf_init(&b, DOCUMENT_MAX);
    size_t n = strlen(path);
    bool rknn = n > 5 && !strcmp(path + n - 5, ".rknn");
    rkf_status rc = rknn ? rknn_file_describe(path, &b, err) : model_locate(path, NULL, dir, sizeof dir, err);
    if (!rc && !rknn)
        rc = inspect_dir(dir, &b, err);
    if (!rc)
        rc = take(&b, json, err);
    buf_free(&b);
    return rc;
}

/* ---- what is going on */

static void put_pool(struct buf *b, const struct pool *p, int64_t now)
{
    struct core_faults faults[NPU_MAX_CORES];
    npu_device_faults(p->device, faults);
    buf_putc(b, '{');
    put_text(b, "device", p->device->name);
    put_text(b, "platform", p->platform->name);
    put_bool(b, "virtual", p->virtual_cores);
    put_key(b, "cores");
    buf_putc(b, '[');
    for (uint32_t c = 0; c < p->n_cores; c++) {
        const struct core_stats *s = &p->stats[c];
        const struct core_faults *f = &faults[c];
        int64_t busy = s->busy_ns + (p->core[c].runs ? now - s->busy_since_ns : 0);
        buf_puts(b, c ? ",{" : "{");
        put_int(b, "core", c);
        put_int(b, "running", p->core[c].runs);
        put_bool(b, "sick", p->core[c].health == CORE_SICK);
        put_bool(b, "leased_away", p->core[c].leased_away);
        put_int(b, "busy_us", busy / 1000);
        put_int(b, "free_in_us", p->core[c].free_at_ns > now ? (p->core[c].free_at_ns - now) / 1000 : 0);
        put_int(b, "batches", s->batches);
        put_int(b, "tokens", s->tokens);
        put_int(b, "faults", (int64_t)(f->timeouts + f->failures + f->hangs));
        put_int(b, "timeouts", (int64_t)f->timeouts);
        put_int(b, "hangs", (int64_t)f->hangs);
        put_int(b, "lost_to_resets", (int64_t)f->lost);
        put_int(b, "times_sick", s->sick);
        buf_putc(b, '}');
    }
    buf_puts(b, "]}");
}

static void put_model(struct buf *b, const struct rkf_model *m)
{
    int64_t waiting = 0;
    for (const struct queue *q = m->queues; q; q = q->next)
        for (const struct job *j = q->first; j; j = j->next)
            waiting += j->n_items - j->next_item;
    buf_putc(b, '{');
    put_text(b, "name", m->name);
    put_text(b, "device", m->pool->device->name);
    put_text(b, "core_mask", m->mask.name);
    put_text(b, "cores", core_set_name(m->cores));
    put_int(b, "waiting", waiting);
    put_int(b, "running", m->in_flight);
    put_int(b, "requests", m->n_requests);
    put_int(b, "inputs", m->n_inputs);
    put_int(b, "tokens", m->n_tokens);
    put_int(b, "truncated", m->n_truncated);
    put_int(b, "batches", m->n_batches);
    put_int(b, "failed", m->n_failed);
    put_int(b, "fallbacks", m->n_fallbacks);
    buf_putc(b, '}');
}

static void put_counts(struct buf *b, const char *key, const struct batch_counts *c)
{
    put_key(b, key);
    buf_putc(b, '{');
    put_int(b, "sum", c->sum);
    put_key(b, "up_to_2_to_the");
    for (int i = 0; i < BATCH_STEPS; i++)
        buf_printf(b, "%c%lld", i ? ',' : '[', (long long)c->n[i]);
    buf_puts(b, "]}");
}

rkf_status rkf_stats(rkf_runtime *rt, char **json, rkf_error *err)
{
    if (!rt || !json)
        return rkf_fail(err, RKF_INVALID, "rkf_stats needs a runtime and a place for the text");
    struct buf b;
    buf_init(&b, DOCUMENT_MAX);
    pthread_mutex_lock(&rt->lock);
    int64_t now = time_now_ns();
    buf_putc(&b, '{');
    put_int(&b, "uptime_us", (now - rt->opened_ns) / 1000);
    put_int(&b, "waiting", (int64_t)rt->waiting_items);
    put_int(&b, "queue_limit", rt->options.queue_limit);
    put_int(&b, "threads", rt->threads);
    put_counts(&b, "batch_inputs", &rt->batch_inputs);
    put_counts(&b, "batch_tokens", &rt->batch_tokens);
    put_key(&b, "devices");
    buf_putc(&b, '[');
    for (int k = 0, n = 0; k < POOL_KINDS; k++)
        if (rt->pool[k].device) {
            if (n++)
                buf_putc(&b, ',');
            put_pool(&b, &rt->pool[k], now);
        }
    buf_putc(&b, ']');
    put_key(&b, "models");
    buf_putc(&b, '[');
    for (const struct rkf_model *m = rt->models; m; m = m->next) {
        if (m != rt->models)
            buf_putc(&b, ',');
        put_model(&b, m);
    }
    buf_puts(&b, "]}");
    pthread_mutex_unlock(&rt->lock);
    return take(&b, json, err);
}
