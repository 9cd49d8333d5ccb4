/* Helpers that every type of the core uses, see binding.h. */
#include "binding.h"

#include <string.h>

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

PyTypeObject *dl_add_result(PyObject *module, PyStructSequence_Desc *description)
{
    PyTypeObject *type = PyStructSequence_NewType(description);
    const char *name = strrchr(description->name, '.') + 1;
    return type != NULL && PyModule_AddObjectRef(module, name, (PyObject *)type) == 0 ? type : NULL;
}

PyObject *dl_make_result(PyTypeObject *type, const uint64_t *values, int count)
{
    PyObject *result = PyStructSequence_New(type);
    for (int i = 0; result != NULL && i < count; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(values[i]);
        if (value == NULL) {
            Py_DecRef(result);
            return NULL;
        }
        PyStructSequence_SetItem(result, i, value);
    }
    return result;
}
