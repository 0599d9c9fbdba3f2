/* SPDX-License-Identifier: Apache-2.0 */
/* The judge of the ways to part cores: that it finds the best, for every number of cores and requests, whatever edges
 * the turns have; that it does not stay with what has become bad; that idle time counts against nobody. */
#include "npu/parting.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A load of runs, one after another in each exec of a way, of `requests` requests in all. */
struct play {
    struct parting_judge judge;
    int64_t now;
    uint32_t cores;
    bool joined;
    float requests;
    float speed[PARTINGS]; /* work per us of each way */
    uint64_t chosen[PARTINGS];
    uint64_t seed;
    struct {
        int64_t began, ends;
        uint32_t ticket;
        double work, rate; /* rate: work per us */
    } run[6];
    uint32_t n_runs;
};

static double part_of(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (double)(*s >> 11) / 9007199254740992.0;
}

/* As many runs as the way has execs are kept in flight; each takes the time that its work does at the way's speed. */
static void play(struct play *p, uint32_t runs)
{
    while (!(p->judge.usual > 0))
        parting_text(&p->judge, 20);
    parting_note(&p->judge, true, p->now);
    while (runs) {
        uint8_t way = parting_choose(&p->judge, p->cores, p->joined, p->requests, p->now);
        assert_in_range(way, 1, PARTINGS);
        const struct parting *w = &partings[way - 1];
        uint32_t execs = w->lanes * (w->gather ? 1u : 2u);
        while (p->n_runs < execs) {
            double work = (0.5 + part_of(&p->seed)) * p->requests;
            int64_t takes = (int64_t)(1000 * work * execs / p->speed[way - 1]);
            p->run[p->n_runs].ticket = parting_began(&p->judge, true, p->now);
            p->run[p->n_runs].began = p->now;
            p->run[p->n_runs].ends = p->now + takes;
            p->run[p->n_runs].rate = p->speed[way - 1] / (float)execs;
            p->run[p->n_runs++].work = work;
        }
        uint32_t first = 0;
        for (uint32_t i = 1; i < p->n_runs; i++)
            first = p->run[i].ends < p->run[first].ends ? i : first;
        p->now = p->run[first].ends;
        uint32_t n = (uint32_t)ceilf(p->requests / (float)execs);
        parting_ended(&p->judge, p->run[first].ticket, p->run[first].began, n, p->run[first].work, p->now);
        p->chosen[way - 1] += n;
        p->run[first] = p->run[--p->n_runs];
        runs--;
    }
}

/* Those in flight end now, however far they are. */
static void drain(struct play *p)
{
    for (uint32_t i = 0; i < p->n_runs; i++)
        p->now = p->run[i].ends > p->now ? p->run[i].ends : p->now;
    while (p->n_runs--)
        parting_ended(&p->judge, p->run[p->n_runs].ticket, p->run[p->n_runs].began, 8,
                      (double)(p->now - p->run[p->n_runs].began) / 1000 * p->run[p->n_runs].rate, p->now);
    p->n_runs = 0;
}

static void forget(struct play *p)
{
    for (int i = 0; i < PARTINGS; i++)
        p->chosen[i] = 0;
}

static double part_chosen(const struct play *p, int way)
{
    double all = 0;
    for (int i = 0; i < PARTINGS; i++)
        all += (double)p->chosen[i];
    return (double)p->chosen[way] / all;
}

static void whichever_is_best_is_found(void **state)
{
    (void)state;
    for (int best = 0; best < PARTINGS; best++) {
        struct play p = { .cores = partings[best].of_cores, .requests = 8, .seed = 77 + (uint64_t)best };
        for (int i = 0; i < PARTINGS; i++)
            p.speed[i] = i == best ? 1 : 0.8f;
        play(&p, 1500);
        forget(&p);
        play(&p, 1500);
        assert_true(part_chosen(&p, best) > 0.9);
    }
}

/* As many as the way's runs need: nothing is concluded from where a turn was cut. */
static void turns_measure_what_is_delivered(void **state)
{
    (void)state;
    for (int way = 0; way < PARTINGS; way++) {
        struct play p = { .cores = partings[way].of_cores, .requests = 8, .seed = 5 };
        for (int i = 0; i < PARTINGS; i++)
            p.speed[i] = 0.3f + 0.02f * (float)i;
        play(&p, 600);
        const struct parting_score *s = &p.judge.score[4][way];
        if (!(fabsf(s->speed / p.speed[way] - 1) < 0.12f))
            fail_msg("way %d: %.3f, it is %.3f", way, (double)s->speed, (double)p.speed[way]);
    }
}

static void only_ways_for_the_cores_that_there_are(void **state)
{
    (void)state;
    struct play p = { .requests = 64, .seed = 3 };
    for (int i = 0; i < PARTINGS; i++)
        p.speed[i] = 1;
    for (p.cores = 1; p.cores <= 3; p.cores++) {
        forget(&p);
        play(&p, 500); /* a core may fall sick at any time: the judge is the same */
        for (int i = 0; i < PARTINGS; i++)
            assert_true(!p.chosen[i] || partings[i].of_cores == p.cores);
    }
    p.joined = true;
    for (p.cores = 1; p.cores <= 3; p.cores++) {
        forget(&p);
        play(&p, 500);
        for (int i = 0; i < PARTINGS; i++)
            assert_true(!p.chosen[i] || (partings[i].lanes == 1 && partings[i].size[0] == p.cores));
    }
    assert_int_equal(parting_choose(&p.judge, 0, false, 3, p.now), 0);
}

static void loads_are_judged_apart(void **state)
{
    (void)state;
    struct play p = { .cores = 3, .seed = 9 };
    for (int round = 0; round < 6; round++) {
        bool few = round % 2 == 0;
        p.requests = few ? 2 : 40;
        for (int i = 0; i < PARTINGS; i++)
            p.speed[i] = i == (few ? 6 : 7) ? 1 : 0.8f;
        forget(&p);
        play(&p, 3000);
        assert_true(round < 2 || part_chosen(&p, few ? 6 : 7) > 0.9);
    }
}

static void what_has_become_bad_is_left(void **state)
{
    (void)state;
    struct play p = { .cores = 3, .requests = 8, .seed = 11 };
    for (int i = 0; i < PARTINGS; i++)
        p.speed[i] = i == 8 ? 1 : 0.7f;
    play(&p, 20000);
    p.speed[8] = 0.5f; /* another model came, the clock fell */
    play(&p, 1500);
    forget(&p);
    play(&p, 1500);
    assert_true(part_chosen(&p, 8) < 0.1);
}

static void idle_time_counts_against_nobody(void **state)
{
    (void)state;
    struct play p = { .cores = 1, .requests = 8, .seed = 13 };
    for (int i = 0; i < PARTINGS; i++)
        p.speed[i] = 0.5f;
    for (int i = 0; i < 200; i++) {
        play(&p, 3);
        drain(&p);
        parting_note(&p.judge, false, p.now);
        p.now += 1000000000;
    }
    const struct parting_score *s = &p.judge.score[4][0];
    assert_true(s->speed > 0.3f);
}

/* Runs that were not parted, for another model wanted the cores, say nothing of the way. */
static void what_was_not_parted_does_not_count(void **state)
{
    (void)state;
    struct play p = { .cores = 3, .requests = 8, .seed = 15 };
    for (int i = 0; i < PARTINGS; i++)
        p.speed[i] = i == 7 ? 1 : 0.8f;
    play(&p, 4000);
    drain(&p);
    uint8_t first = parting_choose(&p.judge, 3, false, 8, p.now);
    for (int i = 0; i < 1000; i++) {
        uint8_t way = parting_choose(&p.judge, 3, false, 8, p.now);
        uint32_t ticket = parting_began(&p.judge, false, p.now);
        p.now += 1000000;
        parting_ended(&p.judge, ticket, p.now - 1000000, 8, 100, p.now);
        assert_int_equal(way, first);
    }
    for (int i = 0; i < PARTINGS; i++)
        assert_true(!(p.judge.score[4][i].speed > 1.2f));
    forget(&p);
    play(&p, 1500);
    assert_true(part_chosen(&p, 7) > 0.9);
}

/* A run that failed did no work, and nothing is divided by what is not there. */
static void failed_runs_do_no_harm(void **state)
{
    (void)state;
    struct parting_judge j = { 0 };
    parting_note(&j, true, 0);
    for (int64_t now = 0; now < 1000; now++) {
        uint8_t way = parting_choose(&j, 3, false, 4, now);
        assert_in_range(way, 1, PARTINGS);
        uint32_t ticket = parting_began(&j, true, now);
        parting_ended(&j, ticket, now, 0, 0, now + 1);
    }
    for (int i = 0; i < PARTINGS; i++)
        assert_true(isfinite(j.score[3][i].speed) && isfinite(j.score[3][i].requests));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whichever_is_best_is_found),
        cmocka_unit_test(turns_measure_what_is_delivered),
        cmocka_unit_test(only_ways_for_the_cores_that_there_are),
        cmocka_unit_test(loads_are_judged_apart),
        cmocka_unit_test(what_has_become_bad_is_left),
        cmocka_unit_test(idle_time_counts_against_nobody),
        cmocka_unit_test(what_was_not_parted_does_not_count),
        cmocka_unit_test(failed_runs_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
