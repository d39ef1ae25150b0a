/* content.h - words of the content format (content.c) that unpack.c reads. */
#ifndef BAYPLAN_REGISTRY_CONTENT_H
#define BAYPLAN_REGISTRY_CONTENT_H

#include "registry/layout.h"

#define BP__CONTENT_MAGIC "BPL2"

enum { BP__IS_BUFFER = 0, BP__IS_CHILD = 1 };

enum {
    BP__SEEN_ZERO = 1,
    BP__SEEN_KEPT = 2,
    BP__SEEN_PRECISION = 4, /* the element type is the precision */
    BP__SEEN_LIFE = 8,      /* it lives in some phases alone */
    BP__SEEN_CARRIED = 16,
    BP__SEEN_ALL = 31
};

#endif
