/* The Python objects that several files work on: Mapping, Ring, Producer, Outlet; and what a producer's
 * call answers besides a status of ring.h.
 */
#ifndef DL_OBJECTS_H
#define DL_OBJECTS_H

#include "binding.h"

#include "../core/ring.h"

typedef struct {
    PyObject_HEAD
    uint8_t *memory;
    size_t size;
    int writable;
    int guard; /* its number, see sigbus.h; 0: none */
} Mapping;

typedef struct {
    Mapping mapping;
    struct dl_ring ring;
} Ring;

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
    _Atomic int attention; /* before the next record, see enum attention */
    _Atomic uint32_t kind; /* of a record of this producer: DL_RECORD and its label */
    _Atomic int inside; /* appends under way without the GIL: detach waits for them */
    PyObject *former; /* free-threaded: rings another thread may still be in */
} Producer;

typedef struct {
    PyObject_HEAD
    PyObject *session; /* or NULL: none yet */
    PyObject *former; /* free-threaded: sessions another thread may still be in */
    int level; /* of loggers that have none of their own */
} Outlet;

static inline struct dl_ring *ring_of(PyObject *self) { return &((Ring *)self)->ring; }

#define HUGE_PAGE ((size_t)2 << 20) /* bytes, on the machines that have them in a size of use here */

/* What has to be done before the next record. */
enum attention {
    ATTENTION_SESSION = 1, /* session.py wants to be asked first: drops to report */
    ATTENTION_LABEL = 2, /* the writer has not answered yet which label is ours */
};

/* What an append answers besides a status of ring.h. */
enum { NEEDS_ATTACH = -16, NEEDS_ATTENTION = -17, HALTED = -18 };

/* The types, set once, when the module is imported. */
extern PyTypeObject *dl_mapping_type, *dl_ring_type, *dl_outlet_type;

/* Map a file as an object of that type: Mapping, or a type that begins like one. */
PyObject *dl_map_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
void dl_mapping_dealloc(PyObject *self);

/* Store the value unless the word has a greater one. */
void dl_maximize(_Atomic uint64_t *word, uint64_t value);

#endif
