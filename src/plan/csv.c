/* csv.c - the MiniMalloc format: columns of integers under their names. */
#include "base/alloc.h"
#include "base/text.h"

#include "bayplan/plan.h"

#include <inttypes.h>
#include <string.h>

#define MAX_BUFFERS    ((size_t)1 << 31)
#define MAX_PLAN_ALIGN ((int64_t)1 << 32)

typedef enum column {
    ID,
    LOWER,
    UPPER,
    SIZE,
    ALIGNMENT,
    OFFSET,
    N_COLUMNS
} column;

static const char *const names[N_COLUMNS] = {"id",   "lower",     "upper",
                                             "size", "alignment", "offset"};

/* ---- lines and fields -------------------------------------------------- */

typedef struct reader {
    const char *at, *end; /* what is left of the file */
    const char *line_end; /* of the current line, without its CR */
    const char *field;    /* the current field, without blanks around it */
    size_t n_field;
    size_t n_line;      /* from 1 */
    uint32_t n_fields;  /* read from this line */
    uint32_t n_columns; /* of the header */
    column columns[N_COLUMNS];
    bp_error *error;
} reader;

/* Go to the next line that is not empty; false at the end of the file. */
static bool next_line(reader *in)
{
    while (in->at < in->end) {
        const char *lf = memchr(in->at, '\n', (size_t)(in->end - in->at));
        const char *stop = lf == NULL ? in->end : lf;
        in->line_end = stop > in->at && stop[-1] == '\r' ? stop - 1 : stop;
        in->n_line++;
        in->n_fields = 0;
        if (in->line_end > in->at) {
            return true;
        }
        in->at = lf == NULL ? in->end : lf + 1;
    }
    return false;
}

static void leave_line(reader *in)
{
    const char *lf =
        memchr(in->line_end, '\n', (size_t)(in->end - in->line_end));
    in->at = lf == NULL ? in->end : lf + 1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* False: the line has no more fields. */
static bool next_field(reader *in)
{
    if (in->at > in->line_end) {
        return false;
    }
    const char *comma = memchr(in->at, ',', (size_t)(in->line_end - in->at));
    const char *stop = comma == NULL ? in->line_end : comma;
    in->field = in->at;
    in->at = stop + 1; /* beyond line_end after the last field */
    while (in->field < stop && is_blank(*in->field)) {
        in->field++;
    }
    while (stop > in->field && is_blank(stop[-1])) {
        stop--;
    }
    in->n_field = (size_t)(stop - in->field);
    in->n_fields++;
    return true;
}

/* ---- complaints -------------------------------------------------------- */

static bp_status refuse_lifetime(reader *in, const int64_t *cells)
{
    uint32_t k = 0;
    while (in->columns[k] != UPPER) {
        k++;
    }
    return bp_fail(in->error, BP_BAD_VALUE,
                   "line %zu, column %" PRIu32 " upper: %" PRId64
                   " is below lower, %" PRId64,
                   in->n_line, k + 1, cells[UPPER], cells[LOWER]);
}

static bp_status refuse_field(reader *in, const char *name, const char *what)
{
    char shown[48];
    bp_text text;
    bp__text_init_bounded(&text, shown, sizeof shown);
    bp__text_put_n(&text, in->field, in->n_field);
    return bp_fail(in->error, BP_BAD_VALUE,
                   "line %zu, column %" PRIu32 "%s%s: '%s' %s", in->n_line,
                   in->n_fields, name[0] == '\0' ? "" : " ", name, shown, what);
}

/* ---- the header -------------------------------------------------------- */

static bp_status read_name(reader *in, uint32_t *seen)
{
    for (uint32_t i = 0; i < N_COLUMNS; i++) {
        if (strlen(names[i]) == in->n_field &&
            memcmp(names[i], in->field, in->n_field) == 0) {
            if ((*seen >> i & 1) != 0) {
                return refuse_field(in, "", "is there twice");
            }
            *seen |= (uint32_t)1 << i;
            in->columns[in->n_columns++] = (column)i;
            return BP_OK;
        }
    }
    return refuse_field(in, "",
                        "is no column (id, lower, upper, size, alignment and "
                        "offset are)");
}

static bp_status read_header(reader *in, uint32_t *seen)
{
    if (in->end - in->at >= 3 && memcmp(in->at, "\xEF\xBB\xBF", 3) == 0) {
        in->at += 3; /* a byte order mark */
    }
    if (!next_line(in)) {
        return bp_fail(in->error, BP_BAD_VALUE,
                       "line 1: no column names, the file is empty");
    }
    while (next_field(in)) {
        bp_status status = read_name(in, seen);
        if (status != BP_OK) {
            return status;
        }
    }
    leave_line(in);
    for (uint32_t i = 0; i <= SIZE; i++) {
        if ((*seen >> i & 1) == 0) {
            return bp_fail(in->error, BP_BAD_VALUE,
                           "line %zu: there is no column '%s'", in->n_line,
                           names[i]);
        }
    }
    return BP_OK;
}

/* ---- numbers ----------------------------------------------------------- */

static bp_status read_integer(reader *in, const char *name, int64_t *out)
{
    const char *p = in->field, *stop = in->field + in->n_field;
    bool is_negative = p < stop && *p == '-';
    uint64_t limit = (uint64_t)INT64_MAX + (is_negative ? 1 : 0), number = 0;
    p += is_negative ? 1 : 0;
    if (p == stop) {
        return refuse_field(in, name, "is no integer");
    }
    for (; p < stop; p++) {
        if (*p < '0' || *p > '9') {
            return refuse_field(in, name, "is no integer");
        }
        uint64_t digit = (uint64_t)(*p - '0');
        if (number > (limit - digit) / 10) {
            return refuse_field(in, name, "does not fit 64 bits");
        }
        number = number * 10 + digit;
    }
    *out = is_negative ? (int64_t)(~number + 1) : (int64_t)number;
    return BP_OK;
}

static bp_status read_cell(reader *in, column which, int64_t *out)
{
    const char *name = names[which];
    if (which == OFFSET && in->n_field == 0) {
        *out = -1;
        return BP_OK;
    }
    bp_status status = read_integer(in, name, out);
    if (status != BP_OK) {
        return status;
    }
    if (which == SIZE && *out < 0) {
        return refuse_field(in, name, "is negative");
    }
    if (which == ALIGNMENT && (*out < 1 || *out > MAX_PLAN_ALIGN ||
                               !bp_is_power_of_two((uint64_t)*out))) {
        return refuse_field(in, name, "is no power of two up to 2^32");
    }
    if (which == OFFSET && *out < -1) {
        return refuse_field(in, name, "is no offset");
    }
    return BP_OK;
}

/* ---- rows -------------------------------------------------------------- */

static bp_status read_row(reader *in, bp_plan_table *table)
{
    int64_t cells[N_COLUMNS] = {0};
    for (uint32_t k = 0; k < in->n_columns; k++) {
        if (!next_field(in)) {
            return bp_fail(in->error, BP_BAD_VALUE,
                           "line %zu, column %" PRIu32
                           " %s: missing, the line has %" PRIu32 " of %" PRIu32
                           " fields",
                           in->n_line, k + 1, names[in->columns[k]],
                           in->n_fields, in->n_columns);
        }
        if (in->columns[k] != ID) {
            bp_status status =
                read_cell(in, in->columns[k], &cells[in->columns[k]]);
            if (status != BP_OK) {
                return status;
            }
        }
    }
    if (next_field(in)) {
        return refuse_field(in, "", "is one field too many");
    }
    if (cells[LOWER] > cells[UPPER]) {
        return refuse_lifetime(in, cells);
    }
    size_t i = table->n++;
    table->sizes[i] = (uint64_t)cells[SIZE];
    table->first[i] = cells[LOWER];
    table->last[i] = cells[UPPER];
    if (table->aligns != NULL) {
        table->aligns[i] = (uint64_t)cells[ALIGNMENT];
    }
    if (table->offsets != NULL) {
        table->offsets[i] = cells[OFFSET];
    }
    return BP_OK;
}

static bp_status read_rows(reader *in, bp_plan_table *table)
{
    while (next_line(in)) {
        bp_status status = read_row(in, table);
        if (status != BP_OK) {
            return status;
        }
        leave_line(in);
    }
    return BP_OK;
}

/* Lines that are left, the last one with or without its end. */
static size_t count_lines(const reader *in)
{
    size_t n = 1;
    const char *at = in->at;
    while (at < in->end &&
           (at = memchr(at, '\n', (size_t)(in->end - at))) != NULL) {
        at++;
        n++;
    }
    return n;
}

static bool table_init(bp_plan_table *table, size_t n_slots, uint32_t seen,
                       const bp_allocator *alloc)
{
    *table = (bp_plan_table){.n_slots = n_slots, .alloc = *alloc};
    table->sizes = bp__alloc_array(alloc, n_slots, sizeof *table->sizes);
    table->first = bp__alloc_array(alloc, n_slots, sizeof *table->first);
    table->last = bp__alloc_array(alloc, n_slots, sizeof *table->last);
    bool has_aligns = (seen >> ALIGNMENT & 1) != 0;
    bool has_offsets = (seen >> OFFSET & 1) != 0;
    if (has_aligns) {
        table->aligns = bp__alloc_array(alloc, n_slots, sizeof *table->aligns);
    }
    if (has_offsets) {
        table->offsets =
            bp__alloc_array(alloc, n_slots, sizeof *table->offsets);
    }
    return table->sizes != NULL && table->first != NULL &&
           table->last != NULL && has_aligns == (table->aligns != NULL) &&
           has_offsets == (table->offsets != NULL);
}

void bp_plan_table_fini(bp_plan_table *table)
{
    if (table->n_slots == 0) {
        return;
    }
    const bp_allocator *alloc = &table->alloc;
    size_t n = table->n_slots;
    bp__free_array(alloc, table->sizes, n, sizeof *table->sizes);
    bp__free_array(alloc, table->first, n, sizeof *table->first);
    bp__free_array(alloc, table->last, n, sizeof *table->last);
    bp__free_array(alloc, table->aligns, n, sizeof *table->aligns);
    bp__free_array(alloc, table->offsets, n, sizeof *table->offsets);
    *table = (bp_plan_table){0};
}

bp_status bp_plan_read_csv(const char *bytes, size_t n_bytes,
                           const bp_allocator *alloc, bp_plan_table *out,
                           bp_error *error)
{
    reader in = {.at = bytes, .end = bytes + n_bytes, .error = error};
    uint32_t seen = 0;
    bp_status status = read_header(&in, &seen);
    if (status != BP_OK) {
        return status;
    }
    size_t n_slots = count_lines(&in);
    if (n_slots > MAX_BUFFERS + 1) {
        return bp_fail(error, BP_TOO_LARGE, "%zu lines: more than 2^31 buffers",
                       n_slots);
    }
    bp_allocator source = bp__allocator_or_default(alloc);
    bp_plan_table table;
    if (!table_init(&table, n_slots, seen, &source)) {
        status = bp_fail(error, BP_NO_MEMORY,
                         "no memory for a table of %zu lines", n_slots);
        goto fail;
    }
    status = read_rows(&in, &table);
    if (status != BP_OK) {
        goto fail;
    }
    *out = table;
    return BP_OK;
fail:
    bp_plan_table_fini(&table);
    return status;
}

/* ---- writing ----------------------------------------------------------- */

static void put_i64(bp_text *text, int64_t number)
{
    if (number < 0) {
        bp__text_put_n(text, "-", 1);
        bp__text_put_u64(text, ~(uint64_t)number + 1);
    } else {
        bp__text_put_u64(text, (uint64_t)number);
    }
}

static void write_row(bp_text *text, const bp_plan_table *table, size_t i)
{
    bp__text_put_u64(text, i);
    bp__text_put_n(text, ",", 1);
    put_i64(text, table->first[i]);
    bp__text_put_n(text, ",", 1);
    put_i64(text, table->last[i]);
    bp__text_put_n(text, ",", 1);
    bp__text_put_u64(text, table->sizes[i]);
    if (table->aligns != NULL) {
        bp__text_put_n(text, ",", 1);
        bp__text_put_u64(text, table->aligns[i]);
    }
    if (table->offsets != NULL) {
        bp__text_put_n(text, ",", 1);
        if (table->offsets[i] >= 0) {
            put_i64(text, table->offsets[i]);
        }
    }
    bp__text_put_n(text, "\n", 1);
}

bp_status bp_plan_write_csv(const bp_plan_table *table,
                            const bp_allocator *alloc, char **out_text,
                            size_t *out_n, bp_error *error)
{
    bp_allocator source = bp__allocator_or_default(alloc);
    bp_text text;
    bp__text_init(&text, &source);
    bp__text_put(&text, "id,lower,upper,size");
    bp__text_put(&text, table->aligns == NULL ? "" : ",alignment");
    bp__text_put(&text, table->offsets == NULL ? "" : ",offset");
    bp__text_put(&text, "\n");
    for (size_t i = 0; i < table->n; i++) {
        write_row(&text, table, i);
    }
    size_t n_bytes = text.n_bytes;
    char *bytes = bp__text_take(&text);
    if (bytes == NULL) {
        return bp_fail(error, BP_NO_MEMORY,
                       "no memory for a text of %zu buffers", table->n);
    }
    *out_text = bytes;
    *out_n = n_bytes;
    return BP_OK;
}
