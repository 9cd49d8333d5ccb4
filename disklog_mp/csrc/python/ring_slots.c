/* A ring's producer table, as methods of Ring: read a slot, take one, give it back, and the totals of those that are
 * free again.  Which slot may be taken, and whose owner is dead, is decided in Python, by the kernel's locks.
 */
#include "ring_slots.h"

#include "objects.h"

struct dl_slot *dl_slot_at(PyObject *self, unsigned int index)
{
    if (index >= DL_SLOTS) {
        PyErr_Format(PyExc_IndexError, "slot %u of %u", index, DL_SLOTS);
        return NULL;
    }
    return &ring_of(self)->slots[index];
}

PyObject *dl_ring_slot(PyObject *self, PyObject *args)
{
    unsigned int index;
    if (!PyArg_ParseTuple(args, "I", &index))
        return NULL;
    struct dl_slot *slot = dl_slot_at(self, index);
    if (slot == NULL)
        return NULL;
    uint64_t word = atomic_load(&slot->word);
    return Py_BuildValue("(IIIIKKKKKKI)", index, (unsigned int)word, (unsigned int)(word >> 32), slot->pid,
                         slot->start, slot->pid_namespace, slot->since, atomic_load(&slot->logged),
                         atomic_load(&slot->dropped), atomic_load(&slot->waited), slot->again);
}

/* Indexes of the slots in a state between two, so many at the most. */
static PyObject *slots_between(PyObject *self, uint32_t lowest, uint32_t highest, unsigned int most)
{
    PyObject *list = PyList_New(0);
    for (unsigned int i = 0, found = 0; list != NULL && i < DL_SLOTS && found < most; i++) {
        /* In the single order: after closing a ring, it is half of Dekker's with those who attach. */
        uint32_t state = (uint32_t)atomic_load(&ring_of(self)->slots[i].word);
        if (state < lowest || state > highest)
            continue;
        PyObject *index = PyLong_FromUnsignedLong(i);
        if (index == NULL || PyList_Append(list, index) != 0) {
            Py_DecRef(list);
            list = NULL;
        }
        Py_DecRef(index);
        found++;
    }
    return list;
}

/* Indexes of the slots in that state. */
PyObject *dl_ring_slots(PyObject *self, PyObject *args)
{
    unsigned int state;
    unsigned int most = DL_SLOTS;
    return PyArg_ParseTuple(args, "I|I", &state, &most) ? slots_between(self, state, state, most) : NULL;
}

/* Indexes of the slots whose state is none that can be. */
PyObject *dl_ring_odd_slots(PyObject *self, PyObject *unused)
{
    (void)unused;
    return slots_between(self, DL_SLOT_DETACHED + 1u, UINT32_MAX, DL_SLOTS);
}

/* Fill a FREE slot; the caller holds the kernel's lock on its byte. */
PyObject *dl_ring_attach(PyObject *self, PyObject *args)
{
    unsigned int index, pid;
    unsigned long long start, pid_namespace, since;
    if (!PyArg_ParseTuple(args, "IIKKK", &index, &pid, &start, &pid_namespace, &since))
        return NULL;
    struct dl_slot *slot = dl_slot_at(self, index);
    if (slot == NULL)
        return NULL;
    uint64_t word = atomic_load(&slot->word);
    if ((uint32_t)word != DL_SLOT_FREE)
        Py_RETURN_FALSE;
    DL_POINT("slot locked");
    slot->pid = pid;
    slot->start = start;
    slot->pid_namespace = pid_namespace;
    slot->since = since;
    slot->again = 0;
    atomic_store(&slot->logged, 0);
    atomic_store(&slot->dropped, 0);
    atomic_store(&slot->waited, 0);
    DL_POINT("attaching");
    return PyBool_FromLong(atomic_compare_exchange_strong(&slot->word, &word, word | DL_SLOT_ATTACHED));
}

/* The owner has no claim open and will make no other. */
PyObject *dl_ring_detach(PyObject *self, PyObject *args)
{
    unsigned int index, incarnation;
    if (!PyArg_ParseTuple(args, "II", &index, &incarnation))
        return NULL;
    struct dl_slot *slot = dl_slot_at(self, index);
    if (slot == NULL)
        return NULL;
    uint64_t word = (uint64_t)incarnation << 32 | DL_SLOT_ATTACHED;
    DL_POINT("detaching");
    return PyBool_FromLong(
        atomic_compare_exchange_strong(&slot->word, &word, (word & ~1ull) | DL_SLOT_DETACHED));
}

PyObject *dl_ring_retire(PyObject *self, PyObject *args)
{
    unsigned int index;
    if (!PyArg_ParseTuple(args, "I", &index) || dl_slot_at(self, index) == NULL)
        return NULL;
    dl_retire(ring_of(self), index);
    Py_RETURN_NONE;
}

PyObject *dl_ring_retire_resume(PyObject *self, PyObject *unused)
{
    (void)unused;
    dl_retire_resume(ring_of(self));
    Py_RETURN_NONE;
}

/* logged, dropped, waited of all slots retired so far. */
PyObject *dl_ring_totals(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct dl_control *control = ring_of(self)->control;
    _Atomic uint64_t *totals = control->totals[atomic_load(&control->retired_count) & 1];
    return Py_BuildValue("(KKK)", atomic_load(&totals[0]), atomic_load(&totals[1]),
                         atomic_load(&totals[2]));
}
