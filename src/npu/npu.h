/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine is: platforms, NPU cores, core masks, detection, telemetry. Pure facts and small files below a
 * settable root; nothing here opens a device. Placement (who runs where, when) is in placement.h, leases between
 * processes in lease.h.
 */
#ifndef RKF_NPU_NPU_H
#define RKF_NPU_NPU_H

#include "base/buf.h"

#define NPU_MAX_CORES 3

/* ---- platforms (table: reference of Rockchip's data sheets) */
enum platform_id {
    PLATFORM_CPU,
    PLATFORM_RK3588,
    PLATFORM_RK3576,
    PLATFORM_RK3568,
    PLATFORM_RK3566,
    PLATFORM_RK3562,
    PLATFORM_COUNT
};
struct platform {
    enum platform_id id;
    const char *name; /* "rk3588"; as in device trees after "rockchip," and in .rknn headers */
    uint32_t cores;   /* NPU cores; on cpu the virtual cores that masks may name: 3 */
    uint32_t k_align_f16, k_align_i8, n_align_f16, n_align_i8; /* matmul alignment, elements; 0 on cpu */
    uint32_t k_segment; /* B is cut along K into segments of this many; 0: not cut */
    bool set_core_mask; /* the runtime's rknn_set_core_mask may be called */
    float tops_i8;      /* of the whole NPU */
};
const struct platform *platform_get(enum platform_id id);
const struct platform *
platform_by_name(const char *name, size_t len); /* NULL: none; exact, case-insensitive; variants such as rk3588s too */
/* NULL and "auto" give NULL: detect. Else RKF_INVALID "unknown platform 'x': use auto, rk3588, ..." */
rkf_status platform_parse(const char *name, const struct platform **out, rkf_error *err) MUST_CHECK;

/* ---- core masks */
struct core_mask {
    bool automatic; /* auto: the scheduler picks among `cores` */
    uint8_t cores;  /* bit per core: those of the mask; for auto all cores of the platform */
    char name[8];   /* as the user wrote it: "auto", "0", "0_1", "all" ... */
};
/* Parses and checks a mask against a platform: RKF_INVALID "unknown core mask 'x': use auto, ..." or RKF_UNAVAILABLE
 * "core mask '2' is not available on rk3576: it has 2 NPU cores; use auto, 0, 1, 0_1 or all". NULL is auto. */
rkf_status core_mask_parse(const char *text, const struct platform *platform, struct core_mask *out,
                           rkf_error *err) MUST_CHECK;
/* "auto, 0, 1, 0_1 or all" for messages and help. */
void core_mask_list(const struct platform *platform, char *buf, size_t cap);
/* Name of a set of cores: 1 -> "0", 3 -> "0_1", 7 -> "0_1_2"; 5 -> "0,2" (not a mask, for display). */
const char *core_set_name(uint8_t cores);

/* ---- detection */
enum npu_driver { NPU_DRIVER_NONE, NPU_DRIVER_RKNPU, NPU_DRIVER_ROCKET };
struct npu_facts {
    const struct platform *platform; /* detected SoC; platform_get(PLATFORM_CPU) if none */
    char board[128];                 /* /proc/device-tree/model; "" unknown */
    bool from_device_tree;           /* else from the devfreq node and the driver */
    enum npu_driver driver;
    char driver_version[32]; /* "0.9.8"; "" unknown */
    char device_node[64];    /* "/dev/dri/card1", "/dev/rknpu", "/dev/accel/accel0"; "" none */
    bool node_accessible;    /* this process may open it read-write */
    char node_group[32];     /* group that owns the node; "" unknown */
    bool legacy_link;        /* /dev/rknpu is a symbolic link: forces the runtime's old path */
    bool multi_core_ok;      /* driver is 0.9.6 or newer, or unknown */
    bool debugfs_readable;   /* the load per core can be read */
    bool ambiguous;          /* rk3566 and rk3568 look alike without a device tree: rk3568 was taken */
};
void npu_detect(const char *root, struct npu_facts *out);
/* Why the vendor's runtime cannot use what is there, and what to do, in words; false if nothing stands in the way. */
bool npu_problem(const struct npu_facts *facts, char *words, size_t cap);

/* What an old driver does to cores 1 and 2, in words; false: the driver is new enough, or there is one core. */
bool npu_old_driver(const struct npu_facts *facts, char *words, size_t cap);

/* ---- telemetry; every field has its "unknown" */
struct npu_core_load {
    int8_t percent; /* -1 unknown */
};
struct npu_telemetry {
    struct npu_core_load load[NPU_MAX_CORES];
    int64_t freq_hz, freq_max_hz;  /* -1 unknown */
    char governor[32];             /* "" unknown */
    int32_t temp_mc, temp_trip_mc; /* millidegrees, trip: where the kernel begins to throttle; INT32_MIN unknown */
    char temp_zone[32];            /* "npu-thermal", "soc-thermal" */
    int64_t volt_uv;               /* -1 unknown */
    int8_t power_on;               /* -1 unknown */
};
void npu_telemetry_read(const char *root, const struct npu_facts *facts, struct npu_telemetry *out);

/* ---- all of it as one JSON object, for `devices` and `env`
 * asked: the platform that the user named, NULL: the detected one. {"platform", "virtual", "board", "detected",
 * "detected_from", "cores", "core_masks", "tops_int8", "driver": {...} or null, "telemetry": {...}, "advice": [...]};
 * unknown values are null. `advice` says what is missing in words that a person can act on. */
rkf_status npu_describe(const char *root, const struct platform *asked, struct buf *json, rkf_error *err) MUST_CHECK;

#endif
