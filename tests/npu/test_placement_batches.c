/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `auto` of a native body against the best placement made by hand, with batches, in simulated time. Requests that wait
 * are taken together; two execs per lane are in flight and share their cores' time, product by product, so that the
 * CPU's part of one run hides behind the other's on the cores; a run costs a fixed part and a part per token, which
 * more cores shorten more or less, and cores that are at work share the DRAM. Closed-loop clients, short and long texts
 * mixed. Nothing is told to placement: how the cores are best parted, and batches best dealt out, is learnt from what
 * runs did, by those who are placed by hand, too; demand is what came lately.
 */
#include "device/cost.h"
#include "npu/placement.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CLIENTS = 64, RUNS = 16, DEPTH = 2, MOST_TOKENS = 2048, THINK_NS = 60000 };

struct costs {
    const char *name;
    float fixed[3], token[3];     /* us of the cores, on 1, 2, 3 of them */
    float host_fixed, host_token; /* us of the CPU on one lane's threads; joined lanes join them too */
    /* Where there are weights, instead of fixed and token, as sim/cost.c has it: submits, then the longer of computing
     * and of reading and writing memory, whose speed the cores at work share. Microseconds at the DRAM's full speed. */
    float submits, compute, weights, in, out; /* compute, in, out: per token; each joined core reads all of `in` */
};

struct request {
    int64_t at; /* when it is or was sent; INT64_MAX: in a run */
    uint32_t tokens, model;
};

struct run { /* an exec in flight */
    bool active;
    uint8_t lane;
    uint32_t ticket;
    double left; /* of 1 */
    double host_us;
    int64_t begun;
    uint32_t n, tokens, model, clients[CLIENTS];
};

struct world {
    const struct costs *costs;
    double scale; /* everything but the clients takes this many times as long */
    struct place_model models[3];
    uint32_t n_models, n_clients;
    struct request sent[CLIENTS];
    struct run runs[RUNS];
    struct place_core core[3];
    struct place_demand demand[3];
    struct cost_fit run_cost; /* learnt: model 0 */
    struct parting_judge judge[3];
    int64_t again; /* when placement wants to be asked */
    uint64_t seed, requests_done;
    int64_t now;
};

static uint32_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (uint32_t)(*s >> 32);
}

static uint32_t text(struct world *w)
{
    return next_random(&w->seed) % 4 ? 8 + next_random(&w->seed) % 17 : 64 + next_random(&w->seed) % 128;
}

static bool waits(const struct world *w, uint32_t c, uint32_t model)
{
    return w->sent[c].at <= w->now && w->sent[c].model == model;
}

static uint32_t in_system(const struct world *w, uint32_t model)
{
    uint32_t n = 0;
    for (uint32_t c = 0; c < w->n_clients; c++)
        n += w->sent[c].model == model && (w->sent[c].at <= w->now || w->sent[c].at == INT64_MAX);
    return n;
}

/* The oldest that wait, up to the budget: as the engine takes them. */
static void start(struct world *w, uint32_t model, const struct place_out *o)
{
    struct run *r = w->runs;
    while (r->active)
        r++;
    assert_true(r < w->runs + RUNS);
    *r = (struct run){ .active = true, .lane = o->cores };
    for (;;) {
        uint32_t oldest = w->n_clients;
        for (uint32_t c = 0; c < w->n_clients; c++)
            if (waits(w, c, model) && (oldest == w->n_clients || w->sent[c].at < w->sent[oldest].at))
                oldest = c;
        uint32_t tokens = oldest < w->n_clients ? r->tokens + w->sent[oldest].tokens : 0;
        if (!tokens || (r->n && (tokens > MOST_TOKENS || (o->requests && r->n >= o->requests))))
            break;
        r->tokens += w->sent[oldest].tokens;
        r->clients[r->n++] = oldest;
        w->sent[oldest].at = INT64_MAX;
    }
    uint32_t n = (uint32_t)__builtin_popcount(o->cores) - 1;
    r->host_us = w->scale * (w->costs->host_fixed + w->costs->host_token * (double)r->tokens) / (n + 1);
    r->left = 1;
    r->begun = w->now;
    r->model = model;
    r->ticket = parting_began(&w->judge[model], o->way != 0, w->now);
    for (int i = 0; i < 3; i++)
        if (o->cores >> i & 1) {
            w->core[i].runs++;
            w->core[i].free_at_ns = o->finish_ns;
            assert_true(w->core[i].runs <= DEPTH);
        }
}

/* Microseconds that a run keeps its cores at work, when so many of all cores are. */
static double cores_us(const struct world *w, const struct run *r, uint32_t at_work)
{
    const struct costs *c = w->costs;
    uint32_t n = (uint32_t)__builtin_popcount(r->lane);
    if (c->weights <= 0)
        return w->scale * (c->fixed[n - 1] + c->token[n - 1] * (double)r->tokens);
    double compute = c->compute * (double)r->tokens / n, t = r->tokens;
    double memory = (c->weights / n + c->in * t + c->out * t / n) * fmax(at_work, 17 / 10.5);
    return w->scale * (c->submits + fmax(compute, memory));
}

/* Runs on the same core take turns: what this one takes, as things are now. *busy: its cores of that. */
static double run_us(const struct world *w, const struct run *r, double *busy)
{
    uint32_t most = 1, at_work = 0;
    for (int i = 0; i < 3; i++) {
        at_work += w->core[i].runs > 0;
        if ((r->lane >> i & 1) && w->core[i].runs > most)
            most = w->core[i].runs;
    }
    *busy = cores_us(w, r, at_work);
    double own = *busy + r->host_us, turns = most * *busy / own;
    return turns > 1 ? own * turns : own;
}

static void place(struct world *w)
{
    for (;;) {
        struct place_waiting rows[3];
        struct place_in in = { .now_ns = w->now, .n_cores = 3, .models = w->models, .n_models = w->n_models };
        struct place_out out = { 0 };
        memcpy(in.core, w->core, sizeof in.core);
        in.waiting = rows;
        for (uint32_t m = 0; m < w->n_models; m++) {
            struct place_waiting row = { .model = m, .since_ns = INT64_MAX };
            uint32_t tokens = 0;
            for (uint32_t c = 0; c < w->n_clients; c++)
                if (waits(w, c, m)) {
                    row.since_ns = w->sent[c].at < row.since_ns ? w->sent[c].at : row.since_ns;
                    tokens += w->sent[c].tokens;
                    row.requests++;
                }
            for (uint32_t k = 0; k < 3; k++)
                row.cost_us[k] = cost_fit_us(&w->run_cost, k + 1, tokens);
            if (row.requests)
                rows[in.n_waiting++] = row;
            struct place_model *pm = &w->models[m];
            uint32_t here = in_system(w, m), cores = (uint32_t)__builtin_popcount(pm->cores);
            place_demand_note(&w->demand[m], w->now, here);
            parting_note(&w->judge[m], here > 0, w->now);
            pm->requests = place_demand_get(&w->demand[m], w->now);
            in.demand += pm->requests;
            pm->way = parting_choose(&w->judge[m], cores, !pm->automatic, pm->requests, w->now);
        }
        if (!place_next(&in, &out)) {
            w->again = out.again_ns;
            return;
        }
        start(w, rows[out.waiting].model, &out);
    }
}

static double noise(struct world *w, double part)
{
    return 1 + part * ((double)next_random(&w->seed) / 2147483648.0 - 1);
}

static void end(struct world *w, struct run *r)
{
    uint32_t cores = (uint32_t)__builtin_popcount(r->lane);
    r->active = false;
    for (int k = 0; k < 3; k++)
        w->core[k].runs -= r->lane >> k & 1;
    struct parting_judge *j = &w->judge[r->model];
    double work = parting_work(j, r->n, cost_fit_us(&w->run_cost, cores, r->tokens),
                               cost_fit_us(&w->run_cost, cores, (double)r->n * (double)j->usual));
    parting_ended(j, r->ticket, r->begun, r->n, work, w->now);
    struct place_demand *d = &w->demand[r->model];
    d->run_ns += (w->now - r->begun - d->run_ns) / 8;
    double busy;
    (void)run_us(w, r, &busy);
    cost_fit_add(&w->run_cost, cores, r->tokens, (busy + r->host_us) * noise(w, 0.1));
    w->requests_done += r->n;
    for (uint32_t k = 0; k < r->n; k++) {
        struct request *q = &w->sent[r->clients[k]];
        q->at = w->now + THINK_NS + next_random(&w->seed) % THINK_NS;
        q->tokens = text(w);
        parting_text(&w->judge[q->model], q->tokens);
    }
}

static bool step(struct world *w)
{
    int64_t next = INT64_MAX;
    double busy;
    for (uint32_t c = 0; c < w->n_clients; c++)
        if (w->sent[c].at > w->now && w->sent[c].at < next)
            next = w->sent[c].at;
    for (int i = 0; i < RUNS; i++)
        if (w->runs[i].active) {
            int64_t ends = w->now + 1 + (int64_t)(1e3 * w->runs[i].left * run_us(w, &w->runs[i], &busy));
            next = ends < next ? ends : next;
        }
    if (w->again > w->now && w->again < next)
        next = w->again;
    if (next == INT64_MAX)
        return false;
    for (int i = 0; i < RUNS; i++)
        if (w->runs[i].active)
            w->runs[i].left -= 1e-3 * (double)(next - w->now) / run_us(w, &w->runs[i], &busy);
    w->now = next;
    for (int i = 0; i < RUNS; i++)
        if (w->runs[i].active && w->runs[i].left <= 1e-7)
            end(w, &w->runs[i]);
    place(w);
    return true;
}

enum { LEARN = 1500, MEASURE = 4000 }; /* requests; with many clients a hundred of each at least */

/* Requests per second; *first: of those that it learnt from. */
static double rate(const struct costs *costs, double scale, uint32_t clients, const struct place_model *models,
                   uint32_t n_models, double *first)
{
    struct world *w = calloc(1, sizeof *w);
    cost_fit_init(&w->run_cost);
    w->costs = costs;
    w->scale = scale;
    w->n_models = n_models;
    w->n_clients = clients;
    w->seed = 88172645463325252u;
    w->now = -1;
    memcpy(w->models, models, n_models * sizeof *models);
    uint32_t cores = 0, dealt = 0; /* clients are dealt out by cores, as somebody would who does it by hand */
    for (uint32_t m = 0; m < n_models; m++)
        cores += (uint32_t)__builtin_popcount(models[m].cores);
    for (uint32_t m = 0, sum = 0; m < n_models; m++) {
        sum += (uint32_t)__builtin_popcount(models[m].cores);
        uint32_t upto = m + 1 == n_models ? clients : (clients * sum + cores / 2) / cores;
        for (; dealt < upto; dealt++)
            w->sent[dealt].model = m;
    }
    for (uint32_t c = 0; c < clients; c++) {
        w->sent[c].at = c * 1000;
        w->sent[c].tokens = text(w);
    }
    for (int i = 0; i < 3; i++)
        w->core[i].depth = DEPTH;
    uint32_t learn = clients * 100 > LEARN ? clients * 100 : LEARN;
    while (w->requests_done < learn && step(w))
        ;
    int64_t from = w->now;
    uint64_t learnt = w->requests_done;
    *first = (double)learnt / ((double)from / 1e9);
    while (w->requests_done < learn + MEASURE && step(w))
        ;
    double result = (double)(w->requests_done - learnt) / ((double)(w->now - from) / 1e9);
    cost_fit_free(&w->run_cost);
    free(w);
    return result;
}

static const struct costs all_costs[] = {
    { "submits", { 330, 330, 330 }, { 0.5f, 0.3f, 0.2f }, 60, 1 }, /* a tiny model: nothing to share */
    { "weights", { 3000, 1900, 1600 }, { 15, 10, 7 }, 150, 4 },    /* MiniLM: reading the weights is shared */
    { "weights, no host", { 3000, 1900, 1600 }, { 15, 10, 7 }, 0, 0 },
    { "weights, slow host", { 3000, 1900, 1600 }, { 15, 10, 7 }, 1200, 15 },
    { "compute", { 200, 250, 300 }, { 100, 52, 36 }, 150, 4 },         /* long texts */
    { "poorly joined", { 1000, 1500, 1700 }, { 20, 15, 13 }, 150, 4 }, /* joining hardly pays */
    { "perfectly joined", { 300, 150, 100 }, { 30, 15, 10 }, 30, 2 },
    /* by sim/cost.c: 24 products of 21 MB for MiniLM, 48 of 170 MB for BERT-base */
    { "MiniLM, fast host", .host_fixed = 20, .host_token = 0.2f, .submits = 960, .compute = 23.6f, .weights = 1250,
      .in = 1.9f, .out = 4.9f },
    { "MiniLM, board", .host_fixed = 150, .host_token = 6, .submits = 960, .compute = 23.6f, .weights = 1250,
      .in = 1.9f, .out = 4.9f },
    { "base, board", .host_fixed = 300, .host_token = 20, .submits = 1920, .compute = 189, .weights = 10000, .in = 7.6f,
      .out = 19.5f },
};

static const struct {
    const char *name;
    uint32_t n;
    struct place_model m[3];
} by_hand[] = {
    { "all", 1, { { .cores = 7 } } },
    { "0_1", 1, { { .cores = 3 } } },
    { "0", 1, { { .cores = 1 } } },
    { "0_1 + 2", 2, { { .cores = 3 }, { .cores = 4 } } },
    { "0 + 1", 2, { { .cores = 1 }, { .cores = 2 } } },
    { "0 + 1 + 2", 3, { { .cores = 1 }, { .cores = 2 }, { .cores = 4 } } },
};

/* Also: while it still learns it may not be much worse. */
static double compare(const struct costs *costs, double scale, uint32_t clients)
{
    static const struct place_model by_auto = { .cores = 7, .automatic = true, .joint_lanes = true };
    double first, unused, best = 0, got = rate(costs, scale, clients, &by_auto, 1, &first);
    const char *which = "";
    for (size_t h = 0; h < sizeof by_hand / sizeof *by_hand; h++) {
        double r = rate(costs, scale, clients, by_hand[h].m, by_hand[h].n, &unused);
        if (r > best) {
            best = r;
            which = by_hand[h].name;
        }
    }
    print_message("%-16s %2u clients%s: auto %7.1f/s, best by hand %7.1f/s (%s), ratio %.3f, %.3f while learning\n",
                  costs->name, clients, scale > 1 ? ", long runs" : "", got, best, which, got / best, first / best);
    assert_true(first >= 0.75 * best);
    return got / best;
}

static void auto_is_close_to_the_best_by_hand(void **state)
{
    (void)state;
    static const uint32_t loads[] = { 1, 2, 3, 4, 6, 8, 16, 32, 64 };
    double lowest = 10;
    for (size_t v = 0; v < sizeof all_costs / sizeof *all_costs; v++)
        for (size_t l = 0; l < sizeof loads / sizeof *loads; l++)
            lowest = fmin(lowest, compare(&all_costs[v], 1, loads[l]));
    print_message("lowest ratio %.3f\n", lowest);
    assert_true(lowest >= 0.95);
}

/* Runs of tenths of a second, as large models have: what was here a moment ago is a run or two ago. */
static void also_where_runs_are_long(void **state)
{
    (void)state;
    for (size_t v = 0; v < sizeof all_costs / sizeof *all_costs; v++)
        for (uint32_t clients = 3; clients <= 8; clients += 5)
            assert_true(compare(&all_costs[v], 100, clients) >= 0.95);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_is_close_to_the_best_by_hand),
        cmocka_unit_test(also_where_runs_are_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
