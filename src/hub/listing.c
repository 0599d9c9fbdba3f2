/* SPDX-License-Identifier: Apache-2.0 */
/*
 * {"sha": COMMIT, "siblings": [{"rfilename", "size", "blobId", "lfs": {"sha256", "size"}}, ...], ...}; sizes and ids
 * are there where ?blobs=true was understood.
 */
#include "hub/listing.h"
#include "base/hf_cache.h"
#include "base/mem.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

bool hub_name_valid(const char *name, size_t len)
{
    if (!len || len >= HUB_NAME || len != strlen(name) || name[0] == '/' || name[len - 1] == '/')
        return false;
    for (const char *p = name; p; p = strchr(p, '/')) {
        p += *p == '/';
        size_t n = strcspn(p, "/");
        if (!n || n > 255 || (n <= 2 && !strncmp(p, "..", n)))
            return false;
    }
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return true;
}

static bool etag_valid(const char *s, size_t n)
{
    if (n < 8 || n >= HUB_ETAG || s[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("-_.", s[i]))
            return false;
    return true;
}

bool hub_etag(const char *header, char out[HUB_ETAG])
{
    header += strncmp(header, "W/", 2) ? 0 : 2;
    size_t n = strlen(header);
    if (n >= 2 && header[0] == '"' && header[n - 1] == '"') {
        header++;
        n -= 2;
    }
    if (!etag_valid(header, n))
        return false;
    memcpy(out, header, n);
    out[n] = 0;
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct hub_entry *)a)->name, ((const struct hub_entry *)b)->name);
}

struct hub_entry *hub_listing_find(const struct hub_listing *l, const char *name)
{
    struct hub_entry key = { .name = (char *)(uintptr_t)name };
    return l->n ? bsearch(&key, l->files, l->n, sizeof key, by_name) : NULL;
}

void hub_listing_free(struct hub_listing *l)
{
    for (uint32_t i = 0; i < l->n; i++)
        mem_free(l->files[i].name);
    mem_free(l->files);
    *l = (struct hub_listing){ 0 };
}

static rkf_status read_entry(yyjson_val *v, const char *what, struct hub_entry *out, rkf_error *err)
{
    char q[80];
    const char *name = NULL, *blob = NULL, *sha256 = NULL;
    int64_t bytes = -1;
    rkf_status rc = json_get_str(v, "rfilename", &name, what, err);
    yyjson_val *lfs = yyjson_obj_get(v, "lfs");
    if (!rc && !name)
        rc = rkf_fail(err, RKF_FORMAT, "%s: a file without a name", what);
    if (!rc && !hub_name_valid(name, yyjson_get_len(yyjson_obj_get(v, "rfilename"))))
        rc = rkf_fail(err, RKF_FORMAT, "%s names a file '%s', which leads out of the model's folder: it is not trusted",
                      what, rkf_quote(q, sizeof q, name, strlen(name)));
    if (!rc)
        rc = json_get_str(v, "blobId", &blob, what, err);
    if (!rc)
        rc = json_get_int(v, "size", -1, INT64_MAX, &bytes, what, err);
    if (!rc)
        rc = json_get_str(lfs, "sha256", &sha256, what, err);
    if (!rc)
        rc = json_get_int(lfs, "size", -1, INT64_MAX, &bytes, what, err);
    if (rc)
        return rc;
    const char *etag = sha256 ? sha256 : blob;
    if (etag && bytes >= 0 && !hub_etag(etag, out->etag))
        return rkf_fail(err, RKF_FORMAT, "%s: the id of %s is '%s', which cannot be one", what, name,
                        rkf_quote(q, sizeof q, etag, strlen(etag)));
    out->bytes = out->etag[0] ? bytes : -1;
    out->name = mem_strdup(name);
    return out->name ? RKF_OK : rkf_fail_memory(err, strlen(name), "a file's name");
}

static rkf_status read_all(yyjson_val *root, const char *what, struct hub_listing *l, rkf_error *err)
{
    const char *sha = NULL;
    yyjson_val *files = yyjson_obj_get(root, "siblings"), *v;
    size_t i, n;
    rkf_status rc = json_get_str(root, "sha", &sha, what, err);
    if (rc)
        return rc;
    if (!sha || !hf_commit_valid(sha) || !yyjson_is_arr(files))
        return rkf_fail(err, RKF_FORMAT, "%s is not what a hub answers: no commit or no files", what);
    memcpy(l->commit, sha, sizeof l->commit);
    n = yyjson_arr_size(files);
    if (n > HUB_FILES_MAX)
        return rkf_fail(err, RKF_FORMAT, "%s lists %zu files, more than %d", what, n, HUB_FILES_MAX);
    if (n && !(l->files = mem_zalloc(n, sizeof *l->files)))
        return rkf_fail_memory(err, n * sizeof *l->files, "a list of files");
    yyjson_arr_foreach(files, i, n, v)
    {
        if ((rc = read_entry(v, what, &l->files[l->n], err)))
            return rc;
        l->n++;
    }
    if (l->n)
        qsort(l->files, l->n, sizeof *l->files, by_name);
    for (uint32_t k = 1; k < l->n; k++)
        if (!strcmp(l->files[k - 1].name, l->files[k].name))
            return rkf_fail(err, RKF_FORMAT, "%s lists %s twice", what, l->files[k].name);
    return RKF_OK;
}

rkf_status hub_listing_parse(const char *text, size_t len, const char *what, struct hub_listing *out, rkf_error *err)
{
    struct hub_listing l = { 0 };
    yyjson_doc *doc;
    rkf_status rc = json_parse(text, len, what, &doc, err);
    if (rc)
        return rc;
    rc = read_all(yyjson_doc_get_root(doc), what, &l, err);
    yyjson_doc_free(doc);
    if (rc) {
        hub_listing_free(&l);
        return rc;
    }
    *out = l;
    return RKF_OK;
}
