/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model directory: config.json and what lies beside it, put together. Opens no weights. Where there are .rknn files,
 * a config.json that the native body cannot run is no error yet: spec_error keeps it for whoever asks for that body.
 */
#include "base/mem.h"
#include "model/arch.h"
#include "model/modules.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RKNN_MAX = 1024, DIR_ENTRIES_MAX = 65536 };

void model_dir_close(struct model_dir *m)
{
    if (!m)
        return;
    for (uint32_t i = 0; m->labels && i < m->spec.num_labels; i++)
        mem_free(m->labels[i]);
    for (uint32_t i = 0; i < m->n_prompts; i++) {
        mem_free(m->prompts[i].name);
        mem_free(m->prompts[i].text);
    }
    for (uint32_t i = 0; i < m->n_rknn_files; i++)
        mem_free(m->rknn_files[i]);
    modules_free(m->modules, m->n_modules);
    mem_free(m->labels);
    mem_free(m->prompts);
    mem_free(m->rknn_files);
    mem_free(m->default_prompt_name);
    mem_free(m->similarity);
    mem_free(m->ce_activation);
    mem_free(m->path);
    yyjson_doc_free(m->config_doc);
    mem_free(m);
}

/* ---- .rknn files: in the directory and one level below it */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n > k && !strcmp(s + n - k, end);
}

static rkf_status add_rknn(struct model_dir *m, const char *sub, const char *name, rkf_error *err)
{
    char path[PATH_MAX];
    char **grown = mem_grow(m->rknn_files, m->n_rknn_files + 1, sizeof *grown);
    if (grown)
        m->rknn_files = grown;
    int len = snprintf(path, sizeof path, "%s%s%s", sub, *sub ? "/" : "", name);
    if (!grown || len < 0 || (size_t)len >= sizeof path || !(grown[m->n_rknn_files] = mem_strdup(path)))
        return rkf_fail_memory(err, sizeof *grown, "the list of .rknn files");
    m->n_rknn_files++;
    return RKF_OK;
}

static rkf_status find_rknn(struct model_dir *m, const char *sub, rkf_error *err)
{
    char dir[PATH_MAX], path[PATH_MAX];
    rkf_status rc = RKF_OK;
    DIR *d = path_join(dir, sizeof dir, m->path, sub) ? opendir(dir) : NULL;
    int seen = 0;
    if (!d)
        return RKF_OK;
    for (struct dirent *e; !rc && m->n_rknn_files < RKNN_MAX && seen < DIR_ENTRIES_MAX && (e = readdir(d)); seen++) {
        if (e->d_name[0] == '.' || !path_join(path, sizeof path, dir, e->d_name))
            continue;
        if (ends_with(e->d_name, ".rknn") && path_is_file(path))
            rc = add_rknn(m, sub, e->d_name, err);
        else if (!*sub && path_is_dir(path))
            rc = find_rknn(m, e->d_name, err);
    }
    closedir(d);
    return rc;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* ---- config.json */

static rkf_status read_labels(struct model_dir *m, rkf_error *err)
{
    char key[16], fallback[24];
    yyjson_val *map = yyjson_obj_get(yyjson_doc_get_root(m->config_doc), "id2label");
    if (!(m->labels = mem_zalloc(m->spec.num_labels, sizeof *m->labels)))
        return rkf_fail_memory(err, m->spec.num_labels * sizeof *m->labels, "labels");
    for (uint32_t i = 0; i < m->spec.num_labels; i++) {
        snprintf(key, sizeof key, "%u", i);
        snprintf(fallback, sizeof fallback, "LABEL_%u", i);
        yyjson_val *v = yyjson_obj_get(map, key);
        if (!(m->labels[i] = mem_strdup(yyjson_is_str(v) ? yyjson_get_str(v) : fallback)))
            return rkf_fail_memory(err, sizeof key, "a label");
    }
    return RKF_OK;
}

/* {"sentence_transformers": {"activation_fn": ...}}, before version 4 a key of its own. */
static rkf_status read_ce_activation(struct model_dir *m, rkf_error *err)
{
    yyjson_val *config = yyjson_doc_get_root(m->config_doc);
    const char *name = NULL;
    rkf_status rc = json_get_str(yyjson_obj_get(config, "sentence_transformers"), "activation_fn", &name, "config.json",
                                 err);
    if (!rc && !name)
        rc = json_get_str(config, "sbert_ce_default_activation_function", &name, "config.json", err);
    if (!rc && name && !(m->ce_activation = mem_strdup(name)))
        rc = rkf_fail_memory(err, strlen(name), "an activation's name");
    return rc;
}

/* What is not torch's own is not trusted and falls away, as in sentence-transformers. */
static rkf_status check_ce_activation(struct model_dir *m, rkf_error *err)
{
    enum activation act;
    char q[96];
    if (!m->ce_activation)
        return RKF_OK;
    if (strncmp(m->ce_activation, "torch.", 6) != 0) {
        mem_free(m->ce_activation);
        m->ce_activation = NULL;
    } else if (!activation_parse(m->ce_activation, &act)) {
        return rkf_fail(err, RKF_UNSUPPORTED, "%s: activation_fn \"%s\" is not supported", m->path,
                        rkf_quote(q, sizeof q, m->ce_activation, strlen(m->ce_activation)));
    }
    return RKF_OK;
}

static rkf_status read_config(struct model_dir *m, rkf_error *err)
{
    char what[PATH_MAX];
    rkf_status rc = json_load_optional(m->path, "config.json", &m->config_doc, err);
    if (rc || !m->config_doc)
        return rc;
    m->has_config = true;
    if (!path_join(what, sizeof what, m->path, "config.json"))
        return rkf_fail(err, RKF_INVALID, "path too long: %.200s...", m->path);
    rc = spec_read(yyjson_doc_get_root(m->config_doc), what, &m->spec, &m->spec_error);
    if (rc && (rc != RKF_UNSUPPORTED || !m->n_rknn_files))
        return rkf_fail(err, rc, "%s", m->spec_error.message);
    if (!rc)
        m->spec_error.status = RKF_OK;
    rc = m->spec.arch ? read_labels(m, err) : RKF_OK;
    return rc ? rc : read_ce_activation(m, err);
}

/* ---- open */

/* path -> the directory with the model's root: of a .rknn file, the nearest one above it that has a config.json. */
static rkf_status root_of(const char *path, const char *subfolder, char *root, size_t cap, rkf_error *err)
{
    bool fits = subfolder && *subfolder ? path_join(root, cap, path, subfolder)
                                        : (size_t)snprintf(root, cap, "%s", path) < cap;
    if (!fits || !*root)
        return rkf_fail(err, RKF_INVALID, *path ? "path too long: %.200s..." : "the model's path is empty", path);
    if (path_is_file(root)) {
        char config[PATH_MAX], dir[PATH_MAX];
        if (!ends_with(root, ".rknn"))
            return rkf_fail(err, RKF_INVALID, "%s is neither a model directory nor a .rknn file", root);
        for (int up = 0; up < 2; up++) {
            char *slash = strrchr(root, '/');
            snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - root) : 1, slash ? root : ".");
            snprintf(root, cap, "%s", slash == root ? "/" : dir);
            if (!slash || (path_join(config, sizeof config, root, "config.json") && path_is_file(config)))
                break;
        }
        return RKF_OK;
    }
    if (!path_is_dir(root))
        return rkf_fail(err, RKF_NOT_FOUND, "there is no directory %s", root);
    return RKF_OK;
}

static rkf_status read_all(const char *root, struct model_dir *m, rkf_error *err)
{
    char transformer[256], path[PATH_MAX];
    rkf_status rc = modules_read(root, m, transformer, sizeof transformer, err);
    if (rc)
        return rc;
    if (!path_join(path, sizeof path, root, transformer))
        return rkf_fail(err, RKF_INVALID, "path too long: %.200s...", root);
    if (!(m->path = mem_strdup(*transformer ? path : root)))
        return rkf_fail_memory(err, strlen(path), "a path");
    if ((rc = find_rknn(m, "", err)))
        return rc;
    if (m->n_rknn_files)
        qsort(m->rknn_files, m->n_rknn_files, sizeof *m->rknn_files, by_text);
    rc = read_config(m, err);
    if (!rc)
        rc = st_config_read(root, m, err);
    if (!rc)
        rc = check_ce_activation(m, err);
    if (rc)
        return rc;
    m->has_weights = weights_exist(m->path);
    if (!m->has_config)
        return rkf_fail(err, RKF_NOT_FOUND, "%s has no config.json: it is not a model directory", m->path);
    return RKF_OK;
}

rkf_status model_dir_open(const char *path, const char *subfolder, struct model_dir **out, rkf_error *err)
{
    char root[PATH_MAX];
    rkf_status rc = root_of(path, subfolder, root, sizeof root, err);
    if (rc)
        return rc;
    struct model_dir *m = mem_zalloc(1, sizeof *m);
    if (!m)
        return rkf_fail_memory(err, sizeof *m, "a model directory");
    rc = read_all(root, m, err);
    if (rc) {
        model_dir_close(m);
        return rc;
    }
    *out = m;
    return RKF_OK;
}
