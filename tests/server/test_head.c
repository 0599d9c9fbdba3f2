/* SPDX-License-Identifier: Apache-2.0 */
/* Heads that RFC 9112 wants refused because others may read them differently, and heads that are fine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/head.h"

#include <string.h>

struct line {
    const char *name, *value;
};

static const char *fault_of(const char *version, const struct line *lines, size_t n, bool *compressed)
{
    struct head h = { 0 };
    for (size_t i = 0; i < n; i++)
        head_take(&h, lines[i].name, lines[i].value, strlen(lines[i].value));
    *compressed = h.compressed;
    return head_fault(&h, version);
}

static void heads(void **state)
{
    static const struct {
        const char *version, *words; /* of the fault; NULL: none */
        struct line lines[3];
    } cases[] = {
        { "HTTP/1.1", NULL, { { "Host", "x" }, { "Content-Length", "5" } } },
        { "HTTP/1.1", NULL, { { "Host", "x" }, { "Transfer-Encoding", "Chunked" } } },
        { "HTTP/1.1", NULL, { { "host", "x" }, { "content-length", "5" }, { "Content-Length", "5" } } },
        { "HTTP/1.1", NULL, { { "Host", "x" }, { "X-Text", "tabs\tand \xc3\xa4 are fine" } } },
        { "HTTP/1.0", NULL, { { "Content-Length", "5" } } },
        { "HTTP/1.1", "no Host", { { "Content-Length", "5" } } },
        { "HTTP/1.1", "two Hosts", { { "Host", "x" }, { "HOST", "x" } } },
        { "HTTP/1.1",
          "two Content-Lengths",
          { { "Host", "x" }, { "Content-Length", "5" }, { "content-length", "6" } } },
        { "HTTP/1.1", "both", { { "Host", "x" }, { "Content-Length", "5" }, { "Transfer-Encoding", "chunked" } } },
        { "HTTP/1.1", "both", { { "Host", "x" }, { "Transfer-Encoding", "chunked" }, { "Content-Length", "5" } } },
        { "HTTP/1.1",
          "two Transfer",
          { { "Host", "x" }, { "Transfer-Encoding", "chunked" }, { "Transfer-Encoding", "chunked" } } },
        { "HTTP/1.1", "other than chunked", { { "Host", "x" }, { "Transfer-Encoding", "gzip, chunked" } } },
        { "HTTP/1.1", "other than chunked", { { "Host", "x" }, { "Transfer-Encoding", "xchunked" } } },
        { "HTTP/1.1", "other than chunked", { { "Host", "x" }, { "Transfer-Encoding", "" } } },
        { "HTTP/1.0", "in HTTP/1.0", { { "Transfer-Encoding", "chunked" } } },
        { "HTTP/1.1", "name", { { "Host", "x" }, { "Transfer-Encoding ", "chunked" } } },
        { "HTTP/1.1", "name", { { "Host", "x" }, { "", "a" } } },
        { "HTTP/1.1", "name", { { "Host", "x" }, { "a\x80", "a" } } },
        { "HTTP/1.1", "control", { { "Host", "x" }, { "X", "a\rContent-Length: 7" } } },
        { "HTTP/1.1", "control", { { "Host", "x" }, { "X", "a\x7f" } } },
    };
    bool compressed;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = 0;
        while (n < 3 && cases[i].lines[n].name)
            n++;
        const char *fault = fault_of(cases[i].version, cases[i].lines, n, &compressed);
        if (!fault != !cases[i].words || (fault && !strstr(fault, cases[i].words)))
            fail_msg("case %zu: %s instead of %s", i, fault ? fault : "fine", cases[i].words ? cases[i].words : "fine");
        assert_false(compressed);
    }
}

static void zero_in_a_value(void **state)
{
    struct head h = { 0 };
    (void)state;
    head_take(&h, "Host", "x", 1);
    head_take(&h, "Authorization", "Bearer a\0b", 10);
    assert_non_null(head_fault(&h, "HTTP/1.1"));
}

static void compressed_bodies(void **state)
{
    bool compressed;
    (void)state;
    assert_null(
        fault_of("HTTP/1.1", (struct line[]){ { "Host", "x" }, { "Content-Encoding", "gzip" } }, 2, &compressed));
    assert_true(compressed);
    assert_null(
        fault_of("HTTP/1.1", (struct line[]){ { "Host", "x" }, { "Content-Encoding", "Identity" } }, 2, &compressed));
    assert_false(compressed);
}

static void targets(void **state)
{
    (void)state;
    assert_true(head_target_ok("/models/a%20b/embed?x=%31"));
    assert_false(head_target_ok("/embed%00x"));
    assert_false(head_target_ok("/emb ed"));
    assert_false(head_target_ok("/embed\x01"));
    assert_string_equal(head_path("/embed"), "/embed");
    assert_string_equal(head_path("HTTP://host:80/embed"), "/embed");
    assert_string_equal(head_path("https://host/models/x/embed"), "/models/x/embed");
    assert_string_equal(head_path("http://host"), "/");
    assert_string_equal(head_path("*"), "*");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads),
        cmocka_unit_test(zero_in_a_value),
        cmocka_unit_test(compressed_bodies),
        cmocka_unit_test(targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
