/* SPDX-License-Identifier: Apache-2.0 */
/* Platform names, and every core mask against every platform with its exact words. */
#include "npu/npu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void names_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum platform_id id;
    } cases[] = {
        { "rk3588", PLATFORM_RK3588 }, { "RK3588", PLATFORM_RK3588 }, { "rk3588s", PLATFORM_RK3588 },
        { "rk3576", PLATFORM_RK3576 }, { "Rk3568", PLATFORM_RK3568 }, { "rk3566", PLATFORM_RK3566 },
        { "rk3562", PLATFORM_RK3562 }, { "cpu", PLATFORM_CPU },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct platform *p = NULL;
        assert_int_equal(platform_parse(cases[i].name, &p, NULL), RKF_OK);
        assert_ptr_equal(p, platform_get(cases[i].id));
        assert_int_equal(p->id, cases[i].id);
    }
    assert_null(platform_by_name("rk3588", 5)); /* only the bytes that are given */
    assert_null(platform_by_name("rk3588x", 7));
    assert_null(platform_by_name("", 0));
    assert_ptr_equal(platform_by_name("rk3588x", 6), platform_get(PLATFORM_RK3588));
}

static void auto_platform_is_null(void **state)
{
    (void)state;
    const struct platform *p = platform_get(PLATFORM_CPU);
    assert_int_equal(platform_parse("auto", &p, NULL), RKF_OK);
    assert_null(p);
    p = platform_get(PLATFORM_CPU);
    assert_int_equal(platform_parse(NULL, &p, NULL), RKF_OK);
    assert_null(p);
}

static void unknown_platform_is_named(void **state)
{
    (void)state;
    const struct platform *p = platform_get(PLATFORM_CPU);
    rkf_error err;
    assert_int_equal(platform_parse("rk3399", &p, &err), RKF_INVALID);
    assert_string_equal(err.message,
                        "unknown platform 'rk3399': use auto, rk3588, rk3576, rk3568, rk3566, rk3562 or cpu");
    assert_ptr_equal(p, platform_get(PLATFORM_CPU));
    assert_int_equal(platform_parse("", &p, NULL), RKF_INVALID);
}

/* -1: not available; else the cores */
static const struct {
    const char *mask;
    int cores[PLATFORM_COUNT];
} grid[] = {
    /*            cpu rk3588 rk3576 rk3568 rk3566 rk3562 */
    { "auto", { 7, 7, 3, 1, 1, 1 } },  { "0", { 1, 1, 1, 1, 1, 1 } },      { "1", { 2, 2, 2, -1, -1, -1 } },
    { "2", { 4, 4, -1, -1, -1, -1 } }, { "0_1", { 3, 3, 3, -1, -1, -1 } }, { "0_1_2", { 7, 7, -1, -1, -1, -1 } },
    { "all", { 7, 7, 3, 1, 1, 1 } },
};

static void every_mask_on_every_platform(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof grid / sizeof *grid; m++)
        for (int id = 0; id < PLATFORM_COUNT; id++) {
            struct core_mask mask = { .cores = 0xee };
            int want = grid[m].cores[id];
            rkf_status rc = core_mask_parse(grid[m].mask, platform_get((enum platform_id)id), &mask, NULL);
            assert_int_equal(rc, want < 0 ? RKF_UNAVAILABLE : RKF_OK);
            assert_int_equal(mask.cores, want < 0 ? 0xee : want); /* untouched on failure */
            if (want >= 0) {
                assert_string_equal(mask.name, grid[m].mask);
                assert_int_equal(mask.automatic, strcmp(grid[m].mask, "auto") == 0);
            }
        }
}

static void errors_word_for_word(void **state)
{
    (void)state;
    static const struct {
        const char *mask;
        enum platform_id id;
        rkf_status rc;
        const char *message;
    } cases[] = {
        { "2", PLATFORM_RK3576, RKF_UNAVAILABLE,
          "core mask '2' is not available on rk3576: it has 2 NPU cores; use auto, 0, 1, 0_1 or all" },
        { "0_1_2", PLATFORM_RK3576, RKF_UNAVAILABLE,
          "core mask '0_1_2' is not available on rk3576: it has 2 NPU cores; use auto, 0, 1, 0_1 or all" },
        { "1", PLATFORM_RK3566, RKF_UNAVAILABLE,
          "core mask '1' is not available on rk3566: it has 1 NPU core; use auto, 0 or all" },
        { "0_1", PLATFORM_RK3562, RKF_UNAVAILABLE,
          "core mask '0_1' is not available on rk3562: it has 1 NPU core; use auto, 0 or all" },
        { "x", PLATFORM_RK3588, RKF_INVALID, "unknown core mask 'x': use auto, 0, 1, 2, 0_1, 0_1_2 or all" },
        { "x", PLATFORM_RK3576, RKF_INVALID, "unknown core mask 'x': use auto, 0, 1, 0_1 or all" },
        { "x", PLATFORM_RK3568, RKF_INVALID, "unknown core mask 'x': use auto, 0 or all" },
        { "3", PLATFORM_CPU, RKF_INVALID, "unknown core mask '3': use auto, 0, 1, 2, 0_1, 0_1_2 or all" },
        { "", PLATFORM_CPU, RKF_INVALID, "unknown core mask '': use auto, 0, 1, 2, 0_1, 0_1_2 or all" },
        { "0_2", PLATFORM_RK3588, RKF_INVALID, "unknown core mask '0_2': use auto, 0, 1, 2, 0_1, 0_1_2 or all" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct core_mask mask;
        rkf_error err;
        assert_int_equal(core_mask_parse(cases[i].mask, platform_get(cases[i].id), &mask, &err), cases[i].rc);
        assert_string_equal(err.message, cases[i].message);
        assert_int_equal(err.status, cases[i].rc);
    }
}

static void no_mask_is_auto(void **state)
{
    (void)state;
    struct core_mask mask;
    assert_int_equal(core_mask_parse(NULL, platform_get(PLATFORM_RK3576), &mask, NULL), RKF_OK);
    assert_true(mask.automatic);
    assert_int_equal(mask.cores, 3);
    assert_string_equal(mask.name, "auto");
}

static void long_masks_are_cut_in_messages(void **state)
{
    (void)state;
    char text[4096];
    memset(text, 'z', sizeof text - 1);
    text[sizeof text - 1] = 0;
    struct core_mask mask;
    rkf_error err;
    assert_int_equal(core_mask_parse(text, platform_get(PLATFORM_RK3588), &mask, &err), RKF_INVALID);
    assert_non_null(strstr(err.message, "': use auto, 0, 1, 2, 0_1, 0_1_2 or all"));
}

static void lists_and_sets(void **state)
{
    (void)state;
    char list[64];
    core_mask_list(platform_get(PLATFORM_RK3588), list, sizeof list);
    assert_string_equal(list, "auto, 0, 1, 2, 0_1, 0_1_2 or all");
    char tiny[8];
    core_mask_list(platform_get(PLATFORM_RK3588), tiny, sizeof tiny); /* cut, not overrun */
    assert_true(strlen(tiny) < sizeof tiny);
    assert_string_equal(core_set_name(1), "0");
    assert_string_equal(core_set_name(3), "0_1");
    assert_string_equal(core_set_name(7), "0_1_2");
    assert_string_equal(core_set_name(5), "0,2");
    assert_string_equal(core_set_name(0), "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(auto_platform_is_null),
        cmocka_unit_test(unknown_platform_is_named),
        cmocka_unit_test(every_mask_on_every_platform),
        cmocka_unit_test(errors_word_for_word),
        cmocka_unit_test(no_mask_is_auto),
        cmocka_unit_test(long_masks_are_cut_in_messages),
        cmocka_unit_test(lists_and_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
