/* SPDX-License-Identifier: Apache-2.0 */
/* Placement: each rule alone, then random load in a simulation with its invariants, then `auto` against the best
 * placement made by hand. */
#include "placement_sim.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* ---- rules, one by one */

static struct place_in idle_npu(uint32_t n_cores, const struct place_model *m, uint32_t nm,
                                const struct place_waiting *w, uint32_t nw)
{
    struct place_in in = { .now_ns = 1000000, .n_cores = n_cores };
    for (uint32_t i = 0; i < n_cores; i++)
        in.core[i].depth = 1;
    in.models = m;
    in.n_models = nm;
    in.waiting = w;
    in.n_waiting = nw;
    return in;
}

static void occupy(struct place_in *in, uint8_t cores, int64_t free_at_us)
{
    for (uint32_t i = 0; i < in->n_cores; i++)
        if (cores >> i & 1) {
            in->core[i].runs = 1;
            in->core[i].free_at_ns = in->now_ns + free_at_us * 1000;
        }
}

static void nothing_waits_nothing_runs(void **state)
{
    (void)state;
    struct place_model m = { .cores = 7, .automatic = true };
    struct place_in in = idle_npu(3, &m, 1, NULL, 0);
    struct place_out out = { .cores = 0xee };
    assert_false(place_next(&in, &out));
    assert_int_equal(out.cores, 0xee);
}

static void masks_get_exactly_their_cores(void **state)
{
    (void)state;
    for (uint8_t cores = 1; cores < 8; cores++) {
        struct place_model m = { .cores = cores };
        struct place_waiting w = { 0, 0, 0, { 100, 80, 60 } };
        struct place_in in = idle_npu(3, &m, 1, &w, 1);
        struct place_out out;
        assert_true(place_next(&in, &out));
        assert_int_equal(out.cores, cores);
        uint32_t n = (uint32_t)__builtin_popcount(cores);
        assert_int_equal(out.finish_ns, in.now_ns + 1000 * (int64_t)w.cost_us[n - 1]);
        for (uint8_t busy = 1; busy < 8; busy <<= 1) { /* all at once or none */
            in = idle_npu(3, &m, 1, &w, 1);
            occupy(&in, busy, 10);
            assert_int_equal(place_next(&in, &out), !(busy & cores));
        }
    }
}

static void auto_takes_the_lowest_idle_core(void **state)
{
    (void)state;
    struct place_model m = { .cores = 7, .automatic = true };
    struct place_waiting w = { 0, 0, 0, { 100, 80, 60 } };
    static const uint8_t want[8] = { 1, 2, 1, 4, 1, 2, 1, 0 }; /* by busy cores */
    for (uint8_t busy = 0; busy < 8; busy++) {
        struct place_in in = idle_npu(3, &m, 1, &w, 1);
        struct place_out out = { 0 };
        occupy(&in, busy, 10);
        assert_int_equal(place_next(&in, &out), want[busy] != 0);
        assert_int_equal(out.cores, want[busy]);
    }
}

static void auto_takes_the_earliest_finish_when_all_are_busy(void **state)
{
    (void)state;
    struct place_model m = { .cores = 7, .automatic = true, .joint_lanes = true };
    struct place_waiting w = { 0, 0, 0, { 100, 80, 60 } };
    struct place_in in = idle_npu(3, &m, 1, &w, 1);
    struct place_out out;
    for (int i = 0; i < 3; i++)
        in.core[i].depth = 2;
    occupy(&in, 1, 300);
    occupy(&in, 2, 200);
    occupy(&in, 4, 250);
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 2);
    assert_int_equal(out.finish_ns, in.now_ns + 300 * 1000);
    in.core[1].runs = 2; /* full */
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 4);
    in.core[0].runs = 0; /* idle comes first, even where the prediction of a busy one has passed */
    in.core[2].free_at_ns = 0;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 1);
}

static void auto_joins_idle_cores_for_one_stream_only(void **state)
{
    (void)state;
    struct place_model m[2] = { { .cores = 7, .automatic = true, .joint_lanes = true },
                                { .cores = 7, .automatic = true } };
    struct place_waiting w[2] = { { 0, 0, 0, { 100, 80, 60 } }, { 1, 0, 1, { 100, 80, 60 } } };
    struct place_in in = idle_npu(3, m, 2, w, 1);
    struct place_out out;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 7);
    in.n_waiting = 2; /* one more waits: one core stays free for it */
    assert_true(place_next(&in, &out));
    assert_int_equal(out.waiting, 0);
    assert_int_equal(out.cores, 3);
    in.n_waiting = 1;
    w[0].behind = 1;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 3);
    w[0].behind = 5;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 1);
    w[0].behind = 0;
    in.demand = 3; /* two more were here a moment ago */
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 1);
    in.demand = 0;
    m[0].joint_lanes = false;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 1);
    m[0].joint_lanes = true;
    w[0].cost_us[1] = w[0].cost_us[2] = 100; /* no gain: fewer cores */
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 1);
    w[0].cost_us[1] = 70;
    w[0].cost_us[2] = 75;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 3);
    memset(w[0].cost_us, 0, sizeof w[0].cost_us); /* nothing known */
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 1);
    assert_int_equal(out.finish_ns, in.now_ns + 1000 * 1000);
}

static void auto_leaves_waiting_pinned_models_their_core(void **state)
{
    (void)state;
    struct place_model m[2] = { { .cores = 7, .automatic = true }, { .cores = 1 } };
    struct place_waiting w[2] = { { 0, 0, 0, { 100 } }, { 1, 0, 5, { 100 } } };
    struct place_in in = idle_npu(3, m, 2, w, 2);
    struct place_out out;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.waiting, 0);
    assert_int_equal(out.cores, 2);
}

static void order_is_priority_then_age(void **state)
{
    (void)state;
    struct place_model m[3] = { { .cores = 1 }, { .cores = 1 }, { .cores = 1 } };
    struct place_waiting w[3] = { { 0, 0, 10, { 100 } }, { 1, 0, 5, { 100 } }, { 2, 1, 20, { 100 } } };
    struct place_in in = idle_npu(3, m, 3, w, 3);
    struct place_out out;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.waiting, 2);
    in.n_waiting = 2;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.waiting, 1);
    w[1].since_ns = 10;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.waiting, 0); /* the same age: the lower index */
}

static void joint_request_keeps_its_free_cores(void **state)
{
    (void)state;
    struct place_model m[4] = { { .cores = 3 }, { .cores = 2 }, { .cores = 7, .automatic = true }, { .cores = 6 } };
    struct place_waiting w[3] = { { 0, 0, 1, { 100 } }, { 1, 0, 2, { 100 } }, { 2, 0, 3, { 100 } } };
    struct place_in in = idle_npu(3, m, 4, w, 3);
    struct place_out out;
    occupy(&in, 1, 50);
    assert_true(place_next(&in, &out)); /* core 1 waits for core 0; auto goes to core 2 */
    assert_int_equal(out.waiting, 2);
    assert_int_equal(out.cores, 4);
    occupy(&in, 4, 50);
    assert_false(place_next(&in, &out));
    w[1].priority = 1; /* higher priority may pass */
    assert_true(place_next(&in, &out));
    assert_int_equal(out.waiting, 1);
    w[1].priority = -1; /* older but of lower priority may not */
    w[1].since_ns = 0;
    assert_false(place_next(&in, &out));
    w[1] = (struct place_waiting){ 3, 0, 2, { 100 } }; /* a younger joint request neither takes nor keeps cores */
    in.core[2].runs = 0;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.waiting, 2);
    assert_int_equal(out.cores, 4);
}

static void nobody_waits_for_sick_or_leased_cores(void **state)
{
    (void)state;
    struct place_model m[3] = { { .cores = 3 }, { .cores = 1 }, { .cores = 7, .automatic = true } };
    struct place_waiting w[3] = { { 0, 0, 1, { 100 } }, { 1, 0, 2, { 100 } }, { 2, 0, 3, { 100 } } };
    for (int kind = 0; kind < 2; kind++) {
        struct place_in in = idle_npu(3, m, 3, w, 3);
        struct place_out out;
        in.core[1].health = kind ? CORE_SICK : CORE_WELL;
        in.core[1].leased_away = !kind;
        assert_true(place_next(&in, &out)); /* 0_1 cannot run, and core 0 is not kept for it */
        assert_int_equal(out.waiting, 1);
        in.n_waiting = 1;
        assert_false(place_next(&in, &out));
        assert_int_equal(place_hopeless(&in, 0), kind); /* a lease ends, a sick core is the engine's matter */
        assert_false(place_hopeless(&in, 1));
        assert_false(place_hopeless(&in, 2));
        w[0].model = 2;
        in.core[0].leased_away = true;
        assert_true(place_next(&in, &out)); /* auto moves on */
        assert_int_equal(out.cores, 4);
        w[0].model = 0;
    }
}

static void whole_platform_is_one_lane(void **state)
{
    (void)state;
    struct place_model m = { .cores = 7, .automatic = true, .whole = true };
    struct place_waiting w = { 0, 0, 0, { 100 } };
    struct place_in in = idle_npu(3, &m, 1, &w, 1);
    struct place_out out;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 7);
    assert_int_equal(out.finish_ns, in.now_ns + 100 * 1000);
    occupy(&in, 2, 10);
    assert_false(place_next(&in, &out));
    m.cores = 5; /* core 1 is exclusive to somebody */
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 5);
}

static void width_counts_open_lanes(void **state)
{
    (void)state;
    struct place_model m[3] = { { .cores = 7, .automatic = true }, { .cores = 3 }, { .cores = 6, .automatic = true } };
    struct place_in in = idle_npu(3, m, 3, NULL, 0);
    uint8_t lanes[NPU_MAX_CORES];
    assert_int_equal(place_partition(&in, 0, lanes), 3);
    assert_int_equal(lanes[2], 4);
    assert_int_equal(place_partition(&in, 1, lanes), 1);
    assert_int_equal(lanes[0], 3);
    assert_int_equal(place_width(&in, 0), 3);
    assert_int_equal(place_width(&in, 1), 1);
    assert_int_equal(place_width(&in, 2), 2);
    occupy(&in, 6, 10);
    assert_int_equal(place_width(&in, 0), 1);
    assert_int_equal(place_width(&in, 2), 1);
}

static void demand_rises_at_once_and_fades(void **state)
{
    (void)state;
    struct place_demand d = { 0 };
    assert_true(fabsf(place_demand_get(&d, 5) - 0) < 0.01f);
    place_demand_note(&d, 1000, 8);
    assert_true(fabsf(place_demand_get(&d, 1000) - 8) < 0.01f);
    assert_true(fabsf(place_demand_get(&d, 50000000000) - 8) < 0.01f); /* nobody left */
    place_demand_note(&d, 2000, 1);
    assert_true(fabsf(place_demand_get(&d, 2000) - 8) < 0.01f);
    assert_true(fabsf(place_demand_get(&d, 1000 + 100000000) - 4) < 0.01f);
    place_demand_note(&d, 1000 + 200000000, 3);
    assert_true(fabsf(place_demand_get(&d, 1000 + 200000000) - 3) < 0.01f);
    place_demand_note(&d, 1000 + 300000000, 0);
    assert_true(fabsf(place_demand_get(&d, 60000000000) - 0) < 0.01f);
    d = (struct place_demand){ .run_ns = 1000000000 }; /* a slow model: three runs */
    place_demand_note(&d, 1000, 8);
    place_demand_note(&d, 1000, 0);
    assert_true(fabsf(place_demand_get(&d, 1000 + 3000000000) - 4) < 0.01f);
}

/* ---- parting */

/* Index plus 1. */
static uint8_t way_of(uint8_t a, uint8_t b, uint8_t c, bool gather)
{
    for (uint8_t i = 0; i < PARTINGS; i++) {
        const struct parting *p = &partings[i];
        if (p->of_cores == 3 && p->size[0] == a && p->size[1] == b && p->size[2] == c && p->gather == gather)
            return (uint8_t)(i + 1);
    }
    fail_msg("no such way");
    return 0;
}

/* A native model that may join its cores. */
static struct place_model joiner(uint8_t way)
{
    return (struct place_model){ .cores = 7, .automatic = true, .joint_lanes = true, .way = way, .requests = 1 };
}

static void lanes_are_those_of_the_way(void **state)
{
    (void)state;
    struct place_model m = joiner(way_of(2, 1, 0, false));
    struct place_waiting w = { .cost_us = { 900, 450, 300 } };
    struct place_in in = idle_npu(3, &m, 1, &w, 1);
    struct place_out out;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 3); /* both are idle: it ends earlier */
    assert_int_equal(out.way, m.way);
    occupy(&in, 2, 100);
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 4);
    m.way = way_of(2, 0, 0, false); /* the third core is left idle */
    assert_false(place_next(&in, &out));
    assert_int_equal(out.again_ns, 0);
    in.core[0].health = CORE_SICK; /* not a way to part two cores */
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 4);
    assert_int_equal(out.way, 0);
}

static void batches_are_shares_of_what_is_there(void **state)
{
    (void)state;
    struct place_model m = joiner(way_of(1, 1, 1, false));
    struct place_waiting w = { .cost_us = { 900, 450, 300 }, .requests = 1 };
    struct place_in in = idle_npu(3, &m, 1, &w, 1);
    struct place_out out;
    for (int i = 0; i < 3; i++)
        in.core[i].depth = 2;
    m.requests = 20; /* in six execs */
    assert_true(place_next(&in, &out));
    assert_int_equal(out.requests, 4);
    occupy(&in, 7, 100);
    for (w.requests = 1; w.requests < 3; w.requests++) /* they are at work: the next runs wait for their share */
        assert_false(place_next(&in, &out));
    assert_int_equal(out.again_ns, 0); /* or for a lane to end */
    assert_true(place_next(&in, &out));
    in.core[1].runs = 0;
    w.requests = 1;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 2);
}

static void gathering_waits_a_moment(void **state)
{
    (void)state;
    struct place_model m = joiner(way_of(3, 0, 0, true));
    struct place_waiting w = { .cost_us = { 9000, 4500, 3200 }, .requests = 7 };
    struct place_in in = idle_npu(3, &m, 1, &w, 1);
    struct place_out out;
    w.since_ns = in.now_ns;
    m.requests = 8;
    assert_false(place_next(&in, &out));
    assert_int_equal(out.again_ns, in.now_ns + 400 * 1000); /* an eighth of the run */
    w.requests = 8;                                         /* all are there */
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 7);
    assert_int_equal(out.requests, 8);
    w.requests = 7;
    in.now_ns = out.again_ns = w.since_ns + 400 * 1000;
    assert_true(place_next(&in, &out));
    m.requests = 1; /* nobody is expected back */
    in.now_ns = w.since_ns;
    w.requests = 1;
    assert_true(place_next(&in, &out));
}

static void explicit_masks_deal_their_batches_out_too(void **state)
{
    (void)state;
    struct place_model m[2] = { { .cores = 7, .way = way_of(3, 0, 0, false), .requests = 8 }, { .cores = 1 } };
    struct place_waiting w[2] = { { .cost_us = { 900, 450, 300 }, .requests = 3 }, { .model = 1, .since_ns = 5 } };
    struct place_in in = idle_npu(3, m, 2, w, 1);
    struct place_out out;
    for (int i = 0; i < 3; i++)
        in.core[i].depth = 2;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.requests, 4);
    occupy(&in, 7, 100);
    assert_false(place_next(&in, &out));
    m[0].rivals = 1; /* its runs share their cores with another's: it takes what there is */
    assert_true(place_next(&in, &out));
    assert_int_equal(out.requests, 0);
    assert_int_equal(out.way, 0);
    m[0].rivals = 0;
    in.n_waiting = 2;
    assert_true(place_next(&in, &out)); /* as it does when one waits for them now */
    assert_int_equal(out.waiting, 0);
    assert_int_equal(out.requests, 0);
    in.n_waiting = 1;
    m[0].way = way_of(2, 0, 0, false); /* not of its number of cores */
    assert_true(place_next(&in, &out));
    assert_int_equal(out.requests, 0);
}

/* It may hang: nothing else may wait for it but what was told to. */
static void late_cores_are_left_out(void **state)
{
    (void)state;
    struct place_model m = joiner(way_of(3, 0, 0, false));
    struct place_waiting w = { .cost_us = { 900, 450, 300 } };
    struct place_in in = idle_npu(3, &m, 1, &w, 1);
    struct place_out out;
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 7);
    in.now_ns = 10000000000;
    occupy(&in, 1, -100);
    assert_false(place_next(&in, &out)); /* it is expected any moment */
    occupy(&in, 1, -3000000);
    assert_true(place_next(&in, &out));
    assert_int_equal(out.cores, 6);
    m.automatic = false;
    assert_false(place_next(&in, &out));
}

/* ---- admission */

static struct place_claim claim(const char *name, const char *mask, bool exclusive)
{
    struct place_claim c = { name, { 0 }, exclusive };
    assert_int_equal(core_mask_parse(mask, platform_get(PLATFORM_RK3588), &c.mask, NULL), RKF_OK);
    return c;
}

static void models_share_cores_unless_exclusive(void **state)
{
    (void)state;
    struct place_claim loaded[3] = { claim("a", "0", false), claim("b", "all", false), claim("c", "auto", false) };
    struct place_claim in = claim("d", "0_1", false);
    uint8_t cores = 0;
    assert_int_equal(place_admit(loaded, 3, &in, &cores, NULL), RKF_OK);
    assert_int_equal(cores, 3);
    assert_int_equal(place_admit(NULL, 0, &in, &cores, NULL), RKF_OK);
}

static void exclusive_models_keep_others_off(void **state)
{
    (void)state;
    struct place_claim loaded[2] = { claim("holder", "0_1", true), claim("free", "auto", false) };
    struct place_claim in = claim("late", "1", false);
    uint8_t cores = 0xee;
    rkf_error err;
    assert_int_equal(place_admit(loaded, 2, &in, &cores, &err), RKF_CONFLICT);
    assert_int_equal(cores, 0xee);
    assert_string_equal(err.message, "model 'late' cannot use core mask '1': model 'holder' holds core 1 exclusively; "
                                     "use another core mask or close that model");
    in = claim("late", "auto", false);
    assert_int_equal(place_admit(loaded, 2, &in, &cores, NULL), RKF_OK);
    assert_int_equal(cores, 4);
    assert_int_equal(place_allowed(loaded, 2, 0), 3);
    assert_int_equal(place_allowed(loaded, 2, 1), 4); /* auto shrinks */
    in = claim("late", "2", false);
    assert_int_equal(place_admit(loaded, 2, &in, &cores, NULL), RKF_OK);
}

static void exclusive_needs_free_cores(void **state)
{
    (void)state;
    struct place_claim loaded[2] = { claim("pinned", "2", false), claim("roaming", "auto", false) };
    uint8_t cores = 0;
    rkf_error err;
    struct place_claim in = claim("x", "all", true);
    assert_int_equal(place_admit(loaded, 2, &in, &cores, &err), RKF_CONFLICT);
    assert_non_null(strstr(err.message, "'pinned' is pinned to core mask '2'"));
    in = claim("x", "0_1", true);
    assert_int_equal(place_admit(loaded, 2, &in, &cores, NULL), RKF_OK);
    assert_int_equal(cores, 3);
    loaded[0] = claim("x", "0_1", true); /* now roaming has core 2 only */
    in = claim("y", "2", true);
    assert_int_equal(place_admit(loaded, 2, &in, &cores, &err), RKF_CONFLICT);
    assert_non_null(strstr(err.message, "'roaming' (auto) would have no core left"));
    in = claim("y", "auto", true);
    assert_int_equal(place_admit(loaded, 1, &in, &cores, NULL), RKF_OK);
    assert_int_equal(cores, 4);
    loaded[1] = in;
    assert_int_equal(place_allowed(loaded, 2, 0), 3);
    assert_int_equal(place_allowed(loaded, 2, 1), 4);
    in = claim("z", "auto", false);
    assert_int_equal(place_admit(loaded, 2, &in, &cores, &err), RKF_CONFLICT);
    assert_non_null(strstr(err.message, "exclusively"));
}

/* ---- random load */

static void fill_costs(uint64_t *seed, uint32_t cost[NPU_MAX_CORES])
{
    cost[0] = 100 + sim_rand(seed) % 20000;
    cost[1] = (uint32_t)(cost[0] / (1.0 + (sim_rand(seed) % 100) / 100.0)) + 1;
    cost[2] = (uint32_t)(cost[0] / (1.0 + (sim_rand(seed) % 200) / 100.0)) + 1;
}

static void random_load_keeps_the_invariants(void **state)
{
    (void)state;
    uint32_t joint_seen = 0;
    for (uint64_t run = 1; run <= 300; run++) {
        uint64_t seed = run * 0x9e3779b97f4a7c15u;
        uint32_t cores = 1 + sim_rand(&seed) % 3, depth = 1 + sim_rand(&seed) % 2, jobs = 120;
        struct sim *s = sim_new(cores, depth);
        s->n_models = 1 + sim_rand(&seed) % SIM_MODELS;
        s->use_demand = sim_rand(&seed) % 2;
        for (uint32_t m = 0; m < s->n_models; m++) {
            bool automatic = sim_rand(&seed) % 2;
            uint8_t all = (uint8_t)((1u << cores) - 1), set = (uint8_t)(1 + sim_rand(&seed) % all);
            s->models[m] = (struct place_model){ set, automatic, sim_rand(&seed) % 2,
                                                 automatic && sim_rand(&seed) % 8 == 0 };
        }
        bool priorities = sim_rand(&seed) % 2;
        int64_t at = 0;
        for (uint32_t i = 0; i < jobs; i++) {
            uint32_t cost[NPU_MAX_CORES];
            fill_costs(&seed, cost);
            at += (int64_t)(sim_rand(&seed) % (run % 3 ? 6000000 : 30000000));
            sim_add(s, sim_rand(&seed) % s->n_models, priorities ? (int32_t)(sim_rand(&seed) % SIM_PRIORITIES) : 0, at,
                    cost, 0.6 + (sim_rand(&seed) % 100) / 100.0);
        }
        s->now = -1;
        uint32_t ended;
        while (sim_step(s, &ended))
            sim_place(s);
        for (uint32_t i = 0; i < s->n_jobs; i++) {
            if (!s->jobs[i].done)
                sim_wrong(s, "a request was never run");
            joint_seen += __builtin_popcount(s->jobs[i].lane) > 1;
        }
        /* whoever has become the oldest of the highest priority waits for the work that runs, no longer */
        if (!priorities && depth == 1 && s->worst_oldest_wait > s->max_cost_ns) {
            print_message("%lld vs %lld depth %d\n", (long long)s->worst_oldest_wait, (long long)s->max_cost_ns,
                          (int)depth);
            sim_wrong(s, "the oldest request waited longer than the longest run");
        }
        if (s->wrong)
            fail_msg("run %d: %s (%u)", (int)run, s->what, s->wrong);
        free(s);
    }
    assert_true(joint_seen > 1000);
}

/* A stream of singles on both cores must not starve a joint request. */
static void joint_request_gets_through_a_stream_of_singles(void **state)
{
    (void)state;
    struct sim *s = sim_new(2, 1);
    s->n_models = 3;
    s->models[0] = (struct place_model){ .cores = 1 };
    s->models[1] = (struct place_model){ .cores = 2 };
    s->models[2] = (struct place_model){ .cores = 3 };
    const uint32_t cost[3] = { 1000, 1000, 1000 };
    for (int i = 0; i < 400; i++) /* overload: each core gets work twice as fast as it can do it */
        for (uint32_t m = 0; m < 2; m++)
            sim_add(s, m, 0, (int64_t)i * 500000 + (m ? 250000 : 0), cost, 1);
    uint32_t joint = sim_add(s, 2, 0, 50 * 500000 + 1, cost, 1);
    uint32_t ended;
    while (sim_step(s, &ended))
        sim_place(s);
    assert_int_equal(s->wrong, 0);
    uint32_t overtook = 0;
    for (uint32_t i = 0; i < joint; i++)
        overtook += s->jobs[i].arrived > s->jobs[joint].arrived && s->jobs[i].started < s->jobs[joint].started;
    assert_int_equal(overtook, 0);
    free(s);
}

/* ---- auto against placements made by hand */

/* Closed loop: each client sends its next batch 50 us after the last answer. Returns batches per second. */
static double throughput(uint32_t clients, const struct place_model *models, uint32_t n_models, double speed2,
                         double speed3, bool use_demand)
{
    struct sim *s = sim_new(3, 1);
    enum { TOTAL = 900 };
    uint64_t seed = 88172645463325252u;
    uint32_t sent = 0, ended;
    s->n_models = n_models;
    s->use_demand = use_demand;
    memcpy(s->models, models, n_models * sizeof *models);
    for (uint32_t c = 0; c < clients || sent < clients; c++, sent++) {
        uint32_t base = sim_rand(&seed) % 4 ? 2000 : 12000; /* short and long texts */
        uint32_t cost[3] = { base, (uint32_t)(base / speed2), (uint32_t)(base / speed3) };
        uint32_t j = sim_add(s, c % n_models, 0, (int64_t)c * 10000, cost, 0.8 + (sim_rand(&seed) % 40) / 100.0);
        s->jobs[j].client = c;
    }
    s->now = -1;
    while (sim_step(s, &ended)) {
        if (ended < s->n_jobs && sent < TOTAL) {
            uint32_t base = sim_rand(&seed) % 4 ? 2000 : 12000;
            uint32_t cost[3] = { base, (uint32_t)(base / speed2), (uint32_t)(base / speed3) };
            uint32_t j = sim_add(s, s->jobs[ended].model, 0, s->now + 50000, cost,
                                 0.8 + (sim_rand(&seed) % 40) / 100.0);
            s->jobs[j].client = s->jobs[ended].client;
            sent++;
        }
        sim_place(s);
    }
    assert_int_equal(s->wrong, 0);
    double rate = sent / ((double)s->now / 1e9);
    free(s);
    return rate;
}

static void auto_is_close_to_the_best_by_hand(void **state)
{
    (void)state;
    static const double speeds[][2] = { { 1.0, 1.0 }, { 1.2, 1.4 }, { 1.5, 1.9 }, { 1.8, 2.5 }, { 2.0, 3.0 } };
    static const uint32_t loads[] = { 1, 2, 3, 4, 8, 64 };
    /* by hand: one model loaded once per lane of a partition, clients dealt out; and the plain masks */
    static const struct {
        uint32_t n;
        struct place_model m[3];
    } by_hand[] = {
        { 1, { { .cores = 7 } } },
        { 1, { { .cores = 3 } } },
        { 1, { { .cores = 1 } } },
        { 2, { { .cores = 3 }, { .cores = 4 } } },
        { 2, { { .cores = 1 }, { .cores = 2 } } },
        { 3, { { .cores = 1 }, { .cores = 2 }, { .cores = 4 } } },
    };
    static const struct place_model by_auto = { .cores = 7, .automatic = true, .joint_lanes = true };
    for (size_t v = 0; v < sizeof speeds / sizeof *speeds; v++)
        for (size_t l = 0; l < sizeof loads / sizeof *loads; l++) {
            double best = 0, got = throughput(loads[l], &by_auto, 1, speeds[v][0], speeds[v][1], true);
            for (size_t h = 0; h < sizeof by_hand / sizeof *by_hand; h++) {
                double r = throughput(loads[l], by_hand[h].m, by_hand[h].n, speeds[v][0], speeds[v][1], true);
                best = r > best ? r : best;
            }
            print_message("joint x%.1f x%.1f, %2u clients: auto %6.0f/s, best by hand %6.0f/s, ratio %.3f\n",
                          speeds[v][0], speeds[v][1], loads[l], got, best, got / best);
            assert_true(got >= 0.95 * best);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_waits_nothing_runs),
        cmocka_unit_test(masks_get_exactly_their_cores),
        cmocka_unit_test(auto_takes_the_lowest_idle_core),
        cmocka_unit_test(auto_takes_the_earliest_finish_when_all_are_busy),
        cmocka_unit_test(auto_joins_idle_cores_for_one_stream_only),
        cmocka_unit_test(auto_leaves_waiting_pinned_models_their_core),
        cmocka_unit_test(order_is_priority_then_age),
        cmocka_unit_test(joint_request_keeps_its_free_cores),
        cmocka_unit_test(nobody_waits_for_sick_or_leased_cores),
        cmocka_unit_test(whole_platform_is_one_lane),
        cmocka_unit_test(width_counts_open_lanes),
        cmocka_unit_test(demand_rises_at_once_and_fades),
        cmocka_unit_test(lanes_are_those_of_the_way),
        cmocka_unit_test(batches_are_shares_of_what_is_there),
        cmocka_unit_test(gathering_waits_a_moment),
        cmocka_unit_test(explicit_masks_deal_their_batches_out_too),
        cmocka_unit_test(late_cores_are_left_out),
        cmocka_unit_test(models_share_cores_unless_exclusive),
        cmocka_unit_test(exclusive_models_keep_others_off),
        cmocka_unit_test(exclusive_needs_free_cores),
        cmocka_unit_test(random_load_keeps_the_invariants),
        cmocka_unit_test(joint_request_gets_through_a_stream_of_singles),
        cmocka_unit_test(auto_is_close_to_the_best_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
