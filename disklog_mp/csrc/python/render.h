/* Renderer, for the module that adds the type. */
#ifndef DL_RENDER_H
#define DL_RENDER_H

#include "binding.h"

int dl_add_renderer_type(PyObject *module); /* 0, or -1 with an exception */

#endif
