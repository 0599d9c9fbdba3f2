/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of texts, cut at every place where a pipe may cut, and out of memory at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/input.h"

static struct input open_text(const char *text, size_t len, size_t max_line, bool json)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], text, len), (ssize_t)len);
    close(fds[1]);
    return (struct input){ .fd = fds[0],
                           .own_fd = true,
                           .name = "pipe",
                           .json = json,
                           .text_key = "text",
                           .pair_key = "text_pair",
                           .max_line = max_line,
                           .total = -1 };
}

static void expect_text(struct input *in, struct arena *mem, const char *text, size_t len)
{
    struct input_item item;
    bool end = false;
    assert_int_equal(input_next(in, mem, &item, &end, NULL), RKF_OK);
    assert_false(end);
    assert_int_equal(item.text.len, len);
    assert_memory_equal(item.text.ptr, text, len);
}

static void expect_end(struct input *in, struct arena *mem)
{
    struct input_item item;
    bool end = false;
    assert_int_equal(input_next(in, mem, &item, &end, NULL), RKF_OK);
    assert_true(end);
}

static void lines(void **state)
{
    static const char text[] = "\xEF\xBB\xBFone\r\n\n\r\n two\rthree \na\0b\n\xEF\xBB\xBF\nlast";
    struct arena mem = { 0 };
    struct input in = open_text(text, sizeof text - 1, 100, false);
    (void)state;
    expect_text(&in, &mem, "one", 3);
    expect_text(&in, &mem, "", 0);
    expect_text(&in, &mem, "", 0);
    expect_text(&in, &mem, " two\rthree ", 11);
    expect_text(&in, &mem, "a\0b", 3);
    expect_text(&in, &mem, "\xEF\xBB\xBF", 3); /* a mark that does not begin the file is text */
    assert_true(input_ready(&in));
    expect_text(&in, &mem, "last", 4);
    expect_end(&in, &mem);
    expect_end(&in, &mem);
    assert_int_equal(in.taken, sizeof text - 1);
    input_close(&in);
    arena_free(&mem);
}

static void the_longest_line(void **state)
{
    (void)state;
    for (int crlf = 0; crlf < 2; crlf++) {
        struct arena mem = { 0 };
        struct input_item item;
        rkf_error err;
        bool end = false;
        const char *text = crlf ? "12345\r\n123456\r\n" : "12345\n123456\n";
        struct input in = open_text(text, strlen(text), 5, false);
        expect_text(&in, &mem, "12345", 5);
        assert_int_equal(input_next(&in, &mem, &item, &end, &err), RKF_FORMAT);
        assert_string_equal(err.message, "line 2 of pipe is longer than 5 bytes: split it, or raise --max-line");
        input_close(&in);
        arena_free(&mem);
    }
}

/* A line longer than what one read returns, met with the line's end at every distance from the buffer's. */
static void lines_across_reads(void **state)
{
    enum { MANY = 300 };
    struct arena mem = { 0 };
    int fds[2];
    char expected[MANY];
    (void)state;
    memset(expected, 'x', sizeof expected);
    assert_int_equal(pipe(fds), 0);
    struct input in = { .fd = fds[0], .own_fd = true, .name = "pipe", .max_line = 1 << 20, .total = -1 };
    assert_false(input_ready(&in));
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(write(fds[1], expected, i), (ssize_t)i);
        assert_false(input_ready(&in)); /* no line yet */
        assert_int_equal(write(fds[1], "\n", 1), 1);
        assert_true(input_ready(&in));
        expect_text(&in, &mem, expected, i);
    }
    close(fds[1]);
    assert_true(input_ready(&in));
    expect_end(&in, &mem);
    input_close(&in);
    arena_free(&mem);
}

static void json_lines(void **state)
{
    static const char text[] = "\"a\\u00e9\\n\"\n"
                               " {\"text\":\"t\", \"text_pair\":\"p\", \"more\":[1]} \n"
                               "{\"text\":\"\", \"text_pair\":null}\n"
                               "\"caf\xe9\"\n"
                               "{\"text_pair\":\"p\"}\n";
    struct arena mem = { 0 };
    struct input_item item;
    rkf_error err;
    bool end = false;
    struct input in = open_text(text, sizeof text - 1, 100, true);
    (void)state;
    expect_text(&in, &mem, "a\xc3\xa9\n", 4);
    assert_int_equal(input_next(&in, &mem, &item, &end, NULL), RKF_OK);
    assert_memory_equal(item.pair.ptr, "p", 1);
    assert_int_equal(input_next(&in, &mem, &item, &end, NULL), RKF_OK);
    assert_non_null(item.text.ptr);
    assert_int_equal(item.text.len, 0);
    assert_null(item.pair.ptr);
    expect_text(&in, &mem, "caf\xef\xbf\xbd", 6);
    assert_int_equal(input_next(&in, &mem, &item, &end, &err), RKF_FORMAT);
    assert_string_equal(err.message, "line 5 of pipe is an object without \"text\"");
    input_close(&in);
    arena_free(&mem);
}

static void out_of_memory_is_an_error(void **state)
{
    static const char text[] = "\"first\"\n{\"text\":\"caf\xe9\",\"text_pair\":\"third\"}\n";
    (void)state;
    for (int64_t n = 0;; n++) {
        struct arena mem = { 0 };
        struct input in = open_text(text, sizeof text - 1, 1 << 20, true);
        struct input_item item;
        rkf_status rc = RKF_OK;
        bool end = false;
        mem_fail_after(n);
        while (!rc && !end)
            rc = input_next(&in, &mem, &item, &end, NULL);
        mem_fail_after(-1);
        input_close(&in);
        arena_free(&mem);
        if (!rc) {
            assert_true(n > 3);
            return;
        }
        assert_int_equal(rc, RKF_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),      cmocka_unit_test(the_longest_line),          cmocka_unit_test(lines_across_reads),
        cmocka_unit_test(json_lines), cmocka_unit_test(out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
