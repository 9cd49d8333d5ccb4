/* Renderer: records as lines of text, JSON or raw bytes, many at a time and without an object for each part.
 *
 * It knows the spelling of our own encoder.  A record in any other, with escapes that are not for a terminal,
 * or with a character that cannot be printed is rendered by the Python function that was handed in: that one
 * defines the formats, see cli/records/_formats.py.
 */
#include "render.h"

#include <string.h>

#include "../core/event_text.h"
#include "../core/json_text.h"
#include "record.h"

#define ENOUGH (1u << 20) /* bytes of one call */
#define USUAL (64u << 10)
#define SECONDS 64u /* whose text is kept */
#define LONGEST_SECOND 48u /* bytes: date, time, zone */

enum layout { RAW, JSON, TEXT };

struct second {
    uint64_t second;
    uint8_t length; /* 0: none */
    char text[LONGEST_SECOND];
};

typedef struct {
    PyObject_HEAD
    int layout;
    PyObject *first; /* bytes: what a line begins with; of raw output: what a record ends with */
    PyObject *clock; /* returns the text of a second: 19 characters, then what follows the fraction */
    PyObject *otherwise; /* called with a record, returns its bytes */
    struct second seconds[SECONDS];
} Renderer;

static PyTypeObject *renderer_type;

/* ---- parts of a line ---------------------------------------------------------------------------------- */

enum outcome { DONE, OTHERWISE, RAISED };

static void put_span(struct dl_text *text, const struct dl_span *span)
{
    dl_put(text, span->start, span->length);
}

static void put_padded(struct dl_text *text, uint32_t number, int digits)
{
    char shown[9];
    for (int i = digits; i-- > 0; number /= 10)
        shown[i] = (char)('0' + number % 10);
    dl_put(text, shown, (size_t)digits);
}

/* The text of a second, from Python, which knows about zones. */
static const struct second *look_up(Renderer *self, uint64_t second)
{
    struct second *kept = &self->seconds[second % SECONDS];
    if (kept->length != 0 && kept->second == second)
        return kept;
    PyObject *number = PyLong_FromUnsignedLongLong(second);
    PyObject *said = number == NULL ? NULL : PyObject_CallFunctionObjArgs(self->clock, number, NULL);
    Py_ssize_t length = 0;
    const char *bytes = said == NULL ? NULL : PyUnicode_AsUTF8AndSize(said, &length);
    Py_DecRef(number);
    if (bytes != NULL && (length < 19 || length > (Py_ssize_t)LONGEST_SECOND)) {
        PyErr_SetString(PyExc_ValueError, "no text of a second");
        bytes = NULL;
    }
    if (bytes != NULL) {
        memcpy(kept->text, bytes, (size_t)length);
        kept->length = (uint8_t)length;
        kept->second = second;
    }
    Py_DecRef(said);
    return bytes == NULL ? NULL : kept;
}

static bool put_time(Renderer *self, struct dl_text *text, uint64_t time, int digits)
{
    const struct second *second = look_up(self, time / 1000000000u);
    if (second == NULL)
        return false;
    dl_put(text, second->text, 19);
    DL_PUT(text, ".");
    put_padded(text, (uint32_t)(time % 1000000000u / (digits == 6 ? 1000u : 1u)), digits);
    dl_put(text, second->text + 19, second->length - 19u);
    return true;
}

static bool is_shown(unsigned char byte) { return byte >= 0x20 && byte < 0x7f; }

static bool is_shown_ascii(const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!is_shown((unsigned char)bytes[i]))
            return false;
    return true;
}

/* True if the bytes are UTF-8 and Python calls them printable; -1 with an exception. */
static int is_printable(const char *bytes, size_t length)
{
    PyObject *data = PyBytes_FromStringAndSize(bytes, (Py_ssize_t)length);
    PyObject *text = data == NULL ? NULL : PyObject_CallMethod(data, "decode", NULL);
    PyObject *answer = text == NULL ? NULL : PyObject_CallMethod(text, "isprintable", NULL);
    int printable = answer == NULL ? -1 : PyObject_IsTrue(answer);
    if (data != NULL && text == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) { /* UnicodeDecodeError */
        PyErr_Clear();
        printable = 0;
    }
    Py_DecRef(data);
    Py_DecRef(text);
    Py_DecRef(answer);
    return printable;
}

/* The label, if it has one: in JSON as a member, in text before the pid. */
static enum outcome put_label(struct dl_text *text, PyObject *record, const struct dl_record *values, bool json)
{
    if (values->label == 0)
        return DONE;
    enum outcome outcome = DONE;
    PyObject *label = dl_record_label(record);
    if (label == NULL)
        return RAISED;
    if (label != Py_None) {
        Py_ssize_t length;
        const char *bytes = PyUnicode_AsUTF8AndSize(label, &length);
        if (bytes == NULL)
            PyErr_Clear();
        if (bytes == NULL || !is_shown_ascii(bytes, (size_t)length))
            outcome = OTHERWISE;
        else if (json) {
            DL_PUT(text, ", \"label\": ");
            dl_put_quoted(text, bytes, (size_t)length);
        } else {
            dl_put(text, bytes, (size_t)length);
            DL_PUT(text, "/");
        }
    }
    Py_DecRef(label);
    return outcome;
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

static void put_named(struct dl_text *text, const char *name, uint64_t number)
{
    dl_put(text, name, strlen(name));
    dl_put_number(text, number, false);
}

/* What a record says.  A text that is not printable has to be escaped in full. */
static enum outcome put_content(struct dl_text *text, const char *bytes, size_t length)
{
    struct dl_event_text event;
    static const char beginning[] = "{\"time\":";
    if (dl_read_event(bytes, length, &event)) {
        if (!event.ascii) {
            const int printable = is_printable(bytes, length);
            if (printable <= 0)
                return printable < 0 ? RAISED : OTHERWISE;
        }
        DL_PUT(text, ", \"event\": ");
        dl_put(text, bytes, length);
        return DONE;
    }
    if (length >= sizeof beginning - 1 && memcmp(bytes, beginning, sizeof beginning - 1) == 0)
        return OTHERWISE;
    bool ascii = true;
    for (size_t i = 0; i < length && ascii; i++)
        ascii = (unsigned char)bytes[i] < 0x7f;
    if (!ascii) {
        const int printable = is_printable(bytes, length);
        if (printable <= 0)
            return printable < 0 ? RAISED : OTHERWISE;
    }
    DL_PUT(text, ", \"data\": ");
    dl_put_quoted(text, bytes, length);
    return DONE;
}

static enum outcome put_json(Renderer *self, struct dl_text *text, PyObject *record,
                             const struct dl_record *values, const char *bytes)
{
    put_named(text, "\"number\": ", values->number);
    put_named(text, ", \"position\": ", values->position);
    DL_PUT(text, ", \"time\": \"");
    if (!put_time(self, text, values->time, 9))
        return RAISED;
    put_named(text, "\", \"time_ns\": ", values->time);
    put_named(text, ", \"pid\": ", values->pid);
    put_named(text, ", \"tag\": ", values->tag);
    enum outcome outcome = put_label(text, record, values, true);
    if (outcome == DONE)
        outcome = put_content(text, bytes, values->length);
    DL_PUT(text, "}\n");
    return outcome;
}

/* ---- text --------------------------------------------------------------------------------------------- */

/* The string without its escapes; false if there is one that a terminal is not shown. */
static bool put_unescaped(struct dl_text *text, const struct dl_span *span)
{
    if (!span->escaped) {
        put_span(text, span);
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

/* True if a value needs no quotes in logfmt. */
static bool is_bare(const struct dl_span *value)
{
    for (size_t i = 0; i < value->length; i++)
        if (value->start[i] != 0 && strchr(" =\"'\\", value->start[i]) != NULL)
            return false;
    return value->length != 0;
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
        if (is_bare(&value))
            put_span(text, &value);
        else if (is_string) {
            DL_PUT(text, "\"");
            put_span(text, &value);
            DL_PUT(text, "\"");
        } else
            dl_put_quoted(text, value.start, value.length);
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

static enum outcome put_event(struct dl_text *text, const struct dl_event_text *event, const char *bytes,
                              size_t length)
{
    const struct dl_span *parts = event->parts;
    if (event->unicode || parts[DL_LEVEL].escaped || parts[DL_LOGGER].escaped)
        return OTHERWISE;
    if (!event->ascii) {
        const int printable = is_printable(bytes, length);
        if (printable <= 0)
            return printable < 0 ? RAISED : OTHERWISE;
    }
    put_span(text, &parts[DL_LEVEL]);
    DL_PUT(text, " ");
    put_span(text, &parts[DL_LOGGER]);
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
    return known ? DONE : OTHERWISE;
}

static void put_tag(struct dl_text *text, uint32_t tag)
{
    static const char *const names[] = {"DEBUG ", "INFO ", "WARNING ", "ERROR ", "CRITICAL "};
    if (tag != 0 && tag % 10 == 0 && tag <= 50)
        dl_put(text, names[tag / 10 - 1], strlen(names[tag / 10 - 1]));
    else if (tag != 0) {
        put_named(text, "#", tag);
        DL_PUT(text, " ");
    }
}

/* A record that is text: printable, in lines. */
static enum outcome put_plain(struct dl_text *text, const char *bytes, size_t length)
{
    static const char beginning[] = "{\"time\":";
    if (length >= sizeof beginning - 1 && memcmp(bytes, beginning, sizeof beginning - 1) == 0)
        return OTHERWISE; /* perhaps an event in another spelling */
    bool ascii = true;
    for (size_t i = 0; i < length && ascii; i++)
        ascii = is_shown((unsigned char)bytes[i]) || bytes[i] == '\n' || bytes[i] == '\t';
    if (!ascii) {
        const int printable = is_printable(bytes, length);
        if (printable <= 0)
            return printable < 0 ? RAISED : OTHERWISE;
    }
    size_t said = length;
    const size_t rest = put_first_line(text, bytes, &said);
    put_indented(text, bytes + rest, said - rest);
    return DONE;
}

static enum outcome put_line(Renderer *self, struct dl_text *text, PyObject *record,
                             const struct dl_record *values, const char *bytes)
{
    struct dl_event_text event;
    if (!put_time(self, text, values->time, 6))
        return RAISED;
    DL_PUT(text, " ");
    dl_put(text, PyBytes_AsString(self->first), (size_t)PyBytes_Size(self->first));
    enum outcome outcome = put_label(text, record, values, false);
    dl_put_number(text, values->pid, false);
    DL_PUT(text, " ");
    if (outcome == DONE) {
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

/* ---- records ------------------------------------------------------------------------------------------ */

static bool put_otherwise(Renderer *self, struct dl_text *text, PyObject *record)
{
    char *bytes;
    Py_ssize_t length;
    PyObject *line = PyObject_CallFunctionObjArgs(self->otherwise, record, NULL);
    const bool known = line != NULL && PyBytes_AsStringAndSize(line, &bytes, &length) == 0;
    if (known)
        dl_put(text, bytes, (size_t)length);
    Py_DecRef(line);
    return known;
}

/* One record.  Its bytes are copied first: the memory may be another process's to change. */
static bool put_record(Renderer *self, struct dl_text *text, PyObject *record, const struct dl_record *values)
{
    const size_t before = text->length;
    const char *first = PyBytes_AsString(self->first);
    const size_t first_length = (size_t)PyBytes_Size(self->first);
    if (self->layout == RAW) {
        dl_put(text, (const char *)values->bytes, values->length);
        dl_put(text, first, first_length);
        return true;
    }
    struct dl_text copy;
    dl_text_begin(&copy);
    dl_put(&copy, (const char *)values->bytes, values->length);
    text->failed |= copy.failed;
    enum outcome outcome = OTHERWISE;
    if (!copy.failed && self->layout == JSON) {
        dl_put(text, first, first_length);
        outcome = put_json(self, text, record, values, copy.start);
    } else if (!copy.failed)
        outcome = put_line(self, text, record, values, copy.start);
    dl_text_end(&copy);
    if (outcome != OTHERWISE)
        return outcome == DONE;
    text->length = before;
    return put_otherwise(self, text, record);
}

/* render(records, start): lines of the records of a list from that index on, and the index behind them: of
 * the end, of what is no record, or tells of drops. */
static PyObject *renderer_render(PyObject *self, PyObject *args)
{
    PyObject *records;
    Py_ssize_t at;
    if (!PyArg_ParseTuple(args, "O!n", &PyList_Type, &records, &at))
        return NULL;
    struct dl_text text;
    struct dl_record values;
    bool going = true;
    dl_text_begin(&text);
    dl_text_grow(&text, USUAL);
    while (going && at >= 0 && at < PyList_Size(records) && text.length < ENOUGH) {
        PyObject *record = PyList_GetItem(records, at);
        if (record == NULL || !dl_record_values(record, &values) || values.gap)
            break;
        Py_IncRef(record);
        going = put_record((Renderer *)self, &text, record, &values);
        Py_DecRef(record);
        at++;
    }
    PyObject *bytes = NULL;
    if (text.failed)
        PyErr_NoMemory();
    else if (PyErr_Occurred() == NULL)
        bytes = PyBytes_FromStringAndSize(text.start, (Py_ssize_t)text.length);
    dl_text_end(&text);
    return bytes == NULL ? NULL : Py_BuildValue("(Nn)", bytes, at);
}

static PyObject *renderer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"layout", "first", "clock", "otherwise", NULL};
    int layout;
    PyObject *first, *clock, *otherwise;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iSOO", names, &layout, &first, &clock, &otherwise))
        return NULL;
    if (layout < RAW || layout > TEXT) {
        PyErr_Format(PyExc_ValueError, "no layout has the number %d", layout);
        return NULL;
    }
    Renderer *self = (Renderer *)dl_new_object(type);
    if (self == NULL)
        return NULL;
    Py_IncRef(first);
    Py_IncRef(clock);
    Py_IncRef(otherwise);
    self->layout = layout;
    self->first = first;
    self->clock = clock;
    self->otherwise = otherwise;
    return (PyObject *)self;
}

static void renderer_dealloc(PyObject *self)
{
    Py_DecRef(((Renderer *)self)->first);
    Py_DecRef(((Renderer *)self)->clock);
    Py_DecRef(((Renderer *)self)->otherwise);
    dl_free_object(self);
}

static PyMethodDef renderer_methods[] = {{"render", renderer_render, METH_VARARGS, NULL},
                                         {NULL, NULL, 0, NULL}};
static PyType_Slot renderer_slots[] = {{Py_tp_new, renderer_new},
                                       {Py_tp_dealloc, renderer_dealloc},
                                       {Py_tp_methods, renderer_methods},
                                       {0, NULL}};
static PyType_Spec renderer_spec = {"disklog_mp._core.Renderer", sizeof(Renderer), 0, Py_TPFLAGS_DEFAULT,
                                    renderer_slots};

int dl_add_renderer_type(PyObject *module)
{
    renderer_type = dl_add_type(module, "Renderer", &renderer_spec, NULL);
    return renderer_type == NULL ? -1 : 0;
}
