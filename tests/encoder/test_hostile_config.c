/* SPDX-License-Identifier: Apache-2.0 */
/* Every value of every family's config.json replaced by others while the weights stay: an error that says what is
 * wrong, or a model that runs. */
#include "enc_test_util.h"
#include "model/st_build.h"

static struct rig rig;
static struct test_batch batch;
static struct tmp_dir dir;
static uint32_t loaded, refused;

/* Loads the directory and runs five tokens. */
static void try_model(const char *what)
{
    rkf_error err = { 0 };
    struct rows out;
    rkf_status rc = rig_load(&rig, dir.path, DTYPE_F32, &err);
    if (!rc) {
        rc = rig.body->ops->run(rig.body, &rig.x, &batch.b, &out, &err);
        if (!rc && rig.head)
            rc = head_run(rig.head, &rig.x, &batch.b, &out, NULL, 0, &out, &err);
    }
    if (rc && (err.status != rc || strlen(err.message) < 10))
        fail_msg("%s: %s without a message", what, rkf_status_name(rc));
    if (rc == RKF_INTERNAL || rc == RKF_NO_MEMORY)
        fail_msg("%s: %s", what, err.message);
    *(rc ? &refused : &loaded) += 1;
    rig_unload(&rig);
}

static void write_config(yyjson_mut_doc *doc)
{
    char *text = yyjson_mut_write(doc, 0, NULL);
    assert_non_null(text);
    tmp_text(&dir, "config.json", text);
    free(text);
}

/* All replacements of one key's value. */
static void try_key(yyjson_doc *config, const char *key)
{
    static const char *const values[] = { "0",     "1",     "-1",   "3",     "5",    "1000000", "4294967296",
                                          "1e300", "-7",    "16.5", "true",  "null", "\"x\"",   "[]",
                                          "{}",    "[1,2]", "64",   "false", "2",    "\"gelu\"" };
    char what[128];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        yyjson_mut_doc *doc = yyjson_doc_mut_copy(config, NULL);
        yyjson_doc *v = yyjson_read(values[i], strlen(values[i]), 0);
        yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
        yyjson_mut_obj_replace(root, yyjson_mut_strcpy(doc, key), yyjson_val_mut_copy(doc, yyjson_doc_get_root(v)));
        write_config(doc);
        snprintf(what, sizeof what, "%s: %s", key, values[i]);
        try_model(what);
        yyjson_doc_free(v);
        yyjson_mut_doc_free(doc);
    }
}

static void try_family(const char *name)
{
    char path[512];
    yyjson_val *key, *v;
    size_t i, n;
    tmp_make(&dir);
    snprintf(path, sizeof path, TEST_DATA "/models/random/%s", name);
    tmp_copy(&dir, path);
    snprintf(path, sizeof path, "%s/config.json", dir.path);
    yyjson_doc *config = golden_open(path);
    loaded = refused = 0;
    yyjson_obj_foreach(yyjson_doc_get_root(config), i, n, key, v) try_key(config, yyjson_get_str(key));
    assert_true(loaded > 50 && refused > 50);
    yyjson_doc_free(config);
    tmp_remove(&dir);
}

static void test_every_value(void **state)
{
    (void)state;
    static const char *const families[] = { "xlmr-rerank", "electra-ner", "bert-fillmask", "albert", "deberta-v2",
                                            "modernbert",  "nomic-bert",  "eurobert",      "mpnet" };
    const int32_t ids[5] = { 1, 2, 3, 4, 5 };
    rig_start(&rig, 1);
    batch_clear(&batch);
    batch_add(&batch, ids, NULL, 5);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        try_family(families[i]);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
