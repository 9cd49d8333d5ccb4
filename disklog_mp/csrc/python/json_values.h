/* Python's values, and the origin of an event, as JSON text. */
#ifndef DL_JSON_VALUES_H
#define DL_JSON_VALUES_H

#include "binding.h"
#include "../core/json_text.h"

/* Each of these puts something and returns true; or false with an exception set that is the program's own,
 * such as a KeyboardInterrupt in some value's repr.  An error in a value is forgotten, and a substitute is
 * put. */
bool dl_put_text(struct dl_text *text, PyObject *string);
bool dl_put_value(struct dl_text *text, PyObject *value);

/* ,"process":"its name" and so on, or nothing for the main ones. */
bool dl_put_process(struct dl_text *text);
bool dl_put_thread(struct dl_text *text);
bool dl_put_task(struct dl_text *text);

/* Forget an exception that is an error; false if one is set that is the program's own. */
bool dl_forget_error(void);

/* The names of a LogRecord's own attributes, a borrowed frozenset; NULL with an exception if it was not
 * handed in. */
PyObject *dl_standard_attributes(void);

/* The Event of a structured record; None for any other, or if no parser was handed in. */
PyObject *dl_parse_event(const void *bytes, size_t length);

int dl_add_encoders(PyObject *module); /* 0, or -1 with an exception */

#endif
