/* Mapping: shared memory as a Python object, with atomic words and bells to sleep on.  What the words mean
 * it must not know: page files and test programs use it, and a Ring is one.
 */
#include "mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../os/kernel.h"
#include "../os/sigbus.h"
#include "objects.h"

PyTypeObject *dl_mapping_type;

static uintptr_t os_page;

/* As mmap() anywhere, but so that huge pages of the file can be huge pages of the process. */
static void *map_aligned(size_t length, int access, int fd)
{
    length = (length + os_page - 1) & ~(os_page - 1);
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *room = mmap(NULL, length + HUGE_PAGE, PROT_NONE, flags, -1, 0);
    if (room == MAP_FAILED) /* a limit, perhaps, that leaves room for the file */
        return mmap(NULL, length, access, MAP_SHARED, fd, 0);
    const size_t before = -(uintptr_t)room & (HUGE_PAGE - 1);
    char *memory = room + before;
    if (mmap(memory, length, access, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
        munmap(room, length + HUGE_PAGE);
        return mmap(NULL, length, access, MAP_SHARED, fd, 0);
    }
    if (before != 0)
        munmap(room, before);
    munmap(memory + length, HUGE_PAGE - before);
    return memory;
}

static int mapping_map(Mapping *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fd", "length", "writable", "apart", NULL};
    int fd, apart = 0;
    Py_ssize_t length;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "in|pp", names, &fd, &length, &self->writable, &apart))
        return -1;
    if (length <= 0) {
        PyErr_SetString(PyExc_ValueError, "length of a mapping must be positive");
        return -1;
    }
    /* No descriptor is kept: a daemon that closes all of them does not reach the mapping. */
    const int access = PROT_READ | (self->writable ? PROT_WRITE : 0);
    const int flags = apart ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED;
    void *memory = self->writable && !apart && (size_t)length >= HUGE_PAGE
                       ? map_aligned((size_t)length, access, fd)
                       : mmap(NULL, (size_t)length, access, flags, fd, 0);
    if (memory == MAP_FAILED) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    self->memory = memory;
    self->size = (size_t)length;
    return 0;
}

PyObject *dl_map_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = dl_new_object(type);
    if (self != NULL && mapping_map((Mapping *)self, args, kwargs) != 0) {
        Py_DecRef(self);
        return NULL;
    }
    return self;
}

static PyObject *mapping_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = dl_map_new(type, args, kwargs);
    Mapping *mapping = (Mapping *)self;
    if (self != NULL)
        mapping->guard = dl_guard(mapping->memory, mapping->size,
                                  PROT_READ | (mapping->writable ? PROT_WRITE : 0));
    return self;
}

void dl_mapping_dealloc(PyObject *self)
{
    Mapping *mapping = (Mapping *)self;
    if (mapping->memory != NULL) {
        dl_unguard(mapping->guard);
        munmap(mapping->memory, mapping->size);
    }
    dl_free_object(self);
}

static int mapping_buffer(PyObject *self, Py_buffer *view, int flags)
{
    Mapping *mapping = (Mapping *)self;
    return PyBuffer_FillInfo(view, self, mapping->memory, (Py_ssize_t)mapping->size, !mapping->writable,
                             flags);
}

static Py_ssize_t mapping_length(PyObject *self) { return (Py_ssize_t)((Mapping *)self)->size; }

static void *word_at(Mapping *self, Py_ssize_t offset, size_t width, int write)
{
    if (write && !self->writable) {
        PyErr_SetString(PyExc_TypeError, "the mapping is read-only");
        return NULL;
    }
    if (offset < 0 || (size_t)offset % width != 0 || (size_t)offset + width > self->size) {
        PyErr_Format(PyExc_IndexError, "offset %zd is not a word of a mapping of %zu bytes", offset,
                     self->size);
        return NULL;
    }
    return self->memory + offset;
}

/* What was just stored in, or loaded from, a mapping for writing: NULL and OSError if it is not the file. */
static PyObject *unless_lost(Mapping *self, PyObject *result)
{
    if (!self->writable || !dl_is_lost(self->guard))
        return result;
    if (result != NULL)
        Py_DecRef(result);
    errno = EIO;
    PyErr_SetFromErrno(PyExc_OSError);
    return NULL;
}

static PyObject *nothing(void)
{
    Py_IncRef(Py_None);
    return Py_None;
}

static PyObject *mapping_load32(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    if (!PyArg_ParseTuple(args, "n", &offset))
        return NULL;
    _Atomic uint32_t *word = word_at((Mapping *)self, offset, 4, 0);
    if (word == NULL)
        return NULL;
    const uint32_t value = DL_LABEL(word:A, atomic_load(word));
    return unless_lost((Mapping *)self, PyLong_FromUnsignedLong(value));
}

static PyObject *mapping_load64(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    if (!PyArg_ParseTuple(args, "n", &offset))
        return NULL;
    _Atomic uint64_t *word = word_at((Mapping *)self, offset, 8, 0);
    if (word == NULL)
        return NULL;
    const uint64_t value = DL_LABEL(word:A, atomic_load(word));
    return unless_lost((Mapping *)self, PyLong_FromUnsignedLongLong(value));
}

static PyObject *mapping_store32(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    unsigned int value;
    if (!PyArg_ParseTuple(args, "nI", &offset, &value))
        return NULL;
    _Atomic uint32_t *word = word_at((Mapping *)self, offset, 4, 1);
    if (word == NULL)
        return NULL;
    DL_POINT("store");
    Py_BEGIN_ALLOW_THREADS /* a first store into a page of a file system that is frozen waits there */
    DL_LABEL(word:B, atomic_store(word, value));
    Py_END_ALLOW_THREADS
    return unless_lost((Mapping *)self, nothing());
}

static PyObject *mapping_store64(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    unsigned long long value;
    if (!PyArg_ParseTuple(args, "nK", &offset, &value))
        return NULL;
    _Atomic uint64_t *word = word_at((Mapping *)self, offset, 8, 1);
    if (word == NULL)
        return NULL;
    DL_POINT("store");
    Py_BEGIN_ALLOW_THREADS
    DL_LABEL(word:B, atomic_store(word, value));
    Py_END_ALLOW_THREADS
    return unless_lost((Mapping *)self, nothing());
}

void dl_maximize(_Atomic uint64_t *word, uint64_t value)
{
    uint64_t found = DL_LABEL(word:C, atomic_load(word));
    while (found < value && !DL_LABEL(word:C, atomic_compare_exchange_weak(word, &found, value))) {
    }
}

static PyObject *mapping_maximize64(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    unsigned long long value;
    if (!PyArg_ParseTuple(args, "nK", &offset, &value))
        return NULL;
    _Atomic uint64_t *word = word_at((Mapping *)self, offset, 8, 1);
    if (word == NULL)
        return NULL;
    DL_POINT("store");
    dl_maximize(word, value);
    return unless_lost((Mapping *)self, nothing());
}

static PyObject *mapping_add64(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    unsigned long long value;
    if (!PyArg_ParseTuple(args, "nK", &offset, &value))
        return NULL;
    _Atomic uint64_t *word = word_at((Mapping *)self, offset, 8, 1);
    if (word == NULL)
        return NULL;
    const uint64_t before = DL_LABEL(word:D, atomic_fetch_add(word, value));
    return unless_lost((Mapping *)self, PyLong_FromUnsignedLongLong(before));
}

static PyObject *mapping_wait(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    unsigned int expected;
    double seconds;
    if (!PyArg_ParseTuple(args, "nId", &offset, &expected, &seconds))
        return NULL;
    void *word = word_at((Mapping *)self, offset, 4, 0);
    if (word == NULL)
        return NULL;
    int woken = 0;
    if (seconds > 0) {
        Py_BEGIN_ALLOW_THREADS
        woken = futex_wait(word, expected, seconds) == 0 || errno == EAGAIN;
        Py_END_ALLOW_THREADS
    }
    if (PyErr_CheckSignals() != 0)
        return NULL;
    return PyBool_FromLong(woken);
}

static PyObject *mapping_wait_watching(PyObject *self, PyObject *args)
{
    Py_ssize_t offset, word_offset;
    unsigned int expected;
    unsigned long long seen;
    double seconds, look;
    const char *path;
    if (!PyArg_ParseTuple(args, "nIddnKy", &offset, &expected, &seconds, &look, &word_offset, &seen, &path))
        return NULL;
    void *bell = word_at((Mapping *)self, offset, 4, 0);
    _Atomic uint64_t *word = bell == NULL ? NULL : word_at((Mapping *)self, word_offset, 8, 0);
    if (word == NULL)
        return NULL;
    bool woken = false, again = look > 0;
    for (; again && !woken && seconds > 0; seconds -= look) {
        Py_BEGIN_ALLOW_THREADS
        if (futex_wait(bell, expected, seconds < look ? seconds : look) == 0 || errno == EAGAIN)
            woken = true;
        else if (errno != ETIMEDOUT)
            again = false;
        else /* by the rights that open() has, too */
            woken = DL_LABEL(word:E, atomic_load_explicit(word, memory_order_acquire)) != seen
                    || faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) == 0;
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() != 0)
            return NULL;
    }
    return PyBool_FromLong(woken);
}

static PyObject *mapping_ring_bell(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    if (!PyArg_ParseTuple(args, "n", &offset))
        return NULL;
    _Atomic uint32_t *word = word_at((Mapping *)self, offset, 4, 1);
    if (word == NULL)
        return NULL;
    DL_POINT("bell");
    int woken;
    Py_BEGIN_ALLOW_THREADS
    DL_LABEL(word:F, atomic_fetch_add(word, 1));
    DL_POINT("bell rung");
    woken = futex_wake(word, INT32_MAX);
    Py_END_ALLOW_THREADS
    return unless_lost((Mapping *)self, PyLong_FromLong(woken));
}

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static PyObject *mapping_collapse(PyObject *self, PyObject *args)
{
    Mapping *mapping = (Mapping *)self;
    Py_ssize_t offset, length;
    if (!PyArg_ParseTuple(args, "nn", &offset, &length))
        return NULL;
    if (offset < 0 || length < 0 || (size_t)offset > mapping->size
        || (size_t)length > mapping->size - (size_t)offset)
        return PyErr_Format(PyExc_IndexError, "%zd bytes at %zd are not in %zu", length, offset,
                            mapping->size);
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = madvise(mapping->memory + offset, (size_t)length, MADV_COLLAPSE);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(status == 0);
}

static PyMethodDef mapping_methods[] = {
    {"load32", mapping_load32, METH_VARARGS, NULL},
    {"load64", mapping_load64, METH_VARARGS, NULL},
    {"store32", mapping_store32, METH_VARARGS, NULL},
    {"store64", mapping_store64, METH_VARARGS, NULL},
    {"maximize64", mapping_maximize64, METH_VARARGS, NULL},
    {"add64", mapping_add64, METH_VARARGS, NULL},
    {"wait", mapping_wait, METH_VARARGS, NULL},
    {"wait_watching", mapping_wait_watching, METH_VARARGS, NULL},
    {"ring_bell", mapping_ring_bell, METH_VARARGS, NULL},
    {"collapse", mapping_collapse, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyType_Slot mapping_slots[] = {{Py_tp_new, mapping_new},
                                      {Py_tp_dealloc, dl_mapping_dealloc},
                                      {Py_tp_methods, mapping_methods},
                                      {Py_mp_length, mapping_length},
                                      {Py_bf_getbuffer, mapping_buffer},
                                      {0, NULL}};
static PyType_Spec mapping_spec = {"disklog_mp._core.Mapping", sizeof(Mapping), 0,
                                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, mapping_slots};

int dl_add_mapping_type(PyObject *module)
{
    os_page = (uintptr_t)sysconf(_SC_PAGESIZE);
    dl_mapping_type = dl_add_type(module, "Mapping", &mapping_spec, NULL);
    return dl_mapping_type == NULL ? -1 : 0;
}
