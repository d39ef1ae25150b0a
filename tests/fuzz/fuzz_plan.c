/* fuzz_plan.c - bytes become a request: what is legal must be planned, what
 * comes out must hold and come out again, and a refusal must write nothing. The
 * input itself is also read as a table in a file. */
#include "bayplan/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

#define REQUIRE(condition)                                                     \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: false: %s\n", __FILE__, __LINE__,          \
                    #condition);                                               \
            abort();                                                           \
        }                                                                      \
    } while (0)

enum { MAX_N = 24, MAX_TEXT = 4096, MAX_FREE = 5 };

typedef struct problem {
    const uint8_t *at;
    const uint8_t *end;
    uint64_t sizes[MAX_N], aligns[MAX_N];
    int64_t first[MAX_N], last[MAX_N], pins[MAX_N];
    unsigned n_polls;    /* the poll after so many stops; 0: there is none */
    unsigned fail_after; /* allocations; 0: none fails */
    bp_plan_request request;
} problem;

static unsigned next(problem *p)
{
    return p->at < p->end ? *p->at++ : 0;
}

/* ---- bytes to a request ------------------------------------------------ */

/* Mostly small; sometimes at the edges of what can be summed. */
static uint64_t number(problem *p)
{
    unsigned n = next(p), low = n & 15;
    switch (n >> 4) {
    case 15:
        return UINT64_C(1) << low * 4;
    case 14:
        return UINT64_MAX >> low;
    case 13:
        return (UINT64_C(1) << 62) - low;
    case 12:
        return (UINT64_C(1) << 62) / MAX_N - low;
    case 11:
        return 1000 * (uint64_t)next(p) + low;
    default:
        return n;
    }
}

static uint64_t alignment(problem *p)
{
    unsigned n = next(p);
    return n == 255   ? 3
           : n == 254 ? 0
           : n == 253 ? UINT64_C(1) << 33
           : n >= 250 ? UINT64_C(1) << 32
                      : UINT64_C(1) << n % 12;
}

static void lifetime(problem *p, int64_t *first, int64_t *last)
{
    unsigned n = next(p), length = next(p);
    *first = (int64_t)(n % 32) - 8;
    *last = *first + (int64_t)(length % 16);
    if (n >= 248) {
        *first = INT64_MIN + (int64_t)(n - 248);
    }
    if (length >= 252) {
        *last = INT64_MAX - (int64_t)(length - 252);
    } else if (length == 251) {
        *last = *first == INT64_MIN ? *first : *first - 1;
    }
}

static int64_t pin(problem *p)
{
    unsigned n = next(p);
    return n < 160   ? -1
           : n < 240 ? (int64_t)(n - 160) * 16
           : n < 250 ? (int64_t)(n - 240)
           : n < 252 ? (INT64_C(1) << 61) + (int64_t)(n - 250) * 4096
           : n < 254 ? INT64_MAX - (int64_t)(n - 252)
           : n < 255 ? INT64_MIN
                     : -2;
}

static uint64_t load_of(const problem *p)
{
    uint64_t most = 0, total = 0;
    for (size_t i = 0; i < p->request.n; i++) {
        uint64_t live = 0;
        for (size_t j = 0; j < p->request.n; j++) {
            bool is_live =
                p->first[j] <= p->first[i] && p->first[i] < p->last[j];
            live += is_live ? p->sizes[j] : 0;
        }
        most = live > most ? live : most;
        total += p->sizes[i];
    }
    return p->request.first == NULL ? total : most;
}

/* Around the load, or fractions of all bytes: where it matters. */
static uint64_t capacity(problem *p)
{
    unsigned n = next(p);
    uint64_t total = 0;
    for (size_t i = 0; i < p->request.n; i++) {
        total += p->sizes[i];
    }
    return n < 128 ? load_of(p) + n % 32 - 2
                   : total / (1 + n % 8) + (n >> 3) % 16 - 8;
}

static void read_request(problem *p)
{
    /* Searches are slow in this build, and most of them hardly need nodes. */
    static const uint64_t budgets[8] = {1, 2, 3, 20, 100, 400, 1500, 0};
    bp_plan_request *request = &p->request;
    unsigned form = next(p), more = next(p);
    request->n = next(p) % (MAX_N + 1);
    request->mode = (bp_plan_mode)(form % 8);
    request->sizes = p->sizes;
    request->aligns = (form & 8) != 0 ? p->aligns : NULL;
    request->first = (form & 16) != 0 ? p->first : NULL;
    request->last = (form & 16) != (form & 32) >> 1 ? p->last : NULL;
    if ((form & 48) == 48 && (more & 128) == 0) {
        request->last = p->last; /* mostly both or none of them */
    }
    request->pins = (form & 64) != 0 ? p->pins : NULL;
    request->has_capacity = (form & 128) != 0;
    request->node_budget = budgets[more % 8];
    if (request->node_budget == 0 && request->n > 2 * MAX_FREE) {
        request->node_budget = 4000; /* their own takes long */
    }
    p->n_polls = (more & 8) != 0 ? 1 + next(p) % 8 : 0;
    p->fail_after = (more & 16) != 0 ? 1 + next(p) % 64 : 0;
    for (size_t i = 0; i < request->n; i++) {
        p->sizes[i] = number(p);
        p->aligns[i] = (form & 8) != 0 ? alignment(p) : 1;
        p->last[i] = 1;
        if ((form & 48) != 0) {
            lifetime(p, &p->first[i], &p->last[i]);
        }
        p->pins[i] = (form & 64) != 0 ? pin(p) : -1;
    }
    request->capacity = request->has_capacity ? capacity(p) : 0;
}

/* ---- plain restatements ------------------------------------------------ */

static bool is_alive_together(const problem *p, size_t i, size_t j)
{
    const bp_plan_request *request = &p->request;
    return p->sizes[i] != 0 && p->sizes[j] != 0 &&
           (request->first == NULL ||
            (p->first[i] < p->last[i] && p->first[j] < p->last[j] &&
             p->first[i] < p->last[j] && p->first[j] < p->last[i]));
}

static bool is_apart(const problem *p, size_t i, uint64_t at_i, size_t j,
                     uint64_t at_j)
{
    return at_i < at_j ? p->sizes[i] <= at_j - at_i
                       : p->sizes[j] <= at_i - at_j && at_i != at_j;
}

static bool is_pin_legal(const problem *p, size_t i)
{
    if (p->pins[i] < 0) {
        return p->pins[i] == -1;
    }
    uint64_t at = (uint64_t)p->pins[i];
    for (size_t j = 0; j < i; j++) {
        if (p->pins[j] >= 0 && is_alive_together(p, i, j) &&
            !is_apart(p, i, at, j, (uint64_t)p->pins[j])) {
            return false;
        }
    }
    return at % p->aligns[i] == 0;
}

static bool is_legal(const problem *p)
{
    const bp_plan_request *request = &p->request;
    bool is_simple =
        request->mode == BP_PLAN_SEQUENTIAL || request->mode == BP_PLAN_PACKED;
    if ((unsigned)request->mode >= BP_N_PLAN_MODES ||
        (request->first == NULL) != (request->last == NULL) ||
        (is_simple && (request->pins != NULL || request->has_capacity))) {
        return false;
    }
    for (size_t i = 0; i < request->n; i++) {
        uint64_t align = p->aligns[i];
        if (align == 0 || (align & (align - 1)) != 0 || align >> 32 > 1 ||
            (request->first != NULL && p->first[i] > p->last[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < request->n; i++) {
        if (!is_pin_legal(p, i)) {
            return false;
        }
    }
    return true;
}

/* Sizes, pins and alignments add up to no more than 2^62. */
static bool is_small(const problem *p)
{
    uint64_t room = UINT64_C(1) << 62;
    for (size_t i = 0; i < p->request.n; i++) {
        uint64_t parts[3] = {p->sizes[i],
                             p->pins[i] > 0 ? (uint64_t)p->pins[i] : 0,
                             p->aligns[i] - 1};
        for (size_t k = 0; k < 3 && p->sizes[i] != 0; k++) {
            if (parts[k] > room) {
                return false;
            }
            room -= parts[k];
        }
    }
    return true;
}

/* ---- what a plan promises ---------------------------------------------- */

static void require_valid(const problem *p, const uint64_t *offsets,
                          const bp_plan_result *result)
{
    uint64_t height = 0;
    for (size_t i = 0; i < p->request.n; i++) {
        uint64_t size = p->sizes[i];
        REQUIRE(offsets[i] % p->aligns[i] == 0);
        REQUIRE(p->pins[i] == -1 || offsets[i] == (uint64_t)p->pins[i]);
        REQUIRE(size <= UINT64_MAX - offsets[i]);
        height = size != 0 && offsets[i] + size > height ? offsets[i] + size
                                                         : height;
        for (size_t j = 0; j < i; j++) {
            REQUIRE(!is_alive_together(p, i, j) ||
                    is_apart(p, i, offsets[i], j, offsets[j]));
        }
    }
    REQUIRE(result->height == height);
    REQUIRE(result->load == load_of(p));
    REQUIRE(result->load <= result->lower_bound);
    REQUIRE(result->lower_bound <= result->height);
}

static void require_honest(const bp_plan_request *request,
                           const bp_plan_result *result)
{
    bool is_met = result->height == result->lower_bound;
    bp_plan_status want = is_met ? BP_PLAN_IS_OPTIMAL : BP_PLAN_FEASIBLE;
    if (request->has_capacity) {
        want = result->height <= request->capacity       ? BP_PLAN_FEASIBLE
               : result->lower_bound > request->capacity ? BP_PLAN_INFEASIBLE
                                                         : BP_PLAN_UNKNOWN;
    }
    REQUIRE(result->status == want);
    REQUIRE(request->node_budget == 0 ||
            result->n_nodes <= request->node_budget);
    REQUIRE(result->n_nodes == 0 || request->mode == BP_PLAN_AUTO ||
            request->mode == BP_PLAN_OPTIMAL);
}

/* ---- an independent optimum -------------------------------------------- */

/* The free buffers in every order, each as low as it goes. */
typedef struct orders {
    const problem *p;
    uint64_t offsets[MAX_N];
    bool is_placed[MAX_N];
    uint64_t best;
} orders;

/* Above every placed buffer in the way, until none is. Sums stay below 2^63,
 * as is_small says. */
static uint64_t lowest_place(const orders *o, size_t i)
{
    const problem *p = o->p;
    uint64_t place = 0;
    bool has_moved = true;
    while (has_moved) {
        has_moved = false;
        for (size_t j = 0; j < p->request.n; j++) {
            if (j != i && o->is_placed[j] && is_alive_together(p, i, j) &&
                !is_apart(p, i, place, j, o->offsets[j])) {
                uint64_t rest = p->aligns[i] - 1;
                place = (o->offsets[j] + p->sizes[j] + rest) & ~rest;
                has_moved = true;
            }
        }
    }
    return place;
}

static void try_orders(orders *o, uint64_t height) /* depth <= MAX_FREE */
{
    const problem *p = o->p;
    bool is_done = true;
    for (size_t i = 0; i < p->request.n; i++) {
        if (o->is_placed[i]) {
            continue;
        }
        is_done = false;
        o->offsets[i] = lowest_place(o, i);
        o->is_placed[i] = true;
        uint64_t end = o->offsets[i] + p->sizes[i];
        try_orders(o, end > height ? end : height);
        o->is_placed[i] = false;
    }
    if (is_done && height < o->best) {
        o->best = height;
    }
}

/* Where few are free: no bound above the optimum, no height below it, and, with
 * nodes to spare, no gap between them. */
static void require_sound(const problem *p, const bp_plan_result *result)
{
    orders o = {.p = p, .best = UINT64_MAX};
    uint64_t height = 0;
    size_t n_free = 0;
    for (size_t i = 0; i < p->request.n; i++) {
        bool is_idle = !is_alive_together(p, i, i);
        o.is_placed[i] = p->pins[i] >= 0 || is_idle;
        o.offsets[i] = p->pins[i] >= 0 ? (uint64_t)p->pins[i] : 0;
        n_free += !o.is_placed[i];
        if (o.is_placed[i] && p->sizes[i] != 0) {
            uint64_t end = o.offsets[i] + p->sizes[i];
            height = end > height ? end : height;
        }
    }
    if (n_free > MAX_FREE || !is_small(p)) {
        return;
    }
    try_orders(&o, height);
    REQUIRE(result->lower_bound <= o.best);
    REQUIRE(o.best <= result->height);
    bool has_searched = p->request.mode == BP_PLAN_OPTIMAL &&
                        p->request.node_budget == 0 && p->n_polls == 0;
    REQUIRE(!has_searched || result->status != BP_PLAN_UNKNOWN);
    REQUIRE(!has_searched || p->request.has_capacity ||
            result->status == BP_PLAN_IS_OPTIMAL);
}

/* ---- running ----------------------------------------------------------- */

typedef struct polling {
    unsigned n_left;
    bool has_stopped;
} polling;

static bool poll(void *ctx, const bp_plan_progress *progress)
{
    polling *state = ctx;
    REQUIRE(!state->has_stopped); /* once is enough */
    REQUIRE(progress->lower_bound <= progress->height);
    state->has_stopped = --state->n_left == 0;
    return state->has_stopped;
}

typedef struct answer {
    bp_status status;
    uint64_t offsets[MAX_N];
    bp_plan_result result;
} answer;

static void ask(const problem *p, const bp_allocator *alloc, answer *out)
{
    answer untouched;
    memset(&untouched, 0xA5, sizeof untouched);
    memset(out, 0xA5, sizeof *out);
    polling state = {p->n_polls, false};
    bp_plan_request request = p->request;
    request.poll = p->n_polls > 0 ? poll : NULL;
    request.poll_ctx = &state;
    bp_error error = {0};
    out->status =
        bp_plan_run(&request, alloc, out->offsets, &out->result, &error);
    if (out->status == BP_OK) {
        REQUIRE(out->result.is_interrupted == state.has_stopped);
        return;
    }
    REQUIRE(error.status == out->status && error.text[0] != '\0');
    REQUIRE(memcmp(out->offsets, untouched.offsets, sizeof out->offsets) == 0);
    REQUIRE(memcmp(&out->result, &untouched.result, sizeof out->result) == 0);
}

static void require_same(const problem *p, const answer *a, const answer *b)
{
    REQUIRE(a->status == b->status);
    if (a->status == BP_OK) {
        const bp_plan_result *x = &a->result, *y = &b->result;
        REQUIRE(memcmp(a->offsets, b->offsets,
                       p->request.n * sizeof *a->offsets) == 0);
        REQUIRE(x->height == y->height && x->load == y->load &&
                x->lower_bound == y->lower_bound && x->status == y->status &&
                x->n_nodes == y->n_nodes &&
                x->is_interrupted == y->is_interrupted);
    }
}

/* Memory that ends, and is counted. */
typedef struct counting {
    unsigned n_left;
    size_t n_bytes;
} counting;

static void *count_realloc(void *ctx, void *old, size_t n_old, size_t n_bytes)
{
    counting *state = ctx;
    if (state->n_left == 0) {
        return NULL;
    }
    void *memory = realloc(old, n_bytes);
    REQUIRE(memory != NULL);
    state->n_left--;
    state->n_bytes += n_bytes - n_old;
    return memory;
}

static void *count_alloc(void *ctx, size_t n_bytes)
{
    REQUIRE(n_bytes > 0);
    return count_realloc(ctx, NULL, 0, n_bytes);
}

static void count_free(void *ctx, void *old, size_t n_bytes)
{
    counting *state = ctx;
    state->n_bytes -= n_bytes;
    free(old);
}

/* The memory ends early: the same answer or none, and all of it comes back. */
static void ask_with_little_memory(const problem *p, const answer *whole)
{
    answer other;
    counting state = {p->fail_after, 0};
    bp_allocator alloc = {count_alloc, count_realloc, count_free, &state};
    ask(p, &alloc, &other);
    REQUIRE(state.n_bytes == 0);
    if (other.status != BP_NO_MEMORY) {
        require_same(p, whole, &other);
    }
}

static void plan(const uint8_t *data, size_t n_bytes)
{
    problem p = {.at = data, .end = data + n_bytes};
    read_request(&p);
    answer one, two;
    ask(&p, NULL, &one);
    ask(&p, NULL, &two);
    require_same(&p, &one, &two);
    if (one.status == BP_OK) {
        REQUIRE(is_legal(&p));
        require_valid(&p, one.offsets, &one.result);
        require_honest(&p.request, &one.result);
        require_sound(&p, &one.result);
    } else if (one.status == BP_TOO_LARGE) {
        REQUIRE(!is_small(&p));
    } else {
        REQUIRE(one.status == BP_BAD_VALUE && !is_legal(&p));
    }
    if (p.fail_after > 0) {
        ask_with_little_memory(&p, &one);
    }
}

/* ---- tables ------------------------------------------------------------ */

static bool is_same_column(const void *a, const void *b, size_t n)
{
    return (a == NULL) == (b == NULL) &&
           (a == NULL || n == 0 || memcmp(a, b, n * sizeof(uint64_t)) == 0);
}

static void offer_as_table(const char *bytes, size_t n_bytes)
{
    bp_plan_table table = {.n = 77}, back;
    bp_error error = {0};
    bp_status status = bp_plan_read_csv(bytes, n_bytes, NULL, &table, &error);
    if (status != BP_OK) {
        REQUIRE(status == BP_BAD_VALUE && error.text[0] != '\0');
        REQUIRE(table.n == 77 && table.sizes == NULL);
        return;
    }
    char *text;
    size_t n;
    REQUIRE(bp_plan_write_csv(&table, NULL, &text, &n, NULL) == BP_OK);
    REQUIRE(text[n] == '\0' && strlen(text) == n);
    REQUIRE(bp_plan_read_csv(text, n, NULL, &back, NULL) == BP_OK);
    REQUIRE(back.n == table.n);
    REQUIRE(is_same_column(back.sizes, table.sizes, table.n));
    REQUIRE(is_same_column(back.first, table.first, table.n));
    REQUIRE(is_same_column(back.last, table.last, table.n));
    REQUIRE(is_same_column(back.aligns, table.aligns, table.n));
    REQUIRE(is_same_column(back.offsets, table.offsets, table.n));
    free(text); /* of the default allocator */
    bp_plan_table_fini(&table);
    bp_plan_table_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char header[] = "id,lower,upper,size,alignment,offset\n";
    char text[sizeof header + MAX_TEXT];
    plan(data, n_bytes);
    offer_as_table(data == NULL ? "" : (const char *)data, n_bytes);
    size_t n = n_bytes < MAX_TEXT ? n_bytes : MAX_TEXT;
    memcpy(text, header, sizeof header - 1);
    if (n > 0) {
        memcpy(text + sizeof header - 1, data, n);
    }
    offer_as_table(text, sizeof header - 1 + n);
    return 0;
}
