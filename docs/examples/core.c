/* A factory of two shared buffers, its layout, and where they lie. */
#include <inttypes.h>
#include <stdio.h>

#include "bayplan/bayplan.h"

static bp_status add(bp_registry *registry, bp_factory factory,
                     const char *name, uint64_t n, bp_error *error)
{
    bp_buffer_spec spec;
    bp_buffer_spec_init(&spec);
    spec.name = name;
    spec.shape = &n;
    spec.n_dims = 1;
    spec.location = BP_SHARED;
    return bp_registry_register(registry, factory, &spec, NULL, error);
}

static bp_status show(bp_registry *registry, bp_error *error)
{
    const bp_dtype f4 = {.text = "<f4", .n_bytes = 4, .align = 4};
    bp_factory newton;
    bp_layout *layout = NULL;
    bp_status status = bp_factory_open(registry, "Newton", &f4, &newton, error);
    if (status == BP_OK) {
        status = add(registry, newton, "residual", 20, error);
    }
    if (status == BP_OK) {
        status = add(registry, newton, "jacobian", 400, error);
    }
    if (status == BP_OK) {
        status = bp_registry_copy_layout(registry, newton, &layout, error);
    }
    if (status != BP_OK) {
        return status;
    }
    for (size_t i = 0; i < bp_layout_n_placements(layout); i++) {
        const bp_placement *p = bp_layout_get_placement(layout, i);
        printf("%-10s %5" PRIu64 " %5" PRIu64 "\n", p->name, p->offset_bytes,
               p->n_bytes);
    }
    bp_layout_unref(layout);
    return BP_OK;
}

int main(void)
{
    const bp_registry_options options = {.mode = BP_PLAN_AUTO};
    const bp_allocator alloc = bp_allocator_default();
    bp_registry *registry = NULL;
    bp_error error;
    bp_status status = bp_registry_new(&options, &alloc, &registry, &error);
    if (status == BP_OK) {
        status = show(registry, &error);
    }
    if (status != BP_OK) {
        fprintf(stderr, "%s: %s\n", bp_status_code(status), error.text);
    }
    bp_registry_free(registry);
    return status == BP_OK ? 0 : 1;
}
