/* The layouts that are lines of text: for people, logfmt, templates.  See render_lines.h. */
#include "render_lines.h"

#include <string.h>

/* ---- text --------------------------------------------------------------------------------------------- */

/* The string without its escapes; false if there is one that a terminal is not shown. */
static bool put_unescaped(struct dl_text *text, const struct dl_span *span)
{
    if (!span->escaped) {
        dl_put_span(text, span);
        return true;
    }
    const char *at = span->start, *end = at + span->length;
    while (at < end) {
        const char *backslash = memchr(at, '\\', (size_t)(end - at));
        if (backslash == NULL || end - backslash < 2)
            backslash = end;
        dl_put(text, at, (size_t)(backslash - at));
        if (backslash == end)
            return true;
        switch (backslash[1]) {
        case '"':
        case '\\':
            dl_put(text, backslash + 1, 1);
            break;
        case 'n':
            DL_PUT(text, "\n");
            break;
        case 't':
            DL_PUT(text, "\t");
            break;
        case 'r':
            DL_PUT(text, "\\r");
            break;
        default:
            return false;
        }
        at = backslash + 2;
    }
    return true;
}

/* Each line on one of its own, indented.  Nothing for no text. */
static void put_indented(struct dl_text *text, const char *bytes, size_t length)
{
    const char *at = bytes, *end = bytes + length;
    while (length != 0) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        DL_PUT(text, "\n    ");
        dl_put(text, at, (size_t)((line_end == NULL ? end : line_end) - at));
        if (line_end == NULL)
            return;
        at = line_end + 1;
    }
}

static bool put_indented_part(struct dl_text *text, const struct dl_span *part)
{
    struct dl_text plain;
    if (part->start == NULL)
        return true;
    dl_text_begin(&plain);
    const bool known = put_unescaped(&plain, part);
    if (known)
        put_indented(text, plain.start, plain.length);
    text->failed |= plain.failed;
    dl_text_end(&plain);
    return known;
}

bool dl_is_bare(const struct dl_span *value)
{
    for (size_t i = 0; i < value->length; i++)
        if (value->start[i] != 0 && strchr(" =\"'\\", value->start[i]) != NULL)
            return false;
    return value->length != 0;
}

/* A value in logfmt; a string as it stands in JSON. */
static void put_word(struct dl_text *text, const struct dl_span *value, bool is_string)
{
    if (dl_is_bare(value))
        dl_put_span(text, value);
    else if (is_string) {
        DL_PUT(text, "\"");
        dl_put_span(text, value);
        DL_PUT(text, "\"");
    } else
        dl_put_quoted(text, value->start, value->length);
}

static bool put_words(struct dl_text *text, const struct dl_span *inside)
{
    struct dl_span key, value;
    bool is_string;
    size_t at = 0;
    while (dl_next_member(inside, &at, &key, &value, &is_string)) {
        if (key.escaped)
            return false;
        DL_PUT(text, " ");
        for (size_t i = 0; i < key.length; i++)
            dl_put(text, key.start[i] == ' ' || key.start[i] == '=' ? "_" : key.start + i, 1);
        dl_put(text, key.length != 0 ? "=" : "_=", 1u + (key.length == 0));
        put_word(text, &value, is_string);
    }
    return at >= inside->length;
}

/* The first line of a text goes to the line, the others below it: returns where they begin. */
static size_t put_first_line(struct dl_text *text, const char *bytes, size_t *length)
{
    while (*length != 0 && bytes[*length - 1] == '\n')
        --*length;
    const char *end = memchr(bytes, '\n', *length);
    const size_t first = end == NULL ? *length : (size_t)(end - bytes);
    dl_put(text, bytes, first);
    return end == NULL ? first : first + 1;
}

static enum dl_outcome put_event(struct dl_text *text, const struct dl_event_text *event, const char *bytes,
                              size_t length)
{
    const struct dl_span *parts = event->parts;
    if (event->unicode || parts[DL_LEVEL].escaped || parts[DL_LOGGER].escaped)
        return DL_OTHERWISE;
    const enum dl_outcome outcome = dl_as_it_is(bytes, length, event->ascii);
    if (outcome != DL_DONE)
        return outcome;
    dl_put_span(text, &parts[DL_LEVEL]);
    DL_PUT(text, " ");
    dl_put_span(text, &parts[DL_LOGGER]);
    DL_PUT(text, ": ");
    struct dl_text message;
    dl_text_begin(&message);
    bool known = put_unescaped(&message, &parts[DL_MESSAGE]);
    size_t said = message.length, rest = put_first_line(text, message.start, &said);
    known = known && (parts[DL_FIELDS].start == NULL || put_words(text, &parts[DL_FIELDS]));
    put_indented(text, message.start + rest, said - rest);
    text->failed |= message.failed;
    dl_text_end(&message);
    known = known && put_indented_part(text, &parts[DL_EXCEPTION]) && put_indented_part(text, &parts[DL_STACK]);
    return known ? DL_DONE : DL_OTHERWISE;
}

/* The name of a level that is a tag; NULL for any other tag. */
static const char *level_name(uint32_t tag)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"};
    return tag != 0 && tag % 10 == 0 && tag <= 50 ? names[tag / 10 - 1] : NULL;
}

static void put_text(struct dl_text *text, const char *said) { dl_put(text, said, strlen(said)); }

static void put_tag(struct dl_text *text, uint32_t tag)
{
    const char *name = level_name(tag);
    if (tag == 0)
        return;
    if (name != NULL)
        put_text(text, name);
    else
        dl_put_named(text, "#", tag);
    DL_PUT(text, " ");
}

/* A record that is text: printable, in lines. */
static enum dl_outcome put_plain(struct dl_text *text, const char *bytes, size_t length)
{
    if (dl_may_be_event(bytes, length))
        return DL_OTHERWISE;
    bool ascii = true;
    for (size_t i = 0; i < length && ascii; i++)
        ascii = dl_is_shown(bytes[i]) || bytes[i] == '\n' || bytes[i] == '\t';
    const enum dl_outcome outcome = dl_as_it_is(bytes, length, ascii);
    if (outcome != DL_DONE)
        return outcome;
    size_t said = length;
    const size_t rest = put_first_line(text, bytes, &said);
    put_indented(text, bytes + rest, said - rest);
    return DL_DONE;
}

enum dl_outcome dl_put_text_line(Renderer *self, struct dl_text *text, PyObject *record,
                                 const struct dl_record *values, const char *bytes)
{
    struct dl_event_text event;
    if (!dl_put_time(self, text, values->time, 6))
        return DL_RAISED;
    DL_PUT(text, " ");
    dl_put(text, PyBytes_AsString(self->first), (size_t)PyBytes_Size(self->first));
    enum dl_outcome outcome = dl_put_label(text, record, values, "", "/", DL_PLAIN);
    dl_put_number(text, values->pid, false);
    DL_PUT(text, " ");
    if (outcome == DL_DONE) {
        if (dl_read_event(bytes, values->length, &event))
            outcome = put_event(text, &event, bytes, values->length);
        else {
            put_tag(text, values->tag);
            outcome = put_plain(text, bytes, values->length);
        }
    }
    DL_PUT(text, "\n");
    return outcome;
}

/* ---- logfmt ------------------------------------------------------------------------------------------- */

/* The parts of an event in the order of Event's, and then its fields. */
static bool put_parts(struct dl_text *text, const struct dl_event_text *event)
{
    static const struct {
        enum dl_part part;
        const char *name;
    } parts[] = {{DL_LEVEL, " level="},     {DL_LOGGER, " logger="}, {DL_MESSAGE, " message="},
                 {DL_PROCESS, " process="}, {DL_THREAD, " thread="}, {DL_TASK, " task="},
                 {DL_CALLER, " caller="},   {DL_EXCEPTION, " exception="}, {DL_STACK, " stack="}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const struct dl_span *value = &event->parts[parts[i].part];
        if (value->start == NULL)
            continue;
        put_text(text, parts[i].name);
        put_word(text, value, true);
    }
    return event->parts[DL_FIELDS].start == NULL || put_words(text, &event->parts[DL_FIELDS]);
}

static enum dl_outcome put_text_as_word(struct dl_text *text, const char *bytes, size_t length)
{
    if (dl_may_be_event(bytes, length))
        return DL_OTHERWISE;
    const struct dl_span span = {.start = bytes, .length = length};
    bool ascii = true, bare = dl_is_bare(&span);
    for (size_t i = 0; i < length && ascii; i++) {
        ascii = (unsigned char)bytes[i] < 0x7f;
        bare = bare && (unsigned char)bytes[i] > 0x20;
    }
    const enum dl_outcome outcome = dl_as_it_is(bytes, length, ascii);
    if (outcome == DL_DONE && bare)
        dl_put_span(text, &span);
    else if (outcome == DL_DONE)
        dl_put_quoted(text, bytes, length);
    return outcome;
}

enum dl_outcome dl_put_logfmt(Renderer *self, struct dl_text *text, PyObject *record,
                              const struct dl_record *values, const char *bytes)
{
    struct dl_event_text event;
    DL_PUT(text, "time=");
    if (!dl_put_time(self, text, values->time, 9))
        return DL_RAISED;
    dl_put(text, PyBytes_AsString(self->first), (size_t)PyBytes_Size(self->first));
    dl_put_named(text, " pid=", values->pid);
    enum dl_outcome outcome = dl_put_label(text, record, values, " label=", "", DL_BARE);
    if (outcome != DL_DONE)
        return outcome;
    if (dl_read_event(bytes, values->length, &event)) {
        outcome = event.unicode ? DL_OTHERWISE : dl_as_it_is(bytes, values->length, event.ascii);
        if (outcome == DL_DONE && !put_parts(text, &event))
            outcome = DL_OTHERWISE;
    } else {
        const char *level = level_name(values->tag);
        if (level != NULL) {
            DL_PUT(text, " level=");
            put_text(text, level);
        } else if (values->tag != 0)
            dl_put_named(text, " tag=", values->tag);
        DL_PUT(text, " message=");
        outcome = put_text_as_word(text, bytes, values->length);
    }
    DL_PUT(text, "\n");
    return outcome;
}

/* ---- templates ---------------------------------------------------------------------------------------- */

/* A string without its escapes, but for those of line ends; false if there is one that is not shown. */
static bool put_in_one_line(struct dl_text *text, const struct dl_span *span)
{
    for (size_t i = 0; i < span->length; i++) {
        const char *byte = span->start + i;
        if (*byte != '\\') {
            dl_put(text, byte, 1);
            continue;
        }
        if (++i >= span->length)
            return false;
        switch (byte[1]) {
        case '"':
        case '\\':
            dl_put(text, byte + 1, 1);
            break;
        case 't':
            DL_PUT(text, "\t");
            break;
        case 'n':
        case 'r':
            dl_put(text, byte, 2);
            break;
        default:
            return false;
        }
    }
    return true;
}

/* The text of a record that is no event, in one line. */
static enum dl_outcome put_text_in_one_line(struct dl_text *text, const char *bytes, size_t length)
{
    bool ascii = true;
    for (size_t i = 0; i < length && ascii; i++)
        ascii = dl_is_shown(bytes[i]) || bytes[i] == '\n' || bytes[i] == '\t' || bytes[i] == '\r';
    const enum dl_outcome outcome = dl_as_it_is(bytes, length, ascii);
    for (size_t i = 0; i < length && outcome == DL_DONE; i++)
        if (bytes[i] == '\n')
            DL_PUT(text, "\\n");
        else if (bytes[i] == '\r')
            DL_PUT(text, "\\r");
        else
            dl_put(text, bytes + i, 1);
    return outcome;
}

static enum dl_outcome put_field(struct dl_text *text, const struct dl_piece *piece,
                                 const struct dl_event_text *event)
{
    struct dl_span value;
    const enum dl_lookup found
        = event == NULL ? DL_ABSENT : dl_find_field(event, piece->bytes.start, piece->bytes.length, &value);
    if (found == DL_UNREAD)
        return DL_OTHERWISE;
    dl_put_span(text, found == DL_PRESENT ? &value : &piece->otherwise);
    return DL_DONE;
}

/* One piece.  `event` is NULL for a record that is text. */
static enum dl_outcome put_piece(Renderer *self, struct dl_text *text, const struct dl_piece *piece,
                                 PyObject *record, const struct dl_record *values,
                                 const struct dl_event_text *event, const char *bytes)
{
    const char *level;
    switch (piece->token) {
    case 'T':
        return dl_put_time(self, text, values->time, 6) ? DL_DONE : DL_RAISED;
    case 't':
        dl_put_number(text, values->tag, false);
        return DL_DONE;
    case 'l':
        level = level_name(values->tag);
        if (event != NULL)
            return put_in_one_line(text, &event->parts[DL_LEVEL]) ? DL_DONE : DL_OTHERWISE;
        put_text(text, level == NULL ? "" : level);
        return DL_DONE;
    case 'n':
        return event == NULL || put_in_one_line(text, &event->parts[DL_LOGGER]) ? DL_DONE : DL_OTHERWISE;
    case 'm':
        if (event != NULL)
            return put_in_one_line(text, &event->parts[DL_MESSAGE]) ? DL_DONE : DL_OTHERWISE;
        return put_text_in_one_line(text, bytes, values->length);
    case 'p':
        dl_put_number(text, values->pid, false);
        return DL_DONE;
    case 'L':
        return dl_put_label(text, record, values, "", "", DL_PLAIN);
    case 'o':
        dl_put_number(text, values->position, false);
        return DL_DONE;
    case 'N':
        dl_put_number(text, values->number, false);
        return DL_DONE;
    case DL_TOKEN_FIELD:
        return put_field(text, piece, event);
    case DL_TOKEN_TEXT:
        dl_put_span(text, &piece->bytes);
        return DL_DONE;
    default:
        return DL_OTHERWISE;
    }
}

enum dl_outcome dl_put_template(Renderer *self, struct dl_text *text, PyObject *record,
                                const struct dl_record *values, const char *bytes)
{
    struct dl_event_text event;
    const bool structured = dl_read_event(bytes, values->length, &event);
    if (!structured && dl_may_be_event(bytes, values->length))
        return DL_OTHERWISE;
    enum dl_outcome outcome = structured ? dl_as_it_is(bytes, values->length, event.ascii) : DL_DONE;
    for (size_t i = 0; i < self->piece_count && outcome == DL_DONE; i++)
        outcome = put_piece(self, text, &self->pieces[i], record, values, structured ? &event : NULL, bytes);
    return outcome;
}
