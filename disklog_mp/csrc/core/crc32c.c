/*
 * Owns every implementation of CRC-32C and the choice between them.
 * Must not know what the bytes mean, where they are stored, or that Python exists; makes no
 * system calls and allocates nothing.
 */
#include "crc32c.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#define HARDWARE 1
#include <nmmintrin.h>
#include <wmmintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#define HARDWARE 1
#include <arm_acle.h>
#include <arm_neon.h>
#include <sys/auxv.h>
#else
#define HARDWARE 0
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))

static ALWAYS_INLINE uint64_t from_little_endian(uint64_t raw)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap64(raw);
#else
    return raw;
#endif
}

/* ---- portable: slicing by 8 ---------------------------------------------------------------- */

/*
 * slices[k][i] is the register after byte i followed by k zero bytes.  It is linear in i, so the
 * eight single-bit values of a row give all 256, and the compiler expands them: the table is
 * constant, which lets the portable implementation serve before dl_crc32c_init() has run.
 */
#define BIT(i, b, value) ((((unsigned)(i) >> (b)) & 1u) * (value))
#define AT(i, a, b, c, d, e, f, g, h) \
    (BIT(i, 0, a) ^ BIT(i, 1, b) ^ BIT(i, 2, c) ^ BIT(i, 3, d) ^ \
     BIT(i, 4, e) ^ BIT(i, 5, f) ^ BIT(i, 6, g) ^ BIT(i, 7, h))
#define AT4(i, ...) \
    AT(i, __VA_ARGS__), AT(i + 1, __VA_ARGS__), AT(i + 2, __VA_ARGS__), AT(i + 3, __VA_ARGS__)
#define AT16(i, ...) \
    AT4(i, __VA_ARGS__), AT4(i + 4, __VA_ARGS__), AT4(i + 8, __VA_ARGS__), AT4(i + 12, __VA_ARGS__)
#define AT64(i, ...) \
    AT16(i, __VA_ARGS__), AT16(i + 16, __VA_ARGS__), \
    AT16(i + 32, __VA_ARGS__), AT16(i + 48, __VA_ARGS__)
#define ROW(...) \
    { AT64(0, __VA_ARGS__), AT64(64, __VA_ARGS__), AT64(128, __VA_ARGS__), AT64(192, __VA_ARGS__) }

static const uint32_t slices[8][256] = {
    ROW(0xF26B8303, 0xE13B70F7, 0xC79A971F, 0x8AD958CF,
        0x105EC76F, 0x20BD8EDE, 0x417B1DBC, 0x82F63B78),
    ROW(0x13A29877, 0x274530EE, 0x4E8A61DC, 0x9D14C3B8,
        0x3FC5F181, 0x7F8BE302, 0xFF17C604, 0xFBC3FAF9),
    ROW(0xA541927E, 0x4F6F520D, 0x9EDEA41A, 0x38513EC5,
        0x70A27D8A, 0xE144FB14, 0xC76580D9, 0x8B277743),
    ROW(0xDD45AAB8, 0xBF672381, 0x7B2231F3, 0xF64463E6,
        0xE964B13D, 0xD725148B, 0xABA65FE7, 0x52A0C93F),
    ROW(0x38116FAC, 0x7022DF58, 0xE045BEB0, 0xC5670B91,
        0x8F2261D3, 0x1BA8B557, 0x37516AAE, 0x6EA2D55C),
    ROW(0xEF306B19, 0xDB8CA0C3, 0xB2F53777, 0x6006181F,
        0xC00C303E, 0x85F4168D, 0x0E045BEB, 0x1C08B7D6),
    ROW(0x68032CC8, 0xD0065990, 0xA5E0C5D1, 0x4E2DFD53,
        0x9C5BFAA6, 0x3D5B83BD, 0x7AB7077A, 0xF56E0EF4),
    ROW(0x493C7D27, 0x9278FA4E, 0x211D826D, 0x423B04DA,
        0x847609B4, 0x0D006599, 0x1A00CB32, 0x34019664),
};

#undef ROW
#undef AT64
#undef AT16
#undef AT4
#undef AT
#undef BIT

static ALWAYS_INLINE uint32_t portable_word(uint32_t state, uint64_t value)
{
    value ^= state;
    return slices[7][value & 0xFF] ^ slices[6][(value >> 8) & 0xFF] ^
           slices[5][(value >> 16) & 0xFF] ^ slices[4][(value >> 24) & 0xFF] ^
           slices[3][(value >> 32) & 0xFF] ^ slices[2][(value >> 40) & 0xFF] ^
           slices[1][(value >> 48) & 0xFF] ^ slices[0][value >> 56];
}

uint32_t dl_crc32c_portable(uint32_t state, const void *bytes, size_t length)
{
    const unsigned char *from = bytes;
    for (; length >= 8; length -= 8, from += 8) {
        uint64_t raw;
        memcpy(&raw, from, 8);
        state = portable_word(state, from_little_endian(raw));
    }
    for (; length > 0; length--, from++)
        state = (state >> 8) ^ slices[0][(state ^ *from) & 0xFF];
    return state;
}

static uint32_t portable_u64(uint32_t state, uint64_t value)
{
    return portable_word(state, value);
}

/* Small enough that a block is still in the first-level cache when its checksum is taken. */
#define COPY_BLOCK ((size_t)8192)

static uint32_t portable_u64x4(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return portable_word(portable_word(portable_word(portable_word(state, a), b), c), d);
}

static uint32_t portable_copy(uint32_t state, void *restrict to, const void *restrict from,
                              size_t length)
{
    unsigned char *target = to;
    const unsigned char *source = from;
    while (length > 0) {
        size_t block = length < COPY_BLOCK ? length : COPY_BLOCK;
        memcpy(target, source, block);
        state = dl_crc32c_portable(state, source, block);
        target += block;
        source += block;
        length -= block;
    }
    return state;
}

/* ---- hardware: one CRC instruction per eight bytes ------------------------------------------ */

#if HARDWARE

/*
 * What differs between processors is these few operations; the code over them is shared, so that
 * running the tests on either kind exercises it.  CHAIN needs only the CRC instruction, FOLD the
 * carry-less multiply as well, which some ARM boards and virtual machines lack.
 */
#if defined(__x86_64__)

#define HARDWARE_NAME "sse4.2"
#define CHAIN __attribute__((target("sse4.2")))
#define FOLD __attribute__((target("sse4.2,pclmul")))

CHAIN static ALWAYS_INLINE uint64_t crc_word(uint64_t state, uint64_t value)
{
    return _mm_crc32_u64(state, value);
}

FOLD static ALWAYS_INLINE uint64_t multiply_add(uint64_t a, uint64_t by_a, uint64_t b,
                                                uint64_t by_b)
{
    __m128i first = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)a),
                                         _mm_cvtsi64_si128((long long)by_a), 0);
    __m128i second = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)b),
                                          _mm_cvtsi64_si128((long long)by_b), 0);
    return (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(first, second));
}

static bool can_chain(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
}

static bool can_fold(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("pclmul");
}

#else

#define HARDWARE_NAME "armv8"
#if defined(__clang__)
#define CHAIN __attribute__((target("crc")))
#define FOLD __attribute__((target("crc,crypto")))
#else
#define CHAIN __attribute__((target("+crc")))
#define FOLD __attribute__((target("+crc+crypto")))
#endif

/* Bits of AT_HWCAP, fixed by the kernel's ABI but missing from the headers of older ones. */
#ifndef HWCAP_PMULL
#define HWCAP_PMULL (1ul << 4)
#endif
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1ul << 7)
#endif

CHAIN static ALWAYS_INLINE uint64_t crc_word(uint64_t state, uint64_t value)
{
#if defined(__clang__) /* before clang 16 the header declares __crc32cd only if the whole file is for +crc */
    return __builtin_arm_crc32cd((uint32_t)state, value);
#else
    return __crc32cd((uint32_t)state, value);
#endif
}

FOLD static ALWAYS_INLINE uint64_t multiply_add(uint64_t a, uint64_t by_a, uint64_t b,
                                                uint64_t by_b)
{
    uint64x2_t first = vreinterpretq_u64_p128(vmull_p64(a, by_a));
    uint64x2_t second = vreinterpretq_u64_p128(vmull_p64(b, by_b));
    return vgetq_lane_u64(veorq_u64(first, second), 0);
}

static bool can_chain(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

static bool can_fold(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_PMULL) != 0;
}

#endif

static ALWAYS_INLINE uint64_t take_word(unsigned char *restrict to,
                                        const unsigned char *restrict from, bool copying)
{
    uint64_t raw;
    memcpy(&raw, from, 8);
    if (copying)
        memcpy(to, &raw, 8);
    return from_little_endian(raw);
}

/* One to seven bytes, as the low bytes of a word. */
static ALWAYS_INLINE uint64_t take_few(unsigned char *restrict to,
                                       const unsigned char *restrict from, size_t length,
                                       bool copying)
{
    if (length >= 4) {
        uint32_t low, high;
        memcpy(&low, from, 4);
        memcpy(&high, from + length - 4, 4);
        if (copying) {
            memcpy(to, &low, 4);
            memcpy(to + length - 4, &high, 4);
        }
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        low = __builtin_bswap32(low);
        high = __builtin_bswap32(high);
#endif
        return low | (uint64_t)high << (8 * (length - 4));
    }
    size_t middle = length / 2, last = length - 1;
    unsigned char bytes[3] = {from[0], from[middle], from[last]};
    if (copying) {
        to[0] = bytes[0];
        to[middle] = bytes[1];
        to[last] = bytes[2];
    }
    return bytes[0] | (uint64_t)bytes[1] << (8 * middle) | (uint64_t)bytes[2] << (8 * last);
}

/*
 * Advances over the low `length` bytes of `value`, zero to seven, in one instruction.  Leading
 * zero bytes leave a zero register alone, so the bytes are moved to the word's end; the part of
 * the register that so few bytes do not reach is shifted down beside them.  Lengths vary from
 * record to record, and each branch saved here is one the processor cannot mispredict.
 */
CHAIN static ALWAYS_INLINE uint64_t crc_few(uint64_t state, uint64_t value, size_t length)
{
    size_t bits = 8 * length;
    return crc_word(0, ((value ^ state) << (63 - bits)) << 1) ^ state >> bits;
}

/* From `at` to the end, each word waiting for the one before. */
CHAIN static ALWAYS_INLINE uint64_t chain(uint64_t state, unsigned char *restrict to,
                                          const unsigned char *restrict from, size_t at,
                                          size_t length, bool copying)
{
    if (length < 8) {
        if (length == 0)
            return state;
        return crc_few(state, take_few(to, from, length, copying), length);
    }
    for (; length - at >= 32; at += 32)
        for (size_t word = at; word < at + 32; word += 8)
            state = crc_word(state, take_word(copying ? to + word : NULL, from + word, copying));
    for (; length - at >= 8; at += 8)
        state = crc_word(state, take_word(copying ? to + at : NULL, from + at, copying));

    /* The last eight bytes are read again, whole, for the up to seven not yet counted. */
    size_t left = length - at, end = length - 8;
    uint64_t value = take_word(copying ? to + end : NULL, from + end, copying);
    return crc_few(state, (value >> 1) >> (63 - 8 * left), left);
}

CHAIN static uint32_t chain_update(uint32_t state, const void *bytes, size_t length)
{
    return (uint32_t)chain(state, NULL, bytes, 0, length, false);
}

CHAIN static uint32_t chain_copy(uint32_t state, void *restrict to, const void *restrict from,
                                 size_t length)
{
    return (uint32_t)chain(state, to, from, 0, length, true);
}

CHAIN static uint32_t chain_u64(uint32_t state, uint64_t value)
{
    return (uint32_t)crc_word(state, value);
}

CHAIN static uint32_t chain_u64x4(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return (uint32_t)crc_word(crc_word(crc_word(crc_word(state, a), b), c), d);
}

/*
 * powers[n] is x to the (64 n - 33) modulo the polynomial, reflected: from powers[1] = 1, each is
 * the one before after eight zero bytes.  The carry-less product of a register and powers[n],
 * taken for a word of input, counts as that register moved past n words; the 33 makes up for
 * what the CRC instruction (32) and the product of two reflected numbers (1) add.
 */
static const uint32_t powers[] = {
    0x00000000, 0x00000001, 0x493C7D27, 0xF20C0DFE, 0xBA4FC28E, 0x3DA6D0CB, 0xDDC0152B, 0x1C291D04,
    0x9E4ADDF8, 0x740EEF02, 0x39D3B296, 0x083A6EEC, 0x0715CE53, 0xC49F4F67, 0x47DB8317, 0x2AD91C30,
    0x0D3B6092, 0x6992CEA2, 0xC96CFDC0, 0x7E908048, 0x878A92A7, 0x1B3D8F29, 0xDAECE73E, 0xF1D0F55E,
    0xAB7AFF2A, 0xA87AB8A8, 0x2162D385, 0x8462D800, 0x83348832, 0x71D111A8, 0x299847D5, 0xFFD852C6,
    0xB9E02B86, 0xDCB17AA4, 0x18B33A4E, 0xF37C5AEE, 0xB6DD949B, 0x6051D5A2, 0x78D9CCB7, 0x18B0D4FF,
    0xBAC2FD7B, 0x21F3D99C, 0xA60CE07B, 0x8F158014, 0xCE7F39F4, 0xA00457F7, 0x61D82E56, 0x8D6D2C43,
    0xD270F1A2, 0x00AC29CF, 0xC619809D, 0xE9ADF796, 0x2B3CAC5D, 0x96638B34, 0x65863B64, 0xE0E9F351,
    0x1B03397F, 0x9AF01F2D, 0xEBB883BD, 0x2CFF42CF, 0xB3E32C28, 0x88F25A3A, 0x064F7F26, 0x4E36F0B0,
    0xDD7E3B0C, 0xBD6F81F8, 0xF285651C, 0x91C9BD4B, 0x10746F3C, 0x885F087B, 0xC7A68855, 0x4C144932,
    0x271D9844, 0x52148F02, 0x8E766A0C, 0xA3C6F37A, 0x93A5F730, 0xD7C0557F, 0x6CB08E5C, 0x63DED06A,
    0x6B749FB2, 0x4D56973C, 0x1393E203, 0x9669C9DF, 0xCEC3662E, 0xE417F38A, 0x96C515BB, 0x4B9E0F71,
    0xE6FC4E6A, 0xD104B8FC, 0x8227BB8A, 0x5B397730, 0xB0CD4768, 0xE78EB416, 0x39C7FF35, 0x61FF0E01,
    0xD7A4825C, 0x8D96551C, 0x0AB3844B, 0x0BF80DD2, 0x0167D312, 0x8821ABED, 0xF6076544, 0x6A45D2B2,
    0x26F6A60A, 0xD8D26619, 0xA741C1BF, 0xDE87806C, 0x98D8D9CB, 0x14338754, 0x49C3CC9C, 0x5BD2011F,
    0x68BCE87A, 0xDD07448E, 0x57A3D037, 0xDDE8F5B9, 0x6956FC3B, 0xA3E3E02C, 0x42D98888, 0xD73C7BEA,
    0x3771E98F, 0x80FF0093, 0xB42AE3D9, 0x8FE4C34D, 0x2178513A, 0xDF99FC11, 0xE0AC139E, 0x6C23E841,
    0x170076FA, 0xFE314258, 0x444DD413, 0x0D8373A0, 0x6F345E45, 0x19E3635E, 0x41D17B64, 0x29F268B4,
    0xFF0DBA97, 0x1DC0632A, 0xA2B73DF1, 0x1614F396, 0xF872E54C, 0x9E2993D3, 0x1E41E9FC, 0x6BEBD73C,
    0x86D8E4D2, 0x63AE91E6, 0x651BD98B, 0xF8C9DA7A, 0x5BB8F1BC, 0x945A19C1, 0xA90FD27A, 0xEE8213B7,
    0xB3AF077A, 0x93781DC7, 0x4984D782, 0xCCC4A1B9, 0xCA6EF3AC, 0xA2C2D971, 0x234E0B26, 0x1CAD4452,
    0xDD66CBBB, 0x74922601, 0x4597456A, 0xC55F7EAB, 0xE9E28EB4, 0xA1962329, 0x7B3FF57A, 0x2D370749,
    0xC9C8B782, 0x397D84A1, 0x3F70CC6F, 0x79113270, 0x93E106A4, 0xBC817803, 0x62EC6C6D, 0x88EB3C07,
    0xD813B325, 0x6E4CB630, 0x0DF04680, 0x71971D5C, 0x2342001E, 0xF33B8BC6, 0x0A2A8D7E, 0x9FB3BBC0,
    0x6D9A4957, 0x6EF22B23, 0xE8B6368B, 0xCE2DF768, 0xD2C3ED1A, 0xE53A4FC7, 0x995A5724, 0xBE60A91A,
    0x9EF68D35, 0x1DFA0A15, 0x0C139B31, 0x8EC52396, 0xF2271E60, 0x0E766B11, 0x0B0BF8CA, 0x475846A4,
    0x2664FD8B, 0xB2A3DFA6, 0xED64812D, 0xDC1A160C, 0x02EE03B2, 0x79AFDF1C, 0x8604AE0F, 0x07AC6E46,
    0x363BD6B3, 0x15F85253, 0x135C83FD, 0x1BEC24DD, 0x5FABE670, 0x4C36CD5B, 0x35EC3279, 0xE0A22E29,
    0x00BCF5F6, 0x7C2B6ED9, 0x8AE00689, 0x06FF88FD, 0x17F27698, 0xF7317CF0, 0x58CA5F00, 0x61B6E40B,
    0xAA7C7AD5, 0xDE8A97F8, 0xB5CFCA28, 0x88F61445, 0xDED288F8, 0xD4520E9E, 0x59F229BC, 0x0C592BD5,
    0x6D390DEC, 0x38EDFAF3, 0x37170390, 0x72CBFCDB, 0x6353C1CC, 0x348331A5, 0xC4584F5C, 0xC3977C19,
    0xF48642E9, 0xDAFAEA7C, 0x531377E2, 0x73DB4C04, 0xDD35BC8D, 0x72675CE8, 0xB25B29F2, 0x3EC2FF83,
    0x9A5EDE41, 0xE8C7A017, 0xA563905D, 0xCF4BFAEF, 0x45CDDF4E, 0x6BDE1AC7, 0xACFA3103, 0xAE1175C2,
    0xA51B6135, 0xF7506984,
};

/* In words.  Below the least, the multiplication costs more than it saves. */
#define LEAST_FOLD ((size_t)20)
#define MOST_FOLD ((size_t)385)

/*
 * The instruction takes one cycle but its result three, so a chain leaves two thirds of it idle.
 * Here the input goes as three runs side by side, and the registers of the first two are moved
 * past what follows them and added to the last word of the third.
 */
FOLD static ALWAYS_INLINE uint64_t fold(uint64_t state, unsigned char *restrict to,
                                        const unsigned char *restrict from, size_t length,
                                        bool copying)
{
    size_t at = 0;
    for (size_t words = length / 8; words >= LEAST_FOLD;) {
        size_t taken = words < MOST_FOLD ? words : MOST_FOLD;
        size_t run = (taken - 1) / 3, rest = taken - 2 * run;
        size_t second = 8 * run, third = 16 * run;
        uint64_t a = state, b = 0, c = 0;
        for (size_t end = at + second; at < end; at += 8) {
            const unsigned char *source = from + at;
            unsigned char *target = copying ? to + at : NULL;
            a = crc_word(a, take_word(target, source, copying));
            b = crc_word(b, take_word(copying ? target + second : NULL, source + second, copying));
            c = crc_word(c, take_word(copying ? target + third : NULL, source + third, copying));
        }
        at += third;
        for (size_t extra = rest - run; extra > 1; extra--, at += 8)
            c = crc_word(c, take_word(copying ? to + at : NULL, from + at, copying));
        uint64_t last = take_word(copying ? to + at : NULL, from + at, copying);
        at += 8;
        state = crc_word(c, last ^ multiply_add(a, powers[run + rest], b, powers[rest]));
        words -= taken;
    }
    return chain(state, to, from, at, length, copying);
}

_Static_assert(sizeof powers / sizeof powers[0] == MOST_FOLD - (MOST_FOLD - 1) / 3 + 1,
               "a fold of any permitted size must find its powers");

FOLD static uint32_t fold_update(uint32_t state, const void *bytes, size_t length)
{
    return (uint32_t)fold(state, NULL, bytes, length, false);
}

FOLD static uint32_t fold_copy(uint32_t state, void *restrict to, const void *restrict from,
                               size_t length)
{
    return (uint32_t)fold(state, to, from, length, true);
}

#endif

/* ---- choice -------------------------------------------------------------------------------- */

uint32_t (*_Atomic dl_crc32c_chosen_update)(uint32_t, const void *,
                                            size_t) = dl_crc32c_portable;
uint32_t (*_Atomic dl_crc32c_chosen_copy)(uint32_t, void *restrict, const void *restrict,
                                          size_t) = portable_copy;
uint32_t (*_Atomic dl_crc32c_chosen_u64)(uint32_t, uint64_t) = portable_u64;
uint32_t (*_Atomic dl_crc32c_chosen_u64x4)(uint32_t, uint64_t, uint64_t, uint64_t,
                                           uint64_t) = portable_u64x4;
static const char *_Atomic name = "portable";

/*
 * Needs no lock: every caller stores the same values, and as all implementations agree on the
 * register, a thread that sees only some of them stored still computes the right checksum.
 */
void dl_crc32c_init(void)
{
#if HARDWARE
    if (!can_chain())
        return;
    bool folding = can_fold();
    DL_LABEL(crc:B, atomic_store_explicit(&dl_crc32c_chosen_update, folding ? fold_update : chain_update,
                                          memory_order_relaxed));
    DL_LABEL(crc:B, atomic_store_explicit(&dl_crc32c_chosen_copy, folding ? fold_copy : chain_copy,
                                          memory_order_relaxed));
    DL_LABEL(crc:B, atomic_store_explicit(&dl_crc32c_chosen_u64, chain_u64, memory_order_relaxed));
    DL_LABEL(crc:B, atomic_store_explicit(&dl_crc32c_chosen_u64x4, chain_u64x4, memory_order_relaxed));
    DL_LABEL(crc:B, atomic_store_explicit(&name, HARDWARE_NAME, memory_order_relaxed));
#endif
}

const char *dl_crc32c_name(void)
{
    return DL_LABEL(crc:A, atomic_load_explicit(&name, memory_order_relaxed));
}

uint32_t dl_crc32c(const void *bytes, size_t length)
{
    return ~dl_crc32c_update(0xFFFFFFFFu, bytes, length);
}
