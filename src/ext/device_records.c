/* device_records.c - records of device memory: statistics, edges, evictions. */
#include "ext/device.h"

static PyStructSequence_Field budget_stats_fields[] = {
    {"limit", "Bytes the budget may grant."},
    {"used", "Bytes resident."},
    {"reserved", "Bytes promised."},
    {"retiring", "Bytes evicted which the device may still use."},
    {"cached", "Bytes idle in pools; inside `available`."},
    {"available", "max(0, limit - used - reserved - retiring)."},
    {"over", "Bytes by which these three exceed a limit that was lowered."},
    {"peak", "Most bytes the three ever were together."},
    {"pressure", "MemoryPressure."},
    {"levels", "Percents at which MEDIUM, HIGH and CRITICAL begin."},
    {"granularity", "Every request is rounded up to a multiple of it."},
    {"charges", "Admissions that succeeded."},
    {"refusals", "Requests refused."},
    {"evictions", "Residencies ended under this budget."},
    {"children", "Budgets whose parent this one is."},
    {NULL, NULL}};

static PyStructSequence_Field edge_fields[] = {
    {"budget", "Budget that crossed a level."},
    {"level", "MemoryPressure whose edge it is."},
    {"rising", "True into the level or above, False back below it."},
    {NULL, NULL}};

static PyStructSequence_Field evicted_fields[] = {
    {"key", "Name of what was evicted."},
    {"kind", "What sort of thing it was, or None."},
    {"generation", "Number of the residency that ended; no two share one."},
    {"nbytes", "Bytes it had on the device."},
    {"cause", "'explicit', 'replaced', 'pressure', 'limit', 'oom', 'sweep' or "
              "'closed'."},
    {"seq", "Number of the record in its log, dense from 0."},
    {NULL, NULL}};

static PyStructSequence_Field observation_fields[] = {
    {"free", "Bytes free on the device as its driver says; None: no capacity."},
    {"total", "Bytes of the device; None: no capacity."},
    {"tracked", "Bytes of the budget: used, reserved, retiring and cached."},
    {"untracked", "Bytes in use on the device beyond those."},
    {NULL, NULL}};

static PyStructSequence_Desc budget_stats_desc = {
    "bayplan.BudgetStats", "Figures of a budget at one moment.",
    budget_stats_fields, 15};
static PyStructSequence_Desc edge_desc = {
    "bayplan.PressureEdge", "A budget crossed a level of pressure.",
    edge_fields, 3};
static PyStructSequence_Desc evicted_desc = {
    "bayplan.Evicted", "The end of one residency.", evicted_fields, 6};
static PyStructSequence_Desc observation_desc = {
    "bayplan.Observation", "What the device's driver says of its memory.",
    observation_fields, 4};

int bpx_device_records_add(PyObject *module)
{
    bpx_state *st = bpx_state_of(module);
    if (bpx_record_add(module, &budget_stats_desc, &st->budget_stats_type) <
            0 ||
        bpx_record_add(module, &edge_desc, &st->edge_type) < 0 ||
        bpx_record_add(module, &evicted_desc, &st->evicted_type) < 0 ||
        bpx_record_add(module, &observation_desc, &st->observation_type) < 0) {
        return -1;
    }
    return 0;
}

static PyObject *number(uint64_t value)
{
    return PyLong_FromUnsignedLongLong(value);
}

PyObject *bpx_evicted_new(bpx_state *st, const bp_record *record)
{
    PyObject *values[6] = {
        PyUnicode_FromString(bp_key_text(record->key)),
        record->kind == NULL ? Py_NewRef(Py_None)
                             : PyUnicode_FromString(bp_key_text(record->kind)),
        number(record->generation),
        number(record->n_bytes),
        Py_NewRef(st->causes[record->cause]),
        number(record->seq),
    };
    return bpx_record_make(st->evicted_type, values, 6);
}

PyObject *bpx_edge_new(bpx_state *st, PyObject *budget, bp_pressure level,
                       bool is_rising)
{
    PyObject *values[3] = {
        Py_NewRef(budget),
        bpx_pressure_new(st, level),
        PyBool_FromLong(is_rising),
    };
    return bpx_record_make(st->edge_type, values, 3);
}

static PyObject *levels_tuple(bp_levels levels)
{
    return Py_BuildValue("(iii)", levels.percent[0], levels.percent[1],
                         levels.percent[2]);
}

PyObject *bpx_budget_stats_new(bpx_state *st, const bp_budget_stats *s)
{
    PyObject *values[15] = {
        number(s->limit),
        number(s->used),
        number(s->reserved),
        number(s->retiring),
        number(s->cached),
        number(s->available),
        number(s->over),
        number(s->peak),
        bpx_pressure_new(st, s->pressure),
        levels_tuple(s->levels),
        number(s->granularity),
        number(s->n_charges),
        number(s->n_refusals),
        number(s->n_evictions),
        number(s->n_children),
    };
    return bpx_record_make(st->budget_stats_type, values, 15);
}

static PyObject *capacity_or_none(uint64_t n)
{
    return n == UINT64_MAX ? Py_NewRef(Py_None) : number(n);
}

PyObject *bpx_observation_new(bpx_state *st, const bp_observation *o)
{
    PyObject *values[4] = {
        capacity_or_none(o->free),
        capacity_or_none(o->total),
        number(o->tracked),
        number(o->untracked),
    };
    return bpx_record_make(st->observation_type, values, 4);
}
