/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/input.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 64 << 10 };

/* ---- opening */

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && !strcmp(s + n - m, tail);
}

static rkf_status open_file(const char *path, struct input *in, rkf_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rkf_fail_errno(err, errno == ENOENT ? RKF_NOT_FOUND : RKF_IO, "cannot open %s", path);
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(fd);
        return rkf_fail(err, RKF_IO, "%s is a directory: give a file of texts with --input", path);
    }
    in->fd = fd;
    in->name = path;
    in->own_fd = true;
    return RKF_OK;
}

rkf_status input_open(const struct options *o, struct input *out, rkf_error *err)
{
    struct input in = { .fd = STDIN_FILENO, .name = "standard input", .total = -1 };
    struct stat st;
    bool file = o->input && strcmp(o->input, "-");
    in.strict = o->request.strict;
    in.max_line = (size_t)o->max_line;
    in.text_key = "text";
    in.pair_key = "text_pair";
    if (o->n_texts && o->input)
        return rkf_fail(err, RKF_INVALID, "both texts and --input are given: use one of them");
    if (o->n_texts) {
        in.texts = o->texts;
        in.n_texts = o->n_texts;
        *out = in;
        return RKF_OK;
    }
    if (!o->input && isatty(STDIN_FILENO))
        return rkf_fail(err, RKF_INVALID, "no texts: give them as arguments, with --input FILE, or pipe them in");
    in.json = o->jsonl || (file && ends_with(o->input, ".jsonl"));
    if (file) {
        rkf_status rc = open_file(o->input, &in, err);
        if (rc)
            return rc;
    }
    if (fstat(in.fd, &st) == 0 && S_ISREG(st.st_mode))
        in.total = st.st_size;
    *out = in;
    return RKF_OK;
}

void input_close(struct input *in)
{
    if (in->own_fd)
        close(in->fd);
    mem_free(in->buf);
    *in = (struct input){ .fd = -1 };
}

const char *input_place(const struct input *in, uint64_t number, char *buf, size_t cap)
{
    char quoted[200];
    if (in->texts)
        snprintf(buf, cap, "text %llu", (unsigned long long)number);
    else
        snprintf(buf, cap, "line %llu of %s", (unsigned long long)number,
                 rkf_quote(quoted, sizeof quoted, in->name, strlen(in->name)));
    return buf;
}

double input_part(const struct input *in)
{
    if (in->texts)
        return (double)in->number / (double)in->n_texts;
    return in->total > 0 ? (double)in->taken / (double)in->total : -1;
}

/* ---- lines */

static rkf_status too_long(const struct input *in, rkf_error *err)
{
    char place[300];
    return rkf_fail(err, RKF_FORMAT, "%s is longer than %zu bytes: split it, or raise --max-line",
                    input_place(in, in->number + 1, place, sizeof place), in->max_line);
}

/* Room for more bytes after `end`: moves what is there to the front, then grows. */
static rkf_status make_room(struct input *in, rkf_error *err)
{
    if (in->begin) {
        memmove(in->buf, in->buf + in->begin, in->end - in->begin);
        in->end -= in->begin;
        in->begin = 0;
    }
    if (in->end < in->cap)
        return RKF_OK;
    size_t cap = in->cap ? 2 * in->cap : CHUNK;
    if (cap > in->max_line + CHUNK)
        cap = in->max_line + CHUNK; /* a line, its end, and what came with it */
    char *p = mem_grow(in->buf, cap, 1);
    if (!p)
        return rkf_fail_memory(err, cap, "a line of input");
    in->buf = p;
    in->cap = cap;
    return RKF_OK;
}

static rkf_status read_more(struct input *in, rkf_error *err)
{
    rkf_status rc = make_room(in, err);
    if (rc)
        return rc;
    ssize_t n;
    do
        n = read(in->fd, in->buf + in->end, in->cap - in->end);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return rkf_fail_errno(err, RKF_IO, "cannot read %s", in->name);
    in->eof = n == 0;
    in->end += (size_t)n;
    return RKF_OK;
}

/* Length of the first line without its newline, if it is all there. */
static bool find_line(struct input *in, size_t *len)
{
    size_t have = in->end - in->begin;
    char *nl = have > in->scanned ? memchr(in->buf + in->begin + in->scanned, '\n', have - in->scanned) : NULL;
    in->scanned = nl ? in->scanned : have;
    *len = nl ? (size_t)(nl - in->buf) - in->begin : have;
    return nl || (in->eof && have);
}

/* *line points into the buffer until the next call; its length without the line's end. */
static rkf_status next_line(struct input *in, rkf_str *line, bool *end, rkf_error *err)
{
    size_t len;
    while (!find_line(in, &len)) {
        if (len > in->max_line + 1) /* one for a carriage return */
            return too_long(in, err);
        if (in->eof) {
            *end = true;
            return RKF_OK;
        }
        rkf_status rc = read_more(in, err);
        if (rc)
            return rc;
    }
    const char *p = in->buf + in->begin;
    size_t whole = in->begin + len < in->end ? len + 1 : len; /* the last line may have no newline */
    if (len && whole > len && p[len - 1] == '\r')
        len--;
    if (len > in->max_line)
        return too_long(in, err);
    in->begin += whole;
    in->scanned = 0;
    in->taken += (int64_t)whole;
    if (!in->number && len >= 3 && !memcmp(p, "\xEF\xBB\xBF", 3)) {
        p += 3;
        len -= 3;
    }
    *line = (rkf_str){ p, len };
    return RKF_OK;
}

bool input_ready(struct input *in)
{
    size_t len;
    if (in->texts)
        return true;
    for (;;) {
        rkf_error ignored;
        struct pollfd p = { .fd = in->fd, .events = POLLIN };
        if (in->eof || find_line(in, &len) || len > in->max_line + 1)
            return true;
        if (poll(&p, 1, 0) == 0)
            return false;
        if (read_more(in, &ignored))
            return true; /* input_next will meet the same failure and report it */
    }
}

/* ---- what a line says */

static rkf_status copy(struct arena *mem, rkf_str from, rkf_str *to, rkf_error *err)
{
    char *p = arena_alloc(mem, from.len + 1);
    if (!p)
        return rkf_fail_memory(err, from.len + 1, "a line of input");
    memcpy(p, from.ptr, from.len);
    p[from.len] = 0;
    *to = (rkf_str){ p, from.len };
    return RKF_OK;
}

static rkf_status check_utf8(const struct input *in, rkf_str text, rkf_error *err)
{
    char place[300];
    size_t good = in->strict ? utf8_valid_prefix(text.ptr, text.len) : text.len;
    if (good == text.len)
        return RKF_OK;
    return rkf_fail(err, RKF_FORMAT,
                    "%s is not valid UTF-8 at byte %zu: repair it, or leave out --strict to have it replaced",
                    input_place(in, in->number, place, sizeof place), good + 1);
}

static rkf_status take_key(const struct input *in, yyjson_val *v, const char *key, struct arena *mem, rkf_str *to,
                           rkf_error *err)
{
    char place[300];
    yyjson_val *x = yyjson_obj_get(v, key);
    if (!x || yyjson_is_null(x))
        return RKF_OK;
    if (!yyjson_is_str(x))
        return rkf_fail(err, RKF_FORMAT, "%s: \"%s\" must be a string, not %s",
                        input_place(in, in->number, place, sizeof place), key, yyjson_get_type_desc(x));
    return copy(mem, (rkf_str){ yyjson_get_str(x), yyjson_get_len(x) }, to, err);
}

static rkf_status take_value(const struct input *in, yyjson_val *v, struct arena *mem, struct input_item *item,
                             rkf_error *err)
{
    char place[300];
    if (yyjson_is_str(v))
        return copy(mem, (rkf_str){ yyjson_get_str(v), yyjson_get_len(v) }, &item->text, err);
    if (!yyjson_is_obj(v))
        return rkf_fail(err, RKF_FORMAT, "%s is %s: a JSON string or an object with \"%s\" is needed",
                        input_place(in, in->number, place, sizeof place), yyjson_get_type_desc(v), in->text_key);
    rkf_status rc = take_key(in, v, in->text_key, mem, &item->text, err);
    if (!rc)
        rc = take_key(in, v, in->pair_key, mem, &item->pair, err);
    if (!rc && !item->text.ptr)
        rc = rkf_fail(err, RKF_FORMAT, "%s is an object without \"%s\"",
                      input_place(in, in->number, place, sizeof place), in->text_key);
    return rc;
}

static rkf_status parse_item(const struct input *in, rkf_str line, struct arena *mem, struct input_item *item,
                             rkf_error *err)
{
    char place[300];
    yyjson_doc *doc = NULL;
    struct buf clean;
    buf_init(&clean, 3 * line.len + 3); /* JSON must be valid UTF-8: broken bytes are replaced first */
    if (utf8_valid_prefix(line.ptr, line.len) != line.len) {
        utf8_append_replaced(&clean, line.ptr, line.len);
        line = (rkf_str){ clean.p, clean.len };
    }
    rkf_status rc = clean.failed ? rkf_fail_memory(err, 3 * line.len, "a line of input") : RKF_OK;
    if (!rc)
        rc = json_parse(line.ptr, line.len, input_place(in, in->number, place, sizeof place), &doc, err);
    if (!rc)
        rc = take_value(in, yyjson_doc_get_root(doc), mem, item, err);
    yyjson_doc_free(doc);
    buf_free(&clean);
    return rc;
}

rkf_status input_next(struct input *in, struct arena *mem, struct input_item *item, bool *end, rkf_error *err)
{
    struct input_item it = { 0 };
    rkf_str line = { NULL, 0 };
    bool over = in->texts && in->number == in->n_texts;
    rkf_status rc = RKF_OK;
    if (!over && in->texts)
        line = (rkf_str){ in->texts[in->number], strlen(in->texts[in->number]) };
    else if (!over)
        rc = next_line(in, &line, &over, err);
    if (!rc && over) {
        *end = true;
        return RKF_OK;
    }
    if (rc)
        return rc;
    it.number = ++in->number;
    rc = check_utf8(in, line, err);
    if (!rc && in->texts)
        it.text = line; /* arguments stay where they are */
    else if (!rc)
        rc = in->json ? parse_item(in, line, mem, &it, err) : copy(mem, line, &it.text, err);
    if (rc)
        return rc;
    *item = it;
    *end = false;
    return RKF_OK;
}
