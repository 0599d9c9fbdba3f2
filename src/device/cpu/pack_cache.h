/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packed weights on disk, so that the next load of the same model copies them instead of packing.
 *
 * One file per model, compute type and instruction set. It is read only if its checksums hold and it was made of the
 * same weight files by the same version; else it is made anew while the model loads: written aside, renamed when
 * complete. Nothing here fails a load: what cannot be read or written is packed, with a warning where a file was
 * refused.
 *
 *   data of each layer, each padded to 64 bytes | index: key, begin, bytes, sum of each | footer
 *
 * Used by one thread, while one model loads.
 */
#ifndef RKF_DEVICE_CPU_PACK_CACHE_H
#define RKF_DEVICE_CPU_PACK_CACHE_H

#include "base/log.h"
#include "base/status.h"
#include "base/view.h"

struct pack_cache;
/* dir: made if it is not there. model, type and isa name the file; identity stands for the contents of the weight
 * files. NULL: no memory, or a folder that takes no file. */
struct pack_cache *pack_cache_open(const char *dir, const char *model, enum dtype type, const char *isa,
                                   uint64_t identity, const struct logger *log);
/* complete: the model has loaded, a file that was being made is put in place; else it is thrown away. NULL is fine. */
void pack_cache_close(struct pack_cache *c, bool complete);

/* Layers come in the same order at every load. key: a hash of everything that decides a layer's packed form. */
bool pack_cache_get(struct pack_cache *c, uint64_t key, void *to, size_t bytes);
void pack_cache_put(struct pack_cache *c, uint64_t key, const void *from, size_t bytes);

uint64_t pack_cache_hash(uint64_t seed, const void *p, size_t n);

#endif
