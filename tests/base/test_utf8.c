/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8: every code point there and back; which sequences are well-formed, by Unicode's table 3-7; and what replaces
 * the others, as Python's bytes.decode("utf-8", "replace") recorded it (make_utf8_replaced.py).
 */
#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

static void every_code_point_comes_back(void **state)
{
    (void)state;
    for (int32_t cp = 0; cp <= 0x10ffff; cp++) {
        char s[4];
        size_t n = 0;
        if (cp == 0xd800)
            cp = 0xe000;
        size_t len = utf8_encode(cp, s);
        assert_int_equal(len, cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4);
        assert_int_equal(utf8_decode(s, len, &n), cp);
        assert_int_equal(n, len);
        assert_int_equal(utf8_valid_prefix(s, len), len);
        assert_int_equal(utf8_count(s, len), 1);
        if (len > 1) { /* cut short it is broken, and all of the rest is one broken piece */
            assert_int_equal(utf8_decode(s, len - 1, &n), -1);
            assert_int_equal(n, len - 1);
        }
    }
}

/* Unicode 15.0, table 3-7, "Well-Formed UTF-8 Byte Sequences". */
static const struct {
    uint8_t lo[4], hi[4];
    int n;
} well_formed[] = {
    { { 0x00 }, { 0x7f }, 1 },
    { { 0xc2, 0x80 }, { 0xdf, 0xbf }, 2 },
    { { 0xe0, 0xa0, 0x80 }, { 0xe0, 0xbf, 0xbf }, 3 },
    { { 0xe1, 0x80, 0x80 }, { 0xec, 0xbf, 0xbf }, 3 },
    { { 0xed, 0x80, 0x80 }, { 0xed, 0x9f, 0xbf }, 3 },
    { { 0xee, 0x80, 0x80 }, { 0xef, 0xbf, 0xbf }, 3 },
    { { 0xf0, 0x90, 0x80, 0x80 }, { 0xf0, 0xbf, 0xbf, 0xbf }, 4 },
    { { 0xf1, 0x80, 0x80, 0x80 }, { 0xf3, 0xbf, 0xbf, 0xbf }, 4 },
    { { 0xf4, 0x80, 0x80, 0x80 }, { 0xf4, 0x8f, 0xbf, 0xbf }, 4 },
};

/* Length of the well-formed sequence that s begins with, 0: none. */
static int table_length(const uint8_t *s, int len)
{
    for (size_t r = 0; r < sizeof well_formed / sizeof *well_formed; r++) {
        int i = 0;
        while (i < well_formed[r].n && i < len && s[i] >= well_formed[r].lo[i] && s[i] <= well_formed[r].hi[i])
            i++;
        if (i == well_formed[r].n)
            return i;
    }
    return 0;
}

/* The bytes on both sides of every edge of the table. */
static const uint8_t edges[] = { 0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf,
                                 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff };
enum { EDGES = sizeof edges };

static void agrees_with_the_table(void **state)
{
    (void)state;
    for (int code = 0; code < EDGES * EDGES * EDGES * EDGES; code++) {
        uint8_t s[4] = { edges[code % EDGES], edges[code / EDGES % EDGES], edges[code / EDGES / EDGES % EDGES],
                         edges[code / EDGES / EDGES / EDGES] };
        for (size_t len = 1; len <= 4; len++) {
            size_t n = 0;
            int32_t cp = utf8_decode((const char *)s, len, &n);
            int want = table_length(s, (int)len);
            if ((cp >= 0) != (want > 0) || n < 1 || n > len || (want && n != (size_t)want))
                fail_msg("%02x %02x %02x %02x (%zu): %d, %zu, table %d", s[0], s[1], s[2], s[3], len, cp, n, want);
        }
    }
}

static void replaced_as_python_does(void **state)
{
    (void)state;
    rkf_error err;
    char *text = NULL;
    size_t len = 0, lines = 0;
    assert_ok(file_read(TEST_DATA "/base/utf8_replaced.txt", 1 << 22, &text, &len, &err));
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        struct buf bytes[2], out; /* a line: input in hex, space, output in hex; "-" is empty */
        const char *p = line;
        if (*line == '#')
            continue;
        for (int i = 0; i < 2; i++) {
            unsigned byte;
            buf_init(&bytes[i], 1 << 10);
            for (; *p && *p != ' ' && *p != '-'; p += 2) {
                assert_int_equal(sscanf(p, "%2x", &byte), 1);
                buf_putc(&bytes[i], (char)byte);
            }
            p += *p == '-';
            p += *p == ' ';
        }
        buf_init(&out, 1 << 10);
        utf8_append_replaced(&out, bytes[0].p, bytes[0].len);
        if (out.len != bytes[1].len || (out.len && memcmp(out.p, bytes[1].p, out.len)))
            fail_msg("%s", line);
        buf_free(&out);
        buf_free(&bytes[0]);
        buf_free(&bytes[1]);
        lines++;
    }
    assert_true(lines > 1000);
    mem_free(text);
}

static void long_texts(void **state)
{
    (void)state;
    /* Every place of a break relative to the eight-byte steps of the fast path. */
    for (size_t at = 0; at < 40; at++) {
        char s[48];
        memset(s, 'a', sizeof s);
        assert_int_equal(utf8_valid_prefix(s, sizeof s), sizeof s);
        s[at] = (char)0xff;
        assert_int_equal(utf8_valid_prefix(s, sizeof s), at);
        memcpy(s + at, "\xf0\x9f\x98\x80", 4);
        assert_int_equal(utf8_valid_prefix(s, sizeof s), sizeof s);
        assert_int_equal(utf8_count(s, sizeof s), sizeof s - 3);
        assert_int_equal(utf8_valid_prefix(s, at + 3), at);
    }
    assert_int_equal(utf8_valid_prefix("", 0), 0);
    assert_int_equal(utf8_count("", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_comes_back),
        cmocka_unit_test(agrees_with_the_table),
        cmocka_unit_test(replaced_as_python_does),
        cmocka_unit_test(long_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
