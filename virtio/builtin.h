/*
 * The built-in back end: runs a device model of ours on an event loop of ours.
 *
 * A *model* (devices/...) is a const table. What it implements is small: its options, its
 * configuration bytes, and a handler for "there may be buffers in this queue". It runs on exactly
 * one loop; its code takes no lock for its own state.
 *
 *   builtin.c        creation, features, configuration, commands
 *   builtin_queue.c  queues, served by the model on its loop
 *   builtin_shared.c shared memory regions
 *   builtin_state.c  state, saved and loaded
 */
#ifndef VIRTIO_BUILTIN_H
#define VIRTIO_BUILTIN_H

#include "base/error.h"
#include "base/loop.h"
#include "base/option.h"
#include "virtio/backend.h"
#include "virtio/features.h"
#include "virtio/foreign.h"
#include "virtio/virtqueue.h"

struct virtio_builtin;
struct display; /* devices/display/display.h */

/* Something a user can ask of a running device. */
struct virtio_command {
    const char *name;
    const char *metavar; /* of its argument; NULL: it takes none */
    const char *help;    /* one line */

    /* On the loop. `argument` is "" when none was given. -EINVAL and others with the reason. */
    int (*run)(void *model, const char *argument, struct error *err);
};

/* What a driver has set in a device of this type besides features and rings: taken out of one and
 * put into another that has the same features. On the loop; no queue runs. */
struct virtio_model_state {
    size_t size; /* bytes, the same each time, at most VIRTIO_MODEL_STATE_MAX; 0: there is none */
    void (*save)(void *model, uint8_t *out);
    /* Copied already, but by whom is not known: -EINVAL and the reason for what cannot be. */
    int (*load)(void *model, const uint8_t *in, struct error *err);
};
#define VIRTIO_MODEL_STATE_MAX 16384 /* a pipe holds it */

#define VIRTIO_QUEUE_QUIET 1 /* what queue_ready may return */

struct virtio_model {
    const char *name; /* "blk": the TYPE of --device */
    uint16_t id;      /* enum virtio_device_id */
    const char *help; /* one line */

    const struct option_spec *options; /* fill a structure of options_size bytes */
    size_t option_count, options_size;
    const struct virtio_feature_name *features; /* the type's own bits, for NAME=on|off */
    size_t feature_count;

    uint16_t config_size; /* bytes of configuration that are asked of a process that serves it */

    uint16_t queues_default, queues_max; /* `queues=`; default 0: one for each vCPU */
    uint16_t queue_size_default;

    /* How many virtqueues `queues=` makes; NULL: as many. (A net device has two for each, and one
     * for control.) Where `foreign` describes the device, it says so instead. */
    uint16_t (*virtqueue_count)(const void *options, uint16_t queues);

    const struct virtio_command *commands;
    size_t command_count;

    /* What is needed when somebody else serves a device of this type, besides the above; NULL:
     * nothing. */
    const struct virtio_foreign_type *foreign;

    /* Where its options keep the display of the machine (or program) it is in, for types that show
     * something or are fed by who looks: set by whoever makes the device, once the options are
     * taken. NULL: the type has nothing to do with it. */
    struct display **(*display)(void *options);

    /* For types that a front end in another process shows. The first is told so before the device
     * is made; the second is handed each socket over which one does, on the display's loop, and
     * owns it, also after an error. NULL: front ends show nothing of the type. */
    int (*show_elsewhere)(void *options, struct error *err);
    int (*attach_front_end)(struct display *display, int socket, struct error *err);

    /* Where it is confined it is held to what is allowed under this name, by its options. NULL:
     * under `name`. */
    const char *(*confined_as)(const void *options);

    /* What it calls may not come back: where it is confined, its process is killed, and another one
     * takes its place, when it has been deaf for so long. 0: it may take its time. */
    unsigned hang_ms;

    /* The model's code is in the module vireo-NAME.so, which most machines need not load: its table
     * `vireo_module_NAME` is one of these, and has what follows from here on, and for each of
     * `commands`, in this order, `run`. All that is above is read here. NULL: it is here, too. */
    const char *module;

    /*
     * From here on NULL where there is no model: somebody else has to serve the type.
     *
     * Open host resources and return the model's state in *out. `options` was filled from the table
     * and outlives the model. Main thread, before the guest runs; everything that can be refused is
     * refused here.
     */
    int (*create)(struct virtio_builtin *b, const void *options, void **out, struct error *err);
    void (*destroy)(void *model);

    /* The same for a device whose data the host's kernel moves (virtio/vhost_kernel.h). NULL: the
     * kernel cannot. `create` may be NULL instead: nobody but the kernel can. */
    int (*create_vhost)(struct virtio_builtin *b, const void *options, void **out,
                        struct error *err);

    /* On the loop, once, before the guest runs: what must not happen when only options are checked
     * (a terminal made raw, a socket that listens). May be NULL. */
    int (*start)(void *model, struct error *err);

    void (*get_features)(void *model, struct virtio_features *out); /* type's bits offered */

    /* At FEATURES_OK, on the loop; may be NULL. */
    void (*set_features)(void *model, const struct virtio_features *negotiated);

    /* Under the device's lock, any vCPU thread: only data that is constant or atomic. */
    void (*config_read)(void *model, uint32_t offset, void *data, uint32_t len);
    void (*config_write)(void *model, uint32_t offset, const void *data,
                         uint32_t len); /* or NULL */

    /* On the loop: there are new buffers. Pop and work until pop yields no more, or the model
     * cannot take more now; it then pops the rest when it can. Kicks are disabled before and
     * enabled after it, pushes are published, and it is called again when buffers came in meanwhile
     * or pop only feigned an empty ring (so that other queues get their turn). A negative errno (as
     * from virtqueue_pop) breaks the device. VIRTIO_QUEUE_QUIET: kicks stay disabled, since the
     * model needs no buffers now; it calls virtqueue_enable_kicks or virtio_builtin_kick when it
     * does. */
    int (*queue_ready)(void *model, struct virtqueue *queue);

    /* On the loop: the driver wants an interrupt for what was just published. NULL: it gets it at
     * once; else the model sees to it, by virtio_builtin_notify now or later. */
    void (*queue_notify)(void *model, struct virtqueue *queue);

    /* On the loop: finish or abandon all that is in flight in the queue, then return; also of a
     * broken queue. May be NULL when the model completes everything within queue_ready. */
    void (*queue_drain)(void *model, struct virtqueue *queue);

    /* On the loop, when a queue of a device with a deputy starts: does that one serve it? */
    bool (*queue_lent)(void *model, uint16_t index);

    void (*reset)(void *model); /* on the loop, queues stopped; may be NULL */

    /* On the loop, queues stopped: see virtio_backend_ops. NULL: the model keeps no pointers into
     * guest memory but those of buffers. */
    void (*memory_changes)(void *model, bool done);

    const struct virtio_model_state *state; /* NULL: it cannot be saved (backend.saves) */
};

/* Whether there is a model of the type, here or in a module. */
bool virtio_model_exists(const struct virtio_model *model);

/*
 * Make a back end that runs `model` on `loop`. `options` as for create; borrowed. `queue_count`
 * queues of at most `queue_size` entries.
 *
 * Every call of the back end that changes something is carried out on the loop, by loop_call, while
 * the caller holds the device's control lock. So nothing that runs on the loop may take that lock,
 * which is to say: no handler, timer or task of this loop calls virtio_device_...(), and neither
 * does a model. The functions below are safe.
 */
int virtio_builtin_create(const struct virtio_model *model, const void *options,
                          const struct guest_memory *memory, struct loop *loop,
                          uint16_t queue_count, uint16_t queue_size, struct virtio_backend **out,
                          struct error *err);

/* The same with the model's create_vhost. */
int virtio_builtin_create_vhost(const struct virtio_model *model, const void *options,
                                const struct guest_memory *memory, struct loop *loop,
                                uint16_t queue_count, uint16_t queue_size,
                                struct virtio_backend **out, struct error *err);

/*
 * For models that leave the rings of some queues to somebody else: a deputy, which is a back end of
 * queues alone. In create; the device owns it from then on and destroys it after the model. Of the
 * features of rings, the deputy's are offered, and what was negotiated is told to the model first,
 * then to the deputy. Its operations are called on the loop: queue_start and queue_stop for queues
 * that are lent, set_features, reset, features and dirty_log. So a model that has one may use it
 * without locks.
 */
void virtio_builtin_set_deputy(struct virtio_builtin *b, struct virtio_backend *deputy);

/* For models. */
struct loop *virtio_builtin_loop(struct virtio_builtin *b);
const struct guest_memory *virtio_builtin_memory(const struct virtio_builtin *b);
const char *virtio_builtin_name(const struct virtio_builtin *b); /* the user's id=, for logs */
uint16_t virtio_builtin_queue_count(const struct virtio_builtin *b);
uint16_t
virtio_builtin_queue_size(const struct virtio_builtin *b); /* largest; a driver may choose less */

/*
 * In create: the device has a shared memory region (2.10) of this id and of `length` bytes, a
 * multiple of 4096, whose parts are mapped and unmapped while it runs. -EINVAL for another length,
 * -ENOSPC for more than VIRTIO_BUILTIN_SHARED regions.
 */
#define VIRTIO_BUILTIN_SHARED 4
int virtio_builtin_add_shared(struct virtio_builtin *b, uint8_t id, uint64_t length,
                              struct error *err);

/* See virtio_device_events; -ENOTSUP where the driver cannot be shown memory. The model owns what
 * is mapped and unmaps it before it goes. All is unmapped before the model's reset and destroy. On
 * the loop. */
int virtio_builtin_shared_map(struct virtio_builtin *b, const struct virtio_shared_mapping *mapping,
                              struct error *err);
void virtio_builtin_shared_unmap(struct virtio_builtin *b, uint8_t id, uint64_t offset,
                                 uint64_t length);

/* Configuration bytes differ from before: call it after the change. Any thread. */
void virtio_builtin_config_changed(struct virtio_builtin *b);

/* The queue of this index while it runs and is ours, else NULL. On the loop. */
struct virtqueue *virtio_builtin_queue(struct virtio_builtin *b, uint16_t index);

/* Whether the queue of this index runs, be it lent or not. On the loop. */
bool virtio_builtin_queue_runs(const struct virtio_builtin *b, uint16_t index);

/* Interrupt the driver for a queue; see queue_notify. On the loop. */
void virtio_builtin_notify(struct virtio_builtin *b, struct virtqueue *queue);

/* Have queue_ready called soon, as if the driver had notified. On the loop. */
void virtio_builtin_kick(struct virtio_builtin *b, struct virtqueue *queue);

/* The device cannot go on with this queue: pop failed outside of queue_ready, or the model found a
 * reason of its own. The driver is told once (2.1.2). On the loop. */
void virtio_builtin_broken(struct virtio_builtin *b, struct virtqueue *queue);

#endif
