#include "devices/serial.h"

#include "base/bytes.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define PORTS 8

/* Registers by offset (PC16550D, table II). */
enum { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

#define IER_RX     0x01 /* received data */
#define IER_THRE   0x02 /* transmitter holding register empty */
#define IER_STATUS 0x04 /* receiver line status */
#define IER_MODEM  0x08 /* modem status */
#define IER_BITS   0x0f

#define IIR_NONE    0x01
#define IIR_MODEM   0x00
#define IIR_THRE    0x02
#define IIR_RX      0x04
#define IIR_STATUS  0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFO    0xc0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_KEPT     0xc9 /* enable, DMA mode, trigger level; the others act once */

#define LCR_DLAB 0x80

#define MCR_DTR  0x01
#define MCR_RTS  0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MCR_BITS 0x1f

#define LSR_DR         0x01
#define LSR_OVERRUN    0x02
#define LSR_BREAK      0x10
#define LSR_THRE       0x20
#define LSR_TEMT       0x40
#define LSR_FIFO_ERROR 0x80

#define MSR_TERI  0x04 /* ring indicator went off; the other deltas lie 4 below their line */
#define MSR_CTS   0x10
#define MSR_DSR   0x20
#define MSR_RI    0x40
#define MSR_DCD   0x80
#define MSR_LINES 0xf0

#define FIFO_SIZE 16
#define RX_SIZE   256    /* more than the FIFO: fewer turns of the loop when a lot comes */
#define RX_BREAK  0x0100 /* a received character that is a break */

#define TX_SIZE      4096
#define TX_FLUSH_AT  1024
#define TX_DELAY_NS  UINT64_C(1000000)
#define TX_PATIENCE  1000 /* ms, at the end */
#define DIVISOR_9600 12

struct serial {
    struct platform *platform;
    struct loop *loop;
    struct chardev *chardev;
    uint16_t port;
    uint32_t gsi;
    int irq_fd;
    void (*observer)(void *opaque, const uint8_t *data, size_t len);
    void *observer_opaque;

    pthread_mutex_t lock; /* guards what follows, except the timer */
    uint8_t ier, fcr, lcr, mcr, scr;
    uint8_t divisor[2];
    uint8_t msr_deltas;
    bool overrun;
    bool thre_pending; /* the THRE interrupt's flip-flop */
    bool line;         /* the interrupt output */

    uint16_t rx[RX_SIZE];
    size_t rx_first, rx_count, rx_breaks;
    bool rx_held; /* the host was told there is no room */

    uint8_t tx[TX_SIZE];
    size_t tx_first, tx_count;
    bool tx_full;    /* the host takes nothing until serial_writable */
    bool tx_busy;    /* the guest was shown a busy transmitter */
    bool tx_ticking; /* the timer runs, or is about to */
    bool tx_recent;  /* bytes came since its last tick */
    struct loop_task tick_task;
    struct loop_timer tick;
};

/* --- interrupts ------------------------------------------------------------------------------- */

static uint8_t trigger_level(const struct serial *serial)
{
    static const uint8_t levels[] = {1, 4, 8, 14};
    return levels[serial->fcr >> 6];
}

static bool break_is_next(const struct serial *serial)
{
    return serial->rx_count && (serial->rx[serial->rx_first] & RX_BREAK);
}

/* What IIR says, by priority (PC16550D, table IV). There is no waiting four character times for the
 * receiver's time-out: fewer characters than the trigger level are a time-out at once. */
static uint8_t interrupt_id(const struct serial *serial)
{
    bool fifo = serial->fcr & FCR_ENABLE;

    if ((serial->ier & IER_STATUS) && (serial->overrun || break_is_next(serial)))
        return IIR_STATUS;
    if ((serial->ier & IER_RX) && serial->rx_count)
        return fifo && serial->rx_count < trigger_level(serial) ? IIR_TIMEOUT : IIR_RX;
    if ((serial->ier & IER_THRE) && serial->thre_pending)
        return IIR_THRE;
    if ((serial->ier & IER_MODEM) && serial->msr_deltas)
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_line(struct serial *serial)
{
    bool line = interrupt_id(serial) != IIR_NONE;

    if (line && !serial->line)
        eventfd_write(serial->irq_fd, 1);
    serial->line = line;
}

/* --- transmitter ------------------------------------------------------------------------------ */

static bool transmitter_ready(const struct serial *serial)
{
    /* THRE lets the guest send a FIFO's worth. */
    return serial->tx_count + FIFO_SIZE <= TX_SIZE;
}

static void tx_drained(struct serial *serial)
{
    if (serial->tx_busy && transmitter_ready(serial)) {
        serial->tx_busy = false;
        serial->thre_pending = serial->ier & IER_THRE;
    }
}

static void tx_took(struct serial *serial, size_t count)
{
    serial->tx_count -= count;
    serial->tx_first = serial->tx_count ? serial->tx_first + count : 0;
    tx_drained(serial);
}

static void tx_flush(struct serial *serial)
{
    size_t done;

    if (serial->tx_full || !serial->tx_count)
        return;
    done = chardev_write(serial->chardev, serial->tx + serial->tx_first, serial->tx_count);
    serial->tx_full = done < serial->tx_count;
    tx_took(serial, done);
}

/* A timer of the loop cannot be set from here. It is asked for once and then goes on while the
 * guest is busy sending: a system call for each line would cost more than the write it saves. */
static void tx_flush_soon(struct serial *serial)
{
    serial->tx_recent = true;
    if (serial->tx_ticking)
        return;
    serial->tx_ticking = true;
    loop_post(serial->loop, &serial->tick_task);
}

static void tx_append(struct serial *serial, uint8_t byte)
{
    if (serial->tx_count == TX_SIZE)
        return; /* not ready, and the guest was told */
    if (serial->tx_first + serial->tx_count == TX_SIZE) {
        memmove(serial->tx, serial->tx + serial->tx_first, serial->tx_count);
        serial->tx_first = 0;
    }
    serial->tx[serial->tx_first + serial->tx_count++] = byte;
    if (byte == '\n' || serial->tx_count >= TX_FLUSH_AT)
        tx_flush(serial);
    else
        tx_flush_soon(serial);
}

static void tick_start(struct loop_task *task)
{
    struct serial *serial = container_of(task, struct serial, tick_task);
    loop_timer_set(serial->loop, &serial->tick, TX_DELAY_NS);
}

static void tick_expired(struct loop_timer *timer)
{
    struct serial *serial = container_of(timer, struct serial, tick);

    pthread_mutex_lock(&serial->lock);
    tx_flush(serial);
    update_line(serial);
    serial->tx_ticking = serial->tx_recent;
    serial->tx_recent = false;
    if (serial->tx_ticking)
        loop_timer_set(serial->loop, timer, TX_DELAY_NS);
    pthread_mutex_unlock(&serial->lock);
}

/* The host takes output again. */
static void serial_writable(void *opaque)
{
    struct serial *serial = opaque;

    pthread_mutex_lock(&serial->lock);
    serial->tx_full = false;
    tx_flush(serial);
    update_line(serial);
    pthread_mutex_unlock(&serial->lock);
}

/* --- receiver --------------------------------------------------------------------------------- */

static void rx_push(struct serial *serial, uint16_t character, size_t limit)
{
    if (serial->rx_count >= limit) {
        serial->overrun = true;
        return;
    }
    serial->rx[(serial->rx_first + serial->rx_count++) % RX_SIZE] = character;
    serial->rx_breaks += character >> 8;
}

static void rx_clear(struct serial *serial)
{
    serial->rx_first = serial->rx_count = serial->rx_breaks = 0;
}

/* The host may go on sending. Not for each character: when the buffer is half empty. */
static void rx_resume(struct serial *serial)
{
    if (!serial->rx_held || serial->rx_count > RX_SIZE / 2 || !(serial->mcr & MCR_RTS))
        return;
    serial->rx_held = false;
    chardev_resume(serial->chardev);
}

static uint8_t rx_pop(struct serial *serial)
{
    uint16_t character;

    if (!serial->rx_count)
        return 0;
    character = serial->rx[serial->rx_first];
    serial->rx_breaks -= character >> 8;
    serial->rx_first = (serial->rx_first + 1) % RX_SIZE;
    serial->rx_count--;
    rx_resume(serial);
    return (uint8_t)character;
}

static size_t serial_room(void *opaque)
{
    struct serial *serial = opaque;
    size_t room = 0;

    pthread_mutex_lock(&serial->lock);
    if ((serial->mcr & MCR_RTS) && !(serial->mcr & MCR_LOOP))
        room = RX_SIZE - serial->rx_count;
    serial->rx_held = !room;
    pthread_mutex_unlock(&serial->lock);
    return room;
}

static void serial_receive(void *opaque, const uint8_t *data, size_t len)
{
    struct serial *serial = opaque;

    pthread_mutex_lock(&serial->lock);
    for (size_t i = 0; i < len; i++)
        rx_push(serial, data[i], RX_SIZE);
    update_line(serial);
    pthread_mutex_unlock(&serial->lock);
}

void serial_send_break(struct serial *serial)
{
    pthread_mutex_lock(&serial->lock);
    rx_push(serial, RX_BREAK, RX_SIZE);
    update_line(serial);
    pthread_mutex_unlock(&serial->lock);
}

/* --- registers -------------------------------------------------------------------------------- */

/* A null modem whose other end is always ready; in loopback the port's own outputs (PC16550D,
 * section 8.6.4). */
static uint8_t modem_lines(const struct serial *serial)
{
    uint8_t mcr = serial->mcr;

    if (!(mcr & MCR_LOOP))
        return MSR_DCD | MSR_DSR | MSR_CTS;
    return (uint8_t)((mcr & MCR_DTR ? MSR_DSR : 0) | (mcr & MCR_RTS ? MSR_CTS : 0) |
                     (mcr & MCR_OUT1 ? MSR_RI : 0) | (mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void write_mcr(struct serial *serial, uint8_t value)
{
    uint8_t before = modem_lines(serial), after, changed;

    serial->mcr = value & MCR_BITS;
    after = modem_lines(serial);
    changed = (before ^ after) & MSR_LINES;
    if (after & MSR_RI) /* only its end counts */
        changed &= (uint8_t)~MSR_RI;
    serial->msr_deltas |= changed >> 4;
    rx_resume(serial);
}

static void write_fcr(struct serial *serial, uint8_t value)
{
    serial->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
    /* Bytes in the transmitter have left it already, as far as the guest can tell. Switching FIFOs
     * on or off does not clear the receiver either: drivers clear it expressly. */
    if (serial->fcr && (value & FCR_CLEAR_RX)) {
        rx_clear(serial);
        rx_resume(serial);
    }
}

static void write_ier(struct serial *serial, uint8_t value)
{
    bool enabled = value & ~serial->ier & IER_THRE;

    serial->ier = value & IER_BITS;
    /* Enabling it while the transmitter is empty interrupts at once: drivers start sending so. */
    if (enabled && transmitter_ready(serial))
        serial->thre_pending = true;
    else if (!(serial->ier & IER_THRE))
        serial->thre_pending = false;
}

static void write_thr(struct serial *serial, uint8_t byte)
{
    if (serial->observer && !(serial->mcr & MCR_LOOP))
        serial->observer(serial->observer_opaque, &byte, 1);
    if (serial->mcr & MCR_LOOP)
        rx_push(serial, byte, serial->fcr & FCR_ENABLE ? FIFO_SIZE : 1);
    else
        tx_append(serial, byte);
    /* Writing clears the interrupt, being sent raises it again: without delay, unless we are full.
     */
    serial->tx_busy = !transmitter_ready(serial);
    serial->thre_pending = !serial->tx_busy && (serial->ier & IER_THRE);
}

static void register_write(struct serial *serial, unsigned offset, uint8_t value)
{
    bool dlab = serial->lcr & LCR_DLAB;

    switch (offset) {
    case RBR_THR:
    case IER:
        if (dlab)
            serial->divisor[offset] = value;
        else if (offset == IER)
            write_ier(serial, value);
        else
            write_thr(serial, value);
        break;
    case IIR_FCR:
        write_fcr(serial, value);
        break;
    case LCR:
        serial->lcr = value;
        break;
    case MCR:
        write_mcr(serial, value);
        break;
    case SCR:
        serial->scr = value;
        break;
    }
    update_line(serial);
}

static uint8_t read_iir(struct serial *serial)
{
    uint8_t id = interrupt_id(serial);

    if (id == IIR_THRE)
        serial->thre_pending = false;
    return id | (serial->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct serial *serial)
{
    uint8_t value = serial->rx_count ? LSR_DR : 0;

    if (transmitter_ready(serial))
        value |= LSR_THRE | LSR_TEMT;
    if (serial->overrun)
        value |= LSR_OVERRUN;
    if (serial->rx_breaks && (serial->fcr & FCR_ENABLE))
        value |= LSR_FIFO_ERROR;
    if (break_is_next(serial)) {
        value |= LSR_BREAK;
        serial->rx[serial->rx_first] &= (uint16_t)~RX_BREAK;
        serial->rx_breaks--;
    }
    serial->overrun = false;
    return value;
}

static uint8_t read_msr(struct serial *serial)
{
    uint8_t value = modem_lines(serial) | serial->msr_deltas;

    serial->msr_deltas = 0;
    return value;
}

static uint8_t register_read(struct serial *serial, unsigned offset)
{
    bool dlab = serial->lcr & LCR_DLAB;

    switch (offset) {
    case RBR_THR:
        return dlab ? serial->divisor[0] : rx_pop(serial);
    case IER:
        return dlab ? serial->divisor[1] : serial->ier;
    case IIR_FCR:
        return read_iir(serial);
    case LCR:
        return serial->lcr;
    case MCR:
        return serial->mcr;
    case LSR:
        return read_lsr(serial);
    case MSR:
        return read_msr(serial);
    default:
        return serial->scr;
    }
}

/* The port is one byte wide: a wider access is several. */
static void serial_read(void *opaque, uint64_t offset, void *data, unsigned size)
{
    struct serial *serial = opaque;

    pthread_mutex_lock(&serial->lock);
    for (unsigned i = 0; i < size; i++)
        ((uint8_t *)data)[i] = register_read(serial, (unsigned)offset + i);
    update_line(serial);
    pthread_mutex_unlock(&serial->lock);
}

static void serial_write(void *opaque, uint64_t offset, const void *data, unsigned size)
{
    struct serial *serial = opaque;

    pthread_mutex_lock(&serial->lock);
    for (unsigned i = 0; i < size; i++)
        register_write(serial, (unsigned)offset + i, ((const uint8_t *)data)[i]);
    pthread_mutex_unlock(&serial->lock);
}

/* --- life ------------------------------------------------------------------------------------- */

static void registers_reset(struct serial *serial)
{
    serial->ier = serial->fcr = serial->lcr = serial->mcr = serial->scr = 0;
    serial->divisor[0] = DIVISOR_9600;
    serial->divisor[1] = 0;
    serial->msr_deltas = 0;
    serial->overrun = serial->thre_pending = serial->line = false;
    serial->tx_busy = !transmitter_ready(serial); /* what was sent still has to go out */
    rx_clear(serial);
}

void serial_reset(struct serial *serial)
{
    pthread_mutex_lock(&serial->lock);
    registers_reset(serial);
    pthread_mutex_unlock(&serial->lock);
}

static void flush_on_loop(void *arg)
{
    struct serial *serial = arg;
    size_t done;

    pthread_mutex_lock(&serial->lock);
    done = chardev_write_wait(serial->chardev, serial->tx + serial->tx_first, serial->tx_count,
                              TX_PATIENCE);
    tx_took(serial, done);
    update_line(serial);
    pthread_mutex_unlock(&serial->lock);
}

void serial_flush(struct serial *serial)
{
    loop_call(serial->loop, flush_on_loop, serial);
}

static void detach_on_loop(void *arg)
{
    struct serial *serial = arg;

    chardev_set_client(serial->chardev, NULL);
    loop_task_cancel(serial->loop, &serial->tick_task);
    loop_timer_cancel(serial->loop, &serial->tick);
}

static int attach(struct serial *serial, struct error *err)
{
    const struct address_range range = {
        .space = ADDRESS_PIO,
        .base = serial->port,
        .size = PORTS,
        .name = "serial",
        .read = serial_read,
        .write = serial_write,
        .opaque = serial,
    };
    const struct chardev_client client = {
        .room = serial_room,
        .receive = serial_receive,
        .writable = serial_writable,
        .opaque = serial,
    };
    const struct platform_ops *ops = serial->platform->ops;
    int ret;

    serial->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (serial->irq_fd < 0)
        return error_errno(err, errno, "cannot create an eventfd for the serial port");
    ret = ops->line_irqfd_add(serial->platform, serial->gsi, serial->irq_fd, err);
    if (!ret) {
        ret = ops->range_add(serial->platform, &range, err);
        if (ret)
            ops->line_irqfd_remove(serial->platform, serial->gsi, serial->irq_fd);
    }
    if (ret)
        close(serial->irq_fd);
    else
        chardev_set_client(serial->chardev, &client);
    return ret;
}

int serial_create(struct platform *platform, struct loop *loop, uint16_t port, uint32_t gsi,
                  struct chardev *chardev, struct serial **out, struct error *err)
{
    struct serial *serial = calloc(1, sizeof(*serial));
    int ret;

    if (!serial)
        return error_set(err, ENOMEM, "no memory for the serial port");
    serial->platform = platform;
    serial->loop = loop;
    serial->chardev = chardev;
    serial->port = port;
    serial->gsi = gsi;
    serial->tick_task.run = tick_start;
    serial->tick.expired = tick_expired;
    pthread_mutex_init(&serial->lock, NULL);
    registers_reset(serial);
    ret = attach(serial, err);
    if (ret) {
        pthread_mutex_destroy(&serial->lock);
        free(serial);
        return ret;
    }
    *out = serial;
    return 0;
}

void serial_destroy(struct serial *serial)
{
    const struct platform_ops *ops;

    if (!serial)
        return;
    ops = serial->platform->ops;
    ops->range_remove(serial->platform, ADDRESS_PIO, serial->port);
    serial_flush(serial);
    loop_call(serial->loop, detach_on_loop, serial);
    ops->line_irqfd_remove(serial->platform, serial->gsi, serial->irq_fd);
    close(serial->irq_fd);
    pthread_mutex_destroy(&serial->lock);
    free(serial);
}

void serial_set_observer(struct serial *serial,
                         void (*fn)(void *opaque, const uint8_t *data, size_t len), void *opaque)
{
    serial->observer = fn;
    serial->observer_opaque = opaque;
}
