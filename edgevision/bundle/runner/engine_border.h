/* Real numbers to the engine's bytes and back, in the places the program expects them. */
#ifndef EV_ENGINE_BORDER_H
#define EV_ENGINE_BORDER_H

#include "engine_plan.h"

#include <stddef.h>

/* `image` is channels x height x width; `maps` the region of feature maps. */
void ev_image_write(const struct ev_engine_plan *plan, const float *image, uint8_t *maps);

/* Bytes one output takes, and the output itself: float32, or the bytes as they are. */
size_t ev_output_bytes(const struct ev_stored *output);
void ev_output_read(const struct ev_engine_plan *plan, const struct ev_stored *output, const uint8_t *maps, void *into);

#endif
