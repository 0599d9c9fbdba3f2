/* SPDX-License-Identifier: Apache-2.0 */
#include "device/device.h"

rkf_status linear_parts_check(const struct linear_part *parts, uint32_t n, uint32_t most_in, uint32_t most_out,
                              rkf_error *err)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct view *w = &parts[i].weight;
        if (w->type != DTYPE_F32 && w->type != DTYPE_F16 && w->type != DTYPE_BF16)
            return rkf_fail(err, RKF_UNSUPPORTED, "weights of type %s are not supported: use f32, f16 or bf16",
                            dtype_name(w->type));
        if (!w->rows || !w->cols || w->cols != parts[0].weight.cols || w->cols > most_in)
            return rkf_fail(err, RKF_FORMAT, "weights of shapes [%u, %u] and [%u, %u] do not make one layer",
                            parts[0].weight.rows, parts[0].weight.cols, w->rows, w->cols);
        total += w->rows;
    }
    if (!n || total > most_out)
        return rkf_fail(err, RKF_UNSUPPORTED, "a layer of %llu columns is too wide", (unsigned long long)total);
    return RKF_OK;
}
