/* The producer table's methods, for the type Ring. */
#ifndef DL_RING_SLOTS_H
#define DL_RING_SLOTS_H

#include "binding.h"
#include "../core/layout.h"

/* A slot of a ring by its number; NULL with an exception set. */
struct dl_slot *dl_slot_at(PyObject *ring, unsigned int index);

uint32_t dl_slot_incarnation(struct dl_slot *slot);

/* Give a slot back: the owner has no claim open and will make no other.  False if it is not taken. */
bool dl_leave_slot(struct dl_slot *slot, uint32_t incarnation);

/* Methods of Ring. */
PyObject *dl_ring_slot(PyObject *self, PyObject *args);
PyObject *dl_ring_slot_word(PyObject *self, PyObject *args);
PyObject *dl_ring_slots(PyObject *self, PyObject *args);
PyObject *dl_ring_odd_slots(PyObject *self, PyObject *unused);
PyObject *dl_ring_attach(PyObject *self, PyObject *args);
PyObject *dl_ring_label(PyObject *self, PyObject *args);
PyObject *dl_ring_unlabelled(PyObject *self, PyObject *unused);
PyObject *dl_ring_answer_label(PyObject *self, PyObject *args);
PyObject *dl_ring_detach(PyObject *self, PyObject *args);
PyObject *dl_ring_retire(PyObject *self, PyObject *args);
PyObject *dl_ring_retire_resume(PyObject *self, PyObject *unused);
PyObject *dl_ring_totals(PyObject *self, PyObject *unused);
PyObject *dl_ring_begin_totals(PyObject *self, PyObject *args);
PyObject *dl_ring_retirement(PyObject *self, PyObject *unused);

int dl_add_slot_types(PyObject *module); /* the results of slot() and totals(): 0, or -1 with an exception */

#endif
