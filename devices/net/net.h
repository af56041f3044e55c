/*
 * virtio-net: a network card whose frames a host side carries (specification 5.1).
 *
 *   host.h        where frames go to and come from (implemented beside: tap, user, ...)
 *   protocol.h    numbers and layouts of the specification
 *   options.h     the keys of --net
 *
 *   net.c         the model: queues, configuration, commands of the user
 *   features.c    the feature bits, and what follows from them
 *   rx.c, tx.c    the data path
 *   header.c      the header of a frame: checked, and translated between guest and host
 *   filter.c      which frames the guest wants: receive modes, MAC addresses, VLANs
 *   steering.c    hashes of frames, hash report and receive-side scaling
 *   control.c     the control queue
 *   coalesce.c    when the driver is interrupted
 *   stats.c       what the driver can ask about its queues
 *   vhost.h       frames moved by the host's kernel in our place (backend=vhost)
 *   foreign.c     cards that another process serves
 *
 * Frames do not pass through the program where that can be avoided: the host side reads and writes
 * guest memory. All of a device is served on one loop.
 */
#ifndef DEVICES_NET_NET_H
#define DEVICES_NET_NET_H

#include "virtio/builtin.h"

extern const struct virtio_model net_model;

#endif
