/* SPDX-License-Identifier: Apache-2.0 */
/* rkf_devices: what there is, without opening anything that needs an NPU. */
#include "engine/engine.h"

#include "base/buf.h"

#include <string.h>

enum { DOCUMENT_MAX = 16 << 20 };

/* The CPU threads that every legal mask stands for, where cores are shares of the CPU. */
static void put_lanes(struct buf *b, const struct pool *p)
{
    static const char *const masks[] = { "auto", "0", "1", "2", "0_1", "0_1_2", "all" };
    buf_puts(b, ",\"lanes\":[");
    for (size_t i = 0, n = 0; i < sizeof masks / sizeof *masks; i++) {
        struct core_mask m;
        if (core_mask_parse(masks[i], p->platform, &m, NULL))
            continue;
        buf_printf(b, "%s{\"core_mask\":\"%s\",\"cores\":[", n++ ? "," : "", masks[i]);
        int threads = 0, most = 0;
        for (uint32_t c = 0, k = 0; c < p->n_cores; c++)
            if (m.cores >> c & 1) {
                buf_printf(b, "%s%u", k++ ? "," : "", c);
                threads += p->share[c];
                most = p->share[c] > most ? p->share[c] : most;
            }
        if (m.automatic && !p->whole)
            threads = most; /* one core at a time */
        buf_printf(b, "],\"threads\":%d}", threads < p->rt->threads ? threads : p->rt->threads);
    }
    buf_putc(b, ']');
}

rkf_status rkf_devices(const rkf_runtime_options *options, char **json, rkf_error *err)
{
    rkf_runtime_options o = RKF_RUNTIME_OPTIONS_INIT;
    rkf_runtime *rt = NULL;
    struct buf b, npu;
    if (!json)
        return rkf_fail(err, RKF_INVALID, "rkf_devices needs a place for the text");
    if (options)
        memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    const char *wish = o.device;
    bool require_npu = o.require_npu;
    bool sim = wish && !strcmp(wish, "sim");
    if (sim && (!o.platform || !strcmp(o.platform, "auto")))
        o.platform = "rk3588"; /* as rkf_runtime_open takes it */
    o.device = "cpu";          /* looks only */
    o.require_npu = false;
    o.log = NULL;
    buf_init(&b, DOCUMENT_MAX);
    buf_init(&npu, DOCUMENT_MAX);
    rkf_status rc = rkf_runtime_open(&o, &rt, err);
    if (!rc)
        rc = npu_describe(o.root, rt->platform, &npu, err);
    if (!rc)
        rc = npu_device_describe(rt, wish, require_npu, &b, err);
    if (!rc) {
        const struct pool *cpu = &rt->pool[POOL_CPU];
        const char *missing = cpu_device_missing(cpu->device);
        buf_printf(&b, ",\"cpu\":{\"isa\":\"%s\",\"threads\":%d", cpu_device_isa(cpu->device), rt->threads);
        if (missing) {
            buf_puts(&b, ",\"missing\":");
            json_put_str(&b, missing, strlen(missing));
        }
        buf_putc(&b, '}');
        put_lanes(&b, cpu);
        buf_puts(&b, ",\"npu\":");
        buf_append(&b, npu.p, npu.len);
        buf_putc(&b, '}');
        char *text = buf_steal(&b);
        if (text)
            *json = text;
        else
            rc = rkf_fail_memory(err, npu.len, "a document");
    }
    buf_free(&b);
    buf_free(&npu);
    rkf_runtime_close(rt);
    return rc;
}
