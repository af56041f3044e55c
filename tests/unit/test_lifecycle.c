/*
 * Requests to end or restart a machine: which one counts when there are several.
 */
#include "base/bytes.h"
#include "vmm/machine.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static int set_up(void **state)
{
    struct machine *machine = calloc(1, sizeof(*machine));

    *state = machine;
    machine_lifecycle_init(machine);
    return loop_create(&machine->main_loop, NULL);
}

static int tear_down(void **state)
{
    struct machine *machine = *state;

    loop_destroy(machine->main_loop);
    free(machine);
    return 0;
}

static int pending(struct machine *machine)
{
    return atomic_load(&machine->request);
}

/* As the next boot begins: nothing was asked for, nothing is queued. */
static void forget(struct machine *machine)
{
    loop_task_cancel(machine->main_loop, &machine->request_task);
    atomic_store(&machine->request, REQUEST_NONE);
}

static bool replaces(int second, int first)
{
    return first == REQUEST_RESET && (second == REQUEST_QUIT || second == REQUEST_SIGNAL);
}

static void every_request_ends_the_loop(void **state)
{
    struct machine *machine = *state;

    for (int request = REQUEST_POWEROFF; request <= REQUEST_SIGNAL; request++) {
        assert_int_equal(pending(machine), REQUEST_NONE);
        machine_request(machine, (enum machine_request)request);
        loop_run(machine->main_loop); /* comes back */
        assert_int_equal(pending(machine), request);
        forget(machine);
    }
}

/* All pairs: only the user is stronger than what came first, and only than a reset. */
static void who_replaces_whom(void **state)
{
    struct machine *machine = *state;

    for (int first = REQUEST_POWEROFF; first <= REQUEST_SIGNAL; first++) {
        for (int second = REQUEST_POWEROFF; second <= REQUEST_SIGNAL; second++) {
            machine_request(machine, (enum machine_request)first);
            machine_request(machine, (enum machine_request)second);
            assert_int_equal(pending(machine), replaces(second, first) ? second : first);
            loop_run(machine->main_loop);
            forget(machine);
        }
    }
}

/* The loop has ended for the reset already, and the vCPUs are about to be stopped. */
static void a_quit_after_the_loop_ended(void **state)
{
    struct machine *machine = *state;

    machine_request(machine, REQUEST_RESET);
    loop_run(machine->main_loop);
    machine_request(machine, REQUEST_RESET); /* of another vCPU */
    assert_false(machine->request_task.queued);
    machine_request(machine, REQUEST_QUIT);
    assert_int_equal(pending(machine), REQUEST_QUIT);
    machine_request(machine, REQUEST_RESET);
    machine_request(machine, REQUEST_SIGNAL);
    machine_request(machine, REQUEST_POWEROFF);
    assert_int_equal(pending(machine), REQUEST_QUIT);
}

/* A guest whose vCPUs reset as fast as they can, and its user. */
struct resetter {
    struct machine *machine;
    atomic_bool stop;
};

static void *reset_for_ever(void *opaque)
{
    struct resetter *r = opaque;

    while (!atomic_load(&r->stop))
        machine_request(r->machine, REQUEST_RESET);
    return NULL;
}

static void a_quit_is_not_lost_to_resets(void **state)
{
    struct machine *machine = *state;
    struct resetter resetter = {.machine = machine};
    pthread_t threads[2];

    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reset_for_ever, &resetter), 0);
    for (int round = 0; round < 500; round++) {
        while (pending(machine) != REQUEST_RESET)
            ;
        machine_request(machine, REQUEST_QUIT);
        assert_int_equal(pending(machine), REQUEST_QUIT);
        loop_run(machine->main_loop);
        assert_int_equal(pending(machine), REQUEST_QUIT);
        forget(machine);
    }
    atomic_store(&resetter.stop, true);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_request_ends_the_loop),
        TEST(who_replaces_whom),
        TEST(a_quit_after_the_loop_ended),
        TEST(a_quit_is_not_lost_to_resets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
