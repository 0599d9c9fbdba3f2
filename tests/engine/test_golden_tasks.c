/* SPDX-License-Identifier: Apache-2.0 */
/* Every task of the trained models against what transformers and sentence-transformers answer, through the public API.
 */
#include "engine_util.h"

static void check_embeddings(const char *golden, const char *path, const char *list)
{
    rkf_error err;
    rkf_runtime *rt = open_runtime("cpu", 2);
    rkf_model *m = open_model(rt, path, NULL);
    yyjson_doc *doc = golden_open(golden);
    yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(doc), list), *c;
    size_t n = yyjson_arr_size(cases), i, max;
    rkf_input *in = calloc(n, sizeof *in);
    assert_true(n > 0);
    yyjson_arr_foreach(cases, i, max, c) in[i].text = str_of(yyjson_obj_get(c, "text"));
    for (int batch = 0; batch < 2; batch++) { /* all at once, and one at a time */
        for (i = 0; i < n; i += batch ? 1 : n) {
            rkf_result *r = NULL;
            rkf_request rq = request_of(RKF_TASK_EMBED, in + i, batch ? 1 : n);
            assert_ok(rkf_run(m, &rq, &r, &err));
            for (size_t k = 0; k < rkf_result_count(r); k++) {
                rkf_tensor t;
                assert_int_equal(rkf_result_tensor(r, k, &t), RKF_OK);
                double w = worst(yyjson_obj_get(yyjson_arr_get(cases, i + k), "embedding"), t.data, (size_t)t.shape[0]);
                if (!(w <= 1e-5))
                    fail_msg("%s case %zu: embedding off by %g", golden, i + k, w);
            }
            rkf_result_free(r);
        }
    }
    free(in);
    yyjson_doc_free(doc);
    rkf_model_close(m);
    rkf_runtime_close(rt);
}

static void embeddings_of_trained_models(void **state)
{
    (void)state;
    check_embeddings("trained/bert-embed.json", MODELS "bert-embed", "embed");
    check_embeddings("trained/xlmr-embed.json", MODELS "xlmr-embed", "embed");
    check_embeddings("trained/mpnet-embed.json", MODELS "mpnet-embed", "embed");
}

static void embeddings_of_minilm(void **state)
{
    (void)state;
    check_embeddings("all-MiniLM-L6-v2.json", TEST_MODELS "/all-MiniLM-L6-v2", "cases");
}

/* Tensors of a task against the recorded ones, within 1e-4 of the largest value. */
static void check_tensors(const char *golden, const char *path, const char *list, rkf_task task, const char *field)
{
    rkf_error err;
    rkf_runtime *rt = open_runtime("cpu", 2);
    rkf_model *m = open_model(rt, path, NULL);
    yyjson_doc *doc = golden_open(golden);
    yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(doc), list), *c;
    size_t i, max;
    assert_true(yyjson_arr_size(cases) > 0);
    yyjson_arr_foreach(cases, i, max, c)
    {
        yyjson_val *want = yyjson_obj_get(c, field), *pair = yyjson_obj_get(c, "text_pair");
        if (yyjson_is_obj(want))
            want = yyjson_obj_get(want, "data");
        rkf_input in = { .text = str_of(yyjson_obj_get(c, "text")) };
        if (pair)
            in.pair = str_of(pair);
        rkf_result *r = NULL;
        rkf_tensor t;
        rkf_request rq = request_of(task, &in, 1);
        assert_ok(rkf_run(m, &rq, &r, &err));
        assert_int_equal(rkf_result_tensor(r, 0, &t), RKF_OK);
        size_t n = (size_t)(t.ndim == 2 ? t.shape[0] * t.shape[1] : t.shape[0]);
        double top = 0;
        for (size_t k = 0; k < n; k++)
            top = fmax(top, fabs((double)((const float *)t.data)[k]));
        double w = worst(want, t.data, n);
        if (!(w <= 1e-4 * top))
            fail_msg("%s case %zu: off by %g, largest value %g", golden, i, w, top);
        rkf_result_free(r);
    }
    yyjson_doc_free(doc);
    rkf_model_close(m);
    rkf_runtime_close(rt);
}

static void hidden_states_and_logits(void **state)
{
    (void)state;
    check_tensors("trained/bert-embed.json", MODELS "bert-embed", "hidden", RKF_TASK_HIDDEN, "last_hidden_state");
    check_tensors("trained/xlmr-embed.json", MODELS "xlmr-embed", "hidden", RKF_TASK_HIDDEN, "last_hidden_state");
    check_tensors("trained/mpnet-embed.json", MODELS "mpnet-embed", "hidden", RKF_TASK_HIDDEN, "last_hidden_state");
    check_tensors("trained/bert-rerank.json", MODELS "bert-rerank", "pairs", RKF_TASK_LOGITS, "logits");
    check_tensors("trained/distilbert-ner.json", MODELS "distilbert-ner", "token_classify", RKF_TASK_LOGITS, "logits");
    check_tensors("trained/roberta-sentiment.json", MODELS "roberta-sentiment", "classify", RKF_TASK_LOGITS, "logits");
}

static void token_ids_and_offsets(void **state)
{
    (void)state;
    static const char *const models[] = { "bert-embed",  "bert-qa",          "bert-rerank",       "distilbert-ner",
                                          "mpnet-embed", "roberta-fillmask", "roberta-sentiment", "xlmr-embed" };
    rkf_runtime *rt = open_runtime("cpu", 1);
    for (size_t k = 0; k < sizeof models / sizeof *models; k++) {
        char name[100], path[400];
        rkf_error err;
        snprintf(name, sizeof name, "trained/%s.json", models[k]);
        snprintf(path, sizeof path, "%s%s", MODELS, models[k]);
        rkf_model *m = open_model(rt, path, NULL);
        yyjson_doc *doc = golden_open(name);
        yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(doc), "tokenize"), *c;
        size_t i, max, t;
        yyjson_arr_foreach(cases, i, max, c)
        {
            rkf_input in = { .text = str_of(yyjson_obj_get(c, "text")) };
            rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
            rkf_result *r = NULL;
            assert_ok(rkf_tokenize(m, &rq, true, &r, &err));
            const rkf_tokens *tok = rkf_result_tokens(r, 0);
            yyjson_val *ids = yyjson_obj_get(c, "input_ids"), *offsets = yyjson_obj_get(c, "offsets");
            assert_int_equal(tok->n, yyjson_arr_size(ids));
            for (t = 0; t < tok->n; t++) {
                assert_int_equal(tok->ids[t], yyjson_get_int(yyjson_arr_get(ids, t)));
                for (size_t o = 0; o < 2; o++)
                    assert_int_equal(tok->offsets[t][o], yyjson_get_int(yyjson_arr_get(yyjson_arr_get(offsets, t), o)));
            }
            rkf_result_free(r);
        }
        yyjson_doc_free(doc);
        rkf_model_close(m);
    }
    rkf_runtime_close(rt);
}

static void fill_mask(void **state)
{
    (void)state;
    rkf_error err;
    rkf_runtime *rt = open_runtime("cpu", 2);
    rkf_model *m = open_model(rt, MODELS "roberta-fillmask", NULL);
    yyjson_doc *doc = golden_open("trained/roberta-fillmask.json");
    yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(doc), "fill_mask"), *c;
    size_t i, max;
    assert_true(yyjson_arr_size(cases) > 0);
    yyjson_arr_foreach(cases, i, max, c)
    {
        rkf_input in = { .text = str_of(yyjson_obj_get(c, "text")) };
        rkf_request rq = request_of(RKF_TASK_FILL_MASK, &in, 1);
        rq.top_k = 10;
        rkf_result *r = NULL;
        size_t n;
        assert_ok(rkf_run(m, &rq, &r, &err));
        const rkf_fill *f = rkf_result_fills(r, 0, &n);
        yyjson_val *top = yyjson_obj_get(c, "top");
        assert_int_equal(n, yyjson_arr_size(top));
        for (size_t k = 0; k < n; k++) {
            yyjson_val *w = yyjson_arr_get(top, k);
            assert_int_equal(f[k].token, yyjson_get_int(yyjson_obj_get(w, "token")));
            assert_string_equal(f[k].token_str.ptr, yyjson_get_str(yyjson_obj_get(w, "token_str")));
            assert_true(fabs(f[k].score - yyjson_get_num(yyjson_obj_get(w, "score"))) < 1e-4);
        }
        rkf_result_free(r);
    }
    yyjson_doc_free(doc);
    rkf_model_close(m);
    rkf_runtime_close(rt);
}

static void rerank_scores_are_the_sigmoid_of_the_recorded_logits(void **state)
{
    (void)state;
    rkf_error err;
    rkf_runtime *rt = open_runtime("cpu", 2);
    rkf_model *m = open_model(rt, MODELS "bert-rerank", NULL);
    yyjson_doc *doc = golden_open("trained/bert-rerank.json");
    yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(doc), "pairs"), *c;
    size_t i, max;
    yyjson_arr_foreach(cases, i, max, c)
    {
        double logit = yyjson_get_num(yyjson_arr_get_first(yyjson_obj_get(c, "logits")));
        rkf_input in = { .text = str_of(yyjson_obj_get(c, "text_pair")) };
        rkf_request rq = request_of(RKF_TASK_RERANK, &in, 1);
        rq.query = str_of(yyjson_obj_get(c, "text"));
        for (int raw = 0; raw < 2; raw++) {
            rkf_result *r = NULL;
            size_t n;
            rq.scores = raw ? RKF_SCORES_RAW : RKF_SCORES_SIGMOID;
            assert_ok(rkf_run(m, &rq, &r, &err));
            const rkf_label *l = rkf_result_labels(r, 0, &n);
            assert_int_equal(n, 1);
            assert_true(fabs(l->score - (raw ? logit : 1 / (1 + exp(-logit)))) < 1e-4 * fmax(1, fabs(logit)));
            rkf_result_free(r);
        }
    }
    yyjson_doc_free(doc);
    rkf_model_close(m);
    rkf_runtime_close(rt);
}

/* The recorded ids of pairs, given as ids: with their token types the recorded logits come back, without them others.
 */
static void token_ids_with_token_types(void **state)
{
    (void)state;
    enum { MOST = 128 };
    rkf_error err;
    rkf_runtime *rt = open_runtime("cpu", 2);
    rkf_model *m = open_model(rt, MODELS "bert-rerank", NULL);
    yyjson_doc *doc = golden_open("trained/bert-rerank.json");
    yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(doc), "pairs"), *c, *v;
    size_t i, k, max, max_ids;
    assert_true(yyjson_arr_size(cases) > 0);
    yyjson_arr_foreach(cases, i, max, c)
    {
        double logit = yyjson_get_num(yyjson_arr_get_first(yyjson_obj_get(c, "logits"))), off[2];
        int32_t ids[MOST], types[MOST], type = 0, sep = 3;
        yyjson_val *list = yyjson_obj_get(c, "input_ids");
        assert_true(yyjson_arr_size(list) <= MOST);
        yyjson_arr_foreach(list, k, max_ids, v)
        {
            ids[k] = (int32_t)yyjson_get_int(v);
            types[k] = type;
            type |= ids[k] == sep;
        }
        for (int with = 0; with < 2; with++) {
            rkf_input in = { .ids = ids, .n_ids = k, .type_ids = with ? types : NULL };
            rkf_request rq = request_of(RKF_TASK_LOGITS, &in, 1);
            rkf_result *r = NULL;
            rkf_tensor t;
            assert_ok(rkf_run(m, &rq, &r, &err));
            assert_int_equal(rkf_result_tensor(r, 0, &t), RKF_OK);
            off[with] = fabs(((const float *)t.data)[0] - logit);
            rkf_result_free(r);
        }
        assert_true(off[1] < 1e-4 * fmax(1, fabs(logit)));
        assert_true(off[0] > 1e-3);
        types[1] = 2;
        rkf_input in = { .ids = ids, .n_ids = k, .type_ids = types };
        rkf_request rq = request_of(RKF_TASK_LOGITS, &in, 1);
        rkf_result *r = NULL;
        assert_int_equal(rkf_run(m, &rq, &r, &err), RKF_INVALID);
        assert_non_null(strstr(err.message, "token type 2"));
    }
    yyjson_doc_free(doc);
    rkf_model_close(m);
    rkf_runtime_close(rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_ids_and_offsets),
        cmocka_unit_test(embeddings_of_trained_models),
        cmocka_unit_test(embeddings_of_minilm),
        cmocka_unit_test(hidden_states_and_logits),
        cmocka_unit_test(fill_mask),
        cmocka_unit_test(token_ids_with_token_types),
        cmocka_unit_test(rerank_scores_are_the_sigmoid_of_the_recorded_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
