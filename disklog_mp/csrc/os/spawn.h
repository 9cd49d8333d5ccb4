/* Starting a program that is no child of this process: how a writer comes to be.
 *
 * The program runs in a session of its own, with descriptors 0, 1 and 2 only, default signal handling, no
 * signal blocked, the widest limits and processors it may have, priority 0 as far as allowed, "/" as its
 * directory and a umask that lets only the owner write.  Everything happens between two system calls of
 * the calling thread, so nothing that an application replaces (subprocess, os.fork, select, signal
 * handlers, child watchers) takes part.
 *
 * It knows no Python and no log; what to run, and with which words, the caller says.
 */
#ifndef DL_SPAWN_H
#define DL_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

struct dl_program {
    const char *path; /* the file to execute */
    char *const *argv, *const *envp; /* ended by NULL */
    int out; /* becomes descriptor 1 */
    int err; /* becomes descriptor 2; -1: /dev/null does */
    uid_t uid; /* to run as; (uid_t)-1: as this process does, and then gid and groups mean nothing */
    gid_t gid;
    const gid_t *groups;
    size_t group_count;
};

/* Start it.  Returns its pid once it is executing, or a negative errno; then there is no such process. */
pid_t dl_spawn(const struct dl_program *program);

#endif
