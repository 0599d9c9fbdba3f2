/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rkformer: Hugging Face encoder models on Rockchip NPUs and on CPUs.
 *
 * The whole public API. Reading order: status and errors, the runtime (devices, cores, queue), models, requests,
 * results.
 *
 *     rkf_runtime *rt = NULL; rkf_model *model = NULL; rkf_result *result = NULL; rkf_error err;
 *     rkf_model_options mo = RKF_MODEL_OPTIONS_INIT;
 *     mo.path = "all-MiniLM-L6-v2"; mo.core_mask = "auto";
 *     if (rkf_runtime_open(NULL, &rt, &err) || rkf_model_open(rt, &mo, &model, &err)) return fail(&err);
 *     rkf_input in = { .text = RKF_STR("hello") };
 *     rkf_request rq = RKF_REQUEST_INIT; rq.task = RKF_TASK_EMBED; rq.inputs = &in; rq.n_inputs = 1;
 *     if (rkf_run(model, &rq, &result, &err)) return fail(&err);
 *     rkf_tensor t; rkf_result_tensor(result, RKF_ALL, &t);    // [1, 384] f32
 *
 * docs/example.c is the complete program, compiled and run by the tests.
 *
 * Threads. Every object may be used from any number of threads at once. A close or free call must be the last use of
 * its object. Ownership. Whatever a function returns through an `out` parameter belongs to the caller, who frees it
 * with the named call. Inputs are borrowed for the length of the call only: rkf_submit copies what it keeps. Errors.
 * Every function that can fail returns rkf_status and takes a nullable rkf_error as its last parameter, which it fills
 * when it fails and leaves alone when it succeeds. On failure outputs are untouched. The library never aborts, never
 * exits, never prints, never touches the network. Growth. Option structs begin with their size in bytes (set by the
 * *_INIT macros); fields are only ever added at the end. Text is UTF-8; positions in text are in Unicode code points of
 * the caller's text.
 */
#ifndef RKFORMER_H
#define RKFORMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RKF_VERSION_MAJOR 0
#define RKF_VERSION_MINOR 1
#define RKF_VERSION_PATCH 0

#if defined(__GNUC__)
#define RKF_API __attribute__((visibility("default")))
#else
#define RKF_API
#endif

/* ---------------------------------------------------------------- status */

typedef enum rkf_status {
    RKF_OK = 0,
    RKF_INVALID,     /* wrong use: an argument, option or mask that means nothing (exit status 2) */
    RKF_UNAVAILABLE, /* a platform, mask or device that exists but not here (exit status 2) */
    RKF_NOT_FOUND,   /* no such file, model or name */
    RKF_IO,          /* the operating system refused a read, write or map */
    RKF_FORMAT,      /* a file is broken or hostile: says which and where */
    RKF_UNSUPPORTED, /* a well-formed file asks for something this version cannot do: names it */
    RKF_NO_MEMORY,
    RKF_BUSY,      /* the queue is full, try again later */
    RKF_CANCELLED, /* rkf_cancel was called */
    RKF_DEADLINE,  /* the request's timeout passed */
    RKF_DEVICE,    /* the device failed */
    RKF_CONFLICT,  /* another model holds these cores exclusively */
    RKF_CLOSED,    /* the model or runtime is being closed */
    RKF_TOO_LONG,  /* an input is longer than the model takes and truncation was switched off */
    RKF_INTERNAL,  /* a bug in rkformer */
} rkf_status;

/* What happened and what to do, e.g. "core mask '2' is not available on rk3576: it has 2 NPU cores; use auto, 0, 1, 0_1
 * or all". */
typedef struct rkf_error {
    rkf_status status;
    char message[508]; /* UTF-8, NUL-terminated, one line */
} rkf_error;

RKF_API const char *rkf_status_name(rkf_status status); /* "RKF_BUSY"; static */
RKF_API const char *rkf_version(void);                  /* "0.1.0"; static */
RKF_API void rkf_free(void *p);                         /* frees the strings this API hands out; NULL is fine */

/* A piece of UTF-8 text; need not end in NUL. {NULL, 0} means "not given", {"", 0} the empty string. */
typedef struct rkf_str {
    const char *ptr;
    size_t len; /* bytes */
} rkf_str;
#define RKF_STR(literal) ((rkf_str){ (literal), sizeof(literal) - 1 })

typedef enum rkf_log_level { RKF_LOG_ERROR, RKF_LOG_WARN, RKF_LOG_INFO, RKF_LOG_DEBUG } rkf_log_level;
/* Called on any thread, with one line of text without its newline; must not call back into the library. */
typedef void rkf_log_fn(void *cookie, rkf_log_level level, const char *line);

/* ---------------------------------------------------------------- runtime: devices, cores, one queue */

typedef struct rkf_runtime rkf_runtime;

typedef struct rkf_runtime_options {
    size_t size;          /* sizeof(rkf_runtime_options) */
    const char *platform; /* NULL or "auto": detect; else rk3588, rk3576, rk3568, rk3566, rk3562, cpu */
    const char *device;   /* NULL or "auto"; cpu, rknn, sim */
    bool require_npu;     /* a missing or unusable NPU is an error instead of the CPU with a warning */
    bool no_pin;          /* do not pin threads to CPUs */
    int32_t threads;      /* CPU threads in all; 0: every CPU this process may use (affinity, cgroup quota) */
    int32_t batch_tokens; /* most tokens in one batch; 0: chosen by the device */
    int32_t queue_limit;  /* most inputs waiting before RKF_BUSY; 0: 65536 */
    const char *root;     /* where /proc, /sys, /dev are looked up; NULL: "/" (tests, containers) */
    const char *lock_dir; /* leases between processes; NULL: /run/lock/rkformer */
    const char
        *npu_runtime; /* path of the vendor runtime library; NULL: RKFORMER_RKNN_LIBRARY, then the usual places */
    rkf_log_fn *log;  /* NULL: silent */
    void *log_cookie;
    rkf_log_level log_level; /* lines above this level are not made */
    const char *cpu_flags;   /* NULL: all the processor has; else an instruction set to stop at: portable, avx2, avx512,
                                neon, ... */
} rkf_runtime_options;
#define RKF_RUNTIME_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        .size = sizeof(rkf_runtime_options), .log_level = RKF_LOG_WARN                                                 \
    }

/* options may be NULL. Errors: RKF_INVALID, RKF_UNAVAILABLE, RKF_NO_MEMORY, RKF_DEVICE. */
RKF_API rkf_status rkf_runtime_open(const rkf_runtime_options *options, rkf_runtime **out, rkf_error *err);
/* Closes what models are still open (their requests end with RKF_CLOSED), waits for runs in flight. NULL is fine. */
RKF_API void rkf_runtime_close(rkf_runtime *rt);
/* Gives the scratch memory of idle cores back to the system, with what the C library keeps of freed memory; the next
 * runs take what they need again. For a program that has been quiet for a while. NULL is fine. */
RKF_API void rkf_runtime_trim(rkf_runtime *rt);

/* JSON document (free with rkf_free): platform, virtual or not, devices, cores, masks, driver, runtime, telemetry, what
 * is missing. options as for rkf_runtime_open (may be NULL); nothing is opened that needs an NPU. */
RKF_API rkf_status rkf_devices(const rkf_runtime_options *options, char **json, rkf_error *err);
/* JSON document (free with rkf_free): live load per core, queue and counters per model. Per core, "busy_us" is the time
 * with a batch, "faults" the jobs that failed, timed out ("timeouts") or hung ("hangs"), those that were repeated with
 * success too; "lost_to_resets" those that another core's timeout killed. */
RKF_API rkf_status rkf_stats(rkf_runtime *rt, char **json, rkf_error *err);
/* JSON document (free with rkf_free) about a .rknn file or a model directory, without loading it. */
RKF_API rkf_status rkf_inspect(const char *path, char **json, rkf_error *err);

/* ---------------------------------------------------------------- models */

typedef struct rkf_model rkf_model;

typedef struct rkf_model_options {
    size_t size;            /* sizeof(rkf_model_options) */
    const char *path;       /* directory, .rknn file, or hub id found in the Hugging Face cache */
    const char *name;       /* for stats and messages; NULL: the last part of path */
    const char *revision;   /* of a hub id; NULL: main */
    const char *subfolder;  /* of the model directory; NULL: none */
    const char *file_name;  /* a .rknn file of the model, relative to its directory (as RK-Transformers) */
    const char *core_mask;  /* auto (NULL), 0, 1, 2, 0_1, 0_1_2, all */
    const char *device;     /* NULL: the runtime's; "cpu" keeps this model off the NPU */
    const char *dtype;      /* NULL or "auto": f32 on the CPU, f16 on the NPU; f32, bf16, f16, int8 */
    bool exclusive;         /* other models stay off this model's cores while it is loaded */
    bool cpu_fallback;      /* if every core of the mask is sick, run on the CPU with a loud warning */
    int32_t priority;       /* default of its requests; higher runs first */
    int32_t max_length;     /* tokens; 0: the model's own */
    const char *pack_cache; /* directory for packed weights; NULL: none */
} rkf_model_options;
#define RKF_MODEL_OPTIONS_INIT                                                                                         \
    {                                                                                                                  \
        .size = sizeof(rkf_model_options)                                                                              \
    }

/* Errors: RKF_NOT_FOUND, RKF_FORMAT, RKF_UNSUPPORTED, RKF_INVALID, RKF_UNAVAILABLE (mask), RKF_CONFLICT, RKF_NO_MEMORY,
 * RKF_IO. */
RKF_API rkf_status rkf_model_open(rkf_runtime *rt, const rkf_model_options *options, rkf_model **out, rkf_error *err);
/* Requests still waiting end with RKF_CLOSED; runs in flight are waited for. NULL is fine. */
RKF_API void rkf_model_close(rkf_model *model);
/* JSON document (free with rkf_free): name, path, architecture, task, sizes, labels, prompts, pooling, max_length,
 * dtype, device, core mask. */
RKF_API rkf_status rkf_model_describe(const rkf_model *model, char **json, rkf_error *err);

/* ---------------------------------------------------------------- requests */

typedef enum rkf_task {
    RKF_TASK_EMBED,     /* -> tensor [n, dim] */
    RKF_TASK_SPARSE,    /* SPLADE -> rkf_result_sparse */
    RKF_TASK_TOKENS,    /* one embedding per token -> tensor [tokens, dim] per input */
    RKF_TASK_HIDDEN,    /* last hidden state -> tensor [tokens, hidden_size] f32 per input */
    RKF_TASK_LOGITS,    /* the head's raw output -> tensor per input: [labels], [tokens, labels], [tokens, 2], [tokens,
                           vocab] */
    RKF_TASK_RERANK,    /* query against inputs -> rkf_result_labels: one score per input, input order */
    RKF_TASK_CLASSIFY,  /* -> rkf_result_labels by falling score */
    RKF_TASK_ZERO_SHOT, /* candidate labels over an NLI model -> rkf_result_labels by falling score */
    RKF_TASK_NER,       /* -> rkf_result_spans */
    RKF_TASK_QA,        /* text: question, pair: context -> rkf_result_spans: the answers */
    RKF_TASK_FILL_MASK, /* -> rkf_result_fills */
    RKF_TASK_CHOOSE, /* query: the question; inputs: the choices -> rkf_result_labels: one probability per choice, input
                        order */
} rkf_task;

typedef struct rkf_input {
    rkf_str text;
    rkf_str pair;       /* second text of a pair; {NULL, 0}: none */
    const int32_t *ids; /* instead of text: token ids, special tokens included; NULL: use text */
    size_t n_ids;
    const int32_t *type_ids; /* with ids: [n_ids] token types; NULL: 0. Unused by models without token types */
} rkf_input;

typedef enum rkf_truncate {
    RKF_TRUNCATE_RIGHT,
    RKF_TRUNCATE_LEFT,
    RKF_TRUNCATE_NONE /* too long is RKF_TOO_LONG */
} rkf_truncate;
typedef enum rkf_switch { RKF_DEFAULT = 0, RKF_ON, RKF_OFF } rkf_switch; /* DEFAULT: as the model's files say */
typedef enum rkf_pooling {
    RKF_POOLING_DEFAULT,
    RKF_POOLING_CLS,
    RKF_POOLING_MEAN,
    RKF_POOLING_MAX,
    RKF_POOLING_MEAN_SQRT_LEN,
    RKF_POOLING_WEIGHTED_MEAN,
    RKF_POOLING_LAST_TOKEN,
} rkf_pooling;
typedef enum rkf_precision { RKF_FLOAT32, RKF_INT8, RKF_UINT8, RKF_BINARY, RKF_UBINARY } rkf_precision;
typedef enum rkf_aggregation {
    RKF_AGGREGATE_SIMPLE,
    RKF_AGGREGATE_NONE,
    RKF_AGGREGATE_FIRST,
    RKF_AGGREGATE_AVERAGE,
    RKF_AGGREGATE_MAX
} rkf_aggregation;
typedef enum rkf_scores { RKF_SCORES_DEFAULT, RKF_SCORES_SIGMOID, RKF_SCORES_SOFTMAX, RKF_SCORES_RAW } rkf_scores;

typedef struct rkf_request {
    size_t size; /* sizeof(rkf_request) */
    rkf_task task;
    const rkf_input *inputs;
    size_t n_inputs;
    rkf_str query; /* RERANK: the query, CHOOSE: the question */

    /* text */
    rkf_str prompt;      /* put before every text; not given: prompt_name's */
    rkf_str prompt_name; /* of the model's prompts; not given: its default_prompt_name */
    int32_t max_length;  /* tokens, special tokens included; 0: the model's */
    rkf_truncate truncate;
    bool strict;      /* invalid UTF-8 is RKF_INVALID; else it is replaced as Hugging Face does */
    int32_t stride;   /* overlap of windows in tokens (NER, QA, chunk); 0: the task's default */
    rkf_switch chunk; /* EMBED: long texts in overlapping windows, pooled */

    /* embeddings */
    rkf_switch normalize;
    rkf_pooling pooling;
    int32_t truncate_dim; /* 0: all */
    rkf_precision precision;
    const float *ranges; /* [2, dim] f32 lowest and highest value per dimension for INT8, UINT8; NULL: of this request's
                            embeddings */

    /* scores */
    rkf_scores scores;
    int32_t top_k; /* 0: the task's default (all labels; 1 answer; 5 fills) */
    rkf_aggregation aggregation;
    const rkf_str *labels; /* ZERO_SHOT: candidates; FILL_MASK: targets */
    size_t n_labels;
    bool multi_label;            /* ZERO_SHOT: labels independent of each other */
    rkf_str hypothesis_template; /* ZERO_SHOT; "{}" is the label; not given: "This example is {}." */
    int32_t max_answer_length;   /* QA, tokens; 0: 15 */
    bool impossible_answer;      /* QA: the empty answer may win */

    /* scheduling */
    int32_t priority;   /* 0: the model's */
    int64_t timeout_us; /* from now; 0: none */
} rkf_request;
#define RKF_REQUEST_INIT                                                                                               \
    {                                                                                                                  \
        .size = sizeof(rkf_request)                                                                                    \
    }

typedef struct rkf_result rkf_result;
typedef uint64_t rkf_ticket;
/* Runs exactly once per successful rkf_submit, on an engine thread or inside rkf_cancel; must not block. result is the
 * callee's to free (NULL unless status is RKF_OK); err is borrowed (NULL if status is RKF_OK). */
typedef void rkf_done(void *cookie, rkf_ticket ticket, rkf_status status, rkf_result *result, const rkf_error *err);

/* Blocking. Errors: everything in the list above but RKF_CONFLICT. */
RKF_API rkf_status rkf_run(rkf_model *model, const rkf_request *request, rkf_result **out, rkf_error *err);
/* Tokenises in the caller's thread, copies what it keeps, queues. ticket may be NULL. On failure `done` is not called.
 */
RKF_API rkf_status rkf_submit(rkf_model *model, const rkf_request *request, rkf_done *done, void *cookie,
                              rkf_ticket *ticket, rkf_error *err);
/* RKF_OK: done ran with RKF_CANCELLED. RKF_NOT_FOUND: the request has already ended, or runs and will end by itself. */
RKF_API rkf_status rkf_cancel(rkf_model *model, rkf_ticket ticket);

/* ---------------------------------------------------------------- tokens */

typedef struct rkf_tokens {
    size_t n;
    const int32_t *ids;      /* [n] */
    const int32_t *type_ids; /* [n] */
    const int32_t (
        *offsets)[2];        /* [n][2] begin, end in code points of the text (pair: of the text the token came from) */
    const uint8_t *special;  /* [n] 1: added by the post-processor */
    const int32_t *word_ids; /* [n] word of the text, -1: none */
    const int32_t *sequence_ids; /* [n] 0: text, 1: pair, -1: none */
    size_t truncated;            /* tokens cut */
} rkf_tokens;

/* Uses request's inputs, prompt, max_length, truncate, strict. add_special_tokens as in Hugging Face. Read with
 * rkf_result_tokens. */
RKF_API rkf_status rkf_tokenize(rkf_model *model, const rkf_request *request, bool add_special_tokens, rkf_result **out,
                                rkf_error *err);
/* *text is NUL-terminated UTF-8 (free with rkf_free). */
RKF_API rkf_status rkf_decode(rkf_model *model, const int32_t *ids, size_t n, bool skip_special_tokens, char **text,
                              rkf_error *err);
/* The vocabulary's own text of an id; NULL if there is none; lives as long as the model. */
RKF_API const char *rkf_token_text(const rkf_model *model, int32_t id);

/* ---------------------------------------------------------------- results */

#define RKF_ALL ((size_t)-1)

typedef enum rkf_dtype { RKF_F32, RKF_I8, RKF_U8, RKF_I32 } rkf_dtype;
typedef struct rkf_tensor { /* row-major, dense; borrowed from the result */
    const void *data;
    rkf_dtype type;
    int32_t ndim;
    int64_t shape[3];
} rkf_tensor;
typedef struct rkf_label {
    rkf_str label; /* empty for RERANK and CHOOSE */
    float score;
    int32_t id; /* label id; RERANK and CHOOSE: input index */
} rkf_label;
typedef struct rkf_span {
    rkf_str label; /* NER: entity or entity_group */
    rkf_str text;  /* NER: word, QA: answer */
    float score;
    int32_t index;      /* NER with RKF_AGGREGATE_NONE: token index, else -1 */
    int64_t start, end; /* code points of the text (QA: of the context) */
} rkf_span;
typedef struct rkf_fill {
    int32_t mask;  /* which mask of the text, from 0 */
    int32_t token; /* id */
    rkf_str token_str;
    rkf_str sequence;
    float score;
} rkf_fill;
typedef struct rkf_sparse {
    int32_t index; /* vocabulary id */
    float value;
} rkf_sparse;
typedef struct rkf_info {
    int64_t tokens;                        /* of this input (RKF_ALL: of all), special tokens included */
    int64_t truncated;                     /* tokens cut */
    int64_t tokenize_us, queue_us, run_us; /* RKF_ALL only, else 0 */
    const char *device;                    /* "cpu", "rknn", "sim"; lives as long as the result */
    uint32_t cores;                        /* bit per core that ran any of it; 0: not on numbered cores */
} rkf_info;

RKF_API size_t rkf_result_count(const rkf_result *result); /* inputs */
/* item RKF_ALL: the whole [n, dim] (EMBED only). Errors: RKF_INVALID if the task has no tensors or item is out of
 * range. */
RKF_API rkf_status rkf_result_tensor(const rkf_result *result, size_t item, rkf_tensor *out);
/* The arrays below are borrowed from the result; *n is 0 and NULL is returned where the task has none. */
RKF_API const rkf_label *rkf_result_labels(const rkf_result *result, size_t item, size_t *n);
RKF_API const rkf_span *rkf_result_spans(const rkf_result *result, size_t item, size_t *n);
RKF_API const rkf_fill *rkf_result_fills(const rkf_result *result, size_t item, size_t *n);
RKF_API const rkf_sparse *rkf_result_sparse(const rkf_result *result, size_t item, size_t *n);
RKF_API const rkf_tokens *rkf_result_tokens(const rkf_result *result, size_t item);
RKF_API rkf_status rkf_result_info(const rkf_result *result, size_t item, rkf_info *out);
RKF_API void rkf_result_free(rkf_result *result); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
