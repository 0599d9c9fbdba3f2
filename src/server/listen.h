/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets: addresses, unix sockets, and those that systemd hands over; and words to systemd. */
#ifndef RKF_SERVER_LISTEN_H
#define RKF_SERVER_LISTEN_H

#include "base/status.h"

struct listener {
    int fd;
    char *path;    /* of a unix socket that is ours to remove; NULL */
    char name[80]; /* for the log */
};
enum { LISTENERS_MAX = 16 };

/* "HOST:PORT", ":PORT" (all addresses), "[V6]:PORT", "unix:PATH". RKF_INVALID, RKF_IO. */
rkf_status listener_open(const char *address, struct listener *out, rkf_error *err) MUST_CHECK;
void listener_close(struct listener *l);
/* Sockets of LISTEN_FDS if they are for this process; *n of them. */
rkf_status listeners_inherit(struct listener *out, int *n, rkf_error *err) MUST_CHECK;

/* One datagram to NOTIFY_SOCKET ("READY=1"); false if there is none or it failed. */
bool systemd_notify(const char *state);
/* How often the watchdog wants to hear from us, 0: never. */
int64_t systemd_watchdog_us(void);

#endif
