#include "devices/display/viewer_kinds.h"

#include "base/bytes.h"
#include "devices/display/viewer.h"

#define ROW(type, field) offsetof(struct display_##type##_options, field)

/* --- png -------------------------------------------------------------------------------------- */

static const struct option_spec png_options[] = {
    {"path", OPTION_STRING, ROW(png, path), .required = true, .metavar = "FILE.png",
     .help = "of the first output; the next is FILE-1.png"},
    {"cursor", OPTION_BOOL, ROW(png, cursor), .help = "draw the pointer where the guest has it"},
};

static const struct display_viewer_kind png = {
    .name = "png",
    .help = "a file that is written on SIGUSR2 and at the end",
    .first_key = "path",
    .options = png_options,
    .option_count = ARRAY_SIZE(png_options),
    .options_size = sizeof(struct display_png_options),
};

/* --- sdl -------------------------------------------------------------------------------------- */

static const struct option_spec sdl_options[] = {
    {"gl", OPTION_BOOL, ROW(sdl, gl), .help = "draw with OpenGL; virgl's pictures are not copied"},
    {"full-screen", OPTION_BOOL, ROW(sdl, full_screen), .help = "start so; Ctrl-Alt-F changes it"},
    {"resize", OPTION_BOOL, ROW(sdl, resize), .initial = "on",
     .help = "the guest is told the window's size"},
};

static const struct display_viewer_kind sdl = {
    .name = "sdl",
    .help = "a window for each output",
    .for_people = true,
    .options = sdl_options,
    .option_count = ARRAY_SIZE(sdl_options),
    .options_size = sizeof(struct display_sdl_options),
};

/* --- vnc -------------------------------------------------------------------------------------- */

static const char *const vnc_shared[] = {
    [VNC_SHARED_ASK] = "ask",
    [VNC_SHARED_ALWAYS] = "always",
    [VNC_SHARED_NEVER] = "never",
    NULL,
};

static const struct option_spec vnc_options[] = {
    {"where", OPTION_STRING, ROW(vnc, where), .required = true, .metavar = "WHERE",
     .help = ":N (localhost), ADDRESS:N, or unix:PATH; output M is at N+M, PATH-M"},
    {"password-file", OPTION_STRING, ROW(vnc, password_file), .metavar = "PATH",
     .help = "clients must know its first line, of 1 to 8 characters"},
    {"shared", OPTION_CHOICE, ROW(vnc, shared), .initial = "ask", .choices = vnc_shared,
     .help = "several clients: as the newest asks, or never (it takes over)"},
    {"clients", OPTION_UINT, ROW(vnc, clients), .initial = "8", .min = 1, .max = 64,
     .help = "of one output at a time, at most"},
    {"layout", OPTION_STRING, ROW(vnc, layout), .initial = "us", .metavar = "NAME",
     .help = "of the guest's keyboard, by XKB's names (us, de, fr...)"},
};

static const struct display_viewer_kind vnc = {
    .name = "vnc",
    .help = "a VNC server",
    .first_key = "where",
    .for_people = true,
    .options = vnc_options,
    .option_count = ARRAY_SIZE(vnc_options),
    .options_size = sizeof(struct display_vnc_options),
};

const struct display_viewer_kind *const display_viewer_kinds[] = {&sdl, &vnc, &png, NULL};
_Static_assert(ARRAY_SIZE(display_viewer_kinds) <= DISPLAY_VIEWER_KINDS_MAX + 1, "and NULL");
