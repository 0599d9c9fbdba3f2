/* SPDX-License-Identifier: Apache-2.0 */
/* API keys: which file is one, which header has one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static rkf_status load(struct keys *k, const char *text, rkf_error *err)
{
    char path[] = "/tmp/rkformer-keys-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    rkf_status rc = keys_load(k, path, err);
    unlink(path);
    return rc;
}

static void files(void **state)
{
    struct keys k = { 0 };
    rkf_error err;
    (void)state;
    assert_int_equal(load(&k, "# comment\n\n one two words after it \r\n\ttwo\nthree", &err), RKF_OK);
    assert_int_equal(k.n, 3);
    assert_string_equal(k.p[0], "one");
    assert_string_equal(k.p[1], "two");
    assert_string_equal(k.p[2], "three");
    assert_int_equal(load(&k, "four\n", &err), RKF_OK); /* adds */
    assert_int_equal(k.n, 4);
    assert_int_equal(load(&k, "# nothing\n\n  \n", &err), RKF_INVALID);
    assert_non_null(strstr(err.message, "holds no API key"));
    assert_int_equal(load(&k, "k\xc3\xa4y\n", &err), RKF_INVALID);
    assert_int_equal(keys_load(&k, "/nonexistent/keys", &err), RKF_NOT_FOUND);
    keys_free(&k);
    assert_int_equal(k.n, 0);
}

static void headers(void **state)
{
    struct keys k = { 0 };
    (void)state;
    assert_false(keys_allow(&k, "Bearer x"));
    assert_false(keys_allow(&k, "Bearer "));
    assert_int_equal(keys_add(&k, "first-key", NULL), RKF_OK);
    assert_int_equal(keys_add(&k, "k", NULL), RKF_OK);
    assert_true(keys_allow(&k, "Bearer first-key"));
    assert_true(keys_allow(&k, "bearer first-key")); /* schemes have no case */
    assert_true(keys_allow(&k, "Bearer k"));
    const char *const wrong[] = { NULL,
                                  "",
                                  "Bearer",
                                  "Bearer ",
                                  "Bearer  first-key",
                                  "first-key",
                                  "Basic first-key",
                                  "Bearer first-ke",
                                  "Bearer first-keyx",
                                  "Bearer First-key",
                                  "Bearer kk",
                                  "Bearer first-keyfirst-key" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (keys_allow(&k, wrong[i]))
            fail_msg("let in: %s", wrong[i] ? wrong[i] : "nothing");
    keys_free(&k);
}

static void lengths(void **state)
{
    struct keys k = { 0 };
    rkf_error err;
    static char longest[5000], header[70000];
    (void)state;
    memset(longest, 'k', 4097);
    assert_int_equal(keys_add(&k, longest, &err), RKF_INVALID);
    assert_int_equal(keys_add(&k, "", &err), RKF_INVALID);
    longest[4096] = 0;
    assert_int_equal(keys_add(&k, longest, &err), RKF_OK);
    snprintf(header, sizeof header, "Bearer %s", longest);
    assert_true(keys_allow(&k, header));
    memset(header + 7, 'k', sizeof header - 8); /* the key, again and again */
    assert_false(keys_allow(&k, header));
    keys_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files),
        cmocka_unit_test(headers),
        cmocka_unit_test(lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
