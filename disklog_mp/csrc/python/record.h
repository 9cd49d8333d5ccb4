/* The type Record. */
#ifndef DL_RECORD_H
#define DL_RECORD_H

#include "binding.h"

#include "../core/frames.h"

/* A Record whose header stands at `at`, in memory that `owner` keeps.  `labels`: its label, or what is called
 * with the index of a label and returns its text, or NULL. */
PyObject *dl_make_record(PyObject *owner, const uint8_t *at, const struct dl_frame *frame, uint64_t position,
                         uint64_t number, PyObject *labels);

int dl_add_record_type(PyObject *module); /* 0, or -1 with an exception */

#endif
