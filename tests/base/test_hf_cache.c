/* SPDX-License-Identifier: Apache-2.0 */
/* Names in the Hugging Face cache. Whole caches are in tests/model/test_locate.c. */
#include "base/hf_cache.h"
#include "test.h"

#include <stdlib.h>

static void ids(void **state)
{
    static const char *const good[] = { "a", "a/b", "org/name-1.5_x", "0/0" };
    static const char *const bad[] = {
        "", "/", "/a", "a/", "a/b/c", ".a", "a/..", "../a", "a b", "a\\b", "a:b", "a/b\n"
    };
    char folder[300];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(hf_id_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(hf_id_valid(bad[i]));
    assert_true(hf_repo_folder("org/name", folder, sizeof folder));
    assert_string_equal(folder, "models--org--name");
    assert_true(hf_repo_folder("name", folder, sizeof folder));
    assert_string_equal(folder, "models--name");
    assert_false(hf_repo_folder("org/name", folder, 17));
}

static void revisions(void **state)
{
    (void)state;
    assert_true(hf_revision_valid("main") && hf_revision_valid("refs/pr/1") && hf_revision_valid("v1.0+x"));
    assert_false(hf_revision_valid("") || hf_revision_valid("../x") || hf_revision_valid("/x") ||
                 hf_revision_valid("a b") || hf_revision_valid(".git") || hf_revision_valid("a?b"));
    assert_true(hf_commit_valid("0123456789abcdef0123456789abcdef01234567"));
    assert_false(hf_commit_valid("0123456789ABCDEF0123456789abcdef01234567") || hf_commit_valid("main") ||
                 hf_commit_valid("0123456789abcdef0123456789abcdef012345678"));
}

static void places(void **state)
{
    static const char *const variables[] = { "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME" };
    char dir[64];
    (void)state;
    for (size_t i = 0; i < 4; i++)
        unsetenv(variables[i]);
    setenv("HOME", "/h", 1);
    assert_true(hf_cache_dir(dir, sizeof dir));
    assert_string_equal(dir, "/h/.cache/huggingface/hub");
    assert_true(hf_home_dir(dir, sizeof dir));
    assert_string_equal(dir, "/h/.cache/huggingface");
    setenv("XDG_CACHE_HOME", "/x", 1);
    assert_true(hf_home_dir(dir, sizeof dir));
    assert_string_equal(dir, "/x/huggingface");
    setenv("HF_HOME", "~/hf", 1);
    assert_true(hf_cache_dir(dir, sizeof dir));
    assert_string_equal(dir, "/h/hf/hub");
    setenv("HF_HUB_CACHE", "/c", 1);
    assert_true(hf_cache_dir(dir, sizeof dir));
    assert_string_equal(dir, "/c");
    assert_false(hf_cache_dir(dir, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids),
        cmocka_unit_test(revisions),
        cmocka_unit_test(places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
