/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static rkf_status open_read(const char *path, int *fd, struct stat *st, rkf_error *err)
{
    int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us; files ignore it */
    if (f < 0)
        return rkf_fail_errno(err, errno == ENOENT || errno == ENOTDIR ? RKF_NOT_FOUND : RKF_IO, "cannot open %s",
                              path);
    if (fstat(f, st) < 0 || !S_ISREG(st->st_mode)) {
        close(f);
        return rkf_fail(err, RKF_IO, "%s is not a regular file", path);
    }
    *fd = f;
    return RKF_OK;
}

static int64_t mtime_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

rkf_status file_map(const char *path, struct file_map *out, rkf_error *err)
{
    struct stat st;
    int fd = -1; /* gcc cannot see that open_read succeeded */
    rkf_status rc = open_read(path, &fd, &st, err);
    if (rc)
        return rc;
    size_t len = (size_t)st.st_size;
    void *p = NULL;
    if (len) {
        p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            rc = rkf_fail_errno(err, RKF_IO, "cannot map %s", path);
            close(fd);
            return rc;
        }
    }
    *out = (struct file_map){ p, len, fd, mtime_ns(&st), st.st_ino };
    return RKF_OK;
}

bool file_map_changed(const struct file_map *m)
{
    struct stat st;
    return fstat(m->fd, &st) < 0 || (size_t)st.st_size != m->len || mtime_ns(&st) != m->mtime_ns ||
           st.st_nlink == 0; /* deleted, or another file was renamed over it */
}

void file_map_drop(const struct file_map *m, size_t begin, size_t end)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
    if (m->p && begin < end && end <= m->len)
        madvise((void *)(m->p + begin), end - begin, MADV_DONTNEED);
}

void file_unmap(struct file_map *m)
{
    if (m->p)
        munmap((void *)m->p, m->len);
    if (m->p || m->fd > 0)
        close(m->fd);
    *m = (struct file_map){ .fd = -1 };
}

rkf_status file_read(const char *path, size_t max, char **out, size_t *len, rkf_error *err)
{
    struct stat st;
    int fd = -1; /* gcc cannot see that open_read succeeded */
    rkf_status rc = open_read(path, &fd, &st, err);
    if (rc)
        return rc;
    size_t want = (size_t)st.st_size, got = 0;
    char *p = NULL;
    if (want > max) {
        rc = rkf_fail(err, RKF_FORMAT, "%s is too large: %zu bytes, at most %zu are read", path, want, max);
        goto fail;
    }
    if (!(p = mem_alloc(want + 1))) {
        rc = rkf_fail_memory(err, want + 1, path);
        goto fail;
    }
    while (got < want) {
        ssize_t n = read(fd, p + got, want - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rc = rkf_fail_errno(err, RKF_IO, "cannot read %s", path);
            goto fail;
        }
        if (n == 0)
            break; /* it shrank meanwhile: what is there is what we have */
        got += (size_t)n;
    }
    p[got] = 0;
    close(fd);
    *out = p;
    *len = got;
    return RKF_OK;
fail:
    mem_free(p);
    close(fd);
    return rc;
}

bool root_path(const char *root, const char *path, char *buf, size_t cap)
{
    size_t n = root ? strlen(root) : 0;
    while (n && root[n - 1] == '/')
        n--;
    int len = snprintf(buf, cap, "%.*s%s", (int)n, root ? root : "", path);
    return len >= 0 && (size_t)len < cap;
}

int root_read(const char *root, const char *path, char *buf, size_t cap)
{
    char full[4096];
    if (!root_path(root, path, full, sizeof full) || !cap)
        return -ENAMETOOLONG;
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    size_t got = 0;
    while (got + 1 < cap) {
        ssize_t n = read(fd, buf + got, cap - 1 - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int e = errno;
            close(fd);
            return -e;
        }
        if (n == 0)
            break;
        got += (size_t)n;
    }
    close(fd);
    buf[got] = 0;
    return (int)got;
}

bool root_find(const char *root, const char *dir, const char *pattern, char *name, size_t cap)
{
    char full[4096];
    DIR *d = root_path(root, dir, full, sizeof full) ? opendir(full) : NULL;
    if (!d)
        return false;
    bool found = false; /* the first in order of names, so that answers are the same everywhere */
    for (struct dirent *e; (e = readdir(d));)
        if (fnmatch(pattern, e->d_name, FNM_PERIOD) == 0 && strlen(e->d_name) < cap &&
            (!found || strcmp(e->d_name, name) < 0)) {
            strcpy(name, e->d_name);
            found = true;
        }
    closedir(d);
    return found;
}

bool path_join(char *buf, size_t cap, const char *dir, const char *name)
{
    size_t n = strlen(dir);
    int len = snprintf(buf, cap, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
    return len >= 0 && (size_t)len < cap;
}

bool path_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool path_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* ---- output aside */

rkf_status file_out_open(const char *path, struct file_out *out, rkf_error *err)
{
    struct stat st;
    struct file_out o = { .fd = -1 };
    size_t n = strlen(path) + sizeof ".XXXXXX.tmp";
    rkf_status rc;
    if (!(o.path = mem_strdup(path)) || !(o.tmp = mem_alloc(n))) {
        rc = rkf_fail_memory(err, n, "a file name");
        goto fail;
    }
    if (stat(path, &st) == 0 &&
        !S_ISREG(st.st_mode)) { /* a device or pipe (/dev/full, /dev/stdout) cannot be renamed onto */
        mem_free(o.tmp);
        o.tmp = NULL;
        o.fd = open(path, O_WRONLY | O_CLOEXEC);
    } else {
        snprintf(o.tmp, n, "%s.XXXXXX.tmp", path);
        mode_t mask = umask(0);
        umask(mask);
        o.fd = mkostemps(o.tmp, 4, O_CLOEXEC);
        if (o.fd >= 0)
            fchmod(o.fd, 0666 & ~mask);
    }
    if (o.fd < 0) {
        rc = rkf_fail_errno(err, RKF_IO, "cannot write %s", path);
        goto fail;
    }
    *out = o;
    return RKF_OK;
fail:
    mem_free(o.path);
    mem_free(o.tmp);
    return rc;
}

rkf_status file_out_write(struct file_out *out, const void *p, size_t n, rkf_error *err)
{
    for (const char *s = p; n;) {
        ssize_t k = write(out->fd, s, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return rkf_fail_errno(err, RKF_IO, "cannot write %s", out->path);
        s += k;
        n -= (size_t)k;
    }
    return RKF_OK;
}

static void file_out_end(struct file_out *out)
{
    mem_free(out->path);
    mem_free(out->tmp);
    *out = (struct file_out){ .fd = -1 };
}

rkf_status file_out_commit(struct file_out *out, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    bool synced = !out->tmp || fsync(out->fd) == 0;
    int sync_errno = errno;
    if (close(out->fd) < 0 || !synced) {
        errno = synced ? errno : sync_errno;
        rc = rkf_fail_errno(err, RKF_IO, "cannot write %s", out->path);
    } else if (out->tmp && rename(out->tmp, out->path) < 0) {
        rc = rkf_fail_errno(err, RKF_IO, "cannot rename %s to %s", out->tmp, out->path);
    }
    if (rc && out->tmp)
        unlink(out->tmp);
    file_out_end(out);
    return rc;
}

void file_out_abort(struct file_out *out)
{
    if (out->fd < 0)
        return;
    close(out->fd);
    if (out->tmp)
        unlink(out->tmp);
    file_out_end(out);
}
