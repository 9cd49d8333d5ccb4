/* Seat: the descriptor of a ring's file, and the slot that a lock of this descriptor guards, in one object.
 *
 * The object gives both back when the last reference to it goes, so an exception between two lines of Python,
 * out of a signal handler, leaves nothing open and no slot taken.  All changes are made here, in one call
 * each: Python runs no signal handler in the middle of one.  A list of all seats lets a fork's child close
 * its parent's descriptors: a child that held the parent's locks would keep a dead parent alive.
 *
 * A lock lasts as long as the open file behind the descriptor, and a mapping keeps that open, too.  So a
 * process with a slot maps one page more, which no child inherits: a daemon that closes all its descriptors
 * keeps the lock, which is the only sign of its life that is seen from other pid namespaces. /
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* F_OFD_SETLK; Python.h defines it, what stands in for it does not */
#endif
#include "seat.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "objects.h"
#include "ring_slots.h"
#include "ring_wait.h"

enum { GUARD_LENGTH = 1 }; /* bytes: the kernel maps a whole page */

typedef struct seat {
    PyObject_HEAD
    struct seat *next, **link; /* in the list of all */
    PyObject *ring; /* a Ring in which this process holds a slot, or NULL */
    unsigned int slot;
    uint32_t incarnation;
    pid_t pid; /* of the process that took the slot */
    void *guard; /* one page, mapped through the descriptor that holds the lock, or NULL */
    int fd; /* -1: closed */
    dev_t device;
    ino_t inode;
} Seat;

static Seat *all_seats;
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;

/* False if the program closed the descriptor; another file may have its number now. */
static bool has_file(const Seat *seat)
{
    struct stat status;
    if (seat->fd < 0)
        return false;
    if (fstat(seat->fd, &status) != 0)
        return errno != EBADF;
    return status.st_dev == seat->device && status.st_ino == seat->inode;
}

static void close_file(Seat *seat)
{
    if (has_file(seat))
        close(seat->fd);
    seat->fd = -1;
}

static void map_guard(Seat *seat)
{
    void *page = mmap(NULL, GUARD_LENGTH, PROT_READ, MAP_SHARED, seat->fd, 0);
    if (page == MAP_FAILED)
        return;
    if (madvise(page, GUARD_LENGTH, MADV_DONTFORK) == 0)
        seat->guard = page;
    else
        munmap(page, GUARD_LENGTH);
}

static void unmap_guard(Seat *seat)
{
    /* A child of a fork that ran no handler has nothing there, or something else. */
    if (seat->guard != NULL && seat->pid == getpid())
        munmap(seat->guard, GUARD_LENGTH);
    seat->guard = NULL;
}

static bool lock_slot(int fd, unsigned int slot)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static void give_slot_back(Seat *seat)
{
    PyObject *ring = seat->ring;
    seat->ring = NULL;
    if (ring == NULL)
        return;
    if (seat->pid == getpid()) {
        struct dl_slot *slot = &ring_of(ring)->slots[seat->slot];
        /* The slot's word was scribbled over, or another process has the slot: the lock says which. */
        const bool left = dl_leave_slot(slot, seat->incarnation);
        unmap_guard(seat);
        if (!left && has_file(seat) && lock_slot(seat->fd, seat->slot))
            dl_leave_slot(slot, dl_slot_incarnation(slot));
        dl_wake_writer(ring_of(ring)); /* it may have stayed for this process alone */
    }
    Py_DecRef(ring);
}

static PyObject *seat_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    const char *path;
    int fd = -1, error;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "y|i", &path, &fd))
        return NULL;
    Seat *seat = (Seat *)dl_new_object(type);
    if (seat == NULL)
        return NULL;
    struct stat status = {0};
    seat->fd = -1;
    Py_BEGIN_ALLOW_THREADS
    if (fd < 0)
        fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        fstat(fd, &status);
    error = errno;
    Py_END_ALLOW_THREADS
    if (fd < 0) {
        Py_DecRef((PyObject *)seat);
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    seat->fd = fd;
    seat->device = status.st_dev;
    seat->inode = status.st_ino;
    pthread_mutex_lock(&list_lock);
    seat->link = &all_seats;
    seat->next = all_seats;
    if (all_seats != NULL)
        all_seats->link = &seat->next;
    all_seats = seat;
    pthread_mutex_unlock(&list_lock);
    return (PyObject *)seat;
}

static void seat_dealloc(PyObject *self)
{
    Seat *seat = (Seat *)self;
    give_slot_back(seat);
    close_file(seat);
    if (seat->link != NULL) {
        pthread_mutex_lock(&list_lock);
        *seat->link = seat->next;
        if (seat->next != NULL)
            seat->next->link = seat->link;
        pthread_mutex_unlock(&list_lock);
    }
    dl_free_object(self);
}

void dl_leave_seats_to_parent(void)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    list_lock = fresh; /* a thread that held it is not there any more */
    for (Seat *seat = all_seats; seat != NULL; seat = seat->next) {
        seat->guard = NULL; /* it was not inherited */
        close_file(seat);
    }
}

PyDoc_STRVAR(reopen_doc,
             "reopen() -> None\n\nOpen the same file once more, and close the first descriptor.");

static PyObject *seat_reopen(PyObject *self, PyObject *unused)
{
    (void)unused;
    Seat *seat = (Seat *)self;
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", seat->fd);
    int again = open(name, O_RDWR | O_CLOEXEC);
    if (again < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    close_file(seat);
    seat->fd = again;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(attach_doc,
             "attach(ring, arguments) -> bool\n\n"
             "Take a free slot as Ring.attach() does with these arguments, its index first; the caller\n"
             "holds the lock on its byte.  The seat gives it back.");

static PyObject *seat_attach(PyObject *self, PyObject *args)
{
    Seat *seat = (Seat *)self;
    PyObject *ring, *arguments;
    if (!PyArg_ParseTuple(args, "O!O!", dl_ring_type, &ring, &PyTuple_Type, &arguments))
        return NULL;
    if (seat->ring != NULL) {
        PyErr_SetString(PyExc_ValueError, "this seat has a slot already");
        return NULL;
    }
    PyObject *taken = dl_ring_attach(ring, arguments);
    if (taken != NULL && PyObject_IsTrue(taken) == 1) {
        Py_IncRef(ring);
        seat->slot = (unsigned int)PyLong_AsLong(PyTuple_GetItem(arguments, 0));
        seat->incarnation = dl_slot_incarnation(&ring_of(ring)->slots[seat->slot]);
        seat->pid = getpid();
        seat->ring = ring;
        map_guard(seat);
    }
    return taken;
}

PyDoc_STRVAR(mend_doc,
             "mend(path) -> bool\n\n"
             "Open the ring's file again if a daemon closed the descriptor; True if its lock is held now.");

static PyObject *seat_mend(PyObject *self, PyObject *args)
{
    Seat *seat = (Seat *)self;
    const char *path;
    struct stat status;
    if (!PyArg_ParseTuple(args, "y", &path))
        return NULL;
    if (seat->ring == NULL)
        return PyBool_FromLong(0);
    if (has_file(seat))
        return PyBool_FromLong(1);
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return PyBool_FromLong(0);
    bool good = fstat(fd, &status) == 0 && status.st_dev == seat->device && status.st_ino == seat->inode
                && (seat->guard != NULL || lock_slot(fd, seat->slot));
    if (good)
        seat->fd = fd;
    else
        close(fd);
    return PyBool_FromLong(good);
}

PyDoc_STRVAR(close_doc, "close() -> None\n\nGive the slot back and close the descriptor.  Twice is fine.");

static PyObject *seat_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    give_slot_back((Seat *)self);
    close_file((Seat *)self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(give_up_doc, "give_up() -> int\n\nReturn the descriptor, which the caller closes from now on.");

static PyObject *seat_give_up(PyObject *self, PyObject *unused)
{
    (void)unused;
    Seat *seat = (Seat *)self;
    PyObject *fd = PyLong_FromLong(seat->fd);
    if (fd != NULL)
        seat->fd = -1;
    return fd;
}

static PyObject *seat_get(PyObject *self, void *closure)
{
    Seat *seat = (Seat *)self;
    if (closure == NULL)
        return PyLong_FromLong(seat->fd);
    return PyLong_FromLong(seat->ring == NULL ? -1 : (long)seat->slot);
}

static PyGetSetDef seat_getset[] = {{"fd", seat_get, NULL, NULL, NULL},
                                    {"slot", seat_get, NULL, NULL, &all_seats},
                                    {NULL, NULL, NULL, NULL, NULL}};
static PyMethodDef seat_methods[] = {{"reopen", seat_reopen, METH_NOARGS, reopen_doc},
                                     {"attach", seat_attach, METH_VARARGS, attach_doc},
                                     {"mend", seat_mend, METH_VARARGS, mend_doc},
                                     {"close", seat_close, METH_NOARGS, close_doc},
                                     {"give_up", seat_give_up, METH_NOARGS, give_up_doc},
                                     {NULL, NULL, 0, NULL}};
static PyType_Slot seat_slots[] = {{Py_tp_new, seat_new},
                                   {Py_tp_dealloc, seat_dealloc},
                                   {Py_tp_methods, seat_methods},
                                   {Py_tp_getset, seat_getset},
                                   {0, NULL}};
static PyType_Spec seat_spec = {"disklog_mp._core.Seat", sizeof(Seat), 0, Py_TPFLAGS_DEFAULT, seat_slots};

PyDoc_STRVAR(in_turn_doc,
             "in_turn(lock, seconds, action) -> object\n\n"
             "Call an action with a lock held, or without it when another thread keeps it for so long.  No\n"
             "exception out of a signal handler leaves the lock held.");

static PyObject *core_in_turn(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *lock, *action, *type, *value, *traceback;
    double seconds;
    if (!PyArg_ParseTuple(args, "OdO", &lock, &seconds, &action))
        return NULL;
    PyObject *taken = PyObject_CallMethod(lock, "acquire", "id", 1, seconds);
    if (taken == NULL)
        return NULL;
    int has_lock = PyObject_IsTrue(taken) == 1;
    Py_DecRef(taken);
    PyObject *result = PyObject_CallNoArgs(action);
    if (has_lock) {
        PyErr_Fetch(&type, &value, &traceback);
        PyObject *done = PyObject_CallMethod(lock, "release", NULL);
        if (done == NULL)
            PyErr_Clear();
        Py_DecRef(done);
        PyErr_Restore(type, value, traceback);
    }
    return result;
}

static PyMethodDef seat_functions[] = {{"in_turn", core_in_turn, METH_VARARGS, in_turn_doc},
                                       {NULL, NULL, 0, NULL}};

int dl_add_seat_type(PyObject *module)
{
    if (dl_add_type(module, "Seat", &seat_spec, NULL) == NULL)
        return -1;
    return PyModule_AddFunctions(module, seat_functions);
}
