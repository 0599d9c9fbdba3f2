/* SPDX-License-Identifier: Apache-2.0 */
/* Detection, telemetry and description on the boards of tests/data/boards. */
#include "base/json.h"
#include "base/mem.h"
#include "npu/npu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { UNKNOWN = -1 };

static const struct {
    const char *board;
    enum platform_id id;
    bool tree;
    enum npu_driver driver;
    const char *version, *node, *model;
    bool legacy, multi, load;
} boards[] = {
    { "rk3588", PLATFORM_RK3588, true, NPU_DRIVER_RKNPU, "0.9.8", "/dev/dri/card1", "Orange Pi 5 Plus", false, true,
      true },
    { "rk3588s", PLATFORM_RK3588, true, NPU_DRIVER_RKNPU, "0.9.6", "/dev/dri/card1", "Orange Pi 5", false, true, true },
    { "rk3588-rocket", PLATFORM_RK3588, true, NPU_DRIVER_ROCKET, "", "/dev/accel/accel0", "Radxa ROCK 5B", false, true,
      false },
    { "rk3588-no-driver", PLATFORM_RK3588, true, NPU_DRIVER_NONE, "", "", "FriendlyElec NanoPC-T6", false, true,
      false },
    { "rk3588-old-driver", PLATFORM_RK3588, true, NPU_DRIVER_RKNPU, "0.8.2", "/dev/dri/card1", "Orange Pi 5 Plus",
      false, false, true },
    { "rk3588-legacy-link", PLATFORM_RK3588, true, NPU_DRIVER_RKNPU, "0.9.8", "/dev/rknpu", "Orange Pi 5 Plus", true,
      true, true },
    { "rk3588-no-debugfs", PLATFORM_RK3588, true, NPU_DRIVER_RKNPU, "0.9.8", "/dev/dri/card1", "Orange Pi 5 Plus",
      false, true, false },
    { "container", PLATFORM_RK3588, false, NPU_DRIVER_RKNPU, "0.9.8", "/dev/dri/card1", "", false, true, true },
    { "container-no-node", PLATFORM_RK3588, false, NPU_DRIVER_RKNPU, "0.9.8", "", "", false, true, true },
    { "container-no-uevent", PLATFORM_RK3568, false, NPU_DRIVER_RKNPU, "0.9.3", "/dev/rknpu", "", false, false, true },
    { "rk3576", PLATFORM_RK3576, true, NPU_DRIVER_RKNPU, "0.9.8", "/dev/dri/card1", "Radxa ROCK 4D", false, true,
      true },
    { "rk3568", PLATFORM_RK3568, true, NPU_DRIVER_RKNPU, "0.4.2", "/dev/dri/card1", "Radxa ROCK3 Model A", false, false,
      false },
    { "rk3566", PLATFORM_RK3566, true, NPU_DRIVER_RKNPU, "0.9.8", "/dev/dri/card1", "Orange Pi 3B", false, true, true },
    { "rk3562", PLATFORM_RK3562, true, NPU_DRIVER_RKNPU, "0.9.8", "/dev/dri/card1",
      "Rockchip RK3562 EVB2 DDR4 V10 Board", false, true, true },
    { "pc", PLATFORM_CPU, false, NPU_DRIVER_NONE, "", "", "", false, true, false },
    { "no-such-directory", PLATFORM_CPU, false, NPU_DRIVER_NONE, "", "", "", false, true, false },
};

static const char *board_root(const char *board)
{
    static char root[512];
    snprintf(root, sizeof root, "%s/boards/%s", TEST_DATA, board);
    return root;
}

static void boards_are_recognised(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof boards / sizeof *boards; i++) {
        struct npu_facts f;
        npu_detect(board_root(boards[i].board), &f);
        print_message("%s: %s\n", boards[i].board, f.platform->name);
        assert_int_equal(f.platform->id, boards[i].id);
        assert_int_equal(f.from_device_tree, boards[i].tree);
        assert_int_equal(f.driver, boards[i].driver);
        assert_string_equal(f.driver_version, boards[i].version);
        assert_string_equal(f.device_node, boards[i].node);
        assert_string_equal(f.board, boards[i].model);
        assert_int_equal(f.legacy_link, boards[i].legacy);
        assert_int_equal(f.multi_core_ok, boards[i].multi);
        assert_int_equal(f.debugfs_readable, boards[i].load);
        if (f.device_node[0]) {
            assert_true(f.node_accessible);
            assert_true(f.node_group[0] != 0);
        }
    }
}

static const struct {
    const char *board;
    int load[3];
    int64_t freq, freq_max;
    const char *governor, *zone;
    int32_t temp, trip;
    int64_t volt;
    int power;
} measured[] = {
    { "rk3588", { 37, 0, 100 }, 1000000000, 1000000000, "rknpu_ondemand", "npu-thermal", 45307, INT32_MIN, 800000, 1 },
    { "rk3588-hot", { 37, 0, 100 }, 300000000, 1000000000, "powersave", "npu-thermal", 86000, 75000, 800000, 1 },
    { "rk3588-old-driver",
      { UNKNOWN, UNKNOWN, 0 },
      1000000000,
      1000000000,
      "rknpu_ondemand",
      "npu-thermal",
      45307,
      INT32_MIN,
      800000,
      1 },
    { "rk3588-no-debugfs",
      { UNKNOWN, UNKNOWN, UNKNOWN },
      1000000000,
      1000000000,
      "rknpu_ondemand",
      "npu-thermal",
      45307,
      INT32_MIN,
      -1,
      UNKNOWN },
    { "rk3576", { 5, 64, UNKNOWN }, 950000000, 950000000, "rknpu_ondemand", "npu-thermal", 41500, 85000, -1, UNKNOWN },
    { "rk3568",
      { UNKNOWN, UNKNOWN, UNKNOWN },
      200000000,
      1000000000,
      "rknpu_ondemand",
      "soc-thermal",
      43333,
      75000,
      -1,
      UNKNOWN },
    { "rk3566",
      { 7, UNKNOWN, UNKNOWN },
      600000000,
      900000000,
      "rknpu_ondemand",
      "soc-thermal",
      50000,
      INT32_MIN,
      900000,
      UNKNOWN },
    { "rk3562", { 0, UNKNOWN, UNKNOWN }, 600000000, 1000000000, "rknpu_ondemand", "", INT32_MIN, INT32_MIN, -1, 0 },
    { "container-no-uevent",
      { 12, UNKNOWN, UNKNOWN },
      600000000,
      600000000,
      "rknpu_ondemand",
      "",
      INT32_MIN,
      INT32_MIN,
      -1,
      UNKNOWN },
    { "rk3588-rocket", { UNKNOWN, UNKNOWN, UNKNOWN }, -1, -1, "", "", INT32_MIN, INT32_MIN, -1, UNKNOWN },
    { "pc", { UNKNOWN, UNKNOWN, UNKNOWN }, -1, -1, "", "", INT32_MIN, INT32_MIN, -1, UNKNOWN },
};

static void telemetry_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++) {
        struct npu_facts f;
        struct npu_telemetry t;
        const char *root = board_root(measured[i].board);
        npu_detect(root, &f);
        npu_telemetry_read(root, &f, &t);
        print_message("%s\n", measured[i].board);
        for (int c = 0; c < 3; c++)
            assert_int_equal(t.load[c].percent, measured[i].load[c]);
        assert_int_equal(t.freq_hz, measured[i].freq);
        assert_int_equal(t.freq_max_hz, measured[i].freq_max);
        assert_string_equal(t.governor, measured[i].governor);
        assert_string_equal(t.temp_zone, measured[i].zone);
        assert_int_equal(t.temp_mc, measured[i].temp);
        assert_int_equal(t.temp_trip_mc, measured[i].trip);
        assert_int_equal(t.volt_uv, measured[i].volt);
        assert_int_equal(t.power_on, measured[i].power);
    }
}

static yyjson_doc *describe(const char *board, const struct platform *asked)
{
    struct buf b;
    yyjson_doc *doc = NULL;
    buf_init(&b, 1 << 16);
    assert_int_equal(npu_describe(board_root(board), asked, &b, NULL), RKF_OK);
    assert_int_equal(json_parse(b.p, b.len, board, &doc, NULL), RKF_OK);
    buf_free(&b);
    return doc;
}

static bool advises(yyjson_doc *doc, const char *words)
{
    yyjson_arr_iter it;
    yyjson_arr_iter_init(yyjson_obj_get(yyjson_doc_get_root(doc), "advice"), &it);
    for (yyjson_val *v; (v = yyjson_arr_iter_next(&it));)
        if (strstr(yyjson_get_str(v), words))
            return true;
    return false;
}

static void descriptions_advise(void **state)
{
    (void)state;
    static const struct {
        const char *board, *words; /* NULL: no advice at all */
    } cases[] = {
        { "rk3588", NULL },
        { "rk3576", NULL },
        { "rk3566", NULL },
        { "rk3588-rocket", "mainline driver rocket (/dev/accel/accel0), which librknnrt cannot use" },
        { "rk3588-no-driver", "this rk3588 has no NPU driver" },
        { "rk3588-old-driver", "the rknpu driver 0.8.2 is older than 0.9.6" },
        { "rk3588-legacy-link", "/dev/rknpu is a symbolic link" },
        { "rk3588-no-debugfs", "CAP_DAC_READ_SEARCH" },
        { "rk3588-hot", "held at 300 of 1000 MHz by the governor powersave" },
        { "rk3588-hot", "the npu-thermal sensor is at 86 C" },
        { "container-no-node", "pass --device /dev/dri" },
        { "container-no-uevent", "rk3566 and rk3568 cannot be told apart" },
        { "pc", "no Rockchip NPU is here" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        yyjson_doc *doc = describe(cases[i].board, NULL);
        print_message("%s\n", cases[i].board);
        if (cases[i].words)
            assert_true(advises(doc, cases[i].words));
        else
            assert_int_equal(yyjson_arr_size(yyjson_obj_get(yyjson_doc_get_root(doc), "advice")), 0);
        yyjson_doc_free(doc);
    }
    yyjson_doc *doc = describe("rk3568", NULL); /* one core: an old driver does no harm */
    assert_false(advises(doc, "older than 0.9.6"));
    yyjson_doc_free(doc);
}

static void descriptions_say_virtual(void **state)
{
    (void)state;
    yyjson_doc *doc = describe("pc", platform_get(PLATFORM_RK3576));
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "platform")), "rk3576");
    assert_true(yyjson_get_bool(yyjson_obj_get(root, "virtual")));
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "detected")), "cpu");
    assert_true(yyjson_is_null(yyjson_obj_get(root, "driver")));
    assert_int_equal(yyjson_get_int(yyjson_obj_get(root, "cores")), 2);
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(root, "core_masks")), 5);
    yyjson_doc_free(doc);
    doc = describe("rk3588", NULL);
    root = yyjson_doc_get_root(doc);
    assert_false(yyjson_get_bool(yyjson_obj_get(root, "virtual")));
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "detected_from")), "device tree");
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "board")), "Orange Pi 5 Plus");
    yyjson_val *load = yyjson_obj_get(yyjson_obj_get(root, "telemetry"), "load_percent");
    assert_int_equal(yyjson_arr_size(load), 3);
    assert_int_equal(yyjson_get_int(yyjson_arr_get(load, 2)), 100);
    yyjson_doc_free(doc);
}

static void descriptions_survive_lack_of_memory(void **state)
{
    (void)state;
    for (int64_t n = 0;; n++) {
        struct buf b;
        buf_init(&b, 1 << 16);
        mem_fail_after(n);
        rkf_status rc = npu_describe(board_root("rk3588-hot"), NULL, &b, NULL);
        mem_fail_after(-1);
        buf_free(&b);
        if (rc == RKF_OK)
            break;
        assert_int_equal(rc, RKF_NO_MEMORY);
        assert_true(n < 1000);
    }
    struct buf small; /* a maximum that is too small is no crash either */
    buf_init(&small, 40);
    assert_int_equal(npu_describe(board_root("rk3588"), NULL, &small, NULL), RKF_NO_MEMORY);
    buf_free(&small);
}

static void permission_is_explained(void **state)
{
    (void)state;
    char words[512];
    struct npu_facts f = { .platform = platform_get(PLATFORM_RK3588),
                           .driver = NPU_DRIVER_RKNPU,
                           .device_node = "/dev/dri/card1",
                           .node_group = "video",
                           .multi_core_ok = true };
    assert_true(npu_problem(&f, words, sizeof words));
    assert_string_equal(words, "no permission to open /dev/dri/card1: join its group (sudo usermod -aG video $USER, "
                               "then log in again; in a container --group-add video)");
    snprintf(f.node_group, sizeof f.node_group, "root");
    assert_true(npu_problem(&f, words, sizeof words));
    assert_non_null(strstr(words, "udev rule"));
    f.node_accessible = true;
    assert_false(npu_problem(&f, words, sizeof words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boards_are_recognised),   cmocka_unit_test(telemetry_is_read),
        cmocka_unit_test(descriptions_advise),     cmocka_unit_test(descriptions_say_virtual),
        cmocka_unit_test(permission_is_explained), cmocka_unit_test(descriptions_survive_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
