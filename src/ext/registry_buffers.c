/* registry_buffers.c - BufferRegistry: declaring and removing buffers. */
#include "ext/registry.h"

/* ---- register ---------------------------------------------------------- */

enum {
    ARG_FACTORY,
    ARG_NAME,
    ARG_SIZE,
    ARG_LOCATION,
    ARG_DTYPE,
    ARG_ALIGN,
    ARG_LIVE,
    ARG_KEEP,
    ARG_CARRIED,
    ARG_SAME_AS,
    ARG_ZERO,
    ARG_USES,
    N_ARGS
};

static const bpx_signature register_signature = {
    "register",
    N_ARGS,
    4,
    3,
    {BPX_factory, BPX_name, BPX_size, BPX_location, BPX_dtype, BPX_align,
     BPX_live, BPX_keep, BPX_carried, BPX_same_as, BPX_zero, BPX_uses}};

/* A declaration in the core's terms. Texts are borrowed from the arguments. */
typedef struct declaration {
    bp_buffer_spec spec;
    uint64_t shape[BP_MAX_DIMS];
    const bpx_dtype *precision; /* NULL: what the factory counts in stays */
} declaration;

static bool is_given(PyObject *argument)
{
    return argument != NULL && argument != Py_None;
}

static int to_align(bpx_state *st, PyObject *object, uint32_t *out)
{
    uint64_t align;
    if (bpx_to_uint64(st, object, "align", BP_BAD_ALIGN, &align) < 0) {
        return -1;
    }
    if (!bp_is_power_of_two(align) || align > BP_MAX_ALIGN) {
        bp_error error = {.status = BP_OK};
        bp_status status =
            bp_fail(&error, BP_BAD_ALIGN,
                    "align must be a power of two in 1..%u, not %llu",
                    BP_MAX_ALIGN, (unsigned long long)align);
        bp_error_numbers(&error, align, BP_MAX_ALIGN);
        if (status != BP_OK) {
            bpx_raise(st, &error);
        }
        return -1;
    }
    *out = (uint32_t)align;
    return 0;
}

static int convert_flags(bpx_state *st, PyObject *const *args,
                         bp_buffer_spec *spec)
{
    bool keep;
    if (is_given(args[ARG_KEEP])) {
        if (bpx_to_bool(st, args[ARG_KEEP], "keep", &keep) < 0) {
            return -1;
        }
        spec->keep = keep ? BP_YES : BP_NO;
    }
    if ((args[ARG_ZERO] != NULL &&
         bpx_to_bool(st, args[ARG_ZERO], "zero", &spec->zero) < 0) ||
        (args[ARG_CARRIED] != NULL &&
         bpx_to_bool(st, args[ARG_CARRIED], "carried", &spec->is_carried) <
             0)) {
        return -1;
    }
    return 0;
}

/* The rare arguments: align, live, keep, carried, same_as, zero, uses. */
static int convert_extras(bpx_state *st, PyObject *const *args,
                          bp_buffer_spec *spec)
{
    if ((is_given(args[ARG_ALIGN]) &&
         to_align(st, args[ARG_ALIGN], &spec->align) < 0) ||
        (is_given(args[ARG_LIVE]) &&
         bpx_to_live(st, args[ARG_LIVE], &spec->first_phase,
                     &spec->last_phase) < 0) ||
        (is_given(args[ARG_SAME_AS]) &&
         bpx_to_name(st, args[ARG_SAME_AS], "same_as", &spec->same_as) < 0) ||
        (args[ARG_USES] != NULL &&
         bpx_to_float(st, args[ARG_USES], "uses", &spec->uses) < 0)) {
        return -1;
    }
    return convert_flags(st, args, spec);
}

/* What the factory counts in from now on. A buffer with an element type of its
 * own follows nothing, so a factory that is known is not asked. */
static int to_precision(bpx_registry *self, PyObject *const *args,
                        declaration *d)
{
    d->precision = NULL;
    if (is_given(args[ARG_DTYPE]) &&
        bpx_owner_find(self, args[ARG_FACTORY]) != NULL) {
        return 0;
    }
    d->precision =
        bpx_precision_of(bpx_registry_state(self), args[ARG_FACTORY]);
    return d->precision == NULL ? -1 : 0;
}

static int to_dtype(bpx_state *st, PyObject *object, bp_buffer_spec *spec)
{
    const bpx_dtype *dtype = bpx_dtype_convert(st, object);
    if (dtype == NULL) {
        return -1;
    }
    spec->dtype = &dtype->core;
    return 0;
}

static int convert(bpx_registry *self, PyObject *const *args, declaration *d)
{
    bpx_state *st = bpx_registry_state(self);
    bp_buffer_spec_init(&d->spec);
    d->spec.shape = d->shape;
    bool has_extras = false;
    for (int i = ARG_ALIGN; i < N_ARGS; i++) {
        has_extras = has_extras || args[i] != NULL;
    }
    if ((is_given(args[ARG_DTYPE]) &&
         to_dtype(st, args[ARG_DTYPE], &d->spec) < 0) ||
        bpx_to_name(st, args[ARG_NAME], "the name of a buffer", &d->spec.name) <
            0 ||
        (has_extras && convert_extras(st, args, &d->spec) < 0) ||
        bpx_to_shape(st, args[ARG_SIZE], d->spec.name, d->shape,
                     &d->spec.n_dims) < 0 ||
        (args[ARG_LOCATION] != NULL &&
         bpx_to_location(st, args[ARG_LOCATION], &d->spec.location) < 0)) {
        bpx_raised_about(st, args[ARG_FACTORY], args[ARG_NAME]);
        return -1;
    }
    return 0;
}

/* Let the core count in what the factory's `precision` says now. */
static bp_status follow_precision(bpx_registry *self, bpx_owner *owner,
                                  const bpx_dtype *precision, bp_error *error)
{
    if (precision == NULL || precision == owner->precision) {
        return BP_OK;
    }
    bp_status status = bp_factory_set_precision(self->core, owner->factory,
                                                &precision->core, error);
    if (status == BP_OK) {
        owner->precision = precision;
    }
    return status;
}

/* Both edits or neither. The way back was legal a moment ago and needs no
 * memory, so it cannot fail. */
static bp_status declare(bpx_registry *self, bpx_owner *owner,
                         const declaration *d, uint32_t *out_id,
                         bp_error *error)
{
    const bpx_dtype *old = owner->precision;
    bp_status status = follow_precision(self, owner, d->precision, error);
    if (status != BP_OK) {
        return status;
    }
    status = bp_registry_register(self->core, owner->factory, &d->spec, out_id,
                                  error);
    if (status != BP_OK) {
        bp_error unused;
        if (follow_precision(self, owner, old, &unused) != BP_OK) {
            return unused.status;
        }
    }
    return status;
}

PyObject *bpx_registry_register(PyObject *object, PyObject *const *args,
                                Py_ssize_t n_args, PyObject *kwnames)
{
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[N_ARGS];
    declaration d;
    if (bpx_parse(st, &register_signature, args, n_args, kwnames, given) < 0 ||
        to_precision(self, given, &d) < 0 || convert(self, given, &d) < 0) {
        return NULL;
    }
    bool is_new;
    if (bpx_owner_open(self, given[ARG_FACTORY], d.precision, &is_new) ==
        BP_NO_FACTORY) {
        return NULL;
    }
    uint32_t id = 0;
    bp_error error = {.status = BP_OK};
    bpx_owner *owner = bpx_owner_find(self, given[ARG_FACTORY]);
    if (declare(self, owner, &d, &id, &error) != BP_OK) {
        if (is_new) {
            bpx_owner_undo(self, given[ARG_FACTORY]);
        }
        return bpx_raise(st, &error);
    }
    return PyLong_FromUnsignedLong(id);
}

/* ---- unregister -------------------------------------------------------- */

PyObject *bpx_registry_unregister(PyObject *object, PyObject *const *args,
                                  Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "unregister", 2, 2, 2, {BPX_factory, BPX_name}};
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[2];
    const char *name;
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0 ||
        bpx_to_text(st, given[1], "the name of a buffer", BP_BAD_NAME, &name) <
            0) {
        return NULL;
    }
    bpx_owner *owner = bpx_owner_find(self, given[0]);
    if (owner == NULL) {
        return bpx_raise_unknown_factory(self, given[0]);
    }
    bp_error error = {.status = BP_OK};
    if (bp_registry_unregister(self->core, owner->factory, name, &error) !=
        BP_OK) {
        return bpx_raise(st, &error);
    }
    Py_RETURN_NONE;
}

PyObject *bpx_registry_unregister_all(PyObject *self, PyObject *const *args,
                                      Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_factory_call call = {
        {"unregister_all", 1, 1, 1, {BPX_factory}},
        bp_registry_unregister_all,
        true};
    return bpx_registry_call(self, &call, args, n_args, kwnames);
}

/* ---- precision --------------------------------------------------------- */

PyObject *bpx_registry_set_precision(PyObject *object, PyObject *const *args,
                                     Py_ssize_t n_args, PyObject *kwnames)
{
    static const bpx_signature signature = {
        "set_precision", 2, 2, 2, {BPX_factory, BPX_dtype}};
    bpx_registry *self = (bpx_registry *)object;
    bpx_state *st = bpx_registry_state(self);
    PyObject *given[2];
    if (bpx_parse(st, &signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    const bpx_dtype *precision = bpx_dtype_convert(st, given[1]);
    if (precision == NULL) {
        bpx_raised_about(st, given[0], NULL);
        return NULL;
    }
    bpx_owner *owner = bpx_owner_find(self, given[0]);
    bp_error error = {.status = BP_OK};
    if (owner != NULL &&
        follow_precision(self, owner, precision, &error) != BP_OK) {
        return bpx_raise(st, &error);
    }
    Py_RETURN_NONE;
}
