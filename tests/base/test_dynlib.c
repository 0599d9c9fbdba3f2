/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries found at run time, on one that every machine has. */
#include "base/dynlib.h"
#include "test.h"

#include <math.h>

enum { CALLS = 2 };
static struct {
    double (*cbrt)(double);
    double (*fmax)(double, double);
} found;

static rkf_status load(const char *const *names, const char *second, rkf_error *err)
{
    const struct dynlib_symbol symbols[CALLS] = { { "cbrt", &found.cbrt }, { second, &found.fmax } };
    memset(&found, 0, sizeof found);
    memset(err, 0, sizeof *err);
    struct dynlib l = { names, symbols, CALLS, "the test", "install it", false };
    rkf_status rc = dynlib_load(&l, err);
    assert_int_equal(l.loaded, !rc);
    return rc;
}

static void test_found(void **state)
{
    static const char *const names[] = { "librkf-nowhere.so.1", "libm.so.6", NULL };
    rkf_error err;
    (void)state;
    assert_int_equal(load(names, "fmax", &err), RKF_OK);
    assert_true(fabs(found.cbrt(27) - 3) < 1e-12);
    assert_true(fabs(found.fmax(1, 2) - 2) < 1e-12);
}

static void test_symbol_missing(void **state)
{
    static const char *const names[] = { "libm.so.6", NULL };
    rkf_error err;
    (void)state;
    assert_int_equal(load(names, "rkf_no_such_call", &err), RKF_UNAVAILABLE);
    assert_string_equal(err.message,
                        "the test needs libm.so.6, and the one that is installed lacks rkf_no_such_call: install it");
    assert_null(found.cbrt); /* all or nothing */
}

static void test_library_missing(void **state)
{
    static const char *const names[] = { "librkf-nowhere.so.1", "librkf-nowhere-else.so.1", NULL };
    rkf_error err;
    (void)state;
    assert_int_equal(load(names, "fmax", &err), RKF_UNAVAILABLE);
    assert_non_null(strstr(err.message, "the test needs librkf-nowhere.so.1, which cannot be loaded ("));
    assert_non_null(strstr(err.message, "): install it"));
    assert_null(found.cbrt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_symbol_missing),
        cmocka_unit_test(test_library_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
