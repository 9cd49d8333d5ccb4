/*
 * Owns the proof that every CRC-32C entry point agrees with a bit-by-bit reading of the
 * definition and touches no byte outside its ranges; with --speed it also prints timings.
 * Must not know how any implementation works, only what crc32c.h promises.
 */
#define _DEFAULT_SOURCE

#include "../../disklog_mp/csrc/core/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LONGEST ((size_t)4096)
#define ALIGNMENTS ((size_t)16)
#define BIG ((size_t)1 << 20)

/* Under ThreadSanitizer, which is slow and looks only for races, one length in seven will do. */
#ifdef __SANITIZE_THREAD__
#define LENGTH_STEP ((size_t)7)
#else
#define LENGTH_STEP ((size_t)1)
#endif

typedef uint32_t update_function(uint32_t state, const void *bytes, size_t length);

/* Pages that fault just before and just after, so that a stray access cannot go unnoticed. */
struct guarded {
    unsigned char *bytes;
    size_t size;
};

static struct guarded source, target;
static unsigned char *big, *big_copy;
static uint64_t seed = 20240229;

static uint32_t next_random(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

static void fill(unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)next_random();
}

static struct guarded guard(size_t at_least)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t size = (at_least + page - 1) / page * page;
    unsigned char *all = mmap(NULL, size + 2 * page, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mprotect(all, page, PROT_NONE) != 0 ||
        mprotect(all + page + size, page, PROT_NONE) != 0) {
        perror("guard pages");
        exit(2);
    }
    return (struct guarded){all + page, size};
}

static uint32_t by_definition(uint32_t state, const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        state ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            state = (state >> 1) ^ ((state & 1u) ? 0x82F63B78u : 0u);
    }
    return state;
}

static bool same(const char *what, size_t length, size_t place, uint32_t got, uint32_t expected)
{
    if (got == expected)
        return true;
    fprintf(stderr, "%s: length %zu, place %zu: got %08X, expected %08X\n", what, length, place,
            (unsigned)got, (unsigned)expected);
    return false;
}

/* ---- cases --------------------------------------------------------------------------------- */

static bool portable_serves_before_init(void)
{
    unsigned char copy[9] = {0};
    return strcmp(dl_crc32c_name(), "portable") == 0 &&
           same("update", 9, 0, dl_crc32c("123456789", 9), 0xE3069283u) &&
           same("copy", 9, 0, ~dl_crc32c_copy(~0u, copy, "123456789", 9), 0xE3069283u) &&
           memcmp(copy, "123456789", 9) == 0 &&
           same("u64", 8, 0, dl_crc32c_u64(1, 0x3837363534333231u),
                by_definition(1, (const unsigned char *)"12345678", 8)) &&
           same("u64x4", 32, 0,
                dl_crc32c_u64x4(1, 0x3837363534333231u, 0x3837363534333231u, 0x3837363534333231u,
                                0x3837363534333231u),
                by_definition(1, (const unsigned char *)"12345678123456781234567812345678", 32));
}

struct racer {
    pthread_t thread;
    uint32_t expected;
    bool starts, good;
};

static void *race(void *argument)
{
    struct racer *racer = argument;
    unsigned char copy[1000];
    racer->good = true;
    for (int i = 0; i < 500; i++) {
        if (racer->starts)
            dl_crc32c_init();
        uint32_t state = dl_crc32c_update(7, source.bytes, 500);
        state = dl_crc32c_copy(state, copy, source.bytes + 500, 492);
        uint64_t word = 0;
        for (int byte = 7; byte >= 0; byte--)
            word = word << 8 | source.bytes[992 + byte];
        if (dl_crc32c_u64(state, word) != racer->expected)
            racer->good = false;
    }
    return NULL;
}

static bool init_from_several_threads(void)
{
    struct racer racers[4];
    bool good = true;
    for (size_t i = 0; i < 4; i++) {
        racers[i].expected = by_definition(7, source.bytes, 1000);
        racers[i].starts = i % 2 == 1;
        if (pthread_create(&racers[i].thread, NULL, race, &racers[i]) != 0) {
            perror("pthread_create");
            exit(2);
        }
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(racers[i].thread, NULL);
        good = good && racers[i].good;
    }
    return good;
}

static bool name_is_known_and_stays(void)
{
    const char *before = dl_crc32c_name();
    dl_crc32c_init();
    const char *after = dl_crc32c_name();
    return strcmp(before, after) == 0 &&
           (strcmp(after, "sse4.2") == 0 || strcmp(after, "armv8") == 0 ||
            strcmp(after, "portable") == 0);
}

static bool check_value(void)
{
    return same("check value", 9, 0, dl_crc32c("123456789", 9), 0xE3069283u);
}

static bool rfc3720_vectors(void)
{
    static const unsigned char read_command[48] = {
        0x01, 0xC0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
        0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
    };
    unsigned char zeros[32], ones[32], rising[32], falling[32];
    memset(zeros, 0, 32);
    memset(ones, 0xFF, 32);
    for (size_t i = 0; i < 32; i++) {
        rising[i] = (unsigned char)i;
        falling[i] = (unsigned char)(31 - i);
    }
    const struct {
        const char *what;
        const unsigned char *bytes;
        size_t length;
        uint32_t expected;
    } vectors[] = {
        {"zeros", zeros, 32, 0x8A9136AAu},      {"ones", ones, 32, 0x62A8AB43u},
        {"rising", rising, 32, 0x46DD794Eu},    {"falling", falling, 32, 0x113FDB5Cu},
        {"read command", read_command, 48, 0xD9963A56u},
    };
    bool good = true;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const unsigned char *bytes = vectors[i].bytes;
        size_t length = vectors[i].length;
        uint32_t expected = vectors[i].expected;
        good &= same(vectors[i].what, length, 0, dl_crc32c(bytes, length), expected);
        good &= same(vectors[i].what, length, 1, ~dl_crc32c_portable(~0u, bytes, length),
                     expected);
    }
    return good;
}

static bool empty_input_leaves_the_state(void)
{
    return dl_crc32c_update(0x12345678u, NULL, 0) == 0x12345678u &&
           dl_crc32c_portable(0x12345678u, NULL, 0) == 0x12345678u &&
           dl_crc32c_copy(0x12345678u, NULL, NULL, 0) == 0x12345678u && dl_crc32c(NULL, 0) == 0;
}

static bool portable_follows_the_definition(void)
{
    uint32_t expected = 0xA5A5A5A5u;
    for (size_t length = 0; length <= LONGEST; length++) {
        if (!same("portable", length, 0,
                  dl_crc32c_portable(0xA5A5A5A5u, source.bytes, length), expected))
            return false;
        expected = by_definition(expected, source.bytes + length, 1);
    }
    return true;
}

static bool chosen_agrees_at_every_length_and_alignment(void)
{
    for (size_t shift = 0; shift < ALIGNMENTS; shift++) {
        for (size_t length = 0; length <= LONGEST; length += LENGTH_STEP) {
            uint32_t state = next_random();
            const unsigned char *first = source.bytes + shift;
            const unsigned char *last = source.bytes + source.size - length - shift;
            if (!same("from the first page", length, shift,
                      dl_crc32c_update(state, first, length),
                      dl_crc32c_portable(state, first, length)) ||
                !same("to the last page", length, shift, dl_crc32c_update(state, last, length),
                      dl_crc32c_portable(state, last, length)))
                return false;
        }
    }
    return true;
}

static bool chosen_agrees_on_long_inputs(void)
{
    for (int i = 0; i < 60; i++) {
        size_t shift = next_random() % 64;
        size_t length = next_random() % (BIG - shift + 1);
        if (!same("long", length, shift, dl_crc32c_update(5, big + shift, length),
                  dl_crc32c_portable(5, big + shift, length)))
            return false;
    }
    return same("longest", BIG, 0, dl_crc32c_update(5, big, BIG), by_definition(5, big, BIG));
}

static bool every_split_chains(void)
{
    for (size_t length = 0; length <= 260; length++) {
        uint32_t expected = dl_crc32c_portable(9, source.bytes, length);
        for (size_t split = 0; split <= length; split++) {
            uint32_t state = dl_crc32c_update(9, source.bytes, split);
            state = dl_crc32c_update(state, source.bytes + split, length - split);
            if (!same("split", length, split, state, expected))
                return false;
        }
    }
    return true;
}

static bool mixed_pieces_chain(void)
{
    for (int i = 0; i < 200; i++) {
        size_t length = next_random() % 20000, most = 1 + next_random() % 3000, at = 0;
        uint32_t state = 3;
        while (at < length) {
            size_t piece = next_random() % most + 1;
            piece = piece < length - at ? piece : length - at;
            switch (next_random() % 3) {
            case 0:
                state = dl_crc32c_update(state, big + at, piece);
                break;
            case 1:
                state = dl_crc32c_copy(state, big_copy, big + at, piece);
                break;
            default:
                state = dl_crc32c_portable(state, big + at, piece);
                break;
            }
            at += piece;
        }
        if (!same("pieces", length, most, state, dl_crc32c_portable(3, big, length)))
            return false;
    }
    return true;
}

static bool u64_is_eight_bytes_lowest_first(void)
{
    for (int i = 0; i < 1000; i++) {
        uint64_t value = (uint64_t)next_random() << 32 | next_random();
        uint32_t state = next_random();
        unsigned char bytes[32];
        for (int byte = 0; byte < 32; byte++)
            bytes[byte] = (unsigned char)((value + byte / 8) >> (8 * (byte % 8)));
        if (!same("u64", 8, (size_t)i, dl_crc32c_u64(state, value),
                  by_definition(state, bytes, 8)) ||
            !same("u64x4", 32, (size_t)i,
                  dl_crc32c_u64x4(state, value, value + 1, value + 2, value + 3),
                  by_definition(state, bytes, 32)))
            return false;
    }
    return true;
}

#define UNTOUCHED 0xC7
#define MARGIN ((size_t)32)

/* `to` lies within the guarded target; up to MARGIN bytes each side of the copy must survive. */
static bool copies_exactly(unsigned char *to, const unsigned char *from, size_t length)
{
    size_t before = (size_t)(to - target.bytes);
    size_t after = target.size - before - length;
    before = before < MARGIN ? before : MARGIN;
    after = after < MARGIN ? after : MARGIN;
    memset(to - before, UNTOUCHED, before + length + after);

    uint32_t state = next_random();
    bool good = same("copy", length, (size_t)(to - target.bytes),
                     dl_crc32c_copy(state, to, from, length),
                     dl_crc32c_update(state, from, length)) &&
                memcmp(to, from, length) == 0;
    for (size_t i = 0; i < before; i++)
        good &= to[-(ptrdiff_t)before + (ptrdiff_t)i] == UNTOUCHED;
    for (size_t i = 0; i < after; i++)
        good &= to[length + i] == UNTOUCHED;
    if (!good)
        fprintf(stderr, "copy of %zu bytes is wrong\n", length);
    return good;
}

static bool copy_is_exact_at_every_length_and_alignment(void)
{
    for (size_t shift = 0; shift < ALIGNMENTS; shift++) {
        for (size_t length = 0; length <= LONGEST; length += LENGTH_STEP) {
            size_t other = (shift * 7 + length) % ALIGNMENTS;
            if (!copies_exactly(target.bytes + shift, source.bytes + other, length) ||
                !copies_exactly(target.bytes + target.size - length - shift,
                                source.bytes + source.size - length - other, length))
                return false;
        }
    }
    return true;
}

static bool copy_is_exact_at_every_pair_of_alignments(void)
{
    for (size_t length = 0; length <= 200; length++)
        for (size_t to = 0; to < ALIGNMENTS; to++)
            for (size_t from = 0; from < ALIGNMENTS; from++)
                if (!copies_exactly(target.bytes + to, source.bytes + from, length))
                    return false;
    return true;
}

static bool copy_is_exact_on_long_inputs(void)
{
    for (int i = 0; i < 40; i++) {
        size_t shift = next_random() % 64;
        size_t length = next_random() % (BIG - shift - MARGIN);
        memset(big_copy, UNTOUCHED, BIG);
        if (!same("long copy", length, shift, dl_crc32c_copy(6, big_copy, big + shift, length),
                  dl_crc32c_portable(6, big + shift, length)) ||
            memcmp(big_copy, big + shift, length) != 0)
            return false;
        for (size_t j = 0; j < MARGIN; j++)
            if (big_copy[length + j] != UNTOUCHED)
                return false;
    }
    return true;
}

/* ---- speed --------------------------------------------------------------------------------- */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static uint32_t copy_aside(uint32_t state, const void *bytes, size_t length)
{
    return dl_crc32c_copy(state, big_copy, bytes, length);
}

static uint32_t memcpy_then_update(uint32_t state, const void *bytes, size_t length)
{
    memcpy(big_copy, bytes, length);
    return dl_crc32c_update(state, big_copy, length);
}

/* Keeps the compiler from dropping calls whose result nobody wants. */
static volatile uint32_t sink;

/* The best of several, since other processes share the machine and can only add to the time. */
static double best_time(update_function *function, size_t length)
{
    size_t rounds = (size_t)4000000 / (length + 100) + 1;
    double best = 1e9;
    for (int attempt = 0; attempt < 7; attempt++) {
        uint32_t state = 0;
        double start = seconds();
        for (size_t i = 0; i < rounds; i++)
            state = function(state, big + (i & 7), length);
        double each = (seconds() - start) / (double)rounds;
        sink = state;
        best = each < best ? each : best;
    }
    return best;
}

static void print_speed(void)
{
    static const struct {
        const char *what;
        update_function *function;
    } rows[] = {
        {"portable", dl_crc32c_portable},
        {"update", dl_crc32c_update},
        {"memcpy, update", memcpy_then_update},
        {"copy", copy_aside},
    };
    static const size_t lengths[] = {10, 100, 1000, 4096, 65536, 1000000};
    printf("chosen: %s; ns per call (GB/s), each call waiting for the one before\n%-15s",
           dl_crc32c_name(), "bytes");
    for (size_t column = 0; column < sizeof lengths / sizeof lengths[0]; column++)
        printf("%17zu", lengths[column]);
    printf("\n");
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        printf("%-15s", rows[row].what);
        for (size_t column = 0; column < sizeof lengths / sizeof lengths[0]; column++) {
            double time = best_time(rows[row].function, lengths[column]);
            printf("%10.1f (%4.1f)", time * 1e9, (double)lengths[column] / time * 1e-9);
        }
        printf("\n");
    }
}

int main(int count, char **arguments)
{
    static const struct {
        const char *what;
        bool (*run)(void);
    } cases[] = {
        /* These two need the state before the first dl_crc32c_init(), so they come first. */
        {"portable serves before init", portable_serves_before_init},
        {"init from several threads", init_from_several_threads},
        {"name is known and stays", name_is_known_and_stays},
        {"check value", check_value},
        {"RFC 3720 vectors", rfc3720_vectors},
        {"empty input leaves the state", empty_input_leaves_the_state},
        {"portable follows the definition", portable_follows_the_definition},
        {"chosen agrees at every length and alignment",
         chosen_agrees_at_every_length_and_alignment},
        {"chosen agrees on long inputs", chosen_agrees_on_long_inputs},
        {"every split chains", every_split_chains},
        {"mixed pieces chain", mixed_pieces_chain},
        {"u64 is eight bytes, lowest first", u64_is_eight_bytes_lowest_first},
        {"copy is exact at every length and alignment",
         copy_is_exact_at_every_length_and_alignment},
        {"copy is exact at every pair of alignments", copy_is_exact_at_every_pair_of_alignments},
        {"copy is exact on long inputs", copy_is_exact_on_long_inputs},
    };

    source = guard(LONGEST + 2 * ALIGNMENTS);
    target = guard(LONGEST + 2 * ALIGNMENTS);
    big = malloc(BIG + 8);
    big_copy = malloc(BIG + 8);
    if (big == NULL || big_copy == NULL) {
        perror("malloc");
        return 2;
    }
    fill(source.bytes, source.size);
    fill(big, BIG + 8);

    int passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (cases[i].run()) {
            passed++;
        } else {
            failed++;
            printf("FAILED %s\n", cases[i].what);
        }
    }
    if (count > 1 && strcmp(arguments[1], "--speed") == 0)
        print_speed();
    free(big);
    free(big_copy);
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
