/* lifetimes_fixture.h - short words for phases, loops and lifetimes. Needs
 * registry_fixture.h before it. */
#ifndef BAYPLAN_TESTS_LIFETIMES_FIXTURE_H
#define BAYPLAN_TESTS_LIFETIMES_FIXTURE_H

#define PHASES(it, factory, ...)                                               \
    bp_registry_phases(                                                        \
        (it)->registry, (factory), (const char *const[]){__VA_ARGS__},         \
        sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *),     \
        &(it)->error)

static inline bp_status no_phases(fixture *it, bp_factory factory)
{
    return bp_registry_phases(it->registry, factory, NULL, 0, &it->error);
}

static inline bp_status make_loop(fixture *it, bp_factory factory,
                                  const char *first, const char *last)
{
    return bp_registry_loop(it->registry, factory, first, last, &it->error);
}

static inline bp_status declare_live(fixture *it, bp_factory factory,
                                     const char *name, uint64_t n,
                                     bp_location location, const char *first,
                                     const char *last)
{
    uint64_t shape;
    bp_buffer_spec spec = spec_of(name, &shape, n, location);
    spec.first_phase = first;
    spec.last_phase = last;
    return bp_registry_register(it->registry, factory, &spec, NULL, &it->error);
}

static inline bp_status declare_carried(fixture *it, bp_factory factory,
                                        const char *name, uint64_t n,
                                        const char *first, const char *last)
{
    uint64_t shape;
    bp_buffer_spec spec = spec_of(name, &shape, n, BP_SHARED);
    spec.first_phase = first;
    spec.last_phase = last;
    spec.is_carried = true;
    return bp_registry_register(it->registry, factory, &spec, NULL, &it->error);
}

static inline bp_status add_live(fixture *it, bp_factory parent,
                                 bp_factory child, const char *name,
                                 const char *first, const char *last)
{
    return bp_registry_add_child(it->registry, parent, child, name, first, last,
                                 &it->error);
}

/* The settled span of a placement is first..last. */
static inline bool lives(const bp_layout *layout, const char *name,
                         uint32_t first, uint32_t last)
{
    const bp_placement *place = bp_layout_find(layout, name);
    bool is_right = place != NULL && place->first_phase == first &&
                    place->last_phase == last;
    if (!is_right && place != NULL) {
        printf("    %s lives from %u to %u, not from %u to %u\n", name,
               (unsigned)place->first_phase, (unsigned)place->last_phase,
               (unsigned)first, (unsigned)last);
    }
    return is_right;
}

#endif
