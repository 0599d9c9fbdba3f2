/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tensors by name: model.safetensors mapped, or the shards that model.safetensors.index.json lists. Refuses an index
 * that names files elsewhere, a tensor that its file does not have, and one that two files have. pytorch_model.bin is a
 * pickle, that is a program, and is never read.
 */
#include "base/mem.h"
#include "model/model.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define SINGLE "model.safetensors"
#define INDEX  SINGLE ".index.json"
enum { INDEX_MAX = 64 << 20, SHARDS_MAX = 1024 };

struct shard {
    char *name; /* file name */
    struct file_map map;
    struct tensor *tensors;
    uint32_t n;
};

struct weights {
    struct shard *shards;
    uint32_t n_shards;
    const struct tensor **sorted; /* [n] by name */
    uint32_t n;
};

void weights_close(struct weights *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; i < w->n_shards; i++) {
        safetensors_free(w->shards[i].tensors, w->shards[i].n);
        file_unmap(&w->shards[i].map);
        mem_free(w->shards[i].name);
    }
    mem_free(w->shards);
    mem_free(w->sorted);
    mem_free(w);
}

static rkf_status shard_open(struct weights *w, const char *dir, const char *name, rkf_error *err)
{
    char path[PATH_MAX];
    if (!path_join(path, sizeof path, dir, name))
        return rkf_fail(err, RKF_INVALID, "path too long: %.200s...", dir);
    struct shard s = { .map = { .fd = -1 } };
    rkf_status rc = file_map(path, &s.map, err);
    if (rc)
        return rc;
    rc = safetensors_parse(s.map.p, s.map.len, path, &s.tensors, &s.n, err);
    if (rc)
        goto fail;
    struct shard *grown = mem_grow(w->shards, w->n_shards + 1, sizeof *grown);
    if (grown)
        w->shards = grown;
    if (!grown || !(s.name = mem_strdup(name))) {
        rc = rkf_fail_memory(err, sizeof *grown, path);
        goto fail;
    }
    w->shards[w->n_shards++] = s;
    return RKF_OK;
fail:
    safetensors_free(s.tensors, s.n);
    file_unmap(&s.map);
    return rc;
}

static int by_name(const void *pa, const void *pb)
{
    return strcmp((*(const struct tensor *const *)pa)->name, (*(const struct tensor *const *)pb)->name);
}

static rkf_status sort_all(struct weights *w, const char *dir, rkf_error *err)
{
    size_t n = 0;
    for (uint32_t i = 0; i < w->n_shards; i++)
        n += w->shards[i].n;
    if (!(w->sorted = mem_array(n, sizeof *w->sorted)))
        return rkf_fail_memory(err, n * sizeof *w->sorted, "the table of tensors");
    for (uint32_t i = 0; i < w->n_shards; i++)
        for (uint32_t j = 0; j < w->shards[i].n; j++)
            w->sorted[w->n++] = &w->shards[i].tensors[j];
    qsort(w->sorted, w->n, sizeof *w->sorted, by_name);
    char q[64];
    for (uint32_t i = 1; i < w->n; i++)
        if (!strcmp(w->sorted[i - 1]->name, w->sorted[i]->name))
            return rkf_fail(err, RKF_FORMAT, "%s: tensor %s is in two shards", dir,
                            rkf_quote(q, sizeof q, w->sorted[i]->name, strlen(w->sorted[i]->name)));
    return RKF_OK;
}

static const struct shard *shard_find(const struct weights *w, const char *name)
{
    for (uint32_t i = 0; i < w->n_shards; i++)
        if (!strcmp(w->shards[i].name, name))
            return &w->shards[i];
    return NULL;
}

static bool shard_has(const struct shard *s, const char *name)
{
    uint32_t lo = 0, hi = s->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = strcmp(s->tensors[mid].name, name);
        if (!c)
            return true;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

/* A shard is a file of the same folder: a name from an index must not lead elsewhere. */
static bool is_plain_name(const char *s, size_t len)
{
    return len && len == strlen(s) && len < NAME_MAX && !strchr(s, '/') && s[0] != '.';
}

static rkf_status open_shards(struct weights *w, const char *dir, yyjson_val *map, rkf_error *err)
{
    char q[64], f[64];
    size_t i, n;
    yyjson_val *key, *v;
    if (!yyjson_is_obj(map) || !yyjson_obj_size(map))
        return rkf_fail(err, RKF_FORMAT, "%s/" INDEX ": \"weight_map\" must name at least one tensor", dir);
    yyjson_obj_foreach(map, i, n, key, v)
    {
        const char *file = yyjson_get_str(v), *name = yyjson_get_str(key);
        rkf_quote(q, sizeof q, name, yyjson_get_len(key));
        if (!file || !is_plain_name(file, yyjson_get_len(v)))
            return rkf_fail(err, RKF_FORMAT, "%s/" INDEX ": the file of tensor %s is not a plain file name", dir, q);
        const struct shard *s = shard_find(w, file);
        if (!s && w->n_shards == SHARDS_MAX)
            return rkf_fail(err, RKF_FORMAT, "%s/" INDEX ": more than %d shards", dir, SHARDS_MAX);
        rkf_status rc = s ? RKF_OK : shard_open(w, dir, file, err);
        if (rc)
            return rc;
        if (!shard_has(s ? s : &w->shards[w->n_shards - 1], name))
            return rkf_fail(err, RKF_FORMAT, "%s/" INDEX ": tensor %s is not in %s", dir, q,
                            rkf_quote(f, sizeof f, file, strlen(file)));
    }
    return RKF_OK;
}

static rkf_status open_index(struct weights *w, const char *dir, rkf_error *err)
{
    yyjson_doc *doc;
    rkf_status rc = json_load(dir, INDEX, INDEX_MAX, &doc, err);
    if (rc)
        return rc;
    rc = open_shards(w, dir, yyjson_obj_get(yyjson_doc_get_root(doc), "weight_map"), err);
    yyjson_doc_free(doc);
    return rc;
}

static bool dir_has(const char *dir, const char *name)
{
    char path[PATH_MAX];
    return path_join(path, sizeof path, dir, name) && path_is_file(path);
}

bool weights_exist(const char *dir)
{
    return dir_has(dir, SINGLE) || dir_has(dir, INDEX);
}

static rkf_status weights_missing(const char *dir, rkf_error *err)
{
    static const char *const pickles[] = { "pytorch_model.bin", "pytorch_model.bin.index.json" };
    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++)
        if (dir_has(dir, pickles[i]))
            return rkf_fail(err, RKF_UNSUPPORTED,
                            "%s has its weights only as %s, a pickle that could run any code and is not read: convert "
                            "it once with transformers: AutoModel.from_pretrained(DIR).save_pretrained(DIR) (take the "
                            "class that config.json names under \"architectures\")",
                            dir, pickles[i]);
    return rkf_fail(err, RKF_NOT_FOUND, "%s has no " SINGLE " and no " INDEX ": fetch the weights, or check the path",
                    dir);
}

rkf_status weights_open(const char *dir, struct weights **out, rkf_error *err)
{
    if (!weights_exist(dir))
        return weights_missing(dir, err);
    struct weights *w = mem_zalloc(1, sizeof *w);
    if (!w)
        return rkf_fail_memory(err, sizeof *w, "weights");
    rkf_status rc = dir_has(dir, SINGLE) ? shard_open(w, dir, SINGLE, err) : open_index(w, dir, err);
    if (!rc)
        rc = sort_all(w, dir, err);
    if (rc) {
        weights_close(w);
        return rc;
    }
    *out = w;
    return RKF_OK;
}

const struct tensor *weights_find(const struct weights *w, const char *name)
{
    struct tensor key = { .name = name };
    const struct tensor *p = &key, **hit = bsearch(&p, w->sorted, w->n, sizeof *w->sorted, by_name);
    return hit ? *hit : NULL;
}

uint32_t weights_count(const struct weights *w)
{
    return w->n;
}

const struct tensor *weights_at(const struct weights *w, uint32_t i)
{
    return i < w->n ? w->sorted[i] : NULL;
}

size_t weights_bytes(const struct weights *w)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < w->n; i++)
        bytes += w->sorted[i]->bytes;
    return bytes;
}

uint64_t weights_identity(const struct weights *w)
{
    uint64_t h = 0;
    for (uint32_t i = 0; i < w->n_shards; i++) {
        const struct shard *s = &w->shards[i];
        const uint64_t facts[] = { s->map.len, (uint64_t)s->map.mtime_ns, s->map.inode };
        for (const char *c = s->name; *c; c++)
            h = (h ^ (uint8_t)*c) * 0x100000001b3u;
        for (size_t f = 0; f < sizeof facts / sizeof *facts; f++)
            h = (h ^ facts[f]) * 0x9E3779B97F4A7C15u;
    }
    return h;
}

bool weights_changed(const struct weights *w)
{
    for (uint32_t i = 0; i < w->n_shards; i++)
        if (file_map_changed(&w->shards[i].map))
            return true;
    return false;
}

void weights_drop(const struct weights *w, const struct tensor *t)
{
    for (uint32_t i = 0; i < w->n_shards; i++) {
        const struct file_map *m = &w->shards[i].map;
        const uint8_t *p = t ? t->data : m->p;
        if (p >= m->p && p < m->p + m->len)
            file_map_drop(m, (size_t)(p - m->p), t ? (size_t)(p - m->p) + t->bytes : m->len);
    }
}
