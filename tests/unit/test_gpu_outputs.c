/*
 * virtio-gpu: the outputs there are, their sizes, and what they say of themselves (EDID), which
 * edid-decode has to find right.
 */
#include "tests/unit/gpu_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static struct virtio_gpu_resp_display_info display_info(void)
{
    const struct virtio_gpu_ctrl_hdr request = {.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO};
    struct virtio_gpu_resp_display_info info;

    assert_int_equal(gpu_card_ask(&card, 0, &request, sizeof(request), &info, sizeof(info), NULL),
                     VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
    return info;
}

static struct virtio_gpu_resp_edid get_edid(uint32_t scanout)
{
    const struct virtio_gpu_cmd_get_edid request = {.hdr.type = VIRTIO_GPU_CMD_GET_EDID,
                                                    .scanout = scanout};
    struct virtio_gpu_resp_edid edid;

    assert_int_equal(gpu_card_ask(&card, 0, &request, sizeof(request), &edid, sizeof(edid), NULL),
                     VIRTIO_GPU_RESP_OK_EDID);
    return edid;
}

static void assert_mode(const struct virtio_gpu_resp_display_info *info, unsigned i, uint32_t x,
                        uint32_t width, uint32_t height)
{
    assert_int_equal(info->pmodes[i].r.x, x);
    assert_int_equal(info->pmodes[i].r.y, 0);
    assert_int_equal(info->pmodes[i].r.width, width);
    assert_int_equal(info->pmodes[i].r.height, height);
    assert_int_equal(info->pmodes[i].enabled, width ? 1 : 0);
}

/* GPU-12: 16 of them are told of, side by side. */
static void initial_sizes(void **state)
{
    struct virtio_gpu_resp_display_info info = display_info();

    (void)state;
    assert_mode(&info, 0, 0, 640, 480);
    assert_mode(&info, 1, 640, 320, 200);
    assert_mode(&info, 2, 960, 1920, 1080);
    for (unsigned i = 3; i < 16; i++)
        assert_mode(&info, i, 0, 0, 0);
}

/* GPU-04: the size that a viewer, or the user, would like. */
static void resized(void **state)
{
    struct virtio_gpu_resp_display_info info;
    struct error err = ERROR_INIT;

    (void)state;
    display_resize(card.display, 0, 1000, 700, 0, 0);
    assert_int_equal(card.config_changes, 1);
    display_resize(card.display, 0, 1000, 700, 0, 0); /* no news */
    assert_int_equal(card.config_changes, 1);
    assert_int_equal(card.backend->ops->command(card.backend, "resize", "2:0x0", &err), 0);
    assert_int_equal(card.config_changes, 2);
    info = display_info();
    assert_mode(&info, 0, 0, 1000, 700);
    assert_mode(&info, 1, 1000, 320, 200);
    assert_mode(&info, 2, 0, 0, 0);
    assert_int_equal(get_edid(2).size, 0);
    gpu_card_stop(&card); /* the next driver is told of the same sizes */
    gpu_card_start(&card, all_bits, sizeof(all_bits));
    info = display_info();
    assert_mode(&info, 0, 0, 1000, 700);
}

static void bad_commands(void **state)
{
    static const char *const bad[] = {
        "",         "x",         "640", "640x", "x480",     "0x480",    "640x0",
        "640x480x", "3:640x480", "0:",  ":9x9", "16385x99", "640x480 ", "640x999999"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error err = ERROR_INIT;

        assert_int_equal(card.backend->ops->command(card.backend, "resize", bad[i], &err), -EINVAL);
        assert_non_null(strstr(err.text, "resize"));
    }
    assert_int_equal(card.config_changes, 0);
}

/* What edid-decode finds in an EDID; it has to find it conforming. */
static void decode(const struct virtio_gpu_resp_edid *edid, char *text, size_t room)
{
    char path[] = "/tmp/vireo-edid-XXXXXX", command[100];
    int fd = mkstemp(path);
    size_t length;
    FILE *out;

    assert_int_equal(write(fd, edid->edid, edid->size), edid->size);
    close(fd);
    snprintf(command, sizeof(command), "edid-decode --check %s 2>&1", path);
    out = popen(command, "r");
    assert_non_null(out);
    length = fread(text, 1, room - 1, out);
    text[length] = '\0';
    if (pclose(out) != 0)
        fail_msg("%s", text);
    unlink(path);
}

static void assert_says(const char *text, const char *what)
{
    if (!strstr(text, what))
        fail_msg("no '%s' in:\n%s", what, text);
}

/* GPU-12: the preferred mode, its refresh, the size of the panel, and a name. */
static void edid_is_right(void **state)
{
    char text[16384];
    struct virtio_gpu_resp_edid edid = get_edid(2);

    (void)state;
    decode(&edid, text, sizeof(text));
    assert_says(text, "Display Product Name: 'Vireo'");
    assert_says(text, "DTD 1:  1920x1080   59.998");
    assert_says(text, "Maximum image size: 50 cm x 28 cm");
    assert_says(text, "1024x768    60.0");
    edid = get_edid(1);
    decode(&edid, text, sizeof(text));
    assert_says(text, "DTD 1:   320x200    7");
    display_resize(card.display, 0, 1366, 768, 345, 194);
    edid = get_edid(0);
    decode(&edid, text, sizeof(text));
    assert_says(text, "DTD 1:  1366x768    ");
    assert_says(text, "345 mm x 194 mm");
}

/* What does not fit into a detailed timing is in an extension. */
static void edid_of_large_screens(void **state)
{
    static const struct {
        uint32_t width, height;
        const char *mode;
    } large[] = {
        {5120, 2880, " 5120x2880 "}, {7680, 4320, " 7680x4320 "}, {16384, 16384, "16384x16384"}};
    char text[16384];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(large); i++) {
        struct virtio_gpu_resp_edid edid;

        display_resize(card.display, 0, large[i].width, large[i].height, 0, 0);
        edid = get_edid(0);
        assert_int_equal(edid.size, 256);
        decode(&edid, text, sizeof(text));
        assert_says(text, large[i].mode);
    }
}

/* Every size has an EDID without mistakes. */
static void edid_of_any_size(void **state)
{
    char text[16384];

    (void)state;
    for (uint32_t size = 1; size < 4096; size += 1 + size / 2) {
        struct virtio_gpu_resp_edid edid;

        display_resize(card.display, 0, size, 4096 - size, 0, 0);
        edid = get_edid(0);
        decode(&edid, text, sizeof(text));
    }
}

static void edid_of_nothing(void **state)
{
    const struct virtio_gpu_cmd_get_edid request = {.hdr.type = VIRTIO_GPU_CMD_GET_EDID,
                                                    .scanout = 3};
    struct virtio_gpu_resp_edid edid;

    (void)state;
    assert_int_equal(gpu_card_ask(&card, 0, &request, sizeof(request), &edid, sizeof(edid), NULL),
                     BAD_SCANOUT);
}

static void assert_refused(char *bad_outputs, const char *text)
{
    struct gpu_card refused = {.options.outputs = bad_outputs};
    struct error err = ERROR_INIT;

    assert_int_equal(gpu_card_create(&refused, &err), -EINVAL);
    assert_non_null(strstr(err.text, text));
}

/* Options that cannot be. */
static void bad_options(void **state)
{
    static const char *const bad[] = {"",         "640",         "640x480@",      "640x480@0",
                                      "0x0",      "640x480@501", "16385x480",     "+640x480",
                                      "640x480+", "640x480,",    "640x480@60@60", "-1x-1"};
    char text[100], many[16 * 4 + 4] = "1x1";
    struct gpu_card refused = {.options = {.outputs = outputs, .venus = true}};
    struct error err = ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        snprintf(text, sizeof(text), "%s", bad[i]);
        assert_refused(text, "outputs: ");
    }
    for (int i = 1; i < 17; i++)
        strcat(many, "+1x1");
    assert_refused(many, "outputs: at most 16");
    assert_int_equal(gpu_card_create(&refused, &err), -EINVAL);
    assert_non_null(strstr(err.text, "needs virgl=on"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GPU_TEST(initial_sizes),         GPU_TEST(resized),
        GPU_TEST(bad_commands),          GPU_TEST(edid_is_right),
        GPU_TEST(edid_of_large_screens), GPU_TEST(edid_of_any_size),
        GPU_TEST(edid_of_nothing),       cmocka_unit_test(bad_options),
    };

    build_directory();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
