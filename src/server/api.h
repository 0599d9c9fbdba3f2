/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request as every dialect means it, one answer as every dialect writes it, one error as every dialect shows it.
 *
 * The way: bytes -> body_read (fields.h, bodies.h: pure, no I/O) -> struct api_request -> call.h (rkformer.h) ->
 * struct api_answer -> a writer (writers.h: pure) -> bytes. Nothing here knows HTTP connections.
 */
#ifndef RKF_SERVER_API_H
#define RKF_SERVER_API_H

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "rkformer.h"

/* Whose manners an endpoint has: shape and codes of errors, what a missing content type means. */
enum dialect { DIALECT_TEI, DIALECT_OPENAI, DIALECT_COHERE, DIALECT_JINA, DIALECT_OLLAMA, DIALECT_COUNT };

/* ---- errors */

enum api_fault {
    FAULT_NONE,
    FAULT_REQUEST,     /* a request that others might read differently (head.h) */
    FAULT_JSON,        /* the body is not JSON */
    FAULT_TYPE,        /* a field is missing or has the wrong type */
    FAULT_FIELD,       /* a field that this dialect refuses */
    FAULT_EMPTY,       /* an empty list of inputs */
    FAULT_VALIDATION,  /* right types, wrong values */
    FAULT_TOKENIZER,   /* the text could not be made into tokens */
    FAULT_MODEL_TYPE,  /* the model cannot do this task */
    FAULT_BATCH_SIZE,  /* more inputs than this server takes at once */
    FAULT_MEDIA,       /* content type is not JSON */
    FAULT_PAYLOAD,     /* body over the limit */
    FAULT_KEY,         /* API key missing or wrong */
    FAULT_FORBIDDEN,   /* a key, but not the administrator's */
    FAULT_NO_ROUTE,    /* nothing at this path */
    FAULT_METHOD,      /* something at this path, not for this method */
    FAULT_NO_MODEL,    /* no model of this name */
    FAULT_CONFLICT,    /* the model's name or cores are taken */
    FAULT_OVERLOADED,  /* queues are full */
    FAULT_DEADLINE,    /* timeout_ms or the server's limit passed */
    FAULT_BACKEND,     /* the device failed */
    FAULT_UNAVAILABLE, /* starting, stopping, model closed */
    FAULT_GONE,        /* the client went away (never seen by it; logs and metrics) */
    FAULT_INTERNAL,    /* out of memory, a bug */
    FAULT_COUNT
};

struct api_error {
    enum api_fault fault;
    char param[48];    /* the field it is about, "" if none */
    char message[512]; /* one line */
};
/* Fills *e; always false, for `return api_fail(...)`. */
bool api_fail(struct api_error *e, enum api_fault fault, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The fault that a status of the library means to a client. */
enum api_fault api_fault_of(rkf_status status);
int api_error_status(enum dialect d, enum api_fault fault); /* HTTP status */
/* Body and content type of the error; id is the request's. An empty body is possible (TEI's 401). */
void api_error_write(struct buf *out, enum dialect d, const struct api_error *e, const char *id, const char **type);

/* ---- requests */

/* Embedding types, also what `precision` may ask; bits for Cohere's list. */
enum embed_type { EMBED_FLOAT, EMBED_INT8, EMBED_UINT8, EMBED_BINARY, EMBED_UBINARY, EMBED_BASE64, EMBED_TYPE_COUNT };
extern const char *const embed_type_names[EMBED_TYPE_COUNT + 1];

enum input_type { INPUT_ANY, INPUT_QUERY, INPUT_DOCUMENT, INPUT_CLASSIFICATION, INPUT_CLUSTERING, INPUT_MATCHING };
enum jina_type { JINA_FLOAT, JINA_BASE64, JINA_BINARY, JINA_UBINARY };
enum tristate { TRI_UNSET = -1, TRI_NO = 0, TRI_YES = 1 };
enum side { SIDE_RIGHT, SIDE_LEFT };
enum cut { CUT_UNSET = -1, CUT_NONE, CUT_START, CUT_END }; /* Cohere's NONE, START, END */

/*
 * A parsed body. Raw fields are what the dialects' words were; the body's `finish` turns them into `rq`. Texts point
 * into `doc` or `mem`.
 */
struct api_request {
    rkf_request rq; /* task is set by the endpoint; inputs are `inputs` */
    struct arena mem;
    yyjson_doc *doc;

    rkf_str model;     /* not given: any */
    rkf_input *inputs; /* [n_inputs] */
    size_t n_inputs;
    size_t max_inputs; /* longer lists are refused (FAULT_BATCH_SIZE) before memory is taken for them */
    bool single;       /* one bare input, not a list */
    rkf_str query;     /* rerank: query; similarity: source sentence; choose: question */
    rkf_str *labels;   /* [n_labels] candidate labels, targets, ignored labels; Cohere v1: rank_fields */
    size_t n_labels;

    int32_t truncate;   /* enum tristate */
    int32_t cut;        /* enum cut */
    int32_t direction;  /* enum side */
    int32_t max_length; /* tokens, 0: the model's */
    rkf_str prompt_name;
    int32_t input_type; /* enum input_type: Cohere's input_type, Jina's task: chooses a prompt if the model has one */
    int32_t normalize;  /* enum tristate */
    int64_t dimensions; /* -1: not given */

    int32_t precision; /* enum embed_type; one type for the whole answer */
    int32_t base64;    /* 1: embeddings as base64 of their bytes */
    int32_t jina_type; /* enum jina_type */
    uint32_t types;    /* bits of enum embed_type, 0: not given (Cohere) */

    bool raw_scores;
    int32_t activation;  /* 0: not given, 1 sigmoid, 2 softmax, 3 none */
    int32_t return_text; /* enum tristate */
    int64_t top_n;       /* -1: all */
    int32_t aggregation; /* none, simple, first, average, max */
    bool multi_label;
    rkf_str hypothesis_template;
    int64_t stride, max_answer_length, max_tokens_per_doc;
    bool impossible_answer;

    bool add_special_tokens, skip_special_tokens;
    int64_t priority, timeout_ms;

    struct { /* POST /models/load */
        rkf_str path, name, revision, core_mask, device, dtype, file_name;
        bool exclusive;
        int64_t max_length, limit;
    } load;
};
void api_request_init(struct api_request *r, size_t max_inputs);
void api_request_free(struct api_request *r);

/* ---- answers */

/* What one input got; which members are set depends on the task. Borrowed from the results. */
struct api_item {
    const void *data; /* EMBED: [dim]; TOKENS, HIDDEN: [rows, dim]; of `type` */
    rkf_dtype type;
    int64_t rows, dim;
    const rkf_label *labels;  /* [n] CLASSIFY, ZERO_SHOT; RERANK, CHOOSE: [1] */
    const rkf_span *spans;    /* [n] NER, QA */
    const rkf_fill *fills;    /* [n] FILL_MASK */
    const rkf_sparse *sparse; /* [n] SPARSE */
    const rkf_tokens *tokenized;
    const char *const *token_texts; /* [tokenized->n] text of each id, NULL: none */
    const char *text;               /* decoded */
    size_t n;
    int64_t tokens, truncated;
};
struct api_answer {
    const struct api_request *req;
    const char *model;      /* served name */
    const char *id;         /* request id */
    const char *device;     /* that computed it; NULL: none did */
    struct api_item *items; /* [n] one per input */
    size_t n;
    int64_t tokens, truncated, characters;           /* of all inputs */
    int64_t total_us, tokenize_us, queue_us, run_us; /* total counts from the request's arrival */
    int64_t created;                                 /* seconds since 1970 */
};

#endif
