/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases of cores between processes: an OFD lock per core on <dir>/coreN. The kernel frees the locks of dead processes.
 * An unwritable directory means in-process only, with one warning (lease_open still succeeds, lease_active tells).
 */
#ifndef RKF_NPU_LEASE_H
#define RKF_NPU_LEASE_H

#include "base/log.h"
#include "base/status.h"

#define LEASE_DEFAULT_DIR "/run/lock/rkformer"

struct lease;
/* dir NULL: LEASE_DEFAULT_DIR; made if its parent exists. */
rkf_status lease_open(const char *dir, uint32_t n_cores, const struct logger *log, struct lease **out,
                      rkf_error *err) MUST_CHECK;
void lease_close(struct lease *l); /* gives all back; NULL is fine */
bool lease_active(const struct lease *l);
/* Takes the lock of every core in the set, or none. Counted: taking twice needs two gives. true if got. Never blocks.
 */
bool lease_try(struct lease *l, uint8_t cores);
void lease_give(struct lease *l, uint8_t cores);
/* Cores that another process holds right now. */
uint8_t lease_busy(struct lease *l);

#endif
