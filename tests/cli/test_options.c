/* SPDX-License-Identifier: Apache-2.0 */
/* Option parsing: every kind of value, the environment, texts among options, and the words of every mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cli/cli.h"

#define PARSE(command, o, err, ...) parse(command, (char *[]){ __VA_ARGS__, NULL }, o, err)

static rkf_status parse(const char *command, char **argv, struct options *o, rkf_error *err)
{
    int argc = 0;
    while (argv[argc])
        argc++;
    return options_parse(command_find(command), argc, argv, o, err);
}

static void values_of_every_kind(void **state)
{
    struct options o;
    (void)state;
    assert_int_equal(PARSE("embed", &o, NULL, "-m", "dir", "--core-mask=0_1", "--threads", "3", "--max-line", "2MiB",
                           "--timeout", "0.25", "--exclusive", "--no-normalize", "--chunk", "--pooling", "cls",
                           "--no-truncate", "--prompt", "", "--log-level=debug", "--batch-tokens=4096"),
                     RKF_OK);
    assert_string_equal(o.model.path, "dir");
    assert_string_equal(o.model.core_mask, "0_1");
    assert_int_equal(o.runtime.threads, 3);
    assert_int_equal(o.runtime.batch_tokens, 4096);
    assert_int_equal(o.runtime.log_level, RKF_LOG_DEBUG);
    assert_int_equal(o.max_line, 2 << 20);
    assert_int_equal(o.request.timeout_us, 250000);
    assert_true(o.model.exclusive);
    assert_int_equal(o.request.normalize, RKF_OFF);
    assert_int_equal(o.request.chunk, RKF_ON);
    assert_int_equal(o.request.pooling, RKF_POOLING_CLS);
    assert_int_equal(o.request.truncate, RKF_TRUNCATE_NONE);
    assert_non_null(o.request.prompt.ptr); /* empty is not the same as not given */
    assert_int_equal(o.request.prompt.len, 0);
    assert_null(o.request.prompt_name.ptr);
    assert_int_equal(o.n_texts, 0);
    options_free(&o);
}

static void defaults_leave_the_library_its_own(void **state)
{
    struct options o;
    (void)state;
    assert_int_equal(PARSE("embed", &o, NULL, "text"), RKF_OK);
    assert_int_equal(o.runtime.size, sizeof o.runtime);
    assert_int_equal(o.model.size, sizeof o.model);
    assert_int_equal(o.request.size, sizeof o.request);
    assert_null(o.model.core_mask);
    assert_int_equal(o.runtime.threads, 0);
    assert_int_equal(o.request.normalize, RKF_DEFAULT);
    assert_int_equal(o.runtime.log_level, RKF_LOG_WARN);
    assert_int_equal(o.max_line, 64 << 20);
    options_free(&o);
}

static void texts_among_options(void **state)
{
    struct options o;
    (void)state;
    assert_int_equal(PARSE("embed", &o, NULL, "one", "-m", "dir", "", "-", "--", "--threads", "-x", "--"), RKF_OK);
    assert_int_equal(o.n_texts, 6);
    assert_string_equal(o.texts[0], "one");
    assert_string_equal(o.texts[1], "");
    assert_string_equal(o.texts[2], "-");
    assert_string_equal(o.texts[3], "--threads");
    assert_string_equal(o.texts[4], "-x");
    assert_string_equal(o.texts[5], "--");
    options_free(&o);
}

static void letters(void **state)
{
    struct options o;
    (void)state;
    assert_int_equal(PARSE("rerank", &o, NULL, "-mdir", "-q", "-a query", "-k3", "-c=0"), RKF_OK);
    assert_string_equal(o.model.path, "dir");
    assert_string_equal(o.request.query.ptr, "-a query");
    assert_int_equal(o.request.top_k, 3);
    assert_string_equal(o.model.core_mask, "0");
    options_free(&o);
}

static void lists_add_up(void **state)
{
    struct options o;
    (void)state;
    assert_int_equal(PARSE("classify", &o, NULL, "--candidate-labels", "sport, politics,", "--candidate-labels=art"),
                     RKF_OK);
    assert_int_equal(o.labels.n, 3);
    assert_int_equal(o.labels.p[1].len, 8);
    assert_memory_equal(o.labels.p[1].ptr, "politics", 8);
    assert_memory_equal(o.labels.p[2].ptr, "art", 3);
    options_free(&o);
    assert_int_equal(PARSE("fill-mask", &o, NULL, "--targets", " Paris,Oslo"), RKF_OK); /* a space is part of a token */
    assert_int_equal(o.labels.n, 2);
    assert_int_equal(o.labels.p[0].len, 6);
    options_free(&o);
}

static void environment_comes_second(void **state)
{
    struct options o;
    rkf_error err;
    (void)state;
    setenv("RKFORMER_CORE_MASK", "2", 1);
    setenv("RKFORMER_THREADS", "5", 1);
    setenv("RKFORMER_NORMALIZE", "off", 1);
    setenv("RKFORMER_EXCLUSIVE", "1", 1);
    setenv("RKFORMER_NO_TRUNCATE", "0", 1);
    setenv("RKFORMER_DTYPE", "", 1);
    setenv("RKFORMER_TOP_K", "9", 1); /* not an option of embed */
    assert_int_equal(PARSE("embed", &o, NULL, "--threads=1"), RKF_OK);
    assert_string_equal(o.model.core_mask, "2");
    assert_int_equal(o.runtime.threads, 1);
    assert_int_equal(o.request.normalize, RKF_OFF);
    assert_true(o.model.exclusive);
    assert_int_equal(o.request.truncate, RKF_TRUNCATE_RIGHT);
    assert_null(o.model.dtype); /* empty is not set */
    assert_int_equal(o.request.top_k, 0);
    options_free(&o);

    setenv("RKFORMER_CANDIDATE_LABELS", "a,b", 1);
    assert_int_equal(PARSE("classify", &o, NULL, "--candidate-labels", "c"), RKF_OK);
    assert_int_equal(o.labels.n, 1);
    options_free(&o);

    setenv("RKFORMER_THREADS", "many", 1);
    assert_int_equal(PARSE("embed", &o, &err, "x"), RKF_INVALID);
    assert_string_equal(err.message, "RKFORMER_THREADS 'many' is not a whole number: use 1 to 4096");
    for (size_t i = 0; i < option_count; i++) {
        char name[64];
        option_env_name(&option_table[i], name, sizeof name);
        unsetenv(name);
    }
}

static void every_mistake_says_what_to_do(void **state)
{
    static const struct {
        const char *command, *argv[4], *message;
    } cases[] = {
        { "embed", { "--core-msk", "0" }, "unknown option --core-msk: did you mean --core-mask?" },
        { "embed", { "--platfrom=rk3588" }, "unknown option --platfrom: did you mean --platform?" },
        { "embed",
          { "--qqqqqqqqq" },
          "unknown option --qqqqqqqqq: see rkformer embed --help (texts that begin with - go after --)" },
        { "embed", { "-Z" }, "unknown option -Z: see rkformer embed --help (texts that begin with - go after --)" },
        { "embed", { "--query", "x" }, "embed has no option --query: see rkformer embed --help" },
        { "embed", { "--no-exclusive" }, NULL },
        { "embed", { "--model" }, "--model needs a value: see rkformer embed --help" },
        { "embed", { "-m" }, "-m needs a value: see rkformer embed --help" },
        { "embed", { "--exclusive=yes" }, "--exclusive takes no value" },
        { "embed", { "--threads", "0" }, "--threads '0' is out of range: use 1 to 4096" },
        { "embed",
          { "--threads", "99999999999999999999" },
          "--threads '99999999999999999999' is not a whole number: use 1 to 4096" },
        { "embed", { "--threads", "2x" }, "--threads '2x' is not a whole number: use 1 to 4096" },
        { "embed", { "--threads", "" }, "--threads '' is not a whole number: use 1 to 4096" },
        { "embed",
          { "--max-line", "8TB" },
          "--max-line '8TB' is no size: give bytes, or a number with KiB, MiB or GiB" },
        { "embed", { "--max-line", "9000G" }, "--max-line '9000G' is out of range: use 1 to 4GiB" },
        { "embed", { "--timeout", "nan" }, "--timeout 'nan' is no number of seconds: give one like 0.5" },
        { "embed", { "--timeout", "-1" }, "--timeout '-1' is no number of seconds: give one like 0.5" },
        { "embed",
          { "--precision", "int4" },
          "unknown value 'int4' of --precision: use float32, int8, uint8, binary or ubinary" },
        { "embed", { "--format=csv" }, "unknown value 'csv' of --format: use json, npy or f32" },
        { "ner",
          { "--aggregation", "" },
          "unknown value '' of --aggregation: use simple, first, average, max or none" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct options o;
        rkf_error err;
        int argc = 0;
        while (cases[i].argv[argc])
            argc++;
        assert_int_equal(
            options_parse(command_find(cases[i].command), argc, (char **)(uintptr_t)cases[i].argv, &o, &err),
            RKF_INVALID);
        if (cases[i].message)
            assert_string_equal(err.message, cases[i].message);
    }
}

/* A name or letter means one thing per command, every option can be described, and every command takes help. */
static void the_table_is_sound(void **state)
{
    (void)state;
    for (size_t c = 0; command_at(c); c++) {
        assert_non_null(command_at(c)->run);
        for (size_t i = 0; i < option_count; i++) {
            const struct option *a = &option_table[i];
            assert_non_null(a->help);
            assert_true(!option_takes_value(a) || a->value || a->choices);
            for (size_t k = i + 1; k < option_count; k++) {
                const struct option *b = &option_table[k];
                if (!option_belongs(a, command_at(c)) || !option_belongs(b, command_at(c)))
                    continue;
                assert_string_not_equal(a->name, b->name);
                assert_true(!a->letter || a->letter != b->letter);
            }
        }
    }
}

static void unknown_commands(void **state)
{
    rkf_error err;
    (void)state;
    assert_int_equal(command_unknown("embd", &err), RKF_INVALID);
    assert_string_equal(err.message, "unknown command 'embd': did you mean 'embed'?");
    assert_int_equal(command_unknown("fil-maks", &err), RKF_INVALID);
    assert_string_equal(err.message, "unknown command 'fil-maks': did you mean 'fill-mask'?");
    assert_int_equal(command_unknown("xyzzy plugh", &err), RKF_INVALID);
    assert_string_equal(err.message, "unknown command 'xyzzy plugh': rkformer --help lists them");
    assert_int_equal(command_unknown("-m", &err), RKF_INVALID);
    assert_string_equal(err.message, "the command comes first: rkformer COMMAND -m ..., see rkformer --help");
}

static void distances(void **state)
{
    (void)state;
    assert_int_equal(word_distance("embed", "embed"), 0);
    assert_int_equal(word_distance("embde", "embed"), 1); /* a swap */
    assert_int_equal(word_distance("", "abc"), 3);
    assert_int_equal(word_distance("kitten", "sitting"), 3);
}

static void out_of_memory_is_an_error(void **state)
{
    (void)state;
    for (int64_t n = 0;; n++) {
        struct options o;
        rkf_error err;
        mem_fail_after(n);
        rkf_status rc = PARSE("classify", &o, &err, "text", "--candidate-labels", "a,b", "--candidate-labels", "c");
        mem_fail_after(-1);
        if (!rc) {
            options_free(&o);
            assert_true(n > 0);
            return;
        }
        assert_int_equal(rc, RKF_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_kind),
        cmocka_unit_test(defaults_leave_the_library_its_own),
        cmocka_unit_test(texts_among_options),
        cmocka_unit_test(letters),
        cmocka_unit_test(lists_add_up),
        cmocka_unit_test(environment_comes_second),
        cmocka_unit_test(every_mistake_says_what_to_do),
        cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(unknown_commands),
        cmocka_unit_test(distances),
        cmocka_unit_test(out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
