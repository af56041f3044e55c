/*
 * `vireo control`: the other end of the control socket.
 */
#include "base/bytes.h"
#include "base/unix_socket.h"
#include "vmm/control.h"
#include "vmm/exit_status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The words as one line; false when it is too long, or would be two. */
static bool join(char *line, size_t size, int count, char **words)
{
    size_t length = 0;

    for (int i = 0; i < count; i++) {
        int written =
            snprintf(line + length, size - length, "%s%s", words[i], i + 1 < count ? " " : "\n");

        if (written < 0 || (size_t)written >= size - length || strchr(words[i], '\n'))
            return false;
        length += (size_t)written;
    }
    return true;
}

/* As a stream that waits for what is read; NULL: the reason is in *err. */
static FILE *connect_to(const char *path, struct error *err)
{
    int fd = unix_socket_connect(path, err);
    FILE *socket;

    if (fd < 0)
        return NULL;
    socket = fcntl(fd, F_SETFL, O_RDWR) < 0 ? NULL : fdopen(fd, "r");
    if (!socket) {
        error_errno(err, errno, "cannot use the socket '%s'", path);
        close(fd);
    }
    return socket;
}

/* Print the answer's lines; the exit status is in the last one. */
static int print_answer(FILE *socket)
{
    char line[2048];

    while (fgets(line, sizeof(line), socket)) {
        if (line[0] == ' ') {
            fputs(line + 1, stdout);
        } else if (strcmp(line, "ok\n") == 0) {
            return EXIT_POWEROFF;
        } else if (strncmp(line, "error: ", 7) == 0) {
            fprintf(stderr, "vireo: %s", line + 7);
            return EXIT_USAGE;
        }
    }
    fprintf(stderr, "vireo: the machine ended before it answered\n");
    return EXIT_HOST_FAILURE;
}

int control_main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    char line[1024];
    FILE *socket;
    int status;

    if (argc < 2) {
        fprintf(stderr, "vireo: 'vireo control PATH COMMAND'; see 'vireo help control'\n");
        return EXIT_USAGE;
    }
    if (!join(line, sizeof(line), argc - 1, argv + 1)) {
        fprintf(stderr, "vireo: the command must be one line of less than %zu characters\n",
                sizeof(line));
        return EXIT_USAGE;
    }
    socket = connect_to(argv[0], &err);
    if (!socket) {
        fprintf(stderr, "vireo: %s\n", err.text);
        return EXIT_USAGE;
    }
    if (send(fileno(socket), line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line)) {
        fprintf(stderr, "vireo: the machine at '%s' does not listen\n", argv[0]);
        status = EXIT_HOST_FAILURE;
    } else {
        status = print_answer(socket);
    }
    fclose(socket);
    return status;
}
