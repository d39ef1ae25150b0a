/* dump.c - declarations as JSON. Layouts, versions and caches are not in it:
 * reading is not an edit. */
#include "registry/model.h"

#include "base/alloc.h"
#include "base/text.h"

#include <string.h>

static void put_key(bp_text *text, const char *key)
{
    bp__text_put_json(text, key);
    bp__text_put(text, ": ");
}

static void put_field(bp_text *text, const char *key)
{
    bp__text_put(text, ", ");
    put_key(text, key);
}

static void put_bool(bp_text *text, bool is_true)
{
    bp__text_put(text, is_true ? "true" : "false");
}

static const char *choice_name(bp_choice choice)
{
    return choice == BP_UNSAID ? "null" : choice == BP_YES ? "true" : "false";
}

static void put_shape(bp_text *text, const bp__entry *entry)
{
    const uint64_t *shape = bp__entry_shape(entry);
    bp__text_put(text, "[");
    for (uint32_t i = 0; i < entry->n_dims; i++) {
        bp__text_put(text, i == 0 ? "" : ", ");
        bp__text_put_u64(text, shape[i]);
    }
    bp__text_put(text, "]");
}

/* "live": as declared, first and last phase, or null. */
static void put_life(bp_text *text, const bp__context *ctx, uint32_t first,
                     uint32_t last)
{
    put_field(text, "live");
    if (first == BP__ALWAYS) {
        bp__text_put(text, "null");
        return;
    }
    bp__text_put(text, "[");
    bp__text_put_json(text, bp__phase_name(ctx, first));
    bp__text_put(text, ", ");
    bp__text_put_json(text, bp__phase_name(ctx, last));
    bp__text_put(text, "]");
}

static void put_phases(bp_text *text, const bp__context *ctx)
{
    put_field(text, "phases");
    bp__text_put(text, "[");
    for (uint32_t i = 0; i < ctx->n_phases; i++) {
        bp__text_put(text, i == 0 ? "" : ", ");
        bp__text_put_json(text, bp__phase_name(ctx, i));
    }
    bp__text_put(text, "]");
    put_field(text, "loops");
    bp__text_put(text, "[");
    for (uint32_t i = 0; i < ctx->n_loops; i++) {
        bp__text_put(text, i == 0 ? "[" : ", [");
        bp__text_put_json(text, bp__phase_name(ctx, ctx->loops[i].first));
        bp__text_put(text, ", ");
        bp__text_put_json(text, bp__phase_name(ctx, ctx->loops[i].last));
        bp__text_put(text, "]");
    }
    bp__text_put(text, "]");
}

static void put_buffer(bp_text *text, const bp_registry *registry,
                       const bp__context *ctx, const bp__entry *entry)
{
    bp__text_put(text, "{");
    put_key(text, "name");
    bp__text_put_json(text, bp__entry_name(ctx, entry));
    put_field(text, "id");
    bp__text_put_u64(text, entry->id);
    put_field(text, "shape");
    put_shape(text, entry);
    put_field(text, "dtype");
    bp__text_put_json(text, entry->dtype == BP__FOLLOWS
                                ? NULL
                                : registry->dtypes[entry->dtype].dtype.text);
    put_field(text, "location");
    bp__text_put_json(text, bp_location_name((bp_location)entry->location));
    put_field(text, "override");
    bp__text_put_json(text,
                      entry->override == BP__NO_OVERRIDE
                          ? NULL
                          : bp_location_name((bp_location)entry->override));
    put_field(text, "align");
    bp__text_put_u64(text, bp__entry_said_align(entry));
    put_field(text, "keep");
    bp__text_put(text, choice_name(bp__entry_choice(entry)));
    put_field(text, "is_kept");
    put_bool(text, bp__entry_is_kept(entry));
    put_field(text, "zero");
    put_bool(text, (entry->flags & BP__ZERO) != 0);
    put_field(text, "same_as");
    bp__text_put_json(text,
                      entry->same_as == BP__NONE
                          ? NULL
                          : bp__entry_name(ctx, &ctx->entries[entry->same_as]));
    put_field(text, "uses");
    bp__text_put_float(text, entry->uses);
    put_life(text, ctx, entry->first_phase, entry->last_phase);
    put_field(text, "carried");
    put_bool(text, (entry->flags & BP__CARRIED) != 0);
    bp__text_put(text, "}");
}

/* "position": how many buffers and children were declared before it. */
static void put_child(bp_text *text, const bp__context *ctx,
                      const bp__child *child, uint32_t position)
{
    bp__text_put(text, "{");
    put_key(text, "name");
    bp__text_put_json(text, ctx->names + child->name);
    put_field(text, "factory");
    if (child->target == BP__NONE) {
        bp__text_put(text, "null");
    } else {
        bp__text_put_u64(text, child->target);
    }
    put_field(text, "position");
    bp__text_put_u64(text, position);
    put_life(text, ctx, child->first_phase, child->last_phase);
    bp__text_put(text, "}");
}

static void put_buffers(bp_text *text, const bp_registry *registry,
                        const bp__context *ctx)
{
    const char *comma = "\n    ";
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        if (ctx->entries[i].child == BP__NONE) {
            bp__text_put(text, comma);
            put_buffer(text, registry, ctx, &ctx->entries[i]);
            comma = ",\n    ";
        }
    }
}

static void put_children(bp_text *text, const bp__context *ctx)
{
    const char *comma = "\n    ";
    uint32_t position = 0;
    for (uint32_t i = ctx->head; i != BP__NONE; i = ctx->entries[i].next) {
        const bp__entry *entry = &ctx->entries[i];
        if (entry->child == BP__NONE) {
            position++;
            continue;
        }
        const bp__child *child = &ctx->children[entry->child];
        if (child->rollups[0] == i) {
            bp__text_put(text, comma);
            put_child(text, ctx, child, position++);
            comma = ",\n    ";
        }
    }
}

static void put_context(bp_text *text, const bp_registry *registry,
                        const bp__context *ctx)
{
    bp__text_put(text, "{");
    put_key(text, "id");
    bp__text_put_u64(text, ctx->index);
    put_field(text, "type");
    bp__text_put_json(text, bp__context_type(ctx));
    put_field(text, "precision");
    bp__text_put_json(text, registry->dtypes[ctx->precision].dtype.text);
    put_phases(text, ctx);
    put_field(text, "buffers");
    bp__text_put(text, "[");
    put_buffers(text, registry, ctx);
    bp__text_put(text, "]");
    put_field(text, "children");
    bp__text_put(text, "[");
    put_children(text, ctx);
    bp__text_put(text, "]}");
}

static void put_registry(bp_text *text, const bp_registry *registry)
{
    bp__text_put(text, "{");
    put_key(text, "mode");
    bp__text_put_json(text, bp_plan_mode_name(registry->options.mode));
    put_field(text, "node_budget");
    bp__text_put_u64(text, registry->options.node_budget);
    put_field(text, "factories");
    bp__text_put(text, "[");
    const char *comma = "\n  ";
    for (uint32_t i = 0; i < registry->n_slots && !text->is_out_of_memory;
         i++) {
        if (registry->slots[i].ctx != NULL) {
            bp__text_put(text, comma);
            put_context(text, registry, registry->slots[i].ctx);
            comma = ",\n  ";
        }
    }
    bp__text_put(text, "]}");
}

static bp_status dump_locked(bp_registry *registry, bp_factory factory,
                             bp_text *text, bp_error *error)
{
    if (factory == BP_NO_FACTORY) {
        put_registry(text, registry);
        return BP_OK;
    }
    bp__context *ctx;
    bp_status status = bp__registry_need(registry, factory, &ctx, error);
    if (status == BP_OK) {
        put_context(text, registry, ctx);
    }
    return status;
}

bp_status bp_registry_dump(bp_registry *registry, bp_factory factory,
                           char **out, bp_error *error)
{
    bp_text text;
    bp__text_init(&text, &registry->alloc);
    bp__mutex_lock(&registry->lock);
    bp_status status = dump_locked(registry, factory, &text, error);
    bp__mutex_unlock(&registry->lock);
    if (status != BP_OK) {
        bp__text_fini(&text);
        return status;
    }
    char *made = bp__text_take(&text);
    if (made == NULL) {
        return bp__refuse_memory(error);
    }
    *out = made;
    return BP_OK;
}

void bp_text_free(bp_registry *registry, char *text)
{
    if (text != NULL) {
        bp__free_array(&registry->alloc, text, strlen(text) + 1, 1);
    }
}
