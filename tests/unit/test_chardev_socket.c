/*
 * Character devices on Unix sockets: peers that come, go, and are slow.
 */
#include "tests/unit/chardev_fixture.h"
#include "tests/unit/this_process.h"

static struct sockaddr_un address_of(struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    strcpy(address.sun_path, f->path);
    return address;
}

static int peer_connect(struct fixture *f)
{
    struct sockaddr_un address = address_of(f);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Output reaches a peer only once it is accepted. */
static int peer_accepted(struct fixture *f)
{
    int fd = peer_connect(f);
    size_t len = input_len(f);

    assert_int_equal(send(fd, "+", 1, 0), 1);
    wait_input(f, len + 1);
    return fd;
}

static void test_socket(void **state)
{
    struct fixture *f = *state;
    int first, second;

    start(f, "unix:%s");
    assert_string_equal(chardev_path(f->chardev), f->path);
    assert_int_equal(write_text(f, "nobody"), 6);
    first = peer_accepted(f);
    assert_int_equal(write_text(f, "hello"), 5);
    assert_reads(first, "hello");
    assert_true(f->open);
    second = peer_connect(f); /* waits for its turn */
    assert_int_equal(send(second, "second", 6, 0), 6);
    assert_int_equal(send(first, "first", 5, 0), 5);
    assert_input(f, "+first");
    close(first);
    assert_input(f, "+firstsecond");
    assert_int_equal(get(f, &f->opened), 3); /* came, went, the next one came */
    write_text(f, "hello second");
    assert_reads(second, "hello second");
    close(second);
    stop(f);
    assert_int_equal(access(f->path, F_OK), -1);
}

/* A peer that says all it has to say, and then only listens. */
static void test_socket_half_closed(void **state)
{
    struct fixture *f = *state;
    int fd;

    start(f, "unix:%s");
    fd = peer_connect(f);
    assert_int_equal(send(fd, "question", 8, 0), 8);
    shutdown(fd, SHUT_WR);
    assert_input(f, "question");
    usleep(10000);
    write_text(f, "answer");
    assert_reads(fd, "answer");
    close(fd);
    close(peer_accepted(f)); /* the next one gets in */
}

static void nothing(void *arg)
{
    (void)arg;
}

/* Input does not tell that a peer came or went while the guest takes none; what is open does. */
static void wait_fds(struct fixture *f, unsigned least, unsigned most)
{
    for (int i = 0; i < 5000 && (count_fds() < least || count_fds() > most); i++)
        usleep(1000);
    assert_in_range(count_fds(), least, most);
    loop_call(f->loop, nothing, NULL); /* whatever it is at is done */
}

/* A peer leaves while the guest takes no input: that is noticed nevertheless, so what the guest
 * prints next is the next peer's. */
static void test_socket_left_unread(void **state)
{
    struct fixture *f = *state;
    unsigned idle;
    int fd;

    start(f, "unix:%s");
    idle = count_fds();
    fd = peer_accepted(f);
    write_text(f, "one");
    assert_reads(fd, "one");
    give_room(f, 1); /* taken by the "+" */
    for (int i = 0; i < 3; i++) {
        close(fd);
        wait_fds(f, 0, idle);
        fd = peer_connect(f);
        wait_fds(f, idle + 2, INT_MAX); /* our end, and the other once it is accepted */
        write_text(f, "two");
        assert_reads(fd, "two");
    }
    close(fd);
    assert_input(f, "+");
}

static void test_socket_stale_name(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un address = address_of(f);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct error err;

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(open_at(f, "unix:%s", &err), -EADDRINUSE); /* somebody lives there */
    close(fd);
    start(f, "unix:%s");
    close(peer_accepted(f));
    stop(f);
    fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600); /* not a socket: not ours to remove */
    close(fd);
    assert_int_equal(open_at(f, "unix:%s", &err), -EADDRINUSE);
    assert_int_equal(access(f->path, F_OK), 0);
}

static void test_socket_client(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un address = address_of(f);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;

    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    start(f, "unix:%s,server=off");
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    write_text(f, "hello");
    assert_reads(fd, "hello");
    assert_int_equal(send(fd, "there", 5, 0), 5);
    assert_input(f, "there");
    close(fd);
    close(listener);
    for (int i = 0; i < 3; i++)
        assert_int_equal(write_text(f, "gone"), 4);
    stop(f);
    assert_int_equal(access(f->path, F_OK), 0); /* not ours */
}

static void test_socket_slow_reader(void **state)
{
    struct fixture *f = *state;
    size_t total;
    int fd;

    start(f, "unix:%s");
    fd = peer_accepted(f);
    total = fill(f);
    usleep(10000);
    assert_int_equal(get(f, &f->writable), 0);
    drain(fd, total);
    wait_count(f, &f->writable, 1);
    write_text(f, "after");
    assert_reads(fd, "after");
    fill(f);
    close(fd); /* with all of it unread */
    wait_count(f, &f->writable, 2);
    assert_int_equal(write_text(f, "gone"), 4);
}

struct waiting {
    struct fixture *f;
    size_t done;
};

static void wait_call(void *arg)
{
    struct waiting *w = arg;
    w->done = chardev_write_wait(w->f->chardev, (const uint8_t *)"last words", 10, 20);
}

static void test_write_wait(void **state)
{
    struct fixture *f = *state;
    struct waiting w = {.f = f};
    size_t total;
    int fd;

    start(f, "unix:%s");
    fd = peer_accepted(f);
    total = fill(f);
    loop_call(f->loop, wait_call, &w);
    assert_int_equal(w.done, 0); /* patience is at an end */
    drain(fd, total);
    loop_call(f->loop, wait_call, &w);
    assert_int_equal(w.done, 10);
    assert_reads(fd, "last words");
    close(fd);
}

/* A client without room leaves input, and the end behind it, with the host. */
static void test_input_flow_control(void **state)
{
    struct fixture *f = *state;
    int fd;

    f->room = 3;
    start(f, "unix:%s");
    fd = peer_connect(f);
    assert_int_equal(send(fd, "onetwothree", 11, 0), 11);
    close(fd);
    wait_input(f, 3);
    usleep(10000);
    give_room(f, 6);
    wait_input(f, 6);
    give_room(f, 100);
    assert_input(f, "onetwothree");
    fd = peer_connect(f);
    assert_int_equal(send(fd, "!", 1, 0), 1);
    assert_input(f, "onetwothree!");
    close(fd);
}

/* A client that comes and goes while input does. */
static void test_client_change(void **state)
{
    struct fixture *f = *state;
    const struct chardev_client client = client_of(f);
    int fd;

    start(f, "unix:%s");
    fd = peer_accepted(f);
    for (int i = 0; i < 100; i++) {
        chardev_set_client(f->chardev, NULL);
        assert_int_equal(send(fd, "x", 1, 0), 1);
        write_text(f, "y");
        chardev_set_client(f->chardev, &client);
    }
    wait_input(f, 101);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_socket),
        TEST(test_socket_half_closed),
        TEST(test_socket_left_unread),
        TEST(test_socket_stale_name),
        TEST(test_socket_client),
        TEST(test_socket_slow_reader),
        TEST(test_write_wait),
        TEST(test_input_flow_control),
        TEST(test_client_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
