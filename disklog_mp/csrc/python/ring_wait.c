/* How processes wait for one another in a ring: for space, for `written` and `durable`, and the writer for work.
 *
 * Each of these waits has two halves, the sleeper's and the waker's, and both stand here.  What is waited for, and how
 * long, the callers decide.
 */
#include "ring_wait.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../os/kernel.h"
#include "../os/wall_clock.h"
#include "objects.h"

bool dl_wake_writer(struct dl_ring *ring)
{
    atomic_fetch_add_explicit(&ring->control->bell, 1, memory_order_relaxed);
    return futex_wake(&ring->control->bell, 1) > 0;
}

PyObject *dl_ring_release(PyObject *self, PyObject *args)
{
    unsigned long long from, to;
    if (!PyArg_ParseTuple(args, "KK", &from, &to))
        return NULL;
    struct dl_control *control = ring_of(self)->control;
    dl_release(ring_of(self), from, to);
    /* Dekker's, as in parking: a producer stores its wish, then looks for room. */
    atomic_thread_fence(memory_order_seq_cst);
    DL_POINT("released");
    if (atomic_load(&control->space_wanted) != 0 && atomic_exchange(&control->space_wanted, 0) != 0) {
        DL_POINT("space");
        atomic_fetch_add(&control->space, 1);
        futex_wake(&control->space, INT32_MAX);
    }
    Py_RETURN_NONE;
}

/* What a sleeping writer looks at besides: paths that lead to files it has open, and processes. */
#define WATCHED 2
struct watched {
    int count;
    struct {
        const char *path;
        unsigned long long device, inode;
    } places[WATCHED];
    struct pollfd *processes;
    nfds_t process_count;
};

static int parse_watched(PyObject *places, const char *pidfds, Py_ssize_t length, struct watched *watched)
{
    watched->count = (int)PyTuple_Size(places);
    watched->process_count = (nfds_t)length / sizeof(int);
    if (watched->count > WATCHED) {
        PyErr_Format(PyExc_ValueError, "%d places to watch are more than %d", watched->count, WATCHED);
        return -1;
    }
    for (int i = 0; i < watched->count; i++)
        if (!PyArg_ParseTuple(PyTuple_GetItem(places, i), "yKK", &watched->places[i].path,
                              &watched->places[i].device, &watched->places[i].inode))
            return -1;
    watched->processes = calloc(watched->process_count + 1, sizeof *watched->processes);
    if (watched->processes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (nfds_t i = 0; i < watched->process_count; i++) {
        memcpy(&watched->processes[i].fd, pidfds + i * sizeof(int), sizeof(int));
        watched->processes[i].events = POLLIN;
    }
    return 0;
}

/* Does a path lead elsewhere now, or has a process ended? */
static bool has_changed(struct watched *watched)
{
    for (int i = 0; i < watched->count; i++) {
        struct stat now;
        if (lstat(watched->places[i].path, &now) != 0 || now.st_dev != watched->places[i].device
            || now.st_ino != watched->places[i].inode)
            return true;
    }
    return watched->process_count != 0 && poll(watched->processes, watched->process_count, 0) > 0;
}

/* Sleep until a producer rings, or what is watched changes (False), or the time is over (True).  `bell` is
 * what it was before the caller looked whether there is anything to do, or is read before `parked` is set: one
 * rung since then is not slept through.  A producer killed between taking `parked` and ringing is noticed at
 * the end of a slice, as what is watched is, and a signal that came just before the sleep. */
PyObject *dl_ring_park(PyObject *self, PyObject *args)
{
    unsigned long long position;
    double seconds, slice = 0.1;
    struct dl_ring *ring = ring_of(self);
    unsigned int bell = atomic_load(&ring->control->bell);
    PyObject *places = NULL;
    const char *pidfds = NULL;
    Py_ssize_t length = 0;
    struct watched watched = {.processes = NULL};
    if (!PyArg_ParseTuple(args, "Kd|dIO!y#", &position, &seconds, &slice, &bell, &PyTuple_Type, &places, &pidfds,
                          &length)
        || (places != NULL && parse_watched(places, pidfds, length, &watched) != 0))
        return NULL;
    bool over = false;
    dl_park(ring);
    if (atomic_load(&ring->control->barrier) != 0)
        membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
    if (dl_may_sleep(ring, position)) {
        DL_POINT("parked");
        for (bool again = true; again && !over;) {
            Py_BEGIN_ALLOW_THREADS
            again = futex_wait(&ring->control->bell, bell, seconds < slice ? seconds : slice) != 0
                    && errno == ETIMEDOUT && dl_is_parked(ring) && dl_frontier(ring, position) == position
                    && !has_changed(&watched);
            if (again && slice >= 0.1) /* in a test's shorter sleep it counts the rounds of chores */
                atomic_store_explicit(&ring->control->heartbeat, dl_wall_read(), memory_order_relaxed);
            Py_END_ALLOW_THREADS
            seconds -= slice;
            over = again && seconds <= 0;
            again = again && PyErr_CheckSignals() == 0;
        }
        dl_unpark(ring);
    }
    free(watched.processes);
    if (PyErr_Occurred() != NULL || PyErr_CheckSignals() != 0)
        return NULL;
    return PyBool_FromLong(over);
}

/* Sleep so long without asking for the bell: producers do not ring, whoever waits for the writer does. */
PyObject *dl_ring_doze(PyObject *self, PyObject *args)
{
    double seconds;
    struct dl_ring *ring = ring_of(self);
    unsigned int bell = atomic_load(&ring->control->bell);
    if (!PyArg_ParseTuple(args, "d|I", &seconds, &bell))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    futex_wait(&ring->control->bell, bell, seconds);
    Py_END_ALLOW_THREADS
    if (PyErr_CheckSignals() != 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *dl_ring_wake(PyObject *self, PyObject *unused)
{
    (void)unused;
    dl_wake_writer(ring_of(self));
    Py_RETURN_NONE;
}

/* Tell the sleepers in flush and sync that `written` or `durable` moved. */
PyObject *dl_ring_announce(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct dl_control *control = ring_of(self)->control;
    if (atomic_load(&control->done_wanted) != 0 && atomic_exchange(&control->done_wanted, 0) != 0) {
        DL_POINT("done");
        atomic_fetch_add(&control->done, 1);
        futex_wake(&control->done, INT32_MAX);
    }
    Py_RETURN_NONE;
}
