/* Renderer: records as lines of text, JSON or raw bytes, many at a time and without an object for each part.
 *
 * It knows the spelling of our own encoder.  A record in any other, with escapes that are not for a terminal,
 * or with a character that cannot be printed is rendered by the Python function that was handed in: that one
 * defines the formats, see cli/records/_formats.py.
 */
#include "render.h"

#include <stdlib.h>
#include <string.h>

#include "render_lines.h"

#define ENOUGH (1u << 20) /* bytes of one call */
#define USUAL (64u << 10)

enum layout { RAW, JSON, TEXT, LOGFMT, TEMPLATE };

static PyTypeObject *renderer_type;

/* ---- parts of a line ---------------------------------------------------------------------------------- */

static void put_padded(struct dl_text *text, uint32_t number, int digits)
{
    char shown[9];
    for (int i = digits; i-- > 0; number /= 10)
        shown[i] = (char)('0' + number % 10);
    dl_put(text, shown, (size_t)digits);
}

/* The text of a second, from Python, which knows about zones. */
static const struct dl_second *look_up(Renderer *self, uint64_t second)
{
    struct dl_second *kept = &self->seconds[second % DL_SECONDS];
    if (kept->length != 0 && kept->second == second)
        return kept;
    PyObject *number = PyLong_FromUnsignedLongLong(second);
    PyObject *said = number == NULL ? NULL : PyObject_CallFunctionObjArgs(self->clock, number, NULL);
    Py_ssize_t length = 0;
    const char *bytes = said == NULL ? NULL : PyUnicode_AsUTF8AndSize(said, &length);
    Py_DecRef(number);
    if (bytes != NULL && (length < 19 || length > (Py_ssize_t)DL_LONGEST_SECOND)) {
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

bool dl_put_time(Renderer *self, struct dl_text *text, uint64_t time, int digits)
{
    const struct dl_second *second = look_up(self, time / 1000000000u);
    if (second == NULL)
        return false;
    dl_put(text, second->text, 19);
    DL_PUT(text, ".");
    put_padded(text, (uint32_t)(time % 1000000000u / (digits == 6 ? 1000u : 1u)), digits);
    dl_put(text, second->text + 19, second->length - 19u);
    return true;
}

static bool is_shown_ascii(const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!dl_is_shown(bytes[i]))
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

enum dl_outcome dl_as_it_is(const char *bytes, size_t length, bool ascii)
{
    const int printable = ascii ? 1 : is_printable(bytes, length);
    return printable > 0 ? DL_DONE : printable == 0 ? DL_OTHERWISE : DL_RAISED;
}

enum dl_outcome dl_put_label(struct dl_text *text, PyObject *record, const struct dl_record *values,
                             const char *before, const char *after, enum dl_style style)
{
    if (values->label == 0)
        return DL_DONE;
    enum dl_outcome outcome = DL_DONE;
    PyObject *label = dl_record_label(record);
    if (label == NULL)
        return DL_RAISED;
    if (label != Py_None) {
        Py_ssize_t length = 0;
        const char *bytes = PyUnicode_AsUTF8AndSize(label, &length);
        if (bytes == NULL)
            PyErr_Clear();
        const struct dl_span span = {.start = bytes, .length = (size_t)length};
        if (bytes == NULL || !is_shown_ascii(bytes, span.length) || (style == DL_BARE && !dl_is_bare(&span)))
            outcome = DL_OTHERWISE;
        else {
            dl_put(text, before, strlen(before));
            if (style == DL_QUOTED)
                dl_put_quoted(text, bytes, span.length);
            else
                dl_put_span(text, &span);
            dl_put(text, after, strlen(after));
        }
    }
    Py_DecRef(label);
    return outcome;
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

/* What a record says.  A text that is not printable has to be escaped in full. */
static enum dl_outcome put_content(struct dl_text *text, const char *bytes, size_t length)
{
    struct dl_event_text event;
    const bool structured = dl_read_event(bytes, length, &event);
    if (!structured && dl_may_be_event(bytes, length))
        return DL_OTHERWISE;
    bool ascii = !structured || event.ascii;
    for (size_t i = 0; !structured && i < length && ascii; i++)
        ascii = (unsigned char)bytes[i] < 0x7f;
    const enum dl_outcome outcome = dl_as_it_is(bytes, length, ascii);
    if (outcome != DL_DONE)
        return outcome;
    if (structured) {
        DL_PUT(text, ", \"event\": ");
        dl_put(text, bytes, length);
    } else {
        DL_PUT(text, ", \"data\": ");
        dl_put_quoted(text, bytes, length);
    }
    return DL_DONE;
}

static enum dl_outcome put_json(Renderer *self, struct dl_text *text, PyObject *record,
                             const struct dl_record *values, const char *bytes)
{
    dl_put_named(text, "\"number\": ", values->number);
    dl_put_named(text, ", \"position\": ", values->position);
    DL_PUT(text, ", \"time\": \"");
    if (!dl_put_time(self, text, values->time, 9))
        return DL_RAISED;
    dl_put_named(text, "\", \"time_ns\": ", values->time);
    dl_put_named(text, ", \"pid\": ", values->pid);
    dl_put_named(text, ", \"tag\": ", values->tag);
    enum dl_outcome outcome = dl_put_label(text, record, values, ", \"label\": ", "", DL_QUOTED);
    if (outcome == DL_DONE)
        outcome = put_content(text, bytes, values->length);
    DL_PUT(text, "}\n");
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
    enum dl_outcome outcome = DL_OTHERWISE;
    if (!copy.failed) {
        switch ((enum layout)self->layout) {
        case RAW:
        case JSON:
            dl_put(text, first, first_length);
            outcome = put_json(self, text, record, values, copy.start);
            break;
        case TEXT:
            outcome = dl_put_text_line(self, text, record, values, copy.start);
            break;
        case LOGFMT:
            outcome = dl_put_logfmt(self, text, record, values, copy.start);
            break;
        case TEMPLATE:
            outcome = dl_put_template(self, text, record, values, copy.start);
            break;
        }
    }
    dl_text_end(&copy);
    if (outcome != DL_OTHERWISE)
        return outcome == DL_DONE;
    text->length = before;
    return put_otherwise(self, text, record);
}

/* Records of one frame that were rendered, and whose frame must still be what it was. */
struct run {
    PyObject *record; /* the first of them; NULL: none */
    const uint8_t *frame;
    size_t length; /* of the text before them */
    Py_ssize_t at;
};

/* True if what was read of these records is what the log holds: a file that was cut stays cut. */
static bool leave_run(struct run *run)
{
    const bool intact = run->record == NULL || dl_record_is_intact(run->record);
    if (intact) {
        Py_DecRef(run->record);
        run->record = NULL;
    }
    return intact;
}

static void begin_run(struct run *run, PyObject *record, const uint8_t *frame, size_t length, Py_ssize_t at)
{
    if (run->record != NULL)
        return;
    Py_IncRef(record);
    *run = (struct run){record, frame, length, at};
}

/* render(records, start): lines of the records of a list from that index on, and the index behind them: of
 * the end, of what is no record, or tells of drops, or is not intact. */
static PyObject *renderer_render(PyObject *self, PyObject *args)
{
    PyObject *records;
    Py_ssize_t at;
    if (!PyArg_ParseTuple(args, "O!n", &PyList_Type, &records, &at))
        return NULL;
    struct dl_text text;
    struct dl_record values;
    struct run run = {NULL, NULL, 0, 0};
    bool going = true;
    dl_text_begin(&text);
    dl_text_grow(&text, USUAL);
    while (going && at >= 0 && at < PyList_Size(records) && text.length < ENOUGH) {
        PyObject *record = PyList_GetItem(records, at);
        if (record == NULL || !dl_record_values(record, &values) || values.gap)
            break;
        if (values.frame != run.frame && !leave_run(&run))
            break;
        begin_run(&run, record, values.frame, text.length, at);
        Py_IncRef(record);
        going = put_record((Renderer *)self, &text, record, &values);
        Py_DecRef(record);
        at++;
    }
    if (going && !leave_run(&run)) {
        text.length = run.length;
        at = run.at;
    }
    Py_DecRef(run.record);
    PyObject *bytes = NULL;
    if (text.failed)
        PyErr_NoMemory();
    else if (PyErr_Occurred() == NULL)
        bytes = PyBytes_FromStringAndSize(text.start, (Py_ssize_t)text.length);
    dl_text_end(&text);
    return bytes == NULL ? NULL : Py_BuildValue("(Nn)", bytes, at);
}

/* (token, bytes, bytes) of each piece of a template. */
static int parse_pieces(Renderer *self, PyObject *pieces)
{
    const Py_ssize_t count = PyTuple_Size(pieces);
    self->pieces = calloc((size_t)count + 1, sizeof *self->pieces);
    if (self->pieces == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    Py_IncRef(pieces);
    self->template = pieces;
    for (Py_ssize_t i = 0; i < count; i++) {
        struct dl_piece *piece = &self->pieces[i];
        const char *bytes, *otherwise;
        Py_ssize_t length, otherwise_length;
        if (!PyArg_ParseTuple(PyTuple_GetItem(pieces, i), "Cy#y#", &piece->token, &bytes, &length, &otherwise,
                              &otherwise_length))
            return -1;
        piece->bytes = (struct dl_span){.start = bytes, .length = (size_t)length};
        piece->otherwise = (struct dl_span){.start = otherwise, .length = (size_t)otherwise_length};
    }
    self->piece_count = (size_t)count;
    return 0;
}

static PyObject *renderer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"layout", "first", "clock", "otherwise", "pieces", NULL};
    int layout;
    PyObject *first, *clock, *otherwise, *pieces = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iSOO|O!", names, &layout, &first, &clock, &otherwise,
                                     &PyTuple_Type, &pieces))
        return NULL;
    if (layout < RAW || layout > TEMPLATE) {
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
    if (pieces != NULL && parse_pieces(self, pieces) != 0) {
        Py_DecRef((PyObject *)self);
        return NULL;
    }
    return (PyObject *)self;
}

static void renderer_dealloc(PyObject *self)
{
    Py_DecRef(((Renderer *)self)->first);
    Py_DecRef(((Renderer *)self)->clock);
    Py_DecRef(((Renderer *)self)->otherwise);
    Py_DecRef(((Renderer *)self)->template);
    free(((Renderer *)self)->pieces);
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
