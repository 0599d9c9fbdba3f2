/* SPDX-License-Identifier: Apache-2.0 */
#include "npu/parting.h"

#include <math.h>
#include <string.h>

/* By how often they are the best in the simulated study, so that those are tried first. Of three cores, 1+1 that does
 * not gather and 2+1 that does never were by more than a hundredth. */
const struct parting partings[PARTINGS] = {
    { 1, 1, { 1 }, false }, { 1, 1, { 1 }, true },       { 2, 1, { 2 }, false },    { 2, 2, { 1, 1 }, false },
    { 2, 1, { 2 }, true },  { 2, 2, { 1, 1 }, true },    { 3, 1, { 3 }, false },    { 3, 3, { 1, 1, 1 }, false },
    { 3, 1, { 3 }, true },  { 3, 3, { 1, 1, 1 }, true }, { 3, 2, { 2, 1 }, false }, { 3, 1, { 2 }, true },
    { 3, 1, { 2 }, false }, { 3, 2, { 1, 1 }, true },
};

enum {
    FIRST_REQUESTS = 16, /* the first turn of a way is short: most are not worth a second */
    TURN_REQUESTS = 48,  /* texts differ: that many are worth about a twentieth */
    TURN_RUNS = 1,       /* of every exec */
    EXECS = 2,           /* of a lane that does not gather */
    FEWEST_TEXTS = 32,   /* to say how long they are */
    LAST_TEXTS = 500,
    FORGET_TURNS = 400, /* after so many turns what was seen counts half */
};

/* 1, 2, 3, 4, then by doublings. */
static uint8_t load_of(float requests)
{
    float r = requests < 1 ? 1 : requests;
    int load = r < 4.5f ? (int)(r + 0.5f) - 1 : 4 + (int)(log2f(r / 4.5f));
    return (uint8_t)(load < PARTING_LOADS ? load : PARTING_LOADS - 1);
}

/* More lanes than requests are the same as fewer; so is gathering where there is one for each lane. */
static bool makes_sense(const struct parting *p, uint32_t cores, bool joined, uint8_t load)
{
    uint32_t requests = load + 1u; /* at the least */
    if (p->of_cores != cores || (joined && (p->lanes > 1 || p->size[0] != cores)))
        return false;
    if (p->gather)
        return requests > p->lanes;
    return load == 0 ? p->lanes == 1 || p->size[0] == 1 : p->lanes <= requests || p->size[0] == 1;
}

static float best_seen(const struct parting_judge *j, uint8_t load)
{
    float best = 0;
    for (int i = 0; i < PARTINGS; i++)
        best = fmaxf(best, j->score[load][i].speed);
    return best;
}

/* The way's part of the best that was seen with about as many requests, where it was tried; 0: nowhere. */
static float elsewhere(const struct parting_judge *j, uint8_t load, int way)
{
    for (int off = 1; off < PARTING_LOADS; off++)
        for (int side = -1; side <= 1; side += 2) {
            int l = load + side * off;
            if (l >= 0 && l < PARTING_LOADS && j->score[l][way].speed > 0)
                return j->score[l][way].speed / best_seen(j, (uint8_t)l);
        }
    return 0;
}

/* What it may well deliver: what it did, and more the less that has been seen; where it was not tried, what it did with
 * other numbers of requests, and more the longer it was passed over; what nobody has tried may be anything. */
static float promise(const struct parting_judge *j, uint8_t load, int way)
{
    static const float doubt = 0.5f, unsteady = 0.25f, strange = 1.2f, patience = 50;
    const struct parting_score *s = &j->score[load][way];
    if (s->speed > 0) {
        float fresh = exp2f(-(float)(j->turns[load] - s->at) / FORGET_TURNS);
        return s->speed * (1 + doubt / sqrtf(s->requests * fresh) + unsteady / (s->rounds * fresh));
    }
    float part = elsewhere(j, load, way), best = best_seen(j, load);
    return part > 0 ? part * strange * (1 + (float)j->turns[load] / patience) * (best > 0 ? best : 1) : INFINITY;
}

static void note(struct parting_judge *j, int64_t now)
{
    double ns = (double)(now - j->noted_ns);
    j->noted_ns = now;
    j->busy_ns += j->busy ? ns : 0;
    j->runs_ns += j->running * ns;
}

static void restart(struct parting_judge *j, int64_t now)
{
    note(j, now);
    j->requests = j->runs = 0;
    j->work = j->wall_ns = j->busy_ns = j->runs_ns = 0;
}

/* Work per us of this turn: what the runs that have ended did in their time, times how many there were at once; so the
 * parts of runs that had begun before, or have not ended yet, are neither lost nor too many. */
static float delivered(const struct parting_judge *j)
{
    return j->wall_ns > 0 && j->busy_ns > 0 ? (float)(1000 * j->work / j->wall_ns * (j->runs_ns / j->busy_ns)) : 0;
}

static uint32_t execs_of(uint8_t way)
{
    const struct parting *p = &partings[way - 1];
    return p->lanes * (p->gather ? 1u : EXECS);
}

static void close_turn(struct parting_judge *j)
{
    static const float fade = 0.8f;
    struct parting_score *s = &j->score[j->load][j->way - 1];
    float before = s->requests * fade, n = (float)j->requests;
    s->speed = (s->speed * before + delivered(j) * n) / (before + n);
    s->requests = before + n;
    s->rounds = s->rounds * fade + (float)j->runs / (float)execs_of(j->way);
    s->at = ++j->turns[j->load];
}

static bool turn_over(const struct parting_judge *j)
{
    const struct parting_score *s = &j->score[j->load][j->way - 1];
    if (j->requests < FIRST_REQUESTS || j->runs < TURN_RUNS * execs_of(j->way))
        return false;
    bool hopeless = delivered(j) < (1 - 1 / sqrtf((float)j->requests)) * best_seen(j, j->load);
    return !(s->speed > 0) || j->requests >= TURN_REQUESTS || hopeless;
}

uint8_t parting_choose(struct parting_judge *j, uint32_t cores, bool joined, float requests, int64_t now_ns)
{
    bool alike = j->way && fabsf(requests - j->like) <= fmaxf(0.75f, 0.3f * j->like);
    bool stays = alike && makes_sense(&partings[j->way - 1], cores, joined, j->load);
    if (stays && !turn_over(j))
        return j->way;
    if (stays && j->usual > 0) /* before, all is done for the first time */
        close_turn(j);
    restart(j, now_ns);
    uint8_t load = load_of(requests);
    j->load = load;
    j->like = requests;
    uint8_t best = 0;
    float most = 0;
    for (uint8_t i = 0; i < PARTINGS; i++) {
        float p = makes_sense(&partings[i], cores, joined, load) ? promise(j, load, i) : 0;
        if (p > most) {
            most = p;
            best = (uint8_t)(i + 1);
        }
    }
    if (best != j->way) {
        j->way = best;
        j->epoch++;
        j->strangers = j->running;
    }
    return best;
}

void parting_text(struct parting_judge *j, uint32_t tokens)
{
    static const float another = 2;
    j->n_tokens += j->n_tokens < LAST_TEXTS;
    j->tokens += ((float)tokens - j->tokens) / j->n_tokens;
    bool alike = j->tokens < another * j->usual && j->tokens * another > j->usual;
    if (alike || j->n_tokens < FEWEST_TEXTS)
        return;
    j->usual = j->tokens;
    memset(j->score, 0, sizeof j->score);
    memset(j->turns, 0, sizeof j->turns);
    restart(j, j->noted_ns);
}

double parting_work(const struct parting_judge *j, uint32_t requests, uint32_t us, uint32_t usual_us)
{
    return (double)requests * (double)j->usual * (us && usual_us ? (double)us / usual_us : 1);
}

void parting_note(struct parting_judge *j, bool work_in_system, int64_t now_ns)
{
    note(j, now_ns);
    j->busy = work_in_system;
}

uint32_t parting_began(struct parting_judge *j, bool parted, int64_t now_ns)
{
    note(j, now_ns);
    j->running++;
    j->strangers += !parted;
    return (parted ? j->epoch : j->epoch - 1) << 1 | (j->strangers == 0);
}

void parting_ended(struct parting_judge *j, uint32_t ticket, int64_t began_ns, uint32_t requests, double work,
                   int64_t now_ns)
{
    note(j, now_ns);
    j->running--;
    if (j->strangers) {
        j->strangers -= (ticket ^ j->epoch << 1) > 1;
        if (!j->strangers)
            restart(j, now_ns);
        return;
    }
    if (!(ticket & 1)) /* ran beside one of another way */
        return;
    j->requests += requests;
    j->runs += requests > 0;
    j->work += work;
    j->wall_ns += (double)(now_ns - began_ns);
}
