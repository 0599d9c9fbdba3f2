/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The YAML between two lines of dashes at the top of a model's README.md. Only what model cards say of a model in one
 * key of the outermost level is read: a scalar, or a list of scalars in either notation.
 */
#ifndef RKF_BASE_FRONT_MATTER_H
#define RKF_BASE_FRONT_MATTER_H

#include <stdbool.h>
#include <stddef.h>

enum { FRONT_MATTER_VALUE = 256, FRONT_MATTER_LINES = 20000 };

/* The scalars under `key`, in order: at most max of them, each a string below FRONT_MATTER_VALUE bytes (longer ones,
 * empty ones, nulls and nested values are left out). Returns how many; 0 where there is no such key or no front
 * matter. */
size_t front_matter_values(const char *text, size_t len, const char *key, char (*out)[FRONT_MATTER_VALUE], size_t max);
/* One of the scalars under `key` is `word`. */
bool front_matter_says(const char *text, size_t len, const char *key, const char *word);
/* Models that this one is the same as, in another format: what stands under base_model, unless base_model_relation says
 * that it was trained further. Hub ids only. */
size_t front_matter_bases(const char *text, size_t len, char (*out)[FRONT_MATTER_VALUE], size_t max);

#endif
