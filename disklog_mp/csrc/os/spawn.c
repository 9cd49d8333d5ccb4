/* Two processes, the first of which ends at once.
 *
 * caller --clone, no exit signal--> middle --clone--> program
 *                                     setsid, _exit       limits, descriptors, execve
 *
 * The middle one has no exit signal, so neither a SIGCHLD handler nor waitpid(-1) of the application hears
 * of it (clone(2): a child without SIGCHLD is seen only by a wait with __WALL or __WCLONE).  The program
 * is an orphan when the middle one has ended: the init process, or a subreaper, is its parent.  (It cannot
 * be our own child unseen: execve gives every process the exit signal SIGCHLD.)
 *
 * Both run in the caller's memory, on stacks of their own, while the caller's thread is suspended
 * (CLONE_VM and CLONE_VFORK): no page table is copied, however large the application is.  So they may call
 * only what touches nothing of the C library's state; system calls go by their numbers where the library
 * would tell other threads (setuid).  All signals are blocked meanwhile: a handler of the application must
 * not run in that memory twice.
 */
#define _GNU_SOURCE
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK ((size_t)64 << 10) /* bytes for each of the two */
#define DESCRIPTORS_AT_MOST 65536 /* closed one by one where the kernel has no close_range (before 5.9) */

struct order {
    const struct dl_program *program;
    uint8_t *stacks; /* two */
    pid_t pid; /* of the program */
    int error; /* an errno; 0: it executes */
};

static void take_what_is_allowed(void)
{
    for (int which = 0; which < RLIM_NLIMITS; which++) {
        struct rlimit limit;
        if (syscall(SYS_prlimit64, 0, which, NULL, &limit) == 0 && limit.rlim_cur != limit.rlim_max
            && which != RLIMIT_STACK && which != RLIMIT_CORE) {
            limit.rlim_cur = limit.rlim_max;
            syscall(SYS_prlimit64, 0, which, &limit, NULL);
        }
    }
    static const uint8_t all[1024] = {[0 ... 1023] = 0xff}; /* the kernel keeps to those that are ours */
    syscall(SYS_sched_setaffinity, 0, sizeof all, all);
    syscall(SYS_setpriority, PRIO_PROCESS, 0, 0);
}

static int become(const struct dl_program *program)
{
    if (program->uid == (uid_t)-1)
        return 0;
    if (syscall(SYS_setgroups, program->group_count, program->groups) != 0
        || syscall(SYS_setresgid, program->gid, program->gid, program->gid) != 0
        || syscall(SYS_setresuid, program->uid, program->uid, program->uid) != 0)
        return errno;
    return 0;
}

static void forget_signals(void)
{
    struct sigaction usual;
    memset(&usual, 0, sizeof usual);
    usual.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &usual, NULL); /* of this process: handlers are not shared, memory is */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Give the descriptor a number from 3 up, so that 0, 1 and 2 can be replaced in any order. */
static int out_of_the_way(int fd) { return fd < 0 ? fd : fcntl(fd, F_DUPFD, 3); }

static int set_descriptors(const struct dl_program *program)
{
    int null = out_of_the_way(open("/dev/null", O_RDWR));
    int out = out_of_the_way(program->out);
    int err = program->err < 0 ? null : out_of_the_way(program->err);
    if (null < 0 || out < 0 || err < 0)
        return errno;
    if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        return errno;
    if (syscall(SYS_close_range, 3u, ~0u, 0u) != 0)
        for (int fd = 3; fd < DESCRIPTORS_AT_MOST; fd++)
            close(fd);
    return 0;
}

static int be_the_program(void *given)
{
    struct order *order = given;
    const struct dl_program *program = order->program;
    take_what_is_allowed();
    if ((order->error = become(program)) == 0 && (order->error = set_descriptors(program)) == 0) {
        if (chdir("/") != 0)
            order->error = errno;
        umask(umask(077) | 022);
        forget_signals();
        if (order->error == 0) {
            execve(program->path, program->argv, program->envp);
            order->error = errno;
        }
    }
    _exit(127);
}

static int be_the_middle(void *given)
{
    struct order *order = given;
    setsid();
    order->pid = clone(be_the_program, order->stacks + 2 * STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, order);
    if (order->pid < 0)
        order->error = errno;
    _exit(0);
}

pid_t dl_spawn(const struct dl_program *program)
{
    struct order order = {.program = program, .pid = -1, .error = 0};
    sigset_t all, before;
    order.stacks = mmap(NULL, 2 * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (order.stacks == MAP_FAILED)
        return -errno;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t middle = clone(be_the_middle, order.stacks + STACK, CLONE_VM | CLONE_VFORK, &order);
    if (middle < 0)
        order.error = errno;
    else
        while (waitpid(middle, NULL, __WALL) < 0 && errno == EINTR) {
        }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    munmap(order.stacks, 2 * STACK);
    return order.error != 0 ? -order.error : order.pid;
}
