/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request's way through the library: equal inputs once, cached ones not at all, the rest in chunks through
 * rkf_submit.
 *
 *   inputs [n] --unique_of--> unique inputs --cache--> misses, in chunks of at most core.chunk --rkf_submit--> results
 *
 * At most two chunks of a request are in the queue at once, so that a request with a hundred thousand texts neither
 * fills the queue nor runs before everybody else.
 *
 * Threads. call_start, and the continuation with further chunks on a worker, tokenise; the library's done
 * callback only notes the result. `pending` counts who still has to do with the work: whoever takes it to 0 reports.
 */
#ifndef RKF_SERVER_CALL_H
#define RKF_SERVER_CALL_H

#include "server/api.h"
#include "server/cache.h"
#include "server/metrics.h"
#include "server/models.h"
#include "server/workers.h"
#include "server/writers.h"

#include <pthread.h>

/* What a POST route does with a model. */
enum endpoint_how { HOW_SUBMIT, HOW_TOKENIZE, HOW_DECODE };
enum endpoint_count { COUNT_NONE, COUNT_EMBED, COUNT_PREDICT };
struct endpoint {
    const char *name; /* operationId */
    enum dialect dialect;
    const struct body *body;
    enum endpoint_how how;
    rkf_task task;
    uint32_t kinds, prefer; /* bits of enum model_kind: that can do it; that are for it */
    enum endpoint_count count;
    bool softmax; /* unless raw: softmax over several labels, sigmoid of one, whatever the model's files say */
    /* After the model is known: changes the inputs. May be NULL. */
    bool (*adapt)(struct api_request *r, const struct model *m, struct api_error *e);
    const struct endpoint *other; /* the same body for models of other kinds */
    writer_fn *write;
    const char *mismatch; /* what a model of another kind gets to hear */
    const char *answer;   /* JSON schema of the answer */
    const char *summary;
};

/* What all requests share. */
struct core {
    struct registry *models;
    struct cache *cache; /* NULL: none */
    struct metrics *metrics;
    struct workers *workers;
    size_t max_inputs; /* of one request */
    size_t chunk;      /* most inputs of one rkf_submit */
    int64_t limit;     /* most inputs accepted and not yet answered, of all models; a request alone may exceed it */
    int64_t timeout_ms;
    bool auto_truncate;
    _Atomic int64_t queued, calls; /* inputs in flight; requests for a model since the start */
};

struct call;
typedef void call_done(struct call *w, void *cookie);
enum call_state { CALL_FAILED, CALL_DONE, CALL_PENDING };

struct call {
    struct core *core;
    const struct endpoint *ep;
    struct model *model; /* a reference */
    struct api_request req;
    struct api_answer answer; /* items point into results, the cache and mem */
    struct api_error error;   /* fault FAULT_NONE: all is well */
    struct arena mem;
    call_done *done;
    void *cookie;

    struct unit *units; /* [n_units] unique inputs, cached ones last */
    size_t n_units, n_misses;
    uint32_t *unit_of; /* [n_inputs] */
    int64_t reserved;  /* inputs counted in core.queued and model.queued */
    int64_t deadline_ns;

    pthread_mutex_t lock; /* guards what follows */
    struct chunk *chunks, *free_chunks;
    size_t next; /* unit to submit next */
    int pending, in_flight;
    enum api_fault cancel_early; /* it came before there was anything to cancel */
    bool cancelled, waiting;     /* waiting: a thread begins chunks, or a job for that waits for a worker */
    struct errand job;
};

/* NULL: out of memory. The rest is filled by the caller: req, model (whose reference it takes), done, cookie. */
struct call *call_create(struct core *core, const struct endpoint *ep);
/* What only the model can tell of a request: false and an error, or all is well. */
bool call_check(struct call *w);
/* req is parsed, settled and checked. done is called only after CALL_PENDING was (or is about to be)
 * returned, on any thread, once. */
enum call_state call_start(struct call *w);
/* The client is gone or the server stops: what waits is dropped; done is still called. Any thread, also when all has
 * ended: then nothing happens. */
void call_cancel(struct call *w, enum api_fault why);
/* Only while nothing is pending. */
void call_free(struct call *w);

#endif
