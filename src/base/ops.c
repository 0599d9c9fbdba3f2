/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ops.h"

#include <math.h>
#include <string.h>
#include <strings.h>

/* The names that transformers' ACT2FN knows, and the classes that torch's modules are saved as. */
static const struct {
    const char *name;
    enum activation act;
} names[] = {
    { "gelu", ACT_GELU },
    { "gelu_python", ACT_GELU },
    { "gelu_new", ACT_GELU_TANH },
    { "gelu_fast", ACT_GELU_TANH },
    { "gelu_accurate", ACT_GELU_TANH },
    { "gelu_pytorch_tanh", ACT_GELU_TANH },
    { "gelu_python_tanh", ACT_GELU_TANH },
    { "quick_gelu", ACT_QUICK_GELU },
    { "relu", ACT_RELU },
    { "relu2", ACT_RELU2 },
    { "silu", ACT_SILU },
    { "swish", ACT_SILU },
    { "tanh", ACT_TANH },
    { "sigmoid", ACT_SIGMOID },
    { "mish", ACT_MISH },
    { "elu", ACT_ELU },
    { "leaky_relu", ACT_LEAKY_RELU },
    { "linear", ACT_NONE },
    { "identity", ACT_NONE },
    { "leakyrelu", ACT_LEAKY_RELU },
};

bool activation_parse(const char *name, enum activation *out)
{
    const char *dot = strrchr(name, '.');
    if (dot)
        name = dot + 1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcasecmp(name, names[i].name)) {
            *out = names[i].act;
            return true;
        }
    return false;
}

const char *activation_name(enum activation act)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].act == act)
            return names[i].name;
    return "linear";
}

float activation_apply(enum activation act, float xf)
{
    double x = xf;
    switch (act) {
    case ACT_GELU:
        return (float)(x * 0.5 * erfc(-x * M_SQRT1_2));
    case ACT_GELU_TANH:
        return (float)(0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)))); /* sqrt(2 / pi) */
    case ACT_QUICK_GELU:
        return (float)(x / (1 + exp(-1.702 * x)));
    case ACT_RELU:
        return xf > 0 ? xf : 0;
    case ACT_RELU2:
        return xf > 0 ? xf * xf : 0;
    case ACT_SILU:
        return (float)(x / (1 + exp(-x)));
    case ACT_TANH:
        return (float)tanh(x);
    case ACT_SIGMOID:
        return (float)(1 / (1 + exp(-x)));
    case ACT_MISH:
        return (float)(x * tanh(log1p(exp(x))));
    case ACT_ELU:
        return (float)(x > 0 ? x : expm1(x));
    case ACT_LEAKY_RELU:
        return (float)(x > 0 ? x : 0.01 * x);
    default:
        return xf;
    }
}
