/* The type Record. */
#ifndef DL_RECORD_H
#define DL_RECORD_H

#include "binding.h"

#include "../core/frames.h"

/* Where a record stands: its header at `at`, in memory that `owner` keeps; `before` bytes in front of it the
 * header of the frame whose checksum, with that seed, holds the record: of its group, or its own (0). */
struct dl_standing {
    PyObject *owner;
    const uint8_t *at;
    uint32_t before, seed;
};

/* A Record.  `labels`: its label, or what is called with a label's index and returns its text, or NULL. */
PyObject *dl_make_record(struct dl_standing standing, const struct dl_frame *frame, uint64_t position,
                         uint64_t number, PyObject *labels);

/* What a Record says, for a look at it: the bytes stay as long as the object does. */
struct dl_record {
    const uint8_t *bytes;
    const uint8_t *frame; /* that was checked: of its group, or its own */
    uint64_t length, position, number, time;
    uint32_t pid;
    uint16_t tag, label;
    bool gap;
};

/* False if the object is no Record; never an exception. */
bool dl_record_values(PyObject *object, struct dl_record *values);

/* True if the memory still holds what was checked: a page file that is cut meanwhile leaves zeros. */
bool dl_record_is_intact(PyObject *record);

PyObject *dl_record_label(PyObject *record); /* the text, or None; NULL with an exception */

int dl_add_record_type(PyObject *module); /* 0, or -1 with an exception */

#endif
