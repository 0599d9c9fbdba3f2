/* SPDX-License-Identifier: Apache-2.0 */
/* What to serve and how: -m's syntax and the YAML file, both from the same tables of names. */
#include "server/server.h"

#include "base/buf.h"
#include "base/dynlib.h"
#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { FILE_MAX = 4 << 20, NAME_MAX_LEN = 64 };

enum kind {
    KIND_TEXT,    /* const char * */
    KIND_LIST,    /* struct server_strings */
    KIND_INT,     /* int64_t from lo to hi */
    KIND_INT32,   /* int32_t from lo to hi */
    KIND_BYTES,   /* int64_t: "64MiB", "1G", "5000" */
    KIND_SECONDS, /* int64_t milliseconds: "0.5" */
    KIND_BOOL,    /* bool */
    KIND_SWITCH,  /* rkf_switch */
};
struct setting {
    const char *name;
    enum kind kind;
    size_t at;
    int64_t lo, hi;
};

#define AT(member)      offsetof(struct server_config, member)
#define RUNTIME(member) AT(runtime) + offsetof(rkf_runtime_options, member)
#define DEFAULT(member) AT(defaults) + offsetof(struct server_model, open) + offsetof(rkf_model_options, member)
static const struct setting settings[] = {
    { "listen", KIND_LIST, AT(listen) },
    { "tls-cert", KIND_TEXT, AT(tls_cert) },
    { "tls-key", KIND_TEXT, AT(tls_key) },
    { "api-key-file", KIND_TEXT, AT(api_key_file) },
    { "admin-key-file", KIND_TEXT, AT(admin_key_file) },
    { "cors-allow-origin", KIND_LIST, AT(cors) },
    { "payload-limit", KIND_BYTES, AT(payload_limit), 1, 1 << 30 },
    { "body-memory", KIND_BYTES, AT(body_memory), 1, INT64_MAX },
    { "max-client-batch-size", KIND_INT, AT(max_batch), 1, INT32_MAX },
    { "split", KIND_INT, AT(chunk), 1, INT32_MAX },
    { "max-concurrent-requests", KIND_INT, AT(max_concurrent), 1, INT32_MAX },
    { "cache", KIND_BYTES, AT(cache_bytes), 0, INT64_MAX },
    { "max-connections", KIND_INT, AT(max_connections), 1, 1 << 20 },
    { "header-timeout", KIND_SECONDS, AT(header_timeout_ms), 1, 86400000 },
    { "idle-timeout", KIND_SECONDS, AT(idle_timeout_ms), 1, 86400000 },
    { "timeout", KIND_SECONDS, AT(timeout_ms), 0, 86400000 },
    { "drain-timeout", KIND_SECONDS, AT(drain_ms), 0, 86400000 },
    { "http-threads", KIND_INT, AT(http_threads), 1, 256 },
    { "auto-truncate", KIND_SWITCH, AT(auto_truncate) },
    { "json-log", KIND_BOOL, AT(json_log) },
    { "systemd", KIND_BOOL, AT(systemd) },
    { "platform", KIND_TEXT, RUNTIME(platform) },
    { "device", KIND_TEXT, RUNTIME(device) },
    { "require-npu", KIND_BOOL, RUNTIME(require_npu) },
    { "no-pin", KIND_BOOL, RUNTIME(no_pin) },
    { "threads", KIND_INT32, RUNTIME(threads), 0, 1024 },
    { "batch-tokens", KIND_INT32, RUNTIME(batch_tokens), 0, INT32_MAX },
    { "queue-limit", KIND_INT32, RUNTIME(queue_limit), 0, INT32_MAX },
    { "lock-dir", KIND_TEXT, RUNTIME(lock_dir) },
    { "npu-runtime", KIND_TEXT, RUNTIME(npu_runtime) },
    { "cpu-flags", KIND_TEXT, RUNTIME(cpu_flags) },
    { "core-mask", KIND_TEXT, DEFAULT(core_mask) },
    { "dtype", KIND_TEXT, DEFAULT(dtype) },
    { "revision", KIND_TEXT, DEFAULT(revision) },
    { "pack-cache", KIND_TEXT, DEFAULT(pack_cache) },
    { "cpu-fallback", KIND_BOOL, DEFAULT(cpu_fallback) },
    { "max-length", KIND_INT32, DEFAULT(max_length), 1, INT32_MAX },
    { NULL },
};
#undef AT

#define AT(member)   offsetof(struct server_model, member)
#define OPEN(member) AT(open) + offsetof(rkf_model_options, member)
static const struct setting model_settings[] = {
    { "path", KIND_TEXT, OPEN(path) },
    { "name", KIND_TEXT, OPEN(name) },
    { "core-mask", KIND_TEXT, OPEN(core_mask) },
    { "mask", KIND_TEXT, OPEN(core_mask) },
    { "device", KIND_TEXT, OPEN(device) },
    { "dtype", KIND_TEXT, OPEN(dtype) },
    { "revision", KIND_TEXT, OPEN(revision) },
    { "subfolder", KIND_TEXT, OPEN(subfolder) },
    { "file-name", KIND_TEXT, OPEN(file_name) },
    { "pack-cache", KIND_TEXT, OPEN(pack_cache) },
    { "exclusive", KIND_BOOL, OPEN(exclusive) },
    { "cpu-fallback", KIND_BOOL, OPEN(cpu_fallback) },
    { "priority", KIND_INT32, OPEN(priority), -1000, 1000 },
    { "max-length", KIND_INT32, OPEN(max_length), 1, INT32_MAX },
    { "limit", KIND_INT, AT(limit), 1, INT32_MAX },
    { NULL },
};
#undef AT

/* ---- values */

static char *copy(struct server_config *c, const char *s, size_t len)
{
    char *p = arena_alloc(&c->mem, len + 1);
    if (p) {
        memcpy(p, s, len);
        p[len] = 0;
    }
    return p;
}

static rkf_status bad(const struct setting *s, const char *value, const char *expected, rkf_error *err)
{
    char quoted[80];
    return rkf_fail(err, RKF_INVALID, "%s is '%s': expected %s", s->name,
                    rkf_quote(quoted, sizeof quoted, value, strlen(value)), expected);
}

static rkf_status out_of_range(const struct setting *s, const char *value, rkf_error *err)
{
    return rkf_fail(err, RKF_INVALID, "%s is %.40s: allowed is %lld to %lld", s->name, value, (long long)s->lo,
                    (long long)s->hi);
}

static rkf_status read_int(const struct setting *s, const char *value, int64_t *out, rkf_error *err)
{
    char *end;
    errno = 0;
    long long n = strtoll(value, &end, 10);
    if (end == value || *end)
        return bad(s, value, "a whole number", err);
    if (errno || n < s->lo || n > s->hi)
        return out_of_range(s, value, err);
    *out = n;
    return RKF_OK;
}

static rkf_status read_bytes(const struct setting *s, const char *value, int64_t *out, rkf_error *err)
{
    static const struct {
        const char *unit;
        int shift;
    } units[] = { { "", 0 },    { "B", 0 },    { "K", 10 }, { "KB", 10 }, { "KiB", 10 }, { "M", 20 },
                  { "MB", 20 }, { "MiB", 20 }, { "G", 30 }, { "GB", 30 }, { "GiB", 30 } };
    char *end;
    errno = 0;
    long long n = strtoll(value, &end, 10);
    for (size_t i = 0; end != value && i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].unit))
            continue;
        if (errno || n < 0 || n > s->hi >> units[i].shift || n << units[i].shift < s->lo)
            return out_of_range(s, value, err);
        *out = n << units[i].shift;
        return RKF_OK;
    }
    return bad(s, value, "a size such as 16MiB", err);
}

static rkf_status read_seconds(const struct setting *s, const char *value, int64_t *out, rkf_error *err)
{
    char *end;
    double d = strtod(value, &end);
    if (end == value || *end || !(d >= 0))
        return bad(s, value, "seconds", err);
    if (d * 1000 < (double)s->lo || d * 1000 > (double)s->hi)
        return rkf_fail(err, RKF_INVALID, "%s is %.40s: allowed is %.3g to %.6g seconds", s->name, value,
                        (double)s->lo / 1000, (double)s->hi / 1000);
    *out = (int64_t)(d * 1000);
    return RKF_OK;
}

static rkf_status read_bool(const struct setting *s, const char *value, bool *out, rkf_error *err)
{
    static const char *const words[] = { "false", "true", "no", "yes", "off", "on", "0", "1" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(value, words[i])) {
            *out = i & 1;
            return RKF_OK;
        }
    return bad(s, value, "true or false", err);
}

static rkf_status add_string(struct server_config *c, struct server_strings *list, const char *value, rkf_error *err)
{
    const char **p = arena_array(&c->mem, list->n + 1, sizeof *p);
    char *s = copy(c, value, strlen(value));
    if (!p || !s)
        return rkf_fail_memory(err, strlen(value), "the configuration");
    if (list->n)
        memcpy(p, list->p, list->n * sizeof *p);
    p[list->n] = s;
    *list = (struct server_strings){ p, list->n + 1 };
    return RKF_OK;
}

/* Sets base + s->at; what is not zero stays. */
static rkf_status set(struct server_config *c, const struct setting *s, void *base, const char *value, rkf_error *err)
{
    void *at = (char *)base + s->at;
    int64_t n = 0;
    bool b = false;
    rkf_status rc = RKF_OK;
    switch (s->kind) {
    case KIND_TEXT:
        if (!*(const char **)at && !(*(const char **)at = copy(c, value, strlen(value))))
            rc = rkf_fail_memory(err, strlen(value), "the configuration");
        return rc;
    case KIND_LIST:
        return add_string(c, at, value, err);
    case KIND_INT:
    case KIND_INT32:
        rc = read_int(s, value, &n, err);
        break;
    case KIND_BYTES:
        rc = read_bytes(s, value, &n, err);
        break;
    case KIND_SECONDS:
        rc = read_seconds(s, value, &n, err);
        break;
    default:
        rc = read_bool(s, value, &b, err);
    }
    if (rc)
        return rc;
    if (s->kind == KIND_BOOL)
        *(bool *)at |= b;
    else if (s->kind == KIND_SWITCH)
        *(rkf_switch *)at = *(rkf_switch *)at ? *(rkf_switch *)at : b ? RKF_ON : RKF_OFF;
    else if (s->kind == KIND_INT32)
        *(int32_t *)at = *(int32_t *)at ? *(int32_t *)at : (int32_t)n;
    else
        *(int64_t *)at = *(int64_t *)at ? *(int64_t *)at : n;
    return RKF_OK;
}

/* Underscores count as dashes. */
static rkf_status find(const struct setting *table, const char *name, size_t len, const char *where,
                       const struct setting **out, rkf_error *err)
{
    char plain[NAME_MAX_LEN], quoted[80];
    for (size_t i = 0; i < len && i < sizeof plain; i++)
        plain[i] = name[i] == '_' ? '-' : name[i];
    for (const struct setting *s = table; len < sizeof plain && s->name; s++)
        if (strlen(s->name) == len && !memcmp(s->name, plain, len)) {
            *out = s;
            return RKF_OK;
        }
    struct buf known;
    buf_init(&known, 512);
    for (const struct setting *s = table; s->name; s++)
        buf_printf(&known, "%s%s", s == table ? "" : ", ", s->name);
    rkf_status rc = rkf_fail(err, RKF_INVALID, "%s: unknown setting '%s': use %s", where,
                             rkf_quote(quoted, sizeof quoted, name, len),
                             known.p && !known.failed ? known.p : "those of docs/server.md");
    buf_free(&known);
    return rc;
}

static rkf_status push_model(struct server_config *c, const struct server_model *m, rkf_error *err)
{
    struct server_model *p = arena_array(&c->mem, c->n_models + 1, sizeof *p);
    if (!p)
        return rkf_fail_memory(err, sizeof *p, "the configuration");
    if (c->n_models)
        memcpy(p, c->models, c->n_models * sizeof *p);
    p[c->n_models++] = *m;
    c->models = p;
    return RKF_OK;
}

/* ---- -m */

/* "key=value" or, for switches, "key". */
static rkf_status set_model(struct server_config *c, struct server_model *m, char *word, rkf_error *err)
{
    const struct setting *s = NULL;
    char *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    rkf_status rc = find(model_settings, word, len, "-m", &s, err);
    if (rc)
        return rc;
    if (!equals && s->kind != KIND_BOOL)
        return rkf_fail(err, RKF_INVALID, "-m: %s needs a value: %s=...", s->name, s->name);
    return set(c, s, m, equals ? equals + 1 : "true", err);
}

/* NAME=PATH: a name has no slash, and a file named a=b is given as ./a=b. */
static void split_name(struct server_model *m, char *first)
{
    char *equals = strchr(first, '=');
    m->open.path = first;
    if (!equals || memchr(first, '/', (size_t)(equals - first)))
        return;
    *equals = 0;
    m->open.name = first;
    m->open.path = equals + 1;
}

rkf_status server_config_add_model(struct server_config *c, const char *spec, rkf_error *err)
{
    struct server_model m = { .open = RKF_MODEL_OPTIONS_INIT };
    char *text = copy(c, spec, strlen(spec)), *save = NULL;
    if (!text)
        return rkf_fail_memory(err, strlen(spec), "the configuration");
    char *word = strtok_r(text, ",", &save);
    if (!word)
        return rkf_fail(err, RKF_INVALID, "-m needs a model: [NAME=]PATH[,mask=0][,device=cpu][,...]");
    split_name(&m, word);
    if (!*m.open.path || (m.open.name && !*m.open.name))
        return rkf_fail(err, RKF_INVALID, "-m %.80s: name or path is empty: use NAME=PATH", spec);
    rkf_status rc = RKF_OK;
    while (!rc && (word = strtok_r(NULL, ",", &save)))
        rc = set_model(c, &m, word, err);
    return rc ? rc : push_model(c, &m, err);
}

rkf_status server_config_set(struct server_config *c, const char *name, const char *value, rkf_error *err)
{
    const struct setting *s = NULL;
    if (!strcmp(name, "model"))
        return server_config_add_model(c, value, err);
    rkf_status rc = find(settings, name, strlen(name), "serve", &s, err);
    return rc ? rc : set(c, s, c, value, err);
}

/* ---- libyaml, loaded by the first file that is read */

#define YAML_CALLS(X)                                                                                                  \
    X(parser_initialize)                                                                                               \
    X(parser_set_input_string)                                                                                         \
    X(parser_load)                                                                                                     \
    X(parser_delete)                                                                                                   \
    X(document_get_root_node)                                                                                          \
    X(document_get_node)                                                                                               \
    X(document_delete)

static struct {
#define MEMBER(name) __typeof__(yaml_##name) *name;
    YAML_CALLS(MEMBER)
#undef MEMBER
} yaml;

static rkf_status load_yaml(rkf_error *err)
{
    static const char *const names[] = { "libyaml-0.so.2", NULL };
#define SYMBOL(name) { "yaml_" #name, &yaml.name },
    static const struct dynlib_symbol symbols[] = { YAML_CALLS(SYMBOL) };
#undef SYMBOL
    static struct dynlib library = { names,
                                     symbols,
                                     sizeof symbols / sizeof *symbols,
                                     "reading a configuration file",
                                     "install it (Debian's libyaml-0-2), or say it all in options",
                                     false };
    return dynlib_load(&library, err);
}

/* ---- the file */

struct file {
    struct server_config *c;
    const char *path;
    yaml_document_t doc;
};

static const char *scalar(const yaml_node_t *n)
{
    const char *s = n && n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
    return s && strlen(s) == n->data.scalar.length ? s : NULL;
}

static rkf_status bad_node(const struct file *f, const yaml_node_t *n, const char *expected, rkf_error *err)
{
    return rkf_fail(err, RKF_FORMAT, "%s, line %zu: expected %s", f->path, n ? n->start_mark.line + 1 : 1, expected);
}

static yaml_node_t *node(struct file *f, int index)
{
    return yaml.document_get_node(&f->doc, index);
}

static rkf_status set_from_node(struct file *f, const struct setting *s, void *base, yaml_node_t *v, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    const char *text = scalar(v);
    if (text)
        rc = set(f->c, s, base, text, err);
    else if (s->kind != KIND_LIST || v->type != YAML_SEQUENCE_NODE)
        return bad_node(f, v, "one value", err);
    if (!text && ((const struct server_strings *)(const void *)((char *)base + s->at))->n)
        return RKF_OK; /* the command line's list stands */
    for (yaml_node_item_t *i = v->data.sequence.items.start; !text && !rc && i < v->data.sequence.items.top; i++) {
        const char *item = scalar(node(f, *i));
        rc = item ? set(f->c, s, base, item, err) : bad_node(f, node(f, *i), "a list of strings", err);
    }
    return rc ? rkf_fail_within(err, rc, "%s, line %zu", f->path, v->start_mark.line + 1) : RKF_OK;
}

static rkf_status read_mapping(struct file *f, yaml_node_t *map, const struct setting *table, void *base,
                               rkf_error *err)
{
    rkf_status rc = RKF_OK;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; !rc && p < map->data.mapping.pairs.top; p++) {
        const struct setting *s = NULL;
        const char *key = scalar(node(f, p->key));
        char where[160];
        if (!key)
            return bad_node(f, node(f, p->key), "a name", err);
        if (table == settings && !strcmp(key, "models"))
            continue;
        snprintf(where, sizeof where, "%.120s, line %zu", f->path, node(f, p->key)->start_mark.line + 1);
        rc = find(table, key, strlen(key), where, &s, err);
        if (!rc)
            rc = set_from_node(f, s, base, node(f, p->value), err);
    }
    return rc;
}

static rkf_status read_models(struct file *f, yaml_node_t *list, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    if (list->type != YAML_SEQUENCE_NODE)
        return bad_node(f, list, "a list of models", err);
    for (yaml_node_item_t *i = list->data.sequence.items.start; !rc && i < list->data.sequence.items.top; i++) {
        yaml_node_t *n = node(f, *i);
        struct server_model m = { .open = RKF_MODEL_OPTIONS_INIT };
        if (scalar(n)) {
            rc = server_config_add_model(f->c, scalar(n), err);
            continue;
        }
        if (n->type != YAML_MAPPING_NODE)
            return bad_node(f, n, "a model: a string as for -m, or a mapping with path", err);
        rc = read_mapping(f, n, model_settings, &m, err);
        if (!rc && !m.open.path)
            rc = bad_node(f, n, "a path for this model", err);
        if (!rc)
            rc = push_model(f->c, &m, err);
    }
    return rc;
}

static rkf_status read_document(struct file *f, rkf_error *err)
{
    yaml_node_t *root = yaml.document_get_root_node(&f->doc);
    if (!root)
        return RKF_OK; /* an empty file */
    if (root->type != YAML_MAPPING_NODE)
        return bad_node(f, root, "names and values", err);
    rkf_status rc = read_mapping(f, root, settings, f->c, err);
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; !rc && p < root->data.mapping.pairs.top; p++)
        if (!strcmp(scalar(node(f, p->key)), "models"))
            rc = read_models(f, node(f, p->value), err);
    return rc;
}

rkf_status server_config_parse(struct server_config *c, const char *text, size_t len, const char *path, rkf_error *err)
{
    yaml_parser_t parser;
    struct file f = { .c = c, .path = path };
    rkf_status rc = load_yaml(err);
    if (rc)
        return rc;
    if (!yaml.parser_initialize(&parser))
        return rkf_fail_memory(err, sizeof parser, "reading the configuration");
    yaml.parser_set_input_string(&parser, (const unsigned char *)text, len);
    if (!yaml.parser_load(&parser, &f.doc)) {
        rc = rkf_fail(err, RKF_FORMAT, "%s is not YAML: %s in line %zu", path,
                      parser.problem ? parser.problem : "broken", parser.problem_mark.line + 1);
    } else {
        rc = read_document(&f, err);
        yaml.document_delete(&f.doc);
    }
    yaml.parser_delete(&parser);
    return rc;
}

rkf_status server_config_load(struct server_config *c, const char *path, rkf_error *err)
{
    char *text = NULL;
    size_t len = 0;
    rkf_status rc = file_read(path, FILE_MAX, &text, &len, err);
    if (!rc)
        rc = server_config_parse(c, text, len, path, err);
    mem_free(text);
    return rc;
}

void server_config_free(struct server_config *c)
{
    arena_free(&c->mem);
    *c = (struct server_config)SERVER_CONFIG_INIT;
}
