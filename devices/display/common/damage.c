#include "devices/display/common/damage.h"

#include "base/bytes.h"

static bool holds(const struct display_rect *a, const struct display_rect *b)
{
    return b->x >= a->x && b->y >= a->y && b->x + b->width <= a->x + a->width &&
           b->y + b->height <= a->y + a->height;
}

/* The smallest that holds both. */
static struct display_rect both(const struct display_rect *a, const struct display_rect *b)
{
    struct display_rect out = {.x = MIN(a->x, b->x), .y = MIN(a->y, b->y)};

    out.width = MAX(a->x + a->width, b->x + b->width) - out.x;
    out.height = MAX(a->y + a->height, b->y + b->height) - out.y;
    return out;
}

void display_damage_add(struct display_damage_list *damage, const struct display_rect *rect)
{
    struct display_rect added = *rect;
    unsigned kept = 0;

    if (!added.width || !added.height)
        return;
    for (unsigned i = 0; i < damage->count; i++)
        if (holds(&damage->rects[i], &added))
            return;
    for (unsigned i = 0; i < damage->count; i++)
        if (!holds(&added, &damage->rects[i]))
            damage->rects[kept++] = damage->rects[i];
    damage->count = kept;
    if (kept == DISPLAY_DAMAGE_MAX) {
        for (unsigned i = 0; i < kept; i++)
            added = both(&added, &damage->rects[i]);
        damage->count = 0;
    }
    damage->rects[damage->count++] = added;
}

uint64_t display_damage_pixels(const struct display_damage_list *damage)
{
    uint64_t pixels = 0;

    for (unsigned i = 0; i < damage->count; i++)
        pixels += (uint64_t)damage->rects[i].width * damage->rects[i].height;
    return pixels;
}
