/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of all commands: one table (options.c) drives parsing, the RKFORMER_* environment variables, --help,
 * docs/cli.md and the shell's completion.
 *
 * Parsing does no I/O and prints nothing. It writes straight into the option structs of rkformer.h; what those mean
 * (which platforms, masks and dtypes exist) the library checks, so that there is one truth. Strings are borrowed from
 * argv and the environment.
 */
#ifndef RKF_CLI_OPTIONS_H
#define RKF_CLI_OPTIONS_H

#include "base/status.h"

/* Who takes an option: groups that many commands share, then a bit for each command with options of its own. */
enum option_group {
    TAKES_RUNTIME = 1 << 0, /* where to compute */
    TAKES_MODEL = 1 << 1,   /* which model, how loaded */
    TAKES_TEXTS = 1 << 2,   /* where texts come from and where results go */
    TAKES_TOKENS = 1 << 3,  /* how a text becomes tokens */
    TAKES_JSON = 1 << 4,    /* documents for people, or --json */
    FOR_EMBED = 1 << 8,
    FOR_RERANK = 1 << 9,
    FOR_CLASSIFY = 1 << 10,
    FOR_NER = 1 << 11,
    FOR_QA = 1 << 12,
    FOR_FILL_MASK = 1 << 13,
    FOR_CHOOSE = 1 << 14,
    FOR_TOKENIZE = 1 << 15,
    FOR_HIDDEN = 1 << 16,
    FOR_BENCH = 1 << 17,
    FOR_HELP = 1 << 18,
    FOR_INSPECT = 1 << 19,
    FOR_SERVE = 1 << 20,
    FOR_PULL = 1 << 21,
    FOR_TOP = 1 << 22,
};

enum option_kind {
    OPTION_TEXT,    /* const char * */
    OPTION_STR,     /* rkf_str */
    OPTION_INT,     /* int32_t within lo..hi */
    OPTION_BYTES,   /* int64_t within lo..hi; "64MiB", "1G" */
    OPTION_SECONDS, /* int64_t microseconds within lo..hi (hi 0: any); "0.5" */
    OPTION_FLAG,    /* bool */
    OPTION_SWITCH,  /* rkf_switch: --name, --no-name */
    OPTION_SET,     /* int, set to lo */
    OPTION_CHOICE,  /* int, one of choices */
    OPTION_LIST,    /* struct str_list: comma-separated, adds up; lo: spaces around the commas count */
    OPTION_SETTING, /* struct setting_list: checked by whoever takes it (server.h), adds up */
};

struct choice {
    const char *name; /* NULL ends a list */
    int value;
};

struct option {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    enum option_kind kind;
    uint32_t groups; /* of enum option_group */
    size_t at;       /* offset in struct options */
    int64_t lo, hi;
    const struct choice *choices;
    const char *value; /* what help calls the value: "DIR"; with bars the words it may be: "auto|cpu" */
    const char *help;
};

struct str_list {
    rkf_str *p;
    size_t n;
    bool from_env; /* the first argument replaces it */
};

struct setting_list {
    struct setting_text {
        const char *name, *value;
    } * p;
    size_t n;
};

enum output_format { FORMAT_JSON, FORMAT_NPY, FORMAT_F32 };

struct command;
struct options {
    const struct command *command;
    rkf_runtime_options runtime;
    rkf_model_options model;
    rkf_request request;

    const char *input, *output;
    bool jsonl, no_progress, json;
    int64_t max_line; /* bytes */
    int format;       /* enum output_format */
    struct str_list labels;
    rkf_str context;
    bool sparse, per_token, logits, no_special_tokens;

    int64_t bench_us; /* how long each measurement of bench takes */
    int32_t in_flight;
    struct str_list lengths; /* token counts of bench */

    struct setting_list settings; /* serve's, in the order given */
    const char *config;
    bool json_log, systemd;
    rkf_switch auto_truncate;

    const char *token, *cache_dir, *local_dir;
    struct str_list include, exclude; /* pull's patterns */
    int32_t retries;
    bool all, force, dry_run, quiet;

    const char *url, *api_key; /* of a server */
    int64_t interval_us;
    bool once;

    bool help, version, markdown;
    char **texts; /* what is no option, in order */
    size_t n_texts;
};

extern const struct option option_table[];
extern const size_t option_count;

/* Environment first, then arguments (without the program's and the command's name). On failure nothing is left to free.
 * RKF_INVALID names the option, what it may be, and the nearest one that exists. */
rkf_status options_parse(const struct command *command, int argc, char **argv, struct options *out,
                         rkf_error *err) MUST_CHECK;
void options_free(struct options *o);

bool option_belongs(const struct option *opt, const struct command *command);
bool option_takes_value(const struct option *opt);
/* "RKFORMER_CORE_MASK" */
void option_env_name(const struct option *opt, char *buf, size_t cap);
/* The words an option may be, in order (i from 0); false when there are no more. */
bool option_word(const struct option *opt, size_t i, char *buf, size_t cap);
/* Edit distance of two words, adjacent swaps counted as one; for "did you mean". */
size_t word_distance(const char *a, const char *b);

#endif
