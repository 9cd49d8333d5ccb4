/* spawn(): a program started as no child of ours, with a pipe to hear its answer.  What is started, and
 * what its answer means, Python says.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pipe2(); Python.h defines it, what stands in for it does not */
#endif
#include "spawning.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../os/spawn.h"

/* Words separated by NULs as a list of them that NULL ends; free() it.  The words stay where they are. */
static char **words_of(const char *block, Py_ssize_t length)
{
    size_t count = 0;
    for (Py_ssize_t i = 0; i < length; i++)
        count += block[i] == '\0';
    char **words = malloc((count + 1) * sizeof *words);
    if (words == NULL)
        return NULL;
    const char *at = block;
    for (size_t i = 0; i < count; i++, at += strlen(at) + 1)
        words[i] = (char *)at;
    words[count] = NULL;
    return words;
}

PyDoc_STRVAR(spawn_doc,
             "spawn(path, argv, environment, stderr, uid, gid, groups) -> (pid, fd)\n\n"
             "Start a program as no child of this process; fd is the reading end of a pipe to its stdout.\n"
             "argv, environment: words, each ended by a NUL.  stderr: a descriptor, -1 for none.  uid: -1\n"
             "for this process's; else gid and groups (C unsigned ints) are taken on, too.  Raises OSError.");

static PyObject *core_spawn(PyObject *module, PyObject *args)
{
    (void)module;
    const char *path, *argv, *environment, *groups;
    Py_ssize_t argv_length, environment_length, groups_length;
    int err;
    long uid, gid;
    if (!PyArg_ParseTuple(args, "yy#y#illy#", &path, &argv, &argv_length, &environment, &environment_length,
                          &err, &uid, &gid, &groups, &groups_length))
        return NULL;
    int pipe_ends[2];
    if (pipe2(pipe_ends, O_CLOEXEC) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    char **words = words_of(argv, argv_length), **variables = words_of(environment, environment_length);
    pid_t pid = -ENOMEM;
    if (words != NULL && variables != NULL) {
        struct dl_program program = {
            .path = path, .argv = words, .envp = variables, .out = pipe_ends[1], .err = err,
            .uid = (uid_t)uid, .gid = (gid_t)gid, .groups = (const gid_t *)(const void *)groups,
            .group_count = (size_t)groups_length / sizeof(gid_t)};
        Py_BEGIN_ALLOW_THREADS
        pid = dl_spawn(&program);
        Py_END_ALLOW_THREADS
    }
    free(words);
    free(variables);
    close(pipe_ends[1]);
    if (pid < 0) {
        close(pipe_ends[0]);
        errno = -pid;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("(ii)", (int)pid, pipe_ends[0]);
}

PyDoc_STRVAR(wait_readable_doc,
             "wait_readable(fd, seconds) -> bool\n\n"
             "Wait until the descriptor has something to read, or its other end is closed; False after so\n"
             "many seconds.  Runs signal handlers meanwhile, and raises what they raise.");

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static PyObject *core_wait_readable(PyObject *module, PyObject *args)
{
    (void)module;
    struct pollfd fd = {.events = POLLIN};
    double seconds;
    if (!PyArg_ParseTuple(args, "id", &fd.fd, &seconds))
        return NULL;
    double end = now() + seconds;
    for (;;) {
        double left = end - now();
        int milliseconds = left <= 0 ? 0 : left > 1000 ? 1000000 : (int)(left * 1000) + 1, found, error;
        Py_BEGIN_ALLOW_THREADS
        found = poll(&fd, 1, milliseconds);
        error = errno;
        Py_END_ALLOW_THREADS
        if (found > 0)
            return PyBool_FromLong(1);
        if (found < 0 && error != EINTR) {
            errno = error;
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        if (PyErr_CheckSignals() != 0)
            return NULL;
        if (now() >= end)
            return PyBool_FromLong(0);
    }
}

static PyMethodDef spawning_functions[] = {
    {"spawn", core_spawn, METH_VARARGS, spawn_doc},
    {"wait_readable", core_wait_readable, METH_VARARGS, wait_readable_doc},
    {NULL, NULL, 0, NULL}};

int dl_add_spawning(PyObject *module) { return PyModule_AddFunctions(module, spawning_functions); }
