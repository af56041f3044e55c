#include "vmm/device_program.h"

#include "base/bytes.h"
#include "base/unix_socket.h"
#include "transport/vhost_user_server.h"
#include "vmm/arguments.h"
#include "vmm/device_launch.h"
#include "vmm/device_program_describe.h"
#include "vmm/device_program_options.h"
#include "vmm/device_program_supervised.h"
#include "vmm/device_setup.h"
#include "vmm/discovery.h"
#include "vmm/exit_status.h"
#include "vmm/help.h"
#include "vmm/isolate.h"
#include "vmm/isolate_monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROGRAM_PREFIX "vhost-user-"

/* What the front end sees to itself, or we cannot do yet. */
static const unsigned not_ours[] = {VIRTIO_F_NOTIFICATION_DATA, VIRTIO_F_NOTIF_CONFIG_DATA,
                                    VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_SUSPEND};

struct program {
    struct program_place place;
    struct device_setup setup;
    struct option_list list;    /* what was said on the command line */
    struct guest_memory memory; /* the front end's */
    struct loop *loop;
    struct display *display; /* NULL: its type has nothing to do with one */
    struct virtio_backend *backend;
    struct vhost_user_server *server;
    struct loop_fd signals;
    struct supervised supervised;
    struct isolate isolate;
};

/* --- serving ---------------------------------------------------------------------------------- */

static int open_socket(struct program *program, bool *listening, struct error *err)
{
    const struct program_place *place = &program->place;
    uint64_t fd;
    int ret;

    *listening = place->socket_path;
    if (place->socket_path)
        return unix_socket_listen(place->socket_path, err);
    ret = option_parse_uint("--fd", place->fd, 0, INT32_MAX, &fd, err);
    if (ret)
        return ret;
    ret = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
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

/* The front end shows what the device does: it is a viewer like any other. */
static int show(void *opaque, int socket, struct error *err)
{
    struct program *program = opaque;

    return program->setup.model->attach_front_end(program->display, socket, err);
}

static int open_server(struct program *program, struct error *err)
{
    struct vhost_user_server_config config = {
        .backend = program->backend,
        .id = program->setup.model->id,
        .memory = &program->memory,
        .queue_count = device_setup_queue_count(&program->setup, 1),
        .loop = program->loop,
        .name = program->setup.common.id,
        .ended = stop,
        .show = program->setup.model->attach_front_end ? show : NULL,
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

/* --- beginning in earnest --------------------------------------------------------------------- */

/* What must not happen when only options are checked, and then nothing more of the host. */
static int program_start(void *opaque, struct error *err)
{
    struct program *program = opaque;
    struct virtio_backend *backend = program->backend;
    int ret = backend->ops->start ? backend->ops->start(backend, err) : 0;

    if (!ret && program->place.confine)
        ret = isolate_enter(&program->isolate, err);
    return ret;
}

static int program_command(void *opaque, const char *name, const char *argument, struct error *err)
{
    struct virtio_backend *backend = ((struct program *)opaque)->backend;

    return backend->ops->command(backend, name, argument, err);
}

/* A supervisor says when to start, and hears how all went. */
static int program_begin(struct program *program, struct error *err)
{
    struct supervised *supervised = &program->supervised;
    int ret;

    if (!program->place.supervisor)
        return program_start(program, err);
    supervised->start = program_start;
    supervised->command = program_command;
    supervised->ended = stop;
    supervised->opaque = program;
    ret = supervised_serve(supervised, program->loop, err);
    if (!ret)
        supervised_tell(supervised, 0, NULL);
    return ret;
}

/* What a model looks up in /sys whenever it is asked, it cannot in confinement. */
static void mask_lookups(struct device_setup *setup)
{
    const struct virtio_model *model = setup->model;

    for (size_t i = 0; i < model->feature_count; i++)
        if (strcmp(model->features[i].name, "lifetime") == 0)
            features_set(&setup->masked, model->features[i].bit, true);
}

/* By which name isolate/filter.h knows what it may do. */
static const char *confined_as(const struct device_setup *setup)
{
    const struct virtio_model *model = setup->model;

    return model->confined_as ? model->confined_as(setup->options) : model->name;
}

static int open_isolation(struct program *program, struct error *err)
{
    const struct program_place *place = &program->place;
    const char *type = program->setup.model->name;
    char name[16];
    int ret = 0;

    if (place->supervisor)
        ret = supervised_open(&program->supervised, place->supervisor, err);
    if (ret || !place->confine)
        return ret;
    mask_lookups(&program->setup);
    snprintf(name, sizeof(name), "vireo-%s", type); /* for ps: it may have been started by /proc */
    prctl(PR_SET_NAME, name);
    return isolate_prepare(&program->isolate, confined_as(&program->setup),
                           program->setup.common.id, err);
}

static int open_display(struct program *program, struct error *err)
{
    const struct device_setup *setup = &program->setup;
    const struct virtio_model *model = setup->model;
    int ret = model->display
                  ? display_create(program->loop, setup->common.id, &program->display, err)
                  : 0;

    device_setup_display(setup, program->display);
    return ret || !model->show_elsewhere ? ret : model->show_elsewhere(setup->options, err);
}

static int program_open(struct program *program, struct error *err)
{
    int ret = open_isolation(program, err);

    if (!ret)
        ret = loop_create(&program->loop, err);
    /* Signals first: threads that the device makes inherit the mask. */
    if (!ret)
        ret = take_signals(program, err);
    if (!ret)
        ret = open_display(program, err);
    if (!ret)
        ret = device_setup_builtin(&program->setup, &program->memory, program->loop, 1,
                                   &program->backend, err);
    if (!ret)
        ret = open_server(program, err);
    return ret ? ret : program_begin(program, err);
}

static void program_close(struct program *program)
{
    vhost_user_server_destroy(program->server);
    if (program->place.socket_path && program->server)
        unlink(program->place.socket_path);
    if (program->backend)
        program->backend->ops->destroy(program->backend);
    display_destroy(program->display);
    if (program->signals.fd >= 0)
        close(program->signals.fd);
    if (program->loop)
        loop_destroy(program->loop);
    isolate_release(&program->isolate);
}

/* A confined process ends at once: what libraries do at exit (a leak checker, for one) may be more
 * than it is allowed. */
static int serve(struct program *program, struct error *err)
{
    int ret;

    guest_memory_init(&program->memory);
    ret = program_open(program, err);
    if (!ret)
        loop_run(program->loop);
    program_close(program);
    if (!ret && program->place.confine)
        _exit(EXIT_POWEROFF);
    return ret ? EXIT_USAGE : EXIT_POWEROFF;
}

/* --- or serving in another process ------------------------------------------------------------ */

/* The same program with the same options, but for one. */
static int isolated_arguments(const struct program *program, char ***out, struct error *err)
{
    const struct option_list *list = &program->list;
    int ret = device_launch_begin(program->setup.model->name, out, err);

    for (size_t i = 0; i < list->count && !ret; i++)
        if (strcmp(list->values[i].key, "isolate") != 0 &&
            strcmp(list->values[i].key, "confine") != 0)
            ret = arguments_add(out, err, "--%s=%s", list->values[i].key, list->values[i].value);
    return ret;
}

static int serve_isolated(const struct program *program, struct error *err)
{
    char **arguments = NULL;
    int status = isolated_arguments(program, &arguments, err);

    if (!status)
        status =
            isolate_monitor(program->setup.common.id, arguments, program->place.socket_path, err);
    arguments_free(arguments);
    device_launch_remove_names(&program->setup);
    return status < 0 ? EXIT_HOST_FAILURE : status;
}

/* --- the program ------------------------------------------------------------------------------ */

static void complain(struct program *program, const struct error *err)
{
    if (program->supervised.fd.fd >= 0)
        supervised_tell(&program->supervised, -err->code, err);
    else if (err->code)
        fprintf(stderr, "vireo: %s\n", err->text);
}

static int run(int argc, char **argv)
{
    struct program program = {.signals.fd = -1, .supervised.fd.fd = -1};
    struct error err = ERROR_INIT;
    int status = EXIT_USAGE;

    if (!program_options_take(argc, argv, &program.place, &program.setup, &program.list, &err)) {
        status = program.place.isolate ? serve_isolated(&program, &err) : serve(&program, &err);
        device_setup_release(&program.setup);
        option_list_free(&program.list);
    }
    if (err.code)
        complain(&program, &err);
    if (program.supervised.fd.fd >= 0)
        close(program.supervised.fd.fd);
    option_release(program_options, program_option_count, &program.place);
    return status;
}

/* Without looking at the other arguments, as the conventions want it. */
static bool wants(const char *what, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], what) == 0)
            return true;
    return false;
}

int device_program_main(int argc, char **argv)
{
    if (argc < 1) {
        fprintf(stderr, "vireo: 'vireo device TYPE'; see 'vireo help programs'\n");
        return EXIT_USAGE;
    }
    if (strncmp(argv[0], "--", 2) == 0)
        return device_program_write_discovery(argc, argv);
    if (wants("--print-capabilities", argc, argv))
        return device_program_print_capabilities(argv[0]);
    if (wants("--help", argc, argv)) {
        device_program_print_help(stdout);
        fprintf(stdout, "\n");
        return help_print(stdout, argv[0]) ? EXIT_USAGE : EXIT_POWEROFF;
    }
    signal(SIGPIPE, SIG_IGN);
    /* Few threads allocate: one arena serves all. */
    mallopt(M_ARENA_MAX, 1);
    return run(argc, argv);
}

const char *device_program_type(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = strlen(PROGRAM_PREFIX);

    return strncmp(name, PROGRAM_PREFIX, length) == 0 ? name + length : NULL;
}

void device_program_print_help(FILE *out)
{
    fprintf(out, "vireo device TYPE --socket-path=PATH [KEY=VALUE[,KEY=VALUE]...]... serves a "
                 "device to any VMM\nthat speaks vhost-user. Keys are those of --device TYPE, "
                 "also written --KEY=VALUE, without those of its\nplace in a machine and its back "
                 "end, and:\n\n");
    option_print(out, program_options, program_option_count);
    fprintf(out, "\nBlock devices also take --blk-file=PATH and --read-only, input devices "
                 "--evdev-path=PATH and --no-grab,\nGPUs --render-node=PATH and --virgl. What "
                 "--isolate gives up: 'vireo help backends'.\n");
}
