/* A guard for mapped files that are cut while a process reads them: SIGBUS becomes zeros. */
#ifndef DL_SIGBUS_H
#define DL_SIGBUS_H

#include <stdbool.h>
#include <stddef.h>

/* Guard a mapping made with that access (PROT_*).  Its number, or 0 if there is no place left: then SIGBUS
 * ends the process, as without a guard. */
int dl_guard(const void *memory, size_t size, int access);

/* True if zeros stand in the place of what was mapped: what was stored there may not be in the file. */
bool dl_is_lost(int number);

/* Before the mapping goes. */
void dl_unguard(int number);

#endif
