/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices `rknn` and `sim`: the vendor's runtime library, found at run time, or our simulator of it. Same code for
 * both.
 *
 *   device   rknn_device_create: linear layers through rknn_matmul, the rest through the CPU device's kernels
 *   body     rknn_body_create: compiled .rknn files of a model directory
 *
 * Threads. Calls into the library that may touch the NPU are made by threads of the device, one per core and one for
 * loading: a call that hangs cannot be cancelled, so whoever waits for it must be able to leave. Any number of execs
 * may be in flight; two per lane are enough to hide the CPU's part behind the NPU's.
 *
 * Failures. A job that fails or times out is tried once more on the same core. If it fails again, or hangs, the run
 * ends with RKF_DEVICE (RKF_DEADLINE if the deadline came first) and exec.cores_failed names the cores that are to
 * blame: the caller takes them for sick and tries them again later. cores_failed == 0 means that no core is to blame
 * (out of memory, say). Jobs that die because another core's timeout reset the NPU are repeated and blame nobody. A
 * hung call keeps its thread, context and buffers until it returns; until then its core fails at once.
 *
 * Memory is released by rknn_device_free, and what a hung call still holds when that call returns. The library itself
 * stays loaded: the vendor's does not survive being unloaded and loaded again.
 */
#ifndef RKF_DEVICE_RKNN_RKNN_DEVICE_H
#define RKF_DEVICE_RKNN_RKNN_DEVICE_H

#include "base/buf.h"
#include "device/device.h"
#include "model/model.h"

struct rknn_options {
    bool simulator;                  /* device `sim`: our librknnrt-sim.so, no NPU needed */
    const char *library;             /* path of the library; NULL: RKFORMER_RKNN_LIBRARY, then the usual places */
    const char *sim_config;          /* simulator only: further "key=value ..." (sim/README.md); NULL: none */
    const struct platform *platform; /* NULL: the detected one; must not be PLATFORM_CPU */
    const char *root;                /* where the device node is looked for; NULL: "/" */
    const struct device *cpu;        /* borrowed; outlives the device */
    const struct logger *log;        /* borrowed; NULL: silent */
    int64_t hang_us;                 /* a call that takes longer hangs; 0: 20 s */
};
/* Probes the device node (the vendor's library would create nodes as root), then loads the library. Nothing is opened
 * on the NPU yet. Errors: RKF_UNAVAILABLE says what is missing and what to do; RKF_INVALID for a wrong option. */
rkf_status rknn_device_create(const struct rknn_options *options, struct device **out, rkf_error *err) MUST_CHECK;
/* After the last linear and body of the device. NULL is fine. */
void rknn_device_free(struct device *d);
/* Cores with a call that has not returned since it was given up. */
uint8_t rknn_device_hung(const struct device *d);

/* Since the device was opened. */
void rknn_device_faults(const struct device *d, struct core_faults faults[NPU_MAX_CORES]);

/* Appends a JSON object about the runtime library without opening the NPU: {"found":true,"library":"...",
 * "version":"2.3.2"} or {"found":false,"advice":"..."}; for `devices` and `env`. */
rkf_status rknn_describe(const struct rknn_options *options, struct buf *json, rkf_error *err) MUST_CHECK;

struct rknn_body_options {
    const char *file_name; /* one .rknn file relative to the directory, as RK-Transformers; NULL: all that fit */
    bool int8;             /* files quantised to int8 may be chosen; else only float ones */
};
/* The .rknn files of m that this platform can run, as one model: a run takes for each sequence the file with the
 * smallest length that holds it. Headers are checked before the runtime sees a file. Weights are loaded once per file,
 * when a file is first used; contexts for other cores share them. Errors: RKF_NOT_FOUND (no file for this platform:
 * lists what there is and for what), RKF_FORMAT, RKF_UNSUPPORTED. */
rkf_status rknn_body_create(struct device *d, const struct model_dir *m, const struct rknn_body_options *o,
                            struct body **out, rkf_error *err) MUST_CHECK;

#endif
