/* tags.c - what a budget's charged bytes are for, by name. */
#include "device/ledger.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <string.h>

static const char *name_of(const void *ctx, uint32_t value)
{
    return bp_key_text(((const bp__tag *)ctx)[value].name);
}

/* Most callers come with the tag they came with last. */
static bp__tag *find(bp__budget *budget, const char *tag)
{
    size_t recent = budget->recent_tag;
    if (recent < budget->n_tags &&
        strcmp(bp_key_text(budget->tags[recent].name), tag) == 0) {
        return &budget->tags[recent];
    }
    uint32_t i = bp__map_find(&budget->tag_index, bp__hash_text(tag), tag,
                              name_of, budget->tags);
    if (i == BP_MAP_NONE) {
        return NULL;
    }
    budget->recent_tag = i;
    return &budget->tags[i];
}

uint64_t *bp__tag_bytes_locked(bp__budget *budget, const char *tag)
{
    if (tag == NULL) {
        return &budget->untagged;
    }
    bp__tag *found = find(budget, tag);
    return found == NULL ? NULL : &found->n_bytes;
}

/* Names come and go: tags that are at 0 make room for new ones, so that the
 * table is as large as the tags that live at once. */
static void drop_empty(bp__budget *budget)
{
    size_t n_kept = 0;
    bp__map_clear(&budget->tag_index);
    for (size_t i = 0; i < budget->n_tags; i++) {
        bp__tag tag = budget->tags[i];
        if (tag.n_bytes == 0) {
            bp__key_unref(tag.name);
            continue;
        }
        bp__map_insert(&budget->tag_index, bp__hash_text(bp_key_text(tag.name)),
                       (uint32_t)n_kept);
        budget->tags[n_kept++] = tag;
    }
    budget->n_tags = n_kept;
}

static size_t count_empty(const bp__budget *budget)
{
    size_t n_empty = 0;
    for (size_t i = 0; i < budget->n_tags; i++) {
        n_empty += budget->tags[i].n_bytes == 0;
    }
    return n_empty;
}

/* Room for one more in array and index. Looks for empty tags only when the
 * array is full, and drops them only where they are many: constant time for
 * each, taken together. */
static bool make_room(bp_tree *tree, bp__budget *budget)
{
    if (budget->n_tags == budget->tag_capacity &&
        count_empty(budget) > budget->n_tags / 2) {
        drop_empty(budget);
    }
    return bp__map_reserve(&budget->tag_index, &tree->alloc,
                           budget->n_tags + 1) &&
           bp__grow(&tree->alloc, &budget->tags, &budget->tag_capacity,
                    budget->n_tags + 1, sizeof *budget->tags);
}

bp_status bp__tag_make_locked(bp_tree *tree, bp__budget *budget,
                              const char *tag, uint64_t **out, bp_error *error)
{
    if (tag == NULL) {
        *out = &budget->untagged;
        return BP_OK;
    }
    bp__tag *found = find(budget, tag);
    if (found != NULL) {
        *out = &found->n_bytes;
        return BP_OK;
    }
    size_t n = strlen(tag);
    if (n > BP_MAX_NAME) {
        bp_status status =
            bp_fail(error, BP_BAD_NAME, "a tag of %zu bytes is longer than %u",
                    n, BP_MAX_NAME);
        bp_error_numbers(error, n, BP_MAX_NAME);
        return status;
    }
    bp_key *name = bp__key_new(&tree->alloc, tag);
    if (name == NULL || !make_room(tree, budget)) {
        bp__key_unref(name);
        return bp__refuse_memory_of(error, "a tag");
    }
    bp__map_insert(&budget->tag_index, bp__hash_text(tag),
                   (uint32_t)budget->n_tags);
    found = &budget->tags[budget->n_tags++];
    *found = (bp__tag){.name = name};
    *out = &found->n_bytes;
    return BP_OK;
}

void bp__tags_fini(bp_tree *tree, bp__budget *budget)
{
    for (size_t i = 0; i < budget->n_tags; i++) {
        bp__key_unref(budget->tags[i].name);
    }
    bp__free_array(&tree->alloc, budget->tags, budget->tag_capacity,
                   sizeof *budget->tags);
    bp__map_fini(&budget->tag_index, &tree->alloc);
    budget->tags = NULL;
    budget->n_tags = budget->tag_capacity = 0;
    budget->untagged = 0;
}

uint64_t bp__tags_sum_locked(const bp__budget *budget)
{
    uint64_t sum = budget->untagged;
    for (size_t i = 0; i < budget->n_tags; i++) {
        sum += budget->tags[i].n_bytes;
    }
    return sum;
}

const char *bp__tags_check_locked(const bp__budget *budget)
{
    if (budget->n_tags > budget->tag_capacity) {
        return "more tags than there is room for";
    }
    for (size_t i = 0; i < budget->n_tags; i++) {
        if (budget->tags[i].name == NULL) {
            return "a tag without a name";
        }
    }
    return budget->tag_index.n_used == budget->n_tags &&
                   bp__map_check(&budget->tag_index, (uint32_t)budget->n_tags,
                                 name_of, budget->tags)
               ? NULL
               : "the index of tags is not that of the tags";
}

/* ---- read -------------------------------------------------------------- */

bp_status bp_budget_get_tag(bp_tree *tree, bp_budget handle, const char *tag,
                            uint64_t *out, bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    bp__budget *budget = bp__budget_get_locked(tree, handle);
    if (budget == NULL) {
        status = bp__refuse_stale(error, "budget");
    } else {
        const uint64_t *n_bytes = bp__tag_bytes_locked(budget, tag);
        *out = n_bytes == NULL ? 0 : *n_bytes;
    }
    bp__tree_leave(tree);
    return status;
}

static const bp__tag *nth_with_bytes(const bp__budget *budget, uint32_t n)
{
    for (size_t i = 0; i < budget->n_tags; i++) {
        if (budget->tags[i].n_bytes != 0 && n-- == 0) {
            return &budget->tags[i];
        }
    }
    return NULL;
}

bp_status bp_budget_tag_at(bp_tree *tree, bp_budget handle, uint32_t i,
                           char *name, uint64_t *n_bytes, bp_error *error)
{
    bp_status status = bp__tree_enter(tree, error);
    if (status != BP_OK) {
        return status;
    }
    const bp__budget *budget = bp__budget_get_locked(tree, handle);
    const bp__tag *tag = budget == NULL ? NULL : nth_with_bytes(budget, i);
    if (budget == NULL) {
        status = bp__refuse_stale(error, "budget");
    } else if (tag == NULL) {
        status = bp_fail(error, BP_UNKNOWN_KEY,
                         "the budget has no tag number %u", (unsigned)i);
    } else {
        const char *text = bp_key_text(tag->name);
        memcpy(name, text, strlen(text) + 1);
        *n_bytes = tag->n_bytes;
    }
    bp__tree_leave(tree);
    return status;
}
