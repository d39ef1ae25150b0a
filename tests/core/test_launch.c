/* test_launch.c - bank conflicts against a second enumeration and the closed
 * form; padding against its definition. */
#include "harness.h"

#include "bayplan/launch.h"

static uint32_t conflicts(uint64_t stride, uint32_t width, uint32_t lanes)
{
    uint32_t degree = 0;
    bp_status status = bp_bank_conflicts(stride, width, lanes, &degree, NULL);
    return status == BP_OK ? degree : 1000 + (uint32_t)status;
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    return b == 0 ? a : gcd(b, a % b);
}

/* Lane by lane, word by word, with a table of all words seen: slow and plain.
 * Every element index of the first row of banks is tried. */
static uint32_t enumerated(uint32_t stride, uint32_t width, uint32_t lanes)
{
    enum { N_WORDS = 32 * 600 / 4 + 64 };
    uint32_t worst = 0, n_group = width == 16 ? 8 : width == 8 ? 16 : 32;
    for (uint32_t start = 0; start < 128; start += width) {
        for (uint32_t group = 0; group < 32; group += n_group) {
            bool is_seen[N_WORDS] = {false};
            uint32_t n_in_bank[32] = {0};
            for (uint32_t lane = group; lane < group + n_group; lane++) {
                for (uint32_t byte = 0; byte < width; byte++) {
                    uint32_t word = (lane / lanes * stride + start + byte) / 4;
                    n_in_bank[word % 32] += !is_seen[word];
                    is_seen[word] = true;
                }
            }
            for (uint32_t bank = 0; bank < 32; bank++) {
                worst = n_in_bank[bank] > worst ? n_in_bank[bank] : worst;
            }
        }
    }
    return worst;
}

static void conflicts_agree_with_enumeration(void)
{
    const uint32_t lanes[] = {1, 2, 4, 8, 16, 32, 64, 96};
    for (uint32_t width = 1; width <= 16; width *= 2) {
        for (uint32_t stride = 0; stride < 600; stride += width) {
            for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) {
                CHECK_U64(conflicts(stride, width, lanes[i]),
                          enumerated(stride, width, lanes[i]));
            }
        }
    }
}

/* One lane a run: gcd(stride / width, 32 / (width / 4)) for widths 4, 8, 16. */
static void conflicts_agree_with_the_closed_form(void)
{
    for (uint32_t width = 4; width <= 16; width *= 2) {
        for (uint64_t k = 1; k < 3000; k++) {
            CHECK_U64(conflicts(k * width, width, 1), gcd(k, 128 / width));
        }
        /* The same far out, where lane times stride leaves 64 bits. */
        for (uint64_t k = UINT64_MAX / width; k > UINT64_MAX / width - 70;
             k--) {
            CHECK_U64(conflicts(k * width, width, 1), gcd(k, 128 / width));
        }
    }
}

static void conflicts_by_hand(void)
{
    CHECK_U64(conflicts(128, 4, 1), 32); /* all lanes in one bank */
    CHECK_U64(conflicts(132, 4, 1), 1);  /* one pad cures it */
    CHECK_U64(conflicts(0, 4, 1), 1);    /* one word for all: broadcast */
    CHECK_U64(conflicts(128, 4, 32), 1);
    CHECK_U64(conflicts(128, 4, 8), 4); /* four runs in a warp */
    CHECK_U64(conflicts(128, 8, 1), 16);
    CHECK_U64(conflicts(8 * 17, 8, 1), 1);
    CHECK_U64(conflicts(8 * 17, 4, 1), 2); /* float32 in a float64 stride */
    CHECK_U64(conflicts(16 * 5, 16, 1), 1);
    CHECK_U64(conflicts(128, 16, 1), 8);
    CHECK_U64(conflicts(1, 1, 1), 1); /* four lanes share a word */
    CHECK_U64(conflicts(2, 2, 1), 1);
    CHECK_U64(conflicts(33, 1, 1), 2); /* byte 0 alone would have none */
}

static void bad_accesses_are_refused(void)
{
    const uint32_t widths[] = {0, 3, 5, 12, 32, 64};
    uint32_t degree = 77;
    bp_error error;
    for (size_t i = 0; i < 6; i++) {
        CHECK_STATUS(bp_bank_conflicts(0, widths[i], 1, &degree, &error),
                     BP_BAD_VALUE, &error);
        CHECK_U64(error.value, widths[i]);
    }
    CHECK_TEXT(error.text, "accesses of 64 bytes: there are 1, 2, 4, 8 and 16");
    const uint32_t lanes[] = {0, 3, 12, 31, 33, 48};
    for (size_t i = 0; i < 6; i++) {
        CHECK_STATUS(bp_bank_conflicts(8, 4, lanes[i], &degree, &error),
                     BP_BAD_VALUE, &error);
        CHECK_U64(error.value, lanes[i]);
    }
    CHECK_TEXT(error.text, "48 lanes per run neither divide a warp of 32 nor "
                           "are whole warps");
    CHECK_STATUS(bp_bank_conflicts(36, 8, 1, &degree, &error), BP_BAD_VALUE,
                 &error);
    CHECK_TEXT(error.text,
               "a stride of 36 bytes is no multiple of the access width 8");
    CHECK(error.has_numbers && error.value == 36 && error.limit == 8);
    CHECK_U64(degree, 77); /* never written */
}

static uint64_t padded(uint64_t n_bytes, uint64_t unit)
{
    uint64_t stride = 0;
    bp_status status = bp_stride_pad(n_bytes, unit, &stride, NULL);
    return status == BP_OK ? stride : UINT64_MAX;
}

static void padding_is_the_least_odd_multiple(void)
{
    for (uint64_t unit = 1; unit <= 1024; unit *= 2) {
        CHECK_U64(padded(0, unit), 0);
        for (uint64_t n_bytes = 1; n_bytes < 5000; n_bytes += 7) {
            uint64_t want = unit;
            while (want < n_bytes) {
                want += 2 * unit;
            }
            CHECK_U64(padded(n_bytes, unit), want);
        }
    }
}

/* What padding is for: no conflicts at the unit's own width. */
static void padded_strides_have_no_conflicts(void)
{
    for (uint32_t width = 4; width <= 16; width *= 2) {
        for (uint64_t n_bytes = 1; n_bytes < 2000; n_bytes++) {
            CHECK_U64(conflicts(padded(n_bytes, width), width, 1), 1);
        }
    }
}

static void padding_at_its_edges(void)
{
    uint64_t stride = 77;
    bp_error error;
    CHECK_U64(padded(UINT64_MAX, 1), UINT64_MAX);
    CHECK_U64(padded(UINT64_MAX - 8, 8), UINT64_MAX - 7);
    CHECK_STATUS(bp_stride_pad(UINT64_MAX - 6, 8, &stride, &error),
                 BP_TOO_LARGE, &error);
    CHECK_TEXT(error.text, "no odd multiple of 8 below 2^64 holds "
                           "18446744073709551609 bytes");
    CHECK_STATUS(bp_stride_pad(1, UINT64_C(1) << 63, &stride, &error), BP_OK,
                 &error);
    CHECK_U64(stride, UINT64_C(1) << 63);
    stride = 77;
    CHECK_STATUS(bp_stride_pad((UINT64_C(1) << 63) + 1, UINT64_C(1) << 63,
                               &stride, &error),
                 BP_TOO_LARGE, &error);
    CHECK_STATUS(bp_stride_pad(8, 0, &stride, &error), BP_BAD_VALUE, &error);
    CHECK_STATUS(bp_stride_pad(8, 12, &stride, &error), BP_BAD_VALUE, &error);
    CHECK_TEXT(error.text, "a padding unit of 12 bytes is no power of two");
    CHECK_U64(stride, 77);
}

int main(void)
{
    RUN(conflicts_agree_with_enumeration);
    RUN(conflicts_agree_with_the_closed_form);
    RUN(conflicts_by_hand);
    RUN(bad_accesses_are_refused);
    RUN(padding_is_the_least_odd_multiple);
    RUN(padded_strides_have_no_conflicts);
    RUN(padding_at_its_edges);
    return finish();
}
