/* Memory and rings as Python objects, for the files that work on them: mapping.c, ring_object.c, producer.c,
 * records.c.
 */
#ifndef DL_OBJECTS_H
#define DL_OBJECTS_H

#include "binding.h"

#include "../os/kernel.h"
#include "../core/ring.h"

typedef struct {
    PyObject_HEAD
    uint8_t *memory;
    size_t size;
    int writable;
    int guarded; /* 1 + its place among those; 0: none */
} Mapping;

typedef struct {
    Mapping mapping;
    struct dl_ring ring;
} Ring;

static inline struct dl_ring *ring_of(PyObject *self) { return &((Ring *)self)->ring; }

/* True if it slept. */
static inline bool wake_writer(struct dl_ring *ring)
{
    atomic_fetch_add_explicit(&ring->control->bell, 1, memory_order_relaxed);
    return futex_wake(&ring->control->bell, 1) > 0;
}

#define HUGE_PAGE ((size_t)2 << 20) /* bytes, on the machines that have them in a size of use here */

/* What an append answers besides a status of ring.h. */
enum { NEEDS_ATTACH = -16, NEEDS_ATTENTION = -17, HALTED = -18 };

extern PyTypeObject *dl_mapping_type, *dl_ring_type; /* set once, at import */

PyObject *dl_map_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
void dl_mapping_dealloc(PyObject *self);

/* A slot of a ring by its number; NULL with an exception set. */
struct dl_slot *dl_slot_at(PyObject *ring, unsigned int index);

#endif
