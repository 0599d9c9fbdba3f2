/* SPDX-License-Identifier: Apache-2.0 */
/* Model cards: what PyYAML says of the same text (tests/base/make_front_matter.py prints these lines). */
#include "base/front_matter.h"
#include "base/mem.h"
#include "test.h"

enum { MOST = 4 };

static const struct {
    const char *text, *values[MOST];
} cases[] = {
    { "---\nlicense: mit\nbase_model: a/b # why\n---\n# base_model: no\n", { "a/b" } },
    { "---\nbase_model:\n- a/b\n- 'c/d'   # x\ntags:\n- x\n---\n", { "a/b", "c/d" } },
    { "---\r\nbase_model:\r\n  - \"a/b\"\r\n  - c/d\r\n---\r\ntext", { "a/b", "c/d" } },
    { "---\nbase_model: [a/b, \"c/d\",\n  e/f ]\n---\n", { "a/b", "c/d", "e/f" } },
    { "---\nbase_model:\n  a/b\nx: y\n---\n", { "a/b" } },
    { "---\nbase_model: >-\n  a/b\nx: y\n---\n", { "a/b" } },
    { "---\nbase_model: |-\n  a/b\n---\n", { "a/b" } },
    { "---\nbase_model_relation: quantized\nbase_model: a/b\n---\n", { "a/b" } },
    { "---\nbase_model: null\n---\n", { NULL } },
    { "---\nbase_model: ~\n---\n", { NULL } },
    { "---\nbase_model:\nlicense: mit\n---\n", { NULL } },
    { "---\nbase_model: []\n---\n", { NULL } },
    { "---\nbase_model: {name: a/b}\n---\n", { NULL } },
    { "---\nbase_model:\n  name: a/b\n---\n", { NULL } },
    { "---\n# first\nbase_model:\n  # which\n  - a/b\n\n  - c/d\n---\n", { "a/b", "c/d" } },
    { "---\nbase_model: a/b#c\n---\n", { "a/b#c" } },
    { "---  \nbase_model:    a/b   \n---\n", { "a/b" } },
    { "---\nbase_model: 'a/b'\n---\n", { "a/b" } },
    { "---\nbase_model: a/b\n...\n", { "a/b" } },
};

static size_t values_of(const char *text, const char *key, char (*out)[FRONT_MATTER_VALUE], size_t max)
{
    size_t len = strlen(text);
    char *exact = mem_alloc(len + 1); /* so that a read past the end is seen */
    assert_non_null(exact);
    memcpy(exact, text, len);
    size_t n = front_matter_values(exact, len, key, out, max);
    mem_free(exact);
    return n;
}

static void like_pyyaml(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char got[MOST][FRONT_MATTER_VALUE];
        size_t n = values_of(cases[i].text, "base_model", got, MOST), want = 0;
        while (want < MOST && cases[i].values[want])
            want++;
        if (n != want)
            fail_msg("%zu values instead of %zu in:\n%s", n, want, cases[i].text);
        for (size_t k = 0; k < n; k++)
            assert_string_equal(got[k], cases[i].values[k]);
    }
}

/* Texts that YAML refuses, and those without front matter. */
static void nothing_there(void **state)
{
    static const char *const texts[] = {
        "",
        "---",
        "---\n",
        "# base_model: a/b\n",
        "text\n---\nbase_model: a/b\n---\n",
        "---\nbase_model:a/b\n---\n",
        "...\nbase_model: a/b\n",
        "--- x\nbase_model: a/b\n---\n",
        "---\nbase_model: \"a/b\n---\n",
        "---\nx: y\n---\nbase_model: a/b\n",
        "---\nbase_model: [\n---\n- a/b\n",
        "---\n base_model: a/b\n---\n",
        "---\nbase_model: &x a/b\n---\n",
    };
    char got[MOST][FRONT_MATTER_VALUE];
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (values_of(texts[i], "base_model", got, MOST))
            fail_msg("found %s in:\n%s", got[0], texts[i]);
}

static void limits(void **state)
{
    char got[MOST][FRONT_MATTER_VALUE], text[600] = "---\nk: ";
    (void)state;
    assert_int_equal(values_of("---\nk: [a, b, c]\n---\n", "k", got, 2), 2);
    memset(text + 7, 'x', 255);
    assert_int_equal(values_of(text, "k", got, MOST), 1);
    assert_int_equal(strlen(got[0]), 255);
    text[7 + 255] = 'x';
    assert_int_equal(values_of(text, "k", got, MOST), 0);
    assert_int_equal(front_matter_values("---\nk: a\0b\n---\n", 14, "k", got, MOST), 0);
}

static void base_models(void **state)
{
    static const char card[] = "---\nlibrary_name: rk-transformers\nbase_model: [org/a, /etc, ../b, c]\n---\n";
    static const char trained[] = "---\nbase_model: org/a\nbase_model_relation: finetune\n---\n";
    char got[MOST][FRONT_MATTER_VALUE];
    (void)state;
    assert_true(front_matter_says(card, sizeof card - 1, "library_name", "rk-transformers"));
    assert_false(front_matter_says(card, sizeof card - 1, "library_name", "transformers"));
    assert_int_equal(front_matter_bases(card, sizeof card - 1, got, MOST), 2);
    assert_string_equal(got[0], "org/a");
    assert_string_equal(got[1], "c");
    assert_int_equal(front_matter_bases(trained, sizeof trained - 1, got, MOST), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_pyyaml),
        cmocka_unit_test(nothing_there),
        cmocka_unit_test(limits),
        cmocka_unit_test(base_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
