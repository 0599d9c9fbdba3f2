/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a model directory that dir.c puts together; private to src/model. */
#ifndef RKF_MODEL_MODULES_H
#define RKF_MODEL_MODULES_H

#include "model/model.h"

enum { CONFIG_MAX = 16 << 20 }; /* bytes of any of the JSON files but the tokenizer's */

/* A JSON file that may be missing: *out NULL then. */
rkf_status json_load_optional(const char *dir, const char *name, yyjson_doc **out, rkf_error *err) MUST_CHECK;
/* Reads root/modules.json into m->modules (those after the transformer); *transformer is the folder of the transformer
 * module ("" the root itself), in a buffer of cap bytes. Sets m->has_modules. */
rkf_status modules_read(const char *root, struct model_dir *m, char *transformer, size_t cap,
                        rkf_error *err) MUST_CHECK;
void modules_free(struct st_module *modules, uint32_t n);
/* config_sentence_transformers.json and sentence_bert_config.json. */
rkf_status st_config_read(const char *root, struct model_dir *m, rkf_error *err) MUST_CHECK;

#endif
