/* stride.c - bank conflicts of a stride, by enumeration, and padding. */
#include "bayplan/launch.h"

#include <inttypes.h>

#define BANK_ROW_BYTES ((uint64_t)(BP_N_BANKS * BP_BANK_BYTES))

static bp_status check_access(uint64_t stride_bytes, uint32_t width,
                              uint32_t lanes_per_run, bp_error *error)
{
    if (!bp_is_power_of_two(width) || width > 16) {
        (void)bp_fail(error, BP_BAD_VALUE,
                      "accesses of %" PRIu32
                      " bytes: there are 1, 2, 4, 8 and 16",
                      width);
        bp_error_numbers(error, width, 16);
        return BP_BAD_VALUE;
    }
    if (lanes_per_run == 0 || (BP_WARP_LANES % lanes_per_run != 0 &&
                               lanes_per_run % BP_WARP_LANES != 0)) {
        (void)bp_fail(error, BP_BAD_VALUE,
                      "%" PRIu32 " lanes per run neither divide a warp of 32 "
                      "nor are whole warps",
                      lanes_per_run);
        bp_error_numbers(error, lanes_per_run, BP_WARP_LANES);
        return BP_BAD_VALUE;
    }
    if (stride_bytes % width != 0) {
        (void)bp_fail(error, BP_BAD_VALUE,
                      "a stride of %" PRIu64
                      " bytes is no multiple of the access width %" PRIu32,
                      stride_bytes, width);
        bp_error_numbers(error, stride_bytes, width);
        return BP_BAD_VALUE;
    }
    return BP_OK;
}

/* The degree of runs [first, end), served together, each reading `width` bytes
 * at `start` of its slice. Addresses only grow, so a word that was counted
 * before is the last one counted. */
static uint32_t degree_of(uint64_t stride, uint32_t width, uint64_t start,
                          uint32_t first, uint32_t end)
{
    uint32_t n_words[BP_N_BANKS] = {0}, degree = 1;
    uint64_t next_word = 0;
    for (uint32_t run = first; run < end; run++) {
        uint64_t address = run * stride + start;
        uint64_t word = address / BP_BANK_BYTES;
        uint64_t last = (address + width - 1) / BP_BANK_BYTES;
        for (word = word < next_word ? next_word : word; word <= last; word++) {
            uint32_t *n = &n_words[word % BP_N_BANKS];
            *n += 1;
            degree = *n > degree ? *n : degree;
            next_word = word + 1;
        }
    }
    return degree;
}

bp_status bp_bank_conflicts(uint64_t stride_bytes, uint32_t width,
                            uint32_t lanes_per_run, uint32_t *out_degree,
                            bp_error *error)
{
    bp_status status = check_access(stride_bytes, width, lanes_per_run, error);
    if (status != BP_OK) {
        return status;
    }
    /* Whole rows of banks change no bank. One is kept, so that runs which have
     * words of their own keep them. */
    uint64_t stride = stride_bytes % BANK_ROW_BYTES;
    if (stride_bytes >= BANK_ROW_BYTES) {
        stride += BANK_ROW_BYTES;
    }
    uint32_t n_at_once = width <= 4 ? BP_WARP_LANES : 128 / width;
    uint32_t degree = 1;
    for (uint32_t lane = 0; lane < BP_WARP_LANES; lane += n_at_once) {
        uint32_t first = lane / lanes_per_run;
        uint32_t end = (lane + n_at_once - 1) / lanes_per_run + 1;
        for (uint64_t start = 0; start < BP_BANK_BYTES; start += width) {
            uint32_t found = degree_of(stride, width, start, first, end);
            degree = found > degree ? found : degree;
        }
    }
    *out_degree = degree;
    return BP_OK;
}

bp_status bp_stride_pad(uint64_t n_bytes, uint64_t unit, uint64_t *out_stride,
                        bp_error *error)
{
    if (!bp_is_power_of_two(unit)) {
        (void)bp_fail(error, BP_BAD_VALUE,
                      "a padding unit of %" PRIu64 " bytes is no power of two",
                      unit);
        bp_error_numbers(error, unit, 0);
        return BP_BAD_VALUE;
    }
    if (n_bytes == 0) {
        *out_stride = 0;
        return BP_OK;
    }
    uint64_t n_units = ((n_bytes - 1) / unit + 1) | 1;
    uint64_t stride;
    if (!bp_mul(n_units, unit, &stride)) {
        (void)bp_fail(error, BP_TOO_LARGE,
                      "no odd multiple of %" PRIu64 " below 2^64 holds %" PRIu64
                      " bytes",
                      unit, n_bytes);
        bp_error_numbers(error, n_bytes, UINT64_MAX);
        return BP_TOO_LARGE;
    }
    *out_stride = stride;
    return BP_OK;
}
