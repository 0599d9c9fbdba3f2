/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub/listing: any answer is read or refused with a message; every name that was read stays below a folder, every etag
 * is a file name, and the choice of files can be made with any modules.json and config.json.
 */
#include "base/hf_cache.h"
#include "fuzz.h"
#include "hub/listing.h"

#include <string.h>

static void check_names(const struct hub_listing *l)
{
    FUZZ_CHECK(hf_commit_valid(l->commit));
    for (uint32_t i = 0; i < l->n; i++) {
        const struct hub_entry *e = &l->files[i];
        FUZZ_CHECK(e->name[0] && e->name[0] != '/' && strcmp(e->name, "..") && strncmp(e->name, "../", 3));
        FUZZ_CHECK(!strstr(e->name, "/../") && !strstr(e->name, "//") && !strchr(e->name, '\n'));
        FUZZ_CHECK(!strchr(e->etag, '/') && e->etag[0] != '.');
        FUZZ_CHECK(hub_listing_find(l, e->name) == e);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rkf_error err = { 0 };
    struct hub_listing l;
    struct hub_rules rules = { .subfolder = "", .platform = "rk3588" };
    /* "listing NUL modules.json NUL config.json" */
    const char *p = (const char *)data, *end = p + size;
    const char *second = size ? memchr(p, 0, size) : NULL;
    const char *third = second ? memchr(second + 1, 0, (size_t)(end - second - 1)) : NULL;
    struct hub_texts t = { second ? second + 1 : NULL, third ? third + 1 : NULL,
                           second ? (size_t)((third ? third : end) - second - 1) : 0,
                           third ? (size_t)(end - third - 1) : 0 };
    if (hub_listing_parse(p, (size_t)((second ? second : end) - p), "fuzz", &l, &err)) {
        FUZZ_CHECK(err.status != RKF_OK && err.message[0]);
        return 0;
    }
    check_names(&l);
    if (hub_choose(&l, &rules, &t, &err))
        FUZZ_CHECK(err.message[0]);
    for (uint32_t i = 0; i < l.n && i < 16; i++)
        if (t.modules && hub_choose_shards(&l, &rules, &l.files[i], t.modules, t.modules_len, &err))
            FUZZ_CHECK(err.message[0]);
    struct hub_kinds k = hub_kinds(&l, "");
    FUZZ_CHECK(!k.rknn_wanted || k.rknn);
    hub_listing_free(&l);
    return 0;
}
