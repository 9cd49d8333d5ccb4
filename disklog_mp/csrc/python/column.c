/* One column, see column.h.  It must not know records. */
#include "column.h"

#include <string.h>

#include "binding.h"

/* ---- rows --------------------------------------------------------------------------------------------- */

static void put_bit(struct dl_text *bits, size_t row, bool bit)
{
    if (row % 8 == 0)
        dl_put(bits, "\0", 1);
    if (!bits->failed)
        bits->start[row / 8] |= (char)(bit << (row % 8));
}

void dl_column_begin_row(struct dl_column *column)
{
    column->data.length = column->mark;
    column->has_value = false;
    column->number = 0;
}

void dl_column_end_row(struct dl_column *column, size_t row)
{
    put_bit(&column->bits, row, column->has_value);
    if (column->kind == DL_TEXT) {
        const int32_t end = (int32_t)column->data.length;
        dl_put(&column->ends, (const char *)&end, sizeof end);
    } else if (column->kind == DL_TRUTH)
        put_bit(&column->data, row, column->number != 0);
    else
        dl_put(&column->data, (const char *)&column->number, sizeof column->number);
    column->mark = column->data.length;
}

void dl_column_begin_batch(struct dl_column *column)
{
    static const int32_t none = 0;
    column->mark = column->data.length = column->ends.length = column->bits.length = 0;
    if (column->kind == DL_TEXT)
        dl_put(&column->ends, (const char *)&none, sizeof none);
}

/* ---- values ------------------------------------------------------------------------------------------- */

bool dl_column_put_string(struct dl_column *column, const struct dl_span *span)
{
    static const char letters[] = "\"\\bfnrt", meant[] = "\"\\\b\f\n\r\t";
    const char *at = span->start, *end = at + span->length;
    while (span->escaped && at < end) {
        const char *backslash = memchr(at, '\\', (size_t)(end - at));
        if (backslash == NULL || end - backslash < 2)
            break;
        const char *letter = memchr(letters, backslash[1], sizeof letters - 1);
        if (letter == NULL)
            return false;
        dl_put_value(column, at, (size_t)(backslash - at));
        dl_put_value(column, &meant[letter - letters], 1);
        at = backslash + 2;
    }
    dl_put_value(column, at, (size_t)(end - at));
    return true;
}

static bool is_word(const struct dl_span *value, const char *word)
{
    return value->length == strlen(word) && memcmp(value->start, word, value->length) == 0;
}

static bool is_number(const struct dl_span *value)
{
    return value->length != 0 && (*value->start == '-' || (*value->start >= '0' && *value->start <= '9'));
}

/* A whole number of 64 bits; false for any other. */
static bool take_integer(struct dl_column *column, const struct dl_span *value)
{
    const bool negative = value->start[0] == '-';
    const uint64_t most = (uint64_t)INT64_MAX + negative;
    uint64_t number = 0;
    for (size_t i = negative; i < value->length; i++) {
        const char digit = value->start[i];
        if (digit < '0' || digit > '9' || number > (most - (uint64_t)(digit - '0')) / 10)
            return false;
        number = 10 * number + (uint64_t)(digit - '0');
    }
    column->number = negative ? 0 - number : number;
    return true;
}

static bool take_real(struct dl_column *column, const struct dl_span *value)
{
    char *end;
    const double number = PyOS_string_to_double(value->start, &end, NULL);
    if (end != value->start + value->length) {
        PyErr_Clear();
        return false;
    }
    memcpy(&column->number, &number, sizeof number);
    return true;
}

/* Take a field's value for its column.  DL_DONE with has_value: it is of the column's type. */
static enum dl_outcome take_value(struct dl_column *column, const struct dl_span *value, bool is_string)
{
    if (column->has_value) /* the name came twice */
        return DL_OTHERWISE;
    switch (column->kind) {
    case DL_TEXT:
        if (is_string)
            return dl_column_put_string(column, value) ? DL_DONE : DL_OTHERWISE;
        if (!is_word(value, "null"))
            dl_put_value(column, value->start, value->length);
        break;
    case DL_INTEGER:
        column->has_value = !is_string && is_number(value) && take_integer(column, value);
        break;
    case DL_REAL:
        column->has_value = !is_string && is_number(value) && take_real(column, value);
        break;
    case DL_TRUTH:
        column->number = is_word(value, "true");
        column->has_value = !is_string && (column->number || is_word(value, "false"));
        break;
    }
    return DL_DONE;
}

/* Look for the rest of a dotted name inside an object.  It stays among the other fields, too. */
static enum dl_outcome take_inside(struct dl_column *column, const char *name, size_t length,
                                const struct dl_span *value)
{
    if (value->length < 2 || *value->start != '{')
        return DL_DONE;
    const struct dl_span inside = {value->start + 1, value->length - 2, false};
    const char *dot = memchr(name, '.', length);
    const size_t first = dot == NULL ? length : (size_t)(dot - name);
    struct dl_span key, found;
    bool is_string;
    size_t at = 0;
    while (dl_next_member(&inside, &at, &key, &found, &is_string)) {
        if (key.escaped)
            return DL_OTHERWISE;
        if (key.length != first || memcmp(key.start, name, first) != 0)
            continue;
        const enum dl_outcome outcome = dot == NULL
                                         ? take_value(column, &found, is_string)
                                         : take_inside(column, dot + 1, length - first - 1, &found);
        if (outcome != DL_DONE)
            return outcome;
    }
    return at >= inside.length ? DL_DONE : DL_OTHERWISE;
}

/* Offer a field to the columns; true in `*taken` if one has its value as a whole. */
static enum dl_outcome offer(struct dl_column *columns, size_t count, const struct dl_span *key,
                             const struct dl_span *value, bool is_string, bool *taken)
{
    for (size_t i = 0; i < count; i++) {
        struct dl_column *column = &columns[i];
        enum dl_outcome outcome = DL_DONE;
        if (column->name_length < key->length || memcmp(column->name, key->start, key->length) != 0)
            continue;
        if (column->name_length == key->length) {
            outcome = take_value(column, value, is_string);
            *taken = *taken || column->has_value;
        } else if (column->name[key->length] == '.')
            outcome = take_inside(column, column->name + key->length + 1,
                                  column->name_length - key->length - 1, value);
        if (outcome != DL_DONE)
            return outcome;
    }
    return DL_DONE;
}

enum dl_outcome dl_columns_put_fields(struct dl_column *columns, size_t count, struct dl_column *rest,
                                      const struct dl_span *inside)
{
    if (count == 0) { /* with their braces */
        dl_put_value(rest, inside->start - 1, inside->length + 2);
        return DL_DONE;
    }
    struct dl_span key, value;
    bool is_string;
    size_t at = 0;
    while (dl_next_member(inside, &at, &key, &value, &is_string)) {
        bool taken = false;
        const enum dl_outcome outcome = key.escaped ? DL_OTHERWISE
                                                   : offer(columns, count, &key, &value, is_string, &taken);
        if (outcome != DL_DONE)
            return outcome;
        if (taken)
            continue;
        dl_put_value(rest, rest->has_value ? "," : "{", 1);
        const char *begin = key.start - 1;
        dl_put_value(rest, begin, (size_t)(value.start + value.length + is_string - begin));
    }
    if (rest->has_value)
        dl_put_value(rest, "}", 1);
    return at >= inside->length ? DL_DONE : DL_OTHERWISE;
}
