/* Helpers that every type of the core uses, see binding.h. */
#include "binding.h"

PyObject *dl_plain_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args, (void)kwargs;
    return dl_new_object(type);
}

PyTypeObject *dl_add_type(PyObject *module, const char *name, PyType_Spec *spec, PyObject *base)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, base);
    if (type == NULL)
        return NULL;
    if (PyModule_AddObjectRef(module, name, type) != 0) {
        Py_DecRef(type);
        return NULL;
    }
    return (PyTypeObject *)type;
}
