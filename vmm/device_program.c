#include "vmm/device_program.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "transport/vhost_user_server.h"
#include "vmm/device_setup.h"
#include "vmm/exit_status.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the front end sees to itself, or we cannot do yet. */
static const unsigned not_ours[] = {VIRTIO_F_NOTIFICATION_DATA, VIRTIO_F_NOTIF_CONFIG_DATA,
                                    VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_SUSPEND};

/* The keys of a program's place. */
struct program_place {
    char *socket_path;
    char *fd;
    bool print_capabilities;
};

static const struct option_spec program_options[] = {
    {.key = "socket-path",
     .type = OPTION_STRING,
     .offset = offsetof(struct program_place, socket_path),
     .metavar = "PATH",
     .help = "listen on this Unix socket, for one front end after the other"},
    {.key = "fd",
     .type = OPTION_STRING,
     .offset = offsetof(struct program_place, fd),
     .metavar = "N",
     .help = "an inherited socket that is connected; ends with the connection"},
    {.key = "print-capabilities",
     .type = OPTION_BOOL,
     .offset = offsetof(struct program_place, print_capabilities),
     .help = "print what this program is, as JSON, and end"},
};

struct program {
    struct program_place place;
    struct device_setup setup;
    struct guest_memory memory; /* the front end's */
    struct loop *loop;
    struct virtio_backend *backend;
    struct vhost_user_server *server;
    struct loop_fd signals;
};

/* --- arguments -------------------------------------------------------------------------------- */

/* Other programs' names for keys of ours. */
static const struct alias {
    const char *type, *name, *key;
} aliases[] = {
    {"blk", "blk-file", "path"},
    {"blk", "read-only", "readonly"},
};

static const char *own_name(const char *type, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
        if (strcmp(aliases[i].type, type) == 0 && strcmp(aliases[i].name, name) == 0)
            return aliases[i].key;
    return name;
}

/* --NAME=VALUE, --NAME: one key, in which a comma is just that. */
static int take_dashed(struct option_list *list, const char *type, const char *argument,
                       struct error *err)
{
    char *name = strdup(argument + 2), *value;
    int ret;

    if (!name)
        return error_set(err, ENOMEM, "no memory for options");
    value = strchr(name, '=');
    if (value)
        *value++ = '\0';
    ret = option_list_add(list, own_name(type, name), value ? value : "on", err);
    free(name);
    return ret;
}

/* KEY=VALUE,KEY=VALUE: as behind --device. */
static int take_list(struct option_list *list, const char *argument, struct error *err)
{
    struct option_list more = {0};
    int ret = option_list_parse(&more, list->origin, argument, NULL, err);

    for (size_t i = 0; i < more.count && !ret; i++)
        ret = option_list_add(list, more.values[i].key, more.values[i].value, err);
    option_list_free(&more);
    return ret;
}

static int take_arguments(struct program *program, int argc, char **argv, struct error *err)
{
    const struct device_place place = {
        .options = program_options,
        .option_count = ARRAY_SIZE(program_options),
        .target = &program->place,
    };
    struct option_list list = {0};
    char origin[64];
    int ret;

    snprintf(origin, sizeof(origin), "device %s", argv[0]);
    ret = option_list_parse(&list, origin, "", NULL, err);
    for (int i = 1; i < argc && !ret; i++)
        ret = strncmp(argv[i], "--", 2) == 0 ? take_dashed(&list, argv[0], argv[i], err)
                                             : take_list(&list, argv[i], err);
    if (!ret)
        ret = device_setup_take(&program->setup, argv[0], &list, argv[0], &place, err);
    option_list_free(&list);
    return ret;
}

/* Without looking at the other arguments, as the conventions want it. */
static bool wants_capabilities(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--print-capabilities") == 0)
            return true;
    return false;
}

/* The types that the conventions name differently from us. */
static int print_capabilities(const char *type)
{
    const struct virtio_model *model = device_model_find(type);

    if (!model || !model->create) {
        fprintf(stderr, "vireo: no device type '%s'\n", type);
        return EXIT_USAGE;
    }
    printf("{\n  \"type\": \"%s\",\n  \"features\": [%s]\n}\n",
           strcmp(type, "blk") == 0 ? "block" : type,
           strcmp(type, "blk") == 0 ? "\"read-only\", \"blk-file\"" : "");
    return EXIT_POWEROFF;
}

/* --- serving ---------------------------------------------------------------------------------- */

static int open_socket(struct program *program, bool *listening, struct error *err)
{
    const struct program_place *place = &program->place;
    uint64_t fd;
    int ret;

    *listening = place->socket_path;
    if (!place->socket_path == !place->fd)
        return error_set(err, EINVAL, "either --socket-path or --fd must be given");
    if (place->socket_path)
        return unix_socket_listen(place->socket_path, err);
    ret = option_parse_uint("--fd", place->fd, 0, INT32_MAX, &fd, err);
    if (ret)
        return ret;
    ret = dup((int)fd);
    return ret < 0 ? error_errno(err, errno, "--fd %s", place->fd) : ret;
}

static void offer(struct program *program, struct virtio_features *out)
{
    const struct virtio_model *model = program->setup.model;

    program->backend->ops->features(program->backend, out);
    features_offer(out, model->features, model->feature_count, &program->setup.wanted,
                   &program->setup.masked);
    for (size_t i = 0; i < ARRAY_SIZE(not_ours); i++)
        features_set(out, not_ours[i], false);
}

static void stop(void *opaque)
{
    struct program *program = opaque;

    loop_stop(program->loop);
}

static void signal_ready(struct loop_fd *self, uint32_t events)
{
    (void)events;
    stop(container_of(self, struct program, signals));
}

static int take_signals(struct program *program, struct error *err)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    program->signals = (struct loop_fd){signalfd(-1, &set, SFD_CLOEXEC), EPOLLIN, signal_ready};
    if (program->signals.fd < 0)
        return error_errno(err, errno, "cannot take signals");
    return loop_fd_add(program->loop, &program->signals, err);
}

static int open_server(struct program *program, struct error *err)
{
    struct vhost_user_server_config config = {
        .backend = program->backend,
        .memory = &program->memory,
        .queue_count = device_setup_queue_count(&program->setup, 1),
        .loop = program->loop,
        .name = program->setup.common.id,
        .ended = stop,
        .opaque = program,
    };
    char origin[64];
    int ret;

    snprintf(origin, sizeof(origin), "device %s", program->setup.model->name);
    offer(program, &config.offered);
    ret = device_setup_check_wanted(&program->setup, &config.offered, origin, err);
    if (ret)
        return ret;
    config.socket = open_socket(program, &config.listening, err);
    if (config.socket < 0)
        return config.socket;
    return vhost_user_server_create(&config, &program->server, err);
}

static int program_open(struct program *program, struct error *err)
{
    int ret = loop_create(&program->loop, err);

    /* Signals first: threads that the device makes inherit the mask. */
    if (!ret)
        ret = take_signals(program, err);
    if (!ret)
        ret = device_setup_builtin(&program->setup, &program->memory, program->loop, 1,
                                   &program->backend, err);
    if (!ret)
        ret = open_server(program, err);
    if (!ret && program->backend->ops->start)
        ret = program->backend->ops->start(program->backend, err);
    return ret;
}

static void program_close(struct program *program)
{
    vhost_user_server_destroy(program->server);
    if (program->place.socket_path && program->server)
        unlink(program->place.socket_path);
    if (program->backend)
        program->backend->ops->destroy(program->backend);
    if (program->signals.fd >= 0)
        close(program->signals.fd);
    if (program->loop)
        loop_destroy(program->loop);
    device_setup_release(&program->setup);
    option_release(program_options, ARRAY_SIZE(program_options), &program->place);
}

int device_program_main(int argc, char **argv)
{
    struct program program = {.signals.fd = -1};
    struct error err = ERROR_INIT;
    int ret;

    if (argc < 1) {
        fprintf(stderr, "vireo: 'vireo device TYPE'; see 'vireo help programs'\n");
        return EXIT_USAGE;
    }
    if (wants_capabilities(argc, argv))
        return print_capabilities(argv[0]);
    signal(SIGPIPE, SIG_IGN);
    guest_memory_init(&program.memory);
    ret = take_arguments(&program, argc, argv, &err);
    if (!ret)
        ret = program_open(&program, &err);
    if (!ret)
        loop_run(program.loop);
    program_close(&program);
    if (!ret)
        return EXIT_POWEROFF;
    fprintf(stderr, "vireo: %s\n", err.text);
    return EXIT_USAGE;
}

void device_program_print_help(FILE *out)
{
    fprintf(out, "vireo device TYPE --socket-path=PATH [KEY=VALUE[,KEY=VALUE]...]... serves a "
                 "device to any VMM\nthat speaks vhost-user. Keys are those of --device TYPE, "
                 "also written --KEY=VALUE, without those of a\nmachine's slot, and:\n\n");
    option_print(out, program_options, ARRAY_SIZE(program_options));
    fprintf(out, "\nBlock devices also take --blk-file=PATH and --read-only.\n");
}
