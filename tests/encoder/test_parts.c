/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that take sequences each for themselves: the same rows, to the bit, as one thread that takes all at once. */
#include "enc_test_util.h"

static struct test_batch batch;

static void add_random(uint32_t n)
{
    int32_t ids[600];
    uint8_t types[600];
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = 5 + rand() % 40;
        types[i] = (uint8_t)(i > n / 2);
    }
    batch_add(&batch, ids, types, n);
}

static void many_lengths(void)
{
    batch_clear(&batch);
    for (uint32_t i = 0; i < 40; i++)
        add_random(1 + (uint32_t)rand() % 60);
}

static void even_lengths(void)
{
    batch_clear(&batch);
    for (uint32_t i = 0; i < 24; i++)
        add_random(60);
}

/* One is left over, which the threads run together after their parts. */
static void one_too_many(void)
{
    batch_clear(&batch);
    for (uint32_t i = 0; i < 13; i++)
        add_random(75);
}

/* One share would have nearly all the work: the threads run this one together. */
static void one_long(void)
{
    batch_clear(&batch);
    add_random(60);
    for (uint32_t i = 0; i < 80; i++)
        add_random(1 + i % 2);
}

static void check(const char *name, enum dtype type, int threads, void (*fill)(void), bool first_only)
{
    char path[512];
    rkf_error err;
    struct rows one, many;
    struct rig alone, team;
    snprintf(path, sizeof path, TEST_DATA "/models/random/%s", name);
    fill();
    batch.b.first_only = first_only;
    rig_start(&alone, 1);
    alone.x.uneven = true; /* all at once, not in parts */
    rig_start(&team, threads);
    assert_ok(rig_load(&alone, path, type, &err));
    assert_ok(rig_load(&team, path, type, &err));
    arena_reset(&alone.x.scratch);
    assert_ok(alone.body->ops->run(alone.body, &alone.x, &batch.b, &one, &err));
    for (int round = 0; round < 3; round++) {
        arena_reset(&team.x.scratch);
        int64_t before = mem_count();
        assert_ok(team.body->ops->run(team.body, &team.x, &batch.b, &many, &err));
        assert_true(round < 2 || mem_count() == before);
        assert_int_equal(many.rows, one.rows);
        assert_int_equal(many.per_token, one.per_token);
        assert_memory_equal(many.data, one.data, (size_t)one.rows * one.cols * sizeof(float));
    }
    rig_stop(&team);
    rig_stop(&alone);
}

static void test_equal(void **state)
{
    (void)state;
    static const char *const names[] = { "bert-cls", "modernbert", "deberta-v2", "xlmr-rerank" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        check(names[i], DTYPE_F32, 2, many_lengths, false);
        check(names[i], DTYPE_F32, 3, even_lengths, true);
        check(names[i], DTYPE_F32, 3, one_long, false);
        check(names[i], DTYPE_F32, 2 + (int)i % 2, one_too_many, i < 2);
    }
    check("bert-cls", DTYPE_F32, 2, many_lengths, true);
    check("bert-cls", DTYPE_I8, 2, one_too_many, false);
    check("bert-cls", DTYPE_F32, 1, many_lengths, false);
    check("bert-cls", DTYPE_I8, 1, one_too_many, true);
}

/* The deadline is that of the run, whichever thread meets it. */
static void test_deadline(void **state)
{
    (void)state;
    rkf_error err;
    struct rows out;
    struct rig rig;
    many_lengths();
    rig_start(&rig, 2);
    assert_ok(rig_load(&rig, TEST_DATA "/models/random/bert-cls", DTYPE_F32, &err));
    rig.x.deadline_ns = time_now_ns() - 1;
    assert_fails(rig.body->ops->run(rig.body, &rig.x, &batch.b, &out, &err), RKF_DEADLINE, "deadline");
    rig_stop(&rig);
}

/* Every allocation of a run in parts and a rest fails once. */
static void test_out_of_memory(void **state)
{
    (void)state;
    rkf_error err;
    struct rows out;
    struct rig rig;
    one_too_many();
    rig_start(&rig, 2);
    assert_ok(rig_load(&rig, TEST_DATA "/models/random/bert-cls", DTYPE_F32, &err));
    for (int64_t n = 0;; n++) {
        arena_free(&rig.x.scratch);
        mem_fail_after(n);
        rkf_status rc = rig.body->ops->run(rig.body, &rig.x, &batch.b, &out, &err);
        mem_fail_after(-1);
        if (!rc) {
            assert_true(n > 4);
            break;
        }
        assert_int_equal(rc, RKF_NO_MEMORY);
        assert_int_equal(err.status, RKF_NO_MEMORY);
    }
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_equal), cmocka_unit_test(test_deadline),
                                        cmocka_unit_test(test_out_of_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
