/* report.c - why a request for room was refused, in numbers and in words, with
 * a suggestion that would have helped. */
#include "device/choose.h"

#include "base/text.h"
#include "device/ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define N_NAMED       3  /* victims a suggestion names at most */
#define SUGGEST_BYTES 64 /* room for each of their names, cut if longer */

/* ---- numbers ------------------------------------------------------------- */

/* 1,234,567 */
static void put_number(bp_text *text, uint64_t n)
{
    char digits[BP__GROUPED_BYTES];
    bp__text_put(text, bp__grouped(n, digits));
}

static void put_line(bp_text *text, const char *label, uint64_t n_bytes)
{
    bp__text_printf(text, "\n  %s: ", label);
    put_number(text, n_bytes);
    bp__text_put(text, " bytes");
}

static void put_line_if_any(bp_text *text, const char *label, uint64_t n_bytes)
{
    if (n_bytes != 0) {
        put_line(text, label, n_bytes);
    }
}

/* " (8.00 GiB)"; nothing below 1 KiB. Integers alone, rounded half up: the
 * same in every locale. */
static void put_in_units(bp_text *text, uint64_t n_bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB"};
    unsigned i = n_bytes >= (uint64_t)1 << 30   ? 3
                 : n_bytes >= (uint64_t)1 << 20 ? 2
                 : n_bytes >= (uint64_t)1 << 10 ? 1
                                                : 0;
    if (i == 0) {
        return;
    }
    uint64_t unit = (uint64_t)1 << 10 * i;
    uint64_t whole = n_bytes / unit;
    uint64_t hundredths = (n_bytes % unit * 100 + unit / 2) / unit;
    bp__text_printf(text, " (%" PRIu64 ".%02" PRIu64 " %s)",
                    whole + hundredths / 100, hundredths % 100, units[i - 1]);
}

/* ---- the suggestion ------------------------------------------------------ */

static const char *const policy_words[BP_N_POLICIES] = {
    [BP_POLICY_LRU] = "least recently used",
    [BP_POLICY_MRU] = "most recently used",
    [BP_POLICY_BIG_FIRST] = "largest",
    [BP_POLICY_RANK] = "by policy"};

/* The asker's policy; without an asker, the one the slots have in common. */
static const char *word_for(const bp__picks *picks, const bp__manager *asker)
{
    bp_policy policy =
        asker != NULL ? asker->policy : picks->first->manager->policy;
    for (const bp__slot *slot = picks->first; slot != NULL;
         slot = slot->next_chosen) {
        if (slot->manager->policy != policy) {
            return policy_words[BP_POLICY_RANK];
        }
    }
    return policy_words[policy];
}

/* Control characters, U+0080 to U+009F too, as \xNN: a name must not break the
 * report into lines or speak to a terminal. */
static void put_escaped(bp_text *text, const char *name)
{
    for (const char *at = name; *at != '\0'; at++) {
        unsigned char c = (unsigned char)*at;
        unsigned char next = (unsigned char)at[1];
        if (c < 0x20 || c == 0x7f) {
            bp__text_printf(text, "\\x%02x", c);
        } else if (c == 0xc2 && next >= 0x80 && next < 0xa0) {
            bp__text_printf(text, "\\x%02x", next);
            at++;
        } else {
            bp__text_put_n(text, at, 1);
        }
    }
}

static void put_quoted(bp_text *text, const char *name)
{
    char cut[SUGGEST_BYTES];
    bp_text piece;
    bp__text_init_bounded(&piece, cut, sizeof cut);
    bp__text_put(&piece, name);
    bp__text_put(text, "'");
    put_escaped(text, cut);
    bp__text_put(text, "'");
}

/* 'a'; 'a' and 'b'; 'a', 'b' and 'c'; 'a', 'b', 'c' and 2 more */
static void put_names(bp_text *text, const bp__picks *picks)
{
    size_t i = 0;
    for (const bp__slot *slot = picks->first; slot != NULL && i < N_NAMED;
         slot = slot->next_chosen, i++) {
        bool is_last = i + 1 == picks->n;
        bp__text_put(text, i == 0 ? "" : is_last ? " and " : ", ");
        put_quoted(text, bp_key_text(slot->name));
    }
    if (picks->n > N_NAMED) {
        bp__text_printf(text, " and %zu more", picks->n - N_NAMED);
    }
}

static void put_raise(bp_text *text, uint64_t n_bytes)
{
    bp__text_put(text, "raise the budget by ");
    put_number(text, n_bytes);
    bp__text_put(text, " bytes");
}

static void put_suggestion(bp_text *text, bp__picks *picks,
                           const bp__budget *refuser, const bp__manager *asker,
                           uint64_t n_short)
{
    bp__text_put(text, "\n  Suggestion: ");
    if (n_short == 0) {
        bp__text_put(text, "try again: room has come free since");
        return;
    }
    bool is_enough = bp__pick_bytes_locked(picks, refuser, n_short);
    if (picks->n == 0) {
        put_raise(text, n_short);
        return;
    }
    bp__text_put(text, "evict ");
    put_names(text, picks);
    bp__text_put(text, " (");
    put_number(text, picks->n_bytes);
    bp__text_printf(text, " bytes, %s)", word_for(picks, asker));
    if (is_enough) {
        bp__text_put(text, " or raise the budget");
    } else {
        bp__text_put(text, " and ");
        put_raise(text, n_short - picks->n_bytes);
    }
}

/* ---- the report ---------------------------------------------------------- */

static void count_slots(const bp_tree *tree, const bp__budget *budget,
                        bp_shortage *out)
{
    const bp__slot *slot;
    for (size_t i = 0; (slot = bp__handles_next(&tree->slots, &i)) != NULL;
         i++) {
        if (slot->is_new || !bp__is_over(budget, slot->manager->budget)) {
            continue;
        }
        out->n_slots++;
        if (slot->state != BP_SLOT_RESIDENT) {
            continue;
        }
        out->n_loaded++;
        if (slot->is_pinned) {
            out->pinned += slot->n_charged;
        } else if (bp__slot_can_go(slot, false)) {
            out->evictable += slot->n_charged;
        } else if (bp__slot_can_go(slot, true)) {
            out->in_flight += slot->n_charged;
        }
    }
}

static void put_budget(bp_text *text, const bp__budget *budget)
{
    bp__text_put(text, "\n  Budget");
    if (budget->name != NULL) {
        bp__text_put(text, " ");
        put_quoted(text, bp_key_text(budget->name));
    }
    bp__text_put(text, ": ");
    put_number(text, budget->limit);
    bp__text_put(text, " bytes");
    put_in_units(text, budget->limit);
}

static void put_report(bp_text *text, const bp_shortage *shortage,
                       const bp__budget *refuser)
{
    bp__text_printf(text, "[%s] %s", bp_status_code(BP_BUDGET_EXCEEDED),
                    bp_status_text(BP_BUDGET_EXCEEDED));
    put_line(text, "Requested", shortage->requested);
    put_line(text, "Available", shortage->available);
    put_budget(text, refuser);
    put_line(text, "Allocated", shortage->used);
    put_line_if_any(text, "Reserved", shortage->reserved);
    put_line_if_any(text, "In flight", shortage->in_flight);
    put_line_if_any(text, "Pinned", shortage->pinned);
    bp__text_printf(text, "\n  Loaded slots: %" PRIu32 "/%" PRIu32,
                    shortage->n_loaded, shortage->n_slots);
}

static void fill(bp_tree *tree, const bp__refusal *why, bp_shortage *out)
{
    const bp__budget *refuser = why->refuser;
    memset(out, 0, sizeof *out);
    out->requested = why->requested;
    out->available = bp__available(refuser);
    out->limit = refuser->limit;
    out->used = refuser->used;
    out->reserved = refuser->reserved;
    out->in_flight = refuser->retiring;
    count_slots(tree, refuser, out);
    bp_text text;
    if (refuser->name != NULL) {
        bp__text_init_bounded(&text, out->budget, sizeof out->budget);
        bp__text_put(&text, bp_key_text(refuser->name));
    }
    bp__text_init_bounded(&text, out->text, sizeof out->text);
    put_report(&text, out, refuser);
    bp__picks picks;
    bp__picks_begin_locked(tree, &picks, why->only, false);
    put_suggestion(&text, &picks, refuser, why->asker, why->n_short);
    bp__picks_put_back_locked(&picks);
}

static bp_status refuse(const bp__refusal *why, bp_error *error)
{
    const bp__budget *refuser = why->refuser;
    uint64_t available = bp__available(refuser);
    char message[sizeof error->text];
    bp_text text;
    bp__text_init_bounded(&text, message, sizeof message);
    bp__text_printf(&text,
                    "%" PRIu64 " bytes requested, %" PRIu64 " of %" PRIu64
                    " available",
                    why->requested, available, refuser->limit);
    if (refuser->name != NULL) {
        bp__text_put(&text, " in budget ");
        put_quoted(&text, bp_key_text(refuser->name));
    }
    bp_status status = bp_fail(error, BP_BUDGET_EXCEEDED, "%s", message);
    bp_error_numbers(error, why->requested, available);
    return status;
}

bp_status bp__report_locked(bp_tree *tree, const bp__refusal *why,
                            bp_shortage *out, bp_error *error)
{
    if (out != NULL) {
        fill(tree, why, out);
    }
    return error == NULL ? BP_BUDGET_EXCEEDED : refuse(why, error);
}

bp_status bp__refuse_room_locked(bp_tree *tree, bp__budget *refuser,
                                 const bp__manager *asker, uint64_t requested,
                                 bp_shortage *out, bp_error *error)
{
    uint64_t in_use = bp__in_use(refuser) + requested;
    bp__refusal why = {.refuser = refuser, .asker = asker};
    why.requested = requested;
    why.n_short = in_use > refuser->limit ? in_use - refuser->limit : 0;
    refuser->n_refusals++;
    return bp__report_locked(tree, &why, out, error);
}

bp_status bp__refuse_claim_locked(bp_tree *tree, const bp__claim *claim,
                                  bp__budget *refuser, const bp__manager *asker,
                                  bp_shortage *out, bp_error *error)
{
    if (refuser == NULL) {
        refuser = bp__claim_first_short_locked(claim);
    }
    if (refuser == NULL) {
        refuser = claim->budget;
    }
    bp__refusal why = {.refuser = refuser, .asker = asker};
    why.requested = claim->need;
    why.n_short = bp__claim_short_of(claim, refuser, 0);
    refuser->n_refusals++;
    return bp__report_locked(tree, &why, out, error);
}
