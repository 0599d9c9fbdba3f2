/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One file per core, one OFD write lock on it. The lock belongs to the open file, so two runtimes of one process
 * exclude each other too, and exec does not inherit it. Nothing is ever written to the files.
 *
 * Directory and files are open to everybody (the sticky bit keeps the files in place): whoever may use the NPU must be
 * able to say so, whichever user comes first.
 */
#include "npu/lease.h"
#include "base/file.h"
#include "base/mem.h"
#include "npu/npu.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct lease {
    pthread_mutex_t mutex; /* guards taken */
    uint32_t n_cores;
    bool active;
    int fd[NPU_MAX_CORES];
    uint32_t taken[NPU_MAX_CORES];
};

static bool lock_core(int fd, int command, short type, short *found)
{
    struct flock l = { .l_type = type, .l_whence = SEEK_SET };
    int rc;
    do
        rc = fcntl(fd, command, &l);
    while (rc < 0 && errno == EINTR);
    if (found)
        *found = l.l_type;
    return rc == 0;
}

/* Opens what is there, else makes it: in a sticky directory the kernel refuses O_CREAT on somebody else's file. */
static int open_core(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd >= 0)
        fchmod(fd, 0666);     /* past the umask */
    else if (errno == EEXIST) /* another process was faster */
        fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    return fd;
}

/* Returns 0 or the errno of what failed. */
static int open_files(struct lease *l, const char *dir)
{
    char path[4096], name[16];
    short found;
    if (mkdir(dir, 01777) == 0)
        chmod(dir, 01777);
    for (uint32_t i = 0; i < l->n_cores; i++) {
        snprintf(name, sizeof name, "core%u", i);
        if (!path_join(path, sizeof path, dir, name))
            return ENAMETOOLONG;
        if ((l->fd[i] = open_core(path)) < 0)
            return errno;
        if (!lock_core(l->fd[i], F_OFD_GETLK, F_WRLCK, &found)) /* a file system or emulator without OFD locks */
            return errno;
    }
    return 0;
}

static void close_files(struct lease *l)
{
    for (uint32_t i = 0; i < NPU_MAX_CORES; i++) {
        if (l->fd[i] >= 0)
            close(l->fd[i]);
        l->fd[i] = -1;
    }
}

rkf_status lease_open(const char *dir, uint32_t n_cores, const struct logger *log, struct lease **out, rkf_error *err)
{
    if (n_cores > NPU_MAX_CORES)
        return rkf_fail(err, RKF_INTERNAL, "%u cores to lease, at most %d are known", n_cores, NPU_MAX_CORES);
    struct lease *l = mem_zalloc(1, sizeof *l);
    if (!l)
        return rkf_fail_memory(err, sizeof *l, "core leases");
    l->n_cores = n_cores;
    for (uint32_t i = 0; i < NPU_MAX_CORES; i++)
        l->fd[i] = -1;
    pthread_mutex_init(&l->mutex, NULL);
    if (!dir)
        dir = LEASE_DEFAULT_DIR;
    int e = open_files(l, dir);
    l->active = e == 0;
    if (e) {
        close_files(l);
        log_line(log, RKF_LOG_WARN,
                 "cores are not shared with other processes: cannot use the lock directory %s: %s; make it writable or "
                 "name another one",
                 dir, strerror(e));
    }
    *out = l;
    return RKF_OK;
}

void lease_close(struct lease *l)
{
    if (!l)
        return;
    close_files(l); /* the kernel gives the locks back */
    pthread_mutex_destroy(&l->mutex);
    mem_free(l);
}

bool lease_active(const struct lease *l)
{
    return l->active;
}

bool lease_try(struct lease *l, uint8_t cores)
{
    if (!l->active)
        return true;
    uint8_t got = 0;
    bool all = true;
    pthread_mutex_lock(&l->mutex);
    for (uint32_t i = 0; i < l->n_cores && all; i++) {
        if (!(cores >> i & 1))
            continue;
        if (l->taken[i] == 0)
            all = lock_core(l->fd[i], F_OFD_SETLK, F_WRLCK, NULL);
        if (all) {
            l->taken[i]++;
            got |= (uint8_t)(1u << i);
        }
    }
    for (uint32_t i = 0; i < l->n_cores && !all; i++)
        if ((got >> i & 1) && --l->taken[i] == 0)
            lock_core(l->fd[i], F_OFD_SETLK, F_UNLCK, NULL);
    pthread_mutex_unlock(&l->mutex);
    return all;
}

void lease_give(struct lease *l, uint8_t cores)
{
    if (!l->active)
        return;
    pthread_mutex_lock(&l->mutex);
    for (uint32_t i = 0; i < l->n_cores; i++)
        if ((cores >> i & 1) && l->taken[i] && --l->taken[i] == 0)
            lock_core(l->fd[i], F_OFD_SETLK, F_UNLCK, NULL);
    pthread_mutex_unlock(&l->mutex);
}

uint8_t lease_busy(struct lease *l)
{
    uint8_t busy = 0;
    if (!l->active)
        return 0;
    pthread_mutex_lock(&l->mutex);
    for (uint32_t i = 0; i < l->n_cores; i++) {
        short found = F_UNLCK;
        if (!l->taken[i] && lock_core(l->fd[i], F_OFD_GETLK, F_WRLCK, &found) && found != F_UNLCK)
            busy |= (uint8_t)(1u << i);
    }
    pthread_mutex_unlock(&l->mutex);
    return busy;
}
