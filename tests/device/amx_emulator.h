/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AMX in software, for machines whose processor has none: an illegal instruction that is one of AMX's is executed here,
 * in the handler of SIGILL, and the thread goes on behind it. Everything else ends the test as it would have: other
 * instructions, and those that the manual says raise #UD or #GP.
 *
 * Written from the instructions' descriptions in Intel's Software Developer's Manual; knows nothing of the kernels.
 * Palette 1. Each thread has its own tiles. What the compilers emit comes here whatever registers and addressing they
 * chose: only prefixes (segments, 32-bit addresses) are not known.
 *
 * Sanitizers see the memory that tiles are loaded from and stored to, as this is ordinary C. Not under valgrind, which
 * has no AVX-512 either.
 */
#ifndef RKF_TESTS_DEVICE_AMX_EMULATOR_H
#define RKF_TESTS_DEVICE_AMX_EMULATOR_H

#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

enum amx_fault { AMX_DONE, AMX_UNKNOWN, AMX_UD, AMX_GP };
enum amx_op {
    AMX_LOAD_CONFIG,
    AMX_STORE_CONFIG,
    AMX_RELEASE,
    AMX_ZERO,
    AMX_LOAD,
    AMX_STORE,
    AMX_BF16,
    AMX_SS,
    AMX_SU,
    AMX_US,
    AMX_UU,
    AMX_OPS
};
enum { AMX_TILES = 8, AMX_ROWS = 16, AMX_LINE = 64, AMX_CODE = 15 /* the longest instruction */ };

struct amx_tile {
    uint16_t line; /* bytes of a row; 0: not there */
    uint8_t rows;
    uint8_t data[AMX_ROWS][AMX_LINE];
};
struct amx_state {
    bool configured;
    uint8_t start_row;
    struct amx_tile tile[AMX_TILES];
};
static _Thread_local struct amx_state amx;

static atomic_long amx_count[AMX_OPS]; /* executed, by all threads */
static atomic_bool amx_spoil;          /* one sum of each product comes out wrong */

/* ---- what is encoded */

struct amx_code {
    enum amx_op op;
    uint8_t length, reg, rm, third; /* tiles */
    uint64_t address;               /* of what is loaded or stored */
    int64_t stride;
};

/* Bytes of VEX: C4, then R X B inverted and the map, then W, a register inverted, L, and the prefix; opcode, ModRM. */
enum { VEX3 = 0xc4, MAP_0F38 = 2, PREFIX_NONE = 0, PREFIX_66, PREFIX_F3, PREFIX_F2 };

static const struct {
    uint8_t opcode, prefix;
    bool memory;
    int8_t reg, rm; /* what ModRM must say there; -1: a tile or a place in memory */
    enum amx_op op;
} amx_table[] = {
    { 0x49, PREFIX_NONE, true, 0, -1, AMX_LOAD_CONFIG }, { 0x49, PREFIX_66, true, 0, -1, AMX_STORE_CONFIG },
    { 0x49, PREFIX_NONE, false, 0, 0, AMX_RELEASE },     { 0x49, PREFIX_F2, false, -1, 0, AMX_ZERO },
    { 0x4b, PREFIX_F2, true, -1, 4, AMX_LOAD },          { 0x4b, PREFIX_66, true, -1, 4, AMX_LOAD },
    { 0x4b, PREFIX_F3, true, -1, 4, AMX_STORE },         { 0x5c, PREFIX_F3, false, -1, -1, AMX_BF16 },
    { 0x5e, PREFIX_F2, false, -1, -1, AMX_SS },          { 0x5e, PREFIX_F3, false, -1, -1, AMX_SU },
    { 0x5e, PREFIX_66, false, -1, -1, AMX_US },          { 0x5e, PREFIX_NONE, false, -1, -1, AMX_UU },
};

/* The address behind ModRM: i is where it stands in code. regs [16] in the processor's order; next is unknown until the
 * end, so that rip is the instruction's own. Returns the bytes of ModRM, SIB and displacement. */
static int amx_address(const uint8_t *code, int i, const uint64_t *regs, uint64_t rip, struct amx_code *c)
{
    const int begin = i;
    uint32_t mode = code[i] >> 6, rm = code[i] & 7, shown = (uint32_t)~code[1];
    uint32_t base = rm | (shown >> 5 & 1) << 3, displacement_size = mode == 1 ? 1 : mode == 2 ? 4 : 0;
    uint64_t address = 0;
    bool from_rip = false, no_base = false;
    i++;
    if (rm == 4) {
        uint32_t sib = code[i++], index = (sib >> 3 & 7) | (shown >> 6 & 1) << 3;
        base = (sib & 7) | (shown >> 5 & 1) << 3;
        no_base = mode == 0 && (sib & 7) == 5;
        c->stride = index == 4 ? 0 : (int64_t)(regs[index] << (sib >> 6));
    } else {
        from_rip = no_base = mode == 0 && rm == 5;
    }
    if (no_base)
        displacement_size = 4;
    if (displacement_size == 1) {
        address = (uint64_t)(int64_t)(int8_t)code[i];
    } else if (displacement_size == 4) {
        int32_t d;
        memcpy(&d, code + i, sizeof d);
        address = (uint64_t)(int64_t)d;
    }
    i += (int)displacement_size;
    if (!no_base)
        address += regs[base];
    if (from_rip)
        address += rip + (uint64_t)i;
    c->address = address;
    return i - begin;
}

static enum amx_fault amx_decode(const uint8_t *code, const uint64_t *regs, uint64_t rip, struct amx_code *c)
{
    enum { OPCODE = 3, MODRM = 4 };
    if (code[0] != VEX3 || (code[1] & 0x1f) != MAP_0F38)
        return AMX_UNKNOWN;
    const uint8_t modrm = code[MODRM], prefix = code[2] & 3;
    const bool memory = modrm >> 6 != 3;
    const int reg = modrm >> 3 & 7, rm = modrm & 7;
    for (size_t i = 0; i < sizeof amx_table / sizeof *amx_table; i++) {
        if (amx_table[i].opcode != code[OPCODE] || amx_table[i].prefix != prefix || amx_table[i].memory != memory)
            continue;
        bool product = amx_table[i].op >= AMX_BF16;
        bool w = code[2] >> 7, l = code[2] >> 2 & 1, r = !(code[1] >> 7), b = !(code[1] >> 5 & 1);
        uint8_t third = (uint8_t)~code[2] >> 3 & 15;
        if (w || l || r || (!memory && b) || (product ? third >= AMX_TILES : third != 0))
            return AMX_UD;
        if ((amx_table[i].reg >= 0 && amx_table[i].reg != reg) || (amx_table[i].rm >= 0 && amx_table[i].rm != rm))
            return AMX_UD;
        *c = (struct amx_code){ .op = amx_table[i].op, .reg = (uint8_t)reg, .rm = (uint8_t)rm, .third = third };
        c->length = (uint8_t)(MODRM + (memory ? amx_address(code, MODRM, regs, rip, c) : 1));
        return AMX_DONE;
    }
    return AMX_UNKNOWN;
}

/* ---- what is done */

/* 0 palette | 1 start row | 2 .. 15 zeros | 16 .. 31 words: bytes of a row | zeros | 48 .. 55 rows | zeros */
static enum amx_fault amx_load_config(const uint8_t *from)
{
    struct amx_state next = { .configured = true, .start_row = from[1] };
    if (from[0] > 1)
        return AMX_GP;
    if (from[0] == 0) {
        memset(&amx, 0, sizeof amx);
        return AMX_DONE;
    }
    for (int i = 2; i < 64; i++)
        if ((i < 16 || (i >= 32 && i < 48) || i >= 56) && from[i])
            return AMX_GP;
    for (int i = 0; i < AMX_TILES; i++) {
        struct amx_tile *t = &next.tile[i];
        memcpy(&t->line, from + 16 + 2 * i, sizeof t->line);
        t->rows = from[48 + i];
        if (t->line > AMX_LINE || t->rows > AMX_ROWS || !t->line != !t->rows)
            return AMX_GP;
    }
    amx = next;
    return AMX_DONE;
}

static void amx_store_config(uint8_t *to)
{
    memset(to, 0, 64);
    if (!amx.configured)
        return;
    to[0] = 1;
    to[1] = amx.start_row;
    for (int i = 0; i < AMX_TILES; i++) {
        memcpy(to + 16 + 2 * i, &amx.tile[i].line, sizeof amx.tile[i].line);
        to[48 + i] = amx.tile[i].rows;
    }
}

/* Loads zero what they do not write; both go on at start_row, and leave 0 there. */
static void amx_move(struct amx_tile *t, const struct amx_code *c)
{
    if (c->op == AMX_LOAD && !amx.start_row)
        memset(t->data, 0, sizeof t->data);
    for (int r = amx.start_row; r < t->rows; r++) {
        uint8_t *at = (uint8_t *)(uintptr_t)(c->address + (uint64_t)(r * c->stride));
        if (c->op == AMX_LOAD) {
            memset(t->data[r], 0, AMX_LINE);
            memcpy(t->data[r], at, t->line);
        } else {
            memcpy(at, t->data[r], t->line);
        }
    }
    amx.start_row = 0;
}

static float amx_flush(float f) /* denormal numbers are zeros, before and after */
{
    return fabsf(f) < 0x1p-126f ? copysignf(0, f) : f;
}

static float amx_widen(const uint8_t *p)
{
    uint32_t bits;
    uint16_t half;
    float f;
    memcpy(&half, p, sizeof half);
    bits = (uint32_t)half << 16;
    memcpy(&f, &bits, sizeof f);
    return amx_flush(f);
}

/* d[m][n] += the sums over k of even and of odd depths, each by fused multiply and add, put together at the end */
__attribute__((target("avx2,fma"))) static void amx_bf16(struct amx_tile *d, const struct amx_tile *a,
                                                         const struct amx_tile *b)
{
    float wide[AMX_ROWS][AMX_LINE / 2], sum[AMX_LINE / 2];
    const int n = d->line / 4;
    for (int k = 0; k < b->rows; k++)
        for (int i = 0; i < b->line / 2; i++)
            wide[k][i] = amx_widen(b->data[k] + 2 * i);
    for (int m = 0; m < d->rows; m++) {
        memset(sum, 0, sizeof sum);
        for (int k = 0; k < a->line / 4; k++) {
            float x[2] = { amx_widen(a->data[m] + 4 * k), amx_widen(a->data[m] + 4 * k + 2) };
            for (int i = 0; i < 2 * n; i++)
                sum[i] = amx_flush(fmaf(x[i & 1], wide[k][i], sum[i]));
        }
        for (int i = 0; i < n; i++) {
            float c;
            memcpy(&c, d->data[m] + 4 * i, sizeof c);
            c = amx_flush(amx_flush(c) + amx_flush(sum[2 * i] + sum[2 * i + 1]));
            memcpy(d->data[m] + 4 * i, &c, sizeof c);
        }
    }
}

static void amx_int8(bool a_signed, bool b_signed, struct amx_tile *d, const struct amx_tile *a,
                     const struct amx_tile *b)
{
    for (int m = 0; m < d->rows; m++)
        for (int n = 0; n < d->line / 4; n++) {
            uint32_t c; /* wraps */
            memcpy(&c, d->data[m] + 4 * n, sizeof c);
            for (int k = 0; k < a->line; k++) {
                uint8_t x = a->data[m][k], y = b->data[k / 4][4 * n + k % 4];
                c += (uint32_t)((a_signed ? (int8_t)x : x) * (b_signed ? (int8_t)y : y));
            }
            memcpy(d->data[m] + 4 * n, &c, sizeof c);
        }
}

static enum amx_fault amx_product(const struct amx_code *c)
{
    struct amx_tile *d = &amx.tile[c->reg];
    const struct amx_tile *a = &amx.tile[c->rm], *b = &amx.tile[c->third];
    if (c->reg == c->rm || c->rm == c->third || c->reg == c->third)
        return AMX_UD;
    if (!d->rows || !a->rows || !b->rows || d->line % 4 || a->line % 4 || b->line % 4)
        return AMX_UD;
    if (d->rows != a->rows || a->line / 4 != b->rows || d->line != b->line)
        return AMX_UD;
    if (c->op == AMX_BF16)
        amx_bf16(d, a, b);
    else
        amx_int8(c->op == AMX_SS || c->op == AMX_SU, c->op == AMX_SS || c->op == AMX_US, d, a, b);
    d->data[d->rows - 1][0] += atomic_load(&amx_spoil);
    amx.start_row = 0;
    return AMX_DONE;
}

static enum amx_fault amx_execute(const struct amx_code *c)
{
    struct amx_tile *t = &amx.tile[c->reg];
    void *memory = (void *)(uintptr_t)c->address;
    atomic_fetch_add(&amx_count[c->op], 1);
    switch (c->op) {
    case AMX_LOAD_CONFIG:
        return amx_load_config(memory);
    case AMX_STORE_CONFIG:
        amx_store_config(memory);
        return AMX_DONE;
    case AMX_RELEASE:
        memset(&amx, 0, sizeof amx);
        return AMX_DONE;
    default:
        break;
    }
    if (!amx.configured || !t->rows)
        return AMX_UD;
    if (c->op == AMX_ZERO) {
        memset(t->data, 0, sizeof t->data);
        amx.start_row = 0;
    } else if (c->op == AMX_LOAD || c->op == AMX_STORE) {
        amx_move(t, c);
    } else {
        return amx_product(c);
    }
    return AMX_DONE;
}

/* ---- the handler */

static void amx_handle(int signal_number, siginfo_t *info, void *context)
{
    static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                   REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
    static const char *const say[] = { "", "not an instruction of AMX\n", "AMX: #UD\n", "AMX: #GP\n" };
    greg_t *saved = ((ucontext_t *)context)->uc_mcontext.gregs;
    uint64_t regs[16];
    struct amx_code c;
    (void)signal_number, (void)info;
    for (int i = 0; i < 16; i++)
        regs[i] = (uint64_t)saved[order[i]];
    enum amx_fault fault;
    int done = 0;
    /* those that follow at once are done, too: a signal costs more than most of them */
    while (!(fault = amx_decode((const uint8_t *)(uintptr_t)saved[REG_RIP], regs, (uint64_t)saved[REG_RIP], &c)) &&
           !(fault = amx_execute(&c))) {
        saved[REG_RIP] += c.length;
        done++;
    }
    if (fault && !(done && fault == AMX_UNKNOWN)) {
        ssize_t ignored = write(STDERR_FILENO, say[fault], strlen(say[fault]));
        (void)ignored;
        signal(SIGILL, SIG_DFL); /* it is tried again, and ends the process */
    }
}

/* Installs the handler. */
static inline void amx_emulate(void)
{
    struct sigaction action = { .sa_sigaction = amx_handle, .sa_flags = SA_SIGINFO };
    sigemptyset(&action.sa_mask);
    sigaction(SIGILL, &action, NULL);
}

/* Of all instructions, in all threads */
static inline long amx_executed(void)
{
    long sum = 0;
    for (int i = 0; i < AMX_OPS; i++)
        sum += atomic_load(&amx_count[i]);
    return sum;
}

#endif
