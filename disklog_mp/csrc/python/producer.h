/* Producer: what loggers in C need of it, and its state, for producer.c and producer_tuning.c. */
#ifndef DL_PRODUCER_H
#define DL_PRODUCER_H

#include "binding.h"
#include "../core/ring.h"

typedef struct {
    PyObject_HEAD
    PyObject *ring; /* a Ring, or NULL: not attached */
    struct dl_slot *slot;
    struct dl_claimant claimant;
    _Atomic uint64_t logged_at; /* wall clock, ns: its last record */
    _Atomic uint32_t losses; /* of the frontier, in a row, each right behind a record of its own */
    uint64_t token; /* of the process that may use the slot */
    _Atomic uint64_t end; /* position behind all this object logged: what flush waits for */
    uint64_t looked; /* when a silent writer was last looked at */
    uint64_t window; /* of the ring's bytes, where this object last logged */
    uint64_t windows; /* that may still have to be mapped */
    uint64_t here; /* bytes logged since it came there */
    int watch; /* look at the writer's heartbeat */
    int attention; /* session.py wants to be asked first: drops to report */
    _Atomic int inside; /* appends under way without the GIL: detach waits for them */
    PyObject *former; /* free-threaded: rings another thread may still be in */
} Producer;

/* True if it is a Producer, or of a subclass. */
bool dl_is_session(PyObject *object);

/* Log a record of that time; false if something is in the way: then session.log says what. */
bool dl_log(PyObject *session, const void *bytes, size_t length, uint64_t now, uint16_t tag);

int dl_add_producer_type(PyObject *module); /* 0, or -1 with an exception */

#endif
