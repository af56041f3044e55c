/*
 * virtio-net on the wire: numbers and layouts of specification 5.1, little-endian throughout.
 *
 * (A legacy driver uses the guest's own byte order, which is the same on the machines we run.)
 */
#ifndef DEVICES_NET_PROTOCOL_H
#define DEVICES_NET_PROTOCOL_H

/*
 * 5.1.3 Feature bits.
 *
 * Not offered, and why: GSO (6, obsolete) and GUEST_RSC4/6 (41, 42) are no part of the
 * specification proper; HASH_TUNNEL (51), the tunnel GSO bits (65-68), OUT_NET_HEADER (69): no host
 * side could make use of them; RSC_EXT (61): nothing here coalesces segments; STANDBY (62): there
 * is no primary device to stand by for; RSS_CONTEXT (64): only flow filters, which need an
 * administration queue, can pick a context (NETC-18, NETC-19); IPSEC (70) needs that queue, too.
 */
enum net_feature {
    NET_F_CSUM = 0,
    NET_F_GUEST_CSUM = 1,
    NET_F_CTRL_GUEST_OFFLOADS = 2,
    NET_F_MTU = 3,
    NET_F_MAC = 5,
    NET_F_GUEST_TSO4 = 7,
    NET_F_GUEST_TSO6 = 8,
    NET_F_GUEST_ECN = 9,
    NET_F_GUEST_UFO = 10,
    NET_F_HOST_TSO4 = 11,
    NET_F_HOST_TSO6 = 12,
    NET_F_HOST_ECN = 13,
    NET_F_HOST_UFO = 14,
    NET_F_MRG_RXBUF = 15,
    NET_F_STATUS = 16,
    NET_F_CTRL_VQ = 17,
    NET_F_CTRL_RX = 18,
    NET_F_CTRL_VLAN = 19,
    NET_F_CTRL_RX_EXTRA = 20,
    NET_F_GUEST_ANNOUNCE = 21,
    NET_F_MQ = 22,
    NET_F_CTRL_MAC_ADDR = 23,
    NET_F_DEVICE_STATS = 50,
    NET_F_VQ_NOTF_COAL = 52,
    NET_F_NOTF_COAL = 53,
    NET_F_GUEST_USO4 = 54,
    NET_F_GUEST_USO6 = 55,
    NET_F_HOST_USO = 56,
    NET_F_HASH_REPORT = 57,
    NET_F_GUEST_HDRLEN = 59,
    NET_F_RSS = 60,
    NET_F_SPEED_DUPLEX = 63,
};

/* 5.1.4 Device configuration layout: offsets */
enum net_config_offset {
    NET_CONFIG_MAC = 0,
    NET_CONFIG_STATUS = 6,
    NET_CONFIG_MAX_VIRTQUEUE_PAIRS = 8,
    NET_CONFIG_MTU = 10,
    NET_CONFIG_SPEED = 12,
    NET_CONFIG_DUPLEX = 16,
    NET_CONFIG_RSS_MAX_KEY_SIZE = 17,
    NET_CONFIG_RSS_MAX_INDIRECTION_TABLE_LENGTH = 18,
    NET_CONFIG_SUPPORTED_HASH_TYPES = 20,
    NET_CONFIG_SIZE = 24,
};

/* 5.1.4 status */
enum net_status { NET_S_LINK_UP = 1, NET_S_ANNOUNCE = 2 };

#define NET_SPEED_UNKNOWN  UINT32_MAX
#define NET_DUPLEX_HALF    0
#define NET_DUPLEX_FULL    1
#define NET_DUPLEX_UNKNOWN 0xff

/* 5.1.9 struct virtio_net_hdr: offsets, and sizes by what was negotiated */
enum net_header_offset {
    NET_HDR_FLAGS = 0,
    NET_HDR_GSO_TYPE = 1,
    NET_HDR_HDR_LEN = 2,
    NET_HDR_GSO_SIZE = 4,
    NET_HDR_CSUM_START = 6,
    NET_HDR_CSUM_OFFSET = 8,
    NET_HDR_NUM_BUFFERS = 10,
    NET_HDR_HASH_VALUE = 12,
    NET_HDR_HASH_REPORT = 16,
};
#define NET_HDR_SIZE_LEGACY 10 /* 5.1.9.1: no num_buffers */
#define NET_HDR_SIZE        12
#define NET_HDR_SIZE_HASH   20

enum net_header_flag {
    NET_HDR_F_NEEDS_CSUM = 1,
    NET_HDR_F_DATA_VALID = 2,
    NET_HDR_F_RSC_INFO = 4,
};

enum net_gso_type {
    NET_GSO_NONE = 0,
    NET_GSO_TCPV4 = 1,
    NET_GSO_UDP = 3,
    NET_GSO_TCPV6 = 4,
    NET_GSO_UDP_L4 = 5,
    NET_GSO_UDP_TUNNEL_IPV4 = 0x20,
    NET_GSO_UDP_TUNNEL_IPV6 = 0x40,
    NET_GSO_ECN = 0x80, /* a flag */
};

/* 5.1.9.5 Control virtqueue: classes and commands */
enum net_control_class {
    NET_CTRL_RX = 0,
    NET_CTRL_MAC = 1,
    NET_CTRL_VLAN = 2,
    NET_CTRL_ANNOUNCE = 3,
    NET_CTRL_MQ = 4,
    NET_CTRL_GUEST_OFFLOADS = 5,
    NET_CTRL_NOTF_COAL = 6,
    NET_CTRL_STATS = 8,
};
enum net_control_rx {
    NET_CTRL_RX_PROMISC = 0,
    NET_CTRL_RX_ALLMULTI = 1,
    NET_CTRL_RX_ALLUNI = 2,
    NET_CTRL_RX_NOMULTI = 3,
    NET_CTRL_RX_NOUNI = 4,
    NET_CTRL_RX_NOBCAST = 5,
};
enum net_control_mac { NET_CTRL_MAC_TABLE_SET = 0, NET_CTRL_MAC_ADDR_SET = 1 };
enum net_control_vlan { NET_CTRL_VLAN_ADD = 0, NET_CTRL_VLAN_DEL = 1 };
enum net_control_announce { NET_CTRL_ANNOUNCE_ACK = 0 };
enum net_control_mq {
    NET_CTRL_MQ_VQ_PAIRS_SET = 0,
    NET_CTRL_MQ_RSS_CONFIG = 1,
    NET_CTRL_MQ_HASH_CONFIG = 2,
};
enum net_control_guest_offloads { NET_CTRL_GUEST_OFFLOADS_SET = 0 };
enum net_control_notf_coal {
    NET_CTRL_NOTF_COAL_TX_SET = 0,
    NET_CTRL_NOTF_COAL_RX_SET = 1,
    NET_CTRL_NOTF_COAL_VQ_SET = 2,
    NET_CTRL_NOTF_COAL_VQ_GET = 3,
};
enum net_control_stats { NET_CTRL_STATS_QUERY = 0, NET_CTRL_STATS_GET = 1 };

enum net_control_ack { NET_OK = 0, NET_ERR = 1 };

/* 5.1.9.4.3: hash types, as bits; what is reported is the bit's number plus 1. */
enum net_hash_type {
    NET_HASH_IPV4 = 1 << 0,
    NET_HASH_TCPV4 = 1 << 1,
    NET_HASH_UDPV4 = 1 << 2,
    NET_HASH_IPV6 = 1 << 3,
    NET_HASH_TCPV6 = 1 << 4,
    NET_HASH_UDPV6 = 1 << 5,
    NET_HASH_IP_EX = 1 << 6,
    NET_HASH_TCP_EX = 1 << 7,
    NET_HASH_UDP_EX = 1 << 8,
    NET_HASH_ALL = (1 << 9) - 1,
};
#define NET_HASH_REPORT_NONE 0

/* 5.1.9.5.11: statistics types, numbers of bits */
enum net_stats_type {
    NET_STATS_RX_BASIC = 0,
    NET_STATS_RX_CSUM = 1,
    NET_STATS_RX_GSO = 2,
    NET_STATS_TX_BASIC = 16,
    NET_STATS_TX_CSUM = 17,
    NET_STATS_TX_GSO = 18,
    NET_STATS_CVQ = 32,
};

/* Of frames */
enum net_ethertype {
    ETHERTYPE_IPV4 = 0x0800,
    ETHERTYPE_VLAN = 0x8100,
    ETHERTYPE_IPV6 = 0x86dd,
    ETHERTYPE_QINQ = 0x88a8,
};
#define NET_ETHERNET_HEADER 14
#define NET_VLAN_TAG        4
#define NET_MAC_SIZE        6

#endif
