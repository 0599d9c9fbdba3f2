/* SPDX-License-Identifier: Apache-2.0 */
/* The NPU device of a runtime: the vendor's runtime or our simulator of it, behind one small door. */
#include "engine/engine.h"

#include "base/buf.h"
#include "device/rknn/rknn_device.h"

#include <string.h>

static struct rknn_options options_of(rkf_runtime *rt, bool simulated)
{
    return (struct rknn_options){
        .simulator = simulated,
        .library = rt->options.npu_runtime,
        .platform = rt->platform,
        .root = rt->options.root,
        .cpu = rt->pool[POOL_CPU].device,
        .log = &rt->log,
    };
}

rkf_status npu_device_open(rkf_runtime *rt, bool simulated, struct device **out, rkf_error *err)
{
    struct rknn_options o = options_of(rt, simulated);
    return rknn_device_create(&o, out, err);
}

void npu_device_close(struct device *d)
{
    rknn_device_free(d);
}

uint8_t npu_device_hung(const struct device *d)
{
    return strcmp(d->name, "cpu") != 0 ? rknn_device_hung(d) : 0;
}

void npu_device_faults(const struct device *d, struct core_faults out[NPU_MAX_CORES])
{
    memset(out, 0, NPU_MAX_CORES * sizeof *out);
    if (strcmp(d->name, "cpu") != 0)
        rknn_device_faults(d, out);
}

rkf_status npu_graph_open(struct device *d, const struct model_dir *m, const char *file, bool int8, struct body **out,
                          rkf_error *err)
{
    struct rknn_body_options o = { .file_name = file, .int8 = int8 };
    return rknn_body_create(d, m, &o, out, err);
}

/* Which device "auto" takes, by looking only: an NPU of this platform whose node can be opened, and a runtime library.
 */
static const char *would_use(rkf_runtime *rt, const char *wish, bool found)
{
    if (wish && strcmp(wish, "auto") != 0)
        return wish;
    const struct npu_facts *f = &rt->facts;
    char words[512];
    bool here = f->platform && f->platform->id != PLATFORM_CPU && f->platform->id == rt->platform->id;
    return here && !npu_problem(f, words, sizeof words) && found ? "rknn" : "cpu";
}

rkf_status npu_device_describe(rkf_runtime *rt, const char *wish, bool required, struct buf *b, rkf_error *err)
{
    bool simulated = wish && !strcmp(wish, "sim");
    struct rknn_options o = options_of(rt, simulated);
    struct buf library;
    buf_init(&library, 1 << 20);
    rkf_status rc = rknn_describe(&o, &library, err);
    if (rc) {
        buf_free(&library);
        return rc;
    }
    const char *device = would_use(rt, wish, strstr(library.p, "\"found\":true") != NULL);
    char words[512] = "";
    if (required && !strcmp(device, "cpu"))
        rc = rkf_fail(err, RKF_UNAVAILABLE, "this machine has no NPU that can be used: %s",
                      npu_problem(&rt->facts, words, sizeof words) ? words
                      : rt->facts.platform != rt->platform         ? "its platform is not the one that was named"
                                                           : "librknnrt.so was not found; rkformer devices says more");
    buf_puts(b, "{\"platform\":");
    json_put_str(b, rt->platform->name, strlen(rt->platform->name));
    buf_printf(b, ",\"virtual\":%s,\"device\":", strcmp(device, "rknn") != 0 ? "true" : "false");
    json_put_str(b, device, strlen(device));
    buf_puts(b, ",\"runtime\":");
    buf_append(b, library.p, library.len);
    buf_free(&library);
    return rc;
}
