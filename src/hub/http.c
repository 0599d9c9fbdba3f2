/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/http.h"
#include "base/dynlib.h"
#include "base/mem.h"

#include <ctype.h>
#define CURL_DISABLE_TYPECHECK /* its macros take the names of the functions */
#include <curl/curl.h>
#undef curl_easy_setopt
#undef curl_easy_getinfo
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { REDIRECTS_MAX = 8, URL_LONGEST = 16384 };

struct http {
    CURL *curl;
    struct http_settings s;
    struct curl_slist *with_token, *without;
    char why[CURL_ERROR_SIZE];
};

/* One answer as it comes in. */
struct answer {
    struct http *h;
    struct http_reply *reply;
    http_sink *sink;
    void *cookie;
    rkf_error *err;
    rkf_status sink_status;
    bool linked_etag, linked_size; /* they are of the file; those of a redirect's target may not be */
};

/* ---- libcurl, loaded by the first http_open */

#define CURL_CALLS(X)                                                                                                  \
    X(global_init)                                                                                                     \
    X(easy_init)                                                                                                       \
    X(easy_setopt)                                                                                                     \
    X(easy_perform)                                                                                                    \
    X(easy_getinfo)                                                                                                    \
    X(easy_strerror)                                                                                                   \
    X(easy_cleanup)                                                                                                    \
    X(slist_append)                                                                                                    \
    X(slist_free_all)                                                                                                  \
    X(url)                                                                                                             \
    X(url_set)                                                                                                         \
    X(url_get)                                                                                                         \
    X(url_cleanup)                                                                                                     \
    X(free)

static struct {
#define MEMBER(name) __typeof__(curl_##name) *name;
    CURL_CALLS(MEMBER)
#undef MEMBER
} curl;

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_started;

static void start_curl(void)
{
    curl_started = curl.global_init(CURL_GLOBAL_DEFAULT);
}

static rkf_status load_curl(rkf_error *err)
{
    static const char *const names[] = { "libcurl.so.4", "libcurl-gnutls.so.4", "libcurl-nss.so.4", NULL };
#define SYMBOL(name) { "curl_" #name, &curl.name },
    static const struct dynlib_symbol symbols[] = { CURL_CALLS(SYMBOL) };
#undef SYMBOL
    static struct dynlib library = { names,
                                     symbols,
                                     sizeof symbols / sizeof *symbols,
                                     "downloading",
                                     "install it (Debian's libcurl4 or libcurl3-gnutls), or copy the model's files "
                                     "here and name their directory",
                                     false };
    rkf_status rc = dynlib_load(&library, err);
    if (rc)
        return rc;
    pthread_once(&curl_once, start_curl);
    return curl_started ? rkf_fail(err, RKF_UNAVAILABLE, "libcurl does not start") : RKF_OK;
}

/* ---- origins */

/* "https://host:port" of a URL, the port always there. */
static bool origin_of(const char *url, char *out, size_t cap)
{
    char *scheme = NULL, *host = NULL, *port = NULL;
    CURLU *u = curl.url();
    bool ok = u && !curl.url_set(u, CURLUPART_URL, url, 0) && !curl.url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
              !curl.url_get(u, CURLUPART_HOST, &host, 0) && !curl.url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
    if (ok) {
        int n = snprintf(out, cap, "%s://%s:%s", scheme, host, port);
        ok = n > 0 && (size_t)n < cap;
    }
    curl.free(scheme);
    curl.free(host);
    curl.free(port);
    curl.url_cleanup(u);
    return ok;
}

static bool same_origin(const char *a, const char *b)
{
    char x[512], y[512];
    return origin_of(a, x, sizeof x) && origin_of(b, y, sizeof y) && !strcasecmp(x, y);
}

static bool is_https(const char *url)
{
    return !strncasecmp(url, "https://", 8);
}

/* ---- headers */

static bool header_is(const char *line, size_t n, const char *name, char *value, size_t cap)
{
    size_t k = strlen(name);
    if (n <= k || strncasecmp(line, name, k) || line[k] != ':')
        return false;
    line += k + 1;
    n -= k + 1;
    while (n && isspace((unsigned char)*line)) {
        line++;
        n--;
    }
    while (n && isspace((unsigned char)line[n - 1]))
        n--;
    snprintf(value, cap, "%.*s", (int)(n < cap ? n : cap - 1), line);
    return true;
}

/* Digits only, at most max. */
static int64_t number(const char *s, int64_t max)
{
    char *end;
    if (!isdigit((unsigned char)*s))
        return -1;
    long long v = strtoll(s, &end, 10);
    return v <= max ? v : -1;
}

/* A parameter of a header like `"api";r=0;t=55` (RateLimit, as the hub writes it); -1: none. */
static int64_t parameter(const char *value, char name)
{
    for (const char *p = value; (p = strchr(p, ';'));) {
        p += 1 + strspn(p + 1, " ");
        if (p[0] == name && p[1] == '=')
            return number(p + 2, INT64_MAX);
    }
    return -1;
}

static size_t on_header(char *line, size_t size, size_t count, void *cookie)
{
    struct answer *a = cookie;
    struct http_reply *r = a->reply;
    size_t n = size * count;
    char value[256];
    if (header_is(line, n, "X-Linked-Etag", value, sizeof value)) {
        snprintf(r->etag, sizeof r->etag, "%.*s", (int)sizeof r->etag - 1, value);
        a->linked_etag = true;
    } else if (header_is(line, n, "ETag", value, sizeof value) && !a->linked_etag) {
        snprintf(r->etag, sizeof r->etag, "%.*s", (int)sizeof r->etag - 1, value);
    } else if (header_is(line, n, "X-Linked-Size", value, sizeof value)) {
        r->bytes = number(value, INT64_MAX);
        a->linked_size = true;
    } else if (header_is(line, n, "Content-Length", value, sizeof value) && !a->linked_size) {
        r->bytes = number(value, INT64_MAX);
    } else if (header_is(line, n, "Content-Range", value, sizeof value) && !strncasecmp(value, "bytes ", 6)) {
        r->from = number(value + 6, INT64_MAX);
    } else if (header_is(line, n, "X-Repo-Commit", value, sizeof value)) {
        snprintf(r->commit, sizeof r->commit, "%.40s", value);
    } else if (header_is(line, n, "RateLimit", value, sizeof value)) {
        int64_t seconds = parameter(value, 't');
        r->limit_ends = parameter(value, 'r') == 0 && seconds > 0 ? seconds : 0;
    } else if (header_is(line, n, "X-Error-Code", value, sizeof value)) {
        rkf_quote(r->code, sizeof r->code, value, strlen(value));
    } else if (header_is(line, n, "X-Error-Message", value, sizeof value)) {
        rkf_quote(r->message, sizeof r->message, value, strlen(value));
    }
    return n;
}

static size_t on_body(char *p, size_t size, size_t count, void *cookie)
{
    struct answer *a = cookie;
    long status = 0;
    size_t n = size * count;
    curl.easy_getinfo(a->h->curl, CURLINFO_RESPONSE_CODE, &status);
    a->reply->status = (int)status;
    if ((status != 200 && status != 206) || !a->sink || !n)
        return n; /* the text of an error is for browsers */
    a->sink_status = a->sink(a->cookie, a->reply, p, n, a->err);
    return a->sink_status ? 0 : n;
}

/* ---- open */

/* Libraries of certificates that companies ask for, as other clients of the hub know them. */
static void set_certificates(CURL *c)
{
    static const char *const variables[] = { "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE" };
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *file = getenv(variables[i]);
        if (file && *file) {
            curl.easy_setopt(c, CURLOPT_CAINFO, file);
            return;
        }
    }
}

static bool set_headers(struct http *h)
{
    char line[1100];
    const char *token = h->s.token;
    snprintf(line, sizeof line, "User-Agent: rkformer/%s", rkf_version());
    h->without = curl.slist_append(NULL, line);
    h->with_token = curl.slist_append(NULL, line);
    if (token && *token) {
        snprintf(line, sizeof line, "Authorization: Bearer %s", token);
        struct curl_slist *more = curl.slist_append(h->with_token, line);
        if (!more)
            return false;
        h->with_token = more;
    }
    return h->without && h->with_token;
}

/* The one that is loaded may be older than the header: CURLOPT_PROTOCOLS_STR came with 7.85. */
static bool set_protocols(CURL *c)
{
    enum { PROTOCOLS = 181, PROTOCOLS_STR = 10318, HTTP_AND_HTTPS = 3 };
    return !curl.easy_setopt(c, (CURLoption)PROTOCOLS_STR, "http,https") ||
           !curl.easy_setopt(c, (CURLoption)PROTOCOLS, (long)HTTP_AND_HTTPS);
}

static rkf_status check(const struct http_settings *s, rkf_error *err)
{
    char origin[512], q[100];
    if ((strncasecmp(s->endpoint, "http://", 7) && !is_https(s->endpoint)) ||
        !origin_of(s->endpoint, origin, sizeof origin))
        return rkf_fail(err, RKF_INVALID, "%s's address '%s' is no http or https URL%s", s->who ? s->who : "the hub",
                        rkf_quote(q, sizeof q, s->endpoint, strlen(s->endpoint)), s->who ? "" : ": check HF_ENDPOINT");
    for (const char *p = s->token ? s->token : ""; *p; p++)
        if (!isgraph((unsigned char)*p) || p - s->token > 1000)
            return rkf_fail(err, RKF_INVALID, "the token cannot be one: it has blanks or is too long");
    return RKF_OK;
}

rkf_status http_open(const struct http_settings *s, struct http **out, rkf_error *err)
{
    rkf_status rc = load_curl(err);
    if (!rc)
        rc = check(s, err);
    if (rc)
        return rc;
    struct http *h = mem_zalloc(1, sizeof *h);
    if (!h)
        return rkf_fail_memory(err, sizeof *h, "a connection");
    h->s = *s;
    h->curl = curl.easy_init();
    if (!h->curl || !set_headers(h)) {
        http_close(h);
        return rkf_fail_memory(err, 1 << 16, "a connection");
    }
    CURL *c = h->curl;
    curl.easy_setopt(c, CURLOPT_ERRORBUFFER, h->why);
    curl.easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl.easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)s->timeout_s);
    curl.easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl.easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)s->timeout_s);
    curl.easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
    curl.easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    curl.easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl.easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    if (!set_protocols(c)) {
        http_close(h);
        return rkf_fail(err, RKF_UNAVAILABLE, "libcurl is too old: install 7.66 or later");
    }
    set_certificates(c);
    if (s->who)
        curl.easy_setopt(c, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    if (s->socket)
        curl.easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, s->socket);
    *out = h;
    return RKF_OK;
}

void http_close(struct http *h)
{
    if (!h)
        return;
    if (h->curl)
        curl.easy_cleanup(h->curl);
    curl.slist_free_all(h->with_token);
    curl.slist_free_all(h->without);
    mem_free(h);
}

/* ---- requests */

static rkf_status transport_failed(struct http *h, CURLcode code, struct answer *a, rkf_error *err)
{
    static const struct {
        CURLcode code;
        const char *advice;
    } table[] = {
        { CURLE_PEER_FAILED_VERIFICATION, "its certificate is not trusted: check the clock and the ca-certificates "
                                          "package; a company's own goes into SSL_CERT_FILE" },
        { CURLE_SSL_CACERT_BADFILE, "check SSL_CERT_FILE, CURL_CA_BUNDLE and REQUESTS_CA_BUNDLE" },
        { CURLE_URL_MALFORMAT, "check HF_ENDPOINT" },
        { CURLE_UNSUPPORTED_PROTOCOL, "check HF_ENDPOINT" },
        { CURLE_COULDNT_RESOLVE_PROXY, "check HTTPS_PROXY and HTTP_PROXY" },
    };
    const char *why = h->why[0] ? h->why : curl.easy_strerror(code);
    if (h->s.who)
        return rkf_fail(err, RKF_IO, "cannot reach %s %s (%s)", h->s.who, h->s.endpoint, why);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].code == code)
            return rkf_fail(err, RKF_IO, "cannot reach the hub %s (%s): %s", h->s.endpoint, why, table[i].advice);
    a->reply->again = true;
    return rkf_fail(err, RKF_IO,
                    "cannot reach the hub %s (%s): check the connection (HTTPS_PROXY names a proxy, HF_ENDPOINT a "
                    "mirror)",
                    h->s.endpoint, why);
}

/* One answer, without following where it leads. */
static rkf_status perform(struct http *h, const char *url, bool head, int64_t from, struct answer *a, rkf_error *err)
{
    CURL *c = h->curl;
    char range[40];
    long status = 0;
    snprintf(range, sizeof range, "%lld-", (long long)from);
    h->why[0] = 0;
    curl.easy_setopt(c, CURLOPT_URL, url);
    curl.easy_setopt(c, CURLOPT_NOBODY, head ? 1L : 0L);
    if (!head)
        curl.easy_setopt(c, CURLOPT_HTTPGET, 1L);
    curl.easy_setopt(c, CURLOPT_RANGE, from > 0 ? range : NULL);
    curl.easy_setopt(c, CURLOPT_HTTPHEADER, same_origin(url, h->s.endpoint) ? h->with_token : h->without);
    curl.easy_setopt(c, CURLOPT_HEADERDATA, a);
    curl.easy_setopt(c, CURLOPT_WRITEDATA, a);
    CURLcode code = curl.easy_perform(c);
    curl.easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    a->reply->status = (int)status;
    if (a->sink_status)
        return a->sink_status;
    return code ? transport_failed(h, code, a, err) : RKF_OK;
}

static rkf_status answered(struct http *h, const char *url, struct http_reply *r, rkf_error *err)
{
    curl_off_t wait = 0;
    if (r->status == 200 || r->status == 206)
        return RKF_OK;
    curl.easy_getinfo(h->curl, CURLINFO_RETRY_AFTER, &wait);
    r->retry_after = wait || r->status != 429 ? wait : r->limit_ends;
    r->again = r->status == 408 || r->status == 429 || r->status >= 500;
    return rkf_fail(err, RKF_IO, "%.200s answers %d%s%s", url, r->status, r->message[0] ? ": " : "", r->message);
}

static rkf_status request(struct http *h, const char *url, bool head, int64_t from, struct answer *a, rkf_error *err)
{
    char *at = mem_strdup(url);
    rkf_status rc = at ? RKF_OK : rkf_fail_memory(err, strlen(url), "a URL");
    for (int hops = 0; !rc; hops++) {
        char *to = NULL;
        a->reply->from = 0;
        if (!a->linked_size)
            a->reply->bytes = -1;
        rc = perform(h, at, head, from, a, err);
        if (rc || a->reply->status / 100 != 3)
            break;
        curl.easy_getinfo(h->curl, CURLINFO_REDIRECT_URL, &to);
        if (head && (a->linked_etag || !to || !same_origin(to, at))) {
            a->reply->status = 200; /* the headers are what was asked for */
            break;
        }
        if (!to || strlen(to) > URL_LONGEST || hops == REDIRECTS_MAX)
            rc = rkf_fail(err, RKF_IO, "%.200s redirects %s", url, to ? "without end" : "to nowhere");
        else if (is_https(at) && !is_https(to))
            rc = rkf_fail(err, RKF_IO, "%.200s redirects from https to %.60s...: not followed", url, to);
        char *next = rc ? NULL : mem_strdup(to);
        if (!rc && !next)
            rc = rkf_fail_memory(err, strlen(to), "a URL");
        mem_free(at);
        at = next;
    }
    if (!rc)
        rc = answered(h, url, a->reply, err);
    mem_free(at);
    return rc;
}

rkf_status http_get(struct http *h, const char *url, int64_t from, http_sink *sink, void *cookie,
                    struct http_reply *reply, rkf_error *err)
{
    struct answer a = { .h = h, .reply = reply, .sink = sink, .cookie = cookie, .err = err };
    *reply = (struct http_reply){ .bytes = -1 };
    return request(h, url, false, from, &a, err);
}

rkf_status http_head(struct http *h, const char *url, struct http_reply *reply, rkf_error *err)
{
    struct answer a = { .h = h, .reply = reply, .err = err };
    *reply = (struct http_reply){ .bytes = -1 };
    return request(h, url, true, 0, &a, err);
}

void http_put_escaped(struct buf *b, const char *s, bool slashes)
{
    for (; *s; s++)
        if (isalnum((unsigned char)*s) || strchr("-._~", *s) || (slashes && *s == '/'))
            buf_putc(b, *s);
        else
            buf_printf(b, "%%%02X", (unsigned char)*s);
}
