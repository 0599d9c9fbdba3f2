/* SPDX-License-Identifier: Apache-2.0 */
#include "server/listen.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096, FIRST_INHERITED = 3 }; /* SD_LISTEN_FDS_START */

static rkf_status start(int fd, const struct sockaddr *sa, socklen_t len, const char *name, rkf_error *err)
{
    if (bind(fd, sa, len) < 0)
        return rkf_fail_errno(err, errno == EADDRINUSE ? RKF_UNAVAILABLE : RKF_IO,
                              "cannot listen on %s (is another server running there?)", name);
    if (listen(fd, BACKLOG) < 0)
        return rkf_fail_errno(err, RKF_IO, "cannot listen on %s", name);
    return RKF_OK;
}

/* A socket file that nobody answers on is a leftover; any other file is not ours to remove. */
static rkf_status clear_leftover(const struct sockaddr_un *sa, rkf_error *err)
{
    struct stat st;
    if (lstat(sa->sun_path, &st) < 0)
        return RKF_OK;
    if (!S_ISSOCK(st.st_mode))
        return rkf_fail(err, RKF_INVALID, "%s exists and is no socket: choose another path", sa->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool used = fd >= 0 && !connect(fd, (const struct sockaddr *)sa, sizeof *sa);
    if (fd >= 0)
        close(fd);
    if (used)
        return rkf_fail(err, RKF_UNAVAILABLE, "a server already listens on %s", sa->sun_path);
    if (unlink(sa->sun_path) < 0)
        return rkf_fail_errno(err, RKF_IO, "cannot remove the old socket %s", sa->sun_path);
    return RKF_OK;
}

static rkf_status open_unix(const char *path, struct listener *out, rkf_error *err)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    struct listener l = { .fd = -1 };
    if (!*path || strlen(path) >= sizeof sa.sun_path)
        return rkf_fail(err, RKF_INVALID, "a unix socket's path must have 1 to %zu bytes", sizeof sa.sun_path - 1);
    strcpy(sa.sun_path, path);
    snprintf(l.name, sizeof l.name, "unix:%.70s", path);
    rkf_status rc = clear_leftover(&sa, err);
    if (rc)
        return rc;
    l.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l.fd < 0)
        return rkf_fail_errno(err, RKF_IO, "cannot make a unix socket");
    if (!(l.path = mem_strdup(path)))
        rc = rkf_fail_memory(err, strlen(path), "a path");
    if (!rc)
        rc = start(l.fd, (struct sockaddr *)&sa, sizeof sa, l.name, err);
    if (rc) {
        close(l.fd);
        mem_free(l.path);
        return rc;
    }
    *out = l;
    return RKF_OK;
}

/* Port 0 is the kernel's choice: which one, the log shall say. */
static void name_port(struct listener *l, const char *host)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t len = sizeof sa;
    if (getsockname(l->fd, (struct sockaddr *)&sa, &len) < 0)
        return;
    unsigned port = ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&sa)->sin6_port
                                                   : ((struct sockaddr_in *)(void *)&sa)->sin_port);
    snprintf(l->name, sizeof l->name, strchr(host, ':') ? "[%.60s]:%u" : "%.60s:%u", *host ? host : "*", port);
}

/* host may be empty: all addresses, both families on one socket. */
static rkf_status open_tcp(const char *host, const char *port, struct listener *out, rkf_error *err)
{
    struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *found = NULL;
    struct listener l = { .fd = -1 };
    int on = 1, off = 0;
    hints.ai_family = *host ? AF_UNSPEC : AF_INET6;
    snprintf(l.name, sizeof l.name, strchr(host, ':') ? "[%.60s]:%.6s" : "%.60s:%.6s", *host ? host : "*", port);
    int rc = getaddrinfo(*host ? host : NULL, port, &hints, &found);
    if (rc)
        return rkf_fail(err, RKF_INVALID, "cannot listen on %s: %s", l.name, gai_strerror(rc));
    l.fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l.fd < 0 && !*host && errno == EAFNOSUPPORT) { /* a kernel without IPv6 */
        freeaddrinfo(found);
        return open_tcp("0.0.0.0", port, out, err);
    }
    rkf_status status = RKF_OK;
    if (l.fd < 0) {
        status = rkf_fail_errno(err, RKF_IO, "cannot make a socket for %s", l.name);
    } else {
        (void)setsockopt(l.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (found->ai_family == AF_INET6)
            (void)setsockopt(l.fd, IPPROTO_IPV6, IPV6_V6ONLY, *host ? &on : &off, sizeof on);
        status = start(l.fd, found->ai_addr, found->ai_addrlen, l.name, err);
    }
    freeaddrinfo(found);
    if (status) {
        if (l.fd >= 0)
            close(l.fd);
        return status;
    }
    if (!strtol(port, NULL, 10))
        name_port(&l, host);
    *out = l;
    return RKF_OK;
}

rkf_status listener_open(const char *address, struct listener *out, rkf_error *err)
{
    char host[256];
    const char *colon = strrchr(address, ':'), *from = address;
    if (!strncmp(address, "unix:", 5))
        return open_unix(address + 5, out, err);
    size_t n = colon ? (size_t)(colon - address) : 0;
    if (!colon || n >= sizeof host || strspn(colon + 1, "0123456789") != strlen(colon + 1) || !colon[1])
        return rkf_fail(err, RKF_INVALID, "cannot listen on '%.80s': use HOST:PORT, :PORT, [ADDRESS]:PORT or unix:PATH",
                        address);
    if (n > 1 && address[0] == '[' && address[n - 1] == ']') {
        from++;
        n -= 2;
    }
    memcpy(host, from, n);
    host[n] = 0;
    return open_tcp(host, colon + 1, out, err);
}

void listener_close(struct listener *l)
{
    if (l->fd >= 0)
        close(l->fd);
    if (l->path)
        unlink(l->path);
    mem_free(l->path);
    *l = (struct listener){ .fd = -1 };
}

/* ---- systemd, by its documented protocol: sd_listen_fds(3), sd_notify(3) */

rkf_status listeners_inherit(struct listener *out, int *n, rkf_error *err)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    *n = 0;
    if (!pid || !fds || strtol(pid, NULL, 10) != (long)getpid())
        return RKF_OK;
    long count = strtol(fds, NULL, 10);
    if (count < 0 || count > LISTENERS_MAX)
        return rkf_fail(err, RKF_INVALID, "LISTEN_FDS is %.20s: at most %d sockets can be taken", fds, LISTENERS_MAX);
    for (int i = 0; i < (int)count; i++) {
        int fd = FIRST_INHERITED + i, flags = fcntl(fd, F_GETFL);
        if (flags < 0)
            return rkf_fail_errno(err, RKF_INVALID, "LISTEN_FDS names descriptor %d, which is not open", fd);
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        out[i] = (struct listener){ .fd = fd };
        snprintf(out[i].name, sizeof out[i].name, "descriptor %d of socket activation", fd);
    }
    *n = (int)count;
    return RKF_OK;
}

bool systemd_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    size_t n = path ? strlen(path) : 0;
    if (n < 2 || n >= sizeof sa.sun_path || (path[0] != '/' && path[0] != '@'))
        return false;
    memcpy(sa.sun_path, path, n);
    if (path[0] == '@') /* the abstract namespace */
        sa.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    bool ok = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&sa, len) == (ssize_t)strlen(state);
    close(fd);
    return ok;
}

int64_t systemd_watchdog_us(void)
{
    const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (!us || (pid && strtol(pid, NULL, 10) != (long)getpid()))
        return 0;
    long long n = strtoll(us, NULL, 10);
    return n > 0 ? n : 0;
}
