/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files of a repository are needed. In the model's folder and in those of its modules: configuration, tokenizer,
 * safetensors (model.safetensors, else its shards); README.md, whose metadata names the base model; and the .rknn files
 * made for the chosen platform. Never pickles, ONNX, OpenVINO, TensorFlow.
 */
#include "base/mem.h"
#include "hub/listing.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { FOLDERS_MAX = 64 };
#define WEIGHTS "model.safetensors"
#define INDEX   WEIGHTS ".index.json"

static const char *const needed[] = {
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_*_config.json",
    WEIGHTS,
};

static const char *const platforms[] = { "rk3588", "rk3576", "rk3568", "rk3566", "rk3562" };

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

bool hub_glob(const char *pattern, const char *name)
{
    char all[HUB_NAME];
    size_t n = strlen(pattern);
    if (n && pattern[n - 1] == '/' && (size_t)snprintf(all, sizeof all, "%s*", pattern) < sizeof all)
        pattern = all;
    return fnmatch(pattern, name, FNM_NOESCAPE) == 0;
}

static bool any_glob(const char *const *patterns, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (hub_glob(patterns[i], name))
            return true;
    return false;
}

/* The part of a name below the model's folder; NULL: not below it. */
static const char *below(const char *name, const char *folder)
{
    size_t n = strlen(folder);
    if (!n)
        return name;
    return !strncmp(name, folder, n) && name[n] == '/' ? name + n + 1 : NULL;
}

static struct hub_entry *find_in(const struct hub_listing *l, const char *folder, const char *name)
{
    char path[HUB_NAME];
    int n = snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", name);
    return n >= 0 && (size_t)n < sizeof path ? hub_listing_find(l, path) : NULL;
}

/* ---- the model's folder and its modules' */

static void choose_folder(struct hub_listing *l, const char *folder)
{
    for (uint32_t i = 0; i < l->n; i++) {
        const char *rest = below(l->files[i].name, folder);
        if (!rest || strchr(rest, '/'))
            continue;
        for (size_t k = 0; k < sizeof needed / sizeof *needed; k++)
            l->files[i].wanted |= hub_glob(needed[k], rest);
    }
    struct hub_entry *index = find_in(l, folder, INDEX);
    if (index && !find_in(l, folder, WEIGHTS))
        index->wanted = true;
}

/* [{"path": "1_Pooling", ...}, ...]: a folder of each; "" is the model's own. */
static rkf_status choose_modules(struct hub_listing *l, const struct hub_rules *r, const struct hub_texts *t,
                                 rkf_error *err)
{
    char folder[HUB_NAME];
    yyjson_doc *doc;
    yyjson_val *v;
    size_t i, n;
    rkf_status rc = json_parse(t->modules, t->modules_len, "modules.json", &doc, err);
    if (rc)
        return rc;
    yyjson_arr_foreach(yyjson_doc_get_root(doc), i, n, v)
    {
        const char *path = yyjson_get_str(yyjson_obj_get(v, "path"));
        if (i >= FOLDERS_MAX || !path || !*path)
            continue;
        int len = snprintf(folder, sizeof folder, "%s%s%s", r->subfolder, *r->subfolder ? "/" : "", path);
        if (len > 0 && (size_t)len < sizeof folder)
            choose_folder(l, folder);
    }
    yyjson_doc_free(doc);
    return RKF_OK;
}

/* ---- .rknn files */

/* config.json's "rknn": {"rknn/model.rknn": {"target_platform": "rk3588"}}, also flat: {"platform": ...}. */
static const char *platform_of(yyjson_val *rknn, const char *name)
{
    static const char *const keys[] = { "target_platform", "platform" };
    yyjson_val *v = yyjson_obj_get(rknn, name);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *s = yyjson_get_str(yyjson_obj_get(v, keys[i]));
        if (s)
            return s;
    }
    return NULL;
}

static bool contains(const char *s, const char *word)
{
    for (size_t n = strlen(word); *s; s++)
        if (!strncasecmp(s, word, n))
            return true;
    return false;
}

/* A file that nobody says anything of may be for this platform; one whose name has another platform in it is not. */
static bool fits(const char *name, const char *said, const char *platform)
{
    bool others = false;
    if (said)
        return !strncasecmp(said, platform, strlen(platform));
    for (size_t i = 0; i < sizeof platforms / sizeof *platforms; i++)
        others |= contains(name, platforms[i]);
    return !others || contains(name, platform);
}

static rkf_status choose_rknn(struct hub_listing *l, const struct hub_rules *r, const struct hub_texts *t,
                              rkf_error *err)
{
    yyjson_doc *doc = NULL;
    if (!strcmp(r->platform, "cpu"))
        return RKF_OK;
    rkf_status rc = t->config ? json_parse(t->config, t->config_len, "config.json", &doc, err) : RKF_OK;
    if (rc)
        return rc;
    yyjson_val *rknn = yyjson_obj_get(yyjson_doc_get_root(doc), "rknn");
    for (uint32_t i = 0; i < l->n; i++) {
        const char *rest = below(l->files[i].name, r->subfolder);
        if (rest && ends_with(rest, ".rknn"))
            l->files[i].wanted |= fits(rest, platform_of(rknn, rest), r->platform);
    }
    yyjson_doc_free(doc);
    return RKF_OK;
}

/* ---- all together */

static bool by_pattern(const struct hub_rules *r)
{
    return r->all || r->n_include;
}

static void apply_patterns(struct hub_listing *l, const struct hub_rules *r)
{
    for (uint32_t i = 0; i < l->n; i++) {
        struct hub_entry *e = &l->files[i];
        if (r->n_include)
            e->wanted = any_glob(r->include, r->n_include, e->name);
        else if (r->all)
            e->wanted = true;
        if (any_glob(r->exclude, r->n_exclude, e->name))
            e->wanted = false;
    }
}

rkf_status hub_choose(struct hub_listing *l, const struct hub_rules *r, const struct hub_texts *t, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    for (uint32_t i = 0; i < l->n; i++)
        l->files[i].wanted = false;
    if (!by_pattern(r)) {
        struct hub_entry *card = hub_listing_find(l, "README.md");
        if (card)
            card->wanted = true;
        choose_folder(l, r->subfolder);
        rc = t->modules ? choose_modules(l, r, t, err) : RKF_OK;
        if (!rc)
            rc = choose_rknn(l, r, t, err);
    }
    if (!rc)
        apply_patterns(l, r);
    return rc;
}

rkf_status hub_choose_shards(struct hub_listing *l, const struct hub_rules *r, const struct hub_entry *index,
                             const char *text, size_t len, rkf_error *err)
{
    char folder[HUB_NAME];
    yyjson_doc *doc;
    yyjson_val *key, *v;
    size_t i, n;
    rkf_status rc = by_pattern(r) ? RKF_OK : json_parse(text, len, index->name, &doc, err);
    if (rc || by_pattern(r))
        return rc;
    const char *slash = strrchr(index->name, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - index->name) : 0, index->name);
    yyjson_val *map = yyjson_obj_get(yyjson_doc_get_root(doc), "weight_map");
    if (!yyjson_is_obj(map)) {
        yyjson_doc_free(doc);
        return rkf_fail(err, RKF_FORMAT, "%s has no \"weight_map\"", index->name);
    }
    yyjson_obj_foreach(map, i, n, key, v)
    {
        const char *name = yyjson_get_str(v);
        struct hub_entry *shard = name && !strchr(name, '/') ? find_in(l, folder, name) : NULL;
        char q[80];
        if (!shard) {
            rc = rkf_fail(err, RKF_FORMAT, "%s names the shard '%s', which the repository does not have", index->name,
                          rkf_quote(q, sizeof q, name ? name : "", name ? strlen(name) : 0));
            break;
        }
        shard->wanted = !any_glob(r->exclude, r->n_exclude, shard->name);
    }
    yyjson_doc_free(doc);
    return rc;
}

struct hub_kinds hub_kinds(const struct hub_listing *l, const char *subfolder)
{
    static const char *const others[] = { ".onnx", ".gguf", ".h5", ".msgpack", ".tflite", ".ot" };
    struct hub_kinds k = { 0 };
    for (uint32_t i = 0; i < l->n; i++) {
        const struct hub_entry *e = &l->files[i];
        const char *rest = below(e->name, subfolder);
        if (!rest)
            continue;
        const char *base = strrchr(rest, '/') ? strrchr(rest, '/') + 1 : rest;
        k.rknn |= ends_with(rest, ".rknn");
        k.rknn_wanted |= ends_with(rest, ".rknn") && e->wanted;
        k.pickle |= !strncmp(base, "pytorch_model", 13) && contains(base, ".bin");
        k.weights |= e->wanted && ends_with(rest, ".safetensors") && (base == rest || !strncmp(rest, "0_", 2));
        for (size_t j = 0; j < sizeof others / sizeof *others; j++)
            k.other |= ends_with(rest, others[j]);
    }
    return k;
}
