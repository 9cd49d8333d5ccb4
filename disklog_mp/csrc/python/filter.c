/* Filter: conditions from Python for the core's search.  Python decides what they mean and which first look
 * is sound; it must not know how frames are walked.
 */
#include "filter.h"

#include <stdlib.h>
#include <string.h>

#define TAGS_LENGTH (65536 / 8)
#define LABELS_LENGTH ((DL_LABEL_MAX + 1) / 8)

typedef struct {
    PyObject_HEAD
    struct dl_filter filter;
    struct dl_term *terms;
    struct dl_clause *clauses;
    uint32_t *pids;
    PyObject *keep[4]; /* what the pointers lead into: terms, escapes, tags, labels */
} Filter;

PyTypeObject *dl_filter_type;

const struct dl_filter *dl_filter_of(PyObject *filter) { return &((Filter *)filter)->filter; }

/* (clause, kind, bytes, value): one term of that clause; clauses come in order. */
static int parse_term(PyObject *item, struct dl_term *term, unsigned int *clause)
{
    unsigned int kind;
    const char *bytes, *value;
    Py_ssize_t length, value_length;
    if (!PyArg_ParseTuple(item, "IIy#y#", clause, &kind, &bytes, &length, &value, &value_length))
        return -1;
    if (kind > DL_TERM_BELOW || length == 0) {
        PyErr_Format(PyExc_ValueError, "a term of kind %u and %zd bytes", kind, length);
        return -1;
    }
    *term = (struct dl_term){.kind = (enum dl_term_kind)kind,
                             .bytes = (const uint8_t *)bytes,
                             .length = (uint64_t)length,
                             .value = (const uint8_t *)value,
                             .value_length = (uint64_t)value_length};
    dl_term_choose(term);
    return 0;
}

/* `escapes` has a byte for each clause: not 0 if \u may stand for what its terms look for. */
static int parse_clauses(Filter *self, PyObject *terms, const char *escapes, Py_ssize_t clauses)
{
    const Py_ssize_t count = PyTuple_Size(terms);
    self->terms = calloc((size_t)count + 1, sizeof *self->terms);
    self->clauses = calloc((size_t)clauses + 1, sizeof *self->clauses);
    if (self->terms == NULL || self->clauses == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    unsigned int before = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        unsigned int clause;
        if (parse_term(PyTuple_GetItem(terms, i), &self->terms[i], &clause) != 0)
            return -1;
        if (clause < before || clause >= (size_t)clauses) {
            PyErr_Format(PyExc_ValueError, "clause %u is not in order, or is not there", clause);
            return -1;
        }
        before = clause;
        if (self->clauses[clause].count++ == 0)
            self->clauses[clause].first = (uint32_t)i;
    }
    for (Py_ssize_t i = 0; i < clauses; i++)
        self->clauses[i].may_escape = escapes[i] != 0;
    self->filter.terms = self->terms;
    self->filter.clauses = self->clauses;
    self->filter.clause_count = (uint32_t)clauses;
    return 0;
}

static int parse_pids(Filter *self, PyObject *pids)
{
    const Py_ssize_t count = PyTuple_Size(pids);
    self->pids = calloc((size_t)count + 1, sizeof *self->pids);
    if (self->pids == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        long pid = PyLong_AsLong(PyTuple_GetItem(pids, i));
        if (pid == -1 && PyErr_Occurred() != NULL)
            return -1;
        if (pid < 0 || pid > UINT32_MAX) {
            PyErr_Format(PyExc_ValueError, "no process has the number %ld", pid);
            return -1;
        }
        self->pids[i] = (uint32_t)pid;
    }
    self->filter.pids = self->pids;
    self->filter.pid_count = (uint32_t)count;
    return 0;
}

/* A set of bits, one for each number: NULL for None.  -1 with an exception. */
static int parse_bits(PyObject *given, Py_ssize_t wanted, const uint8_t **bits)
{
    char *bytes;
    Py_ssize_t length;
    *bits = NULL;
    if (given == Py_None)
        return 0;
    if (PyBytes_AsStringAndSize(given, &bytes, &length) != 0)
        return -1;
    if (length != wanted) {
        PyErr_Format(PyExc_ValueError, "%zd bytes of bits, not %zd", length, wanted);
        return -1;
    }
    *bits = (const uint8_t *)bytes;
    return 0;
}

static PyObject *filter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"terms", "escapes", "tags", "labels", "pids",
                            "since", "latest",  "start", "stop",  NULL};
    PyObject *terms, *escapes, *tags = Py_None, *labels = Py_None, *pids = NULL;
    unsigned long long since = 0, latest = ~0ull, start = 0, stop = ~0ull;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!S|OOO!KKKK", names, &PyTuple_Type, &terms, &escapes,
                                     &tags, &labels, &PyTuple_Type, &pids, &since, &latest, &start, &stop))
        return NULL;
    Filter *self = (Filter *)dl_new_object(type);
    if (self == NULL)
        return NULL;
    PyObject *const keep[] = {terms, escapes, tags, labels};
    for (int i = 0; i < 4; i++) {
        Py_IncRef(keep[i]);
        self->keep[i] = keep[i];
    }
    self->filter.since = since;
    self->filter.latest = latest;
    self->filter.start = start;
    self->filter.stop = stop;
    char *flags;
    Py_ssize_t clauses;
    PyBytes_AsStringAndSize(escapes, &flags, &clauses); /* they are bytes: it cannot fail */
    if (parse_clauses(self, terms, flags, clauses) != 0 || (pids != NULL && parse_pids(self, pids) != 0)
        || parse_bits(tags, TAGS_LENGTH, &self->filter.tags) != 0
        || parse_bits(labels, LABELS_LENGTH, &self->filter.labels) != 0) {
        Py_DecRef((PyObject *)self);
        return NULL;
    }
    return (PyObject *)self;
}

static void filter_dealloc(PyObject *self)
{
    Filter *filter = (Filter *)self;
    free(filter->terms);
    free(filter->clauses);
    free(filter->pids);
    for (int i = 0; i < 4; i++)
        Py_DecRef(filter->keep[i]);
    dl_free_object(self);
}

/* True if a record of these bytes meets the clauses. */
static PyObject *filter_meets(PyObject *self, PyObject *args)
{
    Py_buffer buffer;
    if (!PyArg_ParseTuple(args, "y*", &buffer))
        return NULL;
    const bool met = dl_meets(dl_filter_of(self), buffer.buf, (uint64_t)buffer.len);
    PyBuffer_Release(&buffer);
    return PyBool_FromLong(met);
}

static PyMethodDef filter_methods[] = {{"meets", filter_meets, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyType_Slot filter_slots[] = {{Py_tp_new, filter_new},
                                     {Py_tp_dealloc, filter_dealloc},
                                     {Py_tp_methods, filter_methods},
                                     {0, NULL}};
static PyType_Spec filter_spec = {"disklog_mp._core.Filter", sizeof(Filter), 0, Py_TPFLAGS_DEFAULT,
                                  filter_slots};

int dl_add_filter_type(PyObject *module)
{
    dl_filter_type = dl_add_type(module, "Filter", &filter_spec, NULL);
    return dl_filter_type == NULL ? -1 : 0;
}
