/* SPDX-License-Identifier: Apache-2.0 */
#include "server/mhd.h"
#include "base/dynlib.h"

struct mhd_calls mhd;

rkf_status mhd_load(rkf_error *err)
{
    static const char *const names[] = { "libmicrohttpd.so.12", NULL };
#define SYMBOL(name) { "MHD_" #name, &mhd.name },
    static const struct dynlib_symbol symbols[] = { MHD_CALLS(SYMBOL) };
#undef SYMBOL
    static struct dynlib library = {
        names, symbols, sizeof symbols / sizeof *symbols, "serving", "install it (Debian's libmicrohttpd12)", false
    };
    return dynlib_load(&library, err);
}
