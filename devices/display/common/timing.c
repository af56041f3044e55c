#include "devices/display/common/timing.h"

#include "base/bytes.h"

#include <inttypes.h>

void display_timing_damage(struct display_timing *t, const struct display_rect *rect)
{
    t->damaged += 4 * (uint64_t)rect->width * rect->height;
    if (!t->since_ns)
        t->since_ns = loop_now_ns();
    else
        t->dropped++;
}

uint64_t display_timing_draw(struct display_timing *t)
{
    uint64_t since = t->since_ns;

    t->since_ns = 0;
    return since;
}

void display_timing_shown(struct display_timing *t, uint64_t since_ns)
{
    uint64_t took = loop_now_ns() - since_ns;

    if (!since_ns)
        return;
    t->min_ns = t->shown ? MIN(t->min_ns, took) : took;
    t->max_ns = MAX(t->max_ns, took);
    t->total_ns += took;
    t->shown++;
}

void display_timing_print(const struct display_timing *t, const char *viewer, unsigned output,
                          FILE *out)
{
    uint64_t mean = t->shown ? t->total_ns / t->shown : 0;

    fprintf(out,
            "display: %s output %u: %" PRIu64 " frames shown, %" PRIu64 " dropped; damage to "
            "screen min/mean/max %.2f/%.2f/%.2f ms; %" PRIu64 " bytes damaged, %" PRIu64
            " copied\n",
            viewer, output, t->shown, t->dropped, (double)t->min_ns / 1e6, (double)mean / 1e6,
            (double)t->max_ns / 1e6, t->damaged, t->copied);
}
