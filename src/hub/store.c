/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/store.h"
#include "base/file.h"
#include "base/hf_cache.h"
#include "base/mem.h"
#include "hub/sha.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define LOCAL_NOTES ".cache/huggingface/download"

/* ---- names */

static bool path_put(char *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool path_put(char *out, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(out, PATH_MAX, fmt, ap);
    va_end(ap);
    return n >= 0 && n < PATH_MAX;
}

static rkf_status too_long(const char *path, rkf_error *err)
{
    return rkf_fail(err, RKF_INVALID, "path too long: %.200s...", path);
}

rkf_status store_root(const struct store *s, char *out, size_t cap, rkf_error *err)
{
    int n = *s->local ? snprintf(out, cap, "%s", s->local)
                      : snprintf(out, cap, "%s/%s/snapshots/%s", s->cache, s->folder, s->commit);
    return n >= 0 && (size_t)n < cap ? RKF_OK : too_long(s->cache, err);
}

rkf_status store_place(const struct store *s, const struct hub_entry *e, struct place *p, rkf_error *err)
{
    p->link[0] = 0;
    bool fits = path_put(p->blob, "%s/%s/blobs/%s", s->cache, s->folder, e->etag);
    if (*s->local)
        fits = fits && path_put(p->target, "%s/%s", s->local, e->name) &&
               path_put(p->part, "%s/" LOCAL_NOTES "/%s.%s.incomplete", s->local, e->name, e->etag) &&
               path_put(p->lock, "%s/" LOCAL_NOTES "/%s.lock", s->local, e->name);
    else
        fits = fits && path_put(p->target, "%s/%s/blobs/%s", s->cache, s->folder, e->etag) &&
               path_put(p->part, "%s/%s/blobs/%s.incomplete", s->cache, s->folder, e->etag) &&
               path_put(p->lock, "%s/.locks/%s/%s.lock", s->cache, s->folder, e->etag) &&
               path_put(p->link, "%s/%s/snapshots/%s/%s", s->cache, s->folder, s->commit, e->name);
    return fits ? RKF_OK : too_long(e->name, err);
}

/* The folders above a path. */
static rkf_status make_folders(const char *path, rkf_error *err)
{
    char dir[PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof dir)
        return too_long(path, err);
    memcpy(dir, path, n + 1);
    for (char *slash = strchr(dir + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(dir, 0777) && errno != EEXIST && !path_is_dir(dir))
            return rkf_fail_errno(err, RKF_IO,
                                  "cannot make the directory %s (--cache-dir or HF_HUB_CACHE names "
                                  "another)",
                                  dir);
        *slash = '/';
    }
    return RKF_OK;
}

rkf_status store_prepare(const struct place *p, rkf_error *err)
{
    const char *const paths[] = { p->target, p->part, p->lock, p->link };
    rkf_status rc = RKF_OK;
    for (size_t i = 0; !rc && i < sizeof paths / sizeof *paths; i++)
        rc = *paths[i] ? make_folders(paths[i], err) : RKF_OK;
    return rc;
}

/* ---- what is there */

static int64_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (int64_t)st.st_size : -1;
}

static bool right_size(const char *path, const struct hub_entry *e)
{
    int64_t n = size_of(path);
    return n >= 0 && (e->bytes < 0 || n == e->bytes);
}

bool store_hash_begin(struct sha *s, const struct hub_entry *e)
{
    static const char digits[] = "0123456789abcdef";
    char head[40];
    size_t n = strlen(e->etag);
    if (strspn(e->etag, digits) != n || (n != 64 && (n != 40 || e->bytes < 0)))
        return false;
    if (n == 64) {
        sha256_begin(s);
        return true;
    }
    sha1_begin(s); /* git hashes a file with "blob LENGTH\0" before it */
    sha_add(s, head, (size_t)snprintf(head, sizeof head, "blob %lld", (long long)e->bytes) + 1);
    return true;
}

static bool right_content(const char *path, const struct hub_entry *e)
{
    struct file_map map;
    struct sha s;
    char hex[65];
    if (!store_hash_begin(&s, e) || file_map(path, &map, NULL))
        return false;
    sha_add(&s, map.p, map.len);
    file_unmap(&map);
    sha_end(&s, hex);
    return !strcmp(hex, e->etag);
}

/* The note of a plain directory's file: commit, etag, seconds since 1970, a line each. */
static bool note_says(const struct store *s, const struct hub_entry *e, const char *path)
{
    char note[PATH_MAX], etag[HUB_ETAG];
    struct stat st;
    double when = 0;
    char *text;
    size_t len;
    if (!path_put(note, "%s/" LOCAL_NOTES "/%s.metadata", s->local, e->name) ||
        file_read(note, 4096, &text, &len, NULL))
        return false;
    bool read = sscanf(text, "%*64s %79s %lf", etag, &when) == 2;
    mem_free(text);
    return read && !strcmp(etag, e->etag) && stat(path, &st) == 0 && (double)st.st_mtime - 1 <= when;
}

static rkf_status note_write(const struct store *s, const struct hub_entry *e, rkf_error *err)
{
    char path[PATH_MAX], text[256];
    struct file_out out;
    if (!path_put(path, "%s/" LOCAL_NOTES "/%s.metadata", s->local, e->name))
        return too_long(s->local, err);
    int n = snprintf(text, sizeof text, "%s\n%s\n%lld.0\n", s->commit, e->etag, (long long)time(NULL));
    rkf_status rc = file_out_open(path, &out, err);
    if (rc)
        return rc;
    if ((rc = file_out_write(&out, text, (size_t)n, err))) {
        file_out_abort(&out);
        return rc;
    }
    return file_out_commit(&out, err);
}

bool store_has(const struct store *s, const struct hub_entry *e, char path[PATH_MAX])
{
    if (!*s->local)
        return path_put(path, "%s/%s/snapshots/%s/%s", s->cache, s->folder, s->commit, e->name) && right_size(path, e);
    return path_put(path, "%s/%s", s->local, e->name) && right_size(path, e) && e->etag[0] &&
           (note_says(s, e, path) || right_content(path, e));
}

bool store_have_content(const struct place *p, const struct hub_entry *e)
{
    return right_size(p->blob, e);
}

/* ---- locks */

/* Whoever held the lock before may have removed its file. */
static bool still_there(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

rkf_status store_lock(const char *path, const char *name, rkf_log_fn *log, void *cookie, int *out, rkf_error *err)
{
    for (bool told = false;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0664);
        if (fd < 0)
            return rkf_fail_errno(err, RKF_IO, "cannot make the lock %s", path);
        int got = flock(fd, LOCK_EX | LOCK_NB);
        if (got && errno == EWOULDBLOCK) {
            char line[300];
            snprintf(line, sizeof line, "%.200s is being fetched by another process: waiting for it", name);
            if (log && !told)
                log(cookie, RKF_LOG_INFO, line);
            told = true;
            do
                got = flock(fd, LOCK_EX);
            while (got && errno == EINTR);
        }
        if (got) { /* the file system knows no locks */
            close(fd);
            *out = -1;
            return RKF_OK;
        }
        if (still_there(fd, path)) {
            *out = fd;
            return RKF_OK;
        }
        close(fd);
    }
}

void store_unlock(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* ---- putting in place */

static rkf_status copy_aside(const char *from, const char *to, rkf_error *err)
{
    struct file_map map;
    struct file_out out;
    rkf_status rc = file_map(from, &map, err);
    if (rc)
        return rc;
    if (!(rc = file_out_open(to, &out, err))) {
        rc = file_out_write(&out, map.p, map.len, err);
        if (rc)
            file_out_abort(&out);
        else
            rc = file_out_commit(&out, err);
    }
    file_unmap(&map);
    return rc;
}

/* snapshots/COMMIT/a/b -> ../../../../blobs/ETAG, made aside and renamed so that it is never missing meanwhile. */
static bool link_to(const struct place *p, const struct hub_entry *e)
{
    char to[HUB_NAME * 3 + HUB_ETAG] = "../../", aside[PATH_MAX];
    for (const char *s = strchr(e->name, '/'); s; s = strchr(s + 1, '/'))
        strcat(to, "../");
    strcat(to, "blobs/");
    strcat(to, e->etag);
    if (!path_put(aside, "%s.%ld.tmp", p->link, (long)getpid()))
        return false;
    unlink(aside);
    if (symlink(to, aside))
        return false;
    if (rename(aside, p->link) == 0)
        return true;
    unlink(aside);
    return false;
}

rkf_status store_keep(const struct store *s, const struct place *p, const struct hub_entry *e, bool fresh,
                      rkf_error *err)
{
    rkf_status rc = RKF_OK;
    if (fresh && rename(p->part, p->target))
        return rkf_fail_errno(err, RKF_IO, "cannot rename %s to %s", p->part, p->target);
    if (*s->local) {
        if (!fresh)
            rc = copy_aside(p->blob, p->target, err);
        return rc ? rc : note_write(s, e, err);
    }
    if (!s->no_links && link_to(p, e))
        return RKF_OK;
    if (fresh && rename(p->target, p->link)) /* twice on the disk would be a waste */
        return rkf_fail_errno(err, RKF_IO, "cannot rename %s to %s", p->target, p->link);
    return fresh ? RKF_OK : copy_aside(p->target, p->link, err);
}

rkf_status store_ref(const struct store *s, const char *revision, rkf_error *err)
{
    char path[PATH_MAX], *old;
    size_t len;
    struct file_out out;
    if (*s->local || !strcmp(revision, s->commit))
        return RKF_OK;
    if (!path_put(path, "%s/%s/refs/%s", s->cache, s->folder, revision))
        return too_long(s->cache, err);
    if (!file_read(path, 1024, &old, &len, NULL)) {
        bool same = !strcmp(old, s->commit);
        mem_free(old);
        if (same) /* the cache may be read-only */
            return RKF_OK;
    }
    rkf_status rc = make_folders(path, err);
    if (!rc)
        rc = file_out_open(path, &out, err);
    if (rc)
        return rc;
    if ((rc = file_out_write(&out, s->commit, strlen(s->commit), err))) {
        file_out_abort(&out);
        return rc;
    }
    return file_out_commit(&out, err);
}

rkf_status store_room(const struct store *s, uint64_t bytes, rkf_error *err)
{
    char dir[PATH_MAX];
    struct statvfs v;
    snprintf(dir, sizeof dir, "%s", *s->local ? s->local : s->cache);
    while (statvfs(dir, &v)) { /* the nearest that is there */
        char *slash = strrchr(dir, '/');
        if (!slash || slash == dir) {
            if (statvfs(slash ? "/" : ".", &v))
                return RKF_OK;
            break;
        }
        *slash = 0;
    }
    uint64_t room = (uint64_t)v.f_bavail * v.f_frsize;
    if (!bytes || room >= bytes)
        return RKF_OK;
    return rkf_fail(err, RKF_IO,
                    "%.1f MB are to be fetched, but %s has room for %.1f MB: make room, or name another disk with "
                    "--cache-dir (HF_HUB_CACHE)",
                    (double)bytes / 1e6, dir, (double)room / 1e6);
}
