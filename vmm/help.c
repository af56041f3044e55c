/*
 * The help topics and the manual page: both are printed from the tables that options are parsed by.
 */
#include "vmm/help.h"

#include "base/bytes.h"
#include "devices/display/viewer.h"
#include "vmm/cmdline.h"
#include "vmm/config.h"
#include "vmm/control.h"
#include "vmm/device_program.h"
#include "vmm/exit_status.h"
#include "vmm/machine_device.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* --- pieces, as plain text ------------------------------------------------------------------- */

static void print_run_options(FILE *out)
{
    for (size_t i = 0; i < run_option_count; i++) {
        const struct run_option *option = &run_options[i];
        int width = option->letter ? fprintf(out, "  -%c, --%s", option->letter, option->name)
                                   : fprintf(out, "      --%s", option->name);
        if (option->metavar)
            width += fprintf(out, " %s", option->metavar);
        if (width > 33)
            fprintf(out, "\n%34s%s\n", "", option->help);
        else
            fprintf(out, "%*s%s\n", 34 - width, "", option->help);
    }
}

static void topic_cmdline(FILE *out)
{
    fprintf(out, "The default kernel command line, word by word. --append adds to it, --cmdline "
                 "replaces it.\n\n");
    for (size_t i = 0; i < cmdline_word_count; i++) {
        const char *word = cmdline_words[i].word;

        fprintf(out, "  %-26s%s", word, strlen(word) > 26 ? "\n                            " : "");
        fprintf(out, " %s\n", cmdline_words[i].why);
    }
}

static void topic_memory(FILE *out)
{
    fprintf(out, "--memory SIZE[,KEY=VALUE...], as in --memory 2G,hugepages=on\n\n");
    option_print(out, memory_options, memory_option_count);
}

static void print_features(FILE *out, const struct virtio_feature_name *names, size_t count)
{
    size_t width = 0;

    for (size_t i = 0; i < count; i++)
        width = MAX(width, strlen(names[i].name));
    for (size_t i = 0; i < count; i++)
        fprintf(out, "  %s=on|off%*s%s%s\n", names[i].name,
                (int)(width + 2 - strlen(names[i].name)), "", names[i].help,
                feature_on_request(&names[i]) ? " (default: off)" : "");
}

static void print_model(FILE *out, const struct virtio_model *model)
{
    fprintf(out, "%s: %s\n\n", model->name, model->help);
    option_print(out, model->options, model->option_count);
    if (model->foreign && model->foreign->option_count && virtio_model_exists(model))
        fprintf(out, "\nWith backend=vhost-user, instead of these:\n\n");
    if (model->foreign)
        option_print(out, model->foreign->options, model->foreign->option_count);
    fprintf(out, "\nBesides, the keys of every device ('vireo help device'): ");
    if (model->queues_max > 1 && model->queues_default)
        fprintf(out, "queues=%u by default, at most %u; ", model->queues_default,
                model->queues_max);
    else if (model->queues_max > 1)
        fprintf(out, "queues=CPUS by default, at most %u; ", model->queues_max);
    fprintf(out, "queue-size=%u.\n", model->queue_size_default);
    if (model->feature_count) {
        fprintf(out, "\nFeature bits of the type, offered where possible unless they are off:\n\n");
        print_features(out, model->features, model->feature_count);
    }
}

/* Keys of the slot that come before those of the back end. */
static size_t place_option_count(void)
{
    size_t count = 0;

    while (count < device_slot_option_count && strcmp(device_slot_options[count].key, "backend"))
        count++;
    return count;
}

static void topic_device(FILE *out)
{
    fprintf(out, "--device TYPE[,KEY=VALUE...]; a literal comma in a value is written twice.\n\n"
                 "Types ('vireo help TYPE' has their keys):\n\n");
    for (size_t i = 0; device_models[i]; i++)
        fprintf(out, "  %-11s %s\n", device_models[i]->name, device_models[i]->help);
    fprintf(out, "\nKeys of every device:\n\n");
    option_print(out, device_common_options, device_common_option_count);
    fprintf(out, "\nIts place in the machine:\n\n");
    option_print(out, device_slot_options, place_option_count());
    fprintf(out, "\nWho serves it; 'vireo help backends' says more:\n\n");
    option_print(out, device_slot_options + place_option_count(),
                 device_slot_option_count - place_option_count());
    fprintf(out, "\nWith backend=vdpa, instead of the type's own:\n\n");
    option_print(out, device_vdpa_options, device_vdpa_option_count);
    fprintf(out, "\nFeature bits of every device, by the specification's names, offered unless "
                 "they are off:\n\n");
    print_features(out, virtio_feature_names, virtio_feature_names_count);
}

static void topic_backends(FILE *out)
{
    fprintf(
        out,
        "Who serves a device, on either transport:\n\n"
        "  backend=builtin     this program; with isolate=on a confined process of it\n"
        "  backend=vhost-user  another process, over a Unix socket: any type\n"
        "  backend=vhost       the host's kernel: net with host=tap, vsock, scsi\n"
        "  backend=auto        the kernel if it can, else this program\n"
        "  backend=vdpa        a device of the host's: any type that it is\n"
        "\n"
        "builtin. With isolate=on, a process opens all that the device needs and then gives up the "
        "rest: files,\nnetworks, privileges, the sight of other processes, and all system calls "
        "that its type does not make.\nName spaces that the host does not permit are named by "
        "--log info. Not for net's host=user, nor for\nconsoles on stdio. A socket that the device "
        "is connected to is not connected again when it is lost.\n"
        "\n"
        "vhost-user. The process listens at socket=PATH; or connects to us there (server=on); or "
        "is "
        "connected\nalready (socket-fd=N). With none of these, a program is started for the "
        "device, with the type's keys as\nits options: that of program=PATH, or the first for the "
        "type that a file describes in $XDG_CONFIG_HOME,\n/etc, /usr/share or PREFIX/share, each "
        "with /qemu/vhost-user, sorted by name (docs/interop/vhost-user.json\nof QEMU). 'vireo "
        "help "
        "programs' says how to be such a process.\n"
        "\n"
        "A process may die. The next one does again what was in flight, by a record that outlives "
        "both; the guest\nsees a delay. Ours keep that record; with relay=on Vireo keeps it for "
        "those that do not, passing on each\nrequest itself. With requests in flight and no "
        "record, or "
        "with reconnect=0, the device needs a reset by\nits driver; so does one whose process "
        "talks "
        "nonsense. One that we start and that dies again and again is\nstarted less and less "
        "often, up to reconnect= seconds apart.\n"
        "\n"
        "With page-per-vq=on, on PCI, the driver notifies each queue at a page of its own, and a "
        "process may\n"
        "give one (HOST_NOTIFIER): the guest writes there, and eventfds are for queues that got "
        "none. Not with\n"
        "legacy=on, relay=on or inband=on.\n"
        "\n"
        "vhost. The kernel moves the data, without a thread of ours. It has no receive-side "
        "scaling, filters of\nVLANs, coalescing or statistics of network cards.\n"
        "\n"
        "vdpa. The guest's memory is locked, once for each device: 'ulimit -l' must allow it. "
        "Devices of VDUSE\nwant it shared (--memory SIZE,shared=on). Queues are as many, and as "
        "long, as the device has.\n");
}

static void topic_serial(FILE *out)
{
    fprintf(out, "--serial WHERE: the host's end of the serial port (ttyS0).\n"
                 "--console WHERE: of a virtio console (hvc0), which is much faster. It wants a "
                 "driver in the guest's\nkernel or initrd, and shows nothing before. With stdio "
                 "the serial port goes nowhere by default.\n\n"
                 "  stdio              this terminal, in raw mode; keys below\n"
                 "  null               nowhere\n"
                 "  file:PATH          appended to a file\n"
                 "  pty                a new pseudo-terminal, whose name is printed\n"
                 "  unix:PATH          a Unix socket; ,server=off connects to one (--console and "
                 "ports: ,,server=off)\n"
                 "  fd:N               a descriptor that Vireo inherits\n"
                 "\nKeys in the terminal:\n\n"
                 "  Ctrl-A x           quit\n"
                 "  Ctrl-A c           send a break (Linux: then a SysRq key; on hvc0 a Ctrl-O)\n"
                 "  Ctrl-A h           help\n"
                 "  Ctrl-A Ctrl-A      send Ctrl-A\n");
}

static void topic_config(FILE *out)
{
    fprintf(out,
            "--config FILE.json: one object whose names are the options of 'vireo run' "
            "without dashes.\nArrays repeat an option or, in an object, a key; objects are "
            "KEY=VALUE lists; switches are true\nor false. Options behind --config on the command "
            "line come on top.\n\n"
            "  {\n"
            "    \"kernel\": \"/boot/vmlinuz\",\n"
            "    \"initrd\": \"/boot/initrd.img\",\n"
            "    \"cpus\": 2,\n"
            "    \"memory\": {\"size\": \"1G\", \"shared\": true},\n"
            "    \"append\": \"root=/dev/vda rw\",\n"
            "    \"disk\": [{\"path\": \"root.img\"}, {\"path\": \"data.img\", \"readonly\": "
            "true}],\n"
            "    \"net\": {\"host\": \"user\", \"hostfwd\": \"tcp::2222-:22\"},\n"
            "    \"device\": [{\"type\": \"blk\", \"path\": \"more.img\", \"transport\": "
            "\"mmio\"}],\n"
            "    \"no-reboot\": true\n"
            "  }\n");
}

static void topic_display(FILE *out)
{
    fprintf(out,
            "--display KIND[=WHERE][,KEY=VALUE...] shows what the guest's graphics card shows; it "
            "can be given more\nthan once. A machine that has none gets one (--gpu), and with a "
            "window or VNC a keyboard and a tablet,\nunless --input names others. The default is "
            "none.\n");
    for (size_t i = 0; display_viewer_kinds[i]; i++) {
        const struct display_viewer_kind *kind = display_viewer_kinds[i];

        fprintf(out, "\n%s: %s\n\n", kind->name, kind->help);
        option_print(out, kind->options, kind->option_count);
    }
}

static void topic_control(FILE *out)
{
    fprintf(out, "--control PATH listens on a Unix socket; 'vireo control PATH COMMAND' sends a "
                 "command and prints\nthe answer. On the socket: a line each way, answers end with "
                 "'ok' or 'error: REASON'.\n\n");
    control_print_help(out);
    fprintf(
        out,
        "\nFrom 'dirty-log on' to 'off', each 'dirty-pages' tells of the pages of 4 KiB that the "
        "guest and its\ndevices, whoever serves them, have written to since the one before, or "
        "since 'on': where they\nstart and how many follow each other, by addresses. The machine "
        "creates FILE, relative to where it\nwas started. A page that is being written to may be "
        "told of twice. Refused, naming the device,\nwhere a back end cannot tell what it writes: "
        "vDPA, relay=on, programs without VHOST_F_LOG_ALL.\n");
}

static void topic_input_script(FILE *out)
{
    fprintf(
        out,
        "--input script=FILE: a statement a line, carried out as the driver takes it, from when "
        "the guest's\ndriver is ready on; each driver anew. '#' begins a comment. +TIME before a "
        "statement: so long after the\none before. Times are 250us, 20ms or 1.5s. The device has "
        "what its statements need, or is the kind= given.\n\n"
        "  key NAME[+NAME...] [down|up]  keys of linux/input-event-codes.h without KEY_; with "
        "neither: both\n"
        "  type \"TEXT\"                   as on a US keyboard; \\n \\t \\\" \\\\\n"
        "  rel X Y                       mouse: so much to the right, and down\n"
        "  button NAME [down|up]         left right middle side extra forward back task\n"
        "  wheel N, hwheel N             notches: up, to the right; or negative\n"
        "  move X Y                      tablet: places are 0 to 32767, or 0%% to 100%%\n"
        "  touch N down|move X Y         touch screen: finger 0 to 9\n"
        "  touch N up\n"
        "  wait TIME                     before the next statement\n"
        "  pace TIME                     how long keys are held, and then let go (default: "
        "10ms)\n");
}

static void topic_exit(FILE *out)
{
    fprintf(out, "Exit statuses of 'vireo run':\n\n");
    for (size_t i = 0; i < exit_statuses_count; i++)
        fprintf(out, "  %4d  %s\n", exit_statuses[i].status, exit_statuses[i].meaning);
    fprintf(out, "\nSIGTERM, SIGINT, SIGHUP and SIGQUIT press the guest's power button; a second "
                 "one ends it.\nSIGUSR2 writes the --screenshot.\n");
}

static void man_page(FILE *out);

static const struct topic {
    const char *name;
    void (*print)(FILE *out);
    const char *help;
} topics[] = {
    {"device", topic_device, "devices, and the keys they all have"},
    {"backends", topic_backends, "who serves devices: this program, processes, the host"},
    {"memory", topic_memory, "the keys of --memory"},
    {"serial", topic_serial, "where consoles can go, and the keys of a terminal"},
    {"cmdline", topic_cmdline, "the default kernel command line, word by word"},
    {"config", topic_config, "the JSON configuration file"},
    {"display", topic_display, "windows, VNC and screenshots"},
    {"control", topic_control, "commands for a running machine"},
    {"input-script", topic_input_script, "events for the guest from a file"},
    {"programs", device_program_print_help, "serving devices to any VMM, over vhost-user"},
    {"exit", topic_exit, "exit statuses and signals"},
    {"man", man_page, "all of it as a manual page (roff)"},
};

static void overview(FILE *out)
{
    fprintf(out, "Vireo " VIREO_VERSION ", a small KVM virtual machine monitor\n\n"
                 "  vireo run [OPTIONS] KERNEL [-- WORDS for the kernel command line]\n"
                 "  vireo control PATH COMMAND   ask something of a running machine\n"
                 "  vireo device TYPE OPTIONS    serve a device to any VMM, over vhost-user\n"
                 "  vireo check                  can this host run a stock kernel?\n"
                 "  vireo help [TOPIC]\n"
                 "  vireo --version\n\n"
                 "Boot the kernel of a Debian-like machine with its disk:\n\n"
                 "  vireo run -m 1G -i /boot/initrd.img -d disk.img /boot/vmlinuz -- "
                 "root=/dev/vda1 rw\n\n"
                 "Options:\n\n");
    print_run_options(out);
    fprintf(out, "\nTopics:\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(topics); i++)
        fprintf(out, "  %-12s %s\n", topics[i].name, topics[i].help);
    for (size_t i = 0; device_models[i]; i++)
        fprintf(out, "  %-12s the keys of --device %s\n", device_models[i]->name,
                device_models[i]->name);
}

/* --- the manual page -------------------------------------------------------------------------- */

/* Text in roff: backslashes and dashes escaped, a leading dot or quote protected. */
static void roff_text(FILE *out, const char *text)
{
    bool line_start = true;

    for (; *text; text++) {
        if (line_start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text, out);
        line_start = *text == '\n';
    }
}

static void roff_options(FILE *out)
{
    for (size_t i = 0; i < run_option_count; i++) {
        const struct run_option *option = &run_options[i];
        fputs(".TP\n.B ", out);
        if (option->letter)
            fprintf(out, "\\-%c, ", option->letter);
        fputs("\\-\\-", out);
        roff_text(out, option->name);
        if (option->metavar) {
            fputc(' ', out);
            roff_text(out, option->metavar);
        }
        fputc('\n', out);
        roff_text(out, option->help);
        fputc('\n', out);
    }
}

/* A topic's plain text, unfilled. */
static void roff_verbatim(FILE *out, const char *title, void (*print)(FILE *out))
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return;
    print(stream);
    fclose(stream);
    fprintf(out, ".SH %s\n.nf\n", title);
    roff_text(out, text);
    fputs(".fi\n", out);
    free(text);
}

static void print_models(FILE *out)
{
    for (size_t i = 0; device_models[i]; i++)
        print_model(out, device_models[i]);
}

static void man_page(FILE *out)
{
    fputs(".TH VIREO 1 \"\" \"Vireo " VIREO_VERSION "\" \"User Commands\"\n"
          ".SH NAME\nvireo \\- a small KVM virtual machine monitor\n"
          ".SH SYNOPSIS\n.B vireo run\n[OPTIONS] KERNEL [\\-\\- WORDS]\n.br\n"
          ".B vireo control\nPATH COMMAND\n.br\n"
          ".B vireo device\nTYPE OPTIONS\n.br\n"
          ".B vireo check\n.br\n"
          ".B vireo help\n[TOPIC]\n.br\n.B vireo \\-\\-version\n"
          ".SH DESCRIPTION\n"
          "Boots a Linux kernel, as distributions ship it, in a KVM virtual machine with virtio "
          "devices. WORDS are added to the kernel command line.\n"
          ".SH OPTIONS\n",
          out);
    roff_options(out);
    roff_verbatim(out, "MEMORY", topic_memory);
    roff_verbatim(out, "DEVICES", topic_device);
    roff_verbatim(out, "DEVICE TYPES", print_models);
    roff_verbatim(out, "BACK ENDS", topic_backends);
    roff_verbatim(out, "SERIAL CONSOLE", topic_serial);
    roff_verbatim(out, "KERNEL COMMAND LINE", topic_cmdline);
    roff_verbatim(out, "CONFIGURATION FILE", topic_config);
    roff_verbatim(out, "DISPLAYS", topic_display);
    roff_verbatim(out, "CONTROL SOCKET", topic_control);
    roff_verbatim(out, "INPUT SCRIPTS", topic_input_script);
    roff_verbatim(out, "DEVICE PROGRAMS", device_program_print_help);
    roff_verbatim(out, "EXIT STATUS", topic_exit);
}

int help_print(FILE *out, const char *topic)
{
    const struct virtio_model *model;

    if (!topic) {
        overview(out);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(topics); i++) {
        if (strcmp(topics[i].name, topic) == 0) {
            topics[i].print(out);
            return 0;
        }
    }
    model = device_model_find(topic);
    if (!model)
        return -ENOENT;
    print_model(out, model);
    return 0;
}
