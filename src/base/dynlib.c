/* SPDX-License-Identifier: Apache-2.0 */
#include "base/dynlib.h"

#include <dlfcn.h>
#include <pthread.h>
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

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static rkf_status load(const struct dynlib *l, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    void *handle = open_first(l->names);
    if (!handle) {
        const char *why = dlerror(); /* of the last of the names */
        return rkf_fail(err, RKF_UNAVAILABLE, "%s needs %s, which cannot be loaded (%.200s): %s", l->what, l->names[0],
                        why ? why : "no reason given", l->advice);
    }
    for (size_t i = 0; i < l->n && !rc; i++)
        if (!dlsym(handle, l->symbols[i].name))
            rc = rkf_fail(err, RKF_UNAVAILABLE, "%s needs %s, and the one that is installed lacks %s: %s", l->what,
                          l->names[0], l->symbols[i].name, l->advice);
    for (size_t i = 0; i < l->n && !rc; i++) {
        void *symbol = dlsym(handle, l->symbols[i].name);
        memcpy(l->symbols[i].to, &symbol, sizeof symbol);
    }
    dlclose(handle); /* NODELETE: it stays */
    return rc;
}

rkf_status dynlib_load(struct dynlib *l, rkf_error *err)
{
    pthread_mutex_lock(&lock);
    rkf_status rc = l->loaded ? RKF_OK : load(l, err);
    l->loaded = !rc;
    pthread_mutex_unlock(&lock);
    return rc;
}
