// What the processes of a simulation, its streams and its ports share.
#pragma once
#include <string>

#include "hls_burst_maxi.h"
#include "hls_stream.h"

namespace csim {

// Leaves a process once the simulation has been stopped.
struct Stopped {};

// Ends the simulation; the first reason is what is reported.
void stop(const std::string &why);
bool stopped();

}  // namespace csim
