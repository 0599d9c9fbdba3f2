/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What SoC, which driver, which node. Only files below the root are looked at, no device is opened.
 *
 * The platform: the device tree; where a container hides it, the NPU's compatible string in sysfs (written there by the
 * driver core), else the address in the devfreq node's name. The driver: whose DRM or accel node it is.
 */
#include "base/file.h"
#include "npu/npu.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* The NPU's address in the SoC, as in device trees: npu@fdab0000. */
static const struct {
    const char *node;
    enum platform_id id;
} addresses[] = {
    { "fdab0000.npu", PLATFORM_RK3588 },
    { "27700000.npu", PLATFORM_RK3576 },
    { "fde40000.npu", PLATFORM_RK3568 }, /* and RK3566 */
    { "ff300000.npu", PLATFORM_RK3562 },
};

/* "rockchip,rk3588s", "rockchip,rk3588-rknpu", "rockchip,rk3588-evb1-v10": the part up to '-' names the SoC. */
static const struct platform *platform_of_compatible(const char *s)
{
    static const char vendor[] = "rockchip,";
    if (strncmp(s, vendor, sizeof vendor - 1) != 0)
        return NULL;
    s += sizeof vendor - 1;
    const struct platform *p = platform_by_name(s, strcspn(s, "-\n"));
    return p && p->id != PLATFORM_CPU ? p : NULL;
}

static void detect_device_tree(const char *root, struct npu_facts *f)
{
    char text[1024];
    int n = root_read(root, "/proc/device-tree/compatible", text, sizeof text);
    if (n <= 0)
        n = root_read(root, "/sys/firmware/devicetree/base/compatible", text, sizeof text);
    for (int i = 0; i < n; i += (int)strlen(text + i) + 1) { /* NUL-separated; root_read appends one */
        const struct platform *p = platform_of_compatible(text + i);
        if (p) {
            f->platform = p;
            f->from_device_tree = true;
            break;
        }
    }
    if (root_read(root, "/proc/device-tree/model", text, sizeof text) > 0 ||
        root_read(root, "/sys/firmware/devicetree/base/model", text, sizeof text) > 0)
        rkf_quote(f->board, sizeof f->board, text, strlen(text));
}

/* The value of KEY=value in a uevent file; false: not there. */
static bool uevent_get(const char *root, const char *path, const char *key, char *value, size_t cap)
{
    char text[2048];
    size_t len = strlen(key);
    if (root_read(root, path, text, sizeof text) <= 0)
        return false;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (strncmp(line, key, len) == 0 && line[len] == '=') {
            snprintf(value, cap, "%.*s", (int)strcspn(line + len + 1, "\n"), line + len + 1);
            return true;
        }
    return false;
}

static void detect_from_driver(const char *root, struct npu_facts *f)
{
    char node[64], path[192], compatible[64];
    if (!root_find(root, "/sys/class/devfreq", "*.npu", node, sizeof node) &&
        !root_find(root, "/sys/bus/platform/devices", "*.npu", node, sizeof node))
        return;
    static const char *const places[] = { "/sys/class/devfreq/%s/device/uevent",
                                          "/sys/bus/platform/devices/%s/uevent" };
    for (size_t i = 0; i < sizeof places / sizeof *places && f->platform->id == PLATFORM_CPU; i++) {
        snprintf(path, sizeof path, i ? places[1] : places[0], node);
        if (uevent_get(root, path, "OF_COMPATIBLE_0", compatible, sizeof compatible)) {
            const struct platform *p = platform_of_compatible(compatible);
            f->platform = p ? p : f->platform;
        }
    }
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses && f->platform->id == PLATFORM_CPU; i++)
        if (strcmp(node, addresses[i].node) == 0)
            f->platform = platform_get(addresses[i].id);
    f->ambiguous = f->platform->id == PLATFORM_RK3568;
}

/* ---- driver and node */

static bool exists(const char *root, const char *path, struct stat *st)
{
    char full[4096];
    return root_path(root, path, full, sizeof full) && lstat(full, st) == 0;
}

static bool driven_by(const char *root, const char *class_node, const char *driver)
{
    char path[128], value[64];
    snprintf(path, sizeof path, "/sys/class/%s/device/uevent", class_node);
    return uevent_get(root, path, "DRIVER", value, sizeof value) && strcasecmp(value, driver) == 0;
}

/* The runtime looks for /dev/rknpu first, then for the DRM card whose driver is rknpu. */
static void find_rknpu(const char *root, struct npu_facts *f)
{
    struct stat st;
    if (exists(root, "/dev/rknpu", &st)) {
        f->driver = NPU_DRIVER_RKNPU;
        f->legacy_link = S_ISLNK(st.st_mode);
        snprintf(f->device_node, sizeof f->device_node, "/dev/rknpu");
        return;
    }
    for (int i = 0; i < 16; i++) {
        char name[32], node[48];
        snprintf(name, sizeof name, "drm/card%d", i);
        if (!driven_by(root, name, "rknpu"))
            continue;
        f->driver = NPU_DRIVER_RKNPU;
        snprintf(node, sizeof node, "/dev/dri/card%d", i);
        if (exists(root, node, &st))
            snprintf(f->device_node, sizeof f->device_node, "%s", node);
        return;
    }
    if (exists(root, "/sys/bus/platform/drivers/RKNPU", &st) || f->driver_version[0])
        f->driver = NPU_DRIVER_RKNPU;
}

static void find_rocket(const char *root, struct npu_facts *f)
{
    struct stat st;
    for (int i = 0; i < 16; i++) {
        char name[32], node[48];
        snprintf(name, sizeof name, "accel/accel%d", i);
        if (!driven_by(root, name, "rocket"))
            continue;
        f->driver = NPU_DRIVER_ROCKET;
        snprintf(node, sizeof node, "/dev/accel/accel%d", i);
        if (exists(root, node, &st))
            snprintf(f->device_node, sizeof f->device_node, "%s", node);
        return;
    }
    if (exists(root, "/sys/bus/platform/drivers/rocket", &st))
        f->driver = NPU_DRIVER_ROCKET;
}

static void read_version(const char *root, struct npu_facts *f)
{
    static const char *const places[] = { "/sys/kernel/debug/rknpu/version", "/proc/rknpu/version",
                                          "/sys/module/rknpu/version" };
    char text[128];
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (root_read(root, places[i], text, sizeof text) <= 0)
            continue;
        const char *v = text + strcspn(text, "0123456789");
        snprintf(f->driver_version, sizeof f->driver_version, "%.*s", (int)strspn(v, "0123456789."), v);
        if (f->driver_version[0])
            return;
    }
}

/* Cores 1 and 2 fail before 0.9.6. */
static bool version_runs_many_cores(const char *version)
{
    unsigned v[3] = { 0 };
    if (sscanf(version, "%u.%u.%u", &v[0], &v[1], &v[2]) < 2)
        return true;
    return v[0] > 0 || v[1] > 9 || (v[1] == 9 && v[2] >= 6);
}

static void read_permission(const char *root, struct npu_facts *f)
{
    char full[4096], names[4096];
    struct stat st;
    struct group g, *found = NULL;
    if (!f->device_node[0] || !root_path(root, f->device_node, full, sizeof full))
        return;
    f->node_accessible = faccessat(AT_FDCWD, full, R_OK | W_OK, AT_EACCESS) == 0;
    if (stat(full, &st) < 0)
        return;
    if (getgrgid_r(st.st_gid, &g, names, sizeof names, &found) == 0 && found)
        snprintf(f->node_group, sizeof f->node_group, "%s", g.gr_name);
    else
        snprintf(f->node_group, sizeof f->node_group, "%u", (unsigned)st.st_gid);
}

void npu_detect(const char *root, struct npu_facts *out)
{
    struct npu_facts f = { .platform = platform_get(PLATFORM_CPU) };
    char text[256];
    detect_device_tree(root, &f);
    if (f.platform->id == PLATFORM_CPU)
        detect_from_driver(root, &f);
    read_version(root, &f);
    find_rknpu(root, &f);
    if (f.driver == NPU_DRIVER_NONE)
        find_rocket(root, &f);
    read_permission(root, &f);
    f.multi_core_ok = version_runs_many_cores(f.driver_version);
    f.debugfs_readable = root_read(root, "/sys/kernel/debug/rknpu/load", text, sizeof text) > 0 ||
                         root_read(root, "/proc/rknpu/load", text, sizeof text) > 0;
    *out = f;
}

bool npu_problem(const struct npu_facts *f, char *words, size_t cap)
{
    if (f->driver == NPU_DRIVER_NONE && f->platform->id == PLATFORM_CPU)
        snprintf(words, cap, "no Rockchip NPU is here: use the CPU, or device sim to rehearse");
    else if (f->driver == NPU_DRIVER_NONE)
        snprintf(words, cap,
                 "this %s has no NPU driver: boot the board vendor's kernel, which has the rknpu driver (in a "
                 "container, mount /sys and pass --device /dev/dri)",
                 f->platform->name);
    else if (f->driver == NPU_DRIVER_ROCKET)
        snprintf(words, cap,
                 "the kernel drives the NPU with the mainline driver rocket%s%s%s, which librknnrt cannot use: boot a "
                 "kernel with the vendor's rknpu driver",
                 f->device_node[0] ? " (" : "", f->device_node, f->device_node[0] ? ")" : "");
    else if (!f->device_node[0])
        snprintf(words, cap,
                 "the rknpu driver is loaded but its device node is missing: in a container pass --device /dev/dri "
                 "(or /dev/rknpu)");
    else if (f->legacy_link)
        snprintf(words, cap,
                 "/dev/rknpu is a symbolic link, which sends the runtime down its old path and fails: remove the link "
                 "(sudo rm /dev/rknpu); /dev/dri/cardN is enough");
    else if (!f->node_accessible && (!f->node_group[0] || strcmp(f->node_group, "root") == 0))
        snprintf(words, cap,
                 "no permission to open %s: it belongs to root; add a udev rule that gives it to group render "
                 "(KERNEL==\"%s\", GROUP=\"render\", MODE=\"0660\") or run as root",
                 f->device_node, strrchr(f->device_node, '/') + 1);
    else if (!f->node_accessible)
        snprintf(words, cap,
                 "no permission to open %s: join its group (sudo usermod -aG %s $USER, then log in again; in a "
                 "container --group-add %s)",
                 f->device_node, f->node_group, f->node_group);
    else
        return false;
    return true;
}

bool npu_old_driver(const struct npu_facts *f, char *words, size_t cap)
{
    if (f->driver != NPU_DRIVER_RKNPU || f->multi_core_ok || f->platform->cores < 2)
        return false;
    snprintf(
        words, cap,
        "the rknpu driver %s is older than 0.9.6: jobs on cores other than 0 fail with \"failed to submit\"; update "
        "the kernel, or use core mask 0",
        f->driver_version);
    return true;
}
