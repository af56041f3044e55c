/*
 * `vireo control`: the other end of the control socket.
 */
#include "base/bytes.h"
#include "base/unix_socket.h"
#include "vmm/control.h"
#include "vmm/exit_status.h"

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
    int fd, status;

    if (argc < 2) {
        fprintf(stderr, "vireo: 'vireo control PATH COMMAND'; see 'vireo help control'\n");
        return EXIT_USAGE;
    }
    if (!join(line, sizeof(line), argc - 1, argv + 1)) {
        fprintf(stderr, "vireo: the command is no line of at most %zu characters\n", sizeof(line));
        return EXIT_USAGE;
    }
    fd = unix_socket_connect(argv[0], &err);
    if (fd < 0 || fcntl(fd, F_SETFL, O_RDWR) < 0 || !(socket = fdopen(fd, "r"))) {
        fprintf(stderr, "vireo: %s\n", err.text);
        return EXIT_USAGE;
    }
    if (send(fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line)) {
        fprintf(stderr, "vireo: the machine at %s does not listen\n", argv[0]);
        status = EXIT_HOST_FAILURE;
    } else {
        status = print_answer(socket);
    }
    fclose(socket);
    return status;
}
