/* search_model.c - building the searches' model. */
#include "plan/search_model.h"

#include "plan/residue.h"

#include <string.h>

static bool is_same_item(const bp__item *a, const bp__item *b)
{
    return a->first == b->first && a->last == b->last && a->size == b->size &&
           a->align == b->align;
}

/* Twins begin in the same section, so they are neighbours or nearly so. */
static void find_twins(bp__search_model *model)
{
    for (uint32_t i = 0; i < model->n; i++) {
        bp__item *item = &model->items[i];
        item->twin = BP__NONE;
        for (uint32_t k = i; k-- > model->begin_start[item->first];) {
            if (is_same_item(item, &model->items[k])) {
                item->twin = k;
                break;
            }
        }
    }
}

/* Turns counts at [s + 1] into starts. */
static void sum_up(uint32_t *starts, uint32_t n)
{
    for (uint32_t s = 0; s < n; s++) {
        starts[s + 1] += starts[s];
    }
}

static void index_items(bp__search_model *model)
{
    for (uint32_t i = 0; i < model->n; i++) {
        const bp__item *item = &model->items[i];
        model->begin_start[item->first + 1]++;
        model->slot_start[i + 1] =
            model->slot_start[i] + (item->last - item->first);
        for (uint32_t s = item->first; s < item->last; s++) {
            model->list_start[s + 1]++;
            model->section_total[s] += item->size;
        }
    }
    sum_up(model->begin_start, model->n_sections);
    sum_up(model->list_start, model->n_sections);
}

static void index_pins(bp__search_model *model)
{
    for (uint32_t p = 0; p < model->n_pins; p++) {
        const bp__pin *pin = &model->pins[p];
        if (pin->high > model->pins_top) {
            model->pins_top = pin->high;
        }
        for (uint32_t s = pin->first; s < pin->last; s++) {
            model->pin_start[s + 1]++;
            model->section_total[s] += pin->high - pin->low;
        }
    }
    sum_up(model->pin_start, model->n_sections);
    /* Fill by moving the starts forward, then move them back. */
    for (uint32_t p = 0; p < model->n_pins; p++) {
        const bp__pin *pin = &model->pins[p];
        for (uint32_t s = pin->first; s < pin->last; s++) {
            model->pin_list[model->pin_start[s]++] = p;
        }
    }
    for (uint32_t s = model->n_sections; s > 0; s--) {
        model->pin_start[s] = model->pin_start[s - 1];
    }
    model->pin_start[0] = 0;
}

static bool allocate(bp__search_model *model)
{
    const bp_allocator *alloc = &model->alloc;
    size_t n_starts = (size_t)model->n_sections + 1;
    model->items = bp__alloc_array(alloc, model->n, sizeof *model->items);
    model->pins = bp__alloc_array(alloc, model->n_pins, sizeof *model->pins);
    model->list_start = bp__alloc_array(alloc, n_starts, sizeof(uint32_t));
    model->slot_start =
        bp__alloc_array(alloc, (size_t)model->n + 1, sizeof(uint32_t));
    model->begin_start = bp__alloc_array(alloc, n_starts, sizeof(uint32_t));
    model->pin_start = bp__alloc_array(alloc, n_starts, sizeof(uint32_t));
    model->pin_list =
        bp__alloc_array(alloc, model->n_pin_slots, sizeof(uint32_t));
    model->section_total =
        bp__alloc_array(alloc, model->n_sections, sizeof(uint64_t));
    return model->items != NULL && model->pins != NULL &&
           model->list_start != NULL && model->slot_start != NULL &&
           model->begin_start != NULL && model->pin_start != NULL &&
           model->pin_list != NULL && model->section_total != NULL;
}

static uint64_t largest_align(const bp__search_model *model)
{
    uint64_t largest = 1;
    for (uint32_t i = 0; i < model->n; i++) {
        if (model->items[i].align > largest) {
            largest = model->items[i].align;
        }
    }
    return largest;
}

/* False: no memory. */
static bool tabulate_needs(bp__search_model *model)
{
    uint64_t largest = largest_align(model);
    model->n_residues =
        largest < BP__SEARCH_RESIDUES ? (uint32_t)largest : BP__SEARCH_RESIDUES;
    model->n_sets = model->n_residues == 1 ? 0 : 1u << model->n_residues;
    model->item_need = bp__alloc_array(
        &model->alloc, (size_t)model->n * model->n_sets, sizeof(uint64_t));
    bp__residues *residues =
        bp__alloc_array(&model->alloc, 1, sizeof *residues);
    bool is_done = model->item_need != NULL && residues != NULL;
    if (is_done && model->n_sets > 0) {
        bp__residues_init(residues, 1, model->n_residues);
        for (uint32_t i = 0; i < model->n; i++) {
            for (uint32_t set = 0; set < model->n_sets; set++) {
                model->item_need[(size_t)i * model->n_sets + set] =
                    bp__residues_need(residues, model->items[i].size,
                                      model->items[i].align, set);
            }
        }
    }
    bp__free_array(&model->alloc, residues, 1, sizeof *residues);
    return is_done;
}

bool bp__search_model_init(bp__search_model *model, const bp__item *items,
                           uint32_t n, const bp__pin *pins, uint32_t n_pins,
                           uint32_t n_sections, const bp_allocator *alloc)
{
    *model = (bp__search_model){
        .alloc = *alloc, .n = n, .n_pins = n_pins, .n_sections = n_sections};
    for (uint32_t p = 0; p < n_pins; p++) {
        model->n_pin_slots += pins[p].last - pins[p].first;
    }
    for (uint32_t i = 0; i < n; i++) {
        model->n_slots += items[i].last - items[i].first;
    }
    if (!allocate(model)) {
        bp__search_model_fini(model);
        return false;
    }
    if (n > 0) {
        memcpy(model->items, items, n * sizeof *items);
    }
    if (n_pins > 0) {
        memcpy(model->pins, pins, n_pins * sizeof *pins);
    }
    index_items(model);
    index_pins(model);
    find_twins(model);
    if (!tabulate_needs(model)) {
        bp__search_model_fini(model);
        return false;
    }
    return true;
}

void bp__search_model_fini(bp__search_model *model)
{
    const bp_allocator *alloc = &model->alloc;
    size_t n_starts = (size_t)model->n_sections + 1;
    bp__free_array(alloc, model->item_need, (size_t)model->n * model->n_sets,
                   sizeof(uint64_t));
    bp__free_array(alloc, model->items, model->n, sizeof *model->items);
    bp__free_array(alloc, model->pins, model->n_pins, sizeof *model->pins);
    bp__free_array(alloc, model->list_start, n_starts, sizeof(uint32_t));
    bp__free_array(alloc, model->slot_start, (size_t)model->n + 1,
                   sizeof(uint32_t));
    bp__free_array(alloc, model->begin_start, n_starts, sizeof(uint32_t));
    bp__free_array(alloc, model->pin_start, n_starts, sizeof(uint32_t));
    bp__free_array(alloc, model->pin_list, model->n_pin_slots,
                   sizeof(uint32_t));
    bp__free_array(alloc, model->section_total, model->n_sections,
                   sizeof(uint64_t));
    *model = (bp__search_model){.alloc = model->alloc};
}
