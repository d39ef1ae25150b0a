/* order.c - insertion sort for few, radix sort by bytes for many. */
#include "plan/order.h"

#include <string.h>

#define FEW         64u
#define N_BYTES     8u
#define BYTE_VALUES 256u

static void sort_few(uint32_t *order, const uint64_t *keys, uint32_t n)
{
    for (uint32_t k = 1; k < n; k++) {
        uint32_t item = order[k], at = k;
        while (at > 0 && keys[order[at - 1]] > keys[item]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = item;
    }
}

static void sort_by_byte(const uint32_t *from, uint32_t *to,
                         const uint64_t *keys, uint32_t n, uint32_t byte,
                         const uint32_t *counts)
{
    uint32_t starts[BYTE_VALUES], sum = 0;
    for (uint32_t v = 0; v < BYTE_VALUES; v++) {
        starts[v] = sum;
        sum += counts[v];
    }
    for (uint32_t k = 0; k < n; k++) {
        uint32_t v = (uint32_t)(keys[from[k]] >> (8 * byte)) & 0xff;
        to[starts[v]++] = from[k];
    }
}

void bp__order_by_key(uint32_t *order, const uint64_t *keys, uint32_t n,
                      uint32_t *spare)
{
    if (n <= FEW) {
        sort_few(order, keys, n);
        return;
    }
    uint32_t counts[N_BYTES][BYTE_VALUES];
    memset(counts, 0, sizeof counts);
    for (uint32_t k = 0; k < n; k++) {
        uint64_t key = keys[order[k]];
        for (uint32_t byte = 0; byte < N_BYTES; byte++) {
            counts[byte][key >> (8 * byte) & 0xff]++;
        }
    }
    uint32_t *from = order, *to = spare;
    for (uint32_t byte = 0; byte < N_BYTES; byte++) {
        uint32_t v = (uint32_t)(keys[order[0]] >> (8 * byte)) & 0xff;
        if (counts[byte][v] == n) {
            continue;
        }
        sort_by_byte(from, to, keys, n, byte, counts[byte]);
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != order) {
        memcpy(order, from, n * sizeof *order);
    }
}
