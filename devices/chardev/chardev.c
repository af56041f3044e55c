#include "devices/chardev/chardev.h"

#include "base/bytes.h"
#include "devices/chardev/internal.h"

#include <errno.h>
#include <stdlib.h>

static const struct {
    const char *name;
    const char *argument; /* what has to follow a colon; NULL: nothing */
    bool makes_files;     /* opening it changes the file system, or somebody else sees it */
    int (*open)(const char *where, struct chardev **out, struct error *err);
} kinds[] = {
    {"stdio", NULL, false, chardev_open_stdio}, {"null", NULL, false, chardev_open_null},
    {"file", "PATH", true, chardev_open_file},  {"pty", NULL, false, chardev_open_pty},
    {"unix", "PATH", true, chardev_open_unix},  {"fd", "N", false, chardev_open_fd},
};

static bool dry_run;
static void (*quit_handler)(void *opaque);
static void *quit_opaque;

/* The row for `where`, and its argument (behind the colon); -1 when it names no place. */
static int find_kind(const char *where, const char **argument, struct error *err)
{
    size_t length = strcspn(where, ":,");
    int found = -1;

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (strlen(kinds[i].name) == length && strncmp(where, kinds[i].name, length) == 0)
            found = (int)i;
    *argument = where + length;
    if (found < 0)
        error_set(
            err, EINVAL,
            "'%s' is not a place for characters (stdio, null, file:PATH, pty, unix:PATH, fd:N)",
            where);
    else if (!kinds[found].argument && **argument)
        error_set(err, EINVAL, "'%s': '%s' takes nothing behind it", where, kinds[found].name);
    else if (kinds[found].argument && ((*argument)[0] != ':' || !(*argument)[1]))
        error_set(err, EINVAL, "'%s' is incomplete: %s:%s", where, kinds[found].name,
                  kinds[found].argument);
    else
        return found;
    return -1;
}

int chardev_check(const char *where, struct error *err)
{
    const char *argument;
    return find_kind(where, &argument, err) < 0 ? -EINVAL : 0;
}

static int open_kind(const char *where, struct chardev **out, struct error *err)
{
    const char *argument;
    int kind = find_kind(where, &argument, err);

    if (kind < 0)
        return -EINVAL;
    if (dry_run && kinds[kind].makes_files)
        return chardev_open_null("", out, err);
    return kinds[kind].open(*argument ? argument + 1 : "", out, err);
}

int chardev_open(const char *where, struct loop *loop, struct chardev **out, struct error *err)
{
    struct chardev *chardev;
    int ret = open_kind(where, &chardev, err);

    if (ret)
        return ret;
    chardev->loop = loop;
    chardev->name = "the serial port";
    chardev_input_init(chardev);
    chardev_output_init(chardev);
    *out = chardev;
    return 0;
}

void chardev_set_dry_run(bool dry)
{
    dry_run = dry;
}

void chardev_set_quit(void (*quit)(void *opaque), void *opaque)
{
    quit_handler = quit;
    quit_opaque = opaque;
}

void chardev_quit(void)
{
    if (quit_handler)
        quit_handler(quit_opaque);
}

void chardev_set_break(struct chardev *chardev, void (*send_break)(void *opaque), void *opaque)
{
    chardev->send_break = send_break;
    chardev->break_opaque = opaque;
}

void chardev_set_name(struct chardev *chardev, const char *name)
{
    chardev->name = name;
}

int chardev_start(struct chardev *chardev, struct error *err)
{
    int ret = chardev->kind->start ? chardev->kind->start(chardev, err) : 0;

    if (!ret && !chardev->kind->comes_and_goes)
        chardev_set_open(chardev, true);
    return ret;
}

void chardev_set_open(struct chardev *chardev, bool open)
{
    if (chardev->open == open)
        return;
    chardev->open = open;
    if (chardev->client.opened)
        chardev->client.opened(chardev->client.opaque, open);
}

bool chardev_is_open(const struct chardev *chardev)
{
    return chardev->open;
}

bool chardev_size(struct chardev *chardev, uint16_t *columns, uint16_t *rows)
{
    return chardev->kind->size && chardev->kind->size(chardev, columns, rows);
}

struct client_change {
    struct chardev *chardev;
    const struct chardev_client *client;
};

static void change_client(void *arg)
{
    struct client_change *change = arg;
    struct chardev *chardev = change->chardev;

    chardev->client = change->client ? *change->client : (struct chardev_client){0};
    chardev_input_resume(chardev);
}

void chardev_set_client(struct chardev *chardev, const struct chardev_client *client)
{
    struct client_change change = {chardev, client};
    loop_call(chardev->loop, change_client, &change);
}

const char *chardev_path(const struct chardev *chardev)
{
    return chardev->path;
}

static void close_on_loop(void *arg)
{
    struct chardev *chardev = arg;

    chardev_input_clear(chardev);
    chardev_output_clear(chardev);
    loop_task_cancel(chardev->loop, &chardev->resume_task);
    loop_task_cancel(chardev->loop, &chardev->out_task);
    if (chardev->kind->close)
        chardev->kind->close(chardev);
}

void chardev_close(struct chardev *chardev)
{
    if (!chardev)
        return;
    loop_call(chardev->loop, close_on_loop, chardev);
    pthread_mutex_destroy(&chardev->lock);
    free(chardev); /* every kind begins with it */
}
