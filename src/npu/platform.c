/* SPDX-License-Identifier: Apache-2.0 */
/* The table of platforms and the table of core masks, and the checks of one against the other. Reads no files. */
#include "npu/npu.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Alignments and segments: rknn_matmul_api.h 2.3.2. The K segment of the one-core platforms is not documented; their
 * largest K is far below what would be cut, so they count as not cut. */
static const struct platform platforms[PLATFORM_COUNT] = {
    [PLATFORM_CPU] = { .id = PLATFORM_CPU, .name = "cpu", .cores = NPU_MAX_CORES },
    [PLATFORM_RK3588] = { PLATFORM_RK3588, "rk3588", 3, 32, 32, 16, 32, 8192, true, 6 },
    [PLATFORM_RK3576] = { PLATFORM_RK3576, "rk3576", 2, 32, 32, 16, 32, 4096, true, 6 },
    [PLATFORM_RK3568] = { PLATFORM_RK3568, "rk3568", 1, 16, 32, 8, 16, 0, false, 1 },
    [PLATFORM_RK3566] = { PLATFORM_RK3566, "rk3566", 1, 16, 32, 8, 16, 0, false, 1 },
    [PLATFORM_RK3562] = { PLATFORM_RK3562, "rk3562", 1, 32, 32, 8, 16, 0, false, 1 },
};

/* Names that mean the same NPU: variants of the chip as device trees and shops write them. */
static const struct {
    const char *name;
    enum platform_id id;
} aliases[] = {
    { "rk3588s", PLATFORM_RK3588 }, { "rk3588s2", PLATFORM_RK3588 }, { "rk3588j", PLATFORM_RK3588 },
    { "rk3588m", PLATFORM_RK3588 }, { "rk3576j", PLATFORM_RK3576 },  { "rk3576m", PLATFORM_RK3576 },
    { "rk3576s", PLATFORM_RK3576 }, { "rk3568b2", PLATFORM_RK3568 }, { "rk3568j", PLATFORM_RK3568 },
    { "rk3568m", PLATFORM_RK3568 }, { "rk3566t", PLATFORM_RK3566 },  { "rk3562j", PLATFORM_RK3562 },
};

const struct platform *platform_get(enum platform_id id)
{
    return &platforms[id];
}

static bool same_name(const char *name, size_t len, const char *known)
{
    return strlen(known) == len && strncasecmp(name, known, len) == 0;
}

const struct platform *platform_by_name(const char *name, size_t len)
{
    for (int i = 0; i < PLATFORM_COUNT; i++)
        if (same_name(name, len, platforms[i].name))
            return &platforms[i];
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (same_name(name, len, aliases[i].name))
            return &platforms[aliases[i].id];
    return NULL;
}

rkf_status platform_parse(const char *name, const struct platform **out, rkf_error *err)
{
    if (!name || strcmp(name, "auto") == 0) {
        *out = NULL;
        return RKF_OK;
    }
    const struct platform *p = platform_by_name(name, strlen(name));
    if (!p) {
        char quoted[64];
        return rkf_fail(err, RKF_INVALID,
                        "unknown platform '%s': use auto, rk3588, rk3576, rk3568, rk3566, rk3562 or cpu",
                        rkf_quote(quoted, sizeof quoted, name, strlen(name)));
    }
    *out = p;
    return RKF_OK;
}

/* ---- core masks */

static const struct {
    const char *name;
    uint8_t cores; /* 0: those of the platform */
    bool automatic;
} masks[] = {
    { "auto", 0, true }, { "0", 1 }, { "1", 2 }, { "2", 4 }, { "0_1", 3 }, { "0_1_2", 7 }, { "all", 0 },
};
enum { N_MASKS = sizeof masks / sizeof *masks };

static uint8_t all_cores(const struct platform *p)
{
    return (uint8_t)((1u << p->cores) - 1);
}

void core_mask_list(const struct platform *platform, char *buf, size_t cap)
{
    size_t used = 0;
    for (int i = 0; i < N_MASKS; i++) {
        if (masks[i].cores & ~all_cores(platform))
            continue;
        const char *comma = i == 0 ? "" : i == N_MASKS - 1 ? " or " : ", ";
        int n = snprintf(buf + used, cap - used, "%s%s", comma, masks[i].name);
        if (n < 0 || (size_t)n >= cap - used)
            return;
        used += (size_t)n;
    }
}

rkf_status core_mask_parse(const char *text, const struct platform *platform, struct core_mask *out, rkf_error *err)
{
    char list[64];
    if (!text)
        text = "auto";
    core_mask_list(platform, list, sizeof list);
    for (int i = 0; i < N_MASKS; i++) {
        if (strcmp(text, masks[i].name) != 0)
            continue;
        if (masks[i].cores & ~all_cores(platform))
            return rkf_fail(err, RKF_UNAVAILABLE, "core mask '%s' is not available on %s: it has %u NPU core%s; use %s",
                            text, platform->name, platform->cores, platform->cores == 1 ? "" : "s", list);
        out->automatic = masks[i].automatic;
        out->cores = masks[i].cores ? masks[i].cores : all_cores(platform);
        snprintf(out->name, sizeof out->name, "%s", masks[i].name);
        return RKF_OK;
    }
    char quoted[64];
    return rkf_fail(err, RKF_INVALID, "unknown core mask '%s': use %s",
                    rkf_quote(quoted, sizeof quoted, text, strlen(text)), list);
}

const char *core_set_name(uint8_t cores)
{
    static const char *const names[8] = { "none", "0", "1", "0_1", "2", "0,2", "1,2", "0_1_2" };
    return names[cores & 7];
}
