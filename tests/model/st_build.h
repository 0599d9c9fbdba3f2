/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors files and model directories made by hand, also broken ones. */
#ifndef RKF_TESTS_MODEL_ST_BUILD_H
#define RKF_TESTS_MODEL_ST_BUILD_H

#include "test.h"

#include "base/mem.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A whole file in memory: length of header, header, data_len bytes of data (their value is their position). */
struct st_file {
    uint8_t bytes[1 << 16];
    size_t len;
};

static inline void st_build(struct st_file *f, const char *header, size_t data_len)
{
    size_t n = strlen(header);
    assert_true(8 + n + data_len <= sizeof f->bytes);
    for (int i = 0; i < 8; i++)
        f->bytes[i] = (uint8_t)((uint64_t)n >> 8 * i);
    memcpy(f->bytes + 8, header, n);
    for (size_t i = 0; i < data_len; i++)
        f->bytes[8 + n + i] = (uint8_t)i;
    f->len = 8 + n + data_len;
}

/* ---- temporary directories */

struct tmp_dir {
    char path[64];
};

static inline void tmp_make(struct tmp_dir *d)
{
    strcpy(d->path, "/tmp/rkf-model-XXXXXX");
    assert_non_null(mkdtemp(d->path));
}

static inline void tmp_remove(struct tmp_dir *d)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", d->path);
    assert_int_equal(system(command), 0);
}

static inline void tmp_write(const struct tmp_dir *d, const char *name, const void *p, size_t len)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", d->path, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static inline void tmp_text(const struct tmp_dir *d, const char *name, const char *text)
{
    tmp_write(d, name, text, strlen(text));
}

static inline void tmp_sub(const struct tmp_dir *d, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", d->path, name);
    assert_int_equal(mkdir(path, 0777), 0);
}

static inline void tmp_copy(const struct tmp_dir *d, const char *from)
{
    char command[1200];
    snprintf(command, sizeof command, "cp -r '%s'/. '%s'", from, d->path);
    assert_int_equal(system(command), 0);
}

#endif
