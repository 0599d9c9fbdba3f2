/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded buffers: what is appended is there, the maximum holds, failure sticks until cleared. */
#include "base/buf.h"
#include "base/mem.h"
#include "test.h"

static void grows_and_ends_in_nul(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 10000; i++)
        buf_printf(&b, "%d,", i);
    buf_putc(&b, 'x');
    buf_puts(&b, "yz");
    buf_append(&b, "", 0);
    assert_false(b.failed);
    assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4 + 9000 * 5 + 3);
    assert_int_equal(strlen(b.p), b.len);
    assert_string_equal(b.p + b.len - 8, "9999,xyz");
    buf_free(&b);
}

static void stops_at_the_maximum(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5);
    buf_puts(&b, "12345");
    assert_false(b.failed);
    buf_putc(&b, '6');
    assert_true(b.failed);
    assert_string_equal(b.p, "12345");
    buf_append(&b, "", 0); /* even what would fit is no longer taken */
    assert_null(buf_reserve(&b, 0));
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    buf_printf(&b, "%s", "123456");
    assert_true(b.failed);
    assert_string_equal(b.p, "");
    buf_clear(&b);
    buf_printf(&b, "%05d", 42);
    assert_false(b.failed);
    assert_string_equal(b.p, "00042");
    buf_free(&b);
}

static void refuses_absurd_sizes(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_puts(&b, "abc");
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_true(b.failed);
    buf_clear(&b);
    assert_null(buf_reserve(&b, SIZE_MAX - 3)); /* len + n + 1 would wrap to 1 */
    buf_clear(&b);
    assert_null(buf_reserve(&b, SIZE_MAX / 2 + 1)); /* no power of two holds it */
    assert_string_equal(b.p, "");
    buf_free(&b);
}

static void gives_its_string_away(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 16);
    char *s = buf_steal(&b);
    assert_string_equal(s, ""); /* nothing appended is the empty string, not NULL */
    mem_free(s);
    buf_puts(&b, "text");
    s = buf_steal(&b);
    assert_string_equal(s, "text");
    mem_free(s);
    assert_int_equal(b.len, 0);
    buf_puts(&b, "a text that is too long");
    assert_null(buf_steal(&b));
    assert_null(b.p);
}

static void out_of_memory(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_puts(&b, "before");
    mem_fail_after(0);
    for (int i = 0; i < 100; i++)
        buf_puts(&b, "0123456789");
    mem_fail_after(-1);
    assert_true(b.failed);
    assert_int_equal(strncmp(b.p, "before", 6), 0);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_ends_in_nul), cmocka_unit_test(stops_at_the_maximum),
        cmocka_unit_test(refuses_absurd_sizes),  cmocka_unit_test(gives_its_string_away),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
