/* test_csv.c - tables of buffers as text, and live bytes. */
#include "bayplan/plan.h"

#include "harness.h"

static bp_error error;

static bp_status read_text(const char *text, bp_plan_table *table)
{
    return bp_plan_read_csv(text, strlen(text), NULL, table, &error);
}

static const char all_columns[] = "size,id,offset,alignment,upper,lower\r\n"
                                  "4, a,32,16,3,-7\r\n"
                                  "\r\n"
                                  "0,b,,1,9,9";

static void columns_in_any_order(void)
{
    bp_plan_table table;
    CHECK_STATUS(read_text(all_columns, &table), BP_OK, &error);
    CHECK_U64(table.n, 2);
    CHECK_U64(table.sizes[0], 4);
    CHECK(table.first[0] == -7 && table.last[0] == 3);
    CHECK_U64(table.aligns[0], 16);
    CHECK(table.offsets[0] == 32 && table.offsets[1] == -1);
    CHECK(table.first[1] == 9 && table.last[1] == 9);
    bp_plan_table_fini(&table);
    CHECK(table.sizes == NULL);
    bp_plan_table_fini(&table); /* a zeroed one is a no-op */
}

static void numbers_at_their_ends(void)
{
    bp_plan_table table;
    CHECK_STATUS(read_text("id,lower,upper,size,alignment,offset\n"
                           "a,-9223372036854775808,9223372036854775807,"
                           "9223372036854775807,4294967296,-1\n",
                           &table),
                 BP_OK, &error);
    CHECK_U64(table.n, 1);
    CHECK(table.first[0] == INT64_MIN && table.last[0] == INT64_MAX);
    CHECK_U64(table.sizes[0], INT64_MAX);
    CHECK_U64(table.aligns[0], UINT64_C(1) << 32);
    CHECK(table.offsets[0] == -1);
    bp_plan_table_fini(&table);
}

static void columns_that_are_not_there(void)
{
    bp_plan_table table;
    CHECK_STATUS(read_text("id,lower,upper,size\n", &table), BP_OK, &error);
    CHECK_U64(table.n, 0);
    CHECK(table.aligns == NULL && table.offsets == NULL);
    bp_plan_table_fini(&table);
}

static void errors_have_line_and_column(void)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "line 1: no column names, the file is empty"},
        {"id,lower,upper\n", "line 1: there is no column 'size'"},
        {"id,lower,upper,size\n0,1,x,3\n",
         "line 2, column 3 upper: 'x' is no integer"},
        {"id,lower,upper,size\n\n0,1,2,-3\n",
         "line 3, column 4 size: '-3' is negative"},
        {"id,lower,upper,size\n0,1\n",
         "line 2, column 3 upper: missing, the line has 2 of 4 fields"},
        {"id,lower,upper,size\n0,1,2,3,4\n",
         "line 2, column 5: '4' is one field too many"},
        {"id,lower,upper,size\n0,-9223372036854775809,2,3\n",
         "line 2, column 2 lower: '-9223372036854775809' does not fit 64 "
         "bits"},
        {"id,lower,upper,size\n0,3,2,3\n",
         "line 2, column 3 upper: 2 is below lower, 3"},
        {"upper,id,size,lower\n1,0,2,1\n-6,0,2,-5\n",
         "line 3, column 1 upper: -6 is below lower, -5"},
        {"id,lower,upper,size,size\n0,1,2,3,4\n",
         "line 1, column 5: 'size' is there twice"},
        {"id,lower,upper,size\n0,1:,2,3\n",
         "line 2, column 2 lower: '1:' is no integer"},
        {"id,lower,upper,size\n0,1/,2,3\n",
         "line 2, column 2 lower: '1/' is no integer"},
        {"id,lower,upper,size\n0,1,-,3\n",
         "line 2, column 3 upper: '-' is no integer"},
        {"id,lower,upper,size\n0,1,9223372036854775808,3\n",
         "line 2, column 3 upper: '9223372036854775808' does not fit 64 bits"},
        {"id,lower,upper,size,alignment\n0,1,2,3,8589934592\n",
         "line 2, column 5 alignment: '8589934592' is no power of two up to "
         "2^32"},
        {"id,lower,upper,size,offset\n0,1,2,3,-2\n",
         "line 2, column 5 offset: '-2' is no offset"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bp_plan_table table = {.n = 77};
        CHECK_STATUS(read_text(cases[i].text, &table), BP_BAD_VALUE, &error);
        CHECK_TEXT(error.text, cases[i].says);
        CHECK_U64(table.n, 77);
    }
}

/* Every file cut short either reads or is refused, and nothing is read beyond
 * its end (ASan looks on: the copy has exactly so many bytes). */
static void files_cut_anywhere(void)
{
    size_t n_whole = strlen(all_columns), n_read = 0;
    for (size_t n = 0; n <= n_whole; n++) {
        char *copy = malloc(n == 0 ? 1 : n);
        CHECK(copy != NULL);
        memcpy(copy, all_columns, n);
        bp_plan_table table;
        if (bp_plan_read_csv(copy, n, NULL, &table, &error) == BP_OK) {
            n_read++;
            bp_plan_table_fini(&table);
        }
        free(copy);
    }
    CHECK(n_read >= 3 && n_read < n_whole);
}

static void there_and_back(void)
{
    bp_plan_table table, again;
    bp_allocator alloc = bp_allocator_default();
    char *text;
    size_t n_text;
    CHECK_STATUS(read_text(all_columns, &table), BP_OK, &error);
    CHECK_STATUS(bp_plan_write_csv(&table, &alloc, &text, &n_text, &error),
                 BP_OK, &error);
    CHECK_TEXT(text, "id,lower,upper,size,alignment,offset\n"
                     "0,-7,3,4,16,32\n"
                     "1,9,9,0,1,\n");
    CHECK_U64(n_text, strlen(text));
    CHECK_STATUS(bp_plan_read_csv(text, n_text, NULL, &again, &error), BP_OK,
                 &error);
    CHECK(again.first[0] == -7 && again.offsets[0] == 32);
    bp_plan_table_fini(&again);
    bp_plan_table_fini(&table);
    alloc.free(alloc.ctx, text, n_text + 1);
}

static void memory_may_fail_anywhere(void)
{
    test_heap heap;
    bp_allocator alloc = test_heap_init(&heap);
    uint64_t n_failures = 0;
    for (uint64_t k = 1;; k++) {
        bp_plan_table table;
        char *text = NULL;
        size_t n_text = 0;
        test_heap_fail(&heap, k, false);
        bp_status status = bp_plan_read_csv(all_columns, strlen(all_columns),
                                            &alloc, &table, &error);
        if (status == BP_OK) {
            status = bp_plan_write_csv(&table, &alloc, &text, &n_text, &error);
            bp_plan_table_fini(&table);
        }
        if (status == BP_OK) {
            alloc.free(alloc.ctx, text, n_text + 1);
        }
        CHECK_U64(heap.live_blocks, 0);
        if (heap.n_refused == 0) {
            CHECK_STATUS(status, BP_OK, &error);
            break;
        }
        CHECK_STATUS(status, BP_NO_MEMORY, &error);
        n_failures++;
    }
    CHECK(n_failures >= 6);
}

static void live_bytes_are_steps(void)
{
    const uint64_t sizes[] = {4, 8, 2, 5, 0};
    const int64_t first[] = {0, 2, 2, 3, 1}, last[] = {2, 5, 3, 3, 9};
    int64_t times[10];
    uint64_t live[10];
    size_t n;
    CHECK_STATUS(
        bp_plan_live(5, sizes, first, last, NULL, times, live, &n, &error),
        BP_OK, &error);
    CHECK_U64(n, 4);
    CHECK(times[0] == 0 && times[1] == 2 && times[2] == 3 && times[3] == 5);
    CHECK(live[0] == 4 && live[1] == 10 && live[2] == 8 && live[3] == 0);
    CHECK_STATUS(
        bp_plan_live(0, NULL, NULL, NULL, NULL, NULL, NULL, &n, &error), BP_OK,
        &error);
    CHECK_U64(n, 0);
}

static void live_bytes_refuse(void)
{
    const uint64_t sizes[] = {UINT64_MAX, 1};
    const int64_t times[] = {0, 1}, back[] = {1, 0};
    int64_t out_times[4];
    uint64_t live[4];
    size_t n = 9;
    CHECK_STATUS(
        bp_plan_live(2, sizes, times, times, NULL, out_times, live, &n, &error),
        BP_TOO_LARGE, &error);
    CHECK_STATUS(
        bp_plan_live(2, sizes, back, times, NULL, out_times, live, &n, &error),
        BP_BAD_VALUE, &error);
    test_heap heap;
    bp_allocator alloc = test_heap_init(&heap);
    for (uint64_t k = 1; k <= 3; k++) {
        test_heap_fail(&heap, k, false);
        CHECK_STATUS(bp_plan_live(1, sizes, times, back, &alloc, out_times,
                                  live, &n, &error),
                     BP_NO_MEMORY, &error);
        CHECK_U64(heap.live_blocks, 0);
    }
    CHECK_U64(n, 9);
}

int main(void)
{
    RUN(columns_in_any_order);
    RUN(numbers_at_their_ends);
    RUN(columns_that_are_not_there);
    RUN(errors_have_line_and_column);
    RUN(files_cut_anywhere);
    RUN(there_and_back);
    RUN(memory_may_fail_anywhere);
    RUN(live_bytes_are_steps);
    RUN(live_bytes_refuse);
    return finish();
}
