/*
 * An X server without a screen (Xvfb), commands on it, and photographs of its windows.
 */
#ifndef TESTS_UNIT_X_SERVER_H
#define TESTS_UNIT_X_SERVER_H

#include <X11/Xlib.h>
#include <X11/Xutil.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t x_server_pid;

/* Start it and set DISPLAY; 0 or -1. */
static inline int x_server_start(void)
{
    char number[16] = "", name[20];
    int pipes[2];

    if (pipe(pipes))
        return -1;
    x_server_pid = fork();
    if (x_server_pid == 0) {
        snprintf(number, sizeof(number), "%d", pipes[1]);
        execlp("Xvfb", "Xvfb", "-displayfd", number, "-screen", "0", "1280x1024x24", "-nolisten",
               "tcp", "-noreset", (char *)NULL);
        _exit(1);
    }
    close(pipes[1]);
    /* "99\n" once it is ready, which may come in pieces. */
    for (size_t length = 0; !strchr(number, '\n') && length + 1 < sizeof(number);) {
        ssize_t got = read(pipes[0], number + length, sizeof(number) - 1 - length);

        if (got <= 0)
            break;
        length += (size_t)got;
    }
    close(pipes[0]);
    snprintf(name, sizeof(name), ":%d", atoi(number));
    return x_server_pid > 0 && strchr(number, '\n') ? setenv("DISPLAY", name, 1) : -1;
}

static inline void x_server_stop(void)
{
    kill(x_server_pid, SIGTERM);
    waitpid(x_server_pid, NULL, 0);
}

/* Run a command and return the first line that it prints, "" for nothing. */
static inline const char *x_command(const char *command)
{
    static char line[256];
    FILE *out = popen(command, "re");

    line[0] = '\0';
    if (out && fgets(line, sizeof(line), out))
        line[strcspn(line, "\n")] = '\0';
    if (out)
        pclose(out);
    return line;
}

/* Red, green, blue of all pixels of a window; the caller frees it. NULL: it is not of this size. */
static inline uint8_t *x_photograph(const char *window, unsigned width, unsigned height)
{
    Display *display = XOpenDisplay(NULL);
    Window id = strtoul(window, NULL, 10);
    XWindowAttributes is = {0};
    XImage *image = NULL;
    uint8_t *rgb = NULL;

    if (display && id && XGetWindowAttributes(display, id, &is) && is.width == (int)width &&
        is.height == (int)height)
        image = XGetImage(display, id, 0, 0, width, height, AllPlanes, ZPixmap);
    if (image)
        rgb = malloc(3 * (size_t)width * height);
    for (size_t i = 0; rgb && i < (size_t)width * height; i++) {
        unsigned long pixel = XGetPixel(image, (int)(i % width), (int)(i / width));

        for (int c = 0; c < 3; c++)
            rgb[3 * i + (size_t)c] = (uint8_t)(pixel >> (16 - 8 * c));
    }
    if (image)
        XDestroyImage(image);
    if (display)
        XCloseDisplay(display);
    return rgb;
}

#endif
