/* How processes wait for one another in a ring: for space, for `written` and `durable`, and the writer for
 * work.
 *
 * Each of these waits has two halves, the sleeper's and the waker's, and both stand here.  What is waited
 * for, and how long, the callers decide.
 */
#include "ring_wait.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "../os/kernel.h"
#include "../os/wall_clock.h"
#include "objects.h"

/* ---- for space, and for `written` and `durable` -------------------------------------------------------- */

/* What can be waited for; Python knows these by name. */
enum { SPACE = DL_CONTROL_OFFSET + offsetof(struct dl_control, space),
       DONE = DL_CONTROL_OFFSET + offsetof(struct dl_control, done) };

/* want(SPACE or DONE) -> seen: say that this process waits.  Then the caller looks for what it waits for,
 * and if that is not there it calls wait_for() with what was seen. */
PyObject *dl_ring_want(PyObject *self, PyObject *args)
{
    struct dl_control *control = ring_of(self)->control;
    unsigned int which;
    uint32_t seen;
    if (!PyArg_ParseTuple(args, "I", &which))
        return NULL;
    DL_POINT("store");
    if (which == SPACE) {
        seen = DL_LABEL(space:A, atomic_load(&control->space));
        DL_LABEL(space:B, atomic_store(&control->space_wanted, 1));
    } else if (which == DONE) {
        seen = DL_LABEL(done:A, atomic_load(&control->done));
        DL_LABEL(done:B, atomic_store(&control->done_wanted, 1));
    } else
        return PyErr_Format(PyExc_ValueError, "%u is neither SPACE nor DONE", which);
    return PyLong_FromUnsignedLong(seen);
}

/* wait_for(which, seen, seconds): True if woken since want(), False if the time ran out.  0 only looks. */
PyObject *dl_ring_wait_for(PyObject *self, PyObject *args)
{
    struct dl_control *control = ring_of(self)->control;
    unsigned int which, seen;
    double seconds;
    if (!PyArg_ParseTuple(args, "IId", &which, &seen, &seconds))
        return NULL;
    if (which != SPACE && which != DONE)
        return PyErr_Format(PyExc_ValueError, "%u is neither SPACE nor DONE", which);
    const void *word = which == SPACE ? &control->space : &control->done;
    uint32_t now = which == SPACE ? DL_LABEL(space:A, atomic_load(&control->space))
                                  : DL_LABEL(done:A, atomic_load(&control->done));
    bool is_woken = now != seen;
    if (!is_woken && seconds > 0) {
        Py_BEGIN_ALLOW_THREADS
        is_woken = futex_wait(word, seen, seconds) == 0 || errno == EAGAIN;
        Py_END_ALLOW_THREADS
    }
    if (PyErr_CheckSignals() != 0)
        return NULL;
    return PyBool_FromLong(is_woken);
}

static void wake_for_space(struct dl_control *control)
{
    DL_LABEL(space:E, atomic_fetch_add(&control->space, 1));
    futex_wake(&control->space, INT32_MAX);
}

static void wake_for_done(struct dl_control *control)
{
    DL_LABEL(done:D, atomic_fetch_add(&control->done, 1));
    futex_wake(&control->done, INT32_MAX);
}

/* release(from, to): give space back, and wake the producers that wait for space. */
PyObject *dl_ring_release(PyObject *self, PyObject *args)
{
    unsigned long long from, to;
    if (!PyArg_ParseTuple(args, "KK", &from, &to))
        return NULL;
    struct dl_control *control = ring_of(self)->control;
    dl_release(ring_of(self), from, to);
    DL_LABEL(space:C, atomic_thread_fence(memory_order_seq_cst));
    DL_POINT("released");
    if (DL_LABEL(space:D, atomic_load(&control->space_wanted)) != 0
        && DL_LABEL(space:D, atomic_exchange(&control->space_wanted, 0)) != 0) {
        DL_POINT("space");
        wake_for_space(control);
    }
    Py_RETURN_NONE;
}

/* announce(): `written` or `durable` moved; wake the processes that wait for that. */
PyObject *dl_ring_announce(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct dl_control *control = ring_of(self)->control;
    if (DL_LABEL(done:C, atomic_load(&control->done_wanted)) != 0
        && DL_LABEL(done:C, atomic_exchange(&control->done_wanted, 0)) != 0) {
        DL_POINT("done");
        wake_for_done(control);
    }
    Py_RETURN_NONE;
}

/* wake_all(): something changed that every sleeper must see, such as a successor of this ring. */
PyObject *dl_ring_wake_all(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct dl_control *control = ring_of(self)->control;
    DL_POINT("bell");
    wake_for_space(control);
    DL_POINT("bell rung");
    wake_for_done(control);
    Py_RETURN_NONE;
}

/* ---- what callers ask the writer for
 * -------------------------------------------------------------------- */

static PyObject *raise_word(PyObject *args, _Atomic uint64_t *word)
{
    unsigned long long position;
    if (!PyArg_ParseTuple(args, "K", &position))
        return NULL;
    DL_POINT("store");
    dl_maximize(word, position);
    Py_RETURN_NONE;
}

/* ask_sync(position): what is before the position is to become durable. */
PyObject *dl_ring_ask_sync(PyObject *self, PyObject *args)
{
    return raise_word(args, &ring_of(self)->control->sync_wanted);
}

/* raise_hint(position): the end of a claim of the caller's own, for a writer that a damaged word led
 * astray. */
PyObject *dl_ring_raise_hint(PyObject *self, PyObject *args)
{
    return raise_word(args, &ring_of(self)->control->hint);
}

/* ask_roll(): the page that is being written is to be sealed. */
PyObject *dl_ring_ask_roll(PyObject *self, PyObject *unused)
{
    (void)unused;
    DL_LABEL(word:D, atomic_fetch_add(&ring_of(self)->control->roll_wanted, 1));
    Py_RETURN_NONE;
}

/* take_start_turn(seen, next): store the word of the next turn if it is still what the caller saw.  True: the
 * caller, and no other session, may start a writer now. */
PyObject *dl_ring_take_start_turn(PyObject *self, PyObject *args)
{
    unsigned long long seen, next;
    if (!PyArg_ParseTuple(args, "KK", &seen, &next))
        return NULL;
    uint64_t expected = seen;
    DL_POINT("store");
    return PyBool_FromLong(DL_LABEL(
        word:H, atomic_compare_exchange_strong(&ring_of(self)->control->start_turn, &expected, next)));
}

/* ---- the writer, for work
 * ------------------------------------------------------------------------------- */

bool dl_wake_writer(struct dl_ring *ring)
{
    DL_LABEL(bell:A, atomic_fetch_add_explicit(&ring->control->bell, 1, memory_order_relaxed));
    return futex_wake(&ring->control->bell, 1) > 0;
}

/* What a sleeping writer looks at besides the bell: paths that lead to files of the log, processes, and
 * whether a copy of the ring's file shares its blocks (`ring`, -1: no look). */
#define WATCHED 3
#define EXTENTS 64 /* asked for at once; a ring has few */
struct watched {
    int count, ring;
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

/* As has_shared_blocks() of _os/attributes.py. */
static bool has_shared_blocks(int fd)
{
    union {
        struct fiemap map;
        unsigned char room[sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent)];
    } found;
    for (uint64_t begin = 0;;) {
        memset(&found, 0, sizeof found);
        found.map.fm_start = begin;
        found.map.fm_length = FIEMAP_MAX_OFFSET - begin;
        found.map.fm_extent_count = EXTENTS;
        if (ioctl(fd, FS_IOC_FIEMAP, &found.map) != 0 || found.map.fm_mapped_extents == 0)
            return false;
        struct fiemap_extent extent = {.fe_flags = 0};
        for (uint32_t i = 0; i < found.map.fm_mapped_extents && i < EXTENTS; i++) {
            memcpy(&extent, found.room + sizeof(struct fiemap) + i * sizeof extent, sizeof extent);
            if ((extent.fe_flags & FIEMAP_EXTENT_SHARED) != 0)
                return true;
        }
        if ((extent.fe_flags & FIEMAP_EXTENT_LAST) != 0)
            return false;
        begin = extent.fe_logical + extent.fe_length;
    }
}

/* True if a path leads elsewhere now, a process has ended, or a copy shares the ring's blocks. */
static bool has_changed(struct watched *watched)
{
    for (int i = 0; i < watched->count; i++) {
        struct stat now;
        if (lstat(watched->places[i].path, &now) != 0 || now.st_dev != watched->places[i].device
            || now.st_ino != watched->places[i].inode)
            return true;
    }
    if (watched->ring >= 0 && has_shared_blocks(watched->ring))
        return true;
    return watched->process_count != 0 && poll(watched->processes, watched->process_count, 0) > 0;
}

/* park(position, seconds, slice, bell, places, pidfds, ring): sleep until a producer rings, or what is
 * watched changes (False), or the time is over (True).  `bell` is what the caller saw before it looked for
 * work, or is read before `parked` is set: one ring since then is not slept through.  The end of each slice
 * notices what no bell tells: a producer killed between taking `parked` and ringing, a change of what is
 * watched, a signal just before the sleep. */
PyObject *dl_ring_park(PyObject *self, PyObject *args)
{
    unsigned long long position;
    double seconds, slice = 0.1;
    struct dl_ring *ring = ring_of(self);
    unsigned int bell = DL_LABEL(bell:B, atomic_load(&ring->control->bell));
    PyObject *places = NULL;
    const char *pidfds = NULL;
    Py_ssize_t length = 0;
    struct watched watched = {.ring = -1, .processes = NULL};
    if (!PyArg_ParseTuple(args, "Kd|dIO!y#i", &position, &seconds, &slice, &bell, &PyTuple_Type, &places,
                          &pidfds, &length, &watched.ring)
        || (places != NULL && parse_watched(places, pidfds, length, &watched) != 0))
        return NULL;
    bool over = false;
    dl_park(ring);
    if (DL_LABEL(bell:C, atomic_load(&ring->control->barrier)) != 0)
        membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
    if (dl_may_sleep(ring, position)) {
        DL_POINT("parked");
        for (bool again = true; again && !over;) {
            Py_BEGIN_ALLOW_THREADS
            again = futex_wait(&ring->control->bell, bell, seconds < slice ? seconds : slice) != 0
                    && errno == ETIMEDOUT && dl_is_parked(ring) && dl_frontier(ring, position) == position
                    && !has_changed(&watched);
            if (again && slice >= 0.1) /* in a test's shorter sleep it counts the rounds of chores */
                DL_LABEL(beat:A, atomic_store_explicit(&ring->control->heartbeat, dl_wall_read(),
                                                       memory_order_relaxed));
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

/* doze(seconds, bell): sleep without asking producers to ring; a process that waits for the writer rings. */
PyObject *dl_ring_doze(PyObject *self, PyObject *args)
{
    double seconds;
    struct dl_ring *ring = ring_of(self);
    unsigned int bell = DL_LABEL(bell:B, atomic_load(&ring->control->bell));
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
