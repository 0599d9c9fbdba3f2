/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer pull: a model from the hub into the Hugging Face cache; its directory goes to standard output. */
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/console.h"
#include "cli/output.h"
#include "hub/hub.h"
#include "npu/npu.h"

#include <string.h>

static void show_progress(void *cookie, uint64_t done, uint64_t fresh, uint64_t total)
{
    (void)cookie;
    progress_show_bytes(done, fresh, total);
}

/* str_list holds pieces of the command line: as strings of their own. */
static rkf_status copy_patterns(const struct str_list *from, const char *const **out, rkf_error *err)
{
    char **p = mem_zalloc(from->n + 1, sizeof *p);
    if (!p)
        return rkf_fail_memory(err, from->n * sizeof *p, "patterns");
    *out = (const char *const *)p;
    for (size_t i = 0; i < from->n; i++)
        if (!(p[i] = mem_strndup(from->p[i].ptr, from->p[i].len)))
            return rkf_fail_memory(err, from->p[i].len, "a pattern");
    return RKF_OK;
}

static void free_patterns(const char *const *p, size_t n)
{
    for (size_t i = 0; p && i < n; i++)
        mem_free((void *)(uintptr_t)p[i]);
    mem_free((void *)(uintptr_t)p);
}

/* ---- output */

static void put_pair(struct buf *b, const char *key, const char *value)
{
    buf_printf(b, ",\"%s\":", key);
    json_put_str(b, value, strlen(value));
}

static void put_json(struct buf *b, const struct hub_pulled *r, const struct options *o)
{
    buf_puts(b, "{\"id\":");
    json_put_str(b, r->id, strlen(r->id));
    put_pair(b, "path", r->path);
    put_pair(b, "revision", r->revision);
    put_pair(b, "commit", r->commit);
    buf_puts(b, ",\"files\":[");
    for (uint32_t i = 0; i < r->n_files; i++) {
        buf_puts(b, i ? ",{\"name\":" : "{\"name\":");
        json_put_str(b, r->files[i].name, strlen(r->files[i].name));
        buf_printf(b, ",\"bytes\":%lld,\"cached\":%s}", (long long)r->files[i].bytes,
                   r->files[i].cached ? "true" : "false");
    }
    buf_printf(b, "],\"bytes\":%llu,\"fetched\":%llu,\"dry_run\":%s,\"base_model\":", (unsigned long long)r->bytes,
               (unsigned long long)r->fetched, o->dry_run ? "true" : "false");
    if (r->base)
        put_json(b, r->base, o);
    else
        buf_puts(b, "null");
    buf_putc(b, '}');
}

/* A line per file: its size, "cached" or "fetch", its name. */
static void put_plan(struct buf *b, const struct hub_pulled *r)
{
    uint64_t missing = 0;
    for (uint32_t i = 0; i < r->n_files; i++) {
        const struct hub_file *f = &r->files[i];
        buf_printf(b, "%12lld  %s  %s\n", (long long)f->bytes, f->cached ? "cached" : "fetch ", f->name);
        missing += !f->cached && f->bytes > 0 ? (uint64_t)f->bytes : 0;
    }
    buf_printf(b, "%s %s: %u files, %.1f MB, of which %.1f MB are to be fetched\n", r->id, r->commit, r->n_files,
               (double)r->bytes / 1e6, (double)missing / 1e6);
    if (r->base)
        put_plan(b, r->base);
}

static rkf_status print(const struct hub_pulled *r, const struct options *o, rkf_error *err)
{
    struct buf b;
    buf_init(&b, 1 << 28);
    if (o->json)
        put_json(&b, r, o);
    else if (o->dry_run)
        put_plan(&b, r);
    else
        buf_puts(&b, r->path);
    if (o->json || !o->dry_run)
        buf_putc(&b, '\n');
    return output_print(&b, err);
}

/* ---- the command */

static rkf_status find_platform(const struct options *o, const char **out, rkf_error *err)
{
    const struct platform *p = NULL;
    struct npu_facts facts;
    rkf_status rc = platform_parse(o->runtime.platform, &p, err);
    if (rc)
        return rc;
    if (!p) {
        npu_detect(o->runtime.root ? o->runtime.root : "/", &facts);
        p = facts.platform;
    }
    *out = p->name;
    return RKF_OK;
}

static rkf_status pull(struct options *o, struct hub_options *h, rkf_error *err)
{
    struct hub_pulled *r = NULL;
    progress_start(!o->quiet);
    rkf_status rc = hub_pull(h, &r, err);
    progress_clear();
    if (!rc)
        rc = print(r, o, err);
    hub_pulled_free(r);
    return rc;
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct hub_options h = {
        .id = o->n_texts ? o->texts[0] : NULL,
        .revision = o->model.revision,
        .subfolder = o->model.subfolder,
        .cache_dir = o->cache_dir,
        .local_dir = o->local_dir,
        .token = o->token,
        .n_include = o->include.n,
        .n_exclude = o->exclude.n,
        .all = o->all,
        .force = o->force,
        .dry_run = o->dry_run,
        .retries = o->retries,
        .log = o->quiet ? NULL : console_log,
        .progress = show_progress,
    };
    if (o->n_texts != 1)
        return rkf_fail(err, RKF_INVALID,
                        "pull takes one model id: rkformer pull sentence-transformers/all-MiniLM-L6-v2");
    rkf_status rc = find_platform(o, &h.platform, err);
    if (!rc)
        rc = copy_patterns(&o->include, &h.include, err);
    if (!rc)
        rc = copy_patterns(&o->exclude, &h.exclude, err);
    if (!rc)
        rc = pull(o, &h, err);
    free_patterns(h.include, h.n_include);
    free_patterns(h.exclude, h.n_exclude);
    return rc;
}

const struct command command_pull = {
    .name = "pull",
    .usage = "[options] ID",
    .summary = "fetch a model from the Hugging Face hub",
    .details =
        "Fetches what is needed to run the model ID (configuration, tokenizer, safetensors, .rknn files of the "
        "platform) into the Hugging Face cache, which it shares with huggingface_hub, and prints its directory. Then "
        "-m ID finds it. What is there already is not fetched again; a pull that was cut off goes on where it was; "
        "every "
        "file's length and hash are checked. A model that has only .rknn files, none of them for this platform, comes "
        "with its base model. --json writes one object: id, path, revision, commit, files (name, bytes, cached), "
        "bytes, "
        "fetched, dry_run, base_model. HF_ENDPOINT names another hub, HF_TOKEN who you are, HF_HUB_OFFLINE=1 forbids "
        "the network, HF_HUB_DOWNLOAD_TIMEOUT says how many seconds to wait without a byte (10), HTTPS_PROXY names a "
        "proxy.",
    .examples = "rkformer pull sentence-transformers/all-MiniLM-L6-v2\n"
                "rkformer pull rk-transformers/all-MiniLM-L6-v2 --platform rk3588\n"
                "rkformer pull BAAI/bge-m3 --dry-run\n"
                "rkformer pull intfloat/e5-small-v2 --local-dir models/e5",
    .takes = FOR_PULL | TAKES_JSON,
    .run = run,
};
