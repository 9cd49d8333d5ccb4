/* The type Record. */
#ifndef DL_RECORD_H
#define DL_RECORD_H

#include "binding.h"

#include "../core/frames.h"

/* A Record whose header stands at `at`, in memory that `owner` keeps.  `labels`: its label, or what is called
 * with the index of a label and returns its text, or NULL. */
PyObject *dl_make_record(PyObject *owner, const uint8_t *at, const struct dl_frame *frame, uint64_t position,
                         uint64_t number, PyObject *labels);

/* What a Record says, for a look at it: the bytes stay as long as the object does. */
struct dl_record {
    const uint8_t *bytes;
    uint64_t length, position, number, time;
    uint32_t pid;
    uint16_t tag, label;
    bool gap;
};

/* False if the object is no Record; never an exception. */
bool dl_record_values(PyObject *object, struct dl_record *values);

PyObject *dl_record_label(PyObject *record); /* the text, or None; NULL with an exception */

int dl_add_record_type(PyObject *module); /* 0, or -1 with an exception */

#endif
