#include "devices/chardev/chardev.h"

#include "base/bytes.h"
#include "devices/chardev/internal.h"

#include <errno.h>
#include <stdlib.h>

static const struct {
    const char *name;
    bool has_argument;
    int (*open)(const char *where, struct chardev **out, struct error *err);
} kinds[] = {
    {"stdio", false, chardev_open_stdio}, {"null", false, chardev_open_null},
    {"file", true, chardev_open_file},    {"pty", false, chardev_open_pty},
    {"unix", true, chardev_open_unix},
};

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
        error_set(err, EINVAL,
                  "'%s' is not a place for characters (stdio, null, file:PATH, pty, unix:PATH)",
                  where);
    else if (!kinds[found].has_argument && **argument)
        error_set(err, EINVAL, "'%s': '%s' takes nothing behind it", where, kinds[found].name);
    else if (kinds[found].has_argument && ((*argument)[0] != ':' || !(*argument)[1]))
        error_set(err, EINVAL, "'%s': '%s' wants a path, as in %s:PATH", where, kinds[found].name,
                  kinds[found].name);
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
    return kinds[kind].open(*argument ? argument + 1 : "", out, err);
}

int chardev_open(const char *where, struct loop *loop, struct chardev **out, struct error *err)
{
    struct chardev *chardev;
    int ret = open_kind(where, &chardev, err);

    if (ret)
        return ret;
    chardev->loop = loop;
    chardev_input_init(chardev);
    chardev_output_init(chardev);
    *out = chardev;
    return 0;
}

void chardev_set_command(struct chardev *chardev,
                         void (*command)(void *opaque, enum chardev_command command), void *opaque)
{
    chardev->command = command;
    chardev->command_opaque = opaque;
}

int chardev_start(struct chardev *chardev, struct error *err)
{
    return chardev->kind->start ? chardev->kind->start(chardev, err) : 0;
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
