/*
 * virtio-gpu: requests and answers as such, features, and configuration.
 */
#include "devices/gpu/gpu.h"
#include "tests/driver/rig.h"
#include "tests/driver/toy_device.h"
#include "tests/unit/gpu_fixture.h"
#include "virtio/device.h"

#include <linux/pci_regs.h>

static const struct virtio_gpu_rect whole = {0, 0, 64, 32};

/* A header with this type and nothing behind it; the type of the answer. */
static uint32_t bare(unsigned queue, uint32_t type)
{
    const struct virtio_gpu_ctrl_hdr request = {.type = type};
    struct virtio_gpu_ctrl_hdr answer;

    return gpu_card_ask(&card, queue, &request, sizeof(request), &answer, sizeof(answer), NULL);
}

#define PCI_CLASS_DISPLAY_OTHER 0x0380

/* GPU-21 */
static void pci_class(void **state)
{
    struct toy_device toy;
    struct rig rig;

    (void)state;
    assert_int_equal(toy_device_init(&toy, VIRTIO_ID_GPU, 2, NULL), 0);
    assert_int_equal(rig_init(&rig, RIG_PCI_MSIX, &toy.dev, NULL), 0);
    assert_int_equal(pci_driver_config_read(&rig.pci_driver, PCI_CLASS_DEVICE, 2),
                     PCI_CLASS_DISPLAY_OTHER);
    rig_destroy(&rig);
    toy_device_destroy(&toy);
}

/* GPU-01, GPU-02: what it is, and what it offers when nothing is asked for. */
static void type_and_features(void **state)
{
    struct virtio_features features;

    (void)state;
    assert_int_equal(gpu_model.id, 16);
    assert_int_equal(gpu_model.virtqueue_count(&card.options, 1), 2);
    card.backend->ops->features(card.backend, &features);
    assert_int_equal(features.word[0], 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5);
}

/* GPU-03, GPU-04, DRV-CFG-05, DRV-GPU-01 */
static void configuration(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(gpu_card_config(&card, 0, 4), 0);
    assert_int_equal(gpu_card_config(&card, 4, 4), 0);
    assert_int_equal(gpu_card_config(&card, 8, 4), 3);
    assert_int_equal(gpu_card_config(&card, 12, 4), 0);
    assert_int_equal(gpu_card_config(&card, 16, 4), 4096);
    assert_int_equal(gpu_card_config(&card, 20, 8), 0);
    assert_int_equal(card.backend->ops->command(card.backend, "resize", "800x600", &err), 0);
    assert_int_equal(card.config_changes, 1);
    assert_int_equal(gpu_card_config(&card, 0, 4), 1);
    gpu_card_write_config(&card, 0, 0);
    gpu_card_write_config(&card, 8, 16);
    gpu_card_write_config(&card, 4, 2);
    assert_int_equal(gpu_card_config(&card, 0, 4), 1);
    assert_int_equal(gpu_card_config(&card, 8, 4), 3);
    gpu_card_write_config(&card, 4, 1);
    assert_int_equal(gpu_card_config(&card, 0, 4), 0);
    assert_int_equal(gpu_card_config(&card, 4, 4), 0);
}

/* GPU-05, GPU-06: the answer to a fenced request says which. Without a fence nothing is said. */
static void fences(void **state)
{
    struct virtio_gpu_resource_unref request = {.hdr =
                                                    {
                                                        .type = VIRTIO_GPU_CMD_RESOURCE_UNREF,
                                                        .flags = VIRTIO_GPU_FLAG_FENCE,
                                                        .fence_id = UINT64_C(0x123456789abcdef0),
                                                        .ctx_id = 5,
                                                        .ring_idx = 9,
                                                    },
                                                .resource_id = 1};
    struct virtio_gpu_ctrl_hdr answer;
    uint32_t got;

    (void)state;
    assert_int_equal(gpu_card_create_2d(&card, 1, BGRX, 1, 1), OK);
    for (int i = 0; i < 2; i++) { /* carried out, and refused */
        assert_int_equal(
            gpu_card_ask(&card, 0, &request, sizeof(request), &answer, sizeof(answer), &got),
            i ? BAD_RESOURCE : OK);
        assert_int_equal(got, 24);
        assert_int_equal(answer.flags, VIRTIO_GPU_FLAG_FENCE);
        assert_int_equal(answer.fence_id, UINT64_C(0x123456789abcdef0));
        assert_int_equal(answer.ctx_id, 5);
    }
    request.hdr.flags = 0;
    gpu_card_ask(&card, 0, &request, sizeof(request), &answer, sizeof(answer), &got);
    assert_int_equal(answer.flags, 0);
    assert_int_equal(answer.fence_id, 0);
}

/* GPU-20, GPU-22: commands that are none, of another queue, or of a feature that is not there. */
static void unknown_commands(void **state)
{
    static const uint32_t types[] = {0,     1,     0xff,   0x100 - 1, 0x10e,
                                     0x1ff, 0x200, 0x207,  0x208,     0x20a,
                                     0x2ff, 0x302, 0x1100, 0x1200,    0xffffffff};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        assert_int_equal(bare(0, types[i]), UNSPEC);
        assert_int_equal(bare(1, types[i]), UNSPEC);
    }
    assert_int_equal(bare(0, VIRTIO_GPU_CMD_MOVE_CURSOR), UNSPEC);
    assert_int_equal(bare(1, VIRTIO_GPU_CMD_GET_DISPLAY_INFO), UNSPEC);
}

/* GPU-22 */
static void features_not_negotiated(void **state)
{
    static const uint32_t types[] = {VIRTIO_GPU_CMD_GET_EDID, VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID,
                                     VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
                                     VIRTIO_GPU_CMD_SET_SCANOUT_BLOB};
    static const uint8_t zeroes[200];
    uint8_t request[200], answer[1200];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        memcpy(request, zeroes, sizeof(request));
        store_le32(request, types[i]);
        gpu_card_stop(&card);
        gpu_card_start(&card, all_bits, sizeof(all_bits));
        assert_int_not_equal(gpu_card_ask(&card, 0, request, 200, answer, 1200, NULL), UNSPEC);
        gpu_card_stop(&card);
        gpu_card_start(&card, NULL, 0);
        assert_int_equal(gpu_card_ask(&card, 0, request, 200, answer, 1200, NULL), UNSPEC);
    }
}

/* GPU-11, GPU-20, DRV-GPU-05: requests that are shorter than their structures do nothing. */
static void short_requests(void **state)
{
    static const struct {
        uint32_t type;
        size_t size;
    } commands[] = {
        {VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, 40},
        {VIRTIO_GPU_CMD_RESOURCE_UNREF, 32},
        {VIRTIO_GPU_CMD_SET_SCANOUT, 48},
        {VIRTIO_GPU_CMD_RESOURCE_FLUSH, 48},
        {VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, 56},
        {VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, 32},
        {VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, 32},
        {VIRTIO_GPU_CMD_GET_EDID, 32},
        {VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID, 32},
        {VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, 56},
        {VIRTIO_GPU_CMD_SET_SCANOUT_BLOB, 96},
    };
    uint8_t request[96] = {0}, answer[1200];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        store_le32(request, commands[i].type);
        for (size_t length = 0; length < commands[i].size; length += length < 24 ? 23 : 1)
            assert_int_equal(gpu_card_ask(&card, 0, request, length, answer, sizeof(answer), NULL),
                             UNSPEC);
        assert_int_not_equal(
            gpu_card_ask(&card, 0, request, commands[i].size, answer, sizeof(answer), NULL),
            UNSPEC);
    }
}

/* GPU-12, DRV-GPU-05: without room for its answer a command is not carried out. */
static void room_for_answers(void **state)
{
    struct virtio_gpu_resource_create_2d create = {
        .hdr.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
        .resource_id = 1,
        .format = BGRX,
        .width = 1,
        .height = 1,
    };
    const struct virtio_gpu_ctrl_hdr info = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};
    const struct virtio_gpu_cmd_get_edid edid = {.hdr.type = VIRTIO_GPU_CMD_GET_EDID};
    uint8_t answer[1200];
    uint32_t got = 99;

    (void)state;
    assert_int_equal(gpu_card_ask(&card, 0, &create, sizeof(create), answer, 0, &got), 0);
    assert_int_equal(got, 0);
    assert_int_equal(gpu_card_ask(&card, 0, &create, sizeof(create), answer, 23, &got), 0);
    assert_int_equal(got, 0);
    assert_int_equal(gpu_card_resource(&card, VIRTIO_GPU_CMD_RESOURCE_UNREF, 1), BAD_RESOURCE);
    assert_int_equal(gpu_card_ask(&card, 0, &info, sizeof(info), answer, 407, &got), UNSPEC);
    assert_int_equal(got, 24);
    assert_int_equal(gpu_card_ask(&card, 0, &info, sizeof(info), answer, 408, &got),
                     VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
    assert_int_equal(got, 408);
    assert_int_equal(gpu_card_ask(&card, 0, &edid, sizeof(edid), answer, 1055, &got), UNSPEC);
    assert_int_equal(gpu_card_ask(&card, 0, &edid, sizeof(edid), answer, 1200, &got),
                     VIRTIO_GPU_RESP_OK_EDID);
    assert_int_equal(got, 1056);
}

/* GPU-19: drivers leave no room for answers to what the pointer does. */
static void pointer_without_answer(void **state)
{
    const struct virtio_gpu_update_cursor move = {.hdr.type = VIRTIO_GPU_CMD_MOVE_CURSOR,
                                                  .pos = {0, 12, 34, 0}};
    uint8_t answer[24];
    uint32_t got = 99;

    (void)state;
    assert_int_equal(gpu_card_ask(&card, 1, &move, sizeof(move), answer, 0, &got), 0);
    assert_int_equal(got, 0);
    assert_int_equal(card.views[0].cursor_x, 12);
    assert_int_equal(card.views[0].cursor_y, 34);
}

/* GPU-12: a resource has one id for other devices as long as it lives, and no other has it. */
static void uuids(void **state)
{
    struct virtio_gpu_resource_assign_uuid request = {.hdr.type =
                                                          VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID};
    struct virtio_gpu_resp_resource_uuid answers[3];
    uint32_t got;

    (void)state;
    assert_int_equal(gpu_card_create_2d(&card, 1, BGRX, 1, 1), OK);
    assert_int_equal(gpu_card_create_2d(&card, 2, BGRX, 1, 1), OK);
    for (uint32_t i = 0; i < 3; i++) {
        request.resource_id = i == 1 ? 2 : 1;
        assert_int_equal(gpu_card_ask(&card, 0, &request, sizeof(request), &answers[i],
                                      sizeof(answers[i]), &got),
                         VIRTIO_GPU_RESP_OK_RESOURCE_UUID);
        assert_int_equal(got, 40);
        assert_int_equal(answers[i].uuid[6] >> 4, 4);
        assert_int_equal(answers[i].uuid[8] >> 6, 2);
    }
    assert_memory_not_equal(answers[0].uuid, answers[1].uuid, 16);
    assert_memory_equal(answers[0].uuid, answers[2].uuid, 16);
    request.resource_id = 3;
    assert_int_equal(
        gpu_card_ask(&card, 0, &request, sizeof(request), &answers[0], sizeof(answers[0]), NULL),
        BAD_RESOURCE);
}

/* A driver that comes back after a reset finds the device as new. */
static void driver_comes_again(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(gpu_card_create_2d(&card, 1, BGRX, 64, 32), OK);
        give_backing(1, 64 * 32 * 4);
        assert_int_equal(gpu_card_set_scanout(&card, 2, 1, whole), OK);
        assert_true(card.views[2].shown);
        gpu_card_stop(&card);
        assert_false(card.views[2].shown);
        gpu_card_start(&card, all_bits, sizeof(all_bits));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pci_class),      GPU_TEST(type_and_features),
        GPU_TEST(configuration),          GPU_TEST(fences),
        GPU_TEST(unknown_commands),       GPU_TEST(features_not_negotiated),
        GPU_TEST(short_requests),         GPU_TEST(room_for_answers),
        GPU_TEST(pointer_without_answer), GPU_TEST(uuids),
        GPU_TEST(driver_comes_again),
    };

    build_directory();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
