/* names.c - which names are allowed, and where a context keeps them. */
#include "registry/model.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <string.h>

/* Python's reserved words (Language Reference, "Keywords") and the names that a
 * layout's views use themselves (views, root, bind, region): all of one length
 * laid end to end. */
#define LONGEST_REFUSED 8
static const char *const refused_names[LONGEST_REFUSED + 1] = {
    [2] = "asifinisor",
    [3] = "anddefdelfornottry",
    [4] = "NoneTruebindelifelsefrompassrootwith",
    [5] = "Falseasyncawaitbreakclassraiseviewswhileyield",
    [6] = "assertexceptglobalimportlambdaregionreturn",
    [7] = "finally",
    [8] = "continuenonlocal"};

static bool is_refused(const char *name, size_t n_name)
{
    if (n_name > LONGEST_REFUSED || refused_names[n_name] == NULL) {
        return false;
    }
    for (const char *at = refused_names[n_name]; *at != '\0'; at += n_name) {
        if (memcmp(at, name, n_name) == 0) {
            return true;
        }
    }
    return false;
}

/* A set of bytes: digits, letters, '_' and all of 128 and above. */
static const uint32_t name_bytes[8] = {0,          0x03FF0000, 0x87FFFFFE,
                                       0x07FFFFFE, 0xFFFFFFFF, 0xFFFFFFFF,
                                       0xFFFFFFFF, 0xFFFFFFFF};

static bool is_name_byte(unsigned char c)
{
    return (name_bytes[c >> 5] >> (c & 31) & 1) != 0;
}

bp_status bp__name_need(const bp__context *ctx, const char *name,
                        bp_error *error)
{
    if (name == NULL) {
        return bp__refuse(error, ctx, NULL, BP_BAD_NAME, "%s: a name is needed",
                          bp__context_type(ctx));
    }
    return BP_OK;
}

bp__name_verdict bp__name_fault(const char *name, size_t n_suffix)
{
    size_t n = 0;
    while (is_name_byte((unsigned char)name[n])) {
        n++;
    }
    if (n == 0 || name[n] != '\0' || (name[0] >= '0' && name[0] <= '9')) {
        return BP__NAME_NO_IDENTIFIER;
    }
    if (name[0] == '_' || is_refused(name, n)) {
        return BP__NAME_RESERVED;
    }
    return n + n_suffix > BP_MAX_NAME ? BP__NAME_TOO_LONG : BP__NAME_FINE;
}

bp_status bp__name_check(const bp__context *ctx, const char *name,
                         size_t n_suffix, bp_error *error)
{
    const char *type = bp__context_type(ctx);
    size_t n_most = BP_MAX_NAME - n_suffix;
    bp_status status;
    switch (bp__name_fault(name, n_suffix)) {
    case BP__NAME_FINE:
        return BP_OK;
    case BP__NAME_RESERVED:
        return bp__refuse(error, ctx, name, BP_BAD_NAME,
                          "%s: '%s' is reserved: Python keywords, names "
                          "starting with '_', views, root, bind and region are",
                          type, name);
    case BP__NAME_TOO_LONG:
        status = bp__refuse(error, ctx, name, BP_BAD_NAME,
                            "%s: a name of %zu bytes is too long (at most %zu)",
                            type, strlen(name), n_most);
        bp_error_numbers(error, strlen(name), n_most);
        return status;
    case BP__NAME_NO_IDENTIFIER:
        break;
    }
    return bp__refuse(error, ctx, name, BP_BAD_NAME,
                      "%s: '%s' is no identifier", type, name);
}

/* ---- the arena --------------------------------------------------------- */

bool bp__names_reserve(bp_registry *registry, bp__context *ctx, size_t n_bytes)
{
    size_t need = (size_t)ctx->name_bytes + n_bytes;
    if (need <= ctx->name_capacity) {
        return true;
    }
    return need < BP__NONE && bp__grow(&registry->alloc, &ctx->names,
                                       &ctx->name_capacity, need, 1);
}

uint32_t bp__names_add(bp__context *ctx, const char *name, size_t n_name)
{
    uint32_t at = ctx->name_bytes;
    memcpy(ctx->names + at, name, n_name);
    ctx->names[at + n_name] = '\0';
    ctx->name_bytes = at + (uint32_t)n_name + 1;
    return at;
}

static uint32_t move_name(bp__context *ctx, uint32_t from, size_t n_name,
                          uint32_t to)
{
    memmove(ctx->names + to, ctx->names + from, n_name + 1);
    return to;
}

/* Names lie in the order of their entries' and children's births, which is no
 * order of any array; so the dead ones are squeezed out by walking the bytes
 * and asking the map whose name it is. */
static void compact_names(bp__context *ctx)
{
    uint32_t from = (uint32_t)strlen(ctx->names) + 1;
    uint32_t to = from;
    while (from < ctx->name_bytes) {
        const char *name = ctx->names + from;
        size_t n_name = strlen(name);
        uint32_t value = bp__context_find(ctx, bp__hash_text(name), name);
        uint32_t *owner = NULL;
        if (value != BP__NONE) {
            owner = bp__value_is_phase(value)
                        ? &ctx->phases[value & ~BP__PHASE_BIT].name
                    : bp__value_is_child(value)
                        ? &ctx->children[value & ~BP__CHILD_BIT].name
                        : &ctx->entries[value].name;
        }
        if (owner != NULL && *owner == from) {
            *owner = move_name(ctx, from, n_name, to);
            to += (uint32_t)n_name + 1;
        }
        from += (uint32_t)n_name + 1;
    }
    ctx->name_bytes = to;
    ctx->dead_name_bytes = 0;
}

void bp__names_drop(bp__context *ctx, size_t n_name)
{
    ctx->dead_name_bytes += (uint32_t)n_name + 1;
    if (ctx->dead_name_bytes > 256 &&
        ctx->dead_name_bytes > ctx->name_bytes / 2) {
        compact_names(ctx);
    }
}
