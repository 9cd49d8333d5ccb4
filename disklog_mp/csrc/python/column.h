/* One column of Columns: the values of one part or field of many records, as Arrow's arrays have them. */
#ifndef DL_COLUMN_H
#define DL_COLUMN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../core/event_text.h"
#include "../core/json_text.h"

enum dl_column_kind { DL_TEXT, DL_INTEGER, DL_REAL, DL_TRUTH };

struct dl_column {
    enum dl_column_kind kind;
    const char *name; /* of the field; NULL: a part of the event */
    size_t name_length;
    struct dl_text data, ends, bits;
    size_t mark; /* length of the data before the row in work */
    bool has_value; /* in the row in work */
    uint64_t number; /* of the row in work: the bits of a number */
};

/* DONE: has_value says whether there is one.  OTHERWISE: a parser has to look.  RAISED: an exception. */
enum dl_outcome { DL_DONE, DL_OTHERWISE, DL_RAISED };

static inline void dl_put_value(struct dl_column *column, const char *bytes, size_t length)
{
    dl_put(&column->data, bytes, length);
    column->has_value = true;
}

void dl_column_begin_row(struct dl_column *column); /* forgets what was begun */
void dl_column_end_row(struct dl_column *column, size_t row);
void dl_column_begin_batch(struct dl_column *column);

/* The string without its escapes; false if there is one with \u, which may be half of a character. */
bool dl_column_put_string(struct dl_column *column, const struct dl_span *span);

/* The inside of an object of fields: each into its column, all others into `rest`, as JSON. */
enum dl_outcome dl_columns_put_fields(struct dl_column *columns, size_t count, struct dl_column *rest,
                                      const struct dl_span *inside);

#endif
