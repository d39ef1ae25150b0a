/* refuse.c - failures that name the factory, the buffer and what there is. */
#include "registry/model.h"

#include "base/text.h"

#include <stdarg.h>

bp_status bp__refuse(bp_error *error, const bp__context *ctx,
                     const char *buffer, bp_status status, const char *format,
                     ...)
{
    if (error == NULL) {
        return status;
    }
    char message[sizeof error->text];
    bp_text text;
    bp__text_init_bounded(&text, message, sizeof message);
    va_list args;
    va_start(args, format);
    bp__text_vprintf(&text, format, args);
    va_end(args);
    status = bp_fail(error, status, "%s", message);
    bp_error_about(error, ctx == NULL ? NULL : bp__context_type(ctx), buffer);
    return status;
}

bp_status bp__refuse_memory(bp_error *error)
{
    return bp_fail(error, BP_NO_MEMORY, "out of host memory");
}

static bp_status finish_list(bp_error *error, const bp__context *ctx,
                             const char *name, bp_status status, bp_text *text,
                             const char *message)
{
    bp__text_put(text, ")");
    status = bp_fail(error, status, "%s", message);
    bp_error_about(error, bp__context_type(ctx), name);
    return status;
}

bp_status bp__refuse_unknown(bp_error *error, const bp__context *ctx,
                             const char *name)
{
    if (error == NULL) {
        return BP_UNKNOWN_BUFFER;
    }
    char message[sizeof error->text];
    bp_text text;
    bp__text_init_bounded(&text, message, sizeof message);
    bp__text_printf(
        &text, "%s has no buffer '%s' (has: ", bp__context_type(ctx), name);
    const char *comma = "";
    for (uint32_t i = ctx->head; i != BP__NONE && !text.is_cut;
         i = ctx->entries[i].next) {
        bp__text_put(&text, comma);
        bp__text_put(&text, bp__entry_name(ctx, &ctx->entries[i]));
        comma = ", ";
    }
    bp__text_put(&text, ctx->head == BP__NONE ? "none" : "");
    return finish_list(error, ctx, name, BP_UNKNOWN_BUFFER, &text, message);
}

bp_status bp__refuse_unknown_phase(bp_error *error, const bp__context *ctx,
                                   const char *owner, const char *name)
{
    if (error == NULL) {
        return BP_UNKNOWN_PHASE;
    }
    char message[sizeof error->text];
    bp_text text;
    bp__text_init_bounded(&text, message, sizeof message);
    bp__text_printf(&text, "%s has no phase '%s', which '%s' names (has: ",
                    bp__context_type(ctx), name, owner);
    for (uint32_t i = 0; i < ctx->n_phases && !text.is_cut; i++) {
        bp__text_put(&text, i == 0 ? "" : ", ");
        bp__text_put(&text, bp__phase_name(ctx, i));
    }
    bp__text_put(&text, ctx->n_phases == 0 ? "none" : "");
    return finish_list(error, ctx, owner, BP_UNKNOWN_PHASE, &text, message);
}

bp_status bp__refuse_unknown_child(bp_error *error, const bp__context *ctx,
                                   const char *name)
{
    if (error == NULL) {
        return BP_UNKNOWN_CHILD;
    }
    char message[sizeof error->text];
    bp_text text;
    bp__text_init_bounded(&text, message, sizeof message);
    bp__text_printf(&text, "%s has no child '%s' (has: ", bp__context_type(ctx),
                    name);
    const char *comma = "";
    for (uint32_t i = ctx->head; i != BP__NONE && !text.is_cut;
         i = ctx->entries[i].next) {
        const bp__entry *entry = &ctx->entries[i];
        if (entry->child == BP__NONE ||
            ctx->children[entry->child].rollups[0] != i) {
            continue;
        }
        bp__text_put(&text, comma);
        bp__text_put(&text, ctx->names + ctx->children[entry->child].name);
        comma = ", ";
    }
    bp__text_put(&text, ctx->n_children == 0 ? "none" : "");
    return finish_list(error, ctx, name, BP_UNKNOWN_CHILD, &text, message);
}
