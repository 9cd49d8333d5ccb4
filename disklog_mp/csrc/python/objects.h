/* Memory and rings as Python objects, for the files that work on them: what a Mapping and a Ring are, and what a
 * producer's call answers besides a status of ring.h.
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

static inline struct dl_ring *ring_of(PyObject *self) { return &((Ring *)self)->ring; }

#define HUGE_PAGE ((size_t)2 << 20) /* bytes, on the machines that have them in a size of use here */

/* What an append answers besides a status of ring.h. */
enum { NEEDS_ATTACH = -16, NEEDS_ATTENTION = -17, HALTED = -18 };

/* The types, set once, when the module is imported. */
extern PyTypeObject *dl_mapping_type, *dl_ring_type;

/* Map a file as an object of that type: Mapping, or a type that begins like one. */
PyObject *dl_map_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
void dl_mapping_dealloc(PyObject *self);

#endif
