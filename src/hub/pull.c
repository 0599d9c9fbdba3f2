/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pull: ask for the listing, read the small files that say which others are needed, check the room, fetch what is
 * missing, move the ref.
 */
#include "base/file.h"
#include "base/front_matter.h"
#include "base/hf_cache.h"
#include "base/mem.h"
#include "hub/explain.h"
#include "hub/fetch.h"
#include "hub/hub.h"
#include "hub/settings.h"
#include "hub/store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LISTING_MAX = 64 << 20, SMALL_MAX = 64 << 20, BASES_MAX = 8 };

struct pull {
    const struct hub_options *o;
    const char *id, *revision, *subfolder;
    struct hub_settings set;
    struct store store;
    struct fetcher f;
    struct hub_listing list;
    struct hub_rules rules;
    uint8_t *state; /* [list.n] of enum file_state */
};
enum file_state { FILE_MISSING, FILE_CACHED, FILE_BROUGHT };

/* What the README.md of a model that has nothing for this platform names as its base model. */
struct bases {
    bool wanted;
    char names[BASES_MAX][FRONT_MATTER_VALUE];
    size_t n;
};

static void say(const struct pull *p, rkf_log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(const struct pull *p, rkf_log_level level, const char *fmt, ...)
{
    char line[700];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (p->o->log)
        p->o->log(p->o->log_cookie, level, line);
}

/* ---- URLs */

static char *steal_url(struct buf *b, rkf_status *rc, rkf_error *err)
{
    char *url = buf_steal(b);
    if (!url)
        *rc = rkf_fail_memory(err, b->max, "a URL");
    return url;
}

static char *listing_url(const struct pull *p, rkf_status *rc, rkf_error *err)
{
    struct buf b;
    buf_init(&b, 8192);
    buf_printf(&b, "%s/api/models/%s/revision/", p->set.endpoint, p->id);
    http_put_escaped(&b, p->revision, false);
    buf_puts(&b, "?blobs=true");
    return steal_url(&b, rc, err);
}

static char *file_url(const struct pull *p, const char *name, rkf_status *rc, rkf_error *err)
{
    struct buf b;
    buf_init(&b, 8192);
    buf_printf(&b, "%s/%s/resolve/%s/", p->set.endpoint, p->id, p->list.commit);
    http_put_escaped(&b, name, true);
    return steal_url(&b, rc, err);
}

static rkf_status explain(const struct pull *p, const char *file, const struct http_reply *r, rkf_error *err)
{
    struct explain_case c = { p->set.endpoint, p->id, p->revision, file, p->set.token[0] != 0 };
    return explain_reply(&c, r, err);
}

/* ---- one file */

static rkf_status facts(struct pull *p, struct hub_entry *e, rkf_error *err)
{
    struct http_reply reply;
    rkf_status rc = RKF_OK;
    if (e->etag[0])
        return RKF_OK;
    char *url = file_url(p, e->name, &rc, err);
    if (!rc && (rc = fetch_facts(&p->f, url, e, &reply, err)))
        rc = explain(p, e->name, &reply, err);
    mem_free(url);
    return rc;
}

/* Under the lock: somebody else may have fetched it meanwhile. */
static rkf_status bring_locked(struct pull *p, struct hub_entry *e, const struct place *at, rkf_error *err)
{
    char path[PATH_MAX];
    struct http_reply reply;
    rkf_status rc = RKF_OK;
    if (!p->o->force && store_has(&p->store, e, path)) {
        p->f.done += e->bytes > 0 ? (uint64_t)e->bytes : 0;
        return RKF_OK;
    }
    if (!p->o->force && store_have_content(at, e)) {
        p->f.done += e->bytes > 0 ? (uint64_t)e->bytes : 0;
        return store_keep(&p->store, at, e, false, err);
    }
    char *url = file_url(p, e->name, &rc, err);
    if (!rc && (rc = fetch_file(&p->f, url, e, at->part, &reply, err)))
        rc = explain(p, e->name, &reply, err);
    mem_free(url);
    return rc ? rc : store_keep(&p->store, at, e, true, err);
}

static rkf_status bring(struct pull *p, struct hub_entry *e, rkf_error *err)
{
    struct place *at = mem_alloc(sizeof *at);
    int lock = -1;
    if (!at)
        return rkf_fail_memory(err, sizeof *at, "file names");
    rkf_status rc = store_place(&p->store, e, at, err);
    if (!rc)
        rc = store_prepare(at, err);
    if (!rc)
        rc = store_lock(at->lock, e->name, p->o->log, p->o->log_cookie, &lock, err);
    if (!rc) {
        rc = bring_locked(p, e, at, err);
        store_unlock(lock);
    }
    mem_free(at);
    return rc;
}

/* The text of a small file that says which others are needed; NULL: the repository has none. */
static rkf_status small(struct pull *p, const char *folder, const char *name, char **out, size_t *len, rkf_error *err)
{
    char path[PATH_MAX], full[HUB_NAME];
    struct http_reply reply;
    *out = NULL;
    *len = 0;
    if ((size_t)snprintf(full, sizeof full, "%s%s%s", folder, *folder ? "/" : "", name) >= sizeof full)
        return RKF_OK;
    struct hub_entry *e = hub_listing_find(&p->list, full);
    rkf_status rc = e ? facts(p, e, err) : RKF_OK;
    if (rc || !e)
        return rc;
    if (e->bytes > SMALL_MAX)
        return rkf_fail(err, RKF_FORMAT, "%s is too large: %lld bytes", full, (long long)e->bytes);
    bool there = (!p->o->force || p->state[e - p->list.files]) && store_has(&p->store, e, path);
    if (!there && p->o->dry_run) {
        char *url = file_url(p, full, &rc, err);
        if (!rc && (rc = fetch_text(&p->f, url, SMALL_MAX, out, len, &reply, err)))
            rc = explain(p, full, &reply, err);
        mem_free(url);
        return rc;
    }
    if (!there && !p->state[e - p->list.files])
        rc = bring(p, e, err);
    if (!rc && !p->state[e - p->list.files])
        p->state[e - p->list.files] = there ? FILE_CACHED : FILE_BROUGHT;
    return rc || !store_has(&p->store, e, path) ? rc : file_read(path, SMALL_MAX, out, len, err);
}

/* ---- the listing, and what of it is needed */

static rkf_status ask(struct pull *p, struct http_reply *reply, rkf_error *err)
{
    char *text = NULL;
    size_t len;
    rkf_status rc = RKF_OK;
    char *url = listing_url(p, &rc, err);
    *reply = (struct http_reply){ 0 };
    if (!rc && (rc = fetch_text(&p->f, url, LISTING_MAX, &text, &len, reply, err)))
        rc = explain(p, NULL, reply, err);
    if (!rc)
        rc = hub_listing_parse(text, len, url, &p->list, err);
    if (!rc && !(p->state = mem_zalloc(p->list.n + 1, sizeof *p->state)))
        rc = rkf_fail_memory(err, p->list.n, "a list of files");
    memcpy(p->store.commit, p->list.commit, sizeof p->store.commit);
    mem_free(text);
    mem_free(url);
    return rc;
}

static rkf_status choose_shards(struct pull *p, rkf_error *err)
{
    static const char index[] = "model.safetensors.index.json";
    rkf_status rc = RKF_OK;
    for (uint32_t i = 0; !rc && i < p->list.n; i++) {
        struct hub_entry *e = &p->list.files[i];
        char *text;
        size_t len, n = strlen(e->name), k = sizeof index - 1;
        if (!e->wanted || p->o->all || p->o->n_include || n < k || strcmp(e->name + n - k, index))
            continue;
        rc = small(p, "", e->name, &text, &len, err);
        if (!rc && text)
            rc = hub_choose_shards(&p->list, &p->rules, e, text, len, err);
        mem_free(text);
    }
    return rc;
}

static rkf_status choose(struct pull *p, rkf_error *err)
{
    struct hub_texts t = { 0 };
    char *modules = NULL, *config = NULL;
    rkf_status rc = RKF_OK;
    if (!p->o->all && !p->o->n_include) {
        rc = small(p, p->subfolder, "modules.json", &modules, &t.modules_len, err);
        if (!rc)
            rc = small(p, p->subfolder, "config.json", &config, &t.config_len, err);
    }
    t.modules = modules;
    t.config = config;
    if (!rc)
        rc = hub_choose(&p->list, &p->rules, &t, err);
    if (!rc)
        rc = choose_shards(p, err);
    mem_free(modules);
    mem_free(config);
    return rc;
}

/* Something that can be run, or the reason why not. */
static rkf_status judge(struct pull *p, struct bases *bases, rkf_error *err)
{
    char *card;
    size_t len;
    struct hub_kinds k = hub_kinds(&p->list, p->subfolder);
    if (p->o->all || p->o->n_include || p->o->n_exclude || k.weights || k.rknn_wanted)
        return RKF_OK;
    if (k.rknn && !k.pickle) {
        rkf_status rc = small(p, "", "README.md", &card, &len, err);
        bases->wanted = true;
        bases->n = rc || !card ? 0 : front_matter_bases(card, len, bases->names, BASES_MAX);
        mem_free(card);
        return rc;
    }
    struct explain_case c = { p->set.endpoint, p->id, p->revision, p->subfolder, p->set.token[0] != 0 };
    return explain_no_weights(&c, k.pickle, k.other, err);
}

static rkf_status count(struct pull *p, uint64_t *missing, rkf_error *err)
{
    char path[PATH_MAX];
    rkf_status rc = RKF_OK;
    *missing = 0;
    for (uint32_t i = 0; !rc && i < p->list.n; i++) {
        struct hub_entry *e = &p->list.files[i];
        if (!e->wanted || (rc = facts(p, e, err)))
            continue;
        if (!p->state[i] && !p->o->force && store_has(&p->store, e, path))
            p->state[i] = FILE_CACHED;
        if (!p->state[i] && e->bytes > 0)
            *missing += (uint64_t)e->bytes;
    }
    return rc;
}

/* ---- the result */

void hub_pulled_free(struct hub_pulled *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < r->n_files; i++)
        mem_free(r->files[i].name);
    mem_free(r->files);
    mem_free(r->id);
    mem_free(r->path);
    mem_free(r->revision);
    hub_pulled_free(r->base);
    mem_free(r);
}

static rkf_status result_make(const struct pull *p, const char *path, struct hub_pulled **out, rkf_error *err)
{
    struct hub_pulled *r = mem_zalloc(1, sizeof *r);
    if (!r)
        return rkf_fail_memory(err, sizeof *r, "a result");
    r->fetched = p->f.fresh;
    memcpy(r->commit, p->store.commit, sizeof r->commit);
    if (!(r->id = mem_strdup(p->id)) || !(r->path = mem_strdup(path)) || !(r->revision = mem_strdup(p->revision)) ||
        !(r->files = mem_zalloc(p->list.n + 1, sizeof *r->files)))
        goto fail;
    for (uint32_t i = 0; i < p->list.n; i++) {
        const struct hub_entry *e = &p->list.files[i];
        if (!e->wanted)
            continue;
        if (!(r->files[r->n_files].name = mem_strdup(e->name)))
            goto fail;
        r->files[r->n_files].bytes = e->bytes;
        r->files[r->n_files++].cached = p->state[i] == FILE_CACHED;
        r->bytes += e->bytes > 0 ? (uint64_t)e->bytes : 0;
    }
    *out = r;
    return RKF_OK;
fail:
    hub_pulled_free(r);
    return rkf_fail_memory(err, 1 << 10, "a result");
}

/* ---- without the hub */

static bool in_cache(struct pull *p, char *path)
{
    char config[PATH_MAX];
    if (*p->store.local || p->o->force || p->o->dry_run ||
        !hf_snapshot(p->store.cache, p->id, p->revision, path, PATH_MAX) ||
        (size_t)snprintf(config, sizeof config, "%s/%s%sconfig.json", path, p->subfolder, *p->subfolder ? "/" : "") >=
            sizeof config ||
        !path_is_file(config))
        return false;
    const char *commit = strrchr(path, '/');
    snprintf(p->store.commit, sizeof p->store.commit, "%.40s", commit ? commit + 1 : "");
    return true;
}

static rkf_status offline(struct pull *p, struct hub_pulled **out, rkf_error *err)
{
    char path[PATH_MAX];
    if (in_cache(p, path))
        return result_make(p, path, out, err);
    return rkf_fail(err, RKF_NOT_FOUND,
                    "%s, revision %s, is not in the cache %s, and HF_HUB_OFFLINE forbids to ask the hub: unset it, or "
                    "copy the model there",
                    p->id, p->revision, p->store.cache);
}

/* ---- one model */

static rkf_status bring_all(struct pull *p, rkf_error *err)
{
    uint64_t missing, had = p->f.done;
    rkf_status rc = count(p, &missing, err);
    p->f.total = had + missing;
    if (!rc)
        rc = store_room(&p->store, missing, err);
    if (rc || p->o->dry_run)
        return rc;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->list.n; i++)
        n += p->list.files[i].wanted;
    say(p, RKF_LOG_INFO, "%s %.12s: %u files, %.1f MB to fetch", p->id, p->store.commit, n, (double)missing / 1e6);
    for (uint32_t i = 0; !rc && i < p->list.n; i++)
        if (p->list.files[i].wanted && !p->state[i])
            rc = bring(p, &p->list.files[i], err);
    return rc ? rc : store_ref(&p->store, p->revision, err);
}

static rkf_status pull_run(struct pull *p, struct hub_pulled **out, struct bases *bases, struct http_reply *reply,
                           rkf_error *err)
{
    char root[PATH_MAX];
    rkf_error why = { RKF_OK, "" };
    rkf_status rc = ask(p, reply, &why);
    if (rc && reply->again && in_cache(p, root)) {
        say(p, RKF_LOG_WARN, "%s: taking what is in the cache", why.message);
        return result_make(p, root, out, err);
    }
    if (rc)
        return rkf_fail(err, rc, "%s", why.message);
    rc = choose(p, err);
    if (!rc)
        rc = judge(p, bases, err);
    if (!rc)
        rc = bring_all(p, err);
    if (!rc)
        rc = store_root(&p->store, root, sizeof root, err);
    return rc ? rc : result_make(p, root, out, err);
}

static rkf_status pull_one(const struct hub_options *o, const char *id, struct hub_pulled **out, struct bases *bases,
                           struct http_reply *reply, rkf_error *err)
{
    struct pull *p = mem_zalloc(1, sizeof *p); /* paths: too much for a stack */
    if (!p)
        return rkf_fail_memory(err, sizeof *p, "a pull");
    p->o = o;
    p->id = id;
    p->revision = o->revision && *o->revision ? o->revision : "main";
    p->subfolder = o->subfolder ? o->subfolder : "";
    p->rules = (struct hub_rules){
        p->subfolder, o->platform ? o->platform : "cpu", o->include, o->exclude, o->n_include, o->n_exclude, o->all
    };
    snprintf(p->store.cache, sizeof p->store.cache, "%s", o->cache_dir ? o->cache_dir : "");
    snprintf(p->store.local, sizeof p->store.local, "%s", o->local_dir ? o->local_dir : "");
    rkf_status rc = hub_settings_read(o->token, &p->set, err);
    if (!rc && !*p->store.cache && !hf_cache_dir(p->store.cache, sizeof p->store.cache))
        rc = rkf_fail(err, RKF_INVALID, "nothing says where the cache is: set HF_HOME, or give --cache-dir");
    hf_repo_folder(id, p->store.folder, sizeof p->store.folder);
    p->store.no_links = p->set.no_links;
    p->f = (struct fetcher){ .o = o, .timeout_s = p->set.timeout_s };
    if (!rc && p->set.offline) {
        rc = offline(p, out, err);
    } else if (!rc) {
        struct http_settings hs = { p->set.endpoint, p->set.token, p->set.timeout_s };
        rc = http_open(&hs, &p->f.http, err);
        if (!rc)
            rc = pull_run(p, out, bases, reply, err);
        http_close(p->f.http);
    }
    hub_listing_free(&p->list);
    mem_free(p->state);
    mem_free(p);
    return rc;
}

/* "name" may be one of sentence-transformers' own, as that library takes it. */
static rkf_status pull_named(const struct hub_options *o, struct hub_pulled **out, struct bases *bases, rkf_error *err)
{
    char full[256];
    rkf_error first = { RKF_OK, "" };
    struct http_reply reply = { 0 };
    rkf_status rc = pull_one(o, o->id, out, bases, &reply, &first);
    if (rc == RKF_NOT_FOUND && !strchr(o->id, '/') && strcmp(reply.code, "RevisionNotFound")) {
        snprintf(full, sizeof full, "sentence-transformers/%s", o->id);
        if (!pull_one(o, full, out, bases, &reply, NULL))
            return RKF_OK;
    }
    return rc ? rkf_fail(err, rc, "%s", first.message) : RKF_OK;
}

/* ---- the base model of what is compiled for another platform */

static rkf_status pull_base(const struct hub_options *o, const struct bases *bases, struct hub_pulled *r,
                            rkf_error *err)
{
    char line[600];
    struct bases none;
    struct hub_options b = *o;
    struct http_reply reply = { 0 };
    rkf_status rc = rkf_fail(err, RKF_UNSUPPORTED,
                             "%s has only .rknn files, none of them for %s, and its README.md names no base model: "
                             "give --platform to fetch them for a board",
                             r->id, o->platform ? o->platform : "cpu");
    b.revision = b.subfolder = b.local_dir = NULL;
    for (size_t i = 0; rc && i < bases->n; i++) {
        if (!strcmp(bases->names[i], r->id))
            continue;
        snprintf(line, sizeof line, "%s has only .rknn files, none of them for %s: its base model %s is fetched too",
                 r->id, o->platform ? o->platform : "cpu", bases->names[i]);
        if (o->log)
            o->log(o->log_cookie, RKF_LOG_INFO, line);
        b.id = bases->names[i];
        rc = pull_one(&b, b.id, &r->base, &none, &reply, err);
    }
    return rc;
}

static rkf_status check(const struct hub_options *o, rkf_error *err)
{
    char q[120];
    if (!o->id || !hf_id_valid(o->id))
        return rkf_fail(err, RKF_INVALID,
                        "'%s' is no model id: give one such as sentence-transformers/all-MiniLM-L6-v2",
                        rkf_quote(q, sizeof q, o->id ? o->id : "", o->id ? strlen(o->id) : 0));
    if (o->revision && *o->revision && !hf_revision_valid(o->revision))
        return rkf_fail(err, RKF_INVALID, "'%s' cannot be a revision: give a branch, a tag or a commit",
                        rkf_quote(q, sizeof q, o->revision, strlen(o->revision)));
    if (o->subfolder && *o->subfolder && !hub_name_valid(o->subfolder, strlen(o->subfolder)))
        return rkf_fail(err, RKF_INVALID, "'%s' cannot be a folder of a model",
                        rkf_quote(q, sizeof q, o->subfolder, strlen(o->subfolder)));
    if ((o->cache_dir && strlen(o->cache_dir) >= PATH_MAX) || (o->local_dir && strlen(o->local_dir) >= PATH_MAX))
        return rkf_fail(err, RKF_INVALID, "path too long");
    return RKF_OK;
}

rkf_status hub_pull(const struct hub_options *o, struct hub_pulled **out, rkf_error *err)
{
    struct hub_pulled *r = NULL;
    struct bases bases = { 0 };
    rkf_status rc = check(o, err);
    if (!rc)
        rc = pull_named(o, &r, &bases, err);
    if (!rc && bases.wanted)
        rc = pull_base(o, &bases, r, err);
    if (rc) {
        hub_pulled_free(r);
        return rc;
    }
    *out = r;
    return RKF_OK;
}
