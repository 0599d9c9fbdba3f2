/* SPDX-License-Identifier: Apache-2.0 */
/* Files: read-only maps, small files under a settable root, output that is written aside and renamed when complete. */
#ifndef RKF_BASE_FILE_H
#define RKF_BASE_FILE_H

#include "base/status.h"

/* A whole file, mapped read-only (private). A file that shrinks while mapped would raise SIGBUS: file_map_changed
 * tells. */
struct file_map {
    const uint8_t *p; /* NULL for an empty file */
    size_t len;
    int fd;
    int64_t mtime_ns;
    uint64_t inode;
};
rkf_status file_map(const char *path, struct file_map *out, rkf_error *err) MUST_CHECK;
bool file_map_changed(const struct file_map *m); /* size, time or identity differ from when it was mapped */
void file_map_drop(const struct file_map *m, size_t begin, size_t end); /* lets go of whole pages read once */
void file_unmap(struct file_map *m);

/* A whole file of at most max bytes in memory (mem_free), NUL-terminated. RKF_NOT_FOUND if it is not there. */
rkf_status file_read(const char *path, size_t max, char **out, size_t *len, rkf_error *err) MUST_CHECK;

/* Small files below a root ("/" or a recorded board): path is absolute, e.g. "/proc/device-tree/model".
 * Returns bytes read (at most cap - 1, NUL appended), or -errno. Works for /proc and /sys, whose sizes are 0. */
int root_read(const char *root, const char *path, char *buf, size_t cap);
/* First name in directory `dir` below root that matches the shell pattern; false if none. */
bool root_find(const char *root, const char *dir, const char *pattern, char *name, size_t cap);
/* root + path in buf; false if it does not fit. */
bool root_path(const char *root, const char *path, char *buf, size_t cap);

bool path_join(char *buf, size_t cap, const char *dir, const char *name); /* false if it does not fit */
bool path_is_dir(const char *path);
bool path_is_file(const char *path);

/* Output aside: opened as PATH.XXXXXX.tmp, renamed to PATH by file_out_commit, removed by file_out_abort. */
struct file_out {
    int fd;
    char *path, *tmp;
};
rkf_status file_out_open(const char *path, struct file_out *out, rkf_error *err) MUST_CHECK;
rkf_status file_out_write(struct file_out *out, const void *p, size_t n, rkf_error *err) MUST_CHECK;
rkf_status file_out_commit(struct file_out *out, rkf_error *err) MUST_CHECK; /* ends out either way */
void file_out_abort(struct file_out *out);

#endif
