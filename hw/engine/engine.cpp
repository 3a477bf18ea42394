// All processes at once. Two streams run back (pointwise to spatial and spatial to pointwise): which of the two comes
// first is chosen call by call, and Vitis HLS supports feedback through hls::stream (UG1399, Canonical Body).
#include "engine.h"

#include "dataflow.h"
#include "memory.h"
#include "pointwise.h"
#include "program.h"
#include "scale.h"
#include "spatial.h"
#include "tiles.h"

using namespace engine;

void edgevision_engine(hls::burst_maxi<Word> program, ap_uint<32> words, hls::burst_maxi<AxiWord> features,
                       hls::burst_maxi<AxiWord> dilations, hls::burst_maxi<AxiWord> results, ap_uint<32> &finished) {
ENGINE_PRAGMA(HLS INTERFACE m_axi port=program bundle=program offset=slave depth=65536 max_read_burst_length=BURST_BEATS num_read_outstanding=BUS_AHEAD)
ENGINE_PRAGMA(HLS INTERFACE m_axi port=features bundle=features offset=slave depth=1048576 max_read_burst_length=BURST_BEATS num_read_outstanding=BUS_AHEAD)
ENGINE_PRAGMA(HLS INTERFACE m_axi port=dilations bundle=dilations offset=slave depth=1048576 max_read_burst_length=BURST_BEATS num_read_outstanding=BUS_AHEAD)
ENGINE_PRAGMA(HLS INTERFACE m_axi port=results bundle=results offset=slave depth=1048576 max_write_burst_length=BURST_BEATS num_write_outstanding=BUS_AHEAD)
#pragma HLS INTERFACE s_axilite port=program
#pragma HLS INTERFACE s_axilite port=words
#pragma HLS INTERFACE s_axilite port=features
#pragma HLS INTERFACE s_axilite port=dilations
#pragma HLS INTERFACE s_axilite port=results
#pragma HLS INTERFACE s_axilite port=finished
#pragma HLS INTERFACE s_axilite port=return
#pragma HLS DATAFLOW
    hls::stream<Word, 64> fetched("fetched"), weights("weights");
    Packets to_load("to_load"), to_arrange("to_arrange"), to_dilations("to_dilations"), to_pointwise("to_pointwise"),
        to_collect("to_collect"), to_store("to_store");
    DeepPackets to_spatial("to_spatial"), to_spatial_scale("to_spatial_scale"),
        to_pointwise_scale("to_pointwise_scale");
    Tokens stored("stored"), dilations_may("dilations_may");
    Vectors loaded("loaded"), into_spatial("into_spatial"), into_pointwise("into_pointwise"),
        spatial_pointwise("spatial_pointwise"), pointwise_spatial("pointwise_spatial"), spatial_store("spatial_store"),
        pointwise_store("pointwise_store"), collected("collected");
    hls::stream<ap_uint<8>, 64> dilation("dilation");
    hls::stream<Sums, 32> spatial_sums("spatial_sums");
    hls::stream<ColumnSums, 16> pointwise_sums("pointwise_sums");

    ENGINE_PROCESSES_BEGIN
    ENGINE_PROCESS(fetch(program, words, fetched));
    ENGINE_PROCESS(dispatch(words, fetched, to_load, to_arrange, to_dilations, to_spatial, to_spatial_scale, to_pointwise,
                            weights, to_pointwise_scale, to_collect, to_store));
    ENGINE_PROCESS(load(features, to_load, stored, dilations_may, loaded));
    ENGINE_PROCESS(arrange(to_arrange, loaded, into_spatial, into_pointwise));
    ENGINE_PROCESS(load_dilations(dilations, to_dilations, dilations_may, dilation));
    ENGINE_PROCESS(spatial(to_spatial, into_spatial, pointwise_spatial, dilation, spatial_sums));
    ENGINE_PROCESS((requantise<1>(to_spatial_scale, spatial_sums, spatial_pointwise, spatial_store)));
    ENGINE_PROCESS(pointwise(to_pointwise, weights, into_pointwise, spatial_pointwise, pointwise_sums));
    ENGINE_PROCESS((requantise<COLUMNS / LANES>(to_pointwise_scale, pointwise_sums, pointwise_spatial, pointwise_store)));
    ENGINE_PROCESS(collect(to_collect, spatial_store, pointwise_store, collected));
    ENGINE_PROCESS(store(results, to_store, collected, stored, finished));
    ENGINE_PROCESSES_END
}
