/*
 * virtio-gpu: what outputs there are is for somebody else to say, whom a viewer asks (display_ask).
 */
#include "tests/unit/gpu_fixture.h"

static struct display_viewer asker;
static bool knows; /* and need not ask */
static unsigned asked;

static bool ask(struct display_viewer *viewer)
{
    (void)viewer;
    asked += !knows;
    return !knows;
}

static void destroy(struct display_viewer *viewer)
{
    (void)viewer;
}

static const struct display_viewer_ops ops = {.ask = ask, .destroy = destroy};

static void add_asker(void)
{
    asker = (struct display_viewer){.ops = &ops};
    knows = false;
    asked = 0;
    display_attach_viewer(card.display, &asker);
}

/* 0: there is no answer yet. */
static uint32_t first_width(void)
{
    const struct virtio_gpu_ctrl_hdr request = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};
    struct virtio_gpu_resp_display_info info;

    if (!gpu_card_ask(&card, 0, &request, sizeof(request), &info, sizeof(info), NULL))
        return 0;
    return le32toh(info.pmodes[0].r.width);
}

/* The request waits, and so does what is behind it; the pointer does not. */
static void waits_for_the_answer(void **state)
{
    const struct virtio_gpu_resource_create_2d next = {
        .hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
        .resource_id = 7,
        .format = BGRX,
        .width = 1,
        .height = 1,
    };
    const struct virtio_gpu_update_cursor move = {.hdr.type = VIRTIO_GPU_CMD_MOVE_CURSOR,
                                                  .pos = {.x = 12, .y = 34}};
    struct virtio_gpu_ctrl_hdr answer;

    (void)state;
    add_asker();
    assert_int_equal(first_width(), 0);
    assert_int_equal(asked, 1);
    gpu_card_post(&card, 1, &next, sizeof(next));
    assert_int_equal(gpu_card_answer(&card, 1), 0);
    gpu_card_ask(&card, 1, &move, sizeof(move), &answer, sizeof(answer), NULL);
    assert_int_equal(card.views[0].cursor_x, 12);
    display_resize(card.display, 0, 1000, 700, 0, 0);
    display_answered(card.display);
    gpu_card_serve(&card);
    assert_int_equal(asked, 1);
    assert_int_equal(gpu_card_answer(&card, 1), OK);
    knows = true;
    assert_int_equal(first_width(), 1000);
}

/* The driver resets the device meanwhile: the answer comes to nothing. */
static void reset_meanwhile(void **state)
{
    (void)state;
    add_asker();
    assert_int_equal(first_width(), 0);
    gpu_card_stop(&card);
    gpu_card_start(&card, all_bits, sizeof(all_bits));
    display_resize(card.display, 0, 1000, 700, 0, 0);
    display_answered(card.display);
    knows = true;
    assert_int_equal(first_width(), 1000);
}

int main(void)
{
    const struct CMUnitTest gpu_tests[] = {
        GPU_TEST(waits_for_the_answer),
        GPU_TEST(reset_meanwhile),
    };

    build_directory();
    return cmocka_run_group_tests(gpu_tests, NULL, NULL);
}
