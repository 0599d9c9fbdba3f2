/* SPDX-License-Identifier: Apache-2.0 */
#include "device/rknn/library.h"
#include "base/file.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const vendor_places[] = {
    "/usr/lib/librknnrt.so",       "/usr/lib64/librknnrt.so",
    "/usr/local/lib/librknnrt.so", "/usr/lib/aarch64-linux-gnu/librknnrt.so",
    "/lib/librknnrt.so",           "/lib/aarch64-linux-gnu/librknnrt.so",
    "/opt/rknn/lib/librknnrt.so",  "/vendor/lib64/librknnrt.so",
};

/* Below the directory of the program or of librkformer: an installed tree, then a build tree. */
static const char *const sim_places[] = {
    "librknnrt-sim.so",     "../lib/rkformer/librknnrt-sim.so", "rkformer/librknnrt-sim.so",  "../lib/librknnrt-sim.so",
    "sim/librknnrt-sim.so", "../sim/librknnrt-sim.so",          "../../sim/librknnrt-sim.so",
};

static bool exists(const char *path)
{
    return access(path, R_OK) == 0 && path_is_file(path);
}

/* Directory of a file, links resolved; false if it cannot be told. */
static bool directory_of(const char *file, char *dir, size_t cap)
{
    char *real = realpath(file, NULL);
    char *slash = real ? strrchr(real, '/') : NULL;
    bool ok = slash && (size_t)(slash - real) < cap;
    if (ok)
        snprintf(dir, cap, "%.*s", (int)(slash - real), real);
    free(real);
    return ok;
}

static bool find_sim(char *path, size_t cap)
{
    Dl_info self;
    const char *files[2] = { "/proc/self/exe", NULL };
    char dir[384];
    if (dladdr((const void *)vendor_places, &self)) /* whatever this code was linked into */
        files[1] = self.dli_fname;
    for (int f = 0; f < 2; f++) {
        if (!files[f] || !directory_of(files[f], dir, sizeof dir))
            continue;
        for (size_t i = 0; i < sizeof sim_places / sizeof *sim_places; i++)
            if (path_join(path, cap, dir, sim_places[i]) && exists(path))
                return true;
    }
    return false;
}

static bool find_vendor(char *path, size_t cap)
{
    for (size_t i = 0; i < sizeof vendor_places / sizeof *vendor_places; i++)
        if (exists(vendor_places[i])) {
            snprintf(path, cap, "%s", vendor_places[i]);
            return true;
        }
    return false;
}

rkf_status library_find(bool simulator, const char *asked, char *path, size_t cap, rkf_error *err)
{
    const char *variable = simulator ? "RKFORMER_SIM_LIBRARY" : "RKFORMER_RKNN_LIBRARY";
    const char *from = "the option";
    char found[512];
    if (!asked || !*asked) {
        asked = getenv(variable);
        from = variable;
    }
    if (asked && *asked) {
        if (strlen(asked) >= cap || !exists(asked))
            return rkf_fail(err, RKF_UNAVAILABLE, "there is no runtime library at %.300s, which %s names", asked, from);
        snprintf(path, cap, "%s", asked);
        return RKF_OK;
    }
    if (!(simulator ? find_sim : find_vendor)(found, sizeof found) || strlen(found) >= cap)
        return rkf_fail(err, RKF_UNAVAILABLE,
                        simulator
                            ? "the simulator librknnrt-sim.so was not found beside this program: set %s to its path"
                            : "the NPU's runtime librknnrt.so was not found in /usr/lib, /usr/local/lib or "
                              "/usr/lib/aarch64-linux-gnu: install it (from airockchip/rknn-toolkit2, "
                              "rknpu2/runtime/Linux/librknn_api/aarch64, to /usr/lib) or set %s to its path",
                        variable);
    snprintf(path, cap, "%s", found);
    return RKF_OK;
}

void library_version(const char *path, char *version, size_t cap)
{
    static const char mark[] = "librknnrt version: ";
    struct file_map m;
    version[0] = 0;
    if (file_map(path, &m, NULL))
        return;
    const char *v = m.p ? memmem(m.p, m.len, mark, sizeof mark - 1) : NULL;
    if (v) {
        const char *end = (const char *)m.p + m.len;
        size_t n = 0;
        v += sizeof mark - 1;
        while (v + n < end && n + 1 < cap && ((v[n] >= '0' && v[n] <= '9') || v[n] == '.'))
            n++;
        snprintf(version, cap, "%.*s", (int)n, v);
    }
    file_unmap(&m);
}

static rkf_status find_calls(void *handle, struct library *l, rkf_error *err)
{
    const char *missing = NULL;
#define LIBRARY_FIND(result, name, parameters)                                                                         \
    *(void **)&l->call.name = dlsym(handle, #name);                                                                    \
    if (!l->call.name && !missing)                                                                                     \
        missing = #name;
    ABI_CALLS(LIBRARY_FIND)
#undef LIBRARY_FIND
    *(void **)&l->sim_configure = dlsym(handle, "rknnsim_configure");
    if (missing)
        return rkf_fail(
            err, RKF_UNAVAILABLE,
            "%.300s%s%s lacks the call %s: install librknnrt 1.6 or later (2.3.2 is the one this is made for)", l->path,
            l->version[0] ? ", version " : "", l->version, missing);
    return RKF_OK;
}

rkf_status library_load(bool simulator, const char *asked, struct library *out, rkf_error *err)
{
    struct library l = { 0 };
    rkf_status rc = library_find(simulator, asked, l.path, sizeof l.path, err);
    if (rc)
        return rc;
    library_version(l.path, l.version, sizeof l.version);
    void *handle = dlopen(l.path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle) {
        const char *why = dlerror();
        return rkf_fail(err, RKF_UNAVAILABLE, "cannot load the runtime library: %.400s", why ? why : l.path);
    }
    rc = find_calls(handle, &l, err);
    dlclose(handle); /* NODELETE: it stays */
    if (!rc && simulator && !l.sim_configure)
        rc = rkf_fail(err, RKF_UNAVAILABLE, "%.300s is not the simulator: use device rknn for the vendor's library",
                      l.path);
    if (!rc)
        *out = l;
    return rc;
}

const char *abi_result_name(int result, char *buf, size_t cap)
{
    static const char *const names[] = {
        "no error",
        "failure",
        "timeout",
        "device unavailable",
        "out of memory",
        "wrong parameter",
        "unusable model",
        "no such context",
        "wrong input",
        "wrong output",
        "model for another device",
        "model of an incompatible compiler",
        "model of an incompatible optimiser",
        "model for another platform",
    };
    int n = -result;
    snprintf(buf, cap, "%s (%d)", n >= 0 && n < (int)(sizeof names / sizeof *names) ? names[n] : "unknown error",
             result);
    return buf;
}
