// The engine: runs a program (hw/PROGRAM.md) over feature maps in one region of memory.
#pragma once
#include "types.h"

// program: `words` Words. maps: the region all plane addresses are relative to, read by two ports and written by one.
// finished: calls whose results are in memory; read it to see where an engine stands.
extern "C" void edgevision_engine(hls::burst_maxi<engine::Word> program, ap_uint<32> words,
                                  hls::burst_maxi<engine::AxiWord> features, hls::burst_maxi<engine::AxiWord> dilations,
                                  hls::burst_maxi<engine::AxiWord> results, ap_uint<32> &finished);
