/* Columns: what records say, as the buffers of Arrow's arrays, many records at a time and without an object
 * for each value: bits that tell which rows have a value, where each text ends, and the values.
 *
 * It knows the spelling of our own encoder.  Of a record in any other, with \u escapes, or with bytes that
 * are no UTF-8, the Python function that was handed in returns the values: that one defines what the columns
 * mean, see _reader/columns.py.
 */
#include "columns.h"

#include <stdlib.h>
#include <string.h>

#include "column.h"
#include "record.h"

#define KNOWN 11 /* columns of text that there are always: the event's parts, and the bytes in base64 */
#define BASE64 DL_PARTS
#define ENOUGH (32u << 20) /* bytes of a column: an end of a text is a number of 32 bits */
#define MOST_COLUMNS 256 /* fields that have one of their own */

enum fixed { NUMBER, POSITION, TIME, PID, TAG, LABEL, FIXED };

typedef struct {
    PyObject_HEAD
    PyObject *fields; /* keeps the names */
    PyObject *passed; /* tuple of bytes: levels whose records are left out */
    PyObject *otherwise;
    struct dl_column *columns;
    Py_ssize_t count, rows;
    size_t longest; /* bytes of the longest column */
    struct dl_text fixed[FIXED], copy;
    bool is_busy; /* the Python function is called: it must not come back here */
} Columns;

static PyTypeObject *columns_type;

/* ---- rows --------------------------------------------------------------------------------------------- */

static void begin_row(Columns *self)
{
    for (Py_ssize_t i = 0; i < self->count; i++)
        dl_column_begin_row(&self->columns[i]);
}

static void end_row(Columns *self, const struct dl_record *values)
{
    for (Py_ssize_t i = 0; i < self->count; i++) {
        dl_column_end_row(&self->columns[i], (size_t)self->rows);
        if (self->columns[i].mark > self->longest)
            self->longest = self->columns[i].mark;
    }
    const uint64_t time = values->time > INT64_MAX ? INT64_MAX : values->time;
    dl_put(&self->fixed[NUMBER], (const char *)&values->number, 8);
    dl_put(&self->fixed[POSITION], (const char *)&values->position, 8);
    dl_put(&self->fixed[TIME], (const char *)&time, 8);
    dl_put(&self->fixed[PID], (const char *)&values->pid, 4);
    dl_put(&self->fixed[TAG], (const char *)&values->tag, 2);
    dl_put(&self->fixed[LABEL], (const char *)&values->label, 2);
    self->rows++;
}

static bool is_utf8(const char *bytes, size_t length)
{
    PyObject *data = PyBytes_FromStringAndSize(bytes, (Py_ssize_t)length);
    PyObject *text = data == NULL ? NULL : PyObject_CallMethod(data, "decode", NULL);
    const bool known = text != NULL;
    if (!known)
        PyErr_Clear(); /* the Python function meets it once more */
    Py_DecRef(data);
    Py_DecRef(text);
    return known;
}

/* ---- records ------------------------------------------------------------------------------------------ */

static enum dl_outcome put_event(Columns *self, const struct dl_event_text *event)
{
    for (int part = 0; part < DL_PARTS; part++) {
        const struct dl_span *span = &event->parts[part];
        if (span->start == NULL)
            continue;
        if (part == DL_FIELDS) {
            const enum dl_outcome outcome = dl_columns_put_fields(
                self->columns + KNOWN, (size_t)(self->count - KNOWN), &self->columns[DL_FIELDS], span);
            if (outcome != DL_DONE)
                return outcome;
        } else if (!dl_column_put_string(&self->columns[part], span))
            return DL_OTHERWISE;
    }
    return DL_DONE;
}

/* A record that is text: its level is the tag, if that is one. */
static void put_plain(Columns *self, const char *bytes, const struct dl_record *values)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"};
    if (values->tag != 0 && values->tag % 10 == 0 && values->tag <= 50) {
        const char *name = names[values->tag / 10 - 1];
        dl_put_value(&self->columns[DL_LEVEL], name, strlen(name));
    }
    dl_put_value(&self->columns[DL_MESSAGE], bytes, values->length);
}

static enum dl_outcome put_content(Columns *self, const struct dl_record *values, const char *bytes)
{
    static const char beginning[] = "{\"time\":";
    struct dl_event_text event;
    bool ascii = true;
    const bool is_event = dl_read_event(bytes, values->length, &event);
    if (is_event)
        ascii = event.ascii;
    else if (values->length >= sizeof beginning - 1 && memcmp(bytes, beginning, sizeof beginning - 1) == 0)
        return DL_OTHERWISE; /* perhaps an event in another spelling */
    for (size_t i = 0; !is_event && i < values->length && ascii; i++)
        ascii = (unsigned char)bytes[i] < 0x80;
    if (!ascii && !is_utf8(bytes, values->length))
        return DL_OTHERWISE;
    if (is_event)
        return put_event(self, &event);
    put_plain(self, bytes, values);
    return DL_DONE;
}

/* One value that Python returned: None, or of the column's type. */
static bool put_object(struct dl_column *column, PyObject *value)
{
    Py_ssize_t length;
    int overflow = 0;
    double real;
    const char *bytes;
    if (value == Py_None)
        return true;
    switch (column->kind) {
    case DL_TEXT:
        bytes = PyUnicode_AsUTF8AndSize(value, &length);
        if (bytes != NULL)
            dl_put_value(column, bytes, (size_t)length);
        return bytes != NULL;
    case DL_INTEGER:
        column->number = (uint64_t)PyLong_AsLongLongAndOverflow(value, &overflow);
        break;
    case DL_REAL:
        real = PyFloat_AsDouble(value);
        memcpy(&column->number, &real, sizeof real);
        break;
    case DL_TRUTH:
        column->number = value == Py_True;
        break;
    }
    column->has_value = overflow == 0;
    return PyErr_Occurred() == NULL;
}

static enum dl_outcome put_otherwise(Columns *self, PyObject *record)
{
    begin_row(self);
    self->is_busy = true;
    PyObject *values = PyObject_CallFunctionObjArgs(self->otherwise, record, NULL);
    self->is_busy = false;
    bool known = values != NULL;
    if (known && (Py_TYPE(values) != &PyTuple_Type || PyTuple_Size(values) != self->count)) {
        PyErr_SetString(PyExc_TypeError, "not a tuple of as many values as there are columns");
        known = false;
    }
    for (Py_ssize_t i = 0; known && i < self->count; i++)
        known = put_object(&self->columns[i], PyTuple_GetItem(values, i));
    Py_DecRef(values);
    return known ? DL_DONE : DL_RAISED;
}

static bool is_passed(const Columns *self)
{
    const struct dl_column *level = &self->columns[DL_LEVEL];
    const size_t length = level->data.length - level->mark;
    for (Py_ssize_t i = 0; level->has_value && i < PyTuple_Size(self->passed); i++) {
        PyObject *name = PyTuple_GetItem(self->passed, i);
        if ((size_t)PyBytes_Size(name) == length
            && memcmp(PyBytes_AsString(name), level->data.start + level->mark, length) == 0)
            return true;
    }
    return false;
}

/* One record.  Its bytes are copied first: the memory may be another process's to change. */
static bool put_record(Columns *self, PyObject *record, const struct dl_record *values)
{
    self->copy.length = 0;
    dl_put(&self->copy, (const char *)values->bytes, values->length);
    DL_PUT(&self->copy, "\0"); /* a number at the end is not read beyond it */
    if (self->copy.failed)
        return PyErr_NoMemory() != NULL;
    begin_row(self);
    enum dl_outcome outcome = put_content(self, values, self->copy.start);
    if (outcome == DL_OTHERWISE)
        outcome = put_otherwise(self, record);
    if (outcome == DL_DONE && !is_passed(self))
        end_row(self, values);
    return outcome == DL_DONE;
}



/* The records of a list from that index on.  It stops at so many rows, when a column is full, at what is no
 * record and at what tells of drops, and returns the index where it stopped. */
static PyObject *columns_add(PyObject *object, PyObject *args)
{
    Columns *self = (Columns *)object;
    PyObject *records;
    Py_ssize_t at, rows;
    struct dl_record values;
    if (!PyArg_ParseTuple(args, "O!nn", &PyList_Type, &records, &at, &rows))
        return NULL;
    if (self->is_busy || at < 0) {
        PyErr_SetString(PyExc_RuntimeError, "columns are busy, or the index is negative");
        return NULL;
    }
    bool going = true;
    while (going && at < PyList_Size(records) && self->rows < rows
           && self->longest < ENOUGH) {
        PyObject *record = PyList_GetItem(records, at);
        if (record == NULL || !dl_record_values(record, &values) || values.gap)
            break;
        Py_IncRef(record);
        going = put_record(self, record, &values);
        Py_DecRef(record);
        at++;
    }
    return PyErr_Occurred() != NULL ? NULL : PyLong_FromSsize_t(at);
}

/* ---- buffers ------------------------------------------------------------------------------------------ */

static PyObject *taken(struct dl_text *text)
{
    PyObject *bytes = text->failed ? PyErr_NoMemory()
                                   : PyBytes_FromStringAndSize(text->start, (Py_ssize_t)text->length);
    text->length = 0;
    return bytes;
}

static void begin_batch(Columns *self)
{
    self->rows = 0;
    self->longest = 0;
    for (Py_ssize_t i = 0; i < self->count; i++)
        dl_column_begin_batch(&self->columns[i]);
    for (int i = 0; i < FIXED; i++)
        self->fixed[i].length = 0;
}

/* take(): rows, the buffers of the columns of numbers that all records have, and of each other column the
 * bits, the ends of its texts (or None), the values. */
static PyObject *columns_take(PyObject *object, PyObject *unused)
{
    (void)unused;
    Columns *self = (Columns *)object;
    PyObject *fixed = PyTuple_New(FIXED), *others = PyTuple_New(self->count);
    bool known = fixed != NULL && others != NULL && !self->is_busy;
    for (int i = 0; known && i < FIXED; i++) {
        PyObject *bytes = taken(&self->fixed[i]);
        known = bytes != NULL && PyTuple_SetItem(fixed, i, bytes) == 0;
    }
    for (Py_ssize_t i = 0; known && i < self->count; i++) {
        struct dl_column *column = &self->columns[i];
        column->data.length = column->mark; /* without what a record that was left out had begun */
        PyObject *bits = taken(&column->bits);
        PyObject *ends = column->kind == DL_TEXT ? taken(&column->ends) : Py_BuildValue("");
        PyObject *data = taken(&column->data);
        PyObject *three = bits == NULL || ends == NULL || data == NULL
                              ? NULL
                              : Py_BuildValue("(OOO)", bits, ends, data);
        Py_DecRef(bits);
        Py_DecRef(ends);
        Py_DecRef(data);
        known = three != NULL && PyTuple_SetItem(others, i, three) == 0;
    }
    PyObject *result = known ? Py_BuildValue("(nOO)", self->rows, fixed, others) : NULL;
    Py_DecRef(fixed);
    Py_DecRef(others);
    if (!self->is_busy)
        begin_batch(self);
    else if (PyErr_Occurred() == NULL)
        PyErr_SetString(PyExc_RuntimeError, "columns are busy");
    return result;
}

static PyObject *get_rows(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSsize_t(((Columns *)self)->rows);
}

static PyObject *get_bytes(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(((Columns *)self)->longest);
}

/* ---- the type ----------------------------------------------------------------------------------------- */

/* True if these are the columns (name, kind) of fields, and names of levels. */
static bool are_columns(PyObject *fields, PyObject *passed)
{
    const char *name;
    Py_ssize_t length;
    int kind;
    for (Py_ssize_t i = 0; i < PyTuple_Size(fields); i++) {
        if (!PyArg_ParseTuple(PyTuple_GetItem(fields, i), "y#i", &name, &length, &kind))
            return false;
        if (kind < DL_TEXT || kind > DL_TRUTH || PyTuple_Size(fields) > MOST_COLUMNS) {
            PyErr_Format(PyExc_ValueError, "no kind %d, or more than %d columns", kind, MOST_COLUMNS);
            return false;
        }
    }
    for (Py_ssize_t i = 0; i < PyTuple_Size(passed); i++)
        if (PyBytes_Size(PyTuple_GetItem(passed, i)) < 0)
            return false;
    return true;
}

static PyObject *columns_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fields", "otherwise", "passed", NULL};
    PyObject *fields, *otherwise, *passed;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OO!", names, &PyTuple_Type, &fields, &otherwise,
                                     &PyTuple_Type, &passed)
        || !are_columns(fields, passed))
        return NULL;
    Columns *self = (Columns *)dl_new_object(type);
    const size_t count = KNOWN + (size_t)PyTuple_Size(fields);
    struct dl_column *columns = self == NULL ? NULL : calloc(count, sizeof *columns);
    if (columns == NULL) {
        Py_DecRef((PyObject *)self);
        return self == NULL ? NULL : PyErr_NoMemory();
    }
    self->columns = columns;
    self->count = (Py_ssize_t)count;
    Py_IncRef(self->fields = fields);
    Py_IncRef(self->passed = passed);
    Py_IncRef(self->otherwise = otherwise);
    for (Py_ssize_t i = 0; i < self->count; i++) {
        struct dl_column *column = &columns[i];
        dl_text_begin(&column->data);
        dl_text_begin(&column->ends);
        dl_text_begin(&column->bits);
        Py_ssize_t length;
        int kind = DL_TEXT;
        if (i >= KNOWN) {
            PyArg_ParseTuple(PyTuple_GetItem(fields, i - KNOWN), "y#i", &column->name, &length, &kind);
            column->name_length = (size_t)length;
        }
        column->kind = (enum dl_column_kind)kind;
    }
    for (int i = 0; i < FIXED; i++)
        dl_text_begin(&self->fixed[i]);
    dl_text_begin(&self->copy);
    begin_batch(self);
    return (PyObject *)self;
}

static void columns_dealloc(PyObject *object)
{
    Columns *self = (Columns *)object;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        dl_text_end(&self->columns[i].data);
        dl_text_end(&self->columns[i].ends);
        dl_text_end(&self->columns[i].bits);
    }
    for (int i = 0; i < FIXED && self->columns != NULL; i++)
        dl_text_end(&self->fixed[i]);
    if (self->columns != NULL)
        dl_text_end(&self->copy);
    free(self->columns);
    Py_DecRef(self->fields);
    Py_DecRef(self->passed);
    Py_DecRef(self->otherwise);
    dl_free_object(object);
}

static PyMethodDef columns_methods[] = {{"add", columns_add, METH_VARARGS, NULL},
                                        {"take", columns_take, METH_NOARGS, NULL},
                                        {NULL, NULL, 0, NULL}};
static PyGetSetDef columns_getset[] = {{"rows", get_rows, NULL, NULL, NULL},
                                       {"bytes", get_bytes, NULL, NULL, NULL},
                                       {NULL, NULL, NULL, NULL, NULL}};
static PyType_Slot columns_slots[] = {{Py_tp_new, columns_new},
                                      {Py_tp_dealloc, columns_dealloc},
                                      {Py_tp_methods, columns_methods},
                                      {Py_tp_getset, columns_getset},
                                      {0, NULL}};
static PyType_Spec columns_spec = {"disklog_mp._core.Columns", sizeof(Columns), 0, Py_TPFLAGS_DEFAULT,
                                   columns_slots};

int dl_add_columns_type(PyObject *module)
{
    columns_type = dl_add_type(module, "Columns", &columns_spec, NULL);
    return columns_type == NULL ? -1 : 0;
}
