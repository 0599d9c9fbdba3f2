/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/console.h"

#include <string.h>

#define COMMAND_ENTRY(name) &command_##name,
static const struct command *const table[] = { COMMAND_LIST(COMMAND_ENTRY) };
#undef COMMAND_ENTRY
enum { COUNT = sizeof table / sizeof *table };

const struct command *command_at(size_t i)
{
    return i < COUNT ? table[i] : NULL;
}

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COUNT; i++)
        if (!strcmp(table[i]->name, name))
            return table[i];
    return NULL;
}

rkf_status command_unknown(const char *name, rkf_error *err)
{
    char quoted[80];
    const char *best = NULL;
    size_t least = 4;
    rkf_quote(quoted, sizeof quoted, name, strlen(name));
    if (name[0] == '-')
        return rkf_fail(err, RKF_INVALID, "the command comes first: rkformer COMMAND %s ..., see rkformer --help",
                        quoted);
    for (size_t i = 0; i < COUNT; i++) {
        size_t d = word_distance(name, table[i]->name);
        if (d < least && d < strlen(table[i]->name)) {
            least = d;
            best = table[i]->name;
        }
    }
    if (best)
        return rkf_fail(err, RKF_INVALID, "unknown command '%s': did you mean '%s'?", quoted, best);
    return rkf_fail(err, RKF_INVALID, "unknown command '%s': rkformer --help lists them", quoted);
}

rkf_status session_open(struct options *o, struct session *out, rkf_error *err)
{
    struct session s = { 0 };
    if (!o->model.path)
        return rkf_fail(err, RKF_INVALID, "no model: give one with -m (a directory, a .rknn file or a hub id)");
    o->runtime.log = console_log;
    rkf_status rc = rkf_runtime_open(&o->runtime, &s.runtime, err);
    if (!rc)
        rc = rkf_model_open(s.runtime, &o->model, &s.model, err);
    if (rc) {
        session_close(&s);
        return rc;
    }
    *out = s;
    return RKF_OK;
}

void session_close(struct session *s)
{
    rkf_model_close(s->model);
    rkf_runtime_close(s->runtime);
    *s = (struct session){ 0 };
}
