/*
 * For tests that run a loop themselves, on their own thread.
 */
#ifndef TESTS_DRIVER_LOOP_TURN_H
#define TESTS_DRIVER_LOOP_TURN_H

#include "base/bytes.h"
#include "base/loop.h"

struct loop_turn {
    struct loop_timer timer;
    struct loop *loop;
};

static inline void loop_turn_over(struct loop_timer *timer)
{
    loop_stop(container_of(timer, struct loop_turn, timer)->loop);
}

/* The loop handles what comes within this time, or until somebody stops it; 0: what is ready. */
static inline void loop_run_for(struct loop *loop, uint64_t ns)
{
    struct loop_turn turn = {.timer.expired = loop_turn_over, .loop = loop};

    loop_timer_set(loop, &turn.timer, ns);
    loop_run(loop);
    loop_timer_cancel(loop, &turn.timer);
}

#endif
