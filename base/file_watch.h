/*
 * Whether files of somebody else's are changed, as a loop hears of it (inotify).
 *
 * For mappings of them which the kernel looks at in our stead: a vCPU that finds the end of a file
 * gone waits for it in KVM, perhaps for ever, and no access of ours notices (base/memory_guard.h).
 * Files that are sealed against shrinking need no watch. All on the loop.
 */
#ifndef BASE_FILE_WATCH_H
#define BASE_FILE_WATCH_H

#include "base/error.h"
#include "base/loop.h"

#include <stdint.h>

struct file_watch {
    struct loop_fd inotify; /* .fd -1: closed */
    void (*changed)(struct file_watch *watch);
};

/* `changed` is called when one of the files was written to or made shorter. The host's reason. */
int file_watch_open(struct loop *loop, struct file_watch *watch,
                    void (*changed)(struct file_watch *watch), struct error *err);
void file_watch_close(struct loop *loop, struct file_watch *watch);

/* Watch a file, which stays open or mapped: returns what names it, the same for the same file, or 0
 * when it cannot shrink. -errno: the host has no room for more, or no /proc. */
int file_watch_add(struct file_watch *watch, int fd, struct error *err);
void file_watch_remove(struct file_watch *watch, int name);

#endif
