/* RecordIterator: pages as Python objects, each record made when it is asked for.  It is in record.c. */
#include "records.h"

#include <stdlib.h>
#include <string.h>

#include "../core/crc32c.h"
#include "../core/frames.h"
#include "filter.h"
#include "objects.h"
#include "record.h"

/* The fields behind the fifth are no items of the tuple: they have names only. */
static PyStructSequence_Field range_fields[] = {
    {"offset", NULL}, {"length", NULL}, {"found", NULL}, {"expected", NULL}, {"records", NULL},
    {"number", NULL}, {"before", NULL}, {"after", NULL}, {NULL, NULL}};
static PyStructSequence_Desc range_description = {"disklog_mp._core.DamagedRange", NULL, range_fields, 5};
static PyStructSequence_Field census_fields[] = {
    {"records", NULL},       {"frames", NULL}, {"abandoned", NULL}, {"corrupt_ranges", NULL},
    {"corrupt_bytes", NULL}, {"end", NULL},    {"last_time", NULL}, {"data_crc", NULL},
    {"gaps", NULL},          {NULL, NULL}};
static PyStructSequence_Desc census_description = {"disklog_mp._core.Census", NULL, census_fields, 8};
static PyTypeObject *range_type, *census_type; /* set once, when the module is imported */

/* ---- RecordIterator --------------------------------------------------------------------------------- */

/* An iterator over the records of a page, from an offset to an end that may be moved on.  What it cannot
 * read it notes in `damage` and goes on at the next valid frame. */
typedef struct {
    PyObject_HEAD
    PyObject *mapping;
    uint64_t offset; /* of the next frame */
    uint64_t end;
    uint64_t origin; /* position - offset, the same for the whole page */
    uint64_t number; /* of the next record */
    uint64_t time; /* of the last record passed, 0: none */
    uint64_t timed; /* the number behind that record */
    uint64_t records; /* number behind the page's last record, ~0: not known yet */
    uint32_t seed;
    bool early; /* find() passed a record not later than its filter's `latest` */
    int payloads; /* give bytes, not Records */
    PyObject *labels; /* called with a label's index, returns its text; NULL: None is what records say */
    PyObject *damage; /* a list of DamagedRange */
    /* inside a group */
    uint64_t group_offset, group_length; /* next inner frame; 0 length: not inside */
    const uint8_t *group;
    uint64_t group_position;
} RecordIterator;

static PyObject *frames_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"mapping", "offset", "end", "position", "number",
                            "salt",    "records", "payloads", "labels", NULL};
    PyObject *mapping, *labels = NULL;
    unsigned long long offset, end, position, number, salt, records = ~0ull;
    int payloads = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!KKKKK|KpO", names, dl_mapping_type, &mapping, &offset,
                                     &end, &position, &number, &salt, &records, &payloads, &labels))
        return NULL;
    if (offset > end || end > ((Mapping *)mapping)->size || offset % DL_GRANULE != 0) {
        PyErr_Format(PyExc_ValueError, "frames from %llu to %llu are not inside a mapping of %zu bytes",
                     offset, end, ((Mapping *)mapping)->size);
        return NULL;
    }
    RecordIterator *frames = (RecordIterator *)dl_new_object(type);
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
    frames->labels = labels == Py_None ? NULL : labels;
    Py_IncRef(frames->labels);
    frames->damage = PyList_New(0);
    if (frames->damage == NULL) {
        Py_DecRef((PyObject *)frames);
        return NULL;
    }
    return (PyObject *)frames;
}

static void frames_dealloc(PyObject *self)
{
    Py_DecRef(((RecordIterator *)self)->mapping);
    Py_DecRef(((RecordIterator *)self)->damage);
    Py_DecRef(((RecordIterator *)self)->labels);
    dl_free_object(self);
}

/* How many records stood in a damaged range: exact if the page is sealed and the rest of it is whole, or
 * if the damaged frame's header still leads to the next valid one; else 1 at the least.  What is behind
 * the range is read up to the next damage only, or many damages would cost their square. */
static uint64_t records_lost(const RecordIterator *frames, const uint8_t *at, const struct dl_frame *frame,
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
static int next_frame(RecordIterator *frames, struct dl_frame *frame)
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
        uint64_t offset = frames->offset, found = frame->found, expected = frame->expected, after = 0;
        if (distance < room
            && dl_frame_check(at + distance, room - distance, position + distance, frames->seed, frame)
                   == DL_FRAME_VALID)
            after = frame->header.time;
        const uint64_t values[] = {offset, distance, found, expected, lost, frames->number, frames->time, after};
        PyObject *range = dl_make_result(range_type, values, 8);
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

/* The record, which stands so many bytes behind the header of the frame that was checked. */
static PyObject *give(RecordIterator *frames, const struct dl_frame *frame, uint64_t position, uint64_t before)
{
    uint64_t number = frames->number++;
    frames->time = frame->header.time;
    frames->timed = frames->number;
    if (frames->payloads)
        return PyBytes_FromStringAndSize((const char *)frame->bytes, frame->header.length);
    return dl_make_record(frames->mapping, frame->bytes - DL_FRAME_HEADER, frame, position, number,
                          frames->labels, dl_checked_by((uint32_t)before, frames->seed));
}

static inline void enter_group(RecordIterator *frames, const struct dl_frame *frame, uint64_t position)
{
    frames->group = frame->bytes;
    frames->group_length = frame->header.length;
    frames->group_offset = DL_GROUP_HEADER;
    frames->group_position = position;
}

static PyObject *frames_next(PyObject *self)
{
    RecordIterator *frames = (RecordIterator *)self;
    struct dl_frame frame;
    for (;;) {
        if (frames->group_length != 0) {
            uint64_t at = frames->group_offset;
            if (dl_group_next(frames->group, frames->group_length, &frames->group_offset, &frame))
                return give(frames, &frame, frames->group_position + DL_FRAME_HEADER + at, DL_FRAME_HEADER + at);
            frames->group_length = 0;
        }
        if (next_frame(frames, &frame) <= 0)
            return NULL;
        uint64_t position = frames->origin + frames->offset;
        frames->offset += frame.span;
        if (frame.header.kind == DL_RECORD || frame.header.kind == DL_GAP)
            return give(frames, &frame, position, 0);
        if (frame.header.kind == DL_GROUP)
            enter_group(frames, &frame, position);
    }
}

#define TAGS 65536u

static PyObject *counts_as_dict(const uint32_t *counts)
{
    PyObject *found = PyDict_New();
    for (uint32_t tag = 0; found != NULL && tag < TAGS; tag++) {
        if (counts[tag] == 0)
            continue;
        PyObject *key = PyLong_FromUnsignedLong(tag), *value = PyLong_FromUnsignedLong(counts[tag]);
        const int failed = key == NULL || value == NULL || PyDict_SetItem(found, key, value) != 0;
        Py_DecRef(key);
        Py_DecRef(value);
        if (failed) {
            Py_DecRef(found);
            found = NULL;
        }
    }
    return found;
}

/* Go on over the next records, at most so many, and return how many of each tag there are.  {}: the end. */
static PyObject *frames_count_tags(PyObject *self, PyObject *args)
{
    RecordIterator *frames = (RecordIterator *)self;
    unsigned int most;
    if (!PyArg_ParseTuple(args, "I", &most))
        return NULL;
    uint32_t *counts = calloc(TAGS, sizeof *counts);
    if (counts == NULL)
        return PyErr_NoMemory();
    struct dl_frame frame;
    int found = 1;
    for (uint32_t seen = 0; seen < most;) {
        if (frames->group_length != 0) {
            if (!dl_group_next(frames->group, frames->group_length, &frames->group_offset, &frame)) {
                frames->group_length = 0;
                continue;
            }
        } else {
            if ((found = next_frame(frames, &frame)) <= 0)
                break;
            uint64_t position = frames->origin + frames->offset;
            frames->offset += frame.span;
            if (frame.header.kind == DL_GROUP)
                enter_group(frames, &frame, position);
            if (frame.header.kind != DL_RECORD && frame.header.kind != DL_GAP)
                continue;
        }
        counts[frame.header.tag]++;
        seen++;
        frames->number++;
        frames->time = frame.header.time;
        frames->timed = frames->number;
    }
    PyObject *result = found < 0 ? NULL : counts_as_dict(counts);
    free(counts);
    return result;
}

static PyObject *frames_self(PyObject *self)
{
    Py_IncRef(self);
    return self;
}

/* Pass over a frame of so many records. */
static void pass(RecordIterator *frames, const struct dl_frame *frame, uint32_t records)
{
    frames->number += records;
    frames->offset += frame->span;
    if (records != 0) {
        frames->time = dl_frame_last_time(frame);
        frames->timed = frames->number;
    }
}

/* Go on behind the next record that says how many others were dropped, and return it; None: there is none. */
static PyObject *frames_next_gap(PyObject *self, PyObject *noargs)
{
    (void)noargs;
    RecordIterator *frames = (RecordIterator *)self;
    struct dl_frame frame;
    while (frames->group_length != 0) /* no gap stands in a group */
        if (dl_group_next(frames->group, frames->group_length, &frames->group_offset, &frame))
            frames->number++;
        else
            frames->group_length = 0;
    int found;
    while ((found = next_frame(frames, &frame)) > 0) {
        if (frame.header.kind == DL_GAP) {
            uint64_t position = frames->origin + frames->offset;
            frames->offset += frame.span;
            return give(frames, &frame, position, 0);
        }
        pass(frames, &frame, dl_frame_records(&frame));
    }
    if (found < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Go on to the frame that holds the record of that number, or of that position; records before it inside
 * a group are passed over too. */
static PyObject *frames_seek(PyObject *self, PyObject *args)
{
    RecordIterator *frames = (RecordIterator *)self;
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
                frames->time = frame.header.time;
                frames->timed = frames->number;
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
            pass(frames, &frame, records);
            continue;
        }
        if (frame.header.kind != DL_GROUP)
            break;
        frames->offset += frame.span;
        enter_group(frames, &frame, here);
    }
    Py_RETURN_NONE;
}

/* Go on to a later end (of the same mapping, or of a longer one of the same page). */
static PyObject *frames_extend(PyObject *self, PyObject *args)
{
    RecordIterator *frames = (RecordIterator *)self;
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

#define FOUND_AT_ONCE 256u
#define PASSED_AT_ONCE (8u << 20) /* bytes without the GIL, before signals are looked at */

static struct dl_place place_of(const RecordIterator *frames)
{
    return (struct dl_place){.memory = ((Mapping *)frames->mapping)->memory,
                             .offset = frames->offset,
                             .end = frames->end,
                             .origin = frames->origin,
                             .number = frames->number,
                             .time = frames->time,
                             .timed = frames->timed,
                             .seed = frames->seed,
                             .early = frames->early,
                             .group = frames->group,
                             .group_length = frames->group_length,
                             .group_offset = frames->group_offset,
                             .group_position = frames->group_position};
}

static void go_to(RecordIterator *frames, const struct dl_place *place)
{
    frames->offset = place->offset;
    frames->number = place->number;
    frames->time = place->time;
    frames->timed = place->timed;
    frames->early = place->early;
    frames->group = place->group;
    frames->group_length = place->group_length;
    frames->group_offset = place->group_offset;
    frames->group_position = place->group_position;
}

static int add_found(PyObject *records, const RecordIterator *frames, PyObject *mapping,
                     const struct dl_found *found, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        PyObject *record = dl_make_record(mapping, found[i].frame.bytes - DL_FRAME_HEADER, &found[i].frame,
                                          found[i].position, found[i].number, frames->labels,
                                          dl_checked_by(found[i].before, frames->seed));
        const int failed = record == NULL || PyList_Append(records, record) != 0;
        Py_DecRef(record);
        if (failed)
            return -1;
    }
    return 0;
}

/* Go on to the next records that meet a filter, at most so many, and return them; [] at the end. */
static PyObject *frames_find(PyObject *self, PyObject *args)
{
    RecordIterator *frames = (RecordIterator *)self;
    PyObject *filter;
    unsigned int most = FOUND_AT_ONCE;
    if (!PyArg_ParseTuple(args, "O!|I", dl_filter_type, &filter, &most))
        return NULL;
    most = most == 0 ? 1 : most < FOUND_AT_ONCE ? most : FOUND_AT_ONCE;
    struct dl_found found[FOUND_AT_ONCE];
    struct dl_frame frame;
    PyObject *records = PyList_New(0), *mapping = frames->mapping;
    enum dl_search_end end = records == NULL ? DL_SEARCH_OVER : DL_SEARCH_PAUSED;
    uint32_t count = 0;
    Py_IncRef(mapping); /* another thread may let the iterator go on in a longer one */
    while (end != DL_SEARCH_OVER && count == 0) {
        struct dl_place place = place_of(frames);
        Py_BEGIN_ALLOW_THREADS
        end = dl_search(dl_filter_of(filter), &place, PASSED_AT_ONCE, found, most, &count);
        Py_END_ALLOW_THREADS
        go_to(frames, &place);
        if (add_found(records, frames, mapping, found, count) != 0 || PyErr_CheckSignals() != 0
            || (end == DL_SEARCH_BAD && count == 0 && next_frame(frames, &frame) < 0)) {
            Py_DecRef(records);
            records = NULL;
            break;
        }
    }
    Py_DecRef(mapping);
    return records;
}

enum frames_field { AT_OFFSET, AT_END, AT_NUMBER, AT_TIME, AT_POSITION, AT_DAMAGE, AT_INSIDE, AT_EARLY };

static PyObject *frames_get(PyObject *self, void *closure)
{
    RecordIterator *frames = (RecordIterator *)self;
    switch ((enum frames_field)(uintptr_t)closure) {
    case AT_OFFSET:
        return PyLong_FromUnsignedLongLong(frames->offset);
    case AT_END:
        return PyLong_FromUnsignedLongLong(frames->end);
    case AT_NUMBER:
        return PyLong_FromUnsignedLongLong(frames->number);
    case AT_TIME:
        return PyLong_FromUnsignedLongLong(frames->timed == frames->number ? frames->time : 0);
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
    case AT_EARLY:
        return PyBool_FromLong(frames->early);
    }
    Py_RETURN_NONE;
}

#define PLACE(name, which) {name, frames_get, NULL, NULL, (void *)(uintptr_t)(which)}
static PyGetSetDef frames_getset[] = {PLACE("offset", AT_OFFSET),
                                      PLACE("end", AT_END),
                                      PLACE("number", AT_NUMBER),
                                      PLACE("time", AT_TIME),
                                      PLACE("position", AT_POSITION),
                                      PLACE("damage", AT_DAMAGE),
                                      PLACE("inside", AT_INSIDE),
                                      PLACE("early", AT_EARLY),
                                      {NULL, NULL, NULL, NULL, NULL}};
static PyMethodDef frames_methods[] = {{"seek", frames_seek, METH_VARARGS, NULL},
                                       {"extend", frames_extend, METH_VARARGS, NULL},
                                       {"next_gap", frames_next_gap, METH_NOARGS, NULL},
                                       {"find", frames_find, METH_VARARGS, NULL},
                                       {"count_tags", frames_count_tags, METH_VARARGS, NULL},
                                       {NULL, NULL, 0, NULL}};
static PyType_Slot frames_slots[] = {{Py_tp_new, frames_new},
                                     {Py_tp_dealloc, frames_dealloc},
                                     {Py_tp_iter, frames_self},
                                     {Py_tp_iternext, frames_next},
                                     {Py_tp_getset, frames_getset},
                                     {Py_tp_methods, frames_methods},
                                     {0, NULL}};
static PyType_Spec frames_spec = {"disklog_mp._core.RecordIterator", sizeof(RecordIterator), 0,
                                  Py_TPFLAGS_DEFAULT, frames_slots};

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
                                   census.last_time,     census.data_crc,
                                   census.gaps};
        result = dl_make_result(census_type, values, 9);
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
    if (dl_add_record_type(module) != 0 || dl_add_type(module, "RecordIterator", &frames_spec, NULL) == NULL)
        return -1;
    return PyModule_AddFunctions(module, record_functions);
}
