/* SPDX-License-Identifier: Apache-2.0 */
#include "server/head.h"

#include <string.h>
#include <strings.h>

/* RFC 9110, 5.6.2 */
static bool is_token(const char *s)
{
    static const char signs[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    return *s && !s[strspn(s, signs)];
}

static bool is_value(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)s[i] < ' ' && s[i] != '\t') || s[i] == 0x7f)
            return false;
    return true;
}

static void take_length(struct head *h, const char *value)
{
    if (h->length && strcmp(h->length, value) != 0)
        h->fault = "two Content-Lengths";
    h->length = value;
}

static void take_encoding(struct head *h, const char *value)
{
    if (h->encodings++)
        h->fault = "two Transfer-Encodings";
    else if (strcasecmp(value, "chunked") != 0)
        h->fault = "a Transfer-Encoding other than chunked";
}

void head_take(struct head *h, const char *name, const char *value, size_t len)
{
    if (h->fault)
        return;
    if (!is_token(name))
        h->fault = "a header whose name has characters that do not belong there";
    else if (!is_value(value, len))
        h->fault = "a header whose value has control characters";
    else if (!strcasecmp(name, "Content-Length"))
        take_length(h, value);
    else if (!strcasecmp(name, "Transfer-Encoding"))
        take_encoding(h, value);
    else if (!strcasecmp(name, "Host") && h->hosts++)
        h->fault = "two Hosts";
    else if (!strcasecmp(name, "Content-Encoding"))
        h->compressed |= len && strcasecmp(value, "identity") != 0;
}

const char *head_fault(const struct head *h, const char *version)
{
    bool old = !strcmp(version, "HTTP/1.0");
    if (h->fault)
        return h->fault;
    if (h->encodings && h->length)
        return "both Content-Length and Transfer-Encoding";
    if (h->encodings && old)
        return "a Transfer-Encoding in HTTP/1.0";
    return h->hosts || old ? NULL : "no Host";
}

/* No byte that the text of a path cannot hold: libmicrohttpd would decode %00 to the path's end. */
bool head_target_ok(const char *target)
{
    for (const char *p = target; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f || (p[0] == '%' && p[1] == '0' && p[2] == '0'))
            return false;
    return true;
}

const char *head_path(const char *target)
{
    size_t n = !strncasecmp(target, "http://", 7) ? 7 : !strncasecmp(target, "https://", 8) ? 8 : 0;
    if (!n)
        return target;
    const char *path = strchr(target + n, '/');
    return path ? path : "/";
}
