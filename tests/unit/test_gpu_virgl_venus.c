/*
 * Venus, in virglrenderer's process of its own.
 */
#include "virgl_fixture.h"

#include <errno.h>
#include <stdio.h>

static int load(void **state)
{
    int ret = load_virgl(state);

    rig.options.venus = true;
    return ret;
}

/* Processes of this one. */
static unsigned children(void)
{
    FILE *file = fopen("/proc/thread-self/children", "re");
    unsigned count = 0;
    int pid;

    assert_non_null(file);
    while (fscanf(file, "%d", &pid) == 1)
        count++;
    fclose(file);
    return count;
}

static void its_process_ends_with_the_renderer(void **state)
{
    start_renderer(state);
    assert_int_equal(children(), 1);
    stop_renderer(state);
    assert_int_equal(children(), 0);
}

/* GPU-15 */
static void its_capset_is_offered(void **state)
{
    static uint8_t data[8192];
    uint32_t id, version, size;
    bool empty = true;

    (void)state;
    assert_int_equal(rig.ops->capset_count(rig.r), 3);
    rig.ops->capset_info(rig.r, 2, &id, &version, &size);
    assert_int_equal(id, 4);
    assert_int_equal(rig.ops->capset(rig.r, id, version, data, sizeof(data)), 0);
    for (uint32_t at = 0; at < size; at++)
        empty &= !data[at];
    assert_false(empty);
}

/* GPU-07, GPU-18 */
static void contexts_have_a_timeline_for_the_processor(void **state)
{
    (void)state;
    assert_int_equal(rig.ops->context_create(rig.r, 1, 4, "vulkan"), 0);
    assert_int_equal(rig.ops->context_create(rig.r, 2, 2, "gl"), 0);
    for (uint64_t id = 1; id <= 4; id++)
        assert_int_equal(rig.ops->fence(rig.r, 1, 0, id), 0);
    assert_int_equal(rig.ops->fence(rig.r, 2, 0, 5), 0);
    wait_for_fences(5);
    for (unsigned i = 0, next = 1; i < 5; i++)
        if (rig.done[i].context == 1)
            assert_int_equal(rig.done[i].id, next++);
    assert_int_equal(rig.ops->context_destroy(rig.r, 1), 0);
}

static void hostile_words_end_the_context_alone(void **state)
{
    uint32_t garbage[64];

    (void)state;
    memset(garbage, 0xff, sizeof(garbage));
    assert_int_equal(rig.ops->context_create(rig.r, 1, 4, "hostile"), 0);
    rig.ops->submit(rig.r, 1, garbage, sizeof(garbage));
    rig.ops->fence(rig.r, 1, 0, 1);
    assert_int_equal(rig.ops->fence(rig.r, 1, -1, 2), 0);
    assert_int_equal(rig.ops->context_destroy(rig.r, 1), 0);
    assert_int_equal(rig.ops->context_create(rig.r, 1, 4, "next"), 0);
    assert_int_equal(rig.ops->fence(rig.r, 1, 0, 3), 0);
    wait_for_fences(3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_process_ends_with_the_renderer),
        RENDERER_TEST(its_capset_is_offered),
        RENDERER_TEST(contexts_have_a_timeline_for_the_processor),
        RENDERER_TEST(hostile_words_end_the_context_alone),
    };

    return cmocka_run_group_tests_name("gpu_virgl_venus", tests, load, unload_virgl);
}
