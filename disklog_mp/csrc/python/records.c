/* Record and Frames: pages as Python objects, each record made when it is asked for. */
#include "records.h"

#include <stdlib.h>
#include <string.h>

#include "../core/crc32c.h"
#include "../core/frames.h"
#include "objects.h"

static const char RECORD_NAME[] = "disklog_mp.Record";

/* ---- Record ----------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *owner; /* keeps the memory: a Mapping, or bytes */
    const uint8_t *header;
    uint32_t length; /* as it was when checked: the memory itself is not trusted twice */
    uint16_t kind;
    uint16_t tag;
    uint64_t position;
    uint64_t number;
} Record;

static PyTypeObject *record_type;

static PyObject *make_record(PyTypeObject *type, PyObject *owner, const uint8_t *at,
                             const struct dl_frame_header *header, uint64_t position, uint64_t number)
{
    Record *record = (Record *)dl_new_object(type);
    if (record == NULL)
        return NULL;
    Py_IncRef(owner);
    record->owner = owner;
    record->header = at;
    record->length = header->length;
    record->kind = header->kind;
    record->tag = header->tag;
    record->position = position;
    record->number = number;
    return (PyObject *)record;
}

/* Record(data, *, position, number, timestamp, pid, tag, gap): for pickle, and for tests. */
static PyObject *record_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"data", "position", "number", "timestamp", "pid", "tag", "gap", NULL};
    Py_buffer data;
    unsigned long long position = 0, number = 0, timestamp = 0;
    unsigned int pid = 0;
    unsigned short tag = 0;
    int gap = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|KKKIHp", names, &data, &position, &number,
                                     &timestamp, &pid, &tag, &gap))
        return NULL;
    struct dl_frame_header header = {.length = (uint32_t)data.len,
                                     .time = timestamp,
                                     .pid = pid,
                                     .kind = gap ? DL_GAP : DL_RECORD,
                                     .tag = tag};
    PyObject *record = NULL, *owner = PyBytes_FromStringAndSize(NULL, data.len + DL_FRAME_HEADER);
    if (owner != NULL) {
        char *to = PyBytes_AsString(owner);
        memcpy(to, &header, DL_FRAME_HEADER);
        memcpy(to + DL_FRAME_HEADER, data.buf, (size_t)data.len);
        record = make_record(type, owner, (const uint8_t *)to, &header, position, number);
        Py_DecRef(owner);
    }
    PyBuffer_Release(&data);
    return record;
}

static void record_dealloc(PyObject *self)
{
    Py_DecRef(((Record *)self)->owner);
    dl_free_object(self);
}

enum record_field { DATA, VIEW, POSITION, NUMBER, TIMESTAMP, PID, TAG, GAP };

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
    }
    Py_RETURN_NONE;
}

static PyObject *record_tuple(PyObject *self)
{
    PyObject *values = PyTuple_New(7);
    for (Py_ssize_t i = 0, at = 0; values != NULL && at < 7; i++) {
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
    if (values != NULL)
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

static PyStructSequence_Field range_fields[] = {
    {"offset", NULL}, {"length", NULL}, {"found", NULL}, {"expected", NULL}, {"records", NULL}, {NULL, NULL}};
static PyStructSequence_Desc range_description = {"disklog_mp._core.DamagedRange", NULL, range_fields, 5};
static PyStructSequence_Field census_fields[] = {
    {"records", NULL},       {"frames", NULL}, {"abandoned", NULL}, {"corrupt_ranges", NULL},
    {"corrupt_bytes", NULL}, {"end", NULL},    {"last_time", NULL}, {"data_crc", NULL},
    {NULL, NULL}};
static PyStructSequence_Desc census_description = {"disklog_mp._core.Census", NULL, census_fields, 8};
static PyTypeObject *range_type, *census_type; /* set once, when the module is imported */

/* ---- Frames ----------------------------------------------------------------------------------------- */

/* An iterator over the records of a page, from an offset to an end that may be moved on.  What it cannot
 * read it notes in `damage` and goes on at the next valid frame. */
typedef struct {
    PyObject_HEAD
    PyObject *mapping;
    uint64_t offset; /* of the next frame */
    uint64_t end;
    uint64_t origin; /* position - offset, the same for the whole page */
    uint64_t number; /* of the next record */
    uint64_t records; /* number behind the page's last record, ~0: not known yet */
    uint32_t seed;
    int payloads; /* give bytes, not Records */
    PyObject *damage; /* a list of DamagedRange */
    /* inside a group */
    uint64_t group_offset, group_length; /* next inner frame; 0 length: not inside */
    const uint8_t *group;
    uint64_t group_position;
} Frames;

static PyObject *frames_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"mapping", "offset", "end", "position", "number",
                            "salt",    "records", "payloads", NULL};
    PyObject *mapping;
    unsigned long long offset, end, position, number, salt, records = ~0ull;
    int payloads = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!KKKKK|Kp", names, dl_mapping_type, &mapping, &offset,
                                     &end, &position, &number, &salt, &records, &payloads))
        return NULL;
    if (offset > end || end > ((Mapping *)mapping)->size || offset % DL_GRANULE != 0) {
        PyErr_Format(PyExc_ValueError, "frames from %llu to %llu are not inside a mapping of %zu bytes",
                     offset, end, ((Mapping *)mapping)->size);
        return NULL;
    }
    Frames *frames = (Frames *)dl_new_object(type);
    if (frames == NULL)
        return NULL;
    Py_IncRef(mapping);
    frames->mapping = mapping;
    frames->offset = offset;
    frames->end = end;
    frames->origin = position - offset;
    frames->number = number;
    frames->records = records;
    frames->seed = dl_frame_seed(salt);
    frames->payloads = payloads;
    frames->damage = PyList_New(0);
    if (frames->damage == NULL) {
        Py_DecRef((PyObject *)frames);
        return NULL;
    }
    return (PyObject *)frames;
}

static void frames_dealloc(PyObject *self)
{
    Py_DecRef(((Frames *)self)->mapping);
    Py_DecRef(((Frames *)self)->damage);
    dl_free_object(self);
}

/* How many records stood in a damaged range: exact if the page is sealed and the rest of it is whole, or
 * if the damaged frame's header still leads to the next valid one; else 1 at the least.  What is behind
 * the range is read up to the next damage only, or many damages would cost their square. */
static uint64_t records_lost(const Frames *frames, const uint8_t *at, const struct dl_frame *frame,
                             uint64_t distance)
{
    if (frames->records != ~0ull) {
        struct dl_frame next;
        uint64_t offset = distance, room = frames->end - frames->offset, records = 0;
        uint64_t position = frames->origin + frames->offset;
        while (offset < room
               && dl_frame_check(at + offset, room - offset, position + offset, frames->seed, &next)
                      == DL_FRAME_VALID) {
            records += dl_frame_records(&next);
            offset += next.span;
        }
        if (offset >= room && frames->records >= frames->number + records)
            return frames->records - frames->number - records;
    }
    if (frame->span == distance && frame->header.kind == DL_GROUP
        && frame->header.length <= distance - DL_FRAME_HEADER) {
        uint32_t inner = dl_group_count(frame->bytes, frame->header.length);
        return inner != 0 ? inner : 1;
    }
    return frame->span == distance && dl_frame_records(frame) == 0 ? 0 : 1;
}

/* The next valid frame at or behind the offset.  1 found, 0 the end, -1 an exception. */
static int next_frame(Frames *frames, struct dl_frame *frame)
{
    const Mapping *mapping = (Mapping *)frames->mapping;
    while (frames->offset < frames->end && frames->end <= mapping->size) {
        const uint8_t *at = mapping->memory + frames->offset;
        uint64_t room = frames->end - frames->offset, position = frames->origin + frames->offset;
        if (dl_frame_check(at, room, position, frames->seed, frame) == DL_FRAME_VALID)
            return 1;
        uint64_t distance = dl_frame_find(at, room, position, frames->seed);
        uint64_t lost = distance < room ? records_lost(frames, at, frame, distance)
                        : frames->records != ~0ull && frames->records > frames->number
                            ? frames->records - frames->number
                            : 0;
        const uint64_t values[] = {frames->offset, distance, frame->found, frame->expected, lost};
        PyObject *range = dl_make_result(range_type, values, 5);
        if (range == NULL || PyList_Append(frames->damage, range) != 0) {
            Py_DecRef(range);
            return -1;
        }
        Py_DecRef(range);
        frames->number += lost;
        frames->offset += distance;
    }
    return 0;
}

static PyObject *give(Frames *frames, const struct dl_frame *frame, uint64_t position)
{
    uint64_t number = frames->number++;
    if (frames->payloads)
        return PyBytes_FromStringAndSize((const char *)frame->bytes, frame->header.length);
    return make_record(record_type, frames->mapping, frame->bytes - DL_FRAME_HEADER, &frame->header,
                       position, number);
}

static PyObject *frames_next(PyObject *self)
{
    Frames *frames = (Frames *)self;
    struct dl_frame frame;
    for (;;) {
        if (frames->group_length != 0) {
            uint64_t at = frames->group_offset;
            if (dl_group_next(frames->group, frames->group_length, &frames->group_offset, &frame))
                return give(frames, &frame, frames->group_position + DL_FRAME_HEADER + at);
            frames->group_length = 0;
        }
        if (next_frame(frames, &frame) <= 0)
            return NULL;
        uint64_t position = frames->origin + frames->offset;
        frames->offset += frame.span;
        if (frame.header.kind == DL_RECORD || frame.header.kind == DL_GAP)
            return give(frames, &frame, position);
        if (frame.header.kind == DL_GROUP) {
            frames->group = frame.bytes;
            frames->group_length = frame.header.length;
            frames->group_offset = DL_GROUP_HEADER;
            frames->group_position = position;
        }
    }
}

static PyObject *frames_self(PyObject *self)
{
    Py_IncRef(self);
    return self;
}

/* Go on to the frame that holds the record of that number, or of that position; records before it inside
 * a group are passed over too. */
static PyObject *frames_seek(PyObject *self, PyObject *args)
{
    Frames *frames = (Frames *)self;
    unsigned long long number, position = 0;
    struct dl_frame frame;
    if (!PyArg_ParseTuple(args, "K|K", &number, &position))
        return NULL;
    for (;;) {
        if (frames->group_length != 0) {
            uint64_t at = frames->group_offset;
            if (frames->number >= number
                && frames->group_position + DL_FRAME_HEADER + at >= position)
                break;
            if (dl_group_next(frames->group, frames->group_length, &frames->group_offset, &frame)) {
                frames->number++;
                continue;
            }
            frames->group_length = 0;
        }
        int found = next_frame(frames, &frame);
        if (found < 0)
            return NULL;
        if (found == 0)
            break;
        uint32_t records = dl_frame_records(&frame);
        uint64_t here = frames->origin + frames->offset;
        if (here + frame.span <= position || frames->number + records < number
            || (records != 0 && frames->number + records <= number)) {
            frames->number += records;
            frames->offset += frame.span;
            continue;
        }
        if (frame.header.kind != DL_GROUP)
            break;
        frames->offset += frame.span;
        frames->group = frame.bytes;
        frames->group_length = frame.header.length;
        frames->group_offset = DL_GROUP_HEADER;
        frames->group_position = here;
    }
    Py_RETURN_NONE;
}

/* Go on to a later end (of the same mapping, or of a longer one of the same page). */
static PyObject *frames_extend(PyObject *self, PyObject *args)
{
    Frames *frames = (Frames *)self;
    unsigned long long end;
    PyObject *mapping = NULL;
    if (!PyArg_ParseTuple(args, "K|O!", &end, dl_mapping_type, &mapping))
        return NULL;
    if (mapping == NULL)
        mapping = frames->mapping;
    if (end < frames->end || end > ((Mapping *)mapping)->size) {
        PyErr_Format(PyExc_ValueError, "an end of %llu is not inside a mapping of %zu bytes", end,
                     ((Mapping *)mapping)->size);
        return NULL;
    }
    if (mapping != frames->mapping) {
        if (frames->group_length != 0)
            frames->group = ((Mapping *)mapping)->memory
                            + (frames->group - ((Mapping *)frames->mapping)->memory);
        PyObject *old = frames->mapping;
        Py_IncRef(mapping);
        frames->mapping = mapping;
        Py_DecRef(old);
    }
    frames->end = end;
    Py_RETURN_NONE;
}

enum frames_field { AT_OFFSET, AT_END, AT_NUMBER, AT_POSITION, AT_DAMAGE, AT_INSIDE };

static PyObject *frames_get(PyObject *self, void *closure)
{
    Frames *frames = (Frames *)self;
    switch ((enum frames_field)(uintptr_t)closure) {
    case AT_OFFSET:
        return PyLong_FromUnsignedLongLong(frames->offset);
    case AT_END:
        return PyLong_FromUnsignedLongLong(frames->end);
    case AT_NUMBER:
        return PyLong_FromUnsignedLongLong(frames->number);
    case AT_POSITION: {
        uint64_t position = frames->origin + frames->offset, at = frames->group_offset;
        struct dl_frame inner;
        if (frames->group_length != 0 && dl_group_next(frames->group, frames->group_length, &at, &inner))
            position = frames->group_position + DL_FRAME_HEADER + frames->group_offset;
        return PyLong_FromUnsignedLongLong(position);
    }
    case AT_DAMAGE:
        Py_IncRef(frames->damage);
        return frames->damage;
    case AT_INSIDE:
        return PyBool_FromLong(frames->group_length != 0);
    }
    Py_RETURN_NONE;
}

#define PLACE(name, which) {name, frames_get, NULL, NULL, (void *)(uintptr_t)(which)}
static PyGetSetDef frames_getset[] = {PLACE("offset", AT_OFFSET),
                                      PLACE("end", AT_END),
                                      PLACE("number", AT_NUMBER),
                                      PLACE("position", AT_POSITION),
                                      PLACE("damage", AT_DAMAGE),
                                      PLACE("inside", AT_INSIDE),
                                      {NULL, NULL, NULL, NULL, NULL}};
static PyMethodDef frames_methods[] = {{"seek", frames_seek, METH_VARARGS, NULL},
                                       {"extend", frames_extend, METH_VARARGS, NULL},
                                       {NULL, NULL, 0, NULL}};
static PyType_Slot frames_slots[] = {{Py_tp_new, frames_new},
                                     {Py_tp_dealloc, frames_dealloc},
                                     {Py_tp_iter, frames_self},
                                     {Py_tp_iternext, frames_next},
                                     {Py_tp_getset, frames_getset},
                                     {Py_tp_methods, frames_methods},
                                     {0, NULL}};
static PyType_Spec frames_spec = {"disklog_mp._core.Frames", sizeof(Frames), 0, Py_TPFLAGS_DEFAULT,
                                  frames_slots};

/* census(buffer, offset, end, position, salt, crc=0xffffffff): all frames between two offsets, checked. */
static PyObject *core_census(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer buffer;
    unsigned long long offset, end, position, salt;
    unsigned int crc = 0xffffffffu;
    if (!PyArg_ParseTuple(args, "y*KKKK|I", &buffer, &offset, &end, &position, &salt, &crc))
        return NULL;
    PyObject *result = NULL;
    if (offset > end || end > (uint64_t)buffer.len)
        PyErr_Format(PyExc_ValueError, "frames from %llu to %llu are not inside %zd bytes", offset, end,
                     buffer.len);
    else {
        struct dl_census census;
        Py_BEGIN_ALLOW_THREADS
        dl_census((const uint8_t *)buffer.buf + offset, end - offset, position, dl_frame_seed(salt), crc,
                  &census);
        Py_END_ALLOW_THREADS
        const uint64_t values[] = {census.records,       census.frames,        census.abandoned,
                                   census.corrupt_ranges, census.corrupt_bytes, offset + census.end,
                                   census.last_time,     census.data_crc};
        result = dl_make_result(census_type, values, 8);
    }
    PyBuffer_Release(&buffer);
    return result;
}

static PyMethodDef record_functions[] = {{"census", core_census, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

int dl_add_record_types(PyObject *module)
{
    range_type = dl_add_result(module, &range_description);
    census_type = dl_add_result(module, &census_description);
    if (range_type == NULL || census_type == NULL)
        return -1;
    record_type = dl_add_type(module, "Record", &record_spec, NULL);
    if (record_type == NULL || dl_add_type(module, "Frames", &frames_spec, NULL) == NULL)
        return -1;
    return PyModule_AddFunctions(module, record_functions);
}
