/* SPDX-License-Identifier: Apache-2.0 */
/* Error records: one line, cut to fit, filled only if wanted; names; quoting; the log callback; activations. */
#include "base/log.h"
#include "base/ops.h"
#include "base/utf8.h"
#include "test.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

static void fills_the_record(void **state)
{
    (void)state;
    rkf_error err = { 0 };
    assert_int_equal(rkf_fail(&err, RKF_FORMAT, "file %s: bad %d", "x", 3), RKF_FORMAT);
    assert_int_equal(err.status, RKF_FORMAT);
    assert_string_equal(err.message, "file x: bad 3");
    assert_int_equal(rkf_fail(NULL, RKF_IO, "not wanted"), RKF_IO);
    assert_int_equal(rkf_fail_within(&err, RKF_FORMAT, "model %s", "m"), RKF_FORMAT);
    assert_string_equal(err.message, "model m: file x: bad 3");
    assert_int_equal(rkf_fail_within(NULL, RKF_DEVICE, "x"), RKF_DEVICE);
    assert_int_equal(rkf_fail_memory(&err, 123, "a table"), RKF_NO_MEMORY);
    assert_string_equal(err.message, "out of memory: cannot get 123 bytes for a table");
}

static void system_errors(void **state)
{
    (void)state;
    rkf_error err = { 0 };
    errno = EACCES;
    assert_int_equal(rkf_fail_errno(&err, RKF_IO, "cannot open %s", "f"), RKF_IO);
    assert_string_equal(err.message, "cannot open f: Permission denied");
    errno = ENOMEM;
    assert_int_equal(rkf_fail_errno(&err, RKF_IO, "cannot map f"), RKF_NO_MEMORY);
    assert_int_equal(err.status, RKF_NO_MEMORY);
}

/* Whatever a file or a name puts into it, a message is one line of UTF-8 that fits. */
static void one_line_that_fits(void **state)
{
    (void)state;
    rkf_error err = { 0 };
    rkf_fail(&err, RKF_FORMAT, "a\nb\tc\x7f");
    assert_string_equal(err.message, "a?b?c?");
    char text[1024];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'x', shift);
        text[shift] = 0;
        while (strlen(text) < 900)
            strcat(text, "\xe2\x82\xac");
        rkf_fail(&err, RKF_FORMAT, "%s", text);
        size_t len = strlen(err.message);
        assert_true(len >= sizeof err.message - 4 && len < sizeof err.message);
        assert_int_equal(utf8_valid_prefix(err.message, len), len);
        errno = EIO;
        rkf_fail_errno(&err, RKF_IO, "%s", text);
        assert_int_equal(utf8_valid_prefix(err.message, strlen(err.message)), strlen(err.message));
        rkf_fail_within(&err, RKF_IO, "%s", text + 600 + shift);
        assert_int_equal(utf8_valid_prefix(err.message, strlen(err.message)), strlen(err.message));
    }
}

static void every_status_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(rkf_status_name(RKF_OK), "RKF_OK");
    assert_string_equal(rkf_status_name(RKF_TOO_LONG), "RKF_TOO_LONG");
    assert_string_equal(rkf_status_name(RKF_INTERNAL), "RKF_INTERNAL");
    for (int s = RKF_OK; s <= RKF_INTERNAL; s++) {
        assert_int_equal(strncmp(rkf_status_name((rkf_status)s), "RKF_", 4), 0);
        assert_string_not_equal(rkf_status_name((rkf_status)s), "RKF_UNKNOWN");
    }
    assert_string_equal(rkf_status_name((rkf_status)99), "RKF_UNKNOWN");
    assert_string_equal(rkf_status_name((rkf_status)-1), "RKF_UNKNOWN");
}

static void quotes_strangers(void **state)
{
    (void)state;
    char b[16];
    assert_string_equal(rkf_quote(b, sizeof b, "plain", 5), "plain");
    assert_string_equal(rkf_quote(b, sizeof b, "a\nb\0c\x1b", 6), "a?b?c?");
    assert_string_equal(rkf_quote(b, sizeof b, "\xff\xc3", 2), "??");
    assert_string_equal(rkf_quote(b, sizeof b, "\xc3\xa9\xe2\x82\xac", 5), "\xc3\xa9\xe2\x82\xac");
    assert_string_equal(rkf_quote(b, sizeof b, "0123456789abcdefgh", 18), "0123456789abcde");
    assert_string_equal(rkf_quote(b, sizeof b, "0123456789abcd\xe2\x82\xac", 17), "0123456789abcd");
    assert_string_equal(rkf_quote(b, sizeof b, "", 0), "");
    assert_string_equal(rkf_quote(b, 1, "x", 1), "");
}

static void keep_line(void *cookie, rkf_log_level level, const char *line)
{
    snprintf(cookie, 64, "%d %.50s", (int)level, line);
}

static void log_lines(void **state)
{
    (void)state;
    char line[64] = "";
    struct logger log = { keep_line, line, RKF_LOG_WARN };
    log_line(&log, RKF_LOG_INFO, "too chatty");
    assert_string_equal(line, "");
    log_line(&log, RKF_LOG_WARN, "core %d", 2);
    assert_string_equal(line, "1 core 2");
    log_line(NULL, RKF_LOG_ERROR, "nobody listens");
    log_line(&(struct logger){ 0 }, RKF_LOG_ERROR, "nobody listens");
}

static void activations(void **state)
{
    (void)state;
    static const struct { /* transformers' ACT2FN at -1.5 and 0.75, in double */
        const char *name;
        double low, high;
    } rows[] = {
        { "gelu", -0.10021080190328704, 0.5800294857173489 },
        { "gelu_new", -0.10042842301976707, 0.5799605551656203 },
        { "gelu_pytorch_tanh", -0.10042842301976707, 0.5799605551656203 },
        { "gelu_fast", -0.1004284230206536, 0.5799605551650409 },
        { "quick_gelu", -0.10833780155292341, 0.5863900575346379 },
        { "relu", 0, 0.75 },
        { "relu2", 0, 0.5625 },
        { "silu", -0.2736382857095345, 0.5093840243815447 },
        { "torch.nn.modules.activation.Tanh", -0.9051482536448664, 0.6351489523872873 },
        { "sigmoid", 0.18242552380635635, 0.679178699175393 },
        { "mish", -0.29809974216680674, 0.6100183352182934 },
        { "elu", -0.7768698398515702, 0.75 },
        { "leaky_relu", -0.015, 0.75 },
        { "torch.nn.modules.linear.Identity", -1.5, 0.75 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum activation act = ACT_COUNT;
        assert_true(activation_parse(rows[i].name, &act));
        if (fabs((double)activation_apply(act, -1.5f) - rows[i].low) > 1e-7 ||
            fabs((double)activation_apply(act, 0.75f) - rows[i].high) > 1e-7)
            fail_msg("%s: %.9g %.9g", rows[i].name, (double)activation_apply(act, -1.5f),
                     (double)activation_apply(act, 0.75f));
        enum activation again = ACT_COUNT;
        assert_true(activation_parse(activation_name(act), &again));
        assert_int_equal(again, act);
    }
    enum activation act = ACT_COUNT;
    assert_false(activation_parse("geglu9000", &act));
    assert_int_equal(act, ACT_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_the_record),   cmocka_unit_test(system_errors),
        cmocka_unit_test(one_line_that_fits), cmocka_unit_test(every_status_has_its_name),
        cmocka_unit_test(quotes_strangers),   cmocka_unit_test(log_lines),
        cmocka_unit_test(activations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
