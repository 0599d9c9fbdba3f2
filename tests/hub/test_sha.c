/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-1 and SHA-256: the examples of FIPS 180-4, and every length around the blocks against Python's hashlib. */
#include "hub/sha.h"
#include "test.h"

static void hash(bool is256, const void *p, size_t n, char hex[65])
{
    struct sha s;
    if (is256)
        sha256_begin(&s);
    else
        sha1_begin(&s);
    sha_add(&s, p, n);
    sha_end(&s, hex);
}

static void examples(void **state)
{
    char hex[65];
    (void)state;
    hash(false, "", 0, hex);
    assert_string_equal(hex, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    hash(false, "abc", 3, hex);
    assert_string_equal(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
    hash(true, "", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    hash(true, "abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* h = hashlib.new(name)
 * for n in range(300): h.update(hashlib.new(name, bytes((i * 7 + n) & 255 for i in range(n))).hexdigest().encode()) */
static void all_lengths(void **state)
{
    static const char *const want[] = { "c42fbca3b66a5a0d6d3c5db4adbcde1985a0469f",
                                        "def85da8f53f8ad58eda585dce61c0d7bfbb3da6924badae49d32d11288c576f" };
    (void)state;
    for (int is256 = 0; is256 < 2; is256++) {
        struct sha all;
        char hex[65];
        if (is256)
            sha256_begin(&all);
        else
            sha1_begin(&all);
        for (int n = 0; n < 300; n++) {
            uint8_t text[300];
            for (int i = 0; i < n; i++)
                text[i] = (uint8_t)(i * 7 + n);
            hash(is256, text, (size_t)n, hex);
            sha_add(&all, hex, strlen(hex));
        }
        sha_end(&all, hex);
        assert_string_equal(hex, want[is256]);
    }
}

static void in_pieces(void **state)
{
    uint8_t text[1000];
    char once[65], pieces[65];
    uint64_t seed = 7;
    (void)state;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)test_random(&seed);
    hash(true, text, sizeof text, once);
    for (int round = 0; round < 50; round++) {
        struct sha s;
        sha256_begin(&s);
        for (size_t at = 0; at < sizeof text;) {
            size_t n = (size_t)test_random(&seed) % 130;
            n = n < sizeof text - at ? n : sizeof text - at;
            sha_add(&s, text + at, n);
            at += n;
        }
        sha_end(&s, pieces);
        assert_string_equal(pieces, once);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples),
        cmocka_unit_test(all_lengths),
        cmocka_unit_test(in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
