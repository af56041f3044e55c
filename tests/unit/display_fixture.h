/*
 * A display with a fake GPU, viewers by their names as a user gives them, and an input device that
 * keeps what it is sent. Everything on one loop, which the test runs or lends to a thread.
 */
#ifndef TESTS_UNIT_DISPLAY_FIXTURE_H
#define TESTS_UNIT_DISPLAY_FIXTURE_H

#include "base/bytes.h"
#include "devices/display/viewer.h"
#include "tests/driver/fake_gpu.h"
#include "tests/driver/loop_turn.h"
#include "tests/unit/build_directory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

#define FIXTURE_EVENTS 4096

struct display_fixture {
    struct loop *loop;
    struct display *display;
    struct fake_gpu gpu;
    struct display_viewer_setup *setups[4];
    unsigned viewers;
    struct display_sink sink;
    struct display_event events[FIXTURE_EVENTS];
    size_t count;
    unsigned closed; /* how often a user wanted the machine to end */
};

static inline void fixture_events(struct display_sink *sink, const struct display_event *events,
                                  size_t count)
{
    struct display_fixture *f = container_of(sink, struct display_fixture, sink);

    for (size_t i = 0; i < count && f->count < FIXTURE_EVENTS; i++)
        f->events[f->count++] = events[i];
}

static inline void fixture_closed(void *opaque)
{
    ((struct display_fixture *)opaque)->closed++;
}

/* Let the loop run for so long. */
static inline void fixture_run(struct display_fixture *f, unsigned ms)
{
    loop_run_for(f->loop, ms * UINT64_C(1000000));
}

/* Of processor time, that this program has used so far. */
static inline double fixture_cpu_seconds(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* Whether the event was sent, from place `from` on; where it was + 1, or 0. */
static inline size_t fixture_event(const struct display_fixture *f, size_t from, uint16_t type,
                                   uint16_t code, int32_t value)
{
    for (size_t i = from; i < f->count; i++)
        if (f->events[i].type == type && f->events[i].code == code && f->events[i].value == value)
            return i + 1;
    return 0;
}

/* `inputs`: enum display_input_kind, of one device. */
static inline void fixture_open(struct display_fixture *f, unsigned outputs, unsigned inputs)
{
    *f = (struct display_fixture){
        .sink = {.kinds = inputs, .output = DISPLAY_OUTPUT_ANY, .events = fixture_events}};
    build_directory();
    assert_int_equal(loop_create(&f->loop, NULL), 0);
    assert_int_equal(display_create(f->loop, "a machine", &f->display, NULL), 0);
    display_on_close(f->display, fixture_closed, f);
    if (outputs)
        assert_int_equal(fake_gpu_attach(&f->gpu, f->display, outputs), 0);
    if (inputs)
        display_attach_sink(f->display, &f->sink);
}

static inline void fixture_close(struct display_fixture *f)
{
    if (f->gpu.display)
        fake_gpu_detach(&f->gpu);
    if (f->sink.kinds)
        display_detach_sink(f->display, &f->sink);
    display_destroy(f->display);
    for (unsigned i = 0; i < f->viewers; i++)
        display_viewer_release(f->setups[i]);
    loop_destroy(f->loop);
}

/* What taking, loading and opening it returned, the first failure of them. "vnc",
 * ":1,shared=never". */
static inline int fixture_view(struct display_fixture *f, const char *kind, const char *text,
                               struct error *err)
{
    const struct display_viewer_kind *const *k = display_viewer_kinds;
    struct option_list list = {0};
    int ret;

    while (strcmp((*k)->name, kind))
        k++;
    if (*text)
        assert_int_equal(option_list_parse(&list, kind, text, (*k)->first_key, NULL), 0);
    ret = display_viewer_take(*k, &list, &f->setups[f->viewers], err);
    option_list_free(&list);
    if (!ret)
        ret = display_viewer_load(f->setups[f->viewers++], err);
    return ret ? ret : display_viewer_open(f->setups[f->viewers - 1], f->display, err);
}

#endif
