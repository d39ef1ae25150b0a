/* registry_fixture.h - short words for tests of the registry: a registry on a
 * counting heap, declarations in one line, and failures that must leave the
 * dump as it was. Needs harness.h before it. */
#ifndef BAYPLAN_TESTS_REGISTRY_FIXTURE_H
#define BAYPLAN_TESTS_REGISTRY_FIXTURE_H

#include "bayplan/registry.h"

static const bp_dtype f4 = {"<f4", 4, 4};
static const bp_dtype f8 = {"<f8", 8, 8};
static const bp_dtype u1 = {"|u1", 1, 1};

typedef struct fixture {
    test_heap heap;
    bp_allocator alloc;
    bp_registry *registry;
    bp_error error;
} fixture;

static inline bool fixture_init(fixture *it, bp_plan_mode mode)
{
    memset(it, 0, sizeof *it);
    it->alloc = test_heap_init(&it->heap);
    bp_registry_options options = {mode, 0};
    return bp_registry_new(&options, &it->alloc, &it->registry, &it->error) ==
           BP_OK;
}

/* All memory came back. */
static inline bool fixture_fini(fixture *it)
{
    bool is_sound = bp_registry_check(it->registry, &it->error) == BP_OK;
    if (!is_sound) {
        printf("    %s\n", it->error.text);
    }
    bp_registry_free(it->registry);
    it->registry = NULL;
    return is_sound && it->heap.live_blocks == 0 && it->heap.live_bytes == 0;
}

static inline bp_factory fixture_open(fixture *it, const char *type)
{
    bp_factory factory = BP_NO_FACTORY;
    bp_status status =
        bp_factory_open(it->registry, type, &f4, &factory, &it->error);
    return status == BP_OK ? factory : BP_NO_FACTORY;
}

/* The spec of n elements; `shape` is where n is put. */
static inline bp_buffer_spec spec_of(const char *name, uint64_t *shape,
                                     uint64_t n, bp_location location)
{
    bp_buffer_spec spec;
    bp_buffer_spec_init(&spec);
    *shape = n;
    spec.name = name;
    spec.shape = shape;
    spec.location = location;
    return spec;
}

static inline bp_status declare(fixture *it, bp_factory factory,
                                const char *name, uint64_t n,
                                bp_location location)
{
    uint64_t shape;
    bp_buffer_spec spec = spec_of(name, &shape, n, location);
    return bp_registry_register(it->registry, factory, &spec, NULL, &it->error);
}

static inline bp_status declare_same(fixture *it, bp_factory factory,
                                     const char *name, uint64_t n,
                                     const char *same_as)
{
    uint64_t shape;
    bp_buffer_spec spec = spec_of(name, &shape, n, BP_LOCAL);
    spec.same_as = same_as;
    return bp_registry_register(it->registry, factory, &spec, NULL, &it->error);
}

static inline bp_update_item text_item(const char *key, const char *text)
{
    return (bp_update_item){.key = key, .kind = BP_VALUE_TEXT, .text = text};
}

static inline bp_update_item size_item(const char *key, const uint64_t *shape,
                                       uint32_t n_dims)
{
    return (bp_update_item){
        .key = key, .kind = BP_VALUE_SHAPE, .shape = shape, .n_dims = n_dims};
}

static inline bp_status move(fixture *it, bp_factory factory, const char *key,
                             const char *location)
{
    bp_update_item item = text_item(key, location);
    return bp_registry_update(it->registry, factory, NULL, &item, 1,
                              BP_UPDATE_STRICT, &it->error);
}

static inline bp_status resize(fixture *it, bp_factory factory, const char *key,
                               uint64_t n)
{
    bp_update_item item = size_item(key, &n, 1);
    return bp_registry_update(it->registry, factory, NULL, &item, 1,
                              BP_UPDATE_STRICT, &it->error);
}

/* The whole registry's; freed with drop_dump. NULL: no memory. */
static inline char *take_dump(fixture *it)
{
    char *text = NULL;
    bp_status status =
        bp_registry_dump(it->registry, BP_NO_FACTORY, &text, &it->error);
    return status == BP_OK ? text : NULL;
}

static inline void drop_dump(fixture *it, char *text)
{
    bp_text_free(it->registry, text);
}

static inline uint64_t version_of(fixture *it, bp_factory factory)
{
    uint64_t version = UINT64_MAX;
    bp_status status =
        bp_registry_version(it->registry, factory, &version, &it->error);
    return status == BP_OK ? version : UINT64_MAX;
}

/* A reference; NULL: an error. */
static inline bp_layout *layout_of(fixture *it, bp_factory factory)
{
    bp_layout *layout = NULL;
    bp_status status =
        bp_registry_copy_layout(it->registry, factory, &layout, &it->error);
    return status == BP_OK ? layout : NULL;
}

static inline uint64_t region_bytes(fixture *it, bp_factory factory,
                                    bp_location location)
{
    bp_layout *layout = layout_of(it, factory);
    uint64_t n_bytes = layout == NULL
                           ? UINT64_MAX
                           : bp_layout_get_region(layout, location)->n_bytes;
    bp_layout_unref(layout);
    return n_bytes;
}

/* The call must fail with `want`, fill the error, keep all invariants and leave
 * dump and versions alone. */
#define CHECK_REFUSED(it, call, want)                                          \
    do {                                                                       \
        char *dump_before = take_dump(it);                                     \
        (it)->error = (bp_error){0};                                           \
        bp_status got = (call);                                                \
        bool is_right = harness_status(got, (want), &(it)->error, __FILE__,    \
                                       __LINE__, #call);                       \
        bp_error kept = (it)->error;                                           \
        char *dump_after = take_dump(it);                                      \
        is_right &=                                                            \
            harness_text(dump_after, dump_before, __FILE__, __LINE__, "dump"); \
        is_right &=                                                            \
            harness_status(bp_registry_check((it)->registry, &(it)->error),    \
                           BP_OK, &(it)->error, __FILE__, __LINE__, "check");  \
        is_right &=                                                            \
            harness_check(kept.status == (want) && kept.text[0] != '\0',       \
                          __FILE__, __LINE__, "error is filled");              \
        drop_dump(it, dump_before);                                            \
        drop_dump(it, dump_after);                                             \
        (it)->error = kept;                                                    \
        if (!is_right) {                                                       \
            return;                                                            \
        }                                                                      \
    } while (0)

#endif
