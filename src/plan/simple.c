/* simple.c - bump allocation in two orders. */
#include "plan/simple.h"

/* Put buffer i at the cursor. A buffer without bytes goes to the last aligned
 * place that is not beyond it and leaves it where it is, so that it can neither
 * push others nor raise the height. */
static inline bool bump(const bp_plan_request *request, size_t i,
                        uint64_t *cursor, uint64_t *offsets)
{
    uint64_t size = request->sizes[i], align = bp__plan_align(request, i);
    uint64_t offset, end;
    if (size == 0) {
        offset = *cursor & ~(align - 1);
        end = *cursor;
    } else if (!bp_round_up(*cursor, align, &offset) ||
               !bp_add(offset, size, &end)) {
        return false;
    }
    if (offsets != NULL) {
        offsets[i] = offset;
    }
    *cursor = end;
    return true;
}

bool bp__plan_sequential(const bp_plan_model *model, uint64_t *offsets,
                         uint64_t *out_height)
{
    uint64_t cursor = 0;
    for (size_t i = 0; i < model->request->n; i++) {
        if (!bump(model->request, i, &cursor, offsets)) {
            return false;
        }
    }
    *out_height = cursor;
    return true;
}

bool bp__plan_packed(const bp_plan_model *model, uint64_t *offsets,
                     uint64_t *out_height)
{
    const bp_plan_request *request = model->request;
    uint64_t cursor = 0;
    /* One pass for each alignment in use: there are few, and no sort and no
     * memory is needed. */
    for (uint64_t align = (uint64_t)1 << 63; align != 0; align >>= 1) {
        if ((model->align_bits & align) == 0) {
            continue;
        }
        for (size_t i = 0; i < request->n; i++) {
            if (bp__plan_align(request, i) == align &&
                !bump(request, i, &cursor, offsets)) {
                return false;
            }
        }
    }
    *out_height = cursor;
    return true;
}
