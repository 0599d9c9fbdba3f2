/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/fetch.h"
#include "base/mem.h"
#include "base/thread.h"
#include "hub/sha.h"
#include "hub/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RETRIES = 5, WAIT_MS = 500, WAIT_LONGEST_S = 60, PROGRESS_BYTES = 64 << 10, TEXT_TIMEOUTS = 6 };

/* ---- trying again */

struct tries {
    int left;
    int64_t wait_ms;
};

static struct tries tries_begin(const struct fetcher *f)
{
    return (struct tries){ f->o->retries < 0 ? RETRIES : f->o->retries, WAIT_MS };
}

/* Waits, and says whether to try again what failed with err. */
static bool try_again(const struct fetcher *f, struct tries *t, const struct http_reply *r, const rkf_error *err)
{
    char line[700];
    if (!r->again || t->left <= 0 || r->retry_after > WAIT_LONGEST_S)
        return false;
    int64_t ms = r->retry_after > 0 ? r->retry_after * 1000 : t->wait_ms;
    t->left--;
    t->wait_ms = t->wait_ms < 8000 ? 2 * t->wait_ms : t->wait_ms;
    snprintf(line, sizeof line, "%s; trying again in %.1f s", err->message, (double)ms / 1000);
    if (f->o->log)
        f->o->log(f->o->log_cookie, RKF_LOG_WARN, line);
    struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };
    while (nanosleep(&ts, &ts) && errno == EINTR)
        ;
    return true;
}

/* The messages of errors that are tried again are needed even where the caller wants none. */
static rkf_status pass_on(rkf_error *err, const rkf_error *e)
{
    return rkf_fail(err, e->status, "%s", e->message);
}

/* ---- text */

struct text {
    struct buf b;
    int64_t until; /* ns: a hub that drips is not waited for */
};

static rkf_status take_text(void *cookie, const struct http_reply *reply, const char *p, size_t n, rkf_error *err)
{
    struct text *t = cookie;
    (void)reply;
    buf_append(&t->b, p, n);
    if (t->b.failed)
        return rkf_fail(err, RKF_FORMAT, "the hub's answer is longer than %zu bytes", t->b.max);
    if (time_now_ns() > t->until)
        return rkf_fail(err, RKF_IO, "the hub's answer takes too long");
    return RKF_OK;
}

rkf_status fetch_text(struct fetcher *f, const char *url, size_t max, char **out, size_t *len, struct http_reply *reply,
                      rkf_error *err)
{
    struct text t;
    struct tries tries = tries_begin(f);
    rkf_error e = { RKF_OK, "" };
    rkf_status rc;
    buf_init(&t.b, max);
    do {
        buf_clear(&t.b);
        t.until = time_now_ns() + (int64_t)f->timeout_s * TEXT_TIMEOUTS * 1000000000;
        rc = http_get(f->http, url, 0, take_text, &t, reply, &e);
    } while (rc && try_again(f, &tries, reply, &e));
    if (!rc && !t.b.p)
        buf_puts(&t.b, ""); /* an empty file is a text too */
    if (!rc && t.b.failed)
        rc = rkf_fail_memory(&e, max, "the hub's answer");
    if (rc) {
        buf_free(&t.b);
        return pass_on(err, &e);
    }
    *len = t.b.len;
    *out = buf_steal(&t.b);
    return RKF_OK;
}

rkf_status fetch_facts(struct fetcher *f, const char *url, struct hub_entry *e, struct http_reply *reply,
                       rkf_error *err)
{
    struct tries tries = tries_begin(f);
    rkf_error local = { RKF_OK, "" };
    rkf_status rc;
    do
        rc = http_head(f->http, url, reply, &local);
    while (rc && try_again(f, &tries, reply, &local));
    if (rc)
        return pass_on(err, &local);
    if (!hub_etag(reply->etag, e->etag))
        return rkf_fail(err, RKF_FORMAT, "the hub says no usable etag of %s: is HF_ENDPOINT a hub?", e->name);
    e->bytes = reply->bytes;
    return RKF_OK;
}

/* ---- files */

struct download {
    struct fetcher *f;
    const struct hub_entry *e;
    const char *part;
    int fd;
    uint64_t at; /* bytes that are in the file and in the hash */
    struct sha sha;
    bool hashed;  /* the etag is a hash */
    bool resumed; /* some bytes were there before */
    bool begun;   /* of the current answer */
};

static rkf_status write_failed(const struct download *d, rkf_error *err)
{
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return rkf_fail_errno(err, RKF_IO, "cannot write %s%s", d->part,
                          full ? " (make room and pull again: it goes on where it was; --cache-dir names another disk)"
                               : "");
}

static rkf_status restart(struct download *d, rkf_error *err)
{
    d->f->done -= d->at;
    d->at = 0;
    d->resumed = false;
    d->hashed = store_hash_begin(&d->sha, d->e);
    return ftruncate(d->fd, 0) ? write_failed(d, err) : RKF_OK;
}

/* What an earlier try left: hashed again, since nobody knows who wrote it. */
static rkf_status take_part(struct download *d, rkf_error *err)
{
    char block[1 << 16];
    struct stat st;
    ssize_t n = 0;
    if (fstat(d->fd, &st))
        return rkf_fail_errno(err, RKF_IO, "cannot read %s", d->part);
    if (d->f->o->force || (d->e->bytes >= 0 && st.st_size > d->e->bytes))
        return restart(d, err);
    d->hashed = store_hash_begin(&d->sha, d->e);
    while ((n = pread(d->fd, block, sizeof block, (off_t)d->at)) > 0) {
        if (d->hashed)
            sha_add(&d->sha, block, (size_t)n);
        d->at += (uint64_t)n;
    }
    if (n < 0)
        return rkf_fail_errno(err, RKF_IO, "cannot read %s", d->part);
    d->f->done += d->at;
    d->resumed = d->at > 0;
    return RKF_OK;
}

static rkf_status begin_answer(struct download *d, const struct http_reply *r, rkf_error *err)
{
    d->begun = true;
    if (r->status == 200 && d->at) /* the server knows no ranges: all of it from the start */
        return restart(d, err);
    if (r->status == 206 && r->from != (int64_t)d->at)
        return rkf_fail(err, RKF_FORMAT, "the hub answers with byte %lld of %s where %llu was asked for",
                        (long long)r->from, d->e->name, (unsigned long long)d->at);
    return RKF_OK;
}

static rkf_status take_bytes(void *cookie, const struct http_reply *reply, const char *p, size_t n, rkf_error *err)
{
    struct download *d = cookie;
    struct fetcher *f = d->f;
    rkf_status rc = d->begun ? RKF_OK : begin_answer(d, reply, err);
    if (rc)
        return rc;
    if (d->e->bytes >= 0 && d->at + n > (uint64_t)d->e->bytes)
        return rkf_fail(err, RKF_FORMAT, "%s is longer than the %lld bytes that the hub announced", d->e->name,
                        (long long)d->e->bytes);
    if (d->hashed)
        sha_add(&d->sha, p, n);
    while (n) { /* at its own place: two writers of one part would write the same */
        ssize_t k = pwrite(d->fd, p, n, (off_t)d->at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return write_failed(d, err);
        p += k;
        n -= (size_t)k;
        d->at += (uint64_t)k;
        f->done += (uint64_t)k;
        f->fresh += (uint64_t)k;
    }
    if (f->o->progress)
        f->o->progress(f->o->progress_cookie, f->done, f->fresh, f->total);
    return RKF_OK;
}

/* Until all bytes are there. */
static rkf_status receive(struct download *d, const char *url, struct http_reply *reply, rkf_error *err)
{
    struct tries tries = tries_begin(d->f);
    for (;;) {
        uint64_t before = d->at;
        if (d->e->bytes >= 0 && d->at == (uint64_t)d->e->bytes)
            return RKF_OK;
        d->begun = false;
        rkf_status rc = http_get(d->f->http, url, (int64_t)d->at, take_bytes, d, reply, err);
        if (!rc && d->e->bytes >= 0 && d->at < (uint64_t)d->e->bytes) {
            reply->again = true;
            rc = rkf_fail(err, RKF_IO, "the hub sent %llu of the %lld bytes of %s", (unsigned long long)d->at,
                          (long long)d->e->bytes, d->e->name);
        }
        if (!rc)
            return RKF_OK;
        if (reply->status == 416 && d->at) { /* what is there is not the beginning of this file */
            if ((rc = restart(d, err)))
                return rc;
            continue;
        }
        if (d->at >= before + PROGRESS_BYTES)
            tries = tries_begin(d->f);
        if (!try_again(d->f, &tries, reply, err))
            return rc;
    }
}

static bool is_right(const struct download *d, char hex[65])
{
    struct sha s = d->sha;
    hex[0] = 0;
    if (d->hashed)
        sha_end(&s, hex);
    return !d->hashed || !strcmp(hex, d->e->etag);
}

static rkf_status receive_checked(struct download *d, const char *url, struct http_reply *reply, rkf_error *err)
{
    char hex[65];
    rkf_status rc = receive(d, url, reply, err);
    if (!rc && !is_right(d, hex) && d->resumed) { /* the old part was of something else */
        rc = restart(d, err);
        if (!rc)
            rc = receive(d, url, reply, err);
    }
    if (rc || is_right(d, hex))
        return rc;
    rc = restart(d, err);
    return rc ? rc
              : rkf_fail(err, RKF_FORMAT,
                         "%s arrived with %s %s, but the hub announced %s: it was thrown away; pull again, and check "
                         "the mirror or proxy if it stays so",
                         d->e->name, d->sha.is256 ? "sha256" : "git's sha1", hex, d->e->etag);
}

rkf_status fetch_file(struct fetcher *f, const char *url, const struct hub_entry *e, const char *part,
                      struct http_reply *reply, rkf_error *err)
{
    rkf_error local = { RKF_OK, "" };
    struct download d = { .f = f, .e = e, .part = part, .fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0666) };
    *reply = (struct http_reply){ .bytes = -1 };
    if (d.fd < 0)
        return rkf_fail_errno(err, RKF_IO, "cannot write %s", part);
    rkf_status rc = take_part(&d, &local);
    if (!rc)
        rc = receive_checked(&d, url, reply, &local);
    if (!rc && fdatasync(d.fd))
        rc = write_failed(&d, &local);
    if (close(d.fd) && !rc)
        rc = write_failed(&d, &local);
    if (rc && !d.at)
        unlink(part); /* nothing to go on from */
    return rc ? pass_on(err, &local) : RKF_OK;
}
