#include "devices/display/vnc/messages.h"

#include "base/bytes.h"

#include <rfb/rfb.h>

struct type {
    uint8_t number;
    enum vnc_message_kind kind;
    uint8_t head; /* bytes up to what is counted */
};

static const struct type types[] = {
    {rfbSetPixelFormat, VNC_MESSAGE_HEAR, sz_rfbSetPixelFormatMsg},
    {rfbSetEncodings, VNC_MESSAGE_HEAR, sz_rfbSetEncodingsMsg},
    {rfbFramebufferUpdateRequest, VNC_MESSAGE_REQUEST, sz_rfbFramebufferUpdateRequestMsg},
    {rfbKeyEvent, VNC_MESSAGE_REQUEST, sz_rfbKeyEventMsg},
    {rfbPointerEvent, VNC_MESSAGE_REQUEST, sz_rfbPointerEventMsg},
    {rfbClientCutText, VNC_MESSAGE_DROP, sz_rfbClientCutTextMsg},
    {rfbSetScale, VNC_MESSAGE_DROP, sz_rfbSetScaleMsg},
    {rfbPalmVNCSetScaleFactor, VNC_MESSAGE_DROP, sz_rfbSetScaleMsg},
    {rfbXvp, VNC_MESSAGE_DROP, sz_rfbXvpMsg},
    {rfbSetDesktopSize, VNC_MESSAGE_RESIZE, sz_rfbSetDesktopSizeMsg},
};

/* What follows the head. `start` has VNC_MESSAGE_HEAD bytes, or all of a shorter head. */
static uint64_t counted(const uint8_t *start)
{
    uint32_t text;

    switch (start[0]) {
    case rfbSetEncodings:
        return 4 * (uint64_t)load_be16(start + 2);
    case rfbSetDesktopSize:
        return sz_rfbExtDesktopScreen * (uint64_t)start[6];
    case rfbClientCutText: /* negative: that of the extended clipboard */
        text = load_be32(start + 4);
        return text & 1u << 31 ? -text : text;
    default:
        return 0;
    }
}

struct vnc_message vnc_message_look(const uint8_t *start, size_t size, size_t there)
{
    const struct type *type = NULL;
    uint64_t length;

    if (!size)
        return (struct vnc_message){VNC_MESSAGE_PARTIAL, 0};
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (types[i].number == start[0])
            type = &types[i];
    if (!type)
        return (struct vnc_message){VNC_MESSAGE_BAD, 0};
    if (size < MIN((size_t)type->head, (size_t)VNC_MESSAGE_HEAD))
        return (struct vnc_message){VNC_MESSAGE_PARTIAL, 0};
    length = type->head + counted(start);
    if (type->kind != VNC_MESSAGE_DROP && length > VNC_MESSAGE_MAX)
        return (struct vnc_message){VNC_MESSAGE_BAD, 0};
    if (type->kind != VNC_MESSAGE_DROP && there < length)
        return (struct vnc_message){VNC_MESSAGE_PARTIAL, 0};
    return (struct vnc_message){type->kind, length};
}
