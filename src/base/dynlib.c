/* SPDX-License-Identifier: Apache-2.0 */
#include "base/dynlib.h"

#include <dlfcn.h>
#include <string.h>

/* Not RTLD_LAZY: a library too old for what it needs itself says so here. NODELETE: its threads and its atexit handlers
 * may outlive any handle. */
static void *open_first(const char *const *names)
{
    for (; *names; names++) {
        void *handle = dlopen(*names, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        if (handle)
            return handle;
    }
    return NULL;
}

rkf_status dynlib_load(const char *const *names, const struct dynlib_symbol *symbols, size_t n, const char *what,
                       const char *advice, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    void *handle = open_first(names);
    if (!handle) {
        const char *why = dlerror(); /* of the last of the names */
        return rkf_fail(err, RKF_UNAVAILABLE, "%s needs %s, which cannot be loaded (%.200s): %s", what, names[0],
                        why ? why : "no reason given", advice);
    }
    for (size_t i = 0; i < n && !rc; i++)
        if (!dlsym(handle, symbols[i].name))
            rc = rkf_fail(err, RKF_UNAVAILABLE, "%s needs %s, and the one that is installed lacks %s: %s", what,
                          names[0], symbols[i].name, advice);
    for (size_t i = 0; i < n && !rc; i++) {
        void *symbol = dlsym(handle, symbols[i].name);
        memcpy(symbols[i].to, &symbol, sizeof symbol);
    }
    dlclose(handle); /* NODELETE: it stays */
    return rc;
}
