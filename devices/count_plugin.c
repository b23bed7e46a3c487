/* Counts the instructions that an A64 guest of qemu executes, by class.
 *
 * A plugin of qemu's TCG interface, version 1 (docs/devel/tcg-plugins.rst of qemu 7.2): each block of guest code is
 * classified once, when it is translated; what the block then costs at run time is one addition for each class in it.
 * The prototypes below are those of the interface's documentation, so that no header of qemu is needed. Nothing of a C
 * library is used either: the plugin runs with whatever library that qemu came with.
 *
 * The guest marks moments by a system call that fails and does nothing: sched_get_priority_max(MARK). At each of them
 * the totals so far are written to qemu's log (-d plugin -D FILE), one "name value" a line with an empty line after them.
 * Additions are not atomic: run the guest with one thread that computes.
 */
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
typedef void (*translation_callback)(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
typedef void (*syscall_callback)(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2,
                                 uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, translation_callback callback);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, enum qemu_plugin_op op, void *counter,
                                              uint64_t value);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, syscall_callback callback);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
void qemu_plugin_outs(const char *text);

enum { SCHED_GET_PRIORITY_MAX = 125, MARK = 7077 };

enum {
    FMLA,    /* fused multiply–add of floating point, whole vectors or one lane of them */
    FLOAT,   /* all other floating point, scalar too */
    DOT,     /* SDOT, UDOT, USDOT, SUDOT, and the matrix products SMMLA, UMMLA, USMMLA */
    MLAL,    /* integer products of vectors without them: SMLAL, UMLAL, SMULL, UMULL, MLA, MUL and their kin */
    VECTOR,  /* all other integer work on vectors */
    MEMORY,  /* loads, stores and prefetches of every kind */
    OTHER,   /* integers, branches, system */
    CLASSES
};

static const char *const names[CLASSES] = {"fmla", "float", "dot", "mlal", "vector", "memory", "other"};

/* The bits of `word` from `high` down to `low`. */
static uint32_t bits(uint32_t word, int high, int low)
{
    return (word >> low) & ((1u << (high - low + 1)) - 1u);
}

/* Three registers of the same type: C4.1.96 of the Arm Architecture Reference Manual, as all tables here. */
static int three_same(uint32_t word)
{
    uint32_t u = bits(word, 29, 29), size = bits(word, 23, 22), opcode = bits(word, 15, 11);
    if (opcode >= 0x18) {
        if (opcode == 0x19)
            return u == 0 || (size & 1) == 0 ? FMLA : FLOAT; /* FMLA, FMLS; with U: FMLAL2, FMLSL2 */
        if (opcode == 0x1d && u == 0 && (size & 1) == 0)
            return FMLA; /* FMLAL, FMLSL; with size bit 0 it would be a comparison */
        return FLOAT;
    }
    if (opcode == 0x12 || opcode == 0x16)
        return MLAL; /* MLA, MLS; SQDMULH, SQRDMULH */
    if (opcode == 0x13)
        return u == 0 ? MLAL : VECTOR; /* MUL; with U: PMUL */
    return VECTOR;
}

/* Dot products, complex numbers, bfloat16 and matrix products. */
static int three_same_extra(uint32_t word)
{
    uint32_t u = bits(word, 29, 29), size = bits(word, 23, 22), opcode = bits(word, 14, 11);
    switch (opcode) {
    case 0x0:
    case 0x1:
        return MLAL; /* SQRDMLAH, SQRDMLSH */
    case 0x2:
    case 0x3:
    case 0x4:
    case 0x5:
        return DOT; /* SDOT, UDOT; USDOT; SMMLA, UMMLA; USMMLA */
    case 0xd:
        return FMLA; /* BFMMLA */
    case 0xf:
        return u && (size == 1 || size == 3) ? FMLA : FLOAT; /* BFDOT, BFMLALB, BFMLALT */
    default:
        return (opcode & 0xc) == 0x8 ? FMLA : FLOAT; /* FCMLA; FCADD */
    }
}

/* Products of halves that are as wide as the result. */
static int three_different(uint32_t word)
{
    switch (bits(word, 15, 12)) {
    case 0x8: /* SMLAL, UMLAL */
    case 0x9: /* SQDMLAL */
    case 0xa: /* SMLSL, UMLSL */
    case 0xb: /* SQDMLSL */
    case 0xc: /* SMULL, UMULL */
    case 0xd: /* SQDMULL */
        return MLAL;
    default:
        return VECTOR;
    }
}

static int two_registers(uint32_t word)
{
    uint32_t size = bits(word, 23, 22), opcode = bits(word, 16, 12);
    if (opcode == 0x16 || opcode == 0x17)
        return FLOAT; /* FCVTN, FCVTXN, BFCVTN; FCVTL */
    if (opcode == 0x1c && size >= 2)
        return VECTOR; /* URECPE, URSQRTE */
    if (opcode >= 0x18)
        return FLOAT;
    return opcode >= 0x0c && opcode <= 0x0f && size >= 2 ? FLOAT : VECTOR; /* FCM.. with zero, FABS, FNEG */
}

static int by_element(uint32_t word)
{
    uint32_t u = bits(word, 29, 29), size = bits(word, 23, 22), opcode = bits(word, 15, 12);
    switch (opcode) {
    case 0x1:
    case 0x5:
        return FMLA; /* FMLA, FMLS; with U: FCMLA */
    case 0x3:
    case 0x7:
        return u ? FMLA : MLAL; /* FCMLA; SQDMLAL, SQDMLSL */
    case 0x0:
    case 0x4:
        return u ? MLAL : FMLA; /* MLA, MLS; FMLAL, FMLSL */
    case 0x8:
    case 0xc:
        return u ? FMLA : MLAL; /* FMLAL2, FMLSL2; MUL, SQDMULH */
    case 0x9:
        return FLOAT; /* FMUL, FMULX */
    case 0xe:
        return DOT; /* SDOT, UDOT */
    case 0xf:
        if (u)
            return MLAL; /* SQRDMLSH */
        return size & 1 ? FMLA : DOT; /* BFDOT, BFMLAL; SUDOT, USDOT */
    default:
        return MLAL; /* SMLAL, SMLSL, SMULL, SQDMULL, SQRDMULH, SQRDMLAH and their unsigned forms */
    }
}

/* Advanced SIMD, on vectors and on one lane; both have their fields in the same places. */
static int simd(uint32_t word)
{
    if (bits(word, 31, 31))
        return VECTOR; /* SHA-512, SM3, SM4 */
    if (bits(word, 24, 24)) {
        if (!bits(word, 10, 10))
            return by_element(word);
        if (bits(word, 23, 23))
            return VECTOR;
        if (bits(word, 22, 19) == 0)
            return VECTOR; /* MOVI, MVNI, FMOV of a constant */
        return bits(word, 15, 11) == 0x1c || bits(word, 15, 11) == 0x1f ? FLOAT : VECTOR; /* SCVTF, FCVTZS; shifts */
    }
    if (bits(word, 21, 21)) {
        if (bits(word, 10, 10))
            return three_same(word);
        if (!bits(word, 11, 11))
            return three_different(word);
        switch (bits(word, 21, 17)) {
        case 0x10:
            return two_registers(word);
        case 0x1c:
            return FLOAT; /* half precision, two registers */
        case 0x18: /* across lanes: FMAXNMV, FMAXV; scalar pairs: FADDP, FMAXNMP, FMAXP */
            return bits(word, 16, 12) == 0x0c || bits(word, 16, 12) == 0x0d || bits(word, 16, 12) == 0x0f ? FLOAT
                                                                                                           : VECTOR;
        default:
            return VECTOR; /* AES, SHA */
        }
    }
    if (bits(word, 10, 10) && bits(word, 15, 15))
        return three_same_extra(word);
    if (bits(word, 10, 10) && bits(word, 22, 22) && bits(word, 15, 14) == 0)
        return bits(word, 13, 11) == 1 && !bits(word, 29, 29) ? FMLA : FLOAT; /* half precision, three registers */
    return VECTOR; /* DUP, INS, SMOV, UMOV, EXT, TBL, ZIP, UZP, TRN */
}

/* The class of one instruction word. */
EXPORT int edgeseq_class(uint32_t word)
{
    uint32_t group = bits(word, 28, 25);
    if ((group & 0x5) == 0x4)
        return MEMORY;
    if ((group & 0x7) != 0x7)
        return OTHER;
    if (bits(word, 28, 28) && !bits(word, 30, 30))
        return FLOAT; /* scalars: FADD, FMADD, FMOV, FCVT, SCVTF */
    return simd(word);
}

EXPORT const char *edgeseq_class_name(int number)
{
    return number >= 0 && number < CLASSES ? names[number] : NULL;
}

static uint64_t totals[CLASSES];

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    uint64_t counts[CLASSES] = {0};
    size_t size = qemu_plugin_tb_n_insns(block);
    (void)id;
    for (size_t i = 0; i < size; i++) {
        const unsigned char *data = qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i));
        uint32_t word = data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
        counts[edgeseq_class(word)]++;
    }
    for (int i = 0; i < CLASSES; i++)
        if (counts[i])
            qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &totals[i], counts[i]);
}

static void write_totals(void)
{
    for (int i = 0; i < CLASSES; i++) {
        char line[24], *at = line + sizeof line;
        uint64_t rest = totals[i];
        *--at = '\0';
        *--at = '\n';
        do
            *--at = (char)('0' + rest % 10);
        while (rest /= 10);
        qemu_plugin_outs(names[i]);
        qemu_plugin_outs(" ");
        qemu_plugin_outs(at);
    }
    qemu_plugin_outs("\n");
}

static void on_syscall(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                       uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == SCHED_GET_PRIORITY_MAX && a1 == MARK)
        write_totals();
}

EXPORT int qemu_plugin_version = 1;

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
