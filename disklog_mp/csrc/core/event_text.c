/* Reading structured records, see event_text.h. */
#include "event_text.h"

#include <string.h>

#define DEEPEST 32u /* containers inside each other; deeper ones are the parser's */
#define MOST_DIGITS 1000 /* of a number; Python refuses more than 4,300 */

struct reader {
    const char *at, *end;
    bool ascii, unicode;
};

static bool take(struct reader *reader, char wanted)
{
    if (reader->at >= reader->end || *reader->at != wanted)
        return false;
    reader->at++;
    return true;
}

static bool take_word(struct reader *reader, const char *word)
{
    const size_t length = strlen(word);
    if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, word, length) != 0)
        return false;
    reader->at += length;
    return true;
}

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

static bool is_hex(char byte)
{
    return is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

/* Behind the backslash. */
static bool take_escape(struct reader *reader)
{
    if (reader->at >= reader->end)
        return false;
    const char letter = *reader->at++;
    if (letter != 'u')
        return letter != 0 && strchr("\"\\bfnrt", letter) != NULL; /* \/ is not of our encoder */
    reader->unicode = true;
    for (int i = 0; i < 4; i++)
        if (reader->at >= reader->end || !is_hex(*reader->at++))
            return false;
    return true;
}

/* The bytes, of eight, that end a run of plain ones: a quote, a backslash, and what is not ASCII to be seen.
 * The lowest bit set is that of the first one; above it there may be others that are not special. */
static inline uint64_t specials(const char *bytes)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x80 * ones;
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    const uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\', rubout = word ^ ones * 0x7f;
    return (((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)
            | ((rubout - ones) & ~rubout) | word)
           & high;
}

static bool take_string(struct reader *reader, struct dl_span *span)
{
    if (!take(reader, '"'))
        return false;
    span->start = reader->at;
    span->escaped = false;
    for (;;) {
        while (reader->end - reader->at >= 8) {
            const uint64_t special = specials(reader->at);
            reader->at += special == 0 ? 8 : __builtin_ctzll(special) / 8;
            if (special != 0)
                break;
        }
        if (reader->at >= reader->end)
            return false;
        const unsigned char byte = (unsigned char)*reader->at++;
        if (byte == '"')
            break;
        if (byte < 0x20 || byte == 0x7f)
            return false;
        if (byte >= 0x80)
            reader->ascii = false;
        if (byte == '\\') {
            span->escaped = true;
            if (!take_escape(reader))
                return false;
        }
    }
    span->length = (size_t)(reader->at - 1 - span->start);
    return true;
}

static bool take_digits(struct reader *reader)
{
    const char *from = reader->at;
    while (reader->at < reader->end && is_digit(*reader->at))
        reader->at++;
    return reader->at > from && reader->at - from <= MOST_DIGITS;
}

/* A number as Python writes it: no capital E, and no -0. */
static bool take_number(struct reader *reader)
{
    const bool negative = take(reader, '-');
    const char *from = reader->at;
    if (!take_digits(reader) || (*from == '0' && reader->at - from > 1))
        return false;
    if (take(reader, '.')) {
        if (!take_digits(reader))
            return false;
    } else if (negative && *from == '0')
        return false;
    if (take(reader, 'e')) {
        if (!take(reader, '-'))
            take(reader, '+');
        return take_digits(reader);
    }
    return true;
}

static bool take_value(struct reader *reader, uint32_t depth);

/* Members or items up to the closing bracket, behind the opening one. */
static bool take_container(struct reader *reader, char closing, uint32_t depth)
{
    struct dl_span key;
    if (take(reader, closing))
        return true;
    do {
        if (closing == '}' && !(take_string(reader, &key) && take(reader, ':')))
            return false;
        if (!take_value(reader, depth))
            return false;
    } while (take(reader, ','));
    return take(reader, closing);
}

static bool take_value(struct reader *reader, uint32_t depth)
{
    struct dl_span text;
    if (reader->at >= reader->end || depth > DEEPEST)
        return false;
    switch (*reader->at) {
    case '"':
        return take_string(reader, &text);
    case '{':
        reader->at++;
        return take_container(reader, '}', depth + 1);
    case '[':
        reader->at++;
        return take_container(reader, ']', depth + 1);
    case 't':
        return take_word(reader, "true");
    case 'f':
        return take_word(reader, "false");
    case 'n':
        return take_word(reader, "null");
    default:
        return take_number(reader);
    }
}

static enum dl_part part_of(const struct dl_span *key)
{
    static const struct {
        const char *name;
        size_t length;
    } parts[] = {{"level", 5}, {"logger", 6}, {"message", 7}, {"process", 7},   {"thread", 6},
                 {"task", 4},  {"caller", 6}, {"fields", 6},  {"exception", 9}, {"stack", 5}};
    for (int i = 0; i < DL_PARTS; i++)
        if (parts[i].length == key->length && memcmp(parts[i].name, key->start, key->length) == 0)
            return (enum dl_part)i;
    return DL_PARTS;
}

/* An object that is not empty, its inside. */
static bool take_fields(struct reader *reader, struct dl_span *inside)
{
    if (!take(reader, '{'))
        return false;
    inside->start = reader->at;
    if (take(reader, '}') || !take_container(reader, '}', 1))
        return false;
    inside->length = (size_t)(reader->at - 1 - inside->start);
    return true;
}

bool dl_read_event(const char *bytes, size_t length, struct dl_event_text *event)
{
    struct reader reader = {bytes, bytes + length, true, false};
    memset(event, 0, sizeof *event);
    if (!take_word(&reader, "{\"time\":"))
        return false;
    const char *from = reader.at;
    if (!take_digits(&reader) || (*from == '0' && reader.at - from > 1) || reader.at - from > 20)
        return false;
    while (take(&reader, ',')) {
        struct dl_span key;
        if (!take_string(&reader, &key) || !take(&reader, ':'))
            return false;
        const enum dl_part part = part_of(&key);
        if (part == DL_PARTS || event->parts[part].start != NULL)
            return false;
        if (!(part == DL_FIELDS ? take_fields(&reader, &event->parts[part])
                                : take_string(&reader, &event->parts[part])))
            return false;
    }
    event->ascii = reader.ascii;
    event->unicode = reader.unicode;
    return take(&reader, '}') && reader.at == reader.end && event->parts[DL_LEVEL].start != NULL
           && event->parts[DL_LOGGER].start != NULL && event->parts[DL_MESSAGE].start != NULL;
}

bool dl_next_member(const struct dl_span *inside, size_t *at, struct dl_span *key, struct dl_span *value,
                    bool *is_string)
{
    struct reader reader = {inside->start + *at, inside->start + inside->length, true, false};
    if (reader.at >= reader.end)
        return false;
    take(&reader, ',');
    if (!take_string(&reader, key) || !take(&reader, ':') || reader.at >= reader.end)
        return false;
    *is_string = *reader.at == '"';
    if (*is_string) {
        if (!take_string(&reader, value))
            return false;
    } else {
        *value = (struct dl_span){.start = reader.at};
        if (!take_value(&reader, 1))
            return false;
        value->length = (size_t)(reader.at - value->start);
    }
    *at = (size_t)(reader.at - inside->start);
    return true;
}
