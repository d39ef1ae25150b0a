/* residue.c - covering residues, all sets of them. */
#include "plan/residue.h"

static uint32_t count_bits(uint32_t set)
{
    uint32_t n = 0;
    for (; set != 0; set &= set - 1) {
        n++;
    }
    return n;
}

/* The least that `size` units, size < n, cover of `set`, starting at a multiple
 * of `align` units, modulo n. */
static uint8_t least_covered(uint32_t n, uint32_t align, uint32_t size,
                             uint32_t set)
{
    uint32_t least = n;
    for (uint32_t start = 0; start < n; start += align) {
        uint32_t span = ((1u << size) - 1) << start;
        span = (span | span >> n) & ((1u << n) - 1);
        uint32_t covered = count_bits(span & set);
        least = covered < least ? covered : least;
    }
    return (uint8_t)least;
}

void bp__residues_init(bp__residues *residues, uint64_t unit,
                       uint64_t max_align)
{
    uint64_t n = max_align <= unit ? 1 : max_align / unit;
    residues->unit = unit;
    residues->n = n < BP__MAX_RESIDUES ? (uint32_t)n : BP__MAX_RESIDUES;
    for (uint32_t class = 0; 1u << class <= residues->n; class++) {
        for (uint32_t size = 0; size < residues->n; size++) {
            for (uint32_t set = 0; set < 1u << residues->n; set++) {
                residues->covered[class][size][set] =
                    least_covered(residues->n, 1u << class, size, set);
            }
        }
    }
}

static uint32_t class_of(const bp__residues *residues, uint64_t align)
{
    uint32_t class = 0;
    while (2u << class <= residues->n &&
           (residues->unit << (class + 1)) <= align) {
        class++;
    }
    return class;
}

void bp__residues_count(const bp__residues *residues,
                        bp__residue_counts *counts, uint64_t size,
                        uint64_t align)
{
    uint64_t n_units = size / residues->unit;
    counts->n_rounds += n_units / residues->n;
    counts->n_items[class_of(residues, align)][n_units % residues->n]++;
}

uint64_t bp__residues_need(const bp__residues *residues, uint64_t size,
                           uint64_t align, uint32_t set)
{
    uint64_t n_units = size / residues->unit;
    uint32_t class = class_of(residues, align);
    return n_units / residues->n * count_bits(set) +
           residues->covered[class][n_units % residues->n][set];
}

/* The height at which `need` addresses of the set are reached. */
static uint64_t height_of(uint32_t n, uint32_t set, uint64_t need)
{
    if (need == 0) {
        return 0;
    }
    uint32_t n_set = count_bits(set);
    uint64_t rounds = (need - 1) / n_set;
    uint64_t rest = need - rounds * n_set; /* 1 .. n_set */
    uint32_t end = 0;
    while (rest > 0) {
        rest -= set >> end & 1;
        end++;
    }
    return rounds * n + end;
}

uint64_t bp__residues_bound(const bp__residues *residues,
                            const bp__residue_counts *counts)
{
    uint64_t best = 0;
    uint32_t n = residues->n;
    for (uint32_t set = 1; set < 1u << n; set++) {
        uint64_t need = counts->n_rounds * count_bits(set);
        for (uint32_t class = 0; 1u << class <= n; class++) {
            for (uint32_t size = 1; size < n; size++) {
                need += (uint64_t)counts->n_items[class][size] *
                        residues->covered[class][size][set];
            }
        }
        uint64_t height = height_of(n, set, need);
        best = height > best ? height : best;
    }
    return best * residues->unit;
}
