/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closed-loop HTTP clients in one thread: each connection sends the next body as soon as the answer to its last one is
 * complete. Cheap on purpose (the answer is counted, not parsed), because it shares the machine with what it measures.
 *
 *     http_load ADDRESS PORT PATH BODIES [--connections 8] [--seconds 5] [--warm 1]
 *
 * BODIES holds one JSON body per line; they are sent round and round. Prints one JSON line: answers per second, their
 * latency from the first byte sent to the last received, this program's own CPU time. An answer other than 200 and a
 * connection that breaks are counted as failed; the connection is made anew.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 4096, HEAD_MAX = 16 << 10 };

struct request {
    char *bytes;
    size_t len;
};

struct client {
    int fd;
    const struct request *request;
    size_t sent;
    char head[HEAD_MAX]; /* of the answer, until its end is found */
    size_t head_len;
    int64_t left; /* bytes of the answer's body still to come; -1: head not complete */
    int status;
    double began;
};

static struct {
    struct sockaddr_in address;
    const char *path;
    int connections;
    double seconds, warm;
} opt = { .connections = 8, .seconds = 5, .warm = 1 };
static struct request *requests; /* [n_requests] */
static size_t n_requests, next_request;
static float *latency_ms; /* [n_latency] */
static size_t n_latency, latency_cap;
static uint64_t failed, answered; /* answered: all of them, the warm-up's too */
static double measure_from;
static int loop = -1;

static void die(const char *what)
{
    fprintf(stderr, "http_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *grow(void *p, size_t bytes)
{
    void *q = realloc(p, bytes);
    if (!q)
        die("memory");
    return q;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void read_bodies(const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    if (!f)
        die(path);
    while ((n = getline(&line, &cap, f)) > 0) {
        if (line[n - 1] == '\n')
            n--;
        struct request r = { .bytes = grow(NULL, (size_t)n + 512) };
        int head = snprintf(r.bytes, 512,
                            "POST %.300s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                            "Content-Length: %zd\r\n\r\n",
                            opt.path, n);
        memcpy(r.bytes + head, line, (size_t)n);
        r.len = (size_t)head + (size_t)n;
        requests = grow(requests, (n_requests + 1) * sizeof *requests);
        requests[n_requests++] = r;
    }
    free(line);
    fclose(f);
    if (!n_requests)
        die("no bodies");
}

static void connect_client(struct client *c)
{
    int one = 1;
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&opt.address, sizeof opt.address))
        die("cannot connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (epoll_ctl(loop, EPOLL_CTL_ADD, c->fd, &e))
        die("epoll");
}

/* Requests are smaller than the socket's buffer on any idle connection: blocking here is the exception. */
static void ask(struct client *c)
{
    c->request = &requests[next_request++ % n_requests];
    c->sent = 0;
    c->head_len = 0;
    c->left = -1;
    c->began = now_s();
    while (c->sent < c->request->len) {
        ssize_t n = send(c->fd, c->request->bytes + c->sent, c->request->len - c->sent, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* the end of the connection is seen when reading */
        c->sent += (size_t)n;
    }
}

static void again(struct client *c)
{
    failed += now_s() >= measure_from;
    close(c->fd);
    connect_client(c);
    ask(c);
}

/* The head is complete at `end`: status and length. False: no answer that we understand. */
static int parse_head(struct client *c, size_t end)
{
    c->head[end - 2] = 0;
    if (sscanf(c->head, "HTTP/1.%*d %d", &c->status) != 1)
        return 0;
    for (char *line = strstr(c->head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, "content-length:", 15)) {
            c->left = strtoll(line + 15, NULL, 10) - (int64_t)(c->head_len - end);
            return 1;
        }
    }
    return 0;
}

static void finish(struct client *c)
{
    double now = now_s();
    if (c->status != 200) {
        failed += now >= measure_from;
    } else if (answered++, now >= measure_from) {
        if (n_latency == latency_cap) {
            latency_cap = latency_cap ? latency_cap * 2 : 4096;
            latency_ms = grow(latency_ms, latency_cap * sizeof *latency_ms);
        }
        latency_ms[n_latency++] = (float)((now - c->began) * 1e3);
    }
    ask(c);
}

static void readable(struct client *c)
{
    static char waste[1 << 16];
    ssize_t n = c->left < 0 ? recv(c->fd, c->head + c->head_len, HEAD_MAX - c->head_len, 0)
                            : recv(c->fd, waste, sizeof waste, 0);
    if (n <= 0) {
        again(c);
        return;
    }
    if (c->left >= 0) {
        c->left -= n;
    } else {
        c->head_len += (size_t)n;
        char *end = memmem(c->head, c->head_len, "\r\n\r\n", 4);
        if (!end && c->head_len < HEAD_MAX)
            return;
        if (!end || !parse_head(c, (size_t)(end - c->head) + 4)) {
            again(c);
            return;
        }
    }
    if (!c->left)
        finish(c);
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double quantile(double q)
{
    return n_latency ? latency_ms[(size_t)((double)(n_latency - 1) * q + 0.5)] : 0;
}

static void report(double seconds)
{
    struct rusage u;
    double sum = 0;
    getrusage(RUSAGE_SELF, &u);
    qsort(latency_ms, n_latency, sizeof *latency_ms, by_value);
    for (size_t i = 0; i < n_latency; i++)
        sum += latency_ms[i];
    printf("{\"connections\":%d,\"requests\":%zu,\"answered\":%llu,\"failed\":%llu,\"per_s\":%.2f,\"mean_ms\":%.4f,"
           "\"p50_ms\":%.4f,"
           "\"p90_ms\":%.4f,\"p99_ms\":%.4f,\"max_ms\":%.4f,\"client_cpu_s\":%.3f}\n",
           opt.connections, n_latency, (unsigned long long)answered, (unsigned long long)failed,
           (double)n_latency / seconds, n_latency ? sum / (double)n_latency : 0, quantile(0.5), quantile(0.9),
           quantile(0.99), quantile(1),
           (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6);
}

static int read_options(int argc, char **argv)
{
    if (argc < 5 || inet_pton(AF_INET, argv[1], &opt.address.sin_addr) != 1)
        return 0;
    opt.address.sin_family = AF_INET;
    opt.address.sin_port = htons((uint16_t)atoi(argv[2]));
    opt.path = argv[3];
    for (int i = 5; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--connections"))
            opt.connections = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--seconds"))
            opt.seconds = atof(argv[i + 1]);
        else if (!strcmp(argv[i], "--warm"))
            opt.warm = atof(argv[i + 1]);
        else
            return 0;
    }
    return argc % 2 && opt.connections > 0 && opt.connections <= MAX_CONNECTIONS;
}

int main(int argc, char **argv)
{
    if (!read_options(argc, argv)) {
        fprintf(stderr, "usage: http_load ADDRESS PORT PATH BODIES [--connections N] [--seconds S] [--warm S]\n");
        return 2;
    }
    read_bodies(argv[4]);
    struct client *clients = calloc((size_t)opt.connections, sizeof *clients);
    struct epoll_event events[64];
    if (!clients || (loop = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("start");
    measure_from = now_s() + opt.warm;
    for (int i = 0; i < opt.connections; i++) {
        connect_client(&clients[i]);
        ask(&clients[i]);
    }
    for (double end = measure_from + opt.seconds; now_s() < end;) {
        int n = epoll_wait(loop, events, 64, 100);
        for (int i = 0; i < n; i++)
            readable(events[i].data.ptr);
    }
    report(opt.seconds);
    return 0;
}
