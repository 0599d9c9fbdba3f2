/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to run where only graphs compiled for an NPU are given and there is none: the model they were made from.
 * README.md is not trusted to name a directory: only ids, and only what the cache holds of them.
 */
#include "base/front_matter.h"
#include "base/hf_cache.h"
#include "base/mem.h"
#include "model/model.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { CARD_MAX = 16 << 20, BASES_MAX = 8 };

static bool dir_has(const char *dir, const char *name)
{
    char path[PATH_MAX];
    return path_join(path, sizeof path, dir, name) && path_is_file(path);
}

/* Made of .rknn files, and no weights of its own in whatever format: those of a base model would be others. */
static bool is_compiled(const struct model_dir *m, const char *card, size_t len)
{
    static const char *const pickles[] = { "pytorch_model.bin", "pytorch_model.bin.index.json" };
    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++)
        if (dir_has(m->path, pickles[i]))
            return false;
    return m->n_rknn_files || yyjson_is_obj(yyjson_obj_get(yyjson_doc_get_root(m->config_doc), "rknn")) ||
           front_matter_says(card, len, "library_name", "rk-transformers") ||
           front_matter_says(card, len, "tags", "rknn");
}

rkf_status model_base(const char *root, const struct model_dir *m, struct base_model *out, bool *found, rkf_error *err)
{
    char bases[BASES_MAX][FRONT_MATTER_VALUE], cache[PATH_MAX], path[PATH_MAX], *card = NULL;
    size_t len = 0, n = 0;
    *found = false;
    if (!path_join(path, sizeof path, path_is_dir(root) ? root : m->path, "README.md") ||
        file_read(path, CARD_MAX, &card, &len, NULL))
        card = NULL;
    bool compiled = is_compiled(m, card ? card : "", len);
    n = card ? front_matter_bases(card, len, bases, BASES_MAX) : 0;
    mem_free(card);
    if (m->has_weights || !compiled)
        return RKF_OK;
    if (!n)
        return rkf_fail(err, RKF_UNAVAILABLE,
                        "%s holds only graphs compiled for an NPU, which this runtime does not have, and its README.md "
                        "names no base model to run instead: give the model that they were made from",
                        m->path);
    if (!hf_cache_dir(cache, sizeof cache))
        return rkf_fail(err, RKF_NOT_FOUND,
                        "%s needs its base model %s, and there is no Hugging Face cache: set HF_HOME", m->path,
                        bases[0]);
    for (size_t i = 0; i < n; i++)
        if (hf_snapshot(cache, bases[i], "main", path, sizeof path)) {
            snprintf(out->id, sizeof out->id, "%.*s", (int)sizeof out->id - 1, bases[i]);
            snprintf(out->path, sizeof out->path, "%s", path);
            *found = true;
            return RKF_OK;
        }
    return rkf_fail(err, RKF_NOT_FOUND,
                    "%s holds only graphs compiled for an NPU, which this runtime does not have, and its base model %s "
                    "is not in the Hugging Face cache %s: rkformer pull %s fetches it",
                    m->path, bases[0], cache, bases[0]);
}
