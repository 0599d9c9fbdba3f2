/* SPDX-License-Identifier: Apache-2.0 */
/* Everything this folder knows about the machine, as one JSON object with advice in words. */
#include "base/file.h"
#include "base/json.h"
#include "npu/npu.h"

#include <stdio.h>
#include <string.h>

static void put_key(struct buf *b, const char *key)
{
    if (b->len && b->p[b->len - 1] != '{' && b->p[b->len - 1] != '[')
        buf_putc(b, ',');
    json_put_str(b, key, strlen(key));
    buf_putc(b, ':');
}

static void put_text(struct buf *b, const char *key, const char *value) /* "" is unknown */
{
    put_key(b, key);
    if (value[0])
        json_put_str(b, value, strlen(value));
    else
        buf_puts(b, "null");
}

static void put_bool(struct buf *b, const char *key, bool value)
{
    put_key(b, key);
    buf_puts(b, value ? "true" : "false");
}

static void put_int(struct buf *b, const char *key, int64_t value, bool known)
{
    put_key(b, key);
    if (known)
        buf_printf(b, "%lld", (long long)value);
    else
        buf_puts(b, "null");
}

static void put_masks(struct buf *b, const struct platform *p)
{
    static const char *const names[] = { "auto", "0", "1", "2", "0_1", "0_1_2", "all" };
    struct core_mask mask;
    bool first = true;
    put_key(b, "core_masks");
    buf_putc(b, '[');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (core_mask_parse(names[i], p, &mask, NULL) != RKF_OK)
            continue;
        buf_printf(b, "%s\"%s\"", first ? "" : ",", names[i]);
        first = false;
    }
    buf_putc(b, ']');
}

static void put_driver(struct buf *b, const struct npu_facts *f)
{
    put_key(b, "driver");
    if (f->driver == NPU_DRIVER_NONE) {
        buf_puts(b, "null");
        return;
    }
    buf_putc(b, '{');
    put_text(b, "name", f->driver == NPU_DRIVER_RKNPU ? "rknpu" : "rocket");
    put_text(b, "version", f->driver_version);
    put_text(b, "node", f->device_node);
    put_text(b, "group", f->node_group);
    put_bool(b, "accessible", f->node_accessible);
    put_bool(b, "legacy_link", f->legacy_link);
    put_bool(b, "multi_core", f->multi_core_ok);
    buf_putc(b, '}');
}

static void put_telemetry(struct buf *b, const struct npu_facts *f, const struct npu_telemetry *t)
{
    put_key(b, "telemetry");
    buf_putc(b, '{');
    put_key(b, "load_percent");
    buf_putc(b, '[');
    for (uint32_t i = 0; i < f->platform->cores && f->platform->id != PLATFORM_CPU; i++) {
        buf_puts(b, i ? "," : "");
        if (t->load[i].percent >= 0)
            buf_printf(b, "%d", t->load[i].percent);
        else
            buf_puts(b, "null");
    }
    buf_putc(b, ']');
    put_int(b, "clock_hz", t->freq_hz, t->freq_hz >= 0);
    put_int(b, "clock_max_hz", t->freq_max_hz, t->freq_max_hz >= 0);
    put_text(b, "governor", t->governor);
    put_key(b, "temperature_c");
    if (t->temp_mc != INT32_MIN)
        json_put_f32(b, (float)t->temp_mc / 1000);
    else
        buf_puts(b, "null");
    put_key(b, "throttles_at_c");
    if (t->temp_trip_mc != INT32_MIN)
        json_put_f32(b, (float)t->temp_trip_mc / 1000);
    else
        buf_puts(b, "null");
    put_text(b, "temperature_zone", t->temp_zone);
    put_int(b, "voltage_uv", t->volt_uv, t->volt_uv >= 0);
    put_key(b, "powered");
    buf_puts(b, t->power_on < 0 ? "null" : t->power_on ? "true" : "false");
    buf_putc(b, '}');
}

static void put_advice_line(struct buf *b, const char *words)
{
    if (b->p[b->len - 1] != '[')
        buf_putc(b, ',');
    json_put_str(b, words, strlen(words));
}

/* What does not stand in the way but costs something. */
static void put_hints(struct buf *b, const struct npu_facts *f, const struct npu_telemetry *t)
{
    char words[512];
    if (npu_old_driver(f, words, sizeof words))
        put_advice_line(b, words);
    if (f->driver == NPU_DRIVER_RKNPU && !f->debugfs_readable)
        put_advice_line(b, "the load per core cannot be read: /sys/kernel/debug/rknpu needs root or the capability "
                           "CAP_DAC_READ_SEARCH (sudo setcap cap_dac_read_search+ep on the command)");
    bool slow_governor = strcmp(t->governor, "powersave") == 0 || strcmp(t->governor, "userspace") == 0;
    if (slow_governor && t->freq_hz > 0 && t->freq_hz < t->freq_max_hz) {
        snprintf(words, sizeof words,
                 "the NPU's clock is held at %lld of %lld MHz by the governor %s: write rknpu_ondemand or performance "
                 "to /sys/class/devfreq/*.npu/governor",
                 (long long)(t->freq_hz / 1000000), (long long)(t->freq_max_hz / 1000000), t->governor);
        put_advice_line(b, words);
    }
    if (t->temp_mc != INT32_MIN && t->temp_trip_mc != INT32_MIN && t->temp_mc >= t->temp_trip_mc) {
        snprintf(words, sizeof words, "the %s sensor is at %d C, where the kernel slows the NPU down (%d C): cool it",
                 t->temp_zone, t->temp_mc / 1000, t->temp_trip_mc / 1000);
        put_advice_line(b, words);
    }
    if (f->ambiguous)
        put_advice_line(b, "rk3566 and rk3568 cannot be told apart without a device tree: use --platform if it is an "
                           "rk3566 and a .rknn file is refused");
}

rkf_status npu_describe(const char *root, const struct platform *asked, struct buf *json, rkf_error *err)
{
    struct npu_facts f;
    struct npu_telemetry t;
    char words[512];
    npu_detect(root, &f);
    npu_telemetry_read(root, &f, &t);
    const struct platform *p = asked ? asked : f.platform;
    buf_putc(json, '{');
    put_text(json, "platform", p->name);
    put_bool(json, "virtual", p->id == PLATFORM_CPU || p != f.platform);
    put_text(json, "detected", f.platform->name);
    put_text(json, "detected_from",
             f.platform->id == PLATFORM_CPU ? ""
             : f.from_device_tree           ? "device tree"
                                            : "driver");
    put_text(json, "board", f.board);
    put_int(json, "cores", p->cores, true);
    put_masks(json, p);
    put_key(json, "tops_int8");
    if (p->tops_i8 > 0)
        json_put_f32(json, p->tops_i8);
    else
        buf_puts(json, "null");
    put_driver(json, &f);
    put_telemetry(json, &f, &t);
    put_key(json, "advice");
    buf_putc(json, '[');
    if (!json->failed && npu_problem(&f, words, sizeof words))
        put_advice_line(json, words);
    if (!json->failed)
        put_hints(json, &f, &t);
    buf_puts(json, "]}");
    return json->failed ? rkf_fail(err, RKF_NO_MEMORY, "out of memory: cannot describe the NPU") : RKF_OK;
}
