/* What seat.c adds to the module: 0, or -1 with an exception. */
#ifndef DL_SEAT_H
#define DL_SEAT_H

#include "binding.h"

int dl_add_seat_type(PyObject *module);

/* In a fork's child: close the descriptors of its parent's seats. */
void dl_leave_seats_to_parent(void);

#endif
