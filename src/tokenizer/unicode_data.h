/* SPDX-License-Identifier: Apache-2.0 */
/* Made by tools/make_unicode_tables.py from tokenizers 0.23.3; do not edit. */
#ifndef RKF_TOKENIZER_UNICODE_DATA_H
#define RKF_TOKENIZER_UNICODE_DATA_H

#include <stdint.h>

/* clang-format off */
extern const uint16_t unicode_flags_stage1[8704];
extern const uint8_t unicode_flags_stage2[35328];
extern const uint32_t unicode_flag_sets[71];
extern const uint8_t unicode_ccc_stage1[8704];
extern const uint8_t unicode_ccc_stage2[9728];
extern const uint8_t unicode_nfd_stage1[17408];
extern const uint16_t unicode_nfd_stage2[5120];
extern const uint8_t unicode_nfkd_stage1[17408];
extern const uint16_t unicode_nfkd_stage2[10688];
extern const uint32_t unicode_pool[10270];
extern const uint8_t unicode_lower_stage1[17408];
extern const uint8_t unicode_lower_stage2[3520];
extern const int32_t unicode_lower_delta[84];
extern const uint32_t unicode_pairs[940][3];
enum { UNICODE_PAIRS = 940 };

#endif
