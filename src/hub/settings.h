/* SPDX-License-Identifier: Apache-2.0 */
/* What the environment says, as huggingface_hub reads it. */
#ifndef RKF_HUB_SETTINGS_H
#define RKF_HUB_SETTINGS_H

#include "base/status.h"

enum { HUB_TOKEN_MAX = 1024 };

struct hub_settings {
    char endpoint[512];        /* HF_ENDPOINT without slashes at its end, else https://huggingface.co */
    char token[HUB_TOKEN_MAX]; /* HF_TOKEN, HUGGING_FACE_HUB_TOKEN, the file HF_TOKEN_PATH or $HF_HOME/token; "" none */
    bool offline;              /* HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE */
    bool no_links;             /* HF_HUB_DISABLE_SYMLINKS */
    int32_t timeout_s;         /* HF_HUB_DOWNLOAD_TIMEOUT, else 10 */
};
/* token: the caller's, before the environment's; NULL: none given; "": none at all. */
rkf_status hub_settings_read(const char *token, struct hub_settings *out, rkf_error *err) MUST_CHECK;

#endif
