/* The check that ends a test of the core. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                 \
    do {                                                                                                 \
        if (!(condition)) {                                                                              \
            fprintf(stderr, "FAILED line %d: %s\n", __LINE__, #condition);                               \
            abort();                                                                                     \
        }                                                                                                \
    } while (0)

#endif
