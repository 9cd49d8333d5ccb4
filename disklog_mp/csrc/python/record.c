/* Record: one record as read back from a page or a ring.  It must not know how frames are walked. */
#include "record.h"

#include <string.h>

#include "../core/frames.h"
#include "json_values.h"
#include "objects.h"

static const char RECORD_NAME[] = "disklog_mp.Record";

typedef struct {
    PyObject_HEAD
    PyObject *owner; /* keeps the memory: a Mapping, or bytes */
    const uint8_t *header;
    uint64_t checked_by; /* see dl_checked_by */
    uint32_t length; /* as it was when checked: the memory itself is not trusted twice */
    uint16_t kind;
    uint16_t tag;
    uint16_t label; /* index, 0: none */
    uint64_t position;
    uint64_t number;
    PyObject *labels; /* its text, or what is called with the index and returns it; NULL: none */
} Record;

static PyTypeObject *record_type;

PyObject *dl_make_record(PyObject *owner, const uint8_t *at, const struct dl_frame *frame, uint64_t position,
                         uint64_t number, PyObject *labels, uint64_t checked_by)
{
    const struct dl_frame_header *header = &frame->header;
    Record *record = (Record *)dl_new_object(record_type);
    if (record == NULL)
        return NULL;
    Py_IncRef(owner);
    record->owner = owner;
    record->header = at;
    record->checked_by = checked_by;
    record->length = header->length;
    record->kind = header->kind;
    record->tag = header->tag;
    record->position = position;
    record->number = number;
    record->label = (uint16_t)frame->label;
    if (frame->label != 0 && labels != NULL) {
        Py_IncRef(labels);
        record->labels = labels;
    }
    return (PyObject *)record;
}

/* Record(data, *, position, number, timestamp, pid, tag, gap, label_index, label): for pickle, for tests. */
static PyObject *record_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)type;
    static char *names[] = {"data", "position", "number",      "timestamp", "pid",
                            "tag",  "gap",      "label_index", "label",     NULL};
    Py_buffer data;
    unsigned long long position = 0, number = 0, timestamp = 0;
    unsigned int pid = 0;
    unsigned short tag = 0, index = 0;
    int gap = 0;
    PyObject *label = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|KKKIHpHO", names, &data, &position, &number,
                                     &timestamp, &pid, &tag, &gap, &index, &label))
        return NULL;
    if (label == Py_None)
        label = NULL;
    if (index > DL_LABEL_MAX || (label != NULL && !PyUnicode_Check(label))) {
        PyErr_SetString(PyExc_ValueError, "not a label, or not a label's index");
        PyBuffer_Release(&data);
        return NULL;
    }
    struct dl_frame_header header = {.length = (uint32_t)data.len,
                                     .time = timestamp,
                                     .pid = pid,
                                     .kind = gap ? DL_GAP : DL_RECORD,
                                     .tag = tag};
    const struct dl_frame frame = {.header = header, .label = index};
    PyObject *record = NULL, *owner = PyBytes_FromStringAndSize(NULL, data.len + DL_FRAME_HEADER);
    if (owner != NULL) {
        char *to = PyBytes_AsString(owner);
        memcpy(to, &header, DL_FRAME_HEADER);
        memcpy(to + DL_FRAME_HEADER, data.buf, (size_t)data.len);
        record = dl_make_record(owner, (const uint8_t *)to, &frame, position, number, label, 0);
        Py_DecRef(owner);
    }
    PyBuffer_Release(&data);
    return record;
}

static void record_dealloc(PyObject *self)
{
    Py_DecRef(((Record *)self)->owner);
    Py_DecRef(((Record *)self)->labels);
    dl_free_object(self);
}

/* What the table says about the index. */
static PyObject *label_text(const Record *record)
{
    PyObject *index = PyLong_FromUnsignedLong(record->label);
    PyObject *text = index == NULL ? NULL : PyObject_CallFunctionObjArgs(record->labels, index, NULL);
    Py_DecRef(index);
    return text;
}

enum record_field { DATA, VIEW, POSITION, NUMBER, TIMESTAMP, PID, TAG, GAP, LABEL_INDEX, LABEL, EVENT, INTACT };
#define RECORD_VALUES 9 /* of a record by value: all fields up to the label, but the view */

static PyObject *record_get(PyObject *self, void *closure)
{
    Record *record = (Record *)self;
    struct dl_frame_header header;
    switch ((enum record_field)(uintptr_t)closure) {
    case DATA:
        return PyBytes_FromStringAndSize((const char *)record->header + DL_FRAME_HEADER, record->length);
    case VIEW: {
        /* A view of the whole owner, cut down: so it keeps the mapping alive by itself. */
        PyObject *whole = PyMemoryView_FromObject(record->owner), *part = NULL;
        Py_buffer buffer;
        if (whole == NULL)
            return NULL;
        if (PyObject_GetBuffer(record->owner, &buffer, PyBUF_SIMPLE) == 0) {
            Py_ssize_t from = (Py_ssize_t)(record->header + DL_FRAME_HEADER - (uint8_t *)buffer.buf);
            PyBuffer_Release(&buffer);
            PyObject *start = PyLong_FromSsize_t(from);
            PyObject *stop = PyLong_FromSsize_t(from + (Py_ssize_t)record->length);
            PyObject *slice = start != NULL && stop != NULL ? PySlice_New(start, stop, NULL) : NULL;
            part = slice != NULL ? PyObject_GetItem(whole, slice) : NULL;
            Py_DecRef(slice);
            Py_DecRef(start);
            Py_DecRef(stop);
        }
        Py_DecRef(whole);
        return part;
    }
    case POSITION:
        return PyLong_FromUnsignedLongLong(record->position);
    case NUMBER:
        return PyLong_FromUnsignedLongLong(record->number);
    case TIMESTAMP:
        memcpy(&header, record->header, DL_FRAME_HEADER);
        return PyLong_FromUnsignedLongLong(header.time);
    case PID:
        memcpy(&header, record->header, DL_FRAME_HEADER);
        return PyLong_FromUnsignedLong(header.pid);
    case TAG:
        return PyLong_FromUnsignedLong(record->tag);
    case GAP:
        return PyBool_FromLong(record->kind == DL_GAP);
    case EVENT:
        return dl_parse_event(record->header + DL_FRAME_HEADER, record->kind == DL_GAP ? 0 : record->length);
    case INTACT:
        return PyBool_FromLong(dl_record_is_intact(self));
    case LABEL_INDEX:
        return PyLong_FromUnsignedLong(record->label);
    case LABEL:
        if (record->labels == NULL)
            Py_RETURN_NONE;
        if (!PyUnicode_Check(record->labels))
            return label_text(record);
        Py_IncRef(record->labels);
        return record->labels;
    }
    Py_RETURN_NONE;
}

bool dl_record_values(PyObject *object, struct dl_record *values)
{
    if (Py_TYPE(object) != record_type)
        return false;
    const Record *record = (const Record *)object;
    struct dl_frame_header header;
    memcpy(&header, record->header, DL_FRAME_HEADER);
    *values = (struct dl_record){.bytes = record->header + DL_FRAME_HEADER,
                                 .frame = record->header - (record->checked_by >> 32),
                                 .length = record->length,
                                 .position = record->position,
                                 .number = record->number,
                                 .time = header.time,
                                 .pid = header.pid,
                                 .tag = record->tag,
                                 .label = record->label,
                                 .gap = record->kind == DL_GAP};
    return true;
}

bool dl_record_is_intact(PyObject *object)
{
    const Record *record = (const Record *)object;
    if (!PyObject_TypeCheck(record->owner, dl_mapping_type))
        return true; /* it has its bytes for itself */
    const Mapping *mapping = (const Mapping *)record->owner;
    const uint64_t before = record->checked_by >> 32;
    const uint8_t *at = record->header - before;
    struct dl_frame frame;
    return dl_frame_check(at, (uint64_t)(mapping->memory + mapping->size - at), record->position - before,
                          (uint32_t)record->checked_by, &frame)
           == DL_FRAME_VALID;
}

PyObject *dl_record_label(PyObject *record) { return record_get(record, (void *)(uintptr_t)LABEL); }

static PyObject *record_tuple(PyObject *self)
{
    PyObject *values = PyTuple_New(RECORD_VALUES);
    for (Py_ssize_t i = 0, at = 0; values != NULL && at < RECORD_VALUES; i++) {
        if (i == VIEW)
            continue;
        PyObject *value = record_get(self, (void *)(uintptr_t)i);
        if (value == NULL) {
            Py_DecRef(values);
            return NULL;
        }
        PyTuple_SetItem(values, at++, value);
    }
    return values;
}

static PyObject *record_reduce(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *values = record_tuple(self);
    return values == NULL ? NULL : Py_BuildValue("(ON)", record_type, values);
}

static PyObject *record_repr(PyObject *self)
{
    PyObject *values = record_tuple(self), *text = NULL;
    PyObject *label = values != NULL ? PyTuple_GetItem(values, LABEL - 1) : NULL;
    if (label != NULL && label != Py_None)
        text = PyUnicode_FromFormat("%s(%R, position=%S, number=%S, timestamp=%S, pid=%S, tag=%S, gap=%S, "
                                    "label=%R)",
                                    "Record", PyTuple_GetItem(values, 0), PyTuple_GetItem(values, 1),
                                    PyTuple_GetItem(values, 2), PyTuple_GetItem(values, 3),
                                    PyTuple_GetItem(values, 4), PyTuple_GetItem(values, 5),
                                    PyTuple_GetItem(values, 6), label);
    else if (values != NULL)
        text = PyUnicode_FromFormat("%s(%R, position=%S, number=%S, timestamp=%S, pid=%S, tag=%S, gap=%S)",
                                    "Record", PyTuple_GetItem(values, 0), PyTuple_GetItem(values, 1),
                                    PyTuple_GetItem(values, 2), PyTuple_GetItem(values, 3),
                                    PyTuple_GetItem(values, 4), PyTuple_GetItem(values, 5),
                                    PyTuple_GetItem(values, 6));
    Py_DecRef(values);
    return text;
}

static PyObject *record_compare(PyObject *self, PyObject *other, int operation)
{
    if (Py_TYPE(other) != record_type || (operation != Py_EQ && operation != Py_NE))
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *left = record_tuple(self), *right = record_tuple(other), *result = NULL;
    if (left != NULL && right != NULL)
        result = PyObject_RichCompare(left, right, operation);
    Py_DecRef(left);
    Py_DecRef(right);
    return result;
}

static Py_hash_t record_hash(PyObject *self) { return (Py_hash_t)(((Record *)self)->position >> 3); }

#define ATTRIBUTE(name, which, text) {name, record_get, NULL, text, (void *)(uintptr_t)(which)}
static PyGetSetDef record_getset[] = {
    ATTRIBUTE("data", DATA, "The record's bytes, a copy."),
    ATTRIBUTE("view", VIEW, "The record's bytes where they are, a memoryview of the mapped page."),
    ATTRIBUTE("position", POSITION, "Its place in the log's total order, in bytes since the log began."),
    ATTRIBUTE("number", NUMBER, "Its ordinal in the log, from 0."),
    ATTRIBUTE("timestamp", TIMESTAMP, "When it was logged, ns since the epoch on the producer's clock."),
    ATTRIBUTE("pid", PID, "The producer's process id, in the producer's pid namespace."),
    ATTRIBUTE("tag", TAG, "The user's number from 0 to 65535; the logging handler puts the level here."),
    ATTRIBUTE("gap", GAP,
              "True if it stands for records that were dropped; data is then JSON with how many and since."),
    ATTRIBUTE("event", EVENT, "What a structured record says, an Event; None for every other."),
    ATTRIBUTE("label_index", LABEL_INDEX, "The index of the producer's label in the log's table, 0: none."),
    ATTRIBUTE("label", LABEL, "The producer's label, None if it has none."),
    ATTRIBUTE("intact", INTACT, "False if its page file was cut or overwritten since it was read."),
    {NULL, NULL, NULL, NULL, NULL}};

static PyMethodDef record_methods[] = {{"__reduce__", record_reduce, METH_NOARGS, NULL},
                                       {NULL, NULL, 0, NULL}};

PyDoc_STRVAR(record_doc, "One record as read back from a page.  Immutable; pickles by value.");
static PyType_Slot record_slots[] = {{Py_tp_new, record_new},
                                     {Py_tp_dealloc, record_dealloc},
                                     {Py_tp_getset, record_getset},
                                     {Py_tp_methods, record_methods},
                                     {Py_tp_repr, record_repr},
                                     {Py_tp_richcompare, record_compare},
                                     {Py_tp_hash, record_hash},
                                     {Py_tp_doc, (void *)record_doc},
                                     {0, NULL}};
static PyType_Spec record_spec = {RECORD_NAME, sizeof(Record), 0, Py_TPFLAGS_DEFAULT, record_slots};

int dl_add_record_type(PyObject *module)
{
    record_type = dl_add_type(module, "Record", &record_spec, NULL);
    return record_type == NULL ? -1 : 0;
}
