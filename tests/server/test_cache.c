/* SPDX-License-Identifier: Apache-2.0 */
/* The result cache: whole keys, least recently used first out, a bound that holds, entries that outlive their place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "server/cache.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { DIM = 16 };

static struct cache *make(size_t max_bytes)
{
    struct cache *c = NULL;
    assert_int_equal(cache_create(max_bytes, &c, NULL), RKF_OK);
    return c;
}

/* Every number of entry n is n. */
static void put(struct cache *c, const char *key, int n)
{
    float data[DIM]; // [DIM]
    for (int i = 0; i < DIM; i++)
        data[i] = (float)n;
    cache_put(c, key, strlen(key), &(struct cached){ .tokens = n, .truncated = n % 2, .dim = DIM, .data = data });
}

/* -1: not there. */
static int get(struct cache *c, const char *key)
{
    const struct cached *e = cache_get(c, key, strlen(key));
    if (!e)
        return -1;
    int n = (int)e->tokens;
    assert_int_equal(e->dim, DIM);
    assert_int_equal(e->truncated, n % 2);
    for (int i = 0; i < DIM; i++)
        assert_true(e->data[i] == (float)n);
    cache_release(c, e);
    return n;
}

static void remembers(void **state)
{
    struct cache *c = make(1 << 20);
    (void)state;
    assert_int_equal(get(c, "a"), -1);
    put(c, "a", 1);
    put(c, "a\1", 2);
    put(c, "", 3);
    put(c, "12345678", 4);
    put(c, "12345679", 5);
    put(c, "a", 6); /* who was first stays: equal keys have equal answers */
    assert_int_equal(get(c, "a"), 1);
    assert_int_equal(get(c, "a\1"), 2);
    assert_int_equal(get(c, ""), 3);
    assert_int_equal(get(c, "12345678"), 4);
    assert_int_equal(get(c, "12345679"), 5);
    assert_null(cache_get(c, "a\0", 2)); /* lengths count */
    cache_destroy(c);
    cache_destroy(NULL);
}

static void forgets_the_oldest(void **state)
{
    struct cache *c = make(4096);
    char key[16];
    (void)state;
    put(c, "dear", 1000);
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "%d", i);
        put(c, key, i);
        assert_true(cache_bytes(c) <= 4096);
        assert_int_equal(get(c, "dear"), 1000); /* used all the time: it stays */
        assert_int_equal(get(c, key), i);
    }
    assert_int_equal(get(c, "0"), -1);
    assert_int_equal(get(c, "498"), 498);
    cache_destroy(c);
}

static void nothing_fits(void **state)
{
    struct cache *c = make(64);
    (void)state;
    put(c, "a", 1);
    assert_int_equal(get(c, "a"), -1);
    assert_int_equal(cache_bytes(c), 0);
    cache_destroy(c);
}

static void many(void **state)
{
    struct cache *c = make(64 << 20);
    char key[32];
    (void)state;
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "a longer key %d", i);
        put(c, key, i);
    }
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "a longer key %d", i);
        assert_int_equal(get(c, key), i);
    }
    cache_destroy(c);
}

static void held_entries_outlive_their_place(void **state)
{
    struct cache *c = make(2048);
    char key[16];
    (void)state;
    put(c, "held", 7);
    const struct cached *e = cache_get(c, "held", 4);
    assert_non_null(e);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "%d", i);
        put(c, key, i);
    }
    assert_int_equal(get(c, "held"), -1);
    assert_true(e->data[0] == 7 && e->data[DIM - 1] == 7);
    put(c, "held", 8);
    assert_int_equal(get(c, "held"), 8);
    assert_true(e->data[0] == 7);
    cache_release(c, e);
    cache_destroy(c);
}

static void *hammer(void *arg)
{
    char key[16];
    uint32_t r = 1;
    for (int i = 0; i < 3000; i++) {
        r = r * 1664525 + 1013904223;
        int n = (int)(r >> 24);
        snprintf(key, sizeof key, "%d", n);
        int got = get(arg, key);
        if (got < 0)
            put(arg, key, n);
        else
            assert_int_equal(got, n);
    }
    return NULL;
}

static void threads(void **state)
{
    struct cache *c = make(8192);
    pthread_t t[4];
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hammer, c), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    assert_true(cache_bytes(c) <= 8192);
    cache_destroy(c);
}

static void allocation_failures(void **state)
{
    struct cache *c = NULL;
    char key[16];
    (void)state;
    for (int n = 0; n < 2; n++) {
        mem_fail_after(n);
        assert_int_equal(cache_create(4096, &c, NULL), RKF_NO_MEMORY);
        mem_fail_after(-1);
        assert_null(c);
    }
    c = make(1 << 20);
    for (int i = 0; i < 200; i++) { /* an entry, or a larger table, for which there is no memory */
        snprintf(key, sizeof key, "%d", i);
        mem_fail_after(i % 2);
        put(c, key, i);
        mem_fail_after(-1);
        assert_int_equal(get(c, key), i % 2 ? i : -1);
    }
    cache_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remembers),
        cmocka_unit_test(forgets_the_oldest),
        cmocka_unit_test(nothing_fits),
        cmocka_unit_test(many),
        cmocka_unit_test(held_entries_outlive_their_place),
        cmocka_unit_test(threads),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
