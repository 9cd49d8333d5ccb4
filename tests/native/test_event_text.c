/*
 * Owns the proof that event_text.c reads what our encoder writes, says no to all that is not quite that, and
 * touches no memory outside of what it was given: each input lies in memory of just its size.
 * Must not know more than event_text.h promises.
 *
 *   test_event_text [--runs N]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "dice.h"
#include "event_text.h"

/* Read a copy whose end is the end of all memory: a page that may not be read follows it.  The address sanitizer
 * of gcc 12 misses a byte behind the end in a loop that was unrolled. */
static void read_at_the_end(const char *text, size_t length)
{
    static char *end;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (end == NULL) {
        end = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(end != MAP_FAILED);
        end += page;
        CHECK(mprotect(end, page, PROT_NONE) == 0);
    }
    CHECK(length <= page);
    memcpy(end - length, text, length);
    struct dl_event_text event;
    struct dl_span span;
    dl_read_event(end - length, length, &event);
    dl_read_logger(end - length, length, &span);
}

/* All that is found lies inside. */
static void look_for_fields(const struct dl_event_text *event, const char *bytes, size_t length)
{
    static const char *const names[] = {"a", "b", "c", "c.d", "exception", "c.d.", "."};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct dl_span value;
        if (dl_find_field(event, names[i], strlen(names[i]), &value) == DL_PRESENT)
            CHECK(value.start > bytes && value.start + value.length < bytes + length);
    }
}

/* Read a copy in memory of just its size; all that is found lies inside. */
static bool is_read(const char *text, size_t length, struct dl_event_text *event, size_t *members)
{
    read_at_the_end(text, length);
    char *bytes = malloc(length == 0 ? 1 : length);
    CHECK(bytes != NULL);
    memcpy(bytes, text, length);
    const bool read = dl_read_event(bytes, length, event);
    *members = 0;
    for (int i = 0; read && i < DL_PARTS; i++) {
        const struct dl_span *part = &event->parts[i];
        CHECK(part->start == NULL || (part->start > bytes && part->start + part->length < bytes + length));
    }
    if (read && event->parts[DL_FIELDS].start != NULL) {
        struct dl_span key, value;
        bool is_string;
        size_t at = 0;
        for (; dl_next_member(&event->parts[DL_FIELDS], &at, &key, &value, &is_string); ++*members)
            CHECK(value.start > key.start && value.start + value.length < bytes + length);
        CHECK(at == event->parts[DL_FIELDS].length && *members > 0);
    }
    if (read)
        look_for_fields(event, bytes, length);
    free(bytes);
    return read;
}

#define BEGINNING "{\"time\":1,\"level\":\"INFO\",\"logger\":\"app\",\"message\":\"m\""
#define FIELDS BEGINNING ",\"fields\":"

static void what_is_read_and_what_is_not(void)
{
    static const struct {
        const char *text;
        bool read;
        size_t members;
    } cases[] = {
        {BEGINNING "}", true, 0},
        {BEGINNING, false, 0},
        {BEGINNING "} ", false, 0},
        {BEGINNING "}}", false, 0},
        {BEGINNING ",}", false, 0},
        {BEGINNING ", \"task\":\"t\"}", false, 0},
        {BEGINNING ",\"task\":\"t\",\"stack\":\"s\"}", true, 0},
        {BEGINNING ",\"task\":\"t\",\"task\":\"s\"}", false, 0},
        {BEGINNING ",\"task\":null}", false, 0},
        {BEGINNING ",\"more\":1}", false, 0},
        {"{\"time\":01,\"level\":\"\",\"logger\":\"\",\"message\":\"\"}", false, 0},
        {"{\"time\":-1,\"level\":\"\",\"logger\":\"\",\"message\":\"\"}", false, 0},
        {"{\"time\":1,\"level\":\"\",\"logger\":\"\"}", false, 0},
        {"{\"time\":1,\"level\":\"\",\"logger\":\"\",\"message\":\"\"}", true, 0},
        {FIELDS "{}}", false, 0},
        {FIELDS "{\"a\":1,\"b\":\"x\",\"c\":[1,{\"d\":null}],\"e\":{}}}", true, 4},
        {FIELDS "{\"a\":-0}}", false, 0},
        {FIELDS "{\"a\":-0.0,\"b\":1e+16,\"c\":1.5e-07}}", true, 3},
        {FIELDS "{\"a\":1.}}", false, 0},
        {FIELDS "{\"a\":1E5}}", false, 0},
        {FIELDS "{\"a\":.5}}", false, 0},
        {FIELDS "{\"a\":true,\"b\":false}}", true, 2},
        {FIELDS "{\"a\":truth}}", false, 0},
        {FIELDS "{\"a\":\"\\\"\\\\\\n\\t\\u00e9\"}}", true, 1},
        {FIELDS "{\"a\":\"\\/\"}}", false, 0},
        {FIELDS "{\"a\":\"\\u12g4\"}}", false, 0},
        {FIELDS "{\"a\":\"a\nb\"}}", false, 0},
        {FIELDS "{\"a\":\"a\x7f\"}}", false, 0},
        {FIELDS "{\"a\" :1}}", false, 0},
        {FIELDS "[1]}", false, 0},
    };
    struct dl_event_text event;
    size_t members;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (is_read(cases[i].text, strlen(cases[i].text), &event, &members) != cases[i].read
            || members != cases[i].members) {
            fprintf(stderr, "FAILED %s\n", cases[i].text);
            abort();
        }
}

static void what_is_said_about_a_record(void)
{
    struct dl_event_text event;
    size_t members;
    CHECK(is_read(BEGINNING "}", sizeof BEGINNING, &event, &members) && event.ascii && !event.unicode);
    CHECK(event.parts[DL_MESSAGE].length == 1 && !event.parts[DL_MESSAGE].escaped);
    static const char escaped[] = BEGINNING ",\"stack\":\"a\\nlong one\"}";
    CHECK(is_read(escaped, sizeof escaped - 1, &event, &members) && event.parts[DL_STACK].escaped);
    static const char foreign[] = BEGINNING ",\"stack\":\"k\xc3\xa4se\"}";
    CHECK(is_read(foreign, sizeof foreign - 1, &event, &members) && !event.ascii);
    static const char unicode[] = BEGINNING ",\"stack\":\"\\u0041\"}";
    CHECK(is_read(unicode, sizeof unicode - 1, &event, &members) && event.unicode);
    for (size_t depth = 10; depth <= 200; depth += 190) {
        char deep[1024] = FIELDS "{\"a\":";
        const size_t from = strlen(deep);
        memset(deep + from, '[', depth);
        memset(deep + from + depth, ']', depth);
        strcat(deep, "}}");
        CHECK(is_read(deep, strlen(deep), &event, &members) == (depth == 10));
    }
}

static void what_is_found_of_a_record(void)
{
    static const char text[] = FIELDS "{\"a\":{\"b\":{\"c\":7},\"n\":null,\"s\":\"x\"},\"a.n\":2,\"l\":[1.5],\"t\":true,"
                                      "\"f\":-0.25,\"p\":1.50,\"e\":1e5,\"d\":0.00001,\"i\":-12,"
                                      "\"task\":\"own\",\"q\":\"\\\"\",\"w\":1,\"w\":2}"
                                      ",\"task\":\"T\",\"stack\":\"S\"}";
    static const struct {
        const char *name;
        enum dl_lookup found;
        const char *value;
    } cases[] = {
        {"a", DL_UNREAD, ""},      {"a.b.c", DL_PRESENT, "7"},   {"a.b", DL_UNREAD, ""},
        {"a.n", DL_PRESENT, "2"},  {"a.s", DL_PRESENT, "x"},     {"a.s.c", DL_ABSENT, ""},
        {"a.b.d", DL_ABSENT, ""},  {"l", DL_UNREAD, ""},         {"t", DL_PRESENT, "true"},
        {"f", DL_PRESENT, "-0.25"}, {"p", DL_UNREAD, ""},        {"e", DL_UNREAD, ""},
        {"d", DL_UNREAD, ""},      {"i", DL_PRESENT, "-12"},     {"task", DL_PRESENT, "own"},
        {"q", DL_UNREAD, ""},      {"w", DL_PRESENT, "2"},       {"stack", DL_PRESENT, "S"},
        {"level", DL_ABSENT, ""},  {"", DL_ABSENT, ""},          {"process", DL_ABSENT, ""},
    };
    struct dl_event_text event;
    CHECK(dl_read_event(text, sizeof text - 1, &event));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dl_span value = {0};
        const enum dl_lookup found = dl_find_field(&event, cases[i].name, strlen(cases[i].name), &value);
        if (found != cases[i].found
            || (found == DL_PRESENT
                && (value.length != strlen(cases[i].value)
                    || memcmp(value.start, cases[i].value, value.length) != 0))) {
            fprintf(stderr, "FAILED %s\n", cases[i].name);
            abort();
        }
    }
    struct dl_span logger;
    CHECK(dl_read_logger(text, sizeof text - 1, &logger) && logger.length == 3);
    CHECK(!dl_read_logger(text, 20, &logger) && !dl_read_logger("{\"time\":x", 9, &logger));
}

/* Good records, a few bytes of them changed, and cut. */
static void changed_records_are_read_within_their_memory(void)
{
    static const char good[] = FIELDS "{\"a\":1.5,\"b\":[\"x\\n\",null],\"c\":{\"d\":true}},\"exception\":\"E\\u0041\"}";
    static const char some[] = "\"\\{}[]:,0u-.e\x7f\n\x80 n";
    char text[sizeof good];
    struct dl_event_text event;
    size_t members;
    memcpy(text, good, sizeof good);
    for (uint32_t changes = dice(4); changes > 0; changes--)
        text[dice(sizeof good - 1)] = some[dice(sizeof some - 1)];
    is_read(text, dice(4) == 0 ? dice(sizeof good) : sizeof good - 1, &event, &members);
}

int main(int count, char **arguments)
{
    const uint64_t runs = count > 2 && strcmp(arguments[1], "--runs") == 0 ? strtoull(arguments[2], NULL, 0) : 200000;
    what_is_read_and_what_is_not();
    what_is_said_about_a_record();
    what_is_found_of_a_record();
    for (uint64_t i = 0; i < runs; i++)
        changed_records_are_read_within_their_memory();
    printf("%llu passed, 0 failed\n", (unsigned long long)runs);
    return 0;
}
