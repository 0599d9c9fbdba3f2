/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies over .rknn files: which files are chosen, what is sent and what comes back, contexts and their weights,
 * clients side by side, files that are refused. */
#include "rknn_test_util.h"

#include "device/rknn/graph.h"

#include <sys/stat.h>
#include <unistd.h>

static int32_t ids[4096];
static uint32_t lens[65];
static struct batch batch;

/* Sequences of these lengths with ids that depend on place and sequence. */
static void make_batch(const uint32_t *lengths, uint32_t n)
{
    batch = (struct batch){ .n_seqs = n, .ids = ids, .cu_lens = lens };
    for (uint32_t s = 0; s < n; s++) {
        for (uint32_t i = 0; i < lengths[s]; i++)
            ids[batch.n_tokens + i] = i == 0 ? 2 : i + 1 == lengths[s] ? 3 : (int32_t)(5 + (s * 31 + i * 7) % 60);
        batch.n_tokens += lengths[s];
        lens[s + 1] = batch.n_tokens;
    }
}

struct model {
    struct model_dir *dir;
    struct body *body;
};

static rkf_status model_try(struct model *m, const struct bed *b, const char *name, const char *file, bool int8,
                            rkf_error *err)
{
    char path[512];
    struct rknn_body_options o = { .file_name = file, .int8 = int8 };
    memset(m, 0, sizeof *m);
    snprintf(path, sizeof path, name[0] == '/' ? "%s" : SIM_MODEL_DIR "/%s", name);
    if (model_dir_open(path, NULL, &m->dir, err))
        fail_msg("%s", err->message);
    return rknn_body_create(b->npu, m->dir, &o, &m->body, err);
}

static void model_open(struct model *m, const struct bed *b, const char *name, const char *file)
{
    rkf_error err;
    if (model_try(m, b, name, file, false, &err))
        fail_msg("%s", err.message);
}

static void model_close(struct model *m)
{
    if (m->body)
        m->body->ops->release(m->body);
    model_dir_close(m->dir);
}

static void run(struct model *m, struct exec *x, struct rows *out)
{
    rkf_error err;
    if (m->body->ops->run(m->body, x, &batch, out, &err))
        fail_msg("%s", err.message);
}

static double cosine(const float *a, const float *b, size_t n)
{
    double dot = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        dot += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return dot / sqrt(aa * bb);
}

/* Files of 16 and 64 tokens, and of 32 with a batch of 4. */
static void sequences_go_to_the_smallest_file(void **state)
{
    (void)state;
    static const uint32_t lengths[] = { 3, 20, 16, 31, 40, 25, 17, 32, 64, 1 };
    struct bed b;
    struct model all, one;
    struct exec x, y;
    struct rows got, want;
    bed_open(&b, "rk3588");
    model_open(&all, &b, "bert-embed", NULL);
    model_open(&one, &b, "bert-embed", "model_b1_s64.rknn");
    struct body_limits l = all.body->ops->limits(all.body);
    assert_int_equal(l.max_tokens, 64);
    assert_int_equal(l.batch_seqs, 4);
    assert_true(l.bytes > 0);
    lane_open(&x, &b, 1, 1);
    lane_open(&y, &b, 1, 1);
    make_batch(lengths, 10);
    uint64_t before = sim_counters().runs;
    run(&all, &x, &got);
    assert_int_equal(sim_counters().runs - before, 3 + 2 + 2); /* up to 16: three; up to 32: five in fours; two long */
    run(&one, &y, &want);
    assert_int_equal(got.rows, batch.n_tokens);
    assert_int_equal(got.cols, want.cols);
    assert_true(got.per_token);
    assert_int_equal(got.kind, BODY_HIDDEN);
    for (uint32_t s = 0; s < 10; s++) {
        size_t at = (size_t)lens[s] * got.cols;
        assert_true(cosine(got.data + at, want.data + at, (size_t)lengths[s] * got.cols) > 0.9999);
    }
    assert_int_equal(sim_counters().weights, 4); /* each file once */
    lane_close(&x);
    lane_close(&y);
    model_close(&all);
    model_close(&one);
    bed_end(&b);
}

static void costs_are_learned(void **state)
{
    (void)state;
    static const uint32_t lengths[] = { 10, 40 };
    struct bed b;
    struct model m;
    struct exec x;
    struct rows out;
    bed_open_with(&b, "rk3588", "cost=model scale=20 compute=no", 0);
    model_open(&m, &b, "bert-embed", NULL);
    lane_open(&x, &b, 1, 1);
    make_batch(lengths, 2);
    assert_int_equal(m.body->ops->cost_us(m.body, 1, lengths, 2), 0); /* unknown */
    run(&m, &x, &out);
    uint32_t both = m.body->ops->cost_us(m.body, 1, lengths, 2);
    assert_true(both > 1000);
    assert_true(m.body->ops->cost_us(m.body, 1, lengths, 1) < both);
    assert_int_equal(m.body->ops->cost_us(m.body, 3, lengths, 2), 0);
    lane_close(&x);
    model_close(&m);
    sim_config("cost=host scale=1 compute=yes");
    bed_end(&b);
}

static void int8_is_never_taken_unasked(void **state)
{
    (void)state;
    struct bed b;
    struct model m;
    rkf_error err;
    bed_open(&b, "rk3588");
    model_open(&m, &b, "bert-cls", NULL);
    struct graph_body *g = (struct graph_body *)m.body;
    for (uint32_t i = 0; i < g->n_files; i++) {
        assert_null(strstr(g->files[i].name, "w8a8"));
        assert_null(strstr(g->files[i].name, "rk3576")); /* nor what is for another platform */
    }
    model_close(&m);
    assert_int_equal(model_try(&m, &b, "bert-cls", NULL, true, &err), RKF_OK);
    g = (struct graph_body *)m.body;
    assert_int_equal(g->n_files, 1);
    assert_non_null(strstr(g->files[0].name, "w8a8"));
    model_close(&m);
    assert_int_equal(model_try(&m, &b, "bert-cls", "rknn/model_b1_s64_w8a8.rknn", false, &err), RKF_OK); /* named */
    model_close(&m);
    bed_end(&b);
}

/* int8 outputs with scale and zero point come back as numbers. */
static void quantised_outputs_are_scaled(void **state)
{
    (void)state;
    static const uint32_t lengths[] = { 12, 7 };
    struct bed b;
    struct model q, f;
    struct exec x, y;
    struct rows got, want;
    bed_open(&b, "rk3588");
    model_open(&q, &b, "bert-cls", "rknn/model_b1_s64_w8a8.rknn");
    model_open(&f, &b, "bert-cls", "model_b1_s64.rknn");
    lane_open(&x, &b, 1, 1);
    lane_open(&y, &b, 1, 1);
    make_batch(lengths, 2);
    run(&q, &x, &got);
    run(&f, &y, &want);
    assert_int_equal(got.rows * got.cols, want.rows * want.cols);
    size_t n = (size_t)got.rows * got.cols;
    for (size_t i = 0; i < n; i++) /* steps of 8 / 255 */
        assert_true(fabsf(want.data[i]) > 3.9f || fabsf(got.data[i] - want.data[i]) < 0.025f);
    lane_close(&x);
    lane_close(&y);
    model_close(&q);
    model_close(&f);
    bed_end(&b);
}

/* Start and end logits as one row of two per token; multiple choice as one row per choice. */
static void heads_with_other_shapes(void **state)
{
    (void)state;
    static const uint32_t lengths[] = { 9, 5, 12 };
    struct bed b;
    struct model m;
    struct exec x;
    struct rows out;
    bed_open(&b, "rk3588");
    lane_open(&x, &b, 1, 1);
    make_batch(lengths, 3);
    model_open(&m, &b, "bert-qa", NULL);
    run(&m, &x, &out);
    assert_int_equal(out.kind, BODY_LOGITS);
    assert_true(out.per_token);
    assert_int_equal(out.cols, 2);
    assert_int_equal(out.rows, batch.n_tokens);
    model_close(&m);
    model_open(&m, &b, "bert-multiple-choice", NULL);
    assert_int_equal(m.body->ops->limits(m.body).batch_seqs, 3);
    run(&m, &x, &out);
    assert_int_equal(out.kind, BODY_LOGITS);
    assert_false(out.per_token);
    assert_int_equal(out.cols, 1);
    assert_int_equal(out.rows, 3);
    model_close(&m);
    lane_close(&x);
    bed_end(&b);
}

static void too_long_is_refused(void **state)
{
    (void)state;
    static const uint32_t lengths[] = { 10, 65 };
    struct bed b;
    struct model m;
    struct exec x;
    struct rows out;
    rkf_error err;
    bed_open(&b, "rk3588");
    model_open(&m, &b, "bert-embed", NULL);
    lane_open(&x, &b, 1, 1);
    make_batch(lengths, 2);
    assert_int_equal(m.body->ops->run(m.body, &x, &batch, &out, &err), RKF_TOO_LONG);
    lane_close(&x);
    model_close(&m);
    bed_end(&b);
}

/* ---- files that are refused */

static char folder[] = "/tmp/rkf-graph-XXXXXX";

/* A model directory with one file: bert-cls's, changed. */
static void write_model(size_t cut, const char *magic)
{
    char path[600];
    FILE *f = fopen(SIM_MODEL_DIR "/bert-cls/model_b1_s64.rknn", "rb");
    assert_non_null(f);
    static char bytes[1 << 20];
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_true(n > 1000 && n < sizeof bytes);
    if (magic)
        memcpy(bytes + 64, magic, strlen(magic));
    snprintf(path, sizeof path, "%s/model.rknn", folder);
    f = fopen(path, "wb");
    assert_int_equal(fwrite(bytes, 1, cut ? n - cut : n, f), cut ? n - cut : n);
    fclose(f);
    snprintf(path, sizeof path, "%s/config.json", folder);
    f = fopen(path, "w");
    fputs("{\"model_type\":\"bert\",\"hidden_size\":32,\"num_hidden_layers\":3,\"num_attention_heads\":4,"
          "\"intermediate_size\":64,\"vocab_size\":120,\"max_position_embeddings\":96,\"type_vocab_size\":2}",
          f);
    fclose(f);
}

static void broken_files_never_reach_the_runtime(void **state)
{
    (void)state;
    struct bed b;
    struct model m;
    rkf_error err;
    bed_open(&b, "rk3588");
    for (size_t cut = 1; cut < 4000; cut += 331) {
        write_model(cut, NULL);
        assert_int_equal(model_try(&m, &b, folder, "model.rknn", false, &err), RKF_FORMAT);
        assert_non_null(strstr(err.message, "truncated"));
        model_close(&m);
    }
    write_model(0, "vendors!");
    assert_int_equal(model_try(&m, &b, folder, NULL, false, &err), RKF_NOT_FOUND);
    assert_non_null(strstr(err.message, "made by the vendor's compiler"));
    model_close(&m);
    /* cut after it was opened, before it is loaded: checked again */
    write_model(0, NULL);
    assert_int_equal(model_try(&m, &b, folder, NULL, false, &err), RKF_OK);
    ((struct graph_body *)m.body)->files[0].loaded = false;
    abi_context base = ((struct graph_body *)m.body)->files[0].base;
    write_model(100, NULL);
    assert_int_equal(graph_file_load(&((struct graph_body *)m.body)->files[0], 0, &err), RKF_FORMAT);
    ((struct graph_body *)m.body)->files[0].base = base;
    model_close(&m);
    assert_int_equal(sim_counters().would_abort, 0);
    bed_end(&b);
}

static void other_platforms_are_named(void **state)
{
    (void)state;
    struct bed b;
    struct model m;
    rkf_error err;
    bed_open(&b, "rk3588");
    assert_int_equal(model_try(&m, &b, "bert-cls", "rknn/model_rk3576.rknn", false, &err), RKF_UNSUPPORTED);
    assert_string_equal(err.message,
                        "rknn/model_rk3576.rknn was compiled for rk3576, this is rk3588: use a file for rk3588");
    model_close(&m);
    assert_int_equal(model_try(&m, &b, "bert-cls", "no.rknn", false, &err), RKF_NOT_FOUND);
    model_close(&m);
    bed_end(&b);
    bed_open(&b, "rk3576");
    model_open(&m, &b, "bert-cls", "rknn/model_rk3576.rknn");
    model_close(&m);
    bed_end(&b);
}

static void old_runtimes_are_named(void **state)
{
    (void)state;
    struct bed b;
    struct model m;
    rkf_error err;
    bed_open_with(&b, "rk3588", "runtime=1.4.0", 0);
    assert_int_equal(model_try(&m, &b, "bert-cls", "model_b1_s64.rknn", false, &err), RKF_UNSUPPORTED);
    assert_string_equal(err.message,
                        "the NPU's runtime refuses model_b1_s64.rknn, made by toolkit 2.3.2: failure (-1); is "
                        "the runtime as new as the toolkit?");
    assert_null(m.body);
    model_close(&m);
    sim_config("runtime=2.3.2");
    bed_end(&b);
}

/* ---- side by side */

struct client {
    struct bed *b;
    struct model *m;
    uint8_t cores;
    int runs;
    uint32_t number;
    bool right;
};

static void *client_main(void *arg)
{
    struct client *c = arg;
    struct exec x;
    rkf_error err;
    int32_t own[30];
    uint32_t cu[2] = { 0, 30 };
    struct batch mine = { .n_seqs = 1, .n_tokens = 30, .ids = own, .cu_lens = cu };
    float *first = NULL;
    lane_open(&x, c->b, c->cores, 1);
    for (int i = 0; i < 30; i++)
        own[i] = (int32_t)(5 + (c->number * 13 + (uint32_t)i * 3) % 60);
    c->right = true;
    for (int i = 0; i < c->runs && c->right; i++) {
        struct rows out;
        arena_reset(&x.scratch);
        c->right = c->m->body->ops->run(c->m->body, &x, &mine, &out, &err) == RKF_OK && x.cores_used == c->cores;
        size_t bytes = c->right ? (size_t)out.rows * out.cols * sizeof(float) : 0;
        if (!first && bytes) {
            first = malloc(bytes);
            memcpy(first, out.data, bytes);
        }
        c->right = c->right && memcmp(first, out.data, bytes) == 0; /* its own answer, every time */
    }
    free(first);
    lane_close(&x);
    return NULL;
}

static void clients_get_their_own_answers(void **state)
{
    (void)state;
    enum { CLIENTS = 8 };
    static const uint8_t lanes[CLIENTS] = { 1, 1, 2, 2, 4, 4, 3, 7 };
    struct bed b;
    struct model m;
    struct client c[CLIENTS];
    pthread_t t[CLIENTS];
    bed_open(&b, "rk3588");
    model_open(&m, &b, "bert-embed", NULL);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        c[i] = (struct client){ &b, &m, lanes[i], 30, i, false };
        assert_int_equal(pthread_create(&t[i], NULL, client_main, &c[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(t[i], NULL);
        assert_true(c[i].right);
    }
    struct rknnsim_counters n = sim_counters();
    assert_int_equal(n.weights_loaded, 2); /* the files of 16 and of 32 tokens, however many cores */
    assert_int_equal(n.concurrent_calls, 0);
    model_close(&m);
    bed_end(&b);
}

/* ---- inputs and outputs, with a library made of answers */

static struct abi_tensor_attr in_attrs[4], out_attrs[4];
static struct abi_in_out_num counts;

static int answer(abi_context ctx, int cmd, void *info, uint32_t size)
{
    (void)ctx;
    (void)size;
    if (cmd == ABI_QUERY_IN_OUT_NUM) {
        *(struct abi_in_out_num *)info = counts;
        return 0;
    }
    struct abi_tensor_attr *a = info;
    *a = (cmd == ABI_QUERY_INPUT_ATTR ? in_attrs : out_attrs)[a->index];
    return 0;
}

static struct abi_tensor_attr attr(const char *name, int type, uint32_t n, uint32_t d0, uint32_t d1, uint32_t d2,
                                   uint32_t d3)
{
    struct abi_tensor_attr a = { .n_dims = n, .dims = { d0, d1, d2, d3 }, .type = type };
    snprintf(a.name, sizeof a.name, "%s", name);
    a.n_elems = 1;
    for (uint32_t i = 0; i < n; i++)
        a.n_elems *= a.dims[i];
    return a;
}

static rkf_status read_io(enum head_kind head, struct graph_io *io, rkf_error *err)
{
    struct rknn_device d = { 0 };
    d.lib.call.rknn_query = answer;
    memset(io, 0, sizeof *io);
    return graph_io_read(&d, 1, head, 32, NULL, "x.rknn", io, err);
}

static void outputs_are_recognised(void **state)
{
    (void)state;
    struct graph_io io;
    rkf_error err;
    static const struct {
        const char *name;
        uint32_t n, d0, d1, d2, d3;
        enum head_kind head;
        enum body_output kind;
        bool per_token;
        uint32_t cols;
    } cases[] = {
        { "last_hidden_state", 3, 2, 16, 32, 0, HEAD_NONE, BODY_HIDDEN, true, 32 },
        { "last_hidden_state", 4, 2, 16, 32, 1, HEAD_NONE, BODY_HIDDEN, true, 32 },
        { "logits", 2, 2, 5, 0, 0, HEAD_SEQUENCE, BODY_LOGITS, false, 5 },
        { "logits", 3, 2, 16, 9, 0, HEAD_TOKEN, BODY_LOGITS, true, 9 },
        { "logits", 2, 2, 16, 0, 0, HEAD_SEQUENCE, BODY_LOGITS, false, 16 }, /* 16 labels, not a number per token */
        { "output", 3, 2, 16, 32, 0, HEAD_NONE, BODY_HIDDEN, true, 32 },
        { "output", 3, 2, 16, 7, 0, HEAD_TOKEN, BODY_LOGITS, true, 7 },
        { "output", 2, 2, 32, 0, 0, HEAD_NONE, BODY_POOLED, false, 32 },
        { "sentence_embedding", 2, 2, 32, 0, 0, HEAD_NONE, BODY_POOLED, false, 32 },
        { "logits", 2, 2, 1, 0, 0, HEAD_SEQUENCE, BODY_LOGITS, false, 1 },
    };
    counts = (struct abi_in_out_num){ 2, 1 };
    in_attrs[0] = attr("input_ids", ABI_I64, 2, 2, 16, 0, 0);
    in_attrs[1] = attr("attention_mask", ABI_I64, 2, 2, 16, 0, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        out_attrs[0] = attr(cases[i].name, ABI_F16, cases[i].n, cases[i].d0, cases[i].d1, cases[i].d2, cases[i].d3);
        assert_int_equal(read_io(cases[i].head, &io, &err), RKF_OK);
        print_message("%s %u\n", cases[i].name, cases[i].n);
        assert_int_equal(io.kind, cases[i].kind);
        assert_int_equal(io.per_token, cases[i].per_token);
        assert_int_equal(io.cols, cases[i].cols);
        assert_int_equal(io.seqs, 2);
        assert_int_equal(io.length, 16);
    }
    counts.n_output = 2; /* hidden states before the pooler's output, wherever they are */
    out_attrs[0] = attr("pooler_output", ABI_F16, 2, 2, 32, 0, 0);
    out_attrs[1] = attr("last_hidden_state", ABI_F16, 3, 2, 16, 32, 0);
    assert_int_equal(read_io(HEAD_NONE, &io, &err), RKF_OK);
    assert_int_equal(io.parts[0], 1);
    out_attrs[0] = attr("end_logits", ABI_F16, 2, 2, 16, 0, 0);
    out_attrs[1] = attr("start_logits", ABI_F16, 2, 2, 16, 0, 0);
    assert_int_equal(read_io(HEAD_QA, &io, &err), RKF_OK);
    assert_int_equal(io.n_parts, 2);
    assert_int_equal(io.parts[0], 1);
    assert_int_equal(io.parts[1], 0);
    out_attrs[0] = attr("a", ABI_F16, 2, 2, 16, 0, 0);
    out_attrs[1] = attr("b", ABI_F16, 2, 2, 16, 0, 0);
    assert_int_equal(read_io(HEAD_QA, &io, &err), RKF_OK);
    assert_int_equal(io.n_parts, 2);
    assert_int_equal(io.parts[0], 0);
    counts.n_output = 1; /* nonsense */
    out_attrs[0] = attr("logits", ABI_F16, 1, 7, 0, 0, 0);
    assert_int_equal(read_io(HEAD_SEQUENCE, &io, &err), RKF_UNSUPPORTED);
    counts.n_output = 9;
    assert_int_equal(read_io(HEAD_SEQUENCE, &io, &err), RKF_UNSUPPORTED);
    counts = (struct abi_in_out_num){ 1, 1 };
    in_attrs[0] = attr("pixel_values", ABI_U8, 1, 300, 0, 0, 0);
    assert_int_equal(read_io(HEAD_NONE, &io, &err), RKF_UNSUPPORTED);
}

static void inputs_have_the_declared_types(void **state)
{
    (void)state;
    static const int types[] = { ABI_I64, ABI_I32, ABI_I16, ABI_F32 };
    static const uint32_t lengths[] = { 3, 2 };
    struct graph_io io;
    rkf_error err;
    uint32_t seqs[2] = { 1, 0 };
    counts = (struct abi_in_out_num){ 3, 1 };
    out_attrs[0] = attr("logits", ABI_F16, 2, 3, 2, 0, 0);
    make_batch(lengths, 2);
    uint8_t type_ids[5] = { 0, 0, 1, 0, 1 };
    batch.type_ids = type_ids;
    ids[1] = 250001; /* above 32,767: XLM-R */
    for (size_t t = 0; t < 4; t++) {
        union {
            int64_t i64[12];
            int32_t i32[12];
            int16_t i16[12];
            float f32[12];
        } in[3];
        void *buffers[3] = { &in[0], &in[1], &in[2] };
        in_attrs[0] = attr("attention_mask", types[t], 2, 3, 4, 0, 0);
        in_attrs[1] = attr("token_type_ids", types[t], 2, 3, 4, 0, 0);
        in_attrs[2] = attr("input_ids", types[t], 2, 3, 4, 0, 0);
        assert_int_equal(read_io(HEAD_SEQUENCE, &io, &err), RKF_OK);
        memset(in, 0xff, sizeof in);
        rkf_status rc = graph_fill(&io, &batch, seqs, 2, 1, buffers, &err);
        if (types[t] == ABI_I16) {
            assert_int_equal(rc, RKF_INVALID);
            assert_non_null(strstr(err.message, "token id 250001 does not fit"));
            continue;
        }
        assert_int_equal(rc, RKF_OK);
        const int64_t want[3][12] = { { 1, 1, 0, 0, 1, 1, 1, 0, 1, 0, 0, 0 }, /* the empty third row sees one token */
                                      { 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0 },
                                      { ids[3], ids[4], 1, 1, ids[0], 250001, ids[2], 1, 1, 1, 1, 1 } };
        for (int k = 0; k < 3; k++)
            for (int i = 0; i < 12; i++) {
                int64_t got = types[t] == ABI_I64   ? in[k].i64[i]
                              : types[t] == ABI_I32 ? in[k].i32[i]
                                                    : (int64_t)in[k].f32[i];
                assert_int_equal(got, want[k][i]);
            }
    }
    batch.type_ids = NULL;
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    char path[600];
    (void)state;
    snprintf(path, sizeof path, "%s/model.rknn", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/config.json", folder);
    unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_go_to_the_smallest_file),
        cmocka_unit_test(costs_are_learned),
        cmocka_unit_test(int8_is_never_taken_unasked),
        cmocka_unit_test(quantised_outputs_are_scaled),
        cmocka_unit_test(heads_with_other_shapes),
        cmocka_unit_test(too_long_is_refused),
        cmocka_unit_test(broken_files_never_reach_the_runtime),
        cmocka_unit_test(other_platforms_are_named),
        cmocka_unit_test(old_runtimes_are_named),
        cmocka_unit_test(clients_get_their_own_answers),
        cmocka_unit_test(outputs_are_recognised),
        cmocka_unit_test(inputs_have_the_declared_types),
    };
    sim_load();
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
