/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding and loading the runtime library. A library is loaded once per process and path and never unloaded: the
 * vendor's does not survive it, and a hung call may still be inside.
 */
#ifndef RKF_DEVICE_RKNN_LIBRARY_H
#define RKF_DEVICE_RKNN_LIBRARY_H

#include "base/status.h"
#include "device/rknn/abi.h"

struct library {
    struct abi_calls call;
    int (*sim_configure)(const char *text); /* NULL: not our simulator */
    char path[512];
    char version[32]; /* "2.3.2"; "" unknown */
};
/* Where it would be loaded from. RKF_UNAVAILABLE lists the places that were looked at. */
rkf_status library_find(bool simulator, const char *asked, char *path, size_t cap, rkf_error *err) MUST_CHECK;
rkf_status library_load(bool simulator, const char *asked, struct library *out, rkf_error *err) MUST_CHECK;
/* The version that the file names in its data; "" if it names none. */
void library_version(const char *path, char *version, size_t cap);
/* "timeout (-2)" */
const char *abi_result_name(int result, char *buf, size_t cap);

#endif
