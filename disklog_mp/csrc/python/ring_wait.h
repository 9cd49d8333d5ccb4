/* Waiting and waking, for the type Ring and for producers. */
#ifndef DL_RING_WAIT_H
#define DL_RING_WAIT_H

#include "binding.h"
#include "../core/ring.h"

/* Ring the writer's bell; true if the writer was asleep. */
bool dl_wake_writer(struct dl_ring *ring);

/* Methods of Ring. */
PyObject *dl_ring_want(PyObject *self, PyObject *args);
PyObject *dl_ring_wait_for(PyObject *self, PyObject *args);
PyObject *dl_ring_release(PyObject *self, PyObject *args);
PyObject *dl_ring_announce(PyObject *self, PyObject *unused);
PyObject *dl_ring_wake_all(PyObject *self, PyObject *unused);
PyObject *dl_ring_ask_sync(PyObject *self, PyObject *args);
PyObject *dl_ring_raise_hint(PyObject *self, PyObject *args);
PyObject *dl_ring_ask_roll(PyObject *self, PyObject *unused);
PyObject *dl_ring_take_start_turn(PyObject *self, PyObject *args);
PyObject *dl_ring_park(PyObject *self, PyObject *args);
PyObject *dl_ring_doze(PyObject *self, PyObject *args);
PyObject *dl_ring_wake(PyObject *self, PyObject *unused);

#endif
