/* SPDX-License-Identifier: Apache-2.0 */
/* Hub ids in a Hugging Face cache. */
#include "st_build.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static struct tmp_dir cache;
static char found[512];

static rkf_status locate(const char *id, const char *revision, rkf_error *err)
{
    memset(found, 0, sizeof found);
    return model_locate(id, revision, found, sizeof found, err);
}

static void make_repo(const char *repo, const char *ref)
{
    char path[256];
    snprintf(path, sizeof path, "%s", repo);
    tmp_sub(&cache, path);
    snprintf(path, sizeof path, "%s/refs", repo);
    tmp_sub(&cache, path);
    snprintf(path, sizeof path, "%s/snapshots", repo);
    tmp_sub(&cache, path);
    snprintf(path, sizeof path, "%s/snapshots/" COMMIT, repo);
    tmp_sub(&cache, path);
    snprintf(path, sizeof path, "%s/refs/%s", repo, ref);
    tmp_text(&cache, path, COMMIT "\n");
}

static int setup(void **state)
{
    (void)state;
    tmp_make(&cache);
    unsetenv("HUGGINGFACE_HUB_CACHE");
    unsetenv("HF_HOME");
    unsetenv("XDG_CACHE_HOME");
    setenv("HF_HUB_CACHE", cache.path, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tmp_remove(&cache);
    return 0;
}

static void test_found(void **state)
{
    (void)state;
    rkf_error err;
    char want[512];
    make_repo("models--org--some.name_1", "main");
    snprintf(want, sizeof want, "%s/models--org--some.name_1/snapshots/" COMMIT, cache.path);
    assert_ok(locate("org/some.name_1", NULL, &err));
    assert_string_equal(found, want);
    assert_ok(locate("org/some.name_1", COMMIT, &err)); /* a commit, without a ref */
    assert_string_equal(found, want);
    make_repo("models--sentence-transformers--all-MiniLM-L6-v2", "v1");
    assert_ok(locate("all-MiniLM-L6-v2", "v1", &err)); /* a name alone */
    assert_ok(locate("sentence-transformers/all-MiniLM-L6-v2", "v1", &err));
    assert_fails(locate("all-MiniLM-L6-v2", NULL, &err), RKF_NOT_FOUND, "revision main");
}

static void test_places(void **state)
{
    (void)state;
    rkf_error err;
    char dir[128];
    unsetenv("HF_HUB_CACHE");
    setenv("HF_HOME", cache.path, 1);
    tmp_sub(&cache, "hub");
    make_repo("hub/models--a--b", "main");
    assert_ok(locate("a/b", "", &err));
    unsetenv("HF_HOME");
    setenv("XDG_CACHE_HOME", cache.path, 1);
    tmp_sub(&cache, "huggingface");
    tmp_sub(&cache, "huggingface/hub");
    make_repo("huggingface/hub/models--c--d", "main");
    assert_ok(locate("c/d", NULL, &err));
    assert_true(model_cache_dir(dir, sizeof dir));
    assert_false(model_cache_dir(dir, 4));
}

static void test_directory(void **state)
{
    (void)state;
    rkf_error err;
    char small[4] = "abc";
    assert_ok(locate(cache.path, NULL, &err));
    assert_string_equal(found, cache.path);
    assert_fails(model_locate(cache.path, NULL, small, sizeof small, &err), RKF_INVALID, "too long");
    assert_ok(locate(TEST_DATA "/models/random/bert-cls/config.json", NULL, &err)); /* files are for others to judge */
}

static void test_not_found(void **state)
{
    (void)state;
    rkf_error err;
    assert_fails(locate("org/name", NULL, &err), RKF_NOT_FOUND, "rkformer pull org/name fetches it");
    assert_fails(locate("./here", NULL, &err), RKF_NOT_FOUND, "no model directory ./here");
    assert_fails(locate("/a/b", NULL, &err), RKF_NOT_FOUND, "no model directory");
    assert_fails(locate("a/b/c", NULL, &err), RKF_NOT_FOUND, "no model directory");
    assert_fails(locate("a/..", NULL, &err), RKF_NOT_FOUND, "no model directory");
    assert_fails(locate("a b", NULL, &err), RKF_NOT_FOUND, "no model directory");
    assert_fails(locate("", NULL, &err), RKF_NOT_FOUND, "no model directory");
    assert_fails(locate("org/name", "../../x", &err), RKF_INVALID, "revision");
    make_repo("models--org--name", "main");
    tmp_text(&cache, "models--org--name/refs/main", "../../../../etc");
    assert_fails(locate("org/name", NULL, &err), RKF_NOT_FOUND, "revision main");
    unsetenv("HF_HUB_CACHE");
    unsetenv("HOME");
    assert_fails(locate("org/name", NULL, &err), RKF_NOT_FOUND, "HF_HOME");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_found),
        TEST(test_places),
        TEST(test_directory),
        TEST(test_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
