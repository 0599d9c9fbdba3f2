/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmicrohttpd, loaded when a server starts (base/dynlib.h says why): mhd.queue_response is MHD_queue_response.
 */
#ifndef RKF_SERVER_MHD_H
#define RKF_SERVER_MHD_H

#include "base/status.h"

#include <microhttpd.h>

#define MHD_CALLS(X)                                                                                                   \
    X(start_daemon)                                                                                                    \
    X(quiesce_daemon)                                                                                                  \
    X(stop_daemon)                                                                                                     \
    X(get_connection_info)                                                                                             \
    X(lookup_connection_value)                                                                                         \
    X(get_connection_values_n)                                                                                         \
    X(suspend_connection)                                                                                              \
    X(resume_connection)                                                                                               \
    X(create_response_from_buffer)                                                                                     \
    X(create_response_from_buffer_with_free_callback)                                                                  \
    X(add_response_header)                                                                                             \
    X(queue_response)                                                                                                  \
    X(destroy_response)

struct mhd_calls {
#define MHD_MEMBER(name) __typeof__(MHD_##name) *name;
    MHD_CALLS(MHD_MEMBER)
#undef MHD_MEMBER
};
extern struct mhd_calls mhd;

/* Before any call of mhd's. Several threads may call it. */
rkf_status mhd_load(rkf_error *err) MUST_CHECK;

#endif
