/* SPDX-License-Identifier: Apache-2.0 */
/* What every test program needs: cmocka in its order of headers, and checks of rkformer's own kind. */
#ifndef RKF_TESTS_TEST_H
#define RKF_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"

#include <string.h>

/* A call that must succeed: prints its message if it does not. err is the test's rkf_error. */
#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != RKF_OK)                                                                                          \
            fail_msg("%s: %s: %s", #call, rkf_status_name(err.status), err.message);                                   \
    } while (0)

/* A call that must fail with `want` and a message that holds `text`. */
#define assert_fails(call, want, text)                                                                                 \
    do {                                                                                                               \
        rkf_status got_ = (call);                                                                                      \
        if (got_ != (want) || err.status != (want) || !strstr(err.message, text))                                      \
            fail_msg("%s: got %s \"%s\", not %s \"%s\"", #call, rkf_status_name(got_), got_ ? err.message : "", #want, \
                     text);                                                                                            \
    } while (0)

/* A small deterministic generator (xorshift64*). */
static inline uint64_t test_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1Dull;
}

#endif
