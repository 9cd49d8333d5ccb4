/* The parts that all layouts use: the renderer, the parts of a line.  For render*.c alone. */
#ifndef DL_RENDER_LINES_H
#define DL_RENDER_LINES_H

#include "binding.h"

#include <string.h>

#include "../core/event_text.h"
#include "../core/json_text.h"
#include "record.h"

#define DL_SECONDS 64u /* whose text is kept */
#define DL_LONGEST_SECOND 48u /* bytes: date, time, zone */

struct dl_second {
    uint64_t second;
    uint8_t length; /* 0: none */
    char text[DL_LONGEST_SECOND];
};

#define DL_TOKEN_FIELD '{' /* of that name; `otherwise` where there is none */
#define DL_TOKEN_TEXT '=' /* as it is */

/* A piece of a template: a token of --format by its letter, or one of those above. */
struct dl_piece {
    int token;
    struct dl_span bytes, otherwise;
};

typedef struct {
    PyObject_HEAD
    int layout;
    PyObject *first; /* bytes: what a line begins with; of raw output: what a record ends with */
    PyObject *clock; /* returns the text of a second: 19 characters, then what follows the fraction */
    PyObject *otherwise; /* called with a record, returns its bytes */
    PyObject *template; /* the template that the pieces go into; NULL: there are none */
    struct dl_piece *pieces;
    size_t piece_count;
    struct dl_second seconds[DL_SECONDS];
} Renderer;

enum dl_outcome {
    DL_DONE,
    DL_OTHERWISE, /* Python has to render the record */
    DL_RAISED, /* an exception */
};

static inline void dl_put_span(struct dl_text *text, const struct dl_span *span)
{
    dl_put(text, span->start, span->length);
}

static inline void dl_put_named(struct dl_text *text, const char *name, uint64_t number)
{
    dl_put(text, name, strlen(name));
    dl_put_number(text, number, false);
}

static inline bool dl_is_shown(char byte) { return byte >= 0x20 && byte < 0x7f; }

/* True if the bytes may be an event in another spelling than ours. */
static inline bool dl_may_be_event(const char *bytes, size_t length)
{
    return length >= 8 && memcmp(bytes, "{\"time\":", 8) == 0;
}

/* DONE if the bytes can be shown as they are; `ascii`: all of them are ASCII that can. */
enum dl_outcome dl_as_it_is(const char *bytes, size_t length, bool ascii);

/* True if a value needs no quotes in logfmt. */
bool dl_is_bare(const struct dl_span *value);

/* False with an exception. */
bool dl_put_time(Renderer *self, struct dl_text *text, uint64_t time, int digits);

enum dl_style { DL_PLAIN, DL_QUOTED, DL_BARE };

/* The label, if the record has one, between two texts; BARE: one that needs no quotes. */
enum dl_outcome dl_put_label(struct dl_text *text, PyObject *record, const struct dl_record *values,
                             const char *before, const char *after, enum dl_style style);

/* A record whose bytes are these, a copy, in one of the layouts. */
enum dl_outcome dl_put_text_line(Renderer *self, struct dl_text *text, PyObject *record,
                                 const struct dl_record *values, const char *bytes);
enum dl_outcome dl_put_logfmt(Renderer *self, struct dl_text *text, PyObject *record,
                              const struct dl_record *values, const char *bytes);
enum dl_outcome dl_put_template(Renderer *self, struct dl_text *text, PyObject *record,
                                const struct dl_record *values, const char *bytes);

#endif
