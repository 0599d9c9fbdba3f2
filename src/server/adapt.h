/* SPDX-License-Identifier: Apache-2.0 */
/* What a request's inputs have to become before the library takes them, and only the model knows how. Each returns
 * false and fills *e on failure; new memory is the request's. */
#ifndef RKF_SERVER_ADAPT_H
#define RKF_SERVER_ADAPT_H

#include "server/models.h"

/* TEI: token ids under a prompt are decoded, so that the prompt can be put before them. */
bool adapt_ids_to_prompt(struct api_request *r, const struct model *m, struct api_error *e);
/* Cohere: documents are cut to so many tokens each. */
bool adapt_documents(struct api_request *r, const struct model *m, struct api_error *e);
/* vLLM: pairs scored by an embedding model: all first texts, then all second ones. */
bool adapt_pairs_to_texts(struct api_request *r, const struct model *m, struct api_error *e);
/* The text of the prompt that applies, {NULL, 0}: none (or one the library will refuse by name). */
rkf_str prompt_of(const struct api_request *r, const struct model *m);

#endif
