/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where texts come from: arguments, lines of a file or of standard input, or the JSON values on such lines.
 *
 * Lines are read as they come, at most max_line bytes each; memory is one line. A carriage return before the newline
 * and a byte order mark at the beginning of the file are no part of a text; everything else is.
 */
#ifndef RKF_CLI_INPUT_H
#define RKF_CLI_INPUT_H

#include "base/mem.h"
#include "cli/options.h"

struct input_item {
    uint64_t number; /* line, or text among the arguments, from 1 */
    rkf_str text, pair;
};

struct input {
    char **texts; /* arguments, or NULL */
    size_t n_texts;
    int fd;
    const char *name; /* of the file, for messages */
    bool own_fd, json, strict;
    const char *text_key, *pair_key; /* of JSON objects */
    size_t max_line;
    char *buf; /* [cap]; bytes begin..end are read and not yet taken */
    size_t begin, end, cap;
    size_t scanned; /* bytes after begin that hold no newline */
    bool eof;
    uint64_t number; /* of the last item */
    int64_t taken;   /* bytes of all items so far */
    int64_t total;   /* bytes of the file; -1 unknown */
};

/* Texts of the options: arguments, --input, else standard input if it is no terminal. RKF_INVALID: there are none. */
rkf_status input_open(const struct options *o, struct input *out, rkf_error *err) MUST_CHECK;
/* Next item, its bytes in mem; *end instead if there are no more. */
rkf_status input_next(struct input *in, struct arena *mem, struct input_item *item, bool *end,
                      rkf_error *err) MUST_CHECK;
/* True if input_next would not have to wait for somebody to write. */
bool input_ready(struct input *in);
/* Share of the input taken so far, negative if its size is unknown. */
double input_part(const struct input *in);
/* "line 3 of x.txt", "text 3" */
const char *input_place(const struct input *in, uint64_t number, char *buf, size_t cap);
void input_close(struct input *in);

#endif
