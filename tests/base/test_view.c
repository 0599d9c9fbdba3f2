/* SPDX-License-Identifier: Apache-2.0 */
/* Element types, and the 16-bit floats against their definition in double: every half, and f32 around every rounding
 * edge. */
#include "base/view.h"
#include "test.h"

#include <float.h>
#include <math.h>

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* IEEE 754: the value of a binary16, its infinity counted as what would come next, 2^16. */
static double half_value(uint32_t h)
{
    int exponent = (int)(h >> 10 & 31), mantissa = (int)(h & 1023);
    double v = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return h & 0x8000 ? -v : v;
}

static double bfloat_value(uint32_t h)
{
    int exponent = (int)(h >> 7 & 255), mantissa = (int)(h & 127);
    double v = exponent ? ldexp(128 + mantissa, exponent - 134) : ldexp(mantissa, -133);
    return h & 0x8000 ? -v : v;
}

static void every_half_to_f32(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f16_to_f32((uint16_t)h), g = bf16_to_f32((uint16_t)h);
        if ((h & 0x7fff) > 0x7c00)
            assert_true(isnan(f));
        else if ((h & 0x7fff) == 0x7c00)
            assert_true(isinf(f) && !signbit(f) == !(h >> 15));
        else
            assert_true((double)f == half_value(h) && !signbit(f) == !(h >> 15));
        if ((h & 0x7fff) > 0x7f80)
            assert_true(isnan(g));
        else if ((h & 0x7fff) == 0x7f80)
            assert_true(isinf(g) && !signbit(g) == !(h >> 15));
        else
            assert_true((double)g == bfloat_value(h) && !signbit(g) == !(h >> 15));
    }
}

static void every_half_comes_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t f = f32_to_f16(f16_to_f32((uint16_t)h)), b = f32_to_bf16(bf16_to_f32((uint16_t)h));
        if ((h & 0x7fff) > 0x7c00)
            assert_true((f & 0x7fff) > 0x7c00 && f >> 15 == h >> 15);
        else
            assert_int_equal(f, h);
        if ((h & 0x7fff) > 0x7f80)
            assert_true((b & 0x7fff) > 0x7f80 && b >> 15 == h >> 15);
        else
            assert_int_equal(b, h);
    }
}

/* The nearest of the values value(0) <= value(1) <= ... <= value(infinity), ties to even codes: by bisection. */
static uint32_t nearest(double x, double (*value)(uint32_t), uint32_t infinity)
{
    uint32_t lo = 0, hi = infinity;
    double a = fabs(x);
    if (a >= value(infinity))
        return infinity;
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        if (value(mid) <= a)
            lo = mid;
        else
            hi = mid;
    }
    double down = a - value(lo), up = value(hi) - a;
    return down < up || (down == up && lo % 2 == 0) ? lo : hi;
}

static void check_rounding(float f)
{
    uint32_t sign = bits_of(f) >> 31 << 15;
    if (isnan(f)) {
        assert_true((f32_to_f16(f) & 0x7fff) > 0x7c00);
        assert_true((f32_to_bf16(f) & 0x7fff) > 0x7f80);
        return;
    }
    assert_int_equal(f32_to_f16(f), nearest((double)f, half_value, 0x7c00) | sign);
    assert_int_equal(f32_to_bf16(f), nearest((double)f, bfloat_value, 0x7f80) | sign);
}

static void rounds_at_every_edge(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) { /* half way to the next half, and the f32 on either side of it */
        float middle = (float)((half_value(h) + half_value(h + 1)) / 2);
        check_rounding(middle);
        check_rounding(-nextafterf(middle, 0));
        check_rounding(nextafterf(middle, FLT_MAX));
    }
    for (uint32_t h = 0; h < 0x7f80; h += 7) {
        check_rounding(float_of(h << 16 | 0x8000));
        check_rounding(float_of(h << 16 | 0x7fff));
        check_rounding(float_of(h << 16 | 0x8001));
    }
}

static void rounds_random_f32(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (int i = 0; i < 200000; i++) {
        uint64_t r = test_random(&seed);
        check_rounding(float_of((uint32_t)(r >> 32)));
        check_rounding(ldexpf((float)(int32_t)r, -31 - (int)(r >> 58))); /* the range of weights and subnormal halves */
    }
}

static void infinities_and_nan(void **state)
{
    (void)state;
    check_rounding(INFINITY);
    check_rounding(-INFINITY);
    check_rounding(NAN);
    check_rounding(float_of(0x7f800001)); /* a NaN whose upper mantissa bits are all 0 must not become infinity */
    check_rounding(float_of(0xffffffff));
    check_rounding(FLT_MAX);
    check_rounding(-0.0f);
}

static void converts_arrays(void **state)
{
    (void)state;
    const uint16_t halves[] = { 0x3c00, 0xc000, 0x0001 }, bfloats[] = { 0x3f80, 0xc000, 0x0001 };
    const float floats[] = { 1, -2, 3 };
    float out[3];
    convert_to_f32(out, halves, DTYPE_F16, 3);
    assert_true(out[0] == 1 && out[1] == -2 && out[2] == 0x1p-24f);
    convert_to_f32(out, bfloats, DTYPE_BF16, 3);
    assert_true(out[0] == 1 && out[1] == -2 && bits_of(out[2]) == 0x10000);
    convert_to_f32(out, floats, DTYPE_F32, 3);
    assert_memory_equal(out, floats, sizeof out);
}

static void names_and_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum dtype type;
        size_t size;
    } rows[] = { { "f32", DTYPE_F32, 4 },     { "F32", DTYPE_F32, 4 },    { "float32", DTYPE_F32, 4 },
                 { "float16", DTYPE_F16, 2 }, { "BF16", DTYPE_BF16, 2 },  { "int8", DTYPE_I8, 1 },
                 { "I8", DTYPE_I8, 1 },       { "U8", DTYPE_U8, 1 },      { "I16", DTYPE_I16, 2 },
                 { "I32", DTYPE_I32, 4 },     { "I64", DTYPE_I64, 8 },    { "BOOL", DTYPE_BOOL, 1 },
                 { "F64", DTYPE_F64, 8 },     { "float64", DTYPE_F64, 8 } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum dtype type = DTYPE_COUNT;
        assert_true(dtype_parse(rows[i].name, &type));
        assert_int_equal(type, rows[i].type);
        assert_int_equal(dtype_size(type), rows[i].size);
    }
    enum dtype type = DTYPE_COUNT;
    assert_false(dtype_parse("f8", &type));
    assert_false(dtype_parse("", &type));
    assert_int_equal(type, DTYPE_COUNT);
    for (int t = 0; t < DTYPE_COUNT; t++) {
        assert_true(dtype_parse(dtype_name((enum dtype)t), &type));
        assert_int_equal(type, t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_to_f32),    cmocka_unit_test(every_half_comes_back),
        cmocka_unit_test(rounds_at_every_edge), cmocka_unit_test(rounds_random_f32),
        cmocka_unit_test(infinities_and_nan),   cmocka_unit_test(converts_arrays),
        cmocka_unit_test(names_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
