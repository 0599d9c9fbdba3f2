/* SPDX-License-Identifier: Apache-2.0 */
#include "server/mhd.h"
#include "base/dynlib.h"

#include <pthread.h>

struct mhd_calls mhd;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static rkf_status loaded;
static rkf_error why;

static void load(void)
{
    static const char *const names[] = { "libmicrohttpd.so.12", NULL };
#define SYMBOL(name) { "MHD_" #name, &mhd.name },
    static const struct dynlib_symbol symbols[] = { MHD_CALLS(SYMBOL) };
#undef SYMBOL
    loaded = dynlib_load(names, symbols, sizeof symbols / sizeof *symbols, "serving",
                         "install it (Debian's libmicrohttpd12)", &why);
}

rkf_status mhd_load(rkf_error *err)
{
    pthread_once(&once, load);
    return loaded ? rkf_fail(err, loaded, "%s", why.message) : RKF_OK;
}
