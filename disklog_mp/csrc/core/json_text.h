/* JSON text under construction: a buffer on the stack that moves to the heap when it grows, and the
 * escapes of JSON's strings.  It knows bytes and numbers only: which values there are, and what they mean,
 * it must not know. The one file of this folder that allocates.
 */
#ifndef DL_JSON_TEXT_H
#define DL_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DL_TEXT_FIXED 1024 /* bytes on the stack; a longer text goes to the heap */

struct dl_text {
    char *start;
    size_t length, room;
    bool failed; /* out of memory: the text is incomplete */
    char fixed[DL_TEXT_FIXED];
};

static inline void dl_text_begin(struct dl_text *text)
{
    text->start = text->fixed;
    text->length = 0;
    text->room = DL_TEXT_FIXED;
    text->failed = false;
}

/* Free what the text has on the heap. */
static inline void dl_text_end(struct dl_text *text)
{
    if (text->start != text->fixed)
        free(text->start);
}

/* Make room for so many more bytes; false if there is no memory. */
bool dl_text_grow(struct dl_text *text, size_t more);

static inline void dl_put(struct dl_text *text, const char *bytes, size_t length)
{
    if (text->room - text->length < length && !dl_text_grow(text, length))
        return;
    memcpy(text->start + text->length, bytes, length);
    text->length += length;
}

#define DL_PUT(text, literal) dl_put(text, literal, sizeof literal - 1)

static inline void dl_put_number(struct dl_text *text, uint64_t number, bool negative)
{
    char digits[21];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    if (negative)
        digits[--at] = '-';
    dl_put(text, digits + at, sizeof digits - at);
}

/* The bytes of a string, escaped as JSON requires; the second form puts quotes around them. */
void dl_put_escaped(struct dl_text *text, const char *bytes, size_t length);

static inline void dl_put_quoted(struct dl_text *text, const char *bytes, size_t length)
{
    DL_PUT(text, "\"");
    dl_put_escaped(text, bytes, length);
    DL_PUT(text, "\"");
}

#endif
