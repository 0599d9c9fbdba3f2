/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request bodies as tables. One table per body says for every field its name, kind and place in struct api_request; it
 * is what reads the body and what /openapi.json shows. Reading is pure: bytes in, struct out, bounded by the bytes.
 */
#ifndef RKF_SERVER_FIELDS_H
#define RKF_SERVER_FIELDS_H

#include "server/api.h"

enum field_kind {
    FIELD_BOOL,                /* bool */
    FIELD_TRISTATE,            /* int32_t, enum tristate: a boolean that may be left out */
    FIELD_INT,                 /* int64_t in lo..hi */
    FIELD_INT32,               /* int32_t in lo..hi */
    FIELD_STR,                 /* rkf_str */
    FIELD_TEMPLATE,            /* rkf_str with {} in it */
    FIELD_CHOICE,              /* int32_t: index into choices, plus lo */
    FIELD_CHOICES,             /* uint32_t: bits of indices into choices */
    FIELD_STRS,                /* labels: a list of strings */
    FIELD_WORDS,               /* labels: a list of strings that are not empty */
    FIELD_LABELS,              /* labels: a list of strings, or one string with commas */
    FIELD_STR_OR_STRS,         /* labels: a string or a list of strings */
    FIELD_QUERY,               /* rkf_str: a string or {"text": text} */
    FIELD_INPUTS,              /* inputs: text, [text], [id], [[id]], or text and [id] mixed */
    FIELD_INPUTS_OR_DOCUMENTS, /* the same, or {"text": text} in place of a text (OpenAI's and Jina's input) */
    FIELD_TEXTS,               /* inputs: text or [text] */
    FIELD_TEXT_LIST,           /* inputs: [text] */
    FIELD_DOCUMENTS,           /* inputs: [text or {"text": text} or an object of strings] */
    FIELD_CONTENTS,            /* inputs: [{"content": [{"type": "text", "text": text}]}] (Cohere v2) */
    FIELD_SEQUENCES,           /* inputs: text, [text], [text, pair], [[text], [text, pair], ...] (TEI's /predict) */
    FIELD_PAIRABLE,            /* inputs: text, [text], {"text", "text_pair"}, or a list of those objects */
    FIELD_QUESTIONS,           /* inputs: {"question", "context"} or a list of these */
    FIELD_IDS,                 /* inputs: [id] or [[id]] */
    FIELD_OBJECT,              /* a nested table, fields of the same struct */
    FIELD_IGNORED,             /* taken and not used */
    FIELD_UNSUPPORTED,         /* null, false and empty lists are fine, anything else is refused */
    FIELD_KIND_COUNT
};

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset; /* in struct api_request */
    bool required;
    int64_t lo, hi;             /* FIELD_INT, FIELD_INT32: the range */
    const char *const *choices; /* FIELD_CHOICE, FIELD_CHOICES: NULL-terminated */
    const struct field *fields; /* FIELD_OBJECT: ends with a NULL name */
    const char *schema;         /* JSON that replaces the kind's own in /openapi.json */
    const char *doc;
};

struct body {
    const char *name;           /* of its schema */
    const struct field *fields; /* ends with a NULL name */
    bool strict;                /* unknown fields are refused */
    const char *extra;          /* more members of its JSON schema */
    const char *key;            /* a body with this field is this one, where a path takes several */
    /* Raw fields -> rq; may be NULL. */
    bool (*finish)(struct api_request *r, struct api_error *e);
};

/* Parses bytes into a document (FAULT_JSON). */
bool body_parse(const char *p, size_t len, yyjson_doc **out, struct api_error *e);
/* Reads root with the table; r was set up by api_request_init and stays the caller's to free, also on failure. */
bool body_read(const struct body *body, yyjson_val *root, struct api_request *r, struct api_error *e);
/* The JSON schema of a body, OpenAPI 3.1. */
struct schema_facts { /* of the model that answers, so that the schema promises nothing that it refuses */
    int64_t max_dimension, max_id;
    const char *prompts; /* JSON list of the names of its prompts */
    const char *devices; /* JSON list of the devices that models may ask for */
    const char *mask;    /* regular expression of its mask token, escaped for JSON */
};
void body_write_schema(const struct body *body, const struct schema_facts *facts, struct buf *out);

#endif
