/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: runtime, models, one queue, lanes, tasks. Private to src/engine; the door is rkformer.h.
 *
 *   rkf_submit -> job (inputs tokenised into items) -> queue of its (model, priority) -> placement picks a lane
 *   -> a work takes items up to the token budget, from one model and any number of jobs -> body runs on the lane's exec
 *   -> task_collect takes each job's rows -> when the last item is in, task.finish makes the result -> done callback
 *
 * Threads. Every exec has a runner thread. All scheduling state (queues, cores, counters of jobs) is guarded by
 * runtime.lock; a work is touched only by its runner; an item is written by one work. The blocking call lends its own
 * thread to a free exec instead of waking the runner.
 *
 * Pools. A pool is a device with its cores: the CPU pool always exists (virtual cores), the NPU pool where there is
 * one. A model belongs to one pool; placement looks at one pool at a time.
 */
#ifndef RKF_ENGINE_ENGINE_H
#define RKF_ENGINE_ENGINE_H

#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "device/cpu/cpu.h"
#include "device/cpu/pack_cache.h"
#include "encoder/encoder.h"
#include "model/model.h"
#include "npu/lease.h"
#include "npu/placement.h"
#include "tokenizer/tokenizer.h"

#include <pthread.h>

enum { POOL_CPU, POOL_NPU, POOL_KINDS };
enum { LANE_SETS = 1 << NPU_MAX_CORES, MAX_EXECS = 2 };

/* ---- lanes (lane.c) */

struct runner { /* one exec and the thread that runs it */
    struct lane *lane;
    struct exec exec;
    struct work *work; /* what it runs; NULL: free */
    bool lent;         /* a blocking caller's thread runs it */
    bool started;
    pthread_t thread;
    pthread_cond_t wake;
};

struct lane {
    struct pool *pool;
    uint8_t cores;
    uint32_t n_runners; /* 0: not made yet */
    struct runner runner[MAX_EXECS];
};

struct core_stats {
    int64_t busy_ns, batches, tokens;
    int64_t busy_since_ns; /* of the batches that run; busy_ns: until then */
    int64_t sick;          /* times it was taken for sick */
};

/* How many batches had up to 2^i (inputs or tokens); the last takes all above. */
enum { BATCH_STEPS = 24 };
struct batch_counts {
    int64_t n[BATCH_STEPS], sum;
};

enum { MOST_THREADS = 1024 };

struct pool {
    struct rkf_runtime *rt;
    struct device *device;           /* NULL: this pool does not exist */
    const struct platform *platform; /* whose masks it takes */
    bool whole;                      /* auto is one lane with all threads */
    bool leased;                     /* cores are shared with other processes */
    bool virtual_cores;              /* cores are shares of the CPU */
    uint32_t n_cores;
    struct place_core core[NPU_MAX_CORES];
    int64_t sick_until_ns[NPU_MAX_CORES];
    int64_t again_ns; /* placement wants to be asked again then; 0: not because of the time */
    struct core_stats stats[NPU_MAX_CORES];
    uint8_t users[MOST_THREADS]; /* by thread slot: the cores that it works for */
    int share[NPU_MAX_CORES];    /* how many threads a core has */
    struct lane lane[LANE_SETS]; /* by set of cores */
};

struct rkf_runtime {
    rkf_runtime_options options; /* strings are copies, owned */
    struct logger log;
    struct npu_facts facts;
    const struct platform *platform;
    int threads;
    int *cpus;          /* [threads] CPU number per thread slot, the fastest first */
    uint16_t *capacity; /* [threads] how fast it is, of CPU_FASTEST */
    struct pool pool[POOL_KINDS];
    struct lease *lease;

    pthread_mutex_t load_lock; /* one model is loaded at a time; guards load_exec */
    struct exec load_exec;

    pthread_mutex_t lock; /* guards everything below, pools, queues, counters of models and jobs */
    pthread_cond_t ended; /* a work has ended */
    struct rkf_model *models;
    uint32_t n_models;
    uint64_t next_ticket;
    uint64_t waiting_items;
    struct batch_counts batch_inputs, batch_tokens;
    struct job *answers; /* ended, their callbacks not yet called: see queue_unlock */
    struct job *timers;  /* jobs with deadlines that have not ended */
    int64_t opened_ns;
    bool closing, masks_warned;
    bool keeper_started;
    pthread_t keeper; /* deadlines, sick cores, cores that other processes lease */
    pthread_cond_t keeper_wake;
};

/* ---- models (model.c, describe.c) */

struct queue { /* jobs of one (model, priority), oldest first */
    struct queue *next;
    int32_t priority;
    struct job *first, *last;
};

struct rkf_model {
    struct rkf_model *next;
    rkf_runtime *rt;
    char *name, *path;
    char *packs; /* directory of packed weights; NULL: none */
    struct model_dir *dir;
    struct weights *weights;
    struct tokenizer *tokenizer;
    struct pool *pool;
    struct body *body;     /* native, or compiled graphs */
    struct body *cpu_body; /* cpu_fallback: what runs when every core of the mask is sick; else NULL */
    bool graph;            /* body is compiled .rknn files */
    bool from_base;        /* the base model of compiled files that do not run here */
    uint32_t graph_length; /* longest sequence they take */
    struct pooler *pooler;
    enum dtype dtype;
    struct core_mask mask;
    bool exclusive, cpu_fallback, feed_types;
    int32_t priority;
    uint32_t max_length, batch_tokens;

    pthread_mutex_t head_lock;
    struct head *head; /* made at first use; head_lock */
    bool head_made;
    struct body *native; /* graph: for longer texts, made at first use; head_lock */

    pthread_mutex_t scratch_lock;
    struct tokenizer_scratch *scratch[16]; /* free ones; scratch_lock */
    uint32_t n_scratch;

    /* guarded by rt->lock */
    uint8_t cores;        /* allowed now */
    uint8_t leased;       /* exclusive: cores whose locks it holds against other processes */
    struct queue *queues; /* by falling priority; an empty one may stay */
    struct work *retries; /* works that failed and run once more, oldest first */
    uint32_t in_flight;   /* works */
    uint32_t jobs;        /* alive */
    uint64_t waiting_items, running_items;
    struct place_demand demand; /* items in the system, lately */
    struct parting_judge judge; /* of those that may join cores, or could */
    bool closing, off_npu;      /* off_npu: runs cpu_body now */
    int64_t n_requests, n_inputs, n_tokens, n_truncated, n_batches, n_failed, n_fallbacks;
};
/* The model's head, packed at first use. RKF_UNSUPPORTED if it has none. */
rkf_status model_head(struct rkf_model *m, struct exec *x, struct head **out, rkf_error *err) MUST_CHECK;
/* The native body of a model of compiled graphs, for what is longer than they are. */
rkf_status model_native(struct rkf_model *m, struct body **out, rkf_error *err) MUST_CHECK;
rkf_status model_scratch_get(struct rkf_model *m, struct tokenizer_scratch **out, rkf_error *err) MUST_CHECK;
void model_scratch_put(struct rkf_model *m, struct tokenizer_scratch *s);

/* ---- jobs (job.c) */

struct item { /* one sequence for the body */
    const struct encoding
        *seq;                /* the input's encoding, or one of its overflow windows; NULL with ids: the caller's ids */
    const int32_t *ids;      // [n]
    const uint8_t *type_ids; // [n]; NULL: zeros
    uint32_t n;              /* tokens */
    uint32_t input;          /* index of the input it came from */
    uint32_t skip;           /* leading tokens that pooling leaves out (prompt) */
    float *rows;             // [n_rows, width] f32: what collect kept; mem_alloc
    uint32_t n_rows, width;
};

struct text { /* an input's text as the tokenizer sees it: prompt in front, broken UTF-8 replaced */
    const char *p;
    size_t len;
    char *owned;           /* p's memory if it is ours */
    uint32_t prompt_chars; /* code points in front that are not the caller's */
};

struct job {
    struct job *next; /* in its queue */
    struct rkf_model *model;
    const struct task *task;
    rkf_request rq; /* scalars only: its pointers are dead after submit, but for the copies below */
    uint64_t ticket;
    int32_t priority;
    int64_t submitted_ns, queued_ns, started_ns, deadline_ns;
    int64_t tokenize_ns, run_ns;
    uint32_t n_inputs;
    struct encoding *encodings; /* [n_encodings] */
    uint32_t n_encodings;
    int32_t *raw_ids;           /* copies of inputs given as ids */
    uint8_t *raw_types;         /* and of their token types; NULL: none were given, or the model has none */
    struct text *texts, *pairs; /* [n_inputs]; kept for tasks that quote them */
    struct item *items;         /* [n_items] */
    uint32_t n_items;
    uint32_t *truncated, *n_tokens; /* [n_inputs] */
    float *matrix;                  // EMBED: [n_items, width] f32
    uint32_t width;
    struct arena mem;      /* copies of labels, ranges and what tasks need */
    const rkf_str *labels; /* [rq.n_labels] copies */
    const char *hypothesis;
    const float *ranges;
    rkf_result *result;

    /* guarded by rt->lock */
    uint32_t next_item, done_items;
    uint32_t in_flight;                  /* works that hold some of its items */
    bool queued, ended, answered;        /* ended: its answer is decided; answered: the caller has it */
    pthread_cond_t wake;                 /* a blocking caller waits here */
    struct job *timer_prev, *timer_next; /* among the jobs with deadlines */
    rkf_status status;
    rkf_error error;
    uint8_t cores_used;
    const char *device;
    bool blocking;
    rkf_done *done;
    void *cookie;
};
/* Checks the request, tokenises, copies what is kept. */
rkf_status job_create(struct rkf_model *m, const rkf_request *rq, struct job **out, rkf_error *err) MUST_CHECK;
void job_free(struct job *job);
/* One text made ready; `which` for messages ("input 3"). */
rkf_status text_make(struct rkf_model *m, rkf_str s, rkf_str prompt, bool strict, uint32_t index, struct text *out,
                     rkf_error *err) MUST_CHECK;
void text_free(struct text *t);
rkf_status prompt_find(const struct rkf_model *m, const rkf_request *rq, rkf_str *out, rkf_error *err) MUST_CHECK;
/* Items from an array of texts (and pairs, may be NULL), as the task and rq say. */
rkf_status job_encode(struct job *job, const rkf_request *rq, const rkf_str *texts, const rkf_str *pairs, uint32_t n,
                      const uint32_t *input_of, rkf_error *err) MUST_CHECK;

/* ---- tasks (task.c and task_*.c) */

enum collect { COLLECT_POOLED, COLLECT_HIDDEN, COLLECT_LOGITS, COLLECT_MASKS, COLLECT_SPARSE };
struct task {
    const char *name;
    enum collect collect;
    uint32_t heads;  /* bit per head_kind that can do it; 0: any model */
    bool windows;    /* long texts become overlapping windows instead of being truncated */
    uint32_t stride; /* default overlap of the windows, tokens */
    enum truncation_strategy truncation;
    bool keep_text; /* the answer quotes the text */
    bool prompts;   /* the model's default prompt applies */
    /* Makes the items; NULL: one per input, pairs allowed. */
    rkf_status (*items)(struct job *job, const rkf_request *rq, rkf_error *err);
    /* All items are in: fills job->result. NULL: nothing to do. */
    rkf_status (*finish)(struct job *job, rkf_error *err);
};
const struct task *task_get(rkf_task task); /* NULL: unknown */
rkf_status task_check(const struct rkf_model *m, const struct task *t, const rkf_request *rq,
                      rkf_error *err) MUST_CHECK;
/* Takes one slice's rows out of a run: items first .. first + sub->n_seqs - 1 of the job. */
rkf_status task_collect(struct job *job, struct exec *x, const struct batch *sub, const struct rows *rows,
                        uint32_t first, rkf_error *err) MUST_CHECK;
rkf_status embed_finish(struct job *job, rkf_error *err);
rkf_status rows_finish(struct job *job, rkf_error *err);
rkf_status rerank_items(struct job *job, const rkf_request *rq, rkf_error *err);
rkf_status rerank_finish(struct job *job, rkf_error *err);
rkf_status classify_finish(struct job *job, rkf_error *err);
rkf_status zero_shot_items(struct job *job, const rkf_request *rq, rkf_error *err);
rkf_status zero_shot_finish(struct job *job, rkf_error *err);
rkf_status items_from_inputs(struct job *job, const rkf_request *rq, rkf_error *err);
rkf_status choose_finish(struct job *job, rkf_error *err);
rkf_status sparse_finish(struct job *job, rkf_error *err);
rkf_status ner_finish(struct job *job, rkf_error *err);
rkf_status qa_items(struct job *job, const rkf_request *rq, rkf_error *err);
rkf_status qa_finish(struct job *job, rkf_error *err);
rkf_status fill_mask_finish(struct job *job, rkf_error *err);

/* ---- queue (queue.c), scheduling (schedule.c) and runners (run.c) */

struct slice { /* items of one job in a work */
    struct job *job;
    uint32_t first, n;
};
struct work {          /* what one exec runs at once: a batch of one model */
    struct work *next; /* among the model's retries */
    struct rkf_model *model;
    struct body *body;
    bool long_texts; /* longer than the compiled graphs: the native body runs instead */
    struct lane *lane;
    struct runner *runner;
    struct slice *slices; /* [n_slices] */
    uint32_t n_slices, n_seqs, n_tokens;
    uint32_t n_answered; /* sequences that are not in the system any more; rt->lock */
    int32_t priority;
    int64_t since_ns, start_ns;
    uint32_t attempts;
    bool judged;     /* its model's parting_judge is told what it did: */
    uint32_t ticket; /* parting_began */
};
void queue_init(rkf_runtime *rt);
rkf_status queue_submit(struct job *job, uint64_t *ticket, rkf_error *err) MUST_CHECK; /* takes the job on success */
/* Blocking: submits, takes part in the work, takes the result; the job is gone afterwards, also on failure. */
rkf_status queue_run(struct job *job, rkf_result **out, rkf_error *err) MUST_CHECK;
rkf_status queue_cancel(struct rkf_model *m, uint64_t ticket);
void queue_close_model(struct rkf_model *m);                  /* ends what waits, waits for what runs */
void queue_load_changed(struct rkf_model *m, int64_t now_ns); /* lock held: items came, or are gone */
void queue_schedule(rkf_runtime *rt);                         /* lock held: hands all that can start to its runner */
struct work *queue_take(rkf_runtime *rt); /* lock held: the next work that can start, its runner taken; NULL: none */
void queue_end(struct job *job, rkf_status status, const rkf_error *err); /* lock held: decides the answer, once */
void job_unlink(struct job *job);   /* lock held: out of its queue, if it is in one */
void job_release(struct job *job);  /* lock held: frees it once nobody holds it */
void queue_unlock(rkf_runtime *rt); /* lock held: releases it, then gives the answers of the jobs that have ended */
/* Lock held: frees cores and runner, ends what failed, lets go of the jobs. false: w waits for another try, not ours
 * any more. */
bool queue_work_done(struct work *w, rkf_status status, const rkf_error *err);
void keeper_poke(rkf_runtime *rt); /* lock held */
void keeper_stop(rkf_runtime *rt); /* lock not held */
void work_run(struct work *w);     /* lock not held: runs, collects, finishes and answers jobs, frees w */
void work_free(struct work *w);
void *runner_main(void *runner);

/* ---- lanes */
/* Deals threads out to cores: of CPUs that are alike evenly, neighbours to the same core; else so that cores are alike,
 * each with fast and slow ones. With fewer threads than cores, cores share them. capacity [threads] falls; users
 * [threads], share [n_cores] */
void deal_threads(const uint16_t *capacity, int threads, uint32_t n_cores, uint8_t *users, int *share);
rkf_status pool_setup(struct pool *p, rkf_runtime *rt, struct device *d, const struct platform *platform,
                      rkf_error *err) MUST_CHECK;
void pool_teardown(struct pool *p);
rkf_status pool_lane(struct pool *p, uint8_t cores, struct lane **out, rkf_error *err) MUST_CHECK; /* lock held */

/* ---- the NPU device (npu_device.c): RKF_UNAVAILABLE with the reason if it cannot be had */
rkf_status npu_device_open(rkf_runtime *rt, bool simulated, struct device **out, rkf_error *err) MUST_CHECK;
/* The .rknn files of a model as one body; RKF_NOT_FOUND: none for this platform. */
rkf_status npu_graph_open(struct device *d, const struct model_dir *m, const char *file, bool int8, struct body **out,
                          rkf_error *err) MUST_CHECK;
void npu_device_close(struct device *d);
/* Begins the document of rkf_devices: {"platform":..,"device":.. (no closing brace). */
rkf_status npu_device_describe(rkf_runtime *rt, const char *wish, bool required, struct buf *b,
                               rkf_error *err) MUST_CHECK;
uint8_t npu_device_hung(const struct device *d); /* cores with a call that never came back; 0 for other devices */
void npu_device_faults(const struct device *d, struct core_faults out[NPU_MAX_CORES]); /* zeros for other devices */

/* ---- results (result.c) */

struct result_item {
    rkf_tensor tensor;
    rkf_label *labels;
    rkf_span *spans;
    rkf_fill *fills;
    rkf_sparse *sparse;
    rkf_tokens *tokens;
    size_t n; /* of the one of labels, spans, fills, sparse that there is */
    rkf_info info;
};
struct rkf_result {
    size_t n;
    struct result_item *item; // [n]
    rkf_tensor all;           /* EMBED: [n, dim] */
    rkf_info info;
    char *device;
    void *matrix;     /* block behind `all`; mem_alloc_aligned */
    struct arena mem; /* every other array and string */
};
rkf_status result_create(size_t n, rkf_result **out, rkf_error *err) MUST_CHECK;
/* A copy in the result's memory; false: out of memory. */
bool result_str(rkf_result *r, const char *s, size_t len, rkf_str *out);

#endif
