/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Embeds three sentences and prints how similar they are. The tests compile and run this file.
 *
 *     cc example.c $(pkg-config --cflags --libs rkformer) -o example
 *     ./example build/models/all-MiniLM-L6-v2 auto
 */
#include <rkformer.h>

#include <stdio.h>
#include <string.h>

static const char *const sentences[] = {
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
};
enum { N = 3 };

static void print_log(void *cookie, rkf_log_level level, const char *line)
{
    (void)cookie;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

/* a [dim] f32, b [dim] f32; all-MiniLM-L6-v2's embeddings have length 1, so that their product is the cosine */
static double dot(const float *a, const float *b, int64_t dim)
{
    double sum = 0;
    for (int64_t i = 0; i < dim; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

int main(int argc, char **argv)
{
    rkf_runtime *runtime = NULL;
    rkf_model *model = NULL;
    rkf_result *result = NULL;
    rkf_tensor embeddings;
    rkf_info info;
    rkf_error err = { RKF_OK, "" };
    int exit_status = 1;

    if (argc < 2) {
        fprintf(stderr, "usage: %s MODEL [CORE_MASK]\n", argv[0]);
        return 2;
    }
    rkf_runtime_options runtime_options = RKF_RUNTIME_OPTIONS_INIT;
    runtime_options.log = print_log;
    if (rkf_runtime_open(&runtime_options, &runtime, &err))
        goto fail;
    rkf_model_options model_options = RKF_MODEL_OPTIONS_INIT;
    model_options.path = argv[1];
    model_options.core_mask = argc > 2 ? argv[2] : "auto"; /* auto, 0, 1, 2, 0_1, 0_1_2 or all */
    if (rkf_model_open(runtime, &model_options, &model, &err))
        goto fail;

    rkf_input inputs[N];
    memset(inputs, 0, sizeof inputs);
    for (int i = 0; i < N; i++) {
        inputs[i].text.ptr = sentences[i];
        inputs[i].text.len = strlen(sentences[i]);
    }
    rkf_request request = RKF_REQUEST_INIT;
    request.task = RKF_TASK_EMBED;
    request.inputs = inputs;
    request.n_inputs = N;
    if (rkf_run(model, &request, &result, &err))
        goto fail;

    /* These two cannot fail: the task is EMBED, and RKF_ALL is always there. */
    if (rkf_result_tensor(result, RKF_ALL, &embeddings) || rkf_result_info(result, RKF_ALL, &info))
        goto fail;
    const float *rows = embeddings.data; /* [N, dim] f32 */
    int64_t dim = embeddings.shape[1];
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++)
            printf("%7.4f", dot(rows + i * dim, rows + j * dim, dim));
        printf("  %s\n", sentences[i]);
    }
    printf("%lld tokens on %s\n", (long long)info.tokens, info.device);
    exit_status = 0;
fail:
    if (exit_status)
        fprintf(stderr, "%s: %s\n", argv[0], err.message);
    rkf_result_free(result);
    rkf_model_close(model);
    rkf_runtime_close(runtime);
    return exit_status;
}
