#include "engine_border.h"

#include <math.h>
#include <string.h>

static uint8_t quantised(const struct ev_stored *s, float value)
{
    /* numpy's rint(x / scale) + zero, clamped, in binary32; not-a-number becomes the zero point */
    float steps = rintf(value / s->scale) + (float)s->zero;
    if (isnan(steps))
        steps = (float)s->zero;
    steps = steps < -128.0f ? -128.0f : steps > 127.0f ? 127.0f : steps;
    return (uint8_t)(int8_t)steps;
}

void ev_image_write(const struct ev_engine_plan *plan, const float *image, uint8_t *maps)
{
    const struct ev_stored *s = &plan->image;
    uint32_t lanes = plan->lanes, cells = plan->cells, slots = cells ? lanes / cells : 0;
    uint32_t columns = cells ? (s->width + cells - 1) / cells : s->width;
    for (uint32_t i = 0; i < s->plane_count; i++)
        memset(maps + s->address[i], cells ? (uint8_t)plan->outside : 0, (size_t)s->height * columns * lanes);
    for (uint32_t c = 0; c < s->channels; c++) {
        uint8_t *plane = maps + s->address[s->plane[c]];
        for (uint32_t y = 0; y < s->height; y++)
            for (uint32_t x = 0; x < s->width; x++) {
                size_t pixel = cells ? ((size_t)y * columns + x / cells) * lanes + (size_t)(x % cells) * slots + c
                                     : ((size_t)y * columns + x) * lanes + s->lane[c];
                plane[pixel] = quantised(s, image[((size_t)c * s->height + y) * s->width + x]);
            }
    }
}

size_t ev_output_bytes(const struct ev_stored *output)
{
    return (size_t)output->channels * output->height * output->width * (output->real ? sizeof(float) : 1);
}

void ev_output_read(const struct ev_engine_plan *plan, const struct ev_stored *s, const uint8_t *maps, void *into)
{
    float *real = into;
    uint8_t *raw = into;
    size_t at = 0;
    for (uint32_t c = 0; c < s->channels; c++) {
        const uint8_t *plane = maps + s->address[s->plane[c]];
        uint32_t factor = s->twice[s->plane[c]] ? 2 : 1;
        for (uint32_t y = 0; y < s->height; y++)
            for (uint32_t x = 0; x < s->width; x++, at++) {
                size_t pixel = (size_t)(y / factor) * (s->width / factor) + x / factor;
                uint8_t byte = plane[pixel * plan->lanes + s->lane[c]];
                if (s->real)
                    real[at] = ((float)(int8_t)byte - (float)s->zero) * s->scale;
                else
                    raw[at] = byte;
            }
    }
}
