/* SPDX-License-Identifier: Apache-2.0 */
/* Names that configuration files and kernels share: activations and norms. */
#ifndef RKF_BASE_OPS_H
#define RKF_BASE_OPS_H

#include <stdbool.h>

enum activation {
    ACT_NONE,
    ACT_GELU,      /* x/2 (1 + erf(x / sqrt 2)) */
    ACT_GELU_TANH, /* gelu_new, gelu_pytorch_tanh, gelu_fast */
    ACT_QUICK_GELU,
    ACT_RELU,
    ACT_RELU2,
    ACT_SILU,
    ACT_TANH,
    ACT_SIGMOID,
    ACT_MISH,
    ACT_ELU,
    ACT_LEAKY_RELU,
    ACT_COUNT
};
/* A config's hidden_act ("gelu", "gelu_new", "silu", ...) or a torch class path ("torch.nn.modules.activation.Tanh").
 */
bool activation_parse(const char *name, enum activation *out);
const char *activation_name(enum activation act);     /* static */
float activation_apply(enum activation act, float x); /* the definition, in double inside: tests and tiny heads */

enum norm_kind { NORM_LAYER, NORM_RMS };

#endif
