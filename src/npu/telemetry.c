/* SPDX-License-Identifier: Apache-2.0 */
/* Load, clock, temperature, voltage of the NPU from debugfs and sysfs. What cannot be read or makes no sense is
 * unknown: old drivers print loads such as 429496%. */
#include "base/file.h"
#include "npu/npu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_rknpu(const char *root, const char *name, char *text, size_t cap)
{
    char path[64];
    snprintf(path, sizeof path, "/sys/kernel/debug/rknpu/%s", name);
    int n = root_read(root, path, text, cap);
    if (n > 0)
        return n;
    snprintf(path, sizeof path, "/proc/rknpu/%s", name);
    return root_read(root, path, text, cap);
}

static int64_t parse_number(const char *text)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    return end == text || errno ? -1 : v;
}

static int64_t read_number(const char *root, const char *dir, const char *name)
{
    char path[256], text[64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return root_read(root, path, text, sizeof text) > 0 ? parse_number(text) : -1;
}

static int8_t parse_percent(const char *s)
{
    int64_t v = parse_number(s + strspn(s, " \t"));
    return v >= 0 && v <= 100 ? (int8_t)v : -1;
}

/* "NPU load:  Core0:  0%, Core1:  0%, Core2:  0%," or, with one core, "NPU load:  0%". */
static void parse_load(const char *text, struct npu_telemetry *t)
{
    const char *s = strstr(text, "Core");
    if (!s) {
        s = strchr(text, ':');
        if (s)
            t->load[0].percent = parse_percent(s + 1);
        return;
    }
    for (; s; s = strstr(s, "Core")) {
        s += strlen("Core");
        unsigned core = (unsigned)(*s - '0');
        if (core < NPU_MAX_CORES && s[1] == ':')
            t->load[core].percent = parse_percent(s + 2);
    }
}

static void read_clock(const char *root, struct npu_telemetry *t)
{
    char name[64], dir[128], path[256], text[512];
    if (root_find(root, "/sys/class/devfreq", "*.npu", name, sizeof name)) {
        snprintf(dir, sizeof dir, "/sys/class/devfreq/%s", name);
        t->freq_hz = read_number(root, dir, "cur_freq");
        snprintf(path, sizeof path, "%s/governor", dir);
        if (root_read(root, path, text, sizeof text) > 0)
            rkf_quote(t->governor, sizeof t->governor, text, strcspn(text, "\n"));
        snprintf(path, sizeof path, "%s/available_frequencies", dir);
        if (root_read(root, path, text, sizeof text) > 0)
            for (const char *s = text + strspn(text, " "); *s >= '0' && *s <= '9';) {
                int64_t hz = parse_number(s);
                t->freq_max_hz = hz > t->freq_max_hz ? hz : t->freq_max_hz;
                s += strcspn(s, " \n");
                s += strspn(s, " \n");
            }
    }
    if (t->freq_hz < 0 && read_rknpu(root, "freq", text, sizeof text) > 0)
        t->freq_hz = parse_number(text);
}

/* The lowest passive trip point: where the kernel begins to slow down. */
static int32_t read_trip(const char *root, const char *zone)
{
    char path[256], name[32], type[32];
    int32_t best = INT32_MIN;
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "trip_point_%d_temp", i);
        int64_t temp = read_number(root, zone, name);
        if (temp <= 0 || temp > INT32_MAX)
            continue;
        snprintf(path, sizeof path, "%s/trip_point_%d_type", zone, i);
        if (root_read(root, path, type, sizeof type) > 0 && strncmp(type, "passive", 7) != 0)
            continue;
        if (best == INT32_MIN || temp < best)
            best = (int32_t)temp;
    }
    return best;
}

/* The NPU's own sensor, else the SoC's (RK356x has no other). */
static void read_temperature(const char *root, struct npu_telemetry *t)
{
    static const char *const wanted[] = { "npu-thermal", "npu_thermal", "soc-thermal", "soc_thermal" };
    size_t rank = sizeof wanted / sizeof *wanted;
    for (int i = 0; i < 32; i++) {
        char zone[64], path[96], type[32], temp[32];
        snprintf(zone, sizeof zone, "/sys/class/thermal/thermal_zone%d", i);
        snprintf(path, sizeof path, "%s/type", zone);
        if (root_read(root, path, type, sizeof type) <= 0)
            continue;
        type[strcspn(type, "\n")] = 0;
        size_t r = 0;
        while (r < rank && strcmp(type, wanted[r]) != 0)
            r++;
        snprintf(path, sizeof path, "%s/temp", zone);
        if (r >= rank || root_read(root, path, temp, sizeof temp) <= 0)
            continue;
        rank = r;
        t->temp_mc = (int32_t)strtol(temp, NULL, 10);
        t->temp_trip_mc = read_trip(root, zone);
        snprintf(t->temp_zone, sizeof t->temp_zone, "%s", type);
    }
}

void npu_telemetry_read(const char *root, const struct npu_facts *facts, struct npu_telemetry *out)
{
    struct npu_telemetry t = {
        .freq_hz = -1, .freq_max_hz = -1, .temp_mc = INT32_MIN, .temp_trip_mc = INT32_MIN, .volt_uv = -1, .power_on = -1
    };
    char text[256];
    for (int i = 0; i < NPU_MAX_CORES; i++)
        t.load[i].percent = -1;
    if (facts->platform->id != PLATFORM_CPU || facts->driver != NPU_DRIVER_NONE) {
        if (read_rknpu(root, "load", text, sizeof text) > 0)
            parse_load(text, &t);
        if (read_rknpu(root, "volt", text, sizeof text) > 0)
            t.volt_uv = parse_number(text);
        if (read_rknpu(root, "power", text, sizeof text) > 0)
            t.power_on = strncmp(text, "on", 2) == 0 ? 1 : strncmp(text, "off", 3) == 0 ? 0 : -1;
        read_clock(root, &t);
        read_temperature(root, &t);
    }
    *out = t;
}
