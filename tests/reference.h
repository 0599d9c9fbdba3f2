/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TEST_REFERENCE, before a function: a plain loop that results are compared with. It shares nothing with other threads,
 * and the thread sanitizer would make it 50 times slower.
 */
#ifndef RKF_TESTS_REFERENCE_H
#define RKF_TESTS_REFERENCE_H

#define TEST_REFERENCE __attribute__((no_sanitize_thread))

#endif
