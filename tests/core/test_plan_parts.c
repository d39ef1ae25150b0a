/* test_plan_parts.c - the planner's parts against naive restatements: sorting,
 * sections, the tree of gaps, the bounds, first fit. */
#include "harness.h"
#include "plan/first_fit.h"
#include "plan/gaps.h"
#include "plan/order.h"
#include "plan/residue.h"
#include "plan/search_state.h"
#include "plan/section_bounds.h"
#include "plan/sections.h"

#define MAX_N 300u

typedef struct problem {
    size_t n;
    uint64_t sizes[MAX_N], aligns[MAX_N];
    int64_t first[MAX_N], last[MAX_N];
} problem;

static problem random_problem(uint64_t *seed, size_t n, uint64_t n_times)
{
    problem p = {.n = n};
    for (size_t i = 0; i < n; i++) {
        int64_t a = (int64_t)random_below(seed, n_times);
        int64_t b = (int64_t)random_below(seed, n_times);
        p.sizes[i] = random_below(seed, 40);
        p.aligns[i] = UINT64_C(1) << random_below(seed, 5);
        p.first[i] = a < b ? a : b;
        p.last[i] = a < b ? b : a;
    }
    return p;
}

static bp_plan_request request_of(const problem *p)
{
    return (bp_plan_request){.n = p->n,
                             .sizes = p->sizes,
                             .aligns = p->aligns,
                             .first = p->first,
                             .last = p->last,
                             .mode = BP_PLAN_FAST};
}

static bool do_overlap(const problem *p, size_t i, size_t k)
{
    return p->first[i] < p->last[k] && p->first[k] < p->last[i];
}

/* ---- sorting ----------------------------------------------------------- */

static void sorting_is_stable(void)
{
    uint64_t seed = 1;
    for (int round = 0; round < 300; round++) {
        uint32_t n = (uint32_t)random_below(&seed, MAX_N);
        uint32_t order[MAX_N], spare[MAX_N];
        uint64_t keys[MAX_N];
        uint64_t mask = UINT64_MAX >> random_below(&seed, 64);
        for (uint32_t i = 0; i < n; i++) {
            keys[i] = random_u64(&seed) & mask & ~(uint64_t)0xff00;
            order[i] = i;
        }
        bp__order_by_key(order, keys, n, spare);
        bool is_seen[MAX_N] = {false};
        for (uint32_t k = 0; k < n; k++) {
            CHECK(!is_seen[order[k]]);
            is_seen[order[k]] = true;
            if (k > 0) {
                uint64_t before = keys[order[k - 1]], here = keys[order[k]];
                CHECK(before < here ||
                      (before == here && order[k - 1] < order[k]));
            }
        }
        CHECK(n < MAX_N);
    }
    CHECK(bp__key_of_time(INT64_MIN) < bp__key_of_time(-1));
    CHECK(bp__key_of_time(-1) < bp__key_of_time(0));
    CHECK(bp__key_of_time(0) < bp__key_of_time(INT64_MAX));
}

/* ---- sections ---------------------------------------------------------- */

static uint64_t load_at(const problem *p, int64_t time)
{
    uint64_t load = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->first[i] <= time && time < p->last[i]) {
            load += p->sizes[i];
        }
    }
    return load;
}

static void check_sections(const problem *p, const bp__sections *sections,
                           const bp_plan_request *request)
{
    for (size_t i = 0; i < p->n; i++) {
        if (!bp__plan_is_ever_live(request, i)) {
            continue;
        }
        CHECK(sections->first[i] < sections->last[i]);
        CHECK(sections->last[i] <= sections->n_sections);
        for (size_t k = 0; k < i; k++) {
            if (bp__plan_is_ever_live(request, k)) {
                bool is_shared = sections->first[i] < sections->last[k] &&
                                 sections->first[k] < sections->last[i];
                CHECK(is_shared == do_overlap(p, i, k));
            }
        }
    }
    uint64_t most = 0;
    for (int64_t t = -1; t < 60; t++) {
        most = load_at(p, t) > most ? load_at(p, t) : most;
    }
    CHECK_U64(bp__sections_load(sections, 0, sections->n_sections), most);
}

/* Parts follow each other, and no buffer is in two. */
static void check_parts(const bp__sections *sections)
{
    uint32_t section = 0, birth = 0;
    for (uint32_t q = 0; q < sections->n_parts; q++) {
        const bp__part *part = &sections->parts[q];
        CHECK_U64(part->first_section, section);
        CHECK_U64(part->first_birth, birth);
        section = part->last_section;
        birth = part->last_birth;
        CHECK(part->first_birth < birth && part->first_section < section);
        uint32_t end = part->first_section;
        for (uint32_t k = part->first_birth; k < birth; k++) {
            uint32_t id = sections->birth[k];
            CHECK(part->first_section <= sections->first[id]);
            CHECK(sections->last[id] <= section);
            /* Nothing divides a part further. */
            CHECK(k == part->first_birth || sections->first[id] < end);
            end = sections->last[id] > end ? sections->last[id] : end;
        }
    }
    CHECK_U64(section, sections->n_sections);
    CHECK_U64(birth, sections->n);
}

static void sections_keep_overlaps(void)
{
    uint64_t seed = 2;
    bp_allocator alloc = bp_allocator_default();
    for (int round = 0; round < 300; round++) {
        problem p = random_problem(&seed, random_below(&seed, 90),
                                   2 + random_below(&seed, 55));
        bp_plan_request request = request_of(&p);
        bp__sections sections;
        CHECK(bp__sections_init(&sections, &request, &alloc));
        check_sections(&p, &sections, &request);
        check_parts(&sections);
        bp__sections_fini(&sections);
        CHECK_PASSED();
    }
}

/* ---- the tree of gaps -------------------------------------------------- */

#define SPACE 4096u

static uint64_t naive_place(const bool *is_taken, uint64_t size, uint64_t align)
{
    for (uint64_t at = 0;; at += align) {
        uint64_t n = 0;
        while (n < size && !is_taken[at + n]) {
            n++;
        }
        if (n == size) {
            return at;
        }
    }
}

typedef struct piece {
    uint64_t begin, size;
} piece;

static void gaps_are_first_fit(void)
{
    uint64_t seed = 3;
    bp_allocator alloc = bp_allocator_default();
    for (int round = 0; round < 40; round++) {
        bp__gaps gaps;
        bool is_taken[SPACE] = {false};
        piece pieces[32];
        size_t n = 0;
        CHECK(bp__gaps_init(&gaps, &alloc));
        for (int step = 0; step < 400; step++) {
            if (n == 32 || (n > 0 && random_below(&seed, 2) == 0)) {
                size_t at = random_below(&seed, n);
                piece out = pieces[at];
                pieces[at] = pieces[--n];
                CHECK(bp__gaps_give(&gaps, out.begin, out.begin + out.size));
                memset(is_taken + out.begin, 0, out.size);
            } else {
                uint64_t size = 1 + random_below(&seed, 40);
                uint64_t align = UINT64_C(1) << random_below(&seed, 5);
                uint64_t want = naive_place(is_taken, size, align), got;
                CHECK(bp__gaps_take(&gaps, size, align, &got));
                CHECK_U64(got, want);
                pieces[n++] = (piece){got, size};
                memset(is_taken + got, 1, size);
            }
            CHECK(bp__gaps_check(&gaps));
            uint64_t at = random_below(&seed, 1000);
            uint64_t length = 1 + random_below(&seed, 9);
            bool is_free = true;
            for (uint64_t k = at; k < at + length; k++) {
                is_free = is_free && !is_taken[k];
            }
            CHECK(bp__gaps_has(&gaps, at, at + length) == is_free);
        }
        bp__gaps_fini(&gaps);
    }
}

static void gaps_reserve_what_is_free(void)
{
    uint64_t seed = 4;
    bp_allocator alloc = bp_allocator_default();
    for (int round = 0; round < 60; round++) {
        bp__gaps gaps;
        bool is_taken[SPACE] = {false};
        CHECK(bp__gaps_init(&gaps, &alloc));
        for (int step = 0; step < 25; step++) {
            uint64_t begin = random_below(&seed, 1000);
            uint64_t size = random_below(&seed, 60);
            CHECK(bp__gaps_reserve(&gaps, begin, begin + size));
            memset(is_taken + begin, 1, size);
            CHECK(bp__gaps_check(&gaps));
            uint64_t want = naive_place(is_taken, 5, 2), got;
            CHECK(bp__gaps_take(&gaps, 5, 2, &got));
            CHECK_U64(got, want);
            memset(is_taken + got, 1, 5);
        }
        bp__gaps_fini(&gaps);
    }
}

/* Many gaps that are large enough but badly aligned: the search gives up on
 * them after a while, and still finds a place. */
static void gaps_that_alignment_spoils(void)
{
    bp_allocator alloc = bp_allocator_default();
    bp__gaps gaps;
    CHECK(bp__gaps_init(&gaps, &alloc));
    for (uint64_t k = 0; k < 200; k++) {
        CHECK(bp__gaps_reserve(&gaps, 64 * k, 64 * k + 1));
    }
    uint64_t got;
    CHECK(bp__gaps_take(&gaps, 63, 64, &got));
    CHECK_U64(got, 64 * 200);
    CHECK(bp__gaps_check(&gaps));
    bp__gaps_fini(&gaps);
}

/* ---- bounds ------------------------------------------------------------ */

/* The least height of a stack of all buffers, over all orders. */
static uint64_t least_stack(const problem *p, uint64_t *used, uint64_t height,
                            uint64_t best) /* depth <= 7 */
{
    if (*used == (UINT64_C(1) << p->n) - 1) {
        return height < best ? height : best;
    }
    for (size_t i = 0; i < p->n; i++) {
        if (*used >> i & 1) {
            continue;
        }
        uint64_t align = p->aligns[i];
        uint64_t at = (height + align - 1) / align * align;
        *used |= UINT64_C(1) << i;
        best = least_stack(p, used, at + p->sizes[i], best);
        *used &= ~(UINT64_C(1) << i);
    }
    return best;
}

static void residues_never_say_too_much(void)
{
    uint64_t seed = 5;
    unsigned n_over_load = 0, n_exact = 0, n_padded = 0;
    bp_allocator alloc = bp_allocator_default();
    for (int round = 0; round < 1500; round++) {
        problem p = {.n = 1 + random_below(&seed, 7)};
        uint64_t unit = UINT64_C(1) << random_below(&seed, 3);
        uint64_t load = 0, used = 0, align_bits = 0;
        for (size_t i = 0; i < p.n; i++) {
            p.sizes[i] = (1 + random_below(&seed, 20)) * unit;
            p.aligns[i] = UINT64_C(1) << random_below(&seed, 6);
            p.last[i] = 1;
            load += p.sizes[i];
            align_bits |= p.aligns[i];
        }
        bp_plan_request request = request_of(&p);
        bp_plan_model model = {.request = &request, .align_bits = align_bits};
        bp__sections sections;
        CHECK(bp__sections_init(&sections, &request, &alloc));
        CHECK_U64(sections.n_parts, 1);
        uint64_t bound, best = least_stack(&p, &used, 0, UINT64_MAX);
        CHECK(bp__section_bounds(&sections, &model, &bound));
        bp__sections_fini(&sections);
        CHECK(load <= bound && bound <= best);
        n_over_load += bound > load;
        n_padded += best > load;
        n_exact += best > load && bound == best;
    }
    CHECK(n_over_load > 100);
    CHECK(n_exact * 10 > n_padded * 8); /* and nearly always all there is */
}

static void residues_by_hand(void)
{
    /* Three buffers of 12 at multiples of 8: each covers both fours of its
     * first eight, so two leave four empty. */
    bp__residues residues;
    bp__residue_counts counts;
    memset(&counts, 0, sizeof counts);
    bp__residues_init(&residues, 4, 8);
    CHECK_U64(residues.n, 2);
    for (int k = 0; k < 3; k++) {
        bp__residues_count(&residues, &counts, 12, 8);
    }
    CHECK_U64(bp__residues_bound(&residues, &counts), 16 + 16 + 12);
    /* A free four fits in between. */
    bp__residues_count(&residues, &counts, 4, 4);
    CHECK_U64(bp__residues_bound(&residues, &counts), 16 + 16 + 12);
    bp__residues_count(&residues, &counts, 8, 4);
    CHECK_U64(bp__residues_bound(&residues, &counts), 16 + 16 + 12 + 8);
}

/* ---- the fast plans ---------------------------------------------------- */

static void check_valid(const problem *p, const uint64_t *offsets)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->sizes[i] == 0 || p->first[i] == p->last[i]) {
            continue;
        }
        CHECK_U64(offsets[i] % p->aligns[i], 0);
        for (size_t k = 0; k < i; k++) {
            bool is_idle = p->sizes[k] == 0 || p->first[k] == p->last[k];
            CHECK(is_idle || !do_overlap(p, i, k) ||
                  offsets[i] >= offsets[k] + p->sizes[k] ||
                  offsets[k] >= offsets[i] + p->sizes[i]);
        }
    }
}

static void fast_plans_are_valid(void)
{
    uint64_t seed = 6, offsets[MAX_N] = {0};
    bp_allocator alloc = bp_allocator_default();
    for (int round = 0; round < 150; round++) {
        problem p = random_problem(&seed, random_below(&seed, 120),
                                   2 + random_below(&seed, 55));
        bp_plan_request request = request_of(&p);
        bp__sections sections;
        CHECK(bp__sections_init(&sections, &request, &alloc));
        CHECK(bp__fit_by_birth(&sections, &request, offsets));
        check_valid(&p, offsets);
        CHECK_PASSED();
        for (int order = 0; order < (int)BP__N_FIT_ORDERS; order++) {
            CHECK(bp__fit_by_order(&sections, &request, (bp__fit_order)order,
                                   offsets));
            check_valid(&p, offsets);
            CHECK_PASSED();
            uint64_t again[MAX_N] = {0}, n_pairs, n_want = 0;
            bp__neighbours neighbours;
            CHECK(bp__neighbours_count(&sections, &n_pairs));
            for (size_t i = 0; i < p.n; i++) {
                for (size_t k = 0; k < i; k++) {
                    n_want += bp__plan_is_ever_live(&request, i) &&
                              bp__plan_is_ever_live(&request, k) &&
                              do_overlap(&p, i, k);
                }
            }
            CHECK_U64(n_pairs, n_want);
            CHECK(bp__neighbours_init(&neighbours, &sections, n_pairs));
            CHECK(bp__fit_by_pairs(&neighbours, &request, (bp__fit_order)order,
                                   again));
            bp__neighbours_fini(&neighbours);
            for (size_t i = 0; i < p.n; i++) {
                CHECK(!bp__plan_is_ever_live(&request, i) ||
                      again[i] == offsets[i]);
            }
        }
        bp__sections_fini(&sections);
    }
}

static uint64_t height_of(const bp_plan_request *request,
                          const uint64_t *offsets)
{
    uint64_t height = 0;
    for (size_t i = 0; i < request->n; i++) {
        uint64_t end = offsets[i] + request->sizes[i];
        height = end > height ? end : height;
    }
    return height;
}

/* The lowest of birth order and so many orders, each fitted by itself. */
static void check_best(const bp_plan_request *request, int n_orders,
                       uint64_t min_pairs, uint64_t max_pairs)
{
    static uint64_t offsets[2000];
    bp_allocator alloc = bp_allocator_default();
    bp__sections sections;
    uint64_t n_pairs;
    CHECK(bp__sections_init(&sections, request, &alloc));
    CHECK(bp__neighbours_count(&sections, &n_pairs));
    CHECK(n_pairs > min_pairs && n_pairs < max_pairs);
    CHECK(bp__fit_by_birth(&sections, request, offsets));
    uint64_t best = height_of(request, offsets), first = best;
    for (int order = 0; order < n_orders; order++) {
        CHECK(bp__fit_by_order(&sections, request, (bp__fit_order)order,
                               offsets));
        uint64_t height = height_of(request, offsets);
        best = height < best ? height : best;
    }
    bp__sections_fini(&sections);
    bp_plan_result result;
    CHECK_STATUS(bp_plan_run(request, NULL, offsets, &result, NULL), BP_OK,
                 NULL);
    CHECK(best < first);
    CHECK_U64(result.height, best);
}

/* Of 2,000 buffers with few neighbours all orders are tried; with many, one. */
static void fast_takes_the_best_of_its_fits(void)
{
    enum { N = 2000 };
    static uint64_t sizes[N];
    static int64_t first[N], last[N];
    for (uint64_t seed = 1; seed < 9; seed++) {
        uint64_t state = seed;
        bool has_many = seed % 2 == 0;
        for (size_t i = 0; i < N; i++) {
            sizes[i] = 1 + random_below(&state, 4000);
            first[i] = (int64_t)random_below(&state, has_many ? 900 : 4000);
            last[i] = first[i] + 1 + (int64_t)random_below(&state, 500);
        }
        bp_plan_request request = {.n = N,
                                   .sizes = sizes,
                                   .first = first,
                                   .last = last,
                                   .mode = BP_PLAN_FAST};
        check_best(&request, has_many ? 1 : (int)BP__N_FIT_ORDERS,
                   has_many ? 1u << 19 : 0, has_many ? 1u << 21 : 1u << 19);
        CHECK_PASSED();
    }
}

static void nested_lifetimes_make_a_stack(void)
{
    problem p = {.n = 6,
                 .sizes = {4, 8, 16, 2, 1, 32},
                 .aligns = {1, 1, 1, 1, 1, 1},
                 .first = {1, 0, 4, 2, 2, 10},
                 .last = {3, 9, 9, 3, 3, 12}};
    bp_plan_request request = request_of(&p);
    bp_allocator alloc = bp_allocator_default();
    bp__sections sections;
    uint64_t offsets[MAX_N];
    bool is_laminar;
    CHECK(bp__sections_init(&sections, &request, &alloc));
    CHECK(bp__fit_stack(&sections, &request, offsets, &is_laminar));
    CHECK(is_laminar);
    static const uint64_t want[] = {8, 0, 8, 12, 14, 0};
    for (size_t i = 0; i < p.n; i++) {
        CHECK_U64(offsets[i], want[i]);
    }
    bp__sections_fini(&sections);
    p.last[0] = 5; /* now crosses buffer 2, but nothing tells them apart ... */
    CHECK(bp__sections_init(&sections, &request, &alloc));
    CHECK(bp__fit_stack(&sections, &request, offsets, &is_laminar));
    CHECK(is_laminar);
    check_valid(&p, offsets);
    bp__sections_fini(&sections);
    CHECK_PASSED();
    p.first[5] = 6, p.last[5] = 7; /* ... but this one does */
    CHECK(bp__sections_init(&sections, &request, &alloc));
    CHECK(bp__fit_stack(&sections, &request, offsets, &is_laminar));
    CHECK(!is_laminar);
    bp__sections_fini(&sections);
}

/* ---- the searches' state ----------------------------------------------- */

/* What must hold between steps, recomputed from the placed items. */
static void check_state(const bp__state *state)
{
    const bp__search_model *model = state->model;
    for (uint32_t s = 0; s < model->n_sections; s++) {
        uint64_t total = 0, top = 0, lowest = UINT64_MAX;
        uint32_t n_active = 0, n_crossing = 0;
        for (uint32_t i = 0; i < model->n; i++) {
            const bp__item *item = &model->items[i];
            if (s < item->first || item->last <= s) {
                continue;
            }
            if (state->is_placed[i]) {
                uint64_t end = state->least[i] + item->size;
                top = end > top ? end : top;
                continue;
            }
            total += item->size;
            n_active++;
            n_crossing += s + 1 < item->last;
            lowest = state->least[i] < lowest ? state->least[i] : lowest;
            CHECK(state->least[i] >= state->floor[s]);
            CHECK_U64(state->least[i] % item->align, 0);
        }
        for (uint32_t p = 0; p < model->n_pins; p++) {
            const bp__pin *pin = &model->pins[p];
            if (pin->first <= s && s < pin->last) {
                bool is_above = pin->low > state->floor[s];
                total += is_above ? pin->high - pin->low : 0;
                CHECK(is_above || pin->high <= state->floor[s]);
            }
        }
        CHECK_U64(state->total[s], total);
        CHECK_U64(state->n_active[s], n_active);
        CHECK_U64(state->crossing[s], n_crossing);
        CHECK(state->floor[s] >= top);
        CHECK(n_active == 0 || state->floor[s] == lowest);
        CHECK(state->floor[s] + total <= state->limit);
    }
}

static uint32_t random_items(bp__item *items, uint32_t n_sections,
                             uint64_t *seed)
{
    uint32_t n = 0;
    for (uint32_t first = 0; first < n_sections; first++) {
        for (uint64_t k = random_below(seed, 4); k > 0; k--) {
            uint32_t more = (uint32_t)random_below(seed, n_sections - first);
            items[n] = (bp__item){.size = 1 + random_below(seed, 9),
                                  .align = UINT64_C(1) << random_below(seed, 3),
                                  .first = first,
                                  .last = first + 1 + more,
                                  .id = n};
            n++;
        }
    }
    return n;
}

/* Random steps and random ways back; a dead end is undone at once. */
static void wander(bp__state *state, uint64_t *seed)
{
    uint32_t n = state->model->n;
    size_t marks[64], n_marks = 0;
    for (int step = 0; step < 150; step++) {
        if (n_marks == 64 || (n_marks > 0 && random_below(seed, 3) == 0)) {
            n_marks = random_below(seed, n_marks);
            bp__state_undo(state, marks[n_marks]);
        } else {
            uint32_t item = (uint32_t)random_below(seed, n);
            uint64_t kind = random_below(seed, 4);
            size_t mark = state->n_trail;
            bool is_alive = true;
            if (state->is_placed[item]) {
                continue;
            }
            uint64_t level = state->least[item] + random_below(seed, 4);
            if (kind == 0) {
                is_alive = bp__state_lift(state, item, level);
            } else if (kind == 1) {
                uint32_t s = state->model->items[item].first;
                is_alive = bp__state_raise(state, s, level);
            } else {
                is_alive = bp__state_place(state, item);
            }
            if (is_alive) {
                marks[n_marks++] = mark;
            } else {
                bp__state_undo(state, mark);
            }
        }
        check_state(state);
        CHECK_PASSED();
    }
}

static void the_trail_takes_everything_back(void)
{
    uint64_t seed = 7;
    bp_allocator alloc = bp_allocator_default();
    for (int round = 0; round < 60; round++) {
        bp__item items[64];
        uint32_t n_sections = 1 + (uint32_t)random_below(&seed, 9);
        uint32_t n = random_items(items, n_sections, &seed);
        bp__pin pins[2] = {{.low = 2, .high = 5, .first = 0, .last = 1},
                           {.low = 7, .high = 11, .first = 0, .last = 1}};
        pins[0].last = n_sections;
        pins[1].first = n_sections / 2;
        pins[1].last = n_sections;
        bp__search_model model;
        bp__state state;
        CHECK(bp__search_model_init(&model, items, n, pins, (uint32_t)round % 3,
                                    n_sections, &alloc));
        CHECK(bp__state_init(&state, &model, &alloc));
        if (n > 0 && bp__state_start(&state, 60)) {
            uint64_t floor[16], least[64];
            size_t mark = state.n_trail;
            memcpy(floor, state.floor, n_sections * sizeof *floor);
            memcpy(least, state.least, n * sizeof *least);
            wander(&state, &seed);
            bp__state_undo(&state, mark);
            check_state(&state);
            CHECK(memcmp(floor, state.floor, n_sections * sizeof *floor) == 0);
            CHECK(memcmp(least, state.least, n * sizeof *least) == 0);
        }
        bp__state_fini(&state);
        bp__search_model_fini(&model);
        CHECK_PASSED();
    }
}

int main(void)
{
    RUN(sorting_is_stable);
    RUN(sections_keep_overlaps);
    RUN(gaps_are_first_fit);
    RUN(gaps_reserve_what_is_free);
    RUN(gaps_that_alignment_spoils);
    RUN(residues_by_hand);
    RUN(residues_never_say_too_much);
    RUN(fast_plans_are_valid);
    RUN(fast_takes_the_best_of_its_fits);
    RUN(nested_lifetimes_make_a_stack);
    RUN(the_trail_takes_everything_back);
    return finish();
}
