/* SPDX-License-Identifier: Apache-2.0 */
/* What to serve: -m's syntax, settings by name, the YAML file, and which of them goes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/server.h"

#include <string.h>

static struct server_config c;
static rkf_error err;

static int fresh(void **state)
{
    (void)state;
    c = (struct server_config)SERVER_CONFIG_INIT;
    return 0;
}

static int tidy(void **state)
{
    (void)state;
    server_config_free(&c);
    return 0;
}

static void refused(rkf_status rc, rkf_status expected, const char *words)
{
    assert_int_equal(rc, expected);
    if (!strstr(err.message, words))
        fail_msg("'%s' does not say '%s'", err.message, words);
}

static rkf_status parse(const char *text)
{
    return server_config_parse(&c, text, strlen(text), "serve.yaml", &err);
}

static void models(void **state)
{
    (void)state;
    assert_int_equal(server_config_add_model(&c, "some/model", &err), RKF_OK);
    assert_int_equal(server_config_add_model(&c, "name=some/model,mask=0_1,exclusive,priority=-3,limit=7", &err),
                     RKF_OK);
    assert_int_equal(server_config_add_model(&c, "./a=b,core_mask=2,cpu-fallback=no,max_length=128", &err), RKF_OK);
    assert_int_equal(c.n_models, 3);
    assert_string_equal(c.models[0].open.path, "some/model");
    assert_null(c.models[0].open.name);
    assert_null(c.models[0].open.core_mask);
    assert_string_equal(c.models[1].open.name, "name");
    assert_string_equal(c.models[1].open.path, "some/model");
    assert_string_equal(c.models[1].open.core_mask, "0_1");
    assert_true(c.models[1].open.exclusive);
    assert_int_equal(c.models[1].open.priority, -3);
    assert_int_equal(c.models[1].limit, 7);
    assert_string_equal(c.models[2].open.path, "./a=b");
    assert_string_equal(c.models[2].open.core_mask, "2");
    assert_false(c.models[2].open.cpu_fallback);
    assert_int_equal(c.models[2].open.max_length, 128);
}

static void bad_models(void **state)
{
    static const struct {
        const char *spec, *words;
    } bad[] = {
        { "", "needs a model" },
        { ",", "needs a model" },
        { "=path", "empty" },
        { "name=", "empty" },
        { "m,colour=red", "unknown setting 'colour'" },
        { "m,priority", "priority needs a value" },
        { "m,priority=high", "a whole number" },
        { "m,priority=1001", "allowed is -1000 to 1000" },
        { "m,limit=0", "allowed is 1" },
        { "m,max-length=99999999999999999999", "allowed is 1" },
        { "m,exclusive=perhaps", "true or false" },
        { "m,a-name-that-is-longer-than-any-setting-could-be-and-then-some-more-of-it=1", "unknown setting" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(server_config_add_model(&c, bad[i].spec, &err), RKF_INVALID, bad[i].words);
    assert_int_equal(c.n_models, 0);
}

static void settings(void **state)
{
    (void)state;
    assert_int_equal(server_config_set(&c, "listen", ":8080", &err), RKF_OK);
    assert_int_equal(server_config_set(&c, "listen", "unix:x", &err), RKF_OK);
    assert_int_equal(server_config_set(&c, "cache", "64MiB", &err), RKF_OK);
    assert_int_equal(server_config_set(&c, "payload_limit", "5000", &err), RKF_OK);
    assert_int_equal(server_config_set(&c, "body-memory", "2G", &err), RKF_OK);
    assert_int_equal(server_config_set(&c, "header-timeout", "0.5", &err), RKF_OK);
    assert_int_equal(server_config_set(&c, "auto-truncate", "off", &err), RKF_OK);
    assert_int_equal(server_config_set(&c, "core-mask", "1", &err), RKF_OK);
    assert_int_equal(server_config_set(&c, "model", "x=y", &err), RKF_OK);
    assert_int_equal(c.listen.n, 2);
    assert_string_equal(c.listen.p[0], ":8080");
    assert_string_equal(c.listen.p[1], "unix:x");
    assert_int_equal(c.cache_bytes, 64 << 20);
    assert_int_equal(c.payload_limit, 5000);
    assert_int_equal(c.body_memory, INT64_C(2) << 30);
    assert_int_equal(c.header_timeout_ms, 500);
    assert_int_equal(c.auto_truncate, RKF_OFF);
    assert_string_equal(c.defaults.open.core_mask, "1");
    assert_int_equal(c.n_models, 1);
    refused(server_config_set(&c, "nope", "1", &err), RKF_INVALID, "unknown setting 'nope'");
    refused(server_config_set(&c, "split", "0", &err), RKF_INVALID, "allowed is 1");
    refused(server_config_set(&c, "body-memory", "-1", &err), RKF_INVALID, "allowed");
    refused(server_config_set(&c, "body-memory", "9999999999G", &err), RKF_INVALID, "allowed");
    refused(server_config_set(&c, "body-memory", "1 MiB", &err), RKF_INVALID, "a size such as");
    refused(server_config_set(&c, "idle-timeout", "nan", &err), RKF_INVALID, "seconds");
    refused(server_config_set(&c, "idle-timeout", "1e9", &err), RKF_INVALID, "allowed");
    refused(server_config_set(&c, "idle-timeout", "-1", &err), RKF_INVALID, "seconds");
}

static void file(void **state)
{
    (void)state;
    assert_int_equal(server_config_set(&c, "cache", "1KiB", &err), RKF_OK); /* the command line goes first */
    assert_int_equal(server_config_set(&c, "listen", ":1", &err), RKF_OK);
    assert_int_equal(parse("# all of it\n"
                           "listen: [\":2\", \":3\"]\n"
                           "cache: 1G\n"
                           "max_client_batch_size: 12\n"
                           "json-log: yes\n"
                           "cors-allow-origin: https://a.example\n"
                           "models:\n"
                           "  - path: dir/one\n"
                           "    name: 'first: of all'\n"
                           "    exclusive: true\n"
                           "  - second=dir/two,mask=2\n"),
                     RKF_OK);
    assert_int_equal(c.listen.n, 1);
    assert_string_equal(c.listen.p[0], ":1");
    assert_int_equal(c.cache_bytes, 1024);
    assert_int_equal(c.max_batch, 12);
    assert_true(c.json_log);
    assert_int_equal(c.cors.n, 1);
    assert_int_equal(c.n_models, 2);
    assert_string_equal(c.models[0].open.name, "first: of all");
    assert_true(c.models[0].open.exclusive);
    assert_string_equal(c.models[1].open.core_mask, "2");
    assert_int_equal(parse(""), RKF_OK);
    assert_int_equal(parse("# nothing\n"), RKF_OK);
}

static void bad_files(void **state)
{
    static const struct {
        const char *text, *words;
    } bad[] = {
        { "a: [", "serve.yaml is not YAML" },
        { "\t- x", "not YAML" },
        { "- a", "names and values" },
        { "word", "names and values" },
        { "colour: red", "serve.yaml, line 1: unknown setting 'colour'" },
        { "\n\ncache: lots", "serve.yaml, line 3" },
        { "cache: [1, 2]", "one value" },
        { "listen: {a: b}", "one value" },
        { "listen: [[a]]", "a list of strings" },
        { "[a]: b", "a name" },
        { "models: x", "a list of models" },
        { "models: [[x]]", "a string as for -m" },
        { "models:\n  - name: x", "line 2: expected a path" },
        { "models:\n  - path: x\n    mask: {}", "one value" },
        { "cache: \"a\\0b\"", "one value" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rkf_status rc = parse(bad[i].text);
        if (!rc || !strstr(err.message, bad[i].words))
            fail_msg("%s: %d '%s', expected '%s'", bad[i].text, rc, err.message, bad[i].words);
    }
    refused(server_config_load(&c, "/nonexistent/serve.yaml", &err), RKF_NOT_FOUND, "/nonexistent/serve.yaml");
}

static void allocation_failures(void **state)
{
    rkf_status rc = RKF_NO_MEMORY;
    (void)state;
    for (int n = 0; rc == RKF_NO_MEMORY; n++) {
        assert_true(n < 1000);
        server_config_free(&c);
        mem_fail_after(n);
        rc = parse("listen: [\":2\"]\nmodels:\n  - path: dir/one\n    name: x\n  - y=z,mask=1\ntls-cert: c\n");
        mem_fail_after(-1);
    }
    assert_int_equal(rc, RKF_OK);
    assert_int_equal(c.n_models, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(models, fresh, tidy),
        cmocka_unit_test_setup_teardown(bad_models, fresh, tidy),
        cmocka_unit_test_setup_teardown(settings, fresh, tidy),
        cmocka_unit_test_setup_teardown(file, fresh, tidy),
        cmocka_unit_test_setup_teardown(bad_files, fresh, tidy),
        cmocka_unit_test_setup_teardown(allocation_failures, fresh, tidy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
