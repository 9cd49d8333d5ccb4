/* The type Record. */
#ifndef DL_RECORD_H
#define DL_RECORD_H

#include "binding.h"

#include "../core/frames.h"

/* By what a record is checked again: it stands so many bytes behind the header of the frame whose checksum,
 * with that seed, holds it.  That is the frame of its group, or its own (0). */
static inline uint64_t dl_checked_by(uint32_t before, uint32_t seed) { return (uint64_t)before << 32 | seed; }

/* A Record whose header stands at `at`, in memory that `owner` keeps.  `labels`: its label, or what is called
 * with the index of a label and returns its text, or NULL. */
PyObject *dl_make_record(PyObject *owner, const uint8_t *at, const struct dl_frame *frame, uint64_t position,
                         uint64_t number, PyObject *labels, uint64_t checked_by);

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
