/* bind.c - what a launch decides about a layout: stride, offsets, bytes. */
#include "bayplan/placement.h"

#include "base/hash.h"

#include <inttypes.h>
#include <string.h>

#define MIN_ARENA_ALIGN 16u

static const char *const policy_names[BP_N_STRIDE_POLICIES] = {
    [BP_STRIDE_NONE] = "none",
    [BP_STRIDE_PAD] = "pad",
    [BP_STRIDE_INTERLEAVE] = "interleave",
};

const char *bp_stride_policy_name(bp_stride_policy policy)
{
    size_t i = (size_t)policy;
    return i < (size_t)BP_N_STRIDE_POLICIES ? policy_names[i] : "unknown";
}

bool bp_stride_policy_parse(const char *name, bp_stride_policy *out)
{
    for (size_t i = 0; i < (size_t)BP_N_STRIDE_POLICIES; i++) {
        if (strcmp(policy_names[i], name) == 0) {
            *out = (bp_stride_policy)i;
            return true;
        }
    }
    return false;
}

static bp_status check_request(const bp_bind_request *request, bp_error *error)
{
    if (request->policy == BP_STRIDE_INTERLEAVE) {
        return bp_fail(error, BP_NOT_YET,
                       "stride policy \"interleave\" is not yet supported "
                       "(there are none, pad)");
    }
    if ((size_t)request->policy >= (size_t)BP_N_STRIDE_POLICIES) {
        return bp_fail(error, BP_BAD_VALUE, "%d is no stride policy",
                       (int)request->policy);
    }
    if (request->lanes_per_run > BP_WARP_LANES ||
        !bp_is_power_of_two(request->lanes_per_run)) {
        (void)bp_fail(error, BP_BAD_VALUE,
                      "lanes_per_run %" PRIu64
                      " is no power of two from 1 to 32",
                      request->lanes_per_run);
        bp_error_numbers(error, request->lanes_per_run, BP_WARP_LANES);
        return BP_BAD_VALUE;
    }
    if (request->reserve_bytes >= BP_MAX_BYTES) {
        (void)bp_fail(error, BP_BAD_VALUE,
                      "reserve_bytes %" PRIu64 " is not below 2^48",
                      request->reserve_bytes);
        bp_error_numbers(error, request->reserve_bytes, BP_MAX_BYTES);
        return BP_BAD_VALUE;
    }
    return BP_OK;
}

static bp_status check_stride(const bp_region *shared, uint64_t stride,
                              bp_error *error)
{
    if (stride < shared->n_bytes) {
        (void)bp_fail(error, BP_BAD_VALUE,
                      "a stride of %" PRIu64 " bytes is less than the %" PRIu64
                      " shared bytes of a run",
                      stride, shared->n_bytes);
        bp_error_numbers(error, stride, shared->n_bytes);
        return BP_BAD_VALUE;
    }
    if (stride % shared->align != 0) {
        (void)bp_fail(error, BP_BAD_VALUE,
                      "a stride of %" PRIu64
                      " bytes is no multiple of the shared alignment %" PRIu32,
                      stride, shared->align);
        bp_error_numbers(error, stride, shared->align);
        return BP_BAD_VALUE;
    }
    if (stride >= BP_MAX_BYTES) {
        (void)bp_fail(error, BP_TOO_LARGE,
                      "a stride of %" PRIu64 " bytes is not below 2^48",
                      stride);
        bp_error_numbers(error, stride, BP_MAX_BYTES);
        return BP_TOO_LARGE;
    }
    return BP_OK;
}

/* Odd multiples of the widest access keep neighbouring runs in other banks. */
static bp_status padded_stride(const bp_region *shared, uint64_t *out,
                               bp_error *error)
{
    uint64_t unit = BP_BANK_BYTES;
    unit = shared->widest > unit ? shared->widest : unit;
    unit = shared->align > unit ? shared->align : unit;
    return bp_stride_pad(shared->n_bytes, unit, out, error);
}

static bp_status choose_stride(const bp_region *shared,
                               const bp_bind_request *request, uint64_t *out,
                               bp_error *error)
{
    uint64_t stride = shared->n_bytes;
    if (request->has_stride) {
        stride = request->stride_bytes;
    } else if (request->policy == BP_STRIDE_PAD) {
        bp_status status = padded_stride(shared, &stride, error);
        if (status != BP_OK) {
            return status;
        }
    }
    *out = stride;
    return check_stride(shared, stride, error);
}

static bp_status place_arenas(bp_bound *bound, const bp_region *shared,
                              const bp_region *block, bp_error *error)
{
    uint32_t align = MIN_ARENA_ALIGN;
    align = shared->align > align ? shared->align : align;
    align = block->align > align ? block->align : align;
    bound->arena_align = align;
    uint64_t block_end;
    if (!bp_round_up(bound->reserve_bytes, align, &bound->block_offset) ||
        !bp_add(bound->block_offset, block->n_bytes, &block_end) ||
        !bp_round_up(block_end, align, &bound->slices_offset)) {
        (void)bp_fail(error, BP_TOO_LARGE,
                      "%" PRIu64 " reserved and %" PRIu64
                      " block-wide bytes are more than 2^64 - 1",
                      bound->reserve_bytes, block->n_bytes);
        bp_error_numbers(error, block->n_bytes, UINT64_MAX);
        return BP_TOO_LARGE;
    }
    return BP_OK;
}

bp_status bp_bound_init(bp_bound *out, const bp_layout *layout,
                        const bp_bind_request *request, bp_error *error)
{
    const bp_region *shared = bp_layout_get_region(layout, BP_SHARED);
    const bp_region *block = bp_layout_get_region(layout, BP_BLOCK);
    bp_bound bound = {
        .lanes_per_run = (uint32_t)request->lanes_per_run,
        .reserve_bytes = request->reserve_bytes,
        .policy = request->policy,
    };
    bp_status status = check_request(request, error);
    if (status == BP_OK) {
        status = choose_stride(shared, request, &bound.stride_bytes, error);
    }
    if (status == BP_OK) {
        status = place_arenas(&bound, shared, block, error);
    }
    if (status != BP_OK) {
        bp_error_about(error, bp_layout_get_name(layout), NULL);
        return status;
    }
    *out = bound;
    return BP_OK;
}

bp_status bp_bound_shared_bytes(const bp_bound *bound, uint64_t n_runs,
                                uint64_t *out, bp_error *error)
{
    uint64_t slices, total;
    if (!bp_mul(n_runs, bound->stride_bytes, &slices) ||
        !bp_add(bound->slices_offset, slices, &total)) {
        (void)bp_fail(error, BP_TOO_LARGE,
                      "%" PRIu64 " runs of %" PRIu64
                      " bytes are more than 2^64 - 1",
                      n_runs, bound->stride_bytes);
        bp_error_numbers(error, n_runs, UINT64_MAX);
        return BP_TOO_LARGE;
    }
    *out = total;
    return BP_OK;
}

static void hash_u64(bp_blake2b *hash, uint64_t number)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(number >> (8 * i)); /* on every machine */
    }
    bp__blake2b_update(hash, bytes, sizeof bytes);
}

bp_status bp_bound_digest(const bp_bound *bound, bp_layout *layout,
                          char out[BP_DIGEST_TEXT], bp_error *error)
{
    static const char tag[] = "bayplan bound layout 1";
    char layout_digest[BP_DIGEST_TEXT];
    bp_status status = bp_layout_digest(layout, layout_digest, error);
    if (status != BP_OK) {
        return status;
    }
    bp_blake2b hash;
    bp__blake2b_init(&hash);
    bp__blake2b_update(&hash, tag, sizeof tag);
    bp__blake2b_update(&hash, layout_digest, sizeof layout_digest);
    hash_u64(&hash, bound->stride_bytes);
    hash_u64(&hash, bound->block_offset);
    hash_u64(&hash, bound->slices_offset);
    hash_u64(&hash, bound->arena_align);
    hash_u64(&hash, bound->lanes_per_run);
    hash_u64(&hash, bound->reserve_bytes);
    hash_u64(&hash, (uint64_t)bound->policy);
    uint8_t digest[BP__BLAKE2B_BYTES];
    bp__blake2b_final(&hash, digest);

    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < BP_DIGEST_BYTES; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
    out[BP_DIGEST_TEXT - 1] = '\0';
    return BP_OK;
}
