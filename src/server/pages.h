/* SPDX-License-Identifier: Apache-2.0 */
/* Routes that are no work for a model: what the server is and does, and its administration. */
#ifndef RKF_SERVER_PAGES_H
#define RKF_SERVER_PAGES_H

#include "server/exchange.h"

typedef enum outcome handler(struct exchange *x);
handler page_root, page_health, page_info, page_metrics, page_models, page_model, page_devices, page_cores,
    page_openapi, page_ollama_tags, page_ollama_version, page_ollama_ps, page_ollama_show, admin_load, admin_unload,
    admin_delete;

#endif
