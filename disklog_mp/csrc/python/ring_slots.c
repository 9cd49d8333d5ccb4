/* A ring's producer table, as methods of Ring: read a slot, take one, give it back, and the totals of
 * those that are free again.  Which slot may be taken, and whose owner is dead, is decided in Python, by
 * the kernel's locks.
 */
#include "ring_slots.h"

#include <string.h>

#include "objects.h"

static PyStructSequence_Field slot_fields[] = {
    {"index", NULL},  {"state", NULL},  {"incarnation", NULL}, {"pid", NULL},
    {"start", NULL},  {"namespace", NULL}, {"since", NULL},    {"logged", NULL},
    {"dropped", NULL}, {"waited", NULL}, {"relogged", NULL},   {NULL, NULL}};
static PyStructSequence_Desc slot_description = {"disklog_mp._core.Slot", NULL, slot_fields, 11};
static PyStructSequence_Field totals_fields[] = {
    {"logged", NULL}, {"dropped", NULL}, {"waited", NULL}, {NULL, NULL}};
static PyStructSequence_Desc totals_description = {"disklog_mp._core.Totals", NULL, totals_fields, 3};
static PyTypeObject *slot_type, *totals_type; /* set once, when the module is imported */

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
    uint64_t word = DL_LABEL(slot:A, atomic_load(&slot->word));
    const uint64_t values[] = {index,
                               (uint32_t)word,
                               word >> 32,
                               slot->pid,
                               slot->start,
                               slot->pid_namespace,
                               slot->since,
                               DL_LABEL(slot:E, atomic_load(&slot->logged)),
                               DL_LABEL(slot:E, atomic_load(&slot->dropped)),
                               DL_LABEL(slot:E, atomic_load(&slot->waited)),
                               slot->again};
    return dl_make_result(slot_type, values, 11);
}

/* The state and the incarnation of a slot as one number. */
PyObject *dl_ring_slot_word(PyObject *self, PyObject *args)
{
    unsigned int index;
    if (!PyArg_ParseTuple(args, "I", &index))
        return NULL;
    struct dl_slot *slot = dl_slot_at(self, index);
    if (slot == NULL)
        return NULL;
    return PyLong_FromUnsignedLongLong(DL_LABEL(slot:A, atomic_load(&slot->word)));
}

/* Put an index behind a list.  The list, or NULL: then the list is gone, and an exception is set. */
static PyObject *with_index(PyObject *list, unsigned int number)
{
    PyObject *index = PyLong_FromUnsignedLong(number);
    if (index == NULL || PyList_Append(list, index) != 0) {
        Py_DecRef(list);
        list = NULL;
    }
    Py_DecRef(index);
    return list;
}

/* Indexes of the slots in a state between two, so many at the most. */
static PyObject *slots_between(PyObject *self, uint32_t lowest, uint32_t highest, unsigned int most)
{
    PyObject *list = PyList_New(0);
    for (unsigned int i = 0, found = 0; list != NULL && i < DL_SLOTS && found < most; i++) {
        /* In the single order: after close:A it is half of Dekker's with the processes that attach. */
        uint32_t state = (uint32_t)DL_LABEL(slot:A, atomic_load(&ring_of(self)->slots[i].word));
        if (state < lowest || state > highest)
            continue;
        list = with_index(list, i);
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
    const char *text = "";
    Py_ssize_t length = 0;
    if (!PyArg_ParseTuple(args, "IIKKK|y#", &index, &pid, &start, &pid_namespace, &since, &text, &length))
        return NULL;
    if (length > (Py_ssize_t)DL_LABEL_LENGTH) {
        PyErr_Format(PyExc_ValueError, "a label of %zd bytes: a ring has room for %u", length,
                     DL_LABEL_LENGTH);
        return NULL;
    }
    struct dl_slot *slot = dl_slot_at(self, index);
    if (slot == NULL)
        return NULL;
    uint64_t word = DL_LABEL(slot:A, atomic_load(&slot->word));
    if ((uint32_t)word != DL_SLOT_FREE)
        Py_RETURN_FALSE;
    DL_POINT("slot locked");
    slot->pid = pid;
    slot->start = start;
    slot->pid_namespace = pid_namespace;
    slot->since = since;
    slot->again = 0;
    DL_LABEL(slot:D, atomic_store(&slot->logged, 0));
    DL_LABEL(slot:D, atomic_store(&slot->dropped, 0));
    DL_LABEL(slot:D, atomic_store(&slot->waited, 0));
    struct dl_label *label = &ring_of(self)->labels[index];
    label->length = (uint16_t)length;
    DL_LABEL(slot:D, atomic_store(&label->policies, 0));
    memcpy(label->text, text, (size_t)length);
    DL_LABEL(label:C, atomic_store_explicit(&label->index, 0, memory_order_relaxed));
    DL_POINT("attaching");
    if (!DL_LABEL(slot:B, atomic_compare_exchange_strong(&slot->word, &word, word | DL_SLOT_ATTACHED)))
        Py_RETURN_FALSE;
    if (length != 0)
        DL_LABEL(label:D, atomic_store(&ring_of(self)->control->labels_wanted, 1));
    return PyBool_FromLong(1);
}

/* label(slot): the text that the slot's owner wants, the writer's answer, and the policies by which records
 * were dropped or refused; nothing in it is checked. */
PyObject *dl_ring_label(PyObject *self, PyObject *args)
{
    unsigned int index;
    if (!PyArg_ParseTuple(args, "I", &index) || dl_slot_at(self, index) == NULL)
        return NULL;
    const struct dl_label *label = &ring_of(self)->labels[index];
    const uint32_t length = label->length;
    return Py_BuildValue("(y#II)", label->text,
                         (Py_ssize_t)(length < DL_LABEL_LENGTH ? length : DL_LABEL_LENGTH),
                         DL_LABEL(label:A, atomic_load_explicit(&label->index, memory_order_acquire)),
                         (unsigned int)DL_LABEL(slot:E, atomic_load(&label->policies)));
}

/* unlabelled(): the slots whose producers wait for the index of their label. */
PyObject *dl_ring_unlabelled(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *list = PyList_New(0);
    for (unsigned int i = 0; list != NULL && i < DL_SLOTS; i++) {
        const struct dl_label *label = &ring_of(self)->labels[i];
        if ((uint32_t)DL_LABEL(label:E, atomic_load(&ring_of(self)->slots[i].word)) != DL_SLOT_ATTACHED
            || label->length == 0
            || DL_LABEL(label:A, atomic_load_explicit(&label->index, memory_order_acquire)) != 0)
            continue;
        list = with_index(list, i);
    }
    return list;
}

/* answer_label(slot, index): the table on disk has it. */
PyObject *dl_ring_answer_label(PyObject *self, PyObject *args)
{
    unsigned int slot, index;
    if (!PyArg_ParseTuple(args, "II", &slot, &index) || dl_slot_at(self, slot) == NULL)
        return NULL;
    DL_POINT("answering a label");
    DL_LABEL(label:B, atomic_store_explicit(&ring_of(self)->labels[slot].index, index, memory_order_release));
    Py_RETURN_NONE;
}

uint32_t dl_slot_incarnation(struct dl_slot *slot) { return DL_LABEL(slot:A, atomic_load(&slot->word)) >> 32; }

bool dl_leave_slot(struct dl_slot *slot, uint32_t incarnation)
{
    uint64_t word = (uint64_t)incarnation << 32 | DL_SLOT_ATTACHED;
    DL_POINT("detaching");
    uint64_t after = (word & ~1ull) | DL_SLOT_DETACHED;
    return DL_LABEL(slot:C, atomic_compare_exchange_strong(&slot->word, &word, after));
}

PyObject *dl_ring_detach(PyObject *self, PyObject *args)
{
    unsigned int index, incarnation;
    if (!PyArg_ParseTuple(args, "II", &index, &incarnation))
        return NULL;
    struct dl_slot *slot = dl_slot_at(self, index);
    return slot == NULL ? NULL : PyBool_FromLong(dl_leave_slot(slot, incarnation));
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

/* The counts of all producers whose slots were freed. */
PyObject *dl_ring_totals(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct dl_control *control = ring_of(self)->control;
    _Atomic uint64_t *totals = control->totals[DL_LABEL(total:A, atomic_load(&control->retired_count)) & 1];
    uint64_t values[3];
    for (int i = 0; i < 3; i++)
        values[i] = DL_LABEL(total:A, atomic_load(&totals[i]));
    return dl_make_result(totals_type, values, 3);
}

/* begin_totals(logged, dropped, waited): where the totals of a ring's predecessor ended. */
PyObject *dl_ring_begin_totals(PyObject *self, PyObject *args)
{
    struct dl_control *control = ring_of(self)->control;
    unsigned long long counts[3];
    if (!PyArg_ParseTuple(args, "KKK", &counts[0], &counts[1], &counts[2]))
        return NULL;
    for (int i = 0; i < 3; i++) {
        DL_POINT("store");
        DL_LABEL(total:B, atomic_store(&control->totals[0][i], counts[i]));
    }
    Py_RETURN_NONE;
}

/* How many slots were freed, and which is being freed: equal before and after a look if none was
 * meanwhile. */
PyObject *dl_ring_retirement(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct dl_control *control = ring_of(self)->control;
    uint64_t freed = DL_LABEL(total:A, atomic_load(&control->retired_count));
    uint64_t note = DL_LABEL(total:A, atomic_load(&control->retiring));
    return Py_BuildValue("(KN)", freed, PyBool_FromLong(note != DL_NO_NOTE));
}

int dl_add_slot_types(PyObject *module)
{
    slot_type = dl_add_result(module, &slot_description);
    totals_type = dl_add_result(module, &totals_description);
    return slot_type == NULL || totals_type == NULL ? -1 : 0;
}
