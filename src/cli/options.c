/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"
#include "base/mem.h"
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct choice truncations[] = {
    { "right", RKF_TRUNCATE_RIGHT },
    { "left", RKF_TRUNCATE_LEFT },
    { "none", RKF_TRUNCATE_NONE },
    { NULL, 0 },
};
static const struct choice poolings[] = {
    { "cls", RKF_POOLING_CLS },
    { "mean", RKF_POOLING_MEAN },
    { "max", RKF_POOLING_MAX },
    { "mean_sqrt_len_tokens", RKF_POOLING_MEAN_SQRT_LEN },
    { "weightedmean", RKF_POOLING_WEIGHTED_MEAN },
    { "lasttoken", RKF_POOLING_LAST_TOKEN },
    { NULL, 0 },
};
static const struct choice precisions[] = {
    { "float32", RKF_FLOAT32 }, { "int8", RKF_INT8 },       { "uint8", RKF_UINT8 },
    { "binary", RKF_BINARY },   { "ubinary", RKF_UBINARY }, { NULL, 0 },
};
static const struct choice aggregations[] = {
    { "simple", RKF_AGGREGATE_SIMPLE }, { "first", RKF_AGGREGATE_FIRST }, { "average", RKF_AGGREGATE_AVERAGE },
    { "max", RKF_AGGREGATE_MAX },       { "none", RKF_AGGREGATE_NONE },   { NULL, 0 },
};
static const struct choice score_kinds[] = {
    { "sigmoid", RKF_SCORES_SIGMOID },
    { "softmax", RKF_SCORES_SOFTMAX },
    { "raw", RKF_SCORES_RAW },
    { NULL, 0 },
};
static const struct choice formats[] = {
    { "json", FORMAT_JSON },
    { "npy", FORMAT_NPY },
    { "f32", FORMAT_F32 },
    { NULL, 0 },
};
static const struct choice log_levels[] = {
    { "error", RKF_LOG_ERROR },
    { "warn", RKF_LOG_WARN },
    { "info", RKF_LOG_INFO },
    { "debug", RKF_LOG_DEBUG },
    { NULL, 0 },
};

#define AT(field) offsetof(struct options, field)
#define GIB       ((int64_t)1 << 30)
enum { EVERYONE = -1, WITH_TOP_K = FOR_RERANK | FOR_CLASSIFY | FOR_QA | FOR_FILL_MASK };

/* clang-format off */
const struct option option_table[] = {
    /* model */
    { "model", 'm', OPTION_TEXT, TAKES_MODEL | FOR_INSPECT, AT(model.path), 0, 0, NULL, "MODEL",
      "a model directory, a .rknn file, or a hub id found in the Hugging Face cache" },
    { "revision", 0, OPTION_TEXT, TAKES_MODEL | FOR_PULL, AT(model.revision), 0, 0, NULL, "REV", "revision of a hub id (main)" },
    { "subfolder", 0, OPTION_TEXT, TAKES_MODEL | FOR_PULL, AT(model.subfolder), 0, 0, NULL, "DIR", "folder inside the model" },
    { "file-name", 0, OPTION_TEXT, TAKES_MODEL, AT(model.file_name), 0, 0, NULL, "FILE",
      "the .rknn file of the model to use, relative to its directory" },
    { "dtype", 0, OPTION_TEXT, TAKES_MODEL, AT(model.dtype), 0, 0, NULL, "auto|f32|bf16|f16|int8",
      "number type to compute in (auto: f32 on the CPU, f16 on the NPU)" },
    { "max-length", 0, OPTION_INT, TAKES_MODEL, AT(model.max_length), 1, INT32_MAX, NULL, "TOKENS",
      "cut longer texts at so many tokens, special tokens included (the model's own limit)" },
    { "core-mask", 'c', OPTION_TEXT, TAKES_MODEL, AT(model.core_mask), 0, 0, NULL, "auto|0|1|2|0_1|0_1_2|all",
      "NPU cores to run on, or virtual cores where there is no NPU (auto)" },
    { "exclusive", 0, OPTION_FLAG, TAKES_MODEL, AT(model.exclusive), 0, 0, NULL, NULL,
      "keep other models off these cores" },
    { "cpu-fallback", 0, OPTION_FLAG, TAKES_MODEL, AT(model.cpu_fallback), 0, 0, NULL, NULL,
      "run on the CPU, with a warning, if all cores of the mask fail" },
    { "pack-cache", 0, OPTION_TEXT, TAKES_MODEL, AT(model.pack_cache), 0, 0, NULL, "DIR",
      "keep packed weights here, for a faster start" },
    { "priority", 0, OPTION_INT, TAKES_MODEL, AT(model.priority), INT32_MIN, INT32_MAX, NULL, "N",
      "higher runs before lower (0)" },

    /* tokens */
    { "no-truncate", 0, OPTION_SET, TAKES_TOKENS, AT(request.truncate), RKF_TRUNCATE_NONE, 0, NULL, NULL,
      "a text that is too long is an error" },
    { "truncate", 0, OPTION_CHOICE, TAKES_TOKENS, AT(request.truncate), 0, 0, truncations, NULL,
      "which end of a text that is too long is cut (right)" },
    { "strict", 0, OPTION_FLAG, TAKES_TOKENS, AT(request.strict), 0, 0, NULL, NULL,
      "invalid UTF-8 is an error instead of being replaced" },
    { "timeout", 0, OPTION_SECONDS, TAKES_TOKENS, AT(request.timeout_us), 0, 0, NULL, "SECONDS",
      "give up on a text after so long (never)" },

    /* texts */
    { "input", 'i', OPTION_TEXT, TAKES_TEXTS | FOR_BENCH, AT(input), 0, 0, NULL, "FILE",
      "read texts from the lines of FILE; - is standard input" },
    { "jsonl", 0, OPTION_FLAG, TAKES_TEXTS | FOR_BENCH, AT(jsonl), 0, 0, NULL, NULL,
      "each line is JSON: a string, or an object with \"text\" (for pairs also \"text_pair\"); "
      "implied by a FILE that ends in .jsonl" },
    { "max-line", 0, OPTION_BYTES, TAKES_TEXTS | FOR_BENCH, AT(max_line), 1, 4 * GIB, NULL, "BYTES",
      "a longer line is an error (64MiB)" },
    { "output", 'o', OPTION_TEXT, TAKES_TEXTS, AT(output), 0, 0, NULL, "FILE",
      "write here instead of to standard output; FILE appears when it is complete" },
    { "no-progress", 0, OPTION_FLAG, TAKES_TEXTS, AT(no_progress), 0, 0, NULL, NULL, "no progress bar" },

    /* embed, and what others share with it */
    { "prompt-name", 0, OPTION_STR, FOR_EMBED | FOR_TOKENIZE | FOR_HIDDEN, AT(request.prompt_name), 0, 0, NULL, "NAME",
      "put this prompt of the model before every text (its default prompt)" },
    { "prompt", 0, OPTION_STR, FOR_EMBED | FOR_TOKENIZE | FOR_HIDDEN, AT(request.prompt), 0, 0, NULL, "TEXT",
      "put TEXT before every text" },
    { "normalize", 0, OPTION_SWITCH, FOR_EMBED, AT(request.normalize), 0, 0, NULL, NULL,
      "scale embeddings to length 1 (as the model's files say)" },
    { "pooling", 0, OPTION_CHOICE, FOR_EMBED, AT(request.pooling), 0, 0, poolings, NULL,
      "how token embeddings become one (as the model's files say, else mean)" },
    { "truncate-dim", 0, OPTION_INT, FOR_EMBED, AT(request.truncate_dim), 1, INT32_MAX, NULL, "N",
      "keep the first N dimensions (all)" },
    { "precision", 0, OPTION_CHOICE, FOR_EMBED, AT(request.precision), 0, 0, precisions, NULL,
      "quantise embeddings as sentence-transformers does (float32)" },
    { "chunk", 0, OPTION_SWITCH, FOR_EMBED, AT(request.chunk), 0, 0, NULL, NULL,
      "embed long texts in overlapping windows and pool them, so that nothing is cut (off)" },
    { "sparse", 0, OPTION_FLAG, FOR_EMBED, AT(sparse), 0, 0, NULL, NULL, "sparse embeddings of a SPLADE model" },
    { "per-token", 0, OPTION_FLAG, FOR_EMBED, AT(per_token), 0, 0, NULL, NULL, "one embedding per token" },
    { "format", 0, OPTION_CHOICE, FOR_EMBED, AT(format), 0, 0, formats, NULL,
      "json: lines; npy: a NumPy file; f32: raw rows (json)" },

    /* scores */
    { "query", 'q', OPTION_STR, FOR_RERANK, AT(request.query), 0, 0, NULL, "TEXT", "what the texts are ranked for" },
    { "raw-scores", 0, OPTION_SET, FOR_RERANK | FOR_CLASSIFY, AT(request.scores), RKF_SCORES_RAW, 0, NULL, NULL,
      "scores are the model's logits" },
    { "scores", 0, OPTION_CHOICE, FOR_RERANK | FOR_CLASSIFY, AT(request.scores), 0, 0, score_kinds, NULL,
      "how logits become scores (as the model's files say)" },
    { "top-k", 'k', OPTION_INT, WITH_TOP_K, AT(request.top_k), 1, INT32_MAX, NULL, "N",
      "only the N best (all labels and texts; 1 answer; 5 fills)" },
    { "candidate-labels", 0, OPTION_LIST, FOR_CLASSIFY, AT(labels), 0, 0, NULL, "A,B,...",
      "zero-shot: choose among these labels with an NLI model" },
    { "multi-label", 0, OPTION_FLAG, FOR_CLASSIFY, AT(request.multi_label), 0, 0, NULL, NULL,
      "zero-shot: labels do not exclude each other" },
    { "hypothesis-template", 0, OPTION_STR, FOR_CLASSIFY, AT(request.hypothesis_template), 0, 0, NULL, "TEXT",
      "zero-shot: the sentence to test, {} is the label (This example is {}.)" },
    { "aggregation", 0, OPTION_CHOICE, FOR_NER, AT(request.aggregation), 0, 0, aggregations, NULL,
      "how tokens become entities (simple)" },
    { "question", 'q', OPTION_STR, FOR_QA | FOR_CHOOSE, AT(request.query), 0, 0, NULL, "TEXT", "the question" },
    { "context", 0, OPTION_STR, FOR_QA, AT(context), 0, 0, NULL, "TEXT", "the text to find the answer in" },
    { "max-answer-length", 0, OPTION_INT, FOR_QA, AT(request.max_answer_length), 1, INT32_MAX, NULL, "TOKENS",
      "longest answer (15)" },
    { "impossible-answer", 0, OPTION_FLAG, FOR_QA, AT(request.impossible_answer), 0, 0, NULL, NULL,
      "the empty answer may win" },
    { "stride", 0, OPTION_INT, FOR_EMBED | FOR_NER | FOR_QA, AT(request.stride), 1, INT32_MAX, NULL, "TOKENS",
      "overlap of the windows of a long text (the task's default)" },
    { "targets", 0, OPTION_LIST, FOR_FILL_MASK, AT(labels), 1, 0, NULL, "A,B,...", "only these words may fill the mask; spaces count" },
    { "logits", 0, OPTION_FLAG, FOR_HIDDEN, AT(logits), 0, 0, NULL, NULL,
      "the raw output of the model's head instead of the last hidden state" },
    { "no-special-tokens", 0, OPTION_FLAG, FOR_TOKENIZE, AT(no_special_tokens), 0, 0, NULL, NULL,
      "leave out [CLS], </s> and their like" },

    /* bench, help */
    { "lengths", 0, OPTION_LIST, FOR_BENCH, AT(lengths), 0, 0, NULL, "N,N,...",
      "measure latency for texts of so many tokens (8,32,128)" },
    { "seconds", 0, OPTION_SECONDS, FOR_BENCH, AT(bench_us), 0, 0, NULL, "SECONDS", "time for each measurement (3)" },
    { "in-flight", 0, OPTION_INT, FOR_BENCH, AT(in_flight), 1, 65536, NULL, "N",
      "requests in flight while throughput is measured (512)" },
    { "markdown", 0, OPTION_FLAG, FOR_HELP, AT(markdown), 0, 0, NULL, NULL, "all of it as Markdown: docs/cli.md" },
    { "json", 0, OPTION_FLAG, TAKES_JSON, AT(json), 0, 0, NULL, NULL, "one JSON document, for programs" },

    /* pull */
    { "platform", 'p', OPTION_TEXT, FOR_PULL, AT(runtime.platform), 0, 0, NULL,
      "auto|rk3588|rk3576|rk3568|rk3566|rk3562|cpu", "whose .rknn files to fetch; cpu: none (detected)" },
    { "token", 0, OPTION_TEXT, FOR_PULL, AT(token), 0, 0, NULL, "TOKEN",
      "for private and gated models (HF_TOKEN, then the file HF_TOKEN_PATH or $HF_HOME/token); others can see it here" },
    { "cache-dir", 0, OPTION_TEXT, FOR_PULL, AT(cache_dir), 0, 0, NULL, "DIR",
      "the cache to fetch into (HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub)" },
    { "local-dir", 0, OPTION_TEXT, FOR_PULL, AT(local_dir), 0, 0, NULL, "DIR",
      "put plain files here instead of into the cache" },
    { "include", 0, OPTION_LIST, FOR_PULL, AT(include), 0, 0, NULL, "GLOB,...",
      "fetch the files that match, and only those" },
    { "exclude", 0, OPTION_LIST, FOR_PULL, AT(exclude), 0, 0, NULL, "GLOB,...", "leave out the files that match" },
    { "all", 0, OPTION_FLAG, FOR_PULL, AT(all), 0, 0, NULL, NULL, "every file, not only those that are needed" },
    { "force", 0, OPTION_FLAG, FOR_PULL, AT(force), 0, 0, NULL, NULL, "fetch again what is there" },
    { "dry-run", 0, OPTION_FLAG, FOR_PULL, AT(dry_run), 0, 0, NULL, NULL, "list what would be fetched, write nothing" },
    { "retries", 0, OPTION_INT, FOR_PULL, AT(retries), 0, 100, NULL, "N",
      "try so often again when the hub or the network fails (5)" },
    { "quiet", 0, OPTION_FLAG, FOR_PULL, AT(quiet), 0, 0, NULL, NULL, "no progress and no remarks, only errors" },

    /* serve */
    { "model", 'm', OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "[NAME=]MODEL[,KEY=VALUE...]",
      "a model to serve, several times: KEY is mask, device, dtype, exclusive, priority, max-length, limit, ..." },
    { "config", 0, OPTION_TEXT, FOR_SERVE, AT(config), 0, 0, NULL, "FILE",
      "read models and settings from a YAML file; what the command line says goes first" },
    { "listen", 'l', OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "HOST:PORT|:PORT|unix:PATH",
      "where to listen, several times (127.0.0.1:8080)" },
    { "api-key-file", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "FILE",
      "only who has a key of this file, one per line, is served" },
    { "admin-key-file", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "FILE",
      "who has a key of this file may load and unload models" },
    { "tls-cert", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "FILE", "serve TLS with this PEM certificate chain" },
    { "tls-key", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "FILE", "and this PEM key" },
    { "cors-allow-origin", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "ORIGIN",
      "pages of this origin may call from browsers, several times (any)" },
    { "cache", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "BYTES",
      "remember embeddings in so much memory (none)" },
    { "max-client-batch-size", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "N",
      "most inputs of one request (65536)" },
    { "split", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "N",
      "of a longer request so many inputs are queued at once (512)" },
    { "max-concurrent-requests", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "N",
      "most inputs waiting and running before others hear 429 (65536)" },
    { "payload-limit", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "BYTES", "longest body (16MiB)" },
    { "body-memory", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "BYTES",
      "memory for bodies that are arriving, all together (512MiB)" },
    { "max-connections", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "N", "open at once (16384)" },
    { "header-timeout", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "SECONDS",
      "time to send a request's headers, and for each MiB of body (10)" },
    { "idle-timeout", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "SECONDS",
      "a connection may rest so long (75)" },
    { "timeout", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "SECONDS",
      "give up on a request after so long (never)" },
    { "drain-timeout", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "SECONDS",
      "when stopping, wait so long for requests in flight (30)" },
    { "queue-limit", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "N",
      "most inputs in the library's queue (65536)" },
    { "http-threads", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "N",
      "event loops (as many as CPUs, at most 4)" },
    { "core-mask", 'c', OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "auto|0|1|2|0_1|0_1_2|all",
      "of the models that do not say (auto)" },
    { "dtype", 0, OPTION_SETTING, FOR_SERVE, AT(settings), 0, 0, NULL, "auto|f32|bf16|f16|int8",
      "of the models that do not say (auto)" },
    { "auto-truncate", 0, OPTION_SWITCH, FOR_SERVE, AT(auto_truncate), 0, 0, NULL, NULL,
      "cut texts that are too long where the request does not say (on)" },
    { "json-log", 0, OPTION_FLAG, FOR_SERVE, AT(json_log), 0, 0, NULL, NULL, "log lines are JSON objects" },
    { "systemd", 0, OPTION_FLAG, FOR_SERVE, AT(systemd), 0, 0, NULL, NULL,
      "take sockets from systemd, tell it when ready, feed its watchdog" },

    /* top */
    { "url", 'u', OPTION_TEXT, FOR_TOP, AT(url), 0, 0, NULL, "URL",
      "a server of rkformer's to ask: http://127.0.0.1:8080 or unix:PATH" },
    { "api-key", 0, OPTION_TEXT, FOR_TOP, AT(api_key), 0, 0, NULL, "KEY", "a key of that server" },
    { "interval", 'i', OPTION_SECONDS, FOR_TOP, AT(interval_us), 100000, 3600 * (int64_t)1000000, NULL, "SECONDS",
      "time between two looks (1)" },
    { "once", '1', OPTION_FLAG, FOR_TOP, AT(once), 0, 0, NULL, NULL, "look once, over one interval, and end" },

    /* runtime */
    { "platform", 'p', OPTION_TEXT, TAKES_RUNTIME, AT(runtime.platform), 0, 0, NULL,
      "auto|rk3588|rk3576|rk3568|rk3566|rk3562|cpu",
      "platform to run on or, without such an NPU, to rehearse on virtual cores (detected)" },
    { "device", 'd', OPTION_TEXT, TAKES_RUNTIME, AT(runtime.device), 0, 0, NULL, "auto|cpu|rknn|sim",
      "what computes (auto)" },
    { "require-npu", 0, OPTION_FLAG, TAKES_RUNTIME, AT(runtime.require_npu), 0, 0, NULL, NULL,
      "a missing or unusable NPU is an error" },
    { "threads", 't', OPTION_INT, TAKES_RUNTIME, AT(runtime.threads), 1, 4096, NULL, "N",
      "CPU threads in all (every CPU this process may use)" },
    { "no-pin", 0, OPTION_FLAG, TAKES_RUNTIME, AT(runtime.no_pin), 0, 0, NULL, NULL, "do not pin threads to CPUs" },
    { "batch-tokens", 0, OPTION_INT, TAKES_RUNTIME, AT(runtime.batch_tokens), 1, INT32_MAX, NULL, "N",
      "most tokens in one batch (the device's choice)" },
    { "cpu-flags", 0, OPTION_TEXT, TAKES_RUNTIME, AT(runtime.cpu_flags), 0, 0, NULL, "ISA",
      "instruction set to stop at: portable, avx2, avx512, neon, ... (all the processor has)" },
    { "npu-runtime", 0, OPTION_TEXT, TAKES_RUNTIME, AT(runtime.npu_runtime), 0, 0, NULL, "FILE",
      "the vendor's runtime library (RKFORMER_RKNN_LIBRARY, then the usual places)" },
    { "lock-dir", 0, OPTION_TEXT, TAKES_RUNTIME, AT(runtime.lock_dir), 0, 0, NULL, "DIR",
      "where processes agree on cores (/run/lock/rkformer)" },
    { "root", 0, OPTION_TEXT, TAKES_RUNTIME, AT(runtime.root), 0, 0, NULL, "DIR",
      "look up /proc, /sys and /dev below DIR (/)" },
    { "log-level", 0, OPTION_CHOICE, TAKES_RUNTIME, AT(runtime.log_level), 0, 0, log_levels, NULL,
      "what to say on standard error (warn; serve: info)" },

    { "help", 'h', OPTION_FLAG, (uint32_t)EVERYONE, AT(help), 0, 0, NULL, NULL, "this text" },
    { "version", 'V', OPTION_FLAG, (uint32_t)EVERYONE, AT(version), 0, 0, NULL, NULL, "the version" },
};
/* clang-format on */
const size_t option_count = sizeof option_table / sizeof *option_table;

/* ---- the table's questions */

bool option_belongs(const struct option *opt, const struct command *command)
{
    return opt->groups == (uint32_t)EVERYONE || (command->takes & opt->groups) != 0;
}

bool option_takes_value(const struct option *opt)
{
    return opt->kind != OPTION_FLAG && opt->kind != OPTION_SWITCH && opt->kind != OPTION_SET;
}

void option_env_name(const struct option *opt, char *buf, size_t cap)
{
    size_t n = (size_t)snprintf(buf, cap, "RKFORMER_%s", opt->name);
    for (size_t i = 0; i < n && i < cap; i++)
        buf[i] = buf[i] == '-' ? '_' : (char)toupper((unsigned char)buf[i]);
}

bool option_word(const struct option *opt, size_t i, char *buf, size_t cap)
{
    if (opt->choices) {
        for (size_t k = 0; k < i; k++)
            if (!opt->choices[k].name)
                return false;
        return opt->choices[i].name && snprintf(buf, cap, "%s", opt->choices[i].name) > 0;
    }
    const char *word = opt->value && strchr(opt->value, '|') ? opt->value : NULL;
    for (; word && i; i--) {
        word = strchr(word, '|');
        word = word ? word + 1 : NULL;
    }
    return word && snprintf(buf, cap, "%.*s", (int)strcspn(word, "|"), word) > 0;
}

size_t word_distance(const char *a, const char *b)
{
    enum { MAX = 40 };
    uint8_t d[MAX + 1][MAX + 1];
    size_t m = strlen(a), n = strlen(b);
    if (m > MAX || n > MAX)
        return m + n;
    for (size_t i = 0; i <= m; i++) {
        for (size_t j = 0; j <= n; j++) {
            size_t best;
            if (!i || !j) {
                best = i + j;
            } else {
                best = d[i - 1][j - 1] + (size_t)(a[i - 1] != b[j - 1]);
                best = d[i - 1][j] + 1u < best ? d[i - 1][j] + 1u : best;
                best = d[i][j - 1] + 1u < best ? d[i][j - 1] + 1u : best;
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1u < best)
                    best = d[i - 2][j - 2] + 1u;
            }
            d[i][j] = (uint8_t)best;
        }
    }
    return d[m][n];
}

/* ---- values */

/* How a message calls an option: "--core-mask" or "RKFORMER_CORE_MASK". */
struct place {
    const struct option *opt;
    const char *name;
    bool from_env;
};

static rkf_status bad_value(const struct place *at, const char *value, const char *wanted, rkf_error *err)
{
    char quoted[80];
    return rkf_fail(err, RKF_INVALID, "%s '%s' is %s", at->name, rkf_quote(quoted, sizeof quoted, value, strlen(value)),
                    wanted);
}

static rkf_status bad_choice(const struct place *at, const char *value, rkf_error *err)
{
    char quoted[80], word[64], list[300] = "";
    for (size_t i = 0; option_word(at->opt, i, word, sizeof word); i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s",
                 !i                             ? ""
                 : at->opt->choices[i + 1].name ? ", "
                                                : " or ",
                 word);
    return rkf_fail(err, RKF_INVALID, "unknown value '%s' of %s: use %s",
                    rkf_quote(quoted, sizeof quoted, value, strlen(value)), at->name, list);
}

static bool parse_whole(const char *text, int64_t *out, const char **end)
{
    char *e;
    if (!*text || isspace((unsigned char)*text))
        return false;
    errno = 0;
    long long v = strtoll(text, &e, 10);
    if (e == text || errno)
        return false;
    *out = v;
    *end = e;
    return true;
}

static rkf_status set_int(const struct place *at, const char *value, int32_t *to, rkf_error *err)
{
    int64_t v;
    const char *end;
    char why[100];
    bool whole = parse_whole(value, &v, &end) && !*end;
    if (whole && v >= at->opt->lo && v <= at->opt->hi) {
        *to = (int32_t)v;
        return RKF_OK;
    }
    snprintf(why, sizeof why, "%s: use %lld to %lld", whole ? "out of range" : "not a whole number",
             (long long)at->opt->lo, (long long)at->opt->hi);
    return bad_value(at, value, why, err);
}

static rkf_status set_bytes(const struct place *at, const char *value, int64_t *to, rkf_error *err)
{
    static const char units[] = "KMG";
    int64_t v, unit = 1;
    const char *end;
    if (!parse_whole(value, &v, &end))
        return bad_value(at, value, "no size: give bytes, or a number with KiB, MiB or GiB", err);
    const char *letter = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (letter) {
        unit = (int64_t)1 << (10 * (letter - units + 1));
        end++;
        end += *end == 'i';
    }
    end += *end == 'B';
    if (*end)
        return bad_value(at, value, "no size: give bytes, or a number with KiB, MiB or GiB", err);
    if (v < at->opt->lo || v > at->opt->hi / unit)
        return bad_value(at, value, "out of range: use 1 to 4GiB", err);
    *to = v * unit;
    return RKF_OK;
}

static rkf_status set_seconds(const struct place *at, const char *value, int64_t *to, rkf_error *err)
{
    char *end;
    double v = strtod(value, &end);
    if (!*value || *end || !(v >= 0) || v > 1e9) /* NaN fails too */
        return bad_value(at, value, "no number of seconds: give one like 0.5", err);
    int64_t us = llround(v * 1e6);
    if (at->opt->hi && (us < at->opt->lo || us > at->opt->hi)) {
        char range[80];
        snprintf(range, sizeof range, "not from %g to %g seconds", (double)at->opt->lo * 1e-6,
                 (double)at->opt->hi * 1e-6);
        return bad_value(at, value, range, err);
    }
    *to = us;
    return RKF_OK;
}

static rkf_status set_list(const struct place *at, const char *value, struct str_list *to, rkf_error *err)
{
    size_t n = 1;
    bool trim = !at->opt->lo;
    if (to->from_env && !at->from_env)
        to->n = 0;
    to->from_env = at->from_env;
    for (const char *p = value; (p = strchr(p, ',')); p++)
        n++;
    rkf_str *p = mem_grow(to->p, to->n + n, sizeof *p);
    if (!p)
        return rkf_fail_memory(err, n * sizeof *p, "an option's list");
    to->p = p;
    for (size_t i = 0; i < n; i++) {
        size_t len = strcspn(value, ",");
        const char *text = value;
        value += len + 1;
        for (; trim && len && isspace((unsigned char)*text); len--)
            text++;
        while (trim && len && isspace((unsigned char)text[len - 1]))
            len--;
        if (len)
            to->p[to->n++] = (rkf_str){ text, len };
    }
    return RKF_OK;
}

static rkf_status set_setting(const struct place *at, const char *value, struct setting_list *to, rkf_error *err)
{
    struct setting_text *p = mem_grow(to->p, to->n + 1, sizeof *p);
    if (!p)
        return rkf_fail_memory(err, sizeof *p, "an option's list");
    to->p = p;
    to->p[to->n++] = (struct setting_text){ at->opt->name, value };
    return RKF_OK;
}

static rkf_status set_choice(const struct place *at, const char *value, int *to, rkf_error *err)
{
    for (const struct choice *c = at->opt->choices; c->name; c++)
        if (!strcmp(c->name, value)) {
            *to = c->value;
            return RKF_OK;
        }
    return bad_choice(at, value, err);
}

static rkf_status set_value(const struct place *at, const char *value, struct options *o, rkf_error *err)
{
    void *to = (char *)o + at->opt->at;
    switch (at->opt->kind) {
    case OPTION_TEXT:
        *(const char **)to = value;
        return RKF_OK;
    case OPTION_STR:
        *(rkf_str *)to = (rkf_str){ value, strlen(value) };
        return RKF_OK;
    case OPTION_INT:
        return set_int(at, value, to, err);
    case OPTION_BYTES:
        return set_bytes(at, value, to, err);
    case OPTION_SECONDS:
        return set_seconds(at, value, to, err);
    case OPTION_CHOICE:
        return set_choice(at, value, to, err);
    case OPTION_LIST:
        return set_list(at, value, to, err);
    case OPTION_SETTING:
        return set_setting(at, value, to, err);
    default:
        return rkf_fail(err, RKF_INVALID, "%s takes no value", at->name);
    }
}

static void set_flag(const struct option *opt, bool on, struct options *o)
{
    void *to = (char *)o + opt->at;
    if (opt->kind == OPTION_FLAG)
        *(bool *)to = on;
    else if (opt->kind == OPTION_SWITCH)
        *(rkf_switch *)to = on ? RKF_ON : RKF_OFF;
    else if (on)
        *(int *)to = (int)opt->lo;
}

/* ---- environment */

static bool parse_truth(const char *text, bool *out)
{
    static const char *const words[] = { "0", "1", "false", "true", "no", "yes", "off", "on" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(text, words[i])) {
            *out = i % 2;
            return true;
        }
    return false;
}

static rkf_status parse_environment(struct options *o, rkf_error *err)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *opt = &option_table[i];
        char name[64];
        option_env_name(opt, name, sizeof name);
        const char *value = option_belongs(opt, o->command) && opt->groups != (uint32_t)EVERYONE ? getenv(name) : NULL;
        if (!value || !*value)
            continue;
        struct place at = { opt, name, true };
        rkf_status rc = RKF_OK;
        bool on;
        if (option_takes_value(opt))
            rc = set_value(&at, value, o, err);
        else if (parse_truth(value, &on))
            set_flag(opt, on, o);
        else
            rc = bad_value(&at, value, "neither yes nor no: use 1 or 0", err);
        if (rc)
            return rc;
    }
    return RKF_OK;
}

/* ---- arguments */

static const struct option *find_long(const struct command *command, const char *name, size_t len)
{
    for (size_t i = 0; i < option_count; i++)
        if (strlen(option_table[i].name) == len && !memcmp(option_table[i].name, name, len) &&
            (!command || option_belongs(&option_table[i], command)))
            return &option_table[i];
    return NULL;
}

static const struct option *find_letter(const struct command *command, char letter)
{
    for (size_t i = 0; i < option_count; i++)
        if (option_table[i].letter == letter && option_belongs(&option_table[i], command))
            return &option_table[i];
    return NULL;
}

/* An option of another command, a misspelt one, or no idea. */
static rkf_status unknown_option(const struct command *command, const char *arg, rkf_error *err)
{
    char quoted[80];
    size_t len = strcspn(arg, "=");
    const char *name = rkf_quote(quoted, sizeof quoted, arg, len);
    if (find_long(NULL, arg + 2, len > 2 ? len - 2 : 0))
        return rkf_fail(err, RKF_INVALID, "%s has no option %s: see rkformer %s --help", command->name, name,
                        command->name);
    const struct option *best = NULL;
    size_t least = 4; /* further off than three slips is another word */
    for (size_t i = 0; i < option_count; i++) {
        const struct option *opt = &option_table[i];
        size_t d = option_belongs(opt, command) ? word_distance(name + strspn(name, "-"), opt->name) : least;
        if (d < least && d < strlen(opt->name)) {
            least = d;
            best = opt;
        }
    }
    if (best)
        return rkf_fail(err, RKF_INVALID, "unknown option %s: did you mean --%s?", name, best->name);
    return rkf_fail(err, RKF_INVALID, "unknown option %s: see rkformer %s --help (texts that begin with - go after --)",
                    name, command->name);
}

struct args {
    int argc, next;
    char **argv;
};

static rkf_status take_value(const struct place *at, const char *attached, struct args *args, struct options *o,
                             rkf_error *err)
{
    if (!attached && args->next == args->argc)
        return rkf_fail(err, RKF_INVALID, "%s needs a value: see rkformer %s --help", at->name, o->command->name);
    return set_value(at, attached ? attached : args->argv[args->next++], o, err);
}

static rkf_status parse_long(const char *arg, struct args *args, struct options *o, rkf_error *err)
{
    char name[64];
    const char *equals = strchr(arg, '=');
    size_t len = (equals ? (size_t)(equals - arg) : strlen(arg)) - 2;
    const struct option *opt = find_long(o->command, arg + 2, len);
    bool off = false;
    if (!opt && !strncmp(arg, "--no-", 5)) {
        opt = find_long(o->command, arg + 5, len - 3);
        off = opt != NULL;
        if (opt && opt->kind != OPTION_SWITCH)
            opt = NULL;
    }
    if (!opt)
        return unknown_option(o->command, arg, err);
    snprintf(name, sizeof name, "--%s%s", off ? "no-" : "", opt->name);
    struct place at = { opt, name, false };
    if (option_takes_value(opt))
        return take_value(&at, equals ? equals + 1 : NULL, args, o, err);
    if (equals)
        return rkf_fail(err, RKF_INVALID, "%s takes no value", name);
    set_flag(opt, !off, o);
    return RKF_OK;
}

static rkf_status parse_letters(const char *arg, struct args *args, struct options *o, rkf_error *err)
{
    for (const char *p = arg + 1; *p; p++) {
        const struct option *opt = find_letter(o->command, *p);
        if (!opt)
            return unknown_option(o->command, arg, err);
        if (option_takes_value(opt)) {
            char name[3] = { '-', *p, 0 };
            return take_value(&(struct place){ opt, name, false }, p[1] ? p + 1 + (p[1] == '=') : NULL, args, o, err);
        }
        set_flag(opt, true, o);
    }
    return RKF_OK;
}

static rkf_status parse_arguments(struct args *args, struct options *o, rkf_error *err)
{
    bool only_texts = false;
    rkf_status rc = RKF_OK;
    while (!rc && args->next < args->argc) {
        char *arg = args->argv[args->next++];
        if (only_texts || arg[0] != '-' || !arg[1])
            o->texts[o->n_texts++] = arg;
        else if (!strcmp(arg, "--"))
            only_texts = true;
        else if (arg[1] == '-')
            rc = parse_long(arg, args, o, err);
        else
            rc = parse_letters(arg, args, o, err);
    }
    return rc;
}

rkf_status options_parse(const struct command *command, int argc, char **argv, struct options *out, rkf_error *err)
{
    struct options o = {
        .command = command,
        .runtime = RKF_RUNTIME_OPTIONS_INIT,
        .model = RKF_MODEL_OPTIONS_INIT,
        .request = RKF_REQUEST_INIT,
        .max_line = 64 << 20,
        .bench_us = 3000000,
        .interval_us = 1000000,
        .in_flight = 512,
        .retries = 5,
    };
    if (command->takes & FOR_SERVE) /* requests are told at this level */
        o.runtime.log_level = RKF_LOG_INFO;
    struct args args = { argc, 0, argv };
    rkf_status rc = RKF_OK;
    if (!(o.texts = mem_zalloc((size_t)argc + 1, sizeof *o.texts)))
        rc = rkf_fail_memory(err, (size_t)argc * sizeof *o.texts, "arguments");
    if (!rc)
        rc = parse_environment(&o, err);
    if (!rc)
        rc = parse_arguments(&args, &o, err);
    if (rc) {
        options_free(&o);
        return rc;
    }
    *out = o;
    return RKF_OK;
}

void options_free(struct options *o)
{
    mem_free(o->texts);
    mem_free(o->labels.p);
    mem_free(o->lengths.p);
    mem_free(o->settings.p);
    mem_free(o->include.p);
    mem_free(o->exclude.p);
    *o = (struct options){ .command = o->command };
}
