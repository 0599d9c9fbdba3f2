/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation: checked products, the failing nth allocation, alignment; arenas. */
#include "base/mem.h"
#include "test.h"

static void products_are_checked(void **state)
{
    (void)state;
    volatile size_t half = SIZE_MAX / 2 + 1; /* volatile: the compiler must not see that this cannot work */
    assert_null(mem_array(half, 2));
    assert_null(mem_zalloc(half, 2));
    assert_null(mem_grow(NULL, half, 2));
    assert_null(mem_strndup("x", SIZE_MAX));
    assert_null(mem_alloc_aligned(SIZE_MAX - 100, 64));
    void *p = mem_array(0, 8); /* nothing is not out of memory */
    assert_non_null(p);
    p = mem_grow(p, 0, 8);
    assert_non_null(p);
    mem_free(p);
}

static void zalloc_is_zero_and_strings_are_copied(void **state)
{
    (void)state;
    unsigned char *p = mem_zalloc(1000, 3);
    assert_non_null(p);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(p[i], 0);
    mem_free(p);
    char *s = mem_strndup("abcdef", 3), *t = mem_strdup("abc");
    assert_string_equal(s, t);
    mem_free(s);
    mem_free(t);
}

static void the_nth_allocation_fails_and_all_after_it(void **state)
{
    (void)state;
    void *p[5];
    int64_t before = mem_count();
    mem_fail_after(2);
    for (int i = 0; i < 5; i++)
        p[i] = mem_alloc(8);
    mem_fail_after(-1);
    assert_int_equal(mem_count() - before, 5);
    assert_non_null(p[0]);
    assert_non_null(p[1]);
    for (int i = 2; i < 5; i++)
        assert_null(p[i]);
    mem_free(p[0]);
    mem_free(p[1]);
    char *s = mem_strdup("stays");
    mem_fail_after(0);
    assert_null(mem_grow(s, 100, 1));
    assert_null(mem_alloc_aligned(64, 64));
    assert_null(mem_zalloc(1, 1));
    mem_fail_after(-1);
    assert_string_equal(s, "stays");
    mem_free(s);
}

static void aligned_blocks(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, 64, 4096, 9 << 20 }, aligns[] = { 8, 64, 4096 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof aligns / sizeof *aligns; j++) {
            char *p = mem_alloc_aligned(sizes[i], aligns[j]);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % aligns[j], 0);
            memset(p, 1, sizes[i]);
            mem_free_aligned(p);
        }
}

/* Pieces are aligned, do not overlap, and keep what was written while the arena grows over several blocks. */
static void arena_pieces_stand_apart(void **state)
{
    (void)state;
    enum { N = 300 };
    struct arena a = { 0 };
    unsigned char *p[N];
    size_t size[N];
    uint64_t seed = 1;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) {
            size[i] = test_random(&seed) % 5000;
            p[i] = arena_alloc(&a, size[i]);
            assert_non_null(p[i]);
            assert_int_equal((uintptr_t)p[i] % 64, 0);
            memset(p[i], i & 255, size[i]);
        }
        for (int i = 0; i < N; i++)
            for (size_t k = 0; k < size[i]; k++)
                assert_int_equal(p[i][k], i & 255);
        arena_reset(&a);
    }
    arena_free(&a);
}

static void arena_is_silent_in_the_steady_state(void **state)
{
    (void)state;
    struct arena a = { 0 };
    for (int round = 0; round < 10; round++) {
        int64_t before = mem_count();
        for (int i = 0; i < 20; i++)
            assert_non_null(arena_array(&a, 1000, (size_t)(20 - i)));
        if (round > 0) /* the reset after the first round made one block of the right size */
            assert_int_equal(mem_count(), before);
        arena_reset(&a);
    }
    arena_free(&a);
}

/* Whichever of the parts needs the most next time, it is there. */
static void arena_parts_are_silent_in_turn(void **state)
{
    (void)state;
    struct arena a = { 0 };
    int64_t before = 0;
    for (uint32_t round = 0; round < 4; round++) {
        struct arena *parts = arena_parts(&a, 3);
        assert_non_null(parts);
        assert_non_null(arena_alloc(&parts[round % 3], 300000));
        assert_non_null(arena_alloc(&parts[(round + 1) % 3], 1000));
        assert_true(round == 0 || mem_count() == before);
        arena_reset(&a);
        before = mem_count();
    }
    arena_free(&a);
}

static void arena_out_of_memory(void **state)
{
    (void)state;
    struct arena a = { 0 };
    volatile size_t half = SIZE_MAX / 2 + 1;
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, half));
    assert_null(arena_array(&a, half, 2));
    char *p = arena_alloc(&a, 100);
    strcpy(p, "stays");
    mem_fail_after(0);
    assert_null(arena_alloc(&a, 1 << 20));
    mem_fail_after(-1);
    assert_string_equal(p, "stays");
    assert_non_null(arena_alloc(&a, 1 << 20));
    mem_fail_after(0);
    arena_reset(&a); /* cannot get the merged block: empty, but usable */
    mem_fail_after(-1);
    assert_non_null(arena_alloc(&a, 100));
    arena_free(&a);
    assert_null(a.blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_checked),
        cmocka_unit_test(zalloc_is_zero_and_strings_are_copied),
        cmocka_unit_test(the_nth_allocation_fails_and_all_after_it),
        cmocka_unit_test(aligned_blocks),
        cmocka_unit_test(arena_pieces_stand_apart),
        cmocka_unit_test(arena_is_silent_in_the_steady_state),
        cmocka_unit_test(arena_parts_are_silent_in_turn),
        cmocka_unit_test(arena_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
