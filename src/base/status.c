/* status.c - the status table and the caller-owned error record. */
#include "bayplan/base.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct status_row {
    const char *name;
    const char *code;
    const char *text;
    bp_family family;
} status_row;

static const status_row status_rows[BP_N_STATUSES] = {
#define BP_STATUS_ROW(name, code, family, text)                                \
    [BP_##name] = {#name, code, text, BP_FAMILY_##family},
    BP_STATUS_LIST(BP_STATUS_ROW)
#undef BP_STATUS_ROW
};

static const status_row unknown_row = {
    "UNKNOWN_STATUS", "BAY-E999", "a number that is no status", BP_FAMILY_BUG};

static const status_row *row_of(bp_status status)
{
    size_t i = (size_t)status;
    return i < (size_t)BP_N_STATUSES ? &status_rows[i] : &unknown_row;
}

const char *bp_status_name(bp_status status)
{
    return row_of(status)->name;
}

const char *bp_status_code(bp_status status)
{
    return row_of(status)->code;
}

const char *bp_status_text(bp_status status)
{
    return row_of(status)->text;
}

bp_family bp_status_family(bp_status status)
{
    return row_of(status)->family;
}

bp_status bp_fail(bp_error *error, bp_status status, const char *format, ...)
{
    if (error == NULL) {
        return status;
    }
    memset(error, 0, sizeof *error);
    error->status = status;

    bp_text text;
    bp__text_init_bounded(&text, error->text, sizeof error->text);
    va_list args;
    va_start(args, format);
    bp__text_vprintf(&text, format, args);
    va_end(args);
    return status;
}

static void copy_field(char *field, size_t n_field, const char *value)
{
    bp_text text;
    bp__text_init_bounded(&text, field, n_field);
    bp__text_put(&text, value == NULL ? "" : value);
}

void bp_error_about(bp_error *error, const char *factory, const char *buffer)
{
    if (error == NULL) {
        return;
    }
    copy_field(error->factory, sizeof error->factory, factory);
    copy_field(error->buffer, sizeof error->buffer, buffer);
}

void bp_error_numbers(bp_error *error, uint64_t value, uint64_t limit)
{
    if (error == NULL) {
        return;
    }
    error->has_numbers = true;
    error->value = value;
    error->limit = limit;
}
