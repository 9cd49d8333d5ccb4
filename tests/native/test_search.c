/*
 * Owns the proof that search.c finds what a look at each byte finds, and touches no memory outside of what it
 * was given: each input lies in memory of just its size.
 * Must not know more than search.h promises.
 *
 *   test_search [--runs N]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "dice.h"
#include "crc32c.h"
#include "search.h"

#define SALT 42
#define POSITION 4096
#define MOST 64u

/* Memory of just so many bytes, so that a sanitizer sees a step outside. */
static uint8_t *just(const void *bytes, uint64_t length)
{
    uint8_t *copy = malloc(length == 0 ? 1 : length);
    CHECK(copy != NULL);
    memcpy(copy, bytes, length);
    return copy;
}

static const uint8_t *find_simply(const uint8_t *bytes, uint64_t length, const struct dl_term *needle)
{
    for (uint64_t at = 0; at + needle->length <= length; at++)
        if (memcmp(bytes + at, needle->bytes, needle->length) == 0)
            return bytes + at;
    return NULL;
}

/* ---- bytes ------------------------------------------------------------------------------------------ */

static void needles_are_found_where_they_are(void)
{
    uint8_t text[80], word[8];
    const uint64_t length = dice(sizeof text + 1), wanted = 1 + dice(sizeof word);
    for (uint64_t i = 0; i < length; i++)
        text[i] = "ab\"x"[dice(4)];
    for (uint64_t i = 0; i < wanted; i++)
        word[i] = "ab\"x"[dice(4)];
    uint8_t *bytes = just(text, length), *needle = just(word, wanted);
    struct dl_term term = {.kind = DL_TERM_BYTES, .bytes = needle, .length = wanted};
    dl_term_choose(&term);
    CHECK(term.rare[0] < wanted && term.rare[1] < wanted && (wanted == 1 || term.rare[0] != term.rare[1]));
    CHECK(dl_find(bytes, length, &term) == find_simply(bytes, length, &term));
    free(bytes);
    free(needle);
}

/* ---- JSON ------------------------------------------------------------------------------------------- */

static bool meets(const char *text, enum dl_term_kind kind, const char *key, const char *value)
{
    struct dl_term term = {.kind = kind,
                           .bytes = (const uint8_t *)key,
                           .length = strlen(key),
                           .value = (const uint8_t *)value,
                           .value_length = strlen(value)};
    const struct dl_clause clause = {.first = 0, .count = 1, .may_escape = kind != DL_TERM_BYTES};
    const struct dl_filter filter = {.terms = &term, .clauses = &clause, .clause_count = 1};
    uint8_t *bytes = just(text, strlen(text));
    dl_term_choose(&term);
    const bool met = dl_meets(&filter, bytes, strlen(text));
    free(bytes);
    return met;
}

static void values_are_compared_in_their_spellings(void)
{
    static const struct {
        const char *text;
        enum dl_term_kind kind;
        const char *value;
        bool met;
    } cases[] = {
        {"{\"user\":42}", DL_TERM_EQUALS, "42", true},
        {"{\"user\" :\n 42 ,\"a\":1}", DL_TERM_EQUALS, "42", true},
        {"{\"user\":\"42\"}", DL_TERM_EQUALS, "42", true},
        {"{\"user\":421}", DL_TERM_EQUALS, "42", false},
        {"{\"user\":4}", DL_TERM_EQUALS, "42", false},
        {"{\"user\":\"421\"}", DL_TERM_EQUALS, "42", false},
        {"{\"user\":\"4", DL_TERM_EQUALS, "42", false},
        {"{\"user\":42", DL_TERM_EQUALS, "42", false},
        {"{\"user\":", DL_TERM_EQUALS, "42", false},
        {"{\"user\"", DL_TERM_EQUALS, "42", false},
        {"{\"role\":\"user\",\"id\":42}", DL_TERM_EQUALS, "42", false},
        {"{\"user\":41,\"x\":{\"user\":42}}", DL_TERM_EQUALS, "42", true},
        {"{\"us\\u0065r\":42}", DL_TERM_EQUALS, "42", true},
        {"{\"user\":\"\\u0034\"}", DL_TERM_EQUALS, "42", true},
        {"{\"user\":1,\"m\":\"\\u001b[0m\"}", DL_TERM_EQUALS, "42", false},
        {"{\"user\":1,\"m\":\"\\u00", DL_TERM_EQUALS, "42", true},
        {"{\"user\":\"a\\/b\"}", DL_TERM_EQUALS, "a/b", true},
        {"{\"user\":\"a\\nb\"}", DL_TERM_EQUALS, "a\nb", true},
        {"{\"user\":\"a\\tb\"}", DL_TERM_EQUALS, "a\nb", false},
        {"{\"user\":\"\"}", DL_TERM_EQUALS, "", true},
        {"{\"user\":\"app.web\"}", DL_TERM_BELOW, "app", true},
        {"{\"user\":\"apple\"}", DL_TERM_BELOW, "app", false},
        {"{\"user\":app}", DL_TERM_BELOW, "app", false},
        {"{\"user\":null}", DL_TERM_KEY, "", true},
        {"{\"user\":\"user\"}", DL_TERM_BYTES, "", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (meets(cases[i].text, cases[i].kind, "\"user\"", cases[i].value) != cases[i].met) {
            fprintf(stderr, "FAILED %s\n", cases[i].text);
            abort();
        }
}

/* ---- frames ----------------------------------------------------------------------------------------- */

static uint64_t put_frame(uint8_t *at, uint64_t position, uint32_t seed, uint32_t kind, const void *bytes,
                          uint32_t length, uint64_t time)
{
    struct dl_frame_header header
        = {.length = length, .time = time, .pid = 1 + dice(2), .kind = (uint16_t)kind, .tag = (uint16_t)dice(3)};
    memset(at, 0, dl_round_up(length + DL_FRAME_HEADER, DL_GRANULE));
    memcpy(at + DL_FRAME_HEADER, bytes, length);
    header.crc = dl_frame_crc(seed, position, &header, at + DL_FRAME_HEADER);
    memcpy(at, &header, DL_FRAME_HEADER);
    return dl_round_up(length + DL_FRAME_HEADER, DL_GRANULE);
}

/* A group of three records of one byte. */
static uint32_t make_group(uint8_t *bytes)
{
    const uint32_t count = 3;
    memset(bytes, 0, DL_GROUP_HEADER + 3 * 32);
    memcpy(bytes, &count, 4);
    for (uint32_t i = 0; i < count; i++) {
        struct dl_frame_header inner = {.length = 1, .time = 5, .pid = 1, .kind = DL_RECORD, .tag = (uint16_t)i};
        memcpy(bytes + DL_GROUP_HEADER + i * 32, &inner, DL_FRAME_HEADER);
        bytes[DL_GROUP_HEADER + i * 32 + DL_FRAME_HEADER] = 'x';
    }
    return DL_GROUP_HEADER + 3 * 32;
}

/* Every record of a page meets the conditions, or is passed over, once and in order, however often the search
 * is left and taken up again; and numbers count all of them. */
static void pages_are_searched_to_their_end(void)
{
    static uint8_t page[16384], made[256];
    const uint32_t seed = dl_frame_seed(SALT);
    uint8_t tags[8192] = {0};
    uint64_t end = 0, expected = 0, records = 0, found_so_far = 0;
    const uint64_t least = dice(4), stop = dice(4) == 0 ? dice(12) : ~0ull;
    const uint32_t wanted_tag = dice(3);
    tags[0] = (uint8_t)(1u << wanted_tag);
    for (uint32_t frames = dice(12); frames > 0; frames--) {
        const uint32_t choice = dice(8);
        struct dl_frame_header header;
        uint32_t kind = choice == 0 ? DL_GROUP : choice == 1 ? DL_GAP : choice == 2 ? DL_PADDING_FRAME : DL_RECORD;
        uint32_t length = kind == DL_GROUP ? make_group(made) : dice(100);
        if (kind != DL_GROUP)
            memset(made, 'x', length);
        uint64_t span = put_frame(page + end, POSITION + end, seed, kind, made, length, 4 * dice(2) + 1);
        memcpy(&header, page + end, DL_FRAME_HEADER);
        for (uint32_t i = 0; i < (kind == DL_GROUP ? 3u : kind == DL_PADDING_FRAME ? 0u : 1u); i++, records++)
            expected += records < stop && (kind == DL_GROUP ? 5 : header.time) >= least
                        && (kind == DL_GAP || (kind == DL_GROUP ? i : header.tag) == wanted_tag);
        end += span;
    }
    const struct dl_filter filter = {.tags = tags, .since = least, .latest = ~0ull, .stop = stop};
    uint8_t *memory = just(page, end);
    struct dl_place place = {.memory = memory, .end = end, .origin = POSITION, .seed = seed};
    struct dl_found found[MOST];
    enum dl_search_end why;
    uint64_t before = 0;
    do {
        uint32_t count, most = 1 + dice(3);
        why = dl_search(&filter, &place, dice(200), found, most, &count);
        CHECK(count <= most && why != DL_SEARCH_BAD);
        for (uint32_t i = 0; i < count; i++, found_so_far++) {
            CHECK(found[i].number + 1 > before && found[i].number < place.number);
            before = found[i].number + 1;
            CHECK(found[i].frame.header.kind == DL_GAP || found[i].frame.header.tag == wanted_tag);
            CHECK(found[i].frame.header.time >= least);
        }
    } while (why != DL_SEARCH_OVER);
    CHECK(found_so_far == expected);
    CHECK(place.number == (records < stop ? records : stop));
    free(memory);
}

static void a_bad_frame_stops_the_search_before_it(void)
{
    uint8_t page[4096];
    const uint32_t seed = dl_frame_seed(SALT);
    uint64_t first = put_frame(page, POSITION, seed, DL_RECORD, "one", 3, 1);
    uint64_t end = first + put_frame(page + first, POSITION + first, seed, DL_RECORD, "two", 3, 1);
    page[first + DL_FRAME_HEADER] ^= 1;
    const struct dl_filter filter = {.latest = ~0ull, .stop = ~0ull};
    struct dl_place place = {.memory = page, .end = end, .origin = POSITION, .seed = seed};
    struct dl_found found[MOST];
    uint32_t count;
    CHECK(dl_search(&filter, &place, ~0ull, found, MOST, &count) == DL_SEARCH_BAD);
    CHECK(count == 1 && place.offset == first && place.number == 1);
}

int main(int count, char **arguments)
{
    const uint64_t runs = count > 2 && strcmp(arguments[1], "--runs") == 0 ? strtoull(arguments[2], NULL, 0) : 20000;
    dl_crc32c_init();
    values_are_compared_in_their_spellings();
    a_bad_frame_stops_the_search_before_it();
    for (uint64_t i = 0; i < runs; i++) {
        needles_are_found_where_they_are();
        pages_are_searched_to_their_end();
    }
    printf("%llu passed, 0 failed\n", (unsigned long long)runs);
    return 0;
}
