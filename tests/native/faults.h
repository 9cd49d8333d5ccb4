/* Included before all else in a test build of the core: every DL_POINT is a place where the process can be
 * killed or frozen.  See faults.c. */
#ifndef DL_FAULTS_H
#define DL_FAULTS_H

int dl_fault_point(const char *label);

#define DL_POINT(label) ((void)dl_fault_point(label))

#endif
