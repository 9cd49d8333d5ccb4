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

/* ---- one thing alone ---------------------------------------------------------------------------------- */

static bool take_plain_string(struct reader *reader, struct dl_span *span)
{
    if (!take(reader, '"'))
        return false;
    span->start = reader->at;
    span->escaped = false;
    while (reader->at < reader->end && *reader->at != '"' && *reader->at != '\\')
        reader->at++;
    span->length = (size_t)(reader->at - span->start);
    return take(reader, '"');
}

bool dl_read_logger(const char *bytes, size_t length, struct dl_span *logger)
{
    struct reader reader = {bytes, bytes + length, true, false};
    struct dl_span level;
    if (!take_word(&reader, "{\"time\":") || reader.at >= reader.end || !is_digit(*reader.at))
        return false;
    while (reader.at < reader.end && is_digit(*reader.at))
        reader.at++;
    return take_word(&reader, ",\"level\":") && take_plain_string(&reader, &level)
           && take_word(&reader, ",\"logger\":") && take_plain_string(&reader, logger);
}

static bool is_name(const struct dl_span *key, const char *name, size_t length)
{
    return key->length == length && memcmp(key->start, name, length) == 0;
}

/* The last member of that name, as a parser takes it. */
static enum dl_lookup find_member(const struct dl_span *inside, const char *name, size_t length,
                                  struct dl_span *value, bool *is_string)
{
    enum dl_lookup found = DL_ABSENT;
    struct dl_span key, each;
    bool each_is_string;
    size_t at = 0;
    while (dl_next_member(inside, &at, &key, &each, &each_is_string)) {
        if (key.escaped)
            return DL_UNREAD;
        if (is_name(&key, name, length)) {
            *value = each;
            *is_string = each_is_string;
            found = DL_PRESENT;
        }
    }
    return found;
}

/* A number with a point that Python writes just so: at most 14 digits, no exponent, no zeros at the end. */
static bool is_plain_float(const struct dl_span *value)
{
    const char *at = value->start, *end = at + value->length;
    if (at < end && *at == '-')
        at++;
    const char *point = memchr(at, '.', (size_t)(end - at));
    if (point == NULL || memchr(at, 'e', (size_t)(end - at)) != NULL)
        return false;
    if (end[-1] == '0' && end - point > 2)
        return false;
    const char *first = at;
    while (first < end && (*first == '0' || *first == '.'))
        first++;
    return first == end || (end - first <= 15 && first - point <= 4);
}

/* True if a value that is no string stands there as Python writes it. */
static bool is_plain_value(const struct dl_span *value)
{
    const char first = value->start[0];
    if (first == '{' || first == '[')
        return false;
    for (size_t i = 0; first != 't' && first != 'f' && i < value->length; i++)
        if (!is_digit(value->start[i]) && !(i == 0 && first == '-'))
            return is_plain_float(value);
    return true;
}

static enum dl_lookup plain_value(const struct dl_span *value, bool is_string)
{
    if (is_string)
        return value->escaped ? DL_UNREAD : DL_PRESENT;
    if (value->start[0] == 'n')
        return DL_ABSENT;
    return is_plain_value(value) ? DL_PRESENT : DL_UNREAD;
}

static enum dl_lookup find_part(const struct dl_event_text *event, const char *name, size_t length,
                                struct dl_span *value)
{
    const struct dl_span key = {.start = name, .length = length};
    const enum dl_part part = part_of(&key);
    if (part < DL_PROCESS || part == DL_FIELDS || part == DL_PARTS || event->parts[part].start == NULL)
        return DL_ABSENT;
    *value = event->parts[part];
    return plain_value(value, true);
}

enum dl_lookup dl_find_field(const struct dl_event_text *event, const char *name, size_t length,
                             struct dl_span *value)
{
    const struct dl_span none = {.start = name, .length = 0};
    struct dl_span inside = event->parts[DL_FIELDS].start == NULL ? none : event->parts[DL_FIELDS];
    bool is_string = false;
    enum dl_lookup found = find_member(&inside, name, length, value, &is_string);
    if (found != DL_ABSENT)
        return found == DL_UNREAD ? found : plain_value(value, is_string);
    const char *from = name, *end = name + length;
    for (;;) {
        const char *dot = memchr(from, '.', (size_t)(end - from));
        const char *stop = dot == NULL ? end : dot;
        found = find_member(&inside, from, (size_t)(stop - from), value, &is_string);
        if (found == DL_UNREAD)
            return found;
        if (found == DL_ABSENT)
            return find_part(event, name, length, value);
        if (dot == NULL)
            return plain_value(value, is_string);
        if (is_string || value->start[0] != '{')
            return find_part(event, name, length, value);
        inside = (struct dl_span){.start = value->start + 1, .length = value->length - 2};
        from = dot + 1;
    }
}
