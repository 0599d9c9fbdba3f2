/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/explain.h"

#include <string.h>

static bool is_code(const struct http_reply *r, const char *code)
{
    return !strcmp(r->code, code);
}

/* The hub answers 401 to whoever is not logged in and asks for something that does not exist: it does not tell what is
 * private. */
static rkf_status no_access(const struct explain_case *c, const struct http_reply *r, rkf_error *err)
{
    if (is_code(r, "GatedRepo"))
        return rkf_fail(err, RKF_IO, "access to %s is gated: ask for it at %s/%s, then %s", c->id, c->endpoint, c->id,
                        c->have_token ? "pull again (the token must be of the account that was granted access)"
                                      : "pull with a token (HF_TOKEN, --token)");
    if (r->status == 401 && c->have_token && !is_code(r, "RepoNotFound"))
        return rkf_fail(err, RKF_IO,
                        "the hub %s does not accept the token: make a new one at %s/settings/tokens, and check "
                        "HF_TOKEN, HF_TOKEN_PATH and --token",
                        c->endpoint, c->endpoint);
    if (r->status == 403)
        return rkf_fail(err, RKF_IO,
                        "the hub forbids access to %s%s%s: check what the token may do, at %s/settings/tokens", c->id,
                        r->message[0] ? ": " : "", r->message, c->endpoint);
    return rkf_fail(
        err, RKF_NOT_FOUND, "there is no model %s on %s, or it is private: check the name%s", c->id, c->endpoint,
        c->have_token ? " and the rights of the token" : "; a private one needs a token (HF_TOKEN, --token)");
}

static rkf_status missing(const struct explain_case *c, const struct http_reply *r, rkf_error *err)
{
    if (is_code(r, "RevisionNotFound"))
        return rkf_fail(err, RKF_NOT_FOUND, "%s has no revision %s: %s/%s/tree/main shows its branches and tags", c->id,
                        c->revision, c->endpoint, c->id);
    if (c->file || is_code(r, "EntryNotFound"))
        return rkf_fail(err, RKF_NOT_FOUND, "%s has no file %s, although it was listed: pull again", c->id,
                        c->file ? c->file : "");
    if (is_code(r, "RepoNotFound"))
        return no_access(c, r, err);
    return rkf_fail(err, RKF_NOT_FOUND, "%s knows no model %s with a revision %s: check the names (and HF_ENDPOINT)",
                    c->endpoint, c->id, c->revision);
}

rkf_status explain_reply(const struct explain_case *c, const struct http_reply *r, rkf_error *err)
{
    const char *what = c->file ? c->file : c->id;
    if (r->status < 400) /* nothing came, or it was cut off, or wrong */
        return err ? err->status : RKF_IO;
    if (r->status == 401 || r->status == 403)
        return no_access(c, r, err);
    if (r->status == 404)
        return missing(c, r, err);
    if (r->status == 429 && r->retry_after)
        return rkf_fail(err, RKF_IO, "the hub limits requests (429): pull again in %lld s%s", (long long)r->retry_after,
                        c->have_token ? "" : ", or with a token (HF_TOKEN): that allows more");
    if (r->status == 429)
        return rkf_fail(err, RKF_IO, "the hub limits requests (429): pull again later%s",
                        c->have_token ? "" : ", or with a token (HF_TOKEN): that allows more");
    if (r->status >= 500)
        return rkf_fail(err, RKF_IO, "the hub %s answers %d for %s: it has trouble of its own, pull again later",
                        c->endpoint, r->status, what);
    return rkf_fail(err, RKF_IO, "the hub %s answers %d for %s%s%s: check the name and HF_ENDPOINT", c->endpoint,
                    r->status, what, r->message[0] ? ": " : "", r->message);
}

rkf_status explain_no_weights(const struct explain_case *c, bool pickle, bool other, rkf_error *err)
{
    if (pickle)
        return rkf_fail(
            err, RKF_UNSUPPORTED,
            "%s has its weights only as pytorch_model.bin, a pickle that could run any code and is not read: "
            "convert it with transformers (AutoModel.from_pretrained(\"%s\").save_pretrained(DIR), with the "
            "class that its config.json names, and the tokenizer's too) and give -m DIR, or try --revision "
            "refs/pr/1 (the hub's own conversions); --all fetches it as it is",
            c->id, c->id);
    return rkf_fail(err, RKF_UNSUPPORTED,
                    "%s has no model.safetensors%s%s%s: rkformer cannot run it; --all fetches it anyway", c->id,
                    *c->file ? " in " : "", c->file, other ? " (only other formats)" : "");
}
