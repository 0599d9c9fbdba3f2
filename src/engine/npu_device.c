/* SPDX-License-Identifier: Apache-2.0 */
/* The NPU device of a runtime. */
#include "engine/engine.h"

#include <string.h>

rkf_status npu_device_open(rkf_runtime *rt, bool simulated, struct device **out, rkf_error *err)
{
    (void)out;
    return rkf_fail(err, RKF_UNAVAILABLE, "this build has no device for the NPU of %s%s yet: use --device cpu",
                    rt->platform->name, simulated ? " (simulated)" : "");
}

void npu_device_close(struct device *d)
{
    (void)d;
}

uint8_t npu_device_hung(const struct device *d)
{
    (void)d;
    return 0;
}

rkf_status npu_device_describe(rkf_runtime *rt, const char *wish, bool required, struct buf *b, rkf_error *err)
{
    (void)wish;
    if (required)
        return rkf_fail(err, RKF_UNAVAILABLE, "this machine has no NPU that can be used");
    buf_puts(b, "{\"platform\":");
    json_put_str(b, rt->platform->name, strlen(rt->platform->name));
    buf_puts(b, ",\"virtual\":true,\"device\":\"cpu\"");
    return RKF_OK;
}
