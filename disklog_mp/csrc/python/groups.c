/* Groups: records counted by what they have in common, many at a time and without an object for each part.
 *
 * It knows the spelling of our own encoder.  For a record in any other it asks Python: add() stops there, and
 * count() goes on with the key that Python found.  See cli/records/_groups.py, which says what the keys are.
 */
#include "groups.h"

#include <stdlib.h>
#include <string.h>

#include "../core/event_text.h"
#include "../core/json_text.h"
#include "../core/layout.h"
#include "record.h"
#include "table.h"

#define TAGS 65536u
#define NONE "-" /* the key of records that have no such thing */

enum by { BY_PID, BY_LEVEL, BY_LOGGER, BY_LABEL, BY_TAG, BY_FIELD, BY_NOTHING };

struct group {
    uint64_t count, first, last;
};

/* Records of a group in a part of the time; its key in the table of parts are these two numbers. */
struct part {
    uint64_t when;
    uint32_t group;
};

typedef struct {
    PyObject_HEAD
    int by;
    PyObject *name; /* bytes: of the field; without a kind the key of all */
    PyObject *others; /* bytes: the key of what comes when there are `most` groups */
    uint64_t every, shift; /* ns; 0: no parts of the time */
    uint32_t most;
    struct dl_table keys, parts;
    struct group *groups;
    uint32_t room; /* of groups */
    uint64_t *counts; /* of parts */
    uint32_t parts_room;
    struct part last_part;
    uint64_t *last_count; /* of that part; NULL: none */
    struct dl_text copy; /* of a record: its memory may be another process's to change */
    uint32_t *known; /* groups + 1 by tag, or by label's index; 0: not known */
} Groups;

/* ---- counting ----------------------------------------------------------------------------------------- */

/* Items with room for one more, all zeros; NULL without memory: the former ones are as they were. */
static void *with_room(void *items, uint32_t *room, uint32_t count, size_t size)
{
    if (count < *room)
        return items;
    const uint32_t more = *room == 0 ? 64 : 2 * *room;
    char *grown = realloc(items, more * size);
    if (grown == NULL)
        return NULL;
    memset(grown + *room * size, 0, (more - *room) * size);
    *room = more;
    return grown;
}

/* The group of a key, DL_TABLE_NONE with an exception. */
static uint32_t group_of(Groups *self, const char *key, size_t length)
{
    uint32_t group = dl_table_find(&self->keys, key, length);
    if (group != DL_TABLE_NONE)
        return group;
    if (self->keys.count >= self->most) {
        key = PyBytes_AsString(self->others);
        length = (size_t)PyBytes_Size(self->others);
    }
    struct group *groups = with_room(self->groups, &self->room, self->keys.count, sizeof *self->groups);
    if (groups != NULL) {
        self->groups = groups;
        group = dl_table_add(&self->keys, key, length);
    }
    if (group == DL_TABLE_NONE)
        PyErr_NoMemory();
    return group;
}

static bool count_part(Groups *self, uint32_t group, uint64_t time)
{
    struct part part;
    memset(&part, 0, sizeof part); /* its padding is part of the key */
    part.when = time / self->every + (time % self->every + self->shift) / self->every;
    part.group = group;
    if (self->last_count == NULL || part.when != self->last_part.when || group != self->last_part.group) {
        uint32_t number = DL_TABLE_NONE;
        uint64_t *counts = with_room(self->counts, &self->parts_room, self->parts.count, sizeof *self->counts);
        if (counts != NULL) {
            self->counts = counts;
            number = dl_table_add(&self->parts, (const char *)&part, sizeof part);
        }
        if (number == DL_TABLE_NONE) {
            PyErr_NoMemory();
            return false;
        }
        self->last_part = part;
        self->last_count = &self->counts[number];
    }
    ++*self->last_count;
    return true;
}

static bool count_one(Groups *self, uint32_t group, uint64_t time)
{
    if (group == DL_TABLE_NONE)
        return false;
    struct group *found = &self->groups[group];
    if (found->count == 0 || time < found->first)
        found->first = time;
    if (time > found->last)
        found->last = time;
    found->count++;
    return self->every == 0 || count_part(self, group, time);
}

/* ---- keys --------------------------------------------------------------------------------------------- */

enum reading { TEXT, STRUCTURED, UNREAD };

/* Whether a record is a structured one. */
static enum reading read_event(const struct dl_record *values, struct dl_event_text *event)
{
    static const char beginning[] = "{\"time\":";
    const char *bytes = (const char *)values->bytes;
    if (values->length < sizeof beginning - 1 || memcmp(bytes, beginning, sizeof beginning - 1) != 0)
        return TEXT;
    if (!dl_read_event(bytes, values->length, event))
        return UNREAD;
    if (!event->ascii) { /* bytes that are no UTF-8 are no JSON */
        PyObject *text = PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)values->length, NULL);
        if (text == NULL) {
            PyErr_Clear();
            return UNREAD;
        }
        Py_DecRef(text);
    }
    return STRUCTURED;
}

static uint32_t by_number(Groups *self, uint64_t number)
{
    struct dl_text text;
    dl_text_begin(&text);
    dl_put_number(&text, number, false);
    return group_of(self, text.start, text.length); /* it is on the stack */
}

static uint32_t by_span(Groups *self, const struct dl_span *span)
{
    return group_of(self, span->start, span->length);
}

static uint32_t by_label(Groups *self, PyObject *record)
{
    uint32_t group = DL_TABLE_NONE;
    PyObject *label = dl_record_label(record);
    Py_ssize_t length = 0;
    const char *text = label == NULL || label == Py_None ? "" : PyUnicode_AsUTF8AndSize(label, &length);
    if (label != NULL && text != NULL)
        group = length == 0 ? group_of(self, NONE, 1) : group_of(self, text, (size_t)length);
    Py_DecRef(label);
    return group;
}

/* The level of a record's tag is looked for once, in a record that says it. */
static bool by_level(Groups *self, const struct dl_record *values, uint32_t *group)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"};
    struct dl_event_text event;
    const enum reading reading = read_event(values, &event);
    const uint32_t tag = values->tag;
    if (reading == UNREAD || (reading == STRUCTURED && event.parts[DL_LEVEL].escaped))
        return false;
    const bool is_usual = tag != 0 && tag % 10 == 0 && tag <= 50;
    if (reading == STRUCTURED)
        *group = by_span(self, &event.parts[DL_LEVEL]);
    else if (is_usual)
        *group = group_of(self, names[tag / 10 - 1], strlen(names[tag / 10 - 1]));
    else if (tag == 0)
        *group = group_of(self, NONE, 1);
    else {
        char text[8] = "#";
        size_t at = sizeof text;
        for (uint32_t rest = tag; rest != 0; rest /= 10)
            text[--at] = (char)('0' + rest % 10);
        text[--at] = '#';
        *group = group_of(self, text + at, sizeof text - at);
    }
    if (tag != 0 && (reading == STRUCTURED || is_usual))
        self->known[tag] = *group + 1; /* 0 where there was no memory */
    return true;
}

static bool by_logger(Groups *self, const struct dl_record *values, uint32_t *group)
{
    struct dl_span logger;
    struct dl_event_text event;
    if (dl_read_logger((const char *)values->bytes, values->length, &logger))
        *group = by_span(self, &logger);
    else if (read_event(values, &event) == TEXT)
        *group = group_of(self, NONE, 1);
    else
        return false;
    return true;
}

static bool by_field(Groups *self, const struct dl_record *values, uint32_t *group)
{
    struct dl_event_text event;
    struct dl_span value;
    const enum reading reading = read_event(values, &event);
    if (reading == UNREAD)
        return false;
    enum dl_lookup found = DL_ABSENT;
    if (reading == STRUCTURED)
        found = dl_find_field(&event, PyBytes_AsString(self->name), (size_t)PyBytes_Size(self->name), &value);
    if (found == DL_UNREAD)
        return false;
    *group = found == DL_PRESENT ? by_span(self, &value) : group_of(self, NONE, 1);
    return true;
}

/* In `known`. */
static uint32_t index_of(const Groups *self, const struct dl_record *values)
{
    return self->by == BY_LEVEL ? values->tag : self->by == BY_LABEL ? values->label : 0;
}

/* Take a copy of the record's bytes; false without memory. */
static bool copy_bytes(Groups *self, struct dl_record *values)
{
    self->copy.length = 0;
    dl_put(&self->copy, (const char *)values->bytes, values->length);
    values->bytes = (const uint8_t *)self->copy.start;
    if (self->copy.failed)
        PyErr_NoMemory();
    return !self->copy.failed;
}

/* The group of a record; false if Python has to say it.  DL_TABLE_NONE: an exception. */
static bool find_group(Groups *self, PyObject *record, struct dl_record *values, uint32_t *group)
{
    const uint32_t index = index_of(self, values);
    if (self->known != NULL && self->known[index] != 0) {
        *group = self->known[index] - 1;
        return true;
    }
    switch ((enum by)self->by) {
    case BY_PID:
        *group = by_number(self, values->pid);
        return true;
    case BY_TAG:
        *group = by_number(self, values->tag);
        return true;
    case BY_LABEL:
        *group = by_label(self, record);
        self->known[index] = *group + 1;
        return true;
    case BY_LEVEL:
        return !copy_bytes(self, values) || by_level(self, values, group);
    case BY_LOGGER:
        return !copy_bytes(self, values) || by_logger(self, values, group);
    case BY_FIELD:
        return !copy_bytes(self, values) || by_field(self, values, group);
    case BY_NOTHING:
        *group = group_of(self, PyBytes_AsString(self->name), (size_t)PyBytes_Size(self->name));
        return true;
    }
    return false;
}

/* ---- for Python --------------------------------------------------------------------------------------- */

/* add(records, start): count the records of a list from that index on; the index of the first one that is
 * left: a gap record, one whose key Python has to say, or the end. */
static PyObject *groups_add(PyObject *object, PyObject *args)
{
    Groups *self = (Groups *)object;
    PyObject *records;
    Py_ssize_t at;
    struct dl_record values;
    if (!PyArg_ParseTuple(args, "O!n", &PyList_Type, &records, &at))
        return NULL;
    for (; at >= 0 && at < PyList_Size(records); at++) {
        PyObject *record = PyList_GetItem(records, at);
        uint32_t group = DL_TABLE_NONE;
        if (record == NULL || !dl_record_values(record, &values) || values.gap)
            break;
        Py_IncRef(record);
        const bool found = find_group(self, record, &values, &group);
        Py_DecRef(record);
        if (!found)
            break;
        if (!count_one(self, group, values.time))
            return NULL;
    }
    return PyErr_Occurred() != NULL ? NULL : PyLong_FromSsize_t(at);
}

/* count(key, record, keep): one record of that key; with `keep` all of that tag, or label, have it. */
static PyObject *groups_count(PyObject *object, PyObject *args)
{
    Groups *self = (Groups *)object;
    const char *key;
    Py_ssize_t length;
    PyObject *record;
    int keep;
    struct dl_record values;
    if (!PyArg_ParseTuple(args, "y#Op", &key, &length, &record, &keep))
        return NULL;
    if (!dl_record_values(record, &values)) {
        PyErr_SetString(PyExc_TypeError, "count() takes a key and a record");
        return NULL;
    }
    const uint32_t group = group_of(self, key, (size_t)length);
    if (!count_one(self, group, values.time))
        return NULL;
    if (keep && self->known != NULL)
        self->known[index_of(self, &values)] = group + 1;
    Py_RETURN_NONE;
}

static int append(PyObject *list, PyObject *item)
{
    const int done = list == NULL || item == NULL ? -1 : PyList_Append(list, item);
    Py_DecRef(item);
    return done;
}

/* groups(): (key, count, first, last) of each. */
static PyObject *groups_groups(PyObject *object, PyObject *noargs)
{
    (void)noargs;
    Groups *self = (Groups *)object;
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list != NULL && i < self->keys.count; i++) {
        size_t length;
        const char *key = dl_table_key(&self->keys, i, &length);
        const struct group *group = &self->groups[i];
        PyObject *item = Py_BuildValue("(y#KKK)", key, (Py_ssize_t)length, (unsigned long long)group->count,
                                       (unsigned long long)group->first, (unsigned long long)group->last);
        if (append(list, item) != 0) {
            Py_DecRef(list);
            return NULL;
        }
    }
    return list;
}

/* parts(): (number of the part of the time, number of the group, count) of each. */
static PyObject *groups_parts(PyObject *object, PyObject *noargs)
{
    (void)noargs;
    Groups *self = (Groups *)object;
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list != NULL && i < self->parts.count; i++) {
        size_t length;
        struct part part;
        memcpy(&part, dl_table_key(&self->parts, i, &length), sizeof part);
        PyObject *item = Py_BuildValue("(KIK)", (unsigned long long)part.when, part.group,
                                       (unsigned long long)self->counts[i]);
        if (append(list, item) != 0) {
            Py_DecRef(list);
            return NULL;
        }
    }
    return list;
}

static PyObject *groups_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"by", "name", "others", "most", "every", "shift", NULL};
    int by;
    unsigned int most;
    unsigned long long every = 0, shift = 0;
    PyObject *name, *others;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iSSI|KK", names, &by, &name, &others, &most, &every,
                                     &shift))
        return NULL;
    if (by < BY_PID || by > BY_NOTHING || most == 0 || most > INT32_MAX || every > INT64_MAX
        || (every != 0 && shift >= every)) {
        PyErr_Format(PyExc_ValueError, "groups by %d, at most %u, in parts of %llu ns from %llu on", by, most,
                     every, shift);
        return NULL;
    }
    Groups *self = (Groups *)dl_new_object(type);
    if (self == NULL)
        return NULL;
    Py_IncRef(name);
    Py_IncRef(others);
    dl_text_begin(&self->copy);
    self->by = by;
    self->name = name;
    self->others = others;
    self->most = most;
    self->every = every;
    self->shift = shift;
    if (by == BY_LEVEL || by == BY_LABEL) {
        self->known = calloc(by == BY_LEVEL ? TAGS : DL_LABEL_MAX + 1, sizeof *self->known);
        if (self->known == NULL) {
            Py_DecRef((PyObject *)self);
            return PyErr_NoMemory();
        }
    }
    return (PyObject *)self;
}

static void groups_dealloc(PyObject *object)
{
    Groups *self = (Groups *)object;
    dl_table_free(&self->keys);
    dl_table_free(&self->parts);
    free(self->groups);
    free(self->counts);
    free(self->known);
    dl_text_end(&self->copy);
    Py_DecRef(self->name);
    Py_DecRef(self->others);
    dl_free_object(object);
}

static PyMethodDef groups_methods[] = {{"add", groups_add, METH_VARARGS, NULL},
                                       {"count", groups_count, METH_VARARGS, NULL},
                                       {"groups", groups_groups, METH_NOARGS, NULL},
                                       {"parts", groups_parts, METH_NOARGS, NULL},
                                       {NULL, NULL, 0, NULL}};
static PyType_Slot groups_slots[] = {{Py_tp_new, groups_new},
                                     {Py_tp_dealloc, groups_dealloc},
                                     {Py_tp_methods, groups_methods},
                                     {0, NULL}};
static PyType_Spec groups_spec = {"disklog_mp._core.Groups", sizeof(Groups), 0, Py_TPFLAGS_DEFAULT,
                                  groups_slots};

int dl_add_groups_type(PyObject *module)
{
    return dl_add_type(module, "Groups", &groups_spec, NULL) == NULL ? -1 : 0;
}
