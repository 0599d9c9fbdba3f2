/* SPDX-License-Identifier: Apache-2.0 */
#include "server/models.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

struct registry {
    rkf_runtime *rt;
    pthread_mutex_t lock; /* guards what follows, and refs and leaving of the models */
    pthread_cond_t released;
    struct model *models;
    uint64_t serial;
};

static bool is(rkf_str s, const char *name)
{
    return name && s.len == strlen(name) && !memcmp(s.ptr, name, s.len);
}

static const char *last_part(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n && path[n - 1] != '/')
        n--;
    return path + n;
}

static bool called(const struct model *m, rkf_str name)
{
    static const char latest[] = ":latest";
    size_t n = sizeof latest - 1;
    if (is(name, m->name) || is(name, m->path) || is(name, last_part(m->path)))
        return true;
    return name.len > n && !memcmp(name.ptr + name.len - n, latest, n) &&
           is((rkf_str){ name.ptr, name.len - n }, m->name);
}

/* ---- what a model says of itself */

static rkf_status read_description(struct model *m, rkf_error *err)
{
    static const char *const kinds[KIND_COUNT] = { "embed", "fill-mask", "rerank", "classify", "ner", "qa", "choose" };
    const char *task = "embed";
    rkf_status rc = rkf_model_describe(m->handle, &m->describe, err);
    if (!rc)
        rc = json_parse(m->describe, strlen(m->describe), "the model's description", &m->doc, err);
    if (rc)
        return rc;
    yyjson_val *root = yyjson_doc_get_root(m->doc);
    if ((rc = json_get_str(root, "task", &task, m->name, err)) ||
        (rc = json_get_int(root, "max_length", 0, INT32_MAX, &m->max_length, m->name, err)) ||
        (rc = json_get_int(root, "embedding_dimension", 0, INT32_MAX, &m->dimension, m->name, err)))
        return rc;
    m->n_labels = (uint32_t)yyjson_arr_size(yyjson_obj_get(root, "labels"));
    for (int k = 0; k < KIND_COUNT; k++)
        if (!strcmp(task, kinds[k]))
            m->kind = (enum model_kind)k;
    return RKF_OK;
}

rkf_str model_prompt_for(const struct model *m, enum input_type type)
{
    static const char *const names[][4] = {
        [INPUT_ANY] = { NULL },
        [INPUT_QUERY] = { "query", "search_query", "retrieval.query", NULL },
        [INPUT_DOCUMENT] = { "document", "passage", "search_document", "retrieval.passage" },
        [INPUT_CLASSIFICATION] = { "classification", "Classification", NULL },
        [INPUT_CLUSTERING] = { "clustering", "Clustering", "separation", NULL },
        [INPUT_MATCHING] = { "text-matching", "STS", "similarity", NULL },
    };
    yyjson_val *prompts = yyjson_obj_get(yyjson_doc_get_root(m->doc), "prompts");
    for (int i = 0; i < 4 && names[type][i]; i++)
        if (yyjson_obj_get(prompts, names[type][i]))
            return (rkf_str){ names[type][i], strlen(names[type][i]) };
    return (rkf_str){ NULL, 0 };
}

/* ---- loading */

static void model_free(struct model *m)
{
    if (!m)
        return;
    rkf_model_close(m->handle);
    yyjson_doc_free(m->doc);
    rkf_free(m->describe);
    mem_free(m->name);
    mem_free(m->path);
    mem_free(m);
}

static rkf_status model_open(rkf_runtime *rt, const struct server_model *spec, struct model **out, rkf_error *err)
{
    rkf_model_options o = spec->open;
    struct model *m = mem_zalloc(1, sizeof *m);
    rkf_status rc = RKF_OK;
    if (!m)
        return rkf_fail_memory(err, sizeof *m, "a model");
    m->path = mem_strdup(o.path);
    m->name = mem_strdup(o.name ? o.name : last_part(o.path));
    m->limit = spec->limit;
    m->created = (int64_t)time(NULL);
    if (!m->path || !m->name) {
        rc = rkf_fail_memory(err, strlen(o.path), "a model's name");
        goto fail;
    }
    for (size_t n = strlen(m->name); n > 1 && m->name[n - 1] == '/';)
        m->name[--n] = 0;
    o.name = m->name;
    if ((rc = rkf_model_open(rt, &o, &m->handle, err)) || (rc = read_description(m, err)))
        goto fail;
    *out = m;
    return RKF_OK;
fail:
    model_free(m);
    return rc;
}

static rkf_status refuse_taken(const struct registry *r, const char *name, rkf_error *err)
{
    for (const struct model *m = r->models; m; m = m->next)
        if (!strcmp(m->name, name))
            return rkf_fail(err, RKF_CONFLICT, "a model named '%s' is already loaded: give this one another name",
                            name);
    return RKF_OK;
}

rkf_status registry_load(struct registry *r, const struct server_model *spec, rkf_error *err)
{
    struct model *m = NULL;
    pthread_mutex_lock(&r->lock);
    rkf_status rc = refuse_taken(r, spec->open.name ? spec->open.name : last_part(spec->open.path), err);
    pthread_mutex_unlock(&r->lock);
    if (!rc)
        rc = model_open(r->rt, spec, &m, err);
    if (rc)
        return rc;
    pthread_mutex_lock(&r->lock);
    rc = refuse_taken(r, m->name, err); /* again: somebody may have been faster */
    if (!rc) {
        struct model **end = &r->models;
        while (*end)
            end = &(*end)->next;
        m->serial = ++r->serial;
        *end = m;
    }
    pthread_mutex_unlock(&r->lock);
    if (rc)
        model_free(m);
    return rc;
}

rkf_status registry_unload(struct registry *r, rkf_str name, rkf_error *err)
{
    char quoted[80];
    pthread_mutex_lock(&r->lock);
    struct model **at = &r->models;
    while (*at && ((*at)->leaving || !called(*at, name)))
        at = &(*at)->next;
    struct model *m = *at;
    if (!m) {
        pthread_mutex_unlock(&r->lock);
        return rkf_fail(err, RKF_NOT_FOUND, "model '%s' is not loaded",
                        rkf_quote(quoted, sizeof quoted, name.ptr, name.len));
    }
    m->leaving = true;
    while (m->refs)
        pthread_cond_wait(&r->released, &r->lock);
    at = &r->models; /* the list may have changed meanwhile */
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    pthread_mutex_unlock(&r->lock);
    model_free(m);
    return RKF_OK;
}

/* ---- looking up: each returns a reference */

static struct model *hold(struct registry *r, struct model *m)
{
    if (m)
        m->refs++;
    pthread_mutex_unlock(&r->lock);
    return m;
}

struct model *registry_find(struct registry *r, rkf_str name)
{
    pthread_mutex_lock(&r->lock);
    struct model *found = NULL;
    for (struct model *m = r->models; m && !found; m = m->next)
        if (!m->leaving && is(name, m->name))
            found = m;
    for (struct model *m = r->models; m && !found; m = m->next)
        if (!m->leaving && called(m, name))
            found = m;
    return hold(r, found);
}

struct model *registry_first(struct registry *r, uint32_t prefer, uint32_t kinds)
{
    pthread_mutex_lock(&r->lock);
    struct model *found = NULL;
    for (struct model *m = r->models; m; m = m->next) {
        if (m->leaving || !(kinds & KIND_BIT(m->kind)))
            continue;
        if (!found || (!(prefer & KIND_BIT(found->kind)) && (prefer & KIND_BIT(m->kind))))
            found = m;
    }
    return hold(r, found);
}

struct model *registry_find_prefix(struct registry *r, const char *path, size_t *len)
{
    struct model *found = NULL;
    *len = 0;
    pthread_mutex_lock(&r->lock);
    for (struct model *m = r->models; m; m = m->next) {
        size_t n = strlen(m->name);
        if (!m->leaving && n > *len && !strncmp(path, m->name, n) && (!path[n] || path[n] == '/')) {
            found = m;
            *len = n;
        }
    }
    return hold(r, found);
}

struct model *registry_at(struct registry *r, size_t i)
{
    pthread_mutex_lock(&r->lock);
    struct model *m = r->models;
    while (m && (m->leaving || i)) {
        i -= !m->leaving;
        m = m->next;
    }
    return hold(r, m);
}

void registry_release(struct registry *r, struct model *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&r->lock);
    if (!--m->refs)
        pthread_cond_broadcast(&r->released);
    pthread_mutex_unlock(&r->lock);
}

/* ---- the registry itself */

rkf_status registry_create(rkf_runtime *rt, struct registry **out, rkf_error *err)
{
    struct registry *r = mem_zalloc(1, sizeof *r);
    if (!r)
        return rkf_fail_memory(err, sizeof *r, "the model list");
    r->rt = rt;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->released, NULL);
    *out = r;
    return RKF_OK;
}

void registry_destroy(struct registry *r)
{
    if (!r)
        return;
    while (r->models) {
        struct model *m = r->models;
        r->models = m->next;
        model_free(m);
    }
    pthread_cond_destroy(&r->released);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}
