/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's life: IDLE -> (request line) HEADERS -> (all headers) BODY -> WORKING (suspended) -> WRITING -> IDLE
 * ...
 *
 * `conns` holds every open connection under http.lock; libmicrohttpd closes a socket only after it has told us, so that
 * a descriptor found in `conns` is open while the lock is held. The watcher may then shut it down or cancel its
 * request.
 */
#include "server/http.h"

#include "base/file.h"
#include "base/thread.h"
#include "server/head.h"
#include "server/listen.h"
#include "server/log.h"
#include "server/mhd.h"
#include "server/state.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum phase { PHASE_IDLE, PHASE_HEADERS, PHASE_BODY, PHASE_WORKING, PHASE_WRITING };

struct conn {
    struct conn *prev, *next;
    struct http *http;
    int fd;
    uint32_t generation; /* tells this one from an older one of the same descriptor */
    enum phase phase;
    bool bad_target;         /* the request's */
    int64_t deadline_ns;     /* 0: none */
    struct exchange *active; /* being computed */
};

struct http {
    struct server *s;
    struct listener listeners[LISTENERS_MAX];
    struct MHD_Daemon *daemons[LISTENERS_MAX];
    int n;
    char *cert, *key;
    int64_t header_ns, idle_ns, watchdog_us;
    pthread_mutex_t lock; /* guards what follows */
    struct conn *conns;
    struct conn **by_fd; /* [n_fds] */
    size_t n_fds;
    uint32_t generation;
    int waiting;
    bool stopping;
    int epoll;
    bool watching;
    pthread_t watcher;
};

/* What hangs on an exchange: its state between the loop and whoever wakes it. */
enum turn { TURN_NEW, TURN_BODY, TURN_WAITING, TURN_READY };
struct request {
    struct exchange *x;
    struct MHD_Connection *connection;
    struct conn *conn;
    _Atomic int turn;
    size_t swallowed; /* bytes of body after the answer was decided */
};

enum {
    SWALLOW_DECLARED = 256 << 10, /* a refused body that is announced as small is read, so that the connection lives */
    SWALLOW_MOST = 1 << 20,
    WRITE_BYTES_PER_S = 64 << 10, /* slower readers are cut */
};
#define SECOND INT64_C(1000000000)

/* ---- connections */

static void set_phase(struct conn *c, enum phase phase, int64_t limit_ns)
{
    struct http *h = c->http;
    pthread_mutex_lock(&h->lock);
    c->phase = phase;
    c->deadline_ns = limit_ns ? time_now_ns() + limit_ns : 0;
    pthread_mutex_unlock(&h->lock);
}

/* The client's end going away shall be noticed also while the connection is suspended. */
static void watch(struct http *h, struct conn *c)
{
    struct epoll_event e = { .events = EPOLLRDHUP | EPOLLET,
                             .data.u64 = (uint64_t)c->generation << 32 | (uint32_t)c->fd };
    if ((size_t)c->fd < h->n_fds) {
        h->by_fd[c->fd] = c;
        (void)epoll_ctl(h->epoll, EPOLL_CTL_ADD, c->fd, &e);
    }
}

static void conn_open(struct http *h, struct MHD_Connection *connection, void **context)
{
    const union MHD_ConnectionInfo *info = mhd.get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct conn *c = mem_zalloc(1, sizeof *c);
    if (!c || !info) {
        mem_free(c);
        return; /* the handler closes it */
    }
    c->http = h;
    c->fd = info->connect_fd;
    c->deadline_ns = time_now_ns() + h->idle_ns;
    pthread_mutex_lock(&h->lock);
    c->generation = ++h->generation;
    c->next = h->conns;
    if (c->next)
        c->next->prev = c;
    h->conns = c;
    watch(h, c);
    pthread_mutex_unlock(&h->lock);
    metrics_add(h->s->core.metrics, CONNECTIONS_OPENED, 1);
    metrics_gauge(h->s->core.metrics, GAUGE_CONNECTIONS, 1);
    *context = c;
}

static void conn_close(struct http *h, struct conn *c)
{
    pthread_mutex_lock(&h->lock);
    *(c->prev ? &c->prev->next : &h->conns) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    if ((size_t)c->fd < h->n_fds && h->by_fd[c->fd] == c) {
        h->by_fd[c->fd] = NULL;
        (void)epoll_ctl(h->epoll, EPOLL_CTL_DEL, c->fd, NULL);
    }
    pthread_mutex_unlock(&h->lock);
    metrics_gauge(h->s->core.metrics, GAUGE_CONNECTIONS, -1);
    mem_free(c);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http *h = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        conn_open(h, connection, context);
    else if (*context)
        conn_close(h, *context);
}

static struct conn *conn_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = mhd.get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* The request line is there. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct http *h = cls;
    struct conn *c = conn_of(connection);
    if (c) {
        c->bad_target = !head_target_ok(uri);
        set_phase(c, PHASE_HEADERS, h->header_ns);
    }
    return NULL;
}

/* ---- answers */

static void add_cors(const struct server *s, const char *origin, struct MHD_Response *r)
{
    static const char exposed[] = "x-request-id, x-compute-type, x-compute-time, x-compute-characters, "
                                  "x-compute-tokens, x-total-time, x-tokenization-time, x-queue-time, "
                                  "x-inference-time, x-truncated-tokens, retry-after";
    bool allowed = false;
    if (!s->cors.n) {
        mhd.add_response_header(r, "Access-Control-Allow-Origin", "*");
        mhd.add_response_header(r, "Access-Control-Expose-Headers", exposed);
        return;
    }
    for (size_t i = 0; origin && i < s->cors.n; i++)
        allowed |= !strcmp(s->cors.p[i], "*") || !strcmp(s->cors.p[i], origin);
    if (allowed) {
        mhd.add_response_header(r, "Access-Control-Allow-Origin", origin);
        mhd.add_response_header(r, "Access-Control-Expose-Headers", exposed);
    }
    mhd.add_response_header(r, "Vary", "Origin");
}

static enum MHD_Result send_response(struct exchange *x, struct MHD_Connection *connection, struct MHD_Response *r,
                                     unsigned status)
{
    if (!r)
        return MHD_NO;
    add_cors(x->server, x->origin, r);
    mhd.add_response_header(r, "x-request-id", x->id);
    for (int i = 0; i < x->n_headers; i++)
        mhd.add_response_header(r, x->headers[i].name, x->headers[i].value);
    if (x->close || atomic_load(&x->server->draining))
        mhd.add_response_header(r, "Connection", "close");
    enum MHD_Result rc = mhd.queue_response(connection, status, r);
    mhd.destroy_response(r);
    return rc;
}

static enum MHD_Result send_answer(struct request *q)
{
    struct exchange *x = q->x;
    struct MHD_Response *r;
    size_t len = x->page ? x->page_len : x->out.len;
    if (x->page) {
        r = mhd.create_response_from_buffer(len, (void *)(uintptr_t)x->page, MHD_RESPMEM_PERSISTENT);
    } else if (!x->type || !len) {
        r = mhd.create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    } else {
        r = mhd.create_response_from_buffer_with_free_callback(len, x->out.p, mem_free);
        if (r)
            x->out.p = NULL; /* the response's now; len stays for the log */
    }
    if (r && x->type)
        mhd.add_response_header(r, "Content-Type", x->type);
    set_phase(q->conn, PHASE_WRITING, 30 * SECOND + (int64_t)(len / WRITE_BYTES_PER_S) * SECOND);
    return send_response(x, q->connection, r, (unsigned)x->status);
}

/* What browsers ask before they send Authorization or JSON. */
static enum MHD_Result send_preflight(struct request *q)
{
    struct MHD_Response *r = mhd.create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    if (r) {
        mhd.add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
        mhd.add_response_header(r, "Access-Control-Allow-Headers", "authorization, content-type, x-request-id");
        mhd.add_response_header(r, "Access-Control-Max-Age", "86400");
    }
    q->x->status = 204;
    q->x->answered = true;
    set_phase(q->conn, PHASE_WRITING, 30 * SECOND);
    return send_response(q->x, q->connection, r, 204);
}

/* ---- requests */

static void wake(struct exchange *x)
{
    struct request *q = x->connection;
    struct http *h = q->conn->http;
    struct MHD_Connection *connection = q->connection;
    pthread_mutex_lock(&h->lock);
    q->conn->active = NULL;
    h->waiting--;
    pthread_mutex_unlock(&h->lock);
    atomic_store(&q->turn, TURN_READY);
    mhd.resume_connection(connection); /* x may be gone from here on */
}

static void client_name(struct MHD_Connection *connection, char *out, size_t cap)
{
    const union MHD_ConnectionInfo *info = mhd.get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *sa = info ? info->client_addr : NULL;
    if (sa && sa->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, out, (socklen_t)cap);
    else if (sa && sa->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, out, (socklen_t)cap);
    else
        snprintf(out, cap, "unix");
}

static const char *header(struct MHD_Connection *connection, const char *name)
{
    return mhd.lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static enum MHD_Result take_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len,
                                   const char *value, size_t len)
{
    (void)kind;
    (void)name_len;
    head_take(cls, name, value ? value : "", value ? len : 0);
    return MHD_YES;
}

static void check_head(struct request *q, const char *version)
{
    struct head head = { 0 };
    (void)mhd.get_connection_values_n(q->connection, MHD_HEADER_KIND, take_header, &head);
    q->x->malformed = q->conn->bad_target ? "a target with characters that do not belong there"
                                          : head_fault(&head, version);
    q->x->compressed = head.compressed;
}

static struct request *begin(struct http *h, struct MHD_Connection *connection, const char *url, const char *method)
{
    struct conn *c = conn_of(connection);
    struct request *q = c ? mem_zalloc(1, sizeof *q) : NULL;
    struct exchange *x = q ? exchange_create(h->s) : NULL;
    if (!x) {
        mem_free(q);
        return NULL;
    }
    *q = (struct request){ .x = x, .connection = connection, .conn = c };
    x->connection = q;
    x->wake = wake;
    x->method = method;
    x->path = head_path(url);
    x->authorization = header(connection, MHD_HTTP_HEADER_AUTHORIZATION);
    x->content_type = header(connection, MHD_HTTP_HEADER_CONTENT_TYPE);
    x->accept = header(connection, MHD_HTTP_HEADER_ACCEPT);
    x->origin = header(connection, MHD_HTTP_HEADER_ORIGIN);
    x->request_id = header(connection, "x-request-id");
    const char *length = header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (length)
        x->content_length = strtoll(length, NULL, 10); /* libmicrohttpd has checked it */
    client_name(connection, x->client, sizeof x->client);
    return q;
}

/* The headers are there. */
static enum MHD_Result first_turn(struct http *h, struct request *q)
{
    struct exchange *x = q->x;
    int64_t mib = x->content_length > 0 ? x->content_length >> 20 : x->server->payload_limit >> 20;
    set_phase(q->conn, PHASE_BODY, h->header_ns * (1 + mib));
    atomic_store(&q->turn, TURN_BODY);
    bool ok = (!strcmp(x->method, "OPTIONS") && !x->malformed) || exchange_open(x);
    bool swallow = x->content_length <= SWALLOW_DECLARED && !header(q->connection, MHD_HTTP_HEADER_EXPECT);
    if (ok || (swallow && !x->malformed))
        return MHD_YES;
    return send_answer(q); /* the body will not be read: libmicrohttpd closes the connection after this */
}

static enum MHD_Result last_turn(struct http *h, struct request *q)
{
    struct exchange *x = q->x;
    if (!strcmp(x->method, "OPTIONS"))
        return send_preflight(q);
    if (atomic_load(&q->turn) == TURN_READY) {
        exchange_finish(x);
        return x->fault == FAULT_GONE ? MHD_NO : send_answer(q);
    }
    if (exchange_prepare(x) == NOW)
        return send_answer(q);
    atomic_store(&q->turn, TURN_WAITING);
    pthread_mutex_lock(&h->lock);
    q->conn->phase = PHASE_WORKING;
    q->conn->deadline_ns = 0;
    q->conn->active = x;
    h->waiting++;
    pthread_mutex_unlock(&h->lock);
    mhd.suspend_connection(q->connection);
    exchange_start(x);
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **context)
{
    struct http *h = cls;
    struct request *q = *context;
    if (!q) {
        q = *context = begin(h, connection, url, method);
        if (!q)
            return MHD_NO;
        check_head(q, version);
        return first_turn(h, q);
    }
    if (!*upload_size)
        return last_turn(h, q);
    size_t n = *upload_size;
    *upload_size = 0;
    if (!q->x->answered && strcmp(method, "OPTIONS") && exchange_feed(q->x, upload, n))
        return MHD_YES;
    q->swallowed += n;
    return q->swallowed > SWALLOW_MOST ? MHD_NO : MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct http *h = cls;
    struct request *q = *context;
    (void)connection;
    if (!q)
        return;
    *context = NULL;
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK) {
        metrics_add(h->s->core.metrics, CLIENTS_GONE, 1);
        if (!q->x->answered || q->x->fault == FAULT_GONE)
            q->x->status = 499; /* nobody sees it but the log */
    }
    exchange_log(q->x);
    set_phase(q->conn, PHASE_IDLE, h->idle_ns);
    exchange_release(q->x);
    mem_free(q);
}

/* ---- the watcher */

static struct exchange *hold_active(struct conn *c)
{
    if (c && c->active)
        atomic_fetch_add(&c->active->refs, 1);
    return c ? c->active : NULL;
}

/* Cutting a connection lets its loop see the end and close it. */
static void cut_late(struct http *h)
{
    int64_t now = time_now_ns();
    int64_t cut = 0;
    pthread_mutex_lock(&h->lock);
    for (struct conn *c = h->conns; c; c = c->next)
        if (c->deadline_ns && now > c->deadline_ns) {
            shutdown(c->fd, SHUT_RDWR);
            c->deadline_ns = 0;
            cut += c->phase != PHASE_IDLE;
        }
    pthread_mutex_unlock(&h->lock);
    metrics_add(h->s->core.metrics, CONNECTIONS_EXPIRED, cut);
}

static void client_left(struct http *h, uint64_t data)
{
    uint32_t fd = (uint32_t)data;
    pthread_mutex_lock(&h->lock);
    struct conn *c = fd < h->n_fds ? h->by_fd[fd] : NULL;
    struct exchange *x = c && c->generation == data >> 32 ? hold_active(c) : NULL;
    pthread_mutex_unlock(&h->lock);
    if (x) {
        exchange_cancel(x, FAULT_GONE);
        exchange_release(x);
    }
}

/*
 * Memory. Freed pages go back when it has been quiet for QUIET_NS after some work, with the scratch of idle cores;
 * under load without a pause every BUSY_NS, without it. Questions for health and metrics over kept connections are no
 * work.
 */
struct housekeeping {
    int64_t work, began_ns, changed_ns; /* what was counted at changed_ns; the first of it was at began_ns, 0: none */
};
#define QUIET_NS (2 * SECOND)
#define BUSY_NS  (30 * SECOND)

static void give_back_memory(struct http *h, struct housekeeping *k, int64_t now)
{
    const struct metrics *m = h->s->core.metrics;
    int64_t work = atomic_load(&h->s->core.calls) + metrics_count(m, CONNECTIONS_OPENED);
    bool computing = http_waiting(h);
    if (work != k->work || (computing && k->began_ns)) {
        k->work = work;
        k->changed_ns = now;
        k->began_ns = k->began_ns ? k->began_ns : now;
    }
    if (!k->began_ns)
        return;
    if (now - k->changed_ns > QUIET_NS) {
        rkf_runtime_trim(h->s->runtime);
        k->began_ns = 0;
    } else if (now - k->began_ns > BUSY_NS) {
        mem_trim();
        k->began_ns = now;
    }
}

static void *watch_all(void *arg)
{
    struct http *h = arg;
    struct epoll_event events[64];
    struct housekeeping memory = { 0 };
    int64_t next_look = 0, next_word = 0;
    for (;;) {
        int n = epoll_wait(h->epoll, events, 64, 500);
        for (int i = 0; i < n; i++)
            client_left(h, events[i].data.u64);
        pthread_mutex_lock(&h->lock);
        bool stop = h->stopping;
        pthread_mutex_unlock(&h->lock);
        if (stop)
            return NULL;
        int64_t now = time_now_ns();
        if (now >= next_look) {
            cut_late(h);
            give_back_memory(h, &memory, now);
            next_look = now + SECOND / 2;
        }
        if (h->watchdog_us && now >= next_word) {
            systemd_notify("WATCHDOG=1");
            next_word = now + h->watchdog_us * 1000 / 2;
        }
    }
}

void http_cancel_all(struct http *h)
{
    for (;;) {
        struct exchange *x = NULL;
        pthread_mutex_lock(&h->lock);
        for (struct conn *c = h->conns; c && !x; c = c->next)
            if (c->active && !atomic_load(&c->active->cancelled))
                x = hold_active(c);
        pthread_mutex_unlock(&h->lock);
        if (!x)
            return;
        exchange_cancel(x, FAULT_UNAVAILABLE);
        exchange_release(x);
    }
}

int http_waiting(struct http *h)
{
    pthread_mutex_lock(&h->lock);
    int n = h->waiting;
    pthread_mutex_unlock(&h->lock);
    return n;
}

/* ---- starting and stopping */

static void on_error(void *cls, const char *fmt, va_list ap)
{
    struct http *h = cls;
    char line[512];
    vsnprintf(line, sizeof line, fmt, ap);
    line[strcspn(line, "\n")] = 0;
    log_event(h->s, RKF_LOG_DEBUG, "connection: %s", line);
}

static rkf_status read_tls(struct http *h, const struct server_config *c, rkf_error *err)
{
    size_t len;
    if (!c->tls_cert && !c->tls_key)
        return RKF_OK;
    if (!c->tls_cert || !c->tls_key)
        return rkf_fail(err, RKF_INVALID, "TLS needs both a certificate and a key: give --tls-cert and --tls-key");
    rkf_status rc = file_read(c->tls_cert, 1 << 20, &h->cert, &len, err);
    if (!rc)
        rc = file_read(c->tls_key, 1 << 20, &h->key, &len, err);
    return rc;
}

static rkf_status open_listeners(struct http *h, const struct server_config *c, rkf_error *err)
{
    static const char *const usual[] = { "127.0.0.1:8080" };
    const char *const *p = c->listen.n ? c->listen.p : usual;
    size_t n = c->listen.n ? c->listen.n : 1;
    rkf_status rc = c->systemd ? listeners_inherit(h->listeners, &h->n, err) : RKF_OK;
    if (h->n && !c->listen.n)
        n = 0; /* systemd says where */
    if (!rc && n + (size_t)h->n > LISTENERS_MAX)
        rc = rkf_fail(err, RKF_INVALID, "at most %d addresses to listen on", LISTENERS_MAX);
    for (size_t i = 0; !rc && i < n; i++)
        if (!(rc = listener_open(p[i], &h->listeners[h->n], err)))
            h->n++;
    return rc;
}

/* Every connection is a descriptor: as many as the system lets us have. */
static size_t raise_limit(int64_t connections)
{
    struct rlimit l;
    rlim_t want = (rlim_t)connections + 256;
    if (getrlimit(RLIMIT_NOFILE, &l))
        return 1024;
    if (l.rlim_cur < want) {
        l.rlim_cur = l.rlim_max < want ? l.rlim_max : want;
        (void)setrlimit(RLIMIT_NOFILE, &l);
        (void)getrlimit(RLIMIT_NOFILE, &l);
    }
    return l.rlim_cur > (1 << 20) ? 1 << 20 : (size_t)l.rlim_cur;
}

static rkf_status start_daemon(struct http *h, int i, unsigned threads, unsigned connections, unsigned idle_s,
                               rkf_error *err)
{
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_TURBO |
                     (h->cert ? MHD_USE_TLS : 0);
    struct MHD_OptionItem more[5] = { { MHD_OPTION_END, 0, NULL } };
    int n = 0;
    if (h->cert) {
        /* GnuTLS' usual choice still has TLS 1.0 and 1.1, which RFC 8996 forbids */
        more[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0,
                                             (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2" };
        more[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_CERT, 0, h->cert };
        more[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_KEY, 0, h->key };
    }
    if (threads > 1)
        more[n++] = (struct MHD_OptionItem){ MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)threads, NULL };
    more[n] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };
    h->daemons[i] = mhd.start_daemon(flags, 0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET,
                                     (MHD_socket)h->listeners[i].fd, MHD_OPTION_EXTERNAL_LOGGER, on_error, h,
                                     MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_NOTIFY_CONNECTION,
                                     on_connection, h, MHD_OPTION_URI_LOG_CALLBACK, on_uri, h,
                                     MHD_OPTION_CONNECTION_LIMIT, connections, MHD_OPTION_CONNECTION_TIMEOUT, idle_s,
                                     MHD_OPTION_ARRAY, more, MHD_OPTION_END);
    if (!h->daemons[i])
        return rkf_fail(err, RKF_IO, "cannot serve on %s%s", h->listeners[i].name,
                        h->cert ? ": are certificate and key PEM files that belong together?" : "");
    return RKF_OK;
}

static rkf_status start_watcher(struct http *h, size_t n_fds, rkf_error *err)
{
    h->by_fd = mem_zalloc(n_fds, sizeof *h->by_fd);
    if (!h->by_fd)
        return rkf_fail_memory(err, n_fds * sizeof *h->by_fd, "the connection table");
    h->n_fds = n_fds;
    h->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (h->epoll < 0)
        return rkf_fail_errno(err, RKF_IO, "cannot make an epoll descriptor");
    int rc = pthread_create(&h->watcher, NULL, watch_all, h);
    if (rc) {
        errno = rc;
        return rkf_fail_errno(err, RKF_IO, "cannot start the watcher thread");
    }
    pthread_setname_np(h->watcher, "server-watcher");
    h->watching = true;
    return RKF_OK;
}

rkf_status http_start(struct server *s, const struct server_config *c, struct http **out, rkf_error *err)
{
    struct http *h = mem_zalloc(1, sizeof *h);
    if (!h)
        return rkf_fail_memory(err, sizeof *h, "the HTTP server");
    int64_t connections = c->max_connections ? c->max_connections : 16384;
    int64_t idle_ms = c->idle_timeout_ms ? c->idle_timeout_ms : 75000;
    int cpus = cpu_count_usable(c->runtime.root);
    unsigned threads = c->http_threads ? (unsigned)c->http_threads : (unsigned)(cpus < 4 ? cpus : 4);
    h->s = s;
    h->epoll = -1;
    h->header_ns = (c->header_timeout_ms ? c->header_timeout_ms : 10000) * 1000000;
    h->idle_ns = idle_ms * 1000000;
    h->watchdog_us = c->systemd ? systemd_watchdog_us() : 0;
    pthread_mutex_init(&h->lock, NULL);
    size_t fds = raise_limit(connections);
    if (connections > (int64_t)fds - 128)
        connections = (int64_t)fds > 256 ? (int64_t)fds - 128 : 128;
    rkf_status rc = read_tls(h, c, err);
    if (!rc)
        rc = open_listeners(h, c, err);
    if (!rc)
        rc = start_watcher(h, fds, err);
    for (int i = 0; !rc && i < h->n; i++) {
        rc = start_daemon(h, i, threads, (unsigned)connections, (unsigned)((idle_ms + 999) / 1000) + 1, err);
        if (!rc)
            log_event(s, RKF_LOG_INFO, "listening on %s%s", h->listeners[i].name, h->cert ? " (TLS)" : "");
    }
    if (rc) {
        http_stop(h);
        return rc;
    }
    *out = h;
    return RKF_OK;
}

void http_quiesce(struct http *h)
{
    for (int i = 0; i < h->n; i++)
        if (h->daemons[i])
            (void)mhd.quiesce_daemon(h->daemons[i]);
    for (int i = 0; i < h->n; i++)
        listener_close(&h->listeners[i]);
}

void http_stop(struct http *h)
{
    if (!h)
        return;
    for (int i = 0; i < h->n; i++)
        if (h->daemons[i])
            mhd.stop_daemon(h->daemons[i]);
    for (int i = 0; i < h->n; i++) {
        if (h->daemons[i]) /* it has closed the socket, unless that was taken from it before */
            h->listeners[i].fd = -1;
        listener_close(&h->listeners[i]);
    }
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    pthread_mutex_unlock(&h->lock);
    if (h->watching)
        pthread_join(h->watcher, NULL);
    if (h->epoll >= 0)
        close(h->epoll);
    pthread_mutex_destroy(&h->lock);
    mem_free(h->by_fd);
    mem_free(h->cert);
    if (h->key) /* the memory shall not keep it */
        explicit_bzero(h->key, strlen(h->key));
    mem_free(h->key);
    mem_free(h);
}
