/*
 * virtio-scsi (specification 5.6): a SCSI host whose targets the host's kernel serves (vhost-scsi
 * and LIO, set up by targetcli or in configfs below /sys/kernel/config/target/vhost).
 *
 * All logical units of the target port `wwpn` are in the guest. The kernel serves all queues; the
 * configuration is what it can do, and what a driver writes to it (sense_size, cdb_size) has no
 * effect, since the kernel has one size of each.
 *
 * The kernel knows one switch for all rings of a device, the endpoint. When a ring comes or goes it
 * is switched off, and soon, once for all that came meanwhile, on again.
 */
#ifndef DEVICES_SCSI_H
#define DEVICES_SCSI_H

#include "virtio/builtin.h"

struct scsi_options {
    char *wwpn; /* naa.... */
};

extern const struct virtio_model scsi_model;

#endif
