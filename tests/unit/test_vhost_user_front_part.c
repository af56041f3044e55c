/*
 * Devices of which the front end does a part itself: the socket that the peer is given
 * (GPU_SET_SOCKET), and bytes of the configuration.
 */
#include "tests/unit/vhost_user_fixture.h"

#include <errno.h>
#include <sys/socket.h>

#define OWN 8 /* bytes of the configuration, the first */

struct own_part {
    struct vhost_user_front_part part;
    int end; /* of the last socket, ours; -1: none */
    unsigned sockets, resets;
    uint8_t written;
};

static struct own_part *own_of(struct vhost_user_front_part *part)
{
    return container_of(part, struct own_part, part);
}

static int own_socket(struct vhost_user_front_part *part, struct error *err)
{
    struct own_part *self = own_of(part);
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set(err, ENOMEM, "no socket");
    if (self->end >= 0)
        close(self->end);
    self->end = pair[0];
    self->sockets++;
    return pair[1];
}

static void own_config_read(struct vhost_user_front_part *part, uint32_t offset, void *data,
                            uint32_t len)
{
    (void)part;
    if (offset < OWN)
        memset(data, 0x5a, MIN(len, OWN - offset));
}

static void own_config_write(struct vhost_user_front_part *part, uint32_t offset, const void *data,
                             uint32_t len)
{
    if (offset == 0 && len == 1)
        own_of(part)->written = *(const uint8_t *)data;
}

static int own_command(struct vhost_user_front_part *part, const char *name, const char *argument,
                       struct error *err)
{
    (void)part;
    return strcmp(name, "ours") == 0 ? error_set(err, EINVAL, "got %s", argument) : -ENOENT;
}

static void own_reset(struct vhost_user_front_part *part)
{
    own_of(part)->resets++;
}

static const struct vhost_user_front_part_ops own_ops = {
    .socket = own_socket,
    .config_read = own_config_read,
    .config_write = own_config_write,
    .command = own_command,
    .reset = own_reset,
};

static struct own_part own; /* the device is destroyed after the test */

static void add_own(struct front *f)
{
    own = (struct own_part){.part.ops = &own_ops, .end = -1};
    f->options.id = VIRTIO_ID_GPU;
    f->options.front_part = &own.part;
}

/* Once a connection, with one descriptor: the other end of ours. */
static void test_gives_the_peer_a_socket(void **state)
{
    struct front *f = *state;
    struct vhost_user_message told;
    char byte = 'x';

    add_own(f);
    front_connect(f);
    assert_int_equal(own.sockets, 1);
    assert_ptr_equal(own.part.backend, f->dev.backend);
    front_drive(f);
    assert_int_equal(vhost_peer_count(&f->peer, VHOST_USER_GPU_SET_SOCKET), 1);
    told = vhost_peer_told(&f->peer, VHOST_USER_GPU_SET_SOCKET);
    assert_int_equal(told.fd_count, 1);
    assert_int_equal(write(told.fds[0], &byte, 1), 1);
    byte = 0;
    assert_int_equal(read(own.end, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    close(own.end);
}

/* Who does not take it does not serve such a device. */
static void test_peer_refuses_the_socket(void **state)
{
    struct front *f = *state;
    struct error err = ERROR_INIT;

    add_own(f);
    vhost_peer_do_wrong(&f->peer, VHOST_USER_GPU_SET_SOCKET, PEER_REFUSES);
    assert_true(front_try(f, &err) < 0);
    assert_non_null(strstr(err.text, "GPU_SET_SOCKET"));
    close(own.end);
}

static void test_configuration_is_of_both(void **state)
{
    struct front *f = *state;
    struct virtio_backend *backend;
    uint8_t config[OWN + 4], byte = 7;

    add_own(f);
    memset(f->peer.config, 0x11, sizeof(f->peer.config));
    front_connect(f);
    backend = f->dev.backend;
    backend->ops->config_read(backend, 0, config, sizeof(config));
    for (unsigned i = 0; i < sizeof(config); i++)
        assert_int_equal(config[i], i < OWN ? 0x5a : 0x11);
    backend->ops->config_write(backend, 0, &byte, 1);
    assert_int_equal(own.written, 7);
    assert_int_equal(vhost_peer_count(&f->peer, VHOST_USER_SET_CONFIG), 1);
    front_drive(f);
    virtio_device_set_status(&f->dev, 0);
    assert_true(own.resets >= 1);
    assert_int_equal(own.sockets, 1);
    close(own.end);
}

/* What is not for our part, a peer that is none of our processes cannot be told. */
static void test_commands(void **state)
{
    struct front *f = *state;
    struct virtio_backend *backend;
    struct error err = ERROR_INIT;

    add_own(f);
    front_connect(f);
    backend = f->dev.backend;
    assert_int_equal(backend->ops->command(backend, "ours", "this", &err), -EINVAL);
    assert_string_equal(err.text, "got this");
    assert_int_equal(backend->ops->command(backend, "theirs", "", &err), -ENOENT);
    close(own.end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRONT_TEST(test_gives_the_peer_a_socket),
        FRONT_TEST(test_peer_refuses_the_socket),
        FRONT_TEST(test_configuration_is_of_both),
        FRONT_TEST(test_commands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
