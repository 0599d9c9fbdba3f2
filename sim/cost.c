/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cost model: what one core of RK3588 does according to published measurements, in seconds. Other platforms divide
 * by their speed per core, config.scale multiplies. A job takes one submit plus, per product, the longer of computing
 * and reading memory:
 *
 *     submit                      40 us                  (published: 30 to 50)
 *     f16, native layouts         900 GFLOPS             (128 x 1024 x 8192)
 *     f16, normal layouts         750 GFLOPS
 *     i8                          1800 GOPS, i4 twice that (the ratio of the data sheet)
 *     memory, one core            10.5 GB/s              (from M = 1: 10 to 11 GFLOPS with f16 weights)
 *     memory, all cores           17 GB/s                (what the DRAM streams)
 *
 * A job gets its share of the 17 GB/s among the cores that have a job when it starts, whatever comes and goes later,
 * and whether they compute or read. Under a joint mask the parts that can be split (see graph.c) are divided by the
 * number of cores.
 */
#include "sim.h"

double cost_submit(void)
{
    return 40e-6;
}

double cost_stream(uint64_t bytes, uint32_t busy)
{
    double share = 17e9 / busy;
    return (double)bytes / (share < 10.5e9 ? share : 10.5e9);
}

double cost_matmul(uint32_t m, uint32_t k, uint32_t n, int type, bool native, uint32_t busy)
{
    const struct matmul_kind *kind = matmul_kind(type);
    double rate = kind->a == SIM_F16 ? (native ? 900e9 : 750e9) : kind->a == SIM_I8 ? 1800e9 : 3600e9;
    uint64_t bits = (uint64_t)m * k * type_bits(kind->a) + (uint64_t)k * n * type_bits(kind->b) +
                    (uint64_t)m * n * type_bits(kind->c);
    double compute = 2.0 * m * k * n / rate, memory = cost_stream(bits / 8, busy);
    return compute > memory ? compute : memory;
}
