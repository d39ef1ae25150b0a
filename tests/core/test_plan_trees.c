/* test_plan_trees.c - the exact searches one by one, without the schedule that
 * lets them help each other: each must solve what can be solved and refute what
 * cannot, whatever the order it tries things in. */
#include "harness.h"
#include "plan/search_tree.h"

#define MAX_ITEMS 7u
#define MAX_PINS  3u

typedef struct problem {
    bp__item items[MAX_ITEMS];
    bp__pin pins[MAX_PINS];
    uint32_t n, n_pins, n_sections;
} problem;

static bool do_meet(uint32_t first, uint32_t last, uint32_t other_first,
                    uint32_t other_last)
{
    return first < other_last && other_first < last;
}

/* ---- an independent optimum -------------------------------------------- */

/* Each buffer as low as it goes, in every order: that of the offsets of an
 * optimal plan is among them. */
typedef struct orders {
    const problem *p;
    uint64_t levels[MAX_ITEMS];
    bool is_placed[MAX_ITEMS];
    uint64_t best;
} orders;

static bool is_free(const orders *o, uint32_t i, uint64_t level)
{
    const problem *p = o->p;
    const bp__item *item = &p->items[i];
    for (uint32_t k = 0; k < p->n; k++) {
        const bp__item *other = &p->items[k];
        if (k != i && o->is_placed[k] &&
            do_meet(item->first, item->last, other->first, other->last) &&
            level < o->levels[k] + other->size &&
            o->levels[k] < level + item->size) {
            return false;
        }
    }
    for (uint32_t k = 0; k < p->n_pins; k++) {
        const bp__pin *pin = &p->pins[k];
        if (do_meet(item->first, item->last, pin->first, pin->last) &&
            level < pin->high && pin->low < level + item->size) {
            return false;
        }
    }
    return true;
}

static void try_orders(orders *o, uint64_t height) /* depth <= MAX_ITEMS */
{
    bool is_done = true;
    for (uint32_t i = 0; i < o->p->n; i++) {
        if (o->is_placed[i]) {
            continue;
        }
        is_done = false;
        o->levels[i] = 0;
        while (!is_free(o, i, o->levels[i])) {
            o->levels[i] += o->p->items[i].align;
        }
        uint64_t end = o->levels[i] + o->p->items[i].size;
        end = end > height ? end : height;
        if (end < o->best) {
            o->is_placed[i] = true;
            try_orders(o, end);
            o->is_placed[i] = false;
        }
    }
    if (is_done && height < o->best) {
        o->best = height;
    }
}

static uint64_t optimum(const problem *p)
{
    orders o = {.p = p, .best = UINT64_MAX};
    uint64_t height = 0;
    for (uint32_t k = 0; k < p->n_pins; k++) {
        height = p->pins[k].high > height ? p->pins[k].high : height;
    }
    try_orders(&o, height);
    return o.best;
}

/* ---- random problems --------------------------------------------------- */

static void random_span(uint64_t *seed, uint32_t n_sections, uint32_t *first,
                        uint32_t *last)
{
    *first = (uint32_t)random_below(seed, n_sections);
    *last = *first + 1 + (uint32_t)random_below(seed, n_sections - *first);
}

/* Pins come by their low ends and do not overlap. */
static void add_pins(problem *p, uint64_t *seed)
{
    uint64_t low = random_below(seed, 6);
    for (uint64_t k = random_below(seed, MAX_PINS + 1); k > 0; k--) {
        bp__pin *pin = &p->pins[p->n_pins];
        *pin = (bp__pin){.low = low, .high = low + 1 + random_below(seed, 4)};
        random_span(seed, p->n_sections, &pin->first, &pin->last);
        bool is_alone = true;
        for (uint32_t i = 0; i < p->n_pins; i++) {
            is_alone =
                is_alone && (p->pins[i].high <= pin->low ||
                             !do_meet(pin->first, pin->last, p->pins[i].first,
                                      p->pins[i].last));
        }
        p->n_pins += is_alone;
        low += random_below(seed, 6);
    }
}

static problem random_problem(uint64_t *seed)
{
    problem p = {.n_sections = 1 + (uint32_t)random_below(seed, 6)};
    uint64_t n_aligns = 1 + random_below(seed, 4);
    uint64_t largest = 1 + random_below(seed, 9);
    if (random_below(seed, 2) == 0) {
        add_pins(&p, seed);
    }
    uint32_t n = 1 + (uint32_t)random_below(seed, MAX_ITEMS);
    for (uint32_t first = 0; first < p.n_sections; first++) {
        /* Items come by first section. */
        while (p.n < n && (first + 1 == p.n_sections ||
                           random_below(seed, p.n_sections) < 2)) {
            uint32_t more = (uint32_t)random_below(seed, p.n_sections - first);
            p.items[p.n] =
                (bp__item){.size = 1 + random_below(seed, largest),
                           .align = UINT64_C(1) << random_below(seed, n_aligns),
                           .first = first,
                           .last = first + 1 + more,
                           .id = p.n};
            p.n++;
        }
    }
    return p;
}

/* ---- one search, one limit --------------------------------------------- */

typedef struct search {
    const problem *p;
    bp__search_model model;
    bp__state state;
    bp__tree tree;
} search;

static bool search_init(search *work, const problem *p)
{
    bp_allocator alloc = bp_allocator_default();
    *work = (search){.p = p};
    return bp__search_model_init(&work->model, p->items, p->n, p->pins,
                                 p->n_pins, p->n_sections, &alloc) &&
           bp__state_init(&work->state, &work->model, &alloc) &&
           bp__tree_init(&work->tree, &work->state, 1000, &alloc);
}

static void search_fini(search *work)
{
    bp__tree_fini(&work->tree);
    bp__state_fini(&work->state);
    bp__search_model_fini(&work->model);
}

static void shuffle_ranks(search *work, uint64_t *seed)
{
    uint32_t *rank = work->tree.rank;
    for (uint32_t i = 0; i < work->p->n; i++) {
        uint32_t k = (uint32_t)random_below(seed, i + 1);
        rank[i] = rank[k];
        rank[k] = i;
    }
}

static void check_levels(const search *work, uint64_t limit)
{
    const problem *p = work->p;
    orders o = {.p = p};
    for (uint32_t i = 0; i < p->n; i++) {
        o.levels[i] = work->state.least[i];
        CHECK_U64(o.levels[i] % p->items[i].align, 0);
        CHECK(o.levels[i] + p->items[i].size <= limit);
        CHECK(is_free(&o, i, o.levels[i]));
        o.is_placed[i] = true;
    }
}

static void check_search(search *work, bp__flavour flavour, uint64_t limit,
                         bool is_possible)
{
    work->tree.flavour = flavour;
    bp__outcome outcome = bp__tree_run(
        &work->tree,
        flavour == BP__BY_OFFSET ? bp__expand_canonical : bp__expand_valley,
        limit, UINT64_MAX);
    CHECK_U64(outcome, is_possible ? BP__SOLVED : BP__REFUTED);
    if (is_possible) {
        check_levels(work, limit);
    }
}

/* Every limit around the optimum, with every search. */
static void each_search_alone(void)
{
    uint64_t seed = 71, n_nodes[BP__N_FLAVOURS] = {0};
    for (int round = 0; round < 6000; round++) {
        problem p = random_problem(&seed);
        uint64_t best = optimum(&p);
        search work;
        CHECK(search_init(&work, &p));
        for (int flavour = 0; flavour < (int)BP__N_FLAVOURS; flavour++) {
            uint64_t used = work.tree.n_nodes;
            shuffle_ranks(&work, &seed);
            for (uint64_t more = 0; more < 3; more++) {
                check_search(&work, (bp__flavour)flavour, best + more, true);
            }
            for (uint64_t less = 1; less <= 3 && less <= best; less++) {
                check_search(&work, (bp__flavour)flavour, best - less, false);
            }
            n_nodes[flavour] += work.tree.n_nodes - used;
        }
        search_fini(&work);
        CHECK_PASSED();
    }
    for (int flavour = 0; flavour < (int)BP__N_FLAVOURS; flavour++) {
        CHECK(n_nodes[flavour] > 6000); /* they had to search */
    }
}

/* A start that no plan can reach is seen at once, also below a pin that
 * nothing else touches. */
static void nothing_starts_below_a_pin(void)
{
    problem p = {.items = {{.size = 2, .align = 1, .first = 0, .last = 1}},
                 .pins = {{.low = 5, .high = 9, .first = 1, .last = 2}},
                 .n = 1,
                 .n_pins = 1,
                 .n_sections = 2};
    search work;
    CHECK(search_init(&work, &p));
    CHECK(!bp__state_start(&work.state, 8));
    CHECK(bp__state_start(&work.state, 9));
    search_fini(&work);
}

/* Runs towards a limit that is one too low. */
static bp__outcome refute(search *work, uint64_t best, uint64_t n_nodes)
{
    work->tree.flavour = BP__BY_FIT;
    return bp__tree_run(&work->tree, bp__expand_valley, best - 1, n_nodes);
}

/* A proof that takes so many nodes is no proof with one node less. */
static void a_run_ends_at_its_limit(void)
{
    uint64_t seed = 72, n_cut = 0;
    for (int round = 0; round < 300; round++) {
        problem p = random_problem(&seed);
        uint64_t best = optimum(&p);
        search work;
        CHECK(search_init(&work, &p));
        CHECK_U64(refute(&work, best, UINT64_MAX), BP__REFUTED);
        uint64_t n_nodes = work.tree.n_nodes;
        search_fini(&work);
        for (uint64_t limit = 0; limit < n_nodes; limit++) {
            CHECK(search_init(&work, &p));
            CHECK_U64(refute(&work, best, limit), BP__CUT);
            CHECK_U64(work.tree.n_nodes, limit);
            search_fini(&work);
            n_cut++;
        }
    }
    CHECK(n_cut > 300);
}

int main(void)
{
    RUN(each_search_alone);
    RUN(nothing_starts_below_a_pin);
    RUN(a_run_ends_at_its_limit);
    return finish();
}
