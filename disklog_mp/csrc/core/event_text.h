/* Structured records as they stand in their JSON: where its parts are, without making anything of them.
 *
 * Only the spelling of our own encoder is read, see _loggers/structured.py: no blanks, no key twice.  Of any
 * other the answer is no, and a parser has to look.  No shared state, no Python, no allocation.
 */
#ifndef DL_EVENT_TEXT_H
#define DL_EVENT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dl_part {
    DL_LEVEL,
    DL_LOGGER,
    DL_MESSAGE,
    DL_PROCESS,
    DL_THREAD,
    DL_TASK,
    DL_CALLER,
    DL_FIELDS,
    DL_EXCEPTION,
    DL_STACK,
    DL_PARTS,
};

/* A string between its quotes, or another value as it stands there. */
struct dl_span {
    const char *start; /* NULL: there is none */
    size_t length;
    bool escaped; /* a string with a backslash */
};

struct dl_event_text {
    struct dl_span parts[DL_PARTS]; /* fields: an object between its braces */
    bool ascii; /* no byte above 0x7e */
    bool unicode; /* a \u escape somewhere */
};

/* True if the bytes are a structured record in our encoder's spelling, with level, logger and message. */
bool dl_read_event(const char *bytes, size_t length, struct dl_event_text *event);

/* The member at `*at` of an object's inside, which dl_read_event found; moves on.  False at the end. */
bool dl_next_member(const struct dl_span *inside, size_t *at, struct dl_span *key, struct dl_span *value,
                    bool *is_string);

/* The logger of a record that begins as our encoder has it; what follows is not looked at. */
bool dl_read_logger(const char *bytes, size_t length, struct dl_span *logger);

enum dl_lookup {
    DL_PRESENT,
    DL_ABSENT, /* also null */
    DL_UNREAD, /* a parser has to look: escapes, an object, a list, a number in perhaps another spelling */
};

/* The value of a field by its name, or by `user.id` the value of a field in another; or a part of the event
 * by its name.  It has its spelling as text. */
enum dl_lookup dl_find_field(const struct dl_event_text *event, const char *name, size_t length,
                             struct dl_span *value);

#endif
