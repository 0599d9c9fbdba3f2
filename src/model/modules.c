/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sentence-transformers keeps beside a model: modules.json (in the spelling of versions up to 5 and of 6), one
 * folder per module, config_sentence_transformers.json with the prompts, sentence_bert_config.json. Only classes of
 * sentence-transformers itself are known; classes that a model brings along as code are refused by name.
 */
#include "model/modules.h"
#include "base/mem.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { MODULES_MAX = 32, PROMPTS_MAX = 4096 };

rkf_status json_load_optional(const char *dir, const char *name, yyjson_doc **out, rkf_error *err)
{
    rkf_error e;
    *out = NULL;
    rkf_status rc = json_load(dir, name, CONFIG_MAX, out, &e);
    return rc && rc != RKF_NOT_FOUND ? rkf_fail(err, rc, "%s", e.message) : RKF_OK;
}

/* ---- one module */

struct module_file {
    yyjson_val *config; /* config.json of the module's folder; NULL: none */
    char what[PATH_MAX + 16];
    rkf_error *err;
};

static const char *const pool_names[POOL_COUNT] = {
    [POOL_CLS] = "cls",
    [POOL_MEAN] = "mean",
    [POOL_MAX] = "max",
    [POOL_MEAN_SQRT_LEN] = "mean_sqrt_len_tokens",
    [POOL_WEIGHTED_MEAN] = "weightedmean",
    [POOL_LAST_TOKEN] = "lasttoken",
};

static rkf_status add_pool(const struct module_file *f, yyjson_val *v, struct st_module *m)
{
    char q[48] = "not a name";
    for (uint8_t i = 0; i < POOL_COUNT; i++)
        if (yyjson_equals_str(v, pool_names[i]) && m->n_pool < POOL_COUNT) {
            m->pool[m->n_pool++] = i;
            return RKF_OK;
        }
    if (yyjson_is_str(v))
        rkf_quote(q, sizeof q, yyjson_get_str(v), yyjson_get_len(v));
    return rkf_fail(f->err, RKF_UNSUPPORTED, "%s: pooling mode \"%s\" is not supported", f->what, q);
}

/* Up to version 5: a flag per mode; the order is that of this table. */
static rkf_status read_pool_flags(const struct module_file *f, struct st_module *m)
{
    static const struct {
        const char *key;
        enum pooling_mode mode;
    } flags[] = {
        { "pooling_mode_cls_token", POOL_CLS },
        { "pooling_mode_max_tokens", POOL_MAX },
        { "pooling_mode_mean_tokens", POOL_MEAN },
        { "pooling_mode_mean_sqrt_len_tokens", POOL_MEAN_SQRT_LEN },
        { "pooling_mode_weightedmean_tokens", POOL_WEIGHTED_MEAN },
        { "pooling_mode_lasttoken", POOL_LAST_TOKEN },
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool on = false;
        rkf_status rc = json_get_bool(f->config, flags[i].key, &on, f->what, f->err);
        if (rc)
            return rc;
        if (on)
            m->pool[m->n_pool++] = (uint8_t)flags[i].mode;
    }
    return RKF_OK;
}

static rkf_status read_pooling(const struct module_file *f, struct st_module *m)
{
    yyjson_val *modes = yyjson_obj_get(f->config, "pooling_mode"), *v;
    rkf_status rc = RKF_OK;
    size_t i, n;
    if (yyjson_is_arr(modes)) {
        yyjson_arr_foreach(modes, i, n, v) if (!rc) rc = add_pool(f, v, m);
    } else if (modes) {
        rc = add_pool(f, modes, m);
    } else {
        rc = read_pool_flags(f, m);
    }
    if (!rc && !m->n_pool)
        m->pool[m->n_pool++] = POOL_MEAN;
    m->include_prompt = true;
    return rc ? rc : json_get_bool(f->config, "include_prompt", &m->include_prompt, f->what, f->err);
}

/* Modules may be wired to other inputs than the sentence embedding. */
static rkf_status check_wiring(const struct module_file *f)
{
    static const char *const keys[] = { "module_input_name", "module_output_name" };
    char q[48];
    for (size_t i = 0; i < 2; i++) {
        const char *name = NULL;
        rkf_status rc = json_get_str(f->config, keys[i], &name, f->what, f->err);
        if (rc)
            return rc;
        if (name && strcmp(name, "sentence_embedding") != 0)
            return rkf_fail(f->err, RKF_UNSUPPORTED, "%s: \"%s\": \"%s\" is not supported, only sentence_embedding",
                            f->what, keys[i], rkf_quote(q, sizeof q, name, strlen(name)));
    }
    return RKF_OK;
}

static rkf_status read_dense(const struct module_file *f, struct st_module *m)
{
    int64_t in = 0, out = 0;
    char q[64];
    const char *act = "torch.nn.modules.activation.Tanh";
    rkf_status rc = check_wiring(f);
    m->bias = true;
    if (!rc)
        rc = json_get_int(f->config, "in_features", 1, 1 << 20, &in, f->what, f->err);
    if (!rc)
        rc = json_get_int(f->config, "out_features", 1, 1 << 20, &out, f->what, f->err);
    if (!rc)
        rc = json_get_bool(f->config, "bias", &m->bias, f->what, f->err);
    if (!rc)
        rc = json_get_bool(f->config, "use_residual", &m->residual, f->what, f->err);
    if (!rc)
        rc = json_get_str(f->config, "activation_function", &act, f->what, f->err);
    if (rc)
        return rc;
    if (!in || !out)
        return rkf_fail(f->err, RKF_FORMAT, "%s has no \"in_features\" or no \"out_features\"", f->what);
    m->in = (uint32_t)in;
    m->out = (uint32_t)out;
    m->act = ACT_TANH; /* what is not torch's is not trusted and becomes the default, as in sentence-transformers */
    if (!strncmp(act, "torch.", 6) && !activation_parse(act, &m->act))
        return rkf_fail(f->err, RKF_UNSUPPORTED, "%s: activation_function \"%s\" is not supported", f->what,
                        rkf_quote(q, sizeof q, act, strlen(act)));
    return RKF_OK;
}

static rkf_status read_normalize(const struct module_file *f, struct st_module *m)
{
    (void)m;
    return check_wiring(f);
}

static rkf_status read_layer_norm(const struct module_file *f, struct st_module *m)
{
    int64_t size = 0;
    rkf_status rc = json_get_int(f->config, "dimension", 1, 1 << 20, &size, f->what, f->err);
    if (!rc && !size)
        rc = rkf_fail(f->err, RKF_FORMAT, "%s has no \"dimension\"", f->what);
    m->in = m->out = (uint32_t)size;
    return rc;
}

static rkf_status read_splade(const struct module_file *f, struct st_module *m)
{
    const char *how = "max", *act = "relu";
    char q[48];
    rkf_status rc = json_get_str(f->config, "pooling_strategy", &how, f->what, f->err);
    if (!rc)
        rc = json_get_str(f->config, "activation_function", &act, f->what, f->err);
    if (rc)
        return rc;
    m->splade_relu_log_max = !strcmp(how, "max");
    m->splade_log_twice = !strcmp(act, "log1p_relu");
    if (!m->splade_relu_log_max && strcmp(how, "sum") != 0)
        return rkf_fail(f->err, RKF_UNSUPPORTED, "%s: pooling_strategy \"%s\" is not supported", f->what,
                        rkf_quote(q, sizeof q, how, strlen(how)));
    if (!m->splade_log_twice && strcmp(act, "relu") != 0)
        return rkf_fail(f->err, RKF_UNSUPPORTED, "%s: activation_function \"%s\" is not supported", f->what,
                        rkf_quote(q, sizeof q, act, strlen(act)));
    return RKF_OK;
}

/* By the last part of the class name. */
static const struct module_class {
    const char *name;
    enum module_kind kind;
    bool transformer, ignored;
    rkf_status (*read)(const struct module_file *f, struct st_module *m);
} classes[] = {
    { .name = "Transformer", .transformer = true },
    { .name = "MLMTransformer", .transformer = true },
    { .name = "Dropout", .ignored = true }, /* nothing at inference */
    { .name = "Pooling", .kind = MODULE_POOLING, .read = read_pooling },
    { .name = "Dense", .kind = MODULE_DENSE, .read = read_dense },
    { .name = "Normalize", .kind = MODULE_NORMALIZE, .read = read_normalize },
    { .name = "LayerNorm", .kind = MODULE_LAYER_NORM, .read = read_layer_norm },
    { .name = "SpladePooling", .kind = MODULE_SPLADE, .read = read_splade },
};

static const struct module_class *class_find(const char *type)
{
    const char *dot = strrchr(type, '.');
    if (strncmp(type, "sentence_transformers.", 22) != 0)
        return NULL;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (!strcmp(dot + 1, classes[i].name))
            return &classes[i];
    return NULL;
}

/* Module folders are below the model's. */
static bool is_inside(const char *path)
{
    if (path[0] == '/')
        return false;
    for (const char *p = path; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (p[0] == '.' && p[1] == '.' && (p[2] == '/' || !p[2]))
            return false;
    }
    return true;
}

static rkf_status module_read(const char *folder, const struct module_class *c, struct st_module *out, rkf_error *err)
{
    struct module_file f = { .err = err };
    struct st_module m = { .kind = c->kind };
    yyjson_doc *doc;
    rkf_status rc = json_load_optional(folder, "config.json", &doc, err);
    if (rc)
        return rc;
    snprintf(f.what, sizeof f.what, "%s/config.json", folder);
    f.config = yyjson_doc_get_root(doc);
    rc = c->read(&f, &m);
    yyjson_doc_free(doc);
    if (!rc && !(m.path = mem_strdup(folder)))
        rc = rkf_fail_memory(err, strlen(folder), "a module's path");
    if (!rc)
        *out = m;
    return rc;
}

/* ---- modules.json */

static rkf_status entry_read(const char *root, yyjson_val *entry, struct model_dir *m, char *transformer, size_t cap,
                             rkf_error *err)
{
    char folder[PATH_MAX], q[96];
    const char *type = yyjson_get_str(yyjson_obj_get(entry, "type"));
    const char *path = yyjson_get_str(yyjson_obj_get(entry, "path"));
    if (!type || !path || !is_inside(path) || strlen(path) >= cap || !path_join(folder, sizeof folder, root, path))
        return rkf_fail(err, RKF_FORMAT, "%s/modules.json: every entry needs a \"type\" and a \"path\" below the model",
                        root);
    const struct module_class *c = class_find(type);
    if (!c)
        return rkf_fail(err, RKF_UNSUPPORTED, "%s/modules.json: module %s is not supported", root,
                        rkf_quote(q, sizeof q, type, strlen(type)));
    if (c->transformer)
        strcpy(transformer, path);
    if (c->transformer || c->ignored)
        return RKF_OK;
    rkf_status rc = module_read(folder, c, &m->modules[m->n_modules], err);
    m->n_modules += !rc;
    return rc;
}

rkf_status modules_read(const char *root, struct model_dir *m, char *transformer, size_t cap, rkf_error *err)
{
    yyjson_doc *doc;
    yyjson_val *entry;
    size_t i, n;
    transformer[0] = 0;
    rkf_status rc = json_load_optional(root, "modules.json", &doc, err);
    if (rc || !doc)
        return rc;
    yyjson_val *list = yyjson_doc_get_root(doc);
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > MODULES_MAX) {
        rc = rkf_fail(err, RKF_FORMAT, "%s/modules.json must be a list of at most %d modules", root, MODULES_MAX);
        goto fail;
    }
    if (!(m->modules = mem_zalloc(yyjson_arr_size(list), sizeof *m->modules))) {
        rc = rkf_fail_memory(err, yyjson_arr_size(list) * sizeof *m->modules, "modules");
        goto fail;
    }
    m->has_modules = true;
    yyjson_arr_foreach(list, i, n, entry) if (!rc) rc = entry_read(root, entry, m, transformer, cap, err);
fail:
    yyjson_doc_free(doc);
    return rc;
}

void modules_free(struct st_module *modules, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        mem_free(modules[i].path);
    mem_free(modules);
}

/* ---- config_sentence_transformers.json, sentence_bert_config.json */

static rkf_status prompts_read(yyjson_val *prompts, const char *what, struct model_dir *m, rkf_error *err)
{
    yyjson_val *key, *v;
    size_t i, n;
    if (!prompts || yyjson_is_null(prompts))
        return RKF_OK;
    if (!yyjson_is_obj(prompts) || yyjson_obj_size(prompts) > PROMPTS_MAX)
        return rkf_fail(err, RKF_FORMAT, "%s: \"prompts\" must be an object of at most %d prompts", what, PROMPTS_MAX);
    if (!(m->prompts = mem_zalloc(yyjson_obj_size(prompts), sizeof *m->prompts)))
        return rkf_fail_memory(err, yyjson_obj_size(prompts) * sizeof *m->prompts, "prompts");
    yyjson_obj_foreach(prompts, i, n, key, v)
    {
        if (yyjson_is_null(v))
            continue;
        if (!yyjson_is_str(v))
            return rkf_fail(err, RKF_FORMAT, "%s: every prompt must be a string", what);
        struct prompt *p = &m->prompts[m->n_prompts++];
        p->name = mem_strndup(yyjson_get_str(key), yyjson_get_len(key));
        p->text = mem_strndup(yyjson_get_str(v), yyjson_get_len(v));
        if (!p->name || !p->text)
            return rkf_fail_memory(err, yyjson_get_len(v), "a prompt");
    }
    return RKF_OK;
}

static rkf_status copy_str(yyjson_val *root, const char *key, const char *what, char **out, rkf_error *err)
{
    const char *s = NULL;
    rkf_status rc = json_get_str(root, key, &s, what, err);
    if (rc || !s)
        return rc;
    mem_free(*out);
    return (*out = mem_strdup(s)) ? RKF_OK : rkf_fail_memory(err, strlen(s), what);
}

static rkf_status st_root_read(yyjson_val *root, struct model_dir *m, rkf_error *err)
{
    const char *what = "config_sentence_transformers.json";
    rkf_status rc = prompts_read(yyjson_obj_get(root, "prompts"), what, m, err);
    if (!rc)
        rc = copy_str(root, "default_prompt_name", what, &m->default_prompt_name, err);
    if (!rc)
        rc = copy_str(root, "similarity_fn_name", what, &m->similarity, err);
    if (!rc && !m->ce_activation)
        rc = copy_str(root, "activation_fn", what, &m->ce_activation, err);
    return rc;
}

/* The transformer module's own file; up to version 2 it was named after the architecture. */
static rkf_status transformer_config_read(struct model_dir *m, rkf_error *err)
{
    static const char *const names[] = { "sentence_bert_config.json",       "sentence_roberta_config.json",
                                         "sentence_distilbert_config.json", "sentence_camembert_config.json",
                                         "sentence_albert_config.json",     "sentence_xlm-roberta_config.json",
                                         "sentence_xlnet_config.json" };
    yyjson_doc *doc = NULL;
    rkf_status rc = RKF_OK;
    size_t i = 0;
    for (; !rc && !doc && i < sizeof names / sizeof *names; i++)
        rc = json_load_optional(m->path, names[i], &doc, err);
    if (!doc)
        return rc;
    yyjson_val *v = yyjson_doc_get_root(doc);
    rc = json_get_int(v, "max_seq_length", 1, 1 << 24, &m->st_max_seq_length, names[i - 1], err);
    if (!rc)
        rc = json_get_bool(v, "do_lower_case", &m->do_lower_case, names[i - 1], err);
    yyjson_doc_free(doc);
    return rc;
}

rkf_status st_config_read(const char *root, struct model_dir *m, rkf_error *err)
{
    yyjson_doc *doc;
    rkf_status rc = json_load_optional(root, "config_sentence_transformers.json", &doc, err);
    if (rc)
        return rc;
    if (doc)
        rc = st_root_read(yyjson_doc_get_root(doc), m, err);
    yyjson_doc_free(doc);
    return rc ? rc : transformer_config_read(m, err);
}
